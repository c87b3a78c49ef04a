"""What a naive emulator gets wrong with policies, templates and schemas, and with who reads them all to keep a copy.

`h` and the number are those of the issue's list of edge cases.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from authz.emulator.services import Limits
from tests.emulator.conformance.world import SCHEMA, World, action, doc, refused, static, user, world

PERMIT = 'permit(principal == App::User::"alice", action == App::Action::"read", resource == App::Doc::"d1");'
TEMPLATE = "permit(principal == ?principal, action, resource);"
BOTH = "permit(principal == ?principal, action, resource in ?resource);"
WIDE = "permit(principal, action, resource);"


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with world(tmp_path_factory.mktemp("keys")) as made:
        yield made


def why(error: dict[str, Any]) -> tuple[str, str]:
    """Where and what, of a ValidationException with one field."""
    [field] = error["fieldList"]
    assert error["Error"]["Message"] == "Invalid input"
    return field["path"], field["message"]


@pytest.mark.parametrize("mode", ["OFF", "STRICT"])
@pytest.mark.parametrize(
    ("statement", "message"),
    [
        (WIDE * 2, "Failed to validate policy body."),
        ("permit(principal, action, resource)", "Failed to validate policy body."),
        ("", None),
        ("// nothing", "Failed to validate policy body."),
        (TEMPLATE, "expected a static policy, got a template containing the slot ?principal"),
        ("permit(principal, action, resource) when { !!!!!true };", "too many occurrences of `!`"),
        ("permit(principal, action, resource) when { principal.if };", "this identifier is reserved and cannot be used: if"),
    ],
)  # fmt: skip
def test_h23_a_policy_is_one_statement_without_slots_in_either_mode(here: World, mode, statement, message):
    given = {"policyStoreId": here.store(mode=mode), "definition": static(statement)}
    status, body = here.raw("CreatePolicy", given)
    assert (status, body["__type"]) == (400, "ValidationException")
    if message is not None:
        assert body["fieldList"] == [{"path": "/definition/static/statement", "message": message}]


@pytest.mark.parametrize(
    ("statement", "message"),
    [
        (PERMIT, "expected a template, got a static policy"),
        (TEMPLATE * 2, "Failed to validate policy body."),
        ("permit(principal == ?principal, action, resource) when { ?principal == principal };", "found template slot ?principal in a `when` clause"),
    ],
)  # fmt: skip
def test_h23_a_template_is_one_statement_with_slots(here: World, statement, message):
    store = here.store()
    error = refused(lambda: here.template(store, statement), "ValidationException")
    assert why(error) == ("/template/statement", message)


NEITHER = (("/definition/templateLinked", "No principal and no resource was provided. At least one must be provided"),)
PRINCIPAL = (("/definition/templateLinked/principal", "Invalid Parameter: principal"),)
RESOURCE = (("/definition/templateLinked/resource", "Invalid Parameter: resource"),)


@pytest.mark.parametrize(
    ("template", "slots", "told"),
    [
        (TEMPLATE, {}, NEITHER),
        (TEMPLATE, {"resource": doc("d")}, PRINCIPAL + RESOURCE),
        (TEMPLATE, {"principal": user("a"), "resource": doc("d")}, RESOURCE),
        (BOTH, {"principal": user("a")}, RESOURCE),
        (BOTH, {"resource": doc("d")}, PRINCIPAL),
        (BOTH, {"principal": user("a"), "resource": doc("d")}, ()),
        (TEMPLATE, {"principal": user("a")}, ()),
    ],
)
def test_h24_a_link_fills_the_slots_that_there_are_and_no_other(here: World, template, slots, told):
    store = here.store()
    made = here.template(store, template)
    if not told:
        here.link(store, made, **slots)
        return
    error = refused(lambda: here.link(store, made, **slots), "ValidationException")
    assert sorted((field["path"], field["message"]) for field in error["fieldList"]) == sorted(told)


@pytest.mark.parametrize(
    ("statement", "well"),
    [
        (PERMIT.replace("read", "write") + " // another comment", True),
        (PERMIT.replace(";", " when { principal.level > 1 } unless { false };"), True),
        (PERMIT.replace('action == App::Action::"read"', "action"), True),
        (PERMIT.replace("permit", "forbid"), False),
        (PERMIT.replace("alice", "bob"), False),
        (PERMIT.replace("d1", "d2"), False),
        (PERMIT.replace('resource == App::Doc::"d1"', "resource"), False),
        (PERMIT.replace("principal ==", "principal in"), False),
        (TEMPLATE, False),
    ],
)
def test_h25_an_update_changes_action_and_conditions_only(here: World, statement, well):
    store = here.store()
    policy = here.policy(store, PERMIT)

    def update() -> Any:
        return here.client.update_policy(policyStoreId=store, policyId=policy, definition=static(statement))

    if well:
        update()
    else:
        refused(update, "ValidationException")
    shown = here.client.get_policy(policyStoreId=store, policyId=policy)["definition"]["static"]["statement"]
    assert shown == (statement if well else PERMIT)


def test_h25_a_linked_policy_is_not_updated_but_may_be_renamed(here: World):
    store = here.store()
    policy = here.link(store, here.template(store, TEMPLATE), principal=user("a"))
    given = {"policyStoreId": store, "policyId": policy}
    refused(lambda: here.client.update_policy(**given, definition=static(PERMIT)), "ValidationException")
    here.client.update_policy(**given, name="name/linked")
    assert here.client.get_policy(policyStoreId=store, policyId="name/linked")["policyId"] == policy
    here.client.update_policy(**given, name="")
    assert "name" not in here.client.get_policy(**given)
    refused(lambda: here.client.get_policy(policyStoreId=store, policyId="name/linked"), "ResourceNotFoundException")


def test_h26_an_update_of_a_template_acts_on_its_links_and_its_deletion_deletes_them(here: World):
    store = here.store()
    template = here.template(store, TEMPLATE)
    links = [here.link(store, template, principal=user(name)) for name in ("a", "b")]
    assert [here.ask(store, name)["determiningPolicies"] for name in ("a", "b")] == [[{"policyId": id}] for id in links]
    here.client.update_policy_template(
        policyStoreId=store, policyTemplateId=template, statement=TEMPLATE.replace("action", 'action == App::Action::"write"')
    )  # fmt: skip
    assert [here.ask(store, name, verb)["decision"] for name in "ab" for verb in ("read", "write")] == [
        "DENY",
        "ALLOW",
    ] * 2
    listed = here.client.list_policies(policyStoreId=store)["policies"]
    assert [one["actions"] for one in listed] == [[action("write")]] * 2
    here.client.delete_policy_template(policyStoreId=store, policyTemplateId=template)
    refused(lambda: here.client.get_policy(policyStoreId=store, policyId=links[0]), "ResourceNotFoundException")
    assert here.ask(store, "a", "write")["decision"] == "DENY"


def test_h27_strict_without_a_schema_fails_every_policy_and_an_empty_one_deletes_it(here: World):
    store = here.store(schema=None, mode="STRICT")
    text = "No schema present - automatically failing all validation."
    for call in (lambda: here.policy(store, PERMIT), lambda: here.template(store, TEMPLATE)):
        assert why(refused(call, "ValidationException"))[1] == text
    here.client.put_schema(policyStoreId=store, definition={"cedarJson": json.dumps(SCHEMA)})
    policy = here.policy(store, PERMIT)
    assert here.client.put_schema(policyStoreId=store, definition={"cedarJson": "{}"})["namespaces"] == []
    refused(lambda: here.client.get_schema(policyStoreId=store), "ResourceNotFoundException")
    assert why(refused(lambda: here.policy(store, PERMIT), "ValidationException"))[1] == text
    assert here.ask(store)["determiningPolicies"] == [{"policyId": policy}]


@pytest.mark.parametrize(
    ("statement", "message"),
    [
        (PERMIT.replace("App::User", "App::Widget"), "for policy `policy0`, unrecognized entity type `App::Widget`"),
        (PERMIT.replace('"read"', '"burn"'), 'for policy `policy0`, unrecognized action `App::Action::"burn"`'),
        (PERMIT.replace("App::Doc", "App::Folder"), "for policy `policy0`, unable to find an applicable action given the policy scope constraints"),
    ],
)  # fmt: skip
def test_h27_strict_validation_has_the_services_words(here: World, statement, message):
    store = here.store(mode="STRICT")
    error = refused(lambda: here.policy(store, statement), "ValidationException")
    assert {field["path"] for field in error["fieldList"]} == {"/definition"}
    assert message in {field["message"] for field in error["fieldList"]}


def test_h28_a_new_schema_judges_no_old_policy_until_its_next_update(here: World):
    store = here.store(mode="STRICT")
    policy = here.policy(store, PERMIT)
    other = json.dumps(SCHEMA).replace('"write"', '"erase"').replace('"read"', '"look"')
    here.client.put_schema(policyStoreId=store, definition={"cedarJson": other})
    assert here.ask(store)["decision"] == "ALLOW"
    given = {"policyStoreId": store, "policyId": policy, "definition": static(PERMIT)}
    refused(lambda: here.client.update_policy(**given), "ValidationException")
    here.client.update_policy(policyStoreId=store, policyId=policy, name="name/only-renamed")


@pytest.mark.parametrize(
    ("schema", "message"),
    [
        ("[]", "Provided schema is not a valid JSON object"),
        ("entity User;", "Provided schema is not a valid JSON object"),
        ('{"A": {"entityTypes": {}}}', "missing field `actions`"),
        ('{"A": {"actions": {}}}', "missing field `entityTypes`"),
        ('{"A": {"entityTypes": {}, "actions": {}, "x": 1}}', "unknown field `x`, expected one of `commonTypes`, `entityTypes`, `actions`, `annotations`"),
        ('{"A": {"entityTypes": {"U": {"shape": {"type": "Record", "attributes": {"x": {"type": "X"}}}}}, "actions": {}}}', "failed to resolve type: X"),
        ('{"": {"entityTypes": {}, "actions": {}}}', "Namespace lengths must be at least 1 and at most 100 bytes in size, but '' is 0 bytes in size"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("mode", ["OFF", "STRICT"])
def test_h28_h29_a_schema_is_judged_in_either_mode(here: World, mode, schema, message):
    store = here.store(schema=None, mode=mode)
    given = {"policyStoreId": store, "definition": {"cedarJson": schema}}
    path, told = why(refused(lambda: here.client.put_schema(**given), "ValidationException"))
    assert (path, told.startswith(message)) == ("/schema", True), told


def test_h29_a_schema_may_have_several_namespaces(here: World):
    store = here.store(schema=None)
    several: dict[str, Any] = {name: {"entityTypes": {"U": {}}, "actions": {}} for name in ("A", "B::C")}
    made = here.client.put_schema(policyStoreId=store, definition={"cedarJson": json.dumps(several)})
    assert sorted(made["namespaces"]) == ["A", "B::C"]


def test_h30_the_quota_is_of_a_resource_and_a_link_counts_without_its_template(tmp_path):
    with world(tmp_path, limits=Limits(resource_bytes=600)) as small:
        store = small.store()
        long = BOTH.replace(";", f' when {{ context.x == "{"x" * 500}" }};')
        template = small.template(store, long)
        for name in ("a", "b", "c"):
            small.link(store, template, principal=user(name), resource=doc("d9"))
        filler = "// " + "x" * 350
        small.policy(store, PERMIT + filler)
        small.policy(store, PERMIT.replace("d1", "d2") + filler)  # another resource, another bucket
        refused(lambda: small.policy(store, PERMIT + filler), "ServiceQuotaExceededException")
        small.policy(store, WIDE + filler)
        forbid = WIDE.replace("permit", "forbid") + filler  # neither names a resource: one bucket
        refused(lambda: small.policy(store, forbid), "ServiceQuotaExceededException")


def test_h31_a_statement_comes_back_as_it_went(here: World):
    text = '// why\n@note("x")\npermit (\n\tprincipal,  action,resource ) // é\n when{true} ; /// end\n'
    store = here.store()
    policy = here.policy(store, text)
    template = here.template(store, TEMPLATE + " // comment")
    assert here.client.get_policy(policyStoreId=store, policyId=policy)["definition"]["static"]["statement"] == text
    got = here.client.get_policy_template(policyStoreId=store, policyTemplateId=template)
    assert got["statement"] == TEMPLATE + " // comment"


def test_h32_an_annotation_is_no_policy_id(here: World):
    store = here.store()
    policy = here.policy(store, '@id("mine") ' + WIDE)
    assert here.ask(store)["determiningPolicies"] == [{"policyId": policy}]
    refused(lambda: here.client.get_policy(policyStoreId=store, policyId="mine"), "ResourceNotFoundException")


# --- who keeps a copy ---------------------------------------------------------------------------------------


def test_h66_a_store_is_read_by_pages_of_fifty_and_batches_of_a_hundred(here: World):
    store = here.store()
    ids = [here.policy(store, WIDE) for _ in range(101)]
    here.emulator.switches.calls.clear()
    pages = here.client.get_paginator("list_policies").paginate(policyStoreId=store, PaginationConfig={"PageSize": 50})
    listed = [one["policyId"] for page in pages for one in page["policies"]]
    assert sorted(listed) == sorted(ids)
    asked = [{"policyStoreId": store, "policyId": one} for one in listed]
    for part in (asked[:100], asked[100:]):
        batch = here.client.batch_get_policy(requests=part)
        assert [one["policyId"] for one in batch["results"]] == [one["policyId"] for one in part]
    assert here.emulator.switches.calls == {"ListPolicies": 3, "BatchGetPolicy": 2}


def test_h67_a_list_that_fails_half_way_goes_on_from_the_same_token(here: World):
    store = here.store(WIDE, WIDE, WIDE)
    here.emulator.switches.half_a_list()
    first = here.client.list_policies(policyStoreId=store, maxResults=2)
    again = {"policyStoreId": store, "maxResults": 2, "nextToken": first["nextToken"]}
    refused(lambda: here.client.list_policies(**again), "InternalServerException")
    here.emulator.switches.clear()
    assert len(here.client.list_policies(**again)["policies"]) == 1


def test_h68_an_edit_shows_in_the_date_of_what_was_edited_and_always_as_a_later_one(here: World):
    client, store = here.client, here.store()
    template = here.template(store, TEMPLATE)
    policies = {here.link(store, template, principal=user("a")), here.policy(store, WIDE)}

    def dates() -> tuple[dict[str, Any], Any]:
        listed = {
            one["policyId"]: one["lastUpdatedDate"] for one in client.list_policies(policyStoreId=store)["policies"]
        }
        return listed, client.list_policy_templates(policyStoreId=store)["policyTemplates"][0]["lastUpdatedDate"]

    for _ in range(20):
        before = dates()
        client.update_policy_template(policyStoreId=store, policyTemplateId=template, statement=TEMPLATE)
        assert dates()[1] > before[1]
    before = dates()
    for policy in policies:
        client.update_policy(policyStoreId=store, policyId=policy, name=f"name/{policy}")
    assert all(dates()[0][policy] > before[0][policy] for policy in policies)
    assert dates()[1] == before[1]
