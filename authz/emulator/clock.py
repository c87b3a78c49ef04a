"""The emulator's time, which a test may set forward."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Clock:
    """Seconds since the epoch."""

    def __init__(self) -> None:
        self._ahead = 0.0
        self._last = 0

    def now(self) -> float:
        """Seconds since the epoch."""
        return time.time() + self._ahead

    def advance(self, seconds: float) -> None:
        """Sets the time forward, or back."""
        self._ahead += seconds
        if seconds < 0:
            self._last = 0

    def stamp(self) -> str:
        """The time as text. Each is later than the one before: who looks for changes by time must see each."""
        self._last = max(int(self.now() * 1_000_000), self._last + 1)
        return _text(_EPOCH + timedelta(microseconds=self._last))


def _text(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%S.%fZ")
