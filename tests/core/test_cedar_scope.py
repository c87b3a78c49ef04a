"""The head of a policy, and what of the context it may read, are told without the engine."""

from __future__ import annotations

import pytest

from authz.core.cedar_scope import Constraint, Scope, context_names, may_match, read_scope
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
    ("head", "matches"),
    [
        ("principal, action, resource", True),
        ('principal, action == N::Action::"read", resource', True),
        ('principal, action == N::Action::"write", resource', False),
        ('principal, action in N::Action::"reading", resource', True),
        ('principal, action in N::Action::"read", resource', True),
        ('principal, action in [N::Action::"write", N::Action::"reading"], resource', True),
        ('principal, action in [N::Action::"write"], resource', False),
        ("principal, action in [], resource", False),
        ("principal is N::User, action, resource is N::Doc", True),
        ("principal is N::Doc, action, resource", False),
        ("principal, action, resource is N::User", False),
        ('principal, action, resource is N::User in N::Folder::"f"', False),
        # an entity may be below one of any type
        ('principal in N::Folder::"f", action, resource in N::User::"u"', True),
        ('principal == N::User::"another", action, resource', True),
        ('principal == N::Doc::"d", action, resource', False),
        ("principal == ?principal, action, resource in ?resource", True),
    ],
)
def test_what_a_scope_may_match(head, matches):
    found = read_scope(f"permit({head});")
    types = {"principal": "N::User", "resource": "N::Doc"}
    assert may_match(found, READ, frozenset({READING}), types) is matches
