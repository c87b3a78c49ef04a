"""The index finds the policies whose scope matches, and no other; and an index that is wrong is seen to be wrong.

Cedar's rules: "How Cedar authorization works", section "Policy satisfaction".
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings

from authz.core.cedar_scope import Constraint, Scope
from authz.core.model import EntityUid, Query
from authz.pdp.index import Place
from tests.pdp.equality.evenly import evenly, found_out
from tests.pdp.equality.full_set import FullSet
from tests.pdp.equality.indexes import Places, drawn_index, finds_what_matches, indexed, place

SLOW = [HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.large_base_example]
NUMBERS = range(1_000)
"""Most mutants are found out by the first twenty."""


@settings(max_examples=200, suppress_health_check=SLOW)
@given(indexed())
def test_it_finds_what_matches_by_cedars_rules_after_each_change(drawn):
    finds_what_matches(drawn)


def test_so_it_does_in_worlds_that_are_drawn_evenly():
    evenly(drawn_index, finds_what_matches, range(150))


def given_alone(role: str, uid: EntityUid, whole: FullSet, query: Query) -> Place:
    known, told = whole.entities(query), place(role, uid, whole, query)
    return Place(uid, frozenset(other for other in told.ancestors if other == uid or other in known))


def parents_alone(role: str, uid: EntityUid, whole: FullSet, query: Query) -> Place:
    entity = whole.entities(query).get(uid)
    return Place(uid, frozenset((uid,)) | (entity.parents if entity is not None else frozenset()))


def not_in_itself(role: str, uid: EntityUid, whole: FullSet, query: Query) -> Place:
    return Place(uid, place(role, uid, whole, query).ancestors - {uid})


def the_first_source_alone(role: str, uid: EntityUid, whole: FullSet, query: Query) -> Place:
    return place(role, uid, whole, replace(query, entities=query.entities[:1]))


def without_groups(*roles: str) -> Places:
    """An action is in no group where it has one of these roles."""

    def told(role: str, uid: EntityUid, whole: FullSet, query: Query) -> Place:
        bare = role in roles and uid in whole.world.names.actions
        return Place(uid, frozenset((uid,))) if bare else place(role, uid, whole, query)

    return told


@pytest.mark.parametrize(
    "places",
    [
        pytest.param(given_alone, id="ancestors that are named and not given are dropped"),
        pytest.param(parents_alone, id="parents count, what they are in does not"),
        pytest.param(not_in_itself, id="an entity is not in itself"),
        pytest.param(the_first_source_alone, id="only the first source tells parents"),
        pytest.param(without_groups("action"), id="action groups are dropped"),
        pytest.param(without_groups("principal", "resource"), id="action groups are dropped but for the action"),
    ],
)
def test_an_index_that_is_told_the_wrong_ancestors_is_found_out(places):
    assert found_out(drawn_index, lambda drawn: finds_what_matches(drawn, places=places), NUMBERS)


def everywhere(change: Callable[[Constraint], Constraint]) -> Callable[[Scope], Scope]:
    """Each of the three constraints, changed."""
    return lambda scope: Scope(
        principal=change(scope.principal), action=change(scope.action), resource=change(scope.resource)
    )


def in_as_equals(found: Constraint) -> Constraint:
    return replace(found, equals=found.within[0], within=(), is_in=False) if found.within else found


def equals_as_in(found: Constraint) -> Constraint:
    return replace(found, equals=None, within=(found.equals,), is_in=True) if found.equals else found


def swapped(scope: Scope) -> Scope:
    """`principal == a, resource in b` read as `principal in a, resource == b`."""
    principal, resource = scope.principal, scope.resource
    if principal.equals and len(resource.within) == 1:
        return replace(scope, principal=equals_as_in(principal), resource=in_as_equals(resource))
    return scope


@pytest.mark.parametrize(
    "read",
    [
        pytest.param(everywhere(in_as_equals), id="in is read as =="),
        pytest.param(everywhere(equals_as_in), id="== is read as in"),
        pytest.param(everywhere(lambda found: replace(found, type=None)), id="is is not read"),
        pytest.param(everywhere(lambda found: replace(found, within=found.within[:1])), id="the first of a list counts"),
        pytest.param(
            everywhere(lambda found: replace(found, is_in=bool(found.within))), id="in [] is read as any"
        ),
        pytest.param(
            lambda scope: replace(scope, principal=scope.resource, resource=scope.principal), id="sides are exchanged"
        ),
        pytest.param(swapped, id="the operators of a pair are exchanged"),
        pytest.param(lambda scope: replace(scope, action=Constraint()), id="the action is not read"),
        pytest.param(
            everywhere(lambda found: replace(found, within=(), is_in=False) if found.type else found),
            id="is in is read as is",
        ),
    ],
)  # fmt: skip
def test_an_index_of_wrongly_read_heads_is_found_out(read):
    assert found_out(drawn_index, lambda drawn: finds_what_matches(drawn, read=read), NUMBERS)
