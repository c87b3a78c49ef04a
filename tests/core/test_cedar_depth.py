"""What passes the limits neither crashes the engine nor makes it skip or miss anything; what is measured is real.

The engine is asked in processes of their own, on threads whose stacks are as small as they come in practice.
"""

import json
import re
import subprocess
import sys

import cedarpy
import pytest
from hypothesis import given
from hypothesis import strategies as st

from authz.core.cedar_depth import MAX_CHAIN, MAX_DEPTH, check_depth
from authz.core.cedar_lex import SourceError
from authz.core.cedar_text import CedarTextError, scan_statements

NO_LIMIT = 10**9


def policy(expression):
    return f"permit(principal, action, resource) when {{ {expression} }};"


def nested(opening, inner, closing):
    return lambda n: policy(opening * n + inner + closing * n)


def chained(operator, operand):
    return lambda n: policy(operator.join([operand] * (n + 1)))


SHAPES = {
    "parentheses": nested("(", "context.b", ")"),
    "signs": nested("!!!!(", "context.b", ")"),
    "minus": lambda n: policy(f"{'----(' * n}1{')' * n} == 1"),
    "sets": lambda n: policy(f"{'[' * n}1{']' * n} != [2]"),
    "records": lambda n: policy(f"{'{a: ' * n}1{'}' * n} != {{b: 2}}"),
    "calls": nested("[context.b].contains(", "context.b", ")"),
    "if": nested("if context.b then ", "context.b", " else false"),
    "else if": lambda n: policy("if !context.b then false else " * n + "context.b"),
    "if if": nested("if ", "context.b", " then true else false"),
    "if in brackets": nested("!!(if ", "context.b", " then true else false)"),
    "brackets and chains": lambda n: policy("(" * 30 + "context.b" + (" && context.b" * (n // 30) + ")") * 30),
    "chains in brackets": nested("(true && false || ", "context.b", " && context.b || false)"),
    "or": lambda n: policy("!context.b || " * n + "context.b"),
    "and": chained(" && ", "context.b"),
    "plus": lambda n: policy(f"{'1 + ' * n}1 == {n + 1}"),
    "minus chain": lambda n: policy(f"{n} {'- 1 ' * n} == 0"),
    "times": lambda n: policy(f"{'1 * ' * n}1 == 1"),
    "accesses": lambda n: policy(f"principal{'.n' * n}.b"),
    "index": lambda n: policy("principal" + '["n"]' * n + ".b"),
    "has": lambda n: policy(f"principal has {'.'.join(['n'] * n)}"),
    "has and use": lambda n: policy(f"principal has {'.'.join(['n'] * n)} && principal{'.n' * n}.b"),
    "conditions": lambda n: "permit(principal, action, resource) " + "when { context.b } " * n + ";",
    "exceptions": lambda n: "permit(principal, action, resource) " + "unless { !context.b } " * n + ";",
}
WORLD = {
    "schema": "entity N { n: N, b: Bool }; action r appliesTo { principal: N, resource: N, context: { b: Bool } };",
    "entities": [
        {
            "uid": {"type": "N", "id": "a"},
            "attrs": {"n": {"__entity": {"type": "N", "id": "a"}}, "b": True},
            "parents": [],
        }
    ],
}

# Parses, validates and evaluates each text on a thread of the given stack; one line of JSON for each.
ENGINE = """
import cedarpy, json, sys, threading

given = json.load(sys.stdin)
request = {"principal": 'N::"a"', "action": 'Action::"r"', "resource": 'N::"a"', "context": {"b": True}}

def ask(text):
    policies = cedarpy.PolicySet.from_str(text)
    answer = cedarpy.is_authorized(request, policies, given["entities"])
    errors = [error.error for error in cedarpy.validate_policies(text, given["schema"]).errors]
    return [answer.decision.name, answer.diagnostics.errors, errors]

def run():
    for text in given["texts"]:
        print(json.dumps(ask(text)), flush=True)

threading.stack_size(given["stack"])
thread = threading.Thread(target=run)
thread.start()
thread.join()
"""


def ask_engine(texts, stack):
    """What the engine answers to each text on a thread of so many KiB of stack; it must live to answer all."""
    given = json.dumps({"texts": texts, "stack": stack * 1024, **WORLD})
    done = subprocess.run(  # noqa: PLW1510 - the return code is the test
        [sys.executable, "-c", ENGINE], input=given, capture_output=True, text=True, timeout=100
    )
    answers = [json.loads(line) for line in done.stdout.splitlines()]
    assert done.returncode == 0, (done.returncode, texts[len(answers)][:200], done.stderr[-500:])
    return answers


def allowed(text, **limits):
    try:
        scan_statements(text, max_statement_bytes=NO_LIMIT, **limits)
    except CedarTextError:
        return False
    return True


def largest(shape, **limits):
    """The deepest text of a shape that passes the limits."""
    lowest, beyond = 0, 4 * MAX_CHAIN
    assert not allowed(shape(beyond), **limits)
    while beyond - lowest > 1:
        middle = (lowest + beyond) // 2
        lowest, beyond = (middle, beyond) if allowed(shape(middle), **limits) else (lowest, middle)
    assert lowest > 10
    return shape(lowest)


def test_the_deepest_that_passes_is_decided_on_two_mebibytes_of_stack():
    """The stack of a thread under `ulimit -s unlimited`; usual are eight."""
    texts = [largest(shape) for shape in SHAPES.values()]
    for name, (decision, errors, _) in zip(SHAPES, ask_engine(texts, 2048), strict=True):
        assert (decision, errors) == ("Allow", []), name


def test_the_deepest_that_passes_is_parsed_and_validated_on_one_mebibyte_of_stack():
    """The stack of a thread under musl. Evaluation may stop there with an error, which is no crash."""
    ask_engine([largest(shape) for shape in SHAPES.values()], 1024)


def test_half_the_chain_is_decided_on_one_mebibyte_of_stack():
    texts = [largest(shape, max_chain=150) for shape in SHAPES.values()]
    for name, (decision, errors, _) in zip(SHAPES, ask_engine(texts, 1024), strict=True):
        assert (decision, errors) == ("Allow", []), name


def test_the_deepest_that_passes_is_validated_to_its_ends():
    """Beyond its depth the validator passes everything: a mistake at either end must still be found."""
    texts = [largest(shape) for name, shape in SHAPES.items() if name not in ("sets", "records")]
    faulty = [text[: end.start()] + "absent" + text[end.end() :] for text in texts for end in ends(text)]
    assert len(faulty) > len(SHAPES)
    for text, (_, _, errors) in zip(faulty, ask_engine(faulty, 2048), strict=True):
        assert any("`absent`" in error for error in errors), text[:100]


def ends(text):
    """Where the attribute `b` is read first and last."""
    found = list(re.finditer(r"\bb\b", text))
    return {found[0], found[-1]} if found else ()


# --- the measure


def engine_height(text):
    """Height of the engine's own syntax tree of a policy's only condition: operators above a leaf."""
    (found,) = json.loads(cedarpy.policies_to_json_str(text))["staticPolicies"].values()
    (condition,) = found["conditions"]
    return height(condition["body"])


def height(node):
    if not isinstance(node, dict) or node.keys() & {"Value", "Var", "Slot"}:
        return 0
    ((operator, operands),) = node.items()
    if operator == "Record":
        return 1 + max(map(height, operands.values()), default=0)
    inner = operands.values() if isinstance(operands, dict) else operands
    return 1 + max((height(operand) for operand in inner if isinstance(operand, dict)), default=0)


def measured(text):
    """The smallest limit under which a text passes."""
    return next(limit for limit in range(10_000) if passes(text, limit))


def passes(text, limit):
    try:
        check_depth(text, 0, NO_LIMIT, limit)
    except SourceError:
        return False
    return True


LEAVES = st.sampled_from(["1", "true", "context", "principal", '"a"', 'User::"b"', 'context["if"]', 'ip("::1")', "[]"])


def combined(inner):
    pair = st.tuples(inner, inner)
    operator = st.sampled_from(["+", "-", "*", "==", "<", "&&", "||", "in"])
    chain = st.sampled_from([" + ", " * ", " && ", " || "])
    return st.one_of(
        st.tuples(inner, operator, inner).map(lambda e: f"({e[0]}) {e[1]} ({e[2]})"),
        st.tuples(st.lists(inner.map("({})".format), min_size=2, max_size=5), chain).map(lambda e: e[1].join(e[0])),
        st.lists(st.sampled_from(["1", "2 * 3", "4 - 5", "-6 * 7 + 8"]), min_size=1, max_size=4).map(
            lambda e: " + ".join(e) + " < 9 && !context.a.b || true"
        ),
        st.tuples(st.sampled_from(["!", "!!", "-", "---"]), inner).map(lambda e: f"{e[0]}({e[1]})"),
        inner.map(lambda e: f"({e}).a.b"),
        inner.map(lambda e: f'({e})["a"].f'),
        inner.map(lambda e: f"({e}) has a.b.c.d"),
        inner.map(lambda e: f'({e}) like "*a"'),
        inner.map(lambda e: f"({e}) is A::B in principal"),
        pair.map(lambda e: f"({e[0]}).contains({e[1]}).isEmpty()"),
        pair.map(lambda e: f"decimal({e[0]}).lessThan({e[1]})"),
        pair.map(lambda e: f"[{e[0]}, {e[1]}, 1]"),
        pair.map(lambda e: f'{{a: {e[0]}, "if": {e[1]}}}'),
        st.tuples(inner, inner, inner).map(lambda e: f"if {e[0]} then {e[1]} else {e[2]}"),
    )


@given(expression=st.recursive(LEAVES, combined, max_leaves=12))
def test_the_measure_is_never_below_the_height_of_the_engines_tree(expression):
    text = policy(expression)
    assert measured(text) >= engine_height(text)


@pytest.mark.parametrize(
    ("name", "slack"),
    [("or", 5), ("and", 3), ("plus", 3), ("accesses", 3), ("has", 3), ("else if", 3), ("conditions", 3)],
)
def test_the_measure_is_close_to_the_height_for_plain_chains(name, slack):
    assert 40 <= measured(SHAPES[name](40)) <= 40 + slack


def test_an_ordinary_policy_is_far_from_the_limits():
    terms = " || ".join(f'resource.owner == User::"user-{number}"' for number in range(150))
    assert allowed(policy(f'principal has role && ({terms}) && context.ip.isInRange(ip("10.0.0.0/8"))'))


@pytest.mark.parametrize(
    ("text", "limits", "said"),
    [
        (SHAPES["parentheses"](MAX_DEPTH), {}, f"more than {MAX_DEPTH} nested brackets and `if`s"),
        (SHAPES["if"](MAX_DEPTH), {}, f"more than {MAX_DEPTH} nested brackets and `if`s"),
        (SHAPES["accesses"](MAX_DEPTH), {}, f"more than {MAX_DEPTH} attribute accesses in a row"),
        (SHAPES["index"](MAX_DEPTH), {}, f"more than {MAX_DEPTH} attribute accesses in a row"),
        (SHAPES["and"](MAX_CHAIN), {}, f"more than {MAX_CHAIN} operators in one expression: use a set"),
        (SHAPES["conditions"](MAX_CHAIN), {}, f"more than {MAX_CHAIN} operators in one expression"),
        (SHAPES["plus"](10), {"max_chain": 9}, "more than 9 operators in one expression"),
        (SHAPES["sets"](3), {"max_depth": 3}, "more than 3 nested brackets and `if`s"),
    ],
)
def test_what_passes_a_limit_is_refused_with_the_remedy(text, limits, said):
    with pytest.raises(CedarTextError) as caught:
        scan_statements(f"// one\n{text}", **limits)
    assert said in caught.value.message
    assert caught.value.line == 2


def test_separate_expressions_do_not_add_up():
    choices = ", ".join(["if context.b then [1] else [2 + 3]"] * 100)
    assert allowed(policy(f"[{choices}].contains([])"))
    conditions = "when { if a then b.c else d } unless { [1] == [2] } " * 60
    assert allowed(f"permit(principal, action, resource) {conditions};")
