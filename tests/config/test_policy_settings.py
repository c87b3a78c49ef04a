"""How policies are decided, by setting: what is taken, what is refused with its line, and what each one comes to."""

from __future__ import annotations

import json

import pytest

import authz
from authz.config.load import load_config
from authz.core.errors import Reason
from authz.pdp.cedar import DEFAULTS, CedarDecisionPoint, CedarSettings
from authz.wiring import assemble
from tests.wiring.conftest import CONFIG, POLICIES, ROUTES, App

ANYBODY = '@id("anybody") permit(principal, action, resource);\n@id("reader") permit(principal, action, resource);\n'
LIMITS = {"candidates": "too_many_candidates", "entities": "too_many_entities", "ancestors": "too_many_ancestors"}


@pytest.fixture
def app(tmp_path):
    return App(tmp_path)


def written(app, *, policies="", limits="", level="info"):
    """Rewrites `authz.yaml`; each text is the inside of a flow mapping."""
    config = CONFIG.replace("{path: policies}", f"{{path: policies{', ' if policies else ''}{policies}}}")
    app.write("authz.yaml", config + f"limits: {{{limits}}}\nlog: {{level: {level}}}\n")


def told(app):
    """(line, severity, message) of each problem."""
    return [(problem.line, problem.severity, problem.message) for problem in assemble(app.config).problems]


@pytest.fixture
def seen(monkeypatch):
    """The settings that each decision point of a runtime is made with."""
    found: list[CedarSettings] = []

    def made(compiled, settings, **others):
        found.append(settings)
        return CedarDecisionPoint(compiled, settings, **others)

    monkeypatch.setattr("authz.wiring.deciding.CedarDecisionPoint", made)
    return found


# --- what is taken


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("policies: {path: p, validate_entities: 1}\nlimits: {}", ("policies", "validate_entities")),
        ("policies: {path: p, validate_entities: maybe}\nlimits: {}", ("policies", "validate_entities")),
        *[
            (f"policies: {{path: p}}\nlimits: {{{name}: {value}}}", ("limits", name))
            for name in LIMITS
            for value in ("0", "-1", "1000001", "1.5", "many", "null")
        ],
    ],
)
def test_a_value_that_means_nothing_is_refused_with_its_place(tmp_path, text, place):
    file = tmp_path / "authz.yaml"
    file.write_text(text + "\nroutes: []\n")
    loaded = load_config(file, {})
    assert loaded.config is None
    [problem] = loaded.problems
    assert place[1] in problem.message
    assert problem.line == (1 if place[0] == "policies" else 2)


@pytest.mark.parametrize("name", LIMITS)
@pytest.mark.parametrize("value", [1, 1_000_000])
def test_a_limit_is_a_number_from_one_to_a_million(tmp_path, name, value):
    file = tmp_path / "authz.yaml"
    file.write_text(f"policies: {{path: p}}\nroutes: []\nlimits: {{{name}: {value}}}\n")
    assert getattr(load_config(file, {}).required().shape.limits, name) == value


# --- what does not go with the policies


@pytest.mark.parametrize("name", ["validate_requests", "validate_entities"])
def test_strictness_needs_a_schema(app, name):
    written(app, policies=f"{name}: true")
    assert told(app) == []
    (app.folder / "policies/schema.cedarschema").unlink()
    line = CONFIG.splitlines().index("policies: {path: policies}") + 1
    errors = [each for each in told(app) if each[1] == "error" and name in each[2]]
    message = f"`policies.{name}` needs a schema, and there is none: add one, or leave the setting out"
    assert errors == [(line, "error", message)]
    assert assemble(app.config).assembly is None


def test_without_a_schema_lenient_decisions_are_possible(app):
    (app.folder / "policies/schema.cedarschema").unlink()
    app.edit("authz.yaml", "groups: {type: A::Group}", "groups: {type: A::Group}\n    principal: {type: A::User}")
    assert {severity for _, severity, _ in told(app)} == {"warning"}


def test_strict_entities_and_id_tokens_are_warned_of(app):
    written(app, policies="validate_entities: true")
    app.edit("authz.yaml", "    groups:", "    token: id\n    groups:")
    [(_, severity, message)] = told(app)
    assert severity == "warning"
    assert "ID tokens" in message
    app.edit("authz.yaml", "validate_entities: true", "validate_requests: true")
    assert told(app) == []


def test_more_policies_for_everything_than_candidates_are_warned_of(app):
    app.write("policies/all.cedar", ANYBODY + POLICIES)
    written(app, limits="candidates: 2")
    assert told(app) == []
    written(app, limits="candidates: 1")
    [(line, severity, message)] = told(app)
    assert (line, severity) == (len(CONFIG.splitlines()) + 1, "warning")
    assert "`limits.candidates` is 1, and 2 policies name neither principal nor resource" in message


def test_more_parents_of_a_stored_entity_than_ancestors_are_warned_of(app):
    groups = [{"type": "A::Group", "id": f"g{number}"} for number in range(3)]
    stored = [{"uid": {"type": "A::User", "id": "ann"}, "attrs": {}, "parents": groups}]
    app.write("policies/entities.json", json.dumps(stored))
    written(app, limits="ancestors: 3")
    assert told(app) == []
    written(app, limits="ancestors: 2")
    [(_, severity, message)] = told(app)
    assert severity == "warning"
    assert '`limits.ancestors` is 2, and `A::User::"ann"` has 3 parents' in message


# --- what each setting comes to


async def test_the_defaults_are_those_of_the_decision_point(app, seen):
    async with authz.connect(app.config, watch=False, sinks=()):
        assert seen == [DEFAULTS]


async def test_each_setting_reaches_the_decision_point(app, seen):
    policies = "on_forbid_error: fail, validate_requests: true, validate_entities: true, max_age: 1h"
    written(app, policies=policies, limits="candidates: 11, entities: 12, ancestors: 13", level="debug")
    async with authz.connect(app.config, watch=False, sinks=()):
        expected = CedarSettings(
            on_forbid_error="fail",
            validate_requests=True,
            validate_entities=True,
            max_candidates=11,
            max_entities=12,
            max_ancestors=13,
            tell_left_out=True,
            max_age=3600.0,
        )
        assert seen == [expected]


async def test_a_reload_brings_new_limits_but_not_another_level(app, seen):
    async with authz.connect(app.config, watch=False, sinks=()) as az:
        written(app, policies="validate_entities: true", limits="candidates: 11", level="debug")
        assert await az.reload()
    assert seen[-1] == CedarSettings(validate_entities=True, max_candidates=11)


async def asked(az, app, **claims):
    request = authz.HttpRequest(method="GET", url="https://h/d/1", headers=app.headers(**claims))
    return await az.check(request)


@pytest.mark.parametrize(
    ("limits", "claims", "reason"),
    [
        ("candidates: 2", {}, Reason.ALLOWED),
        ("candidates: 1", {}, Reason.TOO_MANY_CANDIDATES),
        ("ancestors: 3", {"groups": ["a", "b", "c"]}, Reason.ALLOWED),
        ("ancestors: 3", {"groups": ["a", "b", "c", "d"]}, Reason.TOO_MANY_ANCESTORS),
        ("entities: 2", {}, Reason.ALLOWED),  # principal and action; of the resource nothing is known
        ("entities: 1", {}, Reason.TOO_MANY_ENTITIES),
    ],
)
@pytest.mark.parametrize("fail_open", [False, True])
async def test_what_passes_a_limit_is_a_failure_with_its_reason_and_opens_no_route(
    app, limits, claims, reason, fail_open
):
    app.write("policies/all.cedar", ANYBODY)
    app.write("routes.yaml", ROUTES + f"  fail_open: {str(fail_open).lower()}\n")
    written(app, limits=limits)
    async with authz.connect(app.config, watch=False, sinks=()) as az:
        outcome = await asked(az, app, **claims)
        assert outcome.reason is reason
        if reason is not Reason.ALLOWED:
            assert isinstance(outcome, authz.Failed)
            assert (outcome.status, outcome.let_through) == (503, False)
            assert f"limits.{reason.value.removeprefix('too_many_')}" in outcome.detail


@pytest.mark.parametrize("fail_open", [False, True])
async def test_an_entity_that_does_not_fit_is_a_failure_by_setting_only(app, fail_open):
    app.write("policies/all.cedar", ANYBODY)
    app.edit("policies/schema.cedarschema", "level?: Long", "level: Long")
    app.write("routes.yaml", ROUTES + f"  fail_open: {str(fail_open).lower()}\n")
    async with authz.connect(app.config, watch=False, sinks=()) as az:
        assert (await asked(az, app)).reason is Reason.ALLOWED
        written(app, policies="validate_entities: true")
        assert await az.reload()
        outcome = await asked(az, app)
        assert isinstance(outcome, authz.Failed)
        assert (outcome.reason, outcome.let_through) == (Reason.ENTITIES_MISMATCH, False)
