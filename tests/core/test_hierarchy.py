"""Circles are found, and levels are counted as far as a climb can go, by walking without recursion."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from authz.core.hierarchy import MAX_LEVELS, find_circle, find_too_deep

GRAPHS = st.dictionaries(st.integers(0, 7), st.frozensets(st.integers(0, 9), max_size=4), max_size=8)


def chain(length):
    """Node 0 in node 1 in … : as many levels as `length`; the highest is named only."""
    return {node: (node + 1,) for node in range(length - 1)}


def longest_climb(above, node, path=()):
    """Nodes on the longest way up that passes none twice."""
    if node in path:
        return 0
    return 1 + max((longest_climb(above, parent, (*path, node)) for parent in above.get(node, ())), default=0)


@given(above=GRAPHS)
def test_levels_are_never_fewer_than_a_climb_can_pass(above):
    longest = max((longest_climb(above, node) for node in above), default=0)
    for limit in range(longest):
        found = find_too_deep(above, limit)
        assert found is not None
        if find_circle(above) is None:
            assert longest_climb(above, found) > limit
    if find_circle(above) is None:
        assert find_too_deep(above, longest) is None


@given(above=GRAPHS)
def test_a_circle_is_found_wherever_there_is_one(above):
    circle = find_circle(above)
    if circle is None:
        assert all(node not in climbed(above, node) for node in above)
    else:
        for node, parent in zip(circle, (*circle[1:], circle[0]), strict=True):
            assert parent in above[node]
        assert len(set(circle)) == len(circle)


def climbed(above, node):
    found, waiting = set(), list(above.get(node, ()))
    while waiting:
        parent = waiting.pop()
        if parent not in found:
            found.add(parent)
            waiting.extend(above.get(parent, ()))
    return found


@pytest.mark.parametrize(("length", "is_too_deep"), [(1, False), (MAX_LEVELS, False), (MAX_LEVELS + 1, True)])
def test_the_limit_is_exact_for_a_chain(length, is_too_deep):
    assert (find_too_deep(chain(length)) is not None) == is_too_deep
    assert find_circle(chain(length)) is None


def test_a_hundred_thousand_levels_are_counted():
    above = chain(100_000)
    assert find_too_deep(above, 99_999) == 0
    assert find_too_deep(above, 100_000) is None
    assert len(find_circle({**above, 99_999: (0,)}) or ()) == 100_000


def test_types_that_contain_each_other_count_all():
    assert find_too_deep({"a": ("b",), "b": ("a", "c"), "c": ("d",)}, 4) is None
    assert find_too_deep({"a": ("b",), "b": ("a", "c"), "c": ("d",)}, 3) in {"a", "b"}
    assert find_too_deep({"a": ("a",)}, 1) is None
