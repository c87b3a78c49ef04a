"""Templates and the policies that are linked to them, through boto3."""

import pytest

from tests.emulator.refusals import refused

BOTH = "permit(principal == ?principal, action, resource in ?resource);"
ONE = 'permit(principal in ?principal, action == Action::"read", resource == R::"r");'
LINKED = "/definition/templateLinked"
TEMPLATE = "/template/statement"
SCHEMA = {
    "App": {
        "entityTypes": {"User": {}, "Doc": {}},
        "actions": {"read": {"appliesTo": {"principalTypes": ["User"], "resourceTypes": ["Doc"]}}},
    }
}


def uid(kind, id):
    return {"entityType": kind, "entityId": id}


def make(client, store, statement=BOTH, **more):
    return client.create_policy_template(policyStoreId=store, statement=statement, **more)["policyTemplateId"]


def link(client, store, template, **slots):
    linked = {"policyTemplateId": template, **{name: uid(*value) for name, value in slots.items()}}
    return client.create_policy(policyStoreId=store, definition={"templateLinked": linked})


def decision(client, store, who, what, action="read"):
    answer = client.is_authorized(
        policyStoreId=store,
        principal=uid("U", who),
        action={"actionType": "Action", "actionId": action},
        resource=uid("R", what),
    )
    return answer["decision"], [one["policyId"] for one in answer["determiningPolicies"]]


def test_a_template_is_kept_as_it_was_written(client, store):
    statement = f"// why\n{BOTH}"
    template = make(client, store, statement, description="d", name="name/t")
    for reference in (template, "name/t"):
        found = client.get_policy_template(policyStoreId=store, policyTemplateId=reference)
        assert (found["statement"], found["description"], found["name"]) == (statement, "d", "name/t")
        assert found["policyTemplateId"] == template
    listed = client.list_policy_templates(policyStoreId=store)["policyTemplates"][0]
    assert (listed["description"], listed["name"]) == ("d", "name/t")
    assert "statement" not in listed


@pytest.mark.parametrize(
    ("statement", "message"),
    [
        ("permit(principal, action, resource);", "expected a template, got a static policy"),
        ("permit(principal == ?principal, action, resource) when { ?principal == principal };", "found template slot ?principal in a `when` clause"),
        ("permit(principal == ?resource, action, resource);", "Failed to validate policy body."),
        (BOTH + BOTH, "Failed to validate policy body."),
        ("permit(principal == ?principal, action, resource)", "Failed to validate policy body."),
    ],
)  # fmt: skip
def test_what_is_no_single_template_is_refused(client, store, statement, message):
    answer = refused(make, client=client, store=store, statement=statement)
    assert (answer.code, answer.fields) == ("ValidationException", [(TEMPLATE, message)])
    template = make(client, store)
    answer = refused(client.update_policy_template, policyStoreId=store, policyTemplateId=template, statement=statement)
    assert answer.fields == [(TEMPLATE, message)]


# --- links


def test_a_link_fills_the_slots(client, store):
    template = make(client, store, name="name/t")
    made = link(client, store, "name/t", principal=("U", "a"), resource=("R", "f"))
    assert (made["policyType"], made["effect"]) == ("TEMPLATE_LINKED", "Permit")
    assert (made["principal"], made["resource"]) == (uid("U", "a"), uid("R", "f"))
    definition = {
        "templateLinked": {"policyTemplateId": template, "principal": uid("U", "a"), "resource": uid("R", "f")}
    }
    assert client.get_policy(policyStoreId=store, policyId=made["policyId"])["definition"] == definition
    assert client.list_policies(policyStoreId=store)["policies"][0]["definition"] == definition
    batch = client.batch_get_policy(requests=[{"policyStoreId": store, "policyId": made["policyId"]}])
    assert batch["results"][0]["definition"] == definition
    assert decision(client, store, "a", "f") == ("ALLOW", [made["policyId"]])
    assert decision(client, store, "b", "f") == ("DENY", [])


def test_what_is_no_slot_comes_from_the_scope(client, store):
    made = link(client, store, make(client, store, ONE), principal=("U", "a"))
    assert made["resource"] == uid("R", "r")
    assert made["actions"] == [{"actionType": "Action", "actionId": "read"}]
    definition = client.get_policy(policyStoreId=store, policyId=made["policyId"])["definition"]["templateLinked"]
    assert "resource" not in definition
    assert decision(client, store, "a", "r") == ("ALLOW", [made["policyId"]])


@pytest.mark.parametrize(
    ("statement", "slots", "fields"),
    [
        (BOTH, {"principal": ("U", "a")}, [(f"{LINKED}/resource", "Invalid Parameter: resource")]),
        (BOTH, {"resource": ("U", "a")}, [(f"{LINKED}/principal", "Invalid Parameter: principal")]),
        (ONE, {"principal": ("U", "a"), "resource": ("R", "f")}, [(f"{LINKED}/resource", "Invalid Parameter: resource")]),
        (ONE, {"resource": ("R", "f")}, [(f"{LINKED}/principal", "Invalid Parameter: principal"), (f"{LINKED}/resource", "Invalid Parameter: resource")]),
        (BOTH, {}, [(LINKED, "No principal and no resource was provided. At least one must be provided")]),
    ],
)  # fmt: skip
def test_a_link_fills_exactly_the_slots(client, store, statement, slots, fields):
    answer = refused(link, client=client, store=store, template=make(client, store, statement), **slots)
    assert (answer.code, answer.fields) == ("ValidationException", fields)


def test_a_link_to_no_template(client, store):
    answer = refused(link, client=client, store=store, template="PTEXAMPLE", principal=("U", "a"))
    assert (answer.code, answer.status, answer.response["resourceType"]) == (
        "ResourceNotFoundException",
        404,
        "POLICY_TEMPLATE",
    )


def test_a_link_cannot_be_updated_but_named(client, store):
    made = link(client, store, make(client, store), principal=("U", "a"), resource=("R", "f"))
    given = {"policyStoreId": store, "policyId": made["policyId"]}
    statement = 'permit(principal == U::"a", action, resource in R::"f");'
    answer = refused(client.update_policy, **given, definition={"static": {"statement": statement}})
    assert answer.code == "ValidationException"
    client.update_policy(**given, name="name/link")
    assert client.get_policy(policyStoreId=store, policyId="name/link")["policyType"] == "TEMPLATE_LINKED"


# --- updates act on links


def test_an_update_acts_on_all_links_at_once(client, store):
    template = make(client, store)
    links = [link(client, store, template, principal=("U", who), resource=("R", "f")) for who in "ab"]
    assert decision(client, store, "a", "f", "write")[0] == "ALLOW"
    narrower = 'permit(principal == ?principal, action == Action::"read", resource in ?resource);'
    done = client.update_policy_template(policyStoreId=store, policyTemplateId=template, statement=narrower)
    assert done["createdDate"] < done["lastUpdatedDate"]
    for who, policy in zip("ab", links, strict=True):
        assert decision(client, store, who, "f") == ("ALLOW", [policy["policyId"]])
        assert decision(client, store, who, "f", "write") == ("DENY", [])
        found = client.get_policy(policyStoreId=store, policyId=policy["policyId"])
        assert found["actions"] == [{"actionType": "Action", "actionId": "read"}]
        assert found["lastUpdatedDate"] == policy["lastUpdatedDate"]


@pytest.mark.parametrize(
    "statement",
    [
        "forbid(principal == ?principal, action, resource in ?resource);",
        "permit(principal in ?principal, action, resource in ?resource);",
        "permit(principal == ?principal, action, resource == ?resource);",
        "permit(principal == ?principal, action, resource);",
    ],
)
def test_an_update_keeps_effect_principal_and_resource(client, store, statement):
    template = make(client, store)
    answer = refused(client.update_policy_template, policyStoreId=store, policyTemplateId=template, statement=statement)
    assert (answer.code, answer.fields[0][0]) == ("ValidationException", TEMPLATE)


def test_name_and_description_in_an_update(client, store):
    template = make(client, store, name="name/a", description="d")
    other = make(client, store, name="name/b")

    def update(**more):
        return client.update_policy_template(policyStoreId=store, policyTemplateId=template, statement=BOTH, **more)

    update()
    found = client.get_policy_template(policyStoreId=store, policyTemplateId=template)
    assert (found["name"], found["description"]) == ("name/a", "d")
    answer = refused(update, name="name/b")
    assert (answer.code, answer.response["resources"]) == (
        "ConflictException",
        [{"resourceId": other, "resourceType": "POLICY_TEMPLATE"}],
    )
    update(name="", description="e")
    found = client.get_policy_template(policyStoreId=store, policyTemplateId=template)
    assert found["description"] == "e"
    assert "name" not in found


# --- deletion, quotas, tokens


def test_deleting_a_template_deletes_its_links(client, store):
    template = make(client, store)
    made = link(client, store, template, principal=("U", "a"), resource=("R", "f"))
    client.delete_policy_template(policyStoreId=store, policyTemplateId=template)
    assert client.list_policies(policyStoreId=store)["policies"] == []
    assert (
        refused(client.get_policy, policyStoreId=store, policyId=made["policyId"]).code == "ResourceNotFoundException"
    )
    assert decision(client, store, "a", "f") == ("DENY", [])
    answer = refused(client.delete_policy_template, policyStoreId=store, policyTemplateId=template)
    assert (answer.code, answer.response["resourceType"]) == ("ResourceNotFoundException", "POLICY_TEMPLATE")


def test_forty_templates_at_most(client, store):
    made = [make(client, store) for _ in range(40)]
    answer = refused(make, client=client, store=store)
    assert (answer.code, answer.status) == ("ServiceQuotaExceededException", 402)
    pages = client.get_paginator("list_policy_templates").paginate(policyStoreId=store)
    assert [one["policyTemplateId"] for page in pages for one in page["policyTemplates"]] == made


def test_a_template_has_ten_thousand_bytes_at_most(client, store):
    template, long = make(client, store), BOTH + "//" + "x" * 10_000
    assert refused(make, client=client, store=store, statement=long).code == "ServiceQuotaExceededException"
    answer = refused(client.update_policy_template, policyStoreId=store, policyTemplateId=template, statement=long)
    assert answer.code == "ValidationException"  # the operation has no other


def test_a_link_counts_without_its_templates_text(client, store):
    template = make(client, store, BOTH + "//" + "x" * 9_000)
    for number in range(30):  # with it these were 270,000 bytes of one resource
        link(client, store, template, principal=("U", str(number)), resource=("R", "f"))


def test_the_same_token_gives_the_same_template(client, store):
    given = {"policyStoreId": store, "statement": BOTH, "clientToken": "once"}
    first, again = (client.create_policy_template(**given) for _ in range(2))
    assert first["policyTemplateId"] == again["policyTemplateId"]
    assert refused(client.create_policy_template, **{**given, "statement": ONE}).code == "ConflictException"


# --- STRICT


def test_strict_validates_templates_and_links(client, emulated):
    store = emulated.store(schema=SCHEMA, mode="STRICT")
    answer = refused(
        make,
        client=client,
        store=store,
        statement='permit(principal == ?principal, action == App::Action::"fly", resource);',
    )
    assert answer.fields[0] == (TEMPLATE, 'for policy `policy0`, unrecognized action `App::Action::"fly"`')
    template = make(client, store)
    link(client, store, template, principal=("App::User", '"\n\0é'), resource=("App::Doc", "?principal"))
    answer = refused(
        link, client=client, store=store, template=template, principal=("App::Doc", "a"), resource=("App::Doc", "f")
    )
    assert (answer.code, answer.fields[0][0]) == ("ValidationException", "/definition")
    answer = refused(make, client=client, store=emulated.store(mode="STRICT"))
    assert answer.fields == [(TEMPLATE, "No schema present - automatically failing all validation.")]


@pytest.mark.parametrize("mode", ["OFF", "STRICT"])
@pytest.mark.parametrize("kind", ["not a type", 'U::"x", action, resource); permit(principal', "if", " "])
def test_a_type_that_is_no_name_is_refused(client, emulated, kind, mode):
    store = emulated.store(schema=SCHEMA, mode=mode)
    answer = refused(
        link,
        client=client,
        store=store,
        template=make(client, store),
        principal=(kind, "a"),
        resource=("App::Doc", "f"),
    )
    assert answer.fields == [(f"{LINKED}/principal", "Invalid Parameter: principal")]
