"""A query's slice of the entities must give the answer that all entities give.

An entity that is missing makes a condition err, and a forbid that errs is skipped: the answer turns into an allow.
"""

from __future__ import annotations

import json

import cedarpy
import pytest

import authz
from authz.core.cedar_literals import entity_literals
from authz.core.model import EntityUid
from tests.wiring.conftest import POLICIES, ROUTES, SCHEMA


def uid(kind, name):
    return {"type": f"A::{kind}", "id": name}


ENTITIES = [
    {"uid": uid("Settings", "global"), "attrs": {"locked": True, "next": {"__entity": uid("Settings", 'o"dd')}}},
    {"uid": uid("Settings", 'o"dd'), "attrs": {"locked": True, "banned": [{"__entity": uid("User", "ann")}]}},
    {"uid": uid("Group", "x"), "attrs": {}, "parents": [uid("Group", "y")]},
    {"uid": uid("Group", "y"), "attrs": {}},
    {"uid": uid("Group", "staff"), "attrs": {}, "parents": [uid("Group", "y")]},
    {"uid": uid("Doc", "1"), "attrs": {"open": True}},
]
CONDITIONS = [
    'when { A::Settings::"global".locked }',
    'unless { !A::Settings::"global".locked }',
    'when { A::Settings::"global" has next && A::Settings::"global".next.locked }',
    'when { A :: // why not\n Settings :: "o\\"dd".locked }',
    'when { A::Settings::"o\\u{22}dd".locked }',
    'when { A::Group::"x" in A::Group::"y" }',
    'when { "A::" != "x" && A::Settings::"global".locked }',
    'when { // "A::\n A::Settings::"global".locked }',
    'when { {a: A::Settings::"global"}.a.locked }',
    'when { [A::Group::"x"].contains(A::Group::"x") && A::Group::"staff" in A::Group::"y" }',
    'when { A::Settings::"none".locked }',
    'when { resource has open && principal in A::Group::"y" }',
]


@pytest.mark.parametrize("condition", CONDITIONS)
@pytest.mark.parametrize("parents", [False, True], ids=["shared", "built"])
async def test_a_forbid_that_names_an_entity_finds_it(app, condition, parents):
    text = SCHEMA.replace("entity Group;", "entity Group in [Group];").replace("entity Doc =", "entity Doc in [Doc] =")
    settings = "entity Settings = { locked: Bool, next?: Settings, banned?: Set<User> };\n  entity Group in"
    app.write("policies/schema.cedarschema", text.replace("entity Group in", settings))
    entities = [{"parents": [], **entity} for entity in ENTITIES]
    app.write("policies/entities.json", json.dumps(entities))
    forbid = f"forbid(principal, action, resource) {condition};"
    app.write("policies/all.cedar", POLICIES + forbid)
    if parents:
        app.write(
            "routes.yaml", ROUTES.replace('id: "{path.id}"}', 'id: "{path.id}", parents: [{type: "A::Doc", id: top}]}')
        )
    request = authz.HttpRequest(method="GET", url="https://h/d/1", headers=app.headers(groups=["staff"]))
    async with authz.connect(app.config, watch=False, sinks=()) as az:
        found = await az.check(request)

    ann = {"uid": uid("User", "ann"), "attrs": {}, "parents": [uid("Group", "staff")]}
    question = {
        "principal": uid("User", "ann"),
        "action": {"type": "A::Action", "id": "read"},
        "resource": uid("Doc", "1"),
        "context": {},
    }
    expected = cedarpy.is_authorized(question, POLICIES + forbid, [*entities, ann])
    assert isinstance(found, authz.Allowed) == (expected.decision is cedarpy.Decision.Allow)
    assert isinstance(found, authz.Allowed | authz.Denied)
    assert found.decision is not None
    assert len(found.decision.errors) == len(expected.diagnostics.errors)


def test_what_stands_in_the_scope_alone_is_not_opened():
    scope = 'permit(principal in A::Group::"a", action == A::Action::"b", resource == A::Doc::"c")'
    assert list(entity_literals(f"{scope};")) == []
    assert list(entity_literals(scope + ' when { context.x == "A::B" };')) == []
    named = scope + ' when { principal == A::User::"d" } unless { A::B::C::"" has "when" };'
    assert list(entity_literals(named)) == [EntityUid("A::User", "d"), EntityUid("A::B::C", "")]
