"""Would the property see it, if the decision point were wrong? Each mutant is wrong in one way, and is found out."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any
from unittest import mock

import pytest

from authz.core.model import Entity, EntityUid, Query
from authz.pdp import alike, ancestry, slices
from authz.pdp.ancestry import Local
from authz.pdp.cedar import CedarDecisionPoint
from authz.pdp.cedar_json import entity_text
from authz.pdp.index import Found, Narrowed, Place, PolicyIndex, group
from tests.pdp.equality.evenly import found_out
from tests.pdp.equality.lists import drawn_list
from tests.pdp.equality.properties import equals_the_full_set, many_equal_the_full_set
from tests.pdp.equality.worlds import drawn_world

NUMBERS = range(1_000)
"""Most mutants are found out by the first twenty."""
ancestors, prepared, found_by = ancestry.World.ancestors, slices.Slices.prepared, Narrowed.found
united = ancestry.united


def given_alone(self: ancestry.World, uid: EntityUid, local: Local) -> frozenset[EntityUid]:
    found = ancestors(self, uid, local)
    return frozenset(other for other in found if other == uid or self.entity(other, local) is not None)


def parents_alone(self: ancestry.World, uid: EntityUid, local: Local) -> frozenset[EntityUid]:
    return self.parents(uid, local) | {uid}


def without_action_groups(self: ancestry.World, uid: EntityUid, local: Local) -> frozenset[EntityUid]:
    return frozenset((uid,)) if uid.type.endswith("Action") else ancestors(self, uid, local)


def first_wins(first: Entity, second: Entity) -> Entity:
    return first


def later_wins(first: Entity, second: Entity) -> Entity:
    return replace(united(first, second), attributes={**first.attributes, **second.attributes})


def shared_alone(self: Narrowed, resource: Place) -> Found:
    return replace(found_by(self, resource), own=group(()))


def without_parents(entity: Entity, parents: Iterable[EntityUid]) -> str:
    return entity_text(entity, ())


def forgetful(kept: dict[tuple[object, ...], Any]) -> Callable[[slices.Slices, Query], Any]:
    """What was prepared for one query serves the next with the same principal, action and resource."""

    def remembered(self: slices.Slices, query: Query) -> Any:
        key = (id(self), query.principal, query.action, query.resource)
        if key not in kept:
            kept[key] = (self, prepared(self, query))  # beside it, so that no other gets its id
        return kept[key][1]

    return remembered


MUTANTS = {
    "ancestors that are named and not given are dropped": (ancestry.World, "ancestors", given_alone),
    "parents count, what they are in does not": (ancestry.World, "ancestors", parents_alone),
    "action groups are dropped": (ancestry.World, "ancestors", without_action_groups),
    "the first source alone is read": (ancestry, "united", first_wins),
    "the later source wins": (ancestry, "united", later_wins),
    "policies that name a resource are not asked": (Narrowed, "found", shared_alone),
    "no ancestor is told to the engine": (slices, "entity_text", without_parents),
    "entities that conditions name are not told": (PolicyIndex, "literals", lambda _: ()),
    "entities of other queries are used": (slices.Slices, "prepared", forgetful({})),
    "the context is not told": (CedarDecisionPoint, "_context", lambda *_: "{}"),
}
MUTANTS_OF_LISTS = {
    "all resources look alike": (alike.Sight, "of", lambda *_: ()),
    "policies that name a resource are not asked": (Narrowed, "found", shared_alone),
}


@pytest.mark.parametrize(("place", "name", "wrong"), MUTANTS.values(), ids=MUTANTS.keys())
def test_a_mutant_is_found_out(place, name, wrong):
    with mock.patch.object(place, name, wrong):
        assert found_out(drawn_world, equals_the_full_set, NUMBERS)


@pytest.mark.parametrize(("place", "name", "wrong"), MUTANTS_OF_LISTS.values(), ids=MUTANTS_OF_LISTS.keys())
def test_a_mutant_that_decides_lists_is_found_out(place, name, wrong):
    with mock.patch.object(place, name, wrong):
        assert found_out(drawn_list, many_equal_the_full_set, NUMBERS)
