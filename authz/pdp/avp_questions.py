"""A query → what Verified Permissions is told.

The same that the local decision point tells its engine of a request: the query's own entities, one that two sources
describe united, attributes of entities and the token's claims cut to what the schema declares. Not told: actions, which
the service knows from its schema, and entities of which there is nothing to tell.

A policy store of Verified Permissions keeps no entities. Those of a file beside it (`policies.entities`) are told as
far as the query leads to them: through values, tags and parents. Where a policy itself names one of them, as in
`User::"admin".level`, only the local point knows it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Literal
from weakref import WeakKeyDictionary

from authz.core.avp_values import (
    Unsayable,
    action_identifier,
    attribute_value,
    entity_item,
    identifier,
    is_bare,
    record,
)
from authz.core.cedar_schema import Schema
from authz.core.errors import AttributesUnavailable, DecisionUnavailable, Reason
from authz.core.model import Credential, Entity, EntitySlice, EntityUid, Query, Value
from authz.pdp.ancestry import Local, Reach, World, is_action_type, united
from authz.pdp.avp_settings import AvpDecisionSettings
from authz.pdp.cedar_json import PLAIN, Misfit, project, references

NOTHING_STORED: Mapping[EntityUid, Entity] = MappingProxyType({})
_TOKEN_MEMBERS: Mapping[str, Literal["accessToken", "identityToken"]] = {
    "access": "accessToken",
    "id": "identityToken",
}


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Item:
    """An entity that is told."""

    entity: Entity
    told: Mapping[str, Any]
    """`EntityItem`."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Question:
    """One query in the service's words."""

    query: Query
    principal: Mapping[str, str]
    action: Mapping[str, str]
    resource: Mapping[str, str]
    context: Mapping[str, Any]
    """`ContextMap`; empty: it is left out."""
    items: Mapping[EntityUid, Item]
    credential: Credential | None
    """The token that is handed on; then `principal` is not, for the service makes it of the token."""

    def request(self) -> dict[str, Any]:
        """What is this question's own: a member of a batch, or most of a single call."""
        found: dict[str, Any] = {"action": self.action, "resource": self.resource}
        if self.credential is None:
            found["principal"] = self.principal
        if self.context:
            found["context"] = {"contextMap": self.context}
        return found

    def token(self) -> dict[str, str]:
        """The member that hands the token on; nothing without one."""
        if self.credential is None:
            return {}
        return {_TOKEN_MEMBERS[self.credential.kind]: self.credential.secret}

    def named(self) -> frozenset[EntityUid]:
        """Every entity that the question names: told or not, a value, a parent."""
        query = self.query
        found = {query.principal, query.action, query.resource}
        found.update(_references(query.context.values()))
        for uid, item in self.items.items():
            found.add(uid)
            found |= item.entity.parents
            found.update(_references(item.entity.attributes.values()))
            found.update(_references(item.entity.tags.values()))
        return frozenset(found)


def entity_list(items: Iterable[Item]) -> dict[str, Any]:
    """The member `entities`; nothing where there are none."""
    told = [item.told for item in items]
    return {"entities": {"entityList": told}} if told else {}


class Questions:
    """Makes questions. What a slice says is put into words once, as long as the slice lives.

    Args:
        settings: how the service is asked.
        schema: declares attributes; None: all are told.
        stored: entities that no query gives, and that are known nevertheless.
    """

    def __init__(
        self, settings: AvpDecisionSettings, schema: Schema | None, stored: Mapping[EntityUid, Entity] = NOTHING_STORED
    ) -> None:
        self._settings = settings
        self._schema = schema
        self._stored = stored
        self._world = World(stored, schema, Reach(entities=settings.max_entities))
        self._slices: WeakKeyDictionary[EntitySlice, Mapping[EntityUid, Item]] = WeakKeyDictionary()

    def of(self, query: Query) -> Question:
        """The question.

        Raises:
            AttributesUnavailable: a claim or an attribute is of another type than the schema declares.
            DecisionUnavailable: `query_refused`, where the service cannot be told; or a name is none of Cedar's.
        """
        try:
            return self._made(query)
        except Unsayable as error:
            raise DecisionUnavailable(Reason.QUERY_REFUSED, str(error)) from None
        except RecursionError:
            raise DecisionUnavailable(Reason.QUERY_REFUSED, "a value is nested too deeply") from None

    def _made(self, query: Query) -> Question:
        sources = [self._source(source) for source in query.entities]
        if self._stored:
            sources.append(self._stored_for(query, sources))
        credential = self._forwarded(query, sources)
        items = _together(sources)
        if credential is not None:
            made_of_it = self._of_token(query, sources)
            items = {uid: item for uid, item in items.items() if uid.type not in made_of_it}
        if len(items) > self._settings.max_entities:
            text = f"the query tells more than {self._settings.max_entities} entities; see `limits.entities`"
            raise DecisionUnavailable(Reason.TOO_MANY_ENTITIES, text)
        return Question(
            query=query,
            principal=identifier(query.principal, "principal"),
            action=action_identifier(query.action, "action"),
            resource=identifier(query.resource, "resource"),
            context=self._context(query, with_token=credential is None),
            items=items,
            credential=credential,
        )

    def _source(self, source: EntitySlice) -> Mapping[EntityUid, Item]:
        found = self._slices.get(source)
        if found is None:
            local: Local = self._world.local((source,))
            found = {uid: _item(entity) for uid, entity in local.items() if not is_action_type(uid)}
            self._slices[source] = found
        return found

    def _stored_for(self, query: Query, sources: list[Mapping[EntityUid, Item]]) -> Mapping[EntityUid, Item]:
        """The stored entities that the query leads to, as one more source."""
        local: dict[EntityUid, Entity] = {}
        for source in sources:
            for uid, item in source.items():
                earlier = local.get(uid)
                local[uid] = item.entity if earlier is None else united(earlier, item.entity)
        roots = {query.principal, query.resource, *local, *_references(query.context.values())}
        reached = self._world.reached(local, roots, but={}, parents=True).entities
        return {uid: _item(self._stored[uid]) for uid in reached if uid in self._stored and not is_action_type(uid)}

    def _context(self, query: Query, *, with_token: bool) -> Mapping[str, Any]:
        context = query.context
        if not context:
            return {}
        told = record({name: value for name, value in context.items() if name != "token"}, "context")
        token = context.get("token")
        if with_token and token is not None:
            projected = self._declared(token, query.action)
            if projected is not None:
                told["token"] = attribute_value(projected, "context.token")
        return told

    def _declared(self, token: Value, action: EntityUid) -> Value | None:
        """The claims that the schema declares for the action; None: it declares none."""
        if self._schema is None:
            return token
        declaration = self._schema.actions.get((action.type, action.id))
        declared = declaration.context.attributes.get("token") if declaration is not None else None
        if declared is None:
            return None
        try:
            return project(token, declared.type, "context.token")
        except Misfit as error:
            raise AttributesUnavailable(Reason.CLAIMS_MISMATCH, str(error)) from None

    def _forwarded(self, query: Query, sources: list[Mapping[EntityUid, Item]]) -> Credential | None:
        """The token, if it is to be handed on, and all that the query tells can be told beside it.

        The service takes no entity of the principal's type or of its groups' along with a token. What other sources
        say of such entities must not be lost, for a `forbid` may hang on it; then the query goes without the token,
        with the principal that was made of it here by the same rules.
        """
        credential = query.credential
        if not self._settings.forward_token or credential is None or credential.kind not in _TOKEN_MEMBERS:
            return None
        kinds = self._of_token(query, sources)
        of_token = True
        for source in sources:
            own = of_token and query.principal in source
            of_token = of_token and not own  # the first that knows the principal is the token's
            for uid, item in source.items():
                if uid.type in kinds and not (own and uid == query.principal) and not is_bare(item.entity):
                    return None
        return credential

    def _of_token(self, query: Query, sources: list[Mapping[EntityUid, Item]]) -> frozenset[str]:
        """Types of the entities that the service makes of a token itself: the principal's and its groups'."""
        kinds = {query.principal.type}
        if self._settings.group_type:
            kinds.add(self._settings.group_type)
        for source in sources:
            item = source.get(query.principal)
            if item is not None:
                kinds.update(parent.type for parent in item.entity.parents)
                break
        return frozenset(kinds)


def _item(entity: Entity) -> Item:
    return Item(entity=entity, told=entity_item(entity))


def _together(sources: list[Mapping[EntityUid, Item]]) -> dict[EntityUid, Item]:
    found: dict[EntityUid, Item] = {}
    for source in sources:
        for uid, item in source.items():
            earlier = found.get(uid)
            found[uid] = item if earlier is None else _item(united(earlier.entity, item.entity))
    return {uid: item for uid, item in found.items() if not is_bare(item.entity)}


def _references(values: Iterable[Value]) -> Iterable[EntityUid]:
    for value in values:
        if not isinstance(value, PLAIN):
            yield from references(value)
