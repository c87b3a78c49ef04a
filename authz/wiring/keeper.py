"""Looks at a replicated policy store again and again, and has a new content loaded.

Each look waits for the one before: a slow store is never asked twice at once. What goes wrong is told when it
begins, when it changes and when it is over, not at each look.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from authz.core.errors import Misconfigured, PoliciesUnavailable, Problem
from authz.wiring.backoff import Backoff
from authz.wiring.freshness import Freshness

if TYPE_CHECKING:
    from authz.stores.avp import AvpStore

_log = logging.getLogger("authz.replica")
AGAIN = Backoff(first=60.0, most=900.0, spread=0.0)
"""When something that was rejected is tried again though nothing of it has changed: it need not have been at fault. A
child process may have been killed, a file half written, another policy store out of reach. It costs a whole load."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """What a keeper does its work for."""

    in_force: Callable[[], str]
    """Version of the store's content that decides; empty: there is none yet."""
    reload: Callable[[float | None], Awaitable[bool]]
    """Takes what the store and the files hold now; given the age of what decides, for the case that the store's
    content is rejected, or None, where the files are the occasion."""
    freshness: Freshness


class Keeper:
    """Keeps one replica up to date."""

    def __init__(self, store: AvpStore, kept: Kept, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._store = store
        self._kept = kept
        self._clock = clock
        self._refused = ""
        """Version that was rejected: it is not tried again at once, unless the store holds another."""
        self._tries = 0
        """Since the last time that nothing stood rejected."""
        self._again = 0.0
        self._trouble = ""
        self._snapshot_trouble = ""

    async def run(self) -> None:
        """Until cancelled."""
        if not self._kept.in_force():
            await self.look()  # at once: nothing is decided yet
        while True:
            await asyncio.sleep(self._store.next_poll())
            await self.look()

    async def look(self) -> None:
        """One look at the store, and what follows from it. Raises nothing but what cancels the task."""
        freshness = self._kept.freshness
        begun, age = self._clock(), freshness.age()
        try:
            await asyncio.to_thread(self._store.poll)
            version = (await asyncio.to_thread(self._store.read)).version
        except PoliciesUnavailable as error:
            self._tell((error.detail,))
        except Misconfigured as error:
            self._tell(tuple(str(problem) for problem in error.problems))
            freshness.reloads["rejected"] += 1
        except Exception as error:  # noqa: BLE001 - whatever it is, the next look may go well
            self._tell((str(Problem(message=f"unexpected {type(error).__name__} while the store was read")),))
        else:
            self._tell(())
            await self._taken(version, age + self._clock() - begun)
            await asyncio.to_thread(self._store.keep, self._kept.in_force())
            self._tell_of_snapshot(self._store.snapshot_trouble)
        await self._try_again()

    async def _taken(self, version: str, age: float) -> None:
        if version == self._kept.in_force():
            self._refused = ""
            if self._kept.freshness.content_rejected_at is not None:
                _log.info("the policy store holds again what decides")
            self._kept.freshness.withdrawn()
        elif version != self._refused:
            taken = await self._kept.reload(age)
            self._refused = "" if taken else version

    async def _try_again(self) -> None:
        """Whatever became of the look: what was rejected may name another store."""
        freshness = self._kept.freshness
        if not self._refused and freshness.rejected_at is None:
            self._tries = 0
            return
        if self._tries and self._clock() < self._again:
            return
        self._tries += 1
        if self._tries > 1 and await self._kept.reload(freshness.age() if self._refused else None):
            self._refused, self._tries = "", 0
        self._again = self._clock() + AGAIN.delay(max(self._tries, 1), 1.0)

    def _tell_of_snapshot(self, trouble: str) -> None:
        if trouble and trouble != self._snapshot_trouble:
            _log.warning("%s", trouble)
        self._snapshot_trouble = trouble

    def _tell(self, trouble: tuple[str, ...]) -> None:
        text = "; ".join(trouble)
        if text == self._trouble:
            return
        goes_on = "the last good state goes on" if self._kept.in_force() else "nothing is decided yet"
        for one in trouble:
            _log.error("the policy store cannot be replicated, %s: %s", goes_on, one)
        if not text:
            _log.info("the policy store is replicated again")
        self._trouble = text
