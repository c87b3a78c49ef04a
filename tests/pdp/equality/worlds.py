"""One world: policies, entities and a row of queries, all drawn to meet each other often."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import cedarpy
from hypothesis import strategies as st

from authz.core.model import Effect, Entity, EntitySlice, EntityUid, Policy, PolicySnapshot, Query, TemplateLink, Value
from tests.pdp.equality.conditions import conditions
from tests.pdp.equality.entities import above, attributes, entity_as_json, parents, united, value
from tests.pdp.equality.heads import EQUALS, Head, Says, heads, values
from tests.pdp.equality.names import STRANGE, Draw, Names, chance, names, pick
from tests.pdp.equality.schemas import Declared, schemas

_IDS = ("p", "a`b", "policy0", "policy1", 'ü "x"', "link:policy0", "n#1", "a b", "::")
_SIZES = (12, 9, 7, 5, 3, 1, 0)
"""How many policies; a small world is drawn seldom, and shrunk to at once."""
Below = Mapping[EntityUid, Collection[EntityUid]]
"""Of each entity: what is in it."""
_TAGS: tuple[dict[str, Value], ...] = ({}, {"k": "v"}, {"k": "w", "l": "v"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Drawn:
    """A static policy, a template, or a link with its template's text."""

    id: str
    effect: Effect
    head: Head
    text: str
    template: str = ""
    """Of a link: its template's id."""
    values: Mapping[str, EntityUid] | None = None


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class World:
    """What a decision point is made of, and what it is asked."""

    names: Names
    declared: Declared | None
    stored: tuple[Entity, ...]
    policies: tuple[Drawn, ...]
    templates: tuple[Drawn, ...]
    links: tuple[Drawn, ...]
    queries: tuple[Query, ...]

    def __repr__(self) -> str:
        """What a failure shows: the texts, and the queries one under the other."""
        lines = [f"schema {self.declared.text}" if self.declared is not None else "no schema"]
        lines += [f"stored {_shown(entity)}" for entity in self.stored]
        lines += [f"{drawn.id!r}: {drawn.text}" for drawn in (*self.policies, *self.templates)]
        lines += [f"{drawn.id!r}: {drawn.template!r} with {drawn.values}" for drawn in self.links]
        for query in self.queries:
            lines.append(f"query {query.principal} {query.action} {query.resource} {query.context}")
            lines += [f"  from {id(source):x}: {_shown(e)}" for source in query.entities for e in source.entities]
        return "\n".join(lines)

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:
        printer.text(repr(self))  # Hypothesis would print every field of every name

    def snapshot(self, version: str = "1") -> PolicySnapshot:
        """As a store gives it."""
        return PolicySnapshot(
            version=version,
            policies=tuple(_policy(drawn) for drawn in self.policies),
            templates=tuple(_policy(drawn) for drawn in self.templates),
            links=tuple(
                TemplateLink(id=drawn.id, template_id=drawn.template, values=drawn.values or {}) for drawn in self.links
            ),
            schema=self.declared.text if self.declared is not None else None,
            entities=json.dumps([entity_as_json(entity) for entity in self.stored]),
        )


def _shown(entity: Entity) -> str:
    return f"{entity.uid} in {[str(uid) for uid in entity.parents]} {dict(entity.attributes)} {dict(entity.tags)}"


def _policy(drawn: Drawn) -> Policy:
    return Policy(id=drawn.id, text=drawn.text, effect=drawn.effect)


def drawn_world(draw: Draw, *, queries: int = 6) -> World:
    """A world with up to so many queries."""
    called = names(draw)
    declared = schemas(draw, called) if chance(draw, 60) else None
    policies, templates, links = _policies(draw, called, declared)
    stored = _stored(draw, called, declared)
    return World(
        names=called,
        declared=declared,
        stored=stored,
        policies=policies,
        templates=templates,
        links=links,
        queries=_queries(draw, called, declared, stored, [drawn.head for drawn in (*policies, *links)], queries),
    )


worlds = st.composite(drawn_world)


def edited(draw: Draw, world: World) -> World:
    """The world a while later: some policies, templates and links gone, changed, or new; the rest as it was."""
    policies, templates, _ = _policies(draw, world.names, world.declared)
    kept = tuple(drawn for drawn in world.policies if chance(draw, 70))
    ids = {drawn.id for drawn in (*kept, *world.templates, *world.links)}
    fresh = [drawn for drawn in policies if drawn.id not in ids]
    changed = {drawn.id: drawn for drawn in policies if chance(draw, 50)}  # another text under the id
    kept = tuple(changed.get(drawn.id, drawn) for drawn in kept)
    slots = {drawn.id: drawn.head.slots for drawn in world.templates}
    others = {drawn.id: drawn for drawn in templates if slots.get(drawn.id) == drawn.head.slots}
    retemplated = tuple(
        others[drawn.id] if drawn.id in others and chance(draw, 50) else drawn for drawn in world.templates
    )
    by_id = {drawn.id: drawn for drawn in retemplated}
    moved = tuple(
        _link(drawn.id, by_id[drawn.template], values(draw, world.names, by_id[drawn.template].head))
        if chance(draw, 20)
        else _link(drawn.id, by_id[drawn.template], drawn.values or {})
        for drawn in world.links
        if chance(draw, 80)
    )
    stored = _stored(draw, world.names, world.declared) if chance(draw, 30) else world.stored
    declared = world.declared if chance(draw, 90) else None
    return replace(
        world, declared=declared, policies=(*kept, *fresh), templates=retemplated, links=moved, stored=stored
    )


def _policies(
    draw: Draw, names: Names, declared: Declared | None
) -> tuple[tuple[Drawn, ...], tuple[Drawn, ...], tuple[Drawn, ...]]:
    said: list[str] = []
    policies = [_drawn(draw, names, position, said) for position in range(pick(draw, _SIZES))]
    templates = [_drawn(draw, names, 100 + position, said, template=True) for position in range(pick(draw, (0, 1, 2)))]
    if declared is not None:
        # Of what would not validate the head is left, which does so nearly always.
        policies = [drawn if _valid(drawn.text, declared.text) else _bare(drawn) for drawn in policies]
        policies = [drawn for drawn in policies if _valid(drawn.text, declared.text)]
        templates = [drawn for drawn in templates if _valid(drawn.text, declared.text)]
    links = [
        _link(f"{pick(draw, _IDS)}/{position}", template, values(draw, names, template.head))
        for position in range(pick(draw, range(5)) if templates else 0)
        for template in (templates[pick(draw, range(len(templates)))],)
    ]
    return tuple(policies), tuple(templates), tuple(links)


def _drawn(draw: Draw, names: Names, position: int, said: list[str], *, template: bool = False) -> Drawn:
    """A policy; now and then with the conditions of an earlier one, as many policies differ in their scopes alone."""
    said.append(pick(draw, said) if said and chance(draw, 25) else conditions(draw, names))
    head, effect = heads(draw, names, template=template), pick(draw, (Effect.PERMIT, Effect.PERMIT, Effect.FORBID))
    mark = pick(draw, ("", "", '@deny_message("no")\n', '@permit("(principal, action in [")\n'))
    text = f"{mark}{effect}{head.text(pick(draw, (0, 0, 0, 1, 2, 3)))} {said[-1]};"
    return Drawn(id=_IDS[position] if position < len(_IDS) else f"t{position}", effect=effect, head=head, text=text)


def _bare(drawn: Drawn) -> Drawn:
    return replace(drawn, text=f"{drawn.effect}{drawn.head.text(0)};")


def _link(id: str, template: Drawn, values: Mapping[str, EntityUid]) -> Drawn:
    head = template.head.filled(values)
    return replace(template, id=id, head=head, template=template.id, values=values)


@lru_cache(maxsize=4096)
def _valid(policy: str, schema: str) -> bool:
    """Does the engine's validator take it? What it refuses no store holds."""
    return bool(cedarpy.validate_policies(policy, _schema(schema)).validation_passed)


@lru_cache(maxsize=16)
def _schema(text: str) -> cedarpy.Schema:
    return cedarpy.Schema.from_json_str(text) if text.startswith("{") else cedarpy.Schema.from_str(text)


def _stored(draw: Draw, names: Names, declared: Declared | None) -> tuple[Entity, ...]:
    return tuple(
        _entity(draw, names, uid, declared, own=False)
        for uid in (names.ranked if declared is None else names.users + names.docs + names.folders + names.groups)
        if chance(draw, 55)
    ) + (_action_entities(draw, names) if declared is None else ())


def _entity(draw: Draw, names: Names, uid: EntityUid, declared: Declared | None, *, own: bool) -> Entity:
    """Of the store, as the schema demands; or a query's own, where attributes may be missing or be undeclared."""
    if declared is None:
        found = attributes(draw, names, needed=(), wrong=True)
        return Entity(
            uid=uid,
            attributes=found,
            parents=frozenset(parents(draw, names, uid, allowed=None)),
            tags=_TAGS[pick(draw, range(3))],
        )
    found = attributes(draw, names, needed=() if own else declared.needed.get(uid.type, ()), wrong=False)
    if own and chance(draw, 20):
        found["extra"] = pick(draw, (1, "a"))
    if not own:
        found = dict(declared.fitted(Entity(uid=uid, attributes=found)).attributes)
    return Entity(
        uid=uid,
        attributes=found,
        parents=frozenset(parents(draw, names, uid, allowed=None if own else declared.within)),
        tags=_TAGS[pick(draw, range(3))] if uid.type in declared.types else {},
    )


def _action_entities(draw: Draw, names: Names) -> tuple[Entity, ...]:
    return tuple(
        Entity(uid=uid, parents=frozenset(parents(draw, names, uid, allowed=None)))
        for uid in names.actions
        if chance(draw, 60)
    )


def _queries(
    draw: Draw, names: Names, declared: Declared | None, stored: tuple[Entity, ...], heads: list[Head], at_most: int
) -> tuple[Query, ...]:
    slices = [_slice(draw, names, declared) for _ in range(pick(draw, (3, 2, 1)))]
    tokens = [_token(draw, names) for _ in range(2)]
    below = _below((stored, *(source.entities for source in slices)), declared)
    found: list[Query] = []
    for _ in range(pick(draw, tuple(count for count in (6, 5, 4, 3, 2, 1) if count <= at_most))):
        head = heads[pick(draw, range(len(heads)))] if heads and chance(draw, 75) else Head()
        query = _query(draw, names, head, below, slices, tokens)
        if found and chance(draw, 30):  # the same question with other entities and another context
            earlier = found[pick(draw, range(len(found)))]
            query = replace(earlier, entities=query.entities, context=query.context)
        found.append(query)
    return tuple(found)


def _slice(draw: Draw, names: Names, declared: Declared | None) -> EntitySlice:
    uids = [uid for uid in names.users + names.docs if chance(draw, 45)]
    uids += [uid for uid in (pick(draw, names.ranked) for _ in range(pick(draw, (2, 3, 1, 0)))) if uid not in uids]
    found = [_entity(draw, names, uid, declared, own=True) for uid in uids]
    if chance(draw, 15):  # a source may tell an action too; the schema, if there is one, knows better
        found += _action_entities(draw, names)
    return EntitySlice(entities=tuple(found))


def _token(draw: Draw, names: Names) -> dict[str, Value]:
    return {name: value(draw, names, name) for name in ("sub", "n", "scope", "extra") if chance(draw, 60)}


def _below(sources: Iterable[Iterable[Entity]], declared: Declared | None) -> Below:
    found: dict[EntityUid, set[EntityUid]] = {}
    ancestors = {**above(united(sources)), **(declared.groups if declared is not None else {})}
    for uid, others in ancestors.items():
        for other in others:
            found.setdefault(other, set()).add(uid)
    return found


def _query(
    draw: Draw, names: Names, head: Head, below: Below, slices: list[EntitySlice], tokens: list[dict[str, Value]]
) -> Query:
    context: dict[str, Value] = {
        name: value(draw, names, name) for name in ("level", "who", "groups", "ip") if chance(draw, 50)
    }
    if chance(draw, 50):
        context["token"] = tokens[pick(draw, range(2))]
    count = pick(draw, (1, 1, 2, 2, 3, 0))
    return Query(
        principal=_matching(draw, names, head.principal, names.users, below),
        action=pick(draw, (STRANGE, *names.users))
        if chance(draw, 2)
        else _matching(draw, names, head.action, names.actions, below),
        resource=_matching(draw, names, head.resource, names.docs, below),
        context=context,
        entities=tuple(slices[pick(draw, range(len(slices)))] for _ in range(count)),
    )


def _matching(draw: Draw, names: Names, says: Says, usual: tuple[EntityUid, ...], below: Below) -> EntityUid:
    """Often what the scope names, or what may be below it; now and then anything."""
    if chance(draw, 12):
        return pick(draw, pick(draw, (names.actions, names.all)))
    if says.uids and (says.operator == EQUALS or chance(draw, 20)):
        return pick(draw, says.uids)
    likely = tuple(uid for uid in names.all if uid.type == says.type) or usual
    inside = {uid for other in says.uids for uid in below.get(other, ())}
    return pick(draw, tuple(uid for uid in likely if uid in inside) or tuple(sorted(inside)) or likely)
