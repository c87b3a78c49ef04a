"""A request must read the same here as to the upstream, and cost no more than it is worth."""

from __future__ import annotations

import cedarpy
import pytest

from authz.core.errors import Reason, RequestRefused
from authz.core.model import Entity, EntitySlice, EntityUid, Query
from authz.core.request import canonical_host, parse_query
from authz.pdp.slices import FEWER, LARGE, Slices


def test_a_host_of_look_alikes_is_not_folded_into_another_host():
    with pytest.raises(RequestRefused) as caught:
        canonical_host("\N{KELVIN SIGN}ing.example")  # lower case: `king.example`
    assert caught.value.reason is Reason.BAD_HOST


def test_a_parameter_repeated_thousands_of_times_keeps_its_values_in_order():
    assert parse_query("a&" * 4000) == {"a": ("",) * 4000}
    assert parse_query("a=1&b=2&a=3") == {"a": ("1", "3"), "b": ("2",)}


def test_a_principal_with_many_groups_does_not_fill_the_memory_with_handles():
    documents = [EntityUid("Doc", str(number)) for number in range(64)]
    slices = Slices({uid: Entity(uid=uid) for uid in documents}, None, handles=2 * FEWER)
    groups = [EntityUid("Group", str(number)) for number in range(LARGE)]
    user = EntityUid("User", "u")
    given = EntitySlice(entities=(Entity(uid=user, parents=frozenset(groups)), *(Entity(uid=uid) for uid in groups)))

    def handle(document):
        action = EntityUid("Action", "read")
        return slices.handle(Query(principal=user, action=action, resource=document, entities=(given,)))

    first = handle(documents[0])
    assert isinstance(first, cedarpy.Entities)
    assert handle(documents[0]) is first  # still kept, for who comes again
    for document in documents[1:]:
        handle(document)
    assert handle(documents[0]) is not first
