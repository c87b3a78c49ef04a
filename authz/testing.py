"""Fakes of the ports, for tests: each passes the contract suite of its port.

They are public: who builds on `authz` tests with them. Nothing here verifies anything.
"""

from __future__ import annotations

from collections.abc import Mapping
from threading import Lock

from authz.core.errors import AuthzError, Reason, Unauthenticated
from authz.core.model import Identity, Record, Request

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
