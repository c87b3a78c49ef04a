"""What a naive emulator gets wrong with decisions. `h` and the number are those of the issue's list of edge cases."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.emulator.conformance.world import SCHEMA, World, action, doc, refused, team, user, world

PERMIT = "permit(principal, action, resource);"
FORBID = "forbid(principal, action, resource)"


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with world(tmp_path_factory.mktemp("keys")) as made:
        yield made


def decided(answer: dict[str, Any]) -> tuple[str, list[str], int]:
    """Decision, determining policies, number of errors."""
    return answer["decision"], sorted(one["policyId"] for one in answer["determiningPolicies"]), len(answer["errors"])


def context(**values: Any) -> dict[str, Any]:
    return {"contextMap": values}


def item(identifier: dict[str, str], *parents: dict[str, str], **attributes: Any) -> dict[str, Any]:
    return {"identifier": identifier, "attributes": attributes, "parents": list(parents)}


def entities(*items: dict[str, Any]) -> dict[str, Any]:
    return {"entityList": list(items)}


# --- answers ------------------------------------------------------------------------------------------------


def test_h33_a_forbid_that_errs_is_skipped_and_told_beside_an_allow(here: World):
    store = here.store()
    permit = here.policy(store, PERMIT)
    forbid = here.policy(store, FORBID + " when { principal.blocked };")
    answer = here.ask(store)
    assert decided(answer) == ("ALLOW", [permit], 1)
    assert forbid in answer["errors"][0]["errorDescription"]


def test_h34_an_implicit_deny_names_no_policy_and_an_explicit_one_its_forbids(here: World):
    store = here.store()
    assert decided(here.ask(store)) == ("DENY", [], 0)
    permits = sorted(here.policy(store, PERMIT) for _ in range(3))
    assert decided(here.ask(store)) == ("ALLOW", permits, 0)
    forbids = sorted(here.policy(store, FORBID + ";") for _ in range(2))
    assert decided(here.ask(store)) == ("DENY", forbids, 0)


def test_h35_of_two_entities_with_one_identifier_the_last_counts(here: World):
    store = here.store("permit(principal, action, resource) when { principal.level > 5 };")
    low, high = (item(user("alice"), level={"long": level}) for level in (1, 9))
    assert here.ask(store, entities=entities(low, high))["decision"] == "ALLOW"
    assert here.ask(store, entities=entities(high, low))["decision"] == "DENY"
    assert here.ask(store, entities=entities(high, {"identifier": user("alice")}))["decision"] == "DENY"


def test_h36_actions_are_not_sent_and_their_groups_come_from_the_schema(here: World):
    grouped = 'permit(principal, action in App::Action::"viewer", resource);'
    with_schema, without = here.store(grouped), here.store(grouped, schema=None)
    assert here.ask(with_schema)["decision"] == "ALLOW"
    assert here.ask(with_schema, verb="write")["decision"] == "DENY"
    assert here.ask(without)["decision"] == "DENY"
    sent = item({"entityType": "App::Action", "entityId": "read"}, {"entityType": "App::Action", "entityId": "viewer"})
    refused(lambda: here.ask(without, entities=entities(sent)), "ValidationException")
    cedar = json.dumps([{"uid": {"type": "App::Action", "id": "read"}, "attrs": {}, "parents": []}])
    refused(lambda: here.ask(without, entities={"cedarJson": cedar}), "ValidationException")


def test_h37_a_context_is_left_out_or_has_one_form(here: World):
    store = here.store("permit(principal, action, resource) unless { context has a };")
    assert here.ask(store)["decision"] == "ALLOW"
    assert here.ask(store, context=context(a={"long": 1}))["decision"] == "DENY"
    asked = {"policyStoreId": store, "principal": user("alice"), "action": action("read"), "resource": doc("d1")}
    wrong: tuple[Any, ...] = ({}, {"contextMap": {}, "cedarJson": "{}"}, {"cedarJson": {}}, [])
    for given in wrong:
        assert here.raw_refusal("IsAuthorized", {**asked, "context": given}) == (400, "ValidationException")


def request(principal: str, resource: str, **more: Any) -> dict[str, Any]:
    return {"principal": user(principal), "action": action("read"), "resource": doc(resource), **more}


@pytest.mark.parametrize(
    ("asked", "well"),
    [
        ([("a", "1"), ("a", "2"), ("a", "3")], True),
        ([("a", "1"), ("b", "1"), ("c", "1")], True),
        ([("a", "1"), ("b", "2")], False),
        ([("a", "1"), ("a", "2"), ("b", "2")], False),
        ([("a", "1")] * 30, True),
        ([("a", "1")] * 31, False),
        ([], False),
    ],
)
def test_h38_a_batch_has_one_principal_or_one_resource_and_at_most_thirty_requests(here: World, asked, well):
    store = here.store('permit(principal == App::User::"a", action, resource == App::Doc::"1");')
    requests = [request(*one) for one in asked]
    if well:
        results = here.client.batch_is_authorized(policyStoreId=store, requests=requests)["results"]
        assert [one["request"] for one in results] == requests
        assert [one["decision"] == "ALLOW" for one in results] == [one == ("a", "1") for one in asked]
    else:
        given = {"policyStoreId": store, "requests": requests}
        assert here.raw_refusal("BatchIsAuthorized", given) == (400, "ValidationException")


def test_h38_each_request_of_a_batch_has_its_own_context_which_is_echoed_and_one_bad_fails_all(here: World):
    store = here.store("permit(principal, action, resource) when { context.n == 1 };")
    requests = [request("a", "1", context=context(n={"long": n})) for n in (1, 2)]
    requests.append(request("a", "1", context={"cedarJson": '{"n": 1}'}))
    results = here.client.batch_is_authorized(policyStoreId=store, requests=requests)["results"]
    assert [one["request"] for one in results] == requests
    assert [one["decision"] for one in results] == ["ALLOW", "DENY", "ALLOW"]
    requests.append(request("a", "1", context={"cedarJson": "no json"}))
    refused(lambda: here.client.batch_is_authorized(policyStoreId=store, requests=requests), "ValidationException")


def test_h39_a_batch_has_a_smaller_quota_than_single_calls(here: World, monkeypatch):
    store, now = here.store(), here.emulator.clock.now()
    monkeypatch.setattr(here.emulator.clock, "now", lambda: now)
    monkeypatch.setattr(here.emulator.switches, "quota", "real")
    for operation, given, rate in [
        ("BatchIsAuthorized", {"requests": [request("a", "1")]}, 30),
        ("IsAuthorized", request("a", "1"), 200),
    ]:
        statuses = [here.raw(operation, {"policyStoreId": store, **given})[0] for _ in range(rate + 1)]
        assert statuses == [200] * rate + [429], operation


def test_h40_no_answer_is_given_again_to_another_question_or_after_a_change(here: World):
    store = here.store('permit(principal in App::Team::"t", action, resource) when { context.n == 1 };')  # fmt: skip
    member = entities(item(user("alice"), team("t")))
    right = context(n={"long": 1})
    assert here.ask(store, context=right, entities=member)["decision"] == "ALLOW"
    assert here.ask(store, context=context(n={"long": 2}), entities=member)["decision"] == "DENY"
    assert here.ask(store, context=right)["decision"] == "DENY"
    here.policy(store, FORBID + ";")
    assert here.ask(store, context=right, entities=member)["decision"] == "DENY"


# --- values -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["__entity", "__extn", "__expr"])
@pytest.mark.parametrize("place", ["context", "attribute", "tag", "deep"])
def test_h41_a_record_never_becomes_an_entity_or_an_extension_value(here: World, name, place):
    store = here.store('permit(principal, action, resource) when { context.a == App::User::"admin" };')
    inner = {name: {"record": {"type": {"string": "App::User"}, "id": {"string": "admin"}}}}
    value: dict[str, Any] = {"record": inner}
    given: dict[str, Any] = {
        "context": {"context": context(a=value)},
        "deep": {"context": context(a={"set": [{"record": {"x": value}}]})},
        "attribute": {"entities": entities(item(user("alice"), a=value))},
        "tag": {"entities": entities({"identifier": user("alice"), "tags": {"a": value}})},
    }[place]
    refused(lambda: here.ask(store, **given), "ValidationException")


@pytest.mark.parametrize(
    ("value", "condition"),
    [
        ({"boolean": True}, "it == true"),
        ({"boolean": False}, "it == false"),
        ({"long": 2**63 - 1}, "it == 9223372036854775807"),
        ({"long": -(2**63)}, "it + 1 == -9223372036854775807"),
        ({"long": 1}, "it == 1 && it != true"),
        ({"string": ""}, 'it == ""'),
        ({"string": 'é"\\\n\u0000*'}, 'it == "é\\"\\\\\\n\\0*"'),
        ({"string": "10.0.0.1"}, 'it == "10.0.0.1"'),
        ({"entityIdentifier": user("bob")}, 'it == App::User::"bob"'),
        ({"set": []}, "it.isEmpty()"),
        ({"set": [{"long": 1}, {"set": [{"string": "x"}]}]}, 'it.contains(["x"]) && it.contains(1)'),
        ({"record": {}}, "it == {}"),
        ({"record": {"a b": {"record": {"c": {"long": 1}}}}}, 'it["a b"].c == 1'),
        ({"ipaddr": "10.0.0.0/8"}, 'it.isIpv4() && ip("10.1.2.3").isInRange(it)'),
        ({"ipaddr": "::1"}, "it.isLoopback()"),
        ({"decimal": "1.10"}, 'it == decimal("1.1")'),
        ({"decimal": "-922337203685477.5808"}, 'it.lessThan(decimal("0.0"))'),
        ({"datetime": "2024-10-15"}, 'it == datetime("2024-10-15T00:00:00Z")'),
        ({"datetime": "2024-10-15T11:35:00.123+0100"}, 'it == datetime("2024-10-15T10:35:00.123Z")'),
        ({"duration": "1h30m"}, "it.toMinutes() == 90"),
        ({"duration": "-1d12h"}, "it.toHours() == -36"),
    ],
)
@pytest.mark.parametrize("place", ["context", "attribute", "tag"])
def test_h42_h45_every_kind_of_value_is_that_kind_in_cedar(here: World, value, condition, place):
    whole: dict[str, tuple[str, dict[str, Any]]] = {
        "context": (condition.replace("it", "context.v"), {"context": context(v=value)}),
        "attribute": (condition.replace("it", "principal.v"), {"entities": entities(item(user("alice"), v=value))}),
        "tag": (condition.replace("it", 'principal.getTag("v")'), {"entities": entities({"identifier": user("alice"), "tags": {"v": value}})}),
    }  # fmt: skip
    text, given = whole[place]
    store = here.store(f"permit(principal, action, resource) when {{ {text} }};", schema=None)
    answer = here.ask(store, **given)
    assert (answer["decision"], answer["errors"]) == ("ALLOW", [])


BAD = [
    {"decimal": "1"}, {"decimal": "1."}, {"decimal": "1.23456"}, {"decimal": "999999999999999.9"}, {"decimal": "1,0"},
    {"datetime": "2024-10-15T11:35:00"}, {"datetime": "2024-10-15T11:35:00.1Z"}, {"datetime": "2024-13-01"}, {"datetime": "2024-10-15 11:35:00Z"},
    {"datetime": "2024-02-30"}, {"datetime": "2024-10-15T25:00:00Z"},
    {"duration": "1m1h"}, {"duration": "--"}, {"duration": "9223372036854775808ms"}, {"duration": "1.5h"},
    {"ipaddr": "10.0.0.256"}, {"ipaddr": "010.0.0.1"}, {"ipaddr": "::ffff:10.0.0.1"}, {"ipaddr": "10.0.0.0/33"}, {"ipaddr": ""}, {"ipaddr": "fe80::1%eth0"},
    {"long": 2**63}, {"long": -(2**63) - 1}, {"long": 10**30}, {"long": 1.5}, {"long": 1.0}, {"long": True}, {"long": "1"},
    {"boolean": 1}, {"boolean": "true"}, {"string": 1}, {"set": {}}, {"set": [1]}, {"set": [{}]}, {"record": []}, {"record": {"a": 1}},
    {"entityIdentifier": 'App::User::"a"'}, {"entityIdentifier": {"entityType": "", "entityId": "a"}}, {"entityIdentifier": {"entityType": "not a type", "entityId": "a"}},
    {}, {"long": 1, "string": "a"}, {"ip": "::1"}, "a", 1, [],
]  # fmt: skip


@pytest.mark.parametrize("value", BAD, ids=json.dumps)
@pytest.mark.parametrize("place", ["context", "set", "attribute", "tag"])
def test_h43_h44_a_bad_value_is_a_validation_error_and_neither_a_denial_nor_a_fault(here: World, store, value, place):
    given = {
        "context": {"context": context(v=value)},
        "set": {"context": context(v={"set": [{"record": {"r": value}}]})},
        "attribute": {"entities": entities(item(user("alice"), v=value))},
        "tag": {"entities": entities({"identifier": user("alice"), "tags": {"v": value}})},
    }[place]
    assert here.raw_refusal("IsAuthorized", {"policyStoreId": store, **request("alice", "d1"), **given}) == (
        400,
        "ValidationException",
    )


@pytest.fixture(scope="module")
def store(here: World) -> str:
    return here.store(PERMIT)


@pytest.mark.parametrize(
    ("given", "well"),
    [
        ({"context": {"cedarJson": '{"a": {"__extn": {"fn": "ip", "arg": "10.0.0.1"}}}'}}, True),
        ({"context": {"cedarJson": '{"a": {"__entity": {"type": "App::User", "id": "a"}}}'}}, True),
        ({"context": {"cedarJson": "[]"}}, False),
        ({"context": {"cedarJson": '{"a": null}'}}, False),
        ({"context": {"cedarJson": '{"a": 1.5}'}}, False),
        ({"context": {"cedarJson": '{"a": 9223372036854775808}'}}, False),
        ({"context": {"cedarJson": '{"a": {"__extn": {"fn": "ip", "arg": "x"}}}'}}, False),
        ({"context": {"cedarJson": '{"a": {"__expr": "1"}}'}}, False),
        ({"context": {"cedarJson": '{"a": NaN}'}}, False),
        ({"context": {"cedarJson": "{" * 500}}, False),
        ({"context": {"cedarJson": ""}}, False),
        ({"entities": {"cedarJson": "[]"}}, True),
        ({"entities": {"cedarJson": '[{"uid": {"type": "App::User", "id": "a"}, "attrs": {}, "parents": []}]'}}, True),
        ({"entities": {"cedarJson": "{}"}}, False),
        ({"entities": {"cedarJson": '[{"uid": "a", "attrs": {}, "parents": []}]'}}, False),
        ({"entities": {"cedarJson": '[{"uid": {"type": "App::User"}, "attrs": {}, "parents": []}]'}}, False),
        ({"entities": {"cedarJson": '[{"uid": {"type": "App::User", "id": "a"}, "attrs": {"x": 0.1}, "parents": []}]'}}, False),
        ({"entities": {"cedarJson": '[{"uid": {"type": "App::User", "id": "a"}, "attrs": [], "parents": []}]'}}, False),
        ({"entities": {"cedarJson": '[{"uid": {"type": "App::User", "id": "a"}, "attrs": {}, "parents": [{"type": "App::User", "id": "a"}]}]'}}, False),
        ({"principal": {"entityType": "no type!", "entityId": "a"}}, False),
    ],
)  # fmt: skip
def test_h46_what_cedar_cannot_read_is_a_validation_error_never_a_denial(here: World, store, given, well):
    call = {"policyStoreId": store, **request("alice", "d1"), **given}
    status, body = here.raw("IsAuthorized", call)
    assert (status, body.get("decision", body.get("__type"))) == (
        (200, "ALLOW") if well else (400, "ValidationException")
    )


def test_h46_a_cycle_of_parents_is_a_validation_error(here: World, store):
    cycle = entities(item(team("a"), team("b")), item(team("b"), team("a")), item(user("alice"), team("a")))
    refused(lambda: here.ask(store, entities=cycle), "ValidationException")


@pytest.mark.parametrize(("left_out", "decision"), [("principal", "DENY"), ("action", "DENY"), ("resource", "DENY")])
def test_b1_what_is_left_out_of_a_request_matches_no_scope_that_names_it(here: World, left_out, decision):
    scopes = {"principal": 'principal == App::User::"alice"', "action": 'action == App::Action::"read"', "resource": 'resource == App::Doc::"d1"'}  # fmt: skip
    whole = request("alice", "d1")
    narrow = here.store(f"permit({', '.join(scopes.values())});")
    assert here.client.is_authorized(policyStoreId=narrow, **whole)["decision"] == "ALLOW"
    del whole[left_out]
    assert here.client.is_authorized(policyStoreId=narrow, **whole)["decision"] == decision


def test_d1_an_entity_has_at_most_a_hundred_ancestors(here: World, store):
    chain = [item(team(str(n)), team(str(n + 1))) for n in range(120)]
    refused(lambda: here.ask(store, entities=entities(item(user("alice"), team("0")), *chain)), "ValidationException")
    assert here.ask(store, entities=entities(item(user("alice"), team("30")), *chain[30:]))["decision"] == "ALLOW"


def test_d1_a_request_is_at_most_a_megabyte(here: World, store):
    big = context(v={"string": "x" * 1_100_000})
    body = {"policyStoreId": store, **request("alice", "d1"), "context": big}
    assert here.raw("IsAuthorized", body)[0] in (400, 413)
    fits = context(v={"string": "x" * 900_000})
    assert here.ask(store, context=fits)["decision"] == "ALLOW"


def test_schema_of_the_store_is_not_asked_of_requests(here: World):
    """Lenient by default: attributes, types and contexts that the schema does not know are taken as they are."""
    store = here.store(PERMIT, schema=SCHEMA)
    odd = entities(item({"entityType": "Else::Thing", "entityId": "x"}, undeclared={"long": 1}))
    assert here.ask(store, context=context(undeclared={"long": 1}), entities=odd)["decision"] == "ALLOW"
