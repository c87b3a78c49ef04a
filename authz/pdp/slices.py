"""Which entities one query needs, as engine handles that are shared between queries.

The store's own entities may be many; a query gets those that can be reached from its principal, action,
resource and context, and from what policies name in their conditions, through parents and attributes. A handle
for (principal, action) is built once for each verified token, one for each resource on top of it is kept for the
next time. The caches are bounded.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache

import cedarpy

from authz.core.cedar_schema import Schema
from authz.core.errors import AttributesUnavailable, DecisionUnavailable, Reason
from authz.core.model import Entity, EntitySlice, EntityUid, Query, Value
from authz.pdp.cedar_json import PLAIN, Misfit, entity_to_json, project_record, references

MAX_ENTITIES = 10_000
"""Entities of one query."""
LARGE = 64
"""Entities of a slice beyond which its handles are kept in smaller caches."""
FEWER = 32
"""How many times smaller. Measured with cedarpy 4.12: a handle takes 200 bytes for each entity that it shares with its
base and 3.3 KiB for each that it adds, 8 KiB in all for a usual resource."""


@dataclass(frozen=True, slots=True, eq=False)
class _Base:
    """What (principal, action) alone needs."""

    handle: cedarpy.Entities
    uids: frozenset[EntityUid]


class Slices:
    """Builds entity handles. Made with a policy set, and dropped with it."""

    def __init__(
        self,
        stored: Mapping[EntityUid, Entity],
        schema: Schema | None,
        *,
        named: Iterable[EntityUid] = (),
        principals: int = 4096,
        handles: int = 2048,
    ) -> None:
        self._stored = stored
        self._schema = schema
        # Entities that policies name in their conditions: every query needs them, whatever it is about.
        self._named = tuple(uid for uid in named if self._entity(uid, {}) is not None)
        self._base = lru_cache(maxsize=principals)(self._build_base)
        self._shared = lru_cache(maxsize=handles)(self._build_shared)
        self._large_base = lru_cache(maxsize=principals // FEWER)(self._build_base)
        self._large_shared = lru_cache(maxsize=handles // FEWER)(self._build_shared)

    def handle(self, query: Query) -> cedarpy.Entities:
        """The engine's handle with all that the query can reach.

        Raises:
            AttributesUnavailable: claims or attributes do not fit the schema.
            DecisionUnavailable: more entities than the limit, or the engine refuses them.
        """
        roots: tuple[EntityUid, ...] = ()
        for name, value in query.context.items():
            # Claims never hold entity references (core/claims.py), and are too many to look at each time.
            if name != "token" and not isinstance(value, PLAIN):
                roots += tuple(references(value))
        if len(query.entities) == 1 and not roots:
            given = query.entities[0]
            shared = self._shared if len(given.entities) <= LARGE else self._large_shared
            return shared(given, query.principal, query.action, query.resource)
        return self._built(query.entities, (query.principal, query.action, query.resource, *roots))

    def _build_base(self, given: EntitySlice, principal: EntityUid, action: EntityUid) -> _Base:
        reached = self._reach((given,), (principal, action, *self._named))
        return _Base(_parsed(reached.values()), frozenset(reached))

    def _build_shared(
        self, given: EntitySlice, principal: EntityUid, action: EntityUid, resource: EntityUid
    ) -> cedarpy.Entities:
        base = (self._base if len(given.entities) <= LARGE else self._large_base)(given, principal, action)
        reached = self._reach((given,), (resource,))
        added = [entity for uid, entity in reached.items() if uid not in base.uids]
        if not added:
            return base.handle
        try:
            return base.handle.with_added_json_str(_text(added))
        except ValueError as error:
            raise _refused() from error

    def _built(self, given: tuple[EntitySlice, ...], roots: Iterable[EntityUid]) -> cedarpy.Entities:
        return _parsed(self._reach(given, (*roots, *self._named)).values())

    def _reach(self, given: tuple[EntitySlice, ...], roots: Iterable[EntityUid]) -> dict[EntityUid, Entity]:
        """Every entity that can be reached from the roots, each united over its sources."""
        local = self._united(given)
        found: dict[EntityUid, Entity] = {}
        open_uids = list(roots)
        while open_uids:
            uid = open_uids.pop()
            if uid in found:
                continue
            entity = self._entity(uid, local)
            if entity is None:
                continue
            found[uid] = entity
            if len(found) > MAX_ENTITIES:
                text = f"the query reaches more than {MAX_ENTITIES} entities"
                raise DecisionUnavailable(detail=text, by_query=True)
            open_uids.extend(entity.parents)
            for value in (*entity.attributes.values(), *entity.tags.values()):
                open_uids.extend(references(value))
        return found

    def _united(self, given: tuple[EntitySlice, ...]) -> dict[EntityUid, Entity]:
        local: dict[EntityUid, Entity] = {}
        for source in given:
            for entity in source.entities:
                fitted = self._fitted(entity)
                earlier = local.get(entity.uid)
                local[entity.uid] = fitted if earlier is None else united(earlier, fitted)
        return local

    def _entity(self, uid: EntityUid, local: Mapping[EntityUid, Entity]) -> Entity | None:
        given, stored = local.get(uid), self._stored.get(uid)
        if given is not None and stored is not None:
            entity: Entity | None = united(given, stored)
        else:
            entity = given or stored
        if self._schema is None:
            return entity
        # An action has its groups as ancestors wherever it stands, and cedarpy adds them only with a schema.
        groups = self._schema.action_ancestors(*uid)
        if groups or uid in self._schema.actions:
            return Entity(uid=uid, parents=frozenset(EntityUid(*group) for group in groups))
        return entity

    def _fitted(self, entity: Entity) -> Entity:
        declared = self._schema.entities.get(entity.uid.type) if self._schema is not None else None
        if declared is None or not entity.attributes:
            return entity
        try:
            attributes: Mapping[str, Value] = project_record(entity.attributes, declared.attributes, entity.uid.type)
        except Misfit as error:
            raise AttributesUnavailable(Reason.CLAIMS_MISMATCH, str(error)) from None
        return Entity(uid=entity.uid, attributes=attributes, parents=entity.parents, tags=entity.tags)


def united(first: Entity, second: Entity) -> Entity:
    """One entity told by two sources: parents united, attributes merged, the first wins."""
    return Entity(
        uid=first.uid,
        attributes={**second.attributes, **first.attributes},
        parents=first.parents | second.parents,
        tags={**second.tags, **first.tags},
    )


def _text(entities: Iterable[Entity]) -> str:
    return json.dumps([entity_to_json(entity) for entity in entities])


def _parsed(entities: Iterable[Entity]) -> cedarpy.Entities:
    try:
        return cedarpy.Entities.from_json_str(_text(entities))
    except ValueError as error:
        raise _refused() from error


def _refused() -> DecisionUnavailable:
    # The engine's own text may hold attribute values.
    text = "the engine refused the query's entities (a cycle of parents, or a bad value)"
    return DecisionUnavailable(detail=text, by_query=True)
