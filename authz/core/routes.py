"""The compiled route table: Request → Route; Route and Identity → Query.

Among the routes that match a request the narrowest wins: exact host before `*.suffix` before `*`, a literal
segment before `{parameter}` before `{rest...}`, a method list before `*`. Two routes may nest, one inside the
other, but never cross: crossing, equal and unreachable routes are refused at load, so that which route counts
is never a matter of order.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from urllib.parse import quote

from authz.core.body import BodyRules, declares_body
from authz.core.convert import Kind, convert
from authz.core.errors import NoRoute, Reason, RequestRefused
from authz.core.headers import Headers
from authz.core.lookup import Lookup, Memo, Source, bad_value
from authz.core.mapping import Template
from authz.core.model import (
    Caching,
    Entity,
    EntitySlice,
    EntityUid,
    HeaderEdits,
    Identity,
    Protocol,
    Query,
    Request,
    Value,
)

# RFC 9110, 9.1; RFC 6454, 6.2. Two fields that a proxy joined by a comma match neither.
_METHOD = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_ORIGIN = re.compile(r"null|[a-z][a-z0-9+.-]*://(?:[A-Za-z0-9._~%-]+|\[[0-9A-Fa-f:.]+\])(?::[0-9]{1,5})?")
# Nothing decides of a preflight, so nothing may make another method of it (frameworks' headers that override it).
_NOT_IN_A_PREFLIGHT = (
    "authorization", "proxy-authorization", "cookie", "x-http-method-override", "x-http-method", "x-method-override",
)  # fmt: skip
# Printable ASCII but the percent sign, so that what is encoded can be decoded without doubt.
_HEADER_SAFE = "".join(chr(c) for c in range(0x20, 0x7F) if chr(c) != "%")


@dataclass(frozen=True, slots=True, kw_only=True)
class Segment:
    """One segment of a path template: a literal, a parameter, or the rest (one or more segments)."""

    literal: str | None = None
    parameter: str = ""
    rest: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ContextAttribute:
    """One attribute of a route's context, read from a source."""

    name: str
    kind: Kind
    source: Source
    entity_type: str
    required: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """A compiled route. Made by `authz.core.route_compiler`."""

    name: str
    methods: frozenset[str] | None
    host: str
    segments: tuple[Segment, ...]
    action: EntityUid
    resource_type: str
    resource_id: Template
    resource_parents: tuple[tuple[str, Template], ...]
    constants: Mapping[str, Value]
    attributes: tuple[ContextAttribute, ...]
    issuers: frozenset[str]
    anonymous: EntityUid | None
    authenticators: tuple[str, ...] = ()
    """Names of those that are asked, in order; empty: all there are, in the configuration's order."""
    body: BodyRules | None = None
    """None: the body is never read."""
    preflight: bool = False
    """CORS preflights for this route pass to the service without a decision."""
    protocol: Protocol = "http"
    headers: tuple[tuple[str, Template], ...]
    headers_of_identity: bool = False
    """Do the identity headers depend on the identity alone?"""
    foreign_headers: tuple[str, ...] = ()
    """Identity headers that only other routes set: a client's own must not pass here either."""
    information: tuple[tuple[str, tuple[tuple[str, Template], ...]], ...]
    cache: tuple[float, float] | None = None
    """Seconds that an allow and a deny may be given again; None: never."""
    fail_open: bool
    file: str = ""
    line: int | None = None

    def sources(self) -> Iterator[Source]:
        """Everything that the route reads; what is read in several places comes several times."""
        yield from (attribute.source for attribute in self.attributes)
        templates = [self.resource_id, *(template for _, template in (*self.resource_parents, *self.headers))]
        templates += [template for _, keys in self.information for _, template in keys]
        for template in templates:
            yield from (part for part in template.parts if isinstance(part, Source))

    def check_aliases(self, headers: Headers) -> None:
        """Refuses `X_Auth_User` where `x-auth-user` is an identity header: to CGI-style upstreams they are one.

        Raises:
            RequestRefused: `bad_header`.
        """
        ours = {*self.foreign_headers, *(name for name, _ in self.headers)}
        if ours & headers.aliases:
            raise RequestRefused(Reason.BAD_HEADER, "a header is an identity header, but for its underscores")

    def query(self, lookup: Lookup) -> Query:
        """Cedar's question for a request and an identity.

        Raises:
            RequestRefused: a value of the request is missing or does not fit its kind.
            Unauthenticated: a claim is missing or does not fit.
        """
        identity = lookup.identity
        resource = EntityUid(self.resource_type, _required(self.resource_id, lookup))
        entities = identity.entities
        slices: tuple[EntitySlice, ...] = (entities,)
        if self.resource_parents:
            parents = frozenset(EntityUid(kind, _required(name, lookup)) for kind, name in self.resource_parents)
            slices = (entities, EntitySlice(entities=(Entity(uid=resource, parents=parents),)))
        return Query(
            principal=identity.principal,
            action=self.action,
            resource=resource,
            context=self._context(lookup),
            entities=slices,
            credential=identity.credential,
            caching=self._caching(identity) if self.cache is not None else None,
        )

    def _caching(self, identity: Identity) -> Caching | None:
        if self.cache is None:
            return None
        return Caching(allow=self.cache[0], deny=self.cache[1], until=identity.expires_at)

    def _context(self, lookup: Lookup) -> Mapping[str, Value]:
        known = lookup.memo.context(self.name, lookup, self._context_of_identity)
        context: dict[str, Value] = dict(self.constants)
        for attribute in self.attributes:
            if not attribute.source.from_identity:
                _read(attribute, lookup, context)
            elif attribute.name in known:
                context[attribute.name] = known[attribute.name]
        if lookup.identity.token is not None:
            context["token"] = lookup.identity.token
        return context

    def _context_of_identity(self, lookup: Lookup) -> Mapping[str, Value]:
        """What of the context is the same for each request of one identity."""
        context: dict[str, Value] = {}
        for attribute in self.attributes:
            if attribute.source.from_identity:
                _read(attribute, lookup, context)
        return context

    def edits(self, lookup: Lookup) -> HeaderEdits:
        """The identity headers of an allowed request: each that any route sets is set here, or removed."""
        if self.headers_of_identity:
            return lookup.memo.edits(self.name, lookup, self._edits)
        return self._edits(lookup)

    def _edits(self, lookup: Lookup) -> HeaderEdits:
        kept: list[tuple[str, str]] = []
        removed: list[str] = list(self.foreign_headers)
        for name, template in self.headers:
            value = template.render(lookup)
            if value is None:
                removed.append(name)
            else:
                kept.append((name, header_value(value)))
        return HeaderEdits(set=tuple(kept), remove=tuple(removed))

    def bare_edits(self) -> HeaderEdits:
        """For a request let through without a decision: it carries none of the identity headers."""
        return HeaderEdits(remove=(*(name for name, _ in self.headers), *self.foreign_headers))

    def keys(self, lookup: Lookup) -> Mapping[str, Mapping[str, str]]:
        """Information point → keys to ask it with."""
        return {point: {key: _required(template, lookup) for key, template in keys} for point, keys in self.information}


def _read(attribute: ContextAttribute, lookup: Lookup, context: dict[str, Value]) -> None:
    source = attribute.source
    raw = source.read(lookup)
    if raw is not None:
        context[attribute.name] = convert(attribute.kind, raw, source, entity_type=attribute.entity_type)
    elif attribute.required:
        raise bad_value(source, "a value, for the route requires it")


def header_value(value: str) -> str:
    """A header value that every proxy carries unchanged: printable ASCII, all else and `%` percent-encoded."""
    if value.isascii() and value.isprintable() and "%" not in value and value == value.strip():
        return value
    encoded = quote(value, safe=_HEADER_SAFE)
    middle = encoded.strip(" ")
    before = len(encoded) - len(encoded.lstrip(" "))
    return "%20" * before + middle + "%20" * (len(encoded) - before - len(middle))


def _required(template: Template, lookup: Lookup) -> str:
    value = template.render(lookup)
    if not value:
        sources = (part for part in template.parts if isinstance(part, Source))
        missing = next((source for source in sources if source.read(lookup) is None), None)
        if missing is None:
            raise RequestRefused(Reason.BAD_PARAMETER, "an entity identifier came out empty")
        raise bad_value(missing, "a value, for an entity identifier is made of it")
    return value


class _Node:
    __slots__ = ("leaf", "literals", "parameter", "rest")

    def __init__(self) -> None:
        self.literals: dict[str, _Node] = {}
        self.parameter: _Node | None = None
        self.rest: list[Route] = []
        self.leaf: list[Route] = []


class RouteTable:
    """Finds the route of a request. Built by `authz.core.route_compiler`; immutable afterwards."""

    def __init__(self, routes: tuple[Route, ...] = ()) -> None:
        self.routes = routes
        self.memo = Memo()
        """For the lookups of this table's routes, whose names are unique."""
        self.reads_bodies = any(route.body is not None for route in routes)
        """Does any route read bodies?"""
        self._preflights = any(route.preflight for route in routes)
        self._roots: dict[Protocol, _Node] = {"http": _Node(), "tcp": _Node()}
        for route in routes:
            self._insert(route)

    def _insert(self, route: Route) -> None:
        node = self._roots[route.protocol]
        for segment in route.segments:
            if segment.rest:
                node.rest.append(route)
                node.rest.sort(key=narrowness)
                return
            if segment.literal is None:
                node.parameter = node.parameter or _Node()
                node = node.parameter
            else:
                node = node.literals.setdefault(segment.literal, _Node())
        node.leaf.append(route)
        node.leaf.sort(key=narrowness)

    def match(self, request: Request) -> tuple[Route, Mapping[str, str]]:
        """The narrowest route that covers the request, and its path parameters.

        Raises:
            NoRoute: none does.
        """
        segments = request.path.segments
        route = _walk(self._roots[request.protocol], segments, 0, request.method, request.host)
        if route is None:
            raise NoRoute("no route covers the request's method, host and path")
        return route, _parameters(route, segments)

    def preflight(self, request: Request) -> Route | None:
        """The route that a CORS preflight asks about, if its preflights pass; None: it is a request like any other.

        Reference: Fetch standard, 4.8, CORS-preflight fetch: `OPTIONS`, one `Origin`, and one
        `Access-Control-Request-Method`, which is the method of the request that is to follow. It never carries a
        credential, nor a body: what does is no preflight.
        """
        if not self._preflights or request.method != "OPTIONS" or request.protocol != "http":
            return None
        headers = request.headers
        methods, origins = headers.all("access-control-request-method"), headers.all("origin")
        if len(methods) != 1 or _METHOD.fullmatch(methods[0]) is None:
            return None
        if len(origins) != 1 or _ORIGIN.fullmatch(origins[0]) is None:
            return None
        if any(headers.count(name) for name in _NOT_IN_A_PREFLIGHT) or request.body or declares_body(headers):
            return None
        route = _walk(self._roots["http"], request.path.segments, 0, methods[0], request.host)
        return route if route is not None and route.preflight else None


def _walk(node: _Node, segments: tuple[str, ...], position: int, method: str, host: str) -> Route | None:
    # Narrowest first, with backtracking. Since routes never cross, the first hit is inside every other hit.
    if position == len(segments):
        return _select(node.leaf, method, host)
    segment = segments[position]
    child = node.literals.get(segment)
    if child is not None:
        found = _walk(child, segments, position + 1, method, host)
        if found is not None:
            return found
    if node.parameter is not None and segment:
        found = _walk(node.parameter, segments, position + 1, method, host)
        if found is not None:
            return found
    return _select(node.rest, method, host) if node.rest else None


def _select(routes: list[Route], method: str, host: str) -> Route | None:
    for route in routes:
        if (route.methods is None or method in route.methods) and (route.host == "*" or host_covers(route.host, host)):
            return route
    return None


def _parameters(route: Route, segments: tuple[str, ...]) -> Mapping[str, str]:
    found: dict[str, str] = {}
    for position, segment in enumerate(route.segments):
        if segment.rest:
            found[segment.parameter] = "/".join(segments[position:])
        elif segment.literal is None:
            found[segment.parameter] = segments[position]
    return found


def narrowness(route: Route) -> tuple[int, int, int]:
    """Orders routes of one path: exact host, `*.suffix`, `*`; then fewer methods first. Narrower is less."""
    if route.host == "*":
        host = (2, 0)
    elif route.host.startswith("*."):
        host = (1, -len(route.host))
    else:
        host = (0, 0)
    return (*host, len(route.methods) if route.methods is not None else 1 << 30)


def host_covers(pattern: str, host: str) -> bool:
    """Does a route's host pattern (a name, `*.suffix` or `*`) cover a host name or a narrower pattern?"""
    if pattern in {"*", host}:
        return True
    return pattern.startswith("*.") and host.endswith(pattern[1:]) and len(host) > len(pattern) - 1
