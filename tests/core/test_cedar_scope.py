"""The head of a policy, and what of the context it may read, are told without the engine."""

from __future__ import annotations

import pytest

from authz.core.cedar_scope import Constraint, Scope, _scope, attribute_names, conditions, context_names, read_scope
from authz.core.model import EntityUid

ANY = Constraint()
READ, READING = EntityUid("N::Action", "read"), EntityUid("N::Action", "reading")


def scope(principal=ANY, action=ANY, resource=ANY) -> Scope:
    return Scope(principal=principal, action=action, resource=resource)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("permit(principal, action, resource);", scope()),
        ("permit(principal, action, resource,) when { [principal, action] == [resource] };", scope()),
        ('permit(principal == U::"a", action, resource);', scope(principal=Constraint(equals=EntityUid("U", "a")))),
        ("permit(principal is N::U, action, resource);", scope(principal=Constraint(type="N::U"))),
        (
            'permit(principal is N::U in N::G::"g", action, resource);',
            scope(principal=Constraint(type="N::U", within=(EntityUid("N::G", "g"),), is_in=True)),
        ),
        ("permit(principal == ?principal, action, resource);", scope(principal=Constraint(slot=True))),
        (
            "permit(principal, action, resource is D in ?resource);",
            scope(resource=Constraint(type="D", is_in=True, slot=True)),
        ),
        ('permit(principal, action == N::Action::"read", resource);', scope(action=Constraint(equals=READ))),
        (
            'forbid(principal, action in N::Action::"reading", resource);',
            scope(action=Constraint(within=(READING,), is_in=True)),
        ),
        (
            'forbid(principal, action in [N::Action::"reading", // and\n N::Action::"read"], resource);',
            scope(action=Constraint(within=(READING, READ), is_in=True)),
        ),
        ("forbid(principal, action in [], resource);", scope(action=Constraint(is_in=True))),
        (
            '@permit("(principal, action")\n@id("x, y") @forbid permit(principal, action == N::Action::"read", resource);',
            scope(action=Constraint(equals=READ)),
        ),
        (
            r'permit(principal, action, resource == D::"a\"),b");',
            scope(resource=Constraint(equals=EntityUid("D", 'a"),b'))),
        ),
        (
            'permit(principal, action, resource) when { permit(principal, action == N::Action::"x") };',
            scope(),
        ),
    ],
)
def test_the_head_of_a_policy_is_read(text, expected):
    assert read_scope(text) == expected


@pytest.mark.parametrize(
    ("condition", "names"),
    [
        ("true", set()),
        ("context.a", {"a"}),
        ("context.a.b.c == context.d", {"a", "d"}),
        ("context has a", {"a"}),
        ("context has a.b && context . b", {"a", "b"}),
        ('context has "a b" && context["c\\"d"].e', {"a b", 'c"d'}),
        ("context // a word\n .a", {"a"}),
        ("principal.context.a", set()),
        ('"context" == "context.a"', set()),
        ("[context.a, context.b].contains(context.c)", {"a", "b", "c"}),
        # in doubt: all of it
        ("context == {}", None),
        ("(context).a", None),
        ("[context].contains(context)", None),
        ("if context.a then context else {}", None),
        ("{context: 1} == {context: 1}", None),
        ("principal has context && context.a", None),
        ('context::X::"a" == principal', None),
        ("context[context.a]", None),
        ("context.a == context", None),
        ('context like "x"', None),
    ],
)
def test_what_a_policy_reads_of_the_context(condition, names):
    for word in ("when", "unless"):
        text = f'@context("context") permit(principal, action, resource) when {{ true }} {word} {{ {condition} }};'
        assert context_names(text) == (None if names is None else frozenset(names))


@pytest.mark.parametrize(
    ("condition", "names"),
    [
        ("true", set()),
        ("principal.a.b == resource . c", {"a", "b", "c"}),
        ("principal has a.b && resource has d", {"a", "b", "d"}),
        ('principal["a b"] == 1 || resource has "c d"', {"a b", "c d"}),
        ('principal.x.contains("y")', {"x", "contains"}),
        ("(if principal has a then principal else resource).b", {"a", "then", "principal", "else", "resource", "b"}),
        ('context.m != "x[" && resource["locked"]', {"m", "x[", "locked"}),
        ('context.m != "x has" && resource["locked"]', {"m", "x has", "locked"}),
        ('if resource has a then resource has "b c" else true', {"a", "b c"}),
        ('principal == U::"a[" && resource["locked"]', {"locked"}),
        ('principal["a\\"b"] == 1', {'a"b'}),
        ('principal["l\\u{6f}cked"] == 1 && resource has "\\x61"', {"locked", "a"}),
        ("principal. // why .b\n a == 1", {"a"}),
        ('principal // has d\n has // what\n a . // "\n b', {"a", "b"}),
        ('principal.a == "http://x" && resource // "\n ["c"]', {"a", "http://x", "c"}),
    ],
)
def test_attributes_that_a_policy_may_read(condition, names):
    found = attribute_names(f"permit(principal, action, resource) when {{ {condition} }};")
    noted = f'@note("see when [") permit(principal, action, resource == D::"unless[") when {{ {condition} }};'
    assert attribute_names(noted) == found
    assert found >= names


HEADS = [
    'permit(principal==U::"a",action,resource);',
    'permit (\n  principal in N::G::"a b",\n  action in [\n    N::Action::"x",\n    N::Action::"y"\n  ],\n  resource\n);',
    '@id("x") @y\nforbid(principal is N::U in ?principal, action == Action::"x", resource == ?resource,);',
    'permit(principal is N::U, action in Action::"x", resource is A::B::C in D::"\u2028");',
    "permit(principal, action in [ ], resource) when { true };",
    "permit(principal, // any\naction, resource);",
    'permit(principal == U::"\\u{61}", action, resource);',
    'permit(principal == N :: U::"a", action, resource);',
    'permit(principal == U::"a, action == Action::", action, resource);',
]


@pytest.mark.parametrize("text", HEADS)
def test_the_quick_reading_is_the_slow_one(text):
    assert read_scope(text) == _scope(text)


@pytest.mark.parametrize(
    ("head", "rest"),
    [
        (
            '@id("x")\n@deny_message("no")\nforbid (principal == U::"a", action, resource in N::F::"b")',
            " when { true };",
        ),
        ('permit(principal is N::U in N::G::"permit(", action in [A::"x"], resource is D)', "unless{context.a};"),
        ('@a("permit(principal") forbid(principal, action, resource)', ";"),
        ("permit(principal == ?principal, action, resource)", " // why\n;"),
        ('permit(principal == U::"\\u{61})", action in [A::"x", A::"y"], resource)', " when { (1 == 1) };"),
        ("@permit\n@forbid // (principal\npermit // (\n(principal // )\n, action, resource,)", " when { true };"),
    ],
)
def test_what_stands_behind_the_head(head, rest):
    assert conditions(head + rest) == rest
