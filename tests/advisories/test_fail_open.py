"""A client must not be able to bring about the failure upon which a route that fails open lets it pass."""

from __future__ import annotations

import pytest

import authz
from authz.core.convert import convert
from authz.core.errors import AttributesUnavailable, DecisionUnavailable, Reason, RequestRefused
from authz.core.lookup import Source
from tests.wiring.conftest import POLICIES, ROUTES, SCHEMA

FORBID = '@id("never") forbid(principal, action, resource);\n'
READS_TOKEN = '@id("scoped") forbid(principal, action, resource) when { context has token.scope };\n'


async def outcome(app, url, **claims):
    async with authz.connect(app.config, watch=False, sinks=()) as az:
        return await az.check(
            authz.HttpRequest(method="GET", url=f"https://h{url}", headers=app.headers(groups=["staff"], **claims))
        )


async def test_a_cycle_of_parents_in_the_path_does_not_open_a_route(app):
    app.write("policies/schema.cedarschema", SCHEMA.replace("entity Doc =", "entity Doc in [Doc] ="))
    app.write("policies/all.cedar", POLICIES + FORBID)
    nested = ROUTES.replace("/d/{id}", "/d/{folder}/{id}").replace(
        'id: "{path.id}"}', 'id: "{path.id}", parents: [{type: "A::Doc", id: "{path.folder}"}]}'
    )
    app.write("routes.yaml", nested + "  fail_open: true\n")
    assert (await outcome(app, "/d/a/b")).reason is Reason.POLICY_FORBID
    found = await outcome(app, "/d/a/a")
    assert isinstance(found, authz.Failed)
    assert not found.let_through


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        ("datetime", "2024-01-01T00:00:00+0160"),
        ("datetime", "2024-01-01T24:00:00Z"),
        ("datetime", "٢٠٢٤-٠١-٠١"),
        ("decimal", "٢.5"),
        ("decimal", "1.٥"),
    ],
)
def test_a_value_that_the_engine_would_not_take_is_the_requests_fault(kind, text):
    with pytest.raises(RequestRefused):
        convert(kind, text, Source(name="query.x", read=lambda _: None))


def test_a_claim_that_is_no_boolean_is_the_tokens_fault():
    with pytest.raises(authz.AuthzError) as caught:
        convert("bool", {"a": 1}, Source(name="claims.x", read=lambda _: None))
    assert caught.value.reason is Reason.TOKEN_CLAIMS


async def test_claims_that_do_not_fit_the_schema_do_not_open_a_route(app):
    app.write("routes.yaml", ROUTES + "  fail_open: true\n")
    app.write("policies/all.cedar", POLICIES + FORBID + READS_TOKEN)
    assert (await outcome(app, "/d/1")).reason is Reason.POLICY_FORBID
    found = await outcome(app, "/d/1", scope={"not": "a set"})
    assert (found.reason, found.let_through) == (Reason.CLAIMS_MISMATCH, False)


async def test_a_forbid_that_errs_does_not_open_a_route(app):
    app.write("routes.yaml", ROUTES + "  fail_open: true\n")
    app.edit("authz.yaml", "policies: {path: policies}", "policies: {path: policies, on_forbid_error: fail}")
    app.write(
        "policies/all.cedar", POLICIES + "forbid(principal, action, resource) when { 9223372036854775807 + 1 > 0 };"
    )
    found = await outcome(app, "/d/1")
    assert (found.reason, found.let_through) == (Reason.FORBID_ERROR, False)


async def test_a_fault_of_ours_does_not_open_a_route(app, monkeypatch):
    def faulty(*_):
        raise ZeroDivisionError

    app.write("routes.yaml", ROUTES + "  fail_open: true\n")
    monkeypatch.setattr("authz.pdp.slices.Slices.handle", faulty)
    found = await outcome(app, "/d/1")
    assert (found.reason, found.let_through) == (Reason.INTERNAL, False)


def test_what_a_query_brings_about_is_told_apart_from_an_outage():
    assert DecisionUnavailable(Reason.FORBID_ERROR).by_query
    assert AttributesUnavailable(Reason.CLAIMS_MISMATCH).by_query
    assert not DecisionUnavailable().by_query
    assert not AttributesUnavailable().by_query
