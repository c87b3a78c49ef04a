"""What changes seldom: the schema, the identity source, and which store an alias stands for.

Each look takes one of them in its turn, when it is due. What is not known yet is looked at in any case.
"""

from __future__ import annotations

from collections.abc import Callable

from authz.aws.errors import AvpError, Kind
from authz.core.errors import Misconfigured, Problem
from authz.core.identity_source import StoreIdentitySource
from authz.stores.avp_calls import Calls, text_of, unreadable
from authz.stores.avp_content import encodable
from authz.stores.avp_identity import read_identity_source

ALIAS, IDENTITY, SCHEMA = "alias", "identity source", "schema"
ALIAS_PREFIX = "policy-store-alias/"
MAX_SCHEMA = 4 * 1024 * 1024
"""Characters; the quota is 100,000 or 200,000 bytes (user guide, "Quotas")."""
_MAX_SOURCES = 50


class Rest:
    """Knows the rest of one policy store. Not thread-safe.

    Args:
        calls: to the service.
        reference: the policy store's id, or its alias.
        interval: seconds for which each of them is not looked at again.
        clock: seconds, never going back.
    """

    def __init__(self, calls: Calls, reference: str, interval: float, clock: Callable[[], float]) -> None:
        self._calls = calls
        self._reference = reference
        self._interval = interval
        self._clock = clock
        self._parts = (ALIAS, IDENTITY, SCHEMA) if reference.startswith(ALIAS_PREFIX) else (IDENTITY, SCHEMA)
        self._looked_at: dict[str, float] = {}
        """When each was looked at; what is not there is not known."""
        self._turn_at: dict[str, float] = {}
        """When each had its turn. In a look that fails before it comes to it, it is not looked at: the others must have
        theirs nevertheless, for the alias may lead away from what fails."""
        self._store = ""
        self._schema: str | None = None
        self._source: StoreIdentitySource | None = None

    def turn(self, *, whole: bool) -> frozenset[str]:
        """What to look at now: all of it (`whole`), or what is due, and had its turn longest ago."""
        if whole:
            return frozenset(self._parts)
        now = self._clock()
        due = [part for part in self._parts if now - self._looked_at.get(part, now) >= self._interval]
        oldest = sorted(due, key=lambda part: self._turn_at.get(part, self._looked_at[part]))[:1]
        self._turn_at.update(dict.fromkeys(oldest, now))
        return frozenset(oldest).union(part for part in self._parts if part not in self._looked_at)

    def forget(self) -> None:
        """To be told that what is known is of another store."""
        for part in (IDENTITY, SCHEMA):
            self._looked_at.pop(part, None)
        self._schema = self._source = None

    def forget_store(self) -> None:
        """To be told that the store is not there."""
        self._looked_at.pop(ALIAS, None)

    def store(self, turn: frozenset[str]) -> str:
        """The policy store's id. By it alone is the store asked, so that no answer is of another one.

        Raises:
            AvpError: the alias is not there, or is being deleted.
        """
        if ALIAS not in self._parts:
            return self._reference
        if ALIAS in turn:
            operation = "GetPolicyStoreAlias"
            answer = self._calls(operation, "policyStoreId", str, aliasName=self._reference)
            if answer.get("state") == "PendingDeletion":
                raise AvpError(Kind.MISSING, operation, "the alias is being deleted", code="PendingDeletion")
            self._store = text_of(answer, "policyStoreId", operation)
            self._looked(ALIAS)
        return self._store

    def identity_source(self, store: str, turn: frozenset[str]) -> StoreIdentitySource | None:
        """The store's identity source; None: it has none.

        Raises:
            Misconfigured: it has one of an unknown kind, or several.
        """
        if IDENTITY in turn or IDENTITY not in self._looked_at:
            operation = "ListIdentitySources"
            items = [*self._calls.pages(operation, "identitySources", _MAX_SOURCES, policyStoreId=store)]
            if len(items) > 1:
                text = "the policy store has several identity sources: only one can say whose tokens count"
                raise Misconfigured((Problem(message=text, file=f"avp:{store}"),))
            source = read_identity_source(items[0], store) if items else None
            if isinstance(source, Problem):
                self._looked_at.pop(IDENTITY, None)
                raise Misconfigured((source,))
            if source != self._source:
                self._source = source
            self._looked(IDENTITY)
        return self._source

    def schema(self, store: str, turn: frozenset[str], *, again: bool) -> str | None:
        """The schema's text, JSON; None: the store has none.

        Call it after something else of the store was read: that a schema is not there must not mean that no store is.

        Args:
            store: the policy store's id.
            turn: what is looked at now.
            again: look in any case, for policies have changed and may need another schema.
        """
        if again or SCHEMA in turn or SCHEMA not in self._looked_at:
            self._schema = self._read_schema(store)
            self._looked(SCHEMA)
        return self._schema

    def _read_schema(self, store: str) -> str | None:
        operation = "GetSchema"
        try:
            text = self._calls(operation, "schema", str, policyStoreId=store)["schema"]
        except AvpError as error:
            if error.kind is Kind.MISSING:
                return None
            raise
        if not isinstance(text, str) or len(text) > MAX_SCHEMA or not encodable(text):
            raise unreadable(operation, f"the schema is no text of at most {MAX_SCHEMA} characters")
        return text if "".join(text[:100].split()) not in ("", "{}") else None

    def _looked(self, part: str) -> None:
        self._looked_at[part] = self._clock()
