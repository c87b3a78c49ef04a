"""BatchIsAuthorized through a real client; with tokens: test_tokens.py. The ids name edge cases (section H)."""

import json
from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.emulator.running import Emulator

POLICIES = [
    'permit(principal == App::User::"u0", action, resource);',
    'permit(principal, action, resource == App::Doc::"d0");',
    "permit(principal, action, resource) when { context.pass };",
]
READ = {"actionType": "App::Action", "actionId": "Read"}


def user(n: int) -> dict[str, str]:
    return {"entityType": "App::User", "entityId": f"u{n}"}


def doc(n: int) -> dict[str, str]:
    return {"entityType": "App::Doc", "entityId": f"d{n}"}


@pytest.fixture(scope="module")
def store(emulated: Emulator) -> str:
    return emulated.store(policies=POLICIES)


def asked(client: Any, store: str, requests: list[dict[str, Any]], **more: Any) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = client.batch_is_authorized(policyStoreId=store, requests=requests, **more)["results"]
    return found


def refused(client: Any, store: str, requests: list[dict[str, Any]], **more: Any) -> str:
    with pytest.raises(ClientError) as caught:
        asked(client, store, requests, **more)
    assert caught.value.response["Error"]["Code"] == "ValidationException"
    return json.dumps(caught.value.response, default=str)


@pytest.mark.parametrize(
    "requests",
    [
        pytest.param([{"principal": user(1), "action": READ, "resource": doc(n)} for n in range(3)], id="H38-principal"),
        pytest.param([{"principal": user(n), "action": READ, "resource": doc(0)} for n in range(3)], id="H38-resource"),
        pytest.param(
            [{"principal": user(1), "action": READ, "resource": doc(1), "context": {"contextMap": {"n": {"long": n}}}}
             for n in range(3)],
            id="H38-both",
        ),
        pytest.param([{"action": READ, "resource": doc(n)} for n in range(2)], id="H38-no-principal-is-common"),
        pytest.param([{"principal": user(n), "resource": doc(n)} for n in range(1)], id="one"),
        pytest.param([{"principal": user(1), "resource": doc(n)} for n in range(30)], id="H38-thirty"),
        pytest.param([{}], id="nothing-said"),
    ],
)  # fmt: skip
def test_each_as_alone_in_order_and_echoed(client, store, requests):
    results = asked(client, store, requests)
    assert [one["request"] for one in results] == requests
    for result, request in zip(results, requests, strict=True):
        alone = client.is_authorized(policyStoreId=store, **request)
        assert {name: result[name] for name in ("decision", "determiningPolicies", "errors")} == {
            name: alone[name] for name in ("decision", "determiningPolicies", "errors")
        }


@pytest.mark.parametrize(
    "requests",
    [
        pytest.param([{"principal": user(n), "resource": doc(n)} for n in range(2)], id="H38-neither-common"),
        pytest.param([{"principal": user(0), "resource": doc(0)}, {}], id="H38-nothing-said-is-another"),
        pytest.param([{"principal": user(1), "resource": doc(n)} for n in range(31)], id="H38-thirty-one"),
        pytest.param(
            [{"principal": user(1)}, {"principal": user(1), "context": {"cedarJson": "["}}], id="one-bad-context"
        ),
        pytest.param(
            [{"principal": user(1)}, {"principal": user(1), "context": {"contextMap": {"a": {"decimal": "9" * 15 + ".9"}}}}],
            id="one-bad-value",
        ),
        pytest.param([{"principal": user(1)}, {"principal": user(1), "resource": {"entityType": "a b", "entityId": "x"}}],
                     id="one-bad-resource"),
    ],
)  # fmt: skip
def test_the_whole_call_is_refused(client, store, requests):
    refused(client, store, requests)


def test_context_is_each_requests_own(client, store):
    requests = [
        {"principal": user(1), "resource": doc(1), "context": {"contextMap": {"pass": {"boolean": passed}}}}
        for passed in (True, False, True)
    ]
    assert [one["decision"] for one in asked(client, store, requests)] == ["ALLOW", "DENY", "ALLOW"]


def test_errors_are_each_requests_own(client, store):
    requests: list[dict[str, Any]] = [{"principal": user(1), "resource": doc(1)}] * 2
    requests[1] = {**requests[1], "context": {"contextMap": {"pass": {"boolean": True}}}}
    assert [len(one["errors"]) for one in asked(client, store, requests)] == [1, 0]


def items(kind: str, count: int) -> list[dict[str, Any]]:
    return [{"identifier": {"entityType": kind, "entityId": str(n)}} for n in range(count)]


@pytest.mark.parametrize(
    ("users", "docs", "taken"),
    [(100, 100, True), (101, 0, False), (0, 101, False)],
)
def test_entities_are_shared_and_bounded(client, store, users, docs, taken):
    entities = {"entityList": items("App::User", users) + items("App::Doc", docs)}
    requests = [{"principal": user(0), "resource": doc(0)}]
    if taken:
        assert asked(client, store, requests, entities=entities)[0]["decision"] == "ALLOW"
    else:
        refused(client, store, requests, entities=entities)


@pytest.mark.parametrize(("count", "taken"), [(200, True), (201, False)])
def test_what_is_principal_and_resource_counts_for_the_sum(client, store, count, taken):
    requests = [{"principal": user(0), "resource": user(0)}]
    entities = {"entityList": items("App::User", count)}
    if taken:
        assert asked(client, store, requests, entities=entities)[0]["decision"] == "ALLOW"
    else:
        refused(client, store, requests, entities=entities)


def test_actions_cannot_be_sent(client, store):
    """H36."""
    entities = {"entityList": items("App::Action", 1)}
    refused(client, store, [{"principal": user(0)}], entities=entities)
