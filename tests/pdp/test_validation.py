"""Of policies that the validator cannot tell apart one is validated, and what it finds holds for all of them."""

from __future__ import annotations

import cedarpy
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from authz.core.cedar_schema import load_schema
from authz.core.cedar_scope import conditions, read_scope
from authz.core.model import Effect, Policy, PolicySnapshot
from authz.pdp import validation
from authz.pdp.compiled import compile_snapshot
from authz.pdp.validation import CHUNK, check_policies, kind_of
from tests.pdp.compiling import SCHEMA as SMALL
from tests.pdp.compiling import policy, snapshot

SCHEMA = """
namespace N {
  entity Group in [Group, Team];
  entity Team;
  entity User in [Group] { level?: Long, boss?: User };
  entity Doc in [Folder] { owner: User, level: String };
  entity Folder in [Folder] { level: Long };
  entity Colour enum ["red", "green"];
  entity MyAction;
  action "all";
  action "read" in ["all"] appliesTo { principal: [User, Colour], resource: [Doc, Folder], context: { mfa?: Bool } };
  action "write" in ["all"] appliesTo { principal: User, resource: Doc, context: { note: String } };
  action "paint" appliesTo { principal: Group, resource: [Colour, MyAction] };
}
"""
OURS, ENGINE = load_schema(SCHEMA), cedarpy.Schema.from_str(SCHEMA)
TYPES = (
    "N::User",
    "N::Group",
    "N::Team",
    "N::Doc",
    "N::Folder",
    "N::Colour",
    "N::Action",
    "N::MyAction",
    "N::Nope",
    "Action",
)
IDS = ("red", "green", "read", "write", "all", "x", "y", "аdmin", "a\\u{202e}b", "")  # fmt: skip
CONDITIONS = (
    "",
    "when { principal.level > 1 }",
    "when { principal has level && principal.level > 1 }",
    'when { resource.level == "a" }',
    "when { resource.level + 1 > 1 }",
    "when { resource.owner == principal }",
    "when { principal in resource.owner }",
    'when { principal == N::User::"x" }',
    'when { principal in N::Group::"red" && resource == N::Colour::"red" }',
    'when { principal == N::Colour::"blue" }',
    "when { context.note == context.note }",
    "when { context has mfa && context.mfa }",
    'when { N::User::"x".level > 1 }',
    'when { N::User::"x" has level } when { N::User::"x".level > 1 }',
    'when { if principal == N::User::"x" then 1 else true }',
    "when { if principal is N::Colour then principal.nothing else true }",
    'when { action == N::Action::"write" && context.note == "a" }',
)
FITTING = {"principal": ("N::User", "N::Group", "N::Colour"), "resource": ("N::Doc", "N::Folder", "N::Colour")}


def side(name):
    types = st.one_of(st.sampled_from(FITTING[name]), st.sampled_from(FITTING[name]), st.sampled_from(TYPES))
    uids = st.builds('{}::"{}"'.format, types, st.sampled_from(IDS))
    return st.one_of(
        st.just(name),
        st.builds(f"{name} == {{}}".format, uids),
        st.builds(f"{name} in {{}}".format, uids),
        st.builds(f"{name} is {{}}".format, types),
        st.builds(f"{name} is {{}} in {{}}".format, types, uids),
        st.sampled_from((f"{name} == ?{name}", f"{name} in ?{name}")),
        st.builds(f"{name} is {{}} in ?{name}".format, types),
    )


actions = st.one_of(
    st.sampled_from(("action", 'action == N::Action::"read"', 'action in N::Action::"all"')),
    st.builds('action == N::Action::"{}"'.format, st.sampled_from(("read", "write", "paint", "all", "nope"))),
    st.builds('action in [N::Action::"{}", N::Action::"read"]'.format, st.sampled_from(("all", "paint", "nope"))),
)
texts = st.builds(
    "permit({}, {}, {}) {};".format, side("principal"), actions, side("resource"), st.sampled_from(CONDITIONS)
)


def kind(text):
    return kind_of(read_scope(text), conditions(text), OURS)


def other_ids(text, ids):
    """The same head with other ids of principal and resource."""
    head, _, rest = text.partition(", action")
    scope, _, tail = rest.partition(", resource")
    place, closing, more = tail.partition(") ")
    for known in IDS:
        head = head.replace(f'"{known}"', "\0")
        place = place.replace(f'"{known}"', "\0")
    return f"{head}, action{scope}, resource{place}{closing}{more}".replace("\0", f'"{ids}"')


def verdict(text):
    """What the engine's validator finds, without the ids that it names."""
    found = cedarpy.validate_policies(text, ENGINE)
    return found.validation_passed, len(found.errors)


@settings(max_examples=500)
@given(texts, st.sampled_from(IDS))
def test_what_is_of_one_kind_is_valid_together_or_not_at_all(text, ids):
    other = other_ids(text, ids)
    if kind(text) == kind(other):
        assert verdict(text) == verdict(other)


@settings(max_examples=150)
@given(st.lists(texts, max_size=30), st.lists(st.sampled_from(IDS), min_size=30, max_size=30))
def test_the_engine_finds_the_same_as_in_each_alone(drawn, ids):
    drawn += [other_ids(text, id) for text, id in zip(drawn, ids, strict=False)]
    policies = [Policy(id=f"p{number}", text=text, effect=Effect.PERMIT) for number, text in enumerate(drawn)]
    together: list = []
    refused = check_policies(policies, ENGINE, together, lambda: None, lambda one: kind(one.text))
    single: list = []
    for one in policies:
        check_policies([one], ENGINE, single, lambda: None)
    assert together == single
    assert refused == {one.id for one in policies if not verdict(one.text)[0]}


@pytest.mark.parametrize(
    ("one", "other", "alike"),
    [
        ('principal == N::User::"x", action, resource', 'principal == N::User::"y", action, resource', True),
        ('principal, action, resource in N::Folder::"x"', 'principal, action, resource in N::Folder::"y"', True),
        ('principal in N::User::"x", action, resource', 'principal == N::User::"x", action, resource', False),
        ('principal == N::User::"x", action, resource', 'principal == N::Group::"x", action, resource', False),
        ('principal == N::Colour::"red", action, resource', 'principal == N::Colour::"blue", action, resource', False),
        ('principal in N::Action::"all", action, resource', 'principal in N::Action::"no", action, resource', False),
        ('principal in N::Nope::"x", action, resource', 'principal in N::Nope::"y", action, resource', False),
        ('principal, action == N::Action::"read", resource', 'principal, action == N::Action::"all", resource', False),
        ("principal, action, resource", "principal, action, resource is N::Doc", False),
        ("principal == ?principal, action, resource", "principal in ?principal, action, resource", False),
    ],
)
def test_types_make_a_kind_and_ids_where_they_count(one, other, alike):
    found = [kind(f"permit({head}) when {{ true }};") for head in (one, other)]
    assert (found[0] == found[1]) == alike
    assert found[0] != kind(f"permit({one}) when {{ false }};")


def test_without_a_schema_every_id_counts():
    texts = [f'permit(principal == User::"{id}", action, resource);' for id in "xy"]
    assert len({kind_of(read_scope(text), conditions(text), None) for text in texts}) == 2


@pytest.fixture
def validated(monkeypatch):
    """What the engine was asked to validate."""
    asked: list[list[str]] = []
    validates = validation._validates

    def spy(policies, schema):
        asked.append([one.id for one in policies])
        return validates(policies, schema)

    monkeypatch.setattr(validation, "_validates", spy)
    return asked


def own(number):
    return f'permit(principal == User::"{number}", action, resource == Doc::"{number}");'


def test_of_many_policies_of_one_kind_the_first_is_validated(validated):
    compiled = compile_snapshot(snapshot({f"p{number}": own(number) for number in range(3 * CHUNK)}))
    assert len(compiled.rows) == 3 * CHUNK
    assert validated == [["p0", "t"]]


def test_policies_that_keep_their_rows_are_validated_by_kind_under_another_schema(validated):
    policies = {f"p{number}": own(number) for number in range(5)}
    before = compile_snapshot(snapshot(policies))
    after = compile_snapshot(snapshot(policies, schema=SMALL + "entity More;"), before)
    assert validated == [["p0", "t"]] * 2
    assert all(after.rows[id] is before.rows[id] for id in policies)


@pytest.mark.parametrize("bad", [0, 1, CHUNK - 1, CHUNK, 2 * CHUNK + 3])
def test_one_among_many_is_named_alone(bad):
    texts = {f"p{number}": own(number) for number in range(2 * CHUNK + 4)}
    texts[f"p{bad}"] = 'permit(principal == Doc::"x", action, resource);'
    problems: list = []
    policies = snapshot(texts).policies
    assert check_policies(policies, cedarpy.Schema.from_str(SMALL), problems, lambda: None) == {f"p{bad}"}
    assert [(problem.file, problem.line) for problem in problems] == [("all.cedar", bad + 1)]


def test_each_of_a_refused_kind_is_named():
    texts = {f"p{number}": own(number).replace("User", "Group") for number in range(3)}
    problems: list = []
    policies = snapshot(texts).policies
    ours = load_schema(SMALL)

    def of(one):
        return kind_of(read_scope(one.text), conditions(one.text), ours)

    assert check_policies(policies, cedarpy.Schema.from_str(SMALL), problems, lambda: None, of) == set(texts)
    assert [problem.line for problem in problems] == [1, 2, 3]


def test_words_of_the_engine_do_not_name_its_own_ids():
    problems: list = []
    bad = [policy("x", f"permit(principal == N::{end}, action, resource);") for end in ('Colour::"blue"', 'Nope::"x"')]
    check_policies(bad, ENGINE, problems, lambda: None)
    assert problems
    assert not [problem for problem in problems if "policy0" in problem.message]


def test_a_schema_of_a_thousand_actions_is_no_matter_of_minutes(validated):
    """One policy takes the engine 10 ms there, so ten thousand would take two minutes if each were validated."""
    actions = "".join(
        f'action "a{number}" appliesTo {{ principal: [User, Group], resource: Doc }};' for number in range(1000)
    )
    policies = tuple(policy(f"p{number}", own(number)) for number in range(2000))
    compile_snapshot(PolicySnapshot(version="1", policies=policies, schema=SMALL + actions))
    assert sum(map(len, validated)) == 1
