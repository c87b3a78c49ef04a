"""The tables of input shapes against botocore's own model of the service, and what they refuse."""

import gzip
import json
import re
from pathlib import Path
from typing import Any

import botocore
import pytest

from authz.emulator.errors import ValidationError
from authz.emulator.operations.table import HANDLERS
from authz.emulator.shape_tables import MEMBERS, SHAPES, Choice, Flag, Items, Number, Structure, Table, Text, Union
from authz.emulator.shapes import MAX_FIELDS, check

MODEL = json.loads(
    gzip.decompress(
        (Path(botocore.__file__).parent / "data/verifiedpermissions/2021-12-01/service-2.json.gz").read_bytes()
    )
)
TIGHTER = {"Decimal", "DatetimeAttribute", "ActionType", "Token", "Issuer"}
"""Patterns that are written otherwise, with their reasons in `shapes`."""
IN_PROSE = {"BatchIsAuthorizedInputList": 30, "BatchIsAuthorizedWithTokenInputList": 30}


def test_every_operation_has_a_shape_and_a_handler():
    assert set(HANDLERS) == set(MODEL["operations"])
    assert set(HANDLERS) <= set(SHAPES)


@pytest.mark.parametrize("operation", MODEL["operations"])
def test_the_shape_is_the_models(operation):
    compare(operation, MODEL["operations"][operation]["input"]["shape"], operation, set())


def compare(mine, theirs, path, seen):
    if (mine, theirs) in seen:
        return
    seen.add((mine, theirs))
    shape, model = SHAPES[mine], MODEL["shapes"][theirs]
    match model["type"]:
        case "structure":
            assert isinstance(shape, Structure | Union), path
            members = {name: (of, required) for name, of, required in MEMBERS[shape.members]}
            assert isinstance(shape, Union if model.get("union") else Structure), path
            assert set(members) == set(model["members"]), path
            if not model.get("union"):
                assert {name for name, (_, required) in members.items() if required} == set(
                    model.get("required", [])
                ), path
            for name, (of, _) in members.items():
                compare(of, model["members"][name]["shape"], f"{path}/{name}", seen)
        case "list":
            assert isinstance(shape, Items), path
            assert (shape.least, shape.most) == (model.get("min", 0), IN_PROSE.get(theirs, model.get("max"))), path
            compare(shape.of, model["member"]["shape"], f"{path}[]", seen)
        case "map":
            assert isinstance(shape, Table), path
            assert shape.most == model.get("max"), path
            compare(shape.key, model["key"]["shape"], f"{path}{{}}", seen)
            compare(shape.of, model["value"]["shape"], f"{path}{{}}", seen)
        case "string" if "enum" in model:
            assert isinstance(shape, Choice), path
            assert set(shape.words) == set(model["enum"]), path
        case "string":
            assert isinstance(shape, Text), path
            assert (shape.least, shape.most) == (model.get("min", 0), model.get("max")), path
            assert theirs in TIGHTER or plain(shape.pattern) == plain(model.get("pattern")), path
        case "boolean":
            assert isinstance(shape, Flag), path
        case kind:
            assert kind in {"long", "integer"}, path
            assert isinstance(shape, Number), path


def plain(pattern):
    return None if pattern in {None, ".*"} else re.sub(r"\\([-/.])", r"\1", pattern)


STORE = "PSEXAMPLEabcdefg111111"
UID = {"entityType": "U", "entityId": "a"}
ACTION = {"actionType": "Action", "actionId": "x"}
VALID: dict[str, dict[str, Any]] = {
    "GetPolicyStore": {"policyStoreId": STORE},
    "IsAuthorized": {"policyStoreId": STORE, "principal": UID, "action": ACTION, "resource": UID},
    "BatchIsAuthorized": {"policyStoreId": STORE, "requests": [{"principal": UID}]},
    "ListPolicies": {"policyStoreId": STORE},
    "CreatePolicyStore": {"validationSettings": {"mode": "OFF"}},
    "CreatePolicy": {"policyStoreId": STORE, "definition": {"static": {"statement": "x"}}},
    "BatchGetPolicy": {"requests": [{"policyStoreId": STORE, "policyId": "p"}]},
    "IsAuthorizedWithToken": {"policyStoreId": STORE, "identityToken": "a.b.c"},
    "CreateIdentitySource": {
        "policyStoreId": STORE,
        "configuration": {
            "openIdConnectConfiguration": {"issuer": "https://i", "tokenSelection": {"accessTokenOnly": {}}}
        },
    },
    "TagResource": {"resourceArn": "arn", "tags": {}},
}


def context(value):
    return {"context": {"contextMap": {"a": value}}}


REFUSED = [
    ("GetPolicyStore", {"policyStoreId": None}, "/policyStoreId", "must not be null"),
    ("GetPolicyStore", {"policyStoreId": ""}, "/policyStoreId", "greater than or equal to 1"),
    ("GetPolicyStore", {"policyStoreId": "x" * 201}, "/policyStoreId", "less than or equal to 200"),
    ("GetPolicyStore", {"policyStoreId": "a b"}, "/policyStoreId", "regular expression"),
    ("GetPolicyStore", {"policyStoreId": "a\n"}, "/policyStoreId", "regular expression"),
    ("GetPolicyStore", {"policyStoreId": 7}, "/policyStoreId", "a string"),
    ("GetPolicyStore", {"tags": "yes"}, "/tags", "a boolean"),
    ("IsAuthorized", {"principal": {"entityType": "U"}}, "/principal/entityId", "must not be null"),
    ("IsAuthorized", {"principal": "U"}, "/principal", "an object"),
    ("IsAuthorized", {"principal": {"entityType": "U", "entityId": "x" * 613}}, "/principal/entityId", "612"),
    ("IsAuthorized", {"action": {"actionType": "Act", "actionId": "x"}}, "/action/actionType", "regular expression"),
    ("IsAuthorized", {"context": {}}, "/context", "Exactly one member"),
    ("IsAuthorized", {"context": {"contextMap": {}, "cedarJson": "{}"}}, "/context", "Exactly one member"),
    ("IsAuthorized", {"context": {"other": {}}}, "/context", "Exactly one member"),
    ("IsAuthorized", context({}), "/context/contextMap/a", "Exactly one member"),
    ("IsAuthorized", context({"boolean": True, "long": 1}), "/context/contextMap/a", "Exactly one member"),
    ("IsAuthorized", context({"ip": "10.0.0.1"}), "/context/contextMap/a", "Exactly one member"),
    ("IsAuthorized", context({"long": 2**63}), "/context/contextMap/a/long", "less than or equal"),
    ("IsAuthorized", context({"long": -(2**63) - 1}), "/context/contextMap/a/long", "greater than or equal"),
    ("IsAuthorized", context({"long": True}), "/context/contextMap/a/long", "a whole number"),
    ("IsAuthorized", context({"long": 1.5}), "/context/contextMap/a/long", "a whole number"),
    ("IsAuthorized", context({"set": [None]}), "/context/contextMap/a/set/0", "an object"),
    ("IsAuthorized", context({"set": [{"string": 1}]}), "/context/contextMap/a/set/0/string", "a string"),
    ("IsAuthorized", context({"record": {"a/b": {"decimal": "1"}}}), "/context/contextMap/a/record/a~1b/decimal", "greater than or equal to 3"),
    ("IsAuthorized", context({"decimal": "1.23456"}), "/context/contextMap/a/decimal", "regular expression"),
    ("IsAuthorized", context({"ipaddr": "localhost"}), "/context/contextMap/a/ipaddr", "regular expression"),
    ("IsAuthorized", context({"datetime": "2024-10-15T11:35"}), "/context/contextMap/a/datetime", "regular expression"),
    ("IsAuthorized", context({"duration": "1m1h"}), "/context/contextMap/a/duration", "regular expression"),
    ("IsAuthorized", {"entities": {"entityList": [{"attributes": {}}]}}, "/entities/entityList/0/identifier", "must not be null"),
    ("BatchIsAuthorized", {"requests": []}, "/requests", "greater than or equal to 1"),
    ("BatchIsAuthorized", {"requests": [{}] * 31}, "/requests", "less than or equal to 30"),
    ("ListPolicies", {"maxResults": 51}, "/maxResults", "less than or equal to 50"),
    ("ListPolicies", {"maxResults": 0}, "/maxResults", "greater than or equal to 1"),
    ("ListPolicies", {"nextToken": "a b"}, "/nextToken", "regular expression"),
    ("ListPolicies", {"filter": {"policyType": "static"}}, "/filter/policyType", "enum value set: [STATIC, TEMPLATE_LINKED]"),
    ("ListPolicies", {"filter": {"principal": {"unspecified": True, "identifier": UID}}}, "/filter/principal", "Exactly one"),
    ("CreatePolicyStore", {"validationSettings": {"mode": "MAYBE"}}, "/validationSettings/mode", "enum value set: [OFF, STRICT]"),
    ("CreatePolicyStore", {"clientToken": "x" * 65}, "/clientToken", "64"),
    ("CreatePolicyStore", {"description": "x" * 151}, "/description", "150"),
    ("CreatePolicyStore", {"tags": {"": "x"}}, "/tags/", "greater than or equal to 1"),
    ("CreatePolicy", {"definition": {"static": {"statement": ""}}}, "/definition/static/statement", "greater than or equal to 1"),
    ("BatchGetPolicy", {"requests": VALID["BatchGetPolicy"]["requests"] * 101}, "/requests", "100"),
    ("IsAuthorizedWithToken", {"identityToken": "a" * 131_073}, "/identityToken", "131072"),
    ("IsAuthorizedWithToken", {"identityToken": "a" * 130_000 + "!"}, "/identityToken", "regular expression"),
    ("CreateIdentitySource", {"configuration": {"openIdConnectConfiguration": {"issuer": "ftp://i", "tokenSelection": {"accessTokenOnly": {}}}}}, "/configuration/openIdConnectConfiguration/issuer", "regular expression"),
    ("CreateIdentitySource", {"configuration": {"openIdConnectConfiguration": {"issuer": "https://i", "tokenSelection": {"accessTokenOnly": {"audiences": []}}}}}, "/configuration/openIdConnectConfiguration/tokenSelection/accessTokenOnly/audiences", "greater than or equal to 1"),
    ("CreateIdentitySource", {"configuration": {"cognitoUserPoolConfiguration": {"userPoolArn": "arn:aws:cognito-idp:x"}}}, "/configuration/cognitoUserPoolConfiguration/userPoolArn", "regular expression"),
    ("TagResource", {"tags": {"k": "x" * 257}}, "/tags/k", "256"),
]  # fmt: skip


@pytest.mark.parametrize("operation", VALID)
def test_what_has_the_shape_passes_as_it_is(operation):
    assert check(operation, VALID[operation]) == VALID[operation]


@pytest.mark.parametrize(("operation", "members", "path", "message"), REFUSED)
def test_what_has_not_is_refused_with_its_place(operation, members, path, message):
    with pytest.raises(ValidationError) as refused:
        check(operation, {**VALID[operation], **members})
    assert refused.value.message == "Invalid input"
    assert [field.path for field in refused.value.fields] == [path]
    assert message in refused.value.fields[0].message


def test_all_that_is_wrong_is_told_but_no_flood():
    with pytest.raises(ValidationError) as refused:
        check("ListPolicies", {"policyStoreId": "?", "maxResults": 99, "nextToken": ""})
    assert {field.path for field in refused.value.fields} == {"/policyStoreId", "/maxResults", "/nextToken"}
    with pytest.raises(ValidationError) as refused:
        check("IsAuthorized", {"policyStoreId": STORE, **context({"set": [1] * 5000})})
    assert len(refused.value.fields) == MAX_FIELDS


def test_null_and_unknown_members_are_left_out():
    given = {"policyStoreId": STORE, "maxResults": None, "filter": {"policyType": None, "other": 1}, "more": {"x": 1}}
    assert check("ListPolicies", given) == {"policyStoreId": STORE, "filter": {}}
