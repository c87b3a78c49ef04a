"""What every `InformationPoint` does. There is no adapter yet; the fake is held to it already."""

from __future__ import annotations

import pytest

from authz.core.errors import AttributesUnavailable
from authz.core.model import Entity, EntitySlice, EntityUid
from authz.core.ports import Attributes
from authz.testing import FakeInformationPoint

FOUND = Attributes(
    context={"plan": "gold"}, entities=EntitySlice(entities=(Entity(uid=EntityUid("Plan", "gold")),)), age=1.5
)


async def test_it_gives_what_is_known_and_its_age():
    assert await FakeInformationPoint({"ann": FOUND}).fetch({"key": "ann"}) == FOUND


async def test_what_is_not_known_is_nothing_and_no_error():
    found = await FakeInformationPoint({"ann": FOUND}).fetch({"key": "bob"})
    assert (dict(found.context), found.entities.entities) == ({}, ())


async def test_a_source_that_does_not_answer_is_a_failure():
    with pytest.raises(AttributesUnavailable):
        await FakeInformationPoint({}, failure=True).fetch({"key": "ann"})
