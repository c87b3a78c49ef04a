"""Reloads under traffic in a process of its own: `python -m bench.scale_reload CONFIG SECONDS NEXT…`.

It is the product's runtime on the product's loop, without a door: one coroutine makes checks, another notes how long
it was not let run, while the policy folder (a link) is pointed to each of NEXT in turn and read anew. Told for each:
seconds of the reload, and the longest stall while it went on, until the old state is gone.
"""

from __future__ import annotations

import asyncio
import gc
import itertools
import json
import sys
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from authz.core.model import Allowed, Request
from authz.core.pipeline import Trail
from authz.servers.dialects import Dialect
from authz.servers.forward_auth import decode
from authz.wiring.assembly import assemble
from authz.wiring.runtime import Runtime, running
from bench.bare import loop_factory
from bench.in_process import PEER
from bench.scale_timing import say

Read = tuple[str, list[tuple[str, str]], bool]
"""Target and headers of a GET, and whether it must be allowed."""
CURRENT = "current"
"""The policy folder's name, beside the configuration: a link."""
EVERY = 0.001
"""Seconds that the watching coroutine sleeps, and that pass between two checks."""
AFTER = 1.0
"""Seconds after a reload in which what it leaves behind may still be taken apart."""


class Stalls:
    """The longest time that the loop let nobody run."""

    def __init__(self) -> None:
        self.longest = 0.0

    async def watch(self) -> None:
        """Until cancelled."""
        last = time.perf_counter()
        while True:
            await asyncio.sleep(EVERY)
            now = time.perf_counter()
            self.longest = max(self.longest, now - last - EVERY)
            last = now


class Traffic:
    """Checks, one after the other."""

    def __init__(self, runtime: Runtime, asked: Sequence[tuple[Request, bool]]) -> None:
        self._runtime = runtime
        self._asked = itertools.cycle(asked)
        self.count = self.wrong = 0

    async def go_on(self) -> None:
        """Until cancelled."""
        while True:
            request, allowed = next(self._asked)
            outcome = await self._runtime.service.authorizer.check(request, Trail())
            self.count += 1
            self.wrong += isinstance(outcome, Allowed) is not allowed
            await asyncio.sleep(EVERY)


def requests(file: Path) -> list[tuple[Request, bool]]:
    """The questions in a file, a JSON list of `Read`."""
    found = []
    for number, (target, headers, allowed) in enumerate(json.loads(file.read_text(encoding="utf-8"))):
        request = decode(Dialect.ENVOY, "GET", target, headers, id=f"bench-{number:x}", peer=PEER)
        found.append((request, allowed))
    return found


@asynccontextmanager
async def beside(*coroutines: Callable[[], Awaitable[None]]):
    """Runs others meanwhile."""
    tasks = [asyncio.ensure_future(one()) for one in coroutines]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def point_to(link: Path, target: Path) -> None:
    """As a Kubernetes volume changes: in one step."""
    new = link.with_suffix(".new")
    new.symlink_to(target)
    new.replace(link)


async def run(config: Path, rest: float, links: Sequence[Path]) -> None:
    """Starts, measures at rest, then each reload."""
    asked = requests(config.with_suffix(".asked"))
    async with running(assemble(config).required(), watching=False, ours=True) as runtime:
        gc.collect()
        gc.freeze()  # both as `authz serve` does it
        stalls, traffic = Stalls(), Traffic(runtime, asked)
        async with beside(stalls.watch, traffic.go_on):
            await asyncio.sleep(rest)
            say("rest", stall=stalls.longest, checks=traffic.count)
            for target in links:
                await _reload(runtime, stalls, traffic, config.parent / CURRENT, target)
    if traffic.wrong:
        raise RuntimeError(f"{traffic.wrong} checks were answered otherwise than Cedar's engine answers")


async def _reload(runtime: Runtime, stalls: Stalls, traffic: Traffic, link: Path, target: Path) -> None:
    before = runtime.assembly.compiled.version
    point_to(link, target)
    await asyncio.sleep(2 * EVERY)
    stalls.longest, traffic.count = 0.0, 0
    begun = time.perf_counter()
    taken = await runtime.reload()
    seconds = time.perf_counter() - begun
    await asyncio.sleep(AFTER)
    if not taken or runtime.assembly.compiled.version == before:
        raise RuntimeError("the changed policies were not taken")
    say("reload", seconds=seconds, stall=stalls.longest, checks=traffic.count)


def main(config: str, rest: str, *links: str) -> None:
    """Runs it on the loop that `authz serve` takes."""
    with asyncio.Runner(loop_factory=loop_factory()) as runner:
        runner.run(run(Path(config), float(rest), [Path(one) for one in links]))


if __name__ == "__main__":
    main(*sys.argv[1:])
