"""Why a strict request or entity does not fit the schema, in words that hold no value.

The engine says so too, but repeats what it was given. These look again, once the engine has refused: they decide
nothing, and name types and attributes, which schema, configuration and token give, never ids or values.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from authz.core.cedar_schema import Attribute, EntityDecl, RecordType, Schema, SetType
from authz.core.cedar_schema import CedarType as Type
from authz.core.model import Entity, EntityUid, Query, Value
from authz.pdp.cedar_json import Misfit, project

LONGEST = 100
"""Characters of a name that is told: names of claims are the issuer's to choose."""


def request_misfit(query: Query, schema: Schema) -> str:
    """The first thing about a request that the schema does not allow; empty: nothing was found."""
    return next(_of_request(query, schema), "")


def entity_misfit(entities: Iterable[Entity], schema: Schema) -> str:
    """The first thing about any of the entities that the schema does not allow; empty: nothing was found."""
    return next((text for entity in entities for text in _of_entity(entity, schema)), "")


def _of_request(query: Query, schema: Schema) -> Iterator[str]:
    action = schema.actions.get((query.action.type, query.action.id))
    if action is None:
        yield "the schema has no such action"
        return
    for role, uid, taken in (
        ("principal", query.principal, action.principals),
        ("resource", query.resource, action.resources),
    ):
        kind = _told(uid.type)
        if uid.type not in schema.entities:
            yield f"the schema has no entity type {kind}, which is the {role}'s"
        elif uid.type not in taken:
            known = ", ".join(_told(name) for name in sorted(taken)) or "none"
            yield f"the action takes no {role} of type {kind}; it takes {known}"
        elif not _is_listed(uid, schema):
            yield f"the {role}'s id is none of those that the schema lists for {kind}"
    # `context.token` was cut to the schema before, and is a failure of its own where it cannot be.
    cut = {"token"} & query.context.keys()
    context = {name: value for name, value in query.context.items() if name not in cut}
    declared = {name: attribute for name, attribute in action.context.attributes.items() if name not in cut}
    yield from _of_record(context, declared, "context")


def _of_entity(entity: Entity, schema: Schema) -> Iterator[str]:
    uid = entity.uid
    if (uid.type, uid.id) in schema.actions:
        return
    declared = schema.entities.get(uid.type)
    if declared is None:
        yield f"the schema has no entity type {_told(uid.type)}"
        return
    if not _is_listed(uid, schema):
        yield f"an id is none of those that the schema lists for {_told(uid.type)}"
    yield from _of_record(entity.attributes, declared.attributes, uid.type)
    yield from _of_tags(entity, declared)
    above = _types_above(uid.type, schema)
    for kind in sorted({parent.type for parent in entity.parents} - above):
        yield f"the schema does not let {_told(uid.type)} be in {_told(kind)}"


def _of_tags(entity: Entity, declared: EntityDecl) -> Iterator[str]:
    if entity.tags and declared.tags is None:
        yield f"the schema declares no tags for {_told(entity.uid.type)}"
    elif declared.tags is not None:
        for value in entity.tags.values():
            yield from _of_value(value, declared.tags, f"a tag of {entity.uid.type}")


def _of_record(values: Mapping[str, Value], declared: Mapping[str, Attribute], where: str) -> Iterator[str]:
    for name, attribute in declared.items():
        place = f"{where}.{name}"
        if name in values:
            yield from _of_value(values[name], attribute.type, place)
        elif attribute.required:
            yield f"the schema requires {_told(place)}, and it is missing"
    for name in values:
        if name not in declared:
            yield f"the schema does not declare {_told(f'{where}.{name}')}"


def _of_value(value: Value, declared: Type, where: str) -> Iterator[str]:
    if isinstance(declared, RecordType) and isinstance(value, Mapping):
        yield from _of_record(value, declared.attributes, where)
    elif isinstance(declared, SetType) and isinstance(value, tuple):
        for member in value:
            yield from _of_value(member, declared.element, f"{where}[]")
    else:
        try:
            project(value, declared, where)
        except Misfit:
            yield f"{_told(where)} is of another type than the schema declares"


def _is_listed(uid: EntityUid, schema: Schema) -> bool:
    listed = schema.entities[uid.type].enum
    return listed is None or uid.id in listed


def _types_above(kind: str, schema: Schema) -> set[str]:
    found: set[str] = set()
    waiting = [kind]
    while waiting:
        declared = schema.entities.get(waiting.pop())
        fresh = declared.member_of - found if declared is not None else frozenset()
        found |= fresh
        waiting.extend(fresh)
    return found


def _told(name: str) -> str:
    return f"`{name if len(name) <= LONGEST else name[: LONGEST - 1] + '…'}`"
