"""Liveness, readiness and metrics."""

from __future__ import annotations

import asyncio
import json

import pytest

from authz.core.model import Peer
from authz.servers.admin import AdminApp
from authz.servers.aiohttp_host import AiohttpHost
from authz.servers.http_app import Answer
from authz.servers.listeners import TcpListener
from authz.servers.trust import TrustedPeers
from tests.servers.raw_http import Client, request

CHECKS = {"policies": (True, "3 policies, 2 s old"), "keys": (True, "")}
CANARY = "c4n4ry-credential"


def exposition(accept: str) -> tuple[bytes, str]:
    return f"# asked for {accept}\n".encode(), "text/plain; version=0.0.4"


def admin(checks=lambda: CHECKS, metrics=exposition) -> AdminApp:
    return AdminApp(checks=checks, metrics=metrics)


async def nothing(limit: int) -> bytes:
    return b""


def ask(app: AdminApp, target: str, method: str = "GET", *headers: tuple[str, str]) -> Answer:
    return asyncio.run(app.answer(method, target, headers, Peer(trusted=True), nothing))


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize("target", ["/livez", "/readyz", "/metrics", "/readyz?verbose", "/livez?"])
def test_what_there_is_answers(method, target):
    answer = ask(admin(), target, method)
    assert answer.status == 200
    assert ("cache-control", "no-store") in answer.headers


@pytest.mark.parametrize("target", ["/", "", "*", "/livez/", "/Livez", "//livez", "/metrics/x", "/healthz", "/traefik"])
def test_anything_else_is_not_found(target):
    assert ask(admin(), target).status == 404


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "TRACE", "FOO", "get"])
@pytest.mark.parametrize("target", ["/livez", "/readyz", "/metrics"])
def test_nothing_can_be_changed(method, target):
    assert ask(admin(), target, method).status == 404


@pytest.mark.parametrize("target", ["/livez", "/readyz", "/metrics", "/"])
def test_a_peer_that_is_not_listed_learns_nothing(target):
    answer = asyncio.run(admin().answer("GET", target, (), Peer(address="127.0.0.1"), nothing))
    assert answer.status == 403
    assert b"`clients`" in answer.body


def ready(app: AdminApp) -> tuple[int, bool, dict[str, dict[str, object]]]:
    answer = ask(app, "/readyz")
    document = json.loads(answer.body)
    return answer.status, document["ready"], document["checks"]


def test_readiness_names_every_check():
    assert ready(admin()) == (
        200,
        True,
        {"policies": {"ok": True, "detail": "3 policies, 2 s old"}, "keys": {"ok": True, "detail": ""}},
    )


def test_one_check_that_does_not_hold_is_enough():
    status, holds, checks = ready(admin(lambda: {**CHECKS, "keys": (False, "too old")}))
    assert (status, holds) == (503, False)
    assert checks["keys"] == {"ok": False, "detail": "too old"}
    assert checks["policies"]["ok"]


def test_checks_are_asked_each_time():
    state = {"policies": (False, "none yet")}
    app = admin(lambda: state)
    assert ready(app)[0] == 503
    state["policies"] = (True, "")
    assert ready(app)[0] == 200


def test_a_check_that_cannot_be_made_does_not_hold():
    def broken():
        raise ValueError(CANARY)

    app = admin(broken)
    assert ready(app) == (503, False, {"checks": {"ok": False, "detail": "unexpected ValueError"}})
    assert ask(app, "/livez").status == 200


def test_a_drain_is_not_ready_and_alive():
    app = admin()
    app.drain()
    status, _, checks = ready(app)
    assert (status, checks["draining"]["ok"]) == (503, False)
    assert checks["policies"]["ok"]
    assert ask(app, "/livez").status == 200
    assert ask(app, "/metrics").status == 200


def test_metrics_are_told_what_is_accepted():
    answer = ask(admin(), "/metrics", "GET", ("Accept", "a/b"), ("X", "y"), ("accept", "c/d"))
    assert answer.body == b"# asked for a/b, c/d\n"
    assert ("content-type", "text/plain; version=0.0.4") in answer.headers


def test_metrics_that_fail_are_an_error_without_a_word_of_it(caplog):
    def broken(accept):
        raise ValueError(CANARY)

    answer = ask(admin(metrics=broken), "/metrics")
    assert answer.status == 500
    assert CANARY not in caplog.text
    assert [record.levelname for record in caplog.records] == ["ERROR"]


def test_malformed_bytes_are_answered():
    assert admin().malformed(too_large=False).status == 400
    assert admin().malformed(too_large=True).status == 400


async def test_it_is_carried_by_a_host_of_its_own():
    app = admin()
    host = AiohttpHost(app=app, listeners=[TcpListener(host="127.0.0.1", port=0)], trusted=TrustedPeers.parse())
    await host.start()
    try:
        for method in ("GET", "HEAD"):
            client = await Client.connect(host.addresses[0])
            client.send(request("/readyz", method=method))
            reply = await client.reply(head=method == "HEAD")
            assert (reply.status, reply.values("content-type")) == (200, ["application/json"])
            assert bool(reply.body) is (method == "GET")
            await client.close()
        app.drain()
        client = await Client.connect(host.addresses[0])
        client.send(request("/readyz"))
        assert (await client.reply()).status == 503
        await client.close()
    finally:
        await host.stop(0)
