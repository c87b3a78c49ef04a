"""The sample application `policies/documents` is sound before any request is made.

What each request then comes to is said by its `cases/*.yaml`; here it is held that the files fit each
other, and that the cases leave no policy unseen.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import cedarpy
import pytest
import yaml
from cedarpy import pst

APPLICATION = Path(__file__).resolve().parents[2] / "policies" / "documents"
POLICY_FILES = sorted(APPLICATION.glob("*.cedar"))
CASE_FILES = sorted(APPLICATION.glob("cases/*.yaml"))

Case = Mapping[str, Any]


def schema() -> str:
    return (APPLICATION / "schema.cedarschema").read_text(encoding="utf-8")


def policies() -> list[pst.Template]:
    """Every statement of every file, in order, with its annotations."""
    texts = (path.read_text(encoding="utf-8") for path in POLICY_FILES)
    return [policy for text in texts for policy in cedarpy.policies_to_pst(text).static_policies.values()]


def ids_by_effect(effect: str) -> set[str]:
    return {policy.annotations["id"] for policy in policies() if policy.effect == effect}


def entities() -> list[dict[str, Any]]:
    loaded: list[dict[str, Any]] = json.loads((APPLICATION / "entities.json").read_text(encoding="utf-8"))
    return loaded


def cases() -> list[Case]:
    return [case for path in CASE_FILES for case in yaml.safe_load(path.read_text(encoding="utf-8"))["cases"]]


def uid(entity: Mapping[str, Any]) -> tuple[str, str]:
    return entity["uid"]["type"], entity["uid"]["id"]


@pytest.mark.parametrize("path", POLICY_FILES, ids=lambda path: path.name)
def test_policies_validate_against_the_schema(path: Path) -> None:
    result = cedarpy.validate_policies(path.read_text(encoding="utf-8"), schema())
    assert [error.error for error in result.errors] == []
    assert result.validation_passed


def test_every_policy_has_an_id_of_its_own_in_kebab_case() -> None:
    counted = Counter(policy.annotations.get("id") or "" for policy in policies())
    assert {name: count for name, count in counted.items() if count > 1} == {}
    assert [name for name in counted if not re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", name)] == []


def test_every_forbid_tells_the_caller_why_and_no_permit_does() -> None:
    explained = {policy.annotations["id"] for policy in policies() if policy.annotations.get("deny_message")}
    assert explained == ids_by_effect("forbid")


def test_entities_validate_against_the_schema() -> None:
    loaded = cedarpy.Entities.from_json_str(json.dumps(entities()), schema())
    assert len(loaded) >= len(entities())  # the schema adds the action groups


def test_entities_are_written_once_and_name_only_entities_that_exist() -> None:
    """A parent that is misspelled is no error to Cedar: the hierarchy is just cut there."""
    named = Counter(uid(entity) for entity in entities())
    parents = {(parent["type"], parent["id"]) for entity in entities() for parent in entity["parents"]}
    assert [name for name, count in named.items() if count > 1] == []
    assert parents - named.keys() == set()


@pytest.mark.parametrize("case", cases(), ids=lambda case: case["name"])
def test_the_entities_of_a_case_validate_against_the_schema(case: Case) -> None:
    own = {uid(entity): entity for entity in case.get("entities", [])}
    merged = {uid(entity): entity for entity in entities()} | own
    assert len(cedarpy.Entities.from_json_str(json.dumps(list(merged.values())), schema())) >= len(merged)


def test_every_policy_is_determining_in_a_case() -> None:
    determining = {name for case in cases() for name in case["expect"].get("policies", ())}
    assert determining == ids_by_effect("permit") | ids_by_effect("forbid")


@pytest.mark.parametrize("case", cases(), ids=lambda case: case["name"])
def test_a_case_expects_something_that_can_happen(case: Case) -> None:
    """Permits allow, forbids deny, and what is denied before or without a policy names none."""
    expect = case["expect"]
    named = set(expect.get("policies", ()))
    match expect["outcome"], expect["status"], expect.get("reason"):
        case "allowed", 200, None:
            assert named
            assert named <= ids_by_effect("permit")
        case "denied", 403, "policy_forbid":
            assert named
            assert named <= ids_by_effect("forbid")
        case "denied", 403, "policy_no_permit" | "no_route":
            assert not named
        case "denied", 401, "no_credentials":
            assert not named
            assert "token" not in case
        case unexpected:
            pytest.fail(f"no such outcome: {unexpected}")


def test_case_names_are_unique() -> None:
    counted = Counter(case["name"] for case in cases())
    assert [name for name, count in counted.items() if count > 1] == []


def test_the_page_about_the_application_names_every_policy() -> None:
    page = (APPLICATION / "README.md").read_text(encoding="utf-8")
    assert {f"`{policy.annotations['id']}`" for policy in policies()} <= set(re.findall(r"`[^`\n]+`", page))
