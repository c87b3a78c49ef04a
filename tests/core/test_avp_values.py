"""Core values in Verified Permissions' typed form: exact, never injectable, refused where they cannot be said."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from authz.core.avp_values import (
    LONGEST_PLACE,
    MAX_DEPTH,
    Unreadable,
    Unsayable,
    action_identifier,
    attribute_value,
    entity_item,
    identifier,
    is_bare,
    record,
    uid_from_identifier,
)
from authz.core.model import Entity, EntityUid, Extension, Value

ANN = EntityUid("Ns::User", "ann")
ANN_TOLD = {"entityType": "Ns::User", "entityId": "ann"}


@pytest.mark.parametrize(
    ("value", "told"),
    [
        (True, {"boolean": True}),
        (False, {"boolean": False}),
        (1, {"long": 1}),
        (0, {"long": 0}),
        (2**63 - 1, {"long": 2**63 - 1}),
        (-(2**63), {"long": -(2**63)}),
        ("", {"string": ""}),
        ("true", {"string": "true"}),
        ('{"__entity":{"type":"U","id":"a"}}', {"string": '{"__entity":{"type":"U","id":"a"}}'}),
        (ANN, {"entityIdentifier": ANN_TOLD}),
        (Extension("ip", "192.168.1.0/24"), {"ipaddr": "192.168.1.0/24"}),
        (Extension("decimal", "1.5"), {"decimal": "1.5"}),
        (Extension("datetime", "2024-10-15T11:35:00Z"), {"datetime": "2024-10-15T11:35:00Z"}),
        (Extension("duration", "1h30m"), {"duration": "1h30m"}),
        ((), {"set": []}),
        ((1, True, "a"), {"set": [{"long": 1}, {"boolean": True}, {"string": "a"}]}),
        ({}, {"record": {}}),
        ({"a": {"b": (ANN,)}}, {"record": {"a": {"record": {"b": {"set": [{"entityIdentifier": ANN_TOLD}]}}}}}),
        ({"type": "User", "id": "x"}, {"record": {"type": {"string": "User"}, "id": {"string": "x"}}}),
    ],
)
def test_each_value_is_told_with_its_type(value, told):
    found = attribute_value(value, "context.a")
    assert found == told
    assert repr(found) == repr(told)  # to Python True equals 1


def nested(levels):
    value: Value = "x"
    for _ in range(levels):
        value = (value,)
    return value


@pytest.mark.parametrize(
    ("value", "place"),
    [
        (2**63, "context.a"),
        (-(2**63) - 1, "context.a"),
        (1.5, "context.a"),
        (None, "context.a"),
        (b"x", "context.a"),
        ("canary\ud800", "context.a"),
        ({"canary": None}, "context.a.canary"),
        ({"b": ("ok", 2**70)}, "context.a.b[]"),
        ({"b\ud800": 1}, "context.a"),
        ({"__entity": {"type": "User", "id": "admin"}}, "context.a.__entity"),
        ({"__extn": {"fn": "ip", "arg": "10.0.0.1"}}, "context.a.__extn"),
        ({"__expr": "1"}, "context.a.__expr"),
        ({"__entity": "x", "other": 1}, "context.a.__entity"),
        (({"b": {"__extn": 1}},), "context.a[].b.__extn"),
        (Extension("offset", "x"), "context.a"),
        (Extension("ip", ""), "context.a"),
        (Extension("decimal", "１.0"), "context.a"),
        (EntityUid("User", ""), "context.a"),
        (EntityUid("", "a"), "context.a"),
        (EntityUid("User", "a" * 613), "context.a"),
        (nested(MAX_DEPTH + 1), "context.a[]"),
    ],
)
def test_what_cannot_be_said_is_refused_by_its_place(value, place):
    with pytest.raises(Unsayable) as caught:
        attribute_value(value, "context.a")
    text = str(caught.value)
    assert f"`{place}" in text
    assert "admin" not in text
    assert len(text) < LONGEST_PLACE + 200
    text.encode()


def test_depth_is_counted_to_the_last_level():
    assert attribute_value(nested(MAX_DEPTH), "context.a")


scalars = st.one_of(
    st.booleans(),
    st.integers(-(2**63), 2**63 - 1),
    st.text(st.characters(exclude_categories=["Cs"])),
    st.builds(EntityUid, st.just("User"), st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20)),
)
names = st.text(st.characters(exclude_categories=["Cs"]), max_size=8).filter(lambda name: not name.startswith("__"))
values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=4).map(tuple) | st.dictionaries(names, inner, max_size=4)
)


def back(told):
    """What a service would read."""
    assert len(told) == 1
    ((member, value),) = told.items()
    if member == "set":
        return tuple(back(one) for one in value)
    if member == "record":
        return {name: back(one) for name, one in value.items()}
    if member == "entityIdentifier":
        return uid_from_identifier(value)
    assert {"boolean": bool, "long": int, "string": str}[member] is type(value)
    return value


@given(values)
def test_nothing_is_lost_and_each_has_one_type(value):
    assert repr(back(attribute_value(value, "v"))) == repr(value)


poisoned = st.recursive(
    st.dictionaries(st.sampled_from(["__entity", "__extn", "__expr"]), scalars, min_size=1, max_size=2),
    lambda inner: st.tuples(scalars, inner) | st.fixed_dictionaries({"a": scalars, "b": inner}),
)


@given(poisoned)
def test_an_escape_is_found_however_deep(value):
    with pytest.raises(Unsayable):
        attribute_value(value, "v")
    with pytest.raises(Unsayable):
        entity_item(Entity(uid=ANN, attributes={"x": value}))
    with pytest.raises(Unsayable):
        entity_item(Entity(uid=ANN, tags={"x": value}))


def test_an_entity_has_attributes_parents_and_tags():
    group = EntityUid("Ns::Group", "b")
    entity = Entity(
        uid=ANN,
        attributes={"level": 3},
        parents=frozenset((group, EntityUid("Ns::Group", "a"))),
        tags={"cost": Extension("decimal", "1.0")},
    )
    assert entity_item(entity) == {
        "identifier": ANN_TOLD,
        "attributes": {"level": {"long": 3}},
        "parents": [
            {"entityType": "Ns::Group", "entityId": "a"},
            {"entityType": "Ns::Group", "entityId": "b"},
        ],
        "tags": {"cost": {"decimal": "1.0"}},
    }
    assert entity_item(Entity(uid=ANN)) == {"identifier": ANN_TOLD}
    assert is_bare(Entity(uid=ANN))
    assert not is_bare(entity)
    assert not is_bare(Entity(uid=ANN, tags={"a": 1}))


@pytest.mark.parametrize(
    ("entity", "place"),
    [
        (Entity(uid=EntityUid("User", "")), "`User`"),
        (Entity(uid=ANN, attributes={"canary": 2**64}), "`Ns::User.canary`"),
        (Entity(uid=ANN, parents=frozenset((EntityUid("G", ""),))), "`Ns::User (parents)`"),
        (Entity(uid=ANN, tags={"canary": 2**64}), "`Ns::User (tags).canary`"),
    ],
)
def test_an_entity_that_cannot_be_told_is_named_by_its_type(entity, place):
    with pytest.raises(Unsayable) as caught:
        entity_item(entity)
    assert place in str(caught.value)
    assert "ann" not in str(caught.value)


def test_a_long_place_is_cut():
    with pytest.raises(Unsayable) as caught:
        record({"x" * 500: None}, "context")  # type: ignore[dict-item]
    assert len(str(caught.value)) < LONGEST_PLACE + 60


def test_actions_have_identifiers_of_their_own():
    assert action_identifier(EntityUid("Ns::Action", "read"), "action") == {
        "actionType": "Ns::Action",
        "actionId": "read",
    }
    assert action_identifier(EntityUid("Action", "read"), "action")
    for bad in (EntityUid("Ns::Thing", "read"), EntityUid("Reaction", "read"), EntityUid("Action", "a" * 513)):
        with pytest.raises(Unsayable):
            action_identifier(bad, "action")


@pytest.mark.parametrize("uid", [ANN, EntityUid("A", "x" * 612), EntityUid("A", 'é"\n')])
def test_identifiers_come_back(uid):
    assert uid_from_identifier(identifier(uid, "principal")) == uid
    assert uid_from_identifier({"actionType": "Action", "actionId": "read"}) == EntityUid("Action", "read")


@pytest.mark.parametrize(
    "data", [None, "a", [], {}, {"entityType": "A"}, {"entityType": "A", "entityId": 1}, {"actionId": "x"}]
)
def test_what_is_no_identifier_is_not_read(data):
    with pytest.raises(Unreadable):
        uid_from_identifier(data)
