"""What a token says, in words that a terminal shows and does not obey."""

from __future__ import annotations

import json
from datetime import UTC, datetime

_UNITS = (("d", 86_400), ("h", 3_600), ("min", 60), ("s", 1))


def told(value: object) -> str:
    """A value of a token as JSON on one line, without what a terminal would obey."""
    return printable(json.dumps(value, ensure_ascii=False))


def printable(text: str) -> str:
    """A text in which control, bidirectional and other invisible characters are escaped."""
    return "".join(letter if letter.isprintable() else ascii(letter)[1:-1] for letter in text)


def moment(value: object, now: float) -> str:
    """A NumericDate as a time and how far off it is: `2027-01-15 08:05:00 UTC, in 5 min`."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return told(value)
    try:
        when = datetime.fromtimestamp(value, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    except (OverflowError, ValueError, OSError):
        return told(value)
    return f"{when}, {distance(value - now)}"


def distance(seconds: float) -> str:
    """`in 5 min`, `2 d 3 h ago`, `now`."""
    rest, parts = int(abs(seconds)), []
    for unit, size in _UNITS:
        count, rest = divmod(rest, size)
        if count:
            parts.append(f"{count} {unit}")
    if not parts:
        return "now"
    text = " ".join(parts[:2])
    return f"in {text}" if seconds > 0 else f"{text} ago"
