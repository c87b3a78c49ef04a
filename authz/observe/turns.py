"""Whose turn it is to write, where several processes write lines to one file or pipe.

A pipe takes 4 KiB whole at most, and less when it is nearly full: without turns, the rest of a line could come
behind a line of another process. A turn also says whether the last line was left unfinished, by whomever, also by a
process that is dead: the next one ends it first, so that no line is lost with another.
"""

from __future__ import annotations

import fcntl
import os
import threading
import time
from contextlib import suppress
from typing import Protocol

_LOOK_EVERY = 0.002


class Turns(Protocol):
    """Who writes takes a turn before, and gives it back after."""

    def take(self, seconds: float) -> bool:
        """Waits for the turn, for at most so long. Was it had?"""

    def give(self, *, long: bool = False) -> None:
        """Ends the turn. One that was long is not followed by another of the same process, if others wait."""

    @property
    def torn(self) -> bool:
        """Is the last line unfinished? To be asked in one's turn."""

    @torn.setter
    def torn(self, value: bool) -> None: ...


class Alone:
    """Turns of who writes alone."""

    def __init__(self) -> None:
        self.torn = False

    def take(self, seconds: float) -> bool:
        """At once."""
        return True

    def give(self, *, long: bool = False) -> None:
        """Nothing to do."""


class SharedTurns:
    """Turns between processes, and between the threads of each.

    Args:
        fd: a file that all processes have open. Its bytes are the turns' own: nobody else locks or writes it, and a
            process closes no other descriptor of it, for that would end its turn (POSIX record locks, fcntl(2)).
        slot: which of the turns that the file has place for. One for each target of lines.
    """

    def __init__(self, fd: int, slot: int) -> None:
        self._fd = fd
        self._slot = slot
        self._here = threading.Lock()

    def take(self, seconds: float) -> bool:
        """Waits for the turn, for at most so long. Was it had?"""
        deadline = time.monotonic() + seconds
        if not self._here.acquire(timeout=max(0.0, seconds)):
            return False
        # Not a lock that waits: it could not be given up when the time is over.
        while not self._locked():
            if time.monotonic() >= deadline:
                self._here.release()
                return False
            time.sleep(_LOOK_EVERY)
        return True

    def _locked(self) -> bool:
        with suppress(OSError):
            fcntl.lockf(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, self._slot)
            return True
        return False

    def give(self, *, long: bool = False) -> None:
        """Ends the turn. One that was long is not followed by another of the same process, if others wait."""
        with suppress(OSError):
            fcntl.lockf(self._fd, fcntl.LOCK_UN, 1, self._slot)
        self._here.release()
        if long:
            time.sleep(2 * _LOOK_EVERY)

    @property
    def torn(self) -> bool:
        """Is the last line unfinished? To be asked in one's turn."""
        return os.pread(self._fd, 1, self._slot) == b"1"

    @torn.setter
    def torn(self, value: bool) -> None:
        os.pwrite(self._fd, b"1" if value else b"0", self._slot)
