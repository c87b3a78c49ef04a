"""The decision record as JSON lines, written beside the checks and never in their way.

`write` makes the line and puts it into a bounded queue; one thread writes the lines, many at a time. Whatever
happens to the reader, a check does not feel it: what cannot be kept is dropped, counted by reason, and told in
the log itself where it is missing.

The line is made at once, by the caller, because that is the cheaper way (measured: 4 µs of processor time a
check, all told, against 8 to 10 when the thread makes it). A record that waits keeps its whole request alive, so
checks work on cold memory, and a thread that makes lines competes with them for the interpreter. A line also
holds less than a record does: no credential waits in the queue.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import suppress
from enum import StrEnum
from pathlib import Path
from types import TracebackType
from typing import Self

import msgspec

from authz.core.errors import Misconfigured, Problem
from authz.core.model import Record
from authz.observe.outlet import Outlet, cause
from authz.observe.redact import Redaction, Redactor

STDOUT = 1
"""The descriptor of standard output, as a target."""
QUEUE_LIMIT = 8192
"""Lines that may wait."""
INTERVAL = 0.1
"""Seconds between two looks into the queue: the caller of `write` wakes nobody, which would be a system call."""
BATCH = 64
"""Lines a write."""
CLOSE_TIMEOUT = 5.0
"""Seconds for what is still queued when the log is closed."""
_GRACE = 1.0
"""Seconds beyond that for a write that hangs, as on a dead network file system; it is then left to itself."""
_MARK = b""
"""Stands in the queue where lines are missing."""


class Drop(StrEnum):
    """Why a record was not written; a label in metrics."""

    QUEUE_FULL = "queue_full"
    WRITE_ERROR = "write_error"
    ENCODE_ERROR = "encode_error"
    CLOSED = "closed"
    """Written after `close`, or left when its time was up."""


class DropNotice(msgspec.Struct, kw_only=True, tag_field="event", tag="records_dropped"):
    """Stands in the log where records are missing."""

    time: str
    count: int


class _Batch:
    """Lines on their way out."""

    __slots__ = ("data", "lines", "offset", "told")

    def __init__(self, data: bytes, *, lines: int = 0, told: int = 0) -> None:
        self.data = memoryview(data)
        self.offset = 0
        self.lines = lines
        """Records in it."""
        self.told = told
        """How many drops it tells of, if it is a notice."""

    def left(self) -> int:
        """Records that have not gone out whole."""
        return max(0, self.lines - bytes(self.data[: self.offset]).count(b"\n"))

    def torn(self) -> bool:
        """Did its last line go out in part?"""
        return self.offset > 0 and self.data[self.offset - 1] != ord("\n")


class JsonLines:
    """A record sink that writes one JSON object a line.

    Started and closed as a pair, or used as a context manager. `write` may be called by any thread, also before
    the start; a process that forks starts it afterwards.

    Args:
        target: a path or a descriptor, see `Outlet`. Opened by `start`.
        redaction: what is shown beyond the default.
        limit: lines that may wait; more are dropped.
        interval: seconds between two looks into the queue, and the most a line is late.
        report: told, in the writing thread, when writing begins to fail and when it works again.
        now: seconds since the epoch, for the notices of drops.
    """

    def __init__(
        self,
        target: int | str | Path = STDOUT,
        *,
        redaction: Redaction | None = None,
        limit: int = QUEUE_LIMIT,
        interval: float = INTERVAL,
        report: Callable[[str], None] | None = None,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._target = target
        self._redactor = Redactor(redaction if redaction is not None else Redaction())
        self._line = self._redactor.line
        self._encode = msgspec.json.Encoder().encode
        self._limit = limit
        self._interval = interval
        self._report = report
        self._now = now
        self._queue: deque[bytes] = deque()
        """What is on its way out stays here until it is out: its length is what is bounded."""
        self._batch: _Batch | None = None
        self._lock = threading.Lock()
        self._dropped = dict.fromkeys(Drop, 0)
        self._untold = 0
        self._marked = False
        """Is there a mark in the queue?"""
        self._torn = False
        self._failing = False
        self._thread: threading.Thread | None = None
        self._wake = threading.Event()
        self._reopen = False
        self._deadline: float | None = None

    # --- for any thread

    def write(self, record: Record) -> None:
        """Queues the record's line, or drops and counts it. Neither waits nor raises."""
        queue = self._queue
        if len(queue) >= self._limit:
            self._drop(Drop.QUEUE_FULL if self._deadline is None else Drop.CLOSED, 1)
            return
        try:
            queue.append(self._encode(self._line(record)))
        except Exception:  # noqa: BLE001 - a sink does not raise; the drop is counted
            self._drop(Drop.ENCODE_ERROR, 1)

    @property
    def dropped(self) -> Mapping[str, int]:
        """How many records were dropped, for each reason."""
        with self._lock:
            return {reason.value: count for reason, count in self._dropped.items()}

    @property
    def waiting(self) -> int:
        """Records not written yet."""
        with self._lock:
            return len(self._queue) - self._marked

    def _drop(self, reason: Drop, count: int) -> None:
        with self._lock:
            self._dropped[reason] += count
            self._untold += count
            self._mark()

    def _mark(self) -> None:
        """Under the lock: has the drops told where the queue ends now."""
        if self._untold and not self._marked:
            self._marked = True
            self._queue.append(_MARK)

    # --- start and stop

    def start(self) -> None:
        """Opens the target and begins to write.

        Raises:
            Misconfigured: the target cannot be opened.
        """
        try:
            outlet = Outlet(self._target)
        except OSError as error:
            where = f"descriptor {self._target}" if isinstance(self._target, int) else f"`{self._target}`"
            message = f"cannot open {where} for the record: {cause(error)}; expected something to write to"
            raise Misconfigured((Problem(message=message),)) from error
        self._thread = threading.Thread(target=self._run, args=(outlet,), name="authz-record", daemon=True)
        self._thread.start()

    def reopen(self) -> None:
        """Opens the path again soon, for log rotation. Where that fails the old file stays, and `report` is told."""
        self._reopen = True
        self._wake.set()

    def close(self, timeout: float = CLOSE_TIMEOUT) -> None:
        """Writes what is queued, for at most `timeout` seconds; what is left then is dropped and counted."""
        if self._deadline is not None:
            return
        self._deadline = time.monotonic() + timeout
        self._limit = 0
        self._wake.set()
        if self._thread is None:
            self._give_up()
        else:
            self._thread.join(timeout + _GRACE)

    def _give_up(self) -> None:
        left = self.waiting
        if self._batch is not None:
            left -= self._batch.lines - self._batch.left()
        if left:
            self._drop(Drop.CLOSED, left)

    async def aclose(self, timeout: float = CLOSE_TIMEOUT) -> None:
        """As `close`, while the event loop goes on."""
        await asyncio.to_thread(self.close, timeout)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # --- the writing thread

    def _run(self, outlet: Outlet) -> None:
        try:
            self._write_all(outlet)
        finally:
            self._give_up()
            outlet.close()

    def _write_all(self, outlet: Outlet) -> None:
        """Until it is closed, and then until all is written or the time is up."""
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
        while self._batch is not None or self._queue:
            batch = self._batch = self._batch or self._next_batch()
            try:
                if not self._sent(batch, outlet):
                    return False
            except OSError as error:
                self._lose(batch, error)
            for _ in range(batch.lines):
                self._queue.popleft()
            self._batch = None
        return True

    def _next_batch(self) -> _Batch:
        queue = self._queue
        if queue[0] is _MARK:
            return self._notice()
        lines: list[bytes] = []
        # By index: an iterator would not bear that others append meanwhile.
        for n in range(min(len(queue), BATCH)):
            if queue[n] is _MARK:
                break
            lines.append(queue[n])
        return _Batch(b"\n".join([*lines, b""]), lines=len(lines))

    def _notice(self) -> _Batch:
        with self._lock:
            self._queue.popleft()
            self._marked = False
            untold, self._untold = self._untold, 0
        notice = DropNotice(time=self._redactor.timestamp(self._now()), count=untold)
        return _Batch(self._encode(notice) + b"\n", told=untold)

    def _sent(self, batch: _Batch, outlet: Outlet) -> bool:
        if self._torn:
            if not outlet.write(memoryview(b"\n")):
                return False
            self._torn = False
        while batch.offset < len(batch.data):
            taken = outlet.write(batch.data[batch.offset :])
            if not taken:
                return False
            batch.offset += taken
        if self._failing:
            self._failing = False
            self._say("the record is written again")
            with self._lock:
                self._mark()
        return True

    def _lose(self, batch: _Batch, error: OSError) -> None:
        if not self._failing:
            self._failing = True
            self._say(f"the record cannot be written: {cause(error)}")
        self._torn = self._torn or batch.torn()
        if batch.lines:
            self._drop(Drop.WRITE_ERROR, batch.left())
        else:
            # Not marked again at once, which would go round for ever, but by the next drop or the next success.
            with self._lock:
                self._untold += batch.told

    def _reopen_if_asked(self, outlet: Outlet) -> None:
        # Not in the middle of a line.
        if not self._reopen or (self._batch is not None and self._batch.torn()):
            return
        self._reopen = False
        try:
            outlet.reopen()
            self._torn = False
        except OSError as error:
            self._say(f"the record's file cannot be opened again, the old one stays in use: {cause(error)}")

    def _say(self, message: str) -> None:
        if self._report is not None:
            with suppress(Exception):
                self._report(message)
