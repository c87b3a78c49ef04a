"""The operational log: what the program itself goes through, on standard error. The decisions are told elsewhere.

Everything that is logged passes one scrubber (`scrub`). Other libraries log by the standard library, and may put
what a client sent into a message (aiohttp: an illegal header line): of theirs, the constant part is kept, what
was filled in is not.

`configure` is called by the command line, once. Nothing happens at import.
"""

from __future__ import annotations

import logging
import os
import re
import threading
from collections.abc import Callable, Mapping

import msgspec
import structlog

from authz.observe.outlet import Outlet
from authz.observe.scrub import Event, scrub, short
from authz.observe.turns import Alone, Turns

STDERR = 2
"""The descriptor of standard error."""
_TURN = 0.01
"""Seconds that a line waits for its turn among other processes; it is dropped then, and counted."""
# Where a message stops being constant, as far as one can tell without its template.
_FILLED_IN = re.compile(r"""[\n:"'`<({\[=]""")


def configure(
    *,
    level: str = "info",
    form: str = "json",
    fd: int = STDERR,
    always: Mapping[str, object] | None = None,
    turns: Turns | None = None,
) -> None:
    """Sends this process's log, and that of the libraries it uses from WARNING up, to `fd`.

    A log that nobody reads stops nobody: lines that `fd` does not take at once are dropped and counted.

    Args:
        level: `debug`, `info`, `warning` or `error`.
        form: `json`, or `text` for a person (coloured on a terminal).
        fd: the descriptor; stays open.
        always: what each line says besides, such as which process it is of.
        turns: taken for each line, where other processes write to the same descriptor.

    Raises:
        ValueError: `level` or `form` is none of these.
        OSError: `fd` is no open descriptor.
    """
    number = logging.getLevelNamesMapping().get(level.upper())
    if number is None or form not in ("json", "text"):
        raise ValueError(f"cannot log at `{level}` as `{form}`: expected debug, info, warning or error; json or text")
    lines = _Lines(Outlet(fd), turns)
    renderer = _as_json if form == "json" else structlog.dev.ConsoleRenderer(colors=os.isatty(fd), timestamp_key="time")
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True, key="time"),
            scrub,
            _with(always or {}),
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(number),
        logger_factory=lambda *names: _Logger(lines, *names),
        context_class=dict,
        cache_logger_on_first_use=False,
    )
    _bridge(lines, number)


def _with(always: Mapping[str, object]) -> Callable[[object, str, Event], Event]:
    def add(_logger: object, _method: str, event: Event) -> Event:
        event.update(always)
        return event

    return add


def _bridge(lines: _Lines, level: int) -> None:
    root = logging.getLogger()
    for handler in root.handlers[:]:
        if isinstance(handler, _Bridge):
            root.removeHandler(handler)
            handler.close()
    root.addHandler(_Bridge(lines))
    root.setLevel(logging.WARNING)
    logging.getLogger("authz").setLevel(level)


# --- output


class _Lines:
    """Lines to a descriptor that may take none."""

    def __init__(self, outlet: Outlet, turns: Turns | None) -> None:
        self._outlet = outlet
        self._shared = turns is not None
        self._turns = turns if turns is not None else Alone()
        self._lock = threading.Lock()
        self._rest = memoryview(b"")
        """What the descriptor has not taken of a line it began to take."""
        self._dropped = 0

    def write(self, line: str) -> None:
        with self._lock:
            if not self._turns.take(_TURN):
                self._dropped += 1
                return
            try:
                self._write(line)
                if self._shared and self._rest:
                    self._cut()
            finally:
                self._turns.give()

    def _write(self, line: str) -> None:
        if not self._flushed():
            self._dropped += 1
            return
        data = line.encode("utf-8", "replace") + b"\n"
        if self._dropped:
            data = msgspec.json.encode({"event": "log lines dropped", "count": self._dropped}) + b"\n" + data
        if self._turns.torn:
            data = b"\n" + data
        self._rest = memoryview(data)
        before, self._dropped = self._dropped, 0
        if not self._flushed() and len(self._rest) == len(data):
            self._rest = memoryview(b"")
            self._dropped = before + 1
            return
        self._turns.torn = False

    def _cut(self) -> None:
        """Leaves the line as it is: others wait for their turn, and who comes next ends it."""
        self._turns.torn = True
        self._rest = memoryview(b"")
        self._dropped += 1

    def _flushed(self) -> bool:
        """Writes what is left of the line begun. Is it out?"""
        try:
            while self._rest:
                taken = self._outlet.write(self._rest)
                if not taken:
                    return False
                self._rest = self._rest[taken:]
        except OSError:
            # There is nobody to tell: this is where one would.
            return False
        return True

    def close(self) -> None:
        with self._lock:
            self._outlet.close()


class _Logger:
    """What structlog writes to: it calls the method of the level with the rendered line."""

    def __init__(self, lines: _Lines, name: str = "") -> None:
        self.name = name
        self._lines = lines

    def msg(self, line: str) -> None:
        self._lines.write(line)

    debug = info = warning = warn = error = exception = critical = fatal = log = msg


def _as_json(_logger: object, _method: str, event: Event) -> str:
    first = {name: event.pop(name) for name in ("time", "level", "logger", "event") if name in event}
    return msgspec.json.encode({**first, **event}).decode()


# --- the standard library's log


class _Bridge(logging.Handler):
    """Hands on what is logged by `logging`: ours as it is, that of others without what was filled in."""

    def __init__(self, lines: _Lines) -> None:
        super().__init__()
        self._lines = lines

    def emit(self, record: logging.LogRecord) -> None:
        try:
            structlog.get_logger(record.name).log(
                record.levelno,
                _event(record),
                at=f"{short(record.pathname)}:{record.lineno}",
                exc_info=record.exc_info,
            )
        except Exception:  # noqa: BLE001
            self.handleError(record)

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - the name of `logging`
        """Says nothing: the inherited one prints the message's arguments to standard error."""

    def close(self) -> None:
        super().close()
        self._lines.close()


def _event(record: logging.LogRecord) -> str:
    template = str(record.msg)
    if record.name == "authz" or record.name.startswith("authz."):
        try:
            return record.getMessage()
        except (TypeError, ValueError):
            return template
    if record.args:
        return template
    return _FILLED_IN.split(template, maxsplit=1)[0].strip() or "<message withheld>"
