"""The five ports. Whatever is outside is reached through one of these.

Every adapter passes the contract suite of its port (tests/contracts); so does its fake (authz.testing).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from authz.core.model import (
    Decision,
    EntitySlice,
    Identity,
    PolicySnapshot,
    Query,
    Record,
    Request,
    Value,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Attributes:
    """What information points found: context below the reserved key `pip`, entities, age in seconds."""

    context: Mapping[str, Value] = field(default_factory=dict)
    entities: EntitySlice = field(default_factory=EntitySlice)
    age: float = 0.0


class Authenticator(Protocol):
    """Verifies one kind of credential."""

    async def authenticate(self, request: Request) -> Identity | None:
        """The verified identity; None: the request carries no credential of this kind.

        Raises:
            Unauthenticated: it carries one, and it is bad.
            KeysUnavailable: it carries one, and it cannot be checked now.
        """


class InformationPoint(Protocol):
    """Finds what policies need to know beyond the request."""

    async def fetch(self, keys: Mapping[str, str]) -> Attributes:
        """Attributes for the keys that the route's mapping made.

        Raises:
            AttributesUnavailable: the source did not answer, or not with what the schema declares.
        """


class DecisionPoint(Protocol):
    """Answers Cedar's question."""

    async def decide(self, query: Query) -> Decision:
        """The decision.

        Raises:
            Unavailable: there is none (engine error, no policy set, claims that do not fit the schema).
        """

    async def decide_many(self, queries: Sequence[Query]) -> tuple[Decision, ...]:
        """One decision for each query, in order. Raises as `decide` does, if any of them does."""


class PolicyStore(Protocol):
    """Where policies are kept."""

    async def load(self) -> PolicySnapshot:
        """The store's present content.

        Raises:
            Misconfigured: the content cannot be a policy set; every problem found.
            PoliciesUnavailable: the store cannot be read now.
        """


class RecordSink(Protocol):
    """Takes the record of each check. Must not block and must not raise."""

    def write(self, record: Record) -> None:
        """Queues or drops the record; a drop is counted."""
