"""What `authz serve` takes before anybody asks: time until it is ready, and memory."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.procfs import resident_bytes
from bench.programs import AuthzHttp
from bench.rows import Row, less_than, row
from tests.proxies.harness import Folder

BENCH = "idle"
SETTLE = 1.0
"""Seconds between readiness and the look at its memory."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Idle:
    """One start."""

    ready: float
    """Seconds from the start of the process to the first 200 of /readyz; asked every 20 ms."""
    memory: float
    """Mebibytes resident."""


async def measure(work: Path, *, runs: int) -> list[Idle]:
    """One start a run, HTTP only. The first one of all is not counted: it may have to read and compile files."""
    await _start(work)
    return [await _start(work) for _ in range(runs)]


async def _start(work: Path) -> Idle:
    with Folder() as folder:
        server = AuthzHttp(folder, work)
        begun = time.perf_counter()
        async with server:
            ready = time.perf_counter() - begun
            await asyncio.sleep(SETTLE)
            return Idle(ready=ready, memory=resident_bytes(server.pid) / 2**20)


def rows(starts: Sequence[Idle]) -> list[Row]:
    """What the starts amount to."""
    memory = [start.memory for start in starts]
    ready = [start.ready for start in starts]
    return [
        row(BENCH, "authz serve, HTTP only: resident memory", "MiB", memory, bar=less_than(80)),
        row(BENCH, "authz serve, HTTP only: start to ready", "s", ready, bar=less_than(1.5)),
    ]
