"""A share of local decisions is asked again in the background: what is compared, what it costs, what is told."""

from __future__ import annotations

import asyncio
import io
import random
from collections.abc import Iterator
from contextlib import redirect_stdout
from dataclasses import replace
from typing import Any

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st

from authz.core.errors import DecisionUnavailable, PoliciesUnavailable, Reason
from authz.core.model import Credential, Decision, Effect, Entity, EntitySlice, PolicyError
from authz.pdp.parity import ParityCheck
from authz.pdp.parity_log import logged
from authz.pdp.parity_values import Difference, Divergence, ParitySettings, difference
from tests.pdp.composing import ALLOW, ANN, BOB, DENY, Clock, Held, Scripted, ask, idle, until

OTHER = replace(ALLOW, policies=("q",))


class Waits:
    """Stands for `asyncio.sleep`: who waits, waits until the test says so."""

    def __init__(self) -> None:
        self.seconds: list[float] = []
        self._events: list[asyncio.Event] = []

    async def __call__(self, seconds: float) -> None:
        self.seconds.append(seconds)
        event = asyncio.Event()
        self._events.append(event)
        await event.wait()

    def end(self) -> None:
        for event in self._events:
            event.set()
        self._events.clear()


class Setup:
    """A check with its two points."""

    def __init__(self, local: Any = ALLOW, remote: Any = ALLOW, **settings: Any) -> None:
        self.clock = Clock()
        self.waits = Waits()
        self.local = Scripted(local)
        self.remote: Any = remote if isinstance(remote, Scripted) else Scripted(remote)
        self.told: list[Divergence] = []
        self.check = ParityCheck(
            self.remote,
            ParitySettings(**{"share": 1.0, "requests": 100.0, "settle": 30.0, **settings}),
            told=self.told.append,
            random=random.Random(7).random,
            clock=self.clock.monotonic,
            now=self.clock.now,
            sleep=self.waits,
        )
        self.point = self.check.beside(self.local)

    async def ended(self) -> None:
        """Everything that was begun has ended, second questions too."""
        for _ in range(100):
            await idle()
            if not self.check.pending:
                return
            self.waits.end()
        raise AssertionError("a check does not end")


# --- the decision


@pytest.mark.parametrize(
    "remote", [ALLOW, DENY, DecisionUnavailable(), RuntimeError()], ids=lambda one: type(one).__name__
)
@pytest.mark.parametrize("local", [ALLOW, DENY], ids=["allow", "deny"])
async def test_the_local_decision_stands_whatever_the_other_says(local, remote):
    setup = Setup(local, remote)
    assert await setup.point.decide(ask()) == local
    assert await setup.point.decide_many([ask(), ask(BOB)]) == (local, local)
    await setup.ended()
    assert len(setup.remote.queries) >= 3


async def test_nobody_waits_for_the_other():
    setup = Setup(ALLOW, Held())
    for _ in range(3):
        assert await asyncio.wait_for(setup.point.decide(ask()), 10) == ALLOW
    await until(lambda: len(setup.remote.held) == 3)
    for _ in range(3):
        setup.remote.release()
    await setup.ended()
    assert setup.check.counters.agreed == 3


async def test_a_local_failure_is_raised_and_not_checked():
    setup = Setup(PoliciesUnavailable(), ALLOW)
    with pytest.raises(PoliciesUnavailable):
        await setup.point.decide(ask())
    with pytest.raises(PoliciesUnavailable):
        await setup.point.decide_many([ask()])
    await setup.ended()
    assert not setup.remote.queries
    assert setup.check.counters.decisions == 0


# --- what is compared


ERRED = PolicyError(policy_id="x", effect=Effect.FORBID, message="engine's words")
UNNAMED = replace(ERRED, policy_id="")
PAIRS = [
    (ALLOW, ALLOW, None),
    (ALLOW, replace(ALLOW, decision_point="avp", version="", age=9.0, messages=("m",), left_out=("l",)), None),
    (ALLOW, DENY, Difference.VERDICT),
    (DENY, ALLOW, Difference.VERDICT),
    (ALLOW, OTHER, Difference.POLICIES),
    (replace(ALLOW, policies=("a", "b")), replace(ALLOW, policies=("b", "a")), None),
    (DENY, replace(DENY, policies=("f",)), Difference.POLICIES),
    (ALLOW, replace(ALLOW, errors=(ERRED,)), Difference.ERRORS),
    (replace(ALLOW, errors=(ERRED,)), replace(ALLOW, errors=(replace(ERRED, message="other words"),)), None),
    (replace(ALLOW, errors=(ERRED,)), replace(ALLOW, errors=(replace(ERRED, policy_id="y"),)), Difference.ERRORS),
    (replace(ALLOW, errors=(ERRED,)), replace(ALLOW, errors=(UNNAMED, UNNAMED)), None),
    (replace(ALLOW, errors=(UNNAMED,)), ALLOW, Difference.ERRORS),
]


@pytest.mark.parametrize(("local", "remote", "expected"), PAIRS)
def test_two_decisions_are_the_same_in_what_counts(local: Decision, remote: Decision, expected: Difference | None):
    assert difference(local, remote) is expected


@pytest.mark.parametrize(("local", "remote", "expected"), PAIRS)
async def test_a_difference_that_stays_is_a_divergence(local: Decision, remote: Decision, expected: Difference | None):
    setup = Setup(local, remote)
    await setup.point.decide(ask())
    await idle()
    assert not setup.told  # it may still be a change that is on its way
    assert not setup.check.alarmed
    await setup.ended()
    counters = setup.check.counters
    if expected is None:
        assert (counters.agreed, counters.calls, counters.divergences.total()) == (1, 1, 0)
        return
    assert setup.waits.seconds == [30.0]
    assert counters.divergences == {expected: 1}
    assert (counters.agreed, counters.calls) == (0, 2)
    [told] = setup.told
    assert (told.kind, told.settled) == (expected, True)
    assert difference(told.local, told.remote) is expected
    assert setup.check.alarmed


async def test_a_difference_that_is_gone_after_the_replica_has_heard_of_a_change_is_none():
    setup = Setup(ALLOW, DENY)
    await setup.point.decide(ask())
    await until(lambda: setup.waits.seconds)
    newer = Scripted(DENY)
    setup.check.beside(newer)  # the new policy set's decision point
    await setup.ended()
    counters = setup.check.counters
    assert (counters.passing, counters.divergences.total(), setup.told) == (1, 0, [])
    assert len(newer.queries) == 1
    assert not setup.check.alarmed


async def test_without_time_to_settle_a_difference_counts_at_once():
    setup = Setup(ALLOW, DENY, settle=0)
    await setup.point.decide(ask())
    await setup.ended()
    assert [(one.kind, one.settled) for one in setup.told] == [(Difference.VERDICT, False)]
    assert (setup.check.counters.calls, setup.waits.seconds) == (1, [])


async def test_the_alarm_ends_by_itself():
    setup = Setup(ALLOW, DENY, alarm=60.0)
    await setup.point.decide(ask())
    await setup.ended()
    setup.clock.pass_(59)
    assert setup.check.alarmed
    setup.clock.pass_(1)
    assert [setup.check.alarmed] == [False]


# --- failures of the check


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (DecisionUnavailable(Reason.DECISION_THROTTLED), Reason.DECISION_THROTTLED),
        (DecisionUnavailable(Reason.QUERY_REFUSED), Reason.QUERY_REFUSED),
        (TimeoutError(), Reason.DEADLINE),
        (RuntimeError("boom"), Reason.INTERNAL),
    ],
    ids=str,
)
async def test_a_check_without_an_answer_is_counted_and_no_divergence(error, reason):
    setup = Setup(ALLOW, error)
    await setup.point.decide(ask())
    await setup.ended()
    assert setup.check.counters.failed == {reason: 1}
    assert not setup.told
    assert not setup.check.alarmed


@pytest.mark.parametrize("broken", ["local", "remote"])
async def test_a_second_question_without_an_answer_says_nothing(broken: str):
    setup = Setup(ALLOW, DENY)
    await setup.point.decide(ask())
    await until(lambda: setup.waits.seconds)
    getattr(setup, broken).answer = DecisionUnavailable()
    await setup.ended()
    assert setup.check.counters.failed == {Reason.DECISION_UNAVAILABLE: 1}
    assert not setup.told


async def test_a_call_that_hangs_is_given_up():
    setup = Setup(ALLOW, Held(), timeout=0.001)
    await setup.point.decide(ask())
    await until(lambda: setup.remote.held)
    async with asyncio.timeout(30):
        while setup.check.pending:
            await asyncio.sleep(0.001)
    assert setup.check.counters.failed == {Reason.DEADLINE: 1}


async def test_who_is_told_and_raises_stops_no_check():
    setup = Setup(ALLOW, DENY, settle=0)

    def raises(_: Divergence) -> None:
        raise ZeroDivisionError

    setup.check._told = raises
    for _ in range(2):
        assert await setup.point.decide(ask()) == ALLOW
        await setup.ended()
    assert setup.check.counters.divergences == {Difference.VERDICT: 2}


# --- what it may cost


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 1.0])
async def test_the_share_that_is_checked_is_the_one_that_was_asked_for(share: float):
    setup = Setup(ALLOW, ALLOW, share=share, requests=1e9, queue=10_000)
    for _ in range(2000):
        await setup.point.decide(ask())
    await setup.ended()
    assert setup.check.counters.calls == pytest.approx(2000 * share, abs=80)
    assert setup.check.counters.decisions == 2000


async def test_no_more_calls_are_made_than_the_budget_allows():
    setup = Setup(ALLOW, DENY, requests=2.0)  # every check needs its second call
    for _ in range(100):  # ten seconds
        await setup.point.decide(ask())
        await idle()
        setup.waits.end()
        setup.clock.pass_(0.1)
    await setup.ended()
    counters = setup.check.counters
    assert counters.calls <= 2 * 10 + 2
    assert counters.calls >= 18
    assert counters.dropped["budget"] == 100 - counters.calls / 2


async def test_a_check_that_agrees_leaves_its_second_call_to_others():
    setup = Setup(ALLOW, ALLOW, requests=2.0)
    for _ in range(100):
        await setup.point.decide(ask())
        await idle()
        setup.clock.pass_(0.1)
    assert 18 <= setup.check.counters.calls <= 22


async def test_calls_at_once_and_queries_that_wait_are_bounded():
    setup = Setup(ALLOW, Held(), concurrency=2, queue=3, requests=1000.0)
    for _ in range(20):
        await setup.point.decide(ask())
        await idle()
    assert len(setup.remote.held) == 2
    assert setup.check.pending == 5
    assert setup.check.counters.dropped == {"queue": 15}
    while setup.check.pending:
        setup.remote.release()
        await idle()
    assert setup.check.counters.agreed == 5


async def test_differences_that_wait_for_their_second_question_are_bounded():
    setup = Setup(ALLOW, DENY, queue=3, requests=1000.0)
    for _ in range(10):
        await setup.point.decide(ask())
        await idle()
    assert setup.check.counters.dropped == {"settling": 7}
    await setup.ended()
    assert setup.check.counters.divergences == {Difference.VERDICT: 3}


@given(
    steps=st.lists(
        st.tuples(st.sampled_from([ALLOW, DENY, DecisionUnavailable()]), st.sampled_from([0.0, 0.2, 1.0])), max_size=30
    ),
    requests=st.sampled_from([0.5, 1.0, 5.0]),
)
def test_whatever_is_answered_every_sample_ends_once_and_in_the_budget(steps: Any, requests: float) -> None:
    async def walk() -> None:
        setup = Setup(ALLOW, ALLOW, requests=requests)
        begun = setup.clock.seconds
        for answer, seconds in steps:
            setup.remote.answer = answer
            await setup.point.decide(ask())
            await idle()
            setup.clock.pass_(seconds)
        await setup.ended()
        counters = setup.check.counters
        ended = counters.agreed + counters.passing + counters.divergences.total() + counters.failed.total()
        assert ended + counters.dropped.total() == len(steps) == counters.decisions
        assert counters.calls <= requests * (setup.clock.seconds - begun) + 2
        assert counters.calls == len(setup.remote.queries)

    asyncio.run(walk())


# --- what it saves


async def test_each_local_decision_is_a_call_that_was_not_made():
    setup = Setup(ALLOW, ALLOW, share=0.0)
    await setup.point.decide(ask())
    await setup.point.decide_many([ask()] * 999)
    assert setup.check.counters.decisions == 1000
    assert setup.check.counters.calls == 0


# --- the end


async def test_nothing_is_left_when_it_is_closed():
    before = asyncio.all_tasks()
    setup = Setup(ALLOW, Held(), concurrency=1)
    differing = Setup(ALLOW, DENY)
    for one in (setup, differing):
        for _ in range(3):
            await one.point.decide(ask())
        await idle()
        assert one.check.pending
        await one.check.aclose()
        assert one.check.pending == 0
        assert await one.point.decide(ask()) == ALLOW
        await one.check.aclose()
    assert asyncio.all_tasks() == before


# --- what is told


async def test_a_principal_is_told_as_the_log_may_show_it_also_as_resource():
    setup = Setup(ALLOW, DENY, settle=0)
    setup.check._principal = lambda uid: f"{uid.type}#{len(uid.id)}"
    await setup.point.decide(ask(resource=ANN))
    await setup.ended()
    [told] = setup.told
    assert (told.principal, told.action, told.resource) == ("User#3", 'Action::"read"', "User#3")
    assert told.time == setup.clock.wall


async def test_the_words_of_an_engine_are_told_to_nobody():
    """They may hold an attribute's value."""
    setup = Setup(replace(ALLOW, errors=(ERRED,)), DENY, settle=0)
    await setup.point.decide(ask())
    await setup.ended()
    assert setup.told[0].local.errors == (replace(ERRED, message=""),)


async def test_by_default_a_principal_is_told_by_its_type_alone():
    setup = Setup(ALLOW, DENY, settle=0)
    await setup.point.decide(ask())
    await setup.ended()
    assert setup.told[0].principal == "User"


@pytest.fixture
def lines() -> Iterator[io.StringIO]:
    out = io.StringIO()
    structlog.configure(
        processors=[structlog.processors.add_log_level, structlog.processors.JSONRenderer()],
        logger_factory=structlog.PrintLoggerFactory(out),
        cache_logger_on_first_use=False,
    )
    yield out
    structlog.reset_defaults()


async def test_a_divergence_is_logged_with_both_answers_and_nothing_that_is_secret(lines):
    secret = "canary"
    query = ask(
        BOB,
        context={"a": secret, "token": {"email": secret}},
        entities=(EntitySlice(entities=(Entity(uid=BOB, attributes={"email": secret}),)),),
        credential=Credential(kind="access", secret=secret),
    )
    local = replace(ALLOW, errors=(replace(ERRED, message=secret),), messages=(secret,), age=1.25)
    check = ParityCheck(Scripted(replace(DENY, policies=("f",))), ParitySettings(share=1, settle=0))
    with redirect_stdout(io.StringIO()) as printed:
        await check.beside(Scripted(local)).decide(query)
        await until(lambda: not check.pending)
    assert not printed.getvalue()
    text = lines.getvalue()
    assert secret not in text
    assert "bob" not in text
    for told in ("warning", "verdict", '"allow"', '"deny"', '"p"', '"f"', '"x"', '"v1"', "1.25", "User", "Doc"):
        assert told in text
    assert len(text.splitlines()) == 1


def test_a_logged_divergence_is_bounded(lines):
    many = replace(ALLOW, policies=tuple(f"p{number}" for number in range(10_000)))
    logged(
        Divergence(
            time=0,
            kind=Difference.POLICIES,
            settled=True,
            principal="",
            action="",
            resource="",
            local=many,
            remote=many,
        )
    )
    assert len(lines.getvalue()) < 2_000
