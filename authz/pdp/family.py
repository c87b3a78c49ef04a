"""What all queries of one principal and action have in common, whatever their resources.

Their entities are the same but for what each query says of its own resource. Where nothing else can come to that
resource, all that a query's policies see beside it is the same for each query of the family.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import cedarpy

from authz.core.cedar_reads import Operand, Variable
from authz.core.errors import DecisionUnavailable
from authz.core.model import Entity, EntitySlice, EntityUid, Extension, Query, Value
from authz.pdp.alike import Looks, Sight, is_name, is_plain, same
from authz.pdp.ancestry import Reached, World
from authz.pdp.cedar_json import references
from authz.pdp.index import Found, Place
from authz.pdp.slices import Slices

FEW = 64
"""Entities that a value may lead to for its query to be decided together with others."""
CONTEXTS = 8
"""Contexts of one family that are compared with each further one."""
_SIMPLE = frozenset({str, int, bool, Extension})
_NO_VALUES: Mapping[str, Value] = {}
_NO_ENTITIES: Mapping[EntityUid, Entity] = {}


@dataclass(slots=True, eq=False)  # not frozen: one is made for each query, and that takes three times as long
class Told:
    """What one query says of its resource. Not changed once it is made."""

    entity: Entity | None
    own: bool
    """The query says it, not what all queries of the family share."""
    found: Found
    above: frozenset[EntityUid]
    """The resource and all that it is in."""
    reached: Sequence[Checked] = ()
    """What an expression can come to from its values, but for such as lead nowhere."""

    @property
    def attributes(self) -> Mapping[str, Value]:
        """Of the resource."""
        return self.entity.attributes if self.entity is not None else _NO_VALUES


@dataclass(frozen=True, slots=True, eq=False)
class Checked:
    """What an expression can come to from some entities; nothing of it is for the engine to refuse."""

    touched: frozenset[EntityUid]
    """Those entities, and all that one of them is in."""
    count: int
    """How many entities there is something to be told of."""
    pairs: int
    """How many others these are in, each counted for each."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """How much one query may touch, as `World` counts it."""

    entities: int
    ancestors: int


_ALONE = Checked(frozenset(), 0, 0)
"""Of an entity that leads nowhere, or that the base has."""
_NOTHING: list[Checked] = []


class Family:
    """Lives as long as one list of queries."""

    def __init__(
        self, slices: Slices, world: World, common: tuple[EntitySlice, ...], query: Query, limits: Limits
    ) -> None:
        self.base = slices.base(common, query.principal, query.action)
        self._slices = slices
        self._world = world
        self._limits = limits
        self._principal = query.principal
        self._contexts: list[Mapping[str, Value]] = []
        self._names: set[str] = set()
        self.reads: frozenset[str] | None = None
        """Attributes of entities that policies may read, those of all queries; None: any. Set before `reached` is
        asked."""
        self._reached: dict[EntityUid, Reached] = {}
        self._met: dict[EntityUid, Checked] = {}
        self._risen: dict[frozenset[EntityUid], frozenset[EntityUid]] = {}
        self._above: dict[EntityUid, frozenset[EntityUid]] = {}

    def told(self, query: Query, own: Sequence[EntitySlice]) -> Told | None:
        """What a query says of its resource; None: more than that, or what `decide` must judge.

        Args:
            query: one of the family.
            own: slices of the query that speak of its resource only.

        Raises:
            Unavailable: as `decide` does.
        """
        resource, base, world = query.resource, self.base, self._world
        more = world.local(own) if own else _NO_ENTITIES
        if more:
            if self._comes_to(resource):
                return None
        elif not is_plain(resource.id):
            return None
        entity = world.entity(resource, more or base.local)
        above: frozenset[EntityUid] | None = frozenset((resource,))
        reached: list[Checked] | None = _NOTHING
        if entity is not None:
            if entity.attributes or entity.tags:
                reached = self._reached_by(entity, resource if more else None)
            if entity.parents:
                above = self._rise(entity, more)
        if reached is None or above is None:
            return None
        return Told(entity, bool(more), self._slices.found(base, Place(resource, above)), above, reached)

    def fits(self, told: Told | None, roots: Checked) -> bool:
        """Is what a query reaches, with what it reaches from the roots, surely within the limits?

        Args:
            told: what the query says of its resource; None: nothing that leads anywhere.
            roots: what it reaches from elsewhere.
        """
        entities, pairs = 1 + roots.count + len(self.base.entities), roots.pairs
        if told is not None:
            pairs += len(told.above) - 1
            for checked in told.reached:
                entities += checked.count
                pairs += checked.pairs
        return entities <= self._limits.entities and pairs <= self._limits.ancestors

    def context(self, context: Mapping[str, Value]) -> Mapping[str, Value]:
        """An equal context that came before, or this one. The caller keeps it alive."""
        for known in self._contexts:
            if known is context or same(known, context):
                return known
        if len(self._contexts) < CONTEXTS:
            self._contexts.append(context)
        return context

    def sight(self, looks: Looks, context: Mapping[str, Value]) -> Sight:
        """What policies that read this see of a resource."""
        principal = self.base.entities.get(self._principal)
        attributes = {
            "principal": principal.attributes if principal is not None else _NO_VALUES,
            # The engine is told of the token what the schema declares, which is not what is here.
            "context": {name: value for name, value in context.items() if name != "token"},
        }

        def known(operand: Operand) -> Value | None:
            if not isinstance(operand, Variable):
                return operand
            return self._principal if operand.attribute is None else attributes[operand.name].get(operand.attribute)

        return Sight(looks, known, self.above)

    def above(self, uid: EntityUid) -> frozenset[EntityUid]:
        """The entity and all that it is in, as far as no query says otherwise. Raises as `World.ancestors` does."""
        found = self._above.get(uid)
        if found is None:
            found = self._above[uid] = self._world.ancestors(uid, self.base.local)
        return found

    def named_by(self, entity: Entity) -> Iterator[EntityUid]:
        """Entities that are its values, or in them."""
        for values in (entity.attributes, entity.tags) if entity.tags else (entity.attributes,):
            for value in values.values():
                if type(value) is EntityUid:
                    yield value
                elif type(value) not in _SIMPLE:
                    yield from references(value)

    def reached(self, root: EntityUid) -> Reached | None:
        """What an expression that reads `reads` can come to from an entity; None: nothing beside the base."""
        if self._met.get(root) is _ALONE:
            return None
        found = self._reached.get(root)
        if found is None:
            world, base = self._world, self.base
            found = world.reached(base.local, (root,), but=base.entities, reads=self.reads)
            self._reached[root] = found
        return found

    def handle(
        self,
        entities: Mapping[EntityUid, Entity],
        above: Mapping[EntityUid, frozenset[EntityUid]],
        named: frozenset[EntityUid],
    ) -> cedarpy.Entities:
        """The base with some entities more. Raises as `Slices.handle` does."""
        return self._slices.handle(self.base, entities, above, named)

    def checked(self, roots: Iterable[EntityUid]) -> Checked | None:
        """What an expression can come to from the roots; None: much, or what the engine may refuse."""
        base = self.base
        try:
            reached = self._world.reached(base.local, roots, but=base.entities, reads=self._slices.reads, most=FEW)
        except DecisionUnavailable:
            return None  # what is told of so many is told of each query by itself
        touched, pairs = set(reached.named), 0
        for uid, entity in reached.entities.items():
            if uid in self.base.local and not self._is_plain(entity):
                return None
            above = self.above(uid)
            touched |= above
            pairs += len(above) - 1
        return Checked(frozenset(touched), len(reached.entities), pairs)

    def _comes_to(self, resource: EntityUid) -> bool:
        """Does anything that all queries share speak of the entity?"""
        base = self.base
        return resource in base.local or resource in base.named or resource in base.told or resource in base.untold

    def _reached_by(self, entity: Entity, but: EntityUid | None) -> list[Checked] | None:
        """What can be come to from an entity's values; None: to what must not be, or not surely one for the engine."""
        found: list[Checked] = []
        for values in (entity.attributes, entity.tags) if entity.tags else (entity.attributes,):
            for name, value in values.items():
                if not (name in self._names or self._is_name(name)):
                    return None
                if type(value) is EntityUid:
                    checked = self._met.get(value) or self._meet(value)
                    if value == but:
                        return None
                elif not is_plain(value):
                    return None
                elif type(value) in _SIMPLE or not (roots := tuple(references(value))):
                    continue
                else:
                    checked = self.checked(roots)
                if checked is None or but in checked.touched:
                    return None
                if checked is not _ALONE:
                    found.append(checked)
        return found

    def _meet(self, value: EntityUid) -> Checked | None:
        known = value in self.base.entities
        if known or (self._world.entity(value, self.base.local) is None and is_plain(value)):
            checked: Checked | None = _ALONE
        else:
            checked = self.checked((value,)) if is_plain(value) else None
        if checked is not None:
            self._met[value] = checked
        return checked

    def _is_name(self, name: str) -> bool:
        if is_name(name):
            self._names.add(name)
            return True
        return False

    def _is_plain(self, entity: Entity) -> bool:
        values = (*entity.attributes.items(), *entity.tags.items())
        return all(is_name(name) and is_plain(value) for name, value in values)

    def _rise(self, entity: Entity, more: Mapping[EntityUid, Entity]) -> frozenset[EntityUid] | None:
        """The resource and all that it is in; None: a cycle."""
        resource, parents = entity.uid, entity.parents
        rest = self._risen.get(parents)
        if rest is None:
            rest = self._world.ancestors(resource, {**self.base.local, **more}) - {resource}
            self._risen[parents] = rest
        elif resource in rest:
            return None
        return rest | {resource}
