"""Decisions that are given again: for whom, for how long, and never a failure."""

from __future__ import annotations

import asyncio
from dataclasses import fields, replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from authz.core.errors import DecisionUnavailable, PoliciesUnavailable, Reason
from authz.core.model import (
    Caching,
    Credential,
    Decision,
    Effect,
    Policy,
    PolicyError,
    PolicySnapshot,
    Query,
    Verdict,
)
from authz.pdp.cached import CachedDecisionPoint
from authz.pdp.cached_store import CacheSettings, DecisionCache
from authz.pdp.cedar import CedarDecisionPoint, CedarSettings
from authz.pdp.compiled import compile_snapshot
from tests.pdp.composing import ALLOW, ANN, BOB, DENY, DOC, Clock, Held, Scripted, ask, idle, until

LONG = Caching(allow=60, deny=10)


@pytest.fixture
def clock() -> Clock:
    return Clock()


def cached(inner: Any, clock: Clock, *, version: Any = "v1", **rest: Any) -> CachedDecisionPoint:
    return CachedDecisionPoint(inner, version=version, now=clock.now, clock=clock.monotonic, **rest)


# --- what is given again


async def test_an_equal_query_of_other_objects_is_answered_without_asking(clock):
    inner = Scripted()
    point = cached(inner, clock)
    first, second = await point.decide(ask(caching=LONG)), await point.decide(ask(caching=LONG))
    assert (first.cached, second.cached) == (False, True)
    assert replace(second, cached=False) == first
    assert len(inner.queries) == 1
    assert (point.cache.counters.hits, point.cache.counters.misses, len(point.cache)) == (1, 1, 1)


async def test_everything_of_a_decision_is_given_again(clock):
    whole = Decision(
        verdict=Verdict.DENY,
        policies=("a", "b"),
        names=("A", "B"),
        errors=(PolicyError(policy_id="c", effect=Effect.PERMIT, message="text"),),
        messages=("m",),
        decision_point="avp",
        version="v0",
        age=3.0,
        left_out=("User.x",),
    )
    assert all(getattr(whole, f.name) != f.default or f.name == "cached" for f in fields(Decision)), (
        "set every field here"
    )
    point = cached(Scripted(whole), clock)
    await point.decide(ask(caching=LONG))
    assert await point.decide(ask(caching=LONG)) == replace(whole, cached=True)


async def test_another_query_is_asked(clock):
    inner = Scripted(lambda query: ALLOW if query.principal == ANN else DENY)
    point = cached(inner, clock)
    for query in (ask(), ask(BOB), ask(context={"a": True}), ask(context={"a": "1"}), ask(resource=ANN)):
        expected = ALLOW if query.principal == ANN else DENY
        assert await point.decide(replace(query, caching=LONG)) == expected
    assert len(inner.queries) == 5


async def test_an_answer_with_policy_errors_is_an_answer_and_kept(clock):
    erred = replace(ALLOW, errors=(PolicyError(policy_id="x", effect=Effect.FORBID, message=""),))
    inner = Scripted(erred)
    point = cached(inner, clock)
    assert [(await point.decide(ask(caching=LONG))).errors for _ in range(2)] == [erred.errors] * 2
    assert len(inner.queries) == 1


# --- what is not


@pytest.mark.parametrize(
    "query",
    [
        ask(),
        ask(caching=Caching(allow=0, deny=0)),
        ask(caching=LONG, context={"a": 1, "ages": {"policies": 3}}),
        ask(caching=LONG, context={"a": 1.5}),
        ask(caching=Caching(allow=60, deny=60, until=1_700_000_000.0)),
    ],
    ids=["no-caching", "zero", "ages", "no-value", "expired"],
)
async def test_it_is_asked_each_time(clock, query: Query):
    inner = Scripted()
    point = cached(inner, clock)
    assert [(await point.decide(query)).cached for _ in range(3)] == [False] * 3
    assert len(inner.queries) == 3
    assert len(point.cache) == 0


async def test_a_failure_is_never_kept(clock):
    inner = Scripted(DecisionUnavailable(Reason.DECISION_THROTTLED))
    point = cached(inner, clock)
    for _ in range(2):
        with pytest.raises(DecisionUnavailable):
            await point.decide(ask(caching=LONG))
        with pytest.raises(DecisionUnavailable):
            await point.decide_many([ask(caching=LONG)])
    inner.answer = ALLOW
    assert await point.decide(ask(caching=LONG)) == ALLOW
    assert len(inner.queries) == 5


async def test_what_no_engine_takes_is_told_in_the_words_of_the_point_behind(clock):
    policy = Policy(id="a", text="permit(principal, action, resource);", effect=Effect.PERMIT)
    compiled = compile_snapshot(PolicySnapshot(version="v1", policies=(policy,)))
    point = cached(CedarDecisionPoint(compiled), clock)
    with pytest.raises(DecisionUnavailable) as caught:
        await point.decide(ask(caching=LONG, context={"a": 1.5}))
    assert caught.value.by_query


# --- for how long


@pytest.mark.parametrize(("answer", "seconds"), [(ALLOW, 60), (DENY, 10)], ids=["allow", "deny"])
async def test_denies_are_kept_by_their_own_time(clock, answer: Decision, seconds: float):
    inner = Scripted(answer)
    point = cached(inner, clock)
    await point.decide(ask(caching=LONG))
    clock.pass_(seconds - 0.001)
    assert (await point.decide(ask(caching=LONG))).cached
    clock.pass_(0.001)
    assert not (await point.decide(ask(caching=LONG))).cached
    assert len(inner.queries) == 2


async def test_a_verdict_whose_time_is_zero_is_not_kept(clock):
    inner = Scripted(DENY)
    point = cached(inner, clock)
    for _ in range(2):
        assert not (await point.decide(ask(caching=Caching(allow=60, deny=0)))).cached
    assert len(point.cache) == 0


async def test_it_is_never_given_past_the_tokens_expiry(clock):
    inner = Scripted()
    point = cached(inner, clock)
    caching = Caching(allow=60, deny=10, until=clock.wall + 5)
    await point.decide(ask(caching=caching))
    clock.pass_(4.9)
    assert (await point.decide(ask(caching=caching))).cached
    clock.pass_(0.1)
    # Another token of the same content that lives longer changes nothing about this answer.
    assert not (await point.decide(ask(caching=LONG))).cached


@pytest.mark.parametrize("jump", [-3600.0, 3600.0, 5.0], ids=["back", "ahead", "to-the-expiry"])
async def test_a_clock_that_jumps_lengthens_no_life(clock, jump: float):
    point = cached(Scripted(), clock)
    caching = Caching(allow=60, deny=10, until=clock.wall + 5)
    await point.decide(ask(caching=caching))
    clock.wall += jump
    assert (await point.decide(ask(caching=LONG))).cached is (jump < 0)


async def test_a_clock_that_was_set_back_lets_nothing_outlive_its_seconds(clock):
    point = cached(Scripted(), clock)
    caching = Caching(allow=60, deny=10, until=clock.wall + 5)
    await point.decide(ask(caching=caching))
    clock.wall -= 3600
    clock.pass_(5)
    assert not (await point.decide(ask(caching=LONG))).cached


async def test_a_route_with_a_shorter_time_does_not_get_what_another_keeps_longer(clock):
    inner = Scripted()
    point = cached(inner, clock)
    short = Caching(allow=5, deny=5)
    await point.decide(ask(caching=LONG))
    clock.pass_(5)
    assert not (await point.decide(ask(caching=short))).cached
    clock.pass_(5)
    await point.decide(ask(caching=LONG))
    assert len(inner.queries) == 3


async def test_an_answer_is_as_old_as_its_question(clock):
    inner = Held()
    point = cached(inner, clock)
    asked = asyncio.create_task(point.decide(ask(caching=LONG)))
    await until(lambda: inner.held)
    clock.pass_(59)
    inner.release()
    await asked
    assert (await point.decide(ask(caching=LONG))).cached
    clock.pass_(1)
    again = asyncio.create_task(point.decide(ask(caching=LONG)))
    await until(lambda: inner.held)
    inner.release()
    assert not (await again).cached


@given(
    steps=st.lists(
        st.tuples(
            st.sampled_from([0.0, 1.0, 3.0, 7.0]),  # time that passes
            st.sampled_from([-5.0, 0.0, 5.0]),  # what the wall's clock jumps by
            st.sampled_from([0.0, 2.0, 6.0]),  # the asker's time for an allow
            st.sampled_from([0.0, 4.0]),  # for a deny
            st.sampled_from([None, 0.0, 2.0, 9.0]),  # its token's life
            st.sampled_from([ANN, BOB]),
        ),
        max_size=12,
    )
)
def test_whatever_is_given_again_is_young_enough_for_who_asks(steps: Any) -> None:
    clock = Clock()
    decided_at: list[float] = []

    def decided(query: Query) -> Decision:
        decided_at.append(clock.seconds)
        return replace(ALLOW if query.principal == ANN else DENY, messages=(str(clock.seconds),))

    async def walk() -> None:
        point = cached(Scripted(decided), clock)
        for passed, jump, allow, deny, life, who in steps:
            clock.pass_(passed)
            clock.wall += jump
            until = None if life is None else clock.wall + life
            decision = await point.decide(ask(who, caching=Caching(allow=allow, deny=deny, until=until)))
            limit = allow if who == ANN else deny
            assert decision.verdict is (Verdict.ALLOW if who == ANN else Verdict.DENY)
            age = clock.seconds - float(decision.messages[0])
            assert age < limit if decision.cached else age == 0
            assert decision.age == age

    asyncio.run(walk())


# --- versions and ages


async def test_a_new_policy_set_is_asked_and_the_old_answers_make_room(clock):
    old, new = Scripted(), Scripted(replace(DENY, version="v2"))
    before = cached(old, clock)
    await before.decide(ask(caching=LONG))
    after = cached(new, clock, version="v2", cache=before.cache)
    assert len(after.cache) == 0
    assert (await after.decide(ask(caching=LONG))).verdict is Verdict.DENY


async def test_what_the_old_policy_set_still_decides_is_not_given_by_the_new(clock):
    old, new = Held(), Scripted(replace(DENY, version="v2"))
    before = cached(old, clock)
    late = asyncio.create_task(before.decide(ask(caching=LONG)))
    await until(lambda: old.held)
    after = cached(new, clock, version="v2", cache=before.cache)
    old.release()
    assert (await late).verdict is Verdict.ALLOW
    assert (await after.decide(ask(caching=LONG))).verdict is Verdict.DENY
    assert (await after.decide(ask(caching=LONG))).version == "v2"


async def test_a_version_that_moves_empties_the_cache(clock):
    versions = ["v1"]
    inner = Scripted()
    point = cached(inner, clock, version=lambda: versions[-1])
    await point.decide(ask(caching=LONG))
    assert (await point.decide(ask(caching=LONG))).cached
    versions.append("v2")
    assert not (await point.decide(ask(caching=LONG))).cached
    assert len(point.cache) == 1


async def test_what_was_decided_across_a_change_is_neither_kept_nor_shared(clock):
    versions = ["v1"]
    inner = Held()
    point = cached(inner, clock, version=lambda: versions[-1])
    first = asyncio.create_task(point.decide(ask(caching=LONG)))
    await until(lambda: inner.held)
    second = asyncio.create_task(point.decide(ask(caching=LONG)))
    await idle()
    versions.append("v2")
    inner.release()
    assert not (await first).cached
    await until(lambda: inner.held)
    assert len(inner.queries) == 2
    assert len(point.cache) == 0
    inner.release()
    assert not (await second).cached


async def test_the_age_is_the_policy_sets_present_one(clock):
    age = [1.0]
    point = cached(Scripted(replace(ALLOW, age=1.0)), clock, age=lambda: age[0])
    await point.decide(ask(caching=LONG))
    clock.pass_(5)
    age[0] = 0.5  # it was found to be current again since
    assert (await point.decide(ask(caching=LONG))).age == 0.5


async def test_without_one_or_for_another_policy_set_a_decision_ages_in_the_cache(clock):
    remote = replace(ALLOW, version="", decision_point="avp", age=0.0)
    for point in (cached(Scripted(remote), clock, age=lambda: 99.0), cached(Scripted(replace(ALLOW, age=2.0)), clock)):
        first = await point.decide(ask(caching=LONG))
        clock.pass_(5)
        assert (await point.decide(ask(caching=LONG))).age == first.age + 5


async def test_a_policy_set_that_is_too_old_fails_from_the_cache_too(clock):
    age = [1.0]
    policy = Policy(id="a", text="permit(principal, action, resource);", effect=Effect.PERMIT)
    compiled = compile_snapshot(PolicySnapshot(version="v1", policies=(policy,)))
    inner = CedarDecisionPoint(compiled, CedarSettings(max_age=10.0), age=lambda: age[0])
    point = cached(inner, clock, age=lambda: age[0], max_age=10.0)
    await point.decide(ask(caching=LONG))
    age[0] = 10.1
    with pytest.raises(PoliciesUnavailable):
        await point.decide(ask(caching=LONG))
    age[0] = 0.1
    assert (await point.decide(ask(caching=LONG))).cached


async def test_what_another_decided_does_not_fail_by_the_policy_sets_age(clock):
    point = cached(Scripted(replace(ALLOW, version="", decision_point="avp")), clock, age=lambda: 99.0, max_age=10.0)
    await point.decide(ask(caching=LONG))
    clock.pass_(20)
    assert (await point.decide(ask(caching=LONG))).cached


async def test_a_forwarded_credential_is_part_of_the_question(clock):
    one, two = (Credential(kind="access", secret=secret) for secret in ("one", "two"))
    for by_credential, asked in ((True, 2), (False, 1)):
        inner = Scripted()
        point = cached(inner, clock, by_credential=by_credential)
        for credential in (one, two, one):
            await point.decide(ask(caching=LONG, credential=credential))
        assert len(inner.queries) == asked


# --- room


async def test_the_least_used_goes_when_there_is_no_more_room(clock):
    inner = Scripted()
    point = cached(inner, clock, cache=DecisionCache(CacheSettings(entries=2)))
    for number in (1, 2, 1, 3, 1, 2):
        await point.decide(ask(caching=LONG, context={"a": number}))
    assert [query.context["a"] for query in inner.queries] == [1, 2, 3, 2]
    assert (len(point.cache), point.cache.counters.evictions) == (2, 2)


async def test_large_answers_take_the_room_of_several(clock):
    def sized(query: Query) -> Decision:
        return replace(ALLOW, policies=("x" * (3_000 if query.context["a"] == 9 else 1),))

    inner = Scripted(sized)
    point = cached(inner, clock, cache=DecisionCache(CacheSettings(bytes=5_000)))
    for number in range(5):
        await point.decide(ask(caching=LONG, context={"a": number}))
    assert len(point.cache) == 5
    await point.decide(ask(caching=LONG, context={"a": 9}))
    assert len(point.cache) < 5
    assert point.cache.weight <= 5_000


async def test_what_is_too_large_by_itself_is_not_kept(clock):
    inner = Scripted(replace(ALLOW, policies=("x" * 6_000,)))
    point = cached(inner, clock, cache=DecisionCache(CacheSettings(bytes=5_000)))
    for _ in range(2):
        assert not (await point.decide(ask(caching=LONG))).cached
    assert len(point.cache) == 0


def test_a_cache_without_room_is_refused():
    for settings in ({"entries": 0}, {"bytes": 0}):
        with pytest.raises(ValueError, match="room"):
            CacheSettings(**settings)


# --- lists


async def test_of_a_list_only_what_is_not_kept_is_asked_in_one_call_and_in_order(clock):
    inner = Scripted(lambda query: ALLOW if query.principal == ANN else DENY)
    point = cached(inner, clock)
    await point.decide(ask(caching=LONG))
    queries = [ask(BOB, caching=LONG), ask(caching=LONG), ask(BOB, caching=LONG), ask(resource=ANN), ask(resource=ANN)]
    found = await point.decide_many(queries)
    assert [decision.verdict.value for decision in found] == ["deny", "allow", "deny", "allow", "allow"]
    assert [decision.cached for decision in found] == [False, True, False, False, False]
    assert inner.lists == [3]  # bob's question once; those that may not be kept each
    assert all(decision.cached for decision in await point.decide_many(queries[:3]))
    assert inner.lists == [3]


async def test_a_list_that_is_kept_asks_nobody_and_an_empty_one_neither(clock):
    inner = Scripted()
    point = cached(inner, clock)
    queries = [ask(caching=LONG, context={"a": number}) for number in range(600)]
    first = await point.decide_many(queries)
    second = await point.decide_many(queries)
    assert [replace(decision, cached=False) for decision in second] == list(first)
    assert await point.decide_many([]) == ()
    assert inner.lists == [600]


async def test_a_list_expires_by_its_verdicts(clock):
    inner = Scripted(lambda query: ALLOW if query.principal == ANN else DENY)
    point = cached(inner, clock)
    queries = [ask(caching=LONG), ask(BOB, caching=LONG)]
    await point.decide_many(queries)
    clock.pass_(10)
    assert [decision.cached for decision in await point.decide_many(queries)] == [True, False]


def test_the_same_questions_have_the_same_answers_with_and_without_it():
    """Cedar's point behind it, policies that look at every part of a query."""
    text = "permit(principal, action, resource) when { context has a && context.a == 1 };"
    forbid = 'forbid(principal == User::"bob", action, resource);'
    policies = (
        Policy(id="one", text=text, effect=Effect.PERMIT),
        Policy(id="two", text=forbid, effect=Effect.FORBID),
    )
    inner = CedarDecisionPoint(compile_snapshot(PolicySnapshot(version="v1", policies=policies)))
    queries = [
        ask(who, caching=LONG, context={"a": value}, resource=resource)
        for who in (ANN, BOB)
        for value in (1, True, "1", (1,))
        for resource in (DOC, ANN)
    ]

    async def compare() -> None:
        point = CachedDecisionPoint(inner, version="v1")
        for _ in range(3):
            for query in queries:
                alone, kept = await inner.decide(query), await point.decide(query)
                assert replace(kept, cached=False, age=0.0) == alone
        assert point.cache.counters.hits == 2 * len(queries)

    asyncio.run(compare())
