"""What the service tells of a policy from its head, what lists are filtered by, and names that stand for ids."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.emulator.conformance.world import SCHEMA, World, action, cognito, doc, refused, static, team, user, world

PERMIT = 'permit(principal == App::User::"alice", action == App::Action::"read", resource == App::Doc::"d1");'
TEMPLATE = "permit(principal == ?principal, action, resource);"
WIDE = "permit(principal, action, resource);"
FOLDER = {"entityType": "App::Folder", "entityId": "f"}


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with world(tmp_path_factory.mktemp("keys")) as made:
        yield made


def told(answer: dict[str, Any]) -> dict[str, Any]:
    """Of an answer about a policy, what stands in its head."""
    return {name: answer[name] for name in ("effect", "principal", "actions", "resource") if name in answer}


@pytest.mark.parametrize(
    ("statement", "head"),
    [
        (WIDE, {}),
        ("// forbid\nforbid (principal, action, resource);", {"effect": "Forbid"}),
        ('permit(principal in App::Team::"t", action in App::Action::"viewer", resource in App::Folder::"f");', {"principal": team("t"), "actions": [action("viewer")], "resource": FOLDER}),
        ("permit(principal is App::User, action, resource is App::Doc);", {}),
        ('permit(principal is App::User in App::Team::"t", action in [App::Action::"read", App::Action::"write"], resource is App::Doc in App::Folder::"f");', {"principal": team("t"), "actions": [action("read"), action("write")], "resource": FOLDER}),
        ('@a("principal == x") permit(principal == App::User::"a\\"b", action == App::Action::"read", resource);', {"principal": user('a"b'), "actions": [action("read")]}),
        ('permit(principal, action, resource) when { principal == App::User::"alice" };', {}),
    ],
)  # fmt: skip
def test_b5_a_policy_tells_its_scope_in_every_answer_about_it(here: World, statement, head):
    store = here.store()
    expected = {"effect": "Permit", **head}
    made = here.client.create_policy(policyStoreId=store, definition=static(statement))
    got = here.client.get_policy(policyStoreId=store, policyId=made["policyId"])
    [listed] = here.client.list_policies(policyStoreId=store)["policies"]
    changed = here.client.update_policy(policyStoreId=store, policyId=made["policyId"], definition=static(statement))
    assert [told(one) for one in (made, got, listed, changed)] == [expected] * 4


@pytest.mark.parametrize(
    ("statement", "slots", "head"),
    [
        ("forbid(principal in ?principal, action, resource);", {"principal": team("t")}, {"effect": "Forbid"}),
        ('permit(principal, action == App::Action::"read", resource in ?resource);', {"resource": FOLDER}, {"actions": [action("read")]}),
        ('permit(principal == ?principal, action, resource == App::Doc::"d1");', {"principal": user("a")}, {"resource": doc("d1")}),
        ("permit(principal is App::User in ?principal, action, resource is App::Doc in ?resource);", {"principal": team("t"), "resource": FOLDER}, {}),
    ],
)  # fmt: skip
def test_b5_a_link_tells_its_templates_scope_with_its_own_values(here: World, statement, slots, head):
    store = here.store()
    policy = here.link(store, here.template(store, statement), **slots)
    got = here.client.get_policy(policyStoreId=store, policyId=policy)
    assert told(got) == {"effect": "Permit", **head, **slots}


@pytest.mark.parametrize(
    ("only", "found"),
    [
        ({"principal": {"identifier": user("alice")}}, {"both", "principal"}),
        ({"resource": {"identifier": doc("d1")}}, {"both"}),
        ({"principal": {"unspecified": True}}, {"none"}),
        ({"resource": {"unspecified": True}}, {"none", "principal", "linked"}),
        ({"principal": {"unspecified": True}, "resource": {"unspecified": True}}, {"none"}),
        ({"principal": {"identifier": user("bob")}, "policyType": "TEMPLATE_LINKED"}, {"linked"}),
        ({"policyType": "STATIC"}, {"both", "principal", "none"}),
        ({"policyTemplateId": "name/t"}, {"linked"}),
    ],
)
def test_a_list_is_filtered_by_what_the_scope_names(here: World, only, found):
    store = here.store()
    ids = {
        here.policy(store, PERMIT): "both",
        here.policy(store, PERMIT.replace('resource == App::Doc::"d1"', "resource")): "principal",
        here.policy(store, WIDE): "none",
        here.link(store, here.template(store, TEMPLATE, name="name/t"), principal=user("bob")): "linked",
    }
    listed = here.client.list_policies(policyStoreId=store, filter=only)["policies"]
    assert {ids[one["policyId"]] for one in listed} == found


def test_h13_a_list_goes_on_where_it_was_though_policies_come_and_go_between_its_pages(here: World):
    client, store = here.client, here.store()
    ids = [here.policy(store, WIDE) for _ in range(6)]
    first = client.list_policies(policyStoreId=store, maxResults=3)
    for gone in (ids[0], ids[2], ids[4]):
        client.delete_policy(policyStoreId=store, policyId=gone)
    added = here.policy(store, WIDE)
    rest = client.list_policies(policyStoreId=store, nextToken=first["nextToken"], maxResults=50)
    assert [one["policyId"] for one in first["policies"]] == ids[:3]
    assert [one["policyId"] for one in rest["policies"]] == [ids[3], ids[5], added]


def test_a_decision_follows_every_change_at_once(here: World):
    client, store = here.client, here.store()
    seen = list[str]()

    def ask() -> None:
        seen.append(str(here.ask(store)["decision"]))

    viewer = 'permit(principal, action in App::Action::"viewer", resource);'
    policy = here.policy(store, viewer)
    ask()  # the group is in the schema
    ungrouped = {"App": {**SCHEMA["App"], "actions": {"read": {}, "viewer": {}}}}
    client.put_schema(policyStoreId=store, definition={"cedarJson": json.dumps(ungrouped)})
    ask()
    client.update_policy(policyStoreId=store, policyId=policy, definition=static(WIDE))
    ask()
    client.delete_policy(policyStoreId=store, policyId=policy)
    ask()
    template = here.template(store, TEMPLATE)
    link = here.link(store, template, principal=user("alice"))
    ask()
    narrow = TEMPLATE.replace(";", " when { false };")
    client.update_policy_template(policyStoreId=store, policyTemplateId=template, statement=narrow)
    ask()
    client.update_policy_template(policyStoreId=store, policyTemplateId=template, statement=TEMPLATE)
    ask()
    client.delete_policy(policyStoreId=store, policyId=link)
    ask()
    assert seen == ["ALLOW", "DENY", "ALLOW", "DENY", "ALLOW", "DENY", "ALLOW", "DENY"]


def test_a7_an_alias_that_awaits_deletion_is_taken_even_for_its_own_store(here: World):
    store, alias = here.store(), "policy-store-alias/own"
    here.client.create_policy_store_alias(aliasName=alias, policyStoreId=store)
    here.client.delete_policy_store_alias(aliasName=alias)
    given = {"aliasName": alias, "policyStoreId": store}
    refused(lambda: here.client.create_policy_store_alias(**given), "ConflictException")
    here.client.delete_policy_store_alias(aliasName=alias, deletionMode="HardDelete")
    here.client.create_policy_store_alias(**given)
    assert here.client.get_policy_store_alias(aliasName=alias)["state"] == "Active"


def test_a7_a_softly_deleted_aliass_name_is_free_after_a_day(here: World):
    old, new, alias = here.store(), here.store(), "policy-store-alias/reserved"
    here.client.create_policy_store_alias(aliasName=alias, policyStoreId=old)
    here.client.delete_policy_store_alias(aliasName=alias)
    given = {"aliasName": alias, "policyStoreId": new}
    here.emulator.clock.advance(23 * 3600)
    refused(lambda: here.client.create_policy_store_alias(**given), "ConflictException")
    here.emulator.clock.advance(2 * 3600)
    assert here.client.list_policy_store_aliases(filter={"policyStoreId": old})["policyStoreAliases"] == []
    here.client.create_policy_store_alias(**given)
    assert here.client.get_policy_store(policyStoreId=alias)["policyStoreId"] == new
    [listed] = here.client.list_policy_store_aliases(filter={"policyStoreId": new})["policyStoreAliases"]
    assert (listed["aliasName"], listed["state"]) == (alias, "Active")


def test_a7_what_is_changed_keeps_the_date_of_its_creation(here: World):
    client, store = here.client, here.store()
    policy, template = here.policy(store, WIDE), here.template(store, TEMPLATE)
    configuration = cognito()
    source = client.create_identity_source(policyStoreId=store, configuration=configuration)["identitySourceId"]
    schema = {"cedarJson": json.dumps(SCHEMA)}
    pairs: list[tuple[Any, Any, dict[str, Any], dict[str, Any]]] = [
        (client.get_policy, client.update_policy, {"policyId": policy}, {"definition": static(WIDE)}),
        (client.get_policy_template, client.update_policy_template, {"policyTemplateId": template}, {"statement": TEMPLATE}),
        (client.get_identity_source, client.update_identity_source, {"identitySourceId": source}, {"updateConfiguration": configuration}),
        (client.get_schema, client.put_schema, {}, {"definition": schema}),
        (client.get_policy_store, client.update_policy_store, {}, {"validationSettings": {"mode": "OFF"}}),
    ]  # fmt: skip
    for get, update, id, change in pairs:
        before = get(policyStoreId=store, **id)
        changed = update(policyStoreId=store, **id, **change)
        after = get(policyStoreId=store, **id)
        assert before["createdDate"] == changed["createdDate"] == after["createdDate"]
        assert before["lastUpdatedDate"] < changed["lastUpdatedDate"] == after["lastUpdatedDate"]


# --- names --------------------------------------------------------------------------------------------------


def test_a7_a_name_is_unique_among_policies_and_free_again_when_it_is_given_up(here: World):
    client, store = here.client, here.store()
    first = here.policy(store, WIDE, name="name/x")
    here.template(store, TEMPLATE, name="name/x")  # templates have names of their own
    here.policy(here.store(), WIDE, name="name/x")  # so has another store
    error = refused(lambda: here.policy(store, WIDE, name="name/x"), "ConflictException")
    assert error["resources"] == [{"resourceId": first, "resourceType": "POLICY"}]
    client.update_policy(policyStoreId=store, policyId=first, name="name/x")  # its own is no conflict
    client.update_policy(policyStoreId=store, policyId="name/x", name="")
    second = here.policy(store, WIDE, name="name/x")
    client.delete_policy(policyStoreId=store, policyId="name/x")
    refused(lambda: client.get_policy(policyStoreId=store, policyId=second), "ResourceNotFoundException")
    here.policy(store, WIDE, name="name/x")


@pytest.mark.parametrize("name", ["x", "name/", "names/x", "Name/x", "/name/x", "name/a b", "name/" + "x" * 146])
def test_a7_a_name_begins_with_its_prefix(here: World, name):
    store = here.store()
    refused(lambda: here.policy(store, WIDE, name=name), "ValidationException")
    refused(lambda: here.template(store, TEMPLATE, name=name), "ValidationException")


def test_a7_a_templates_name_stands_for_its_id(here: World):
    client, store = here.client, here.store()
    template = here.template(store, TEMPLATE, name="name/t")
    policy = here.link(store, "name/t", principal=user("a"))
    definition = client.get_policy(policyStoreId=store, policyId=policy)["definition"]
    assert definition["templateLinked"]["policyTemplateId"] == template
    client.update_policy_template(policyStoreId=store, policyTemplateId="name/t", statement=TEMPLATE, name="")
    refused(
        lambda: client.get_policy_template(policyStoreId=store, policyTemplateId="name/t"), "ResourceNotFoundException"
    )
    assert "name" not in client.get_policy_template(policyStoreId=store, policyTemplateId=template)


def test_a7_a_deleted_store_takes_everything_with_it(here: World):
    client, store = here.client, here.store(WIDE)
    client.delete_policy_store(policyStoreId=store)
    client.delete_policy_store(policyStoreId=store)
    for operation in ("ListPolicies", "GetSchema", "IsAuthorized", "ListIdentitySources"):
        assert here.raw_refusal(operation, {"policyStoreId": store}) == (404, "ResourceNotFoundException")


@pytest.mark.parametrize(
    "arn",
    [
        "arn:aws:verifiedpermissions:us-east-1:123456789012:policy-store-alias/x",
        "arn:aws:s3:::bucket",
        "arn:aws:verifiedpermissions::123456789012:policy-store/",
    ],
)
def test_a7_only_policy_stores_have_tags(here: World, arn):
    status, name = here.raw_refusal("TagResource", {"resourceArn": arn, "tags": {"a": "b"}})
    assert (status, name) in {(400, "ValidationException"), (404, "ResourceNotFoundException")}
