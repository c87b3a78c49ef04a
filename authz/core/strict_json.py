"""JSON that can be read in one way only: tokens, key sets, discovery documents and bodies."""

from __future__ import annotations

import json
import re
from decimal import Decimal
from itertools import accumulate
from typing import Any, NoReturn

MAX_NESTING = 64
"""Levels. Python's own limit differs from version to version."""
# A string, also one that never ends: else a search would begin anew at each quote in it, and take seconds.
_STRING = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*(?:"|\\?\Z)', re.DOTALL)
_NO_BRACKETS = bytes(set(range(256)) - set(b"[]{}"))
_STEPS = {ord("["): 1, ord("{"): 1, ord("]"): -1, ord("}"): -1}


class NotStrictJson(ValueError):
    """The text is not an object in UTF-8 JSON (RFC 8259) with distinct names."""


def json_object(data: bytes, *, exact: bool = False) -> dict[str, Any]:
    """The object that `data` holds. `exact`: numbers with a fraction or an exponent as `Decimal`, not as `float`.

    Python's reader alone would take UTF-16, `NaN`, and the last of two equal names, which another reader of
    the same token may see differently (RFC 7515, section 4; RFC 8725, section 2.4).

    Raises:
        NotStrictJson: with words that do not repeat the data.
    """
    if _nesting(data) > MAX_NESTING:
        raise NotStrictJson(f"expected a JSON object of at most {MAX_NESTING} levels")
    try:
        value = json.loads(
            data.decode(),
            object_pairs_hook=_distinct,
            parse_constant=_refuse,
            parse_float=_decimal if exact else None,
        )
    except NotStrictJson:
        raise
    except (ValueError, RecursionError):  # not UTF-8, no JSON, an endless number, nested too deep
        raise NotStrictJson("expected a JSON object in UTF-8") from None
    if not isinstance(value, dict):
        raise NotStrictJson("expected a JSON object")
    return value


def _nesting(data: bytes) -> int:
    """The first depth that is more than is allowed; 0: there is none."""
    if data.count(b"[") + data.count(b"{") <= MAX_NESTING:
        return 0
    # No Python step for each bracket: a body can have a million of them, and nothing else runs meanwhile.
    brackets = _STRING.sub(b"", data).translate(None, _NO_BRACKETS)
    return next(filter(MAX_NESTING.__lt__, accumulate(map(_STEPS.__getitem__, brackets))), 0)


def _distinct(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise NotStrictJson("expected every name once in a JSON object")
    return members


def _decimal(text: str) -> Decimal:
    try:
        return Decimal(text)
    except ArithmeticError:  # an exponent beyond what `Decimal` can hold
        raise NotStrictJson("expected numbers of an ordinary size") from None


def _refuse(_: str) -> NoReturn:
    raise NotStrictJson("expected a finite number")
