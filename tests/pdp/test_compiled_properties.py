"""However a policy set came about, by edits or at once, it is the same; so is what the engine says of each policy."""

from __future__ import annotations

import asyncio
import itertools
import json
from collections.abc import Mapping

import cedarpy
from hypothesis import given, settings
from hypothesis import strategies as st

from authz.core.errors import Misconfigured
from authz.core.model import EntityUid, PolicySnapshot, Query, TemplateLink
from authz.pdp.cedar import CedarDecisionPoint
from authz.pdp.cedar_json import uid_to_json
from authz.pdp.compiled import CompiledPolicies, compile_snapshot
from authz.pdp.index import Place
from authz.pdp.rows import Row, static_row
from authz.pdp.validation import CHUNK, LinkCheck, check_policies
from tests.pdp.compiling import (
    ANN,
    BOB,
    LOCKED,
    ONE,
    OPEN,
    PUBLIC,
    SCHEMA,
    SHARED,
    STAFF,
    TWO,
    link,
    policy,
    snapshot,
)

TEXTS = (
    STAFF,
    PUBLIC,
    LOCKED,
    LOCKED.replace("now", "ever"),
    "permit(principal, action, resource);",
    'permit(principal == User::"ann", action, resource == Doc::"1");',
)
TEMPLATES = (SHARED, OPEN, SHARED.replace("permit", "forbid"))
IDS = tuple(f"p{number}" for number in range(6))
LINKS = tuple(f"l{number}" for number in range(4))
SCHEMAS = (SCHEMA, SCHEMA + "entity More;", None)

states = st.builds(
    lambda policies, templates, links, schema: snapshot(
        policies,
        *(link(id, who, what, template) for id, (who, what, template) in links.items() if template in templates),
        templates=templates,
        schema=schema,
    ),
    policies=st.dictionaries(st.sampled_from(IDS), st.sampled_from(TEXTS)),
    templates=st.dictionaries(st.sampled_from(("t", "u")), st.sampled_from(TEMPLATES)),
    links=st.dictionaries(
        st.sampled_from(LINKS),
        st.tuples(st.sampled_from((ANN, BOB)), st.sampled_from((ONE, TWO)), st.sampled_from(("t", "u"))),
    ),
    schema=st.sampled_from(SCHEMAS),
)
QUERIES = tuple(
    Query(principal=principal, action=EntityUid("Action", action), resource=resource)
    for principal in (ANN, BOB)
    for action in ("view", "edit")
    for resource in (ONE, TWO)
)


def told(rows: Mapping[str, Row]) -> dict[str, tuple[object, ...]]:
    """All of the rows but their serials."""
    return {
        row.id: (row.id, row.text, row.effect, row.scope, row.slots, row.form, row.message, row.literals)
        for row in rows.values()
    }


def candidates(compiled: CompiledPolicies, query: Query) -> set[str]:
    def place(uid: EntityUid) -> Place:
        return Place(uid, frozenset((uid,)))

    found = compiled.index.narrowed(place(query.principal), place(query.action)).found(place(query.resource))
    return {row.id for group in (found.shared, found.own) for row in group.rows}


@settings(max_examples=100, deadline=None)
@given(st.lists(states, min_size=2, max_size=4))
def test_edits_lead_to_what_a_start_would(history: list[PolicySnapshot]):
    compiled: CompiledPolicies | None = None
    rows: dict[str, Row] = {}
    with asyncio.Runner() as runner:
        for state in history:
            compiled = compile_snapshot(state, compiled)
            anew = compile_snapshot(state)
            assert list(compiled.rows) == list(anew.rows)
            assert told(compiled.rows) == told(anew.rows)
            assert told(compiled.templates) == told(anew.templates)
            assert len(compiled.index) == len(anew.index) == len(anew.rows)
            # a row stays exactly where nothing of it changed
            for id, row in compiled.rows.items():
                same = id in rows and told({id: rows[id]}) == told({id: row})
                assert (rows.get(id) is row) == same
            rows = dict(compiled.rows)
            decider, other = CedarDecisionPoint(compiled), CedarDecisionPoint(anew)
            for query in QUERIES:
                assert candidates(compiled, query) == candidates(anew, query)
                assert runner.run(decider.decide(query)) == runner.run(other.decide(query))


BAD = (
    "permit(principal is Nope, action, resource);",
    "permit(principal action, resource);",
    "permit(principal, action, resource) when { principal.level == 1 };",
    'permit(principal, action, resource) when { "a" };',
    "permit(principal == ?resource, action, resource);",
    "permit(principal, action, resource) when { ?principal == principal };",
)


@settings(max_examples=40, deadline=None)
@given(
    bad=st.dictionaries(st.integers(0, 2 * CHUNK + 5), st.sampled_from(BAD), max_size=4),
    schema=st.sampled_from((SCHEMA, None)),
)
def test_together_and_one_by_one_the_engine_says_the_same(bad: dict[int, str], schema: str | None):
    texts = {f"p{number}": bad.get(number, TEXTS[number % len(TEXTS)]) for number in range(2 * CHUNK + 6)}
    policies = snapshot(texts).policies
    engine = cedarpy.Schema.from_str(schema) if schema else None
    together: list = []
    single: list = []
    refused = check_policies(policies, engine, together, lambda: None)
    one_by_one = [check_policies([one], engine, single, lambda: None) for one in policies]
    assert refused == frozenset().union(*one_by_one)
    assert together == single


NAMES = ("User", "N::User", "if", "__cedar", "1x", "", "a b", "N::", "in", "N::in", "Ünicode")
HEADS = ("principal == ?principal", "principal in ?principal", "principal is User in ?principal", "principal")
TAILS = ("resource == ?resource", "resource in ?resource", "resource is Doc in ?resource", "resource")
SLOTS = ("?principal", "?resource")


def test_a_link_is_taken_exactly_where_the_engine_takes_it():
    verdicts = set()
    for head, tail in itertools.product(HEADS, TAILS):
        text = f"permit({head}, action, {tail});"
        template = static_row(policy("t", text), 1)
        check = LinkCheck({"t": template}, frozenset({"t"}))
        handle = cedarpy.PolicySet.from_str(text)
        for slots in ((), SLOTS[:1], SLOTS[1:], SLOTS):
            for name, id in itertools.product(NAMES, ("x", "", '"\n', "\ud800")):
                values = dict.fromkeys(slots, EntityUid(name, id))
                ours = check.problem(TemplateLink(id="l", template_id="t", values=values)) is None
                # What has no slots is no template to the engine, and cannot be linked.
                assert ours == engine_takes(handle, values) or text.count("?") == 0
                verdicts.add(ours)
    assert verdicts == {True, False}


def engine_takes(handle: cedarpy.PolicySet, values: Mapping[str, EntityUid]) -> bool:
    told = {slot: uid_to_json(uid) for slot, uid in values.items()}
    try:
        handle.with_linked_batch([{"template_id": "policy0", "new_id": "l", "values": told}])
    except ValueError:
        return False
    return True


PARENTS = st.dictionaries(st.integers(0, 5), st.sets(st.integers(0, 7), max_size=3))


@settings(max_examples=150, deadline=None)
@given(PARENTS)
def test_a_circle_of_parents_is_found_where_the_engine_finds_one(above: dict[int, set[int]]):
    def uid(number):
        return {"type": "User", "id": str(number)}

    rows = [{"uid": uid(one), "attrs": {}, "parents": [uid(other) for other in sorted(p)]} for one, p in above.items()]
    text = json.dumps(rows)
    try:
        cedarpy.Entities.from_json_str(text)
        expected = True
    except ValueError:
        expected = False
    try:
        compile_snapshot(snapshot({}, schema=None, entities=text))
        found = True
    except Misconfigured as error:
        assert "a cycle of parents" in error.problems[0].message
        found = False
    assert found == expected
