"""How old what decides is, and how its reloads went."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field


def _current() -> float:
    return 0.0


@dataclass(slots=True)
class Freshness:
    """How old what decides is. Files are current until a change of them is rejected; a replica ages between looks."""

    now: Callable[[], float] = time.monotonic
    content_age: Callable[[], float] = _current
    """Seconds since what the store gave last was known to be the store's content."""
    rejected_at: float | None = None
    """When what decides was last known to be current, if a later state of the files was rejected."""
    content_rejected_at: float | None = None
    """As `rejected_at`, if a later content of the store was rejected."""
    reloads: dict[str, int] = field(default_factory=lambda: {"accepted": 0, "rejected": 0})

    def age(self) -> float:
        """Seconds since the policy set was last known to be what the store holds."""
        rejected = [at for at in (self.rejected_at, self.content_rejected_at) if at is not None]
        # The larger: a change that is rejected says nothing of a store that cannot be reached.
        return max(self.content_age(), self.now() - min(rejected)) if rejected else self.content_age()

    def accepted(self) -> None:
        """A load was taken."""
        self.rejected_at = self.content_rejected_at = None
        self.reloads["accepted"] += 1

    def rejected(self, age: float | None = None) -> None:
        """A load was refused; the last good one goes on deciding.

        Args:
            age: what that had before the store's new content was seen; None: the files' change was the occasion.
        """
        self.reloads["rejected"] += 1
        if age is None:
            if self.rejected_at is None:
                self.rejected_at = self.now()
        elif self.content_rejected_at is None:
            self.content_rejected_at = self.now() - age

    def withdrawn(self) -> None:
        """The store holds again what decides. A state of the files that was rejected is no better for it."""
        self.content_rejected_at = None
