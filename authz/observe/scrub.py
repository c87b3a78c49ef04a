"""What the operational log may say: nothing that names, looks like or might hold a credential.

Values are bounded; objects are told by their type, for a repr might hold anything. Exceptions are told by type
and place; their message only where it is ours, or the operating system's.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping, MutableMapping
from enum import Enum
from pathlib import Path, PurePath
from traceback import extract_tb
from typing import Any, TypeAlias

from authz.core.errors import AuthzError, Misconfigured, Problem
from authz.core.model import EntityUid
from authz.observe.values import MAX_DEPTH, MAX_ITEMS, clean

Event: TypeAlias = MutableMapping[str, Any]
"""What structlog hands from processor to processor."""
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
# And API keys of ours: the id is public, the secret behind it is not.
_SECRET_TEXT = re.compile(
    r"\beyJ[\w-]+(?:\.[\w-]*)+|\b((?:bearer|basic)\s+|authz_[a-z0-9-]+_)[\w.~+/=-]{16,}", re.IGNORECASE
)
_CONTROLS = re.compile(r"[\x00-\x1f\x7f]+")


def scrub(logger: object, _method: str, event: Event) -> Event:
    """Processor: bounds every value, redacts what names or looks like a credential, tells exceptions safely."""
    error = _error(event.pop("exc_info", None))
    event.pop("stack_info", None)
    told: Event = {}
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
    told["at"] = [f"{short(frame.filename)}:{frame.lineno} {frame.name}" for frame in frames]
    return told


def _message(error: BaseException) -> str:
    match error:
        case AuthzError() | Misconfigured():
            return str(error)
        case OSError():
            return error.strerror or ""
        case _:
            return ""


def short(filename: str) -> str:
    """The file and its folder: enough to find the line, nothing of the machine."""
    return "/".join(Path(filename).parts[-2:])
