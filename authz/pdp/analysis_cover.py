"""Which permits can never count, because a forbid without a condition matches whatever they match.

"Covers" is told from the two scopes, the schema's types and its action groups alone, never from entities, which may
be others tomorrow. So it is sound, not complete: a permit that two forbids cover only together is not found.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping

from authz.core.cedar_scope import Constraint, Scope
from authz.core.model import EntityUid
from authz.pdp.analysis_reach import Reach, Reaches
from authz.pdp.rows import Row

Reached = tuple[Row, Reach]
_Named = EntityUid | None
_Key = tuple[_Named, _Named, _Named]
"""What a forbid names as principal, action and resource; None: nothing."""


def shadowed(permits: Iterable[Reached], forbids: Iterable[Reached], reaches: Reaches) -> Iterable[tuple[Row, Row]]:
    """Each permit of which a forbid covers all, with the first such forbid.

    Args:
        permits: that can match something.
        forbids: that can match something and have no condition, or only such as are literally true.
        reaches: of the schema.
    """
    posted = _posted(forbids)
    actions: dict[Reach, tuple[_Named, ...]] = {}
    for permit, reach in permits:
        if reach not in actions:
            actions[reach] = _names_of_one(reach, reaches)
        for key in _keys(permit.scope, actions[reach]):
            forbid = next((row for row, other in posted.get(key, ()) if _covers(row, other, permit, reach)), None)
            if forbid is not None:
                yield permit, forbid
                break


def _posted(forbids: Iterable[Reached]) -> Mapping[_Key, list[Reached]]:
    """The forbids by what they name, so that no permit looks at all of them. Of equal scopes the first is enough."""
    found: dict[_Key, list[Reached]] = defaultdict(list)
    seen: set[Scope] = set()
    for row, reach in forbids:
        scope = row.scope
        if scope in seen:
            continue
        seen.add(scope)
        names = (scope.action.equals,) if scope.action.equals is not None else scope.action.within
        for action in dict.fromkeys(names) or (None,):
            found[_named(scope.principal), action, _named(scope.resource)].append((row, reach))
    return found


def _names_of_one(reach: Reach, reaches: Reaches) -> tuple[_Named, ...]:
    """By what a forbid can take any one action of a permit. One that covers the permit takes every one of them."""
    return (None, *sorted(reaches.above(min(reach.actions))))


def _keys(scope: Scope, actions: tuple[_Named, ...]) -> Iterable[_Key]:
    """Under what a forbid that covers the scope can stand: it names the same as the scope, or nothing."""
    for principal in dict.fromkeys((None, _named(scope.principal))):
        for resource in dict.fromkeys((None, _named(scope.resource))):
            for action in actions:
                yield principal, action, resource


def _named(constraint: Constraint) -> _Named:
    return constraint.equals or (constraint.within[0] if constraint.within else None)


def _covers(forbid: Row, forbidden: Reach, permit: Row, permitted: Reach) -> bool:
    return (
        permitted.actions <= forbidden.actions
        and _implies(permit.scope.principal, forbid.scope.principal, permitted.principals)
        and _implies(permit.scope.resource, forbid.scope.resource, permitted.resources)
    )


def _implies(narrow: Constraint, wide: Constraint, types: frozenset[str]) -> bool:
    """Does `wide` match each entity of these types that `narrow` matches?"""
    if wide.type is not None and types != {wide.type}:
        return False
    if wide.equals is not None:
        return narrow.equals == wide.equals
    if wide.is_in:
        # `in` takes the entity itself as well (Cedar documentation, "Operators", `in`).
        return bool(wide.within) and wide.within[0] in (narrow.equals, *narrow.within)
    return True
