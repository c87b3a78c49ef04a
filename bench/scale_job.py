"""What Cedar's engine answers to the questions of a job: asked of `cedarpy` alone, before anybody is measured.

A question is put to the ten policies that can matter to its document (a policy whose scope does not match is not
evaluated). That the whole set answers the same is checked where the full set is measured, of each question there.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

import cedarpy

from bench import scale_set
from bench.scale_set import DOCUMENT, Job, Question

HOT = 1_000
"""Questions that are asked again and again, each of another document where there are so many."""
COLD = 500
ANYWHERE = 6_000
Positions = Sequence[str]
"""The store's ids of the engine's `policy0`, `policy1`, …"""


def make(size: int, *, hot: int = HOT, cold: int = COLD, anywhere: int = ANYWHERE) -> Job:
    """The job for a set of one size: hot and cold documents are drawn from all of them, and never the same."""
    every = scale_set.documents(size)
    drawn = random.Random(f"{scale_set.SEED} {size}").sample(range(every), min(every, hot + cold))
    among = drawn[: max(1, min(hot, len(drawn) * 2 // 3))]
    others = drawn[len(among) :][:cold]
    once = [replace(one, document=number) for one, number in zip(_drawn(size, others, "cold"), others, strict=True)]
    return Job(
        size=size,
        hot=answered(_each(size, among, hot)),
        cold=answered(once),
        anywhere=answered(scale_set.draw(size, anywhere, seed="anywhere")),
    )


def _each(size: int, among: Sequence[int], count: int) -> list[Question]:
    """As many questions as asked for; every document is in one of them at least."""
    found = scale_set.draw(size, count, among=among, seed="hot")
    return [replace(one, document=among[place % len(among)]) for place, one in enumerate(found)]


def _drawn(size: int, among: Sequence[int], seed: str) -> list[Question]:
    return scale_set.draw(size, len(among), among=among, seed=seed) if among else []


def answered(questions: Iterable[Question]) -> list[Question]:
    """The questions with the engine's answers."""
    handles = entity_handles()
    sets: dict[int, cedarpy.PolicySet] = {}
    found = []
    for one in questions:
        ten = scale_set.candidates(one.document)
        if one.document not in sets:
            sets[one.document] = cedarpy.PolicySet.from_str(scale_set.text(ten))
        allowed, reasons = ask(one, sets[one.document], handles[one.user], [id for id, _ in ten])
        found.append(replace(one, allowed=allowed, reasons=reasons))
    return found


def entity_handles() -> list[cedarpy.Entities]:
    """The engine's handle of each person."""
    return [
        cedarpy.Entities.from_json_str(
            json.dumps(
                [
                    {
                        "uid": {"type": scale_set.USER, "id": one.name},
                        "attrs": {"department": one.department, "clearance": one.clearance},
                        "parents": [],
                    }
                ]
            )
        )
        for one in scale_set.people()
    ]


def request(one: Question) -> dict[str, Any]:
    """The question as cedarpy takes it."""
    return {
        "principal": {"type": scale_set.USER, "id": scale_set.people()[one.user].name},
        "action": {"type": scale_set.ACTION, "id": scale_set.READ},
        "resource": {"type": DOCUMENT, "id": scale_set.document(one.document)},
        "context": {"mfa": one.mfa, "hour": one.hour},
    }


def ask(
    one: Question, policies: cedarpy.PolicySet, entities: cedarpy.Entities, positions: Positions
) -> tuple[bool, list[str]]:
    """The engine's answer and the store's ids of the determining policies, sorted."""
    return answer(cedarpy.is_authorized(request(one), policies, entities), positions)


def answer(result: cedarpy.AuthzResult, positions: Positions) -> tuple[bool, list[str]]:
    """An answer of the engine in the store's words.

    Raises:
        ValueError: it gave no decision, or a policy erred.
    """
    if result.decision is cedarpy.Decision.NoDecision or result.diagnostics.errors:
        raise ValueError("the engine could not decide a question of the bench")
    return result.allowed, sorted(positions[int(name.removeprefix("policy"))] for name in result.diagnostics.reasons)
