"""One metrics view over all workers, and what their supervisor alone knows."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import suppress

from prometheus_client import CollectorRegistry, ProcessCollector

from authz.observe.merge import Family, Merged, Sample, families_of, render
from authz.wiring.worker import Worker

_SELF = "supervisor"


class WorkerMetrics:
    """What workers have told, merged.

    Args:
        patience: seconds for workers to tell their metrics when asked; of those that do not, the last ones count.
    """

    def __init__(self, *, patience: float) -> None:
        self._patience = patience
        self._merged = Merged()
        self._own = CollectorRegistry()
        ProcessCollector(registry=self._own)
        self._asked = 0

    def take(self, name: str, families: Sequence[Family]) -> None:
        """Takes what a worker tells."""
        self._merged.update(name, families)

    def ended(self, name: str) -> None:
        """A worker's process is no more; what it has counted stays."""
        self._merged.ended(name)

    async def scrape(
        self, workers: Sequence[Worker], restarts: Mapping[str, int], accept: str = ""
    ) -> tuple[bytes, str]:
        """The exposition of all, asked now, and its content type."""
        self._asked += 1
        number = self._asked
        with suppress(TimeoutError):
            async with asyncio.timeout(self._patience):
                await asyncio.gather(*(worker.tell_metrics(number) for worker in workers))
        self._merged.update(_SELF, families_of(self._own))
        return render([*self._merged.families(), *families(workers, restarts)], accept)


def families(workers: Sequence[Worker], restarts: Mapping[str, int]) -> list[Family]:
    """What is known of workers from outside. `restarts`: name of a worker → how often it was started again."""
    up = [Sample("authz_worker_up", (("worker", one.name),), float(one.ready)) for one in workers]
    again = [
        Sample("authz_worker_restarts_total", (("worker", name),), float(count)) for name, count in restarts.items()
    ]
    versions = [
        Sample("authz_worker_policy_set_info", (("worker", one.name), ("version", one.version)), 1.0)
        for one in workers
        if one.version is not None
    ]
    return [
        Family("authz_worker_up", "gauge", "Whether the worker is ready.", tuple(up)),
        Family("authz_worker_restarts", "counter", "How often the worker was started again.", tuple(again)),
        Family("authz_worker_policy_set", "info", "The policy set that the worker decides by.", tuple(versions)),
    ]
