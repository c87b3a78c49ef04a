"""The pages of documentation, and what is in them: fenced blocks, tables, names in code font."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
PAGES = sorted(
    [*ROOT.glob("*.md"), *DOCS.glob("*.md"), ROOT / "envoy/README.md", ROOT / "policies/documents/README.md"]
)
OWN_TEST = {"testing-policies.md"}
"""Pages whose examples are no configuration, and are run by a test of their own."""
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
CODE = re.compile(r"`([^`\n]+)`")
SECRET = "a secret of more than thirty-two bytes"


def text_of(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def prose(page: Path) -> str:
    """A page without its fenced blocks."""
    return FENCE.sub("", page.read_text(encoding="utf-8"))


def blocks(kind: str, *pages: Path) -> list[Any]:
    """The fenced blocks of a kind, each with a name for the test's report."""
    found = []
    for page in pages or PAGES:
        if page.name in OWN_TEST:
            continue
        content = page.read_text(encoding="utf-8")
        for match in FENCE.finditer(content):
            if match[1] == kind:
                line = content[: match.start()].count("\n") + 1
                found.append(pytest.param(match[2], id=f"{page.relative_to(ROOT)}:{line}"))
    return found


def rows(page: str, heading: str, columns: int) -> list[list[str]]:
    """The cells of the tables below a heading, without the tables' heads."""
    section = re.search(rf"^(#+) {re.escape(heading)}\n(.*?)(?=^\1 |\Z)", text_of(page), re.DOTALL | re.MULTILINE)
    assert section is not None, f"{page} has no heading `{heading}`"
    found: list[list[str]] = []
    lines = [line for line in section[2].splitlines() if line.startswith("|")]
    for number, line in enumerate(lines):
        cells = [cell.strip().replace("\\|", "|") for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
        is_head = number + 1 < len(lines) and set(lines[number + 1]) <= set("|- ")
        if not is_head and not set(line) <= set("|- "):
            found.append(cells[:columns])
    return found


def page_name(page: Path) -> str:
    """For the test's report."""
    return str(page.relative_to(ROOT))
