"""The cases of the sample application hold: each is run through the whole pipeline, with a signed token."""

from __future__ import annotations

import asyncio
import shutil
from pathlib import Path

import pytest
import yaml

from authz.devtools.case_report import CaseResult, Report, format_report
from authz.devtools.cases import run_cases
from authz.devtools.samples import sample

APPLICATION = Path(__file__).resolve().parents[2] / "policies" / "documents"
NAMES = [
    f"{path.stem}: {case['name']}"
    for path in sorted(APPLICATION.glob("cases/*.yaml"))
    for case in yaml.safe_load(path.read_text(encoding="utf-8"))["cases"]
]


@pytest.fixture(scope="module")
def report() -> Report:
    return asyncio.run(run_cases([sample("policies/documents")]))


@pytest.fixture(scope="module")
def results(report: Report) -> dict[str, CaseResult]:
    return {f"{Path(result.file).stem}: {result.name}": result for result in report.results}


@pytest.mark.parametrize("name", NAMES)
def test_case(results: dict[str, CaseResult], name: str) -> None:
    assert results[name].differences == ()


def test_every_case_is_run_and_nothing_is_complained_about(report: Report) -> None:
    assert len(report.results) == len(NAMES)
    assert report.problems == ()


def test_every_policy_decides_a_case_and_every_route_covers_one(report: Report) -> None:
    assert [coverage.uncovered for coverage in report.coverage] == [()]


def edited(folder: Path, file: str, old: str, new: str) -> Path:
    """A copy of the application in which one place reads otherwise."""
    copy = folder / "documents"
    shutil.copytree(APPLICATION, copy)
    text = (copy / file).read_text(encoding="utf-8")
    assert text.count(old) == 1
    (copy / file).write_text(text.replace(old, new), encoding="utf-8")
    return copy


async def test_a_policy_that_permits_more_is_told_by_the_cases(tmp_path: Path) -> None:
    """The page about the application tells of this edit."""
    copy = edited(tmp_path, "reading.cedar", "resource.classification <= 1", "resource.classification <= 2")
    report = await run_cases([copy])
    text = "being an employee, with the clearance, does not open another department's confidential document"
    failed = {result.name: result for result in report.failed}
    assert {difference.field: difference.actual for difference in failed[text].differences} == {
        "outcome": "allowed",
        "status": "200",
        "reason": "allowed",
        "policies": "employee-reads",
    }
    assert f"\n{len(report.results) - len(failed)} passed, {len(failed)} failed\n" in format_report(report)


async def test_a_fact_that_changes_is_told_by_the_cases(tmp_path: Path) -> None:
    copy = edited(tmp_path, "entities.json", '"tags": ["operations"]', '"tags": ["legal-hold"]')
    names = {result.name for result in (await run_cases([copy])).failed}
    assert "a records manager deletes a document of another department" in names
