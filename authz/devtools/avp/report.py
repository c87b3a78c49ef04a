"""A plan as text for people and as JSON, and what became of a push."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator

from authz.core.errors import Problem
from authz.devtools.avp.advice import advice_on
from authz.devtools.avp.apply import Result
from authz.devtools.avp.content import Store
from authz.devtools.avp.plan import Plan
from authz.devtools.avp.steps import Step
from authz.devtools.avp.units import Action, Unit

_DONE = {
    Action.CREATE: "to create",
    Action.UPDATE: "to update",
    Action.REPLACE: "to replace",
    Action.RENAME: "to rename",
    Action.DELETE: "to delete",
}


def safe(text: str) -> str:
    """Text from elsewhere, on one line: no new line, terminal sequence or turn of direction comes of it."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def plan_text(plan: Plan, store: Store, folder: str, rate: float) -> str:
    """A plan for people, with a line end at its end."""
    where = f"policy store {store.id}" if store.id else "a new policy store"
    mode = "STRICT" if store.strict else "OFF"
    lines = [f"{folder} → {where} ({mode})"]
    rows = [_row(unit) for unit in (*plan.changes, *plan.left)]
    widths = [max((len(row[column]) for row in rows), default=0) for column in range(2)]
    for action, what, more in rows:
        lines.append(safe(f"  {action:<{widths[0]}}  {what:<{widths[1]}}  {more}".rstrip()))
    lines.append(_summary(plan, rate))
    return "\n".join(lines) + "\n"


def _row(unit: Unit) -> tuple[str, str, str]:
    more = "only in the store; `--delete` removes it" if unit.action is Action.LEFT else ""
    said = "; ".join(filter(None, (unit.place, unit.detail, more)))
    return unit.action.value, f"{unit.kind} {unit.shown}".rstrip(), said


def _summary(plan: Plan, rate: float) -> str:
    counts = Counter(unit.action for unit in plan.units)
    parts = [f"{counts[action]} {words}" for action, words in _DONE.items() if counts[action]]
    if not parts:
        parts = ["nothing to do"]
    parts.append(f"{counts[Action.UNCHANGED]} unchanged")
    if counts[Action.LEFT]:
        parts.append(f"{counts[Action.LEFT]} left")
    calls = len(plan.steps)
    if calls:
        parts.append(f"{calls} call{'s' if calls > 1 else ''}, about {max(1, round(calls / rate))} s")
    return "; ".join(parts)


def plan_json(plan: Plan, store: Store, folder: str) -> str:
    """A plan for programs."""
    counts = Counter(unit.action for unit in plan.units)
    data = {
        "policyStoreId": store.id,
        "validationMode": "STRICT" if store.strict else "OFF",
        "folder": folder,
        "changes": [_unit_json(unit) for unit in plan.changes],
        "left": [_unit_json(unit) for unit in plan.left],
        "unchanged": counts[Action.UNCHANGED],
        "calls": [step.about for step in plan.steps],
        "problems": [_problem_json(problem) for problem in plan.problems],
    }
    return json.dumps(data, indent=2)


def _unit_json(unit: Unit) -> dict[str, object]:
    wanted, held = unit.wanted, unit.held
    return {
        "action": unit.action.value,
        "kind": unit.kind.value,
        "name": unit.name,
        "policyId": held.id if held is not None else None,
        "id": wanted.id if wanted is not None else None,
        "file": (wanted.file if wanted is not None else unit.file) or None,
        "line": wanted.line if wanted is not None else None,
        "detail": unit.detail,
    }


def _problem_json(problem: Problem) -> dict[str, object]:
    return {
        "file": problem.file,
        "line": problem.line,
        "severity": problem.severity,
        "message": problem.message,
    }


def step_text(step: Step) -> str:
    """One call, and where what it is for stands."""
    place = f" ({step.file}{f':{step.line}' if step.line is not None else ''})" if step.file else ""
    return safe(f"{step.about}{place}")


def stopped_text(result: Result, again: str) -> str:
    """Where a push stopped: what was done, what was not, and how to go on.

    Args:
        result: of the push.
        again: what to give on the command line to go on.
    """
    assert result.failed is not None
    assert result.error is not None
    lines = [f"stopped at: {step_text(result.failed)}", f"  {safe(str(result.error))}"]
    lines += [f"  {safe(f'{path}: {message}' if path else message)}" for path, message in result.error.details]
    advice = advice_on(result.error)
    lines += [f"  {advice}"] if advice else []
    lines += _accounts(result.applied, result.failed, result.rest, doubtful=result.doubtful)
    lines.append(f"Mend what stopped it, then push again{again}: it goes on from here, and does nothing twice.")
    return "\n".join(lines) + "\n"


def interrupted_text(applied: Iterable[Step], doubtful: Step | None, rest: Iterable[Step], again: str) -> str:
    """As `stopped_text`, for a push that somebody interrupted."""
    lines = [f"interrupted at: {step_text(doubtful)}" if doubtful else "interrupted"]
    lines += _accounts(applied, doubtful, rest, doubtful=True)
    lines.append(f"Push again{again}: it goes on from here, and does nothing twice.")
    return "\n".join(lines) + "\n"


def _accounts(applied: Iterable[Step], last: Step | None, rest: Iterable[Step], *, doubtful: bool) -> Iterator[str]:
    """What was done, what is not known, and what was not done.

    Args:
        applied: calls that were answered.
        last: the one that was begun and not answered as it should.
        rest: not begun.
        doubtful: whether the last may have been carried out all the same.
    """
    begun = (last,) if last is not None else ()
    if doubtful and begun:
        yield "  this call may or may not have been carried out; the next push will see"
        yield from _listed("done", applied)
        yield from _listed("done or not done", begun)
        yield from _listed("not done", rest)
    else:
        yield from _listed("done", applied)
        yield from _listed("not done", (*begun, *rest))


def _listed(title: str, steps: Iterable[Step]) -> Iterator[str]:
    found = list(steps)
    yield f"{title}: {len(found) or 'nothing'}"
    yield from (f"  {step_text(step)}" for step in found)
