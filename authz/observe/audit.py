"""The decision record as JSON lines, written beside the checks and never in their way.

`write` makes the line and queues it; a thread writes (`lines`). Whatever happens to the reader, a check does not
feel it: what cannot be kept is dropped, counted by reason, and told in the log itself where it is missing.

The line is made at once, by the caller, because that is the cheaper way (measured: 4 µs of processor time a
check, all told, against 8 to 10 when the thread makes it). A record that waits keeps its whole request alive, so
checks work on cold memory, and a thread that makes lines competes with them for the interpreter. A line also
holds less than a record does: no credential waits in the queue.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

import msgspec

from authz.core.errors import Misconfigured, Problem
from authz.core.model import Record
from authz.observe.lines import Drop, LineWriter
from authz.observe.outlet import Outlet, cause
from authz.observe.redact import Redaction, Redactor
from authz.observe.turns import Turns

STDOUT = 1
"""The descriptor of standard output, as a target."""
QUEUE_LIMIT = 8192
"""Lines that may wait."""
INTERVAL = 0.1
"""Seconds between two looks into the queue."""
CLOSE_TIMEOUT = 5.0
"""Seconds for what is still queued when the log is closed."""


class DropNotice(msgspec.Struct, kw_only=True, tag_field="event", tag="records_dropped"):
    """Stands in the log where records are missing."""

    time: str
    count: int


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
        turns: taken for each write, where other processes write to the same target.
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
        turns: Turns | None = None,
    ) -> None:
        self._target = target
        self._redactor = Redactor(redaction if redaction is not None else Redaction())
        self._line = self._redactor.line
        self._encode = msgspec.json.Encoder().encode
        self._now = now
        self._lines = LineWriter(self._notice, limit=limit, interval=interval, say=report, turns=turns)
        self._queue = self._lines.queue

    def write(self, record: Record) -> None:
        """Queues the record's line, or drops and counts it. Neither waits nor raises."""
        # Looked at first: a record that is dropped costs next to nothing.
        if len(self._queue) >= self._lines.limit:
            self._lines.refuse()
            return
        try:
            self._queue.append(self._encode(self._line(record)))
        except Exception:  # noqa: BLE001 - a sink does not raise; the drop is counted
            self._lines.drop(Drop.ENCODE_ERROR, 1)

    @property
    def dropped(self) -> Mapping[str, int]:
        """How many records were dropped, for each reason (`Drop`)."""
        return self._lines.dropped

    @property
    def waiting(self) -> int:
        """Records not written yet."""
        return self._lines.waiting

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
        self._lines.start(outlet)

    async def astart(self) -> None:
        """As `start`, while the event loop goes on.

        Raises:
            Misconfigured: the target cannot be opened.
        """
        await asyncio.to_thread(self.start)

    def reopen(self) -> None:
        """Opens the path again soon, for log rotation. Where that fails the old file stays, and `report` is told."""
        self._lines.reopen()

    def close(self, timeout: float = CLOSE_TIMEOUT) -> None:
        """Writes what is queued, for at most `timeout` seconds; what is left then is dropped and counted."""
        self._lines.close(timeout)

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

    def _notice(self, count: int) -> bytes:
        return self._encode(DropNotice(time=self._redactor.timestamp(self._now()), count=count))
