"""`Authorizer.check` without a server, against a bare `cedarpy.is_authorized` with all handles.

Both are timed call by call, in turn, over the workload's round, so that whatever else the machine does falls on
both alike. A check with a cached token and local policies awaits nothing that is not ready, so it is driven
by hand: no event loop's time is in it.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import cedarpy
import yaml

from authz.core.enforce import respond
from authz.core.model import Allowed, Outcome, Peer, Record, Request, Stage
from authz.core.pipeline import Authorizer, Trail
from authz.observe.audit import JsonLines
from authz.observe.metrics import Metrics
from authz.servers.dialects import Dialect
from authz.servers.forward_auth import decode, encode
from authz.service import Service
from authz.testing import FakeRecordSink
from authz.wiring.assembly import assemble
from authz.wiring.runtime import running
from bench.answers import WrongAnswer
from bench.rows import Row, at_most, row
from bench.workload import Workload, cedar_entities, configuration, policy_set

T = TypeVar("T")
PEER = Peer(address="127.0.0.1", trusted=True)
BENCH = "in-process"
ENGINE = "bare cedarpy.is_authorized, all handles"
ROUNDS = 6
"""Rounds of the workload a run."""
_now = time.perf_counter_ns


@dataclass(frozen=True, slots=True, kw_only=True)
class Split:
    """Medians in microseconds."""

    check: float
    """`Authorizer.check`, whole."""
    bare: float
    """`cedarpy.is_authorized`."""
    stages: Mapping[str, float]
    """Within a check."""
    around: Mapping[str, float]
    """What the HTTP door does beside a check, without its host."""


def driven(coroutine: Coroutine[Any, Any, T]) -> T:
    """The result of a coroutine that never waits.

    Raises:
        RuntimeError: it waits.
    """
    try:
        coroutine.send(None)
    except StopIteration as done:
        result: T = done.value
        return result
    coroutine.close()
    raise RuntimeError("the coroutine waits for something; it can be driven only where all is at hand")


class MarkedTrail(Trail):
    """A trail that reads the clock as each stage begins."""

    __slots__ = ("marks",)

    def __init__(self) -> None:
        super().__init__()
        self.marks = [(Stage.ROUTE, _now())]

    def enter(self, stage: Stage) -> None:
        self.stage = stage
        self.marks.append((stage, _now()))


@asynccontextmanager
async def authorizer(work: Path) -> AsyncIterator[Authorizer]:
    """The authorizer that `authz serve` would run for the workload in `work`."""
    file = work / "in-process.yaml"
    file.write_text(yaml.safe_dump(configuration(work, {})), encoding="utf-8")
    async with running(assemble(file).required(), watching=False) as runtime:
        yield runtime.service.authorizer


def bare_calls(made: Workload) -> list[Callable[[], cedarpy.AuthzResult]]:
    """One call for each request of the round, as a user of cedarpy would write it: the policies and the entities
    are parsed handles, the context is a dict.
    """
    policies = policy_set()
    handles = [cedar_entities(user, made.entities) for user in made.users]

    def call(query: dict[str, Any], entities: cedarpy.Entities) -> Callable[[], cedarpy.AuthzResult]:
        return lambda: cedarpy.is_authorized(query, policies, entities)

    return [call(ask.query, handles[ask.user]) for ask in made.asks]


def bare_median(calls: Sequence[Callable[[], object]], rounds: int = ROUNDS) -> float:
    """Median time of a call, in microseconds."""
    times = []
    for _ in range(rounds):
        for call in calls:
            begun = _now()
            call()
            times.append(_now() - begun)
    return statistics.median(times) / 1000


def questions(made: Workload) -> list[tuple[str, str, list[tuple[str, str]]]]:
    """The round as Envoy asks it of the HTTP door: method, target, headers."""
    added = [
        ("x-forwarded-for", made.description.source_address),
        ("x-forwarded-proto", "http"),
        ("x-request-id", "0f9a4d2c-3c7e-4a51-9c58-8f3f6f0f7b1e"),
    ]
    sent = [("Host", made.description.host), ("Content-Length", "0")]
    return [
        (ask.method, f"/envoy{ask.path}", [*sent, ("Authorization", f"Bearer {made.tokens[ask.user]}"), *added])
        for ask in made.asks
    ]


def requests(made: Workload) -> list[Request]:
    """The round as the core sees it."""
    return [
        decode(Dialect.ENVOY, method, target, headers, id=f"bench-{number:x}", peer=PEER)
        for number, (method, target, headers) in enumerate(questions(made))
    ]


def check_answers(made: Workload, outcomes: Sequence[Outcome]) -> None:
    """Raises WrongAnswer unless each outcome is what cedarpy said."""
    for ask, outcome in zip(made.asks, outcomes, strict=True):
        if isinstance(outcome, Allowed) is not ask.allowed:
            wanted = "allowed" if ask.allowed else "denied"
            raise WrongAnswer(f"{ask.method} {ask.path} by user {ask.user} must be {wanted}: {outcome.reason}")


async def measure(made: Workload, work: Path, *, runs: int, rounds: int = ROUNDS) -> list[Split]:
    """One `Split` a run."""
    calls = bare_calls(made)
    async with authorizer(work) as checked:
        asked = requests(made)
        check_answers(made, [driven(checked.check(request, Trail())) for request in asked])
        return [await _run(made, checked, asked, calls, rounds) for _ in range(runs)]


async def _run(
    made: Workload,
    checked: Authorizer,
    asked: Sequence[Request],
    calls: Sequence[Callable[[], object]],
    rounds: int,
) -> Split:
    ours, bare = _alternating(checked, asked, calls, rounds)
    return Split(
        check=statistics.median(ours) / 1000,
        bare=statistics.median(bare) / 1000,
        stages=_stages(checked, asked),
        around=await _around(made, checked, asked),
    )


def _alternating(
    checked: Authorizer, asked: Sequence[Request], calls: Sequence[Callable[[], object]], rounds: int
) -> tuple[list[int], list[int]]:
    check = checked.check
    ours: list[int] = []
    bare: list[int] = []
    for _ in range(rounds):
        for request, call in zip(asked, calls, strict=True):
            begun = _now()
            driven(check(request, Trail()))
            between = _now()
            call()
            ended = _now()
            ours.append(between - begun)
            bare.append(ended - between)
    return ours, bare


def _stages(checked: Authorizer, asked: Sequence[Request]) -> Mapping[str, float]:
    times: dict[str, list[int]] = {}
    for request in asked:
        trail = MarkedTrail()
        driven(checked.check(request, trail))
        ends = [at for _, at in trail.marks[1:]] + [_now()]
        for (stage, at), until in zip(trail.marks, ends, strict=True):
            times.setdefault(stage.value, []).append(until - at)
    return {stage: statistics.median(found) / 1000 for stage, found in times.items()}


async def _around(made: Workload, checked: Authorizer, asked: Sequence[Request]) -> Mapping[str, float]:
    outcomes = [driven(checked.check(request, Trail())) for request in asked]
    disclosure = Service(authorizer=checked).disclosure
    records, shell = await _shell(checked, asked)
    metrics = Metrics(routes=[route.name for route in checked.routes.routes])
    asking = iter(questions(made))
    numbered = iter(outcomes)
    timed = {
        "decode": _median(lambda: _decode(*next(asking)), len(asked)),
        "respond and encode": _median(
            lambda: encode(Dialect.ENVOY, respond(next(numbered), "bench-1", disclosure)), len(asked)
        ),
        "shell: deadline, timings, record": shell,
        "metrics": _median(_each(records, metrics.observe), len(records)),
    }
    with JsonLines("/dev/null") as lines:
        timed["record line"] = _median(_each(records, lines.write), len(records))
    return timed


def _decode(method: str, target: str, headers: list[tuple[str, str]]) -> Request:
    return decode(Dialect.ENVOY, method, target, headers, id="bench-1", peer=PEER)


def _each(records: Sequence[Record], write: Callable[[Record], None]) -> Callable[[], None]:
    found = iter(records)
    return lambda: write(next(found))


def _median(call: Callable[[], object], times: int) -> float:
    found = []
    for _ in range(times):
        begun = _now()
        call()
        found.append(_now() - begun)
    return statistics.median(found) / 1000


async def _shell(checked: Authorizer, asked: Sequence[Request]) -> tuple[Sequence[Record], float]:
    """The records of a round, and what `Service.check` takes beyond `Authorizer.check`."""
    sink = FakeRecordSink(limit=len(asked))
    service = Service(authorizer=checked, sinks=(sink,))
    service_times, check_times = [], []

    async def check(request: Request) -> None:
        begun = _now()
        await checked.check(request, Trail())
        check_times.append(_now() - begun)

    async def whole(request: Request) -> None:
        begun = _now()
        await service.check(request, door="bench")
        service_times.append(_now() - begun)

    for number, request in enumerate(asked):
        # By turns, for the second one finds the processor's caches warm.
        for timed in (check, whole) if number % 2 else (whole, check):
            await timed(request)
    taken = (statistics.median(service_times) - statistics.median(check_times)) / 1000
    return sink.records, taken


def rows(splits: Sequence[Split]) -> list[Row]:
    """What the runs amount to: the whole, then its parts, each as a share of the whole."""
    check = [split.check for split in splits]
    bare = [split.bare for split in splits]
    found = [row(BENCH, "Authorizer.check", "µs", check, against=bare, name=ENGINE, bar=at_most(1.8))]
    for stage in splits[0].stages:
        part = [split.stages[stage] for split in splits]
        found.append(row(BENCH, f"stage: {stage}", "µs", part, against=check, name="Authorizer.check"))
    for name in splits[0].around:
        part = [split.around[name] for split in splits]
        found.append(row(BENCH, f"around it: {name}", "µs", part, against=check, name="Authorizer.check"))
    return found
