"""A new state is loaded beside the event loop that goes on deciding, and the old one is taken apart behind it.

What would stop the loop: whatever holds Python's lock for long. That is a look of the collector through a million
objects, and the end of a container that is the last to hold a hundred thousand. Neither happens here at once.
"""

from __future__ import annotations

import asyncio
from contextlib import nullcontext

from authz.core.pieces import take_apart
from authz.pdp.compiled import remains
from authz.wiring.assembly import Assembled, Assembly, assemble
from authz.wiring.pace import Pace, freeze, without_full_collections

WORTH_FREEZING = 1_000
"""New policies from which on they are kept out of the collector's sight. What is frozen is freed by its reference
count only, so it is not done for each small change."""
MARGIN = 1.0
"""Seconds beyond the deadline of a check, after which none that began with the old state is still under way."""


class Reloading:
    """Loads, and clears away what was replaced. `ours`: the process is, and so is its collector."""

    def __init__(self, *, ours: bool = False) -> None:
        self._ours = ours
        self._clearing: set[asyncio.Task[None]] = set()

    async def load(self, previous: Assembly) -> Assembled:
        """What the files hold now; what did not change is taken from the previous state."""
        return await asyncio.to_thread(self._load, previous)

    def _load(self, previous: Assembly) -> Assembled:
        with without_full_collections() if self._ours else nullcontext():
            return assemble(previous.config.file, previous=previous, serves=previous.serves, sharing=previous.sharing)

    def swapped(self, replaced: Assembly, current: Assembly) -> None:
        """To be told when a new state decides."""
        if self._ours and current.compiled.fresh >= WORTH_FREEZING:
            freeze()
        self._later(remains(replaced.compiled), replaced.config.shape.limits.deadline + MARGIN)

    def dropped(self, assembly: Assembly) -> None:
        """To be told of a state that was loaded, and is not taken."""
        self._later(remains(assembly.compiled), 0.0)

    def _later(self, parts: list[object], seconds: float) -> None:
        task = asyncio.create_task(_clear(parts, seconds), name="authz-clear")
        self._clearing.add(task)
        task.add_done_callback(self._clearing.discard)

    async def close(self) -> None:
        """Waits for nothing: what is left ends with the process, or with its last holder."""
        for task in tuple(self._clearing):
            task.cancel()
        await asyncio.gather(*self._clearing, return_exceptions=True)


async def _clear(parts: list[object], seconds: float) -> None:
    """While the list holds the parts, their old holders end in no time; then the parts go one by one."""
    await asyncio.sleep(seconds)
    await asyncio.to_thread(take_apart, parts, Pace())
