"""Schemas, through boto3: JSON text in and out, checked in both modes, with the service's words."""

import json

import pytest

from tests.emulator.refusals import refused

GOOD = {
    "App": {
        "entityTypes": {"User": {}},
        "actions": {"read": {"appliesTo": {"principalTypes": ["User"], "resourceTypes": ["User"]}}},
    }
}


def put(client, store, schema):
    text = schema if isinstance(schema, str) else json.dumps(schema)
    return client.put_schema(policyStoreId=store, definition={"cedarJson": text})


def test_a_schema_comes_back_as_text(client, store):
    text = json.dumps(GOOD, indent=3)
    made = put(client, store, text)
    assert made["namespaces"] == ["App"]
    assert made["createdDate"] == made["lastUpdatedDate"]
    found = client.get_schema(policyStoreId=store)
    assert found["schema"] == text
    assert found["namespaces"] == ["App"]
    again = put(client, store, {**GOOD, "Other": {"entityTypes": {}, "actions": {}}})
    assert again["namespaces"] == ["App", "Other"]
    assert again["createdDate"] == made["createdDate"] < again["lastUpdatedDate"]


def test_an_empty_schema_deletes_it(client, store):
    put(client, store, GOOD)
    assert put(client, store, "{}")["namespaces"] == []
    answer = refused(client.get_schema, policyStoreId=store)
    assert (answer.code, answer.status, answer.response["resourceType"]) == ("ResourceNotFoundException", 404, "SCHEMA")
    put(client, store, "{}")


def types(attribute):
    return {"N": {"entityTypes": {"U": {"shape": {"type": "Record", "attributes": {"a": attribute}}}}, "actions": {}}}


REFUSED = [
    ("{", "Provided schema is not a valid JSON object"),
    ("[]", "Provided schema is not a valid JSON object"),
    ("entity User;", "Provided schema is not a valid JSON object"),
    ('{"N": {"entityTypes": {}, "actions": {}}, "N": {"entityTypes": {}, "actions": {}}}', "Provided schema is not a valid JSON object"),
    ('{"N": ' + "[" * 100 + "]" * 100 + "}", "Provided schema is not a valid JSON object"),
    ({"": GOOD["App"]}, "Namespace lengths must be at least 1 and at most 100 bytes in size, but '' is 0 bytes in size"),
    ({"N" * 101: GOOD["App"]}, f"Namespace lengths must be at least 1 and at most 100 bytes in size, but '{'N' * 101}' is 101 bytes in size"),
    ({"N": {"entityTypes": {}}}, "missing field `actions`"),
    ({"N": {"actions": {}}}, "missing field `entityTypes`"),
    ({"N": {"entityTypes": {}, "actions": {}, "x": 1}}, "unknown field `x`, expected one of `commonTypes`, `entityTypes`, `actions`, `annotations`"),
    ({"N": {"entityTypes": {}, "actions": {"a": {"memberOf": [{"id": "ghostgroup"}]}}}}, 'undeclared action: Action::"ghostgroup"'),
    (types({"type": "X"}), "failed to resolve type: X"),
    (types({"type": "Set"}), "missing field `element`"),
    (types({"type": "Extension", "name": "zz"}), "unknown extension type `zz`"),
    ({"N": {"entityTypes": {"U": {"shape": {"type": "String"}}}, "actions": {}}}, "Shape for entity type N::U is declared with a type other than `Record`"),
    ({"N": {"entityTypes": {"Action": {}}, "actions": {}}}, "entity type `Action` declared in `entityTypes` list"),
    ({"N": {"entityTypes": {"__cedar": {}}, "actions": {}}}, "The name `__cedar` contains `__cedar`, which is reserved"),
    ({"N x": GOOD["App"]}, "invalid namespace `N x`: unexpected token `x`"),
]  # fmt: skip


@pytest.mark.parametrize("mode", ["OFF", "STRICT"])
@pytest.mark.parametrize(("schema", "message"), REFUSED)
def test_a_wrong_schema_is_refused_in_either_mode(client, emulated, mode, schema, message):
    answer = refused(put, client=client, store=emulated.store(schema=GOOD, mode=mode), schema=schema)
    assert (answer.code, answer.status, answer.fields) == ("ValidationException", 400, [("/schema", message)])


def test_the_schema_before_stays_when_one_is_refused(client, emulated):
    store = emulated.store(schema=GOOD)
    refused(put, client=client, store=store, schema="{")
    assert json.loads(client.get_schema(policyStoreId=store)["schema"]) == GOOD


@pytest.mark.parametrize(
    ("schema", "kept"),
    [
        (json.dumps(GOOD) + " " * (100_000 - len(json.dumps(GOOD))), True),
        (json.dumps(GOOD) + " " * (100_001 - len(json.dumps(GOOD))), False),
        ({f"N{number}": {"entityTypes": {}, "actions": {}} for number in range(100)}, True),
        ({f"N{number}": {"entityTypes": {}, "actions": {}} for number in range(101)}, False),
    ],
)
def test_bytes_and_namespaces_have_a_quota(client, store, schema, kept):
    if kept:
        put(client, store, schema)
    else:
        answer = refused(put, client=client, store=store, schema=schema)
        assert (answer.code, answer.status, answer.response["resourceType"]) == (
            "ServiceQuotaExceededException",
            402,
            "SCHEMA",
        )


def chained(levels):
    above = {f"T{level}": {"memberOfTypes": [f"T{level + 1}"]} for level in range(levels)}
    return {"N": {"entityTypes": {**above, f"T{levels}": {}}, "actions": {}}}


def doubled(times):
    common: dict = {"A0": {"type": "Long"}}
    for number in range(1, times):
        member = {"type": f"A{number - 1}"}
        common[f"A{number}"] = {"type": "Record", "attributes": {"a": member, "b": member}}
    return {"N": {"commonTypes": common, "entityTypes": {"U": {"shape": {"type": f"A{times - 1}"}}}, "actions": {}}}


@pytest.mark.parametrize(
    ("schema", "message"), [(chained(600), "more than 500 levels"), (doubled(40), "more than 200000 types")]
)
def test_what_would_end_the_engine_is_refused(client, store, schema, message):
    answer = refused(put, client=client, store=store, schema=schema)
    assert (answer.code, answer.fields[0][0]) == ("ValidationException", "/schema")
    assert message in answer.fields[0][1]
    put(client, store, GOOD)
