"""boto3 through every operation, each response held against botocore's model."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from tests.emulator.conformance.model import operations
from tests.emulator.conformance.world import (
    COGNITO,
    POOL,
    POOL_ARN,
    SCHEMA,
    World,
    access,
    action,
    cognito,
    doc,
    oidc,
    refused,
    static,
    team,
    token,
    user,
    world,
)

PERMIT = 'permit(principal == App::User::"alice", action == App::Action::"read", resource == App::Doc::"d1");'
TEMPLATE = (
    'permit(principal == ?principal, action in [App::Action::"read", App::Action::"write"], resource == ?resource);'
)


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with world(tmp_path_factory.mktemp("keys")) as made:
        yield made


def plain(answer: dict[str, Any]) -> dict[str, Any]:
    """An answer without what boto3 adds, and without dates."""
    dates = {"createdDate", "lastUpdatedDate", "createdAt"}
    for name in dates & answer.keys():
        assert isinstance(answer[name], datetime)
    return {name: value for name, value in answer.items() if name not in {"ResponseMetadata", *dates}}


# --- the way through every operation ------------------------------------------------------------------------


def stores(here: World) -> None:
    client = here.client
    made = client.create_policy_store(
        validationSettings={"mode": "STRICT"}, description="first", deletionProtection="ENABLED", tags={"team": "a"}
    )
    store, arn = made["policyStoreId"], made["arn"]
    assert arn == f"arn:aws:verifiedpermissions::123456789012:policy-store/{store}"
    assert abs((datetime.now(UTC) - made["createdDate"]).total_seconds()) < 60
    expected = {
        "policyStoreId": store,
        "arn": arn,
        "validationSettings": {"mode": "STRICT"},
        "description": "first",
        "deletionProtection": "ENABLED",
        "cedarVersion": "CEDAR_4",
    }
    got = plain(client.get_policy_store(policyStoreId=store))
    assert got.pop("encryptionState", {"default": {}}) == {"default": {}}
    assert got == expected
    assert client.get_policy_store(policyStoreId=store, tags=True)["tags"] == {"team": "a"}
    changed = client.update_policy_store(
        policyStoreId=store, validationSettings={"mode": "OFF"}, description="second", deletionProtection="DISABLED"
    )
    assert changed["createdDate"] == made["createdDate"]
    assert changed["lastUpdatedDate"] > made["lastUpdatedDate"]
    got = client.get_policy_store(policyStoreId=store)
    shown = (got["description"], got["validationSettings"]["mode"], got["deletionProtection"])
    assert shown == ("second", "OFF", "DISABLED")
    listed = [one for page in client.get_paginator("list_policy_stores").paginate() for one in page["policyStores"]]
    assert [plain(one) for one in listed if one["policyStoreId"] == store] == [
        {"policyStoreId": store, "arn": arn, "description": "second"}
    ]
    assert plain(client.delete_policy_store(policyStoreId=store)) == {}
    refused(lambda: client.get_policy_store(policyStoreId=store), "ResourceNotFoundException")


def tags(here: World) -> None:
    client, store = here.client, here.store()
    arn = client.get_policy_store(policyStoreId=store)["arn"]
    assert plain(client.tag_resource(resourceArn=arn, tags={"a": "1", "b": ""})) == {}
    assert plain(client.tag_resource(resourceArn=arn, tags={"a": "2"})) == {}
    assert client.list_tags_for_resource(resourceArn=arn)["tags"] == {"a": "2", "b": ""}
    assert plain(client.untag_resource(resourceArn=arn, tagKeys=["a", "never there"])) == {}
    assert client.list_tags_for_resource(resourceArn=arn)["tags"] == {"b": ""}


def aliases(here: World) -> None:
    client, store = here.client, here.store()
    name = "policy-store-alias/walk"
    made = client.create_policy_store_alias(aliasName=name, policyStoreId=store)
    arn = f"arn:aws:verifiedpermissions:us-east-1:123456789012:{name}"
    assert plain(made) == {"aliasName": name, "policyStoreId": store, "aliasArn": arn}
    shown = plain(client.get_policy_store_alias(aliasName=name))
    assert shown == {"aliasName": name, "policyStoreId": store, "aliasArn": arn, "state": "Active"}
    listed = client.list_policy_store_aliases(filter={"policyStoreId": store})["policyStoreAliases"]
    assert [plain(one) for one in listed] == [shown]
    assert client.get_policy_store(policyStoreId=name)["policyStoreId"] == store
    assert plain(client.delete_policy_store_alias(aliasName=name)) == {}
    assert client.get_policy_store_alias(aliasName=name)["state"] == "PendingDeletion"
    assert plain(client.delete_policy_store_alias(aliasName=name, deletionMode="HardDelete")) == {}
    refused(lambda: client.get_policy_store_alias(aliasName=name), "ResourceNotFoundException")


def schema(here: World) -> None:
    client, store = here.client, here.store(schema=None)
    made = client.put_schema(policyStoreId=store, definition={"cedarJson": json.dumps(SCHEMA)})
    assert plain(made) == {"policyStoreId": store, "namespaces": ["App"]}
    got = client.get_schema(policyStoreId=store)
    assert json.loads(got["schema"]) == SCHEMA
    assert got["namespaces"] == ["App"]
    assert got["createdDate"] == made["createdDate"]


def policies(here: World) -> None:
    client, store = here.client, here.store(mode="STRICT")
    made = client.create_policy(policyStoreId=store, definition=static(PERMIT, description="one"), name="name/one")
    scope = {"principal": user("alice"), "resource": doc("d1"), "actions": [action("read")], "effect": "Permit"}
    head = {"policyStoreId": store, "policyId": made["policyId"], "policyType": "STATIC", **scope}
    assert plain(made) == head
    whole = {**head, "definition": static(PERMIT, description="one"), "name": "name/one"}
    assert plain(client.get_policy(policyStoreId=store, policyId=made["policyId"])) == whole
    assert plain(client.get_policy(policyStoreId=store, policyId="name/one")) == whole
    text = PERMIT.replace('action == App::Action::"read"', 'action == App::Action::"write"')
    changed = client.update_policy(
        policyStoreId=store, policyId="name/one", definition=static(text, description="two"), name="name/two"
    )
    assert plain(changed) == {**head, "actions": [action("write")]}
    assert changed["lastUpdatedDate"] > made["lastUpdatedDate"]
    listed = client.list_policies(policyStoreId=store)["policies"]
    assert [(one["policyId"], one["name"]) for one in listed] == [(made["policyId"], "name/two")]
    asked = [{"policyStoreId": store, "policyId": one} for one in (made["policyId"], "missing")]
    batch = client.batch_get_policy(requests=asked)
    assert [one["definition"] for one in batch["results"]] == [static(text, description="two")]
    assert [(one["code"], one["policyId"]) for one in batch["errors"]] == [("POLICY_NOT_FOUND", "missing")]
    assert plain(client.delete_policy(policyStoreId=store, policyId=made["policyId"])) == {}
    refused(lambda: client.get_policy(policyStoreId=store, policyId=made["policyId"]), "ResourceNotFoundException")


def templates(here: World) -> None:
    client, store = here.client, here.store(mode="STRICT")
    made = client.create_policy_template(policyStoreId=store, statement=TEMPLATE, description="t", name="name/t")
    one = {"policyStoreId": store, "policyTemplateId": made["policyTemplateId"]}
    assert plain(made) == one
    got = plain(client.get_policy_template(policyStoreId=store, policyTemplateId="name/t"))
    assert got == {**one, "statement": TEMPLATE, "description": "t", "name": "name/t"}
    slots = {"principal": user("bob"), "resource": doc("d2")}
    definition = {"templateLinked": {"policyTemplateId": made["policyTemplateId"], **slots}}
    linked = client.create_policy(policyStoreId=store, definition=definition)
    expected = {
        "policyType": "TEMPLATE_LINKED",
        "effect": "Permit",
        "actions": [action("read"), action("write")],
        **slots,
    }
    assert plain(linked) == {"policyStoreId": store, "policyId": linked["policyId"], **expected}
    assert client.get_policy(policyStoreId=store, policyId=linked["policyId"])["definition"] == definition
    only = {"filter": {"policyTemplateId": made["policyTemplateId"]}}
    assert [p["definition"] for p in client.list_policies(policyStoreId=store, **only)["policies"]] == [definition]
    assert here.ask(store, "bob", "write", "d2")["decision"] == "ALLOW"
    text = TEMPLATE.replace(', App::Action::"write"', "")
    assert plain(client.update_policy_template(**one, statement=text, name="name/u")) == one
    assert here.ask(store, "bob", "write", "d2")["decision"] == "DENY"
    listed = client.list_policy_templates(policyStoreId=store)["policyTemplates"]
    assert [(it["policyTemplateId"], it["name"]) for it in listed] == [(made["policyTemplateId"], "name/u")]
    assert plain(client.delete_policy_template(**one)) == {}
    assert client.list_policies(policyStoreId=store)["policies"] == []


def identity_sources(here: World) -> None:
    client, store = here.client, here.store()
    made = client.create_identity_source(
        policyStoreId=store, configuration=cognito("app"), principalEntityType="App::User"
    )
    one = {"policyStoreId": store, "identitySourceId": made["identitySourceId"]}
    assert plain(made) == one
    got = client.get_identity_source(**one)
    shown = got["configuration"]["cognitoUserPoolConfiguration"]
    assert shown == {
        "userPoolArn": POOL_ARN,
        "clientIds": ["app"],
        "issuer": COGNITO,
        "groupConfiguration": {"groupEntityType": "App::Team"},
    }
    assert got["principalEntityType"] == "App::User"
    changed = client.update_identity_source(**one, updateConfiguration=oidc(clientIds=["web"], principalIdClaim="sub"))
    assert changed["lastUpdatedDate"] > made["lastUpdatedDate"]
    listed = client.list_identity_sources(policyStoreId=store, filters=[{"principalEntityType": "App::User"}])
    assert [it["identitySourceId"] for it in listed["identitySources"]] == [made["identitySourceId"]]
    selection = listed["identitySources"][0]["configuration"]["openIdConnectConfiguration"]["tokenSelection"]
    assert selection == {"identityTokenOnly": {"principalIdClaim": "sub", "clientIds": ["web"]}}
    none = client.list_identity_sources(policyStoreId=store, filters=[{"principalEntityType": "App::Other"}])
    assert none["identitySources"] == []
    assert plain(client.delete_identity_source(**one)) == {}
    refused(lambda: client.get_identity_source(**one), "ResourceNotFoundException")


def decisions(here: World) -> None:
    client, store = here.client, here.store(schema=SCHEMA)
    permit = here.policy(store, PERMIT)
    forbid = here.policy(store, "forbid(principal, action, resource) when { context.sealed };")
    allowed = here.ask(store, context={"contextMap": {"sealed": {"boolean": False}}})
    assert plain(allowed) == {"decision": "ALLOW", "determiningPolicies": [{"policyId": permit}], "errors": []}
    denied = here.ask(store, context={"cedarJson": '{"sealed": true}'})
    assert plain(denied) == {"decision": "DENY", "determiningPolicies": [{"policyId": forbid}], "errors": []}
    asked = [
        {"principal": user("alice"), "action": action("read"), "resource": doc(name), "context": {"contextMap": {"sealed": {"boolean": False}}}}
        for name in ("d1", "d2")
    ]  # fmt: skip
    batch = client.batch_is_authorized(policyStoreId=store, requests=asked)
    assert [(one["request"], one["decision"]) for one in batch["results"]] == [(asked[0], "ALLOW"), (asked[1], "DENY")]


def tokens(here: World) -> None:
    client = here.client
    text = f'permit(principal in App::Team::"{POOL}|staff", action, resource) when {{ context.token.scope.contains("docs/read") }};'
    store = here.store(text)
    client.create_identity_source(policyStoreId=store, configuration=cognito("app"), principalEntityType="App::User")
    carried = access(**{"cognito:groups": ["staff"]})
    answer = here.ask_token(store, accessToken=carried)
    assert (answer["decision"], answer["principal"]) == ("ALLOW", user(f"{POOL}|alice"))
    assert here.ask_token(store, accessToken=access())["decision"] == "DENY"
    identity = here.ask_token(store, identityToken=token())
    assert (identity["decision"], identity["principal"]) == ("DENY", user(f"{POOL}|alice"))
    asked = [{"action": action("read"), "resource": doc(name)} for name in ("d1", "d2")]
    batch = client.batch_is_authorized_with_token(policyStoreId=store, accessToken=carried, requests=asked)
    assert batch["principal"] == user(f"{POOL}|alice")
    assert [(one["request"], one["decision"]) for one in batch["results"]] == [(one, "ALLOW") for one in asked]


STEPS = (stores, tags, aliases, schema, policies, templates, identity_sources, decisions, tokens)


@pytest.mark.parametrize("step", STEPS, ids=lambda step: step.__name__)
def test_boto3_goes_through(here: World, step: Callable[[World], None]):
    step(here)


def test_the_steps_go_through_every_operation_of_the_model(tmp_path: Path):
    with world(tmp_path) as alone:
        for step in STEPS:
            step(alone)
        assert {operation for operation, status in alone.checker.seen if status == 200} == operations()
        assert alone.emulator.switches.calls.keys() == operations()


# --- what boto3 does by itself ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("paginator", "list_of", "make"),
    [
        ("list_policies", "policies", lambda here, store, _: here.policy(store, PERMIT)),
        ("list_policy_templates", "policyTemplates", lambda here, store, _: here.template(store, TEMPLATE)),
        ("list_policy_stores", "policyStores", lambda here, _store, _: here.store(schema=None)),
        ("list_policy_store_aliases", "policyStoreAliases", lambda here, store, n: here.client.create_policy_store_alias(aliasName=f"policy-store-alias/page-{n}", policyStoreId=store)),
        ("list_identity_sources", "identitySources", lambda here, store, n: n or here.client.create_identity_source(policyStoreId=store, configuration=cognito(), principalEntityType="App::User")),
    ],
)  # fmt: skip
def test_each_paginator_of_boto3_sees_everything_once(here: World, paginator, list_of, make):
    store = here.store()
    for n in range(7):
        make(here, store, n)
    given = {} if paginator.startswith("list_policy_store") else {"policyStoreId": store}
    pages = here.client.get_paginator(paginator).paginate(PaginationConfig={"PageSize": 3}, **given)
    found = [json.dumps(one, default=str, sort_keys=True) for page in pages for one in page[list_of]]
    assert all(len(page[list_of]) <= 3 for page in pages)
    assert len(found) == len(set(found))
    assert len(found) >= (1 if list_of == "identitySources" else 7)


def test_boto3s_own_retries_make_one_policy_and_its_token_is_kept_over_them(here: World):
    """The SDK invents a client token for a call, and sends it again with each attempt."""
    store = here.store()
    client = here.emulator.client(retries={"mode": "standard", "total_max_attempts": 3})
    here.checker.watch(client)
    sent = list[str]()
    client.meta.events.register(
        "before-send.verifiedpermissions.CreatePolicy",
        lambda request, **_: sent.append(json.loads(request.body)["clientToken"]),
    )
    here.emulator.switches.throttle("CreatePolicy", calls=2)
    made = client.create_policy(policyStoreId=store, definition=static(PERMIT))
    assert made["ResponseMetadata"]["RetryAttempts"] == 2
    assert len(sent) == 3
    assert len(set(sent)) == 1
    listed = client.list_policies(policyStoreId=store)["policies"]
    assert [one["policyId"] for one in listed] == [made["policyId"]]
    again = client.create_policy(policyStoreId=store, definition=static(PERMIT))
    assert again["policyId"] != made["policyId"], "another call, another token"
    client.close()


def test_an_error_of_boto3_has_its_class_and_its_members_at_hand(here: World):
    with pytest.raises(here.client.exceptions.ResourceNotFoundException) as caught:
        here.client.get_policy(policyStoreId="missing-store", policyId="p")
    assert (caught.value.response["resourceId"], caught.value.response["resourceType"]) == (
        "missing-store",
        "POLICY_STORE",
    )
    with pytest.raises(here.client.exceptions.ValidationException) as refusal:
        here.client.list_policies(policyStoreId=here.store(), maxResults=51)
    assert [field["path"] for field in refusal.value.response["fieldList"]] == ["/maxResults"]


def test_a_team_can_be_a_parent_of_a_principal_that_is_sent_along(here: World):
    store = here.store('permit(principal in App::Team::"staff", action in App::Action::"viewer", resource);')
    items = [{"identifier": user("alice"), "attributes": {"level": {"long": 1}}, "parents": [team("staff")]}]
    assert here.ask(store, entities={"entityList": items})["decision"] == "ALLOW"
    assert here.ask(store)["decision"] == "DENY"
