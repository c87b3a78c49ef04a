"""What can be configured without anybody noticing what it comes to."""

from __future__ import annotations

import logging

import pytest

import authz
from authz.core.route_compiler import RouteSpec, compile_routes
from authz.wiring import assemble

SECOND = """
  - issuer: https://other.example.com
    audience: [api]
    algorithms: [ES256]
    jwks_file: jwks.json
    principal: %s
policies:"""


def told(app, principal):
    app.edit("authz.yaml", "\npolicies:", SECOND % principal)
    return [(problem.severity, problem.message) for problem in assemble(app.config).problems]


@pytest.mark.parametrize("principal", ["{type: A::User}", "{claim: sub}"])
def test_two_issuers_do_not_name_one_principal_by_a_default_that_comes_to_the_same(app, principal):
    # The first issuer leaves its type to the schema, which has `A::User` only.
    found = [message for severity, message in told(app, principal) if severity == "error"]
    assert [message for message in found if "would name the same principals" in message]
    assert len(found) == 1


def test_bare_ids_beside_prefixed_ones_are_warned_of(app):
    found = told(app, "{prefix: other}")
    assert [severity for severity, message in found if "prefix both" in message] == ["warning"]


def test_issuers_with_a_prefix_each_are_fine(app):
    app.edit("authz.yaml", "    groups", "    principal: {prefix: login}\n    groups")
    assert told(app, "{prefix: other}") == []


def test_a_header_written_in_two_ways_is_refused():
    spec = RouteSpec(
        name="r",
        path="/a",
        action='Action::"x"',
        resource_type="D",
        resource_id="d",
        headers={"X-User": "{principal.id}", "x-user": "{claims.name}"},
    )
    table, problems = compile_routes((spec,))
    assert table.routes == ()
    assert "stands twice" in problems[0].message


async def test_a_change_that_a_reload_does_not_reach_is_told(app, caplog):
    async with authz.connect(app.config, watch=False, sinks=()) as az:
        app.write("authz.yaml", app.config.read_text() + 'trusted_proxies: ["10.1.0.0/16"]\n')
        with caplog.at_level(logging.WARNING, "authz.reload"):
            assert await az.reload()
    assert "`trusted_proxies` was changed, and counts from the next start only" in caplog.text


async def test_warnings_of_a_reload_are_told(app, caplog):
    async with authz.connect(app.config, watch=False, sinks=()) as az:
        app.write("policies/all.cedar", "// all gone\n")
        with caplog.at_level(logging.WARNING, "authz.reload"):
            assert await az.reload()
    assert "there are no policies" in caplog.text


def test_a_password_in_an_address_is_refused_and_not_told(app):
    app.edit("authz.yaml", "jwks_file: jwks.json", 'jwks_uri: "https://me:hunter2@login.example.com/keys"')
    problems = [str(problem) for problem in assemble(app.config).problems]
    assert any("without credentials" in line for line in problems)
    assert not any("hunter2" in line for line in problems)
