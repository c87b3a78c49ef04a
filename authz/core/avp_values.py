"""Core values → the typed form in which Verified Permissions takes them, and its identifiers back.

Each value is told with its type (`AttributeValue`, a union of one member), so that a text stays a text whatever it
says. The service turns typed values into Cedar's JSON, in which `__entity`, `__extn` and `__expr` have a meaning of
their own: a record from outside that has one of these keys could become an entity, so it is refused.
Source: API reference, `AttributeValue`, `EntityItem`, `ContextDefinition`, `EntityIdentifier`, `ActionIdentifier`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from authz.core.model import Entity, EntityUid, Extension, Value

Json = Any
"""What the SDK takes and gives."""

MAX_DEPTH = 48
"""Levels of sets and records in one value. The service names no limit; the SDK's own is the depth of its recursion."""
MAX_TYPE = 200
MAX_ID = 612
"""Characters of an entity's id; of an action's, `MAX_ACTION_ID` (API reference, EntityId and ActionId)."""
MAX_ACTION_ID = 512
LONGEST_PLACE = 120
"""Characters of a place in a message."""
_ESCAPES = frozenset({"__entity", "__extn", "__expr"})
_MEMBERS = {"ip": "ipaddr", "decimal": "decimal", "datetime": "datetime", "duration": "duration"}
_LONGS = range(-(2**63), 2**63)


class Unsayable(ValueError):
    """Something that Verified Permissions cannot be told. Names the place and what is wrong, never the value."""

    def __init__(self, where: str, what: str) -> None:
        place = where if len(where) <= LONGEST_PLACE else where[: LONGEST_PLACE - 1] + "…"
        super().__init__(f"`{place}` {what}")


class Unreadable(ValueError):
    """Something that Verified Permissions said, and that is not of the form it promises. Holds no value."""


def identifier(uid: EntityUid, where: str) -> dict[str, str]:
    """An `EntityIdentifier`.

    Raises:
        Unsayable: the type or the id is empty or too long, or holds a surrogate.
    """
    _check_text(uid.type, MAX_TYPE, where)
    _check_text(uid.id, MAX_ID, where)
    return {"entityType": uid.type, "entityId": uid.id}


def action_identifier(uid: EntityUid, where: str) -> dict[str, str]:
    """An `ActionIdentifier`. Raises as `identifier` does, and for a type that is not one of actions."""
    if uid.type != "Action" and not uid.type.endswith("::Action"):
        raise Unsayable(where, "is not of a type `…::Action`")
    _check_text(uid.type, MAX_TYPE, where)
    _check_text(uid.id, MAX_ACTION_ID, where)
    return {"actionType": uid.type, "actionId": uid.id}


def attribute_value(value: Value, where: str, depth: int = MAX_DEPTH) -> dict[str, Json]:
    """An `AttributeValue`, or a `CedarTagValue`: their members are the same.

    Args:
        value: the value.
        where: its place, for the message.
        depth: levels of sets and records that it may still have.

    Raises:
        Unsayable: no Cedar value, a whole number beyond 64 bits, too deep, or a record with an escape's key.
    """
    if isinstance(value, str):
        _check_sound(value, where)
        return {"string": value}
    if isinstance(value, bool):  # before int, which a bool is
        return {"boolean": value}
    if isinstance(value, int):
        if value not in _LONGS:
            raise Unsayable(where, "is a whole number beyond 64 bits")
        return {"long": value}
    if isinstance(value, EntityUid):
        return {"entityIdentifier": identifier(value, where)}
    if isinstance(value, Extension):
        return _extension(value, where)
    if depth <= 0:
        raise Unsayable(where, f"has more than {MAX_DEPTH} levels")
    if isinstance(value, tuple):
        place = f"{where}[]"
        return {"set": [attribute_value(member, place, depth - 1) for member in value]}
    if isinstance(value, Mapping):
        return {"record": record(value, where, depth - 1)}
    raise Unsayable(where, "is no value of Cedar's")


def record(values: Mapping[str, Value], where: str, depth: int = MAX_DEPTH) -> dict[str, Json]:
    """Attributes, tags, the members of a record or of the context. Raises as `attribute_value` does."""
    return {
        _name(name, where): attribute_value(member, f"{where}.{name}" if where else name, depth)
        for name, member in values.items()
    }


def entity_item(entity: Entity) -> dict[str, Json]:
    """An `EntityItem`. Raises as `attribute_value` does; places are told by the entity's type."""
    kind = entity.uid.type
    found: dict[str, Json] = {"identifier": identifier(entity.uid, kind)}
    if entity.attributes:
        found["attributes"] = record(entity.attributes, kind)
    if entity.parents:
        found["parents"] = _parents(entity.parents, kind)
    if entity.tags:
        found["tags"] = record(entity.tags, f"{kind} (tags)")
    return found


def is_bare(entity: Entity) -> bool:
    """Is nothing told of the entity? To Cedar it makes no difference whether such a one is given."""
    return not (entity.attributes or entity.parents or entity.tags)


def uid_from_identifier(data: Json) -> EntityUid:
    """An `EntityIdentifier` or an `ActionIdentifier`, back.

    Raises:
        Unreadable: it is neither.
    """
    if isinstance(data, Mapping):
        for kind, id in (("entityType", "entityId"), ("actionType", "actionId")):
            if isinstance(data.get(kind), str) and isinstance(data.get(id), str):
                return EntityUid(data[kind], data[id])
    raise Unreadable("expected the identifier of an entity or of an action")


def _parents(parents: Iterable[EntityUid], kind: str) -> list[dict[str, str]]:
    place = f"{kind} (parents)"
    return [identifier(parent, place) for parent in sorted(parents)]


def _extension(value: Extension, where: str) -> dict[str, str]:
    member = _MEMBERS.get(value.function)
    if member is None or not isinstance(value.argument, str):
        raise Unsayable(where, "is of no type that Verified Permissions knows: ip, decimal, datetime, duration")
    if not value.argument or not value.argument.isascii():
        raise Unsayable(where, f"is no {value.function}")
    return {member: value.argument}


def _name(name: str, where: str) -> str:
    place = f"{where}.{name}" if where else name
    if name in _ESCAPES:
        raise Unsayable(place, "is no name of an attribute: it is how Cedar's JSON marks entities and extensions")
    _check_sound(name, where)
    return name


def _check_text(text: str, longest: int, where: str) -> None:
    if not text:
        raise Unsayable(where, "has an empty type or id, which Verified Permissions does not take")
    if len(text) > longest:
        raise Unsayable(where, f"has a type or id of more than {longest} characters")
    _check_sound(text, where)


def _check_sound(text: str, where: str) -> None:
    if text.isascii():
        return
    try:
        text.encode()
    except UnicodeEncodeError:
        raise Unsayable(where, "holds half a character (a surrogate)") from None
