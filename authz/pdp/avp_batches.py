"""Which questions go together by one batch call.

All of one call have the same principal or the same resource, and share its entities (API reference,
BatchIsAuthorized). So a question joins others only where each is answered as it would be alone: nobody is told more of
an entity that it names than it told itself. What only a policy names, as in `Doc::"7".open`, is known to all of a call
if one of them tells of it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field

from authz.core.model import EntityUid
from authz.pdp.avp_questions import Item, Question
from authz.pdp.avp_settings import BATCH_LIMIT

MAX_ENTITIES = 100
"""Of one call. The service takes so many principals and as many resources; here both together count."""


@dataclass(slots=True, kw_only=True, eq=False)
class Chunk:
    """Questions of one call, and where they stand among all."""

    questions: list[Question] = field(default_factory=list)
    places: list[int] = field(default_factory=list)
    items: dict[EntityUid, Item] = field(default_factory=dict)
    named: set[EntityUid] = field(default_factory=set)

    def add(self, place: int, question: Question, named: frozenset[EntityUid]) -> None:
        """Takes a question in."""
        self.questions.append(question)
        self.places.append(place)
        self.items.update(question.items)
        self.named |= named

    def takes(self, question: Question, named: frozenset[EntityUid]) -> bool:
        """Is there room, and would nobody hear of what it names from another?"""
        if len(self.questions) >= BATCH_LIMIT or len(self.items.keys() | question.items.keys()) > MAX_ENTITIES:
            return False
        for uid, item in question.items.items():
            known = self.items.get(uid)
            if known is None:
                if uid in self.named:
                    return False
            elif not _same(known, item):
                return False
        return all(uid in question.items for uid in named if uid in self.items)


def chunked(questions: Sequence[Question]) -> list[Chunk]:
    """All questions in chunks, each fit for one batch call; one by itself where it goes with no other."""
    by_principal = len({_principal(question) for question in questions})
    by_resource = len({_resource(question) for question in questions})
    key: Callable[[Question], Hashable] = _principal if by_principal <= by_resource else _resource
    done: list[Chunk] = []
    last: dict[Hashable, Chunk] = {}
    for place, question in enumerate(questions):
        named = question.named()
        chunk = last.get(key(question))
        if chunk is None or not chunk.takes(question, named):
            chunk = last[key(question)] = Chunk()
            done.append(chunk)
        chunk.add(place, question, named)
    return done


def _principal(question: Question) -> Hashable:
    return question.query.principal, _token(question)


def _resource(question: Question) -> Hashable:
    return question.query.resource, _token(question)


def _token(question: Question) -> Hashable:
    credential = question.credential
    return None if credential is None else (credential.kind, credential.secret, question.query.principal)


def _same(first: Item, second: Item) -> bool:
    if first is second:
        return True
    # As text, for to Python 1 and true are equal.
    return json.dumps(first.told, sort_keys=True) == json.dumps(second.told, sort_keys=True)
