"""Policy stores, their aliases and tags, through boto3."""

import re

import pytest

from tests.emulator.refusals import refused
from tests.emulator.running import emulator_thread


def test_a_store_is_what_it_was_made_as(client):
    made = client.create_policy_store(
        validationSettings={"mode": "STRICT"}, description="for tests", deletionProtection="ENABLED", tags={"team": "a"}
    )
    store = made["policyStoreId"]
    assert re.fullmatch(r"[1-9A-HJ-NP-Za-km-z]{22}", store)
    assert made["arn"] == f"arn:aws:verifiedpermissions::123456789012:policy-store/{store}"  # no region
    assert made["createdDate"] == made["lastUpdatedDate"]
    found = client.get_policy_store(policyStoreId=store)
    assert found["validationSettings"] == {"mode": "STRICT"}
    assert (found["description"], found["deletionProtection"]) == ("for tests", "ENABLED")
    assert found["encryptionState"] == {"default": {}}
    assert found["cedarVersion"] == "CEDAR_4"
    assert "tags" not in found
    assert client.get_policy_store(policyStoreId=store, tags=True)["tags"] == {"team": "a"}


def test_without_tags_none_are_told_though_asked_for(client, store):
    assert "tags" not in client.get_policy_store(policyStoreId=store, tags=True)


def test_a_key_of_ones_own_is_kept(client):
    settings = {"kmsEncryptionSettings": {"key": "alias/mine", "encryptionContext": {"a": "b"}}}
    store = client.create_policy_store(validationSettings={"mode": "OFF"}, encryptionSettings=settings)
    state = client.get_policy_store(policyStoreId=store["policyStoreId"])["encryptionState"]
    assert state == {"kmsEncryptionState": {"key": "alias/mine", "encryptionContext": {"a": "b"}}}


def test_an_update_leaves_what_it_does_not_name(client):
    store = client.create_policy_store(
        validationSettings={"mode": "OFF"}, description="d", deletionProtection="ENABLED"
    )
    store = store["policyStoreId"]
    done = client.update_policy_store(policyStoreId=store, validationSettings={"mode": "STRICT"})
    assert done["lastUpdatedDate"] > done["createdDate"]
    found = client.get_policy_store(policyStoreId=store)
    assert found["validationSettings"] == {"mode": "STRICT"}
    assert (found["description"], found["deletionProtection"]) == ("d", "ENABLED")
    client.update_policy_store(
        policyStoreId=store, validationSettings={"mode": "OFF"}, description="", deletionProtection="DISABLED"
    )
    found = client.get_policy_store(policyStoreId=store)
    assert (found["description"], found["deletionProtection"]) == ("", "DISABLED")


def test_deletion_protection_keeps_a_store(client):
    store = client.create_policy_store(validationSettings={"mode": "OFF"}, deletionProtection="ENABLED")[
        "policyStoreId"
    ]
    answer = refused(client.delete_policy_store, policyStoreId=store)
    assert (answer.code, answer.status) == ("InvalidStateException", 406)
    client.update_policy_store(policyStoreId=store, validationSettings={"mode": "OFF"}, deletionProtection="DISABLED")
    client.delete_policy_store(policyStoreId=store)
    answer = refused(client.get_policy_store, policyStoreId=store)
    assert (answer.code, answer.status) == ("ResourceNotFoundException", 404)
    assert answer.response["Error"]["Message"] == f"Policy store with id '{store}' not found"
    assert (answer.response["resourceId"], answer.response["resourceType"]) == (store, "POLICY_STORE")


def test_deleting_what_is_not_there_is_no_error(client):
    client.delete_policy_store(policyStoreId="PSEXAMPLEabcdefg111111")
    client.delete_policy_store_alias(aliasName="policy-store-alias/nobody")


def test_a_deleted_store_takes_all_with_it(client, emulated):
    store = emulated.store(
        policies=["permit(principal, action, resource);"], schema={"N": {"entityTypes": {}, "actions": {}}}
    )
    client.create_policy_store_alias(aliasName="policy-store-alias/gone", policyStoreId=store)
    client.delete_policy_store(policyStoreId=store)
    for call in (client.list_policies, client.get_schema, client.list_policy_templates):
        assert refused(call, policyStoreId=store).code == "ResourceNotFoundException"
    assert refused(client.get_policy_store_alias, aliasName="policy-store-alias/gone").status == 404


def test_stores_are_listed_in_pages_of_ten(client):
    made = [
        client.create_policy_store(validationSettings={"mode": "OFF"}, description=str(n))["policyStoreId"]
        for n in range(12)
    ]
    first = client.list_policy_stores()
    assert len(first["policyStores"]) == 10
    listed = [
        one
        for page in client.get_paginator("list_policy_stores").paginate(maxResults=5)
        for one in page["policyStores"]
    ]
    assert [one["policyStoreId"] for one in listed][-12:] == made
    assert listed[-1]["description"] == "11"
    assert len({one["policyStoreId"] for one in listed}) == len(listed)


# --- client tokens


def test_the_same_token_gives_the_same_store(client, emulated):
    given = {"validationSettings": {"mode": "OFF"}, "clientToken": "token-1"}
    first, again = (client.create_policy_store(**given) for _ in range(2))
    assert first["policyStoreId"] == again["policyStoreId"]
    answer = refused(client.create_policy_store, **given, description="other")
    assert (answer.code, answer.status) == ("ConflictException", 409)
    emulated.clock.advance(8 * 3600 + 1)
    try:
        assert client.create_policy_store(**given)["policyStoreId"] != first["policyStoreId"]
    finally:
        emulated.clock.advance(-(8 * 3600 + 1))


# --- aliases


def test_an_alias_stands_for_its_store(client, store):
    alias = f"policy-store-alias/{store}"
    made = client.create_policy_store_alias(aliasName=alias, policyStoreId=store)
    assert made["aliasArn"] == f"arn:aws:verifiedpermissions:us-east-1:123456789012:{alias}"  # with a region
    assert client.get_policy_store(policyStoreId=alias)["policyStoreId"] == store
    policy = client.create_policy(
        policyStoreId=alias, definition={"static": {"statement": "permit(principal, action, resource);"}}
    )
    assert policy["policyStoreId"] == store
    assert client.list_policies(policyStoreId=alias)["policies"][0]["policyId"] == policy["policyId"]
    uid = {"entityType": "U", "entityId": "a"}
    asked = {"principal": uid, "action": {"actionType": "Action", "actionId": "a"}, "resource": uid}
    assert client.is_authorized(policyStoreId=alias, **asked)["decision"] == "ALLOW"


def test_making_an_alias_again_is_no_error_but_for_another_store(client, store, emulated):
    alias = f"policy-store-alias/{store}"
    first, again = (client.create_policy_store_alias(aliasName=alias, policyStoreId=store) for _ in range(2))
    assert first["createdAt"] == again["createdAt"]
    answer = refused(client.create_policy_store_alias, aliasName=alias, policyStoreId=emulated.store())
    assert (answer.code, answer.status) == ("ConflictException", 409)
    assert answer.response["resources"] == [{"resourceId": alias, "resourceType": "POLICY_STORE_ALIAS"}]


def test_where_an_alias_does_not_count(client, store):
    alias = f"policy-store-alias/{store}"
    client.create_policy_store_alias(aliasName=alias, policyStoreId=store)
    for call, given in [
        (client.delete_policy_store, {"policyStoreId": alias}),
        (client.create_policy_store_alias, {"aliasName": f"{alias}2", "policyStoreId": alias}),
    ]:
        answer = refused(call, **given)
        assert (answer.code, answer.fields[0][0]) == ("ValidationException", "/policyStoreId")


@pytest.mark.parametrize("name", ["plain", "policy-store-alias/", "alias/x", "Policy-Store-Alias/x", ""])
def test_an_alias_has_its_prefix(client, store, name):
    answer = refused(client.create_policy_store_alias, aliasName=name, policyStoreId=store)
    assert answer.fields == [("aliasName", "Invalid format.")]


def test_an_alias_of_no_store(client):
    answer = refused(client.create_policy_store_alias, aliasName="policy-store-alias/x", policyStoreId="PSEXAMPLE")
    assert answer.code == "ResourceNotFoundException"


def test_a_softly_deleted_alias_keeps_its_name_for_a_day(client, store, emulated):
    alias = f"policy-store-alias/{store}"
    client.create_policy_store_alias(aliasName=alias, policyStoreId=store)
    client.delete_policy_store_alias(aliasName=alias)
    assert client.get_policy_store_alias(aliasName=alias)["state"] == "PendingDeletion"
    answer = refused(client.list_policies, policyStoreId=alias)
    assert (answer.code, answer.response["resourceType"]) == ("ResourceNotFoundException", "POLICY_STORE_ALIAS")
    assert refused(client.create_policy_store_alias, aliasName=alias, policyStoreId=store).code == "ConflictException"
    emulated.clock.advance(24 * 3600 + 1)
    try:
        assert refused(client.get_policy_store_alias, aliasName=alias).code == "ResourceNotFoundException"
        client.create_policy_store_alias(aliasName=alias, policyStoreId=store)
        assert client.get_policy_store_alias(aliasName=alias)["state"] == "Active"
    finally:
        emulated.clock.advance(-(24 * 3600 + 1))


@pytest.mark.parametrize("softly_first", [False, True])
def test_a_hard_deletion_frees_the_name_at_once(client, store, softly_first, emulated):
    alias = f"policy-store-alias/{store}"
    client.create_policy_store_alias(aliasName=alias, policyStoreId=store)
    if softly_first:
        client.delete_policy_store_alias(aliasName=alias)
    client.delete_policy_store_alias(aliasName=alias, deletionMode="HardDelete")
    assert refused(client.get_policy_store_alias, aliasName=alias).code == "ResourceNotFoundException"
    other = emulated.store()
    client.create_policy_store_alias(aliasName=alias, policyStoreId=other)
    assert client.get_policy_store(policyStoreId=alias)["policyStoreId"] == other


def test_aliases_are_case_sensitive(client, store, emulated):
    client.create_policy_store_alias(aliasName=f"policy-store-alias/{store}-x", policyStoreId=store)
    client.create_policy_store_alias(aliasName=f"policy-store-alias/{store}-X", policyStoreId=emulated.store())


def test_ten_aliases_in_pages_of_five(client, store, emulated):
    names = [f"policy-store-alias/{store}-{number}" for number in range(10)]
    for name in names:
        client.create_policy_store_alias(aliasName=name, policyStoreId=store)
    answer = refused(client.create_policy_store_alias, aliasName=f"{names[0]}x", policyStoreId=store)
    assert (answer.code, answer.status) == ("ServiceQuotaExceededException", 402)
    assert answer.response["resourceType"] == "POLICY_STORE"
    first = client.list_policy_store_aliases(filter={"policyStoreId": store})
    assert len(first["policyStoreAliases"]) == 5
    pages = client.get_paginator("list_policy_store_aliases").paginate(filter={"policyStoreId": store})
    listed = [one for page in pages for one in page["policyStoreAliases"]]
    assert [one["aliasName"] for one in listed] == names
    assert {one["state"] for one in listed} == {"Active"}
    assert client.list_policy_store_aliases(filter={"policyStoreId": emulated.store()})["policyStoreAliases"] == []


# --- tags


def test_tags_come_and_go(client, store):
    arn = client.get_policy_store(policyStoreId=store)["arn"]
    client.tag_resource(resourceArn=arn, tags={"a": "1", "b": "2"})
    client.tag_resource(resourceArn=arn, tags={"b": "3", "c": ""})
    assert client.list_tags_for_resource(resourceArn=arn)["tags"] == {"a": "1", "b": "3", "c": ""}
    client.untag_resource(resourceArn=arn, tagKeys=["a", "nobody"])
    assert client.get_policy_store(policyStoreId=store, tags=True)["tags"] == {"b": "3", "c": ""}


def test_fifty_tags_at_most(client, store):
    arn = client.get_policy_store(policyStoreId=store)["arn"]
    client.tag_resource(resourceArn=arn, tags={str(number): "" for number in range(50)})
    client.tag_resource(resourceArn=arn, tags={"7": "again"})
    answer = refused(client.tag_resource, resourceArn=arn, tags={"more": ""})
    assert (answer.code, answer.status) == ("TooManyTagsException", 400)
    assert answer.response["resourceName"] == arn


@pytest.mark.parametrize(
    ("arn", "code"),
    [
        ("arn:aws:verifiedpermissions::123456789012:policy-store/PSEXAMPLE", "ResourceNotFoundException"),
        ("arn:aws:verifiedpermissions:us-east-1:123456789012:policy-store/PSEXAMPLE", "ValidationException"),
        ("arn:aws:verifiedpermissions::123456789012:policy/PSEXAMPLE", "ValidationException"),
        ("x", "ValidationException"),
    ],
)
def test_only_stores_have_tags(client, arn, code):
    assert refused(client.tag_resource, resourceArn=arn, tags={"a": "b"}).code == code
    assert refused(client.untag_resource, resourceArn=arn, tagKeys=["a"]).code == code
    assert refused(client.list_tags_for_resource, resourceArn=arn).code == code


def test_a_quota_of_stores():
    from authz.emulator.services import Limits

    with emulator_thread(limits=Limits(stores=1)) as running:
        running.store()
        answer = refused(running.client().create_policy_store, validationSettings={"mode": "OFF"})
        assert (answer.code, answer.response["resourceType"]) == ("ServiceQuotaExceededException", "POLICY_STORE")
