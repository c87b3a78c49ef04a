"""What a route's values are read from, and what is said where one does not fit."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from authz.core.errors import Reason, RequestRefused, Unauthenticated
from authz.core.model import Identity, Request
from authz.core.request import parse_query


class Lookup:
    """What sources read: the request, the identity, the path's parameters. Parses the query once, if asked."""

    __slots__ = ("_query", "identity", "parameters", "request")

    def __init__(self, request: Request, identity: Identity, parameters: Mapping[str, str]) -> None:
        self.request = request
        self.identity = identity
        self.parameters = parameters
        self._query: Mapping[str, tuple[str, ...]] | None = None

    @property
    def query(self) -> Mapping[str, tuple[str, ...]]:
        """The query's parameters."""
        if self._query is None:
            self._query = parse_query(self.request.query)
        return self._query


Read = Callable[[Lookup], object]


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """One named value. `read` gives None where it is absent."""

    name: str
    read: Read

    @property
    def from_token(self) -> bool:
        """Does the value come from the token (then a bad one is the token's fault, not the request's)?"""
        return self.name.startswith(("claims.", "principal."))


def bad_value(source: Source, expected: str) -> RequestRefused | Unauthenticated:
    """The error for a value that cannot be what its mapping wants. Names the source, never the value."""
    detail = f"`{source.name}`: expected {expected}"
    if source.from_token:
        return Unauthenticated(Reason.TOKEN_CLAIMS, detail)
    return RequestRefused(Reason.BAD_PARAMETER, detail)
