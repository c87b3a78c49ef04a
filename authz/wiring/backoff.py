"""How long to wait before something that ended is started again."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Backoff:
    """Twice as long after each failure, up to a bound; from the beginning again after a good time. All in seconds."""

    first: float = 0.1
    most: float = 30.0
    good: float = 30.0
    """Who served for so long has recovered: its next failure is a first one."""
    spread: float = 0.5
    """The part of a delay that is drawn by lot, so that those who failed together do not start together."""

    def failures(self, before: int, served: float) -> int:
        """How many failures in a row there are now.

        Args:
            before: how many there were.
            served: for how long it served before it ended; 0: it never did.
        """
        return 1 if served >= self.good else before + 1

    def delay(self, failures: int, lot: float) -> float:
        """The delay after so many failures in a row (1 or more).

        Args:
            failures: as `failures` counts them.
            lot: a random number from 0 to 1; 1 gives the longest delay.
        """
        # Not 2 ** n for any n: after a week of failures that is no number of seconds any more.
        doublings = min(failures - 1, 64)
        whole = min(self.most, self.first * 2.0**doublings)
        return whole * (1.0 - self.spread * (1.0 - lot))
