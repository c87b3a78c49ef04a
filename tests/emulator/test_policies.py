"""Policies, through boto3: what is kept and told, what is refused and with which words."""

import re

import pytest

from tests.emulator.refusals import refused

PERMIT = "permit(principal, action, resource);"
SCHEMA = {
    "MyApp": {
        "entityTypes": {
            "User": {"memberOfTypes": ["Group"], "shape": {"type": "Record", "attributes": {"age": {"type": "Long"}}}},
            "Group": {},
            "Doc": {},
        },
        "actions": {"read": {"appliesTo": {"principalTypes": ["User"], "resourceTypes": ["Doc"]}}},
    }
}


def create(client, store, statement, **more):
    return client.create_policy(policyStoreId=store, definition={"static": {"statement": statement}}, **more)


def uid(kind, id):
    return {"entityType": kind, "entityId": id}


@pytest.mark.parametrize(
    ("statement", "told"),
    [
        (PERMIT, {"effect": "Permit"}),
        ('forbid(principal == A::U::"a", action, resource);', {"effect": "Forbid", "principal": uid("A::U", "a")}),
        ('permit(principal in G::"g", action, resource in F::"f");', {"principal": uid("G", "g"), "resource": uid("F", "f")}),
        ('permit(principal is U in G::"g", action, resource is D);', {"principal": uid("G", "g")}),
        ('permit(principal, action == A::Action::"x", resource);', {"actions": [{"actionType": "A::Action", "actionId": "x"}]}),
        ('permit(principal, action in [Action::"x", Action::"y"], resource);', {"actions": [{"actionType": "Action", "actionId": "x"}, {"actionType": "Action", "actionId": "y"}]}),
        ('permit(principal == U::"\\u{1F600} \\"q\\"", action, resource);', {"principal": uid("U", '\U0001f600 "q"')}),
    ],
)  # fmt: skip
def test_what_the_scope_names_is_told(client, store, statement, told):
    made = create(client, store, statement)
    expected = {"effect": "Permit", **told}
    names = {"effect", "principal", "resource", "actions"}
    assert {name: made[name] for name in names & made.keys()} == expected
    assert (made["policyStoreId"], made["policyType"]) == (store, "STATIC")
    assert re.fullmatch(r"[1-9A-HJ-NP-Za-km-z]{22}", made["policyId"])
    assert {"definition", "name"} & made.keys() == set()
    found = client.get_policy(policyStoreId=store, policyId=made["policyId"])
    listed = client.list_policies(policyStoreId=store)["policies"][0]
    for one in (found, listed):
        assert {name: one[name] for name in names & one.keys()} == expected
    assert found["definition"] == {"static": {"statement": statement}}
    assert listed["definition"] == {"static": {}}  # no statement


def test_the_statement_is_kept_as_it_was_written(client, store):
    statement = '// why\n@id("mine")\npermit ( principal,\n\taction, resource ) when { true }; // end\n'
    made = create(client, store, statement, name="name/a")
    definition = client.get_policy(policyStoreId=store, policyId=made["policyId"])["definition"]
    assert definition["static"]["statement"] == statement
    assert made["policyId"] != "mine"


def test_description_and_name(client, store):
    definition = {"static": {"statement": PERMIT, "description": "all"}}
    made = client.create_policy(policyStoreId=store, definition=definition, name="name/all/of-it_1")
    found = client.get_policy(policyStoreId=store, policyId="name/all/of-it_1")
    assert (found["policyId"], found["name"]) == (made["policyId"], "name/all/of-it_1")
    listed = client.list_policies(policyStoreId=store)["policies"][0]
    assert listed["name"] == "name/all/of-it_1"
    assert listed["definition"] == {"static": {"description": "all"}}
    client.delete_policy(policyStoreId=store, policyId="name/all/of-it_1")
    assert (
        refused(client.get_policy, policyStoreId=store, policyId=made["policyId"]).code == "ResourceNotFoundException"
    )


def test_a_name_is_unique_in_its_store(client, store, emulated):
    first = create(client, store, PERMIT, name="name/x")
    answer = refused(create, client=client, store=store, statement=PERMIT, name="name/x")
    assert (answer.code, answer.status) == ("ConflictException", 409)
    assert answer.response["resources"] == [{"resourceId": first["policyId"], "resourceType": "POLICY"}]
    create(client, emulated.store(), PERMIT, name="name/x")
    client.delete_policy(policyStoreId=store, policyId=first["policyId"])
    create(client, store, PERMIT, name="name/x")


@pytest.mark.parametrize("name", ["x", "name/", "names/x"])
def test_a_name_has_its_prefix(client, store, name):
    answer = refused(create, client=client, store=store, statement=PERMIT, name=name)
    assert (answer.code, answer.fields[0][0]) == ("ValidationException", "/name")


UNREADABLE = "Failed to validate policy body."
STATIC = "/definition/static/statement"
REFUSED = [
    ("permit(principal, action, resource)", UNREADABLE),  # no semicolon
    (PERMIT + PERMIT, UNREADABLE),
    ("nonsense", UNREADABLE),
    ("// nothing\n", UNREADABLE),
    ("permit(principal, action, resource) when { foo(1) };", UNREADABLE),
    ("permit(principal, action, resource) when { " + "(" * 300 + "true" + ")" * 300 + " };", UNREADABLE),
    ("permit(principal, action, resource) when { principal.if };", "this identifier is reserved and cannot be used: if"),
    ("permit(principal, action, resource) when { !!!!!true };", "too many occurrences of `!`"),
    ("permit(principal == ?principal, action, resource);", "expected a static policy, got a template containing the slot ?principal"),
    ("permit(principal, action, resource in ?resource);", "expected a static policy, got a template containing the slot ?resource"),
]  # fmt: skip


@pytest.mark.parametrize("mode", ["OFF", "STRICT"])
@pytest.mark.parametrize(("statement", "message"), REFUSED)
def test_what_is_no_single_static_policy_is_refused_in_either_mode(client, emulated, mode, statement, message):
    store = emulated.store(schema=SCHEMA, mode=mode)
    answer = refused(create, client=client, store=store, statement=statement)
    assert (answer.code, answer.status) == ("ValidationException", 400)
    assert answer.response["Error"]["Message"] == "Invalid input"
    assert answer.fields == [(STATIC, message)]
    policy = create(client, store, "permit(principal, action, resource);")
    answer = refused(
        client.update_policy,
        policyStoreId=store,
        policyId=policy["policyId"],
        definition={"static": {"statement": statement}},
    )
    assert answer.fields == [(STATIC, message)]


def test_four_unary_operators_pass(client, store):
    create(client, store, "permit(principal, action, resource) when { !!!!true };")


# --- STRICT


@pytest.mark.parametrize(
    ("statement", "message"),
    [
        ('permit(principal == MyApp::Widget::"a", action, resource);', "for policy `policy0`, unrecognized entity type `MyApp::Widget`"),
        ('permit(principal == MyApp::Widget::"a", action, resource);', "for policy `policy0`, unable to find an applicable action given the policy scope constraints"),
        ('permit(principal, action == MyApp::Action::"fly", resource);', 'for policy `policy0`, unrecognized action `MyApp::Action::"fly"`'),
        ('permit(principal, action, resource) when { principal.age == "x" };', "the types Long and String are not compatible"),
    ],
)  # fmt: skip
def test_strict_refuses_what_does_not_fit_the_schema(client, emulated, statement, message):
    answer = refused(create, client=client, store=emulated.store(schema=SCHEMA, mode="STRICT"), statement=statement)
    assert (answer.code, {path for path, _ in answer.fields}) == ("ValidationException", {"/definition"})
    assert message in [text for _, text in answer.fields]
    create(client, emulated.store(schema=SCHEMA), statement)


def test_strict_takes_what_fits(client, emulated):
    store = emulated.store(schema=SCHEMA, mode="STRICT")
    made = create(client, store, 'permit(principal in MyApp::Group::"g", action, resource) when { principal.age > 3 };')
    assert (
        refused(create, client=client, store=store, statement='permit(principal == U::"x", action, resource);').status
        == 400
    )
    wrong = 'permit(principal in MyApp::Group::"g", action, resource) when { principal.name == "x" };'
    given = {"policyStoreId": store, "policyId": made["policyId"]}
    assert (
        refused(client.update_policy, **given, definition={"static": {"statement": wrong}}).fields[0][0]
        == "/definition"
    )


def test_strict_without_a_schema_refuses_all(client, emulated):
    store = emulated.store(mode="STRICT")
    answer = refused(create, client=client, store=store, statement=PERMIT)
    assert answer.fields == [("/definition", "No schema present - automatically failing all validation.")]


def test_what_is_there_is_not_validated_again(client, emulated):
    store = emulated.store(policies=['permit(principal == Nobody::"x", action, resource);'])
    client.put_schema(policyStoreId=store, definition={"cedarJson": '{"N": {"entityTypes": {}, "actions": {}}}'})
    client.update_policy_store(policyStoreId=store, validationSettings={"mode": "STRICT"})
    policy = client.list_policies(policyStoreId=store)["policies"][0]["policyId"]
    statement = 'permit(principal == Nobody::"x", action, resource) when { true };'
    answer = refused(
        client.update_policy, policyStoreId=store, policyId=policy, definition={"static": {"statement": statement}}
    )
    assert answer.fields[0][0] == "/definition"


# --- updates


def test_an_update_changes_actions_and_conditions(client, store):
    made = create(client, store, 'permit(principal == U::"a", action == Action::"x", resource);', name="name/p")
    statement = 'permit(principal == U::"a", action == Action::"y", resource) when { context.ok };'
    done = client.update_policy(
        policyStoreId=store, policyId="name/p", definition={"static": {"statement": statement, "description": "d"}}
    )
    assert done["actions"] == [{"actionType": "Action", "actionId": "y"}]
    assert done["createdDate"] == made["createdDate"] < done["lastUpdatedDate"]
    found = client.get_policy(policyStoreId=store, policyId=made["policyId"])
    assert found["definition"] == {"static": {"statement": statement, "description": "d"}}
    assert found["name"] == "name/p"


@pytest.mark.parametrize(
    "statement",
    [
        'forbid(principal == U::"a", action, resource in F::"f");',
        'permit(principal == U::"b", action, resource in F::"f");',
        'permit(principal in U::"a", action, resource in F::"f");',
        'permit(principal is U, action, resource in F::"f");',
        'permit(principal, action, resource in F::"f");',
        'permit(principal == U::"a", action, resource == F::"f");',
        'permit(principal == U::"a", action, resource is F in F::"f");',
    ],
)
def test_an_update_keeps_effect_principal_and_resource(client, store, statement):
    made = create(client, store, 'permit(principal == U::"a", action, resource in F::"f");')
    answer = refused(
        client.update_policy,
        policyStoreId=store,
        policyId=made["policyId"],
        definition={"static": {"statement": statement}},
    )
    assert (answer.code, answer.fields[0][0]) == ("ValidationException", STATIC)


def test_a_name_can_be_given_changed_and_taken_away(client, store):
    policy = create(client, store, PERMIT)["policyId"]
    other = create(client, store, PERMIT, name="name/other")["policyId"]

    def rename(name):
        return client.update_policy(policyStoreId=store, policyId=policy, name=name)

    for name in ("name/a", "name/b", "name/b"):
        rename(name)
        found = client.get_policy(policyStoreId=store, policyId=policy)
        assert (found["name"], found["definition"]["static"]["statement"]) == (name, PERMIT)
    assert refused(rename, name="name/other").response["resources"] == [{"resourceId": other, "resourceType": "POLICY"}]
    assert refused(rename, name="other").code == "ValidationException"
    rename("")
    assert "name" not in client.get_policy(policyStoreId=store, policyId=policy)
    assert refused(client.get_policy, policyStoreId=store, policyId="name/b").code == "ResourceNotFoundException"


def test_updating_what_is_not_there(client, store):
    answer = refused(client.update_policy, policyStoreId=store, policyId="SPEXAMPLE", name="name/x")
    assert (answer.code, answer.response["resourceType"]) == ("ResourceNotFoundException", "POLICY")


def test_deleting_what_is_not_there_is_no_error(client, store):
    client.delete_policy(policyStoreId=store, policyId="SPEXAMPLE")
    assert (
        refused(client.delete_policy, policyStoreId="PSEXAMPLE", policyId="SPEXAMPLE").code
        == "ResourceNotFoundException"
    )


# --- client tokens


def test_the_same_token_gives_the_same_policy(client, store):
    given = {"policyStoreId": store, "definition": {"static": {"statement": PERMIT}}, "clientToken": "once"}
    first, again = (client.create_policy(**given) for _ in range(2))
    assert first["policyId"] == again["policyId"]
    assert len(client.list_policies(policyStoreId=store)["policies"]) == 1
    answer = refused(client.create_policy, **{**given, "name": "name/x"})
    assert (answer.code, answer.status) == ("ConflictException", 409)
    assert answer.response["resources"] == []


# --- lists


def test_policies_are_listed_in_pages_of_ten(client, emulated):
    store = emulated.store(policies=[f'permit(principal == U::"{number}", action, resource);' for number in range(23)])
    sizes, listed = [], []
    for page in client.get_paginator("list_policies").paginate(policyStoreId=store):
        sizes.append(len(page["policies"]))
        listed += [one["principal"]["entityId"] for one in page["policies"]]
    assert sizes == [10, 10, 3]
    assert listed == [str(number) for number in range(23)]
    assert "nextToken" not in client.list_policies(policyStoreId=store, maxResults=23)


def test_deleting_while_listing_loses_nothing(client, emulated):
    store = emulated.store(policies=[f'permit(principal == U::"{number}", action, resource);' for number in range(6)])
    first = client.list_policies(policyStoreId=store, maxResults=3)
    for policy in first["policies"]:
        client.delete_policy(policyStoreId=store, policyId=policy["policyId"])
    rest = client.list_policies(policyStoreId=store, maxResults=3, nextToken=first["nextToken"])
    assert [one["principal"]["entityId"] for one in rest["policies"]] == ["3", "4", "5"]


def test_a_page_token_is_for_its_own_list(client, emulated):
    store, other = (emulated.store(policies=[PERMIT] * 3) for _ in range(2))
    token = client.list_policies(policyStoreId=store, maxResults=1)["nextToken"]
    client.list_policies(policyStoreId=store, maxResults=2, nextToken=token)
    forged = ("B" if token[0] == "A" else "A") + token[1:]
    for call, given in [
        (client.list_policies, {"policyStoreId": other, "nextToken": token}),
        (client.list_policies, {"policyStoreId": store, "nextToken": token, "filter": {"policyType": "STATIC"}}),
        (client.list_policies, {"policyStoreId": store, "nextToken": forged}),
        (client.list_policies, {"policyStoreId": store, "nextToken": "AAAA"}),
        (client.list_policy_templates, {"policyStoreId": store, "nextToken": token}),
        (client.list_policy_stores, {"nextToken": token}),
    ]:
        answer = refused(call, **given)
        assert (answer.code, answer.fields) == ("ValidationException", [("/nextToken", "Invalid token")])


FILTERS = [
    ({}, "abcdef"),
    ({"policyType": "STATIC"}, "abcd"),
    ({"policyType": "TEMPLATE_LINKED"}, "ef"),
    ({"policyTemplateId": "name/t"}, "ef"),
    ({"policyTemplateId": "name/nobody"}, ""),
    ({"principal": {"identifier": uid("U", "1")}}, "ae"),
    ({"principal": {"identifier": uid("V", "1")}}, "b"),
    ({"principal": {"unspecified": True}}, "cd"),
    ({"principal": {"unspecified": False}}, "abef"),
    ({"resource": {"unspecified": True}}, "abdef"),
    ({"resource": {"identifier": uid("R", "r")}, "principal": {"unspecified": True}}, "c"),
    ({"principal": {"identifier": uid("U", "1")}, "policyType": "STATIC"}, "a"),
]


@pytest.fixture(scope="module")
def filtered(emulated):
    client, store = emulated.client(), emulated.store()
    statements = {
        "a": 'permit(principal == U::"1", action, resource);',
        "b": 'permit(principal in V::"1", action, resource);',
        "c": 'permit(principal, action, resource == R::"r");',
        "d": "permit(principal is U, action, resource);",
    }
    for name, statement in statements.items():
        create(client, store, statement, name=f"name/{name}")
    client.create_policy_template(
        policyStoreId=store, statement="permit(principal == ?principal, action, resource);", name="name/t"
    )
    for name, who in [("e", "1"), ("f", "2")]:
        linked = {"policyTemplateId": "name/t", "principal": uid("U", who)}
        client.create_policy(policyStoreId=store, definition={"templateLinked": linked}, name=f"name/{name}")
    return store


@pytest.mark.parametrize(("wanted", "names"), FILTERS)
@pytest.mark.parametrize("size", [1, 50])
def test_filters(client, filtered, wanted, names, size):
    pages = client.get_paginator("list_policies").paginate(
        policyStoreId=filtered, filter=wanted, PaginationConfig={"PageSize": size}
    )
    assert "".join(one["name"][-1] for page in pages for one in page["policies"]) == names


# --- BatchGetPolicy


def test_a_batch_tells_what_it_found_and_what_not(client, store, emulated):
    first = create(client, store, PERMIT, name="name/x")["policyId"]
    other = emulated.store()
    second = client.create_policy(
        policyStoreId=other, definition={"static": {"statement": PERMIT, "description": "d"}}
    )["policyId"]
    alias = f"policy-store-alias/{store}"
    client.create_policy_store_alias(aliasName=alias, policyStoreId=store)
    asked = [
        (other, second),
        (store, "SPEXAMPLE"),
        (alias, "name/x"),
        ("PSEXAMPLE", first),
        ("policy-store-alias/none", first),
        (store, first),
    ]
    answer = client.batch_get_policy(requests=[{"policyStoreId": store, "policyId": policy} for store, policy in asked])
    assert [(one["policyStoreId"], one["policyId"]) for one in answer["results"]] == [
        (other, second),
        (store, first),
        (store, first),
    ]
    whole = answer["results"][0]
    assert whole["definition"] == {"static": {"statement": PERMIT, "description": "d"}}
    assert {"principal", "resource", "actions", "effect"} & whole.keys() == set()
    assert answer["results"][1]["name"] == "name/x"
    assert [(one["code"], one["policyStoreId"], one["policyId"]) for one in answer["errors"]] == [
        ("POLICY_NOT_FOUND", store, "SPEXAMPLE"),
        ("POLICY_STORE_NOT_FOUND", "PSEXAMPLE", first),
        ("POLICY_STORE_ALIAS_NOT_FOUND", "policy-store-alias/none", first),
    ]
    assert all(one["message"] for one in answer["errors"])


# --- quotas


def test_a_policy_has_ten_thousand_bytes_at_most(client, store):
    def padded(size):
        return PERMIT + "//" + "é" * ((size - len(PERMIT) - 2) // 2)

    made = create(client, store, padded(10_000))
    answer = refused(create, client=client, store=store, statement=padded(10_002))
    assert (answer.code, answer.status) == ("ServiceQuotaExceededException", 402)
    answer = refused(
        client.update_policy,
        policyStoreId=store,
        policyId=made["policyId"],
        definition={"static": {"statement": padded(10_002)}},
    )
    assert answer.code == "ServiceQuotaExceededException"


@pytest.mark.parametrize("resource", ['resource == R::"r"', "resource"])
def test_policies_of_one_resource_have_two_hundred_thousand_bytes(client, store, resource):
    head = f"permit(principal, action, {resource});//"
    for _ in range(20):
        made = create(client, store, head + "x" * (10_000 - len(head)))
    answer = refused(create, client=client, store=store, statement=head)
    assert (answer.code, answer.response["resourceType"]) == ("ServiceQuotaExceededException", "POLICY")
    create(client, store, 'permit(principal, action, resource == R::"other");')
    # An update counts in place of what it replaces.
    given = {"policyStoreId": store, "policyId": made["policyId"]}
    client.update_policy(**given, definition={"static": {"statement": head + "y" * (10_000 - len(head))}})
    client.delete_policy(**given)
    create(client, store, head)
