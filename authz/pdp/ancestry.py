"""Which entities a query can reach, and what each of them is in.

Entities come from the query's slices and from the store; one that both describe is united. An action has its groups
from the schema wherever it stands. A parent that is only named, and not given as an entity, is an ancestor too.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from authz.core.cedar_schema import EntityDecl, Schema
from authz.core.errors import AttributesUnavailable, DecisionUnavailable, Reason
from authz.core.hierarchy import MAX_LEVELS
from authz.core.model import Entity, EntitySlice, EntityUid, Value
from authz.pdp.cedar_json import PLAIN, Misfit, is_name, is_sound, is_uid, plainly_fits, project_record, references
from authz.pdp.left_out import undeclared
from authz.pdp.misfits import entity_misfit

Local = Mapping[EntityUid, Entity]
"""The entities that a query's slices give, united over the slices and cut to what the schema declares."""
_NO_PARENTS: frozenset[EntityUid] = frozenset()
_NONE_KNOWN: Mapping[EntityUid, frozenset[EntityUid]] = MappingProxyType({})


@dataclass(frozen=True, slots=True, kw_only=True)
class Reach:
    """How much one decision may touch."""

    entities: int = 10_000
    ancestors: int = 20_000


@dataclass(frozen=True, slots=True, eq=False)
class Reached:
    """What can be reached from some roots through attributes and tags. Parents lead nowhere: see `World.reached`."""

    entities: Mapping[EntityUid, Entity]
    named: frozenset[EntityUid]
    """Every entity that is a root or a value of an attribute, given or not."""


class World:
    """The store's entities and the schema's actions, and how a query's own entities join them.

    Args:
        stored: the store's entities, without cycles of parents.
        schema: declares attributes and action groups; None: neither is known.
        cut: cut the query's own entities to what the schema declares. Where the engine holds them against the schema
            itself, it must see all of them.
    """

    def __init__(
        self, stored: Mapping[EntityUid, Entity], schema: Schema | None, reach: Reach, *, cut: bool = True
    ) -> None:
        self._stored = stored
        self._schema = schema
        self._reach = reach
        self._declared: Mapping[str, EntityDecl] = schema.entities if schema is not None and cut else {}
        self._actions: Mapping[EntityUid, Entity] = {} if schema is None else _actions(schema)

    def local(self, given: Iterable[EntitySlice]) -> Local:
        """The slices' entities by uid.

        Raises:
            AttributesUnavailable: an attribute is of another type than declared.
            DecisionUnavailable: an entity or a parent is called as none can be.
        """
        found: dict[EntityUid, Entity] = {}
        for source in given:
            for entity in source.entities:
                if not (is_uid(entity.uid) and all(map(is_uid, entity.parents))):
                    # Not all of it is told to the engine, which would say so.
                    raise _unsound()
                fitted = self._fitted(entity)
                earlier = found.get(entity.uid)
                found[entity.uid] = fitted if earlier is None else united(earlier, fitted)
        return found

    def entity(self, uid: EntityUid, local: Local) -> Entity | None:
        """What is known of an entity; None: nothing."""
        action = self._actions.get(uid)
        if action is not None:
            return action
        given, stored = local.get(uid), self._stored.get(uid)
        if given is not None and stored is not None:
            return united(given, stored)
        return given or stored

    def is_action(self, uid: EntityUid) -> bool:
        """Does the schema declare it as an action?"""
        return uid in self._actions

    def parents(self, uid: EntityUid, local: Local) -> frozenset[EntityUid]:
        """Direct parents; none of an entity of which nothing is known."""
        entity = self.entity(uid, local)
        return entity.parents if entity is not None else _NO_PARENTS

    def ancestors(self, uid: EntityUid, local: Local) -> frozenset[EntityUid]:
        """The entity itself and all that it is in, at any distance.

        Raises:
            DecisionUnavailable: more than the limit, or a cycle of parents.
        """
        parents = self.parents(uid, local)
        if not parents:
            return frozenset((uid,))
        if len(parents) > self._reach.ancestors:
            raise self._too_many()
        if not any(self.parents(parent, local) for parent in parents):  # nearly always: a token's groups
            if uid in parents:
                raise _cycle()
            return parents | {uid}
        return self._climbed(uid, parents, local)

    def above(
        self, uids: Iterable[EntityUid], local: Local, known: Mapping[EntityUid, frozenset[EntityUid]] = _NONE_KNOWN
    ) -> dict[EntityUid, frozenset[EntityUid]]:
        """Each entity's ancestors. Raises as `ancestors` does, and where all together are more than the limit.

        Of a thousand entities, each in the one before, a million pairs could be told.
        """
        found: dict[EntityUid, frozenset[EntityUid]] = {}
        count = 0
        for uid in uids:
            ancestors = known.get(uid) or self.ancestors(uid, local)
            found[uid] = ancestors
            count += len(ancestors) - 1
            if count > self._reach.ancestors:
                raise self._too_many()
        return found

    def _climbed(self, uid: EntityUid, parents: frozenset[EntityUid], local: Local) -> frozenset[EntityUid]:
        """Depth first, for a cycle must be seen: on the engine it is no decision, also where it changes nothing."""
        done: set[EntityUid] = set()
        path = [uid]
        on_path = {uid}
        waiting = [iter(parents)]
        while waiting:
            parent = next(waiting[-1], None)
            if parent is None:
                waiting.pop()
                left = path.pop()
                on_path.discard(left)
                done.add(left)
                if len(done) > self._reach.ancestors + 1:  # itself is none of them
                    raise self._too_many()
            elif parent in on_path:
                raise _cycle()
            elif parent not in done:
                if len(path) >= MAX_LEVELS:
                    text = f"an entity is in more than {MAX_LEVELS} others one above the other"
                    raise DecisionUnavailable(Reason.TOO_MANY_ANCESTORS, text)
                path.append(parent)
                on_path.add(parent)
                waiting.append(iter(self.parents(parent, local)))
        return frozenset(done)

    def reached(
        self,
        local: Local,
        roots: Iterable[EntityUid],
        *,
        but: Mapping[EntityUid, Entity],
        reads: frozenset[str] | None = None,
        parents: bool = False,
        most: int | None = None,
    ) -> Reached:
        """Every entity that an expression can come to from the roots.

        Args:
            local: what the query gives.
            roots: where expressions begin: principal, action, resource, the context's values, literals.
            but: entities that are reached already; not followed again.
            reads: the attributes that an expression may read; of an entity only these are taken. None: any.
            parents: follow parents too. Not needed for a decision: `in` compares with ancestors, and no expression
                comes to an entity through one that is in it.
            most: entities beside `but`, where that is less than the limit.

        Raises:
            DecisionUnavailable: more entities than the limit, or an attribute that is no Cedar value.
        """
        limit = self._reach.entities if most is None else most + len(but)
        found: dict[EntityUid, Entity] = {}
        seen = set(roots)
        waiting = list(seen)
        while waiting:
            uid = waiting.pop()
            if uid in but:
                continue
            entity = self.entity(uid, local)
            if entity is None:
                continue
            if reads is not None and not reads.issuperset(entity.attributes):
                entity = _read_of(entity, reads)
            found[uid] = entity
            if len(found) + len(but) > limit:
                text = f"the query reaches more than {self._reach.entities} entities; see `limits.entities`"
                raise DecisionUnavailable(Reason.TOO_MANY_ENTITIES, text)
            fresh = _named_by(entity, seen)
            if parents:
                fresh += [parent for parent in entity.parents if parent not in seen]
            seen.update(fresh)
            waiting.extend(fresh)
        return Reached(found, frozenset(seen))

    def left_out(self, given: Iterable[EntitySlice]) -> frozenset[str]:
        """Names of attributes that the slices have and the schema does not declare, as `Type.name`."""
        found: set[str] = set()
        for source in given:
            for entity in source.entities:
                declared = self._declared.get(entity.uid.type)
                if declared is not None:
                    found.update(undeclared(entity.attributes, declared.attributes, entity.uid.type))
        return frozenset(found)

    def misfit(self, entities: Iterable[Entity]) -> str:
        """What about the entities the schema does not allow, in words without values; empty: nothing was found."""
        return entity_misfit(entities, self._schema) if self._schema is not None else ""

    def _fitted(self, entity: Entity) -> Entity:
        declared = self._declared.get(entity.uid.type)
        if declared is None or not entity.attributes or plainly_fits(entity.attributes, declared.attributes):
            return entity
        try:
            attributes = project_record(entity.attributes, declared.attributes, entity.uid.type)
        except Misfit as error:
            raise AttributesUnavailable(Reason.CLAIMS_MISMATCH, str(error)) from None
        return Entity(uid=entity.uid, attributes=attributes, parents=entity.parents, tags=entity.tags)

    def _too_many(self) -> DecisionUnavailable:
        text = f"the query's entities are in more than {self._reach.ancestors} others; see `limits.ancestors`"
        return DecisionUnavailable(Reason.TOO_MANY_ANCESTORS, text)


def is_action_type(uid: EntityUid) -> bool:
    """Is it an action by its type? The name `Action` is reserved for them (Cedar documentation, "Actions")."""
    return uid.type == "Action" or uid.type.endswith("::Action")


def united(first: Entity, second: Entity) -> Entity:
    """One entity told by two sources: parents united, attributes merged, the first wins."""
    return Entity(
        uid=first.uid,
        attributes={**second.attributes, **first.attributes},
        parents=first.parents | second.parents,
        tags={**second.tags, **first.tags},
    )


def _named_by(entity: Entity, seen: set[EntityUid]) -> list[EntityUid]:
    fresh: list[EntityUid] = []
    for values in (entity.attributes, entity.tags) if entity.tags else (entity.attributes,):
        for value in values.values():
            if type(value) is EntityUid:
                if value not in seen:
                    fresh.append(value)
            elif not isinstance(value, PLAIN):
                fresh += [uid for uid in references(value) if uid not in seen]
    return fresh


def _read_of(entity: Entity, reads: frozenset[str]) -> Entity:
    """The entity with the attributes that are read. What is no Cedar value is refused nevertheless."""
    attributes: dict[str, Value] = {}
    for name, value in entity.attributes.items():
        if name in reads:
            attributes[name] = value
        elif not (is_name(name) and is_sound(value)):
            raise _unsound()
    return Entity(uid=entity.uid, attributes=attributes, parents=entity.parents, tags=entity.tags)


def _actions(schema: Schema) -> dict[EntityUid, Entity]:
    # cedarpy adds an action's groups only where entities are parsed with the schema.
    found: dict[EntityUid, Entity] = {}
    for action in schema.actions:
        uid = EntityUid(*action)
        groups = frozenset(EntityUid(*group) for group in schema.action_ancestors(*action))
        found[uid] = Entity(uid=uid, parents=groups)
    return found


def _unsound() -> DecisionUnavailable:
    return DecisionUnavailable(
        detail="an entity of the query has a name or a value that Cedar does not know", by_query=True
    )


def _cycle() -> DecisionUnavailable:
    return DecisionUnavailable(detail="the query's entities have a cycle of parents", by_query=True)
