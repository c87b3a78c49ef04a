"""Each authorizer behind a real Envoy: processor time per request, throughput, latency, memory.

One authorizer at a time, ours each time as a fresh process, all with an Envoy of their own. In each run every one of
them has its turn, and the bare engine call is timed too, so that every ratio is of figures from the same minute.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.answers import check_load, check_metrics, check_probes, check_round, probes, some
from bench.in_process import bare_calls, bare_median
from bench.load import Generator, Load
from bench.peers import Peer
from bench.procfs import cpu_seconds, resident_bytes
from bench.programs import (
    Authorizer,
    AuthzGrpc,
    AuthzHttp,
    BareAsgiGrpc,
    BareAsgiHttp,
    BareEngine,
    BareGrpc,
    BareHttp,
    BenchEnvoy,
    Foreign,
    NullNginx,
)
from bench.workload import Workload
from tests.proxies.harness import Folder

WARM = 1.0
"""Seconds of load before anything is counted: every token verified, every handle built."""
NULL = "null nginx"
BARE_ENGINE = "bare + engine"

Make = Callable[[Path], Authorizer]
Say = Callable[[str], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """One authorizer in one run. Not a number: unknown, for it is not our process."""

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

    @property
    def loaded_engine(self) -> float:
        """The same, in the bare host behind the same Envoy under the same load."""
        return self.samples[BARE_ENGINE].told


@dataclass(frozen=True, slots=True, kw_only=True)
class OurHost:
    """What carries a door of authz, and the bare handler that it is measured against."""

    door: str
    ours: str
    bare: str


HOSTS = (
    OurHost(door="http", ours="authz http", bare="bare aiohttp"),
    OurHost(door="http", ours="authz http on h2corn", bare="bare h2corn http"),
    OurHost(door="grpc", ours="authz grpc", bare="bare grpc.aio"),
    OurHost(door="grpc", ours="authz grpc on h2corn", bare="bare h2corn grpc"),
)


def contenders(work: Path) -> Mapping[str, Make]:
    """What is measured, by name, in the order of each run."""
    return {
        NULL: NullNginx,
        "bare aiohttp": BareHttp,
        BARE_ENGINE: BareEngine,
        "authz http": lambda folder: AuthzHttp(folder, work),
        "bare h2corn http": BareAsgiHttp,
        "authz http on h2corn": lambda folder: AuthzHttp(folder, work, host="h2corn"),
        "bare grpc.aio": BareGrpc,
        "authz grpc": lambda folder: AuthzGrpc(folder, work),
        "bare h2corn grpc": BareAsgiGrpc,
        "authz grpc on h2corn": lambda folder: AuthzGrpc(folder, work, host="h2corn"),
    }


def beside(peers: Sequence[Peer]) -> set[str]:
    """Who has to be measured in the same run as the peers: the null authorizer, and ours at the same doors."""
    doors = {peer.door for peer in peers}
    return {NULL, *(host.ours for host in HOSTS if host.door in doors)}


def foreign(peer: Peer) -> Make:
    """Makes the stand-in for a peer."""
    return lambda folder: Foreign(folder, peer)


async def measure(made: Workload, chosen: Mapping[str, Make], *, runs: int, duration: float, say: Say) -> Sequence[Run]:
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
            for name, make in chosen.items():
                samples[name] = await sample(make, made, load, duration=duration, thorough=number == 0)
                say(f"  {name:20} {_told(samples[name])}")
            found.append(Run(samples=samples, engine=engine))
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
            await check_answers(envoy, server, made, thorough=thorough)
            await load.run(envoy.port, WARM)
            evaluated = await _evaluated(server)
            before = _cpu(server)
            seen = await load.run(envoy.port, duration)
            cpu = _cpu(server) - before
            memory = math.nan if server.watched is None else resident_bytes(server.watched)
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


def _cpu(server: Authorizer) -> float:
    return math.nan if server.watched is None else cpu_seconds(server.watched)


async def check_answers(envoy: BenchEnvoy, server: Authorizer, made: Workload, *, thorough: bool) -> None:
    """Raises WrongAnswer unless it answers rightly: the whole round and every probe, or a few of them."""
    asks = made.asks if thorough else some(made)
    await check_round(envoy.status, server.name, made, asks, decides=server.decides)
    if server.decides:
        found = probes(made) if thorough else probes(made)[:1]
        await check_probes(envoy.status, server.name, made, found, exact=isinstance(server, AuthzHttp))


async def check_peers(made: Workload, peers: Sequence[Peer]) -> None:
    """Before anything is measured, for a peer that is not configured rightly shall not cost minutes.

    Raises:
        WrongAnswer: it cannot be reached, or answers wrongly.
    """
    for peer in peers:
        with Folder() as mine, Folder() as other:
            async with Foreign(mine, peer) as server, BenchEnvoy(other, server) as envoy:
                await check_answers(envoy, server, made, thorough=True)


async def _evaluated(server: Authorizer) -> Mapping[str, int]:
    return (await server.counted()).outcomes if isinstance(server, AuthzHttp) else {}


async def _check_evaluated(server: Authorizer, before: Mapping[str, int], seen: Load) -> None:
    if isinstance(server, AuthzHttp):
        now = await server.counted()
        check_metrics(now.outcomes, before, now.dropped, seen)
