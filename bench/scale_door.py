"""The whole door behind Envoy: ten thousand policies, one a document, beside ten that say the same.

Entities, tokens, requests and answers are the same for both. Requests go to all documents, in random order.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from pathlib import Path

from bench import scale_store
from bench.behind_envoy import Make, Sample, Say, sample
from bench.load import Generator, wrk
from bench.programs import AuthzHttp
from bench.rows import Row, at_least, row
from bench.workload import Workload
from tests.proxies.harness import Folder

BENCH = "door-scale"
SIZE = 10_000
REQUESTS = 8_192
"""In a round, drawn from all documents: more than half of them are in it."""
TEN = "ten"
MOST_RUNS = 3
Runs = Sequence[Mapping[str, Sample]]


class AtRandom(Generator):
    """Sends requests in random order: going round would be the worst case of every cache that is smaller than it."""

    def __init__(self, folder: Path, requests: Sequence[bytes]) -> None:
        if wrk() is None:  # the generator that stands in goes round: at least not in the order of the check
            requests = random.Random(0).sample(requests, len(requests))
        super().__init__(folder, requests)
        text = self._script.read_text(encoding="ascii")
        changed = text.replace("turn = turn % last + 1", "turn = math.random(last)")
        if changed == text:
            raise ValueError("bench/load.py: the script's turn is taken in another way than expected here")
        self._script.write_text(changed, encoding="ascii")


async def measure(
    made: Workload,
    work: Path,
    *,
    runs: int,
    duration: float,
    say: Say,
    size: int = SIZE,
    requests: int = REQUESTS,
) -> Runs:
    """Both in turn in each run.

    Raises:
        WrongAnswer: a request is answered otherwise than by Cedar's engine.
    """
    whole = scale_store.enlarged(made, size - scale_store.SHARED, requests)
    folders = {TEN: work / "scale-10", _many(size): work / f"scale-{size}"}
    scale_store.write(folders[TEN], whole, None)
    scale_store.write(folders[_many(size)], whole, size)
    found = []
    with Folder() as folder:
        load = AtRandom(folder, [whole.http(ask) for ask in whole.asks])
        for number in range(min(runs, MOST_RUNS)):
            samples = {}
            for name, store in folders.items():
                samples[name] = await sample(_make(store), whole, load, duration=duration, thorough=number == 0)
                say(f"  {name:8} policies {samples[name].throughput:8,.0f}/s  p99 {samples[name].p99:6.2f} ms")
            found.append(samples)
    return found


def _many(size: int) -> str:
    return f"{size:,}"


def _make(store: Path) -> Make:
    return lambda folder: AuthzHttp(folder, store)


_FIGURES = (
    ("throughput", "throughput", "req/s"),
    ("CPU per request", "cpu", "µs"),
    ("p50", "p50", "ms"),
    ("p99", "p99", "ms"),
    ("resident memory under load", "memory", "MiB"),
)


def rows(runs: Runs, *, size: int = SIZE) -> list[Row]:
    """Throughput is judged; the rest stands beside it."""
    found = []
    for label, what, unit in _FIGURES:
        mine = [getattr(run[_many(size)], what) for run in runs]
        ten = [getattr(run[TEN], what) for run in runs]
        bar = at_least(0.8) if what == "throughput" else None
        metric = f"authz http, {size:,} policies, one a document: {label}"
        found.append(row(BENCH, metric, unit, mine, against=ten, name="10 policies", bar=bar))
    return found
