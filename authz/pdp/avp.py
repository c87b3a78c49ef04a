"""The remote decision point: Verified Permissions itself is asked.

Its answers are those of the local point over the same policies, for it is told the same (`avp_questions`). Under
`on_forbid_error: fail` it is the stricter one: the service names no policy with an error, so any error beside an allow
may be a forbid's.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import Any

from authz.core.cedar_schema import Schema
from authz.core.errors import DecisionUnavailable, Reason
from authz.core.model import Decision, Entity, EntityUid, Query
from authz.pdp import avp_answers as answers
from authz.pdp.avp_batches import Chunk, chunked
from authz.pdp.avp_calls import AvpCalls, Operation
from authz.pdp.avp_questions import NOTHING_STORED, Question, Questions, entity_list
from authz.pdp.avp_settings import AvpDecisionSettings as AvpDecisionSettings  # noqa: PLC0414 - part of the interface


class AvpDecisionPoint:
    """Asks by calls that others may share. Immutable; for a new schema make a new one, over the same calls."""

    def __init__(
        self,
        calls: AvpCalls,
        *,
        schema: Schema | None = None,
        stored: Mapping[EntityUid, Entity] = NOTHING_STORED,
        version: Callable[[], str] = lambda: "",
        age: Callable[[], float] = lambda: 0.0,
        names: Callable[[tuple[str, ...]], tuple[str, ...]] = lambda _: (),
        messages: Callable[[tuple[str, ...]], tuple[str, ...]] = lambda _: (),
    ) -> None:
        """Nothing is asked yet.

        Args:
            calls: how the service is reached; its settings count here too.
            schema: the policy store's. None: it is not known, so the service is told all claims and attributes.
            stored: entities of a file beside the policy store, of which the service is told what a query leads to.
            version: of the policy set, for the decisions; the service tells none.
            age: seconds since the policies counted as current; 0 for a service that has them itself.
            names: policies' ids → their names, where they are known; empty: they are not.
            messages: ids of forbids → their `@deny_message` annotations, where they are known.
        """
        self.calls = calls
        settings = calls.settings
        self._settings = settings
        self._questions = Questions(settings, schema, stored)
        self._reading = answers.Reading(
            on_forbid_error=settings.on_forbid_error, version=version, age=age, names=names, messages=messages
        )
        self._store = {"policyStoreId": settings.policy_store}

    async def decide(self, query: Query) -> Decision:
        """The service's decision for one query. Raises as the port says."""
        return await self._one(self._questions.of(query))

    async def decide_many(self, queries: Sequence[Query]) -> tuple[Decision, ...]:
        """One decision for each query, in order. Raises as the port says, for one that has none.

        Those that go together are asked by batch calls, where they are enough for that (`batch_from`).
        """
        questions = [self._questions.of(query) for query in queries]
        if len(questions) < self._settings.batch_from:
            return tuple(await _all([self._one(question) for question in questions]))
        found: dict[int, Decision] = {}
        chunks = chunked(questions)
        decided = await _all([self._chunk(chunk) for chunk in chunks])
        for chunk, decisions in zip(chunks, decided, strict=True):
            found.update(zip(chunk.places, decisions, strict=True))
        return tuple(found[place] for place in range(len(questions)))

    async def _one(self, question: Question) -> Decision:
        arguments = {**self._store, **question.request(), **question.token(), **entity_list(question.items.values())}
        operation: Operation = "IsAuthorized" if question.credential is None else "IsAuthorizedWithToken"
        answer = await self.calls.call(operation, arguments)
        return answers.single(answer, question, self._reading)

    async def _chunk(self, chunk: Chunk) -> Sequence[Decision]:
        questions = chunk.questions
        if len(questions) >= max(2, self._settings.batch_from):
            try:
                return await self._batch(chunk)
            except DecisionUnavailable as error:
                if error.reason is not Reason.QUERY_REFUSED:
                    raise
                # One bad question is the whole call's fault; so may be their number of bytes. Alone each is judged.
        return await _all([self._one(question) for question in questions])

    async def _batch(self, chunk: Chunk) -> Sequence[Decision]:
        first = chunk.questions[0]
        requests = [question.request() for question in chunk.questions]
        arguments = {**self._store, **first.token(), **entity_list(chunk.items.values()), "requests": requests}
        operation: Operation = "BatchIsAuthorized" if first.credential is None else "BatchIsAuthorizedWithToken"
        answer = await self.calls.call(operation, arguments)
        return answers.batch(answer, chunk.questions, self._reading)


async def _all(decisions: Sequence[Coroutine[Any, Any, Any]]) -> list[Any]:
    """The results in order; the first that fails ends the others."""
    if len(decisions) == 1:
        return [await decisions[0]]
    tasks = [asyncio.ensure_future(decision) for decision in decisions]
    try:
        return list(await asyncio.gather(*tasks))
    finally:
        for task in tasks:
            task.cancel()
