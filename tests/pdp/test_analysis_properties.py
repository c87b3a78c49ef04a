"""The warnings of `authz check` are true: the engine is asked about random policies and requests that fit the schema."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, replace
from itertools import product

import cedarpy
from hypothesis import event, given, settings
from hypothesis import strategies as st

from authz.core.cedar_schema import load_schema
from authz.core.cedar_scope import read_scope
from authz.core.model import Effect, EntityUid, Policy, TemplateLink
from authz.pdp.analysis import analyse
from authz.pdp.analysis_reach import Reaches
from authz.pdp.analysis_text import holds, sameness
from authz.pdp.compiled import compile_snapshot
from tests.pdp.test_cedar import snapshot

TYPES = ("A", "B", "C", "D")
LISTED = "E"
"""A type whose entities the schema lists."""
ACTIONS = ("a0", "a1", "a2", "a3")
IDS = ("x", "y")
CONDITIONS = (
    "",
    "",
    "",
    "when { true }",
    "unless { (false) }",
    "when { false }",
    "when { principal == resource }",
    "unless { principal.missing }",
    "when { principal.missing > 1 } unless { true }",
    "when { principal in resource }",
)


@dataclass(frozen=True)
class Vocabulary:
    """A random schema, small enough that scopes meet."""

    member_of: dict[str, tuple[str, ...]]
    groups: dict[str, tuple[str, ...]]
    applies: dict[str, tuple[tuple[str, ...], tuple[str, ...]]]

    def __str__(self):
        lines = [f"entity {name} in [{', '.join(parents)}];" for name, parents in self.member_of.items()]
        lines += [f'entity {LISTED} enum ["x"];']
        for action in ACTIONS:
            principals, resources = self.applies[action]
            applies = (
                f" appliesTo {{ principal: [{', '.join(principals)}], resource: [{', '.join(resources)}] }}"
                if principals and resources
                else ""
            )
            groups = f" in [{', '.join(self.groups[action])}]" if self.groups[action] else ""
            lines.append(f"action {action}{groups}{applies};")
        return "\n".join(lines)

    def environments(self):
        return [
            (principal, action, resource)
            for action, (principals, resources) in self.applies.items()
            for principal in principals
            for resource in resources
        ]


def some(values, **limits):
    return st.lists(st.sampled_from(values), unique=True, **limits).map(tuple)


@st.composite
def vocabularies(draw):
    return Vocabulary(
        member_of={name: draw(some((*TYPES, LISTED), max_size=2)) for name in TYPES},
        # An action is in groups that come before it, so that there is no circle.
        groups={
            action: draw(some(ACTIONS[:place], max_size=2)) if place else () for place, action in enumerate(ACTIONS)
        },
        applies={
            # At least one action applies to something.
            action: tuple(
                draw(some((*TYPES, LISTED), min_size=int(action == ACTIONS[-1]), max_size=2)) for _ in range(2)
            )
            for action in ACTIONS
        },
    )


KINDS = st.sampled_from((*TYPES, LISTED))
UIDS = st.builds(lambda kind, name: f'{kind}::"{name}"', KINDS, st.sampled_from(IDS))
ACTION_UIDS = st.sampled_from(ACTIONS).map(lambda action: f'Action::"{action}"')


def sides(name, slots=False):
    named = st.just(f"?{name}") if slots else UIDS
    return st.one_of(
        st.just(name) if not slots else named.map(lambda uid: f"{name} == {uid}"),
        named.map(lambda uid: f"{name} == {uid}"),
        named.map(lambda uid: f"{name} in {uid}"),
        KINDS.map(lambda kind: f"{name} is {kind}") if not slots else named.map(lambda uid: f"{name} in {uid}"),
        st.builds(lambda kind, uid: f"{name} is {kind} in {uid}", KINDS, named),
    )


ACTION_SCOPES = st.one_of(
    st.just("action"),
    st.just("action"),
    ACTION_UIDS.map(lambda uid: f"action == {uid}"),
    ACTION_UIDS.map(lambda uid: f"action in {uid}"),
    st.lists(ACTION_UIDS, max_size=3).map(lambda uids: f"action in [{', '.join(uids)}]"),
)
EFFECTS = st.sampled_from(("permit", "forbid"))
STATIC = st.builds("{}({}, {}, {}) {};".format, EFFECTS, sides("principal"), ACTION_SCOPES, sides("resource"),
                   st.sampled_from(CONDITIONS))  # fmt: skip
TEMPLATES = st.builds("{}({}, {}, {}) {};".format, EFFECTS, sides("principal", slots=True), ACTION_SCOPES,
                      sides("resource", slots=True), st.sampled_from(CONDITIONS))  # fmt: skip


@dataclass(frozen=True)
class World:
    """Policies under a schema, and requests that fit it."""

    vocabulary: Vocabulary
    static: list[str]
    templates: list[str]
    links: list[tuple[str, str, str]]

    def analysis(self):
        links = [
            TemplateLink(
                id=name,
                template_id=template,
                values={"?principal": EntityUid(principal, "x"), "?resource": EntityUid(resource, "x")},
            )
            for name, (template, principal, resource) in self._links().items()
        ]
        text = "\n".join(self.static + [f'@id("t{place}") {one}' for place, one in enumerate(self.templates)])
        given = snapshot(text, schema=None, entities=[], links=links)
        schema = str(self.vocabulary)
        return analyse(replace(compile_snapshot(given), schema=load_schema(schema), snapshot=given))

    def _links(self):
        return {
            f"l{number}": (f"t{int(place) % len(self.templates)}", principal, resource)
            for number, (place, principal, resource) in enumerate(self.links)
            if self.templates
        }

    def decider(self, entities, without=frozenset()):
        """Asks the engine itself for the verdict, the determining policies, and those that erred."""
        static = {f"p#{number}": text for number, text in enumerate(self.static, 1) if f"p#{number}" not in without}
        names = {f"policy{place}": name for place, name in enumerate(static)}
        handle = cedarpy.PolicySet.from_str("\n".join([*static.values(), *self.templates]))
        rows = [
            {
                "template_id": f"policy{len(static) + int(template[1:])}",
                "new_id": name,
                "values": {
                    "?principal": {"type": principal, "id": "x"},
                    "?resource": {"type": resource, "id": "x"},
                },
            }
            for name, (template, principal, resource) in self._links().items()
            if name not in without
        ]
        handle = handle.with_linked_batch(rows) if rows else handle
        # The schema makes the engine refuse whatever does not fit it, and gives actions their groups.
        schema = cedarpy.Schema.from_str(str(self.vocabulary))
        known = cedarpy.Entities.from_json_str(json.dumps(entities), schema)

        def decide(request):
            answer = cedarpy.is_authorized(request, handle, known, schema)
            assert answer.decision.value in ("Allow", "Deny"), answer.diagnostics.errors
            erred = {name for text in answer.diagnostics.errors for name in re.findall(r"`(policy\d+|l\d+)`", text)}
            return (
                answer.decision.value,
                {names.get(name, name) for name in answer.diagnostics.reasons},
                {names.get(name, name) for name in erred},
            )

        return decide


RICH = Vocabulary(
    member_of={"A": ("A", "B"), "B": ("B",), "C": ("D",), "D": ("A", LISTED)},
    groups={"a0": (), "a1": ("a0",), "a2": ("a1",), "a3": ("a0",)},
    applies={"a0": ((), ()), "a1": (TYPES, TYPES), "a2": (("A", "B"), ("C", LISTED)), "a3": (("A",), ("C", "D"))},
)
"""Most scopes can match."""


@st.composite
def worlds(draw, vocabularies):
    """Their policies share parts of their scopes, so that some cover others."""
    principals = [*draw(st.lists(sides("principal"), min_size=1, max_size=2)), "principal"]
    actions = [*draw(st.lists(ACTION_SCOPES, min_size=1, max_size=2)), "action"]
    resources = [*draw(st.lists(sides("resource"), min_size=1, max_size=2)), "resource"]
    static = st.builds(
        "{}({}, {}, {}) {};".format,
        EFFECTS,
        st.sampled_from(principals),
        st.sampled_from(actions),
        st.sampled_from(resources),
        st.sampled_from(CONDITIONS),
    )
    return World(
        draw(vocabularies),
        draw(st.lists(static, min_size=2, max_size=8)),
        draw(st.lists(TEMPLATES, max_size=2)),
        draw(st.lists(st.tuples(st.sampled_from("01"), KINDS, KINDS), max_size=3)),
    )


@st.composite
def hierarchies(draw, vocabulary):
    """Entities that fit the schema, without circles; some parents are named but not given."""
    everyone = [{"type": kind, "id": name} for kind in draw(st.permutations(TYPES)) for name in IDS]
    leaves = [{"type": LISTED, "id": "x"}]
    entities = []
    for place, one in enumerate(everyone):
        allowed = [
            other for other in everyone[place + 1 :] + leaves if other["type"] in vocabulary.member_of[one["type"]]
        ]
        parents = [other for other in allowed if draw(st.booleans())]
        if draw(st.integers(0, 9)):
            entities.append({"uid": one, "attrs": {}, "parents": parents})
    return entities


def requests(vocabulary):
    """Every request that the schema allows for the ids that there are."""
    for principal, action, resource in vocabulary.environments():
        for first, second in product(IDS[: 1 if principal == LISTED else 2], IDS[: 1 if resource == LISTED else 2]):
            yield {
                "principal": {"type": principal, "id": first},
                "action": {"type": "Action", "id": action},
                "resource": {"type": resource, "id": second},
                "context": {},
            }


def named(problems, words):
    """The ids of policies and links that warnings with these words are about."""
    found = (re.match(rf"(?:policy|link) `([^`]+)` {words}", problem.message) for problem in problems)
    return {match[1] for match in found if match}


@settings(max_examples=300)
@given(worlds(vocabularies() | st.just(RICH) | st.just(RICH)), st.data())
def test_what_is_called_impossible_never_happens(world, data):
    problems = world.analysis().problems
    false = named(problems, "can never match: one of its conditions")
    # A template's own warning is about all of its links.
    false |= {name for name, (template, *_) in world._links().items() if template in false}
    never = named(problems, "can never match: (?!one of its conditions)")
    shadowed = named(problems, "never permits")
    unpermitted = {
        match[1] for problem in problems if (match := re.match(r'action `Action::"(\w+)"`', problem.message))
    }
    event(f"never {bool(never)}, shadowed {bool(shadowed)}, unpermitted {bool(unpermitted)}")
    entities = data.draw(hierarchies(world.vocabulary))
    decide, decide_without = world.decider(entities), world.decider(entities, shadowed | never | false)
    for request in requests(world.vocabulary):
        verdict, reasons, erred = decide(request)
        assert not never & (reasons | erred)
        assert not false & reasons
        assert not (verdict == "Allow" and request["action"]["id"] in unpermitted)
        assert not (verdict == "Allow" and shadowed & reasons)
        assert decide_without(request)[:2] == (verdict, reasons)


@settings(max_examples=200)
@given(vocabularies(), STATIC | TEMPLATES)
def test_a_scope_is_impossible_where_the_engine_finds_no_action_for_it(vocabulary, policy):
    """Not fewer than the validator refuses: the converse of the property above."""
    reaches = Reaches(load_schema(str(vocabulary)))
    scope = read_scope(policy)
    result = cedarpy.validate_policies(policy, cedarpy.Schema.from_str(str(vocabulary)))
    refused = any("unable to find an applicable action" in error.error for error in result.errors)
    unlisted = any("is not declared as a valid eid" in error.error for error in result.errors)
    event(f"refused {refused}, unlisted {unlisted}")
    if refused or unlisted:
        assert reaches.of(scope).actions == frozenset()
        assert reaches.why_never(scope)
    else:
        assert reaches.of(scope).actions


PIECES = re.compile(r'"[^"]*"|\??\w+|==|::|\S')


@given(STATIC | TEMPLATES, STATIC, st.data())
def test_white_space_and_comments_make_no_other_policy(policy, other, data):
    gaps = st.sampled_from((" ", "\n", "\t// when { true } permit\r\n", "\u2003"))
    spaced = "".join(piece + data.draw(gaps) for piece in PIECES.findall(policy))
    first, second, third = (Policy(id="", text=text, effect=Effect.PERMIT) for text in (policy, spaced, other))
    assert sameness(first) == sameness(second)
    assert holds(policy) is holds(spaced)
    assert (sameness(first) == sameness(third)) == (PIECES.findall(policy) == PIECES.findall(other))
