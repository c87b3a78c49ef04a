"""The page on policies: its example is a whole application, and its tables are what that application answers."""

from __future__ import annotations

import json
import re
from collections.abc import Collection
from pathlib import Path
from typing import Any

import pytest
import yaml

from authz.config.policies import PoliciesShape
from authz.config.shape import LimitsShape
from authz.core.cedar_depth import MAX_CHAIN, MAX_DEPTH
from authz.core.cedar_text import MAX_STATEMENT_BYTES
from authz.core.errors import Reason, Unavailable
from authz.core.model import Decision, Entity, EntitySlice, EntityUid, Query, Value
from authz.pdp.cedar import CedarDecisionPoint, CedarSettings
from authz.pdp.compiled import CompiledPolicies, compile_snapshot
from authz.stores.file import MAX_FILE, FileStore
from tests.docs.pages import CODE, DOCS, blocks, rows, text_of

PAGE = DOCS / "policies.md"
NAME = "docs/policies.md"
ALONE = {"condition.cedar", "scope.cedar"}
"""Examples that stand apart from the application."""


def texts(kind: str) -> list[str]:
    return [str(block.values[0]) for block in blocks(kind, PAGE)]


def files() -> dict[str, str]:
    """File name → content, of the application and of what stands apart."""
    found = {text.partition("\n")[0].removeprefix("// "): text for text in texts("cedar")}
    for text in texts("json"):
        data = json.loads(text)
        if isinstance(data, list):
            found["entities.json" if "uid" in data[0] else "links.json"] = text
    return found


def compiled(folder: Path, *, without: Collection[str] = (), **more: str) -> CompiledPolicies:
    for name, text in ({name: text for name, text in files().items() if name not in without} | more).items():
        (folder / name).write_text(text, encoding="utf-8")
    return compile_snapshot(FileStore(path=folder).read())


@pytest.fixture
def application(tmp_path):
    return compiled(tmp_path, without=ALONE)


def asked(who: str, action: str, note: str, **claims: Value) -> Query:
    """As a route would ask: only who is in no file brings a group, for the others' tokens need none."""
    uid = EntityUid("Notes::User", who)
    groups = frozenset({EntityUid("Notes::Team", "editors")}) if who == "dave" else frozenset()
    given = EntitySlice(entities=(Entity(uid=uid, parents=groups), *(Entity(uid=group) for group in groups)))
    return Query(
        principal=uid,
        action=EntityUid("Notes::Action", action),
        resource=EntityUid("Notes::Note", note),
        context={"token": claims} if claims else {},
        entities=(given,),
    )


def table(heading: str) -> list[list[str]]:
    return rows(NAME, heading, 5)


def plain(cell: str) -> str:
    found = CODE.findall(cell)
    return found[0] if found else cell


def test_the_application_has_every_kind_of_file(application):
    assert sorted(set(files()) - ALONE) == [
        "entities.json", "links.json", "notes.cedar", "schema.cedarschema", "sharing.cedar",
    ]  # fmt: skip
    assert len(application.rows) == 4


@pytest.mark.parametrize("row", table("What comes of it"), ids=lambda row: " ".join(row[:3]))
async def test_the_application_answers_as_the_page_says(application, row):
    who, action, note, answer, policy = map(plain, row)
    decision = await CedarDecisionPoint(application).decide(asked(who, action, note))
    assert answer == {"allow": "allowed", "deny": "denied"}[decision.verdict]
    assert decision.policies == ((policy,) if policy else ())


@pytest.mark.parametrize(
    "row", [row for row in table("Lenient and strict") if len(row) == 3][2:], ids=lambda row: row[0]
)
async def test_each_setting_does_what_the_page_says(application, row):
    setting, answer, reason = map(plain, row)
    shape = PoliciesShape.model_validate({"path": "p"} | (yaml.safe_load(setting) if ":" in setting else {}))
    settings = CedarSettings(
        on_forbid_error=shape.on_forbid_error,
        validate_requests=shape.validate_requests,
        validate_entities=shape.validate_entities,
    )
    found: Decision | Unavailable
    try:
        found = await CedarDecisionPoint(application, settings).decide(asked("dave", "Read", "roadmap"))
    except Unavailable as error:
        found = error
    if answer == "allowed":
        assert isinstance(found, Decision)
        assert (found.verdict.value, reason) == ("allow", "allowed")
        assert [error.policy_id for error in found.errors] == ["above-clearance"]
    else:
        assert isinstance(found, Unavailable)
        assert (answer, found.reason.value) == ("failed", reason)


def test_both_strict_settings_are_told_with_their_reasons():
    told = {plain(row[0]): plain(row[2]) for row in table("Lenient and strict")[:2]}
    assert told == {"validate_requests": Reason.DECISION_UNAVAILABLE, "validate_entities": Reason.ENTITIES_MISMATCH}


async def test_what_was_left_out_is_what_the_page_says(application):
    [told] = [data for text in texts("json") if isinstance(data := json.loads(text), dict)]
    point = CedarDecisionPoint(application, CedarSettings(tell_left_out=True))
    decision = await point.decide(asked("ann", "Read", "merger", scope=("notes",), iat=1, jti="x"))
    assert list(decision.left_out) == told["left_out"]


async def test_a_scope_is_a_candidate_for_less_than_a_condition(tmp_path):
    both = compiled(tmp_path, without=set(files()) - ALONE - {"schema.cedarschema", "entities.json"})
    assert [row.id for row in both.index.unscoped()] == ["by-condition"]
    one, other = CedarDecisionPoint(both), CedarDecisionPoint(both, CedarSettings(max_candidates=1))
    assert (await one.decide(asked("ann", "Read", "roadmap"))).policies == ("by-condition", "by-scope")
    assert (await other.decide(asked("ann", "Read", "merger"))).policies == ()
    with pytest.raises(Unavailable):
        await other.decide(asked("ann", "Read", "roadmap"))


def test_a_policy_without_an_id_is_called_by_its_place(tmp_path):
    (tmp_path / "notes.cedar").write_text(re.sub(r"@id\(.*\)\n", "", files()["notes.cedar"]))
    assert "notes.cedar#2" in {policy.id for policy in FileStore(path=tmp_path).read().policies}


def test_the_limits_are_those_of_the_configuration():
    told = {plain(row[0]): (row[1], plain(row[3])) for row in table("Limits")}
    expected: dict[str, Any] = {
        f"limits.{name}": (f"{getattr(LimitsShape(), name):,}", f"too_many_{name}")
        for name in ("candidates", "entities", "ancestors")
    }
    assert told == expected
    text = " ".join(text_of(NAME).split())
    for number in (f"{MAX_STATEMENT_BYTES:,} bytes", f"{MAX_DEPTH} brackets", f"{MAX_CHAIN} operators"):
        assert number in text
    assert f"{MAX_FILE // 2**20} MiB" in text
