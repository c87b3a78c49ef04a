"""The default host with the door it carries: a proxy's bytes in, a decision's bytes out."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import pytest

from authz.core.errors import Reason
from authz.core.model import Decision, Denied, EntityUid, Identity, Record, Verdict
from authz.core.pipeline import Authorizer
from authz.core.route_compiler import RouteSpec, compile_routes
from authz.servers.aiohttp_host import AiohttpHost
from authz.servers.forward_auth import ForwardAuth
from authz.servers.listeners import TcpListener
from authz.servers.trust import TrustedPeers
from authz.service import Limits, Service
from tests.servers.raw_http import Client, Recorded, Reply, recorded, until

CANARY = "c4n4ry-credential"
URI = "/documents/17?q=1"


class Point:
    """Allows, or denies the document `secret`; at `slow` it waits until told."""

    def __init__(self) -> None:
        self.go = asyncio.Event()
        self.waiting = 0

    async def decide(self, query):
        if query.resource.id == "slow":
            self.waiting += 1
            try:
                await self.go.wait()
            finally:
                self.waiting -= 1
        verdict = Verdict.DENY if query.resource.id == "secret" else Verdict.ALLOW
        return Decision(verdict=verdict)

    async def decide_many(self, queries):
        return tuple([await self.decide(query) for query in queries])


class Nobody:
    async def authenticate(self, request):
        return None


class Sink:
    def __init__(self) -> None:
        self.records: list[Record] = []

    def write(self, record):
        self.records.append(record)

    @property
    def ends(self) -> list[tuple[str, Reason]]:
        return [(record.door, record.outcome.reason) for record in self.records]


@dataclass(frozen=True, slots=True, kw_only=True)
class Served:
    host: AiohttpHost
    point: Point
    sink: Sink

    @asynccontextmanager
    async def client(self) -> AsyncIterator[Client]:
        client = await Client.connect(self.host.addresses[0])
        try:
            yield client
        finally:
            await client.close()

    async def ask(self, question: Recorded) -> Reply:
        async with self.client() as client:
            client.send(sent(question))
            return await client.reply(head=question.method == "HEAD")


def sent(question: Recorded, version: str = "HTTP/1.1") -> bytes:
    lines = [f"{name}: {value}" for name, value in question.headers]
    head = "\r\n".join((f"{question.method} {question.target} {version}", *lines, "", ""))
    return head.encode("latin-1") + question.body


@asynccontextmanager
async def served(*, trusted=("127.0.0.0/8",), deadline=30.0) -> AsyncIterator[Served]:
    spec = RouteSpec(
        name="read",
        path="/documents/{id}",
        action='Action::"Read"',
        resource_type="Document",
        resource_id="{path.id}",
        anonymous='User::"nobody"',
        headers={"x-auth-user": "{principal.id}", "x-auth-tenant": "{headers.x-tenant}"},
    )
    table, problems = compile_routes((spec,))
    assert problems == ()
    uid = EntityUid("User", "nobody")
    identity = Identity(scheme="anonymous", issuer="", subject="nobody", principal=uid)
    point, sink = Point(), Sink()
    authorizer = Authorizer(
        routes=table, authenticators={"test": Nobody()}, decision_point=point, anonymous={uid: identity}
    )
    service = Service(authorizer=authorizer, sinks=(sink,), limits=Limits(deadline=deadline))
    host = AiohttpHost(
        app=ForwardAuth(service=service),
        listeners=[TcpListener(host="127.0.0.1", port=0)],
        trusted=TrustedPeers.parse(trusted),
    )
    await host.start()
    try:
        yield Served(host=host, point=point, sink=sink)
    finally:
        await host.stop(0)


def traefik(uri: str = URI) -> Recorded:
    return recorded("k1-traefik").to("/traefik?x=1").edited(x_forwarded_uri=uri)


def caddy(uri: str = URI) -> Recorded:
    return recorded("k4-caddy").to("/caddy?from=caddy").edited(x_forwarded_uri=uri)


def envoy(uri: str = URI) -> Recorded:
    return recorded("k5-envoy").to("/envoy" + uri)


def nginx(uri: str = URI) -> Recorded:
    question = recorded("k3-ingress-nginx").to("/nginx?from=nginx")
    return question.edited(x_original_url=f"http://app.example{uri}", x_original_uri=None)


QUESTIONS = [traefik, caddy, envoy, nginx]


@pytest.mark.parametrize("question", QUESTIONS)
async def test_a_recorded_question_is_allowed_with_its_identity(question):
    async with served() as here:
        reply = await here.ask(question())
        assert (reply.status, reply.body) == (200, b"")
        assert reply.values("content-length") == ["0"]
        assert reply.values("x-auth-user") == ["nobody"]
        removed = ["x-auth-tenant"] if question is envoy else []
        assert reply.values("x-envoy-auth-headers-to-remove") == removed


@pytest.mark.parametrize("question", QUESTIONS)
async def test_a_recorded_question_is_denied(question):
    async with served() as here:
        reply = await here.ask(question("/documents/secret"))
        assert reply.status == 403
        assert reply.values("x-auth-user") == []
        if question is nginx:
            assert reply.body == b""
        else:
            assert json.loads(reply.body)["reason"] == "policy_no_permit"
            assert reply.values("content-type") == ["application/problem+json"]


@pytest.mark.parametrize("question", QUESTIONS)
async def test_the_verbatim_question_with_its_ambiguous_path_is_refused(question):
    async with served() as here:
        reply = await here.ask(question("/p/a%2Fb/../c//d;x=1?q=a%20b&mode=ok"))
        assert reply.status == (403 if question is nginx else 400)
        assert here.sink.records[0].outcome.reason is Reason.BAD_PATH


async def test_what_nginx_of_old_sends_is_answered_and_closed():
    async with served() as here, here.client() as client:
        client.send(sent(nginx(), "HTTP/1.0"))
        reply = await client.reply()
        assert (reply.status, reply.closes) == (200, True)
        assert await client.ended() == b""


async def test_nginx_without_the_recipes_content_length_does_not_hang():
    async with served() as here, here.client() as client:
        client.send(sent(nginx().plus(("Content-Length", "5"))))
        assert (await client.reply()).status == 200


async def test_a_websocket_upgrade_through_caddy_is_decided_like_any_request():
    upgrade = (("Connection", "Upgrade"), ("Upgrade", "websocket"), ("Sec-WebSocket-Version", "13"))
    async with served() as here, here.client() as client:
        for uri, status in ((URI, 200), ("/documents/secret", 403)):
            client.send(sent(caddy(uri).plus(*upgrade)))
            assert (await client.reply()).status == status


async def test_a_head_request_through_envoy_gets_no_body():
    question = envoy("/documents/secret").edited(content_length="0")
    question = Recorded(method="HEAD", target=question.target, headers=question.headers)
    async with served() as here:
        reply = await here.ask(question)
        assert (reply.status, reply.body) == (403, b"")


@pytest.mark.parametrize("target", ["/", "/documents/17", "//traefik", "/envoyx", "/livez", "http://a/traefik"])
async def test_an_unknown_path_is_404_without_detail(target):
    async with served() as here:
        reply = await here.ask(traefik().to(target))
        assert reply.status == 404
        assert set(json.loads(reply.body)) == {"type", "title", "status", "reason", "decision_id"}
        assert here.sink.ends == [("http", Reason.BAD_CHECK)]


async def test_an_untrusted_peer_is_denied():
    async with served(trusted=("10.0.0.0/8",)) as here:
        reply = await here.ask(traefik())
        assert (reply.status, json.loads(reply.body)["reason"], reply.closes) == (403, "untrusted_peer", True)


HOSTILE = [
    sent(traefik().plus(("Authorization", CANARY))),
    sent(traefik(f"/documents/{CANARY}/..")),
    sent(traefik(f"/documents/17?{CANARY}#")),
    sent(traefik().plus(("X-Forwarded-Uri", f"/{CANARY}"))),
    sent(traefik().edited(x_forwarded_host=f"a,{CANARY}")),
    sent(traefik().edited(x_forwarded_method=CANARY)),
    sent(traefik().edited(x_forwarded_proto=CANARY)),
    sent(nginx().edited(x_original_url=f"http://{CANARY}@app.example/documents/17")),
    sent(envoy().edited(authorization=f"Bearer {CANARY},Bearer b")),
    sent(traefik().plus(("X-Long", CANARY * 1000))),
    sent(traefik().plus(("X-Long", CANARY * 2000))),
    sent(traefik().plus(*((f"X-{number}", CANARY) for number in range(300)))),
    sent(traefik().plus(("Authorization", f"{CANARY}\x01"))),
    sent(traefik()).replace(b"Host:", f"{CANARY} :".encode()),
    sent(traefik().to(f"/{CANARY}")),
    f"FOO /traefik HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {CANARY}\r\n\r\n".encode(),
]


@pytest.mark.parametrize("data", HOSTILE)
async def test_what_is_refused_is_not_quoted_anywhere(data, caplog):
    caplog.set_level(logging.DEBUG)
    async with served() as here, here.client() as client:
        client.send(data)
        reply = await client.reply()
        assert 400 <= reply.status <= 404
        assert CANARY.encode() not in reply.raw
        (record,) = here.sink.records
        assert isinstance(record.outcome, Denied)
        assert CANARY not in record.outcome.detail
    assert CANARY not in caplog.text
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


async def test_a_stop_answers_the_check_that_is_under_way():
    async with served() as here, here.client() as client:
        client.send(sent(traefik("/documents/slow")))
        await until(lambda: here.point.waiting == 1, "asked")
        stopping = asyncio.create_task(here.host.stop(20))
        await asyncio.sleep(0)
        here.point.go.set()
        reply = await client.reply()
        assert (reply.status, reply.closes) == (200, True)
        await stopping
        assert here.sink.ends == [("traefik", Reason.ALLOWED)]


async def test_a_check_that_is_cut_off_is_recorded_before_the_stop_returns():
    async with served() as here, here.client() as client:
        client.send(sent(traefik("/documents/slow")))
        await until(lambda: here.point.waiting == 1, "asked")
        await here.host.stop(0.01)
        assert here.sink.ends == [("traefik", Reason.DEADLINE)]
        assert await client.ended() == b""


async def test_a_proxy_that_gives_up_is_recorded():
    async with served() as here:
        async with here.client() as client:
            client.send(sent(envoy("/documents/slow")))
            await until(lambda: here.point.waiting == 1, "asked")
        await until(lambda: len(here.sink.records) == 1, "recorded")
        assert here.sink.ends == [("envoy_http", Reason.DEADLINE)]


async def test_a_deadline_is_a_failure_to_the_client():
    async with served(deadline=0.01) as here:
        reply = await here.ask(envoy("/documents/slow"))
        assert (reply.status, json.loads(reply.body)["reason"]) == (503, "deadline")


async def test_many_checks_on_many_connections_keep_apart():
    async with served() as here:

        async def one(number: int) -> None:
            async with here.client() as client:
                for turn in range(20):
                    name = "secret" if (number + turn) % 2 else f"{number}-{turn}"
                    client.send(sent(traefik(f"/documents/{name}").plus(("X-Tenant", f"t{number}-{turn}"))))
                    reply = await client.reply()
                    assert reply.status == (403 if name == "secret" else 200)
                    assert reply.values("x-auth-tenant") == ([] if name == "secret" else [f"t{number}-{turn}"])

        async with asyncio.TaskGroup() as group:
            for number in range(10):
                group.create_task(one(number))
        assert len(here.sink.records) == 200
        assert len({record.id for record in here.sink.records}) == 200
