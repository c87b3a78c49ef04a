"""`decide_many`: one principal, one action, a hundred resources, as an application lists them; against one decision.

Ten policies. The resources are new each time where they have attributes, and so is that of the one decision.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass, replace
from typing import Any

import cedarpy

from authz.core.model import Decision, Entity, Query
from authz.pdp.cedar import CedarDecisionPoint
from authz.pdp.compiled import compile_snapshot
from bench import scale_job, scale_set
from bench.in_process import driven
from bench.rows import Row, at_most, row
from bench.scale_desk import IDS, Case, Desk, check, desk, in_json, request, snapshot
from bench.scale_runner import query as scale_query
from bench.scale_runner import slices, told
from bench.scale_timing import check as check_told

BENCH = "many"
COUNT = 100
BATCHES = 40
"""In a run."""
SINGLES = 10
"""Single decisions beside each batch."""
KINDS = 5
"""Different attributes among the resources that share them."""
LIMIT = 20
"""Single decisions that a batch may take as long as."""
_now = time.perf_counter_ns


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """How the resources are."""

    name: str
    point: CedarDecisionPoint
    batch: Callable[[], Sequence[Query]]
    """A hundred queries, made before the clock runs."""
    check: Callable[[Sequence[Decision]], None]
    """Raises unless the decisions of a batch are the engine's."""
    judged: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """Medians of each run, in microseconds."""

    kind: Kind
    many: Sequence[float]
    one: Sequence[float]


def kinds(count: int = COUNT) -> list[Kind]:
    """What is measured."""
    made = desk()
    different = [_other(made, made.cases[number % len(made.cases)], number) for number in range(count)]
    shared = [_same_user(made, made.cases[number % KINDS]) for number in range(count)]
    return [
        _fresh("fresh, three attributes each", made, different),
        _fresh(f"fresh, three attributes, {KINDS} kinds of them", made, shared),
        _bare("without attributes", [*scale_set.SHARED.items(), ("legal", _LEGAL)], count, judged=True),
        _bare("without attributes, a policy of its own for each", list(scale_set.policies(1_000)), count, judged=False),
    ]


_LEGAL = """permit (principal, action == Scale::Action::"Read", resource is Scale::Document)
when { principal.department == "legal" };"""


# --- with attributes ---------------------------------------------------------------------------------------


def _same_user(made: Desk, case: Case) -> Case:
    """The case asked by the first one's user, with the engine's answer to that."""
    first = made.cases[0]
    asking = request(first.user.uid, case.document.uid, mfa=first.mfa)
    entities = cedarpy.Entities.from_json_str(in_json((*first.given.entities, case.document)))
    allowed, reasons = scale_job.answer(cedarpy.is_authorized(asking, made.policies, entities), IDS)
    return replace(first, document=case.document, allowed=allowed, reasons=reasons)


def _other(made: Desk, case: Case, number: int) -> Case:
    """The same, the document with attributes that no other has."""
    attributes = {**case.document.attributes, "department": f"department-{number}"}
    return _same_user(made, replace(case, document=Entity(uid=case.document.uid, attributes=attributes)))


def _fresh(name: str, made: Desk, cases: Sequence[Case]) -> Kind:
    def right(decisions: Sequence[Decision]) -> None:
        for case, decision in zip(cases, decisions, strict=True):
            check(case, decision)

    return Kind(name=name, point=made.point, batch=lambda: [made.fresh(case) for case in cases], check=right)


# --- without -----------------------------------------------------------------------------------------------


def _bare(name: str, policies: Sequence[tuple[str, str]], count: int, *, judged: bool) -> Kind:
    questions = [
        replace(one, user=0, mfa=True, hour=9, document=number)
        for number, one in enumerate(scale_set.draw(1_000, count, seed="many"))
    ]
    everything = cedarpy.PolicySet.from_str(scale_set.text(policies))
    ids, handle = [id for id, _ in policies], scale_job.entity_handles()[0]
    answers = [scale_job.ask(one, everything, handle, ids) for one in questions]
    expected = [replace(one, allowed=is_, reasons=by) for one, (is_, by) in zip(questions, answers, strict=True)]
    described = slices()

    def right(decisions: Sequence[Decision]) -> None:
        for one, decision in zip(expected, decisions, strict=True):
            check_told(one, told(decision))

    return Kind(
        name=name,
        point=CedarDecisionPoint(compile_snapshot(snapshot(scale_set.text(policies), scale_set.SCHEMA))),
        batch=lambda: [scale_query(one, described) for one in questions],
        check=right,
        judged=judged,
    )


# --- measuring ---------------------------------------------------------------------------------------------


def measure(*, runs: int, batches: int = BATCHES, count: int = COUNT) -> list[Found]:
    """The times of every kind. The answers of every batch are checked behind the clock.

    Raises:
        WrongAnswer: a decision is not the engine's.
        Wrong: the same, where the resources have no attributes.
    """
    found = []
    for kind in kinds(count):
        kind.check([driven(kind.point.decide(one)) for one in kind.batch()])
        many, one = zip(*(_run(kind, batches) for _ in range(runs)), strict=True)
        found.append(Found(kind=kind, many=many, one=one))
    return found


def _run(kind: Kind, batches: int) -> tuple[float, float]:
    many, one = [], []
    for _ in range(batches):
        asked = kind.batch()
        begun = _now()
        decisions = _driven(kind.point.decide_many(asked))
        many.append(_now() - begun)
        kind.check(decisions)
        for single in kind.batch()[:SINGLES]:
            begun = _now()
            driven(kind.point.decide(single))
            one.append(_now() - begun)
    return statistics.median(many) / 1000, statistics.median(one) / 1000


def _driven(coroutine: Coroutine[Any, Any, Sequence[Decision]]) -> Sequence[Decision]:
    """The decisions. Now and then the list gives the event loop its turn, and there is nothing else to do."""
    try:
        while coroutine.send(None) is None:
            pass
    except StopIteration as done:
        result: Sequence[Decision] = done.value
        return result
    raise RuntimeError("the coroutine waits for something that is not at hand")


def rows(found: Sequence[Found], *, count: int = COUNT) -> list[Row]:
    """Each kind beside one decision of the same kind."""
    made = []
    for one in found:
        metric = f"decide_many, {count} resources {one.kind.name}"
        bar = at_most(LIMIT) if one.kind.judged else None
        made.append(row(BENCH, metric, "µs", one.many, against=one.one, name="one decide of the same kind", bar=bar))
    return made
