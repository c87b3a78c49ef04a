"""Calls for decisions that fail, told in the log: when that begins, changes, goes on for a minute, and is over."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

from authz.core.errors import DecisionUnavailable, Reason

AGAIN = 60.0
"""Seconds until the same trouble is told again."""
CALM = 5.0
"""Seconds without a failure after which an answer counts as the end of it."""
_log = logging.getLogger("authz.avp")


class Trouble:
    """Belongs to one event loop.

    Args:
        clock: seconds, never going back.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._reason: Reason | None = None
        self._last = self._told = 0.0

    def failed(self, error: DecisionUnavailable) -> None:
        """A decision could not be had. What only its query is to blame for is no trouble."""
        if error.by_query:
            return
        now = self._clock()
        if error.reason is not self._reason or now - self._told >= AGAIN:
            _log.error("Verified Permissions gives no decisions (%s): %s", error.reason.value, error.detail)
            self._told = now
        self._reason, self._last = error.reason, now

    def answered(self) -> None:
        """A decision was had."""
        if self._reason is not None and self._clock() - self._last >= CALM:
            _log.info("Verified Permissions gives decisions again")
            self._reason = None
