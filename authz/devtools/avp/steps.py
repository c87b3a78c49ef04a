"""The calls that a push makes, one value each, in the order of their phases.

The order keeps a promise: *what is allowed at any moment of a push was allowed before it, or is allowed after it*.
So permits that go are deleted first; then what forbids is put in; then permits come; what no longer forbids goes last.
A forbid that changes is guarded meanwhile by a stand-in: a copy of what it will be. If a push ends in the middle, the
same holds for where it stopped.

The schema goes first, for a `STRICT` store holds what is written against the schema in force, and does not look again
at what it has. It decides nothing by itself, but for the groups that actions are in, which the plan then says.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from typing import TypeAlias

from authz.core.model import EntityUid
from authz.devtools.avp.content import IdentitySource


class Phase(IntEnum):
    """When a call is made."""

    SCHEMA = 0
    RENAME = 1
    CLOSE = 2
    """Permits go, and an identity source that is no longer wanted."""
    TEMPLATES = 3
    """New ones; without links they decide nothing."""
    FORBID = 4
    """New forbids, and stand-ins of those that change."""
    PERMIT_TEMPLATES = 5
    PERMIT = 6
    FORBID_TEMPLATES = 7
    RELEASE = 8
    """Forbids change or go."""
    CLEAN = 9
    """Stand-ins go."""
    IDENTITY = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Ref:
    """A policy or template: one that there is, or one that an earlier call makes."""

    id: str = ""
    made: str = ""
    """The name it was made under."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PutSchema:
    """Replaces the schema; `{}` deletes it."""

    schema: str = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class CreatePolicy:
    """Makes a policy or template."""

    name: str
    text: str = field(repr=False)
    description: str = ""
    template: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class CreateLink:
    """Makes a template-linked policy."""

    name: str
    template: Ref
    values: Mapping[str, EntityUid] = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class UpdatePolicy:
    """Changes a policy or template in place."""

    id: str
    text: str = field(default="", repr=False)
    """Empty: as it is."""
    name: str | None = None
    """None: as it is."""
    description: str = ""
    template: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Delete:
    """Deletes a policy or link, or a template with its links."""

    target: Ref
    template: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class PutIdentitySource:
    """Makes an identity source, or changes the one of this id."""

    source: IdentitySource
    id: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class DeleteIdentitySource:
    """Deletes an identity source."""

    id: str


Call: TypeAlias = (
    PutSchema | CreatePolicy | CreateLink | UpdatePolicy | Delete | PutIdentitySource | DeleteIdentitySource
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One call, when, and what it is for."""

    phase: Phase
    call: Call
    about: str
    file: str = ""
    line: int | None = None


def in_order(steps: list[Step]) -> tuple[Step, ...]:
    """By phase; within one as they were made."""
    return tuple(sorted(steps, key=lambda step: step.phase))
