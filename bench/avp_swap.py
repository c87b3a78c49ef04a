"""A replica's new policy set under traffic, in the product's runtime: how soon it decides, and what checks feel of it.

The traffic is one check after the other, a millisecond between, by an anonymous principal: route, query and decision.
"""

from __future__ import annotations

import asyncio
import os
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from authz.core.model import Allowed
from authz.core.pipeline import Trail
from authz.servers.dialects import Dialect
from authz.servers.forward_auth import decode
from authz.stores.file import FileStore
from authz.wiring.assembly import assemble
from authz.wiring.runtime import Runtime, running
from bench import avp_store
from bench.answers import WrongAnswer
from bench.in_process import PEER
from bench.rows import Row, at_most, row

BENCH = "avp-swap"
SIZES = (100, 10_000)
REST = 3.0
"""Seconds of traffic before anything changes."""
CHANGES = 8
EVERY = 0.001
HOST = (("host", "bench.test"),)
_now = time.perf_counter


@dataclass(frozen=True, slots=True, kw_only=True)
class Swaps:
    """One store under traffic."""

    size: int
    rest: float
    """Microseconds: the 99th percentile of checks while nothing changes."""
    slowest: float
    """Microseconds: the slowest check from the beginning of a look that finds a change until a second after it."""
    late: float
    """Milliseconds: the 99th percentile of how much later than asked for the traffic was let run, meanwhile."""
    in_force: float
    """Seconds from the end of the poll that saw a change until it decides; the longest."""


class Traffic:
    """Checks of documents that policies permit."""

    def __init__(self, runtime: Runtime, size: int) -> None:
        self._runtime = runtime
        self._requests = [
            decode(Dialect.ENVOY, "GET", f"/envoy/d/d{number % size}", HOST, id=f"bench-{number}", peer=PEER)
            for number in range(200)
        ]
        self.checks: list[float] = []
        self.late: list[float] = []

    async def go_on(self) -> None:
        """Until cancelled."""
        turn = 0
        while True:
            asked = _now()
            await asyncio.sleep(EVERY)
            begun = _now()
            outcome = await self._runtime.service.authorizer.check(self._requests[turn % 200], Trail())
            self.checks.append((_now() - begun) * 1e6)
            self.late.append((begun - asked - EVERY) * 1e3)
            if not isinstance(outcome, Allowed):
                raise WrongAnswer(f"what a policy permits is {outcome}")
            turn += 1


def _configuration(folder: Path, url: str, store: str) -> Path:
    file = folder / "authz.yaml"
    file.write_text(
        f"""
policies:
  store: verified_permissions
  verified_permissions:
    {{policy_store: {store}, region: {avp_store.REGION}, endpoint: "{url}", replica: {{requests: 1000}}}}
routes:
- name: read
  match: {{path: "/d/{{id}}"}}
  anonymous: Bench::User::"anybody"
  action: Bench::Action::"Read"
  resource: {{type: Bench::Document, id: "{{path.id}}"}}
record: {{output: none}}
""",
        encoding="utf-8",
    )
    return file


async def swaps(url: str, size: int) -> Swaps:
    """Fills a store, and changes it under traffic."""
    client = await asyncio.to_thread(avp_store.client, url)
    store = await asyncio.to_thread(avp_store.store, client, size)
    with tempfile.TemporaryDirectory() as folder:
        file = _configuration(Path(folder), url, store)
        assembly = (await asyncio.to_thread(assemble, file)).required()
        async with running(assembly, watching=False, ours=True) as runtime:
            return await _under_traffic(runtime, client, store, size)


async def _under_traffic(runtime: Runtime, client: Any, store: str, size: int) -> Swaps:
    replica = runtime.assembly.store
    if isinstance(replica, FileStore):
        raise TypeError("the policies are in files")
    keeper, traffic = runtime.keeper(replica), Traffic(runtime, size)
    polled: list[float] = []
    poll = replica.poll

    def noted() -> bool:
        found = poll()
        polled.append(_now())
        return found

    replica.poll = noted  # type: ignore[method-assign]
    applied: list[float] = []
    runtime.on_apply.append(lambda _: applied.append(_now()))
    task = asyncio.ensure_future(traffic.go_on())
    try:
        await asyncio.sleep(REST)
        rest = sorted(traffic.checks)[len(traffic.checks) * 99 // 100]
        seen, found = len(traffic.checks), []
        for number in range(CHANGES):
            await asyncio.to_thread(avp_store.create, client, store, avp_store.permit(size + number))
            await keeper.look()
            found.append(applied[-1] - polled[-1])
            await asyncio.sleep(1.0)
        if len(applied) != CHANGES:
            raise WrongAnswer(f"{len(applied)} of {CHANGES} changes were taken")
        late = sorted(traffic.late[seen:])
        return Swaps(
            size=size,
            rest=rest,
            slowest=max(traffic.checks[seen:]),
            late=late[len(late) * 99 // 100],
            in_force=max(found),
        )
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def measure(*, runs: int, say: Callable[[str], None], sizes: Sequence[int] = SIZES) -> list[list[Swaps]]:
    """Each size in each run."""
    os.environ.update(avp_store.KEYS)
    found = []
    with avp_store.emulator() as url:
        for size in sizes:
            found.append([await swaps(url, size) for _ in range(min(runs, 3))])
            say(f"  {found[-1]}")
    return found


def rows(found: Sequence[Sequence[Swaps]]) -> list[Row]:
    """Both bars for each size, and what the loop feels."""
    made: list[Row] = []
    for runs in found:
        told = f"{runs[0].size:,} policies, one new"
        limit = [2 * one.rest for one in runs]
        slowest = [one.slowest for one in runs]
        made += [
            row(BENCH, f"{told}: from the poll until it decides", "s", [one.in_force for one in runs], bar=at_most(1)),
            row(BENCH, f"{told}: slowest check", "µs", slowest, against=limit, name="2 × p99", bar=at_most(1)),
            row(BENCH, f"{told}: p99 of being let run later", "ms", [one.late for one in runs]),
        ]
    return made
