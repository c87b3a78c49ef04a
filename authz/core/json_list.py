"""A JSON list read element by element, each with its line.

Python's reader takes a text whole, and nothing else in the process runs until it has: seconds, where a store has a
hundred thousand links or entities. Here it reads one element at a time. (RFC 8259 gives the grammar; a name that
stands twice in one object is refused, for two readers could take two values.)
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from json import JSONDecodeError, JSONDecoder
from typing import Any, NamedTuple, NoReturn

from authz.core.cedar_lex import quoted

_SPACE = re.compile(r"[ \t\n\r]*+")
_VALUE = frozenset('{"-0123456789tfn')


class JsonListError(ValueError):
    """The text is no such list. `line` counts from 1, None where no place is known; `message` says what is wrong."""

    def __init__(self, line: int | None, message: str) -> None:
        super().__init__(message if line is None else f"line {line}: {message}")
        self.line = line
        self.message = message


class NoList(JsonListError):
    """The text is another kind of JSON value."""


class Element(NamedTuple):
    """One element of a list."""

    line: int
    """Where it begins, from 1."""
    value: Any
    """As `json.loads` gives it."""


def json_list(text: str) -> Iterator[Element]:
    """The elements of a JSON list, in order; what is wrong behind an element is told after it.

    Raises:
        JsonListError: the text is not JSON, names a member twice, or has an endless number.
        NoList: it is JSON, but no list.
    """
    place = _start(text)
    line, counted = 1, 0
    decode = JSONDecoder(object_pairs_hook=_distinct, parse_constant=_refuse).raw_decode
    if text[place : place + 1] == "]":
        return _end(text, place + 1)
    while True:
        line += text.count("\n", counted, place)
        counted = place
        try:
            value, place = decode(text, place)
        except JSONDecodeError as error:
            raise JsonListError(error.lineno, error.msg) from None
        except JsonListError as error:
            raise JsonListError(line, error.message) from None
        except RecursionError:
            raise JsonListError(line, "nested too deeply") from None
        except ValueError:  # Python's own limit on the digits of a number
            raise JsonListError(line, "a number has too many digits") from None
        yield Element(line, value)
        place = _skip(text, place)
        mark = text[place : place + 1]
        if mark == "]":
            return _end(text, place + 1)
        if mark != ",":
            raise _wrong(text, place, "Expecting ',' delimiter")
        place = _skip(text, place + 1)


def _start(text: str) -> int:
    """Where the first element begins, or the end of the list."""
    place = _skip(text, 0)
    first = text[place : place + 1]
    if first == "[":
        return _skip(text, place + 1)
    if first and first in _VALUE:
        raise NoList(None, "expected a list")
    raise _wrong(text, place, "Expecting value")


def _end(text: str, place: int) -> None:
    place = _skip(text, place)
    if place < len(text):
        raise _wrong(text, place, "Extra data")


def _skip(text: str, place: int) -> int:
    match = _SPACE.match(text, place)
    return match.end() if match is not None else place


def _wrong(text: str, place: int, message: str) -> JsonListError:
    return JsonListError(JSONDecodeError(message, text, place).lineno, message)


def _distinct(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise JsonListError(None, f"the key {quoted(twice)} stands twice in one object")
    return found


def _refuse(name: str) -> NoReturn:
    raise JsonListError(None, f"`{name}` is no JSON number")
