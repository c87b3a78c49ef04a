"""Typed values, entities and contexts; the ids name the edge cases of Verified Permissions' fact sheet (section H)."""

import json
from typing import Any

import cedarpy
import pytest
from hypothesis import given
from hypothesis import strategies as st

from authz.core.avp_values import Unsayable, attribute_value, entity_item
from authz.core.model import Entity, EntityUid, Extension, Value
from authz.emulator.entities import cedar_entities
from authz.emulator.errors import ValidationError
from authz.emulator.values import MAX_DEPTH, cedar_context, cedar_value
from authz.pdp.cedar_json import entity_to_json, is_sound, to_json

USER = {"entityType": "App::User", "entityId": "ann"}


def item(id: str, **members: Any) -> dict[str, Any]:
    return {"identifier": {"entityType": "App::User", "entityId": id}, **members}


def entity(id: str, *parents: str) -> dict[str, Any]:
    return item(id, parents=[{"entityType": "App::User", "entityId": parent} for parent in parents])


def evaluated(value: Any, condition: str) -> bool:
    """Does a condition over `context.v` hold, asked of the engine itself?"""
    context = json.dumps({"v": cedar_value(value)})
    request = {name: {"type": "T", "id": "i"} for name in ("principal", "action", "resource")} | {"context": context}
    policies = f"permit(principal, action, resource) when {{ {condition} }};"
    return cedarpy.is_authorized(request, policies, []).allowed


class TestValues:
    @pytest.mark.parametrize(
        ("value", "condition"),
        [
            pytest.param({"boolean": True}, "context.v == true", id="boolean"),
            pytest.param({"long": -(2**63)}, "context.v == -9223372036854775808", id="H44-long-least"),
            pytest.param({"long": 2**63 - 1}, "context.v == 9223372036854775807", id="H44-long-most"),
            pytest.param({"long": 1}, "context.v == 1", id="H44-long-one-is-not-true"),
            pytest.param({"string": ""}, 'context.v == ""', id="string-empty"),
            pytest.param({"string": "10.0.0.1"}, 'context.v == "10.0.0.1"', id="C-string-is-no-address"),
            pytest.param({"entityIdentifier": USER}, 'context.v == App::User::"ann"', id="entity"),
            pytest.param({"set": []}, "context.v == []", id="H45-empty-set"),
            pytest.param({"set": [{"long": 1}, {"long": 1}]}, "context.v == [1]", id="set"),
            pytest.param({"record": {}}, "context.v == {}", id="record-empty"),
            pytest.param({"record": {"a b": {"long": 1}}}, 'context.v["a b"] == 1', id="record"),
            pytest.param({"ipaddr": "10.0.0.0/8"}, 'ip("10.1.1.1").isInRange(context.v)', id="H42-ipaddr-is-ip"),
            pytest.param({"ipaddr": "::1"}, "context.v.isLoopback()", id="H42-ipaddr-v6"),
            pytest.param({"decimal": "1.10"}, 'context.v == decimal("1.1")', id="H43-decimal"),
            pytest.param({"datetime": "2024-10-15"}, 'context.v == datetime("2024-10-15")', id="H43-date"),
            pytest.param(
                {"datetime": "2024-10-15T11:35:00.000+0200"},
                'context.v == datetime("2024-10-15T09:35:00Z")',
                id="H43-datetime-offset",
            ),
            pytest.param({"duration": "-1h30m"}, 'context.v == duration("-90m")', id="duration"),
        ],
    )
    def test_each_member_is_cedars_value(self, value, condition):
        assert evaluated(value, condition)

    @pytest.mark.parametrize(
        "value",
        [
            pytest.param({}, id="no-member"),
            pytest.param({"long": 1, "string": "a"}, id="two-members"),
            pytest.param({"ip": "10.0.0.1"}, id="H6-misspelt-member"),
            pytest.param({"long": True}, id="H44-bool-as-long"),
            pytest.param({"boolean": 1}, id="H44-long-as-bool"),
            pytest.param({"long": 2**63}, id="H44-beyond-64-bits"),
            pytest.param({"long": -(2**63) - 1}, id="H44-below-64-bits"),
            pytest.param({"long": 1.0}, id="H44-fraction"),
            pytest.param({"string": "\ud800"}, id="half-a-character"),
            pytest.param({"entityIdentifier": {"entityType": "A B", "entityId": "x"}}, id="no-type"),
            pytest.param({"entityIdentifier": {"entityType": "App::if", "entityId": "x"}}, id="reserved-type"),
            pytest.param({"record": {"__entity": {"record": {}}}}, id="H41-entity-escape"),
            pytest.param({"record": {"__extn": {"record": {}}}}, id="H41-extension-escape"),
            pytest.param({"record": {"__expr": {"string": "1"}}}, id="H41-expression-escape"),
            pytest.param({"record": {"__entity": {"long": 1}, "b": {"long": 1}}}, id="H41-escape-beside-another"),
            pytest.param({"set": [{"record": {"__extn": {"long": 1}}}]}, id="H41-escape-within-a-set"),
            pytest.param({"decimal": "1"}, id="H43-decimal-without-fraction"),
            pytest.param({"decimal": "999999999999999.9"}, id="H43-decimal-overflow"),
            pytest.param({"decimal": "1.12345"}, id="H43-decimal-five-digits"),
            pytest.param({"datetime": "2024-02-30"}, id="H43-no-such-day"),
            pytest.param({"datetime": "2024-10-15T11:35:00"}, id="H43-time-without-offset"),
            pytest.param({"datetime": "2024-10-15T11:35:00.12Z"}, id="H43-two-digits-of-milliseconds"),
            pytest.param({"datetime": "2024-10-15T25:00:00Z"}, id="H43-no-such-hour"),
            pytest.param({"datetime": "٢٠٢٤-10-15"}, id="digits-of-another-script"),
            pytest.param({"duration": ""}, id="duration-empty"),
            pytest.param({"duration": "-"}, id="duration-sign-only"),
            pytest.param({"duration": "1m1h"}, id="duration-order"),
            pytest.param({"duration": "99999999999999999999d"}, id="duration-overflow"),
            pytest.param({"ipaddr": "300.0.0.1"}, id="ipaddr-number"),
            pytest.param({"ipaddr": "010.0.0.1"}, id="ipaddr-leading-zero"),
            pytest.param({"ipaddr": "::ffff:1.2.3.4"}, id="ipaddr-mapped"),
        ],
    )
    def test_what_cedar_cannot_hold_is_refused(self, value):
        with pytest.raises(ValidationError):
            cedar_value(value)

    def test_levels_are_bounded(self):
        value: dict[str, Any] = {"long": 1}
        for _ in range(MAX_DEPTH + 1):
            value = {"set": [value]}
        with pytest.raises(ValidationError, match="Invalid input"):
            cedar_value(value)

    def test_the_error_names_the_place_and_not_the_value(self):
        with pytest.raises(ValidationError) as caught:
            cedar_context({"contextMap": {"a": {"set": [{"long": 1}, {"decimal": "secret"}]}}})
        [field] = caught.value.fields
        assert field.path == "/context/contextMap/a/set/1/decimal"
        assert "secret" not in str(caught.value.body())


VALUES = st.recursive(
    st.one_of(
        st.booleans().map(lambda held: {"boolean": held}),
        st.integers(-(2**63), 2**63 - 1).map(lambda held: {"long": held}),
        st.text(st.characters(codec="utf-8"), max_size=5).map(lambda held: {"string": held}),
        st.text(st.characters(codec="utf-8"), max_size=5).map(
            lambda id: {"entityIdentifier": {"entityType": "T", "entityId": id}}
        ),
        st.ip_addresses(v=4).map(lambda held: {"ipaddr": str(held)}),
    ),
    lambda inner: (
        st.lists(inner, max_size=3).map(lambda held: {"set": held})
        | st.dictionaries(
            st.text(st.characters(codec="utf-8"), max_size=3) | st.sampled_from(["__entity", "__extn", "__expr"]),
            inner,
            max_size=3,
        ).map(lambda held: {"record": held})
    ),
    max_leaves=8,
)


def kind_of(value: dict[str, Any]) -> str:
    [member] = value
    return {"entityIdentifier": "T", "ipaddr": "ipaddr", "record": "record"}.get(member, member)


@given(VALUES)
def test_a_value_is_taken_by_the_engine_and_keeps_its_kind(value):
    try:
        context = json.dumps({"v": cedar_value(value)})
    except ValidationError:
        assert "__" in json.dumps(value)
        return
    conditions = {
        "T": "context.v is T",
        "boolean": "context.v || true",
        "long": "context.v == 0 || context.v < 0 || context.v > 0",
        "string": 'context.v like "*"',
        "set": "[].containsAll([]) && (context.v.containsAll([]))",
        "record": "(context.v has a) || true",
        "ipaddr": "context.v.isIpv4()",
    }
    request = {name: {"type": "T", "id": "i"} for name in ("principal", "action", "resource")} | {"context": context}
    policy = f"permit(principal, action, resource) when {{ {conditions[kind_of(value)]} }};"
    result = cedarpy.is_authorized(request, policy, [])
    assert (result.allowed, result.diagnostics.errors) == (True, [])


class TestEntities:
    def test_the_last_of_one_identifier_counts(self):
        """H35."""
        found = cedar_entities(
            {
                "entityList": [
                    item("ann", attributes={"a": {"long": 1}}),
                    entity("bob"),
                    item("ann", tags={"t": {"long": 2}}),
                ]
            }
        )
        assert found[EntityUid("App::User", "ann")] == {
            "uid": {"type": "App::User", "id": "ann"},
            "attrs": {},
            "parents": [],
            "tags": {"t": 2},
        }
        assert len(found) == 2

    @pytest.mark.parametrize(
        "members",
        [
            pytest.param({"attributes": {"__entity": {"long": 1}}}, id="H41-attribute"),
            pytest.param({"tags": {"a": {"record": {"__extn": {"long": 1}}}}}, id="H41-tag"),
            pytest.param({"parents": [{"entityType": "A B", "entityId": "x"}]}, id="parent"),
        ],
    )
    def test_what_cedar_cannot_hold_is_refused(self, members):
        with pytest.raises(ValidationError):
            cedar_entities({"entityList": [item("ann", **members)]})

    @pytest.mark.parametrize(("parents", "taken"), [(99, True), (100, False)])
    def test_direct_parents(self, parents, taken):
        given = {"entityList": [entity("ann", *map(str, range(parents)))]}
        if taken:
            assert len(cedar_entities(given)) == 1
        else:
            with pytest.raises(ValidationError):
                cedar_entities(given)

    @pytest.mark.parametrize(("levels", "taken"), [(99, True), (100, False), (5000, False)])
    def test_parents_of_parents(self, levels, taken):
        chain = [entity(str(level), str(level + 1)) for level in range(levels)]
        written = [
            {"uid": {"type": "U", "id": str(level)}, "attrs": {}, "parents": [{"type": "U", "id": str(level + 1)}]}
            for level in range(levels)
        ]
        for definition in ({"entityList": chain}, {"cedarJson": json.dumps(written)}):
            if taken:
                assert len(cedar_entities(definition)) == levels
            else:
                with pytest.raises(ValidationError):
                    cedar_entities(definition)

    def test_nothing(self):
        assert cedar_entities(None) == {}

    def test_cedar_json_has_its_own_meaning(self):
        text = '[{"uid": {"__entity": {"type": "U", "id": "a"}}, "attrs": {"x": {"__extn": {"fn": "ip", "arg": "::1"}}}, "parents": []}]'
        found = cedar_entities({"cedarJson": text})
        assert found[EntityUid("U", "a")]["attrs"] == {"x": {"__extn": {"fn": "ip", "arg": "::1"}}}

    @pytest.mark.parametrize(
        "text",
        [
            pytest.param("", id="empty"),
            pytest.param("[", id="half"),
            pytest.param("{}", id="object"),
            pytest.param("[1]", id="number"),
            pytest.param('[{"uid": {"type": "U", "id": "a"}}]', id="no-attributes"),
            pytest.param('[{"uid": "U::\\"a\\"", "attrs": {}, "parents": []}]', id="uid-as-text"),
            pytest.param('[{"uid": {"type": "U", "id": 1}, "attrs": {}, "parents": []}]', id="id-is-a-number"),
            pytest.param('[{"uid": {"type": "U", "id": "a"}, "attrs": {"x": null}, "parents": []}]', id="null"),
            pytest.param('[{"uid": {"type": "U", "id": "a"}, "attrs": {"x": 1.5}, "parents": []}]', id="fraction"),
            pytest.param(
                '[{"uid": {"type": "U", "id": "a"}, "attrs": {"x": 1, "x": 2}, "parents": []}]', id="name-twice"
            ),
            pytest.param(
                '[{"uid": {"type": "U", "id": "a"}, "attrs": {}, "parents": []},'
                ' {"uid": {"type": "U", "id": "a"}, "attrs": {"x": 1}, "parents": []}]',
                id="two-of-one-name",
            ),
            pytest.param(
                '[{"uid": {"type": "U", "id": "a"}, "attrs": {}, "parents": [{"type": "U", "id": "a"}]}]', id="circle"
            ),
            pytest.param("[" * 100_000, id="deep"),
            pytest.param("[" * 900 + "]" * 900, id="deep-and-sound"),
        ],
    )
    def test_bad_cedar_json(self, text):
        with pytest.raises(ValidationError):
            cedar_entities({"cedarJson": text})


class TestContexts:
    def test_nothing_is_empty(self):
        """H37."""
        assert cedar_context(None).text() == "{}"

    def test_members(self):
        assert json.loads(cedar_context({"contextMap": {"a": {"long": 1}}}).text()) == {"a": 1}

    def test_token_stands_beside_the_callers(self):
        assert json.loads(cedar_context({"contextMap": {"a": {"long": 1}}}).text({"s": "x"})) == {
            "a": 1,
            "token": {"s": "x"},
        }

    @pytest.mark.parametrize("key", ["__entity", "__extn", "__expr"])
    def test_escapes_as_names(self, key):
        """H41."""
        with pytest.raises(ValidationError):
            cedar_context({"contextMap": {key: {"string": "x"}}})

    def test_cedar_json_has_its_own_meaning(self):
        text = '{"a": {"__entity": {"type": "U", "id": "admin"}}}'
        assert json.loads(cedar_context({"cedarJson": text}).text()) == json.loads(text)

    @pytest.mark.parametrize(
        "text",
        [
            pytest.param("", id="empty"),
            pytest.param("[]", id="array"),
            pytest.param("{", id="half"),
            pytest.param('{"a": NaN}', id="NaN"),
            pytest.param('{"__entity": {"type": "U", "id": "a"}}', id="an-entity-is-no-context"),
            pytest.param('{"a":' * 100_000, id="deep"),
            pytest.param('{"a":' * 121 + "1" + "}" * 121, id="a-level-too-deep"),
        ],
    )
    def test_bad_cedar_json(self, text):
        with pytest.raises(ValidationError):
            cedar_context({"cedarJson": text})


TEXT = st.text(st.characters(codec="utf-8"), min_size=1, max_size=5)
CORE: st.SearchStrategy[Value] = st.recursive(
    st.booleans()
    | st.integers(-(2**64), 2**64)
    | st.text(max_size=5)
    | st.builds(EntityUid, st.sampled_from(["T", "App::User", "App::Action", "A B", ""]), TEXT)
    | st.builds(
        Extension,
        st.sampled_from(["ip", "decimal", "datetime", "duration"]),
        st.sampled_from(["10.0.0.0/8", "::1", "1.5", "999999999999999.9", "2024-10-15", "2024-13-01", "1h", "", "x"]),
    ),
    lambda inner: (
        st.lists(inner, max_size=3).map(tuple)
        | st.dictionaries(TEXT | st.sampled_from(["__entity", "__extn", "__expr"]), inner, max_size=3)
    ),
    max_leaves=8,
)


@given(CORE)
def test_what_the_product_sends_is_what_its_engine_is_told(value):
    """The product's typed form of a value, read here, is the product's Cedar form of it; or both refuse it."""
    try:
        sent = attribute_value(value, "v")
    except Unsayable:
        return
    try:
        received = cedar_value(sent)
    except ValidationError:
        assert not is_sound(value)
        return
    assert is_sound(value)
    assert received == to_json(value)


@given(st.builds(Entity, uid=st.builds(EntityUid, st.sampled_from(["T", "A::B"]), TEXT),
                 attributes=st.dictionaries(TEXT, st.integers(0, 3)), tags=st.dictionaries(TEXT, st.booleans()),
                 parents=st.frozensets(st.builds(EntityUid, st.sampled_from(["G", "H"]), TEXT), max_size=3)))  # fmt: skip
def test_an_entity_that_the_product_sends(sent):
    assert cedar_entities({"entityList": [entity_item(sent)]}) == {sent.uid: entity_to_json(sent)}
