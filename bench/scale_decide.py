"""One decision in the process, query in and decision out, against a bare `cedarpy.is_authorized`: ten policies, three
entities (user, role, document). Timed call by call in turn, so that whatever else the machine does falls on both.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import cedarpy

from authz.core.model import EntityUid
from bench.answers import WrongAnswer
from bench.in_process import driven
from bench.rows import Row, at_most, row
from bench.scale_desk import IDS, Case, Desk, check, desk, in_json, query, request
from bench.scale_job import answer

BENCH = "decide"
ROUNDS = 20
"""Times that every question is asked in a run."""
BARE = "bare cedarpy.is_authorized, all handles"
ADDED = "bare cedarpy, with_added_json_str of the document first"
_now = time.perf_counter_ns


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """Medians in microseconds. Each reference is timed in turn with what it is a reference of."""

    seen: float
    bare_beside_seen: float
    fresh: float
    bare_beside_fresh: float
    added: float
    """The engine alone, the fresh document added to a handle of user and role."""


def measure(*, runs: int, rounds: int = ROUNDS) -> list[Run]:
    """All runs.

    Raises:
        WrongAnswer: a decision is not the engine's.
    """
    made = desk()
    for case in made.cases:
        check(case, driven(made.point.decide(query(case, case.document.uid))))
        check(case, driven(made.point.decide(made.fresh(case))))
        if answer(_added(made, case)(), IDS) != (case.allowed, list(case.reasons)):
            raise WrongAnswer(f"the engine answers otherwise for a copy of {case.document.uid}")
    return [_run(made, rounds) for _ in range(runs)]


def _run(made: Desk, rounds: int) -> Run:
    decide = made.point.decide
    seen: list[list[int]] = [[], []]
    fresh: list[list[int]] = [[], [], []]
    again = [query(case, case.document.uid) for case in made.cases]
    for _ in range(rounds):
        for case, asked in zip(made.cases, again, strict=True):
            _in_turn(seen, (_asking(decide, asked), _bare(made, case)))
    for _ in range(rounds):
        for case in made.cases:
            asked = made.fresh(case)  # made before the clock runs: it is the caller's
            _in_turn(fresh, (_asking(decide, asked), _bare(made, case), _added(made, case)))
    middles = [statistics.median(times) / 1000 for times in (*seen, *fresh)]
    return Run(
        seen=middles[0], bare_beside_seen=middles[1], fresh=middles[2], bare_beside_fresh=middles[3], added=middles[4]
    )


def _in_turn(times: Sequence[list[int]], calls: Sequence[Callable[[], object]]) -> None:
    for found, call in zip(times, calls, strict=True):
        begun = _now()
        call()
        found.append(_now() - begun)


def _asking(decide: Callable, asked: object) -> Callable[[], object]:
    return lambda: driven(decide(asked))


def _bare(made: Desk, case: Case) -> Callable[[], cedarpy.AuthzResult]:
    asking, policies, entities = dict(case.request), made.policies, case.entities
    return lambda: cedarpy.is_authorized(asking, policies, entities)


def _added(made: Desk, case: Case) -> Callable[[], cedarpy.AuthzResult]:
    """The same with a copy of the document under a new id, its JSON text ready."""
    uid = EntityUid("Desk::Document", f"new-{next(made.numbers)}")
    text = in_json((type(case.document)(uid=uid, attributes=case.document.attributes),))
    asking, policies, base = request(case.user.uid, uid, mfa=case.mfa), made.policies, case.base
    return lambda: cedarpy.is_authorized(asking, policies, base.with_added_json_str(text))


def rows(runs: Sequence[Run]) -> list[Row]:
    """The two bars, and what a user of the engine pays for a fresh resource."""
    bare, beside = [run.bare_beside_seen for run in runs], [run.bare_beside_fresh for run in runs]
    seen, fresh, added = ([getattr(run, name) for run in runs] for name in ("seen", "fresh", "added"))
    new = "decide, a fresh resource of three attributes"
    return [
        row(BENCH, "decide, entities seen before", "µs", seen, against=bare, name=BARE, bar=at_most(1.25)),
        row(BENCH, new, "µs", fresh, against=beside, name=BARE, bar=at_most(1.7)),
        row(BENCH, new, "µs", fresh, against=added, name=ADDED),
        row(BENCH, ADDED, "µs", added, against=beside, name=BARE),
    ]
