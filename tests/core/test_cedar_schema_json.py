"""Cedar's JSON form of a schema: read as the engine reads it, refused with the place, and written back."""

import json

import cedarpy
import pytest

from authz.core.cedar_schema import (
    Attribute,
    BoolType,
    CedarSchemaError,
    EntityType,
    ExtensionType,
    LongType,
    RecordType,
    SetType,
    StringType,
    load_schema,
    parse_schema,
    schema_from_json,
    to_json,
)
from authz.core.cedar_schema_json import MAX_JSON_DEPTH


def engine_takes(text):
    try:
        cedarpy.Schema.from_json_str(text)
    except ValueError:
        return False
    return True


def refused(text):
    with pytest.raises(CedarSchemaError) as caught:
        load_schema(text)
    return caught.value.line, caught.value.message


def one_type(written, **declared):
    """The type that an attribute written so has, in a namespace with these declarations."""
    shape = {"type": "Record", "attributes": {"x": written}}
    space = {"entityTypes": {"U": {"shape": shape}, "V": {}}, "actions": {"a": {}}, **declared}
    text = json.dumps({"N": space, "M": {"entityTypes": {"W": {}}, "actions": {}}})
    assert engine_takes(text)
    return load_schema(text).entities["N::U"].attributes["x"]


STRING_SET = {"type": "Set", "element": {"type": "String"}}


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ({"type": "String"}, StringType()),
        ({"type": "Long"}, LongType()),
        ({"type": "Boolean"}, BoolType()),
        ({"type": "Bool"}, BoolType()),
        ({"type": "__cedar::Bool"}, BoolType()),
        ({"type": "decimal"}, ExtensionType("decimal")),
        ({"type": "Extension", "name": "ipaddr"}, ExtensionType("ipaddr")),
        ({"type": "Extension", "name": "datetime"}, ExtensionType("datetime")),
        ({"type": "Extension", "name": "duration"}, ExtensionType("duration")),
        (STRING_SET, SetType(StringType())),
        ({"type": "Entity", "name": "V"}, EntityType("N::V")),
        ({"type": "Entity", "name": "N::V"}, EntityType("N::V")),
        ({"type": "Entity", "name": "M::W"}, EntityType("M::W")),
        ({"type": "Entity", "name": "Action"}, EntityType("N::Action")),
        ({"type": "EntityOrCommon", "name": "V"}, EntityType("N::V")),
        ({"type": "EntityOrCommon", "name": "C"}, SetType(StringType())),
        ({"type": "EntityOrCommon", "name": "String"}, StringType()),
        ({"type": "C"}, SetType(StringType())),
        ({"type": "N::C"}, SetType(StringType())),
        ({"type": "Record", "attributes": {}}, RecordType({})),
        (
            {"type": "Record", "attributes": {"": {"type": "Long", "required": False}}, "additionalAttributes": False},
            RecordType({"": Attribute(LongType(), required=False)}),
        ),
    ],
)
def test_every_form_of_a_type(written, expected):
    common = {"C": {**STRING_SET, "annotations": {"doc": "x"}}}
    assert one_type(written, commonTypes=common) == Attribute(expected)
    optional = {**written, "required": False, "annotations": {"doc": "x", "note": None}}
    assert one_type(optional, commonTypes=common) == Attribute(expected, required=False)


def test_an_entity_has_parents_tags_a_shape_by_name_or_only_ids():
    text = """{"": {
        "commonTypes": {"Shape": {"type": "Record", "attributes": {"a": {"type": "Long"}}}},
        "entityTypes": {
            "U": {"memberOfTypes": ["G", "U"], "shape": {"type": "Shape"}, "tags": {"type": "Set", "element": {"type":
                "EntityOrCommon", "name": "E"}}, "annotations": {"doc": "x"}},
            "G": {}, "E": {"enum": ["x", "y", "x"], "annotations": {}}},
        "actions": {}}}"""
    assert engine_takes(text)
    entities = load_schema(text).entities
    assert entities["U"].member_of == {"U", "G"}
    assert entities["U"].attributes == {"a": Attribute(LongType())}
    assert entities["U"].tags == SetType(EntityType("E"))
    assert (entities["G"].tags, entities["G"].enum) == (None, None)
    assert entities["E"].enum == frozenset({"x", "y"})


def test_an_action_may_leave_out_all_or_say_null():
    text = """{"N": {"entityTypes": {"U": {}}, "actions": {
        "bare": {}, "null": {"appliesTo": null, "memberOf": null, "attributes": null},
        "in": {"memberOf": [{"id": "bare"}, {"id": "bare", "type": "Action"}, {"id": "bare", "type": "N::Action"},
                            {"id": "null", "type": null}, {"id": "far", "type": "M::Action"}]},
        "on": {"appliesTo": {"principalTypes": ["U"], "resourceTypes": []}, "annotations": {"doc": "x"}}}},
      "M": {"entityTypes": {}, "actions": {"far": {}}}}"""
    assert engine_takes(text)
    schema = load_schema(text)
    assert schema.actions["N::Action", "in"].groups == (
        ("N::Action", "bare"),
        ("N::Action", "null"),
        ("M::Action", "far"),
    )
    assert schema.actions["N::Action", "on"].principals == {"N::U"}
    assert schema.actions["N::Action", "on"].context == RecordType({})
    assert schema.actions["N::Action", "null"].groups == ()


def shaped(written):
    return json.dumps({"N": {"entityTypes": {"U": {"shape": written}}, "actions": {}}})


def acting(written):
    return json.dumps({"N": {"entityTypes": {}, "actions": {"a": written}}})


@pytest.mark.parametrize(
    ("text", "line", "said"),
    [
        ("{\n 'a': 1}", 2, "not JSON: expecting property name enclosed in double quotes"),
        ('{"a":', 1, "not JSON: expecting value"),
        ("{} x", 1, "not JSON: extra data"),
        ('{"": 1' + "0" * 5000 + "}", None, "a number is too long"),
        ('{"N": NaN}', None, "`NaN` is no JSON"),
        ('{"N": {}, "N": {}}', None, "key `N` stands twice in one object: remove one"),
        ('{"\\u004e": {}, "N": {}}', None, "key `N` stands twice"),
        ('{"N": {}}\0', 1, "unexpected NUL"),
        ('{"N": []}', None, "expected an object, at namespace `N`"),
        ('{"": {}}', None, "expected the key `entityTypes`, at the empty namespace"),
        ('{"N": {"entityTypes": {}}}', None, "expected the key `actions`, at namespace `N`"),
        ('{"N": {"entityTypes": {}, "actions": {}, "x": 1}}', None, "unknown key `x`, expected one of `commonTypes`"),
        ('{"N M": {"entityTypes": {}, "actions": {}}}', None, "expected a namespace's name as key, found `N M`"),
        ('{"N": {"entityTypes": {"a b": {}}, "actions": {}}}', None, "expected an identifier as the type's name"),
        ('{"N": {"entityTypes": {"N::U": {}}, "actions": {}}}', None, "expected an identifier as the type's name"),
        ('{"N": {"entityTypes": {"U": {"enum": []}}, "actions": {}}}', None, "expected ids in `enum`"),
        (
            '{"N": {"entityTypes": {"U": {"enum": ["a"], "tags": {"type": "Long"}}}, "actions": {}}}',
            None,
            "no other key",
        ),
        ('{"N": {"entityTypes": {"U": {"enum": [1]}}, "actions": {}}}', None, "expected a string, at entity `U`"),
        ('{"N": {"entityTypes": {"U": {"memberOfTypes": "U"}}, "actions": {}}}', None, "expected a list, at `memberOf"),
        (
            '{"N": {"entityTypes": {"U": {"memberOfTypes": ["X"]}}, "actions": {}}}',
            None,
            "unknown name `X` in",
        ),
        (shaped(None), None, "expected an object, at `shape` of entity `U` of namespace `N`"),
        (shaped({}), None, "expected a string, at `type`, `shape` of entity `U` of namespace `N`"),
        (shaped({"type": "Long"}), None, "expected a record, `{…}` or a common type that is one, for entity `N::U`"),
        (shaped({"type": "Nope"}), None, "unknown name `Nope` in namespace `N`: declare it as `type`, for entity"),
        (shaped({"type": "a b"}), None, "expected a type's name such as `Ns::User`, found `a b`"),
        (shaped({"type": "Record"}), None, "expected an object, at `attributes`, `shape` of entity `U`"),
        (shaped({"type": "Record", "attributes": {"a": {"type": "Long", "required": 1}}}), None, "`true` or `false`"),
        (shaped({"type": "Record", "attributes": {"a": {"type": "Long", "x": 1}}}), None, "unknown key `x`"),
        (shaped({"type": "Record", "attributes": {"a": []}}), None, "expected an object, at attribute `a` of `shape`"),
        (
            shaped({"type": "Record", "attributes": {"a": {"type": "Set"}}}),
            None,
            "expected an object, at attribute `a`",
        ),
        (shaped({"type": "Record", "attributes": {"a": {"type": "Entity"}}}), None, "expected a string, at `name`"),
        (shaped({"type": "Record", "attributes": {}, "additionalAttributes": True}), None, "is not supported"),
        (shaped({"type": "Extension", "name": "uuid"}), None, "unknown extension type `uuid`, expected one of"),
        (acting({"memberOf": [{"id": "x"}]}), None, "unknown action group `x`: declare it as `action`"),
        (acting({"memberOf": [{"type": "Action"}]}), None, "expected a string, at action `a` of namespace `N`"),
        (acting({"memberOf": {}}), None, "expected a list, at `memberOf` of action `a`"),
        (acting({"appliesTo": {"resourceTypes": []}}), None, "expected a list, at `principalTypes`, `appliesTo` of"),
        (acting({"appliesTo": {"principalTypes": ["Action"], "resourceTypes": []}}), None, "expected an entity type"),
        (acting({"memberOf": [{"id": "a"}]}), None, "action groups contain each other in a circle: `a`, `a`"),
    ],
)
def test_refusals_name_the_place(text, line, said):
    found_line, message = refused(text)
    assert (found_line, said in message) == (line, True), (found_line, message)
    assert not engine_takes(text)


def test_nesting_is_bounded_before_anything_recurses():
    assert f"more than {MAX_JSON_DEPTH} objects and lists" in refused('{"a":' * 200_000)[1]
    assert f"more than {MAX_JSON_DEPTH} objects and lists" in refused('{"a": ' + "[" * 200_000)[1]
    deep: object = {"type": "Long"}
    for _ in range(5000):
        deep = {"type": "Set", "element": deep}
    with pytest.raises(CedarSchemaError, match="expected at most 50 sets and records within one another"):
        schema_from_json({"": {"entityTypes": {}, "actions": {}, "commonTypes": {"T": deep}}})


def test_brackets_in_strings_do_not_nest():
    note = "[{" * 500 + '\\"' + "[" * 500
    text = json.dumps({"N": {"entityTypes": {}, "actions": {}, "annotations": {"note": note}}})
    assert load_schema(text).entities == {}


@pytest.mark.parametrize("data", [None, [], "x", 1, {1: {}}, {"N": {"entityTypes": {"U": 1}, "actions": {}}}])
def test_any_other_value_is_refused(data):
    with pytest.raises(CedarSchemaError) as caught:
        schema_from_json(data)
    assert caught.value.line is None


def test_what_is_written_is_sorted_and_means_the_same():
    entities = 'entity V, U in V { z: Long, y?: Set<V> } tags V; entity E enum ["q", "p"];'
    text = f"namespace N {{ action a in b; action b; {entities} }}"
    schema = parse_schema(text)
    written = to_json(schema)
    assert json.dumps(written) == json.dumps(to_json(parse_schema(str(cedarpy.Schema.from_str(text)))))
    assert list(written["N"]["entityTypes"]) == ["E", "U", "V"]
    assert written["N"]["entityTypes"]["E"] == {"enum": ["p", "q"]}
    assert written["N"]["actions"]["a"]["memberOf"] == [{"type": "N::Action", "id": "b"}]
    assert schema_from_json(written) == schema
    assert engine_takes(json.dumps(written))


def test_the_one_type_that_json_cannot_name_is_refused():
    text = "type T = Action; action a; namespace N { entity U = { x: T }; action b; }"
    assert parse_schema(text).entities["N::U"].attributes["x"].type == EntityType("Action")
    with pytest.raises(CedarSchemaError, match="JSON has no name for the type `Action` of the empty namespace in `N`"):
        to_json(parse_schema(text))
