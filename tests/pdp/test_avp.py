"""The remote decision point, through the emulator: the local one's answers, in few calls, and never an allow of a fault."""

import asyncio
import time
from contextlib import contextmanager

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from authz.core.cedar_schema import load_schema, to_json
from authz.core.errors import AuthzError, DecisionUnavailable, Reason
from authz.core.model import Effect, Entity, EntitySlice, EntityUid, Extension, Policy, PolicySnapshot, Query, Verdict
from authz.pdp.avp import AvpDecisionPoint, AvpDecisionSettings
from authz.pdp.avp_calls import AvpCalls
from authz.pdp.cedar import CedarDecisionPoint
from authz.pdp.compiled import compile_snapshot
from tests.emulator.running import emulator_thread

SCHEMA = """
namespace Shop {
    entity Group;
    entity User in [Group] = {
        level: Long, active: Bool, mail: String, home: ipaddr, rate: decimal, since: datetime, quiet: duration,
        friend: User, friends: Set<User>, flags: Set<String>, address: { city: String, zip: Long }
    } tags String;
    entity Folder;
    entity Doc in [Folder] = { owner: User, open: Bool } tags Set<Long>;
    action any;
    action read, write in [any] appliesTo {
        principal: [User], resource: [Doc],
        context: { token: { scope: Set<String>, level: Long }, address: ipaddr, extra: { a: Long } }
    };
}
"""
POLICIES = {
    "permit-group": 'permit(principal in Shop::Group::"staff", action in Shop::Action::"any", resource);',
    "permit-level": 'permit(principal, action == Shop::Action::"read", resource) when { principal.level > 2 };',
    "permit-owner": "permit(principal, action, resource) when { resource has owner && resource.owner == principal };",
    "permit-folder": 'permit(principal, action, resource in Shop::Folder::"public");',
    "permit-scope": 'permit(principal, action, resource) when { context.token.scope.contains("docs") };',
    "permit-net": 'permit(principal, action, resource) when { context.address.isInRange(ip("10.0.0.0/8")) };',
    "permit-tag": 'permit(principal, action, resource) when { principal.hasTag("team") && principal.getTag("team") == "red" };',
    "permit-flags": 'permit(principal, action, resource) when { principal.flags.containsAll(["a", "b"]) };',
    "permit-city": 'permit(principal, action, resource) when { principal.address.city == "Bern" };',
    "permit-rate": 'permit(principal, action, resource) when { principal.rate.greaterThan(decimal("1.5")) };',
    "permit-since": 'permit(principal, action, resource) when { principal.since < datetime("2024-01-01") };',
    "permit-quiet": 'permit(principal, action, resource) when { principal.quiet > duration("1h") };',
    "permit-friend": "permit(principal, action, resource) when { principal.friend.level > 5 };",
    "permit-friends": "permit(principal, action, resource) when { principal.friends.contains(resource.owner) };",
    "forbid-level": 'forbid(principal, action == Shop::Action::"write", resource) when { principal.level < 1 };',
    "forbid-closed": "forbid(principal, action, resource) when { resource.open == false };",
    "forbid-numbers": 'forbid(principal, action, resource) when { resource.hasTag("bad") && resource.getTag("bad").contains(7) };',
}


def uid(kind, id):
    return EntityUid(f"Shop::{kind}", id)


@pytest.fixture(scope="module")
def running():
    """The emulator, one client, a store with all policies, and what its policies' ids stand for."""
    with emulator_thread() as emulator:
        client = emulator.client()
        store = emulator.store(schema=to_json(load_schema(SCHEMA)))
        names = {}
        for name, text in POLICIES.items():
            made = client.create_policy(policyStoreId=store, definition={"static": {"statement": text}})
            names[made["policyId"]] = name
        yield emulator, client, store, names


@pytest.fixture(autouse=True)
def _no_faults(running):
    emulator = running[0]
    emulator.switches.faults = ()
    emulator.switches.calls.clear()
    yield
    emulator.switches.faults = ()


@contextmanager
def remote(running, schema=SCHEMA, **changes):
    _, client, store, names = running
    known = {"policy_store": store, "timeout": 20.0, "rate": 100_000.0, "batch_rate": 1000.0, **changes}
    calls = AvpCalls(lambda: client, AvpDecisionSettings(**known), jitter=lambda: 0.0)
    try:
        yield AvpDecisionPoint(
            calls, schema=load_schema(schema), names=lambda ids: tuple(sorted(names[one] for one in ids))
        )
    finally:
        calls.close()
        for _ in range(500):  # what nobody waits for any more counts in no other test
            if not calls.in_flight:
                break
            time.sleep(0.01)


@pytest.fixture(scope="module")
def local():
    policies = tuple(
        Policy(id=name, text=text, effect=Effect.PERMIT if text.startswith("permit") else Effect.FORBID)
        for name, text in POLICIES.items()
    )
    return CedarDecisionPoint(compile_snapshot(PolicySnapshot(version="v", policies=policies, schema=SCHEMA)))


ids = st.sampled_from(["a", "b"])
users = st.builds(uid, st.just("User"), ids)
groups = st.builds(uid, st.just("Group"), st.sampled_from(["staff", "guests"]))
texts = st.sampled_from(["a", "b", "Bern", "red", ""])
mistyped = st.sampled_from([1, True, "x", (), {"__x": 1}, uid("Group", "staff")])
attributes = {
    "level": st.integers(-1, 7),
    "active": st.booleans(),
    "mail": texts | mistyped,
    "home": st.just(Extension("ip", "::1")),
    "rate": st.sampled_from([Extension("decimal", "1.5"), Extension("decimal", "1.51"), Extension("decimal", "-9.0")]),
    "since": st.sampled_from([Extension("datetime", "2023-12-31"), Extension("datetime", "2024-01-01T00:00:00Z")]),
    "quiet": st.sampled_from([Extension("duration", "61m"), Extension("duration", "-1h")]),
    "friend": users,
    "friends": st.lists(users, max_size=2).map(tuple),
    "flags": st.lists(texts, max_size=3).map(tuple),
    "address": st.fixed_dictionaries({}, optional={"city": texts, "zip": st.integers(0, 9), "undeclared": texts}),
    "undeclared": st.integers(0, 3),
}
principals = st.builds(
    Entity,
    uid=users,
    attributes=st.fixed_dictionaries({}, optional=attributes),
    parents=st.frozensets(groups, max_size=2),
    tags=st.fixed_dictionaries({}, optional={"team": texts, "other": texts}),
)
docs = st.builds(
    Entity,
    uid=st.builds(uid, st.just("Doc"), ids),
    attributes=st.fixed_dictionaries({}, optional={"owner": users, "open": st.booleans()}),
    parents=st.frozensets(st.builds(uid, st.just("Folder"), st.sampled_from(["public", "x"])), max_size=1),
    tags=st.fixed_dictionaries({}, optional={"bad": st.lists(st.integers(6, 8), max_size=2).map(tuple)}),
)
folders = st.builds(
    Entity, uid=st.just(uid("Folder", "x")), parents=st.frozensets(st.just(uid("Folder", "public")), max_size=1)
)
slices = st.lists(principals | docs | folders, max_size=3).map(lambda found: EntitySlice(entities=tuple(found)))
contexts = st.fixed_dictionaries(
    {},
    optional={
        "token": st.fixed_dictionaries(
            {},
            optional={"scope": st.sampled_from([("docs",), (), ("x", "docs")]), "level": st.integers(), "jti": texts},
        ),
        "address": st.sampled_from([Extension("ip", "10.1.2.3"), Extension("ip", "192.0.2.1")]),
        "extra": st.fixed_dictionaries({}, optional={"a": st.integers(-(2**63), 2**63 - 1)}),
    },
)
queries = st.builds(
    Query,
    principal=users,
    action=st.builds(uid, st.just("Action"), st.sampled_from(["read", "write", "any", "undeclared"])),
    resource=st.builds(uid, st.just("Doc"), ids),
    context=contexts,
    entities=st.lists(slices, max_size=2).map(tuple),
)


def said(decision):
    return decision.verdict, decision.named, len(decision.errors)


async def answer(point, query):
    """A decision, or why there is none."""
    try:
        return said(await point.decide(query))
    except AuthzError as error:
        assert not isinstance(error, DecisionUnavailable) or error.by_query
        return "failed"


@settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(query=queries)
def test_the_answers_are_those_of_the_local_point(running, local, query):
    async def both():
        with remote(running) as point:
            return await answer(local, query), await answer(point, query)

    here, there = asyncio.run(both())
    assert here == there


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(asked=st.lists(queries, min_size=2, max_size=8), batch_from=st.sampled_from([2, 30]))
def test_many_are_answered_as_each_is_alone(running, asked, batch_from):
    async def both():
        with remote(running, batch_from=batch_from) as point:
            alone = [await answer(point, query) for query in asked]
            try:
                together = [said(one) for one in await point.decide_many(asked)]
            except AuthzError:
                together = ["failed"]
        return alone, together

    alone, together = asyncio.run(both())
    assert together == (["failed"] if "failed" in alone else alone)


def ask(number=1, **changes):
    known = {"principal": uid("User", "a"), "action": uid("Action", "read"), "resource": uid("Doc", str(number))}
    return Query(**{**known, **changes})


STAFF = EntitySlice(entities=(Entity(uid=uid("User", "a"), parents=frozenset((uid("Group", "staff"),))),))


async def test_a_list_is_asked_in_few_calls(running):
    emulator = running[0]
    with remote(running) as point:
        found = await point.decide_many([ask(n, entities=(STAFF,)) for n in range(70)])
    assert [one.verdict for one in found] == [Verdict.ALLOW] * 70
    assert emulator.switches.calls == {"BatchIsAuthorized": 2, "IsAuthorized": 10}


async def test_a_short_list_is_asked_one_by_one_as_that_is_cheaper(running):
    emulator = running[0]
    with remote(running) as point:
        await point.decide_many([ask(n) for n in range(29)])
        assert emulator.switches.calls == {"IsAuthorized": 29}
    emulator.switches.calls.clear()
    with remote(running, batch_from=2) as point:
        await point.decide_many([ask(n) for n in range(29)])
        assert emulator.switches.calls == {"BatchIsAuthorized": 1}


async def test_one_question_that_is_refused_does_not_hide_behind_a_batch(running):
    emulator = running[0]
    bad = ask(2, context={"address": Extension("ip", "not-an-address")})
    with remote(running, batch_from=2) as point, pytest.raises(DecisionUnavailable) as caught:
        await point.decide_many([ask(1), bad, ask(3)])
    assert caught.value.reason is Reason.QUERY_REFUSED
    assert emulator.switches.calls["BatchIsAuthorized"] == 1


FAULTS = {
    "garbage": (Reason.DECISION_UNAVAILABLE, 1),
    "truncate": (Reason.DECISION_UNAVAILABLE, None),
    "drop": (Reason.DECISION_UNAVAILABLE, 2),
    "fail": (Reason.DECISION_UNAVAILABLE, 2),
    "throttle": (Reason.DECISION_THROTTLED, 2),
    "expire": (Reason.DECISION_MISCONFIGURED, 1),
    "deny": (Reason.DECISION_MISCONFIGURED, 1),
}


@pytest.mark.parametrize("many", [False, True], ids=["one", "many"])
@pytest.mark.parametrize("fault", FAULTS)
async def test_no_fault_is_an_answer(running, fault, many):
    emulator = running[0]
    reason, attempts = FAULTS[fault]
    getattr(emulator.switches, fault)()
    asked = [ask(1, entities=(STAFF,)), ask(2, entities=(STAFF,))]
    with remote(running, batch_from=2) as point:
        with pytest.raises(DecisionUnavailable) as caught:
            await (point.decide_many(asked) if many else point.decide(asked[0]))
        assert caught.value.reason is reason
        assert not caught.value.by_query
        if attempts is not None:
            assert sum(emulator.switches.calls.values()) == attempts


@pytest.mark.parametrize("fault", ["drop", "fail", "throttle"])
async def test_a_fault_that_passes_is_not_seen(running, fault):
    emulator = running[0]
    getattr(emulator.switches, fault)(calls=1)
    with remote(running) as point:
        assert (await point.decide(ask(entities=(STAFF,)))).verdict is Verdict.ALLOW


async def test_a_slow_service_is_not_waited_for(running):
    emulator = running[0]
    emulator.switches.slow(0.5, calls=1)
    with remote(running, timeout=0.1) as point:
        with pytest.raises(DecisionUnavailable) as caught:
            await point.decide(ask())
        assert caught.value.reason is Reason.DECISION_UNAVAILABLE


async def test_the_deadline_of_a_request_ends_the_waiting(running):
    emulator = running[0]
    emulator.switches.slow(0.5, calls=1)
    with remote(running) as point, pytest.raises(TimeoutError):
        async with asyncio.timeout(0.05):
            await point.decide(ask())


async def test_a_store_that_is_not_there_is_a_matter_of_the_configuration(running):
    with remote(running, policy_store="PSnowhere") as point, pytest.raises(DecisionUnavailable) as caught:
        await point.decide(ask())
    assert caught.value.reason is Reason.DECISION_MISCONFIGURED
    assert "policy_store" in caught.value.detail


async def test_an_allow_with_an_error_may_hide_a_forbid(running):
    query = ask(entities=(STAFF,))  # `resource.open` of a document of which nothing is known
    with remote(running) as point:
        decision = await point.decide(query)
        assert (decision.verdict, bool(decision.errors)) == (Verdict.ALLOW, True)
    with remote(running, on_forbid_error="fail") as point:
        with pytest.raises(DecisionUnavailable) as caught:
            await point.decide(query)
        assert caught.value.reason is Reason.FORBID_ERROR
