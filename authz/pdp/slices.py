"""The engine's entity handles: what one query needs of all entities, shared between queries as far as it can be.

The store's own entities may be many; a query gets those that its expressions can come to (`World.reached`). Of the
ancestors of each only those are told that something can be compared with: those that conditions name, and those that
are a value somewhere in the query. What scopes name is settled by the index. A principal in ten thousand groups is then
one small entity (measured with cedarpy 4.12: an entity with 10,000 parents takes 35 ms to parse, and 0.65 ms for each
resource that is added beside it).

What (principal, action) needs is parsed once for each verified token; each resource is added to it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

import cedarpy

from authz.core.errors import AttributesUnavailable, DecisionUnavailable, Reason
from authz.core.model import Entity, EntitySlice, EntityUid, Query
from authz.pdp.ancestry import Local, World, is_action_type, united
from authz.pdp.cedar_json import PLAIN, entity_text, references
from authz.pdp.index import Found, Narrowed, Place, PolicyIndex
from authz.pdp.kept import Weighed

BASE_BYTES = 32 * 1024 * 1024
HANDLE_BYTES = 32 * 1024 * 1024
"""What is kept for principals, and for queries, may take so much."""
_HANDLE, _ADDED, _COPIED, _ANCESTOR = 8_000, 3_300, 200, 100
"""Bytes: of a handle in any case, for each entity that it adds to another, for each that it shares, and for each
ancestor that a base remembers (measured with cedarpy 4.12)."""
ALWAYS = 64
"""Up to so many entities that conditions name are told to every query; of more, only those of the candidates."""


@dataclass(frozen=True, slots=True, eq=False)
class Prepared:
    """All that one query needs of the policy set, but for the handle of its candidates."""

    entities: cedarpy.Entities
    found: Found


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Base:
    """What (principal, action) alone needs."""

    handle: cedarpy.Entities
    local: Local
    entities: Mapping[EntityUid, Entity]
    named: frozenset[EntityUid]
    """Entities that are values here."""
    above: Mapping[EntityUid, frozenset[EntityUid]]
    """Ancestors of each of the entities."""
    told: frozenset[EntityUid]
    untold: frozenset[EntityUid]
    """Ancestors of which the handle does not tell, for nothing here is compared with them."""
    narrowed: Narrowed


_NOTHING = EntitySlice()


class Slices:
    """Prepares queries. Made with a policy set, and dropped with it."""

    def __init__(
        self,
        world: World,
        index: PolicyIndex,
        *,
        strict: cedarpy.Schema | None = None,
        max_candidates: int = 10_000,
        base_bytes: int = BASE_BYTES,
        handle_bytes: int = HANDLE_BYTES,
    ) -> None:
        """Nothing is prepared yet.

        Args:
            world: which entities there are.
            index: which policies there are.
            strict: the engine holds each entity against this schema; None: it does not.
            max_candidates: policies that one query may need.
            base_bytes: what bases may take, about.
            handle_bytes: what prepared queries may take, about.
        """
        self._world = world
        self._index = index
        self._strict = strict
        self._max_candidates = max_candidates
        literals = self._literals = frozenset(index.literals())
        always = [uid for uid in literals if world.entity(uid, {}) is not None] if len(literals) <= ALWAYS else []
        self._always = tuple(always)
        self._seldom = len(literals) > len(always)
        self._bases = Weighed[tuple[EntitySlice, EntityUid, EntityUid], Base](base_bytes)
        self._wider = Weighed[tuple[Base, frozenset[EntityUid]], cedarpy.Entities](base_bytes)
        self._prepared = Weighed[tuple[EntitySlice, EntityUid, EntityUid, EntityUid], Prepared](handle_bytes)

    def prepared(self, query: Query) -> Prepared:
        """The engine's entities and the candidates for a query.

        Raises:
            AttributesUnavailable: claims or attributes do not fit the schema.
            DecisionUnavailable: a limit is passed, or the engine refuses the entities.
        """
        named: tuple[EntityUid, ...] = ()
        for name, value in query.context.items():
            # Claims never hold entity references (core/claims.py), and are too many to look at each time.
            if name != "token" and not isinstance(value, PLAIN):
                named += tuple(references(value))
        given = query.entities
        if len(given) == 1 and not named:
            key = (given[0], query.principal, query.action, query.resource)
            return self._prepared.get(key) or self._keep(key)
        base, local = self._with(given or (_NOTHING,), query)
        return self._new(base, local, query.resource, named)[0]

    @property
    def reads(self) -> frozenset[str]:
        """Attributes of entities that any policy may read."""
        return self._index.reads

    def base(self, given: tuple[EntitySlice, ...], principal: EntityUid, action: EntityUid) -> Base:
        """What (principal, action) needs, with all that the slices say. Raises as `prepared` does."""
        if len(given) > 1:
            return self._new_base(self._world.local(given), principal, action)
        return self._base_of(given[0] if given else _NOTHING, principal, action)

    def found(self, base: Base, resource: Place) -> Found:
        """The candidates for a resource. Raises as `prepared` does."""
        found = base.narrowed.found(resource)
        if len(found) > self._max_candidates:
            text = f"more than {self._max_candidates} policies can match the query; see `limits.candidates`"
            raise DecisionUnavailable(Reason.TOO_MANY_CANDIDATES, text)
        return found

    def literals(self, found: Found) -> Iterable[EntityUid]:
        """Entities that candidates name, but for those that every query is told of."""
        if not self._seldom:
            return ()
        return {literal for row in (*found.shared.rows, *found.own.rows) for literal in row.literals}

    def handle(
        self,
        base: Base,
        entities: Mapping[EntityUid, Entity],
        above: Mapping[EntityUid, frozenset[EntityUid]],
        named: frozenset[EntityUid],
    ) -> cedarpy.Entities:
        """The base with some entities more.

        Args:
            base: of (principal, action).
            entities: those that the base does not have.
            above: what each of them is in.
            named: entities that are a value somewhere, but in the base. Raises as `prepared` does.
        """
        compared = base.untold & named
        handle = self._widened(base, compared) if compared else base.handle
        return _added(handle, self._texts(entities, above, named | base.named)) if entities else handle

    def _keep(self, key: tuple[EntitySlice, EntityUid, EntityUid, EntityUid]) -> Prepared:
        base = self._base_of(*key[:3])
        prepared, added = self._new(base, base.local, key[3], ())
        weight = _HANDLE + _ADDED * added + _COPIED * len(base.entities)
        return self._prepared.put(key, prepared, weight)

    def _base_of(self, given: EntitySlice, principal: EntityUid, action: EntityUid) -> Base:
        key = (given, principal, action)
        base = self._bases.get(key)
        if base is None:
            base = self._new_base(self._world.local((given,)), principal, action)
            ancestors = sum(map(len, base.above.values())) + len(base.local)
            self._bases.put(key, base, _HANDLE + _ADDED * len(base.entities) + _ANCESTOR * ancestors)
        return base

    def _new_base(self, local: Local, principal: EntityUid, action: EntityUid) -> Base:
        world, index = self._world, self._index
        reached = world.reached(local, (principal, action, *self._always), but={}, reads=index.reads)
        above = world.above(reached.entities, local)
        everything = frozenset().union(*above.values())
        # Not the union first: a set of policies may name a hundred thousand entities.
        told = (everything & reached.named) | (everything & self._literals)
        places = [Place(uid, above.get(uid) or frozenset((uid,))) for uid in (principal, action)]
        return Base(
            handle=_parsed(self._texts(reached.entities, above, told)),
            local=local,
            entities=reached.entities,
            named=reached.named,
            above=above,
            told=told,
            untold=everything - told,
            narrowed=index.narrowed(*places),
        )

    def _widened(self, base: Base, compared: frozenset[EntityUid]) -> cedarpy.Entities:
        """The base's handle, with more of the ancestors told."""
        key = (base, compared)
        weight = _HANDLE + _ADDED * len(base.entities)
        return self._wider.get(key) or self._wider.put(
            key, _parsed(self._texts(base.entities, base.above, base.told | compared)), weight
        )

    def _with(self, given: tuple[EntitySlice, ...], query: Query) -> tuple[Base, Local]:
        """A base, and what all slices give. Further slices seldom speak of what the base of the first is made of."""
        base = self._base_of(given[0], query.principal, query.action)
        more = self._world.local(given[1:])
        touched = (uid in base.named or uid in base.told or uid in base.untold for uid in more)
        local: dict[EntityUid, Entity] = {**base.local}
        for uid, entity in more.items():
            earlier = local.get(uid)
            local[uid] = entity if earlier is None else united(earlier, entity)
        if any(touched):
            return self._new_base(local, query.principal, query.action), local
        return base, local

    def _new(self, base: Base, local: Local, resource: EntityUid, named: Iterable[EntityUid]) -> tuple[Prepared, int]:
        """A query prepared, and how many entities that took beside the base."""
        world = self._world
        above = world.ancestors(resource, local)
        found = self.found(base, Place(resource, above))
        roots = {resource, *named, *self.literals(found)}
        if self._strict is not None:
            return Prepared(self._whole(base, local, roots), found), len(roots) + len(base.entities)
        reached = world.reached(local, roots, but=base.entities, reads=found.reads)
        entities = reached.entities
        ancestors = world.above(entities, local, {resource: above})
        if not found.reads:
            # Nothing is read of any entity, so that it is there can be seen by what it is in, and by nothing else.
            entities = {uid: entity for uid, entity in entities.items() if len(ancestors[uid]) > 1}
        handle = self.handle(base, entities, ancestors, reached.named)
        return Prepared(handle, found), len(entities)

    def _texts(
        self,
        entities: Mapping[EntityUid, Entity],
        above: Mapping[EntityUid, frozenset[EntityUid]],
        named: frozenset[EntityUid],
    ) -> Iterator[str]:
        for uid, entity in entities.items():
            ancestors = above[uid]
            if len(ancestors) == 1:
                yield entity_text(entity, ())
                continue
            # Actions have few groups, so nothing is won by leaving some out.
            told = ancestors if is_action_type(uid) else (ancestors & named) | (ancestors & self._literals)
            yield entity_text(entity, told - {uid})

    def _whole(self, base: Base, local: Local, roots: set[EntityUid]) -> cedarpy.Entities:
        """All that is reached, as it was told, for an engine that holds it against the schema."""
        found = self._world.reached(local, {*base.named, *roots}, but={}, parents=True).entities
        self._world.above(found, local)  # within the limits, before the engine climbs
        # The engine adds the schema's actions itself, and refuses them twice.
        texts = [entity_text(entity, entity.parents) for uid, entity in found.items() if not self._world.is_action(uid)]
        try:
            return cedarpy.Entities.from_json_str(f"[{','.join(texts)}]", self._strict)
        except ValueError:
            # The engine's own text may hold attribute values.
            text = self._world.misfit(found.values()) or "an entity of the query does not fit the schema"
            raise AttributesUnavailable(Reason.ENTITIES_MISMATCH, f"{text}; see `policies.validate_entities`") from None


def _parsed(texts: Iterable[str]) -> cedarpy.Entities:
    try:
        return cedarpy.Entities.from_json_str(f"[{','.join(texts)}]")
    except ValueError as error:
        raise _refused() from error


def _added(handle: cedarpy.Entities, texts: Iterable[str]) -> cedarpy.Entities:
    try:
        return handle.with_added_json_str(f"[{','.join(texts)}]")
    except ValueError as error:
        raise _refused() from error


def _refused() -> DecisionUnavailable:
    # The engine's own text may hold attribute values.
    return DecisionUnavailable(detail="the engine refused the query's entities: one has a bad value", by_query=True)
