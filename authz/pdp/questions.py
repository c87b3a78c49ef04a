"""What is put to the engine for many queries: questions, and which of them it is told together.

A question stands for all queries whose resources look alike to their candidates. Questions of one family share a handle
of entities wherever what one query says of its resource cannot be met by another.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import cedarpy

from authz.core.model import Entity, EntityUid, Query, Value
from authz.pdp.alike import Sight, looks
from authz.pdp.engine import Request
from authz.pdp.family import Checked, Family, Told
from authz.pdp.handles import Candidates
from authz.pdp.index import Found

AT_ONCE = 32
"""Questions that are put to the engine before the event loop gets its turn; each takes some forty microseconds."""
FORMS_AT_ONCE = 512
"""Policies that are evaluated before the event loop gets its turn, but for those of one question."""


@dataclass(slots=True, kw_only=True, eq=False)
class Question:
    """What the engine is asked, for one query or more."""

    query: Query
    told: Told
    places: list[tuple[int, Found]]
    """Where in the list the queries stand, and which policies each is about."""


@dataclass(slots=True, kw_only=True, eq=False)
class View:
    """Queries of one family that are asked with the same handle of policies and the same context, of one type."""

    family: Family
    candidates: Candidates
    reads: frozenset[str] | None
    """Attributes of entities that the candidates may read; None: any."""
    context: str
    roots: tuple[EntityUid, ...]
    """Entities that the candidates name, where not every query is told of these."""
    reached: Checked
    """What an expression can come to from there."""
    fits: bool
    """Is a query within the limits whose resource leads nowhere?"""
    sight: Sight | None = None
    """None: not looked at yet, or a candidate reads the resource as a whole."""
    questions: list[Question] = field(default_factory=list)
    seen: dict[object, Question] = field(default_factory=dict)

    def add(self, place: int, query: Query, told: Told) -> None:
        """Puts the query to the questions, or beside one that asks the same."""
        sight = self.sight
        if sight is None and len(self.questions) == 1:
            sight = self._look(query)  # reading the policies is worth it from the second query on
        key = None
        if sight is not None:
            key = sight.of(told.attributes)
            first = self.seen.get(key)
            if first is not None:
                first.places.append((place, told.found))
                return
        question = Question(query=query, told=told, places=[(place, told.found)])
        self.questions.append(question)
        if key is not None:
            self.seen[key] = question

    def _look(self, query: Query) -> Sight | None:
        looked = looks(tuple(self.candidates.forms.values()))
        if looked is not None:
            first = self.questions[0]
            self.sight = self.family.sight(looked, query.context)
            self.seen[self.sight.of(first.told.attributes)] = first
        return self.sight


class Batch:
    """Questions that are told to the engine with one handle of entities.

    What one query says of its resource must not be met by another: so none of those whose resource another can come
    to is put into the same batch, nor two of one resource.
    """

    def __init__(self, family: Family) -> None:
        self.asked: dict[View, list[Question]] = {}
        self._family = family
        self._own: set[EntityUid] = set()
        """Resources of which a query says something itself."""
        self._met: set[EntityUid] = set()
        """All that the queries can come to, but for these."""
        self._told: dict[EntityUid, Entity] = {}
        self._above: dict[EntityUid, frozenset[EntityUid]] = {}
        self._named: set[EntityUid] = set()
        self._size = self._forms = 0

    def add(self, view: View, question: Question) -> bool:
        """Takes a question in. False: it must go to another batch."""
        resource, told, forms = question.query.resource, question.told, len(view.candidates.forms)
        if self._size and (self._size >= AT_ONCE or self._forms + forms > FORMS_AT_ONCE):
            return False
        met = view.reached.touched.union(told.above, *(checked.touched for checked in told.reached))
        if told.entity is not None:
            met |= set(self._family.named_by(told.entity))
        if told.own:
            met -= {resource}
        if resource in self._own or (told.own and resource in self._met) or not self._own.isdisjoint(met):
            return False
        if told.own:
            self._own.add(resource)
        self._met |= met
        self._size += 1
        self._forms += forms
        self.asked.setdefault(view, []).append(question)
        self._tell(view, resource, told)
        return True

    def _tell(self, view: View, resource: EntityUid, told: Told) -> None:
        family = self._family
        self._named.add(resource)
        roots = list(view.roots)
        if not told.own:
            roots.append(resource)
        elif told.entity is not None:
            # What is not looked at need not be parsed. Nobody else looks at it.
            entity = _seen(told.entity, view.sight.attributes if view.sight is not None else view.reads)
            self._told[resource], self._above[resource] = entity, told.above
            roots += family.named_by(entity)
        self._named.update(roots)
        for reached in map(family.reached, roots):
            if reached is not None:
                self._named |= reached.named
                for uid, entity in reached.entities.items():
                    if uid not in self._told:
                        self._told[uid], self._above[uid] = entity, family.above(uid)

    def handle(self) -> cedarpy.Entities:
        """The engine's handle of all that was told."""
        return self._family.handle(self._told, self._above, frozenset(self._named))


def _seen(entity: Entity, attributes: frozenset[str] | None) -> Entity:
    if attributes is None or attributes.issuperset(entity.attributes):
        return entity
    values: dict[str, Value] = {name: value for name, value in entity.attributes.items() if name in attributes}
    return Entity(uid=entity.uid, attributes=values, parents=entity.parents, tags=entity.tags)


def request(query: Query, context: str) -> Request:
    """The question for one query, with its context as text."""
    principal, action, resource = query.principal, query.action, query.resource
    return {
        "principal": {"type": principal.type, "id": principal.id},
        "action": {"type": action.type, "id": action.id},
        "resource": {"type": resource.type, "id": resource.id},
        "context": context,
    }
