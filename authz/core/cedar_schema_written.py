"""The declarations of a schema as they are written, before any name in them is resolved.

Both readers, of Cedar's schema syntax and of its JSON, end here; `cedar_schema_resolve` goes on from here.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Flag, auto
from types import MappingProxyType
from typing import TypeAlias

from authz.core.cedar_schema_model import BoolType, ExtensionType, LongType, StringType

MAX_TYPE_DEPTH = 50
"""Sets and records within one another, common types put in. In the JSON form the engine stops at 128 levels of
JSON, of which a record takes two; in Cedar syntax it crashes at 2,160 nested records (8 MiB of stack; 263 with
1 MiB), and is quadratic before."""

PRIMITIVES: Mapping[str, StringType | LongType | BoolType] = MappingProxyType(
    {
        "String": StringType(),
        "Long": LongType(),
        "Bool": BoolType(),
    }
)
EXTENSIONS = frozenset({"ipaddr", "decimal", "datetime", "duration"})


class Kind(Flag):
    """What a reference may mean."""

    COMMON = auto()
    ENTITY = auto()
    EITHER = COMMON | ENTITY


@dataclass(frozen=True, slots=True, kw_only=True)
class Reference:
    """A type named in a declaration. `offset` is its place in the text, None in JSON."""

    name: str
    kind: Kind
    offset: int | None


@dataclass(frozen=True, slots=True)
class WrittenSet:
    """A set type, its element not yet resolved."""

    element: "WrittenType"


@dataclass(frozen=True, slots=True)
class WrittenRecord:
    """A record type: attribute → its type and whether it is required."""

    attributes: Mapping[str, tuple["WrittenType", bool]]


WrittenType: TypeAlias = Reference | WrittenSet | WrittenRecord | StringType | LongType | BoolType | ExtensionType
EMPTY_RECORD = WrittenRecord({})


@dataclass(frozen=True, slots=True, kw_only=True)
class WrittenEntity:
    """An entity declaration."""

    parents: tuple[Reference, ...] = ()
    shape: WrittenType = EMPTY_RECORD
    tags: WrittenType | None = None
    enum: frozenset[str] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class WrittenAction:
    """An action declaration. In `groups`, the name is the action's type, beside it the id."""

    groups: tuple[tuple[Reference, str], ...] = ()
    principals: tuple[Reference, ...] = ()
    resources: tuple[Reference, ...] = ()
    context: WrittenType = EMPTY_RECORD


@dataclass(frozen=True, slots=True, kw_only=True)
class Namespace:
    """All declarations of one namespace, by their unqualified names. The empty namespace is called ``."""

    name: str
    types: dict[str, WrittenType] = field(default_factory=dict)
    entities: dict[str, WrittenEntity] = field(default_factory=dict)
    actions: dict[str, WrittenAction] = field(default_factory=dict)

    def qualify(self, name: str) -> str:
        """Put the namespace before a name declared in it."""
        return f"{self.name}::{name}" if self.name else name
