"""What each proxy makes of each answer, and the door as an application."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from authz.core.enforce import Disclosure, Response, respond
from authz.core.errors import DecisionUnavailable, Reason
from authz.core.login import Login
from authz.core.model import (
    Allowed,
    Decision,
    Denied,
    EntityUid,
    Failed,
    HeaderEdits,
    Headers,
    Identity,
    Peer,
    Query,
    Record,
    Request,
    Stage,
    Verdict,
)
from authz.core.pipeline import Authorizer
from authz.core.route_compiler import RouteSpec, compile_routes
from authz.servers.dialects import Dialect
from authz.servers.forward_auth import ForwardAuth, decode, encode
from authz.servers.http_app import Answer
from authz.service import Service
from tests.servers.questions import (
    CANARY,
    NGINX,
    PLAIN_ENVOY,
    PLAIN_HAPROXY,
    PLAIN_NGINX,
    PLAIN_TRAEFIK,
    PROXY,
    QUESTIONS,
    REQUIRED,
)
from tests.servers.raw_http import Recorded, recorded

ALLOW = Decision(verdict=Verdict.ALLOW, policies=("p",))


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
STATUS = st.integers(400, 599)
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


def asking(**fields: str) -> Request:
    question = PLAIN_NGINX.edited(x_original_method="GET", **fields)
    return decode(Dialect.NGINX, "GET", question.target, question.headers, id="d-1", peer=PROXY)


ASKERS = [None, asking(), asking(accept="text/html"), asking(content_type="application/grpc").headers]
LOGIN = Login(url="https://login.example/", key=b"k" * 32, hosts=("app.example",))


@given(
    dialect=st.sampled_from(Dialect),
    outcome=OUTCOME,
    told=st.booleans(),
    asker=st.sampled_from(ASKERS),
    login=st.sampled_from([None, LOGIN]),
)
def test_a_proxy_lets_through_what_is_allowed_and_nothing_else(dialect, outcome, told, asker, login):
    disclosure = Disclosure(deny_messages=told, policies=told, login=login)
    response = respond(outcome, "d-1", disclosure, asker, now=lambda: 0.0)
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
    named = [field for field in answer.headers if field[0].startswith("x-auth-")]
    emptied = [(name, "") for name in edits.remove] if dialect is Dialect.HAPROXY else []
    assert named == [*edits.set, *emptied]
    removed = [v for name, v in answer.headers if name == "x-envoy-auth-headers-to-remove"]
    if dialect is Dialect.ENVOY:
        assert removed == ([",".join(edits.remove)] if edits.remove else [])
    elif dialect is Dialect.HAPROXY:
        # It keeps the client's value of what the answer lacks.
        assert removed == []
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
    assert headers.get("x-auth-mail") == ("" if dialect is Dialect.HAPROXY else None)


def test_nothing_that_frames_or_routes_is_emptied_either():
    response = Response(status=200, remove=("host", "x-envoy-original-path", "x-auth-user"))
    assert encode(Dialect.HAPROXY, response).headers == (("x-auth-user", ""), *NO_STORE)


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


SHOWS_BODIES = [dialect for dialect in Dialect if dialect is not Dialect.NGINX]


@pytest.mark.parametrize("dialect", SHOWS_BODIES)
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

    challenge = ("www-authenticate", "Bearer")
    answer = encode(Dialect.NGINX, Response(status=302, headers=(location, challenge, *NO_STORE), body=b"{}"))
    assert answer == Answer(401, (challenge, location, *NO_STORE), b"")


@pytest.mark.parametrize("dialect", SHOWS_BODIES)
def test_others_get_the_redirect_itself(dialect):
    headers = (("location", "https://login.example/"), ("www-authenticate", "Bearer"), *NO_STORE)
    assert encode(dialect, Response(status=302, headers=headers, body=b"go")) == Answer(302, headers, b"go")


PAGE = Headers([("accept", "text/html")])


@pytest.mark.parametrize("dialect", Dialect)
def test_a_page_comes_with_what_makes_it_safe_to_show(dialect):
    outcome = Denied(stage=Stage.DECIDE, reason=Reason.POLICY_FORBID)
    answer = encode(dialect, respond(outcome, "d-1", Disclosure(), PAGE))
    names = {name for name, _ in answer.headers}
    if dialect is Dialect.NGINX:
        assert (names, answer.body) == ({"cache-control"}, b"")
    else:
        assert names == {"content-type", "content-security-policy", "x-content-type-options", "cache-control"}
        assert answer.body.startswith(b"<!doctype html>")


@pytest.mark.parametrize("dialect", Dialect)
def test_envoy_alone_is_told_the_grpc_status(dialect):
    outcome = Denied(stage=Stage.ROUTE, reason=Reason.BAD_PATH, status=400)
    answer = encode(dialect, respond(outcome, "d-1", Disclosure(), Headers([("content-type", "application/grpc")])))
    # Traefik and Caddy pass it on beside a status that is not 200, and the client then makes UNKNOWN of both.
    assert dict(answer.headers).get("grpc-status") == ("3" if dialect is Dialect.ENVOY else None)


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
        routes=table, authenticators={"test": Nobody()}, decision_point=Point(decision), anonymous={uid: identity}
    )
    return ForwardAuth(service=Service(authorizer=authorizer, sinks=(sink,))), sink


async def nothing(limit: int) -> bytes:
    return b""


def ask(app: ForwardAuth, question: Recorded, peer=PROXY) -> Answer:
    return asyncio.run(app.answer(question.method, question.target, question.headers, peer, nothing))


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
        ("haproxy", "haproxy"),
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
    assert ask(app, PLAIN_HAPROXY).headers == (("x-auth-user", ""), *NO_STORE)


def test_a_browser_gets_a_page_for_what_was_decided_and_for_what_could_not_be_read():
    app, _ = door(Decision(verdict=Verdict.DENY))
    browser = PLAIN_TRAEFIK.plus(("Accept", "text/html,*/*;q=0.8"))
    for question, reason in ((browser, b"policy_no_permit"), (browser.edited(x_forwarded_uri="//a"), b"bad_path")):
        answer = ask(app, question)
        assert dict(answer.headers)["content-type"] == "text/html; charset=utf-8"
        assert reason in answer.body


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

    answer = asyncio.run(app.answer("GET", "/traefik", broken(), PROXY, nothing))
    assert problem(answer) == (500, "internal")
    assert sink.records[0].outcome.reason is Reason.INTERNAL
    assert CANARY not in caplog.text


def test_every_door_that_can_be_asked_has_its_name():
    assert [dialect.value for dialect in Dialect] == ["envoy_http", "traefik", "nginx", "caddy", "haproxy"]
