"""The shell: deadline, overload, cancellation, and one record a check."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import replace

import pytest

from authz.core.errors import Reason, RequestRefused
from authz.core.model import Allowed, Decision, Denied, EntityUid, Failed, Headers, Identity, Peer, Verdict
from authz.core.pipeline import Authorizer
from authz.core.request import canonical_request
from authz.core.route_compiler import RouteSpec, compile_routes
from authz.service import Limits, Service

IDENTITY = Identity(scheme="bearer", issuer="i", subject="s", principal=EntityUid("U", "s"))


class Caller:
    async def authenticate(self, request):
        return IDENTITY


class Point:
    """Decides when told to."""

    def __init__(self, verdict=Verdict.ALLOW, *, wait=False):
        self.verdict = verdict
        self.go = asyncio.Event()
        self.asked = asyncio.Event()
        if not wait:
            self.go.set()

    async def decide(self, query):
        self.asked.set()
        await self.go.wait()
        return Decision(verdict=self.verdict, policies=("p",))

    async def decide_many(self, queries):
        return tuple([await self.decide(query) for query in queries])


class Sink:
    def __init__(self):
        self.records = []

    def write(self, record):
        self.records.append(record)


def service(point, **changes):
    spec = RouteSpec(name="r", path="/a", action='Action::"x"', resource_type="D", resource_id="d", **changes)
    routes, problems = compile_routes((spec,))
    assert problems == ()
    sink = Sink()
    authorizer = Authorizer(routes=routes, authenticators={"test": Caller()}, decision_point=point)
    return Service(authorizer=authorizer, sinks=(sink,)), sink


def request(target="/a", id="d-1"):
    return canonical_request(
        id=id, method="GET", scheme="https", host="h", target=target, headers=Headers(), peer=Peer(trusted=True)
    )


async def test_each_check_is_recorded_once_with_its_stages():
    checker, sink = service(Point())
    outcome = await checker.check(request(), door="test")
    assert isinstance(outcome, Allowed)
    (record,) = sink.records
    assert (record.id, record.door, record.route, record.outcome) == ("d-1", "test", "r", outcome)
    assert [name for name, _ in record.timings] == ["route", "authenticate", "map", "decide", "enforce"]
    assert all(seconds >= 0 for _, seconds in record.timings)
    assert record.duration >= sum(seconds for _, seconds in record.timings) - 1e-6
    assert record.identity is IDENTITY
    assert record.decision is not None


async def test_a_decision_that_does_not_come_is_a_failure_at_its_stage():
    checker, sink = service(Point(wait=True))
    checker.limits = Limits(deadline=0.01)
    outcome = await checker.check(request(), door="test")
    assert isinstance(outcome, Failed)
    assert (outcome.reason, outcome.stage.value, outcome.status) == (Reason.DEADLINE, "decide", 503)
    assert sink.records[0].identity is IDENTITY


async def test_the_callers_deadline_counts_if_it_is_shorter():
    checker, _ = service(Point(wait=True))
    checker.limits = Limits(deadline=60)
    assert (await checker.check(request(), door="test", deadline=0.01)).reason is Reason.DEADLINE
    assert (await checker.check(request(), door="test", deadline=-1.0)).reason is Reason.DEADLINE


async def test_a_cancelled_check_is_recorded_as_a_failure_and_stays_cancelled():
    point = Point(wait=True)
    checker, sink = service(point)
    task = asyncio.create_task(checker.check(request(), door="test"))
    await point.asked.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert isinstance(sink.records[0].outcome, Failed)
    assert checker.in_flight == 0


async def test_more_checks_than_allowed_are_failed_at_once():
    point = Point(wait=True)
    checker, sink = service(point)
    checker.limits = Limits(deadline=60, in_flight=1)
    first = asyncio.create_task(checker.check(request(), door="test"))
    await point.asked.wait()
    second = await checker.check(request(id="d-2"), door="test")
    assert isinstance(second, Failed)
    assert second.reason is Reason.OVERLOADED
    point.go.set()
    assert isinstance(await first, Allowed)
    assert len(sink.records) == 2


async def test_fail_open_counts_for_deadlines_of_its_route_only():
    checker, _ = service(Point(wait=True), fail_open=True)
    checker.limits = Limits(deadline=0.01)
    outcome = await checker.check(request(), door="test")
    assert isinstance(outcome, Failed)
    assert outcome.let_through
    assert isinstance(await checker.check(request("/other"), door="test"), Denied)


async def test_a_request_that_could_not_be_built_is_recorded_too():
    checker, sink = service(Point())
    outcome = checker.refuse(RequestRefused(Reason.BAD_PATH, "x"), id="d-9", door="test")
    assert isinstance(outcome, Denied)
    assert outcome.status == 400
    assert (sink.records[0].id, sink.records[0].request) == ("d-9", None)


def test_decision_ids_are_unique_and_opaque():
    one, _ = service(Point())
    other, _ = service(Point())
    ids = {one.new_id() for _ in range(100)} | {other.new_id() for _ in range(100)}
    assert len(ids) == 200


class Relay(Point):
    """Waits several times, and once catches what is thrown at it."""

    async def decide(self, query):
        for _ in range(3):
            await asyncio.sleep(0)
        with suppress(TimeoutError):
            await asyncio.wait_for(asyncio.Event().wait(), 0.01)
        async with asyncio.TaskGroup() as group:
            group.create_task(asyncio.sleep(0))
        return await super().decide(query)


async def test_a_check_that_waits_many_times_comes_to_its_end():
    checker, _ = service(Relay())
    assert isinstance(await checker.check(request(), door="test"), Allowed)


async def test_what_a_waiting_stage_raises_is_a_failure():
    class Breaks(Point):
        async def decide(self, query):
            await asyncio.sleep(0)
            raise OSError("canary")

    checker, sink = service(Breaks())
    outcome = await checker.check(request(), door="test")
    assert isinstance(outcome, Failed)
    assert outcome.reason is Reason.INTERNAL
    assert "canary" not in outcome.detail
    assert len(sink.records) == 1


async def test_a_token_whose_key_takes_too_long_to_fetch_opens_nothing():
    class Fetches:
        async def authenticate(self, request):
            await asyncio.Event().wait()

    checker, _ = service(Point(), fail_open=True)
    checker.authorizer = replace(checker.authorizer, authenticators={"test": Fetches()})
    checker.limits = Limits(deadline=0.01)
    outcome = await checker.check(request(), door="test")
    assert isinstance(outcome, Failed)
    assert (outcome.reason, outcome.let_through) == (Reason.DEADLINE, False)
