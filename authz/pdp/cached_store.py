"""Where decisions are kept: bounded by number and by weight, the least used go first."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from cachetools import LRUCache

from authz.core.model import Decision

ENTRY = 600
"""Bytes, about, of an entry whose decision names nothing (measured with CPython 3.11)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheSettings:
    """What bounds the cache."""

    entries: int = 10_000
    """Decisions that are kept; the least used go first."""
    bytes: int = 64 * 1024 * 1024
    """What they may take together, about."""

    def __post_init__(self) -> None:
        if self.entries < 1 or self.bytes < 1:
            raise ValueError("a cache needs room for one decision; to keep none, use none")


DEFAULTS = CacheSettings()


@dataclass(slots=True, kw_only=True)
class CacheCounters:
    """What became of queries that may be answered from the cache."""

    hits: int = 0
    misses: int = 0
    """The decision point behind was asked."""
    shared: int = 0
    """Answered by what another was waiting for already."""
    bypassed: int = 0
    """Could not be kept: the query says not to, tells ages, or has what is no Cedar value."""
    evictions: int = 0
    """Kept decisions that went for want of room."""


class Kept(NamedTuple):
    """A decision, and how long it counts. Monotonic seconds, but for `until`."""

    decision: Decision
    asked: float
    """When it was asked for: it is as old as that."""
    expires: float
    until: float | None
    """Seconds since the epoch. Looked at beside `expires`, so that no clock that jumps lengthens a life."""
    of_set: bool
    """Was it decided by the policy set whose age is known?"""


class DecisionCache:
    """What is kept, handed on from one policy set's decision point to the next."""

    def __init__(self, settings: CacheSettings = DEFAULTS) -> None:
        self.settings = settings
        self.counters = CacheCounters()
        self._kept = _Bounded(settings, self.counters)
        self._version: str | None = None

    def __len__(self) -> int:
        """How many decisions are kept, expired ones among them until somebody asks for them or their room."""
        return len(self._kept)

    @property
    def weight(self) -> int:
        """Bytes that they take, about."""
        return int(self._kept.currsize)

    def expect(self, version: str) -> None:
        """Drops what was decided by another version. Keys hold the version, so this only makes room."""
        if version != self._version:
            self._kept = _Bounded(self.settings, self.counters)
            self._version = version

    def get(self, key: bytes) -> Kept | None:
        """What is kept for the key."""
        try:
            return self._kept[key]
        except KeyError:
            return None

    def put(self, key: bytes, kept: Kept) -> None:
        """Keeps it, unless it is too large by itself."""
        if _weight(kept) <= self.settings.bytes:
            self._kept[key] = kept

    def drop(self, key: bytes) -> None:
        """Forgets what is kept for the key."""
        self._kept.pop(key, None)


class _Bounded(LRUCache[bytes, Kept]):
    """Bounded twice: by weight, and by number."""

    def __init__(self, settings: CacheSettings, counters: CacheCounters) -> None:
        super().__init__(settings.bytes, getsizeof=_weight)
        self._entries = settings.entries
        self._counters = counters

    def __setitem__(self, key: bytes, value: Kept, *rest: object) -> None:
        while len(self) >= self._entries and key not in self:
            self.popitem()
        super().__setitem__(key, value)

    def popitem(self) -> tuple[bytes, Kept]:
        self._counters.evictions += 1
        return super().popitem()


def _weight(kept: Kept) -> int:
    decision = kept.decision
    texts = (*decision.policies, *decision.names, *decision.messages, *decision.left_out)
    errors = sum([200 + len(error.policy_id) + len(error.message) for error in decision.errors])
    return ENTRY + sum([64 + len(text) for text in texts]) + errors
