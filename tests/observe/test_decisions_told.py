"""What the record and the metrics tell of a decision of the real library: erring forbids, and what was left out."""

from __future__ import annotations

import pytest
from prometheus_client import CollectorRegistry
from prometheus_client.parser import text_string_to_metric_families

import authz
from authz.observe.metrics import Metrics
from tests.observe.making import lines
from tests.wiring.conftest import CONFIG, ROUTES, App

TEXT = """@id("staff") permit(principal in A::Group::"staff", action, resource);
@id("closed") forbid(principal, action, resource) when { 9223372036854775807 + 1 > 0 };
@id("extra") permit(principal, action, resource) when { 9223372036854775807 + 1 > 0 };
"""
TEMPLATE = """@id("staff") permit(principal in A::Group::"staff", action, resource);
@id("t") forbid(principal, action, resource == ?resource) when { 9223372036854775807 + 1 > 0 };
"""
LINKS = r"""[{"id": "closed", "template": "t", "resource": "A::Doc::\"1\""}]"""
CANARY = "canary-81d"


@pytest.fixture
def app(tmp_path):
    return App(tmp_path)


def written(app, *, level="info", **policies):
    settings = "".join(f", {name}: {value}" for name, value in policies.items())
    app.write("authz.yaml", configured(level, settings))


def configured(level, settings=""):
    config = CONFIG.replace("{path: policies}", f"{{path: policies{settings}}}")
    return config.replace("{output: none}", "{output: record.jsonl, show: [detail]}") + f"log: {{level: {level}}}\n"


async def told(app, times=1, reload=None, **claims):
    """The record's lines after a check of `/d/1`."""
    async with authz.connect(app.config, watch=False) as az:
        for _ in range(times):
            headers = app.headers(groups=["staff"], **claims)
            await az.check(authz.HttpRequest(method="GET", url="https://h/d/1", headers=headers))
            if reload is not None:
                app.write("authz.yaml", reload)
                assert await az.reload()
    return lines(app.folder / "record.jsonl")


# --- what was left out


async def test_what_was_left_out_is_in_the_record_at_debug_level(app):
    written(app, level="debug")
    first, second = await told(app, times=2, scope="docs", jti=CANARY, deep={"x": CANARY})
    expected = ["aud", "deep", "exp", "groups", "iat", "iss", "jti", "sub"]
    assert first["left_out"] == second["left_out"] == [f"context.token.{name}" for name in expected]
    assert CANARY not in str(first)


@pytest.mark.parametrize("level", ["info", "warning", "error"])
async def test_it_is_not_there_at_another_level(app, level):
    written(app, level=level)
    [line] = await told(app, scope="docs", jti=CANARY)
    assert line["outcome"] == "allowed"
    assert not {name for name in line if name.startswith("left_out")}


@pytest.mark.parametrize(("before", "after", "there"), [("info", "debug", False), ("debug", "info", True)])
async def test_the_level_of_the_start_counts(app, before, after, there):
    written(app, level=before)
    found = await told(app, times=2, reload=configured(after))
    assert ["left_out" in line for line in found] == [there, there]


async def test_attributes_of_an_id_token_are_named_by_their_type(app):
    written(app, level="debug")
    app.edit("authz.yaml", "    groups:", "    token: id\n    groups:")
    [line] = await told(app, level=3, jti=CANARY)
    expected = ["aud", "exp", "groups", "iat", "iss", "jti", "sub"]
    assert line["left_out"] == [f"A::User.{name}" for name in expected]


async def test_nothing_is_said_where_nothing_was_left_out(app):
    names = ("aud", "exp", "groups", "iat", "iss", "sub")
    everything = ", ".join(f"{name}?: {'Set<String>' if name == 'groups' else kind(name)}" for name in names)
    app.edit("policies/schema.cedarschema", "scope?: Set<String>", f"scope?: Set<String>, {everything}")
    written(app, level="debug")
    [line] = await told(app, scope="docs")
    assert line["outcome"] == "allowed"
    assert "left_out" not in line


def kind(name):
    return "Long" if name in ("exp", "iat") else "String"


# --- a forbid that errs


@pytest.mark.parametrize(("text", "links"), [(TEXT, "[]"), (TEMPLATE, LINKS)], ids=["static", "link"])
async def test_a_forbid_that_errs_is_told_apart_in_the_record(app, text, links):
    app.write("policies/all.cedar", text)
    app.write("policies/links.json", links)
    written(app)
    [line] = await told(app)
    assert (line["outcome"], line["policies"], line["forbid_errors"]) == ("allowed", ["staff"], ["closed"])
    assert sorted(line["policy_errors"]) == (["closed", "extra"] if text is TEXT else ["closed"])


@pytest.mark.parametrize(("text", "links"), [(TEXT, "[]"), (TEMPLATE, LINKS)], ids=["static", "link"])
async def test_a_forbid_that_errs_is_a_failure_by_setting(app, text, links):
    app.write("policies/all.cedar", text)
    app.write("policies/links.json", links)
    written(app, on_forbid_error="fail")
    [line] = await told(app)
    assert (line["outcome"], line["status"], line["reason"]) == ("failed", 503, "forbid_error")
    assert "forbid" in line["detail"]
    assert not {"verdict", "policies"} & line.keys()


async def test_a_forbid_that_errs_is_counted_as_one(app):
    app.write("policies/all.cedar", TEXT)
    metrics = Metrics(routes=["read"], registry=CollectorRegistry())
    async with authz.connect(app.config, watch=False, sinks=(metrics,)) as az:
        for _ in range(3):
            headers = app.headers(groups=["staff"])
            await az.check(authz.HttpRequest(method="GET", url="https://h/d/1", headers=headers))
    counted = {
        (sample.labels["policy"], sample.labels["effect"]): sample.value
        for family in text_string_to_metric_families(metrics.render()[0].decode())
        for sample in family.samples
        if sample.name == "authz_policy_errors_total"
    }
    assert counted == {("closed", "forbid"): 3, ("extra", "permit"): 3}


async def test_a_failure_of_strictness_says_in_the_record_what_does_not_fit(app):
    app.edit("policies/schema.cedarschema", "level?: Long", "level: Long")
    app.write("routes.yaml", ROUTES)
    written(app, validate_entities="true")
    [line] = await told(app)
    assert (line["outcome"], line["reason"]) == ("failed", "entities_mismatch")
    assert "schema" in line["detail"]
