"""How old what decides is, and how its reloads went."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field


@dataclass(slots=True)
class Freshness:
    """How old what decides is. Files are current until a change of them is rejected."""

    now: Callable[[], float] = time.monotonic
    rejected_at: float | None = None
    reloads: dict[str, int] = field(default_factory=lambda: {"accepted": 0, "rejected": 0})

    def age(self) -> float:
        """Seconds since the policy set was last known to be what the store holds."""
        return 0.0 if self.rejected_at is None else self.now() - self.rejected_at

    def accepted(self) -> None:
        """A load was taken."""
        self.rejected_at = None
        self.reloads["accepted"] += 1

    def rejected(self) -> None:
        """A load was refused; the last good one goes on deciding."""
        if self.rejected_at is None:
            self.rejected_at = self.now()
        self.reloads["rejected"] += 1
