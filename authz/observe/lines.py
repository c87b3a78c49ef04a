"""Lines through a bounded queue to whoever reads them, or does not.

One thread writes, many lines at a time. What the queue cannot hold, or the outlet will not take, is dropped,
counted by reason, and told between the lines where it is missing.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import suppress
from enum import StrEnum

from authz.observe.outlet import Outlet, cause
from authz.observe.turns import Alone, Turns

BATCH = 1024
"""Lines a write. Beside a busy loop the writing thread gets the interpreter about a hundred times a second, whatever it
has to write: at 64 lines a time it fell behind 6,000 checks a second on h2corn, and records were dropped."""
_GRACE = 1.0
"""Seconds beyond the time to close for a write that hangs (a dead network file system); it is then left to itself."""
_MARK = b""
"""Stands in the queue where lines are missing."""


class Drop(StrEnum):
    """Why a line was not written; a label in metrics."""

    QUEUE_FULL = "queue_full"
    WRITE_ERROR = "write_error"
    ENCODE_ERROR = "encode_error"
    CLOSED = "closed"
    """Came after `close`, or was left when its time was up."""


class _Batch:
    """Lines on their way out."""

    __slots__ = ("data", "lines", "offset", "told")

    def __init__(self, data: bytes, *, lines: int = 0, told: int = 0) -> None:
        self.data = memoryview(data)
        self.offset = 0
        self.lines = lines
        self.told = told
        """How many drops it tells of, if it is a notice."""

    def left(self) -> int:
        """Lines that have not gone out whole."""
        return max(0, self.lines - bytes(self.data[: self.offset]).count(b"\n"))

    def torn(self) -> bool:
        """Did its last line go out in part?"""
        return self.offset > 0 and self.data[self.offset - 1] != ord("\n")


class LineWriter:
    """Writes lines, given without their end, in the order in which they were queued.

    Args:
        notice: the line that tells of a number of drops.
        limit: lines that may wait.
        interval: seconds between two looks into the queue: who queues a line wakes nobody.
        say: told, in the writing thread, when writing begins to fail and when it works again.
        turns: taken for each write, where other processes write to the same outlet.
    """

    def __init__(
        self,
        notice: Callable[[int], bytes],
        *,
        limit: int,
        interval: float,
        say: Callable[[str], None] | None,
        turns: Turns | None = None,
    ) -> None:
        self.queue: deque[bytes] = deque()
        """What is on its way out stays here until it is out: its length is what is bounded."""
        self.limit = limit
        self._notice = notice
        self._interval = interval
        self._say_to = say
        self._batch: _Batch | None = None
        self._lock = threading.Lock()
        self._dropped = dict.fromkeys(Drop, 0)
        self._untold = 0
        self._marked = False
        """Is there a mark in the queue?"""
        self._turns = turns if turns is not None else Alone()
        self._turn = False
        """Is it our turn? It stays ours in the midst of a line."""
        self._failing = False
        self._thread: threading.Thread | None = None
        self._wake = threading.Event()
        self._reopen = False
        self._deadline: float | None = None

    # --- for any thread

    def refuse(self) -> None:
        """Counts a line that the queue had no room for."""
        self.drop(Drop.QUEUE_FULL if self._deadline is None else Drop.CLOSED, 1)

    def drop(self, reason: Drop, count: int) -> None:
        """Counts lines that are lost, and has it told where the queue ends now."""
        with self._lock:
            self._dropped[reason] += count
            self._untold += count
            self._mark()

    @property
    def dropped(self) -> Mapping[str, int]:
        """How many lines were lost, for each reason."""
        with self._lock:
            return {reason.value: count for reason, count in self._dropped.items()}

    @property
    def waiting(self) -> int:
        """Lines not written yet."""
        with self._lock:
            return len(self.queue) - self._marked

    def _mark(self) -> None:
        # Under the lock.
        if self._untold and not self._marked:
            self._marked = True
            self.queue.append(_MARK)

    # --- start and stop

    def start(self, outlet: Outlet) -> None:
        """Begins to write to `outlet`, and closes it at the end."""
        self._thread = threading.Thread(target=self._run, args=(outlet,), name="authz-lines", daemon=True)
        self._thread.start()

    def reopen(self) -> None:
        """Has the outlet opened again soon, between two lines."""
        self._reopen = True
        self._wake.set()

    def close(self, timeout: float) -> None:
        """Writes what is queued, for at most `timeout` seconds; what is left then is lost."""
        if self._deadline is not None:
            return
        self._deadline = time.monotonic() + timeout
        self.limit = 0
        self._wake.set()
        if self._thread is None:
            self._give_up()
        else:
            self._thread.join(timeout + _GRACE)

    def _give_up(self) -> None:
        left = self.waiting
        if self._batch is not None:
            left -= self._batch.lines - self._batch.left()
        if self._turn:
            self._turns.give()  # `torn` says already that a line is unfinished
        if left:
            self.drop(Drop.CLOSED, left)

    # --- the writing thread

    def _run(self, outlet: Outlet) -> None:
        try:
            self._write_all(outlet)
        finally:
            self._give_up()
            outlet.close()

    def _write_all(self, outlet: Outlet) -> None:
        """Until `close`, and then until all is written or the time is up."""
        while True:
            # Read before the queue is emptied: what was queued before `close` is then seen.
            deadline = self._deadline
            self._reopen_if_asked(outlet)
            free = self._empty(outlet)
            if deadline is not None and (free or time.monotonic() >= deadline):
                return
            if free:
                self._wake.wait(self._interval)
                self._wake.clear()
            else:
                outlet.wait(self._interval)

    def _empty(self, outlet: Outlet) -> bool:
        """Writes what the outlet takes now. Is nothing left?"""
        while self._batch is not None or self.queue:
            batch = self._batch = self._batch or self._next_batch()
            try:
                if not self._sent(batch, outlet):
                    return False
            except OSError as error:
                self._lose(batch, error)
            for _ in range(batch.lines):
                self.queue.popleft()
            self._batch = None
        return True

    def _next_batch(self) -> _Batch:
        queue = self.queue
        if queue[0] is _MARK:
            return self._notice_batch()
        lines: list[bytes] = []
        # By index: an iterator would not bear that others append meanwhile.
        for n in range(min(len(queue), BATCH)):
            if queue[n] is _MARK:
                break
            lines.append(queue[n])
        return _Batch(b"\n".join([*lines, b""]), lines=len(lines))

    def _notice_batch(self) -> _Batch:
        with self._lock:
            self.queue.popleft()
            self._marked = False
            untold, self._untold = self._untold, 0
        return _Batch(self._notice(untold) + b"\n", told=untold)

    def _sent(self, batch: _Batch, outlet: Outlet) -> bool:
        waited = self._turn
        if not waited:
            if not self._turns.take(self._interval):
                return False
            self._turn = True
        sent = False
        try:
            sent = self._mended(batch, outlet) and self._went_out(batch, outlet)
        finally:
            # Said while the rest is awaited, not only when it is given up: this process may be killed.
            if batch.torn():
                self._turns.torn = True
            else:
                self._turn = False
                self._turns.give(long=waited)
        return sent

    def _mended(self, batch: _Batch, outlet: Outlet) -> bool:
        """Ends the line that another batch left unfinished. Is it ended?"""
        if self._turns.torn:
            if not batch.torn() and not outlet.write(memoryview(b"\n")):
                return False
            self._turns.torn = False
        return True

    def _went_out(self, batch: _Batch, outlet: Outlet) -> bool:
        while batch.offset < len(batch.data):
            taken = outlet.write(batch.data[batch.offset :])
            if not taken:
                return False
            batch.offset += taken
        if self._failing:
            self._failing = False
            self._say("lines are written again")
            with self._lock:
                self._mark()
        return True

    def _lose(self, batch: _Batch, error: OSError) -> None:
        if not self._failing:
            self._failing = True
            self._say(f"lines cannot be written and are dropped: {cause(error)}")
        if self._turn:
            self._turn = False
            self._turns.give()
        if batch.lines:
            self.drop(Drop.WRITE_ERROR, batch.left())
        else:
            # Not marked again at once, which would go round for ever, but by the next drop or the next success.
            with self._lock:
                self._untold += batch.told

    def _reopen_if_asked(self, outlet: Outlet) -> None:
        if not self._reopen or (self._batch is not None and self._batch.torn()):
            return
        self._reopen = False
        try:
            if outlet.reopen():
                self._turns.torn = False
        except OSError as error:
            self._say(f"the file cannot be opened again, the old one stays in use: {cause(error)}")

    def _say(self, message: str) -> None:
        if self._say_to is not None:
            with suppress(Exception):
                self._say_to(message)
