"""The short way to the engine answers as the documented function does; where it cannot, that one serves."""

from __future__ import annotations

import cedarpy
import pytest

from authz.pdp import engine

NOTHING = cedarpy.Entities.from_json_str("[]")


def request(context: str = "{}") -> engine.Request:
    uid = {"type": "N::T", "id": 'a"b\n'}
    return {"principal": uid, "action": uid, "resource": uid, "context": context}


@pytest.mark.parametrize(
    "text",
    [
        "",
        "permit(principal, action, resource);",
        "permit(principal, action, resource); forbid(principal, action, resource);",
        "permit(principal, action, resource) when { context.none };",
        "permit(principal, action, resource) when { context.a == 1 };",
    ],
)
@pytest.mark.parametrize("context", ['{"a":1}', "{}", '{"a":null}', "no json"])
def test_both_ways_answer_alike(text, context):
    policies = cedarpy.PolicySet.from_str(text)
    short = engine.asker()
    assert short is not engine.public
    ours = short(request(context), policies, NOTHING, None)
    theirs = engine.public(request(context), policies, NOTHING, None)
    assert ours.decision == theirs.decision
    assert sorted(ours.diagnostics.reason) == sorted(theirs.diagnostics.reason)
    assert ours.diagnostics.errors == theirs.diagnostics.errors


def gone(*_: object) -> object:
    raise TypeError


@pytest.mark.parametrize(
    "changed",
    [
        gone,
        lambda *_: [],
        lambda *_: ["{}"],
        lambda *_: ['{"decision":"Allow","diagnostics":{"reason":[],"errors":[]}}'],
    ],
)
def test_where_the_short_way_is_not_as_expected_the_documented_one_serves(monkeypatch, changed):
    documented = cedarpy.is_authorized
    answer = documented(request(), cedarpy.PolicySet.from_str(""), NOTHING)
    monkeypatch.setattr("cedarpy._internal.is_authorized_batch", changed)
    monkeypatch.setattr(cedarpy, "is_authorized", lambda *_: answer)
    assert engine.asker() is engine.public
