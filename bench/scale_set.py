"""A policy set that grows by one policy a document, while each question keeps the same ten candidates.

Standard library only: the peers read it in an environment of their own (`.peers`). Nine policies are shared by all
documents; what lies beyond nine belongs to one document each. So a set of ten has one document, one of 10,000 has
9,991. The entities have no parents and the documents no attributes, for not every peer can be told of either without
work of its own for each question: what grows is the number of policies, and nothing else.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

SIZES = (10, 100, 1_000, 10_000, 100_000)
SEED = 20250101
USERS = 32
A_FILE = 1_000
"""Policies in one file."""
DEPARTMENTS = ("finance", "accounting", "engineering", "platform", "legal")

USER, DOCUMENT, ACTION, READ = "Scale::User", "Scale::Document", "Scale::Action", "Read"
SCHEMA = """\
namespace Scale {
  entity User { department: String, clearance: Long };
  entity Document;
  action Read, Update
    appliesTo { principal: User, resource: Document, context: { mfa: Bool, hour: Long } };
}
"""
SHARED: Mapping[str, str] = {
    "cleared-reads": """permit (principal is Scale::User, action == Scale::Action::"Read", resource)
when { principal.clearance >= 5 };""",
    "board-reads": """permit (principal, action == Scale::Action::"Read", resource is Scale::Document)
when { principal.department == "board" };""",
    "audit-works": """permit (principal, action, resource is Scale::Document)
when { principal.department == "audit" && context.mfa };""",
    "noon-reads": """permit (principal, action == Scale::Action::"Read", resource is Scale::Document)
when { context.hour >= 12 && context.hour < 13 };""",
    "senior-works": """permit (
  principal is Scale::User,
  action in [Scale::Action::"Read", Scale::Action::"Update"],
  resource
)
when { principal.clearance >= 4 && context.mfa };""",
    "platform-reads": """permit (principal, action == Scale::Action::"Read", resource)
when { principal.department == "platform" && principal.clearance >= 3 };""",
    "night-needs-mfa": """forbid (principal, action, resource is Scale::Document)
when { context.hour < 5 }
unless { context.mfa };""",
    "outside": """forbid (principal, action, resource)
when { principal.clearance < 1 };""",
    "reading-needs-some": """forbid (principal, action == Scale::Action::"Read", resource is Scale::Document)
unless { principal.clearance >= 2 || context.mfa };""",
}
"""Nine, each a candidate for every question, whatever the answer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Person:
    """A principal."""

    name: str
    department: str
    clearance: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """Somebody reads a document; with the answer that Cedar's engine gave, or none yet."""

    user: int
    document: int
    mfa: bool
    hour: int
    allowed: bool | None = None
    reasons: Sequence[str] = ()
    """Determining policies, sorted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """What one contender is asked at one size."""

    size: int
    hot: Sequence[Question]
    """Asked again and again; each was asked before it is timed."""
    cold: Sequence[Question] = ()
    """Of documents that nobody has asked for."""
    anywhere: Sequence[Question] = ()
    """Whoever and whatever, drawn anew each time."""


@cache
def people() -> tuple[Person, ...]:
    """The principals, the same at every size."""
    drawn = random.Random(SEED)
    return tuple(
        Person(name=f"user-{number:02}", department=drawn.choice(DEPARTMENTS), clearance=drawn.randint(0, 5))
        for number in range(USERS)
    )


def documents(size: int) -> int:
    """How many documents have a policy in a set of this size."""
    return size - len(SHARED)


def document(number: int) -> str:
    return f"doc-{number:06}"


def department(number: int) -> str:
    """Whose members may read a document."""
    return DEPARTMENTS[number % len(DEPARTMENTS)]


def own_id(number: int) -> str:
    return f"own-{number:06}"


def own(number: int) -> str:
    """The policy of one document, without its id."""
    return (
        f'permit (principal is Scale::User, action == Scale::Action::"Read", '
        f'resource == Scale::Document::"{document(number)}")\n'
        f'when {{ principal.department == "{department(number)}" }};'
    )


def policies(size: int) -> Iterator[tuple[str, str]]:
    """Id and text of every policy, the shared ones first."""
    yield from SHARED.items()
    for number in range(documents(size)):
        yield own_id(number), own(number)


def candidates(number: int) -> list[tuple[str, str]]:
    """The ten policies that can matter to a document, whatever the size."""
    return [*SHARED.items(), (own_id(number), own(number))]


def text(found: Sequence[tuple[str, str]]) -> str:
    """Policies as Cedar text, each with its id."""
    return "\n".join(f'@id("{id}")\n{body}\n' for id, body in found)


def write(folder: Path, size: int) -> None:
    """Writes the set as a policy folder: the schema, and files of `A_FILE` policies."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "schema.cedarschema").write_text(SCHEMA, encoding="utf-8")
    found = list(policies(size))
    for start in range(0, size, A_FILE):
        file = folder / f"policies-{start // A_FILE:03}.cedar"
        file.write_text(text(found[start : start + A_FILE]), encoding="utf-8")


def draw(size: int, count: int, *, among: Sequence[int] | None = None, seed: str = "") -> list[Question]:
    """Questions drawn at random; without `among` about any document. The same for the same arguments."""
    drawn = random.Random(f"{SEED} {size} {seed}")
    return [
        Question(
            user=drawn.randrange(USERS),
            document=drawn.choice(among) if among is not None else drawn.randrange(documents(size)),
            mfa=drawn.random() < 0.5,
            hour=drawn.randrange(24),
        )
        for _ in range(count)
    ]
