"""The replica against the emulator, through boto3: what the service does, and every way in which it fails to."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from authz.core.errors import PoliciesUnavailable
from authz.core.model import Effect, EntityUid, PolicySnapshot
from authz.pdp.compiled import compile_snapshot
from authz.stores.avp import AvpStore
from tests.emulator.running import Emulator, emulator_thread
from tests.stores.avp_fake import Time, replica

PERMIT = "permit(principal, action, resource);"
FORBID = "forbid(principal, action, resource);"
TEMPLATE = "permit(principal == ?principal, action, resource);"
SCHEMA = json.dumps(
    {
        "App": {
            "entityTypes": {"User": {}},
            "actions": {"read": {"appliesTo": {"principalTypes": ["User"], "resourceTypes": ["User"]}}},
        }
    }
)


@pytest.fixture(scope="module")
def shared() -> Iterator[Emulator]:
    with emulator_thread() as running:
        yield running


@pytest.fixture
def emulator(shared) -> Iterator[Emulator]:
    """One for all tests, as good as new for each; so are its clients, whose making takes longer than most tests."""
    yield shared
    shared.switches.clear()
    shared.switches.quota = "off"
    shared.clock.advance(-shared.clock._ahead)


@pytest.fixture(scope="module")
def avp(shared):
    """A client, also for the edits."""
    return shared.client()


@pytest.fixture(scope="module")
def hasty(shared):
    """A client that does not wait for long."""
    return shared.client(read_timeout=0.3, connect_timeout=0.3)


@pytest.fixture
def client(avp) -> Callable[[], Any]:
    return lambda: avp


@pytest.fixture
def quick(hasty) -> Callable[[], Any]:
    return lambda: hasty


@pytest.fixture
def store_id(emulator):
    return emulator.store(schema=SCHEMA, policies=[PERMIT])


def static(statement: str) -> dict[str, Any]:
    return {"static": {"statement": statement}}


def linked(template: str, user: str) -> dict[str, Any]:
    principal = {"entityType": "App::User", "entityId": user}
    return {"templateLinked": {"policyTemplateId": template, "principal": principal}}


def texts(snapshot: PolicySnapshot) -> list[str]:
    return sorted(policy.text for policy in snapshot.policies)


# --- what it holds


def test_all_parts_of_a_store_by_its_id_and_by_its_alias(avp, store_id, client):
    avp.create_policy(policyStoreId=store_id, definition=static(f"// keep out\n{FORBID} // done"), name="name/no-go")
    template = avp.create_policy_template(policyStoreId=store_id, statement=TEMPLATE, name="name/sharing")[
        "policyTemplateId"
    ]
    link = avp.create_policy(policyStoreId=store_id, definition=linked("name/sharing", "bob"), name="name/bob")[
        "policyId"
    ]
    avp.create_policy_store_alias(aliasName="policy-store-alias/main", policyStoreId=store_id)
    avp.create_identity_source(
        policyStoreId=store_id,
        principalEntityType="App::User",
        configuration={
            "openIdConnectConfiguration": {
                "issuer": "https://issuer.example",
                "entityIdPrefix": "corp",
                "tokenSelection": {"accessTokenOnly": {"principalIdClaim": "sub", "audiences": ["api"]}},
            }
        },
    )
    by_id = replica(client, policy_store=store_id).read()
    by_alias = replica(client, policy_store="policy-store-alias/main").read()
    assert by_id.version == by_alias.version
    assert texts(by_id) == sorted([PERMIT, FORBID])
    assert {policy.name for policy in by_id.policies} == {"", "no-go"}
    assert [(one.id, one.name, one.effect) for one in by_id.templates] == [(template, "sharing", Effect.PERMIT)]
    (found,) = by_id.links
    assert (found.id, found.name, found.template_id) == (link, "bob", template)
    assert found.values == {"?principal": EntityUid("App::User", "bob")}
    assert json.loads(by_id.schema or "") == json.loads(SCHEMA)
    assert by_id.identity_source is not None
    assert (by_id.identity_source.kind, by_id.identity_source.prefix) == ("oidc", "corp")
    assert len(compile_snapshot(by_id).rows) == 3


def test_edits_are_seen_and_cost_what_they_must(emulator, avp, store_id, client):
    template = avp.create_policy_template(policyStoreId=store_id, statement=TEMPLATE)["policyTemplateId"]
    avp.create_policy(policyStoreId=store_id, definition=linked(template, "bob"))
    store = replica(client, policy_store=store_id)
    store.read()
    emulator.switches.calls.clear()
    assert not store.poll()
    assert sum(emulator.switches.calls.values()) <= 3
    added = avp.create_policy(policyStoreId=store_id, definition=static(FORBID))["policyId"]
    assert store.poll()
    avp.update_policy(policyStoreId=store_id, policyId=added, definition=static(FORBID + " // why"))
    avp.update_policy_template(
        policyStoreId=store_id, policyTemplateId=template, statement=TEMPLATE[:-1] + " when { 1 == 1 };"
    )
    assert store.poll()
    assert "1 == 1" in store.read().templates[0].text
    avp.delete_policy(policyStoreId=store_id, policyId=added)
    assert store.poll()
    assert texts(store.read()) == [PERMIT]
    avp.delete_policy_template(policyStoreId=store_id, policyTemplateId=template)
    assert store.poll()
    assert not store.read().links


def test_what_the_service_shows_late_is_seen_late_and_whole(emulator, avp, store_id, client):
    store = replica(client, policy_store=store_id)
    first = store.read()
    emulator.clock.advance(10)
    emulator.switches.consistency_delay = 5.0
    avp.create_policy(policyStoreId=store_id, definition=static(FORBID))
    assert not store.poll()
    assert store.read() is first
    emulator.clock.advance(6)
    assert store.poll()
    assert texts(store.read()) == sorted([PERMIT, FORBID])


# --- faults

Switch = Callable[[Emulator], None]
FAULTS: list[tuple[str, Switch, str]] = [
    ("down", lambda one: one.switches.drop(), "unreachable"),
    ("slow", lambda one: one.switches.slow(1.0), "unreachable"),
    ("throttling", lambda one: one.switches.throttle(), "throttled"),
    ("5xx", lambda one: one.switches.fail(status=503), "fault"),
    ("expired credentials", lambda one: one.switches.expire(), "credentials"),
    ("no permission", lambda one: one.switches.deny(), "denied"),
    ("garbage", lambda one: one.switches.garbage(), "unreachable"),
    ("cut short", lambda one: one.switches.truncate(), "unreachable"),
    ("garbage for one operation", lambda one: one.switches.garbage("ListPolicyTemplates"), "unreachable"),
]
EACH = pytest.mark.parametrize(("switch", "kind"), [row[1:] for row in FAULTS], ids=[row[0] for row in FAULTS])


@EACH
def test_a_fault_later_leaves_the_last_good_content_and_passes(emulator, avp, store_id, switch, kind, quick):
    time = Time()
    store = replica(quick, time, policy_store=store_id)
    before = store.read()
    avp.create_policy(policyStoreId=store_id, definition=static(FORBID))
    time.pass_by(100)
    switch(emulator)
    with pytest.raises(PoliciesUnavailable):
        store.poll()
    assert store.read() is before
    assert store.age() >= 100
    assert store.trouble
    assert any(result == kind for _, result in store.calls)
    emulator.switches.clear()
    assert store.poll()
    assert texts(store.read()) == sorted([PERMIT, FORBID])
    assert not store.trouble
    assert store.age() < 100


@EACH
def test_a_fault_at_the_start_with_and_without_a_snapshot(emulator, store_id, tmp_path, switch, kind, client, quick):
    path, time = tmp_path / "snapshot.json", Time()
    before = replica(client, time, policy_store=store_id, snapshot=path).read()
    time.pass_by(60)
    switch(emulator)
    with pytest.raises(PoliciesUnavailable) as caught:
        replica(quick, time, policy_store=store_id).read()
    assert caught.value.detail
    store = replica(quick, time, policy_store=store_id, snapshot=path)
    assert store.read().version == before.version
    assert store.from_disk
    assert store.age() >= 60
    assert any(result == kind for _, result in store.calls)
    emulator.switches.clear()
    assert not store.poll()
    assert not store.from_disk


@pytest.mark.parametrize("operation", ["ListPolicies", "BatchGetPolicy"])
def test_half_a_store_is_none(emulator, avp, store_id, operation, client):
    store = replica(client, policy_store=store_id)
    before = store.read()
    for _ in range(120):
        avp.create_policy(policyStoreId=store_id, definition=static(FORBID))
    emulator.switches.half_a_list(operation)
    with pytest.raises(PoliciesUnavailable):
        store.poll()
    assert store.read() is before
    emulator.switches.clear()
    assert store.poll()
    assert len(store.read().policies) == 121


def test_a_page_that_fails_once_is_asked_for_again(emulator, avp, store_id, client):
    for _ in range(120):
        avp.create_policy(policyStoreId=store_id, definition=static(FORBID))
    emulator.switches.throttle("ListPolicies", calls=2, after=1)
    emulator.switches.truncate("BatchGetPolicy", calls=1, after=1)
    store = replica(client, policy_store=store_id)
    assert len(store.read().policies) == 121
    assert store.calls["ListPolicies", "throttled"] == 2


def test_credentials_that_expire_are_renewed_within_a_look(emulator, store_id):
    store = replica(emulator.client, policy_store=store_id)
    store.read()
    emulator.switches.expire(calls=1)
    assert not store.poll()
    assert store.calls["ListPolicies", "credentials"] == 1


def test_a_schema_that_is_deleted_and_comes_back(avp, store_id, client):
    time = Time()
    store = replica(client, time, policy_store=store_id)
    assert store.read().schema
    for given_schema, there in (("{}", False), (SCHEMA, True)):
        avp.put_schema(policyStoreId=store_id, definition={"cedarJson": given_schema})
        changed = []
        for _ in range(10):
            time.pass_by(15)
            changed.append(store.poll())
        assert changed.count(True) == 1
        assert (store.schema() is not None) is there


def test_a_store_that_is_deleted(avp, store_id, client):
    time = Time()
    store = replica(client, time, policy_store=store_id)
    before = store.read()
    avp.delete_policy_store(policyStoreId=store_id)
    time.pass_by(50)
    with pytest.raises(PoliciesUnavailable, match="deleted"):
        store.poll()
    assert store.read() is before
    assert store.age() >= 50


def test_a_store_that_was_never_there(emulator, client):
    with pytest.raises(PoliciesUnavailable, match="not there"):
        replica(client, policy_store="PSEXAMPLEabcdefg111111").read()


def test_a_clock_of_the_service_that_goes_back_hides_no_edit(emulator, avp, store_id, client):
    store = replica(client, policy_store=store_id)
    (policy,) = store.read().policies
    emulator.clock.advance(-7200)
    avp.update_policy(policyStoreId=store_id, policyId=policy.id, definition=static(PERMIT[:-1] + " when { 1 == 2 };"))
    assert store.poll()
    assert "1 == 2" in store.read().policies[0].text


def test_the_real_quota_is_kept(emulator, avp, store_id, client):
    """With waits that are real, against the published number of requests a second."""
    for _ in range(400):
        avp.create_policy(policyStoreId=store_id, definition=static(PERMIT))
    emulator.switches.quota = "real"
    from authz.stores.avp import ReplicaSettings

    store = AvpStore(client, ReplicaSettings(policy_store=store_id, requests=5.0))
    assert len(store.read().policies) == 401
    assert all(result != "throttled" for _, result in store.calls)


# --- any edits

EDIT = st.tuples(
    st.sampled_from(["create", "update", "delete", "template", "link", "edit", "drop", "poll", "fault"]),
    st.integers(0, 3),
)


def _edit(avp: Any, store: str, what: str, number: int) -> None:
    policies = avp.list_policies(policyStoreId=store, maxResults=50)["policies"]
    statics = [one["policyId"] for one in policies if one["policyType"] == "STATIC"]
    templates = [one["policyTemplateId"] for one in avp.list_policy_templates(policyStoreId=store)["policyTemplates"]]
    condition = f" when {{ {number} == 1 }};"
    if what == "create":
        avp.create_policy(policyStoreId=store, definition=static(PERMIT[:-1] + condition))
    elif what == "update" and statics:
        id = statics[number % len(statics)]
        avp.update_policy(policyStoreId=store, policyId=id, definition=static(PERMIT[:-1] + condition))
    elif what == "delete" and policies:
        avp.delete_policy(policyStoreId=store, policyId=policies[number % len(policies)]["policyId"])
    elif what == "template":
        avp.create_policy_template(policyStoreId=store, statement=TEMPLATE)
    elif what == "link" and templates:
        avp.create_policy(policyStoreId=store, definition=linked(templates[number % len(templates)], f"u{number}"))
    elif what == "edit" and templates:
        id = templates[number % len(templates)]
        avp.update_policy_template(policyStoreId=store, policyTemplateId=id, statement=TEMPLATE[:-1] + condition)
    elif what == "drop" and templates:
        avp.delete_policy_template(policyStoreId=store, policyTemplateId=templates[number % len(templates)])


@given(st.lists(EDIT, min_size=3, max_size=20))
@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_edits_with_looks_between_give_what_a_first_look_gives(emulator, avp, client, edits):
    store_id = emulator.store()
    kept = replica(client, policy_store=store_id)
    kept.read()
    for what, number in edits:
        if what == "poll":
            kept.poll()
        elif what == "fault":
            emulator.switches.fail(("ListPolicies", "BatchGetPolicy", "GetPolicyTemplate", "GetSchema")[number])
            with suppress(PoliciesUnavailable):
                kept.poll()
            emulator.switches.clear()
        else:
            _edit(avp, store_id, what, number)
    kept.poll()
    fresh = replica(client, policy_store=store_id).read()
    after = kept.read()
    assert (after.version, after.policies, after.templates, after.links) == (
        fresh.version,
        fresh.policies,
        fresh.templates,
        fresh.links,
    )
