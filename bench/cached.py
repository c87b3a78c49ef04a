"""Every host behind a real Envoy with the decision cache on: what a request costs where nothing has to be decided.

The workload's round is asked again and again, so after the first round every decision is kept. Record and metrics are
on, and each request is mapped, its token looked up, its answer told.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from bench.behind_envoy import HOSTS, Make, Run
from bench.programs import AuthzGrpc, AuthzHttp, BareAsgiGrpc, BareAsgiHttp, BareGrpc, BareHttp
from bench.rows import Row, at_most, row

BENCH = "cached"
ALLOWANCE = 45.0
"""Microseconds beyond its bare handler that a host may take."""


def contenders(work: Path) -> Mapping[str, Make]:
    """Each host with its bare handler, by name."""
    return {
        "bare aiohttp": BareHttp,
        "authz http": lambda folder: AuthzHttp(folder, work, cached=True),
        "bare h2corn http": BareAsgiHttp,
        "authz http on h2corn": lambda folder: AuthzHttp(folder, work, host="h2corn", cached=True),
        "bare grpc.aio": BareGrpc,
        "authz grpc": lambda folder: AuthzGrpc(folder, work, cached=True),
        "bare h2corn grpc": BareAsgiGrpc,
        "authz grpc on h2corn": lambda folder: AuthzGrpc(folder, work, host="h2corn", cached=True),
    }


def rows(runs: Sequence[Run]) -> list[Row]:
    """Processor time of each host beside its bar, then beside its bare handler; throughput and latency."""
    found = []
    for host in HOSTS:
        mine, bare = ([run.samples[name].cpu for run in runs] for name in (host.ours, host.bare))
        metric = f"{host.ours}, decisions kept: CPU per request"
        limit = [cpu + ALLOWANCE for cpu in bare]
        name = f"{host.bare} + {ALLOWANCE:g} µs"
        found.append(row(BENCH, metric, "µs", mine, against=limit, name=name, bar=at_most(1)))
        found.append(row(BENCH, metric, "µs", mine, against=bare, name=host.bare))
        for label, what, unit in (("throughput", "throughput", "req/s"), ("p99", "p99", "ms")):
            ours, theirs = ([getattr(run.samples[one], what) for run in runs] for one in (host.ours, host.bare))
            metric = f"{host.ours}, decisions kept: {label}"
            found.append(row(BENCH, metric, unit, ours, against=theirs, name=host.bare))
    return found
