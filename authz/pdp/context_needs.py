"""Which attributes of the context a query's policies can read: the others need not reach the engine.

The engine parses the whole context of each request, which takes as long as ten policies (measured: 26 of 45 µs).
What no policy reads that could match the query's action and types cannot change its decision. A value that is left
out is not looked at by the engine either; that it is of its kind was asked when the request was mapped.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache

from authz.core.cedar_schema import Schema
from authz.core.cedar_scope import context_names, may_match, read_scope
from authz.core.model import EntityUid, Policy, Query

KNOWN = 1024
"""Combinations of action and types that are remembered; an application has few."""


class ContextNeeds:
    """Made with a policy set, and dropped with it."""

    def __init__(self, policies: Iterable[Policy], schema: Schema | None) -> None:
        self._policies = tuple((read_scope(policy.text), context_names(policy.text)) for policy in policies)
        self._schema = schema
        self._found = lru_cache(maxsize=KNOWN)(self._find)

    def names(self, query: Query) -> frozenset[str] | None:
        """The attributes to tell; None: all of them."""
        return self._found(query.action, query.principal.type, query.resource.type)

    def _find(self, action: EntityUid, principal: str, resource: str) -> frozenset[str] | None:
        if self._schema is None or action not in self._schema.actions:
            # The action's groups are whatever its entity says, in the store or in the query.
            return None
        groups = frozenset(EntityUid(*group) for group in self._schema.action_ancestors(*action))
        types = {"principal": principal, "resource": resource}
        found: set[str] = set()
        for scope, names in self._policies:
            if not may_match(scope, action, groups, types):
                continue
            if names is None:
                return None
            found |= names
        return frozenset(found)
