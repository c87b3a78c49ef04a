"""Entities: drawn, and united over their sources as the full set sees them.

How entities are told: Cedar documentation, "Entities and context JSON format". Of two sources that tell one entity
parents are united and attributes merged, and the earlier source wins.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from authz.core.model import Entity, EntityUid, Extension, Value
from tests.pdp.equality.names import Draw, Names, chance, pick, some

ODD = "un less"
MIXED = ("level", "owner", "team", "folder", "groups", "ip", "name", "flag", "info", ODD)
_ADDRESSES = (Extension("ip", "10.1.2.3"), Extension("ip", "127.0.0.1"), Extension("ip", "192.0.2.0/24"))
_WRONG: tuple[Value, ...] = ("a", 7, True, (), (1, "a"), {}, Extension("decimal", "1.5"))


def value(draw: Draw, names: Names, attribute: str) -> Value:  # noqa: C901 - a table
    """A value of the attribute's own type; such as the schema, if there is one, declares."""
    match attribute:
        case "level" | "n" | "un less":
            return pick(draw, (0, 1, 2, 3, 9223372036854775807))
        case "owner" | "by" | "who":
            return pick(draw, names.users)
        case "team":
            return pick(draw, names.groups[:4])
        case "folder":
            return pick(draw, names.folders[:4])
        case "groups":
            return some(draw, names.groups[:4], 3)
        case "ip":
            return pick(draw, _ADDRESSES)
        case "name" | "sub" | "extra":
            return pick(draw, ("a", "ab", "k", "ü\n\"'"))
        case "flag":
            return chance(draw, 50)
        case "scope":
            return some(draw, ("s", "t"), 2)
        case "info":
            record: dict[str, Value] = {"n": value(draw, names, "n")}
            return {**record, "by": value(draw, names, "by")} if chance(draw, 50) else record
    raise ValueError(attribute)


def attributes(draw: Draw, names: Names, *, needed: Iterable[str], wrong: bool) -> dict[str, Value]:
    """Some attributes, and those that are needed; where it may be so, now and then one of a wrong type."""
    chosen = (*needed, *(name for name in MIXED if chance(draw, 75 if name in MIXED[:3] else 40)))
    found = {name: value(draw, names, name) for name in dict.fromkeys(chosen)}
    if wrong and chance(draw, 15):
        found[pick(draw, MIXED)] = _WRONG[pick(draw, range(len(_WRONG)))]
    return found


def parents(
    draw: Draw, names: Names, uid: EntityUid, *, allowed: Mapping[str, frozenset[str]] | None
) -> set[EntityUid]:
    """Direct parents: often the next of its kind, so that chains are deep; also such as are never given."""
    ranked = names.actions if uid in names.actions else names.ranked
    later = ranked[ranked.index(uid) + 1 :]
    if allowed is not None:
        later = tuple(other for other in later if other.type in allowed.get(uid.type, ()))
    if not later:
        return set()
    homes = (names.folders if uid.type == names.doc else names.groups)[:3]
    near = tuple(other for other in (*later[:1], *homes) if other in later) or later
    chosen = {pick(draw, near)} if chance(draw, 75) else set()
    if chance(draw, 30):
        chosen.add(pick(draw, later))
    return chosen


def united(sources: Iterable[Iterable[Entity]]) -> dict[EntityUid, Entity]:
    """Every entity of all sources, each once."""
    found: dict[EntityUid, Entity] = {}
    for source in sources:
        for entity in source:
            known = found.get(entity.uid)
            found[entity.uid] = entity if known is None else _joined(known, entity)
    return found


def _joined(first: Entity, later: Entity) -> Entity:
    return Entity(
        uid=first.uid,
        attributes={**later.attributes, **first.attributes},
        tags={**later.tags, **first.tags},
        parents=first.parents | later.parents,
    )


def above(entities: Mapping[EntityUid, Entity]) -> dict[EntityUid, frozenset[EntityUid]]:
    """Of each entity: itself and all that it is in, parents included that are named and not given."""
    found: dict[EntityUid, frozenset[EntityUid]] = {}

    def climb(uid: EntityUid) -> frozenset[EntityUid]:
        if uid not in found:
            entity = entities.get(uid)
            found[uid] = frozenset((uid,)).union(
                *(climb(parent) for parent in entity.parents if entity) if entity else ()
            )
        return found[uid]

    for uid in entities:
        climb(uid)
    return found


def as_json(value: Value) -> Any:
    """A value in Cedar's explicit form."""
    if isinstance(value, EntityUid):
        return {"__entity": uid_as_json(value)}
    if isinstance(value, Extension):
        return {"__extn": {"fn": value.function, "arg": value.argument}}
    if isinstance(value, tuple):
        return [as_json(member) for member in value]
    if isinstance(value, Mapping):
        return {name: as_json(member) for name, member in value.items()}
    return value


def uid_as_json(uid: EntityUid) -> dict[str, str]:
    """An entity's name."""
    return {"type": uid.type, "id": uid.id}


def entity_as_json(entity: Entity) -> dict[str, Any]:
    """An entity."""
    return {
        "uid": uid_as_json(entity.uid),
        "attrs": as_json(entity.attributes),
        "parents": [uid_as_json(parent) for parent in sorted(entity.parents)],
        "tags": as_json(entity.tags),
    }
