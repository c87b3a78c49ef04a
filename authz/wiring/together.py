"""What the workers of one supervisor have in common: addresses, sockets, and turns to write."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field

from authz.observe.turns import SharedTurns

_LOG, _RECORD = 0, 1
"""Slots of the turns."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Together:
    """One worker's view of it."""

    number: int
    """Which worker this is, from 1."""
    ports: Mapping[tuple[str, int], int]
    """Door and place in its list → the TCP port, also where the configuration leaves it to the system."""
    sockets: Mapping[str, int]
    """Path → descriptor of the bound Unix socket."""
    identities: Mapping[str, tuple[int, int]]
    """Path → device and inode of the Unix socket's file."""
    turns: int
    """Descriptor of the file of `SharedTurns`."""
    hash_key: bytes = field(repr=False)
    """For records where the configuration has no key: lines of two workers can be joined."""
    _made: dict[int, SharedTurns] = field(default_factory=dict, repr=False)

    def turns_of_log(self) -> SharedTurns:
        """Turns to write the operational log."""
        return self._turns(_LOG)

    def turns_of_record(self, target: int | None, log: int) -> SharedTurns:
        """Turns to write the record: those of the log where both go to one file.

        Args:
            target: the record's descriptor; None: a path.
            log: the log's descriptor.
        """
        return self._turns(_LOG if target is not None and _same(target, log) else _RECORD)

    def _turns(self, slot: int) -> SharedTurns:
        # One object for all threads of this process: the lock of a file does not tell them apart.
        return self._made.setdefault(slot, SharedTurns(self.turns, slot))


def _same(one: int, other: int) -> bool:
    try:
        return os.path.sameopenfile(one, other)
    except OSError:
        return False
