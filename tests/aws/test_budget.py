"""The token bucket: never more than its rate, slower after a throttled call, itself again later."""

import asyncio
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from authz.aws.budget import BREATH, RECOVERY, SLOWEST, Budget


class Time:
    def __init__(self):
        self.now = 100.0

    def __call__(self):
        return self.now


def made(rate, **more):
    clock = Time()
    return Budget(rate, clock=clock, **more), clock


def test_a_burst_and_then_the_rate():
    budget, clock = made(10, burst=3)
    assert [budget.try_take() for _ in range(4)] == [True, True, True, False]
    clock.now += 0.1
    assert [budget.try_take() for _ in range(2)] == [True, False]
    clock.now += 60
    assert [budget.try_take() for _ in range(4)] == [True, True, True, False]
    assert budget.refused == 3


def test_the_burst_is_a_fifth_of_a_second_and_at_least_one():
    budget, _ = made(150)
    assert sum(budget.try_take() for _ in range(100)) == 30
    slow, clock = made(2)
    assert [slow.try_take(), slow.try_take()] == [True, False]
    clock.now += 0.5
    assert slow.try_take()


def test_who_waits_is_told_how_long_and_who_would_wait_too_long_is_refused_at_once():
    budget, clock = made(10, burst=1)
    slept: list[float] = []
    assert budget.wait(0.0, sleep=slept.append)
    assert budget.wait(1.0, sleep=slept.append)
    assert budget.wait(1.0, sleep=slept.append)  # behind the one before
    assert slept == [pytest.approx(0.1), pytest.approx(0.2)]
    assert not budget.wait(0.25, sleep=slept.append)
    assert len(slept) == 2
    clock.now += 0.31  # the refused one took nothing
    assert budget.try_take()


def test_one_call_may_be_worth_many():
    budget, clock = made(10, burst=5)
    assert budget.try_take(5)
    assert budget.reserve(10.0, 20) == pytest.approx(0.5)  # until it is full; the rest is owed
    assert budget.reserve(10.0) == pytest.approx(2.1)
    clock.now += 2.2
    assert budget.try_take()


@pytest.mark.parametrize("rate", [0, -1, float("nan")])
def test_a_rate_is_above_zero(rate):
    with pytest.raises(ValueError):
        Budget(rate)


def test_a_throttled_call_halves_the_rate_for_a_while():
    budget, clock = made(16, burst=16)
    budget.throttled()
    assert budget.rate == 8
    assert not budget.try_take()  # nothing saved up counts any more
    budget.throttled()  # sent before the first was known
    assert (budget.rate, budget.slowed) == (8, 1)
    clock.now += BREATH
    budget.throttled()
    assert budget.rate == 4
    clock.now += RECOVERY
    assert budget.rate == 8
    clock.now += RECOVERY
    assert budget.rate == 16
    clock.now += 100 * RECOVERY
    assert budget.rate == 16


def test_it_never_stops():
    budget, clock = made(16)
    for _ in range(50):
        budget.throttled()
        clock.now += BREATH
    assert budget.rate == 16 * SLOWEST
    assert budget.reserve(10.0) is not None


def test_a_clock_that_stands_still_or_goes_back_gives_nothing():
    budget, clock = made(10, burst=1)
    assert budget.try_take()
    clock.now -= 50
    assert not budget.try_take()
    clock.now += 50.1
    assert budget.try_take()


@given(
    rate=st.floats(0.5, 500),
    steps=st.lists(st.tuples(st.floats(0, 2), st.integers(0, 40), st.booleans()), max_size=40),
)
def test_never_more_than_burst_and_rate(rate, steps):
    budget, clock = made(rate)
    begun, taken = clock.now, 0
    for passed, asked, throttled in steps:
        clock.now += passed
        if throttled:
            budget.throttled()
        taken += sum(budget.try_take() for _ in range(asked))
        assert taken <= max(1.0, rate / 5) + rate * (clock.now - begun) + 1e-3


async def test_waiting_in_a_loop():
    budget = Budget(200, burst=1)
    assert await budget.taken(0.0)
    assert await budget.taken(1.0)
    assert not await budget.taken(0.0)


async def test_a_cancelled_wait_gives_back():
    budget, clock = made(1, burst=1)
    assert await budget.taken(0.0)
    waiting = asyncio.ensure_future(budget.taken(5.0))
    await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    clock.now += 1.0
    assert budget.try_take()


def test_threads_share_it():
    budget, _ = made(1, burst=100)
    taken: list[bool] = []

    def work():
        taken.extend(one for one in (budget.try_take() for _ in range(50)) if one)

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(taken) == 100
