"""The contenders that need no environment of their own, each in a process: `python -m bench.scale_runner …`.

    ours ROUNDS SECONDS JOB=FOLDER…     authz's local decision point, every size in turn within each round
    cedarpy ROUNDS SECONDS JOB          the engine with a handle of the full set, entities as handles

What they print: `scale_timing`.
"""

from __future__ import annotations

import gc
import random
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import cedarpy

from authz.core.model import Decision, Entity, EntitySlice, EntityUid, Query, Verdict
from authz.pdp.cedar import CedarDecisionPoint
from authz.pdp.compiled import compile_snapshot
from authz.stores.file import FileStore
from bench import scale_set
from bench.in_process import driven
from bench.scale_job import answer, entity_handles, request
from bench.scale_set import Job, Question
from bench.scale_timing import Ask, check, checked, figures, read, rounds, say, timed

_now = time.perf_counter_ns


# --- authz -------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Ours:
    """A decision point with its job."""

    job: Job
    point: CedarDecisionPoint
    calls: Sequence[Ask]
    """The hot questions, each asked once."""


def slices() -> list[EntitySlice]:
    """What a verified token says of each person: one object for as long as the token lives."""
    return [
        EntitySlice(
            entities=(
                Entity(
                    uid=EntityUid(scale_set.USER, one.name),
                    attributes={"department": one.department, "clearance": one.clearance},
                ),
            )
        )
        for one in scale_set.people()
    ]


def query(one: Question, described: Sequence[EntitySlice]) -> Query:
    """The question as a decision point takes it."""
    return Query(
        principal=EntityUid(scale_set.USER, scale_set.people()[one.user].name),
        action=EntityUid(scale_set.ACTION, scale_set.READ),
        resource=EntityUid(scale_set.DOCUMENT, scale_set.document(one.document)),
        context={"mfa": one.mfa, "hour": one.hour},
        entities=(described[one.user],),
    )


def told(decision: Decision) -> tuple[bool, Sequence[str]]:
    """A decision as `scale_timing` compares it.

    Raises:
        ValueError: a policy erred.
    """
    if decision.errors:
        raise ValueError(f"policies erred: {decision.errors}")
    return decision.verdict is Verdict.ALLOW, decision.policies


def asked(point: CedarDecisionPoint, one: Question, described: Sequence[EntitySlice]) -> Ask:
    """A question made ready."""
    ready = query(one, described)
    return lambda: told(driven(point.decide(ready)))


def prepared(job: Job, folder: Path, described: Sequence[EntitySlice]) -> Ours:
    """Reads and compiles the policies in `folder`, and asks every hot question once."""
    begun = time.monotonic()
    point = CedarDecisionPoint(compile_snapshot(FileStore(path=folder).read()))
    say("ready", size=job.size, seconds=time.monotonic() - begun)
    calls = checked(job.hot, lambda one: asked(point, one, described), seconds=600)
    return Ours(job=job, point=point, calls=calls)


def once(mine: Ours, described: Sequence[EntitySlice]) -> list[int]:
    """Nanoseconds of each cold question, whose document nobody has asked for; its answer is checked behind it."""
    times = []
    for one in mine.job.cold:
        call = asked(mine.point, one, described)
        begun = _now()
        answered = call()
        times.append(_now() - begun)
        check(one, answered)
    return times


def anywhere(mine: Ours, described: Sequence[EntitySlice]) -> list[int]:
    """Nanoseconds of questions about whatever document, once the caches hold what they can hold."""
    half = len(mine.job.anywhere) // 2
    calls = checked(mine.job.anywhere, lambda one: asked(mine.point, one, described), seconds=600)
    times = []
    for call in calls[:half] + random.Random(scale_set.SEED).sample(calls[half:], len(calls) - half):
        begun = _now()
        call()
        times.append(_now() - begun)
    return times[half:]


def ours(count: int, seconds: float, jobs: Sequence[tuple[Path, Path]]) -> None:
    """Every size in one process, so that the sizes of one round are of the same minute."""
    described = slices()
    found = [prepared(read(job), folder, described) for job, folder in jobs]
    gc.freeze()  # as `authz serve` does once its policies are loaded
    for mine in found:
        if mine.job.cold:
            say("cold", size=mine.job.size, **figures(once(mine, described)))
    for _ in range(count):
        for mine in found:
            say("round", size=mine.job.size, **figures(timed(mine.calls, seconds=seconds)))
    for mine in found:
        if mine.job.anywhere:
            say("anywhere", size=mine.job.size, **figures(anywhere(mine, described)))


# --- the engine alone --------------------------------------------------------------------------------------


def engine(count: int, seconds: float, file: Path) -> None:
    """`cedarpy.is_authorized` over one handle of all policies. Its answers confirm those that the job expects."""
    job = read(file)
    found = list(scale_set.policies(job.size))
    positions = [id for id, _ in found]
    text = scale_set.text(found)
    begun = time.monotonic()
    policies = cedarpy.PolicySet.from_str(text)
    say("ready", seconds=time.monotonic() - begun)
    handles = entity_handles()

    def ask(one: Question) -> Ask:
        asking, entities = request(one), handles[one.user]
        return lambda: answer(cedarpy.is_authorized(asking, policies, entities), positions)

    right = job.hot[: len(checked(job.hot, ask, seconds=seconds))]
    # Timed without the translation of ids that the check needs.
    rounds([_bare(request(one), policies, handles[one.user]) for one in right], count=count, seconds=seconds)


def _bare(
    asking: dict[str, object], policies: cedarpy.PolicySet, entities: cedarpy.Entities
) -> Callable[[], cedarpy.AuthzResult]:
    return lambda: cedarpy.is_authorized(asking, policies, entities)


def main(kind: str, count: str, seconds: str, *rest: str) -> None:
    """Runs one contender."""
    if kind == "cedarpy":
        engine(int(count), float(seconds), Path(rest[0]))
        return
    pairs = [(Path(job), Path(folder)) for job, _, folder in (one.partition("=") for one in rest)]
    ours(int(count), float(seconds), pairs)


if __name__ == "__main__":
    main(*sys.argv[1:])
