"""A list read element by element is what Python's reader makes of the whole; each element knows its line."""

from __future__ import annotations

import json

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from authz.core.json_list import JsonListError, NoList, json_list

values = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False, allow_infinity=False), st.text()),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(), inner, max_size=3)),
    max_leaves=6,
)


def read(text):
    return [element.value for element in json_list(text)]


@given(st.lists(values), st.sampled_from((None, 0, 1, "\t")))
def test_it_gives_what_the_whole_would_give(rows, indent):
    assert read(json.dumps(rows, indent=indent)) == rows
    assert read(f" \r\n\t{json.dumps(rows)}\n ") == rows


@given(st.text(alphabet='[]{},:"1-.e \n\\atrue', max_size=12))
@example("[1,]")
@example("[,1]")
@example("[1 2]")
@example("[1]]")
@example("[")
@example("")
@example("[1")
@example("[1,")
def test_it_takes_the_texts_that_python_takes(text):
    try:
        expected = json.loads(text, object_pairs_hook=distinct)
    except ValueError:
        expected = None
    try:
        found = read(text)
    except JsonListError:
        found = None
    assert found == (expected if isinstance(expected, list) else None)


def distinct(pairs):
    if len(dict(pairs)) != len(pairs):
        raise ValueError
    return dict(pairs)


def test_each_element_knows_its_line():
    text = '\n[{"a": 1},\n\n  {"a":\n 2}, 3\n, 4]'
    assert [tuple(element) for element in json_list(text)] == [(2, {"a": 1}), (4, {"a": 2}), (5, 3), (6, 4)]


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        ("", 1, "Expecting value"),
        ("\n\n  wrong", 3, "Expecting value"),
        ("[1,\n2,\n]", 3, "Expecting value"),
        ("[1\n\n2]", 3, "Expecting ',' delimiter"),
        ("[1]\n\nx", 3, "Extra data"),
        ('[1,\n{"a": }]', 2, "Expecting value"),
        ('[1,\n{"a": 1,\n"b": [{"c": 1, "c": 2}]}]', 2, "the key `c` stands twice in one object"),
        ('[1,\n["', 2, "Unterminated string starting at"),
        ("[1,\n" + "[" * 100_000, 2, "nested too deeply"),
        ("[1,\n" + "9" * 5000 + "]", 2, "a number has too many digits"),
        ("[1,\nNaN]", 2, "`NaN` is no JSON number"),
        ("[1,\n-Infinity]", 2, "`-Infinity` is no JSON number"),
    ],
)
def test_what_is_wrong_is_told_with_its_line(text, line, message):
    with pytest.raises(JsonListError) as caught:
        read(text)
    assert (caught.value.line, caught.value.message) == (line, message)


def test_elements_before_the_fault_are_given():
    elements = json_list("[1, 2, x]")
    assert [next(elements).value, next(elements).value] == [1, 2]
    with pytest.raises(JsonListError):
        next(elements)


@pytest.mark.parametrize("text", ["{}", ' {"a": [1]}', '"[1]"', "1", "-1", "true", "null"])
def test_another_kind_of_value_is_told_apart(text):
    with pytest.raises(NoList):
        read(text)
