"""Each proxy's question as it was recorded, and what that proxy makes of each answer."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Callable
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from authz.core.enforce import Disclosure, Response, respond
from authz.core.errors import DecisionUnavailable, Reason, RequestRefused
from authz.core.model import (
    Allowed,
    Decision,
    Denied,
    EntityUid,
    Failed,
    HeaderEdits,
    Identity,
    Peer,
    Query,
    Record,
    Stage,
    Verdict,
)
from authz.core.pipeline import Authorizer
from authz.core.request import STRICT, PathRules
from authz.core.route_compiler import RouteSpec, compile_routes
from authz.servers.dialects import Dialect, dialect_of
from authz.servers.forward_auth import ForwardAuth, decode, encode
from authz.servers.http_app import Answer
from authz.service import Service
from tests.servers.raw_http import Recorded, recorded

PROXY = Peer(address="127.0.0.1", trusted=True)
LENIENT = PathRules(
    empty_segments="merge",
    dot_segments="resolve",
    encoded_slash="keep",
    semicolon="keep",
    double_encoding="keep",
)
ALLOW = Decision(verdict=Verdict.ALLOW, policies=("p",))
CANARY = "c4n4ry-credential"

# Each recording, at the path where its proxy asks `authz`.
TRAEFIK = recorded("k1-traefik").to("/traefik?x=1")
NGINX = recorded("k2-nginx").to("/nginx")
INGRESS = recorded("k3-ingress-nginx").to("/nginx?from=nginx")
CADDY = recorded("k4-caddy").to("/caddy?from=caddy")
ENVOY = recorded("k5-envoy")
ENVOY = ENVOY.to("/envoy" + ENVOY.target)
ENVOY_PREFIX = recorded("k6-envoy-prefix")

# The same with a request that is plain to read.
PLAIN = "/documents/17?q=a%20b&mode=ok"
PLAIN_TRAEFIK = TRAEFIK.edited(x_forwarded_uri=PLAIN)
PLAIN_CADDY = CADDY.edited(x_forwarded_uri=PLAIN)
PLAIN_ENVOY = ENVOY.to("/envoy" + PLAIN)
PLAIN_NGINX = NGINX.edited(x_original_uri=PLAIN).plus(
    ("X-Original-Method", "POST"),
    ("X-Forwarded-Host", "app.example"),
    ("X-Forwarded-Proto", "http"),
    ("X-Real-IP", "127.0.0.1"),
)
PLAIN_INGRESS = INGRESS.edited(x_original_url=f"http://app.example{PLAIN}", x_original_uri=None)

QUESTIONS = {
    "traefik": PLAIN_TRAEFIK,
    "nginx": PLAIN_NGINX,
    "ingress-nginx": PLAIN_INGRESS,
    "caddy": PLAIN_CADDY,
    "envoy": PLAIN_ENVOY,
}


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


@pytest.mark.parametrize("name", ["traefik", "nginx", "ingress-nginx", "caddy"])
def test_the_questions_own_method_and_query_do_not_count(name):
    question = QUESTIONS[name]
    other = Recorded(
        method="HEAD",
        target=question.target.partition("?")[0] + "?mode=ok&x_forwarded_uri=/evil",
        headers=question.headers,
    )
    assert parts(read(other)) == parts(read(question))


REQUIRED = {
    "traefik": (
        "x-forwarded-method",
        "x-forwarded-proto",
        "x-forwarded-host",
        "x-forwarded-uri",
        "x-forwarded-for",
    ),
    "nginx": (
        "x-original-uri",
        "x-original-method",
        "x-forwarded-host",
        "x-forwarded-proto",
        "x-real-ip",
    ),
    "ingress-nginx": ("x-original-url", "x-original-method", "x-real-ip"),
    "caddy": ("host", "x-forwarded-method", "x-forwarded-proto", "x-forwarded-uri", "x-forwarded-for"),
    "envoy": ("host",),
}
OPTIONAL = {"envoy": ("x-forwarded-for", "x-forwarded-proto")}
PAIRS = [(name, header) for name, headers in REQUIRED.items() for header in headers]


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


@pytest.mark.parametrize("value", ["Bearer a,Bearer b", "Bearer a, Basic b", "Basic a,Bearer b", "x,y"])
def test_two_credentials_that_envoy_joined_are_refused(value):
    assert refusal(PLAIN_ENVOY.edited(authorization=value)) is Reason.BAD_HEADER


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


# --- what is answered -------------------------------------------------------------------------------------


def lets_through(dialect: Dialect, status: int) -> bool:
    """What the proxies do, measured with a raw server (facts 0 and J)."""
    return status == 200 if dialect is Dialect.ENVOY else 200 <= status <= 299


NAME = st.sampled_from(["x-auth-user", "x-auth-groups", "x-auth-mail"])
EDITS = st.builds(
    lambda kept, removed: HeaderEdits(set=tuple(kept.items()), remove=tuple(removed - kept.keys())),
    st.dictionaries(NAME, st.text("abc,% ", max_size=5)),
    st.sets(NAME),
)
# Statuses that no rule of the core makes, too: a slip there must not become an allow here.
STATUS = st.integers(100, 999)
DENY = st.sampled_from(
    [None, Decision(verdict=Verdict.DENY), Decision(verdict=Verdict.DENY, messages=("no", "not so"))]
)
OUTCOME = st.one_of(
    st.builds(Allowed, decision=st.just(ALLOW), edits=EDITS),
    st.builds(
        Denied,
        stage=st.sampled_from(Stage),
        reason=st.sampled_from(Reason),
        status=STATUS,
        decision=DENY,
        detail=st.text(),
    ),
    st.builds(
        Failed,
        stage=st.sampled_from(Stage),
        reason=st.sampled_from(Reason),
        status=STATUS,
        let_through=st.booleans(),
        edits=EDITS,
        detail=st.text(),
    ),
)


@given(dialect=st.sampled_from(Dialect), outcome=OUTCOME, told=st.booleans())
def test_a_proxy_lets_through_what_is_allowed_and_nothing_else(dialect, outcome, told):
    response = respond(outcome, "d-1", Disclosure(deny_messages=told, policies=told))
    answer = encode(dialect, response)
    allowed = isinstance(outcome, Allowed) or (isinstance(outcome, Failed) and outcome.let_through)
    assert lets_through(dialect, answer.status) is allowed
    if allowed:
        assert (answer.status, answer.body) == (200, b"")
    else:
        assert 300 <= answer.status <= 599


@given(dialect=st.sampled_from(Dialect), edits=EDITS)
def test_every_identity_header_is_set_or_removed_and_never_both(dialect, edits):
    answer = encode(dialect, respond(Allowed(decision=ALLOW, edits=edits), "d-1", Disclosure()))
    named = [name for name, _ in answer.headers if name.startswith("x-auth-")]
    assert [field for field in answer.headers if field[0] in named] == list(edits.set)
    removed = [v for name, v in answer.headers if name == "x-envoy-auth-headers-to-remove"]
    if dialect is Dialect.ENVOY:
        assert removed == ([",".join(edits.remove)] if edits.remove else [])
    else:
        # Traefik and Caddy delete what they copy before they copy; nginx sets an empty value, which removes.
        assert removed == []


@pytest.mark.parametrize("dialect", Dialect)
def test_what_is_set_and_removed_by_mistake_is_set(dialect):
    response = Response(status=200, headers=(("X-Auth-User", "a"),), remove=("x-auth-user", "x-auth-mail"))
    headers = dict(encode(dialect, response).headers)
    assert headers["X-Auth-User"] == "a"
    expected = "x-auth-mail" if dialect is Dialect.ENVOY else None
    assert headers.get("x-envoy-auth-headers-to-remove") == expected


@pytest.mark.parametrize("dialect", Dialect)
@pytest.mark.parametrize(
    "name",
    [
        "Connection", "Keep-Alive", "Proxy-Connection", "TE", "Trailer", "Transfer-Encoding", "Upgrade",
        "Content-Length", "Host", ":path", ":status", "Proxy-Authorization", "Set-Cookie", "Content-Type",
        "x-envoy-auth-headers-to-remove", "x-envoy-original-path", "Date", "Server",
    ],
)  # fmt: skip
def test_an_allow_carries_no_header_that_frames_or_routes(dialect, name):
    answer = encode(dialect, Response(status=200, headers=((name, "x"), ("x-auth-user", "a"))))
    assert name.lower() not in {field.lower() for field, _ in answer.headers}
    assert ("x-auth-user", "a") in answer.headers


@pytest.mark.parametrize("dialect", Dialect)
def test_no_cache_may_keep_an_allow(dialect):
    kept = ("cache-control", "no-store") in encode(dialect, Response(status=200)).headers
    # A Gateway API implementation copies all headers of an allow into the request.
    assert kept is (dialect is not Dialect.ENVOY)


@pytest.mark.parametrize("dialect", Dialect)
def test_a_denial_shows_only_listed_headers(dialect):
    response = Response(
        status=401,
        headers=(
            ("www-authenticate", "Bearer"),
            ("set-cookie", "a=1"),
            ("server", "x"),
            ("x-auth-user", "alice"),
            ("connection", "close"),
            ("content-length", "1"),
            ("cache-control", "no-store"),
        ),
        body=b"{}",
    )
    assert {name for name, _ in encode(dialect, response).headers} == {"www-authenticate", "cache-control"}


PROBLEM = (("content-type", "application/problem+json"), ("cache-control", "no-store"))
NO_STORE = (("cache-control", "no-store"),)


@pytest.mark.parametrize("dialect", [Dialect.ENVOY, Dialect.TRAEFIK, Dialect.CADDY])
@pytest.mark.parametrize(
    ("status", "sent"),
    [(400, 400), (401, 401), (403, 403), (404, 404), (429, 429), (500, 500), (503, 503), (302, 302),
     (100, 403), (101, 403), (200, 403), (204, 403), (299, 403), (300, 403), (304, 403), (600, 403), (999, 403)],
)  # fmt: skip
def test_a_denial_goes_to_the_client_as_it_is(dialect, status, sent):
    answer = encode(dialect, Response(status=status, headers=PROBLEM, body=b"{}"))
    assert answer == Answer(sent, PROBLEM, b"{}")


@pytest.mark.parametrize(
    ("status", "sent"),
    [(400, 403), (401, 401), (403, 403), (404, 403), (407, 403), (429, 403), (200, 403), (204, 403), (999, 403),
     (500, 500), (503, 503)],
)  # fmt: skip
def test_nginx_gets_401_and_403_and_for_failures_its_own_error(status, sent):
    answer = encode(Dialect.NGINX, Response(status=status, headers=PROBLEM, body=b"{}"))
    assert answer == Answer(sent, NO_STORE, b"")


def test_nginx_gets_every_challenge_in_one_line():
    headers = (("WWW-Authenticate", 'Bearer realm="a"'), ("www-authenticate", "Basic"), *PROBLEM)
    answer = encode(Dialect.NGINX, Response(status=401, headers=headers, body=b"{}"))
    assert answer == Answer(401, (("www-authenticate", 'Bearer realm="a", Basic'), *NO_STORE), b"")


def test_nginx_gets_a_redirect_as_401_with_its_location():
    location = ("location", "https://login.example/")
    answer = encode(Dialect.NGINX, Response(status=302, headers=(location, *NO_STORE), body=b"{}"))
    assert answer == Answer(401, (location, *NO_STORE), b"")


# --- the application --------------------------------------------------------------------------------------


class Sink:
    def __init__(self, error: Exception | None = None) -> None:
        self.records: list[Record] = []
        self.error = error

    def write(self, record):
        self.records.append(record)
        if self.error is not None:
            raise self.error


class Point:
    def __init__(self, decision: Decision | Callable[[], Decision]) -> None:
        self.decision = decision
        self.queries: list[Query] = []

    async def decide(self, query):
        self.queries.append(query)
        return self.decision() if callable(self.decision) else self.decision

    async def decide_many(self, queries):
        return tuple([await self.decide(query) for query in queries])


def unavailable() -> Decision:
    raise DecisionUnavailable(detail=CANARY)


class Nobody:
    async def authenticate(self, request):
        return None


def door(decision=ALLOW, *, sink_error=None, **route):
    spec = RouteSpec(
        name="read",
        path="/documents/{id}",
        action='Action::"Read"',
        resource_type="Document",
        resource_id="{path.id}",
        anonymous='User::"nobody"',
        headers={"x-auth-user": "{principal.id}"},
        **route,
    )
    table, problems = compile_routes((spec,))
    assert problems == ()
    uid = EntityUid("User", "nobody")
    identity = Identity(scheme="anonymous", issuer="", subject="nobody", principal=uid)
    sink = Sink(sink_error)
    authorizer = Authorizer(
        routes=table, authenticators=(Nobody(),), decision_point=Point(decision), anonymous={uid: identity}
    )
    return ForwardAuth(service=Service(authorizer=authorizer, sinks=(sink,))), sink


def ask(app: ForwardAuth, question: Recorded, peer=PROXY) -> Answer:
    return asyncio.run(app.answer(question.method, question.target, question.headers, peer))


def problem(answer: Answer) -> tuple[int, str]:
    assert dict(answer.headers)["content-type"] == "application/problem+json"
    document = json.loads(answer.body)
    assert document["status"] == answer.status or answer.status == 404
    assert document["decision_id"]
    return answer.status, document["reason"]


@pytest.mark.parametrize(
    ("name", "label"),
    [
        ("traefik", "traefik"),
        ("nginx", "nginx"),
        ("ingress-nginx", "nginx"),
        ("caddy", "caddy"),
        ("envoy", "envoy_http"),
    ],
)
def test_an_allow_carries_the_identity_and_is_recorded_under_its_door(name, label):
    app, sink = door()
    answer = ask(app, QUESTIONS[name])
    assert (answer.status, answer.body) == (200, b"")
    assert ("x-auth-user", "nobody") in answer.headers
    assert [(record.door, record.outcome.reason) for record in sink.records] == [(label, Reason.ALLOWED)]


def test_a_deny_says_why_by_code_and_id():
    app, sink = door(Decision(verdict=Verdict.DENY))
    answer = ask(app, PLAIN_TRAEFIK)
    assert problem(answer) == (403, "policy_no_permit")
    assert json.loads(answer.body)["decision_id"] == sink.records[0].id


def test_a_failure_is_no_deny():
    app, _ = door(unavailable)
    assert problem(ask(app, PLAIN_ENVOY)) == (503, "decision_unavailable")
    assert ask(app, PLAIN_NGINX).status == 503


def test_a_fail_open_route_lets_through_without_an_identity():
    app, sink = door(unavailable, fail_open=True)
    answer = ask(app, PLAIN_ENVOY)
    assert (answer.status, answer.headers) == (200, (("x-envoy-auth-headers-to-remove", "x-auth-user"),))
    assert sink.records[0].outcome.let_through
    assert ask(app, PLAIN_TRAEFIK).headers == NO_STORE


def test_an_untrusted_peer_is_denied_whatever_it_says():
    app, sink = door()
    assert problem(ask(app, PLAIN_TRAEFIK, Peer(address="203.0.113.1"))) == (403, "untrusted_peer")
    assert sink.records[0].outcome.reason is Reason.UNTRUSTED_PEER


def test_what_cannot_be_read_is_answered_and_recorded():
    app, sink = door()
    assert problem(ask(app, PLAIN_TRAEFIK.without("x-forwarded-uri"))) == (400, "bad_check")
    assert ask(app, NGINX) == Answer(403, NO_STORE)
    assert [(record.door, record.outcome.reason) for record in sink.records] == [
        ("traefik", Reason.BAD_CHECK),
        ("nginx", Reason.BAD_CHECK),
    ]


@pytest.mark.parametrize("question", [recorded("k7-envoy-path-override"), recorded("k8-haproxy"), recorded("k5-envoy")])
def test_where_no_door_stands_nothing_is_found(question):
    app, sink = door()
    assert problem(ask(app, question)) == (404, "bad_check")
    assert [(record.door, record.outcome.status) for record in sink.records] == [("http", 404)]


def test_malformed_bytes_are_answered_and_recorded():
    app, sink = door()
    assert problem(app.malformed(too_large=False)) == (400, "bad_check")
    assert problem(app.malformed(too_large=True)) == (400, "too_large")
    assert [record.door for record in sink.records] == ["http", "http"]


@pytest.mark.parametrize("name", QUESTIONS)
def test_a_broken_sink_is_an_error_of_ours_and_no_allow(name, caplog):
    app, _ = door(sink_error=ValueError(CANARY))
    for question in (QUESTIONS[name], QUESTIONS[name].without(REQUIRED[name][0])):
        assert ask(app, question).status == 500
    assert app.malformed(too_large=False).status == 500
    assert CANARY not in caplog.text
    assert {record.levelno for record in caplog.records} == {logging.ERROR}


def test_headers_that_cannot_be_read_at_all_are_an_error_of_ours(caplog):
    app, sink = door()

    def broken():
        yield ("X-Forwarded-Uri", "/documents/17")
        raise KeyError(CANARY)

    answer = asyncio.run(app.answer("GET", "/traefik", broken(), PROXY))
    assert problem(answer) == (500, "internal")
    assert sink.records[0].outcome.reason is Reason.INTERNAL
    assert CANARY not in caplog.text


def test_every_door_that_can_be_asked_has_its_name():
    assert [dialect.value for dialect in Dialect] == ["envoy_http", "traefik", "nginx", "caddy"]
