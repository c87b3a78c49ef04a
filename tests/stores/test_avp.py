"""The replica of a policy store: what it holds, by how many calls, and when it changes."""

from __future__ import annotations

import threading
import time as clocks
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from itertools import pairwise
from math import ceil
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from authz.core.errors import Misconfigured, PoliciesUnavailable
from authz.core.identity_source import StoreIdentitySource
from authz.core.model import Effect, EntityUid, Policy, PolicySnapshot, TemplateLink
from authz.pdp.compiled import compile_snapshot
from authz.stores.avp import AvpStore, ReplicaSettings
from tests.stores.avp_fake import ALIAS, PERMIT, STORE, FakeAvp, FakeStore, Time, replica

SCHEMA = (
    '{"App": {"entityTypes": {"User": {}},'
    ' "actions": {"read": {"appliesTo": {"principalTypes": ["User"], "resourceTypes": ["User"]}}}}}'
)
OTHER = "PSEXAMPLEabcdefg222222"
COGNITO = {
    "identitySourceId": "ISEXAMPLEabcdefg111111",
    "policyStoreId": STORE,
    "principalEntityType": "App::User",
    "configuration": {
        "cognitoUserPoolConfiguration": {
            "userPoolArn": "arn:aws:cognito-idp:us-east-1:123456789012:userpool/us-east-1_Abc",
            "clientIds": ["b", "a"],
            "issuer": "https://cognito-idp.us-east-1.amazonaws.com/us-east-1_Abc",
            "groupConfiguration": {"groupEntityType": "App::Group"},
        }
    },
}


def oidc(selection: dict, **more) -> dict:
    configuration = {"issuer": "https://issuer.test", "tokenSelection": selection, **more}
    return {**COGNITO, "configuration": {"openIdConnectConfiguration": configuration}}


def parts(snapshot: PolicySnapshot) -> dict[str, Policy | TemplateLink]:
    policies: dict[str, Policy | TemplateLink] = {one.id: one for one in (*snapshot.policies, *snapshot.templates)}
    return policies | {one.id: one for one in snapshot.links}


@pytest.fixture
def avp():
    return FakeAvp()


# --- what it holds


def test_policies_templates_links_schema_and_identity_source_are_those_of_the_store(avp):
    static = avp.static(
        '// why\n@id("no") @deny_message("Sorry") forbid(principal, action, resource) ; // done', "no-go"
    )
    template = avp.template(name="sharing")
    link = avp.link(template, "bob")
    avp.store.schema = SCHEMA
    avp.store.sources = [COGNITO]
    snapshot = replica(avp.client).read()

    (policy,) = snapshot.policies
    assert (policy.id, policy.name, policy.effect) == (static, "no-go", Effect.FORBID)
    assert policy.text == '@id("no") @deny_message("Sorry") forbid(principal, action, resource) ;'
    assert policy.annotations["deny_message"] == "Sorry"
    assert policy.file == f"avp:{STORE}/no-go"
    assert policy.line == 2
    assert [(one.id, one.name) for one in snapshot.templates] == [(template, "sharing")]
    (linked,) = snapshot.links
    assert (linked.id, linked.template_id) == (link, template)
    assert linked.values == {"?principal": EntityUid("App::User", "bob")}
    assert snapshot.schema == SCHEMA
    assert snapshot.identity_source == StoreIdentitySource(
        id="ISEXAMPLEabcdefg111111",
        kind="cognito",
        issuer="https://cognito-idp.us-east-1.amazonaws.com/us-east-1_Abc",
        principal_type="App::User",
        user_pool="us-east-1_Abc",
        clients=("a", "b"),
        group_type="App::Group",
    )
    assert snapshot.origin == f"avp:{STORE}"
    assert set(compile_snapshot(snapshot).rows) == {static, link}


@pytest.mark.parametrize(
    ("item", "expected"),
    [
        (
            oidc({"accessTokenOnly": {"principalIdClaim": "uid", "audiences": ["api"]}}, entityIdPrefix="corp"),
            {"token": "access", "id_claim": "uid", "audiences": ("api",), "prefix": "corp"},
        ),
        (oidc({"accessTokenOnly": {}}), {"token": "access", "id_claim": "sub", "audiences": (), "prefix": ""}),
        (oidc({"identityTokenOnly": {"clientIds": ["web"]}}), {"token": "id", "clients": ("web",)}),
        (
            oidc(
                {"identityTokenOnly": {}},
                groupConfiguration={"groupClaim": "groups", "groupEntityType": "App::Group"},
            ),
            {"group_claim": "groups", "group_type": "App::Group"},
        ),
    ],
)
def test_an_identity_source_of_openid_connect(avp, item, expected):
    avp.store.sources = [item]
    source = replica(avp.client).read().identity_source
    assert source is not None
    assert (source.kind, source.issuer) == ("oidc", "https://issuer.test")
    assert {name: getattr(source, name) for name in expected} == expected


@pytest.mark.parametrize(
    "sources",
    [
        [{**COGNITO, "configuration": {"samlConfiguration": {}}}],
        [{**COGNITO, "configuration": {}}],
        [{key: COGNITO[key] for key in COGNITO if key != "configuration"}],
        [{**COGNITO, "principalEntityType": ""}],
        [{**COGNITO, "configuration": {"cognitoUserPoolConfiguration": {"userPoolArn": "arn:aws"}}}],
        [oidc({"refreshTokenOnly": {}})],
        [oidc({})],
        [oidc({"identityTokenOnly": {"clientIds": "web"}})],
        [COGNITO, COGNITO],
    ],
)
def test_an_identity_source_of_a_form_that_is_not_known_is_a_problem(avp, sources):
    avp.store.sources = sources
    store = replica(avp.client)
    with pytest.raises(Misconfigured, match="identity source"):
        store.read()
    avp.store.sources = [COGNITO]
    assert store.read().identity_source is not None


@pytest.mark.parametrize("schema", [None, "", "{}", " { } "])
def test_a_store_without_a_schema(avp, schema):
    avp.store.schema = schema
    assert replica(avp.client).read().schema is None


@pytest.mark.parametrize(
    ("statement", "said"),
    [
        ("permit(", "never closed"),
        ("", "without `statement`"),
        (" // nothing\n", "is empty"),
        (PERMIT + PERMIT, "more than one statement"),
        ("permit(principal == ?principal, action, resource);", "has a slot"),
        ("permit(principal, action, resource) when { " + "(" * 500 + "true" + ")" * 500 + " };", "nested"),
    ],
)
def test_a_policy_that_is_none_is_told_and_the_last_good_content_stays(avp, statement, said):
    avp.static(id="good")
    time = Time()
    store = replica(avp.client, time)
    before = store.read()
    avp.static(statement, "wrong-one", id="bad")
    time.pass_by(100)
    with pytest.raises((Misconfigured, PoliciesUnavailable), match=said):
        store.poll()
    assert said in store.trouble
    assert store.read() is before
    assert store.age() >= 100
    avp.update("bad", "forbid(principal, action, resource);")
    assert store.poll()
    assert {policy.id for policy in store.read().policies} == {"good", "bad"}
    assert store.age() < 100


def test_every_problem_is_told_with_its_place(avp):
    avp.static("permit(principal, action,\nresource", "one")
    avp.static("permit(", id="two")
    avp.template(PERMIT, "three")
    store = replica(avp.client)
    with pytest.raises(Misconfigured) as caught:
        store.read()
    places = {problem.file for problem in caught.value.problems}
    assert places == {f"avp:{STORE}/one", f"avp:{STORE}/two", f"avp:{STORE}/three"}
    calls = avp.calls["BatchGetPolicy"]
    with pytest.raises(Misconfigured):
        store.poll()
    assert avp.calls["BatchGetPolicy"] == calls  # what did not change is not fetched again to find it wrong again


# --- changes


def test_what_did_not_change_is_the_same_object_again(avp):
    kept, edited = avp.static(), avp.static()
    template = avp.template()
    links = {avp.link(template, "a"), avp.link(template, "b")}
    store = replica(avp.client)
    first = store.read()
    avp.update(edited, "forbid(principal, action, resource);")
    new = avp.static()
    assert store.poll()
    second = store.read()
    before, after = parts(first), parts(second)
    same = {id for id in before if after[id] is before[id]}
    assert same == {kept, template, *links}
    assert after.keys() - before.keys() == {new}
    assert avp.calls["BatchGetPolicy"] == 2
    assert compile_snapshot(second, compile_snapshot(first)).fresh == 2


def test_without_a_change_the_snapshot_is_the_same_object(avp):
    avp.static()
    store = replica(avp.client)
    first = store.read()
    assert not store.poll()
    assert store.read() is first


def test_a_template_that_is_edited_and_one_that_is_deleted(avp):
    template, other = avp.template(), avp.template()
    avp.link(template)
    stays = avp.link(other)
    store = replica(avp.client)
    store.read()
    avp.update_template(other, "forbid(principal == ?principal, action, resource);")
    avp.delete_template(template)
    assert store.poll()
    snapshot = store.read()
    assert [(one.id, one.effect) for one in snapshot.templates] == [(other, Effect.FORBID)]
    assert [link.id for link in snapshot.links] == [stays]


def test_a_new_name_is_another_content(avp):
    id = avp.static(name="old")
    store = replica(avp.client)
    version = store.read().version
    avp.store.policies[id]["name"] = "name/new"
    assert store.poll()
    assert store.read().policies[0].name == "new"
    assert store.read().version != version


def test_an_edit_that_changes_no_text_is_no_change(avp):
    id = avp.static()
    store = replica(avp.client)
    first = store.read()
    avp.store.policies[id]["lastUpdatedDate"] = avp.date()
    assert not store.poll()
    assert store.read() is first


def test_a_policy_that_changes_between_list_and_get_is_what_was_fetched_and_not_fetched_again(avp):
    id = avp.static()
    avp.before = lambda operation, number: (
        avp.update(id, "forbid(principal, action, resource);") if operation == "BatchGetPolicy" and not number else None
    )
    store = replica(avp.client)
    assert store.read().policies[0].effect is Effect.FORBID
    assert not store.poll()
    assert avp.calls["BatchGetPolicy"] == 1


def test_a_get_that_still_gives_the_old_text_is_made_again(avp):
    id = avp.static()
    store = replica(avp.client)
    store.read()
    old = dict(avp.store.policies[id])
    avp.update(id, "forbid(principal, action, resource);")
    avp.answers = lambda operation, answer: (
        {"results": [old], "errors": []} if operation == "BatchGetPolicy" else answer
    )
    assert not store.poll()
    avp.answers = lambda _operation, answer: answer
    assert store.poll()
    assert store.read().policies[0].effect is Effect.FORBID


def test_a_policy_that_is_deleted_between_list_and_get_is_gone_and_the_next_look_follows_soon(avp):
    stays, goes = avp.static(), avp.static()
    avp.before = lambda operation, _number: (
        avp.store.policies.pop(goes, None) if operation == "BatchGetPolicy" else None
    )
    store = replica(avp.client)
    assert [policy.id for policy in store.read().policies] == [stays]
    assert store.next_poll() < 2


def test_a_template_that_is_deleted_while_it_is_looked_at_takes_its_links_with_it(avp):
    template, other = avp.template(), avp.template()
    avp.link(template)
    stays = avp.link(other)

    def delete(operation, _number):
        if operation == "GetPolicyTemplate" and template in avp.store.templates:
            avp.delete_template(template)

    avp.before = delete
    snapshot = replica(avp.client).read()
    assert [link.id for link in snapshot.links] == [stays]
    assert [one.id for one in snapshot.templates] == [other]


def test_a_link_whose_template_is_not_listed_yet_is_waited_for(avp):
    template = avp.template()
    link = avp.link(template)
    hidden = [1, 2]

    def late(operation, answer):
        return {"policyTemplates": []} if operation == "ListPolicyTemplates" and hidden and hidden.pop() else answer

    avp.answers = late
    store = replica(avp.client)
    assert [one.id for one in store.read().links] == [link]


def test_a_link_that_names_its_template_is_one_of_its_id(avp):
    template = avp.template(name="sharing")
    link = avp.link("name/sharing")
    store = replica(avp.client)
    assert [(one.id, one.template_id) for one in store.read().links] == [(link, template)]
    assert not store.poll()


def test_a_link_whose_template_is_never_listed_is_no_content(avp):
    store = replica(avp.client)
    before = store.read()
    avp.link("PTgone")
    with pytest.raises(PoliciesUnavailable, match="changing"):
        store.poll()
    assert store.read() is before
    assert avp.calls["ListPolicyTemplates"] < 10


# --- how it was reached makes no difference

EDIT = st.tuples(
    st.sampled_from(
        ["static", "update", "delete", "template", "edit template", "drop template", "link", "schema", "poll"]
    ),
    st.integers(0, 5),
)


def without(broken: str) -> Callable[[str, Any], Any]:
    return lambda operation, answer: {} if operation == broken else answer


def _edit(avp: FakeAvp, what: str, number: int) -> None:
    statics = [id for id, one in avp.store.policies.items() if one["policyType"] == "STATIC"]
    templates = [*avp.store.templates]
    if what == "static":
        avp.static(f"permit(principal, action, resource) when {{ {number} == 1 }};", f"n{number}" if number > 3 else "")
    elif what == "update" and statics:
        avp.update(statics[number % len(statics)], f"permit(principal, action, resource) when {{ 1 == {number} }};")
    elif what == "delete" and avp.store.policies:
        del avp.store.policies[sorted(avp.store.policies)[number % len(avp.store.policies)]]
    elif what == "template":
        avp.template()
    elif what == "edit template" and templates:
        avp.update_template(
            templates[number % len(templates)],
            f"permit(principal == ?principal, action, resource) when {{ 1 == {number} }};",
        )
    elif what == "drop template" and templates:
        avp.delete_template(templates[number % len(templates)])
    elif what == "link" and templates:
        avp.link(templates[number % len(templates)], f"user{number}")
    elif what == "schema":
        avp.store.schema = '{"A": {}}' if number else None


@given(st.lists(EDIT, max_size=25), st.integers(1, 50), st.lists(st.booleans(), max_size=25))
@settings(max_examples=150, deadline=None)
def test_any_edits_with_looks_between_give_what_a_first_look_gives(edits, page, failing):
    avp, time = FakeAvp(), Time()
    avp.page = page
    store = replica(avp.client, time, slow_interval=1.0)
    store.read()
    failures = iter(failing)
    for what, number in edits:
        if what == "poll" and next(failures, False):
            broken = ("ListPolicies", "BatchGetPolicy", "GetPolicyTemplate", "ListPolicyTemplates")[number % 4]
            avp.answers = without(broken)
            version = store.read().version
            try:
                store.poll()
            except PoliciesUnavailable:
                assert store.read().version == version
            avp.answers = lambda _operation, answer: answer
        elif what == "poll":
            time.pass_by(1)
            store.poll()
        else:
            _edit(avp, what, number)
    for _ in range(3):  # schema and identity source come in turn
        time.pass_by(1)
        store.poll()
    fresh = replica(avp.client).read()
    kept = store.read()
    assert kept.version == fresh.version
    assert (kept.policies, kept.templates, kept.links) == (fresh.policies, fresh.templates, fresh.links)
    assert (kept.schema, kept.identity_source) == (fresh.schema, fresh.identity_source)


# --- by how many calls


def _cost(avp: FakeAvp) -> int:
    cost = sum(avp.calls.values())
    avp.calls = Counter()
    return cost


@pytest.mark.parametrize(
    ("statics", "templates", "links"), [(0, 0, 0), (100, 0, 0), (90, 3, 10), (1000, 5, 0), (600, 40, 400)]
)
@pytest.mark.parametrize("reference", [STORE, ALIAS])
def test_the_calls_of_a_first_look_and_of_looks_without_a_change(avp, statics, templates, links, reference):
    avp.aliases[ALIAS] = (STORE, "Active")
    for _ in range(statics):
        avp.static()
    made = [avp.template() for _ in range(templates)]
    for number in range(links):
        avp.link(made[number % templates])
    time = Time()
    store = replica(avp.client, time, policy_store=reference)
    store.read()
    pages = ceil((statics + links) / 50) or 1
    assert _cost(avp) <= pages + ceil(statics / 100) + templates + 5
    for _ in range(40):
        time.pass_by(store.next_poll())
        assert not store.poll()
        assert _cost(avp) <= pages + 2


def test_schema_identity_source_and_alias_are_looked_at_seldom(avp):
    avp.aliases[ALIAS] = (STORE, "Active")
    time = Time()
    store = replica(avp.client, time, policy_store=ALIAS)
    store.read()
    end = time.clock + 1200
    while time.clock < end:
        time.pass_by(15)
        store.poll()
    for operation in ("GetSchema", "ListIdentitySources", "GetPolicyStoreAlias"):
        assert 8 <= avp.calls[operation] <= 12


def test_a_change_of_policies_has_the_schema_looked_at_at_once(avp):
    store = replica(avp.client)
    store.read()
    avp.store.schema = SCHEMA
    avp.static()
    assert store.poll()
    assert store.read().schema == SCHEMA


def test_the_budget_is_kept_in_every_second(avp):
    times: list[float] = []
    time = Time()
    avp.before = lambda _operation, _number: times.append(time.clock)
    for _ in range(1000):
        avp.static()
    store = replica(avp.client, time, requests=2.0)
    began = time.clock
    store.read()
    assert len(times) == 20 + 10 + 3
    assert time.clock - began == pytest.approx((33 - 4) / 2, abs=0.6)
    for start in times:
        assert sum(start <= one < start + 1 for one in times) <= 2 + 4
    assert all(later >= earlier for earlier, later in pairwise(times))


def test_only_schema_and_identity_source_for_a_remote_decision_point(avp):
    avp.static()
    avp.store.schema = SCHEMA
    avp.store.sources = [COGNITO]
    store = replica(avp.client, with_policies=False)
    snapshot = store.read()
    assert (snapshot.policies, snapshot.schema) == ((), SCHEMA)
    assert snapshot.identity_source is not None
    assert avp.calls == {"GetSchema": 1, "ListIdentitySources": 1}
    assert 100 < store.next_poll() < 140
    avp.store.schema = None
    assert store.poll()
    assert store.schema() is None


@pytest.mark.parametrize("with_policies", [True, False])
def test_a_store_that_is_gone_is_not_one_without_a_schema(avp, with_policies):
    avp.store.schema = SCHEMA
    store = replica(avp.client, with_policies=with_policies)
    before = store.read()
    avp.stores.clear()
    with pytest.raises(PoliciesUnavailable, match="not there"):
        store.poll()
    assert store.read() is before


# --- aliases


def test_an_alias_that_comes_to_stand_for_another_store(avp):
    avp.aliases[ALIAS] = (STORE, "Active")
    avp.static(id="one")
    avp.store.schema = SCHEMA
    avp.store.sources = [COGNITO]
    avp.stores[OTHER] = FakeStore()
    avp.static("forbid(principal, action, resource);", store=OTHER, id="other")
    time = Time()
    store = replica(avp.client, time, policy_store=ALIAS)
    assert [policy.id for policy in store.read().policies] == ["one"]
    avp.aliases[ALIAS] = (OTHER, "Active")
    for _ in range(12):
        time.pass_by(15)
        store.poll()
        snapshot = store.read()
        whole = (
            [one.id for one in snapshot.policies],
            snapshot.schema,
            snapshot.identity_source is None,
            snapshot.origin,
        )
        assert whole in ((["one"], SCHEMA, False, f"avp:{STORE}"), (["other"], None, True, f"avp:{OTHER}"))
    assert store.read().origin == f"avp:{OTHER}"


@pytest.mark.parametrize("state", ["PendingDeletion", None])
def test_an_alias_that_is_not_there(avp, state):
    if state:
        avp.aliases[ALIAS] = (STORE, state)
    store = replica(avp.client, policy_store=ALIAS)
    with pytest.raises(PoliciesUnavailable, match="alias is not there"):
        store.read()
    avp.aliases[ALIAS] = (STORE, "Active")
    assert store.read().version


def test_the_age_counts_the_time_for_which_the_machine_slept(avp, monkeypatch):
    slept, gettime = [0.0], clocks.clock_gettime

    def told(clock: int) -> float:
        return gettime(clock) + (slept[0] if clock == clocks.CLOCK_BOOTTIME else 0.0)

    monkeypatch.setattr(clocks, "clock_gettime", told)
    store = AvpStore(avp.client, ReplicaSettings(policy_store=STORE))
    store.read()
    assert store.age() < 60
    slept[0] = 7_200.0
    assert store.age() >= 7_200


@pytest.mark.parametrize("passed", range(120, 255, 15))
def test_an_alias_may_lead_away_from_a_store_whose_content_cannot_be_used(avp, passed):
    avp.aliases[ALIAS] = (STORE, "Active")
    avp.static()
    avp.stores[OTHER] = FakeStore()
    avp.static(store=OTHER)
    time = Time()
    store = replica(avp.client, time, policy_store=ALIAS, interval=15, slow_interval=120, requests=1000)
    store.read()
    for _ in range(passed // 15):
        time.pass_by(15)
        store.poll()
    avp.static("nonsense(")
    for _ in range(20):  # nobody mends it for longer than any part's turn takes
        time.pass_by(15)
        with pytest.raises(Misconfigured):
            store.poll()
    avp.aliases[ALIAS] = (OTHER, "Active")
    while store.read().origin != f"avp:{OTHER}":
        time.pass_by(15)
        assert store.age() < 1000
        with suppress(Misconfigured):
            store.poll()


def test_the_store_behind_an_alias_is_replaced(avp):
    avp.aliases[ALIAS] = (STORE, "Active")
    store = replica(avp.client, policy_store=ALIAS)
    store.read()
    avp.stores = {OTHER: FakeStore()}
    avp.aliases[ALIAS] = (OTHER, "Active")
    with pytest.raises(PoliciesUnavailable, match="not there"):
        store.poll()
    store.poll()
    assert store.read().origin == f"avp:{OTHER}"


def test_a_change_in_a_listing_of_several_pages_is_looked_at_again_soon(avp):
    for _ in range(60):
        avp.static()
    store = replica(avp.client)
    store.read()
    assert store.next_poll() < 2
    store.poll()
    assert store.next_poll() > 10
    avp.static()
    store.poll()
    assert store.next_poll() < 2


def test_large_work_is_cut_into_pieces(avp):
    from authz.stores.avp import AvpStore, ReplicaSettings

    for _ in range(300):
        avp.static()
    time, pauses = Time(), [0]

    def pause():
        pauses[0] += 1

    store = AvpStore(
        avp.client, ReplicaSettings(policy_store=STORE), clock=lambda: time.clock, sleep=time.sleep, pause=pause
    )
    store.read()
    assert pauses[0] >= 4 * 300  # listed, read, looked through, made into a version


# --- threads


def test_readers_never_wait_for_a_look_once_there_is_something(avp):
    avp.static()
    store = replica(avp.client)
    first = store.read()
    entered, go_on = threading.Event(), threading.Event()

    def hold(operation, _number):
        if operation == "ListPolicies":
            entered.set()
            assert go_on.wait(20)

    avp.before = hold
    avp.static()
    look = threading.Thread(target=store.poll)
    look.start()
    assert entered.wait(20)
    assert store.read() is first
    go_on.set()
    look.join()
    assert len(store.read().policies) == 2


def test_a_store_that_is_closed_lets_go_of_its_client_and_keeps_what_it_has(avp):
    store = replica(avp.client)
    first = store.read()
    store.close()
    assert avp.closed == 1
    assert store.read() is first
    with pytest.raises(PoliciesUnavailable, match="stopped"):
        store.poll()
    assert avp.closed == 1


def test_a_store_that_is_closed_ends_its_look(avp):
    from authz.stores.avp import AvpStore, ReplicaSettings

    for _ in range(500):
        avp.static()
    store = AvpStore(avp.client, ReplicaSettings(policy_store=STORE, requests=0.01))
    failed: list[PoliciesUnavailable] = []

    def look():
        try:
            store.poll()
        except PoliciesUnavailable as error:
            failed.append(error)

    thread = threading.Thread(target=look)
    thread.start()
    store.close()
    thread.join(20)
    assert not thread.is_alive()
    assert "stopped" in failed[0].detail
