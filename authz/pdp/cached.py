"""Decisions that are given again for equal queries, for as long as each query's `caching` allows.

The key is a digest of the whole query and of the policy set's version, so a new policy set empties the cache. Failures
are never kept. Equal queries at one time are one question to the point behind.

All of it belongs to one event loop.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import replace

from authz.core.model import Caching, Decision, Query, Verdict
from authz.core.ports import DecisionPoint
from authz.pdp.cached_key import AGES, QueryDigests, Unwritable
from authz.pdp.cached_store import DecisionCache, Kept

PAUSE = 256
"""Queries of one list that are looked up before the event loop gets its turn; each takes some microseconds."""


class CachedDecisionPoint:
    """A decision point whose decisions are kept.

    Args:
        inner: who decides. It must answer equal queries equally while the version stays the same.
        version: what identifies who decides, and by which policies: a policy set's version, or a policy store. A
            callable is asked before and after each decision; what was decided across a change is not kept.
        cache: of the point before this one, if there was one.
        age: seconds since the policy set of that version was known to be current. None: a decision from the cache is
            as much older as it was kept.
        max_age: seconds of that age past which none of that policy set's decisions is given again: the point behind
            says what is wrong. What another decided (Verified Permissions, as a fallback) has no such age.
        by_credential: `inner` forwards the query's credential, so it is part of the question.
        now: seconds since the epoch.
        clock: monotonic seconds.
    """

    def __init__(
        self,
        inner: DecisionPoint,
        *,
        version: str | Callable[[], str],
        cache: DecisionCache | None = None,
        age: Callable[[], float] | None = None,
        max_age: float | None = None,
        by_credential: bool = False,
        now: Callable[[], float] = time.time,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._inner = inner
        self._version = version
        self._cache = cache if cache is not None else DecisionCache()
        self._counters = self._cache.counters
        self._max_age = max_age
        self._age = age
        self._digests = QueryDigests(by_credential=by_credential)
        self._now = now
        self._clock = clock
        self._flights: dict[bytes, _Flight] = {}
        self._cache.expect(self._current())

    @property
    def cache(self) -> DecisionCache:
        """What is kept, and the counters."""
        return self._cache

    async def decide(self, query: Query) -> Decision:
        """The decision, kept or new. Raises as the port says; what is raised is not kept."""
        version = self._current()
        key = self._key(query, version)
        if key is None:
            return await self._inner.decide(query)
        while True:
            found = self._found(key, query)
            if found is not None:
                self._counters.hits += 1
                return found
            flight = self._flights.get(key)
            if flight is None:
                return await self._asked(key, query, version)
            kept = await flight.ended()
            if kept is not None:
                found = self._answer(kept, query, self._clock(), self._now())
                if found is None:
                    return await self._asked(key, query, version)
                self._counters.shared += 1
                return found
            # Who asked went away without an answer. The first of those who waited asks; the others wait for that.

    async def decide_many(self, queries: Sequence[Query]) -> tuple[Decision, ...]:
        """One decision for each query, in order. Those that are not kept are one list for the point behind.

        Raises as the port says, for the first of those that has none.
        """
        version = self._current()
        answers: list[Decision | None] = []
        missing: dict[bytes | int, list[int]] = {}
        for place, query in enumerate(queries):
            if place % PAUSE == PAUSE - 1:
                await asyncio.sleep(0)
            key = self._key(query, version)
            found = self._found(key, query) if key is not None else None
            answers.append(found)
            if found is not None:
                self._counters.hits += 1
            else:
                missing.setdefault(place if key is None else key, []).append(place)
        if missing:
            await self._fill(queries, missing, answers, version)
        return tuple([answer for answer in answers if answer is not None])

    async def _fill(
        self,
        queries: Sequence[Query],
        missing: dict[bytes | int, list[int]],
        answers: list[Decision | None],
        version: str,
    ) -> None:
        """Asks once for all that is missing, once for each key."""
        asked = self._clock()
        self._counters.misses += sum(type(key) is bytes for key in missing)
        decisions = await self._inner.decide_many([queries[places[0]] for places in missing.values()])
        for (key, places), decision in zip(missing.items(), decisions, strict=True):
            if isinstance(key, bytes):
                self._keep(key, queries[places[0]].caching, decision, asked, version)
            for place in places:
                answers[place] = decision

    def _current(self) -> str:
        version = self._version
        if isinstance(version, str):
            return version
        found = version()
        self._cache.expect(found)
        return found

    def _key(self, query: Query, version: str) -> bytes | None:
        """The key; None: the query's decision is neither taken from the cache nor kept."""
        caching = query.caching
        if caching is not None and (caching.allow > 0 or caching.deny > 0) and AGES not in query.context:
            try:
                return self._digests.digest(query, version)
            except Unwritable:
                pass  # the point behind says what is wrong with it
        self._counters.bypassed += 1
        return None

    def _found(self, key: bytes, query: Query) -> Decision | None:
        kept = self._cache.get(key)
        if kept is None:
            return None
        now, wall = self._clock(), self._now()
        if now >= kept.expires or (kept.until is not None and wall >= kept.until):
            self._cache.drop(key)
            return None
        return self._answer(kept, query, now, wall)

    def _answer(self, kept: Kept, query: Query, now: float, wall: float) -> Decision | None:
        """The decision as this query may have it: its own limits count, whoever's answer it was."""
        caching, decision = query.caching, kept.decision
        elapsed = now - kept.asked
        if (
            caching is None
            or elapsed >= (caching.allow if decision.verdict is Verdict.ALLOW else caching.deny)
            or (caching.until is not None and wall >= caching.until)
        ):
            return None
        age = self._age() if kept.of_set and self._age is not None else decision.age + elapsed
        if kept.of_set and self._max_age is not None and age > self._max_age:
            return None
        return replace(decision, age=age, cached=True)

    async def _asked(self, key: bytes, query: Query, version: str) -> Decision:
        """Asks, here and not in a task of its own: most answers need no wait, and a task costs more than they do."""
        self._counters.misses += 1
        flight = _Flight()
        mine = self._flights.setdefault(key, flight) is flight
        try:
            asked = self._clock()
            decision = await self._inner.decide(query)
            flight.land(self._keep(key, query.caching, decision, asked, version))
        except Exception as error:
            flight.land(error)
            raise
        finally:
            if mine:
                del self._flights[key]
            flight.land(None)
        return decision

    def _keep(self, key: bytes, caching: Caching | None, decision: Decision, asked: float, version: str) -> Kept | None:
        """What others may have of it; None: nothing, for nobody knows by which policies it was decided."""
        if caching is None or (not isinstance(self._version, str) and self._version() != version):
            return None
        now, wall = self._clock(), self._now()
        expires = asked + (caching.allow if decision.verdict is Verdict.ALLOW else caching.deny)
        if caching.until is not None:
            expires = min(expires, now + caching.until - wall)
        kept = Kept(decision, asked, expires, caching.until, decision.version == version)
        if now < expires:
            self._cache.put(key, kept)
        return kept


class _Flight:
    """A question under way, and those who wait for its answer. Each waits by itself: one that gives up stops nobody."""

    __slots__ = ("_waiting",)

    def __init__(self) -> None:
        self._waiting: list[asyncio.Future[Kept | Exception | None]] = []

    async def ended(self) -> Kept | None:
        """The answer; None: there is none to share. Raises what was raised."""
        future: asyncio.Future[Kept | Exception | None] = asyncio.get_running_loop().create_future()
        self._waiting.append(future)
        # A failure comes as a result: as an exception, asyncio would log it where who waits is gone by now.
        found = await future
        if isinstance(found, Exception):
            raise found
        return found

    def land(self, found: Kept | Exception | None) -> None:
        """Tells those who wait; once."""
        for future in self._waiting:
            if not future.done():
                future.set_result(found)
        self._waiting.clear()
