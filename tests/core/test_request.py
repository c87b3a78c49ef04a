"""One reading of every request, or none (ext-auth facts A7, G3, G7, G11–G14)."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from authz.core.errors import Reason, RequestRefused
from authz.core.model import Headers, Peer
from authz.core.request import (
    MAX_HEADERS,
    MAX_TARGET,
    PathRules,
    canonical_host,
    canonical_path,
    canonical_request,
    canonical_scheme,
    parse_query,
)


def refused(reason, call, *arguments, **keywords):
    with pytest.raises(RequestRefused) as caught:
        call(*arguments, **keywords)
    assert caught.value.reason is reason
    return caught.value


@pytest.mark.parametrize(
    ("raw", "segments"),
    [
        ("/", ("",)),
        ("/a", ("a",)),
        ("/a/", ("a", "")),
        ("/a/b", ("a", "b")),
        ("/a%20b", ("a b",)),
        ("/%41", ("A",)),
        ("/100%25", ("100%",)),
        ("/caf%C3%A9", ("café",)),
        ("/a.b/..c/d..", ("a.b", "..c", "d..")),
        ("/...", None),
        ("/a@b:c,d=e+f&g'(h)*!$~", ("a@b:c,d=e+f&g'(h)*!$~",)),
        # refused
        ("", None),
        ("a", None),
        ("*", None),
        ("http://other/abs", None),
        ("//a", None),
        ("/a//b", None),
        ("/a//", None),
        ("/.", None),
        ("/..", None),
        ("/a/../b", None),
        ("/a/./b", None),
        ("/a/..", None),
        ("/a/%2e%2e/b", None),
        ("/a/%2E./b", None),
        ("/a/..;/b", None),
        ("/a;p=1/b", None),
        ("/a%3bp/b", None),
        ("/a%2fb", None),
        ("/a%2Fb", None),
        ("/a\\b", None),
        ("/a%5cb", None),
        ("/a%00", None),
        ("/a%0a", None),
        ("/a%7f", None),
        ("/a\x00", None),
        ("/a\tb", None),
        ("/a b", None),
        ("/a#b", None),
        ("/a%23b", None),
        ("/a%3Fb", None),
        ("/%", None),
        ("/%4", None),
        ("/%zz", None),
        ("/%2541", None),
        ("/%252e%252e/a", None),
        ("/%25%34%31", None),
        ("/%ff", None),
        ("/%c0%af", None),
        ("/%ed%a0%80", None),
        ("/é", None),
        ("/a\n", None),
    ],
)
def test_paths_have_one_reading_or_are_refused(raw, segments):
    if segments is None:
        refused(Reason.BAD_PATH, canonical_path, raw)
    else:
        assert canonical_path(raw).segments == segments


@pytest.mark.parametrize(
    ("rules", "raw", "segments"),
    [
        (PathRules(empty_segments="merge"), "//a///b", ("a", "b")),
        (PathRules(empty_segments="merge"), "//a//", ("a", "")),
        (PathRules(dot_segments="resolve"), "/a/../b/./c", ("b", "c")),
        (PathRules(dot_segments="resolve"), "/a/%2e%2e/b", ("b",)),
        (PathRules(dot_segments="resolve"), "/a/b/..", ("a", "")),
        (PathRules(dot_segments="resolve"), "/a/.", ("a", "")),
        (PathRules(dot_segments="resolve"), "/a/..", ("",)),
        (PathRules(encoded_slash="keep"), "/a%2Fb/c", ("a/b", "c")),
        (PathRules(semicolon="keep"), "/a;p=1", ("a;p=1",)),
        (PathRules(double_encoding="keep"), "/%2541", ("%41",)),
    ],
)
def test_each_setting_accepts_its_own_construct(rules, raw, segments):
    assert canonical_path(raw, rules).segments == segments
    refused(Reason.BAD_PATH, canonical_path, raw)


@pytest.mark.parametrize("raw", ["/..", "/a/../..", "/%2e%2e/a"])
def test_resolving_never_climbs_above_the_root(raw):
    refused(Reason.BAD_PATH, canonical_path, raw, PathRules(dot_segments="resolve"))


@given(st.text(max_size=40))
def test_any_text_is_canonical_or_refused(raw):
    try:
        path = canonical_path("/" + raw)
    except RequestRefused as error:
        assert error.reason is Reason.BAD_PATH
        return
    assert not {".", ".."} & set(path.segments)
    assert "" not in path.segments[:-1]
    assert not any(re.search(r"[/\\;#?\x00-\x1f\x7f]", segment) for segment in path.segments)
    # Canonical: reading the canonical text again gives the same path.
    assert canonical_path(path.text) == path


@given(st.lists(st.text(alphabet="ab.%/;\\25efc0#?", max_size=6), max_size=4))
def test_hostile_paths_never_reach_two_readings(pieces):
    raw = "/" + "/".join(pieces)
    for rules in (PathRules(), PathRules(dot_segments="resolve", empty_segments="merge")):
        try:
            path = canonical_path(raw, rules)
        except RequestRefused:
            continue
        assert not {".", ".."} & set(path.segments)
        assert not any("/" in segment or "\\" in segment for segment in path.segments)


@pytest.mark.parametrize(
    ("raw", "host"),
    [
        ("App.Example", "app.example"),
        ("app.example.", "app.example"),
        ("NOTRUST.example.:8080", "notrust.example"),
        ("127.0.0.1:80", "127.0.0.1"),
        ("[::1]:80", "[::1]"),
        ("my_service:80", "my_service"),
        ("a,b", None),
        ("a b", None),
        ("", None),
        (".", None),
        ("a..b", None),
        ("-a", None),
        ("user@a", None),
        ("a/b", None),
        ("a:b", None),
        ("a:80:80", None),
        ("é.example", None),
        ("a\x00", None),
        ("a" * 254, None),
    ],
)
def test_hosts(raw, host):
    if host is None:
        refused(Reason.BAD_HOST, canonical_host, raw)
    else:
        assert canonical_host(raw) == host


def build(**changes):
    parts = {
        "id": "d",
        "method": "GET",
        "scheme": "https",
        "host": "h",
        "target": "/a",
        "headers": Headers(),
        "peer": Peer(trusted=True),
    }
    return canonical_request(**{**parts, **changes})


@pytest.mark.parametrize("method", ["get", "", "GET POST", "G" * 33, "GÉT", "GET\n", ":method"])
def test_methods_are_upper_case_tokens(method):
    refused(Reason.BAD_METHOD, build, method=method)


@pytest.mark.parametrize("method", ["GET", "FOO", "M-SEARCH", "PROPFIND"])
def test_any_upper_case_method_is_taken(method):
    assert build(method=method).method == method


def test_schemes():
    assert canonical_scheme("HTTPS") == "https"
    assert canonical_scheme("wss") == "https"
    refused(Reason.BAD_HEADER, canonical_scheme, "ftp")


@pytest.mark.parametrize("name", ["authorization", "Host", "content-type", "content-length", "x-request-id"])
def test_single_valued_headers_must_not_be_repeated(name):
    error = refused(Reason.BAD_HEADER, build, headers=Headers([(name, "secret-a"), (name.upper(), "secret-b")]))
    assert "secret" not in error.detail


def test_headers_with_underscores_do_not_exist():
    request = build(headers=Headers([("X_User", "spoofed"), ("x-user", "real")]))
    assert request.headers.all("x-user") == ("real",)
    assert request.headers.get("x_user") is None


@pytest.mark.parametrize("value", ["a\x00b", "a\nb", "a\rb", "\x7f"])
def test_header_values_have_no_control_characters(value):
    refused(Reason.BAD_HEADER, build, headers=Headers([("x-a", value)]))


def test_sizes_are_bounded():
    refused(Reason.TOO_LARGE, build, target="/" + "a" * MAX_TARGET)
    refused(Reason.TOO_LARGE, build, headers=Headers([(f"x-{n}", "v") for n in range(MAX_HEADERS + 1)]))
    refused(Reason.TOO_LARGE, build, headers=Headers([("x-a", "v" * 70_000)]))


@pytest.mark.parametrize("target", ["/a?b#c", "/a?b c", "/a?é", "/a?\x01"])
def test_queries_with_what_no_proxy_passes_are_refused(target):
    refused(Reason.BAD_QUERY, build, target=target)


def test_the_query_is_cut_at_the_first_question_mark():
    request = build(target="/a?b=1?c")
    assert (request.path.text, request.query) == ("/a", "b=1?c")


def test_queries_are_parsed_with_every_value_kept():
    assert parse_query("a=1&b=x%20y+z&a=2&&c") == {"a": ("1", "2"), "b": ("x y z",), "c": ("",)}
    refused(Reason.BAD_QUERY, parse_query, "a=%zz")
    refused(Reason.BAD_QUERY, parse_query, "a=%ff")


def test_headers_show_no_values():
    assert "secret" not in repr(Headers([("authorization", "Bearer secret")]))
