"""The gRPC listener: health, start and stop, sockets (protocol facts A1)."""

from __future__ import annotations

import asyncio
import stat
from pathlib import Path
from typing import Any

import grpc
import pytest

from authz.core.errors import Misconfigured
from authz.core.model import Peer
from authz.servers.grpc_host import GrpcHost, GrpcSettings
from authz.service import Limits
from tests.proxies.harness import Folder, until
from tests.servers.extauthz_support import Scripted, check_request, read_as_envoy, scripted_service
from tests.servers.grpc_support import HEALTH, ask, client, reached, serving, watching
from tests.servers.raw_http2 import ACK, GOAWAY, PING, Connection, call, frame

SERVICE = b"\x0a\x23envoy.service.auth.v3.Authorization"
SERVING, NOT_SERVING, SERVICE_UNKNOWN = b"\x08\x01", b"\x08\x02", b"\x08\x03"


@pytest.fixture
def folder():
    with Folder() as path:
        yield path


# --- health -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [b"", b"\x0a\x00", SERVICE])
async def test_health_is_told_for_the_server_and_the_service(name):
    async with serving(scripted_service(Scripted())) as host, client(host) as channel:
        assert await ask(channel, name, HEALTH + "Check") == SERVING
        host.set_serving(serving=False)
        assert await ask(channel, name, HEALTH + "Check") == NOT_SERVING
        host.set_serving(serving=True)
        assert await ask(channel, name, HEALTH + "Check") == SERVING


@pytest.mark.parametrize(
    ("method", "data", "code"),
    [
        (HEALTH + "Check", b"\x0a\x05other", grpc.StatusCode.NOT_FOUND),
        (HEALTH + "Check", b"\xff", grpc.StatusCode.INVALID_ARGUMENT),
        (HEALTH + "List", b"", grpc.StatusCode.UNIMPLEMENTED),
        ("/envoy.service.auth.v3.Authorization/Other", b"", grpc.StatusCode.UNIMPLEMENTED),
    ],
)
async def test_what_is_unknown_is_an_rpc_error_outside_of_checks(method, data, code):
    async with serving(scripted_service(Scripted())) as host, client(host) as channel:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await ask(channel, data, method)
    assert caught.value.code() is code


async def test_watchers_hear_every_change_and_the_end():
    host = GrpcHost(scripted_service(Scripted()), GrpcSettings())
    await host.start()
    async with client(host) as channel, asyncio.timeout(30):
        known = watching(channel, SERVICE)
        unknown = watching(channel, b"\x0a\x05other")
        broken = watching(channel, b"\xff")
        assert await known.read() == SERVING
        assert await unknown.read() == SERVICE_UNKNOWN
        assert await broken.code() is grpc.StatusCode.INVALID_ARGUMENT
        host.set_serving(serving=False)
        assert await known.read() == NOT_SERVING
        host.set_serving(serving=True)
        assert await known.read() == SERVING
        last = asyncio.create_task(known.read())
        # An open watch must not make a stop wait for the whole of its grace.
        await host.stop(600)
        assert await last == NOT_SERVING
        assert await known.read() is grpc.aio.EOF
        assert await unknown.read() is grpc.aio.EOF
        assert await known.code() is grpc.StatusCode.OK


# --- start and stop ---------------------------------------------------------------------------------------


async def test_a_stop_finishes_what_is_under_way():
    gate = asyncio.Event()
    scripted = Scripted(hold=gate.wait)
    host = GrpcHost(scripted_service(scripted, limits=Limits(deadline=60)), GrpcSettings())
    await host.start()
    async with client(host) as channel, asyncio.timeout(30):
        watch = watching(channel, b"")
        assert await watch.read() == SERVING
        checking = asyncio.create_task(ask(channel, check_request()))
        await until(lambda: reached(scripted, 1), "the check is under way")
        stopping = asyncio.create_task(host.stop(60))
        assert await watch.read() == NOT_SERVING
        assert not stopping.done()
        gate.set()
        assert read_as_envoy(await checking).verdict == "allow"
        await stopping
    with pytest.raises(ConnectionRefusedError):
        await Connection.open(host.port)


async def test_what_outlasts_the_grace_is_cancelled():
    scripted = Scripted(hold=asyncio.Event().wait)
    host = GrpcHost(scripted_service(scripted, limits=Limits(deadline=60)), GrpcSettings())
    await host.start()
    async with client(host) as channel, asyncio.timeout(30):
        checking = asyncio.create_task(ask(channel, check_request()))
        await until(lambda: reached(scripted, 1), "the check is under way")
        await host.stop(0.1)
        with pytest.raises(grpc.aio.AioRpcError):
            await checking


async def test_a_host_may_be_stopped_twice_and_without_a_start():
    host = GrpcHost(scripted_service(Scripted()), GrpcSettings())
    await host.stop(1)
    async with serving(scripted_service(Scripted())) as host:
        await host.stop(1)


async def test_a_port_in_use_is_refused_unless_it_is_shared_on_purpose():
    async with serving(scripted_service(Scripted())) as first:
        with pytest.raises(Misconfigured, match=f"cannot listen on `127.0.0.1:{first.port}`"):
            await GrpcHost(scripted_service(Scripted()), GrpcSettings(), port=first.port).start()
    shared = GrpcSettings(reuse_port=True)
    async with (
        serving(scripted_service(Scripted()), shared) as first,
        serving(scripted_service(Scripted()), shared, port=first.port) as second,
    ):
        assert first.port == second.port


async def test_an_ipv6_address_is_one_too():
    scripted = Scripted()
    async with serving(scripted_service(scripted), host="::1") as host, client(f"[::1]:{host.port}") as channel:
        assert read_as_envoy(await ask(channel, check_request())).verdict == "allow"
    assert scripted.requests[0].peer == Peer(address="::1", trusted=True)


async def test_an_address_that_is_not_of_this_machine_is_refused():
    with pytest.raises(Misconfigured, match="not an address of this machine"):
        await GrpcHost(scripted_service(Scripted()), GrpcSettings(), host="192.0.2.1").start()


async def test_connections_end_at_their_age_and_calls_go_on():
    settings = GrpcSettings(max_connection_age=0.2, connection_grace=5)
    async with serving(scripted_service(Scripted()), settings) as host, client(host) as channel:
        aging = await Connection.open(host.port)
        assert await aging.receive_until(GOAWAY) is not None
        await aging.close()
        for _ in range(50):
            assert read_as_envoy(await ask(channel, check_request())).verdict == "allow"


async def test_a_proxy_may_ping_as_often_as_it_likes():
    async with serving(scripted_service(Scripted())) as host:
        connection = await Connection.open(host.port)
        for number in range(20):
            await connection.send(frame(PING, 0, 0, number.to_bytes(8, "big")))
            answer = await connection.receive_until(PING, ACK)
            assert answer is not None, "the connection was ended"
            assert answer.payload == number.to_bytes(8, "big")
        await connection.close()


@pytest.mark.parametrize("unix", [False, True])
async def test_one_call_with_a_path_that_is_not_utf8_does_not_end_the_door(unix, folder, caplog):
    # grpc.aio's serving loop ends for good on it, without a word.
    gate = asyncio.Event()
    scripted = Scripted(hold=gate.wait)
    path = folder / "grpc.sock"
    address: dict[str, Any] = {"path": str(path)} if unix else {}
    async with serving(scripted_service(scripted, limits=Limits(deadline=60)), **address) as host:
        target = f"unix:{path}" if unix else f"127.0.0.1:{host.port}"
        async with client(target) as channel:
            under_way = asyncio.create_task(ask(channel, check_request()))
            await until(lambda: reached(scripted, 1), "the check is under way")
            poison = await Connection.open(path if unix else host.port)
            await poison.send(call(1, b"/\xff/Check"))
            await until(lambda: said(caplog, "listening anew"), "the end was seen")
            gate.set()
            assert read_as_envoy(await under_way).verdict == "allow"
            await until(lambda: answers(target), "checks are answered again")
            if unix:
                assert stat.S_IMODE(path.stat().st_mode) == 0o660
            await poison.close()
    assert not path.exists()


async def said(caplog: pytest.LogCaptureFixture, words: str) -> bool:
    return words in caplog.text


async def answers(target: str) -> bool:
    async with client(target) as channel:
        try:
            return read_as_envoy(await ask(channel, check_request(), timeout=5)).verdict == "allow"
        except grpc.aio.AioRpcError:
            return False


# --- Unix sockets -----------------------------------------------------------------------------------------


async def test_a_unix_socket_has_mode_and_group_and_is_removed(folder):
    path, scripted = folder / "grpc.sock", Scripted()
    group = str(Path(folder).stat().st_gid)
    async with serving(scripted_service(scripted), path=str(path), mode=0o620, group=group):
        status = path.stat()
        assert stat.S_ISSOCK(status.st_mode)
        assert stat.S_IMODE(status.st_mode) == 0o620
        assert str(status.st_gid) == group
        async with client(f"unix:{path}") as channel:
            assert read_as_envoy(await ask(channel, check_request())).verdict == "allow"
    assert scripted.requests[0].peer == Peer(trusted=True)
    assert not path.exists()


async def test_a_start_that_fails_leaves_no_socket(folder):
    path = folder / "grpc.sock"
    with pytest.raises(Misconfigured, match="there is no group `no-such-group`"):
        await GrpcHost(scripted_service(Scripted()), GrpcSettings(), path=str(path), group="no-such-group").start()
    assert not path.exists()
    async with serving(scripted_service(Scripted()), path=str(path)):
        assert path.exists()
