"""What a policy reads of its resource is told in full: what is not told would be taken for equal."""

from __future__ import annotations

import pytest

from authz.core.cedar_reads import Reads, Relation, Variable, resource_reads
from authz.core.model import EntityUid

PRINCIPAL = Variable("principal")


def reads(condition: str, head: str = "(principal, action, resource)") -> Reads | None:
    return resource_reads(f"permit{head} when {{ {condition} }};")


@pytest.mark.parametrize(
    ("condition", "relation"),
    [
        ("resource.a == principal", Relation("a", "==", PRINCIPAL)),
        ("principal == resource.a", Relation("a", "==", PRINCIPAL)),
        ("resource.a != principal.b", Relation("a", "!=", Variable("principal", "b"))),
        ('context.b == resource["a b"]', Relation("a b", "==", Variable("context", "b"))),
        ('context["b c"] < resource.a', Relation("a", ">", Variable("context", "b c"))),
        ("3 <= resource.a", Relation("a", ">=", 3)),
        ("3 > resource.a", Relation("a", "<", 3)),
        ("3 >= resource.a", Relation("a", "<=", 3)),
        ("resource.a > 3", Relation("a", ">", 3)),
        ("resource.a == true", Relation("a", "==", True)),
        ("resource.a == false", Relation("a", "==", False)),
        (r'resource.a == "x\u{41}"', Relation("a", "==", "xA")),
        ('resource.a == N :: T::"x"', Relation("a", "==", EntityUid("N::T", "x"))),
        ('resource.a == resource::"x"', Relation("a", "==", EntityUid("resource", "x"))),
        ('resource.a in T::"x"', Relation("a", "in", EntityUid("T", "x"))),
        ("principal in resource.a", Relation("a", "holds", PRINCIPAL)),
        ("resource.a.contains(principal)", Relation("a", "contains", PRINCIPAL)),
        ('!resource.a.contains("x") == true', Relation("a", "contains", "x")),
        ("if resource.a == principal then true else false", Relation("a", "==", PRINCIPAL)),
        ("true && (resource.a == principal || false)", Relation("a", "==", PRINCIPAL)),
        ("[resource.a == principal, true].contains(true)", Relation("a", "==", PRINCIPAL)),
        ("{x: resource.a == principal}.x", Relation("a", "==", PRINCIPAL)),
        ("resource // here\n . a == principal", Relation("a", "==", PRINCIPAL)),
    ],
)
def test_a_whole_comparison_with_what_is_known_is_a_relation(condition, relation):
    found = reads(condition)
    assert found == Reads(relations=(relation,))
    assert type(found.relations[0].operand) is type(relation.operand)


@pytest.mark.parametrize(
    "condition",
    [
        "resource.a",
        'resource["a"]',
        "resource.a.b == principal",
        "resource has a.b",
        "resource.a has b",
        "!resource.a == true",
        "-resource.a == 1",
        "1 + resource.a == 2",
        "resource.a + 1 == 2",
        "resource.a == 1 + 1",
        "resource.a == -1",
        "resource.a == principal.b.c",
        "resource.a == principal.b()",
        "principal.b.c == resource.a",
        "resource.a == context",
        "resource.a == action",
        'resource.a == ip("10.0.0.1")',
        'resource.a like "x*"',
        "resource.a is T",
        'resource.a in [T::"x"]',
        "principal is T in resource.a",
        "resource.a.containsAny([principal])",
        "resource.a.contains(principal.b.c)",
        "resource.a.contains(1 + 1)",
        "resource.a.isEmpty()",
        "{a: resource.a} == context.a",
        "resource.a == principal && resource.a",
    ],
)
def test_any_other_use_reads_the_value(condition):
    found = reads(condition)
    assert found is not None
    assert found.values == {"a"}
    assert not found.presence


def test_each_use_counts():
    found = reads('resource has a && resource has "b c" && resource.d < 2 && resource.d > 2 && resource.e.f == 1')
    assert found is not None
    assert found.presence == {"a", "b c"}
    assert found.relations == (Relation("d", "<", 2), Relation("d", ">", 2))
    assert found.values == {"e"}


def test_equal_in_python_is_not_equal_in_cedar():
    found = reads("resource.a == 1 || resource.a == true")
    assert found is not None
    assert [type(relation.operand) for relation in found.relations] == [int, bool]


@pytest.mark.parametrize(
    "condition",
    [
        "resource == principal",
        "principal == resource",
        'resource in T::"x"',
        "resource is T",
        "resource is T in principal",
        "[resource].contains(principal)",
        "context.a == resource && resource.b",
        'resource.hasTag("x")',
        'resource.getTag("x")',
        "resource.a == 1 && principal in resource",
        "principal has resource",
        "{resource: 1}.resource == 1",
        "if true then resource else principal",
        "resource . // what?\n hasTag(context.x)",
    ],
)
def test_the_entity_itself_counts(condition):
    assert reads(condition) is None


@pytest.mark.parametrize(
    "condition",
    [
        "principal.resource == 1",
        'resource::"x" == principal',
        'principal == N::resource::"x"',
        'principal.a == "resource"',
        "// resource\n true",
        'principal["resource"] == 1',
        "true",
    ],
)
def test_the_word_alone_is_not_the_variable(condition):
    assert reads(condition) == Reads()


@pytest.mark.parametrize(
    "head",
    [
        '(principal, action, resource == T::"resource")',
        '(principal == resource::"x", action in [Action::"a"], resource in resource::"(")',
        "(principal, action, resource is N::resource in ?resource)",
        '(principal, action, resource in T::"resource.b")',
    ],
)
@pytest.mark.parametrize("mark", ["", '@permit("(resource.x")\n', '@resource @id(")")\n'])
def test_the_head_is_not_read(head, mark):
    policy = f"{mark}forbid {head} when {{ resource.a == 1 }} unless {{ resource has b }};"
    assert resource_reads(policy) == Reads(relations=(Relation("a", "==", 1),), presence=frozenset({"b"}))


def test_a_slot_in_a_condition_may_be_the_resource():
    assert resource_reads("permit(principal, action, resource == ?resource) when { ?resource.a == 1 };") is None
