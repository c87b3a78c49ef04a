"""`decide_many` answers as `decide` does for each, and asks the engine as seldom as it can."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import cedarpy
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from authz.core.cedar_text import scan_statements
from authz.core.errors import AuthzError, DecisionUnavailable, PoliciesUnavailable, Reason
from authz.core.model import (
    Decision,
    Effect,
    Entity,
    EntitySlice,
    EntityUid,
    Extension,
    Policy,
    PolicySnapshot,
    Query,
    TemplateLink,
    Value,
    Verdict,
)
from authz.pdp import questions
from authz.pdp.cedar import CedarDecisionPoint, CedarSettings
from authz.pdp.cedar_json import entity_to_json
from authz.pdp.compiled import CompiledPolicies, compile_snapshot
from authz.pdp.engine import Answer, Diagnostics

ANN, BOB, EVE = EntityUid("User", "ann"), EntityUid("User", "bob"), EntityUid("User", "eve")
STAFF, ALL = EntityUid("Group", "staff"), EntityUid("Group", "all")
TOP, SUB, LOST = EntityUid("Folder", "top"), EntityUid("Folder", "sub"), EntityUid("Folder", "lost")
DOCS = tuple(EntityUid("Doc", name) for name in ("1", "2", "3", "4"))
READ, WRITE = EntityUid("Action", "read"), EntityUid("Action", "write")


def compiled(
    text: str, *, stored: Sequence[Entity] = (), links: Sequence[TemplateLink] = (), schema: str | None = None
) -> CompiledPolicies:
    policies: list[Policy] = []
    templates: list[Policy] = []
    for number, statement in enumerate(scan_statements(text)):
        name = statement.annotations.get("id", f"p{number}")
        policy = Policy(
            id=name, text=statement.text, effect=Effect(statement.effect), annotations=statement.annotations
        )
        (templates if statement.is_template else policies).append(policy)
    snapshot = PolicySnapshot(
        version="v",
        policies=tuple(policies),
        templates=tuple(templates),
        links=tuple(links),
        schema=schema,
        entities=json.dumps([entity_to_json(entity) for entity in stored]),
    )
    return compile_snapshot(snapshot)


class Counted:
    """A decision point, and what it asks the engine."""

    def __init__(self, text: str, *, settings: CedarSettings | None = None, **changes) -> None:
        self.point = CedarDecisionPoint(compiled(text, **changes), settings or CedarSettings())
        self.alone = 0
        """Questions that were put one by one."""
        self.together: list[int] = []
        """How many questions each call had."""
        ask, ask_all = self.point._ask, self.point._ask_all

        def count(*arguments):
            self.alone += 1
            return ask(*arguments)

        def count_all(requests, *others):
            self.together.append(len(requests))
            return ask_all(requests, *others)

        self.point._ask, self.point._ask_all = count, count_all

    def many(self, queries: Sequence[Query]) -> tuple[Decision, ...]:
        """The decisions, which are those of `decide`; `alone` and `together` are of `decide_many`."""
        self.alone, self.together = 0, []
        decisions = asyncio.run(self.point.decide_many(queries))
        seen = self.alone, self.together
        single = asyncio.run(one_by_one(self.point, queries))
        self.alone, self.together = seen
        assert list(decisions) == single
        return decisions


async def one_by_one(point: CedarDecisionPoint, queries: Sequence[Query]) -> list[Decision]:
    return [await point.decide(query) for query in queries]


def described(resource: EntityUid, *, parents: Sequence[EntityUid] = (), **attributes: Any) -> EntitySlice:
    return EntitySlice(entities=(Entity(uid=resource, attributes=attributes, parents=frozenset(parents)),))


TOKEN = EntitySlice(
    entities=(Entity(uid=ANN, attributes={"level": 2, "home": TOP, "mail": "a"}, parents=frozenset((STAFF,))),)
)
CONTEXT = {"level": 2}


def ask(resource: EntityUid, *own: EntitySlice, **changes) -> Query:
    given = {"principal": ANN, "action": READ, "resource": resource, "context": CONTEXT, "entities": (TOKEN, *own)}
    return Query(**(given | changes))


def doc(number: int) -> EntityUid:
    return EntityUid("Doc", f"d{number}")


def listed(count: int, attributes=lambda _: {}) -> list[Query]:
    return [ask(doc(number), described(doc(number), **attributes(number))) for number in range(count)]


# --- it answers as `decide` does ------------------------------------------------------------------------

CONDITIONS = (
    "resource.owner == principal",
    "principal == resource.owner",
    "resource.owner != principal",
    "!(resource.owner == principal)",
    "resource has owner && resource.owner == principal",
    "resource has owner",
    "resource has owner.level",
    'resource.owner == User::"bob"',
    "resource.owner.level > 1",
    "resource has readers && resource.readers.contains(principal)",
    "resource has readers && principal in resource.readers",
    'resource has readers && resource.readers.contains(User::"eve")',
    "resource.readers.containsAny([principal])",
    "resource has folder && principal.home == resource.folder",
    "resource has folder && resource.folder in principal.home",
    'resource has folder && resource.folder in Folder::"top"',
    "resource has folder && principal in resource.folder",
    'resource.folder in Doc::"1"',
    'resource.folder == Folder::"sub" || resource.folder.rank > 3',
    "resource has rank && resource.rank <= 1",
    "resource has rank && 1 < resource.rank",
    "resource has rank && resource.rank == true",
    "resource has rank && resource.rank == 1",
    "resource.rank == context.level",
    "resource.rank <= principal.level",
    "resource.rank + 9223372036854775807 > 0",
    'resource has rank && resource.rank == "1"',
    'resource.rank != ip("10.0.0.1")',
    "if resource has rank then resource.rank == 2 else false",
    "resource has twin && resource.twin has rank",
    'resource has twin && resource["twin"] has rank && !(resource has rank && resource["rank"] == 7)',
    'resource has twin && resource["twin"] has rank && !(resource has rank && resource["rank"] == 7)',
    'principal in Folder::"top"',
    "resource has twin && resource.twin == resource",
    "resource has twin && resource.twin has rank && resource.twin.rank == 1",
    'resource has twin && resource.twin in Folder::"top"',
    'resource has note && resource["note"].rank == 1',
    "resource has note && resource.note == {rank: 1}",
    'resource in Folder::"top"',
    "resource in principal.home",
    'resource == Doc::"1"',
    "resource is Doc",
    '[resource].contains(Doc::"2")',
    'resource.hasTag("k") && resource.getTag("k") == "v"',
    "principal.home has seen && principal.home.seen.rank == 1",
    'Doc::"3" has rank && Doc::"3".rank == 1',
    'Doc::"3" in Folder::"top"',
    'principal in Doc::"4"',
    "context.level == 2",
    "context has doc && context.doc has rank && context.doc.rank == 1",
    "context.level == resource.rank || true",
    "principal.level >= 2",
    "principal.gone == resource.owner",
    "true",
)
REACHING = tuple(text for text in CONDITIONS if any(word in text for word in ("twin", "seen", "Doc::", " in ")))
"""By which a query can come to another one's resource."""
HEADS = (
    *("(principal, action, resource)",) * 12,
    "(principal, action, resource is Doc)",
    '(principal, action == Action::"read", resource == Doc::"1")',
    '(principal, action, resource == Doc::"2")',
    '(principal in Group::"all", action, resource in Folder::"top")',
    '(principal == User::"ann", action, resource in Folder::"sub")',
    "(principal == ?principal, action, resource == ?resource)",
)
VALUES = {
    "owner": (ANN, ANN, BOB, EVE, "ann", 1),
    "readers": ((), (ANN,), (BOB, EVE), (BOB, ANN), (STAFF,), (ANN, 1), ("ann",), STAFF, ALL, DOCS[1]),
    "folder": (TOP, SUB, SUB, LOST, STAFF, DOCS[0], DOCS[2], (SUB, LOST), "sub"),
    "rank": (0, 1, 1, 2, 3, True, False, "1", 2**63 - 1, Extension("ip", "10.0.0.1"), Extension("ip", "10.0.0.1/32")),
    "twin": (*DOCS, TOP),
    "note": ({"rank": 1}, {"rank": True}, {"rank": 2, "more": DOCS[0]}),
    "unread": (1, BOB, DOCS[1], "x"),
}
BAD = {
    "rank": (2**63,),
    "owner": (EntityUid("1x", "a"), EntityUid("User", "\ud800"), Extension("User", "ann")),
    "unread": (-(2**63) - 1, {"a": 2**63}),
}
PARENTS = (TOP, SUB, LOST, *DOCS)
CONTEXTS = (
    {"level": 2},
    {"level": 2},
    {"level": 1},
    {"level": True},
    {"level": 2, "doc": DOCS[2]},
    {"level": 2, "x": 2**63},
)
SOMETIMES = (False, False, False, True)
OFTEN = (True, True, True, False)


@st.composite
def attributes(draw, text: str, *, bad: bool = False):
    """Mostly those that the policies read."""
    read = [name for name in sorted(VALUES) if name in text]
    names = draw(st.sets(st.sampled_from((*read, *read, "unread")), max_size=3))
    found = {name: draw(st.sampled_from(VALUES[name])) for name in sorted(names)}
    if bad:
        name = draw(st.sampled_from(sorted(BAD)))
        found[name] = draw(st.sampled_from(BAD[name]))
    return found


@st.composite
def entities(draw, text, uid, bad=False):
    given = draw(attributes(text, bad=bad))
    parents = draw(st.sets(st.sampled_from(PARENTS), max_size=2)) if draw(st.sampled_from(SOMETIMES)) else set()
    tags = draw(st.sampled_from(({}, {}, {"k": "v"}, {"k": "w", "d": DOCS[0]})))
    return Entity(uid=uid, attributes=given, parents=frozenset(parents - {uid}), tags=tags)


@st.composite
def policies(draw):
    texts = []
    conditions = draw(st.sampled_from((CONDITIONS, REACHING)))
    guarded = draw(st.sampled_from(OFTEN))  # a query for which a policy errs is decided by itself
    for number in range(draw(st.integers(1, 3))):
        effect = draw(st.sampled_from(("permit", "permit", "forbid")))
        found = draw(st.lists(st.sampled_from(conditions), min_size=1, max_size=2))
        told = [f"({guard(text)}({text}))" if guarded else f"({text})" for text in found]
        joined = draw(st.sampled_from((" && ", " || "))).join(told)
        word = draw(st.sampled_from(("when", "when", "unless")))
        texts.append(
            f'@id("p{number}") @deny_message("m{number}") {effect}{draw(st.sampled_from(HEADS))} {word} {{ {joined} }};'
        )
    return "\n".join(texts)


def guard(condition: str) -> str:
    return "".join(f"resource has {name} && " for name in VALUES if f"resource.{name}" in condition)


@st.composite
def worlds(draw):
    """Policies, the store's entities, links, and queries that meet each other."""
    text = draw(policies())
    stored = [Entity(uid=STAFF, parents=frozenset((ALL,))), Entity(uid=SUB, parents=frozenset((TOP,)))]
    stored += [
        Entity(uid=uid, attributes=draw(attributes(text)) | ({"seen": DOCS[0]} if uid == TOP else {}))
        for uid in (BOB, TOP, DOCS[0], DOCS[2], DOCS[3])
        if draw(st.sampled_from(SOMETIMES))
    ]
    links = [
        TemplateLink(
            id=f"l{number}", template_id=f"p{number}", values={"?principal": ANN, "?resource": DOCS[number % 2]}
        )
        for number, statement in enumerate(scan_statements(text))
        if statement.is_template
    ]
    tokens = [
        TOKEN,
        described(ANN, level=True, home=SUB, parents=draw(st.sampled_from(((), (DOCS[3],), (STAFF,))))),
        EntitySlice(),
    ]
    pool = {uid: [draw(entities(text, uid)) for _ in range(2)] for uid in DOCS}
    if draw(st.booleans()):  # some look alike
        for found in list(pool.values())[1:]:
            found.append(replace(pool[DOCS[0]][0], uid=found[0].uid, parents=frozenset()))
    bad = draw(st.sampled_from(SOMETIMES))  # one such query fails the whole list, so most lists have none
    usual = {
        "principal": draw(st.sampled_from((ANN, ANN, BOB))),
        "action": READ,
        "context": draw(st.sampled_from(CONTEXTS[:3])),
        "token": draw(st.sampled_from(tokens)),
    }
    found = [draw(queries(text, tokens, pool, usual, bad)) for _ in range(draw(st.sampled_from((8, 10, 6, 4, 2))))]
    return text, stored, links, found


@st.composite
def queries(draw, text, tokens, pool, usual, bad):
    strange = (EntityUid("Elsewhere", "1"), ANN, *((EntityUid("1x", "1"),) if bad else ()))
    resource = draw(st.sampled_from(DOCS if draw(st.sampled_from(OFTEN)) else strange))
    other = draw(st.integers(0, 15))  # what is not as usual; mostly nothing
    given = [draw(st.sampled_from(tokens)) if other == 0 else usual["token"]]
    kinds = ("own",) * 9 + ("none", "bare", "other", "twice", "first", "list") + (("bad",) if bad else ())
    kind = draw(st.sampled_from(kinds))
    own = draw(st.sampled_from(pool[resource])) if resource in pool else Entity(uid=resource)
    if kind in ("own", "twice", "first", "other"):
        given.append(EntitySlice(entities=(own,)))
    if kind in ("twice", "other", "list"):
        also = draw(st.sampled_from(DOCS)) if kind == "other" else resource
        given.append(EntitySlice(entities=(draw(entities(text, also)),)))
    if kind == "bad":
        given.append(EntitySlice(entities=(draw(entities(text, resource, bad=True)),)))
    if kind == "list":
        given.append(EntitySlice(entities=tuple(found[0] for found in pool.values())))
    if kind == "first":
        given.reverse()
    return Query(
        principal=draw(st.sampled_from((ANN, BOB))) if other == 1 else usual["principal"],
        action=WRITE if other == 2 else usual["action"],
        resource=resource,
        context=dict(draw(st.sampled_from(CONTEXTS if bad else CONTEXTS[:-1]))) if other > 12 else usual["context"],
        entities=() if kind == "bare" else tuple(given),
    )


SLOW = [HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.large_base_example]
LIMITS = (CedarSettings(), CedarSettings(on_forbid_error="fail"), CedarSettings(max_entities=4, max_ancestors=3))


@settings(max_examples=400, suppress_health_check=SLOW, deadline=None)
@given(worlds(), st.sampled_from(LIMITS))
def test_many_are_decided_as_each_is(world, limits):
    text, stored, links, queries = world
    policies = compiled(text, stored=stored, links=links)
    expected = asyncio.run(outcome(one_by_one, CedarDecisionPoint(policies, limits), queries))
    point = CedarDecisionPoint(policies, limits)
    for _ in range(2):
        assert asyncio.run(outcome(together, point, queries)) == expected


async def together(point: CedarDecisionPoint, queries: Sequence[Query]) -> list[Decision]:
    return list(await point.decide_many(queries))


async def outcome(decide, point, queries):
    """The decisions, the engine's errors in one order; or the failure."""
    try:
        decisions = await decide(point, queries)
    except AuthzError as error:
        return type(error), error.reason, error.detail
    return [(d.verdict, d.policies, set(d.errors), len(d.errors), d.messages, d.version) for d in decisions]


# --- it asks as seldom as it can ------------------------------------------------------------------------


def test_resources_of_which_nothing_is_read_are_one_question():
    point = Counted('permit(principal in Group::"staff", action, resource) when { context.level > 1 };')
    decisions = point.many(listed(100, lambda number: {"owner": BOB, "rank": number}))
    assert {decision.verdict for decision in decisions} == {Verdict.ALLOW}
    assert (point.together, point.alone) == ([1], 0)


def test_resources_with_equal_values_are_one_question():
    point = Counted('permit(principal, action, resource) when { resource.kind like "a*" };')
    decisions = point.many(listed(100, lambda number: {"kind": "abc"[number % 3], "rank": number, "owner": BOB}))
    assert sum(decision.verdict is Verdict.ALLOW for decision in decisions) == 34
    assert (point.together, point.alone) == ([3], 0)


@pytest.mark.parametrize(
    ("condition", "attributes", "questions"),
    [
        ("resource.owner == principal", lambda n: {"owner": ANN if n % 7 == 0 else EntityUid("User", f"u{n}")}, 2),
        ("resource.owner != principal", lambda n: {"owner": EntityUid("User", f"u{n}")}, 1),
        ("principal in resource.readers", lambda n: {"readers": (EntityUid("User", f"u{n}"), (STAFF, BOB)[n % 2])}, 2),
        ("resource.readers.contains(principal)", lambda n: {"readers": (EntityUid("User", f"u{n}"), ANN)[: n % 3]}, 2),
        ('resource.folder in Folder::"top"', lambda n: {"folder": (SUB, EntityUid("Folder", f"f{n}"))[n % 2]}, 2),
        ("resource.rank <= 10 || resource.rank > 20", lambda n: {"rank": n}, 5),
        ("resource.rank <= principal.level", lambda n: {"rank": n}, 3),
        ("resource.mail == principal.mail", lambda n: {"mail": f"m{n}"}, 1),
        ("resource has rank && resource.rank == context.level", lambda n: {"rank": n} if n % 2 else {}, 3),
        ("resource has rank", lambda n: {"rank": n}, 1),
    ],
)
def test_of_what_is_compared_the_outcome_counts(condition, attributes, questions):
    point = Counted(
        f"permit(principal, action, resource) when {{ {condition} }};",
        stored=[Entity(uid=SUB, parents=frozenset((TOP,)))],
    )
    point.many(listed(100, attributes))
    assert (sum(point.together), point.alone) == (questions, 0)


def test_policies_that_differ_in_their_scopes_alone_are_one_question():
    text = "\n".join(
        f'@id("p{n}") permit(principal, action, resource == Doc::"d{n}") when {{ resource.rank < 1000 }};'
        for n in range(50)
    )
    point = Counted(text)
    decisions = point.many(listed(50, lambda number: {"rank": number}))
    assert [decision.policies for decision in decisions] == [(f"p{n}",) for n in range(50)]
    assert (point.together, point.alone) == ([1], 0)


def test_what_differs_is_asked_in_few_calls():
    point = Counted('permit(principal, action, resource) when { resource.name like "d*" };')
    point.many(listed(100, lambda number: {"name": f"d{number}"}))
    assert sum(point.together) == 100
    assert len(point.together) == -(-100 // questions.AT_ONCE)
    assert point.alone == 0


def test_many_actions_on_one_resource_are_asked_together_with_each_base():
    point = Counted('permit(principal, action == Action::"read", resource) when { resource.rank == 1 };')
    own = described(DOCS[0], rank=1)
    decisions = point.many([ask(DOCS[0], own, action=action) for action in (READ, WRITE, READ, WRITE)])
    assert [decision.verdict.value for decision in decisions] == ["allow", "deny", "allow", "deny"]
    assert (point.together, point.alone) == ([1, 1], 0)


def test_contexts_are_compared_by_value_and_type():
    point = Counted("permit(principal, action, resource) when { context.level == 1 };")
    contexts = [
        {"level": 1},
        {"level": 1},
        {"level": True},
        {"level": 1, "more": ("a", "b")},
        {"level": 1, "more": ("a", "b")},
    ]
    decisions = point.many([ask(doc(n), context=context) for n, context in enumerate(contexts)])
    assert [decision.verdict.value for decision in decisions] == ["allow", "allow", "deny", "allow", "allow"]
    assert sum(point.together) == 3


def test_one_slice_for_all_resources_is_shared():
    everything = EntitySlice(entities=tuple(Entity(uid=doc(n), attributes={"rank": n % 2}) for n in range(60)))
    point = Counted("permit(principal, action, resource) when { resource.rank == 1 };")
    decisions = point.many([ask(doc(n), everything) for n in range(60)])
    assert [decision.verdict is Verdict.ALLOW for decision in decisions] == [n % 2 == 1 for n in range(60)]
    assert (point.together, point.alone) == ([2], 0)


def test_a_resource_without_a_slice_for_the_principal_is_shared_too():
    point = Counted("permit(principal, action, resource) when { resource.rank == 1 };")
    queries = [ask(doc(n), entities=(described(doc(n), rank=n % 2),)) for n in range(20)]
    point.many(queries)
    assert (point.together, point.alone) == ([2], 0)


# --- what must not be shared ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (True, 1),
        (1, True),
        (EntityUid("ip", "10.0.0.1"), Extension("ip", "10.0.0.1")),
        (1, "1"),
        ((1, 2), (1, True)),
        ({"a": 1}, {"a": True}),
        ((ANN,), ANN),
    ],
)
@pytest.mark.parametrize("condition", ["resource.v == 1", "resource.v == resource.w", "resource.v == true"])
def test_equal_values_of_other_types_are_other_values(first, second, condition):
    point = Counted(f"permit(principal, action, resource) when {{ {condition} }};")
    point.many([ask(doc(n), described(doc(n), v=value, w=first)) for n, value in enumerate((first, second, first))])


def test_two_comparisons_that_python_takes_for_one_are_two():
    text = "permit(principal, action, resource) when { resource.v == 1 || resource.v == true };"
    point = Counted(text)
    decisions = point.many(
        [ask(doc(n), described(doc(n), v=value)) for n, value in enumerate((1, True, 2, False, "1"))]
    )
    assert [decision.verdict.value for decision in decisions] == ["allow", "allow", "deny", "deny", "deny"]


def test_what_another_query_says_of_its_resource_is_not_met():
    read = "resource has rank && resource.rank == 7"  # so that ranks are told
    text = f"permit(principal, action, resource) when {{ {read} || resource has twin && resource.twin has rank && resource.twin.rank == 1 }};"
    point = Counted(text, stored=[Entity(uid=DOCS[1], attributes={"rank": 0})])
    queries = [
        ask(DOCS[0], described(DOCS[0], twin=DOCS[1], rank=1)),
        ask(DOCS[1], described(DOCS[1], twin=DOCS[0], rank=1)),
        ask(DOCS[2], described(DOCS[2], twin=DOCS[0])),
        ask(DOCS[3], described(DOCS[3], rank=1)),
        ask(LOST, described(LOST, twin=DOCS[3])),
    ]
    for order in (queries, queries[::-1]):
        assert {decision.verdict for decision in point.many(order)} == {Verdict.DENY}


def test_a_resource_is_not_in_what_another_query_puts_its_parent_in():
    point = Counted('permit(principal, action, resource) when { resource in Folder::"top" || resource has x };')
    queries = [
        ask(DOCS[0], described(DOCS[0], parents=[LOST])),
        ask(LOST, described(LOST, parents=[TOP])),
        ask(DOCS[1], described(DOCS[1], parents=[LOST])),
    ]
    decisions = point.many(queries)
    assert [decision.verdict.value for decision in decisions] == ["deny", "allow", "deny"]


def test_a_resource_that_its_own_values_lead_to_counts_as_it_is():
    text = (
        "permit(principal, action, resource) when { resource.folder.seen has rank && resource.folder.seen.rank == 1 };"
    )
    point = Counted(text, stored=[Entity(uid=LOST, attributes={"seen": DOCS[0]})])
    decisions = point.many([ask(uid, described(uid, folder=LOST, rank=1)) for uid in DOCS])
    assert [decision.verdict.value for decision in decisions] == ["allow", "deny", "deny", "deny"]


def test_a_resource_that_is_its_own_value_counts_as_it_is():
    point = Counted("permit(principal, action, resource) when { resource.twin has rank };")
    decisions = point.many([ask(uid, described(uid, twin=DOCS[0], rank=1)) for uid in DOCS])
    assert [decision.verdict.value for decision in decisions] == ["allow", "deny", "deny", "deny"]


def test_a_resource_that_the_principal_leads_to_counts_as_it_is():
    token = described(ANN, favourite=DOCS[0])
    point = Counted("permit(principal, action, resource) when { principal.favourite has rank };")
    queries = [ask(uid, entities=(token, described(uid, rank=1))) for uid in DOCS]
    assert [decision.verdict.value for decision in point.many(queries)] == ["allow", "deny", "deny", "deny"]


def test_a_resource_that_the_principal_is_in_counts_as_it_is():
    token = described(ANN, parents=[DOCS[0]])
    point = Counted('permit(principal, action, resource) when { principal in Folder::"top" };')
    queries = [ask(uid, entities=(token, described(uid, parents=[TOP]))) for uid in DOCS]
    assert [decision.verdict.value for decision in point.many(queries)] == ["allow", "deny", "deny", "deny"]


def test_a_cycle_of_parents_fails_the_list_also_behind_equal_parents():
    shelf = EntitySlice(entities=(Entity(uid=LOST, parents=frozenset((DOCS[1],))),))
    point = Counted("permit(principal, action, resource);").point
    queries = [ask(uid, shelf, described(uid, parents=[LOST])) for uid in DOCS]
    with pytest.raises(DecisionUnavailable, match="cycle"):
        asyncio.run(point.decide_many(queries))


def test_a_resource_that_the_context_names_counts_as_it_is():
    point = Counted('permit(principal, action, resource) when { context.doc has rank && resource["rank"] > 0 };')
    queries = [ask(uid, described(uid, rank=1), context={"doc": DOCS[0]}) for uid in DOCS]
    assert [decision.verdict.value for decision in point.many(queries)] == ["allow", "deny", "deny", "deny"]


def test_a_context_that_is_nested_too_deeply_fails_the_list():
    point = Counted("permit(principal, action, resource);").point
    queries = [ask(doc(number), context={"deep": deep(20_000)}) for number in range(2)]
    with pytest.raises(DecisionUnavailable):
        asyncio.run(point.decide_many([*listed(2), *queries]))


@pytest.mark.parametrize("strange", [EntityUid("1x", "a"), EntityUid("", "a"), EntityUid("Doc", "\ud800")])
def test_a_resource_that_cannot_be_fails_the_list(strange):
    point = Counted("permit(principal, action, resource);").point
    with pytest.raises(DecisionUnavailable):
        asyncio.run(point.decide_many([*listed(2), ask(strange), ask(doc(3))]))


def deep(levels: int) -> Value:
    value: Value = "x"
    for _ in range(levels):
        value = (value,)
    return value


@pytest.mark.parametrize("name", ["owner", "unread"])
@pytest.mark.parametrize(
    "value",
    [
        2**63,
        "\ud800",
        EntityUid("1x", "a"),
        EntityUid("User", "\ud800"),
        (BOB, EntityUid("", "a")),
        Extension("ip", "nowhere"),
        {"a": 2**63},
        {"__entity": "x"},
        deep(200),
    ],
    ids=lambda value: type(value).__name__,
)
@pytest.mark.parametrize("leads", [False, True])
def test_what_the_engine_refuses_fails_the_list_though_nobody_looks(name, value, leads):
    point = Counted("permit(principal, action, resource) when { resource.owner == principal || true };").point
    own: dict[str, Any] = {"owner": BOB, name: EVE if leads else value}
    bad = ask(DOCS[1], described(DOCS[1], **own), described(EVE if leads else DOCS[1], **{name: value}))
    alike = [ask(doc(number), described(doc(number), owner=EVE)) for number in range(3)]
    expected = asyncio.run(outcome(one_by_one, point, [*alike, bad]))
    assert asyncio.run(outcome(together, point, [*alike, bad])) == expected


def test_a_resource_that_a_policy_names_counts_as_it_is():
    point = Counted('permit(principal, action, resource) when { Doc::"1" has rank };')
    decisions = point.many([ask(uid, described(uid, rank=1)) for uid in DOCS])
    assert [decision.verdict.value for decision in decisions] == ["allow", "deny", "deny", "deny"]


def test_one_resource_told_in_two_ways_is_two_questions():
    point = Counted("permit(principal, action, resource) when { resource.rank == 1 };")
    queries = [ask(DOCS[0], described(DOCS[0], rank=rank)) for rank in (1, 2, 1, 3)] + [ask(DOCS[0])]
    text = [decision.verdict.value for decision in point.many(queries)]
    assert text == ["allow", "deny", "allow", "deny", "deny"]


@pytest.mark.parametrize("condition", ['resource in Folder::"top"', 'resource.hasTag("k")', "resource == context.doc"])
def test_a_resource_that_is_read_as_a_whole_is_a_question_of_its_own(condition):
    point = Counted(f"permit(principal, action, resource) when {{ {condition} }};")
    queries = [ask(doc(n), described(doc(n), parents=[TOP] if n % 2 else [])) for n in range(10)]
    if "context" in condition:
        queries = [ask(doc(n), context={"doc": doc(3)}) for n in range(10)]
    point.many(queries)
    assert sum(point.together) + point.alone == 10


@pytest.mark.parametrize(
    ("condition", "allowed"),
    [
        ("principal in resource.team", [True, False, False]),
        ("principal in resource.owner.team", [False, True, False]),
        ('resource.kind == "a" || resource.kind like "b*"', [True, True, False]),
        ("resource.rank == context.level", [True, False, False]),
    ],
)
def test_what_is_compared_is_told(condition, allowed):
    stored = [Entity(uid=uid, attributes={"team": team}) for uid, team in ((BOB, STAFF), (EVE, ALL), (LOST, TOP))]
    point = Counted(f"permit(principal, action, resource) when {{ {condition} }};", stored=stored)
    own: tuple[dict[str, Any], ...] = (
        {"team": STAFF, "owner": EVE, "kind": "a", "rank": 5},
        {"team": ALL, "owner": BOB, "kind": "bc", "rank": 6},
        {"team": LOST, "owner": LOST, "kind": "cb", "rank": 7},
    )
    for order in (1, -1):
        queries = [
            ask(doc(n), described(doc(n), **values), context={"level": 5}) for n, values in enumerate(own[::order])
        ]
        assert [decision.verdict is Verdict.ALLOW for decision in point.many(queries)] == allowed[::order]


def test_a_resource_that_the_principal_is_in_and_nobody_speaks_of_is_compared_with_it():
    point = Counted("permit(principal, action, resource) when { principal in resource };")
    decisions = point.many([ask(LOST), ask(STAFF), ask(TOP)])
    assert [decision.verdict.value for decision in decisions] == ["deny", "allow", "deny"]


def test_what_any_candidate_reads_of_an_entity_is_told():
    text = "\n".join(
        f'permit(principal, action, resource == Doc::"d{number}") when {{ resource.owner.{name} == 1 }};'
        for number, name in enumerate(("rank", "level"))
    )
    point = Counted(text, stored=[Entity(uid=BOB, attributes={"rank": 1, "level": 1})])
    decisions = point.many(listed(2, lambda _: {"owner": BOB}))
    assert [decision.verdict for decision in decisions] == [Verdict.ALLOW] * 2
    assert (point.together, point.alone) == ([1, 1], 0)


def test_errors_name_the_entity_of_their_query():
    point = Counted('@id("broken") permit(principal, action, resource) when { resource.none };')
    decisions = point.many(listed(3))
    for number, decision in enumerate(decisions):
        (error,) = decision.errors
        assert error.policy_id == "broken"
        assert f'd{number}"' in error.message


# --- failures, ages, what is told -----------------------------------------------------------------------


def failing(text: str, **changes) -> CedarDecisionPoint:
    return CedarDecisionPoint(compiled(text), CedarSettings(**changes))


def test_the_first_failure_in_order_is_raised():
    point = failing("forbid(principal, action, resource) when { resource.none };", on_forbid_error="fail")
    bad = ask(doc(1), described(doc(1), none=2**63))
    with pytest.raises(DecisionUnavailable) as caught:
        asyncio.run(point.decide_many([ask(doc(0), described(doc(0), none=True)), *listed(2), bad]))
    assert caught.value.reason is Reason.FORBID_ERROR
    with pytest.raises(DecisionUnavailable) as caught:
        asyncio.run(point.decide_many([bad, *listed(2)]))
    assert caught.value.reason is Reason.DECISION_UNAVAILABLE


@pytest.mark.parametrize(
    ("limits", "reason"),
    [
        ({"max_candidates": 1}, Reason.TOO_MANY_CANDIDATES),
        ({"max_entities": 1}, Reason.TOO_MANY_ENTITIES),
        ({"max_entities": 2}, Reason.TOO_MANY_ENTITIES),
        ({"max_ancestors": 1}, Reason.TOO_MANY_ANCESTORS),
    ],
)
def test_limits_are_those_of_one_query(limits, reason):
    text = (
        "permit(principal, action, resource) when { resource.owner == principal }; permit(principal, action, resource);"
    )
    small = [ask(DOCS[0], described(DOCS[0], owner=ANN))]
    owner = EntitySlice(entities=(Entity(uid=BOB),))
    large = ask(doc(2), described(doc(2), owner=BOB, parents=[TOP, SUB]), owner)
    with pytest.raises(DecisionUnavailable) as caught:
        asyncio.run(failing(text, **limits).decide_many([*small, large, *small]))
    assert caught.value.reason is reason


def test_ancestors_of_all_that_a_query_reaches_count_together():
    stored = [Entity(uid=BOB, parents=frozenset((ALL,)))]
    policies = compiled("permit(principal, action, resource) when { resource.owner == principal };", stored=stored)
    queries = [ask(doc(number), described(doc(number), owner=owner)) for number, owner in enumerate((EVE, BOB))]
    queries += [ask(DOCS[0], described(DOCS[0], owner=BOB, parents=[TOP]))]
    assert len(asyncio.run(CedarDecisionPoint(policies, CedarSettings(max_ancestors=2)).decide_many(queries))) == 3
    with pytest.raises(DecisionUnavailable) as caught:
        asyncio.run(CedarDecisionPoint(policies, CedarSettings(max_ancestors=1)).decide_many(queries))
    assert caught.value.reason is Reason.TOO_MANY_ANCESTORS


def test_a_resource_that_leads_nowhere_counts_too():
    point = CedarDecisionPoint(compiled("permit(principal, action, resource);"), CedarSettings(max_entities=1))
    assert len(asyncio.run(point.decide_many([ask(doc(number)) for number in range(3)]))) == 3
    with pytest.raises(DecisionUnavailable) as caught:
        asyncio.run(point.decide_many(listed(3)))
    assert caught.value.reason is Reason.TOO_MANY_ENTITIES


def test_a_query_whose_list_is_long_is_within_the_limits_of_each():
    point = Counted("permit(principal, action, resource);", settings=CedarSettings(max_entities=3, max_ancestors=2))
    decisions = point.many([ask(doc(n), described(doc(n), parents=[TOP])) for n in range(100)])
    assert {decision.verdict for decision in decisions} == {Verdict.ALLOW}


def test_a_policy_set_that_is_too_old_decides_none():
    point = CedarDecisionPoint(
        compiled("permit(principal, action, resource);"), CedarSettings(max_age=1), age=lambda: 2
    )
    with pytest.raises(PoliciesUnavailable):
        asyncio.run(point.decide_many(listed(2)))


def test_every_decision_has_the_age_of_the_set():
    ages = iter(range(100))
    point = CedarDecisionPoint(
        compiled("permit(principal, action, resource) when { resource.a };"), age=lambda: next(ages)
    )
    decisions = asyncio.run(point.decide_many([*listed(2), *listed(2, lambda _: {"a": True})]))
    assert [decision.age for decision in decisions] == [0, 0, 0, 0]


SCHEMA = """
entity User, Folder; entity Doc in [Folder] { rank?: Long };
action read, write appliesTo { principal: User, resource: Doc, context: { level?: Long } };
"""


def test_what_was_left_out_is_told_of_each():
    settings = CedarSettings(tell_left_out=True)
    point = Counted("permit(principal, action, resource);", schema=SCHEMA, settings=settings)
    token = EntitySlice(entities=(Entity(uid=ANN),))
    extra: tuple[dict[str, Any], ...] = ({"a": 1}, {"b": 1}, {}, {"a": 1})
    queries = [ask(doc(n), entities=(token, described(doc(n), rank=n, **more))) for n, more in enumerate(extra)]
    decisions = point.many(queries)
    assert [decision.left_out for decision in decisions] == [("Doc.a",), ("Doc.b",), (), ("Doc.a",)]
    assert sum(point.together) == 1


@pytest.mark.parametrize("settings", [CedarSettings(validate_requests=True), CedarSettings(validate_entities=True)])
def test_where_the_engine_holds_each_against_the_schema_each_is_asked_alone(settings):
    text = "permit(principal, action, resource) when { resource has rank && resource.rank == 1 };"
    point = Counted(text, schema=SCHEMA, settings=settings)
    token = EntitySlice(entities=(Entity(uid=ANN),))
    point.many([ask(doc(n), entities=(token, described(doc(n), rank=n))) for n in range(3)])
    assert (point.together, point.alone) == ([], 3)


def test_an_attribute_of_another_type_than_declared_fails_all():
    point = Counted("permit(principal, action, resource);", schema=SCHEMA).point
    token = EntitySlice(entities=(Entity(uid=ANN),))
    queries = [ask(doc(n), entities=(token, described(doc(n), rank=value))) for n, value in enumerate((1, "one"))]
    with pytest.raises(AuthzError) as caught:
        asyncio.run(point.decide_many(queries))
    assert caught.value.reason is Reason.CLAIMS_MISMATCH


@pytest.mark.parametrize("condition", ['resource.name like "d*"', "resource.none"])
def test_a_long_list_lets_others_have_their_turn(condition):
    point = CedarDecisionPoint(compiled(f"permit(principal, action, resource) when {{ {condition} }};"))

    async def both() -> int:
        deciding = asyncio.ensure_future(point.decide_many(listed(1000, lambda number: {"name": f"d{number}"})))
        turns = 0
        while not deciding.done():
            await asyncio.sleep(0)
            turns += 1
        assert len(deciding.result()) == 1000
        return turns

    assert asyncio.run(both()) >= 30


def refusing(*_: object) -> object:
    raise ValueError


def short(requests, *_):
    return [Answer(decision="Allow", diagnostics=Diagnostics(reason=["policy0"]))] * (len(requests) - 1)


@pytest.mark.parametrize("ask_all", [refusing, short])
def test_where_the_engine_does_not_answer_many_each_is_asked_alone(ask_all):
    point = Counted("permit(principal, action, resource) when { resource.rank == 1 };")
    point.point._ask_all = ask_all
    point.many(listed(4, lambda number: {"rank": number % 2}))
    assert point.alone == 4


def test_a_fault_of_the_engine_fails_the_query_not_the_caller(monkeypatch):
    panic = type("PanicException", (BaseException,), {"__module__": "pyo3_runtime"})

    def panicking(*_: object) -> object:
        raise panic

    point = CedarDecisionPoint(compiled("permit(principal, action, resource);"))
    monkeypatch.setattr(point, "_ask", panicking)
    monkeypatch.setattr(point, "_ask_all", panicking)
    with pytest.raises(DecisionUnavailable):
        asyncio.run(point.decide_many(listed(3)))


def test_no_query_has_no_decision_and_one_is_decided_as_ever():
    point = Counted("permit(principal, action, resource);")
    assert asyncio.run(point.point.decide_many([])) == ()
    point.many(listed(1))
    assert (point.together, point.alone) == ([], 1)


def test_both_ways_to_ask_many_answer_alike():
    from authz.pdp import engine

    policies = cedarpy.PolicySet.from_str('permit(principal, action, resource == T::"j") when { context.a };')
    requests = [engine._PROBE | {"resource": {"type": "T", "id": name}, "context": '{"a":true}'} for name in "ij"]
    entities = cedarpy.Entities.from_json_str("[]")
    quick = engine.all_asker()
    assert quick is not engine.public_for_all
    assert quick(requests, policies, entities) == engine.public_for_all(requests, policies, entities)
    assert [answer.decision for answer in quick(requests, policies, entities)] == ["Deny", "Allow"]
