"""JSON that can be read in one way only: tokens, key sets and discovery documents."""

from __future__ import annotations

import json
import re
from typing import Any, NoReturn

MAX_NESTING = 64
"""Levels. Python's own limit differs from version to version."""
_STRING = re.compile(rb'"(?:[^"\\]|\\.)*"', re.DOTALL)


class NotStrictJson(ValueError):
    """The text is not an object in UTF-8 JSON (RFC 8259) with distinct names."""


def json_object(data: bytes) -> dict[str, Any]:
    """The object that `data` holds.

    Python's reader alone would take UTF-16, `NaN`, and the last of two equal names, which another reader of
    the same token may see differently (RFC 7515, section 4; RFC 8725, section 2.4).

    Raises:
        NotStrictJson: with words that do not repeat the data.
    """
    if _nesting(data) > MAX_NESTING:
        raise NotStrictJson(f"expected a JSON object of at most {MAX_NESTING} levels")
    try:
        value = json.loads(data.decode(), object_pairs_hook=_distinct, parse_constant=_refuse)
    except NotStrictJson:
        raise
    except (ValueError, RecursionError):  # not UTF-8, no JSON, an endless number, nested too deep
        raise NotStrictJson("expected a JSON object in UTF-8") from None
    if not isinstance(value, dict):
        raise NotStrictJson("expected a JSON object")
    return value


def _nesting(data: bytes) -> int:
    """How deep it nests at most; exact only where that is more than is allowed."""
    if data.count(b"[") + data.count(b"{") <= MAX_NESTING:
        return 0
    depth = deepest = 0
    for byte in _STRING.sub(b"", data):
        if byte in b"[{":
            depth += 1
            deepest = max(deepest, depth)
        elif byte in b"]}":
            depth -= 1
    return deepest


def _distinct(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise NotStrictJson("expected every name once in a JSON object")
    return members


def _refuse(_: str) -> NoReturn:
    raise NotStrictJson("expected a finite number")
