"""What the demo shows: two people, four requests, what must come of each, and the edit that changes one answer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from authz.devtools.demo.issuer import Algorithm

HOST = "127.0.0.1"
"""What Envoy is called by, and from where."""
EDITED_FILE = "reading.cedar"
EDIT = ("classification <= 1", "classification <= 2")
"""Stands once in the file: in `employee-reads`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Person:
    """Who calls, and what the issuer says of them."""

    name: str
    claims: Mapping[str, object]
    algorithm: Algorithm


ALICE = Person(
    name="alice",
    claims={"groups": ["analyst"], "amr": ["pwd", "mfa"], "scope": "documents.read"},
    algorithm="RS256",
)
DAVE = Person(
    name="dave",
    claims={"groups": ["employee"], "amr": ["pwd", "mfa"], "scope": "documents.read documents.write"},
    algorithm="ES256",
)
PEOPLE = (ALICE, DAVE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What came of a request, as far as the one who asked can tell."""

    status: int
    reason: str = ""
    """Reason code; `allowed` is told to nobody but the library's caller."""
    policies: tuple[str, ...] = ()
    """Determining policies; of an allowed request the client does not learn them."""
    message: str = ""
    """`@deny_message` of the forbid that decided."""
    user: str = ""
    """As whom the service sees the caller."""
    challenge: bool = False
    """Was the client told which credential counts?"""

    def __str__(self) -> str:
        what = [", ".join(self.policies) or self.reason] if self.status != 200 or self.policies else []
        return ", ".join([" ".join([str(self.status), *what]), *([f"as {self.user}"] if self.user else [])])

    def told_apart_from(self, other: Answer) -> str:
        """In a word if that differs from the other's, else in full."""
        return str(self) if str(self) != str(other) or self == other else repr(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One request, and what must come of it."""

    number: int
    title: str
    story: str = ""
    method: str = "GET"
    path: str
    person: Person | None
    edited: bool = False
    """Is it asked after the edit?"""
    expected: Answer
    """In the process. Through Envoy see `through_envoy`."""
    note: str
    """Of the answer, for whoever pastes the request. Without apostrophes: a shell may read it."""

    def __str__(self) -> str:
        who = self.person.name if self.person is not None else "nobody"
        return f"{self.number} {who:<6} {self.method} {self.path}{', edited' if self.edited else ''}"

    @property
    def through_envoy(self) -> Answer:
        """What the client must get: of an allowed request it sees the service's answer, and no decision."""
        return replace(self.expected, reason="", policies=()) if self.expected.status == 200 else self.expected


FORECAST = "/documents/q3-forecast"

ALLOWED = Step(
    number=1,
    title="Allowed",
    story="Alice is in finance, which owns the forecast.",
    path=FORECAST,
    person=ALICE,
    expected=Answer(status=200, reason="allowed", policies=("department-reads",), user="alice"),
    note="200, and the service was told x-auth-user: alice",
)
DENIED = Step(
    number=2,
    title="Denied, with the reason and the policy",
    story="Dave owns the report, but it is under legal hold.",
    method="DELETE",
    path="/documents/incident-report",
    person=DAVE,
    expected=Answer(
        status=403,
        reason="policy_forbid",
        policies=("legal-hold-blocks-deletion",),
        message="this document is under legal hold and cannot be deleted",
    ),
    note="403 policy_forbid, by legal-hold-blocks-deletion",
)
NO_TOKEN = Step(
    number=3,
    title="No token",
    story="Envoy passes nothing on, and says what is missing.",
    path=FORECAST,
    person=None,
    expected=Answer(status=401, reason="no_credentials", challenge=True),
    note="401, with a challenge (www-authenticate)",
)
BEFORE = Step(
    number=4,
    title="Edit a policy and try again",
    story="Dave is an employee, but not in finance.",
    path=FORECAST,
    person=DAVE,
    expected=Answer(status=403, reason="policy_no_permit"),
    note="403 policy_no_permit. Then let the policy employee-reads go up to 2, confidential:",
)
AFTER = Step(
    number=4,
    title="After the edit",
    edited=True,
    path=FORECAST,
    person=DAVE,
    expected=Answer(status=200, reason="allowed", policies=("employee-reads",), user="dave"),
    note="200: the replica has seen the change, a second or two after the push",
)
STEPS = (ALLOWED, DENIED, NO_TOKEN, BEFORE)
