"""What `authz check` warns of: each warning beside the near miss that it must not be given for."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest

from authz.core.cedar_schema import load_schema
from authz.core.model import EntityUid, TemplateLink
from authz.pdp.analysis import MANY_UNSCOPED, analyse
from authz.pdp.analysis_text import action_lines, holds
from authz.pdp.compiled import compile_snapshot
from authz.stores.file import FileStore
from tests.pdp.test_cedar import snapshot

ROOT = Path(__file__).parents[2]
SCHEMA = """namespace N {
  entity Team in [Team];
  entity User in [Team];
  entity Robot;
  entity Region in [Country];
  entity Country;
  entity Store in [Region];
  entity Order in [Store];
  entity Api;
  entity Colour enum ["red", "green"];
  action all, "alone"; action reading, writing in [all];
  action read in [reading]
    appliesTo { principal: User, resource: Order };
  action list in [reading] appliesTo { principal: [User, Robot], resource: Api };
  action "write" in [writing] appliesTo { principal: User, resource: [Order, Colour] };
  action drive in [writing] appliesTo { principal: Robot, resource: Colour };
}
"""
PERMIT_ALL = '@id("all") permit(principal, action, resource);'


def analysed(text, *, schema=SCHEMA, links=()):
    """Not validated by the engine, as in a store that does not: it refuses many of these before."""
    given = snapshot(text, schema=None, entities=[], links=links)
    compiled = compile_snapshot(given)
    read = load_schema(schema) if schema is not None else None
    return analyse(replace(compiled, schema=read, snapshot=replace(given, schema=schema)))


def told(text, about="", **changes):
    """The messages that hold `about`."""
    return [problem.message for problem in analysed(text, **changes).problems if about in problem.message]


def link(name, template="t", **values):
    uids = {f"?{slot}": EntityUid(*value.split(" ")) for slot, value in values.items()}
    return TemplateLink(id=name, template_id=template, values=uids, file="links.json")


# --- policies that can never match


@pytest.mark.parametrize(
    ("scope", "why"),
    [
        # the action
        ("principal, action in [], resource", "its `action in []` names no action"),
        ('principal, action == N::Action::"alone", resource', '`N::Action::"alone"` applies to nothing'),
        ('principal, action == N::Action::"reading", resource', '`N::Action::"reading"` applies to nothing'),
        ('principal, action in [N::Action::"alone"], resource', '`N::Action::"alone"` applies to nothing'),
        ('principal, action == N::Action::"nope", resource', 'the schema has no action `N::Action::"nope"`'),
        ('principal, action == M::Action::"read", resource', 'the schema has no action `M::Action::"read"`'),
        # a type that no action takes
        ("principal is N::Store, action, resource", "takes a principal of `N::Store`; they take `N::Robot`, `N::User`"),
        ('principal == N::Team::"t", action, resource', "takes a principal of `N::Team`"),
        ('principal is N::Robot, action == N::Action::"read", resource', "a principal of `N::Robot`; they take `N::User`"),
        ('principal, action == N::Action::"read", resource is N::Api', "a resource of `N::Api`; they take `N::Order`"),
        ('principal, action in N::Action::"reading", resource is N::Colour', "a resource of `N::Colour`"),
        ("principal is N::Nope, action, resource", "the schema has no entity type `N::Nope`"),
        ('principal in N::Nope::"x", action, resource', "the schema has no entity type `N::Nope`"),
        ('principal == N::Action::"read", action, resource', "the schema has no entity type `N::Action`"),
        # what the hierarchy never reaches
        ('principal in N::Store::"s", action, resource', "which can never be in a `N::Store`"),
        ('principal in N::Robot::"r", action == N::Action::"read", resource', "which can never be in a `N::Robot`"),
        ('principal, action == N::Action::"list", resource in N::Store::"s"', "are of `N::Api`, which can never be in"),
        ('principal is N::Robot in N::Team::"t", action, resource', "a `N::Robot` can never be in a `N::Team`"),
        ('principal is N::Team in N::User::"u", action, resource', "a `N::Team` can never be in a `N::User`"),
        ('principal is N::Team in N::Team::"t", action, resource', "takes a principal of `N::Team`"),
        # ids that the schema does not list
        ('principal, action, resource == N::Colour::"blue"', 'does not list `N::Colour::"blue"`'),
        ('principal, action, resource in N::Colour::"blue"', 'does not list `N::Colour::"blue"`'),
        # both sides together
        ("principal is N::Robot, action, resource is N::Order",
         "takes a principal of `N::Robot` together with a resource of `N::Order`"),
        ('principal in N::Team::"t", action, resource == N::Store::"s"', "a resource of `N::Store`"),
    ],
)  # fmt: skip
def test_a_scope_that_nothing_can_match_is_told(scope, why):
    (text,) = told(f'@id("x") permit({scope});', "can never match")
    assert text.startswith("policy `x` can never match: ")
    assert text.endswith("; correct its scope, or remove it")
    assert why in text


@pytest.mark.parametrize(
    "scope",
    [
        "principal, action, resource",
        'principal, action in [N::Action::"alone", N::Action::"read"], resource',
        'principal, action in N::Action::"reading", resource',
        'principal, action in [N::Action::"read"], resource',
        'principal is N::Robot, action == N::Action::"list", resource',
        'principal is N::Robot, action in N::Action::"reading", resource',
        'principal is N::Robot, action in N::Action::"writing", resource is N::Colour',
        'principal, action in N::Action::"all", resource',
        "principal is N::Robot, action, resource is N::Api",
        'principal in N::Team::"t", action, resource',
        'principal in N::User::"u", action, resource',
        'principal is N::User in N::User::"u", action, resource',
        'principal is N::User in N::Team::"t", action, resource',
        'principal, action, resource in N::Country::"c"',
        'principal, action == N::Action::"write", resource in N::Region::"r"',
        'principal, action, resource in N::Order::"o"',
        'principal, action, resource == N::Colour::"red"',
        'principal, action, resource in N::Colour::"green"',
        'principal == N::User::"u", action, resource == N::Order::"o"',
    ],
)
def test_a_scope_that_something_can_match_is_not(scope):
    assert told(f'@id("x") permit({scope});', "can never match") == []


def test_links_are_read_with_their_values_and_told_by_their_own_name():
    text = """@id("t") permit(principal in ?principal, action == N::Action::"read", resource in ?resource);
              @id("u") permit(principal == ?principal, action == N::Action::"drive", resource);"""
    links = (
        link("good", principal="N::Team t", resource="N::Store s"),
        link("far", principal="N::Team t", resource="N::Country s"),
        link("swapped", principal="N::Store s", resource="N::Team t"),
        link("unknown", principal="N::Nope t", resource="N::Store s"),
        link("robot", "u", principal="N::Robot r"),
        link("user", "u", principal="N::User r"),
    )
    found = [problem for problem in analysed(text, links=links).problems if "can never match" in problem.message]
    assert [problem.message.split("`")[1] for problem in found] == ["swapped", "unknown", "user"]
    assert all(problem.message.startswith("link `") for problem in found)
    assert {problem.file for problem in found} == {"links.json"}


@pytest.mark.parametrize(
    ("conditions", "expected"),
    [
        ("", True),
        ("when { true }", True),
        ("unless { false }", True),
        ("when {\n((true)) // yes\n} unless { (false) }", True),
        ("when { false }", False),
        ("unless { true }", False),
        ("when { true } when { false }", False),
        ("when { principal == resource } unless { true }", False),
        ("when { principal == resource }", None),
        ("when { true } when { principal == resource }", None),
        ("when { !true }", None),
        ("when { true && true }", None),
        ("when { (true) || (false) }", None),
        ('when { principal == N::User::"false" }', None),
        ("when { context has false1 }", None),
        ("when { {a: false}.a }", None),
        ("when { [true].contains(true) }", None),
        ("when { if true then false else false }", None),
    ],
)
def test_literal_conditions(conditions, expected):
    for before in ("", '@when("unless { true }") ', '@permit("(") @unless ', "// when { false }\n"):
        assert holds(f"{before}permit(principal, action, resource) {conditions};") is expected
    assert (
        holds(f'@permit forbid(principal == N::User::"when {{ false }}", action, resource) {conditions};') is expected
    )


def test_a_false_condition_is_told_once_for_policy_and_template():
    text = """@id("f") forbid(principal, action, resource) when { false };
              @id("t") permit(principal == ?principal, action, resource) unless { true };
              @id("ok") permit(principal, action, resource) when { true };"""
    links = (link("a", principal="N::User a"), link("b", principal="N::User b"))
    found = told(text, "can never match", links=links)
    assert [message.split("`")[1] for message in found] == ["f", "t"]
    assert told(text, "can never match", links=links, schema=None) == found


# --- permits that a forbid covers

READ = 'principal, action == N::Action::"read", resource'


@pytest.mark.parametrize(
    ("forbid", "permit"),
    [
        ("principal, action, resource", "principal, action, resource"),
        ("principal, action, resource", READ),
        (READ, READ),
        (READ, 'principal in N::Team::"t", action == N::Action::"read", resource == N::Order::"o"'),
        # groups and lists of actions
        ('principal, action in N::Action::"reading", resource', READ),
        ('principal, action in [N::Action::"list", N::Action::"read"], resource', READ),
        ('principal, action in [N::Action::"list", N::Action::"read"], resource',
         'principal, action in N::Action::"reading", resource'),
        ('principal, action in N::Action::"all", resource', 'principal, action in N::Action::"reading", resource'),
        ('principal, action in N::Action::"all", resource', "principal, action, resource"),
        # a permit's type leaves only some of its actions
        ('principal, action == N::Action::"list", resource', "principal, action, resource is N::Api"),
        # types: of `read` all principals are users
        ("principal is N::User, action, resource", READ),
        ("principal, action, resource is N::Order", READ),
        ("principal is N::User, action, resource", 'principal == N::User::"u", action, resource'),
        ("principal is N::User, action, resource", 'principal in N::Team::"t", action, resource'),
        # the same names
        ('principal == N::User::"u", action, resource', 'principal == N::User::"u", action, resource'),
        ('principal in N::User::"u", action, resource', 'principal == N::User::"u", action, resource'),
        ('principal in N::Team::"t", action, resource', 'principal is N::User in N::Team::"t", action, resource'),
        ('principal is N::User in N::Team::"t", action, resource', 'principal in N::Team::"t", action, resource'),
        ('principal, action, resource in N::Store::"s"',
         'principal == N::User::"u", action == N::Action::"read", resource in N::Store::"s"'),
    ],
)  # fmt: skip
def test_a_permit_whose_scope_a_forbid_covers_is_told(forbid, permit):
    text = f'@id("p") permit({permit}) when {{ principal == resource }};\n@id("f") forbid({forbid})'
    for conditions in (";", " when { true };", " unless { false };"):
        (message,) = told(text + conditions, "never permits")
        assert message == (
            "policy `p` never permits: `f` (p.cedar:2), a forbid without a condition, covers its whole scope; "
            "narrow that forbid, or remove this permit"
        )
    for conditions in (" when { principal == resource };", " unless { principal == resource };", " when { false };"):
        assert told(text + conditions, "never permits") == []
    assert told((text + ";").replace("forbid", "permit"), "never permits") == []


@pytest.mark.parametrize(
    ("forbid", "permit"),
    [
        (READ, "principal, action, resource"),
        (READ, 'principal, action in N::Action::"reading", resource'),
        (READ, 'principal, action in [N::Action::"write", N::Action::"read"], resource'),
        ('principal, action in N::Action::"writing", resource', READ),
        ("principal is N::Robot, action, resource", 'principal, action == N::Action::"list", resource'),
        ("principal is N::User, action, resource", 'principal, action == N::Action::"list", resource'),
        ("principal, action, resource is N::Order", 'principal, action == N::Action::"write", resource'),
        ('principal == N::User::"u", action, resource', READ),
        ('principal == N::User::"u", action, resource', 'principal == N::User::"v", action, resource'),
        ('principal == N::User::"u", action, resource', 'principal in N::User::"u", action, resource'),
        ('principal in N::Team::"t", action, resource', 'principal in N::Team::"u", action, resource'),
        # whether they are in the group the entities say, which may change
        ('principal in N::Team::"t", action, resource', 'principal == N::User::"u", action, resource'),
        ('principal in N::Team::"t", action, resource', "principal is N::User, action, resource"),
        ('principal, action, resource in N::Store::"s"',
         'principal, action == N::Action::"read", resource in N::Region::"s"'),
        ('principal is N::User in N::Team::"t", action == N::Action::"list", resource',
         'principal, action == N::Action::"list", resource'),
        ('principal == N::User::"u", action, resource', 'principal, action, resource == N::Order::"u"'),
    ],
)  # fmt: skip
def test_a_permit_that_something_is_left_of_is_not(forbid, permit):
    assert told(f'@id("p") permit({permit}); @id("f") forbid({forbid});', "never permits") == []


def test_links_shadow_and_are_shadowed():
    text = """@id("t") permit(principal == ?principal, action == N::Action::"read", resource);
              @id("f") forbid(principal in ?principal, action, resource);"""
    links = (
        link("p1", principal="N::User a"),
        link("p2", principal="N::User b"),
        link("f1", "f", principal="N::User a"),
    )
    (message,) = told(text, "never permits", links=links)
    assert message.startswith("link `p1` never permits: `f1` (links.json), a forbid")


def test_each_permit_is_told_with_the_first_forbid_that_covers_it():
    text = f"""@id("x") permit({READ});
               @id("y") permit(principal, action == N::Action::"list", resource);
               @id("z") permit(principal, action == N::Action::"drive", resource);
               @id("reading") forbid({READ});
               @id("again") forbid({READ});
               @id("listing") forbid(principal, action == N::Action::"list", resource);"""
    found = [re.findall("`([a-z]+)`", message) for message in told(text, "never permits")]
    assert found == [["x", "reading"], ["y", "listing"]]


def test_a_policy_that_can_never_match_is_not_also_called_shadowed_and_shadows_nothing():
    text = """@id("no") permit(principal is N::Store, action, resource);
              @id("false") permit(principal, action, resource) when { false };
              @id("p") permit(principal, action, resource);
              @id("f") forbid(principal, action in [], resource);"""
    assert told(text, "never permits") == []


# --- actions that nothing permits


def unpermitted(text, **changes):
    found = [problem for problem in analysed(text, **changes).problems if "no policy permits it" in problem.message]
    return {re.findall(r'"(\w+)"', problem.message)[0]: problem.line for problem in found}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("permit(principal, action, resource);", set()),
        (f"permit({READ});", {"list", "write", "drive"}),
        ('permit(principal, action in N::Action::"reading", resource);', {"write", "drive"}),
        ('permit(principal in N::Team::"t", action, resource);', {"drive"}),
        ("permit(principal, action, resource is N::Order) when { principal == resource };", {"list", "drive"}),
        ("forbid(principal, action, resource);", {"read", "list", "write", "drive"}),
        ("permit(principal, action, resource) when { false };", {"read", "list", "write", "drive"}),
        ("permit(principal is N::Store, action, resource);", {"read", "list", "write", "drive"}),
        ("permit(principal == ?principal, action, resource);", set()),  # there are no policies, which is told elsewhere
    ],
)
def test_actions_that_no_policy_permits(text, expected):
    assert set(unpermitted(text)) == expected


def test_actions_are_told_with_the_line_of_the_schema():
    assert unpermitted("forbid(principal, action, resource);") == {"read": 12, "list": 14, "write": 15, "drive": 16}
    (problem, *_) = [
        one for one in analysed("forbid(principal, action, resource);").problems if "no policy" in one.message
    ]
    assert (problem.file, problem.severity) == ("schema.cedarschema", "warning")
    assert problem.message.startswith('action `N::Action::"drive"`: no policy permits it')


@pytest.mark.parametrize(
    ("schema", "expected"),
    [
        ("", {}),
        ("action a, b;\naction c;", {"Action a": 1, "Action b": 1, "Action c": 2}),
        ('// action x;\naction\n"a b"\n, "\\n" in [c];', {"Action a b": 3, "Action \n": 4}),
        ('@doc("action z;") action a; entity action, E in [action];', {"Action a": 1}),
        ("namespace A::B {\n action a; }\n action b; namespace C { entity E { action: String }; action c; }",
         {"A::B::Action a": 2, "Action b": 3, "C::Action c": 3}),
        ('{"": {"actions": {"a": {}}}}', {}),
        ("action ~", {}),
    ],
)  # fmt: skip
def test_lines_of_actions(schema, expected):
    assert {f"{uid.type} {uid.id}": line for uid, line in action_lines(schema).items()} == expected


# --- equal policies, links, templates without one


@pytest.mark.parametrize(
    ("other", "same"),
    [
        (f"permit({READ}) when {{ principal == resource }};", True),
        ('permit ( principal , // x\n action==N :: Action::"read",resource )\n  when{principal==resource} ;', True),
        (f'@id("b") @owner("me") permit({READ}) when {{ principal == resource }};', False),
        (f"forbid({READ}) when {{ principal == resource }};", False),
        (f"permit({READ});", False),
        (f"permit({READ}) unless {{ principal == resource }};", False),
        (f"permit({READ}) when {{ resource == principal }};", False),
        (f"permit({READ.replace('read', 'list')}) when {{ principal == resource }};", False),
    ],
)
def test_policies_that_differ_only_in_their_ids(other, same):
    found = told(f'@id("a") permit({READ}) when {{ principal == resource }};\n{other}', "differs only in its id")
    assert found == (["policy `a` differs only in its id from `p#2` (p.cedar:2); keep one of them"] if same else [])


def test_annotations_count_but_not_their_order():
    text = f'@id("a") @x("1") @y permit({READ}); @y @x("1") permit({READ}); @x("2") @y permit({READ});'
    assert told(text, "differs only") == ["policy `a` differs only in its id from `p#2` (p.cedar:1); keep one of them"]


def test_many_that_are_equal_are_told_together():
    text = "\n".join(f'@id("p{number}") permit({READ});' for number in range(9))
    (message,) = told(text, "differs only")
    assert message.startswith("policy `p0` differs only in its id from `p1` (p.cedar:2), ")
    assert message.endswith("`p5` (p.cedar:6) and 3 more; keep one of them")


def test_links_with_the_same_template_and_values_are_equal():
    text = """@id("t") permit(principal == ?principal, action, resource);
              @id("u") permit(principal in ?principal, action, resource);"""
    links = (
        link("a", principal="N::User a"),
        link("b", principal="N::User b"),
        link("c", principal="N::User a"),
        link("d", "u", principal="N::User a"),
    )
    assert told(text, "differs only", links=links) == [
        "link `a` differs only in its id from `c` (links.json); keep one of them"
    ]


def test_templates_are_compared_and_one_without_a_link_is_told():
    text = """@id("t") permit(principal == ?principal, action, resource);
              @id("u") permit(principal == ?principal, action, resource);"""
    found = told(text, links=(link("a", principal="N::User a"),))
    assert "policy `t` differs only in its id from `u` (p.cedar:2); keep one of them" in found
    assert "policy `u` is a template without a link, so it decides nothing; link it, or remove it" in found
    assert not any(message.startswith("policy `t` is a template") for message in found)


# --- unscoped policies


def test_unscoped_policies_are_counted_by_action():
    text = f"""@id("z") permit({READ});
               @id("a") permit(principal is N::User, action, resource);
               @id("named") permit(principal == N::User::"u", action, resource);
               @id("grouped") permit(principal, action, resource in N::Store::"s");"""
    unscoped = analysed(text).unscoped
    assert (unscoped.ids, unscoped.policies) == (("a", "z"), 4)
    assert {action.id: count for action, count in unscoped.by_action} == {"read": 2, "list": 1, "write": 1}
    assert str(unscoped).splitlines() == [
        "unscoped: 2 of 4 policies name neither principal nor resource, so each request for their action evaluates them",
        "  `a`, `z`",
        '  by action: N::Action::"read" 2, N::Action::"list" 1, N::Action::"write" 1',
    ]


def test_none_unscoped_takes_one_line():
    text = 'permit(principal == N::User::"u", action, resource);'
    assert str(analysed(text).unscoped) == "unscoped: 0 of 1 policies name neither principal nor resource"


@pytest.mark.parametrize("schema", [SCHEMA, None])
def test_many_unscoped_policies_for_one_action_are_warned_of(schema):
    def policies(count, action):
        return "\n".join(
            f"permit(principal, action == {action}, resource) when {{ principal == {number} }};"
            for number in range(count)
        )

    few = policies(MANY_UNSCOPED, 'N::Action::"read"')
    assert told(few, "name neither principal", schema=schema) == []
    (message,) = told(few + PERMIT_ALL, "name neither principal", schema=schema)
    assert message.startswith(f"{MANY_UNSCOPED + 1} policies name neither principal nor resource")
    assert ('`N::Action::"read"`' in message) == (schema is not None)
    assert message.endswith("`all`, `p#1`, `p#10`, `p#100`, `p#11` and 96 more")
    spread = few + policies(MANY_UNSCOPED, 'N::Action::"list"')
    assert (told(spread, "name neither principal", schema=schema) == []) == (schema is not None)


# --- all together


@pytest.mark.parametrize(
    "folder", ["policies/documents", "docs/examples/policies", "authz/devtools/start/policies/app"]
)
def test_the_samples_have_nothing_to_be_warned_of(folder):
    analysis = analyse(compile_snapshot(FileStore(path=ROOT / folder).read()))
    assert analysis.problems == ()
    assert analysis.unscoped.policies > 0


def test_every_problem_is_a_warning_and_none_comes_without_cause():
    analysis = analysed(PERMIT_ALL)
    assert analysis.problems == ()
    found = analysed('permit(principal is N::Store, action, resource); @id("b") permit(principal, action, resource);')
    assert [(problem.severity, problem.file, problem.line) for problem in found.problems] == [("warning", "p.cedar", 1)]


def test_without_a_schema_only_what_needs_none_is_told():
    text = "permit(principal is X, action in [], resource); forbid(principal, action, resource);"
    assert told(text, schema=None) == []


def test_no_policies_at_all():
    analysis = analysed("")
    assert (analysis.problems, analysis.unscoped.ids) == ((), ())
