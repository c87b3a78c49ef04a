"""When two resources look alike to the policies that are asked about them.

What the policies read of `resource` is known (`cedar_reads`). Resources that answer alike to all of it are one question
for the engine: such a value as counts is compared as it is, and of a value that is only related to something that is
known beforehand, such as the principal, the relation's outcome is compared.
"""

from __future__ import annotations

import operator
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Hashable, Mapping, Sequence
from functools import lru_cache
from types import MappingProxyType
from typing import Any, TypeAlias

from authz.core.cedar_reads import Operand, Relation, resource_reads
from authz.core.model import EntityUid, Extension, Value
from authz.pdp.cedar_json import ESCAPES, is_sound, to_text

SCALARS = frozenset({str, int, bool, EntityUid})
"""Types whose values Cedar compares as Python does, if both are of the same. Not extension values: `10.0.0.1` and
`10.0.0.1/32` are one address."""
Above: TypeAlias = Callable[[EntityUid], frozenset[EntityUid]]
"""An entity → itself and all that it is in."""
Test: TypeAlias = Callable[[Value], "bool | None"]
"""The outcome of a relation for a value; None: not told here, so the value itself counts."""
Looks: TypeAlias = "Mapping[str, tuple[Relation, ...] | None]"
"""Attribute → all that is asked of it, nothing but whether it is there if that is empty; None: its value counts."""
_DEEP = 16
"""Levels of sets and records within which a value is surely one for the engine, which has a limit of its own."""
_ORDER: Mapping[str, Callable[[Any, Any], bool]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}


class Sight:
    """What some policies see of a resource."""

    def __init__(self, looks: Looks, known: Callable[[Operand], Value | None], above: Above) -> None:
        """Nothing was seen yet.

        Args:
            looks: what the policies read.
            known: the value of an operand; None: it has none.
            above: what an entity is in, whichever resource is asked about.
        """
        self.attributes = frozenset(looks)
        """Names of all that is looked at."""
        self._members = [
            _Member(name, None if found is None else [(one.operator, known(one.operand)) for one in found], above)
            for name, found in looks.items()
        ]

    def of(self, attributes: Mapping[str, Value]) -> Hashable:
        """Equal for resources that look alike."""
        found: list[Hashable] = []
        for member in self._members:
            value = attributes.get(member.name)
            if value is None:
                found.append(None)
                continue
            kind = type(value)
            if kind is int and member.bounds is not None:
                # Even: between two bounds; odd: on one.
                found.append(bisect_left(member.bounds, value) + bisect_right(member.bounds, value))  # type: ignore[type-var]
            elif kind in SCALARS:
                found.append(member.seen.get((kind, value)) or member.see(value))
            else:
                found.append(member.see(value))
        return tuple(found)


@lru_cache(maxsize=1024)  # the policies of a list's action, again with each list
def looks(forms: tuple[str, ...]) -> Looks | None:
    """What policies read of the resource, by attribute; None: one reads the resource as a whole, or may do so."""
    reads = [resource_reads(form) for form in forms]
    found: dict[str, tuple[Relation, ...] | None] = {}
    for one in reads:
        if one is None:
            return None
        for name in one.presence:
            found.setdefault(name, ())
        for relation in one.relations:
            found[relation.attribute] = (*(found.get(relation.attribute) or ()), relation)
    values = (name for one in reads if one is not None for name in one.values)
    return MappingProxyType({**found, **dict.fromkeys(values)})


class _Member:
    """One attribute, and what is seen of it. Remembers, for a list's resources have few values of most attributes."""

    __slots__ = ("_above", "_relations", "_tests", "bounds", "name", "seen")

    def __init__(self, name: str, relations: Sequence[tuple[str, Value | None]] | None, above: Above) -> None:
        self.name = name
        self.bounds = _bounds(relations) if relations else None
        """What a whole number is compared with, if nothing else is asked of it."""
        self.seen: dict[Hashable, Hashable] = {}
        """By type and value."""
        self._relations = relations
        self._above = above
        self._tests: Sequence[Test] | None = None

    def see(self, value: Value) -> Hashable:
        """What is seen of a value; never None or nothing."""
        if self._relations is None:
            return self._remembered(value, frozen(value))
        if self._tests is None:
            self._tests = [_test(sign, operand, self._above) for sign, operand in self._relations]
        outcomes = tuple([test(value) for test in self._tests])
        return self._remembered(value, frozen(value) if None in outcomes else ("outcomes", outcomes))

    def _remembered(self, value: Value, seen: Hashable) -> Hashable:
        if type(value) in SCALARS:
            self.seen[type(value), value] = seen
        return seen


def _bounds(relations: Sequence[tuple[str, Value | None]]) -> list[int] | None:
    found: set[int] = set()
    for sign, operand in relations:
        if type(operand) is not int or not (sign in _ORDER or sign in ("==", "!=")):
            return None
        found.add(operand)
    return sorted(found)


def frozen(value: Value) -> Hashable:
    """Equal for equal values of one type only: to Python `True` is 1, and an entity is an extension value."""
    kind = type(value)
    return kind, value if kind in SCALARS or kind is Extension else to_text(value)


def same(first: Value, second: Value) -> bool:
    """Are they equal, and of the same types throughout?"""
    kind = type(first)
    if kind is not type(second):
        return False
    if kind is dict:
        return _same_members(first, second)  # type: ignore[arg-type]
    if kind is tuple:
        pairs = zip(first, second, strict=False)  # type: ignore[arg-type]
        return len(first) == len(second) and all(same(*pair) for pair in pairs)  # type: ignore[arg-type]
    if isinstance(first, Mapping) and isinstance(second, Mapping):
        return _same_members(dict(first), dict(second))
    return first == second


def _same_members(first: dict[str, Value], second: dict[str, Value]) -> bool:
    if first.keys() != second.keys():
        return False
    for name, member in first.items():
        other = second[name]
        if member is not other and not same(member, other):
            return False
    return True


def is_plain(value: Value, levels: int = _DEEP) -> bool:
    """Is it surely a value that the engine takes? Asked of what it is not told; where not, it is told and judges."""
    kind = type(value)
    if kind is str:
        return value.isascii() or is_sound(value)  # type: ignore[union-attr]
    if kind is EntityUid:
        return _is_type(value.type) and is_sound(value.id)  # type: ignore[union-attr]
    if kind is tuple:
        return levels > 0 and all(is_plain(member, levels - 1) for member in value)  # type: ignore[union-attr]
    if isinstance(value, Mapping):
        return levels > 0 and all(is_name(name) and is_plain(member, levels - 1) for name, member in value.items())
    return is_sound(value)


def is_name(name: str) -> bool:
    """May an attribute surely be called so?"""
    return name not in ESCAPES and is_sound(name)


@lru_cache(maxsize=1024)
def _is_type(name: str) -> bool:
    return is_sound(EntityUid(name, ""))


def _test(sign: str, operand: Value | None, above: Above) -> Test:
    """The relation that `cedar_reads` calls so, with the operand."""
    kind = type(operand)
    if sign in ("==", "!=") and kind in SCALARS:
        return lambda value: None if type(value) not in SCALARS else _equal(value, operand) is (sign == "==")
    if sign in _ORDER and kind is int:
        compare = _ORDER[sign]
        return lambda value: compare(value, operand) if type(value) is int else None
    if sign == "contains" and kind in SCALARS:
        return lambda value: _contains(value, operand)
    if sign == "in":
        return lambda value: _within(value, operand, above)
    if sign == "holds":
        return lambda value: _within(operand, value, above)
    return lambda _: None


def _equal(first: Value, second: Value | None) -> bool:
    return type(first) is type(second) and first == second


def _contains(value: Value, operand: Value | None) -> bool | None:
    if type(value) is not tuple or any(type(member) not in SCALARS for member in value):
        return None
    return any(_equal(member, operand) for member in value)


def _within(first: Value | None, second: Value | None, above: Above) -> bool | None:
    """`first in second`."""
    if type(first) is not EntityUid or second is None:
        return None
    if type(second) is EntityUid:
        return second in above(first)
    if type(second) is not tuple or any(type(member) is not EntityUid for member in second):
        return None
    return not above(first).isdisjoint(second)
