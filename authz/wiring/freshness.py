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
    """When what decides was last known to be current, if a later content was rejected."""
    reloads: dict[str, int] = field(default_factory=lambda: {"accepted": 0, "rejected": 0})

    def age(self) -> float:
        """Seconds since the policy set was last known to be what the store holds."""
        return self.content_age() if self.rejected_at is None else self.now() - self.rejected_at

    def accepted(self) -> None:
        """A load was taken."""
        self.rejected_at = None
        self.reloads["accepted"] += 1

    def rejected(self, age: float = 0.0) -> None:
        """A load was refused; the last good one goes on deciding. `age` is what it had when it was last looked at."""
        if self.rejected_at is None:
            self.rejected_at = self.now() - age
        self.reloads["rejected"] += 1
