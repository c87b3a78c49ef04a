"""Whether input has its operation's shape.

The SDKs check little of it (no maximum, no pattern, no enumeration), so the service does. All that is wrong is told in
one ValidationException. Members that no shape knows are left out, and so are those that are null, as servers of
awsJson1_0 do (Smithy, "AWS JSON 1.0 protocol").
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from authz.emulator.errors import Field, ValidationError
from authz.emulator.shape_tables import MEMBERS, SHAPES, Choice, Flag, Items, Number, Structure, Table, Text, Union

MAX_FIELDS = 100
"""Of one answer: a body can be wrong in a hundred thousand places."""


def check(operation: str, given: Mapping[str, Any]) -> dict[str, Any]:
    """The input, of what its shape knows; null members are left out.

    Raises:
        ValidationError: with all that is wrong with it.
    """
    reader = _Reader()
    found = reader.read(operation, given, "")
    if reader.fields:
        raise ValidationError(reader.fields[:MAX_FIELDS])
    members: dict[str, Any] = found
    return members


class _Reader:
    def __init__(self) -> None:
        self.fields: list[Field] = []

    def wrong(self, path: str, message: str) -> None:
        self.fields.append(Field(path or "/", message))

    def read(self, name: str, value: object, path: str) -> Any:
        shape = SHAPES[name]
        if len(self.fields) >= MAX_FIELDS:
            return None
        read: Callable[[Any, object, str], Any] = getattr(self, f"_{type(shape).__name__.lower()}")
        return read(shape, value, path)

    def _fits(self, value: Any, least: int, most: int | None, path: str) -> bool:
        if len(value) < least:
            self.wrong(path, f"Member must have length greater than or equal to {least}")
            return False
        if most is not None and len(value) > most:
            self.wrong(path, f"Member must have length less than or equal to {most}")
            return False
        return True

    def _text(self, shape: Text, value: object, path: str) -> object:
        if not isinstance(value, str):
            self.wrong(path, "Member must be a string")
            return None
        fits = self._fits(value, shape.least, shape.most, path)
        if fits and shape.pattern is not None and not re.fullmatch(shape.pattern, value, re.ASCII):
            self.wrong(path, f"Member must satisfy regular expression pattern: {shape.pattern}")
        return value

    def _choice(self, shape: Choice, value: object, path: str) -> object:
        if value not in shape.words:
            self.wrong(path, f"Member must satisfy enum value set: [{', '.join(shape.words)}]")
        return value

    def _number(self, shape: Number, value: object, path: str) -> object:
        if isinstance(value, bool) or not isinstance(value, int):  # a bool is an int in Python
            self.wrong(path, "Member must be a whole number")
        elif value < shape.least:
            self.wrong(path, f"Member must have value greater than or equal to {shape.least}")
        elif value > shape.most:
            self.wrong(path, f"Member must have value less than or equal to {shape.most}")
        return value

    def _flag(self, shape: Flag, value: object, path: str) -> object:
        if not isinstance(value, bool):
            self.wrong(path, "Member must be a boolean")
        return value

    def _items(self, shape: Items, value: object, path: str) -> object:
        if not isinstance(value, list):
            self.wrong(path, "Member must be a list")
            return None
        if not self._fits(value, shape.least, shape.most, path):
            return None
        return [self.read(shape.of, item, f"{path}/{number}") for number, item in enumerate(value)]

    def _table(self, shape: Table, value: object, path: str) -> object:
        if not isinstance(value, dict):
            self.wrong(path, "Member must be an object")
            return None
        if not self._fits(value, 0, shape.most, path):
            return None
        found = {}
        for key, item in value.items():
            inner = f"{path}/{_escaped(key)}"
            self.read(shape.key, key, inner)
            if item is not None:
                found[key] = self.read(shape.of, item, inner)
        return found

    def _structure(self, shape: Structure, value: object, path: str) -> object:
        if not isinstance(value, dict):
            self.wrong(path, "Member must be an object")
            return None
        found = {}
        for name, of, required in MEMBERS[shape.members]:
            item = value.get(name)
            if item is not None:
                found[name] = self.read(of, item, f"{path}/{name}")
            elif required:
                self.wrong(f"{path}/{name}", "Member must not be null")
        return found

    def _union(self, shape: Union, value: object, path: str) -> object:
        if not isinstance(value, dict):
            self.wrong(path, "Member must be an object")
            return None
        known = {name: of for name, of, _ in MEMBERS[shape.members]}
        given = [name for name, item in value.items() if item is not None]
        if len(given) != 1 or given[0] not in known:
            self.wrong(path, f"Exactly one member must be given: {', '.join(known)}")
            return None
        name = given[0]
        return {name: self.read(known[name], value[name], f"{path}/{name}")}


def _escaped(name: str) -> str:
    """A name in a JSON pointer (RFC 6901)."""
    return name.replace("~", "~0").replace("/", "~1")
