"""Whatever a policy is written like, what is not told to the engine of the context changes no answer."""

from __future__ import annotations

import json
import re

import cedarpy
from hypothesis import given, settings
from hypothesis import strategies as st

from authz.core.cedar_scope import _scope, attribute_names, context_names, read_scope
from authz.core.cedar_text import CedarTextError, scan_statements
from authz.core.model import Effect, EntityUid, Policy, TemplateLink
from authz.pdp.index import Place, PolicyIndex
from authz.pdp.rows import link_row, static_row

NAMES = st.sampled_from(("a", "b", "context", "token", "e"))
GAPS = st.sampled_from((" ", "\n", " // context.b\n", '//context has "b"\r', "\u00a0\u3000", ' // "\n'))


@st.composite
def quoted(draw):
    name = draw(NAMES)
    escaped = (
        lambda c: c,
        lambda c: f"\\u{{{ord(c):x}}}",
        lambda c: f"\\u{{00_{ord(c):x}}}",
        lambda c: f"\\x{ord(c):x}",
    )
    return '"' + "".join(draw(st.sampled_from(escaped))(letter) for letter in name) + '"'


def parts(*pieces):
    """Text of pieces, with gaps of all kinds between them."""
    return st.tuples(*(piece for one in pieces for piece in (GAPS, st.just(one) if isinstance(one, str) else one))).map(
        "".join
    )


READS = st.one_of(
    parts("context", ".", NAMES),
    parts("context", "[", quoted(), "]"),
    parts("context", ".", NAMES, ".", NAMES),
    parts("context", "[", quoted(), "]", ".", NAMES),
    parts("(", "context", ")", ".", NAMES),
    parts("principal", ".", "context", ".", NAMES),
    parts("principal", "[", '"context"', "]", ".", NAMES),
    st.sampled_from(
        ("context", "1", '"context.a"', '"// context"', 'N::context::"a"', "principal", "action", "resource")
    ),
)
VALUES = st.recursive(
    READS,
    lambda inner: st.one_of(
        parts("{", "context", ":", inner, "}"),
        parts("{", "context", ":", inner, ",", "a", ":", inner, "}", ".", NAMES),
        parts("[", inner, ",", inner, "]"),
        parts("(", "if", "context has a", "then", inner, "else", inner, ")"),
        parts("(", inner, "+", inner, ")"),
    ),
    max_leaves=4,
)
TESTS = st.recursive(
    st.one_of(
        parts("context", "has", NAMES),
        parts("context", "has", quoted()),
        parts("context", "has", NAMES, ".", NAMES),
        parts("principal", "has", "context", ".", NAMES),
        parts("context", "is", "N::User"),
        parts(VALUES, "==", VALUES),
        parts(VALUES, "<", VALUES),
        parts(VALUES, "in", VALUES),
        parts(VALUES, "is", "N::User"),
        parts(VALUES, "like", '"x*context.b"'),
        parts(VALUES, ".contains(", VALUES, ")"),
        parts(VALUES, ".isEmpty()"),
        parts("context", ".", "contains", "(", VALUES, ")"),
    ),
    lambda inner: st.one_of(
        parts("(", inner, "&&", inner, ")"),
        parts("(", inner, "||", inner, ")"),
        parts("!", "(", inner, ")"),
        parts("(", "if", inner, "then", inner, "else", inner, ")"),
    ),
    max_leaves=4,
)
ANNOTATIONS = st.sampled_from(
    ("", '@context("context.b")', '@permit("(context.a")\n', "@a @context", '@id("{ context.e }")')
)
HEADS = st.sampled_from(
    (
        "principal, action, resource",
        'principal is N::User in N::G::"context", action in [N::Action::"read"], resource',
        'principal, action in N::Action::"all", resource is N::Doc',
        'principal // context.a\n, action == N :: Action :: "rea\\u{64}", resource',
        'principal == N::Action::"read", action, resource in N::Action::"all"',
        'principal == ?principal, action == N::Action::"read", resource in ?resource',
        "principal is N // in\n:: User, action in [], resource",
        'principal in N::context::"g", action, resource',
    )
)
CLAUSES = st.lists(parts(st.sampled_from(("when", "unless")), "{", TESTS, "}"), max_size=2).map("".join)
POLICIES = parts(ANNOTATIONS, st.sampled_from(("permit", "forbid")), "(", HEADS, ")", CLAUSES, ";")

USER = {"type": "N::User", "id": "u"}
ACTION = {"type": "N::Action", "id": "read"}
GROUP = {"type": "N::Action", "id": "all"}
DOC = {"type": "N::Doc", "id": "1"}
SCALARS = st.sampled_from((1, 2, "x", ["x"], {"__entity": USER}))
CONTEXTS = st.dictionaries(NAMES, st.one_of(SCALARS, st.dictionaries(NAMES, SCALARS, max_size=2)))


ATTRIBUTES = {"context": {"a": 1, "b": 2}, "e": 1, "token": "x"}


def answer(policies, principal, resource, context, attributes=frozenset(ATTRIBUTES)):
    told = {name: value for name, value in ATTRIBUTES.items() if name in attributes}
    entities = cedarpy.Entities.from_json_str(
        json.dumps(
            [
                {"uid": USER, "attrs": told, "parents": [{"type": "N::G", "id": "context"}]},
                {"uid": ACTION, "attrs": {}, "parents": [GROUP]},
            ]
        )
    )
    request = {"principal": principal, "action": ACTION, "resource": resource, "context": json.dumps(context)}
    found = cedarpy.is_authorized(request, policies, entities)
    erred = re.findall(r"`(policy\d+|link)`", " ".join(found.diagnostics.errors))
    return found.decision.value, sorted(found.diagnostics.reasons), sorted(erred)


def engines(text):
    """The engine's handle for one policy, or for one template that is linked; None: it is not valid."""
    try:
        handle = cedarpy.PolicySet.from_str(text)
    except ValueError:
        return None
    if handle.templates():
        row = {"template_id": "policy0", "new_id": "link", "values": {"?principal": USER, "?resource": DOC}}
        return handle.with_linked_batch([row])
    return handle


@settings(max_examples=400, deadline=None)
@given(
    text=POLICIES, context=CONTEXTS, principal=st.sampled_from((USER, ACTION)), resource=st.sampled_from((DOC, ACTION))
)
def test_what_is_left_out_is_read_by_no_policy(text, context, principal, resource):
    handle = engines(text)
    if handle is None:
        return
    try:
        (statement,) = scan_statements(text)
    except CedarTextError:
        return
    whole = answer(handle, principal, resource, context)
    if not is_candidate(statement, principal, resource):
        assert whole == ("Deny", [], [])
        return
    names = context_names(statement.text)
    if names is not None:
        assert answer(handle, principal, resource, {k: v for k, v in context.items() if k in names}) == whole
    assert answer(handle, principal, resource, context, attribute_names(statement.text)) == whole


def is_candidate(statement, principal, resource):
    row = static_row(Policy(id="p", text=statement.text, effect=Effect(statement.effect)), 1)
    if statement.is_template:
        values = {"?principal": EntityUid(**USER), "?resource": EntityUid(**DOC)}
        row = link_row(TemplateLink(id="l", template_id="p", values=values), row, 2)
    found = PolicyIndex().changed(added=[row]).narrowed(place(principal), place(ACTION)).found(place(resource))
    return bool(found.shared or found.own)


def place(row):
    uid = EntityUid(**row)
    above = {USER["id"]: EntityUid("N::G", "context"), ACTION["id"]: EntityUid(**GROUP)}.get(uid.id, uid)
    return Place(uid, frozenset((uid, above)))


@settings(max_examples=300, deadline=None)
@given(text=POLICIES)
def test_the_quick_reading_of_heads_and_names_is_the_slow_one(text):
    try:
        (statement,) = scan_statements(text)
    except CedarTextError:
        return
    assert read_scope(statement.text) == _scope(statement.text)
    names, slowly = context_names(statement.text), context_names(statement.text + " // context . a")
    assert slowly is None or names is None or slowly <= names | {"a"}
