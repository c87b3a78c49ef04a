"""How a policy store of Verified Permissions is replicated."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplicaSettings:
    """Which policy store, and how often and how much it is asked."""

    policy_store: str
    """A policy store's id, or `policy-store-alias/NAME`. An alias may come to stand for another store."""
    requests: float = 2.0
    """Calls a second, at most; the store's quota is 10, for all that ask it (user guide, "Quotas")."""
    interval: float = 15.0
    """Seconds between two looks, give or take a tenth."""
    slow_interval: float = 120.0
    """Seconds between two looks at schema, identity source and alias."""
    snapshot: Path | None = None
    """File for the last good content; None: none is kept."""
    max_age: float | None = None
    """Seconds; an older snapshot on disk is not used. None: any is."""
    with_policies: bool = True
    """False: schema and identity source only, for a decision point that asks the service."""
    max_policies: int = 1_000_000
    max_characters: int = 512 * 1024 * 1024
    """Of all policies' texts together, and of the snapshot on disk."""

    def __post_init__(self) -> None:
        if not (self.requests > 0 and self.interval > 0 and self.slow_interval > 0):
            raise ValueError("a replica's `requests` and intervals are above zero")
