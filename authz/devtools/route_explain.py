"""Which route takes a request, and for every other route the reason why it does not.

Who takes it is what `RouteTable` says, never a second opinion; the reasons are worked out here, route by route,
and a property test holds them to the table.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

from authz.core.errors import NoRoute, RequestRefused
from authz.core.model import Request
from authz.core.routes import Route, RouteTable, Segment, host_covers, narrowness

Kind = Literal["protocol", "method", "host", "literal", "empty", "short", "long", "narrower"]
Outcome = Literal["taken", "preflight", "refused", "none"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Obstacle:
    """One reason why a route does not take a request."""

    kind: Kind
    text: str
    segment: int | None = None
    """Counted from 1: the segment of the path at which it no longer fits."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Other:
    """A route that does not take the request."""

    route: Route
    obstacles: tuple[Obstacle, ...]
    """At least one."""
    fitting: int
    """How many segments of the path fit, from the left."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """What the table does with a request."""

    request: Request
    outcome: Outcome
    """`taken`; `preflight`: it passes to the service without a decision; `refused`: taken, then refused; `none`."""
    route: Route | None = None
    parameters: Mapping[str, str] = field(default_factory=dict)
    """Values of the path's parameters, decoded."""
    refusal: RequestRefused | None = None
    notes: tuple[str, ...] = ()
    """What else is to be said, such as why a preflight is none."""
    others: tuple[Other, ...] = ()
    """Nearest first."""


def explain(table: RouteTable, request: Request) -> Explanation:
    """What becomes of a request, by the table's own answers, and why no other route takes it."""
    passed, notes = _preflight(table, request)
    if passed is not None:
        first = Obstacle(kind="narrower", text="the preflight was settled first")
        return _ended("preflight", passed, {}, request, notes, _others(table, request, passed, note=first))
    try:
        route, parameters = table.match(request)
    except NoRoute:
        return Explanation(request=request, outcome="none", notes=notes, others=_others(table, request, None))
    return _ended("taken", route, parameters, request, notes, _others(table, request, route))


def _ended(
    outcome: Outcome,
    route: Route,
    parameters: Mapping[str, str],
    request: Request,
    notes: tuple[str, ...],
    others: tuple[Other, ...],
) -> Explanation:
    refusal: RequestRefused | None = None
    try:
        route.check_aliases(request.headers)
    except RequestRefused as refused:
        outcome, refusal = "refused", refused
    return Explanation(
        request=request,
        outcome=outcome,
        route=route,
        parameters=parameters,
        refusal=refusal,
        notes=notes,
        others=others,
    )


def obstacles(route: Route, request: Request) -> tuple[Obstacle, ...]:
    """Why a route does not cover a request, taken by itself; empty: it does."""
    if route.protocol != request.protocol:
        wanted = {"http": "HTTP requests", "tcp": "connections"}
        return (Obstacle(kind="protocol", text=f"it is for {wanted[route.protocol]}"),)
    found: list[Obstacle] = []
    if route.methods is not None and request.method not in route.methods:
        listed = ", ".join(sorted(route.methods))
        found.append(Obstacle(kind="method", text=f"the method is {request.method}, not {listed}"))
    if not host_covers(route.host, request.host):
        found.append(Obstacle(kind="host", text=f"the host is `{request.host}`, not `{route.host}`"))
    path = _path_obstacle(route, request.path.segments)
    return (*found, path) if path is not None else tuple(found)


def in_order(routes: Sequence[Route]) -> tuple[Route, ...]:
    """As the table prefers them: of two that cover one request, the one that takes it comes first."""
    return tuple(sorted(routes, key=_preference))


# --- one route --------------------------------------------------------------------------------------------


def _path_obstacle(route: Route, segments: tuple[str, ...]) -> Obstacle | None:
    for position, wanted in enumerate(route.segments):
        number = position + 1
        if position >= len(segments):
            text = f"the path ends before segment {number}, {_wanted(wanted)}"
            return Obstacle(kind="short", text=text, segment=number)
        if wanted.rest:
            return None
        given = segments[position]
        if wanted.literal is None and not given:
            text = f"segment {number} is empty, and `{{{wanted.parameter}}}` never is"
            return Obstacle(kind="empty", text=text, segment=number)
        if wanted.literal is not None and given != wanted.literal:
            text = f"{_place(route, number)} is {_given(given)}, not {_wanted(wanted)}"
            return Obstacle(kind="literal", text=text, segment=number)
    number = len(route.segments)
    if len(segments) == number:
        return None
    if segments[number:] == ("",):
        return Obstacle(kind="long", text="the path has a slash at its end", segment=number + 1)
    text = f"the path goes on after segment {number}, where the route ends"
    return Obstacle(kind="long", text=text, segment=number + 1)


def _place(route: Route, number: int) -> str:
    return "the port" if route.protocol == "tcp" else f"segment {number}"


def _given(segment: str) -> str:
    return f"`{segment}`" if segment else "empty (a slash at the end)"


def _wanted(segment: Segment) -> str:
    if segment.literal is None:
        return f"`{{{segment.parameter}{'...' if segment.rest else ''}}}`"
    return f"`{segment.literal}`" if segment.literal else "empty (a slash at the end)"


def _preference(route: Route) -> tuple[object, ...]:
    # The way the table walks: segment by segment, a literal before a parameter before the rest.
    steps = tuple(
        (2 if step.rest else 0 if step.literal is not None else 1, step.literal or "") for step in route.segments
    )
    return (route.protocol, steps, narrowness(route), route.name)


# --- all the others ---------------------------------------------------------------------------------------


def _others(
    table: RouteTable, request: Request, taken: Route | None, *, note: Obstacle | None = None
) -> tuple[Other, ...]:
    found = [_other(route, request, taken, note) for route in in_order(table.routes) if route is not taken]
    return tuple(sorted(found, key=lambda other: (_distance(other), -other.fitting)))  # stable: else in their order


def _other(route: Route, request: Request, taken: Route | None, note: Obstacle | None) -> Other:
    found = obstacles(route, request)
    if not found:
        name = taken.name if taken is not None else ""
        found = (note or Obstacle(kind="narrower", text=f"the narrower route `{name}` takes it"),)
    at = next((obstacle.segment for obstacle in found if obstacle.segment is not None), len(route.segments) + 1)
    return Other(route=route, obstacles=found, fitting=at - 1)


def _distance(other: Other) -> int:
    kinds = {obstacle.kind for obstacle in other.obstacles}
    return 0 if kinds == {"narrower"} else len(kinds) + 3 * ("protocol" in kinds)


# --- CORS preflights --------------------------------------------------------------------------------------


def _preflight(table: RouteTable, request: Request) -> tuple[Route | None, tuple[str, ...]]:
    """The route whose preflights pass, and what is to be said of the question."""
    methods = request.headers.all("access-control-request-method")
    if request.method != "OPTIONS" or not methods:
        return None, ()
    passed = table.preflight(request)
    if passed is not None:
        return passed, (f"a CORS preflight for {methods[0]}: `preflight: pass` lets it through without a decision",)
    text = "no CORS preflight: that has one `Origin`, one `Access-Control-Request-Method`, no credential and no body"
    none = (f"{text}; it is matched like any request",)
    if len(methods) != 1:
        return None, none
    try:
        asked, _ = table.match(replace(request, method=methods[0]))
    except NoRoute:
        return None, (f"a CORS preflight for {methods[0]}, which no route takes; it is matched like any request",)
    if asked.preflight:
        return None, none
    text = f"a CORS preflight for {methods[0]}, which `{asked.name}` takes"
    return None, (f"{text}: its preflights are decided, so this is matched like any request",)
