"""Many queries at once, such as a list's items for one principal: what they have in common is done once.

Each query whose slices say no more than what its own resource is, is put to the engine together with others: the
base of (principal, action), the context's text, the handle of the candidates and the call are shared; and of those
whose resources look alike to their candidates (`alike`) only one is put at all. Every other query is decided by
itself, as is each that the engine answers with an error or not at all: errors name the entity that they met. So what
is wrong with a query is told in the words of `decide`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from authz.core.errors import AuthzError
from authz.core.model import Decision, EntitySlice, EntityUid, Query, Value
from authz.pdp.ancestry import World
from authz.pdp.cedar_json import PLAIN, references
from authz.pdp.engine import Answer, AskAll, is_panic
from authz.pdp.family import Family, Limits
from authz.pdp.handles import PolicyHandles
from authz.pdp.index import Found
from authz.pdp.questions import AT_ONCE, Batch, Question, View, request
from authz.pdp.rows import united
from authz.pdp.slices import Slices

PAUSE = 64
"""Queries that are sorted before the event loop gets its turn; each takes some ten microseconds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """What a decision point lends."""

    world: World
    slices: Slices
    handles: PolicyHandles
    limits: Limits
    ask: AskAll
    context: Callable[[Query, frozenset[str] | None], str]
    """A query's context as text, as far as some names go."""
    read: Callable[[Answer, Found, Mapping[str, str]], Decision]
    """An answer about candidates as a decision."""
    left_out: Callable[[Query], tuple[str, ...]] | None
    """Where it is to be told what of a query the engine was not told."""
    one: Callable[[Query], Awaitable[Decision]]
    """Decides a query by itself."""


class _Missing(NamedTuple):
    key: object
    family: Family
    found: Found


class _Place(NamedTuple):
    """Where the last query was put."""

    family: Family | None
    found: Found | None
    context: Mapping[str, Value] | None
    kind: str
    view: View | None


class Many:
    """One list of queries. Used once."""

    def __init__(self, queries: Sequence[Query], parts: Parts) -> None:
        self._queries = queries
        self._parts = parts
        self._decisions: list[Decision | None] = [None] * len(queries)
        self._families: dict[object, Family | None] = {}
        self._last: tuple[object, Family | None] = None, None
        self._views: dict[object, View | None] = {}
        self._place = _Place(None, None, None, "", None)

    async def decided(self) -> tuple[Decision, ...]:
        """A decision for each query, in order. Raises as `decide` does for the first query for which it does."""
        for place, query in enumerate(self._queries):
            if place % PAUSE == PAUSE - 1:
                await asyncio.sleep(0)
            try:
                missing = self._sort(place, query)
                if missing is not None:
                    await self._make(missing, query)
                    self._sort(place, query)
            except BaseException as error:
                if not _is_for_one(error):
                    raise
        await self._answer()
        return tuple([decision or await self._one(place) for place, decision in enumerate(self._decisions)])

    async def _one(self, place: int) -> Decision:
        if place % AT_ONCE == AT_ONCE - 1:
            await asyncio.sleep(0)
        return await self._parts.one(self._queries[place])

    def _sort(self, place: int, query: Query) -> _Missing | None:
        """Puts a query to its view, or tells that there is none yet; leaves alone what is to be decided by itself."""
        common, own = _split(query)
        family = self._family(common, query)
        told = family.told(query, own) if family is not None else None
        if family is None or told is None:
            return None
        found, context, kind = told.found, family.context(query.context), query.resource.type
        last = self._place
        if found is last.found and context is last.context and family is last.family and kind == last.kind:
            view = last.view  # nearly always
        else:
            key = family, found.shared.key, found.own.key, id(context), kind
            if key not in self._views:
                return _Missing(key, family, found)
            view = self._views[key]
            self._place = _Place(family, found, context, kind, view)
        if view is None:
            return None
        if not (view.fits if not told.reached and len(told.above) == 1 else family.fits(told, view.reached)):
            return None
        if not (told.own and query.resource in view.reached.touched):
            view.add(place, query, told)
        return None

    async def _make(self, missing: _Missing, query: Query) -> None:
        self._views[missing.key] = None  # which it stays where there can be none
        self._views[missing.key] = await self._view(missing.family, missing.found, query)

    def _family(self, common: tuple[EntitySlice, ...], query: Query) -> Family | None:
        key = common, query.principal, query.action
        if key == self._last[0]:  # nearly always, and twice as fast
            return self._last[1]
        if key not in self._families:
            self._families[key] = None
            parts = self._parts
            self._families[key] = Family(parts.slices, parts.world, common, query, parts.limits)
        self._last = key, self._families[key]
        return self._last[1]

    async def _view(self, family: Family, found: Found, query: Query) -> View | None:
        roots = tuple(self._parts.slices.literals(found))
        reached = family.checked(roots)
        if reached is None or _names_entities(query.context):
            return None
        handles = self._parts.handles
        candidates = handles.kept(found) or await handles.made(found)
        return View(
            family=family,
            candidates=candidates,
            reads=found.reads,
            context=self._parts.context(query, candidates.names),
            roots=roots,
            reached=reached,
            fits=family.fits(None, reached),
        )

    async def _answer(self) -> None:
        """Asks, as many questions at once as can be told to the engine together."""
        by_family: dict[Family, list[View]] = {}
        for view in self._views.values():
            if view is not None:
                by_family.setdefault(view.family, []).append(view)
        for family, views in by_family.items():
            try:
                await self._answer_family(family, views)
            except BaseException as error:
                if not _is_for_one(error):
                    raise

    async def _answer_family(self, family: Family, views: Sequence[View]) -> None:
        family.reads = united(view.reads for view in views)
        batch = Batch(family)
        for view in views:
            for question in view.questions:
                if not batch.add(view, question):
                    self._ask(batch)
                    await asyncio.sleep(0)
                    batch = Batch(family)
                    batch.add(view, question)
        self._ask(batch)

    def _ask(self, batch: Batch) -> None:
        try:
            entities = batch.handle()
            for view, questions in batch.asked.items():
                requests = [request(question.query, view.context) for question in questions]
                # As a list: which answer is whose is known only where there are as many.
                pairs = list(zip(questions, self._parts.ask(requests, view.candidates.handle, entities), strict=True))
                for question, answer in pairs:
                    self._keep(question, view, answer)
        except BaseException as error:
            if not _is_for_one(error):
                raise

    def _keep(self, question: Question, view: View, answer: Answer) -> None:
        if answer.decision not in ("Allow", "Deny") or answer.diagnostics.errors:
            return
        decision, about, left_out = None, None, self._parts.left_out
        for place, found in question.places:
            if decision is None or found is not about:
                decision, about = self._parts.read(answer, found, view.candidates.forms), found
            told = decision if left_out is None else replace(decision, left_out=left_out(self._queries[place]))
            self._decisions[place] = told


def _split(query: Query) -> tuple[tuple[EntitySlice, ...], tuple[EntitySlice, ...]]:
    """The query's slices: those that speak of more than its resource, and the others."""
    given, resource = query.entities, query.resource
    # Nearly always there is one of the principal, and perhaps one of the resource.
    if given and not _is_of(given[0], resource):
        if len(given) == 1:
            return given, ()
        if len(given) == 2 and _is_of(given[1], resource):
            return given[:1], given[1:]
    own = tuple([one for one in given if _is_of(one, resource)])
    return tuple([one for one in given if not _is_of(one, resource)]), own


def _is_of(one: EntitySlice, resource: EntityUid) -> bool:
    entities = one.entities
    if len(entities) == 1:
        return entities[0].uid == resource
    return all(entity.uid == resource for entity in entities)


def _names_entities(context: Mapping[str, Value]) -> bool:
    return any(
        name != "token" and not isinstance(value, PLAIN) and next(references(value), None) is not None
        for name, value in context.items()
    )


def _is_for_one(error: BaseException) -> bool:
    """Does it go wrong for a query that is decided by itself too? Then it is told there."""
    # The engine's refusals are ValueErrors and TypeErrors; what is nested too deeply is a RecursionError.
    return isinstance(error, AuthzError | ValueError | TypeError | RecursionError) or is_panic(error)
