"""Header values of the form `value; name=value; name="value"`: media types and dispositions."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import NamedTuple

_TOKEN = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
# No backslash: RFC 9110, 5.6.4 takes it for an escape, browsers mean it as it stands (RFC 7578, section 2 and 4.2).
_PARAMETER = re.compile(rf'[ \t]*;[ \t]*(?:({_TOKEN})=(?:({_TOKEN})|"([^"\\\x00-\x08\x0a-\x1f\x7f]*)"))?')
_VALUE = re.compile(rf"{_TOKEN}(?:/{_TOKEN})?")


class Parameterised(NamedTuple):
    """A value and its parameters; the value and the names in lower case."""

    value: str
    parameters: Mapping[str, str]


def parameterised(text: str) -> Parameterised | None:
    """Reads such a value (RFC 9110, 5.6.6 and 8.3.1); None: it is none, or can be read in several ways."""
    head = _VALUE.match(text)
    if head is None:
        return None
    found: dict[str, str] = {}
    position = head.end()
    while position < len(text):
        match = _PARAMETER.match(text, position)
        if match is None:
            return None
        position = match.end()
        if match[1] is None:  # nothing between two semicolons
            continue
        name = match[1].lower()
        if name in found:
            return None
        found[name] = match[2] if match[2] is not None else match[3]
    return Parameterised(head[0].lower(), found)


def is_utf8(parameters: Mapping[str, str], *also: str) -> bool:
    """Do the parameters leave the text in UTF-8, or in one of the charsets `also`?"""
    return parameters.get("charset", "utf-8").lower() in {"utf-8", *also}
