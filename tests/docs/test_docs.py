"""The pages lead somewhere: links, and files, tests, targets and reason codes by their names."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from authz.core.errors import Reason
from tests.docs.pages import CODE, PAGES, ROOT, page_name, prose, text_of


def anchors(page: Path) -> set[str]:
    """What the headings of a page are linked by."""
    heads = re.findall(r"^#+ (.+)$", prose(page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", head.lower()).replace(" ", "-") for head in heads}


@pytest.mark.parametrize("page", PAGES, ids=page_name)
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8")):
        if "://" in target:
            continue
        name, _, anchor = target.partition("#")
        there = (page.parent / name).resolve() if name else page
        assert there.is_relative_to(ROOT), target
        assert there.exists(), target
        assert not anchor or anchor in anchors(there), target


def test_every_page_can_be_found() -> None:
    linked = {
        (page.parent / target.partition("#")[0]).resolve()
        for page in PAGES
        for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8"))
        if "://" not in target
    }
    assert [page.name for page in PAGES if page.name != "README.md" and page not in linked] == []


@pytest.mark.parametrize("page", PAGES, ids=page_name)
def test_files_and_tests_that_are_named_exist(page: Path) -> None:
    for name in CODE.findall(prose(page)):
        if re.fullmatch(r"(?:authz|tests|docs|envoy|bench|scripts|requirements|policies/documents)/[\w./-]*", name):
            assert (ROOT / name).exists(), name
    named = {name for name in CODE.findall(prose(page)) if re.fullmatch(r"test_\w+", name)}
    assert named - known_tests() == set()


def known_tests() -> set[str]:
    return {
        name
        for file in (ROOT / "tests").rglob("test_*.py")
        for name in re.findall(r"^ *(?:async )?def (test_\w+)", file.read_text(encoding="utf-8"), re.MULTILINE)
    }


@pytest.mark.parametrize("page", PAGES, ids=page_name)
def test_make_targets_that_are_named_exist(page: Path) -> None:
    targets = set(re.findall(r"^([a-z-]+):", text_of("Makefile"), re.MULTILINE))
    folders = {f"test-{folder.name}" for folder in (ROOT / "tests").iterdir() if folder.is_dir()}
    named = re.findall(r"(?:`|^ {4})make (?:[A-Z]+=\S+ )?([a-z-]+)", page.read_text(encoding="utf-8"), re.MULTILINE)
    assert set(named) - targets - folders == set()


def test_the_readmes_first_screen_has_both_commands_and_the_outcomes() -> None:
    screen = "\n".join(text_of("README.md").splitlines()[:40])
    for word in ("make demo", "make test", "200 ", "401 ", "403 ", "policy_forbid", "policy_no_permit", "Bearer realm"):
        assert word in screen


@pytest.mark.parametrize("page", PAGES, ids=page_name)
def test_no_page_names_a_reason_code_that_there_is_not(page: Path) -> None:
    pattern = r"(?:token|policy|bad|no)_[a-z_]+|[a-z]+_unavailable"
    others = {"token_use", "token_bytes", "token_cache", "policy_set", "policy_errors"}
    others |= {"policy_errors_omitted", "policy_set_age_seconds", "policy_names", "policy_store", "policy_bytes"}
    named = {name for name in CODE.findall(prose(page)) if re.fullmatch(pattern, name)}
    assert named - {reason.value for reason in Reason} - others == set()
