"""Entities as the API writes them → Cedar's JSON for the engine. Apart from the product's own, as `values` is.

Source: API reference, `EntityItem`, `EntitiesDefinition`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import cedarpy

from authz.core.model import EntityUid
from authz.emulator.values import Json, cedar_record, checked_uid, entity_uid, invalid, json_uid, loaded

Entities = dict[EntityUid, dict[str, Json]]
"""Entities in Cedar's JSON form by their identifier."""
MAX_PARENTS = 99
"""Transitive parents of one entity (API reference, `EntityItem.parents`)."""


def cedar_entities(definition: Mapping[str, Any] | None) -> Entities:
    """An `EntitiesDefinition`. Of typed items with one identifier the last one counts.

    Raises:
        ValidationError: a value or a name that Cedar cannot hold, JSON that is not Cedar's, an entity with more
            than `MAX_PARENTS` transitive parents.
    """
    if definition is None:
        return {}
    if "cedarJson" in definition:
        return _entities_from_json(definition["cedarJson"])
    found: Entities = {}
    for place, item in enumerate(definition["entityList"]):
        entity = _entity(item, f"/entities/entityList/{place}")
        found[_uid_of(entity["uid"])] = entity
    _check_parents(found)
    return found


def _entity(item: Mapping[str, Any], path: str) -> dict[str, Json]:
    parents = [entity_uid(parent, f"{path}/parents") for parent in item.get("parents", ())]
    return cedar_entity(
        entity_uid(item["identifier"], f"{path}/identifier"),
        attributes=cedar_record(item.get("attributes", {}), f"{path}/attributes"),
        parents=parents,
        tags=cedar_record(item.get("tags", {}), f"{path}/tags"),
    )


def cedar_entity(
    uid: EntityUid,
    *,
    attributes: Mapping[str, Json],
    parents: Sequence[EntityUid],
    tags: Mapping[str, Json] | None = None,
) -> dict[str, Json]:
    """An entity in Cedar's JSON form, of values that are in it already."""
    entity = {"uid": json_uid(uid), "attrs": attributes, "parents": [json_uid(parent) for parent in parents]}
    return {**entity, "tags": tags} if tags else entity


def parents_of(entity: Mapping[str, Json]) -> list[EntityUid]:
    """The direct parents of an entity in Cedar's JSON form."""
    return [_uid_of(parent) for parent in entity["parents"]]


def _uid_of(written: Mapping[str, Any]) -> EntityUid:
    inner = written.get("__entity", written)
    return EntityUid(inner["type"], inner["id"])


def _entities_from_json(text: str) -> Entities:
    path = "/entities/cedarJson"
    written = loaded(text, path)
    found: Entities = {}
    try:
        for item in written:
            uid, parents = _uid_of(item["uid"]), parents_of(item)
            for named in (uid, *parents):
                checked_uid(named.type, named.id, path)
            # Cedar takes an entity twice if it is the same, and refuses another one of that name.
            if found.setdefault(uid, entity := {**item, "uid": json_uid(uid)}) != entity:
                raise invalid(path, f"the entity of type `{uid.type}` at two places has the same identifier")
    except (TypeError, KeyError, AttributeError):
        raise invalid(path, "expected a JSON array of entities with `uid`, `attrs` and `parents`") from None
    # Before the engine: it climbs parents by calling itself, and a long chain ends the process.
    _check_parents(found)
    try:
        # The text itself: the engine refuses names that stand twice, which Python's reader does not tell.
        cedarpy.Entities.from_json_str(text)
    except (ValueError, UnicodeEncodeError):
        raise invalid(path, "these are no entities in Cedar's JSON format") from None
    return found


def _check_parents(entities: Entities) -> None:
    above = {uid: parents_of(entity) for uid, entity in entities.items()}
    for uid, parents in above.items():
        if parents and len(ancestors(uid, above, MAX_PARENTS)) > MAX_PARENTS:
            raise invalid("/entities", f"an entity of type `{uid.type}` has more than {MAX_PARENTS} transitive parents")


def ancestors(
    uid: EntityUid, above: Mapping[EntityUid, Sequence[EntityUid]], limit: int | None = None
) -> frozenset[EntityUid]:
    """All that an entity is in, at any distance, also what is named as a parent and not given; not the entity itself.

    Past `limit` it stops; then it has found more than that.
    """
    found: set[EntityUid] = set()
    waiting = list(above.get(uid, ()))
    while waiting and (limit is None or len(found) <= limit):
        parent = waiting.pop()
        if parent not in found:
            found.add(parent)
            waiting.extend(above.get(parent, ()))
    return frozenset(found)
