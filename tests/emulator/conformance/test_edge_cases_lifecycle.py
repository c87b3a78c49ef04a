"""What a naive emulator gets wrong with the life of its resources: repetition, pages, aliases, tags, delays, quotas.

`h` and the number are those of the issue's list of edge cases.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from tests.emulator.conformance.world import POOL_ARN, World, cognito, refused, static, world

PERMIT = 'permit(principal == App::User::"alice", action, resource == App::Doc::"d1");'
TEMPLATE = "permit(principal == ?principal, action, resource);"
OFF = {"mode": "OFF"}


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with world(tmp_path_factory.mktemp("keys")) as made:
        yield made


def test_h11_deleting_what_is_not_there_is_well_but_for_templates_and_identity_sources(here: World):
    client, store = here.client, here.store(schema=None)
    client.delete_policy(policyStoreId=store, policyId="missing")
    client.delete_policy(policyStoreId=store, policyId="name/missing")
    client.delete_policy_store(policyStoreId="missing")
    client.delete_policy_store_alias(aliasName="policy-store-alias/missing")
    client.delete_policy_store_alias(aliasName="policy-store-alias/missing", deletionMode="HardDelete")
    refused(
        lambda: client.delete_policy_template(policyStoreId=store, policyTemplateId="missing"),
        "ResourceNotFoundException",
    )
    refused(
        lambda: client.delete_identity_source(policyStoreId=store, identitySourceId="missing"),
        "ResourceNotFoundException",
    )


@pytest.mark.parametrize(
    ("operation", "given", "other", "id"),
    [
        ("create_policy_store", {"validationSettings": OFF}, {"tags": {"a": "b"}}, "policyStoreId"),
        ("create_policy", {"definition": static(PERMIT)}, {"name": "name/other"}, "policyId"),
        ("create_policy_template", {"statement": TEMPLATE}, {"description": "other"}, "policyTemplateId"),
        ("create_identity_source", {"configuration": cognito(), "principalEntityType": "App::User"}, {"principalEntityType": "App::Team"}, "identitySourceId"),
    ],
)  # fmt: skip
def test_h12_a_client_token_replays_for_eight_hours_and_conflicts_with_other_parameters(
    here: World, operation, given, other, id
):
    call = getattr(here.client, operation)
    if operation != "create_policy_store":
        given = {"policyStoreId": here.store(), **given}
    given = {"clientToken": f"h12-{operation.replace('_', '-')}", **given}
    first, again = call(**given), call(**given)
    for answer in (first, again):
        del answer["ResponseMetadata"]
    assert first == again
    refused(lambda: call(**{**given, **other}), "ConflictException")
    here.emulator.clock.advance(8 * 3600 - 60)
    assert call(**given)[id] == first[id]
    here.emulator.clock.advance(120)
    if operation == "create_identity_source":  # a new call, and one is all that a store may have
        refused(lambda: call(**given), "ServiceQuotaExceededException")
    else:
        assert call(**given)[id] != first[id]


@pytest.mark.parametrize(
    ("operation", "given", "id"),
    [
        ("create_policy", {"definition": static(PERMIT)}, "policyId"),
        ("create_policy_template", {"statement": TEMPLATE}, "policyTemplateId"),
        (
            "create_identity_source",
            {"configuration": cognito(), "principalEntityType": "App::User"},
            "identitySourceId",
        ),
    ],
)
def test_h12_the_same_call_many_times_at_once_makes_one(here: World, operation, given, id):
    call = getattr(here.client, operation)
    given = {"policyStoreId": here.store(), "clientToken": f"once-{operation.replace('_', '-')}", **given}
    with ThreadPoolExecutor(8) as threads:
        made = list(threads.map(lambda _: call(**given)[id], range(24)))
    assert len(set(made)) == 1


@pytest.mark.parametrize(
    ("operation", "list_of", "default"),
    [
        ("list_policies", "policies", 10),
        ("list_policy_templates", "policyTemplates", 10),
        ("list_policy_stores", "policyStores", 10),
        ("list_policy_store_aliases", "policyStoreAliases", 5),
    ],
)
def test_h13_pages_have_their_default_and_at_most_fifty_and_go_on_by_their_token(
    here: World, operation, list_of, default
):
    call, store = getattr(here.client, operation), here.store(schema=None)
    for n in range(default + 1):
        if operation == "list_policies":
            here.policy(store, PERMIT)
        elif operation == "list_policy_templates":
            here.template(store, TEMPLATE)
        elif operation == "list_policy_stores":
            here.store(schema=None)
        else:
            here.client.create_policy_store_alias(aliasName=f"policy-store-alias/h13-{n}", policyStoreId=store)
    given = {} if operation.startswith("list_policy_store") else {"policyStoreId": store}
    page = call(**given)
    assert len(page[list_of]) == default
    rest = call(**given, nextToken=page["nextToken"], maxResults=50)
    assert len(rest[list_of]) >= 1
    assert "nextToken" not in rest or len(rest[list_of]) == 50
    assert [one for one in rest[list_of] if one in page[list_of]] == []
    refused(lambda: call(**given, maxResults=51), "ValidationException")
    refused(lambda: call(**given, nextToken="b3RoZXI="), "ValidationException")


def test_h13_a_token_belongs_to_the_list_that_gave_it(here: World):
    client, stores = here.client, [here.store(PERMIT, PERMIT, schema=None) for _ in range(2)]
    token = client.list_policies(policyStoreId=stores[0], maxResults=1)["nextToken"]
    refused(lambda: client.list_policies(policyStoreId=stores[1], nextToken=token), "ValidationException")
    refused(lambda: client.list_policy_templates(policyStoreId=stores[0], nextToken=token), "ValidationException")
    only = {"filter": {"policyType": "STATIC"}}
    refused(lambda: client.list_policies(policyStoreId=stores[0], nextToken=token, **only), "ValidationException")


def test_h14_lists_have_no_statements_and_a_batch_no_scope(here: World):
    client, store = here.client, here.store(schema=None)
    made = client.create_policy(policyStoreId=store, definition=static(PERMIT, description="d"))
    here.template(store, TEMPLATE)
    assert [one["definition"] for one in client.list_policies(policyStoreId=store)["policies"]] == [
        {"static": {"description": "d"}}
    ]
    assert "statement" not in client.list_policy_templates(policyStoreId=store)["policyTemplates"][0]
    [found] = client.batch_get_policy(requests=[{"policyStoreId": store, "policyId": made["policyId"]}])["results"]
    assert not found.keys() & {"principal", "resource", "actions", "effect"}
    assert found["definition"] == static(PERMIT, description="d")


def test_h15_a_batch_tells_what_it_has_and_what_is_missing_each_in_the_order_asked(here: World):
    client, stores = here.client, [here.store(schema=None) for _ in range(2)]
    ids = [here.policy(store, PERMIT, name="name/one") for store in stores]
    alias = "policy-store-alias/h15"
    client.create_policy_store_alias(aliasName=alias, policyStoreId=stores[1])
    asked = [
        (stores[1], ids[1]), ("nowhere", ids[0]), (stores[0], "missing"), (alias, "name/one"),
        ("policy-store-alias/none", ids[0]), (stores[0], ids[0]), (stores[1], ids[0]),
    ]  # fmt: skip
    found = client.batch_get_policy(requests=[{"policyStoreId": store, "policyId": id} for store, id in asked])
    assert [one["policyId"] for one in found["results"]] == [ids[1], ids[1], ids[0]]
    assert [(one["code"], one["policyStoreId"], one["policyId"]) for one in found["errors"]] == [
        ("POLICY_STORE_NOT_FOUND", *asked[1]),
        ("POLICY_NOT_FOUND", *asked[2]),
        ("POLICY_STORE_ALIAS_NOT_FOUND", *asked[4]),
        ("POLICY_NOT_FOUND", *asked[6]),
    ]


def test_h16_an_alias_stands_for_its_store_but_for_deleting_and_naming_it(here: World):
    client, store, alias = here.client, here.store(), "policy-store-alias/team/a_b-1"
    client.create_policy_store_alias(aliasName=alias, policyStoreId=store)
    policy = here.policy(alias, PERMIT, name="name/deep/er")
    assert client.get_policy(policyStoreId=alias, policyId="name/deep/er")["policyId"] == policy
    assert client.get_policy(policyStoreId=alias, policyId=policy)["policyStoreId"] == store
    assert here.ask(alias)["decision"] == "ALLOW"
    assert client.get_schema(policyStoreId=alias)["policyStoreId"] == store
    refused(lambda: client.delete_policy_store(policyStoreId=alias), "ValidationException")
    refused(
        lambda: client.create_policy_store_alias(aliasName="policy-store-alias/b", policyStoreId=alias),
        "ValidationException",
    )
    client.create_policy_store_alias(aliasName=alias, policyStoreId=store)  # again: nothing new
    client.delete_policy_store_alias(aliasName=alias)
    refused(lambda: here.ask(alias), "ResourceNotFoundException")
    refused(
        lambda: client.create_policy_store_alias(aliasName=alias, policyStoreId=here.store(schema=None)),
        "ConflictException",
    )
    refused(lambda: client.get_policy_store_alias(aliasName=alias.upper().replace("POLICY-STORE-ALIAS", "policy-store-alias")), "ResourceNotFoundException")  # fmt: skip
    here.emulator.clock.advance(24 * 3600 + 60)
    refused(lambda: client.get_policy_store_alias(aliasName=alias), "ResourceNotFoundException")


def test_h16_an_aliases_store_takes_its_aliases_with_it(here: World):
    store, alias = here.store(schema=None), "policy-store-alias/gone"
    here.client.create_policy_store_alias(aliasName=alias, policyStoreId=store)
    here.client.delete_policy_store(policyStoreId=store)
    refused(lambda: here.client.get_policy_store_alias(aliasName=alias), "ResourceNotFoundException")


def test_h17_an_alias_that_moved_is_the_old_store_for_a_while(here: World):
    client, alias = here.client, "policy-store-alias/moved"
    old, new = here.store("permit(principal, action, resource);"), here.store()
    client.create_policy_store_alias(aliasName=alias, policyStoreId=old)
    here.emulator.switches.consistency_delay = 5.0
    here.emulator.clock.advance(10)
    client.delete_policy_store_alias(aliasName=alias, deletionMode="HardDelete")
    client.create_policy_store_alias(aliasName=alias, policyStoreId=new)
    before = here.ask(alias)["decision"]
    here.emulator.clock.advance(10)
    after = here.ask(alias)["decision"]
    here.emulator.switches.clear()
    assert (before, after) == ("ALLOW", "DENY")


def test_h18_tags_are_shown_when_asked_for_and_if_there_are_any(here: World):
    client, bare, tagged = here.client, here.store(schema=None), here.store(schema=None, tags={"a": "b"})
    shown: list[Any] = [client.get_policy_store(policyStoreId=store, **more).get("tags") for store in (bare, tagged) for more in ({}, {"tags": False}, {"tags": True})]  # fmt: skip
    assert shown == [None, None, None, None, None, {"a": "b"}]
    arn = client.get_policy_store(policyStoreId=tagged)["arn"]
    client.tag_resource(resourceArn=arn, tags={f"k{n}": "" for n in range(49)})
    client.tag_resource(resourceArn=arn, tags={"a": "c"})  # another value is no other tag
    refused(lambda: client.tag_resource(resourceArn=arn, tags={"one more": ""}), "TooManyTagsException")


def test_h19_an_update_of_a_store_needs_its_settings_and_leaves_what_is_not_named(here: World):
    store = here.store(schema=None, deletionProtection="ENABLED", description="kept")
    assert here.raw_refusal("UpdatePolicyStore", {"policyStoreId": store}) == (400, "ValidationException")
    here.client.update_policy_store(policyStoreId=store, validationSettings=OFF)
    assert here.client.get_policy_store(policyStoreId=store)["deletionProtection"] == "ENABLED"


def test_h20_a_pool_without_clients_is_answered_with_an_empty_list_and_its_issuer(here: World):
    store = here.store()
    given = {"cognitoUserPoolConfiguration": {"userPoolArn": POOL_ARN}}
    here.client.create_identity_source(policyStoreId=store, configuration=given)
    [found] = here.client.list_identity_sources(policyStoreId=store)["identitySources"]
    shown = found["configuration"]["cognitoUserPoolConfiguration"]
    assert (shown["clientIds"], shown["issuer"].startswith("https://cognito-idp.")) == ([], True)


def test_h21_what_was_just_made_can_be_missing_for_a_while(here: World):
    here.emulator.switches.consistency_delay = 2.0
    store = here.client.create_policy_store(validationSettings=OFF)["policyStoreId"]
    refused(lambda: here.client.get_policy_store(policyStoreId=store), "ResourceNotFoundException")
    here.emulator.clock.advance(3)
    here.client.get_policy_store(policyStoreId=store)
    policy = here.policy(store, "permit(principal, action, resource);")
    assert here.ask(store)["decision"] == "DENY"
    refused(lambda: here.client.get_policy(policyStoreId=store, policyId=policy), "ResourceNotFoundException")
    here.emulator.clock.advance(3)
    assert here.ask(store)["decision"] == "ALLOW"
    here.emulator.switches.clear()


@pytest.mark.parametrize(
    ("operation", "rate"), [("CreatePolicy", 10), ("ListPolicies", 10), ("CreateIdentitySource", 1)]
)
def test_h22_with_the_real_quota_a_store_has_so_many_calls_a_second(here: World, monkeypatch, operation, rate):
    store, other = here.store(schema=None), here.store(schema=None)
    now = here.emulator.clock.now()
    monkeypatch.setattr(here.emulator.clock, "now", lambda: now)
    inputs: dict[str, dict[str, Any]] = {
        "CreatePolicy": {"definition": static(PERMIT)},
        "ListPolicies": {},
        "CreateIdentitySource": {"configuration": cognito(), "principalEntityType": "App::User"},
    }
    given = inputs[operation]
    monkeypatch.setattr(here.emulator.switches, "quota", "real")
    statuses = [here.raw(operation, {"policyStoreId": store, **given})[0] for _ in range(rate + 1)]
    assert statuses == [200] * rate + [429]
    assert here.raw(operation, {"policyStoreId": other, **given})[0] == 200
