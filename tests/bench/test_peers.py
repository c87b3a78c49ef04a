"""Peers: what the command line may say, and the whole way through a real Envoy to a server that is not ours."""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager

import grpc
import grpc.aio
import pytest
from aiohttp import web

from authz.servers.extauthz_pb2 import CheckRequest, CheckResponse
from bench import __main__ as command
from bench import behind_envoy, peers
from bench.answers import WrongAnswer, probes
from bench.peers import Peer, parse_peer, parse_pid, with_pids
from bench.workload import Description, Workload, workload
from tests.proxies.harness import free_port

# --- the command line --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "peer"),
    [
        ("opa=grpc://127.0.0.1:9191", Peer(name="opa", door="grpc", host="127.0.0.1", port=9191)),
        ("a.b_c-1=grpc://localhost:1", Peer(name="a.b_c-1", door="grpc", host="127.0.0.1", port=1)),
        ("x=grpc://[::1]:65535", Peer(name="x", door="grpc", host="::1", port=65535)),
        ("x=http://127.9.9.9:80", Peer(name="x", door="http", host="127.9.9.9", port=80)),
        ("x=http://127.0.0.1:80/", Peer(name="x", door="http", host="127.0.0.1", port=80)),
        ("x=http://127.0.0.1:80/a/b-1", Peer(name="x", door="http", host="127.0.0.1", port=80, prefix="/a/b-1")),
    ],
)
def test_a_peer_is_read(text, peer):
    assert parse_peer(text) == peer


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("grpc://127.0.0.1:9191", "expected NAME="),
        ("x=127.0.0.1:9191", "expected NAME="),
        ("x=grpc://127.0.0.1", "expected NAME="),
        ("x=grpc://user:word@127.0.0.1:1", "expected NAME="),
        ("x= grpc://127.0.0.1:1", "expected NAME="),
        ("x=http://127.0.0.1:1?a=b", "expected NAME="),
        ("x=https://127.0.0.1:1", "http, grpc"),
        ("x=grpcs://127.0.0.1:1", "http, grpc"),
        ("x=grpc://127.0.0.1:0", "from 1 to 65535"),
        ("x=grpc://127.0.0.1:65536", "from 1 to 65535"),
        ("x=grpc://10.0.0.1:1", "not this machine"),
        ("x=grpc://0.0.0.0:1", "not this machine"),
        ("x=grpc://[2001:db8::1]:1", "not this machine"),
        ("x=grpc://example.com:1", "not this machine"),
        ("x=grpc://127.0.0.1.example.com:1", "not this machine"),
        ("x=grpc://127.0.0.1:1/Check", "no path"),
        ("x=http://127.0.0.1:1/check/", "without a slash at its end"),
        ("x=http://127.0.0.1:1//check", "expected a prefix"),
        ("x=http://127.0.0.1:1/../check", "expected a prefix"),
        ("x=http://127.0.0.1:1/check?a=b", "expected a prefix"),
        ("x=http://127.0.0.1:1/ch%2Feck", "expected a prefix"),
        ("=grpc://127.0.0.1:1", "a name has"),
        ("two words=grpc://127.0.0.1:1", "a name has"),
        (f"{'n' * 33}=grpc://127.0.0.1:1", "a name has"),
    ],
)
def test_what_is_no_peer_is_refused_with_what_to_write(text, said):
    with pytest.raises(argparse.ArgumentTypeError, match=said):
        parse_peer(text)


def test_an_address_is_told_as_it_was_given():
    for text in ("x=grpc://[::1]:9", "x=http://127.0.0.1:80/check"):
        assert f"x={parse_peer(text).address}" == text


@pytest.mark.parametrize("text", ["x", "x=", "x=one", "x=0", "x=-1", "x=1.5", "x=²"])
def test_what_is_no_process_is_refused(text):
    with pytest.raises(argparse.ArgumentTypeError, match="NAME=PID"):
        parse_pid(text)


def one(name: str) -> Peer:
    return Peer(name=name, door="grpc", host="127.0.0.1", port=1)


def test_a_process_belongs_to_the_peer_of_its_name():
    found = with_pids([one("a"), one("b")], [parse_pid("b=7")], taken=(), alive=[7])
    assert [(peer.name, peer.pid) for peer in found] == [("a", None), ("b", 7)]


@pytest.mark.parametrize(
    ("names", "pids", "said"),
    [
        (["a", "a"], [], "`a` is already used"),
        (["authz grpc"], [], "already used"),
        (["a"], [("b", 7)], "no --peer `b`"),
        (["a"], [("a", 8)], "no process 8"),
    ],
)
def test_names_and_processes_must_fit(names, pids, said):
    with pytest.raises(ValueError, match=said):
        with_pids([one(name) for name in names], pids, taken=["authz grpc"], alive=[7])


def test_the_command_says_what_is_wrong_with_a_peer(capsys):
    for argv in (["--peer", "x=grpc://192.0.2.1:1"], ["--peer", "x=grpc://127.0.0.1:1", "--peer-pid", "y=1"]):
        with pytest.raises(SystemExit) as stopped:
            command.arguments(argv)
        assert stopped.value.code == 2
    said = capsys.readouterr().err
    assert "load is sent to loopback addresses only" in said
    assert "there is no --peer `y`" in said


# --- the whole way -----------------------------------------------------------------------------------------

Answer = Callable[[str, str, str], int]
"""Method, path and credential → status."""


@pytest.fixture(scope="module")
def small() -> Workload:
    return workload(dataclasses.replace(Description.read(), requests=30))


def right(made: Workload) -> Answer:
    """A server that knows the round by heart, and nothing else."""
    known: Mapping[tuple[str, str, str], int] = {
        (ask.method, ask.path, f"Bearer {made.tokens[ask.user]}"): 200 if ask.allowed else 403 for ask in made.asks
    }
    good = {f"Bearer {token}" for token in made.tokens}
    return lambda method, path, credential: known.get((method, path, credential), 404 if credential in good else 401)


def wrong(made: Workload, changed: str) -> Answer:
    """The same but for one request: it says the contrary of what it must."""
    asks = {"allowed": True, "denied": False}
    if changed in asks:
        ask = [ask for ask in made.asks if ask.allowed is asks[changed]][-1]
        key = (ask.method, ask.path, f"Bearer {made.tokens[ask.user]}")
    else:
        probe = next(probe for probe in probes(made) if probe.name == changed)
        key = (probe.method, probe.path, probe.credential or "")
    answer = right(made)
    contrary = 403 if changed == "allowed" else 200
    return lambda *asked: contrary if asked == key else answer(*asked)


@asynccontextmanager
async def http_server(answer: Answer) -> AsyncIterator[Peer]:
    async def handler(request: web.Request) -> web.Response:
        path = request.raw_path.removeprefix("/check")
        return web.Response(status=answer(request.method, path, request.headers.get("Authorization", "")))

    app = web.Application()
    app.router.add_route("*", "/check/{tail:.*}", handler)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    port = free_port()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    try:
        yield parse_peer(f"unknown=http://127.0.0.1:{port}/check")
    finally:
        await runner.cleanup()


@asynccontextmanager
async def grpc_server(answer: Answer) -> AsyncIterator[Peer]:
    async def handler(data: bytes, context: object) -> bytes:
        http = CheckRequest.FromString(data).attributes.request.http
        status = answer(http.method, http.path, http.headers.get("authorization", ""))
        reply = CheckResponse()
        if status == 200:
            reply.status.SetInParent()
            reply.ok_response.SetInParent()
        else:
            reply.status.code = 7
            reply.denied_response.status.code = status
        return reply.SerializeToString()

    method: grpc.RpcMethodHandler[bytes, bytes] = grpc.unary_unary_rpc_method_handler(handler)
    server = grpc.aio.server()
    service = grpc.method_handlers_generic_handler("envoy.service.auth.v3.Authorization", {"Check": method})
    server.add_generic_rpc_handlers((service,))
    port = free_port()
    server.add_insecure_port(f"127.0.0.1:{port}")
    await server.start()
    try:
        yield parse_peer(f"unknown=grpc://127.0.0.1:{port}")
    finally:
        await server.stop(None)


SERVERS = {"http": http_server, "grpc": grpc_server}


@pytest.mark.proxy
@pytest.mark.parametrize("door", SERVERS)
async def test_a_peer_that_answers_rightly_may_be_measured(door, small):
    async with SERVERS[door](right(small)) as peer:
        await behind_envoy.check_peers(small, [peer])


@pytest.mark.proxy
@pytest.mark.parametrize("door", SERVERS)
@pytest.mark.parametrize("changed", ["allowed", "denied", "no-credential", "other-audience", "other-method"])
async def test_a_peer_that_answers_one_request_wrongly_is_refused_and_the_request_named(door, changed, small):
    async with SERVERS[door](wrong(small, changed)) as peer:
        with pytest.raises(WrongAnswer) as refused:
            await behind_envoy.check_peers(small, [peer])
    said = str(refused.value)
    assert said.startswith("unknown: ")
    assert {"allowed": "403, not 200", "denied": "200, not 403"}.get(changed, f"{changed}: 200, not") in said
    assert "Bearer" not in said


@pytest.mark.proxy
async def test_a_peer_that_is_not_there_is_refused(small):
    with pytest.raises(WrongAnswer, match=r"does not accept connections at grpc://127\.0\.0\.1:"):
        await behind_envoy.check_peers(small, [parse_peer(f"gone=grpc://127.0.0.1:{free_port()}")])


def test_the_form_that_is_told_is_one_that_is_taken():
    for form in peers.FORM.split(" or "):
        assert parse_peer(form.replace("HOST", "127.0.0.1").replace("PORT", "1")).name == "NAME"
