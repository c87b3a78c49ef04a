"""What is read of each proxy's question: its own headers, each exactly once, and nothing that a client slipped in."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from authz.core.errors import Reason, RequestRefused
from authz.core.model import Peer
from authz.core.request import STRICT, PathRules
from authz.servers.dialects import Dialect, dialect_of
from authz.servers.forward_auth import decode
from tests.servers.questions import (
    CADDY,
    CANARY,
    ENVOY,
    ENVOY_PREFIX,
    HAPROXY,
    INGRESS,
    NGINX,
    OPTIONAL,
    PAIRS,
    PLAIN_CADDY,
    PLAIN_ENVOY,
    PLAIN_HAPROXY,
    PLAIN_INGRESS,
    PLAIN_NGINX,
    PLAIN_TRAEFIK,
    PROXY,
    QUESTIONS,
    REQUIRED,
    TRAEFIK,
)
from tests.servers.raw_http import Recorded

LENIENT = PathRules(
    empty_segments="merge",
    dot_segments="resolve",
    encoded_slash="keep",
    semicolon="keep",
    double_encoding="keep",
)


def read(question: Recorded, *, rules=STRICT, trusted_hops=0, peer=PROXY):
    dialect = dialect_of(question.target)
    assert dialect is not None
    return decode(
        dialect,
        question.method,
        question.target,
        question.headers,
        id="d-1",
        peer=peer,
        rules=rules,
        trusted_hops=trusted_hops,
    )


def parts(request):
    """All that a proxy's question says of the client's request; headers by name."""
    names = ("method", "scheme", "host", "path", "query", "source_address", "external_id")
    return [getattr(request, name) for name in names], sorted(request.headers.items())


def refusal(question: Recorded, **arguments) -> Reason:
    with pytest.raises(RequestRefused) as caught:
        read(question, **arguments)
    assert CANARY not in str(caught.value)
    return caught.value.reason


# --- paths ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("target", "dialect"),
    [
        ("/traefik", Dialect.TRAEFIK),
        ("/traefik?x=1", Dialect.TRAEFIK),
        ("/nginx", Dialect.NGINX),
        ("/caddy?mode=ok", Dialect.CADDY),
        ("/haproxy", Dialect.HAPROXY),
        ("/haproxy/x", None),
        ("/envoy/", Dialect.ENVOY),
        ("/envoy/documents/17?x", Dialect.ENVOY),
        ("/envoy//admin", Dialect.ENVOY),
        ("/envoy", Dialect.ENVOY),
        ("/envoy?x", Dialect.ENVOY),
        ("/envoyx/documents", None),
        ("/Traefik", None),
        ("/traefik/", None),
        ("/traefik/documents", None),
        ("/traefik#x", None),
        ("/%74raefik", None),
        ("//traefik", None),
        ("//envoy/x", None),
        ("http://a/traefik", None),
        ("traefik", None),
        ("/", None),
        ("", None),
        ("*", None),
        ("/authz/envoy", None),
    ],
)
def test_the_path_alone_says_which_dialect_is_spoken(target, dialect):
    assert dialect_of(target) is dialect


# --- what is read -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "method", "host", "scheme", "source"),
    [
        ("traefik", "POST", "def.example", "http", "127.0.0.1"),
        ("nginx", "POST", "app.example", "http", "127.0.0.1"),
        ("ingress-nginx", "PUT", "app.example", "http", "127.0.0.1"),
        ("caddy", "POST", "app.example", "http", "127.0.0.1"),
        ("envoy", "POST", "app.example", "http", None),
        ("haproxy", "POST", "app.example", "http", "127.0.0.1"),
    ],
)
def test_the_clients_request_is_read(name, method, host, scheme, source):
    request = read(QUESTIONS[name])
    assert (request.method, request.host, request.scheme) == (method, host, scheme)
    assert request.path.segments == ("documents", "17")
    assert request.query == "q=a%20b&mode=ok"
    assert request.source_address == source
    assert (request.id, request.peer, request.body) == ("d-1", PROXY, None)


@pytest.mark.parametrize(
    ("question", "reason"),
    [
        (TRAEFIK, Reason.BAD_PATH),  # a semicolon, and a fragment
        (TRAEFIK.edited(x_forwarded_uri="/p/c#frag"), Reason.BAD_PATH),
        (TRAEFIK.edited(x_forwarded_uri="/p?q=a#frag"), Reason.BAD_QUERY),
        (NGINX, Reason.BAD_CHECK),  # the documented recipe tells neither method nor host
        (INGRESS, Reason.BAD_CHECK),  # X-Original-URI is the client's
        (INGRESS.without("x-original-uri"), Reason.BAD_PATH),
        (CADDY, Reason.BAD_PATH),
        (ENVOY, Reason.BAD_PATH),
        (ENVOY_PREFIX, Reason.BAD_PATH),  # %2F
        (ENVOY_PREFIX.to("/envoy//admin"), Reason.BAD_PATH),
        (ENVOY_PREFIX.to("/envoy/../admin"), Reason.BAD_PATH),
        (ENVOY_PREFIX.to("/envoy"), Reason.BAD_PATH),  # as with `path_override`: the path is lost
        (ENVOY_PREFIX.to("/envoy?x"), Reason.BAD_PATH),
        (ENVOY_PREFIX.to("/envoy/\udcff"), Reason.BAD_PATH),
        (PLAIN_ENVOY.edited(host="app.example,b.example"), Reason.BAD_HOST),
        (PLAIN_ENVOY.edited(host=""), Reason.BAD_HOST),
        (PLAIN_TRAEFIK.edited(x_forwarded_host=""), Reason.BAD_HOST),  # HTTP/1.0 without Host
        (PLAIN_TRAEFIK.edited(x_forwarded_method="get"), Reason.BAD_METHOD),
        (PLAIN_TRAEFIK.edited(x_forwarded_method=""), Reason.BAD_METHOD),
        (PLAIN_TRAEFIK.edited(x_forwarded_proto="gopher"), Reason.BAD_HEADER),
        (PLAIN_TRAEFIK.edited(x_forwarded_uri="//admin/x"), Reason.BAD_PATH),
        (PLAIN_TRAEFIK.edited(x_forwarded_uri="http://other/x"), Reason.BAD_PATH),
        (PLAIN_TRAEFIK.edited(x_forwarded_uri="/" + "a" * 9000), Reason.TOO_LARGE),
        (PLAIN_CADDY.edited(x_forwarded_uri="/a/../../admin"), Reason.BAD_PATH),
        (HAPROXY, Reason.BAD_CHECK),  # without the rules that set what it asks about
        # Joined by the script, in reverse order: the client's own last.
        (PLAIN_HAPROXY.edited(x_original_method="POST, GET"), Reason.BAD_METHOD),
        (PLAIN_HAPROXY.edited(x_original_uri="/documents/17, /evil"), Reason.BAD_PATH),
        (PLAIN_HAPROXY.edited(x_forwarded_host="app.example, evil.example"), Reason.BAD_HOST),
        (PLAIN_HAPROXY.edited(x_forwarded_proto="http, https"), Reason.BAD_HEADER),
        (PLAIN_HAPROXY.edited(x_forwarded_for="127.0.0.1, 203.0.113.66"), Reason.BAD_CHECK),
        (PLAIN_HAPROXY.edited(x_original_uri="https://app.example/documents/17"), Reason.BAD_PATH),
        (PLAIN_HAPROXY.edited(x_original_uri="/a/../../admin"), Reason.BAD_PATH),
        (PLAIN_INGRESS.edited(x_original_url="/documents/17"), Reason.BAD_CHECK),
        (PLAIN_INGRESS.edited(x_original_url="http://app.example"), Reason.BAD_CHECK),
        (PLAIN_INGRESS.edited(x_original_url="//app.example/x"), Reason.BAD_CHECK),
        (PLAIN_INGRESS.edited(x_original_url="http://app.example?x=/documents/17"), Reason.BAD_HOST),
        (PLAIN_INGRESS.edited(x_original_url="http://app.example#/documents/17"), Reason.BAD_HOST),
        (PLAIN_INGRESS.edited(x_original_url="http://u@app.example/documents/17"), Reason.BAD_HOST),
        (PLAIN_INGRESS.edited(x_original_url="http:///documents/17"), Reason.BAD_HOST),
        (PLAIN_INGRESS.edited(x_original_url="http://app.example//documents"), Reason.BAD_PATH),
        (PLAIN_INGRESS.edited(x_original_url="ftp://app.example/documents"), Reason.BAD_HEADER),
        (PLAIN_INGRESS.edited(x_original_url=""), Reason.BAD_CHECK),
        (PLAIN_TRAEFIK.plus(("Authorization", f"Bearer {CANARY}")), Reason.BAD_HEADER),
        (PLAIN_TRAEFIK.plus(("X-Note", f"{CANARY}\x01")), Reason.BAD_HEADER),
    ],
)
def test_what_can_be_read_in_two_ways_is_refused(question, reason):
    assert refusal(question) is reason


@pytest.mark.parametrize(
    ("question", "segments", "query"),
    [
        (TRAEFIK.edited(x_forwarded_uri="/p/c/d;x=1?q=1"), ("p", "c", "d;x=1"), "q=1"),
        (INGRESS.without("x-original-uri"), ("p", "c", "d"), "mode=ok"),
        (CADDY.edited(x_forwarded_uri="/p/a%2Fb/../c//d?"), ("p", "c", "d"), ""),
        (ENVOY, ("p", "c", "d;x=1"), "q=a%20b&mode=ok"),
        (ENVOY_PREFIX, ("p", "a/b"), "q=1&mode=ok"),
    ],
)
def test_the_path_settings_reach_the_reading(question, segments, query):
    request = read(question, rules=LENIENT)
    assert (request.path.segments, request.query) == (segments, query)


def test_envoys_prefix_is_removed_once():
    assert read(PLAIN_ENVOY.to("/envoy/envoy/x")).path.text == "/envoy/x"
    assert read(PLAIN_ENVOY.to("/envoy/traefik")).path.text == "/traefik"


@pytest.mark.parametrize("name", ["traefik", "nginx", "ingress-nginx", "caddy", "haproxy"])
def test_the_questions_own_method_and_query_do_not_count(name):
    question = QUESTIONS[name]
    other = Recorded(
        method="PUT",
        target=question.target.partition("?")[0] + "?mode=ok&x_forwarded_uri=/evil",
        headers=question.headers,
    )
    assert parts(read(other)) == parts(read(question))


@pytest.mark.parametrize(("name", "header"), PAIRS)
def test_a_missing_header_of_the_dialect_is_refused(name, header):
    assert refusal(QUESTIONS[name].without(header)) is Reason.BAD_CHECK


@pytest.mark.parametrize(
    ("name", "header"), [*PAIRS, *((name, header) for name, headers in OPTIONAL.items() for header in headers)]
)
def test_a_repeated_header_of_the_dialect_is_refused(name, header):
    question = QUESTIONS[name].edited(**{header: "127.0.0.1"})
    assert refusal(question.plus((header.title(), "127.0.0.1"))) is Reason.BAD_CHECK


@pytest.mark.parametrize(("name", "header"), [pair for pair in PAIRS if "-" in pair[1]])
def test_a_name_with_an_underscore_is_no_alias(name, header):
    question = QUESTIONS[name]
    alias = header.replace("-", "_")
    aliased = question.plus((alias, "/evil"), (alias.upper(), "evil"))
    assert parts(read(aliased)) == parts(read(question))
    value = next(value for field, value in question.headers if field.lower() == header)
    assert refusal(question.without(header).plus((alias, value))) is Reason.BAD_CHECK


# What a client can get through to the question beside what the dialect reads (recorded, K1 to K6).
FORGED = (
    ("X-Forwarded-Host", "evil.example"),
    ("X-Forwarded-Uri", "/evil"),
    ("X-Forwarded-Method", "DELETE"),
    ("X-Forwarded-Proto", "https"),
    ("X-Forwarded-For", "203.0.113.66"),
    ("X-Forwarded-Prefix", "/evil"),
    ("X-Forwarded-Port", "1"),
    ("X-Forwarded-Server", "evil"),
    ("X-Original-URL", "http://evil.example/evil"),
    ("X-Original-URI", "/evil"),
    ("X-Original-Method", "DELETE"),
    ("X-Original-Host", "evil.example"),
    ("X-Real-IP", "203.0.113.66"),
    ("X-HTTP-Method-Override", "DELETE"),
    ("X-Rewrite-URL", "/evil"),
    ("X-Envoy-Original-Path", "/evil"),
    ("X-Envoy-External-Address", "203.0.113.66"),
    ("X-Auth-Request-Redirect", "/evil"),
    ("Forwarded", "for=203.0.113.66;host=evil.example"),
    ("X-Scheme", "https"),
)


# A second one of its own is refused, see above; so is the header of nginx's other form, see below.
FOREIGN = [
    (name, header, value)
    for name in QUESTIONS
    for header, value in FORGED
    if header.lower() not in {*REQUIRED[name], *OPTIONAL.get(name, ())}
    and (name, header) not in {("nginx", "X-Original-URL"), ("ingress-nginx", "X-Original-URI")}
]


@pytest.mark.parametrize(("name", "header", "value"), FOREIGN)
def test_headers_of_other_dialects_change_nothing(name, header, value):
    question = QUESTIONS[name]
    forged = question.edited(**{header.lower(): value})
    assert parts(read(forged))[0] == parts(read(question))[0]


@pytest.mark.parametrize(
    "question",
    [
        PLAIN_NGINX.plus(("X-Original-URL", "http://evil.example/evil")),
        PLAIN_INGRESS.plus(("X-Original-URI", "/evil")),
        PLAIN_INGRESS.plus(("X-Original-URI", "")),
    ],
)
def test_both_forms_of_nginx_at_once_are_refused(question):
    assert refusal(question) is Reason.BAD_CHECK


def test_repeated_headers_and_cookies_arrive_in_order():
    headers = read(PLAIN_TRAEFIK).headers
    assert headers.all("x-dup") == ("1", "2")
    assert headers.all("cookie") == ("a=1", "b=2")


@pytest.mark.parametrize("question", [PLAIN_ENVOY, PLAIN_HAPROXY])
@pytest.mark.parametrize("value", ["Bearer a,Bearer b", "Bearer a, Basic b", "Basic a,Bearer b", "x,y"])
def test_two_credentials_that_a_proxy_joined_are_refused(question, value):
    assert refusal(question.edited(authorization=value)) is Reason.BAD_HEADER


def test_one_credential_with_parameters_is_not_two():
    value = 'Digest username="a, b", realm="r", uri="/x"'
    assert read(PLAIN_ENVOY.edited(authorization=value)).headers.get("authorization") == value


# --- address, scheme, id ----------------------------------------------------------------------------------


@pytest.mark.parametrize("question", [PLAIN_TRAEFIK, PLAIN_CADDY, PLAIN_ENVOY])
@pytest.mark.parametrize(
    ("value", "hops", "source"),
    [
        ("203.0.113.9, 192.0.2.1", 0, "192.0.2.1"),
        ("203.0.113.9, 192.0.2.1", 1, "203.0.113.9"),
        ("192.0.2.1", 1, None),
        ("", 0, None),
    ],
)
def test_the_clients_address_is_what_trusted_proxies_wrote(question, value, hops, source):
    request = read(question.edited(x_forwarded_for=value), trusted_hops=hops)
    assert request.source_address == source


def test_nginx_counts_hops_itself():
    question = PLAIN_NGINX.edited(x_real_ip="::ffff:192.0.2.7").plus(("X-Forwarded-For", "203.0.113.66"))
    assert read(question, trusted_hops=2).source_address == "192.0.2.7"


def test_haproxy_counts_hops_itself():
    question = PLAIN_HAPROXY.edited(x_forwarded_for="192.0.2.7")
    assert read(question, trusted_hops=2).source_address == "192.0.2.7"


def test_nobody_vouches_for_what_an_untrusted_peer_says():
    assert read(PLAIN_TRAEFIK, peer=Peer(address="203.0.113.1")).source_address is None


@pytest.mark.parametrize(
    ("question", "scheme"),
    [
        (PLAIN_TRAEFIK.edited(x_forwarded_proto="https"), "https"),
        (PLAIN_TRAEFIK.edited(x_forwarded_proto="wss"), "https"),  # Traefik, on an upgrade
        (PLAIN_CADDY.edited(x_forwarded_proto="ws"), "http"),
        (PLAIN_NGINX.edited(x_forwarded_proto="https"), "https"),
        (PLAIN_INGRESS.edited(x_original_url="https://app.example/x"), "https"),
        (PLAIN_ENVOY.edited(x_forwarded_proto="https"), "https"),
        (PLAIN_ENVOY, "http"),
        (PLAIN_HAPROXY.edited(x_forwarded_proto="https"), "https"),
    ],
)
def test_the_scheme_is_the_clients(question, scheme):
    assert read(question).scheme == scheme


def test_the_host_is_read_without_port_and_in_lower_case():
    assert read(PLAIN_TRAEFIK.edited(x_forwarded_host="NOTRUST.example.:8080")).host == "notrust.example"


def test_the_request_id_is_kept_and_bounded():
    assert read(INGRESS.without("x-original-uri"), rules=LENIENT).external_id == ("94d46aef7503096eabe644200d1ec727")
    assert read(PLAIN_TRAEFIK.plus(("X-Request-Id", "r" * 500))).external_id == "r" * 128
    assert read(PLAIN_TRAEFIK).external_id is None


FIELD = st.tuples(
    st.sampled_from([*sorted({header for _, header in PAIRS}), "x_forwarded_uri", "authorization", "x"]),
    st.text(max_size=20),
)


@given(
    dialect=st.sampled_from(Dialect),
    method=st.text(max_size=8),
    tail=st.text(max_size=30),
    fields=st.lists(FIELD, max_size=10),
    hops=st.integers(0, 3),
)
def test_decoding_raises_nothing_but_refusals(dialect, method, tail, fields, hops):
    with suppress(RequestRefused):
        decode(dialect, method, f"/envoy{tail}", fields, id="d", peer=PROXY, trusted_hops=hops)


@pytest.mark.parametrize("name", QUESTIONS)
def test_the_forwarded_certificate_counts_from_envoy_alone(name):
    question = QUESTIONS[name].plus(("X-Forwarded-Client-Cert", "URI=a"), ("x-forwarded-client-cert", "URI=b"))
    dialect = dialect_of(question.target)
    assert dialect is not None
    for peer, told in ((PROXY, {"envoy.forwarded_client_certificate": "URI=a,URI=b"}), (Peer(), {})):
        request = decode(dialect, question.method, question.target, question.headers, id="d", peer=peer)
        assert request.extensions == (told if dialect is Dialect.ENVOY else {})
