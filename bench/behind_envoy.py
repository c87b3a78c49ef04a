"""Each authorizer behind a real Envoy: processor time per request, throughput, latency, memory.

One authorizer at a time, each time as a fresh process with an Envoy of its own. In each run every one of them has
its turn, and the bare engine call is timed too, so that every ratio is of figures from the same minute.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.in_process import WrongAnswer, bare_calls, bare_median
from bench.load import Generator, Load
from bench.procfs import cpu_seconds, resident_bytes
from bench.programs import Authorizer, AuthzGrpc, AuthzHttp, BareEngine, BareGrpc, BareHttp, BenchEnvoy, NullNginx
from bench.rows import Row, at_least, at_most, row
from bench.workload import Ask, Workload
from tests.proxies.client import send
from tests.proxies.harness import Folder

BENCH = "behind-envoy"
WARM = 2.0
"""Seconds of load before anything is counted: every token verified, every handle built."""
IN_FLIGHT = 64
"""How many requests may be under way when the load generator stops counting; generous."""
BARE_ENGINE = "bare + engine"
ALLOWANCE = 2.5
"""Times a bare engine call that an authorizer may take beyond its bare host."""

Make = Callable[[Path], Authorizer]
Say = Callable[[str], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """One authorizer in one run."""

    cpu: float
    """Microseconds of processor time per request, of the authorizer's processes."""
    throughput: float
    """Requests a second."""
    p50: float
    """Milliseconds."""
    p99: float
    """Milliseconds."""
    memory: float
    """Mebibytes resident, under load."""
    told: float = math.nan
    """What the server measured itself: the median of a bare engine call, in microseconds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One run: every authorizer, and the bare engine call, in microseconds."""

    samples: Mapping[str, Sample]
    engine: float
    """Median of a bare engine call by itself, on an otherwise idle machine."""
    loaded_engine: float
    """The same, in the bare host behind the same Envoy under the same load."""


def contenders(work: Path) -> Mapping[str, Make]:
    """What is measured, by name, in the order of each run."""
    return {
        "null nginx": NullNginx,
        "bare aiohttp": BareHttp,
        BARE_ENGINE: BareEngine,
        "authz http": lambda folder: AuthzHttp(folder, work),
        "bare grpc.aio": BareGrpc,
        "authz grpc": lambda folder: AuthzGrpc(folder, work),
    }


async def measure(made: Workload, work: Path, *, runs: int, duration: float, say: Say) -> list[Run]:
    """All runs.

    Raises:
        WrongAnswer: an authorizer answers wrongly; nothing of it is measured.
    """
    engine_calls = bare_calls(made)
    with Folder() as folder:
        load = Generator(folder, [made.http(ask) for ask in made.asks])
        found: list[Run] = []
        for number in range(runs):
            engine = bare_median(engine_calls)
            say(f"run {number + 1} of {runs}: bare cedarpy {engine:.1f} µs")
            samples = {}
            for name, make in contenders(work).items():
                samples[name] = await sample(make, made, load, duration=duration, thorough=number == 0)
                say(f"  {name:14} {_told(samples[name])}")
            loaded = samples[BARE_ENGINE].told
            found.append(Run(samples=samples, engine=engine, loaded_engine=loaded))
        return found


def _told(one: Sample) -> str:
    return (
        f"{one.cpu:7.1f} µs/request  {one.throughput:8,.0f} requests/s  "
        f"p50 {one.p50:5.2f} ms  p99 {one.p99:6.2f} ms  {one.memory:5.1f} MiB"
    )


async def sample(make: Make, made: Workload, load: Generator, *, duration: float, thorough: bool) -> Sample:
    """Starts one authorizer and its Envoy, checks its answers, loads it, counts."""
    with Folder() as mine, Folder() as other:
        async with make(mine) as server, BenchEnvoy(other, server) as envoy:
            await check_answers(envoy, server, made, made.asks if thorough else _some(made))
            await load.run(envoy.port, WARM)
            evaluated = await _evaluated(server)
            before = cpu_seconds(server.pid)
            seen = await load.run(envoy.port, duration)
            cpu = cpu_seconds(server.pid) - before
            memory = resident_bytes(server.pid)
            check_load(seen, made, decides=server.decides)
            await _check_evaluated(server, evaluated, seen)
        told = server.told.read_text(encoding="utf-8") if isinstance(server, BareEngine) else "nan"
    return Sample(
        told=float(told),
        cpu=cpu / seen.requests * 1e6,
        throughput=seen.throughput,
        p50=seen.p50,
        p99=seen.p99,
        memory=memory / 2**20,
    )


# --- the answers are right ---------------------------------------------------------------------------------


def _some(made: Workload) -> Sequence[Ask]:
    return [next(ask for ask in made.asks if ask.allowed is allowed) for allowed in (True, False)]


async def check_answers(envoy: BenchEnvoy, server: Authorizer, made: Workload, asks: Sequence[Ask]) -> None:
    """Raises WrongAnswer unless what is allowed gets 200, what is denied 403, and no token 401."""
    for ask in asks:
        wanted = 200 if ask.allowed or not server.decides else 403
        status = (await envoy.ask(ask.method, ask.path, made.headers(ask))).status
        if status != wanted:
            raise WrongAnswer(f"{server.name}: {ask.method} {ask.path} by user {ask.user}: {status}, not {wanted}")
    status = (await send(envoy.port, made.asks[0].path)).status
    wanted = 401 if server.decides else 200
    if status != wanted:
        raise WrongAnswer(f"{server.name}: without a token: {status}, not {wanted}")


def check_load(seen: Load, made: Workload, *, decides: bool) -> None:
    """Raises WrongAnswer unless the answers under load were right, as far as their number tells."""
    if seen.broken:
        raise WrongAnswer(f"{seen.broken} connections were refused or lost, or timed out, under load")
    share = made.denied / len(made.asks) if decides else 0.0
    # Within a round the denials are spread unevenly; a load may end anywhere in one.
    slack = made.denied + IN_FLIGHT if decides else 0
    if not math.isclose(seen.refused, seen.requests * share, abs_tol=slack):
        raise WrongAnswer(f"{seen.refused} of {seen.requests} requests were refused, not {share:.1%} of them")


async def _evaluated(server: Authorizer) -> Mapping[str, int]:
    return (await server.counted()).outcomes if isinstance(server, AuthzHttp) else {}


async def _check_evaluated(server: Authorizer, before: Mapping[str, int], seen: Load) -> None:
    """By its own metrics: every request was decided, none failed, and every one is in the record."""
    if not isinstance(server, AuthzHttp):
        return
    now = await server.counted()
    new = {outcome: count - before.get(outcome, 0) for outcome, count in now.outcomes.items()}
    if sum(new.values()) < seen.requests or new.keys() - {"allowed", "denied"}:
        raise WrongAnswer(f"{seen.requests} requests were answered, but the metrics say {new}")
    if now.dropped:
        raise WrongAnswer(f"{now.dropped} records were dropped")


# --- rows --------------------------------------------------------------------------------------------------


def rows(runs: Sequence[Run]) -> list[Row]:
    """What the runs amount to."""
    engine = [run.engine for run in runs]
    loaded = [run.loaded_engine for run in runs]
    found = [
        row(BENCH, "engine: bare cedarpy.is_authorized, all handles, by itself", "µs", engine),
        row(BENCH, f"engine: the same under this load ({BARE_ENGINE})", "µs", loaded, against=engine, name="by itself"),
    ]
    for ours, bare in (("authz http", "bare aiohttp"), ("authz grpc", "bare grpc.aio")):
        found += _cpu(runs, ours, bare)
    found += _beside(runs, "authz http", "bare aiohttp", judged=True)
    found += _beside(runs, "authz grpc", "bare grpc.aio", judged=False)
    return found


def _of(runs: Sequence[Run], name: str, what: str) -> list[float]:
    return [getattr(run.samples[name], what) for run in runs]


def _cpu(runs: Sequence[Run], ours: str, bare: str) -> list[Row]:
    mine, host = _of(runs, ours, "cpu"), _of(runs, bare, "cpu")
    alone = [cpu + ALLOWANCE * run.engine for cpu, run in zip(host, runs, strict=True)]
    loaded = [cpu + ALLOWANCE * run.loaded_engine for cpu, run in zip(host, runs, strict=True)]
    metric = f"{ours}: CPU per request"
    limit = f"{bare} + {ALLOWANCE} × engine"
    return [
        row(BENCH, metric, "µs", mine, against=alone, name=f"{limit} by itself", bar=at_most(1)),
        row(BENCH, metric, "µs", mine, against=loaded, name=f"{limit} under this load"),
        row(BENCH, metric, "µs", mine, against=host, name=bare),
        row(BENCH, metric, "µs", mine, against=_of(runs, "null nginx", "cpu"), name="null nginx"),
    ]


def _beside(runs: Sequence[Run], ours: str, bare: str, *, judged: bool) -> list[Row]:
    found = []
    for label, what, unit, bar in (
        ("throughput", "throughput", "req/s", at_least(0.4)),
        ("p50", "p50", "ms", None),
        ("p99", "p99", "ms", at_most(4)),
        ("resident memory under load", "memory", "MiB", None),
    ):
        mine = _of(runs, ours, what)
        for name in ("null nginx", bare):
            due = bar if judged and name == "null nginx" else None
            against = _of(runs, name, what)
            found.append(row(BENCH, f"{ours}: {label}", unit, mine, against=against, name=name, bar=due))
    return found
