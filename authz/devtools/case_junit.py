"""The report of `authz test` as JUnit XML, for the pages on which GitLab, Jenkins and GitHub's reporters show it.

There is no standard; what is written here is what the readers of Jenkins (junit plugin), GitLab (`junit` reports)
and pytest's own `xunit2` have in common, and nothing else.
"""

from __future__ import annotations

import os
import re
import secrets
from collections.abc import Iterable, Mapping
from pathlib import Path
from xml.etree import ElementTree as ET

from authz.core.errors import Problem
from authz.devtools.case_report import CaseResult, Coverage, Report, failure_lines, uncovered_lines

_NAME = "authz test"
_COVERAGE = "every policy decides a case, and every route covers one"
# XML 1.0, 2.2 (Char). Not \r: parsers turn it into \n. Such a character cannot be written, not even as a reference.
_NO_XML = re.compile("[^\t\n\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def junit(report: Report, *, require_coverage: bool = False) -> bytes:
    """The report as an XML document in UTF-8.

    A suite is a case file; a case that came out otherwise is a `failure`. Where nothing could be run, each file with
    problems is a suite of one `error`. With `require_coverage` each application is a suite of one more test.
    Names are those of files and cases, so that a reader can compare runs.
    """
    root = ET.Element("testsuites", name=_NAME)
    if report.unreadable:
        for file, problems in _by_file(report.problems).items():
            _unreadable(root, file, problems)
    else:
        for file, results in _results_by_file(report.results).items():
            suite = _suite(root, file)
            for result in results:
                _case(suite, result)
        if require_coverage:
            for coverage in report.coverage:
                _coverage(root, coverage)
    _count(root)
    ET.indent(root)
    text: str = ET.tostring(root, encoding="unicode")
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{text}\n'.encode()


def write_whole(path: Path, content: bytes) -> None:
    """Writes a file so that a reader sees all of it or the one before. Raises OSError.

    What is no plain file (`/dev/fd/3`, a pipe) is written to, not replaced.
    """
    target = path.resolve()  # a link stays one
    if target.exists() and not target.is_file():
        target.write_bytes(content)
        return
    beside = target.with_name(f".{target.name}.{secrets.token_hex(4)}")
    try:
        with beside.open("xb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        beside.replace(target)
    finally:
        beside.unlink(missing_ok=True)


def printable(text: str) -> str:
    r"""A text without the characters that XML 1.0 cannot say; these become `\x1b`, `\ud800` and their like."""
    return _NO_XML.sub(lambda match: ascii(match[0])[1:-1], text)


# --- suites and cases -------------------------------------------------------------------------------------


def _suite(root: ET.Element, name: str) -> ET.Element:
    return ET.SubElement(root, "testsuite", name=printable(name))


def _test(suite: ET.Element, group: str, name: str, *, file: str = "", line: int | None = None) -> ET.Element:
    attributes = {"classname": printable(_dotted(group)), "name": printable(name)}
    if file:
        attributes["file"] = printable(_shown(file))
    if line is not None:
        attributes["line"] = str(line)
    return ET.SubElement(suite, "testcase", attributes, time="0.000")


def _case(suite: ET.Element, result: CaseResult) -> None:
    test = _test(suite, _shown(result.file), result.name, file=result.file, line=result.line)
    test.set("time", f"{result.seconds:.3f}")
    told = {"route": result.route, "policies": ", ".join(sorted(result.policies))}
    _properties(test, {name: value for name, value in told.items() if value})
    if not result.passed:
        first, *more = result.differences
        message = f"{first.field}: expected {first.expected}, got {first.actual}"
        _ended(test, "failure", message + (f" (and {len(more)} more)" if more else ""), failure_lines(result))


def _coverage(root: ET.Element, coverage: Coverage) -> None:
    suite = _suite(root, f"{_shown(coverage.application)}: coverage")
    test = _test(suite, _shown(coverage.application), _COVERAGE)
    if coverage.uncovered:
        message = "not covered: " + ", ".join(f"{item.kind} {item.name}" for item in coverage.uncovered)
        _ended(test, "failure", message, uncovered_lines(coverage))


def _unreadable(root: ET.Element, file: str, problems: list[Problem]) -> None:
    name = _shown(file) if file else _NAME
    suite = _suite(root, name)
    test = _test(suite, name, "can be read", file=file, line=problems[0].line)
    _ended(test, "error", problems[0].message, (str(problem) for problem in problems))


def _ended(test: ET.Element, kind: str, message: str, lines: Iterable[str]) -> None:
    end = ET.SubElement(test, kind, message=printable(message), type=f"authz.{kind}")
    end.text = printable("\n".join(lines))


def _properties(element: ET.Element, values: Mapping[str, str]) -> None:
    if values:
        inside = ET.SubElement(element, "properties")
        for name, value in values.items():
            ET.SubElement(inside, "property", name=name, value=printable(value))


# --- counts and names -------------------------------------------------------------------------------------


def _count(root: ET.Element) -> None:
    """Sets the sums of each suite, and of all."""
    for element in (*root, root):
        tests = list(element.iter("testcase"))
        element.set("tests", str(len(tests)))
        element.set("failures", str(sum(test.find("failure") is not None for test in tests)))
        element.set("errors", str(sum(test.find("error") is not None for test in tests)))
        element.set("skipped", "0")
        element.set("time", f"{sum(float(test.get('time', '0')) for test in tests):.3f}")


def _by_file(problems: Iterable[Problem]) -> dict[str, list[Problem]]:
    found: dict[str, list[Problem]] = {}
    for problem in problems:
        if problem.severity == "error":
            found.setdefault(problem.file, []).append(problem)
    return found


def _results_by_file(results: Iterable[CaseResult]) -> dict[str, list[CaseResult]]:
    found: dict[str, list[CaseResult]] = {}
    for result in results:
        found.setdefault(_shown(result.file), []).append(result)
    return found


def _shown(file: str) -> str:
    """Relative to where the command runs, with forward slashes: a build's folder has another name each time."""
    path = Path(file)
    try:
        return path.resolve().relative_to(Path.cwd().resolve()).as_posix()
    except (ValueError, OSError):
        return path.as_posix()


def _dotted(file: str) -> str:
    """As readers group tests: `policies/documents/cases/reading.yaml` → `policies.documents.cases.reading`."""
    steps = [step for step in Path(file).with_suffix("").parts if step not in {"/", "."}]
    return ".".join(steps) or file
