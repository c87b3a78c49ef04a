"""Faults, lag and quotas, as clients meet them, and the control path."""

import http.client
import json
import time
from urllib.parse import urlsplit

import pytest
from botocore.exceptions import ClientError, ConnectionClosedError, ReadTimeoutError

from authz.emulator.clock import Clock
from authz.emulator.errors import Throttling
from authz.emulator.operations.table import HANDLERS
from authz.emulator.quota import RATES, Quota
from authz.emulator.switches import Fault, FaultKind, Switches
from tests.emulator.refusals import refused
from tests.emulator.running import emulator_thread

PERMIT = "permit(principal, action, resource);"
UID = {"entityType": "U", "entityId": "a"}
CALL = {
    "Content_Type": "application/x-amz-json-1.0",
    "Authorization": "AWS4-HMAC-SHA256 Credential=x",
    "X_Amz_Target": "VerifiedPermissions.ListPolicyStores",
}
ASKED = {"principal": UID, "action": {"actionType": "Action", "actionId": "a"}, "resource": UID}


@pytest.fixture(scope="module")
def running():
    with emulator_thread() as running:
        yield running


@pytest.fixture
def emulated(running):
    yield running
    running.switches.clear()
    running.switches.quota = "off"
    running.switches.calls.clear()


@pytest.fixture
def client(emulated):
    return emulated.client()


def ok(client):
    return client.list_policy_stores()["ResponseMetadata"]["HTTPStatusCode"] == 200


@pytest.mark.parametrize(
    ("switch", "code", "status"),
    [
        (lambda switches: switches.throttle(calls=1), "ThrottlingException", 429),
        (lambda switches: switches.fail(calls=1), "InternalServerException", 500),
        (lambda switches: switches.fail(calls=1, status=503), "InternalServerException", 503),
        (lambda switches: switches.expire(calls=1), "ExpiredTokenException", 403),
        (lambda switches: switches.deny(calls=1), "AccessDeniedException", 403),
    ],
)
def test_a_refusal_for_so_many_calls(emulated, client, switch, code, status):
    switch(emulated.switches)
    answer = refused(client.list_policy_stores)
    assert (answer.code, answer.status) == (code, status)
    assert ok(client)


def test_a_refused_write_did_not_happen(emulated, client):
    store = emulated.store()
    for switch in (emulated.switches.throttle, emulated.switches.fail):
        switch("CreatePolicy", calls=1)
        refused(client.create_policy, policyStoreId=store, definition={"static": {"statement": PERMIT}})
    assert client.list_policies(policyStoreId=store)["policies"] == []


def test_a_fault_is_for_its_operation_and_begins_after_so_many_calls(emulated, client):
    emulated.switches.fail("ListPolicyStores", after=2, calls=2)
    client.list_policy_store_aliases()
    outcomes = []
    for _ in range(6):
        try:
            outcomes.append(ok(client))
        except ClientError:
            outcomes.append(False)
    assert outcomes == [True, True, False, False, True, True]


def test_a_fault_without_an_end_lasts_until_it_is_cleared(emulated, client):
    emulated.switches.fail()
    for _ in range(3):
        assert refused(client.list_policy_stores).status == 500
    emulated.switches.clear()
    assert ok(client)


def test_half_a_list(emulated, client):
    store = emulated.store(policies=[PERMIT] * 3)
    emulated.switches.half_a_list()
    first = client.list_policies(policyStoreId=store, maxResults=2)
    assert refused(client.list_policies, policyStoreId=store, nextToken=first["nextToken"]).status == 500


@pytest.mark.parametrize("fault", ["garbage", "truncate"])
def test_boto3_takes_what_it_cannot_read_for_an_empty_answer(emulated, client, fault):
    """So whoever calls has to look whether the members are there that are always there."""
    getattr(emulated.switches, fault)("ListPolicyStores", calls=1)
    assert client.list_policy_stores().keys() == {"ResponseMetadata"}
    assert "policyStores" in client.list_policy_stores()


def test_garbage_is_no_json(emulated):
    emulated.switches.garbage("ListPolicyStores", calls=1)
    with pytest.raises(json.JSONDecodeError):
        control(emulated, "POST", "/", {}, **CALL)


def test_a_connection_that_ends_in_the_middle_of_the_answer(emulated):
    emulated.switches.truncate("ListPolicyStores", calls=1)
    with pytest.raises(http.client.IncompleteRead):
        control(emulated, "POST", "/", {}, **CALL)


def test_a_connection_that_ends_without_an_answer(emulated, client):
    emulated.switches.drop("ListPolicyStores", calls=1)
    with pytest.raises(ConnectionClosedError):
        client.list_policy_stores()
    assert ok(client)


def test_late_answers(emulated):
    client = emulated.client(read_timeout=0.2)
    emulated.switches.slow(0.6, "ListPolicyStores", calls=1)
    with pytest.raises(ReadTimeoutError):
        client.list_policy_stores()
    emulated.switches.clear()
    began = time.monotonic()
    emulated.switches.slow(0.05, calls=1)
    assert ok(client)
    assert time.monotonic() - began >= 0.05


def test_an_sdk_gets_over_throttling_by_itself(emulated):
    client = emulated.client(retries={"mode": "standard", "total_max_attempts": 3})
    emulated.switches.throttle(calls=2)
    assert ok(client)


def test_calls_are_counted_refused_ones_too(emulated, client):
    emulated.switches.throttle("ListPolicyStores", calls=1)
    refused(client.list_policy_stores)
    ok(client)
    refused(client.get_policy_store, policyStoreId="PSEXAMPLE")
    assert emulated.switches.calls == {"ListPolicyStores": 2, "GetPolicyStore": 1}


def test_faults_come_together():
    switches = Switches()
    switches.slow(1.0)
    switches.throttle("GetPolicy", calls=1)
    assert [fault.kind for fault in switches.due("GetPolicy")] == [FaultKind.LATENCY, FaultKind.THROTTLE]
    assert [fault.kind for fault in switches.due("GetPolicy")] == [FaultKind.LATENCY]


def test_pages_that_are_shorter_than_asked(emulated, client):
    store = emulated.store(policies=[PERMIT] * 5)
    emulated.switches.short_pages = True
    sizes = [
        len(page["policies"])
        for page in client.get_paginator("list_policies").paginate(policyStoreId=store, maxResults=3)
    ]
    assert sizes == [2, 2, 1]


# --- consistency


def test_reads_and_decisions_lag_behind_writes(emulated, client):
    store = emulated.store()
    emulated.switches.consistency_delay = 60
    policy = client.create_policy(policyStoreId=store, definition={"static": {"statement": PERMIT}}, name="name/p")[
        "policyId"
    ]
    assert client.list_policies(policyStoreId=store)["policies"] == []
    assert refused(client.get_policy, policyStoreId=store, policyId=policy).code == "ResourceNotFoundException"
    asked = client.batch_get_policy(requests=[{"policyStoreId": store, "policyId": policy}])
    assert [one["code"] for one in asked["errors"]] == ["POLICY_NOT_FOUND"]
    assert client.is_authorized(policyStoreId=store, **ASKED)["decision"] == "DENY"
    # What a write needs to know it knows.
    assert (
        refused(
            client.create_policy, policyStoreId=store, definition={"static": {"statement": PERMIT}}, name="name/p"
        ).code
        == "ConflictException"
    )
    emulated.clock.advance(30)
    client.update_policy(policyStoreId=store, policyId=policy, name="name/q")
    emulated.clock.advance(31)
    assert client.get_policy(policyStoreId=store, policyId=policy)["name"] == "name/p"
    assert client.is_authorized(policyStoreId=store, **ASKED)["decision"] == "ALLOW"
    emulated.clock.advance(30)
    assert client.get_policy(policyStoreId=store, policyId=policy)["name"] == "name/q"
    client.delete_policy(policyStoreId=store, policyId=policy)
    assert client.is_authorized(policyStoreId=store, **ASKED)["decision"] == "ALLOW"
    emulated.clock.advance(61)
    assert client.is_authorized(policyStoreId=store, **ASKED)["decision"] == "DENY"


def test_a_new_store_is_not_there_at_once(emulated, client):
    emulated.switches.consistency_delay = 60
    store = client.create_policy_store(validationSettings={"mode": "OFF"})["policyStoreId"]
    for call, more in [
        (client.get_policy_store, {}),
        (client.create_policy, {"definition": {"static": {"statement": PERMIT}}}),
    ]:
        assert refused(call, policyStoreId=store, **more).code == "ResourceNotFoundException"
    emulated.clock.advance(61)
    assert client.get_policy_store(policyStoreId=store)["policyStoreId"] == store


def test_without_the_delay_all_is_seen_at_once(emulated, client):
    emulated.switches.consistency_delay = 60
    store = client.create_policy_store(validationSettings={"mode": "OFF"})["policyStoreId"]
    emulated.switches.consistency_delay = 0
    assert client.get_policy_store(policyStoreId=store)["policyStoreId"] == store
    emulated.switches.consistency_delay = 60
    assert client.get_policy_store(policyStoreId=store)["policyStoreId"] == store


# --- quotas


def test_real_quotas_refuse_more_than_are_published(emulated, client):
    store, other = emulated.store(), emulated.store()
    emulated.switches.quota = "real"
    codes = []
    for _ in range(30):  # ten at once, and ten more each second
        try:
            client.get_schema(policyStoreId=store)
        except ClientError as error:
            codes.append(error.response["Error"]["Code"])
    assert codes[:10] == ["ResourceNotFoundException"] * 10
    assert "ThrottlingException" in codes
    assert refused(client.get_schema, policyStoreId=other).code == "ResourceNotFoundException"  # a bucket of its own
    emulated.clock.advance(1)
    assert refused(client.get_schema, policyStoreId=store).code == "ResourceNotFoundException"


def test_an_alias_does_not_give_a_second_bucket(emulated, client):
    store = emulated.store()
    client.create_policy_store_alias(aliasName=f"policy-store-alias/{store}", policyStoreId=store)
    emulated.switches.quota = "real"
    codes = [
        refused(client.get_schema, policyStoreId=name).code for name in (store, f"policy-store-alias/{store}") * 12
    ]
    assert "ThrottlingException" in codes


class StoodStill(Clock):
    def __init__(self):
        super().__init__()
        self.time = 1000.0

    def now(self):
        return self.time


@pytest.mark.parametrize("operation", RATES)
def test_each_operation_has_its_published_rate(operation):
    clock, rate = StoodStill(), RATES[operation]
    quota = Quota(clock)
    stores = ("a", "a") if rate.per_store else ("a", "b")
    for number in range(int(rate.per_second)):
        quota.take(operation, stores[number % 2])
    with pytest.raises(Throttling):
        quota.take(operation, stores[0])
    clock.time += 1 / rate.per_second
    quota.take(operation, stores[1])
    with pytest.raises(Throttling):
        quota.take(operation, stores[1])


def test_which_operations_have_a_rate():
    without = {
        name for name in HANDLERS if "Alias" in name or name.endswith(("TagResource", "tagResource", "TagsForResource"))
    }
    assert set(RATES) == set(HANDLERS) - without
    for name in without:
        Quota(StoodStill()).take(name, "a")


# --- the control path


def control(emulated, method, path, body=None, **headers):
    connection = http.client.HTTPConnection(urlsplit(emulated.url).netloc, timeout=10)
    try:
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        connection.request(method, path, None if body is None else json.dumps(body), sent)
        answer = connection.getresponse()
        return answer.status, json.loads(answer.read())
    finally:
        connection.close()


def test_switches_over_http(emulated, client):
    fault = {"kind": "throttle", "operation": "ListPolicyStores", "calls": 1}
    status, shown = control(
        emulated, "PUT", "/_emulator/switches", {"faults": [fault], "quota": "real", "consistencyDelay": 2}
    )
    assert status == 200
    assert shown["faults"] == [{**fault, "after": 0, "seconds": 0.0, "status": 500}]
    assert (emulated.switches.quota, emulated.switches.consistency_delay) == ("real", 2.0)
    assert refused(client.list_policy_stores).code == "ThrottlingException"
    status, shown = control(emulated, "GET", "/_emulator/switches")
    assert (status, shown) == (
        200,
        {"consistencyDelay": 2.0, "quota": "real", "shortPages": False, "faults": [], "calls": {"ListPolicyStores": 1}},
    )
    control(emulated, "PUT", "/_emulator/switches", {"calls": {}, "quota": "off", "consistencyDelay": 0})
    assert control(emulated, "GET", "/_emulator/switches")[1]["calls"] == {}


def test_what_is_shown_can_be_set_again(emulated):
    switches = Switches()
    switches.add(Fault(kind=FaultKind.LATENCY, operation="GetPolicy", calls=3, after=1, seconds=0.5))
    switches.add(Fault(kind=FaultKind.ERROR, status=503))
    again = Switches()
    again.update(json.loads(json.dumps(switches.shown())))
    assert again.shown() == switches.shown()


@pytest.mark.parametrize(
    "given",
    [
        {"consistencyDelay": -1}, {"consistencyDelay": True}, {"consistencyDelay": "1"}, {"quota": "some"}, {"faults": {}},
        {"faults": [1]}, {"faults": [{}]}, {"faults": [{"kind": "none"}]}, {"faults": [{"kind": []}]}, {"faults": [{"kind": "drop", "calls": 0}]},
        {"faults": [{"kind": "drop", "operation": 1}]}, {"faults": [{"kind": "error", "status": 200}]}, {"faults": [{"kind": "drop", "x": 1}]},
        {"faults": [{"kind": "drop", "after": 1.5}]}, {"calls": {"GetPolicy": 1}}, {"quota": []}, {"shortPages": 1}, {"unknown": 1},
    ],
)  # fmt: skip
def test_wrong_switches_change_nothing(emulated, given):
    before = emulated.switches.shown()
    status, answer = control(
        emulated,
        "PUT",
        "/_emulator/switches",
        {"consistencyDelay": 5, **given} if "consistencyDelay" not in given else given,
    )
    assert (status, bool(answer["message"])) == (400, True)
    assert emulated.switches.shown() == before


def test_the_time_can_be_set_forward(emulated):
    before = emulated.clock.now()
    status, answer = control(emulated, "POST", "/_emulator/tick", {"seconds": 1000})
    assert status == 200
    assert answer["now"] >= before + 1000
    emulated.clock.advance(-1000)
    for wrong in ({}, {"seconds": -1}, {"seconds": "1"}, {"seconds": True}):
        assert control(emulated, "POST", "/_emulator/tick", wrong)[0] == 400


def test_the_control_path_is_off_by_a_setting():
    with emulator_thread(control=False) as running:
        for method, path in [
            ("GET", "/_emulator/switches"),
            ("PUT", "/_emulator/switches"),
            ("POST", "/_emulator/tick"),
        ]:
            assert control(running, method, path, {})[0] == 404
