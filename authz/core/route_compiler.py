"""Routes as written → routes as used, or every problem found in them, with file and line."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import TypeVar, cast

from authz.core.body import BodyRules
from authz.core.convert import KINDS, Kind, convert
from authz.core.errors import AuthzError, Problem
from authz.core.lookup import Source
from authz.core.mapping import (
    MappingError,
    Template,
    parse_source,
    parse_template,
    parse_type,
    parse_uid,
)
from authz.core.model import EntityUid, Protocol, Value
from authz.core.route_conflicts import conflicts
from authz.core.routes import ContextAttribute, Route, RouteTable, Segment

RESERVED_CONTEXT = frozenset({"token", "pip", "ages"})
_METHODS = re.compile(r"[A-Z][A-Z0-9-]{0,31}")
_HOST = re.compile(r"\*|(?:\*\.)?[a-z0-9_-]+(?:\.[a-z0-9_-]+)*|\[[0-9a-f:.]+\]")
_PARAMETER = re.compile(r"\{([A-Za-z_][A-Za-z0-9_]*)(\.\.\.)?\}")
_LITERAL = re.compile(r"[A-Za-z0-9._~!$&'()*+,=:@-]*")
_HEADER = re.compile(r"[a-z][a-z0-9-]{0,63}")
# Headers that would reroute, desynchronise or re-authenticate the request (ext-auth facts A3).
_FORBIDDEN_HEADERS = frozenset(
    {
        "authorization", "cache-control", "connection", "content-length", "content-type", "cookie", "date", "expect",
        "forwarded", "host", "keep-alive", "proxy-authenticate", "proxy-authorization", "proxy-connection", "server",
        "set-cookie", "te", "trailer", "transfer-encoding", "upgrade", "via", "www-authenticate",
    }
)  # fmt: skip
_FORBIDDEN_PREFIXES = ("x-forwarded-", "x-envoy-", "x-original-", "sec-")


@dataclass(frozen=True, slots=True, kw_only=True)
class AttributeSpec:
    """One context attribute as written: from a source, or a fixed value."""

    type: str = "string"
    source: str | None = None
    value: str | int | bool | None = None
    entity_type: str | None = None
    required: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class RouteSpec:
    """One route as written, with the place where it stands."""

    name: str
    path: str
    action: str
    resource_type: str
    resource_id: str
    methods: tuple[str, ...] = ("*",)
    host: str = "*"
    resource_parents: tuple[tuple[str, str], ...] = ()
    """(entity type, id template) of each."""
    context: Mapping[str, AttributeSpec] = field(default_factory=dict)
    issuers: tuple[str, ...] = ()
    """Names of the issuers whose tokens count; empty: all."""
    authenticators: tuple[str, ...] = ()
    """Names of the authenticators that are asked, in order; empty: all."""
    body: BodyRules | None = None
    preflight: bool = False
    protocol: Protocol = "http"
    anonymous: str | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    information: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    """Information point → its keys' templates."""
    cache: tuple[float, float] | None = None
    """Seconds that an allow and a deny may be given again; None: never."""
    fail_open: bool = False
    file: str = ""
    line: int | None = None


T = TypeVar("T")
_NOWHERE = EntityUid("", "")
_NO_SEGMENTS: tuple[Segment, ...] = ()


def compile_routes(specs: tuple[RouteSpec, ...]) -> tuple[RouteTable, tuple[Problem, ...]]:
    """The table and every problem found. With any problem the table is empty: it denies everything."""
    problems: list[Problem] = []
    routes = [route for spec in specs if (route := _Compiler(spec, problems).route()) is not None]
    problems.extend(_duplicate_names(specs))
    problems.extend(conflicts(routes))
    return RouteTable(() if problems else _with_foreign_headers(routes)), tuple(problems)


def _with_foreign_headers(routes: list[Route]) -> tuple[Route, ...]:
    every = dict.fromkeys(name for route in routes for name, _ in route.headers)
    return tuple(
        replace(
            route,
            foreign_headers=tuple(name for name in every if name not in dict(route.headers)),
            headers_of_identity=all(template.from_identity for _, template in route.headers),
        )
        for route in routes
    )


def _duplicate_names(specs: tuple[RouteSpec, ...]) -> list[Problem]:
    first: dict[str, RouteSpec] = {}
    found: list[Problem] = []
    for spec in specs:
        if spec.name in first:
            text = f"the route name `{spec.name}` is already used by line {first[spec.name].line}; names are unique"
            found.append(Problem(message=text, file=spec.file, line=spec.line))
        first.setdefault(spec.name, spec)
    return found


class _Compiler:
    """Compiles one route; what is wrong goes to `problems`, so that all of it is reported at once."""

    def __init__(self, spec: RouteSpec, problems: list[Problem]) -> None:
        self.spec = spec
        self.problems = problems
        self.parameters: frozenset[str] = frozenset()

    def route(self) -> Route | None:
        """The route, or None if anything about it is wrong."""
        spec, before = self.spec, len(self.problems)
        segments = self._try(lambda: parse_path(spec.path), _NO_SEGMENTS)
        self.parameters = frozenset(segment.parameter for segment in segments if segment.parameter)
        if spec.host != "*" and _HOST.fullmatch(spec.host) is None:
            self._problem(f"the host `{spec.host[:80]}` is not valid; expected a lower-case name, `*.suffix` or `*`")
        route = Route(
            name=spec.name,
            methods=self._methods(),
            host=spec.host,
            segments=segments,
            action=self._try(lambda: parse_uid(spec.action), _NOWHERE),
            resource_type=self._type(spec.resource_type),
            resource_id=self._template(spec.resource_id),
            resource_parents=tuple((self._type(kind), self._template(text)) for kind, text in spec.resource_parents),
            constants=self._constants(),
            attributes=tuple(self._attributes()),
            issuers=frozenset(spec.issuers),
            authenticators=spec.authenticators,
            body=spec.body,
            preflight=spec.preflight,
            protocol=spec.protocol,
            anonymous=self._try(lambda: parse_uid(spec.anonymous) if spec.anonymous is not None else None, None),
            headers=tuple((self._header(name), self._template(text)) for name, text in spec.headers.items()),
            information=self._information(),
            cache=spec.cache,
            fail_open=spec.fail_open,
            file=spec.file,
            line=spec.line,
        )
        self._sources(route, sound=len(self.problems) == before)
        if not spec.resource_id:
            self._problem("the resource's `id` is empty; give a template such as `{path.id}`")
        if len(set(spec.authenticators)) < len(spec.authenticators):
            self._problem("an authenticator stands twice in `authenticators`; each is asked once")
        if spec.cache is not None and spec.cache[1] > spec.cache[0]:
            self._problem("`cache.deny` is longer than `cache.allow`: whoever is granted access would wait for it")
        if spec.protocol == "tcp":
            self._connection(spec, segments)
        if len({name.lower() for name in spec.headers}) < len(spec.headers):
            self._problem("a header stands twice in `headers`; names are the same in upper and lower case")
        return route if len(self.problems) == before else None

    def _sources(self, route: Route, *, sound: bool) -> None:
        """A body is read only where a mapping looks at it, and a connection has nothing but itself."""
        names = [source.name for source in route.sources()]
        body = next((name for name in names if name.startswith("body.")), None)
        if body is not None and route.body is None:
            self._problem(f"`{body}` is read, but the route reads no bodies; add `body: {{accept: [json]}}`")
        if body is None and route.body is not None and sound:
            self._problem("the route has `body`, but nothing reads a `body.NAME`; map one, or remove `body`")
        absent = next((name for name in names if name.startswith(("query.", "headers.", "body."))), None)
        if absent is not None and route.protocol == "tcp":
            self._problem(f"a connection has no `{absent}`: it has `source.…`, `request.…`, `path.…`, `principal.…`")

    def _connection(self, spec: RouteSpec, segments: tuple[Segment, ...]) -> None:
        """A connection has a port, and nothing else that a request has."""
        if len(segments) != 1 or segments[0].rest or not (segments[0].literal or "0").isdecimal():
            self._problem("with `protocol: tcp` the path is the destination's port: `/5432`, or `/{port}`")
        given = [
            name
            for name, is_given in (
                ("methods", spec.methods != ("*",)),
                ("body", spec.body is not None),
                ("preflight", spec.preflight),
                ("headers", bool(spec.headers)),
            )
            if is_given
        ]
        if given:
            self._problem(f"a connection has no `{given[0]}`: leave it out with `protocol: tcp`")

    def _problem(self, text: str) -> None:
        message = f"route `{self.spec.name}`: {text}"
        self.problems.append(Problem(message=message, file=self.spec.file, line=self.spec.line))

    def _try(self, make: Callable[[], T], otherwise: T) -> T:
        try:
            return make()
        except MappingError as error:
            self._problem(str(error))
            return otherwise

    def _type(self, text: str) -> str:
        return self._try(lambda: parse_type(text), "")

    def _template(self, text: str) -> Template:
        return self._try(lambda: parse_template(text, self.parameters), Template(parts=()))

    def _methods(self) -> frozenset[str] | None:
        if self.spec.methods == ("*",):
            return None
        for method in self.spec.methods:
            if _METHODS.fullmatch(method) is None:
                self._problem(
                    f"the method `{method[:40]}` is not valid; expected upper case, such as `GET`, or only `*`"
                )
        if not self.spec.methods:
            self._problem("`methods` is empty; list methods, or leave it out for all")
        return frozenset(self.spec.methods)

    def _constants(self) -> Mapping[str, Value]:
        found: dict[str, Value] = {}
        for name, attribute in self.spec.context.items():
            if attribute.value is not None:
                value = self._constant(name, attribute)
                if value is not None:
                    found[name] = value
        return found

    def _constant(self, name: str, attribute: AttributeSpec) -> Value | None:
        source = Source(name=f"context.{name}", read=lambda _: None)
        try:
            kind, entity_type = self._kind(name, attribute)
            return convert(kind, attribute.value, source, entity_type=entity_type)
        except AuthzError as error:
            self._problem(f"`context.{name}`: the fixed value does not fit its type: {error.detail}")
            return None

    def _attributes(self) -> list[ContextAttribute]:
        found: list[ContextAttribute] = []
        for name, attribute in self.spec.context.items():
            if name in RESERVED_CONTEXT:
                self._problem(
                    f"`context.{name}` is reserved: `token` holds the token's claims, `pip` what was looked up, "
                    "`ages` how old that is"
                )
            if (attribute.source is None) == (attribute.value is None):
                self._problem(f"`context.{name}` needs exactly one of `from` and `value`")
                continue
            if attribute.source is None:
                continue
            kind, entity_type = self._kind(name, attribute)
            source = self._source(attribute.source)
            found.append(
                ContextAttribute(
                    name=name, kind=kind, source=source, entity_type=entity_type, required=attribute.required
                )
            )
        return found

    def _source(self, text: str) -> Source:
        return self._try(lambda: parse_source(text, self.parameters), Source(name="request.none", read=lambda _: None))

    def _kind(self, name: str, attribute: AttributeSpec) -> tuple[Kind, str]:
        if attribute.type not in KINDS:
            self._problem(f"`context.{name}` has the unknown type `{attribute.type[:40]}`; expected {', '.join(KINDS)}")
            return "string", ""
        if (attribute.type == "entity") != (attribute.entity_type is not None):
            self._problem(f"`context.{name}`: `entity_type` belongs to the type `entity`, and only there")
        entity_type = self._type(attribute.entity_type) if attribute.entity_type is not None else ""
        return cast(Kind, attribute.type), entity_type

    def _header(self, name: str) -> str:
        lowered = name.lower()
        if _HEADER.fullmatch(lowered) is None:
            self._problem(f"the header `{name[:64]}` is not valid; expected letters, digits and `-`")
        elif lowered in _FORBIDDEN_HEADERS or lowered.startswith(_FORBIDDEN_PREFIXES):
            self._problem(
                f"the header `{name}` is not ours to set: it routes, frames or authenticates the request; "
                "choose a name such as `x-auth-user`"
            )
        return lowered

    def _information(self) -> tuple[tuple[str, tuple[tuple[str, Template], ...]], ...]:
        return tuple(
            (point, tuple((key, self._template(text)) for key, text in keys.items()))
            for point, keys in self.spec.information.items()
        )


def parse_path(text: str) -> tuple[Segment, ...]:
    """Reads a path template: literals, `{name}` for one segment, a last `{name...}` for one or more.

    Raises:
        MappingError: it is not one; the message says what is wrong with it.
    """
    if not text.startswith("/"):
        msg = f"the path `{text[:80]}` must begin with `/`"
        raise MappingError(msg)
    segments = tuple(_segment(piece, text) for piece in text[1:].split("/"))
    names = [segment.parameter for segment in segments if segment.parameter]
    if len(names) != len(set(names)):
        msg = f"the path `{text[:80]}` uses a parameter name twice"
        raise MappingError(msg)
    if any(segment.rest for segment in segments[:-1]):
        msg = f"the path `{text[:80]}`: `{{name...}}` takes the rest, so it must be last"
        raise MappingError(msg)
    if any(segment.literal in {"", ".", ".."} for segment in segments[:-1]) or segments[-1].literal in {
        ".",
        "..",
    }:
        msg = f"the path `{text[:80]}` has an empty or dot segment; requests with those are refused"
        raise MappingError(msg)
    return segments


def _segment(piece: str, path: str) -> Segment:
    parameter = _PARAMETER.fullmatch(piece)
    if parameter is not None:
        return Segment(parameter=parameter[1], rest=parameter[2] is not None)
    if _LITERAL.fullmatch(piece) is None:
        msg = (
            f"the path `{path[:80]}`: `{piece[:40]}` is neither a plain segment nor one whole parameter "
            "such as `{id}`; write literals decoded, in ASCII"
        )
        raise MappingError(msg)
    return Segment(literal=piece)
