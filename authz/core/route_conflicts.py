"""Which routes may stand beside each other: nested ones may, crossing, equal and unreachable ones may not."""

from __future__ import annotations

from collections.abc import Sequence

from authz.core.errors import Problem
from authz.core.routes import Route, Segment, host_covers


def _hosts_overlap(one: str, other: str) -> bool:
    return host_covers(one, other) or host_covers(other, one)


def _paths_overlap(one: tuple[Segment, ...], other: tuple[Segment, ...]) -> bool:
    for left, right in zip(one, other, strict=False):
        if left.rest or right.rest:
            return True
        if left.literal is not None and right.literal is not None and left.literal != right.literal:
            return False
        if "" in {left.literal, right.literal} and left.literal != right.literal:
            return False
    return len(one) == len(other)


def _path_covers(one: tuple[Segment, ...], other: tuple[Segment, ...]) -> bool:
    for position, segment in enumerate(one):
        if position >= len(other):
            return False
        if segment.rest:
            return True
        inner = other[position]
        if inner.rest or (segment.literal is not None and segment.literal != inner.literal):
            return False
        if segment.literal is None and inner.literal == "":
            return False
    return len(one) == len(other)


def _covers(one: Route, other: Route) -> bool:
    methods = one.protocol == other.protocol and (
        one.methods is None or (other.methods is not None and other.methods <= one.methods)
    )
    return methods and host_covers(one.host, other.host) and _path_covers(one.segments, other.segments)


def _overlap(one: Route, other: Route) -> bool:
    methods = one.methods is None or other.methods is None or bool(one.methods & other.methods)
    return (
        one.protocol == other.protocol
        and methods
        and _hosts_overlap(one.host, other.host)
        and _paths_overlap(one.segments, other.segments)
    )


def conflicts(routes: Sequence[Route]) -> list[Problem]:
    """One problem for each pair that crosses or is equal, and for each route that can never match."""
    found: list[Problem] = []
    for position, route in enumerate(routes):
        pairs = (_conflict(other, route) for other in routes[:position] if _overlap(other, route))
        found.extend(problem for problem in pairs if problem is not None)
        takers = _takers(route, routes)
        if takers:
            names = " and ".join(f"`{other.name}` (line {other.line})" for other in takers)
            text = f"the route `{route.name}` can never match: {names} take each of its methods; remove it"
            found.append(Problem(message=text, file=route.file, line=route.line))
    return found


def _takers(route: Route, routes: Sequence[Route]) -> list[Route]:
    """Routes of the same host and path with fewer methods, if together they leave none."""
    if route.methods is None:
        return []
    takers: list[Route] = []
    taken: set[str] = set()
    for other in routes:
        same_path = _path_covers(other.segments, route.segments) and _path_covers(route.segments, other.segments)
        if (
            other.protocol == route.protocol
            and other.host == route.host
            and same_path
            and other.methods is not None
            and other.methods < route.methods
        ):
            takers.append(other)
            taken |= other.methods
    return takers if route.methods <= taken else []


def _conflict(first: Route, second: Route) -> Problem | None:
    one_covers, other_covers = _covers(first, second), _covers(second, first)
    where = f"`{first.name}` (line {first.line}) and `{second.name}` (line {second.line})"
    if one_covers and other_covers:
        text = f"the routes {where} match the same requests; remove one, or narrow its host, path or methods"
    elif not one_covers and not other_covers:
        text = (
            f"the routes {where} cross: some requests match both and neither is inside the other; "
            "narrow one of them in host, path or methods"
        )
    else:
        return None
    return Problem(message=text, file=second.file, line=second.line)
