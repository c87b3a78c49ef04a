"""The page about testing policies tells the truth: its examples are run, its tables name every key."""

import re
import shutil
from pathlib import Path
from typing import Any

import pytest

from authz.devtools.case_file import CaseShape, ExpectShape, FileShape, IssuerSettings, RequestShape
from authz.devtools.case_report import format_report
from authz.devtools.cases import run_cases

REPOSITORY = Path(__file__).resolve().parents[2]
PAGE = (REPOSITORY / "docs" / "testing-policies.md").read_text(encoding="utf-8")
BLOCKS: list[tuple[str, str]] = re.findall(r"^```(\w+)\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)
FAILS = "# fails\n"
PASSING = [text for kind, text in BLOCKS if kind == "yaml" and not text.startswith(FAILS)]


@pytest.fixture
def application(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The sample application without its cases, at the path that the page names."""
    shutil.copytree(REPOSITORY / "policies" / "documents", tmp_path / "policies" / "documents")
    shutil.rmtree(tmp_path / "policies" / "documents" / "cases")
    (tmp_path / "policies" / "documents" / "cases").mkdir()
    monkeypatch.chdir(tmp_path)
    return Path("policies/documents")


def test_the_page_has_examples() -> None:
    assert len(PASSING) >= 3


@pytest.mark.parametrize("text", PASSING)
async def test_an_example_passes(application: Path, text: str) -> None:
    (application / "cases" / "example.yaml").write_text(text, encoding="utf-8")
    report = await run_cases([application])
    assert (report.problems, report.failed) == ((), ())
    assert report.results


async def test_the_example_that_fails_is_told_as_the_page_says(application: Path) -> None:
    [text] = [text for kind, text in BLOCKS if kind == "yaml" and text.startswith(FAILS)]
    [expected] = [text for kind, text in BLOCKS if kind == "text"]
    file = application / "cases" / "example.yaml"
    file.write_text(text, encoding="utf-8")
    assert format_report(await run_cases([file])) == expected


async def test_the_example_in_python_passes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(REPOSITORY)
    [text] = [text for kind, text in BLOCKS if kind == "python"]
    names: dict[str, Any] = {}
    exec(compile(text, "docs/testing-policies.md", "exec"), names)
    await names["test_policies"]()


def test_the_page_names_every_key() -> None:
    shapes = (FileShape, CaseShape, RequestShape, ExpectShape, IssuerSettings)
    keys = {name for shape in shapes for name in shape.model_fields} - {"name", "cases"}
    assert keys - set(re.findall(r"`([a-z_]+)`", PAGE)) == set()
