"""Bodies at the HTTP door: read from the wire only for a route that reads them, and only from proxies that pass them."""

from __future__ import annotations

import asyncio
import json

import pytest

from authz.core.body import BodyKind, BodyRules
from authz.core.errors import Reason, RequestRefused
from authz.core.model import Decision, EntityUid, Identity, Peer, Query, Record, Verdict
from authz.core.pipeline import Authorizer
from authz.core.route_compiler import AttributeSpec, RouteSpec, compile_routes
from authz.servers.bodies import BODIES
from authz.servers.dialects import Dialect
from authz.servers.forward_auth import ForwardAuth
from authz.service import Limits, Service
from tests.servers.questions import PLAIN_CADDY, PLAIN_ENVOY, PLAIN_NGINX, PLAIN_TRAEFIK, PROXY
from tests.servers.raw_http import Recorded

UID = EntityUid("User", "nobody")
JSON = ("content-type", "application/json")
WHOLE = ("x-envoy-auth-partial-body", "false")
ENVOY = PLAIN_ENVOY.without("x-envoy-auth-partial-body").without("content-type")
TRAEFIK = PLAIN_TRAEFIK.without("content-type").without("x-envoy-auth-partial-body")


class Point:
    def __init__(self) -> None:
        self.queries: list[Query] = []

    async def decide(self, query):
        self.queries.append(query)
        return Decision(verdict=Verdict.ALLOW)

    async def decide_many(self, queries):
        return tuple([await self.decide(query) for query in queries])


class Door:
    """The door in front of two routes: `/documents/{id}` reads bodies, `/plain/{id}` does not."""

    def __init__(self, *, optional: bool = False, deadline: float = 5.0) -> None:
        rules = BodyRules(kinds=frozenset({BodyKind.JSON}), max_bytes=30, optional=optional)
        parts = {"action": 'Action::"Read"', "resource_type": "D", "resource_id": "{path.id}", "anonymous": str(UID)}
        specs = (
            RouteSpec(
                name="reads",
                path="/documents/{id}",
                body=rules,
                context={"amount": AttributeSpec(type="long", source="body.amount")},
                **parts,  # type: ignore[arg-type]
            ),
            RouteSpec(name="plain", path="/plain/{id}", **parts),  # type: ignore[arg-type]
        )
        table, problems = compile_routes(specs)
        assert problems == ()
        identity = Identity(scheme="anonymous", issuer="", subject="nobody", principal=UID)
        self.point = Point()
        authorizer = Authorizer(routes=table, authenticators={}, decision_point=self.point, anonymous={UID: identity})
        self.records: list[Record] = []
        service = Service(authorizer=authorizer, sinks=(self,), limits=Limits(deadline=deadline))
        self.app = ForwardAuth(service=service)
        self.limits: list[int] = []

    def write(self, record: Record) -> None:
        self.records.append(record)

    def ask(self, question: Recorded, body: bytes | Exception | None = b"", peer: Peer = PROXY) -> tuple[int, str]:
        """Status and reason of the answer. None: the body never comes."""

        async def read(limit: int) -> bytes:
            self.limits.append(limit)
            if body is None:
                await asyncio.Event().wait()
            if isinstance(body, Exception):
                raise body
            return body or b""

        answer = asyncio.run(self.app.answer(question.method, question.target, question.headers, peer, read))
        return answer.status, json.loads(answer.body)["reason"] if answer.body else self.records[
            -1
        ].outcome.reason.value

    @property
    def amounts(self) -> list[object]:
        return [query.context.get("amount") for query in self.point.queries]


@pytest.mark.parametrize("question", [ENVOY.plus(JSON, WHOLE), TRAEFIK.plus(JSON)])
def test_a_whole_body_is_read_and_mapped(question):
    door = Door()
    assert door.ask(question, b'{"amount": 100}') == (200, "allowed")
    assert (door.amounts, door.limits) == ([100], [30])


@pytest.mark.parametrize("question", [ENVOY.plus(JSON, WHOLE), TRAEFIK.plus(JSON)])
@pytest.mark.parametrize("body", [b'{"amount": 1, "amount": 2}', b"{", b'{"Amount": 1}', b"[]", b" "])
def test_a_body_that_cannot_be_read_is_refused(question, body):
    door = Door()
    assert door.ask(question, body) == (400, "bad_body")
    assert door.records[-1].route == "reads"


@pytest.mark.parametrize(
    ("headers", "body"),
    [
        ((), b'{"amount": 1}'),
        ((("x-envoy-auth-partial-body", "true"),), b'{"amount": 1}'),
        ((("x-envoy-auth-partial-body", "FALSE"),), b'{"amount": 1}'),
        ((("x-envoy-auth-partial-body", ""),), b'{"amount": 1}'),
        ((WHOLE, WHOLE), b'{"amount": 1}'),
        ((WHOLE, ("x-envoy-auth-partial-body", "true")), b'{"amount": 1}'),
        ((("x-envoy-auth-partial-body", "true"),), b""),
        ((("content-length", "0"),), b""),  # Envoy's own: it says nothing of the client's
        ((), b""),
    ],
)
def test_envoy_must_say_that_a_body_is_whole(headers, body):
    question = ENVOY.without("content-length").plus(JSON, *headers)
    assert Door().ask(question, body) == (400, "bad_body")


def test_a_body_that_envoy_calls_whole_may_be_empty():
    door = Door()
    assert door.ask(ENVOY.plus(WHOLE), b"") == (200, "allowed")
    assert door.amounts == [None]


def test_at_traefik_only_the_framing_says_that_there_is_none():
    door = Door()
    assert door.ask(TRAEFIK, b"") == (400, "bad_body")
    assert door.ask(TRAEFIK.plus(WHOLE), b"") == (400, "bad_body")  # a client's word
    assert door.ask(TRAEFIK.plus(("transfer-encoding", "chunked")), b"") == (200, "allowed")


def test_by_setting_no_body_is_none():
    door = Door(optional=True)
    assert [door.ask(question)[0] for question in (ENVOY, TRAEFIK)] == [200, 200]
    assert door.amounts == [None, None]
    assert door.ask(ENVOY.plus(("x-envoy-auth-partial-body", "true")))[0] == 400


@pytest.mark.parametrize(("question", "status"), [(PLAIN_NGINX, 403), (PLAIN_CADDY, 400)])
@pytest.mark.parametrize("optional", [False, True])
def test_proxies_that_pass_on_no_bodies_get_a_refusal_that_says_so(question, status, optional):
    door = Door(optional=optional)
    assert door.ask(question, b'{"amount": 1}')[0] == status
    assert door.limits == []  # it is not even waited for: nginx may announce a body that never comes
    outcome = door.records[-1].outcome
    assert outcome.reason is Reason.BAD_BODY
    assert "nginx, Caddy and HAProxy" in getattr(outcome, "detail", "")


@pytest.mark.parametrize("dialect", Dialect)
def test_every_other_dialect_is_one_of_these(dialect):
    assert (dialect in BODIES) is (dialect in {Dialect.ENVOY, Dialect.TRAEFIK})


def test_a_body_is_not_read_for_other_routes_nor_for_strangers():
    door = Door()
    plain = ENVOY.to("/envoy/plain/1")
    assert door.ask(plain.plus(JSON, WHOLE), None) == (200, "allowed")
    assert door.ask(ENVOY.to("/envoy/nowhere").plus(JSON, WHOLE), None) == (403, "no_route")
    assert door.ask(ENVOY.plus(JSON, WHOLE), None, Peer(address="203.0.113.1")) == (403, "untrusted_peer")
    assert door.limits == []


def test_a_body_that_is_too_long_or_broken_is_refused():
    for reason in (Reason.TOO_LARGE, Reason.BAD_BODY):
        door = Door()
        assert door.ask(TRAEFIK.plus(JSON), RequestRefused(reason, "as the host says")) == (400, reason.value)
        assert door.records[-1].outcome.reason is reason


def test_a_body_that_never_comes_is_waited_for_no_longer_than_a_decision():
    door = Door(deadline=0.05)
    assert door.ask(TRAEFIK.plus(JSON), None) == (400, "bad_body")
    assert [record.outcome.reason for record in door.records] == [Reason.BAD_BODY]
