"""What a route's values are read from, and what is said where one does not fit. Parsed only if asked."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TypeAlias, TypeVar

from authz.core.body import BodyRules, parse_body
from authz.core.errors import Reason, RequestRefused, Unauthenticated
from authz.core.model import HeaderEdits, Identity, Request, Value
from authz.core.request import parse_query

KEPT = 2048
"""Pairs of route and identity of which something is remembered; a few hundred bytes each."""
T = TypeVar("T")
_Known: TypeAlias = dict[tuple[str, int], tuple[Identity, T]]


class Memo:
    """What the routes of one table made of the identities they saw: it is the same for each request of one.

    An identity is known by the very object, which an authenticator gives for as long as it remembers the credential.
    It is held here, so that its `id` stays its own. The oldest goes first.
    """

    __slots__ = ("_contexts", "_edits", "limit")

    def __init__(self, limit: int = KEPT) -> None:
        self.limit = limit
        self._contexts: _Known[Mapping[str, Value]] = {}
        self._edits: _Known[HeaderEdits] = {}

    def context(self, route: str, lookup: Lookup, make: Callable[[Lookup], Mapping[str, Value]]) -> Mapping[str, Value]:
        """What `make` gives for the route and the lookup's identity. What it raises is not remembered."""
        return _remembered(self._contexts, self.limit, route, lookup, make)

    def edits(self, route: str, lookup: Lookup, make: Callable[[Lookup], HeaderEdits]) -> HeaderEdits:
        """The same for header edits."""
        return _remembered(self._edits, self.limit, route, lookup, make)


def _remembered(known: _Known[T], limit: int, route: str, lookup: Lookup, make: Callable[[Lookup], T]) -> T:
    identity = lookup.identity
    key = route, id(identity)
    found = known.get(key)
    if found is not None and found[0] is identity:
        return found[1]
    made = make(lookup)
    if len(known) >= limit:
        del known[next(iter(known))]
    known[key] = identity, made
    return made


class Lookup:
    """What sources read: the request, the identity, the path's parameters. Query and body are parsed once, if asked."""

    __slots__ = ("_body", "_likenesses", "_query", "body_rules", "identity", "memo", "parameters", "request")

    def __init__(
        self,
        request: Request,
        identity: Identity,
        parameters: Mapping[str, str],
        body_rules: BodyRules | None = None,
        memo: Memo | None = None,
    ) -> None:
        self.memo = memo if memo is not None else Memo()
        self.request = request
        self.identity = identity
        self.parameters = parameters
        self.body_rules = body_rules
        self._query: Mapping[str, tuple[str, ...]] | None = None
        self._body: Mapping[str, object] | None = None
        self._likenesses: dict[int, Mapping[str, int]] = {}

    @property
    def query(self) -> Mapping[str, tuple[str, ...]]:
        """The query's parameters."""
        if self._query is None:
            self._query = parse_query(self.request.query)
        return self._query

    @property
    def body(self) -> Mapping[str, object]:
        """The body's members; empty where there is no body.

        Raises:
            RequestRefused: `bad_body` or `too_large`. Each time anew: what is refused is not kept.
        """
        if self._body is None:
            self._body = parse_body(self.request, self.body_rules) if self.body_rules is not None else {}
        return self._body

    def likenesses(self, members: Mapping[str, object]) -> Mapping[str, int]:
        """How many names there are in an object of the body, by the name without regard to case. Counted once."""
        # By identity: the body holds them all for as long as this lives, and none can be hashed.
        found = self._likenesses.get(id(members))
        if found is None:
            found = self._likenesses[id(members)] = Counter(name.casefold() for name in members)
        return found


Read = Callable[[Lookup], object]


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """One named value. `read` gives None where it is absent."""

    name: str
    read: Read
    from_identity: bool = field(init=False)
    """Does the value come from the identity (then a bad one is the token's fault, not the request's)?"""
    from_body: bool = field(init=False)
    """Does the value come from the body? JSON's types count there as they stand."""

    def __post_init__(self) -> None:
        # Asked for each value of each request, so found out once.
        object.__setattr__(self, "from_identity", self.name.startswith(("claims.", "principal.")))
        object.__setattr__(self, "from_body", self.name.startswith("body."))


def bad_value(source: Source, expected: str) -> RequestRefused | Unauthenticated:
    """The error for a value that cannot be what its mapping wants. Names the source, never the value."""
    detail = f"`{source.name}`: expected {expected}"
    if source.from_identity:
        return Unauthenticated(Reason.TOKEN_CLAIMS, detail)
    return RequestRefused(Reason.BAD_PARAMETER, detail)
