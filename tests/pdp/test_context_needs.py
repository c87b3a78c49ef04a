"""What is not told to the engine changes no answer: the same verdict, policies and errors as with all of it."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from unittest import mock

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from authz.core.cedar_schema import load_schema
from authz.core.cedar_text import scan_statements
from authz.core.errors import DecisionUnavailable
from authz.core.model import Effect, EntityUid, Extension, Policy, PolicySnapshot, Query
from authz.pdp.cedar import CedarDecisionPoint
from authz.pdp.compiled import compile_snapshot
from authz.pdp.engine import Answer, Diagnostics

SCHEMA = """
namespace N {
  entity User; entity Doc; entity Box;
  action "all"; action "reading" in ["all"];
  action "read" in ["reading"] appliesTo { principal: User, resource: [Doc, Box], context: {
    a?: Long, b?: String, c?: Set<String>, ip?: ipaddr, token?: { scope?: Set<String>, n?: Long } } };
  action "write" in ["all"] appliesTo { principal: User, resource: [Doc, Box], context: {
    a?: Long, b?: String, c?: Set<String>, ip?: ipaddr, token?: { scope?: Set<String>, n?: Long } } };
}
"""
PRINCIPALS = ("principal", "principal is N::User", 'principal == N::User::"u"', 'principal == N::User::"v"')
ACTIONS = (
    "action",
    'action == N::Action::"read"',
    'action == N::Action::"write"',
    'action in N::Action::"reading"',
    'action in [N::Action::"write", N::Action::"all"]',
    'action in [N::Action::"write"]',
)
RESOURCES = ("resource", "resource is N::Doc", "resource is N::Box", 'resource == N::Doc::"1"')
CONDITIONS = (
    "context has a && context.a > 1",
    "context.a > 1",
    'context["b"] == "x"',
    'context has b && context.b like "x*"',
    'context has c && context.c.contains("y")',
    'context.ip.isInRange(ip("10.0.0.0/8"))',
    'context has token.scope && context.token.scope.contains("s")',
    "context.token has n && context.token.n == 1",
    "context has a || context has b",
    "context == {a: 2}",
    "true",
)
policies = st.lists(
    st.tuples(
        st.sampled_from(("permit", "forbid")),
        st.sampled_from(PRINCIPALS),
        st.sampled_from(ACTIONS),
        st.sampled_from(RESOURCES),
        st.sampled_from(("when", "unless")),
        st.sampled_from(CONDITIONS),
    ),
    min_size=1,
    max_size=8,
)
contexts = st.fixed_dictionaries(
    {},
    optional={
        "a": st.integers(0, 3),
        "b": st.sampled_from(("x", "xy", "z")),
        "c": st.sampled_from(((), ("y",), ("x", "y"))),
        "ip": st.sampled_from((Extension("ip", "10.0.0.1"), Extension("ip", "192.0.2.1"))),
        "token": st.sampled_from(({}, {"scope": ("s",)}, {"scope": ("t",), "n": 1})),
    },
)


def point(rows) -> CedarDecisionPoint:
    text = "\n".join(f"{e}({p}, {a}, {r}) {w} {{ {c} }};" for e, p, a, r, w, c in rows)
    found = tuple(
        Policy(id=f"p{number}", text=statement.text, effect=Effect(statement.effect))
        for number, statement in enumerate(scan_statements(text))
    )
    # Without the validator, which would refuse the policies that err.
    compiled = compile_snapshot(PolicySnapshot(version="1", policies=found))
    return CedarDecisionPoint(replace(compiled, schema=load_schema(SCHEMA)))


@settings(max_examples=300, deadline=None)
@given(
    rows=policies,
    context=contexts,
    action=st.sampled_from(("read", "write")),
    resource=st.sampled_from(("Doc", "Box")),
)
def test_the_answer_is_that_of_the_whole_context(rows, context, action, resource):
    query = Query(
        principal=EntityUid("N::User", "u"),
        action=EntityUid("N::Action", action),
        resource=EntityUid(f"N::{resource}", "1"),
        context=context,
    )
    decider, whole = point(rows), point(rows)
    request = whole._request
    with mock.patch.object(whole, "_request", lambda q, candidates: request(q, replace(candidates, names=None))):
        theirs = asyncio.run(whole.decide(query))
    ours = asyncio.run(decider.decide(query))
    assert (ours.verdict, ours.policies) == (theirs.verdict, theirs.policies)
    assert {error.policy_id for error in ours.errors} == {error.policy_id for error in theirs.errors}


def told(decider: CedarDecisionPoint, action: str, resource: str, **context) -> str:
    query = Query(
        principal=EntityUid("N::User", "u"),
        action=EntityUid("N::Action", action),
        resource=EntityUid(resource, "1"),
        context=context,
    )
    with mock.patch.object(decider, "_ask", return_value=Answer("Deny", Diagnostics())) as ask:
        asyncio.run(decider.decide(query))
    (request, *_), _ = ask.call_args
    return str(request["context"])


def test_only_what_a_policy_may_read_is_told():
    decider = point(
        [
            ("permit", "principal", 'action == N::Action::"read"', "resource is N::Doc", "when", "context.a > 1"),
            ("forbid", "principal", 'action == N::Action::"write"', "resource", "when", 'context["b"] == "x"'),
        ]
    )
    assert told(decider, "read", "N::Doc", a=2, b="x") == '{"a":2}'
    assert told(decider, "read", "N::Box", a=2, b="x") == "{}"
    assert told(decider, "write", "N::Doc", a=2, b="x") == '{"b":"x"}'


def test_where_no_policy_can_match_nothing_is_told_and_nonsense_is_refused_nevertheless():
    decider = point([("permit", "principal", 'action == N::Action::"read"', "resource", "when", "context.a > 1")])
    assert told(decider, "other", "N::Doc", a=2, b="x") == "{}"
    for nonsense in (2**63, "\ud800", Extension("ip", "x"), {"__entity": 1}, (1, -(2**63) - 1), None, 1.5):
        with pytest.raises(DecisionUnavailable):
            told(decider, "other", "N::Doc", c=nonsense)


def test_a_policy_that_reads_the_context_as_a_whole_is_told_everything():
    decider = point([("permit", "principal", "action", "resource", "when", "context == {a: 2}")])
    assert told(decider, "read", "N::Doc", a=2, b="x") == '{"a":2,"b":"x"}'
