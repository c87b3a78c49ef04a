"""Equal questions at one time are one: who asks, who waits, and what becomes of them when one goes away."""

from __future__ import annotations

import asyncio
import gc
from typing import Any

import pytest

from authz.core.errors import DecisionUnavailable, Reason
from authz.core.model import Caching, Decision, Query
from authz.pdp.cached import CachedDecisionPoint
from tests.pdp.composing import ALLOW, BOB, DENY, Clock, Held, ask, idle, until

LONG = Caching(allow=60, deny=10)


@pytest.fixture
def clock() -> Clock:
    return Clock()


def cached(inner: Any, clock: Clock) -> CachedDecisionPoint:
    return CachedDecisionPoint(inner, version="v1", now=clock.now, clock=clock.monotonic)


async def test_equal_queries_at_one_time_are_one_question(clock):
    inner = Held()
    point = cached(inner, clock)
    tasks = [asyncio.create_task(point.decide(ask(caching=LONG))) for _ in range(10)]
    await until(lambda: inner.held)
    await idle()
    inner.release()
    decisions = await asyncio.gather(*tasks)
    assert [decision.cached for decision in decisions] == [False] + [True] * 9
    assert len(inner.queries) == 1
    assert point.cache.counters.shared == 9


async def test_different_queries_do_not_wait_for_each_other(clock):
    inner = Held()
    point = cached(inner, clock)
    first = asyncio.create_task(point.decide(ask(caching=LONG)))
    second = asyncio.create_task(point.decide(ask(BOB, caching=LONG)))
    await until(lambda: len(inner.held) == 2)
    inner.release(1)
    await second
    assert not first.done()
    inner.release()
    await first


async def test_what_fails_fails_for_all_who_wait_and_is_not_kept(clock):
    inner = Held(DecisionUnavailable(Reason.DEADLINE))
    point = cached(inner, clock)
    tasks = [asyncio.create_task(point.decide(ask(caching=LONG))) for _ in range(5)]
    await until(lambda: inner.held)
    await idle()
    inner.release()
    found = await asyncio.gather(*tasks, return_exceptions=True)
    assert [type(one) for one in found] == [DecisionUnavailable] * 5
    assert len(inner.queries) == 1
    inner.answer = ALLOW
    again = asyncio.create_task(point.decide(ask(caching=LONG)))
    await until(lambda: inner.held)
    inner.release()
    assert await again == ALLOW


async def test_when_who_asked_goes_away_one_of_the_others_asks(clock):
    inner = Held()
    point = cached(inner, clock)
    tasks = [asyncio.create_task(point.decide(ask(caching=LONG))) for _ in range(4)]
    await until(lambda: inner.held)
    await idle()
    tasks[0].cancel()
    await until(lambda: len(inner.queries) == 2)
    await idle()
    assert len(inner.queries) == 2
    inner.release(1)
    assert [decision.cached for decision in await asyncio.gather(*tasks[1:])] == [False, True, True]
    assert tasks[0].cancelled()


async def test_when_who_asked_goes_away_and_the_next_needs_no_wait_the_others_take_its_answer(clock):
    inner = Held()
    point = cached(inner, clock)
    tasks = [asyncio.create_task(point.decide(ask(caching=LONG))) for _ in range(4)]
    await until(lambda: inner.held)
    await idle()
    asked: list[Query] = []

    async def at_once(query: Query) -> Decision:
        asked.append(query)
        return ALLOW

    inner.decide = at_once  # type: ignore[method-assign]
    tasks[0].cancel()
    await asyncio.gather(*tasks[1:])
    assert len(asked) == 1


async def test_who_waits_may_go_away_without_harm(clock):
    inner = Held()
    point = cached(inner, clock)
    tasks = [asyncio.create_task(point.decide(ask(caching=LONG))) for _ in range(3)]
    await until(lambda: inner.held)
    await idle()
    tasks[1].cancel()
    await idle()
    inner.release()
    assert (await tasks[0], (await tasks[2]).cached) == (ALLOW, True)
    assert len(inner.queries) == 1


async def test_who_wants_no_old_deny_asks_itself(clock):
    inner = Held(DENY)
    point = cached(inner, clock)
    first = asyncio.create_task(point.decide(ask(caching=LONG)))
    await until(lambda: inner.held)
    second = asyncio.create_task(point.decide(ask(caching=Caching(allow=60, deny=0))))
    await idle()
    inner.release()
    await until(lambda: inner.held)
    inner.release()
    assert ((await first).cached, (await second).cached) == (False, False)
    assert len(inner.queries) == 2


@pytest.mark.parametrize("how", [ALLOW, DecisionUnavailable(), ValueError()], ids=["answer", "failure", "fault"])
async def test_nothing_is_left_under_way(clock, how: Any):
    inner = Held(how)
    point = cached(inner, clock)
    task = asyncio.create_task(point.decide(ask(caching=LONG)))
    await until(lambda: inner.held)
    assert len(point._flights) == 1
    inner.release()
    await asyncio.gather(task, return_exceptions=True)
    assert not point._flights


async def test_who_is_gone_when_it_fails_leaves_no_complaint_behind(clock):
    inner = Held(DecisionUnavailable())
    point = cached(inner, clock)
    complaints: list[Any] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: complaints.append(context))
    tasks = [asyncio.create_task(point.decide(ask(caching=LONG))) for _ in range(3)]
    await until(lambda: inner.held)
    await idle()
    inner.release()
    await until(tasks[0].done)  # it has told the others, who have not had their turn
    tasks[1].cancel()
    found = await asyncio.gather(*tasks, return_exceptions=True)
    assert [type(one) for one in found] == [DecisionUnavailable, asyncio.CancelledError, DecisionUnavailable]
    del tasks, found
    gc.collect()
    assert not complaints
