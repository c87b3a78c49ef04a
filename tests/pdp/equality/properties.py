"""What is asked of each drawn world; `test_equality.py` asks it some hundred times, `make equality` far more often."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Literal

from hypothesis import strategies as st

from authz.core.errors import DecisionUnavailable
from authz.core.model import Decision, Query
from authz.pdp.cedar import CedarDecisionPoint, CedarSettings
from authz.pdp.compiled import CompiledPolicies, compile_snapshot
from tests.pdp.equality.full_set import FullSet, told
from tests.pdp.equality.names import Draw
from tests.pdp.equality.worlds import World, drawn_world, edited

SKIP, FAIL = CedarSettings(on_forbid_error="skip"), CedarSettings(on_forbid_error="fail")
_MODES: tuple[tuple[Literal["skip", "fail"], CedarSettings], ...] = (("skip", SKIP), ("fail", FAIL))


def answered(runner: asyncio.Runner, point: CedarDecisionPoint, query: Query) -> Decision | DecisionUnavailable:
    """The decision, or why there is none."""
    try:
        return runner.run(point.decide(query))
    except DecisionUnavailable as error:
        return error


def equals_the_full_set(world: World, compiled: CompiledPolicies | None = None) -> None:
    """One decision point, asked in a row, answers each query as the full set does."""
    compiled = compiled or compile_snapshot(world.snapshot())
    whole = FullSet(world)
    effects = {drawn.id: drawn.effect for drawn in (*world.policies, *world.links)}
    with asyncio.Runner() as runner:
        for on_forbid_error, settings in _MODES:
            point = CedarDecisionPoint(compiled, settings)
            expected = [whole.answer(query, on_forbid_error=on_forbid_error) for query in world.queries]
            asked = list(zip(world.queries, expected, strict=True))
            for query, answer in (*asked, *reversed(asked)):
                decision = answered(runner, point, query)
                assert told(decision) == answer, f"{query.principal} {query.action} {query.resource}: {decision!r}"
                if isinstance(decision, Decision):
                    assert all(error.effect is effects[error.policy_id] for error in decision.errors)


def many_equal_the_full_set(world: World) -> None:
    """`decide_many` answers each query as the full set does; where it can decide one of them not, it decides none."""
    compiled, whole = compile_snapshot(world.snapshot()), FullSet(world)
    with asyncio.Runner() as runner:
        for on_forbid_error, settings in _MODES:
            point = CedarDecisionPoint(compiled, settings)
            expected = [whole.answer(query, on_forbid_error=on_forbid_error) for query in world.queries]
            failed = [answer for answer in expected if answer.verdict == "none"]
            for _ in range(2):
                try:
                    together: Sequence[Decision] = runner.run(point.decide_many(world.queries))
                except DecisionUnavailable as error:
                    assert [told(error)] == failed[:1]
                else:
                    assert [told(decision) for decision in together] == expected


def drawn_history(draw: Draw) -> tuple[World, ...]:
    """A world, edited twice."""
    first = drawn_world(draw, queries=3)
    second = edited(draw, first)
    return first, second, edited(draw, second)


histories = st.composite(drawn_history)


def edits_equal_the_full_set(history: Sequence[World]) -> None:
    """Each policy set, compiled on top of the one before, answers as its own full set does; so does the first again."""
    compiled: CompiledPolicies | None = None
    for version, world in enumerate((*history, history[0])):
        compiled = compile_snapshot(world.snapshot(str(version)), compiled)
        equals_the_full_set(world, compiled)
