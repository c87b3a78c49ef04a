"""What the runs behind Envoy amount to: rows of every host beside its bare handler, and rows of peers."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence

from bench.behind_envoy import BARE_ENGINE, HOSTS, NULL, OurHost, Run
from bench.peers import Peer
from bench.rows import Bar, Row, at_least, at_most, row

BENCH = "behind-envoy"
PEERS = "peers"
ALLOWANCE = 2.5
"""Times a bare engine call that an authorizer may take beyond its bare host."""
MAIN = "authz http"
"""The host that is also judged by throughput and latency."""
BARE_GRPC = "bare grpc.aio"
_FIGURES = (
    ("throughput", "throughput", "req/s"),
    ("p50", "p50", "ms"),
    ("p99", "p99", "ms"),
    ("resident memory under load", "memory", "MiB"),
)
_JUDGED: dict[str, Bar] = {"throughput": at_least(0.4), "p99": at_most(4)}


def rows(runs: Sequence[Run]) -> list[Row]:
    """The engine, processor time of each host, the best gRPC host, then all figures of each host."""
    engine = [run.engine for run in runs]
    loaded = [run.loaded_engine for run in runs]
    found = [
        row(BENCH, "engine: bare cedarpy.is_authorized, all handles, by itself", "µs", engine),
        row(BENCH, f"engine: the same under this load ({BARE_ENGINE})", "µs", loaded, against=engine, name="by itself"),
    ]
    for host in HOSTS:
        found += _cpu(runs, host)
    found += _best_grpc(runs)
    for host in HOSTS:
        found += _beside(runs, host.ours, (NULL, host.bare), judged=host.ours == MAIN)
    return found


def _of(runs: Sequence[Run], name: str, what: str) -> list[float]:
    return [getattr(run.samples[name], what) for run in runs]


def _cpu(runs: Sequence[Run], host: OurHost) -> list[Row]:
    mine, bare = _of(runs, host.ours, "cpu"), _of(runs, host.bare, "cpu")
    alone = [cpu + ALLOWANCE * run.engine for cpu, run in zip(bare, runs, strict=True)]
    loaded = [cpu + ALLOWANCE * run.loaded_engine for cpu, run in zip(bare, runs, strict=True)]
    metric = f"{host.ours}: CPU per request"
    limit = f"{host.bare} + {ALLOWANCE} × engine"
    return [
        row(BENCH, metric, "µs", mine, against=alone, name=f"{limit} by itself", bar=at_most(1)),
        row(BENCH, metric, "µs", mine, against=loaded, name=f"{limit} under this load"),
        row(BENCH, metric, "µs", mine, against=bare, name=host.bare),
        row(BENCH, metric, "µs", mine, against=_of(runs, NULL, "cpu"), name=NULL),
    ]


def _best_grpc(runs: Sequence[Run]) -> list[Row]:
    names = [host.ours for host in HOSTS if host.door == "grpc"]
    best = max(names, key=lambda name: statistics.median(_of(runs, name, "throughput")))
    mine = _of(runs, best, "throughput")
    metric = f"best gRPC host ({best}): throughput"
    return [
        row(BENCH, metric, "req/s", mine, against=_of(runs, name, "throughput"), name=name, bar=at_least(limit))
        for name, limit in ((NULL, 0.35), (BARE_GRPC, 1.6))
    ]


def _beside(runs: Sequence[Run], subject: str, others: Sequence[str], *, judged: bool) -> list[Row]:
    found = []
    for label, what, unit in _FIGURES:
        mine = _of(runs, subject, what)
        for name in others:
            bar = _JUDGED.get(what) if judged and name == NULL else None
            against = _of(runs, name, what)
            found.append(row(BENCH, f"{subject}: {label}", unit, mine, against=against, name=name, bar=bar))
    return found


def peer_rows(runs: Sequence[Run], peers: Sequence[Peer]) -> list[Row]:
    """Each peer beside the null authorizer, and each of our hosts at the same door beside the peer. None is judged."""
    figures = (("CPU per request", "cpu", "µs"), *_FIGURES)
    found = []
    for peer in peers:
        ours = [host.ours for host in HOSTS if host.door == peer.door]
        for subject, other in ((peer.name, NULL), *((name, peer.name) for name in ours)):
            for label, what, unit in figures:
                mine, against = _of(runs, subject, what), _of(runs, other, what)
                if not any(map(math.isnan, (*mine, *against))):
                    found.append(row(PEERS, f"{subject}: {label}", unit, mine, against=against, name=other))
    return found
