"""Fakes of the ports, for tests: each passes the contract suite of its port.

They are public: who builds on `authz` tests with them. Nothing here verifies anything.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from threading import Lock

from authz.core.errors import AttributesUnavailable, AuthzError, Reason, Unauthenticated
from authz.core.model import (
    Decision,
    EntityUid,
    Identity,
    PolicySnapshot,
    Query,
    Record,
    Request,
    Verdict,
)
from authz.core.ports import Attributes

# --- authenticator --------------------------------------------------------------------------------------


class FakeAuthenticator:
    """An `Authenticator` without keys: `Authorization: Bearer NAME` is the identity of that name.

    A name that is not in the table is a bad token. With `failure` set, every bearer credential raises it.
    """

    def __init__(self, identities: Mapping[str, Identity], *, failure: AuthzError | None = None) -> None:
        self.identities = dict(identities)
        self.failure = failure
        self.requests: list[Request] = []
        """What was asked, in order."""

    async def authenticate(self, request: Request) -> Identity | None:
        """The identity; None: no bearer credential.

        Raises:
            Unauthenticated: `token_signature` for an unknown name, `credentials_ambiguous` for two headers.
            AuthzError: `failure`.
        """
        self.requests.append(request)
        values = request.headers.all("authorization")
        names = [name for scheme, _, name in (v.partition(" ") for v in values) if scheme.lower() == "bearer"]
        if not names:
            return None
        if len(values) > 1:
            raise Unauthenticated(Reason.CREDENTIALS_AMBIGUOUS, "expected one Authorization header")
        if self.failure is not None:
            raise self.failure
        identity = self.identities.get(names[0].strip(" "))
        if identity is None:
            raise Unauthenticated(Reason.TOKEN_SIGNATURE, "no identity of that name")
        return identity


# --- record sink ----------------------------------------------------------------------------------------


class FakeRecordSink:
    """A `RecordSink` that keeps the records in memory, as they are, in order."""

    def __init__(self, *, limit: int = 10_000) -> None:
        self.records: list[Record] = []
        """What was written, oldest first."""
        self.dropped = 0
        """How many came after the limit was reached."""
        self._limit = limit
        self._lock = Lock()

    def write(self, record: Record) -> None:
        """Keeps the record, or drops and counts it. Neither waits for anything nor raises."""
        with self._lock:
            if len(self.records) < self._limit:
                self.records.append(record)
            else:
                self.dropped += 1


# --- decision point -------------------------------------------------------------------------------------


class FakeDecisionPoint:
    """A `DecisionPoint` by a table: what is listed is allowed, everything else is denied.

    With `failure` set, every question raises it.
    """

    def __init__(
        self,
        allowed: Collection[tuple[EntityUid, EntityUid, EntityUid]] = (),
        *,
        failure: AuthzError | None = None,
        version: str = "fake",
    ) -> None:
        self.allowed = set(allowed)
        """(principal, action, resource)."""
        self.failure = failure
        self.version = version
        self.queries: list[Query] = []
        """What was asked, in order."""

    async def decide(self, query: Query) -> Decision:
        """The decision; the determining policy of an allow is called `fake`."""
        self.queries.append(query)
        if self.failure is not None:
            raise self.failure
        if (query.principal, query.action, query.resource) in self.allowed:
            return Decision(verdict=Verdict.ALLOW, policies=("fake",), decision_point="fake", version=self.version)
        return Decision(verdict=Verdict.DENY, decision_point="fake", version=self.version)

    async def decide_many(self, queries: Sequence[Query]) -> tuple[Decision, ...]:
        """One decision for each query, in order."""
        return tuple([await self.decide(query) for query in queries])


# --- policy store ---------------------------------------------------------------------------------------


class FakePolicyStore:
    """A `PolicyStore` that holds a snapshot in memory. With `failure` set, every load raises it."""

    def __init__(self, snapshot: PolicySnapshot, *, failure: Exception | None = None) -> None:
        self.snapshot = snapshot
        self.failure = failure

    async def load(self) -> PolicySnapshot:
        """The snapshot."""
        if self.failure is not None:
            raise self.failure
        return self.snapshot


# --- information point ----------------------------------------------------------------------------------


class FakeInformationPoint:
    """An `InformationPoint` by a table: the value of the key `key` → what is found. Unknown keys find nothing."""

    def __init__(self, found: Mapping[str, Attributes], *, failure: bool = False) -> None:
        self.found = dict(found)
        self.failure = failure

    async def fetch(self, keys: Mapping[str, str]) -> Attributes:
        """What is found for the keys.

        Raises:
            AttributesUnavailable: `failure` is set.
        """
        if self.failure:
            raise AttributesUnavailable(detail="as the test wants it")
        return self.found.get(keys.get("key", ""), Attributes())
