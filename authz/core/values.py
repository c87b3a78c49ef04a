"""Cedar's data: identifiers, values, entities (Cedar documentation, "Entities" and "Data types")."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple, TypeAlias


class EntityUid(NamedTuple):
    """A Cedar entity's unique identifier, `Type::"id"`. `type` carries its namespace."""

    type: str
    id: str

    def __str__(self) -> str:
        if self.id.isprintable() and '"' not in self.id and "\\" not in self.id:  # nearly always, and it is logged
            return f'{self.type}::"{self.id}"'
        escaped = self.id.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n").replace("\r", "\\r")
        return f'{self.type}::"{escaped}"'


class Extension(NamedTuple):
    """A Cedar extension value: `function` is `ip`, `decimal`, `datetime` or `duration`."""

    function: str
    argument: str


# A set is a tuple (order is of no account), a record a mapping. EntityUid and Extension are tuples
# too, so look for them first.
Value: TypeAlias = "str | int | bool | EntityUid | Extension | tuple[Value, ...] | Mapping[str, Value]"


@dataclass(frozen=True, slots=True, kw_only=True)
class Entity:
    """One Cedar entity: attributes, direct parents, tags."""

    uid: EntityUid
    attributes: Mapping[str, Value] = field(default_factory=dict)
    parents: frozenset[EntityUid] = frozenset()
    tags: Mapping[str, Value] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False, weakref_slot=True)
class EntitySlice:
    """What one source says of entities, e.g. one verified token of its principal.

    Compared by identity and weakly referable: it is built once and shared by many queries, so an adapter
    may keep what it derives from it (an engine's handle) beside it for as long as it lives.
    """

    entities: tuple[Entity, ...] = ()
