"""How many calls may go out: a token bucket that slows down where the service says that it is too much.

Kept below the service's quota, so that the quota is not what says no: a throttled call has cost its time for nothing,
and others share the quota. Sources: user guide, "Quotas for Verified Permissions"; AWS Builders' Library, "Timeouts,
retries, and backoff with jitter".
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from threading import Lock

SLOWEST = 1 / 16
"""Of the rate; it is never halved below that."""
BREATH = 1.0
"""Seconds in which several throttled calls count as one: they were on their way together."""
RECOVERY = 5.0
"""Seconds without a throttled call after which the rate is doubled again, until it is what it was."""
_SLACK = 1e-9  # tokens; what is added up in fractions must not miss one by its last bit


class Budget:
    """Permits for calls, in order of asking. Thread-safe; of no event loop.

    Args:
        rate: calls in a second.
        burst: calls at once after a quiet time; None: a fifth of a second's. `rate + burst` is the most in any second.
        clock: seconds, never going back.
    """

    def __init__(self, rate: float, *, burst: float | None = None, clock: Callable[[], float] = time.monotonic) -> None:
        if not rate > 0:
            raise ValueError("a budget needs a rate above zero")
        self._rate = rate
        self._burst = max(1.0, rate / 5 if burst is None else burst)
        self._clock = clock
        self._lock = Lock()
        self._tokens = self._burst
        """Below zero: so many are promised to those who wait."""
        self._counted_at = clock()
        self._share = 1.0
        self._changed_at = self._counted_at
        """When the share was last halved or doubled."""
        self.refused = 0
        """Calls for which there was none in time."""
        self.slowed = 0
        """How often the rate was halved."""

    @property
    def rate(self) -> float:
        """Calls in a second, at present."""
        with self._lock:
            self._count()
            return self._rate * self._share

    def try_take(self, count: float = 1.0) -> bool:
        """Takes permits if they are there now."""
        return self.reserve(0.0, count) is not None

    def wait(self, limit: float, count: float = 1.0, *, sleep: Callable[[float], object] = time.sleep) -> bool:
        """Takes permits, waiting for them at most `limit` seconds. False, at once: that would not be enough.

        Args:
            limit: seconds.
            count: permits.
            sleep: waits so many seconds; one that returns earlier (an event's `wait`) only goes a little too early.
        """
        seconds = self.reserve(limit, count)
        if seconds is None:
            return False
        if seconds > 0:
            sleep(seconds)
        return True

    async def taken(self, limit: float, count: float = 1.0) -> bool:
        """As `wait`, for an event loop. Cancelled, it gives back what it did not use."""
        seconds = self.reserve(limit, count)
        if seconds is None:
            return False
        if seconds > 0:
            try:
                await asyncio.sleep(seconds)
            except asyncio.CancelledError:
                self.give_back(count)
                raise
        return True

    def reserve(self, limit: float, count: float = 1.0) -> float | None:
        """Takes permits, and says in how many seconds they count; None: later than `limit`, and none were taken."""
        with self._lock:
            self._count()
            # A call worth more than the bucket ever holds waits until the bucket is full, and owes the rest.
            lacking = min(count, self._burst) - self._tokens
            seconds = 0.0 if lacking <= _SLACK else lacking / (self._rate * self._share)
            if seconds > limit:
                self.refused += 1
                return None
            self._tokens -= count
            return seconds

    def give_back(self, count: float = 1.0) -> None:
        """For permits that were taken, and not used."""
        with self._lock:
            self._tokens = min(self._burst, self._tokens + count)

    def throttled(self) -> None:
        """The service said that it was too much: half the rate from now on, and none that was saved up."""
        with self._lock:
            self._count()
            self._tokens = min(self._tokens, 0.0)
            now = self._counted_at
            if self._share < 1.0 and now - self._changed_at < BREATH:
                return
            self._share = max(SLOWEST, self._share / 2)
            self._changed_at = now
            self.slowed += 1

    def _count(self) -> None:
        now = self._clock()
        while self._share < 1.0 and now - self._changed_at >= RECOVERY:
            self._changed_at += RECOVERY
            self._add(self._changed_at)
            self._share = min(1.0, self._share * 2)
        self._add(now)

    def _add(self, until: float) -> None:
        passed = until - self._counted_at
        if passed > 0:
            self._tokens = min(self._burst, self._tokens + passed * self._rate * self._share)
            self._counted_at = until
