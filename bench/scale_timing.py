"""Times one contender's calls, bounded. Standard library only: the peers run it in an environment of their own.

A contender runs in a process of its own and prints one JSON object a line: `{"ready": …}` when its policies are
loaded, `{"round": …}` for each round, so that one that is stopped for being slow has still told how far it came.
"""

from __future__ import annotations

import itertools
import json
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from bench.scale_set import Job, Question

LEAST = 20
"""Questions that are checked, and calls that are timed, however slow each is."""
Ask = Callable[[], tuple[bool, Sequence[str] | None]]
"""Asks one question, made ready before: the answer with its determining policies, None where these are not told."""
_now = time.perf_counter_ns


class Wrong(Exception):
    """An answer is not that of Cedar's engine."""


def say(kind: str, **facts: Any) -> None:
    """A line for whoever started this."""
    print(json.dumps({kind: facts}), flush=True)


def read(file: Path) -> Job:
    """A job as `write` left it."""
    found = json.loads(file.read_text(encoding="utf-8"))
    kinds = {name: [Question(**one) for one in found[name]] for name in ("hot", "cold", "anywhere")}
    return Job(size=found["size"], **kinds)


def write(file: Path, job: Job) -> None:
    file.write_text(json.dumps(asdict(job)), encoding="utf-8")


def check(question: Question, answer: tuple[bool, Sequence[str] | None]) -> None:
    """Raises Wrong unless the answer is the expected one."""
    allowed, reasons = answer
    told = question.reasons if reasons is None else reasons
    if allowed is not question.allowed or sorted(told) != sorted(question.reasons):
        wanted = "allow" if question.allowed else "deny"
        raise Wrong(f"{question}: expected {wanted}, got {allowed} by {', '.join(reasons or ()) or '?'}")


def checked(questions: Sequence[Question], ask: Callable[[Question], Ask], *, seconds: float) -> list[Ask]:
    """The questions made ready, each asked once and its answer checked; as many as can be in `seconds`, some at least.

    Raises:
        Wrong: an answer is not the expected one.
    """
    until = time.monotonic() + seconds
    found: list[Ask] = []
    for question in questions:
        if len(found) >= LEAST and time.monotonic() > until:
            break
        call = ask(question)
        check(question, call())
        found.append(call)
    return found


def timed(calls: Sequence[Callable[[], object]], *, seconds: float) -> list[int]:
    """Nanoseconds of each call, going round and round for `seconds`; some calls at least."""
    until = time.monotonic() + seconds
    times: list[int] = []
    for call in itertools.cycle(calls):
        begun = _now()
        call()
        times.append(_now() - begun)
        if len(times) >= LEAST and time.monotonic() > until:
            return times
    return times


def figures(times: Sequence[int]) -> Mapping[str, float]:
    """Median and 99th percentile in microseconds, and calls a second."""
    ordered = sorted(times)
    return {
        "median": statistics.median(ordered) / 1000,
        "p99": ordered[min(len(ordered) - 1, len(ordered) * 99 // 100)] / 1000,
        "rate": len(ordered) / (sum(ordered) / 1e9),
        "calls": len(ordered),
    }


def rounds(calls: Sequence[Callable[[], object]], *, count: int, seconds: float) -> None:
    """Times the calls and tells of each round."""
    for _ in range(count):
        say("round", **figures(timed(calls, seconds=seconds)))
