"""When a policy store is looked at next. What fails is looked at less and less often, and never by all at once."""

from __future__ import annotations

from collections.abc import Callable

from authz.aws.errors import Kind

SOON = 1.0
"""Seconds, where it can be over in a moment: no answer, or a content that is seen in part."""
LONGEST = 60.0
"""Seconds between two looks while the service throttles; or the interval, if that is more."""
_PASSING = frozenset({Kind.UNREACHABLE, Kind.FAULT, Kind.CONFLICT})


class NextLook:
    """The pace of one store's looks.

    Args:
        interval: seconds between two looks that go well.
        random: from 0 to 1.
    """

    def __init__(self, interval: float, random: Callable[[], float]) -> None:
        self._interval = interval
        self._random = random
        self._failures = 0
        self._seconds = interval
        self._jitter = 0.1

    def seconds(self) -> float:
        """Until the next look; another number each time."""
        return self._seconds * (1 - self._jitter + 2 * self._jitter * self._random())

    def regular(self) -> None:
        """It went well; or what is wrong is in the store, and mended there."""
        self._failures, self._seconds, self._jitter = 0, self._interval, 0.1

    def soon(self) -> None:
        """It went well, and something was just changing."""
        self._failures, self._seconds, self._jitter = 0, min(SOON, self._interval), 0.25

    def failed(self, kind: Kind) -> None:
        """It failed. What may pass is tried soon; a throttled store is left alone for longer than usual."""
        self._failures += 1
        first = min(SOON, self._interval) if kind in _PASSING else self._interval
        longest = max(LONGEST, self._interval) if kind is Kind.THROTTLED else self._interval
        self._seconds = min(longest, first * 2 ** min(self._failures - 1, 16))
        self._jitter = 0.25
