"""How a value looks in a log: bounded, and without a character that a terminal or a line reader would act on."""

from __future__ import annotations

import re
from collections.abc import Mapping

from authz.core.model import EntityUid, Extension

MAX_TEXT = 256
"""Characters of a name or value; more are cut, and an ellipsis tells so."""
MAX_UID = 512
"""Characters of an entity's uid."""
MAX_PATH = 1024
"""Characters of a path."""
MAX_ITEMS = 32
"""Members of a shown set, list or record, and policy ids of a decision."""
MAX_DEPTH = 4
"""Levels of a shown value."""
_INT64 = 1 << 63

# C0 and C1 controls (terminal escapes), surrogates (not encodable), line and paragraph separators (which
# some line readers split at), and bidirectional controls (which make a line read as another).
_UNSAFE = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


def clean(text: str, limit: int = MAX_TEXT) -> str:
    """`text` within `limit` characters, what is unsafe in a log replaced by U+FFFD."""
    # The controls of ASCII are left to JSON, which escapes them: the common case is one look at a flag.
    if len(text) <= limit and text.isascii():
        return text
    if len(text) > limit:
        text = text[: limit - 1] + "…"
    return _UNSAFE.sub("\N{REPLACEMENT CHARACTER}", text)


def shown(value: object, depth: int = 1) -> object:
    """A claim, or a value of a context, as bounded JSON. Never raises; what has no form is named by its type."""
    match value:
        case str():
            return clean(value)
        case None | bool() | float():
            return value
        case int():
            return value if -_INT64 <= value < _INT64 else "<too large>"
        case EntityUid():
            return clean(str(value), MAX_UID)
        case Extension():
            return clean(f"{value.function}({value.argument})")
        case _:
            return _shown_whole(value, depth)


def _name(name: object) -> str:
    return clean(name) if isinstance(name, str) else f"<{type(name).__name__}>"


def _shown_whole(value: object, depth: int) -> object:
    if depth >= MAX_DEPTH:
        return "<too deep>"
    match value:
        case Mapping():
            items = list(value.items())[:MAX_ITEMS]
            return {_name(name): shown(item, depth + 1) for name, item in items}
        case tuple() | list() | set() | frozenset():
            return [shown(item, depth + 1) for item in list(value)[:MAX_ITEMS]]
        case _:
            return f"<{type(value).__name__}>"
