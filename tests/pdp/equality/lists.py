"""Lists of queries for one principal, as an application asks about the items that it is to show.

Most differ in the resource alone, which a slice of its own describes, in few values. Some are in another, are named by
another, are described twice or not at all.
"""

from __future__ import annotations

from dataclasses import replace

from hypothesis import strategies as st

from authz.core.model import Entity, EntitySlice, EntityUid, Query
from tests.pdp.equality.entities import attributes, parents, value
from tests.pdp.equality.names import Draw, Names, chance, pick, some
from tests.pdp.equality.worlds import World, drawn_world

_LENGTHS = (12, 9, 6, 4, 2)


def drawn_list(draw: Draw) -> World:
    """A world whose queries are one list."""
    world = drawn_world(draw, queries=2)
    first = world.queries[0]
    fresh = tuple(EntityUid(world.names.doc, f"r{number}") for number in range(5))
    resources = (*fresh, *fresh, *world.names.docs, *world.names.folders[:2], *world.names.users[:1])
    queries = tuple(_item(draw, world, first, pick(draw, resources)) for _ in range(pick(draw, _LENGTHS)))
    return replace(world, queries=(*queries, *world.queries[1:]))


lists = st.composite(drawn_list)


def _item(draw: Draw, world: World, first: Query, resource: EntityUid) -> Query:
    query = replace(first, resource=resource)
    if chance(draw, 80):
        own = EntitySlice(entities=(_described(draw, world, resource),))
        query = replace(query, entities=(*first.entities[:1], own) if chance(draw, 80) else (own, *first.entities))
    if chance(draw, 15):
        query = replace(query, action=pick(draw, world.names.actions))
    if chance(draw, 15):
        query = replace(query, context={**first.context, "level": value(draw, world.names, "level")})
    return query


def _described(draw: Draw, world: World, uid: EntityUid) -> Entity:
    names, bare = world.names, world.declared is None
    above = parents(draw, names, uid, allowed=None) if uid in names.ranked else set(_homes(draw, names))
    return Entity(
        uid=uid,
        attributes=attributes(draw, names, needed=("level", "owner"), wrong=bare),
        parents=frozenset(above),
        tags={"k": "v"} if chance(draw, 20) else {},
    )


def _homes(draw: Draw, names: Names) -> tuple[EntityUid, ...]:
    return some(draw, (*names.folders[:2], names.groups[0], *names.docs[:1]), 2)
