"""Are local decisions those of Verified Permissions? A sampled share of them is asked again, in the background.

A check delays no decision, and never fails one. What it may cost is bounded: calls in a second, calls at once, and
queries that wait. A difference may only mean that the replica had not heard of a change yet, so both are asked once
more a while later, and what is the same by then is no divergence.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import NamedTuple

from authz.aws.budget import Budget
from authz.core.errors import AuthzError, Reason
from authz.core.model import Decision, EntityUid, Query
from authz.core.ports import DecisionPoint
from authz.pdp.parity_log import logged
from authz.pdp.parity_values import (
    DEFAULTS,
    Difference,
    Divergence,
    ParityCounters,
    ParitySettings,
    difference,
)

_EACH = 2
"""Calls that one check may take: the first, and the one after a difference."""


class _Sample(NamedTuple):
    query: Query
    local: Decision


class ParityCheck:
    """Lives over policy sets. Belongs to one event loop.

    Args:
        remote: who is asked again.
        settings: how often.
        principal: how a principal is told. By default its type alone.
        told: told each divergence; by default it is logged as a warning.
        random: from 0 up to 1; below the share, a decision is sampled.
        clock: monotonic seconds.
        now: seconds since the epoch.
        sleep: waits so many seconds.
    """

    def __init__(
        self,
        remote: DecisionPoint,
        settings: ParitySettings = DEFAULTS,
        *,
        principal: Callable[[EntityUid], str] = lambda uid: uid.type,
        told: Callable[[Divergence], None] | None = None,
        random: Callable[[], float] = random.random,
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], float] = time.time,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self.settings = settings
        self.counters = ParityCounters()
        self._remote = remote
        self._local: DecisionPoint | None = None
        self._principal = principal
        self._told = told if told is not None else logged
        self._random = random
        self._clock = clock
        self._now = now
        self._sleep = sleep
        # Two, so that a check that began can also end: each takes both at first, and gives one back if all is well.
        self._budget = Budget(settings.requests, burst=max(_EACH, settings.requests / 5), clock=clock)
        self._waiting: deque[_Sample] = deque()
        self._asking = 0
        self._settling = 0
        self._tasks: set[asyncio.Task[None]] = set()
        self._last: float | None = None
        self._closed = False

    @property
    def alarmed(self) -> bool:
        """Was there a divergence of late?"""
        return self._last is not None and self._clock() - self._last < self.settings.alarm

    @property
    def pending(self) -> int:
        """Checks that have not ended."""
        return len(self._waiting) + self._asking + self._settling

    def beside(self, local: DecisionPoint) -> ParityDecisionPoint:
        """The local decision point, checked. From now on second questions are put to this one."""
        self._local = local
        return ParityDecisionPoint(local, self)

    def sample(self, query: Query, decision: Decision) -> None:
        """Counts a local decision, and maybe queues it for a check. Waits for nothing."""
        self.counters.decisions += 1
        if self._random() >= self.settings.share or self._closed:
            return
        if len(self._waiting) >= self.settings.queue:
            self.counters.dropped["queue"] += 1
        elif not self._budget.try_take(_EACH):
            self.counters.dropped["budget"] += 1
        else:
            self._waiting.append(_Sample(query, decision))
            if self._asking < self.settings.concurrency:
                self._asking += 1
                self._start(self._ask_waiting())

    async def aclose(self) -> None:
        """Ends what is under way, and checks nothing any more."""
        self._closed = True
        self._waiting.clear()
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _start(self, work: Coroutine[object, object, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _ask_waiting(self) -> None:
        try:
            while self._waiting:
                sample = self._waiting.popleft()
                remote = await self._asked(self._remote, sample.query, calls=1)
                if not self._differ(sample, remote):
                    self._budget.give_back()
        finally:
            self._asking -= 1

    def _differ(self, sample: _Sample, remote: Decision | None) -> bool:
        """Looks at the first answer. Will both be asked again?"""
        if remote is None:
            return False
        kind = difference(sample.local, remote)
        if kind is None:
            self.counters.agreed += 1
        elif self.settings.settle <= 0:
            self._diverged(kind, sample.query, sample.local, remote, settled=False)
        elif self._settling >= self.settings.queue:
            self.counters.dropped["settling"] += 1
        else:
            self._settling += 1
            self._start(self._ask_again(sample))
            return True
        return False

    async def _ask_again(self, sample: _Sample) -> None:
        try:
            await self._sleep(self.settings.settle)
            query = sample.query
            local = await self._asked(self._local, query) if self._local is not None else sample.local
            remote = await self._asked(self._remote, query, calls=1) if local is not None else None
            if local is None or remote is None:
                return
            kind = difference(local, remote)
            if kind is None:
                self.counters.passing += 1
            else:
                self._diverged(kind, query, local, remote, settled=True)
        finally:
            self._settling -= 1

    async def _asked(self, point: DecisionPoint, query: Query, *, calls: int = 0) -> Decision | None:
        """The point's decision; None, counted: it gave none. Raises nothing but what cancels the task."""
        self.counters.calls += calls
        try:
            async with asyncio.timeout(self.settings.timeout):
                return await point.decide(query)
        except TimeoutError:
            self.counters.failed[Reason.DEADLINE] += 1
        except AuthzError as error:
            self.counters.failed[error.reason] += 1
        except Exception:  # noqa: BLE001 - a check fails nobody
            self.counters.failed[Reason.INTERNAL] += 1
        return None

    def _diverged(self, kind: Difference, query: Query, local: Decision, remote: Decision, *, settled: bool) -> None:
        self.counters.divergences[kind] += 1
        self._last = self._clock()
        principal = self._principal(query.principal)
        divergence = Divergence(
            time=self._now(),
            kind=kind,
            settled=settled,
            principal=principal,
            action=str(query.action),
            # A principal is no less private where it is what is asked for.
            resource=principal if query.resource == query.principal else str(query.resource),
            local=_without_words(local),
            remote=_without_words(remote),
        )
        with suppress(Exception):  # who is told must not stop the check
            self._told(divergence)


class ParityDecisionPoint:
    """The local decision point, with a share of its decisions checked afterwards. Made by `ParityCheck.beside`."""

    def __init__(self, local: DecisionPoint, check: ParityCheck) -> None:
        self._local = local
        self._check = check

    async def decide(self, query: Query) -> Decision:
        """The local decision. Raises as the local point does."""
        decision = await self._local.decide(query)
        self._check.sample(query, decision)
        return decision

    async def decide_many(self, queries: Sequence[Query]) -> tuple[Decision, ...]:
        """The local decisions, each sampled by itself. Raises as the local point does."""
        decisions = await self._local.decide_many(queries)
        for query, decision in zip(queries, decisions, strict=True):
            self._check.sample(query, decision)
        return decisions


def _without_words(decision: Decision) -> Decision:
    """What engines say of errors may hold an attribute's value."""
    return replace(decision, errors=tuple([replace(error, message="") for error in decision.errors]))
