"""JSON that can be read in one way only."""

import json
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from authz.core.strict_json import NotStrictJson, json_object


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"x",
        b"[]",
        b'"text"',
        b"1",
        b"null",
        b"{",
        b"{}{}",
        b'{"a": 1,}',
        b"{'a': 1}",
        b'{"a": NaN}',
        b'{"a": Infinity}',
        b'{"a": -Infinity}',
        b'{"a": 1, "a": 1}',
        b'{"a": {"b": 1, "b": 2}}',
        b'[{"a": 1, "a": 2}]',
        b'{"a": 1, "\\u0061": 2}',
        b'{"a": "\xff"}',
        b'{"a": "\xed\xa0\x80"}',
        b'{"a": "\n"}',
        b'\xef\xbb\xbf{"a": 1}',
        '{"a": 1}'.encode("utf-16"),
        '{"a": 1}'.encode("utf-32-le"),
        b'{"a": ' + b"9" * 5000 + b"}",
        b'{"a": ' + b"[" * 100_000,
        b'{"a":' * 100_000,
    ],
)
def test_anything_else_is_refused_without_being_repeated(data):
    with pytest.raises(NotStrictJson, match="expected"):
        json_object(data)


@given(st.dictionaries(st.text(), st.none() | st.booleans() | st.integers() | st.text() | st.lists(st.integers())))
def test_an_object_is_read_as_it_is(members):
    assert json_object(json.dumps(members).encode()) == members


@given(st.binary())
def test_no_bytes_raise_anything_else(data):
    with suppress(NotStrictJson):
        assert isinstance(json_object(data), dict)


@pytest.mark.parametrize(
    ("data", "taken"),
    [
        (b'{"a": ' + b"[" * 63 + b"]" * 63 + b"}", True),
        (b'{"a": ' + b"[" * 64 + b"]" * 64 + b"}", False),
        (b'{"a": "' + b"[{" * 500 + b'"}', True),
        (b'{"a": "\\"' + b"[{" * 500 + b'"}', True),
        (b'{"a": [' + b"[]," * 500 + b"[]]}", True),
        (b'{"a": ' + b'{"b":' * 5000 + b"1" + b"}" * 5000 + b"}", False),
        (b"[" * 100_000, False),
        # A string that never ends: read once, not once for each quote in it.
        (b'{"a": [' + b"[]," * 70 + b'"' + b'\\"' * 500_000, False),
        (b'{"a": [' + b"[]," * 70 + b'"' + b"\\\\" * 500_000 + b"\\", False),
    ],
)
def test_nesting_has_one_limit_whatever_the_python(data, taken):
    if taken:
        assert json_object(data)
    else:
        with pytest.raises(NotStrictJson):
            json_object(data)
