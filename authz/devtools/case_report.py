"""What became of the cases: results, coverage, and the text that says so."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from authz.core.errors import Problem

PASSED, FAILED, UNREADABLE = 0, 1, 2
"""Exit codes: all is as expected; a case (or the coverage asked for) is not; nothing could be run."""

NONE = "(none)"
_INDENT = " " * 6
_RED, _GREEN, _DIM, _BOLD, _PLAIN = "\x1b[31m", "\x1b[32m", "\x1b[2m", "\x1b[1m", "\x1b[0m"


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """One thing that was not as expected."""

    field: str
    expected: str
    actual: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CaseResult:
    """What came of one case."""

    name: str
    file: str
    line: int | None
    differences: tuple[Difference, ...] = ()
    asked: tuple[str, ...] = ()
    """Cedar's question, the route that made it, its context; empty where none was asked."""
    hints: tuple[str, ...] = ()
    """What helps to understand the differences; empty where there are none."""
    route: str = ""
    """Name of the route that covered the request."""
    policies: tuple[str, ...] = ()
    """The determining policies."""
    seconds: float = 0.0
    """How long it took."""

    @property
    def passed(self) -> bool:
        """Was everything as expected?"""
        return not self.differences


@dataclass(frozen=True, slots=True, kw_only=True)
class Uncovered:
    """A policy that decided no case, or a route that no case asked for."""

    kind: str
    """`policy` or `route`."""
    name: str
    file: str
    line: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Coverage:
    """What the cases of one application leave unseen."""

    application: str
    whole: bool
    """Were all of its cases run?"""
    uncovered: tuple[Uncovered, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """The results of a run, or the problems for which there was none."""

    results: tuple[CaseResult, ...] = ()
    coverage: tuple[Coverage, ...] = ()
    problems: tuple[Problem, ...] = ()
    """With one of severity `error` nothing was run."""

    @property
    def unreadable(self) -> bool:
        """Could nothing be run?"""
        return any(problem.severity == "error" for problem in self.problems)

    @property
    def failed(self) -> tuple[CaseResult, ...]:
        """The cases that were not as expected."""
        return tuple(result for result in self.results if not result.passed)

    @property
    def covered(self) -> bool:
        """Did every policy decide a case, and every route cover one?"""
        return not any(coverage.uncovered for coverage in self.coverage)

    def exit_code(self, *, require_coverage: bool = False) -> int:
        """0, 1 or 2; see `PASSED` and its like."""
        if self.unreadable:
            return UNREADABLE
        return FAILED if self.failed or (require_coverage and not self.covered) else PASSED


def format_report(report: Report, *, color: bool = False, require_coverage: bool = False) -> str:
    """The report as text for people, with a line end at its end."""
    paint = _Paint(enabled=color)
    lines = [paint.problem(problem) for problem in report.problems]
    if report.unreadable:
        errors = sum(problem.severity == "error" for problem in report.problems)
        lines.append(paint(_RED, f"{_counted(errors, 'problem')}: no case was run"))
        return "\n".join(lines) + "\n"
    for result in report.failed:
        lines += [*_failure(result, paint), ""]
    for coverage in report.coverage:
        if coverage.whole or require_coverage:
            lines.extend(_uncovered(coverage, paint, required=require_coverage))
    failed = len(report.failed)
    text = f"{len(report.results) - failed} passed, {failed} failed"
    if require_coverage and not report.covered:
        text += ", coverage incomplete"
    good = report.exit_code(require_coverage=require_coverage) == PASSED
    lines.append(paint(_GREEN if good else _RED, text))
    return "\n".join(lines) + "\n"


def failure_lines(result: CaseResult) -> tuple[str, ...]:
    """A failed case as plain lines."""
    return tuple(_failure(result, _Paint(enabled=False)))


def uncovered_lines(coverage: Coverage) -> tuple[str, ...]:
    """What is not covered as plain lines."""
    return tuple(line for line in _uncovered(coverage, _Paint(enabled=False), required=True) if line)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Paint:
    enabled: bool

    def __call__(self, code: str, text: str) -> str:
        return f"{code}{text}{_PLAIN}" if self.enabled else text

    def problem(self, problem: Problem) -> str:
        return str(problem) if problem.severity == "warning" else self(_RED, str(problem))


def _failure(result: CaseResult, paint: _Paint) -> Iterator[str]:
    place = result.file + (f":{result.line}" if result.line is not None else "")
    yield f"{paint(_BOLD + _RED, 'FAIL')}  {place}  {paint(_BOLD, result.name)}"
    for difference in result.differences:
        yield f"{_INDENT}{difference.field:<10} expected  {paint(_GREEN, difference.expected)}"
        yield f"{_INDENT}{'':<10} got       {paint(_RED, difference.actual)}"
    for position, line in enumerate(result.asked):
        yield paint(_DIM, f"{_INDENT}{'' if position else 'asked':<10} {' '.join(line.split())}")
    for hint in result.hints:
        yield f"{_INDENT}{'hint':<10} {' '.join(hint.split())}"


def _uncovered(coverage: Coverage, paint: _Paint, *, required: bool) -> Iterator[str]:
    word = paint(_BOLD + _RED, "FAIL") if required else "hint"
    for kind, said in (("policy", "decided no case"), ("route", "covered no case")):
        found = [item for item in coverage.uncovered if item.kind == kind]
        if found:
            yield f"{word}  {coverage.application}: {_counted(len(found), kind)} {said}"
            yield from (f"{_INDENT}{line}" for line in _table(found))
            yield ""


def _table(items: Iterable[Uncovered]) -> Iterator[str]:
    rows = [(item.name, item.file + (f":{item.line}" if item.line is not None else "")) for item in items]
    width = max(len(name) for name, _ in rows)
    return (f"{name:<{width}}  {place}".rstrip() for name, place in rows)


def _counted(number: int, noun: str) -> str:
    plural = noun[:-1] + "ies" if noun.endswith("y") else f"{noun}s"
    return f"{number} {noun if number == 1 else plural}"
