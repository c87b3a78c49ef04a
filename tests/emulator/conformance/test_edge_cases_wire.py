"""What a naive emulator gets wrong on the wire. `h` and the number are those of the issue's list of edge cases."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.emulator.conformance.model import STATUSES, TYPE
from tests.emulator.conformance.world import POOL_ARN, SCHEMA, World, action, cognito, doc, static, user, world

PERMIT = 'permit(principal == App::User::"alice", action, resource == App::Doc::"d1");'


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with world(tmp_path_factory.mktemp("keys")) as made:
        yield made


def test_h01_h02_an_error_has_smithys_status_and_its_name_in_the_body(here: World):
    store = here.store(deletionProtection="ENABLED")
    here.policy(store, PERMIT, name="name/a")
    switches, found = here.emulator.switches, dict[str, int]()
    given: dict[str, Any] = {"policyStoreId": store, "configuration": cognito(), "principalEntityType": "App::User"}
    here.client.create_identity_source(**given)
    calls: tuple[tuple[str, dict[str, Any], Any], ...] = (
        ("ListPolicies", {"policyStoreId": store, "maxResults": 0}, None),
        ("GetPolicy", {"policyStoreId": store, "policyId": "missing"}, None),
        ("CreatePolicy", {"policyStoreId": store, "definition": static(PERMIT), "name": "name/a"}, None),
        ("DeletePolicyStore", {"policyStoreId": store}, None),
        ("CreateIdentitySource", given, None),
        ("ListPolicyStores", {}, switches.throttle),
        ("ListPolicyStores", {}, switches.deny),
        ("ListPolicyStores", {}, switches.fail),
    )
    for operation, sent, switch in calls:
        if switch is not None:
            switch(operation, calls=1)
        status, body = here.raw(operation, sent)
        found[body["__type"]] = status
    assert found == {name: status for name, status in STATUSES.items() if name != "TooManyTagsException"}


def test_h03_h10_dates_are_text_and_only_an_alias_has_created_at(here: World):
    store = here.store()
    _, made = here.raw("CreatePolicyStoreAlias", {"aliasName": "policy-store-alias/dated", "policyStoreId": store})
    assert made["createdAt"].endswith("Z")
    assert "createdDate" not in made
    _, got = here.raw("GetPolicyStore", {"policyStoreId": store})
    assert (type(got["createdDate"]), type(got["lastUpdatedDate"]), "createdAt" in got) == (str, str, False)


def test_h04_determining_policies_and_errors_are_objects(here: World):
    store = here.store(schema=None)
    permit = here.policy(store, "permit(principal, action, resource);")
    here.policy(store, "forbid(principal, action, resource) when { principal.missing };")
    _, answer = here.raw("IsAuthorized", {"policyStoreId": store, "principal": user("a"), "action": action("read"), "resource": doc("d")})  # fmt: skip
    assert answer["determiningPolicies"] == [{"policyId": permit}]
    assert [sorted(one) for one in answer["errors"]] == [["errorDescription"]]


def test_h05_words_are_written_as_the_model_has_them(here: World):
    store = here.store("forbid(principal, action, resource);", schema=None)
    here.client.create_policy_store_alias(aliasName="policy-store-alias/words", policyStoreId=store)
    here.client.delete_policy_store_alias(aliasName="policy-store-alias/words")
    assert here.raw("GetPolicyStoreAlias", {"aliasName": "policy-store-alias/words"})[1]["state"] == "PendingDeletion"
    assert here.raw("ListPolicies", {"policyStoreId": store})[1]["policies"][0]["effect"] == "Forbid"
    assert here.raw("IsAuthorized", {"policyStoreId": store, "principal": user("a"), "action": action("read"), "resource": doc("d")})[1]["decision"] == "DENY"  # fmt: skip


@pytest.mark.parametrize(
    ("operation", "given"),
    [
        ("IsAuthorized", {"context": {"contextMap": {"a": {"ip": "10.0.0.1"}}}}),
        ("IsAuthorized", {"principal": {"entityType": "App::User", "entityID": "a"}}),
        ("IsAuthorized", {"entities": {"entityList": [{"Identifier": user("a")}]}}),
        ("CreateIdentitySource", {"configuration": {"cognitoUserPoolConfiguration": {"UserPoolArn": POOL_ARN}}}),
        ("GetPolicy", {"PolicyId": "P"}),
        ("PutSchema", {"definition": {"cedarJSON": "{}"}}),
    ],
)
def test_h06_the_documents_misspellings_are_no_members(here: World, operation, given):
    assert here.raw_refusal(operation, {"policyStoreId": here.store(schema=None), **given}) == (
        400,
        "ValidationException",
    )


@pytest.mark.parametrize(
    ("operation", "given", "path"),
    [
        ("BatchIsAuthorized", {"requests": [{"principal": user("a")}] * 31}, "/requests"),
        ("BatchGetPolicy", {"requests": [{"policyStoreId": "S", "policyId": "P"}] * 101}, "/requests"),
        ("ListPolicies", {"maxResults": 51}, "/maxResults"),
        ("ListPolicies", {"maxResults": 0}, "/maxResults"),
        ("ListPolicies", {"maxResults": True}, "/maxResults"),
        ("ListPolicies", {"maxResults": "10"}, "/maxResults"),
        ("GetPolicy", {"policyId": "a b"}, "/policyId"),
        ("GetPolicy", {"policyId": "a\n"}, "/policyId"),
        ("GetPolicy", {"policyId": "é"}, "/policyId"),
        ("GetPolicy", {"policyId": ""}, "/policyId"),
        ("UpdatePolicyStore", {"validationSettings": {"mode": "MAYBE"}}, "/validationSettings/mode"),
        ("IsAuthorized", {"action": {"actionType": "App::action", "actionId": "a"}}, "/action/actionType"),
        ("IsAuthorized", {"context": {"contextMap": {"a": {"decimal": "1"}}}}, "/context/contextMap/a/decimal"),
        ("PutSchema", {"definition": {"cedarJson": ""}}, "/definition/cedarJson"),
    ],
)
def test_h07_limits_that_no_sdk_checks_are_checked_and_the_member_is_named(here: World, operation, given, path):
    status, body = here.raw(operation, {"policyStoreId": here.store(schema=None), **given})
    assert (status, body["__type"]) == (400, "ValidationException")
    assert [field["path"] for field in body["fieldList"]] == [path]


def test_h08_a_schema_is_a_text_of_json_as_it_was_put(here: World):
    store, text = here.store(schema=None), json.dumps(SCHEMA, indent=3) + "\n"
    here.client.put_schema(policyStoreId=store, definition={"cedarJson": text})
    assert here.raw("GetSchema", {"policyStoreId": store})[1]["schema"] == text
    assert here.raw_refusal("PutSchema", {"policyStoreId": store, "definition": {"cedarJson": SCHEMA}}) == (400, "ValidationException")  # fmt: skip


def test_h09_a_stores_arn_has_no_region_and_an_aliases_has_one(here: World):
    store, name = here.store(schema=None), "policy-store-alias/arn"
    assert here.client.get_policy_store(policyStoreId=store)["arn"] == f"arn:aws:verifiedpermissions::123456789012:policy-store/{store}"  # fmt: skip
    made = here.client.create_policy_store_alias(aliasName=name, policyStoreId=store)
    assert made["aliasArn"] == f"arn:aws:verifiedpermissions:us-east-1:123456789012:{name}"


# --- the envelope -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("headers", "body", "status", "name"),
    [
        ({"X_Amz_Target": "VerifiedPermissions.Nothing"}, b"{}", 404, "UnknownOperationException"),
        ({"X_Amz_Target": "Other.ListPolicyStores"}, b"{}", 404, "UnknownOperationException"),
        ({"X_Amz_Target": "ListPolicyStores"}, b"{}", 404, "UnknownOperationException"),
        ({"X_Amz_Target": "VerifiedPermissions.listpolicystores"}, b"{}", 404, "UnknownOperationException"),
        ({}, b"", 400, "SerializationException"),
        ({}, b"[]", 400, "SerializationException"),
        ({}, b"{", 400, "SerializationException"),
        ({}, b'{"maxResults": NaN}', 400, "SerializationException"),
        ({}, b'"\xff"', 400, "SerializationException"),
        ({}, b'{"nextToken": "\\ud800"}', 400, "SerializationException"),
        ({}, b'{"a":' * 2000 + b"1" + b"}" * 2000, 400, "SerializationException"),
        ({"Content_Type": "application/json"}, b"{}", 400, "SerializationException"),
    ],
)  # fmt: skip
def test_a1_what_is_no_call_of_the_protocol_has_an_error_of_the_protocol(here: World, headers, body, status, name):
    found, answer = here.raw("ListPolicyStores", body, **headers)
    assert (found, answer["__type"]) == (status, name)


@pytest.mark.parametrize(
    "body",
    [b"{}", b' {"nextToken": null} ', b'{"unknown": 1, "maxResults": 1}', b"\n{}\n"],
)
def test_a1_null_is_nothing_and_an_unknown_member_is_passed_over(here: World, body):
    here.store(schema=None)
    assert here.raw("ListPolicyStores", body)[0] == 200


def test_a1_the_content_type_may_name_a_charset_as_some_sdks_do(here: World):
    assert here.raw("ListPolicyStores", b"{}", Content_Type=f"{TYPE}; charset=utf-8")[0] == 200


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        ({}, {"default": {}}),
        ({"encryptionSettings": {"default": {}}}, {"default": {}}),
        (
            {"encryptionSettings": {"kmsEncryptionSettings": {"key": "alias/mine"}}},
            {"kmsEncryptionState": {"key": "alias/mine", "encryptionContext": {}}},
        ),
        (
            {"encryptionSettings": {"kmsEncryptionSettings": {"key": "alias/mine", "encryptionContext": {"a": "b"}}}},
            {"kmsEncryptionState": {"key": "alias/mine", "encryptionContext": {"a": "b"}}},
        ),
    ],
)
def test_a6_a_stores_encryption_is_shown_as_its_state(here: World, given, shown):
    made = here.client.create_policy_store(validationSettings={"mode": "OFF"}, **given)
    assert here.client.get_policy_store(policyStoreId=made["policyStoreId"])["encryptionState"] == shown
