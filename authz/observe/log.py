"""The operational log: what the program itself goes through, on standard error. The decisions are told elsewhere.

Everything that is logged passes one scrubber: keys that name credentials, text that looks like one, objects
that might hold one. Exceptions are told by type and place; their message only where it is ours, or the
operating system's. Other libraries log by the standard library, and may put what a client sent into a message
(aiohttp: an illegal header line): of theirs, the constant part is kept, what was filled in is not.

`configure` is called by the command line, once. Nothing happens at import.
"""

from __future__ import annotations

import logging
import os
import re
import sys
import threading
from collections.abc import Mapping, MutableMapping
from enum import Enum
from pathlib import Path, PurePath
from traceback import extract_tb
from typing import Any

import msgspec
import structlog

from authz.core.errors import AuthzError, Misconfigured, Problem
from authz.core.model import EntityUid
from authz.observe.outlet import Outlet
from authz.observe.redact import MAX_DEPTH, MAX_ITEMS, clean

STDERR = 2
"""The descriptor of standard error."""
MAX_MESSAGE = 1024
"""Characters of a text."""
MAX_FRAMES = 12
"""Innermost frames that are told of an exception."""
MAX_CAUSES = 4
"""Exceptions that are told of a chain."""
REDACTED = "<redacted>"

_SECRET_KEY = re.compile(
    r"(?:authorization|token|cookie|secret|password|passphrase|credential|jwt|assertion|claims|headers?"
    r"|api[_-]?key|private[_-]?key|hash[_-]?key)s?$",
    re.IGNORECASE,
)
# RFC 7519: base64url parts, of which the first begins a JSON object. RFC 9110, 11.6.2: a scheme and its
# credentials, long enough not to be the next word of a sentence.
_SECRET_TEXT = re.compile(r"\beyJ[\w-]+(?:\.[\w-]*)+|\b((?:bearer|basic)\s+)[\w.~+/=-]{16,}", re.IGNORECASE)
_CONTROLS = re.compile(r"[\x00-\x1f\x7f]+")
# Where a message stops being constant, as far as one can tell without its template.
_FILLED_IN = re.compile(r"""[\n:"'`<({\[=]""")

_EventDict = MutableMapping[str, Any]


def configure(*, level: str = "info", form: str = "json", fd: int = STDERR) -> None:
    """Sends this process's log, and that of the libraries it uses from WARNING up, to `fd`.

    A log that nobody reads stops nobody: lines that `fd` does not take at once are dropped and counted.

    Args:
        level: `debug`, `info`, `warning` or `error`.
        form: `json`, or `text` for a person (coloured on a terminal).
        fd: the descriptor; stays open.

    Raises:
        ValueError: `level` or `form` is none of these.
        OSError: `fd` is no open descriptor.
    """
    number = logging.getLevelNamesMapping().get(level.upper())
    if number is None or form not in ("json", "text"):
        raise ValueError(f"cannot log at `{level}` as `{form}`: expected debug, info, warning or error; json or text")
    lines = _Lines(Outlet(fd))
    renderer = _as_json if form == "json" else structlog.dev.ConsoleRenderer(colors=os.isatty(fd), timestamp_key="time")
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True, key="time"),
            scrub,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(number),
        logger_factory=lambda *names: _Logger(lines, *names),
        context_class=dict,
        cache_logger_on_first_use=False,
    )
    _bridge(lines, number)


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

    def __init__(self, outlet: Outlet) -> None:
        self._outlet = outlet
        self._lock = threading.Lock()
        self._rest = memoryview(b"")
        """What the descriptor has not taken of a line it began to take."""
        self._dropped = 0

    def write(self, line: str) -> None:
        with self._lock:
            if not self._flushed():
                self._dropped += 1
                return
            data = line.encode("utf-8", "replace") + b"\n"
            if self._dropped:
                data = msgspec.json.encode({"event": "log lines dropped", "count": self._dropped}) + b"\n" + data
            self._rest = memoryview(data)
            before, self._dropped = self._dropped, 0
            if not self._flushed() and len(self._rest) == len(data):
                self._rest = memoryview(b"")
                self._dropped = before + 1

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


def _as_json(_logger: object, _method: str, event: _EventDict) -> str:
    first = {name: event.pop(name) for name in ("time", "level", "logger", "event") if name in event}
    return msgspec.json.encode({**first, **event}).decode()


# --- what may be said


def scrub(logger: object, _method: str, event: _EventDict) -> _EventDict:
    """Processor: bounds every value, redacts what names or looks like a credential, tells exceptions safely."""
    error = _error(event.pop("exc_info", None))
    event.pop("stack_info", None)
    told: _EventDict = {}
    name = getattr(logger, "name", "")
    if name:
        told["logger"] = name
    for key, value in list(event.items())[:MAX_ITEMS]:
        told[clean(key)] = _value_of(key, value, 1)
    if error is not None:
        told["raised"] = _described(error)
    return told


def _error(exc_info: object) -> BaseException | None:
    match exc_info:
        case BaseException():
            return exc_info
        case (_, BaseException() as error, _):
            return error
        case None | False | (None, None, None):
            return None
        case _:
            return sys.exc_info()[1]


def _value_of(key: str, value: object, depth: int) -> object:
    if _SECRET_KEY.search(key) and not isinstance(value, bool | int | float | None):
        return REDACTED
    return _value(value, depth)


def _value(value: object, depth: int) -> object:
    match value:
        case Enum():
            return _text(str(value.value))
        case str():
            return _text(value)
        case None | bool() | int() | float():
            return value if not isinstance(value, int) or value.bit_length() < 64 else "<too large>"
        case EntityUid() | PurePath() | Problem():
            return _text(str(value))
        case BaseException():
            return _described(value)
        case _:
            return _whole(value, depth)


def _whole(value: object, depth: int) -> object:
    if depth >= MAX_DEPTH:
        return "<too deep>"
    match value:
        case Mapping():
            items = list(value.items())[:MAX_ITEMS]
            return {_text(str(key)): _value_of(str(key), item, depth + 1) for key, item in items}
        case list() | tuple() | set() | frozenset():
            return [_value(item, depth + 1) for item in list(value)[:MAX_ITEMS]]
        case _:
            # Its repr might hold anything.
            return f"<{type(value).__name__}>"


def _text(text: str) -> str:
    safe = _CONTROLS.sub(" ", clean(text, MAX_MESSAGE))
    return _SECRET_TEXT.sub(lambda found: (found[1] or "") + REDACTED, safe)


def _described(error: BaseException) -> dict[str, object]:
    """Type, place and causes; the message only where it is known to hold nothing of a client's."""
    chain = [_alone(error)]
    cause = error.__cause__ or error.__context__
    while cause is not None and len(chain) < MAX_CAUSES:
        chain.append(_alone(cause))
        cause = cause.__cause__ or cause.__context__
    return {**chain[0], "causes": chain[1:]} if len(chain) > 1 else chain[0]


def _alone(error: BaseException) -> dict[str, object]:
    told: dict[str, object] = {"type": type(error).__qualname__}
    message = _message(error)
    if message:
        told["message"] = _text(message)
    frames = extract_tb(error.__traceback__)[-MAX_FRAMES:]
    told["at"] = [f"{_short(frame.filename)}:{frame.lineno} {frame.name}" for frame in frames]
    return told


def _message(error: BaseException) -> str:
    match error:
        case AuthzError() | Misconfigured():
            return str(error)
        case OSError():
            return error.strerror or ""
        case _:
            return ""


def _short(filename: str) -> str:
    return "/".join(Path(filename).parts[-2:])


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
                at=f"{_short(record.pathname)}:{record.lineno}",
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
