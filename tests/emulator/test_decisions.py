"""IsAuthorized through a real client; the ids name the edge cases of Verified Permissions' fact sheet (section H)."""

import json
from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.emulator.running import Emulator, emulator_thread

SCHEMA = {
    "App": {
        "entityTypes": {
            "User": {
                "memberOfTypes": ["Group"],
                "shape": {"type": "Record", "attributes": {"age": {"type": "Long", "required": False}}},
                "tags": {"type": "String"},
            },
            "Group": {},
            "Doc": {"memberOfTypes": ["Doc"]},
        },
        "actions": {
            "Reading": {},
            "Read": {
                "memberOf": [{"id": "Reading"}],
                "appliesTo": {"principalTypes": ["User"], "resourceTypes": ["Doc"]},
            },
        },
    }
}
PERMIT = "permit(principal, action, resource);"
ANN = {"entityType": "App::User", "entityId": "ann"}
DOC = {"entityType": "App::Doc", "entityId": "doc"}
READ = {"actionType": "App::Action", "actionId": "Read"}
ASKED: dict[str, Any] = {"principal": ANN, "action": READ, "resource": DOC}


@pytest.fixture(scope="module")
def unchecked(emulated: Emulator) -> Any:
    """A client that sends what it is given."""
    return emulated.client(parameter_validation=False)


def refusal(call: Any, **given: Any) -> str:
    """What a ValidationException says, its fields included."""
    with pytest.raises(ClientError) as caught:
        call(**given)
    response: Any = caught.value.response
    assert response["Error"]["Code"] == "ValidationException"
    assert response["ResponseMetadata"]["HTTPStatusCode"] == 400
    return json.dumps([response["Error"]["Message"], response.get("fieldList", [])])


def policy_ids(client: Any, store: str) -> dict[str, str]:
    """Statement → id."""
    listed = client.get_paginator("list_policies").paginate(policyStoreId=store)
    ids = [one["policyId"] for page in listed for one in page["policies"]]
    got = client.batch_get_policy(requests=[{"policyStoreId": store, "policyId": id} for id in ids])
    return {one["definition"]["static"]["statement"]: one["policyId"] for one in got["results"]}


class TestAnswers:
    def test_allow(self, emulated, client):
        """H4, H5: policies are objects, the decision is in capitals."""
        store = emulated.store(SCHEMA, policies=[PERMIT])
        answer = client.is_authorized(policyStoreId=store, **ASKED)
        assert answer["decision"] == "ALLOW"
        assert answer["determiningPolicies"] == [{"policyId": policy_ids(client, store)[PERMIT]}]
        assert answer["errors"] == []

    def test_implicit_and_explicit_deny(self, emulated, client):
        """H34."""
        store = emulated.store(SCHEMA, policies=['permit(principal == App::User::"bob", action, resource);'])
        answer = client.is_authorized(policyStoreId=store, **ASKED)
        assert (answer["decision"], answer["determiningPolicies"]) == ("DENY", [])
        forbid = "forbid(principal, action, resource);"
        created = client.create_policy(policyStoreId=store, definition={"static": {"statement": forbid}})
        answer = client.is_authorized(policyStoreId=store, **ASKED)
        assert (answer["decision"], answer["determiningPolicies"]) == ("DENY", [{"policyId": created["policyId"]}])

    def test_determining_policies_are_sorted(self, emulated, client):
        store = emulated.store(policies=[f"{PERMIT} // {n}" for n in range(20)])
        found = [one["policyId"] for one in client.is_authorized(policyStoreId=store, **ASKED)["determiningPolicies"]]
        assert len(found) == 20
        assert found == sorted(found)

    def test_allow_with_errors(self, emulated, client):
        """H33: a forbid that errs is skipped, and told as an object with the store's id."""
        forbid = "forbid(principal, action, resource) when { context.ghost };"
        store = emulated.store(policies=[PERMIT, forbid])
        answer = client.is_authorized(policyStoreId=store, **ASKED)
        id = policy_ids(client, store)[forbid]
        assert answer["decision"] == "ALLOW"
        [error] = answer["errors"]
        assert error["errorDescription"].startswith(f"error while evaluating policy `{id}`: ")

    def test_a_resource_that_is_not_given_has_no_attributes(self, emulated, client):
        store = emulated.store(policies=["permit(principal, action, resource) when { resource.public };"])
        answer = client.is_authorized(policyStoreId=store, **ASKED)
        assert answer["decision"] == "DENY"
        assert len(answer["errors"]) == 1

    @pytest.mark.parametrize("missing", ["principal", "action", "resource"])
    def test_an_omitted_member_matches_no_scope(self, emulated, client, missing):
        scoped = {
            "principal": "permit(principal is App::User, action, resource);",
            "action": 'permit(principal, action == App::Action::"Read", resource);',
            "resource": "permit(principal, action, resource is App::Doc);",
        }
        store = emulated.store(SCHEMA, policies=list(scoped.values()))
        ids = policy_ids(client, store)
        asked = {name: value for name, value in ASKED.items() if name != missing}
        answer = client.is_authorized(policyStoreId=store, **asked)
        expected = sorted(ids[text] for name, text in scoped.items() if name != missing)
        assert [one["policyId"] for one in answer["determiningPolicies"]] == expected

    def test_a_change_counts_at_once(self, emulated, client):
        store = emulated.store(SCHEMA)
        assert client.is_authorized(policyStoreId=store, **ASKED)["decision"] == "DENY"
        made = client.create_policy(policyStoreId=store, definition={"static": {"statement": PERMIT}})
        assert client.is_authorized(policyStoreId=store, **ASKED)["decision"] == "ALLOW"
        client.delete_policy(policyStoreId=store, policyId=made["policyId"])
        assert client.is_authorized(policyStoreId=store, **ASKED)["decision"] == "DENY"

    def test_a_template_and_its_links(self, emulated, client):
        """H26: an edit of the template counts for every link, and its deletion deletes them."""
        store = emulated.store(SCHEMA)
        text = "permit(principal == ?principal, action, resource == ?resource);"
        template = client.create_policy_template(policyStoreId=store, statement=text)["policyTemplateId"]
        link = {"policyTemplateId": template, "principal": ANN, "resource": DOC}
        made = client.create_policy(policyStoreId=store, definition={"templateLinked": link})
        answer = client.is_authorized(policyStoreId=store, **ASKED)
        assert (answer["decision"], answer["determiningPolicies"]) == ("ALLOW", [{"policyId": made["policyId"]}])
        client.update_policy_template(
            policyStoreId=store, policyTemplateId=template, statement=text.replace(";", " when { false };")
        )
        assert client.is_authorized(policyStoreId=store, **ASKED)["decision"] == "DENY"
        client.update_policy_template(policyStoreId=store, policyTemplateId=template, statement=text)
        assert client.is_authorized(policyStoreId=store, **ASKED)["decision"] == "ALLOW"
        client.delete_policy_template(policyStoreId=store, policyTemplateId=template)
        assert client.is_authorized(policyStoreId=store, **ASKED)["decision"] == "DENY"

    def test_no_such_store(self, client):
        with pytest.raises(client.exceptions.ResourceNotFoundException):
            client.is_authorized(policyStoreId="nowhere", **ASKED)


class TestEntitiesAndContext:
    def test_parents_attributes_and_tags(self, emulated, client):
        store = emulated.store(
            SCHEMA,
            policies=[
                'permit(principal in App::Group::"staff", action, resource in App::Doc::"folder")'
                ' when { principal.age >= 18 && principal.getTag("team") == "red" };'
            ],
        )
        entities = {
            "entityList": [
                {
                    "identifier": ANN,
                    "attributes": {"age": {"long": 18}},
                    "parents": [{"entityType": "App::Group", "entityId": "staff"}],
                    "tags": {"team": {"string": "red"}},
                },
                {"identifier": DOC, "parents": [{"entityType": "App::Doc", "entityId": "folder"}]},
            ]
        }
        assert client.is_authorized(policyStoreId=store, **ASKED, entities=entities)["decision"] == "ALLOW"
        assert client.is_authorized(policyStoreId=store, **ASKED)["decision"] == "DENY"

    def test_the_last_of_one_identifier_counts(self, emulated, client):
        """H35."""
        store = emulated.store(policies=["permit(principal, action, resource) when { principal.age == 2 };"])
        ages = [{"identifier": ANN, "attributes": {"age": {"long": age}}} for age in (1, 2)]
        for items, decision in ((ages, "ALLOW"), (ages[::-1], "DENY")):
            answer = client.is_authorized(policyStoreId=store, **ASKED, entities={"entityList": items})
            assert answer["decision"] == decision

    def test_cedar_json(self, emulated, client):
        store = emulated.store(
            policies=[
                'permit(principal, action, resource) when { context.by == App::User::"ann" && principal.age == 1 };'
            ]
        )
        context = {"cedarJson": json.dumps({"by": {"__entity": {"type": "App::User", "id": "ann"}}})}
        uid = {"type": "App::User", "id": "ann"}
        entities = {"cedarJson": json.dumps([{"uid": uid, "attrs": {"age": 1}, "parents": []}])}
        answer = client.is_authorized(policyStoreId=store, **ASKED, entities=entities, context=context)
        assert answer["decision"] == "ALLOW"

    @pytest.mark.parametrize("key", ["__entity", "__extn", "__expr"])
    def test_a_record_is_never_an_entity(self, emulated, client, key):
        """H41."""
        store = emulated.store(policies=['permit(principal, action, resource) when { context.a == App::User::"ann" };'])
        record = {key: {"record": {"type": {"string": "App::User"}, "id": {"string": "ann"}}}}
        said = refusal(
            client.is_authorized, policyStoreId=store, **ASKED, context={"contextMap": {"a": {"record": record}}}
        )
        assert key in said

    @pytest.mark.parametrize(
        "value",
        [
            pytest.param({"decimal": "999999999999999.9"}, id="H43-decimal"),
            pytest.param({"datetime": "2024-13-01"}, id="H43-datetime"),
            pytest.param({"ipaddr": "1.2.3"}, id="H43-ipaddr"),
            pytest.param({"duration": "99999999999999d"}, id="H43-duration"),
            pytest.param({"long": 2**63}, id="H44-long"),
            pytest.param({"string": {"a": 1}}, id="shape"),
        ],
    )
    def test_values_that_cedar_cannot_hold(self, emulated, unchecked, value):
        store = emulated.store()
        refusal(unchecked.is_authorized, policyStoreId=store, **ASKED, context={"contextMap": {"a": value}})

    def test_groups_of_actions_come_from_the_schema(self, emulated, client):
        """H36."""
        policy = 'permit(principal, action in App::Action::"Reading", resource);'
        with_schema, without = emulated.store(SCHEMA, policies=[policy]), emulated.store(policies=[policy])
        assert client.is_authorized(policyStoreId=with_schema, **ASKED)["decision"] == "ALLOW"
        assert client.is_authorized(policyStoreId=without, **ASKED)["decision"] == "DENY"

    @pytest.mark.parametrize("form", ["entityList", "cedarJson"])
    def test_actions_cannot_be_sent(self, emulated, client, form):
        """H36."""
        store = emulated.store(SCHEMA, policies=[PERMIT])
        entities: dict[str, Any] = {
            "entityList": [{"identifier": {"entityType": "App::Action", "entityId": "Read"}}],
            "cedarJson": json.dumps([{"uid": {"type": "App::Action", "id": "Read"}, "attrs": {}, "parents": []}]),
        }
        refusal(client.is_authorized, policyStoreId=store, **ASKED, entities={form: entities[form]})

    @pytest.mark.parametrize(("parents", "taken"), [(99, True), (100, False)])
    def test_transitive_parents(self, emulated, client, parents, taken):
        store = emulated.store(policies=[PERMIT])
        above = [{"entityType": "App::Group", "entityId": str(n)} for n in range(parents)]
        entities = {"entityList": [{"identifier": ANN, "parents": above}]}
        if taken:
            assert client.is_authorized(policyStoreId=store, **ASKED, entities=entities)["decision"] == "ALLOW"
        else:
            refusal(client.is_authorized, policyStoreId=store, **ASKED, entities=entities)

    @pytest.mark.parametrize(
        "member",
        [
            pytest.param({"action": {"actionType": "App::Act", "actionId": "x"}}, id="action-type"),
            pytest.param({"principal": {"entityType": "App User", "entityId": "x"}}, id="principal-type"),
            pytest.param({"resource": {"entityType": "App::in", "entityId": "x"}}, id="reserved-word"),
            pytest.param({"context": {"cedarJson": '{"a": null}'}}, id="null"),
            pytest.param({"context": {"cedarJson": "not JSON"}}, id="no-json"),
            pytest.param({"entities": {"cedarJson": "{}"}}, id="no-entities"),
        ],
    )
    def test_what_cannot_be_evaluated_is_no_deny(self, emulated, client, member):
        """H46."""
        store = emulated.store(policies=[PERMIT])
        refusal(client.is_authorized, policyStoreId=store, **{**ASKED, **member})


class TestRequestsAgainstTheSchema:
    def test_lenient_by_default(self, emulated, client):
        store = emulated.store(SCHEMA, policies=[PERMIT])
        robot = {"entityType": "App::Robot", "entityId": "r"}
        answer = client.is_authorized(
            policyStoreId=store, **{**ASKED, "principal": robot}, context={"contextMap": {"undeclared": {"long": 1}}}
        )
        assert answer["decision"] == "ALLOW"

    def test_strict_by_a_setting(self):
        with emulator_thread(strict_requests=True) as strict:
            client, store = strict.client(), strict.store(SCHEMA, policies=[PERMIT])
            assert client.is_authorized(policyStoreId=store, **ASKED)["decision"] == "ALLOW"
            said = refusal(
                client.is_authorized,
                policyStoreId=store,
                **{**ASKED, "principal": {"entityType": "App::Robot", "entityId": "r"}},
            )
            assert "App::Robot" in said
            refusal(client.is_authorized, policyStoreId=store, **ASKED, context={"contextMap": {"no": {"long": 1}}})


def test_the_quick_way_of_a_large_store(emulated, client):
    """Some hundred policies: the candidates of one question are asked, and it is the same answer."""
    store = emulated.store(SCHEMA)
    statement = "permit(principal == {0}, action, resource) when {{ resource has ghost || true }};"
    for n in range(400):
        client.create_policy(
            policyStoreId=store, definition={"static": {"statement": statement.format(f'App::User::"u{n}"')}}
        )
    for n in (0, 399):
        asked = {**ASKED, "principal": {"entityType": "App::User", "entityId": f"u{n}"}}
        answer = client.is_authorized(policyStoreId=store, **asked)
        [one] = answer["determiningPolicies"]
        got = client.get_policy(policyStoreId=store, policyId=one["policyId"])
        assert got["principal"] == asked["principal"]
    assert client.is_authorized(policyStoreId=store, **ASKED)["decision"] == "DENY"
