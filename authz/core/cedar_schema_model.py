"""A Cedar schema as the product reads it: resolved, immutable, and small.

All names are fully qualified (`Ns::User`), all common types are replaced by what they stand for, and every
reference is known to be declared. Source of the meaning: Cedar reference, "Schema".
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeAlias

ActionUid: TypeAlias = tuple[str, str]
"""Type and id of an action, as in `("Ns::Action", "Read")`."""


class CedarSchemaError(ValueError):
    """A schema cannot be read. `line` counts from 1, None where no line is known; `message` says what to do."""

    def __init__(self, line: int | None, message: str) -> None:
        super().__init__(message if line is None else f"line {line}: {message}")
        self.line = line
        self.message = message


@dataclass(frozen=True, slots=True)
class StringType:
    """Cedar's `String`."""


@dataclass(frozen=True, slots=True)
class LongType:
    """Cedar's `Long`: a whole number of 64 bits, with sign."""


@dataclass(frozen=True, slots=True)
class BoolType:
    """Cedar's `Bool`."""


@dataclass(frozen=True, slots=True)
class ExtensionType:
    """A type of an extension: `ipaddr`, `decimal`, `datetime` or `duration`."""

    name: str


@dataclass(frozen=True, slots=True)
class EntityType:
    """A reference to an entity of this type; `Ns::Action` where actions are meant."""

    name: str


@dataclass(frozen=True, slots=True)
class SetType:
    """`Set<element>`."""

    element: "CedarType"


@dataclass(frozen=True, slots=True)
class RecordType:
    """A record. Closed: it has no other attributes than these."""

    attributes: Mapping[str, "Attribute"]


CedarType: TypeAlias = StringType | LongType | BoolType | ExtensionType | EntityType | SetType | RecordType


@dataclass(frozen=True, slots=True)
class Attribute:
    """What a record or an entity declares under one name."""

    type: CedarType
    required: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class EntityDecl:
    """An entity type."""

    name: str
    """Fully qualified."""
    member_of: frozenset[str]
    """Entity types whose entities may be direct parents."""
    attributes: Mapping[str, Attribute]
    tags: CedarType | None
    """Type of every tag; None where entities of this type have no tags."""
    enum: frozenset[str] | None
    """The only ids allowed; None where any is."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ActionDecl:
    """An action, or a group of actions: Cedar does not tell them apart."""

    uid_type: str
    """Its entity type: `Action`, behind the namespace if there is one."""
    id: str
    groups: tuple[ActionUid, ...]
    """Direct parents."""
    principals: frozenset[str]
    """Entity types that may be the principal; empty for what is a group only."""
    resources: frozenset[str]
    context: RecordType


@dataclass(frozen=True, slots=True, kw_only=True)
class Schema:
    """All entity types and actions, by fully qualified name and uid."""

    entities: Mapping[str, EntityDecl]
    actions: Mapping[ActionUid, ActionDecl]

    def action_ancestors(self, type: str, id: str) -> frozenset[ActionUid]:
        """Return every group that an action is in, at any distance; none for an action that is not declared."""
        found: set[ActionUid] = set()
        waiting: list[ActionUid] = [(type, id)]
        while waiting:
            action = self.actions.get(waiting.pop())
            fresh = [group for group in action.groups if group not in found] if action else []
            found.update(fresh)
            waiting.extend(fresh)
        return frozenset(found)

    def principal_types(self) -> frozenset[str]:
        """Return the entity types that are the principal of at least one action."""
        return frozenset().union(*(action.principals for action in self.actions.values()))
