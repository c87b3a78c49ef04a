"""Values: from a request or a token, into a Cedar type, or refused."""

from __future__ import annotations

import json

import cedarpy
import pytest
from hypothesis import given
from hypothesis import strategies as st

from authz.core.convert import convert
from authz.core.errors import Reason, RequestRefused, Unauthenticated
from authz.core.lookup import Lookup, Source
from authz.core.mapping import (
    MappingError,
    parse_source,
    parse_template,
    parse_type,
    parse_uid,
)
from authz.core.model import EntityUid, Extension, Headers, Identity, Peer
from authz.core.request import canonical_request

IDENTITY = Identity(
    scheme="bearer",
    issuer="https://i",
    subject="alice",
    principal=EntityUid("N::User", "alice"),
    claims={"amr": ["pwd", "mfa"], "a.b": "dotted", "org": {"unit": {"name": "fin"}}, "n": 5, "gone": None},
)
PARAMETERS = frozenset({"id"})
REQUEST = canonical_request(
    id="d-1",
    method="GET",
    scheme="https",
    host="Docs.Example",
    target="/d/7?tag=a&tag=b&page=2",
    headers=Headers([("X-Tenant", "t1"), ("x-groups", "a, b"), ("x-groups", "c")]),
    peer=Peer(trusted=True),
    source_address="192.0.2.1",
    extensions={
        "envoy.source.principal": "spiffe://td/ns/n/sa/s",
        "envoy.sni": "docs.example",
        "envoy.context.policy.id": "p1",
    },
)


def lookup():
    return Lookup(REQUEST, IDENTITY, {"id": "7"})


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("path.id", "7"),
        ("query.tag", ("a", "b")),
        ("query.none", None),
        ("headers.X-Tenant", ("t1",)),
        ("headers.x-none", None),
        ("claims.amr", ["pwd", "mfa"]),
        ("claims.a.b", "dotted"),
        ("claims.org.unit.name", "fin"),
        ("claims.org.none.name", None),
        ("claims.n.x", None),
        ("claims.gone", None),
        ("source.address", "192.0.2.1"),
        ("request.method", "GET"),
        ("request.host", "docs.example"),
        ("request.path", "/d/7"),
        ("request.scheme", "https"),
        ("request.id", "d-1"),
        ("principal.id", "alice"),
        ("principal.type", "N::User"),
        ("principal.issuer", "https://i"),
        ("principal.scheme", "bearer"),
        ("source.principal", "spiffe://td/ns/n/sa/s"),
        ("request.sni", "docs.example"),
        ("proxy.policy.id", "p1"),
        ("proxy.none", None),
    ],
)
def test_sources(name, expected):
    assert parse_source(name, PARAMETERS).read(lookup()) == expected


@pytest.mark.parametrize(
    "name",
    [
        "", "path", "path.", "path.other", "cookie.a", "source.port", "request.body", "principal.token",
        "headers.authorization", "headers.cookie", "headers.x_user", "claims", ".id", "proxy.", "source.sni",
        "headers.X-Forwarded-Client-Cert",
    ],
)  # fmt: skip
def test_unknown_sources_are_refused_at_load(name):
    with pytest.raises(MappingError):
        parse_source(name, PARAMETERS)


def test_templates():
    assert parse_template("{path.id}", PARAMETERS).render(lookup()) == "7"
    assert parse_template("t-{headers.x-tenant}/{path.id}!", PARAMETERS).render(lookup()) == "t-t1/7!"
    assert parse_template("plain", PARAMETERS).render(lookup()) == "plain"
    assert parse_template("{query.none}", PARAMETERS).render(lookup()) is None
    assert parse_template("a{claims.n}", PARAMETERS).render(lookup()) == "a5"


def test_a_repeated_value_is_not_one_piece_of_text():
    with pytest.raises(RequestRefused) as caught:
        parse_template("{query.tag}", PARAMETERS).render(lookup())
    assert caught.value.reason is Reason.BAD_PARAMETER


@pytest.mark.parametrize("text", ["{path.id", "path.id}", "{{path.id}}", "{}", "{path.other}"])
def test_bad_templates_are_refused_at_load(text):
    with pytest.raises(MappingError):
        parse_template(text, PARAMETERS)


GOOD = [
    ("string", "x", "x"),
    ("string", 5, "5"),
    ("string", ("x",), "x"),
    ("long", "42", 42),
    ("long", -1, -1),
    ("long", "-9223372036854775808", -(2**63)),
    ("bool", True, True),
    ("bool", "false", False),
    ("set", ("a", "b", "a"), ("a", "b")),
    ("set", ["a"], ("a",)),
    ("set", "a", ("a",)),
    ("set", [], ()),
    ("ip", "192.0.2.1", Extension("ip", "192.0.2.1")),
    ("ip", "10.1.2.3/8", Extension("ip", "10.0.0.0/8")),
    ("ip", "2001:DB8::1", Extension("ip", "2001:db8::1")),
    ("ip", "::ffff:192.0.2.1", Extension("ip", "192.0.2.1")),
    ("datetime", 0, Extension("datetime", "1970-01-01T00:00:00Z")),
    ("datetime", "2026-01-31", Extension("datetime", "2026-01-31")),
    ("datetime", "2026-01-31T09:30:00.250+0100", Extension("datetime", "2026-01-31T09:30:00.250+0100")),
    ("decimal", "1.25", Extension("decimal", "1.25")),
    ("decimal", "-922337203685477.5807", Extension("decimal", "-922337203685477.5807")),
    ("entity", "e", EntityUid("N::T", "e")),
]
BAD = [
    ("string", True), ("string", 1.5), ("string", ["a", "b"]), ("string", ""), ("string", "x" * 3000),
    ("string", "\ud800"), ("string", {}), ("string", []),
    ("long", "1.0"), ("long", "9223372036854775808"), ("long", "٣"), ("long", ""), ("long", True), ("long", 1.0),
    ("long", "1e3"), ("long", " 1"),
    ("bool", "True"), ("bool", "yes"), ("bool", 1), ("bool", ""),
    ("set", ["a", 1.5]), ("set", [["a"]]), ("set", [None]), ("set", [str(n) for n in range(257)]),
    ("ip", "192.0.2"), ("ip", "300.1.1.1"), ("ip", "fe80::1%eth0"), ("ip", "192.0.2.1:80"), ("ip", "x"),
    ("datetime", "2026-02-30"), ("datetime", "2026-01-31T09:30:00"), ("datetime", 10**18), ("datetime", "now"),
    ("decimal", "1"), ("decimal", "1.00001"), ("decimal", "922337203685477.5808"), ("decimal", "x"),
    ("entity", ""), ("entity", ["a", "b"]),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "raw", "expected"), GOOD)
def test_values_that_fit_their_kind(kind, raw, expected):
    assert convert(kind, raw, parse_source("query.x", PARAMETERS), entity_type="N::T") == expected


@pytest.mark.parametrize(("kind", "raw"), BAD)
def test_values_that_do_not_fit_are_refused_without_being_repeated(kind, raw):
    with pytest.raises(RequestRefused) as caught:
        convert(kind, raw, parse_source("query.x", PARAMETERS), entity_type="N::T")
    assert caught.value.reason is Reason.BAD_PARAMETER
    with pytest.raises(Unauthenticated) as told:
        convert(kind, raw, parse_source("claims.x", PARAMETERS), entity_type="N::T")
    assert told.value.reason is Reason.TOKEN_CLAIMS


def test_list_valued_headers_are_split_at_commas():
    source = parse_source("headers.x-groups", PARAMETERS)
    assert convert("set", source.read(lookup()), source) == ("a", "b", "c")


@pytest.mark.parametrize("kind", ["ip", "datetime", "decimal"])
@given(raw=st.one_of(st.text(max_size=30), st.from_regex(r"-?[0-9.:/TZ-]{1,25}", fullmatch=True), st.integers()))
def test_what_is_taken_for_an_extension_value_is_one_to_cedar(kind, raw):
    source = Source(name="query.x", read=lambda _: None)
    try:
        value = convert(kind, raw, source)
    except RequestRefused:
        return
    assert isinstance(value, Extension)
    entity = {
        "uid": {"type": "T", "id": "x"},
        "attrs": {"v": {"__extn": {"fn": value.function, "arg": value.argument}}},
        "parents": [],
    }
    cedarpy.Entities.from_json_str(json.dumps([entity]))  # raises if Cedar does not know the value


@pytest.mark.parametrize(
    ("text", "uid"),
    [
        ('N::User::"alice"', EntityUid("N::User", "alice")),
        ('User::"a\\"b\\\\"', EntityUid("User", 'a"b\\')),
        (' A::B::"" ', EntityUid("A::B", "")),
    ],
)
def test_uids_are_read_and_written(text, uid):
    assert parse_uid(text) == uid
    assert parse_uid(str(uid)) == uid


@pytest.mark.parametrize("text", ["", "User", "User::alice", 'User:"a"', '::"a"', '1U::"a"', 'U::"a', 'U::"a\\q"'])
def test_bad_uids_are_refused(text):
    with pytest.raises(MappingError):
        parse_uid(text)


def test_types():
    assert parse_type("N::User") == "N::User"
    for text in ("", "N::", "n-t", "::T", 'U::"a"'):
        with pytest.raises(MappingError):
            parse_type(text)
