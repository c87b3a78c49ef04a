"""The second is asked where the first could not decide: never on a deny, and not for what no one can decide."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from authz.core.errors import (
    AttributesUnavailable,
    DecisionUnavailable,
    PoliciesUnavailable,
    Reason,
    Unavailable,
)
from authz.core.model import Verdict
from authz.pdp.fallback import Circuit, FallbackDecisionPoint, FallbackSettings
from tests.pdp.composing import ALLOW, DENY, Clock, Held, Scripted, ask, until

Asks = Callable[[FallbackDecisionPoint], Awaitable[Any]]


async def one(point: FallbackDecisionPoint) -> Any:
    return await point.decide(ask())


async def several(point: FallbackDecisionPoint) -> Any:
    decisions = await point.decide_many([ask(), ask()])
    assert len(set(decisions)) == 1
    return decisions[0]


@pytest.fixture(params=[one, several], ids=["decide", "decide_many"])
def asks(request: pytest.FixtureRequest) -> Asks:
    found: Asks = request.param
    return found


def circuit(clock: Clock | None = None, **settings: Any) -> Circuit:
    return Circuit(FallbackSettings(**{"slow": 0.0, **settings}), clock=(clock or Clock()).monotonic)


def circuit_is_open(point: FallbackDecisionPoint) -> bool:
    return point.circuit.open


# --- who decides


@pytest.mark.parametrize("answer", [ALLOW, DENY], ids=["allow", "deny"])
async def test_what_the_first_decides_stands(asks, answer):
    first, second = Scripted(answer), Scripted(ALLOW)
    point = FallbackDecisionPoint(first, second)
    assert await asks(point) == answer
    assert not second.queries
    assert point.circuit.counters.primary == 1


@pytest.mark.parametrize(
    "error",
    [
        PoliciesUnavailable("the policy set is too old"),
        DecisionUnavailable(),
        DecisionUnavailable(Reason.DECISION_THROTTLED),
        DecisionUnavailable(Reason.DECISION_MISCONFIGURED),
        DecisionUnavailable(Reason.DEADLINE),
        AttributesUnavailable(),
    ],
    ids=lambda error: str(error.reason),
)
@pytest.mark.parametrize("answer", [ALLOW, DENY], ids=["allow", "deny"])
async def test_where_the_first_fails_the_second_decides(asks, error, answer):
    first, second = Scripted(error), Scripted(answer)
    point = FallbackDecisionPoint(first, second)
    assert await asks(point) == answer
    assert point.circuit.counters.secondary == {error.reason: 1}
    assert point.circuit.counters.primary == 0


@pytest.mark.parametrize(
    "error",
    [
        DecisionUnavailable(Reason.FORBID_ERROR),
        DecisionUnavailable(Reason.QUERY_REFUSED),
        DecisionUnavailable(Reason.TOO_MANY_ENTITIES),
        DecisionUnavailable(by_query=True),
        AttributesUnavailable(Reason.CLAIMS_MISMATCH),
    ],
    ids=lambda error: str(error.reason),
)
async def test_what_cannot_be_decided_by_the_query_is_asked_of_nobody_else(asks, error):
    first, second = Scripted(error), Scripted(ALLOW)
    point = FallbackDecisionPoint(first, second, circuit=circuit(failures=1))
    for _ in range(3):
        with pytest.raises(Unavailable) as caught:
            await asks(point)
        assert caught.value is error
    assert not second.queries
    assert not point.circuit.open  # the first is well


async def test_a_fault_of_the_first_is_not_taken_for_an_outage(asks):
    second = Scripted(ALLOW)
    with pytest.raises(ZeroDivisionError):
        await asks(FallbackDecisionPoint(Scripted(ZeroDivisionError()), second))
    assert not second.queries


async def test_if_both_fail_the_firsts_reason_is_told_and_what_both_said(asks):
    first = Scripted(DecisionUnavailable(Reason.DECISION_THROTTLED, "too many calls"))
    point = FallbackDecisionPoint(first, Scripted(PoliciesUnavailable("no policy set yet")))
    with pytest.raises(DecisionUnavailable) as caught:
        await asks(point)
    assert caught.value.reason is Reason.DECISION_THROTTLED
    assert caught.value.detail == "too many calls; then the other decision point: no policy set yet"
    assert not caught.value.by_query
    assert point.circuit.counters.failed == {Reason.DECISION_THROTTLED: 1}


async def test_a_query_that_the_second_cannot_decide_is_no_outage(asks):
    """Else a route that fails open would let it through for the first's outage."""
    second = Scripted(DecisionUnavailable(Reason.FORBID_ERROR))
    with pytest.raises(DecisionUnavailable) as caught:
        await asks(FallbackDecisionPoint(Scripted(DecisionUnavailable()), second))
    assert caught.value.by_query


# --- time


async def test_the_first_gets_its_share_of_the_time(asks):
    first = Held()
    first.decide_many = lambda queries: first.decide(queries[0])  # type: ignore[assignment, return-value]
    point = FallbackDecisionPoint(first, Scripted(DENY), circuit=circuit(seconds=0.001))
    assert await asks(point) == DENY
    assert point.circuit.counters.secondary == {Reason.DEADLINE: 1}
    assert first.held[0].cancelled()


async def test_a_timeout_that_is_not_ours_is_a_fault():
    with pytest.raises(TimeoutError):
        await FallbackDecisionPoint(Scripted(TimeoutError()), Scripted(ALLOW), circuit=circuit(seconds=60)).decide(
            ask()
        )


async def test_who_goes_away_asks_nobody_else():
    first, second = Held(), Scripted(ALLOW)
    point = FallbackDecisionPoint(first, second, circuit=circuit(failures=1))
    task = asyncio.create_task(point.decide(ask()))
    await until(lambda: first.held)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert not second.queries
    assert not point.circuit.open


# --- the circuit


async def test_a_first_that_fails_again_and_again_is_left_alone_for_a_while(asks):
    clock = Clock()
    first, second = Scripted(DecisionUnavailable(detail="no answer")), Scripted(DENY)
    point = FallbackDecisionPoint(first, second, circuit=circuit(clock, failures=3, cool_down=5.0))

    def asked() -> int:
        count = len(first.lists) or len(first.queries)
        first.queries.clear()
        first.lists.clear()
        return count

    for _ in range(3):
        await asks(point)
    assert asked() == 3
    assert circuit_is_open(point)
    for _ in range(4):
        assert await asks(point) == DENY
    assert asked() == 0
    clock.pass_(5.0)
    assert await asks(point) == DENY
    assert asked() == 1  # it was tried, and left alone again
    assert await asks(point) == DENY
    assert asked() == 0
    clock.pass_(5.0)
    first.answer = ALLOW
    assert [(await asks(point)).verdict for _ in range(2)] == [Verdict.ALLOW] * 2
    assert not circuit_is_open(point)
    counters = point.circuit.counters
    assert (counters.openings, counters.left_alone, counters.secondary.total()) == (1, 5, 9)


async def test_failures_must_follow_each_other():
    first = Scripted(DecisionUnavailable())
    point = FallbackDecisionPoint(first, Scripted(DENY), circuit=circuit(failures=2))
    for answer in (DecisionUnavailable(), ALLOW, DecisionUnavailable(), ALLOW):
        first.answer = answer
        await point.decide(ask())
    assert not point.circuit.open


async def test_one_that_fails_at_once_is_always_asked():
    """It costs nothing, and what it says may be about one request only: that there was no permit for its call."""
    first = Scripted(DecisionUnavailable(Reason.DECISION_THROTTLED))
    point = FallbackDecisionPoint(first, Scripted(DENY), circuit=circuit(failures=1, slow=0.05))
    for _ in range(10):
        await point.decide(ask())
    assert len(first.queries) == 10


async def test_one_that_takes_its_time_to_fail_is_left_alone():
    clock, first = Clock(), Held(DecisionUnavailable())
    point = FallbackDecisionPoint(first, Scripted(DENY), circuit=circuit(clock, failures=1, slow=0.05))
    task = asyncio.create_task(point.decide(ask()))
    await until(lambda: first.held)
    clock.pass_(1.0)
    first.release()
    await task
    assert point.circuit.open


async def test_one_request_tries_it_while_the_others_go_to_the_second():
    clock = Clock()
    first, second = Held(DecisionUnavailable()), Scripted(DENY)
    point = FallbackDecisionPoint(first, second, circuit=circuit(clock, failures=1, cool_down=5.0))
    opening = asyncio.create_task(point.decide(ask()))
    await until(lambda: first.held)
    first.release()
    await opening
    clock.pass_(5.0)
    probe = asyncio.create_task(point.decide(ask()))
    await until(lambda: first.held)
    assert [(await point.decide(ask())).verdict for _ in range(3)] == [Verdict.DENY] * 3
    assert len(first.queries) == 2
    first.answer = ALLOW
    first.release()
    assert await probe == ALLOW
    assert not point.circuit.open


async def test_one_who_tries_it_and_goes_away_leaves_the_try_to_the_next():
    clock = Clock()
    first = Held(DecisionUnavailable())
    point = FallbackDecisionPoint(first, Scripted(DENY), circuit=circuit(clock, failures=1))
    opening = asyncio.create_task(point.decide(ask()))
    await until(lambda: first.held)
    first.release()
    await opening
    clock.pass_(60)
    for _ in range(2):
        probe = asyncio.create_task(point.decide(ask()))
        await until(lambda: first.held)
        probe.cancel()
        await asyncio.gather(probe, return_exceptions=True)
        first.held.clear()
    assert len(first.queries) == 3
    assert point.circuit.open


async def test_a_late_answer_of_before_does_not_let_two_try_it():
    clock = Clock()
    first, second = Held(DecisionUnavailable()), Scripted(DENY)
    point = FallbackDecisionPoint(first, second, circuit=circuit(clock, failures=1))
    early = [asyncio.create_task(point.decide(ask())) for _ in range(2)]
    await until(lambda: len(first.held) == 2)
    first.release()
    await early[0]
    clock.pass_(60)
    probe = asyncio.create_task(point.decide(ask()))
    await until(lambda: len(first.held) == 2)
    first.release()  # of the early two
    await early[1]
    clock.pass_(60)
    await point.decide(ask())
    assert len(first.queries) == 3
    first.release()
    await probe


async def test_while_it_is_left_alone_a_failure_says_why(asks):
    clock = Clock()
    first = Scripted(DecisionUnavailable(Reason.DECISION_THROTTLED, "too many calls"))
    point = FallbackDecisionPoint(first, Scripted(PoliciesUnavailable("none yet")), circuit=circuit(clock, failures=1))
    for _ in range(2):
        with pytest.raises(DecisionUnavailable) as caught:
            await asks(point)
        assert caught.value.reason is Reason.DECISION_THROTTLED
    text = "not asked now, for: too many calls; then the other decision point: none yet"
    assert caught.value.detail == text


async def test_without_a_limit_it_is_always_asked():
    first = Scripted(PoliciesUnavailable())
    point = FallbackDecisionPoint(first, Scripted(DENY), circuit=circuit(failures=0))
    for _ in range(50):
        await point.decide(ask())
    assert len(first.queries) == 50


async def test_a_new_policy_sets_point_goes_on_with_the_same_circuit():
    shared = circuit(failures=1)
    await FallbackDecisionPoint(Scripted(DecisionUnavailable()), Scripted(DENY), circuit=shared).decide(ask())
    first = Scripted(ALLOW)
    assert await FallbackDecisionPoint(first, Scripted(DENY), circuit=shared).decide(ask()) == DENY
    assert not first.queries


# --- whatever happens


OUTCOMES = [ALLOW, DENY, DecisionUnavailable(), DecisionUnavailable(Reason.FORBID_ERROR), RuntimeError()]


@given(
    steps=st.lists(
        st.tuples(st.sampled_from(OUTCOMES), st.sampled_from(OUTCOMES), st.sampled_from([0.0, 3.0])), max_size=12
    ),
    failures=st.integers(0, 3),
)
def test_allowed_only_if_who_decided_allowed(steps: Any, failures: int) -> None:
    async def walk() -> None:
        clock = Clock()
        first, second = Scripted(), Scripted()
        point = FallbackDecisionPoint(first, second, circuit=circuit(clock, failures=failures, cool_down=5.0))
        for primary, secondary, seconds in steps:
            clock.pass_(seconds)
            first.answer, second.answer = primary, secondary
            first.queries.clear()
            second.queries.clear()
            try:
                decision = await point.decide(ask())
            except Exception as error:  # noqa: BLE001 - whatever it is, it is no allow
                assert not isinstance(error, AssertionError)
                continue
            who = second if second.queries else first
            assert decision is who.answer
            if second.queries and first.queries:
                assert isinstance(primary, Unavailable)
                assert not primary.by_query

    asyncio.run(walk())
