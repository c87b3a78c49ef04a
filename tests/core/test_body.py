"""Bodies: which are read, and that each can be read in one way only."""

from __future__ import annotations

import json
from dataclasses import replace
from decimal import Decimal
from urllib.parse import parse_qsl, quote, quote_plus, urlencode

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from authz.core.body import BodyKind, BodyRules, declares_body, parse_body
from authz.core.errors import Reason, RequestRefused
from authz.core.model import BodyState, Headers
from tests.core.body_support import ALL, FORM, JSON, MULTIPART, outcome, read, request_with

BAD, LARGE = Reason.BAD_BODY, Reason.TOO_LARGE
CANARY = "c4n4ry"


# --- which body -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("body", [None, b""])
@pytest.mark.parametrize("types", [(), (JSON,), ("image/png",)])
def test_no_body_has_no_members(body, types):
    assert outcome(request_with(body, *types)) == {}


@pytest.mark.parametrize("state", [state for state in BodyState if state is not BodyState.WHOLE])
@pytest.mark.parametrize("body", [None, b"", b'{"a": 1}'])
def test_nothing_is_read_from_a_body_that_may_not_be_whole(state, body):
    assert outcome(request_with(body, JSON, state=state)) is BAD


@pytest.mark.parametrize("state", BodyState)
def test_by_setting_a_body_that_nobody_speaks_of_is_none(state):
    rules = BodyRules(kinds=frozenset(BodyKind), optional=True)
    expected = {} if state in {BodyState.WHOLE, BodyState.UNTOLD} else BAD
    assert outcome(request_with(None, JSON, state=state), rules) == expected


@pytest.mark.parametrize(
    ("state", "advice"),
    [
        (BodyState.UNTOLD, "with_request_body"),
        (BodyState.WITHHELD, "with_request_body"),
        (BodyState.WITHHELD, "forwardBody"),
        (BodyState.WITHHELD, "nginx, Caddy and HAProxy"),
        (BodyState.PARTIAL, "max_request_bytes"),
        (BodyState.ALTERED, "pack_as_bytes"),
    ],
)
def test_the_refusal_says_what_to_set_at_the_proxy(state, advice):
    with pytest.raises(RequestRefused, match=advice):
        parse_body(request_with(None, state=state), ALL)


@pytest.mark.parametrize(
    ("content_type", "kind"),
    [
        (JSON, "json"),
        ("Application/JSON", "json"),
        ("application/json; charset=utf-8", "json"),
        ('application/json;charset="UTF-8"', "json"),
        ("application/json ;odata=verbose ; charset=Utf-8", "json"),
        ("application/json;", "json"),
        ("application/vnd.api+json", "json"),
        ("application/merge-patch+json", "json"),
        ('application/problem+json; profile="a b"', "json"),
        (FORM, "form"),
        (f"{FORM}; charset=utf-8", "form"),
        (MULTIPART, "multipart"),
        ('multipart/form-data; boundary="x"', "multipart"),
    ],
)  # fmt: skip
def test_the_content_type_says_how_a_body_is_read(content_type, kind):
    bodies = {
        "json": b'{"a": "1"}',
        "form": b"a=1",
        "multipart": b'--x\r\nContent-Disposition: form-data; name="a"\r\n\r\n1\r\n--x--\r\n',
    }
    assert read(bodies[kind], content_type) == {"a": "1" if kind == "json" else ("1",)}
    for other in BodyKind:
        rules = BodyRules(kinds=frozenset({other}))
        accepted = outcome(request_with(bodies[kind], content_type), rules) is not BAD
        assert accepted is (other.value == kind)


@pytest.mark.parametrize(
    "types",
    [
        (), ("",), ("text/plain",), ("text/json",), ("application/jsonp",), ("application/json-seq",),
        ("application/xml",), ("application/+json",), ("json",), ("application/json, text/plain",),
        ("application/json; charset=latin-1",), ("application/json; charset=utf-16",),
        ("application/json; charset=utf-8; charset=utf-16",), ("application/json; charset",),
        ("application/json; charset=",), ('application/json; charset="utf-8',), ("application/json charset=utf-8",),
        ('application/json; charset="ut\\f-8"',), ("application /json",), ("application/json\x00",),
        ("multipart/mixed; boundary=x",), ("multipart/form-data",), ("application/json", "application/json"),
        ("a" * 5000,), ("application/json" + ";" * 5000 + "x",),
    ],
)  # fmt: skip
def test_other_types_are_refused(types):
    headers = Headers([("content-type", text) for text in types])
    assert outcome(replace(request_with(b'{"a": 1}'), headers=headers)) is BAD


@pytest.mark.parametrize(
    ("coding", "taken"), [("identity", True), ("Identity", True), ("gzip", False), ("br", False), ("identity, gzip", False),
                          ("x", False)]
)  # fmt: skip
def test_a_content_coding_is_refused(coding, taken):
    got = outcome(request_with(b'{"a": 1}', JSON, content_encoding=coding))
    assert got == ({"a": 1} if taken else BAD)


def test_the_limit_is_the_routes():
    body = b'{"a": 1}'
    for limit, expected in ((len(body), {"a": 1}), (len(body) - 1, LARGE)):
        rules = BodyRules(kinds=frozenset({BodyKind.JSON}), max_bytes=limit)
        assert outcome(request_with(body, JSON), rules) == expected


@pytest.mark.parametrize(
    ("headers", "declared"),
    [
        ([], False),
        ([("content-length", "0")], False),
        ([("content-length", "00")], False),
        ([("content-length", "5")], True),
        ([("content-length", "x")], True),
        ([("content-length", "0"), ("content-length", "1")], True),
        ([("transfer-encoding", "chunked")], True),
        ([("transfer-encoding", "")], True),
    ],
)
def test_what_headers_say_of_a_body(headers, declared):
    assert declares_body(Headers(headers)) is declared


# --- JSON -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "body",
    [
        b"{", b"[]", b"1", b'"a"', b"null", b" ", b"\x00", b'{"a": 1}x', b'{"a": 1} {"a": 2}', b'{"a": 1,}', b"{'a': 1}",
        b'\xef\xbb\xbf{"a": 1}', b'{"a": "\xff"}', '{"a": 1}'.encode("utf-16"),
        b'{"a": 1, "a": 1}', b'{"a": 1, "\\u0061": 2}', b'{"b": {"a": 1, "a": 2}}', b'{"b": [{"a": 1, "a": 2}]}',
        b'{"a": NaN}', b'{"a": -Infinity}', b'{"a": 01}', b'{"a": 1.}', b'{"a": 1e999999999999999999999}',
        b'{"a": ' + b"9" * 5000 + b"}", b'{"a": ' + b"[" * 70 + b"]" * 70 + b"}", b'{"a":' * 10_000,
    ],
)  # fmt: skip
def test_json_that_is_not_plain_is_refused_without_being_repeated(body):
    assert read(body) is BAD
    with pytest.raises(RequestRefused) as caught:
        parse_body(request_with(b'{"' + CANARY.encode() + b'": 1, "' + CANARY.encode() + b'": 2}', JSON), ALL)
    assert CANARY not in str(caught.value)


def test_numbers_are_exact():
    got = read(b'{"a": 0.1, "b": 12345678901234567890.12, "c": 1E2, "d": 9007199254740993, "e": -0.0}')
    assert got == {
        "a": Decimal("0.1"),
        "b": Decimal("12345678901234567890.12"),
        "c": Decimal("1E2"),
        "d": 9007199254740993,
        "e": Decimal("-0.0"),
    }


VALUE = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@given(members=st.dictionaries(st.text(), VALUE, max_size=5), escaped=st.booleans())
def test_json_is_read_as_the_standard_library_reads_it(members, escaped):
    try:
        body = json.dumps(members, ensure_ascii=escaped).encode()
    except UnicodeEncodeError:
        return  # a lone surrogate has no bytes
    assert read(body) == json.loads(body) == members


@given(number=st.floats(allow_nan=False, allow_infinity=False))
def test_fractions_keep_every_digit(number):
    got = read(json.dumps({"a": number}).encode())
    assert isinstance(got, dict)
    assert float(got["a"]) == number  # type: ignore[arg-type]
    assert str(got["a"]).lower() == repr(number).replace("e-0", "e-") or got["a"] == Decimal(repr(number))


# --- forms ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "fields"),
    [
        (b"a=1", {"a": ("1",)}),
        (b"a=1&b=2&a=3", {"a": ("1", "3"), "b": ("2",)}),
        (b"a=x+y%2Bz", {"a": ("x y+z",)}),
        (b"a%20b=%C3%A4", {"a b": ("ä",)}),
        (b"a", {"a": ("",)}),
        (b"a=", {"a": ("",)}),
        (b"a=b=c", {"a": ("b=c",)}),
        (b"&&a=1&", {"a": ("1",)}),
        (b"a=%3B%26%3D", {"a": (";&=",)}),
        (b"_charset_=UTF-8&a=1", {"_charset_": ("UTF-8",), "a": ("1",)}),
        (b"a=line%0D%0Abreak", {"a": ("line\r\nbreak",)}),
    ],
)
def test_forms(body, fields):
    assert read(body, FORM) == fields


@pytest.mark.parametrize(
    "body",
    [
        b"a=%", b"a=%4", b"a=%zz", b"%=1", b"a=%FF", b"a=%ED%A0%80", b"a=1;b=2", b"a=\xc3\xa4", b"a=1\n", b"a=\x00",
        b"a=%00", b"a%00b=1", b"=1", b"%20a=1", b"+a=1", b"a+=1", b"a%09=1", b"a%0A=1",
        b"_charset_=iso-8859-1&a=1",
    ],
)  # fmt: skip
def test_forms_that_two_readers_read_differently_are_refused(body):
    assert read(body, FORM) is BAD


def test_a_form_has_a_bounded_number_of_fields():
    assert read(b"&".join([b"a=1"] * 256), FORM) == {"a": ("1",) * 256}
    assert read(b"&".join([b"a=1"] * 257), FORM) is LARGE
    assert read(b"&" * 60_000, FORM) is LARGE


NAME = st.text(min_size=1, max_size=8)
FIELDS = st.lists(st.tuples(NAME, st.text(max_size=12)), min_size=1, max_size=6)


@given(fields=FIELDS, quoted=st.sampled_from([quote, quote_plus]))
@example(fields=[("a&=;", "b&=;%+ ")], quoted=quote)
def test_a_form_is_read_as_the_standard_library_reads_it(fields, quoted):
    try:
        body = urlencode(fields, quote_via=quoted).encode()
    except UnicodeEncodeError:
        return
    got = read(body, FORM)
    if isinstance(got, dict):
        pairs = parse_qsl(body.decode(), keep_blank_values=True, strict_parsing=True)
        assert got == {name: tuple(value for n, value in pairs if n == name) for name, _ in pairs}
    else:
        assert any("\0" in name + value or name != name.strip() or not name.isprintable() or name == "_charset_"
                   for name, value in fields)  # fmt: skip


# --- whatever comes ---------------------------------------------------------------------------------------

SEEDS = [
    b'{"a": 1, "b": [1.5, {"c": null}]}',
    b"a=1&b=%C3%A4+x",
    b'--x\r\nContent-Disposition: form-data; name="a"\r\n\r\n1\r\n--x--\r\n',
]
EDIT = st.tuples(st.integers(0, 80), st.binary(max_size=4), st.integers(0, 6))


@given(
    seed=st.sampled_from(SEEDS),
    edits=st.lists(EDIT, max_size=5),
    content_type=st.sampled_from([JSON, FORM, MULTIPART]) | st.text(max_size=40),
)
def test_no_bytes_raise_anything_but_a_refusal(seed, edits, content_type):
    body = seed
    for position, inserted, removed in edits:
        body = body[:position] + inserted + body[position + removed :]
    try:
        request = request_with(body, content_type)
    except RequestRefused:
        return  # a control character in the header
    assert outcome(request) is not None
