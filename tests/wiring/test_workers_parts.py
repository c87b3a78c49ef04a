"""What a supervisor is made of: the wire to a worker, addresses that are held, settings of a start."""

from __future__ import annotations

import asyncio
import errno
import os
import socket
import stat
import sys
from pathlib import Path
from typing import Any

import pytest

from authz.core.errors import Misconfigured
from authz.servers.aiohttp_host import AiohttpHost
from authz.servers.asgi_host import AsgiHost
from authz.servers.http_app import Answer
from authz.servers.listeners import Listener, TcpListener, UnixListener
from authz.servers.trust import TrustedPeers
from authz.wiring import assemble
from authz.wiring.channel import BlockingChannel, Channel, Gone, packed
from authz.wiring.reserve import reserve
from authz.wiring.start_settings import as_started, start_settings
from authz.wiring.worker import Ended, command
from tests.proxies.client import send
from tests.proxies.harness import Folder, free_port

# --- the wire


async def test_messages_of_any_size_and_descriptors_go_both_ways():
    ours, theirs = socket.socketpair()
    channel = await Channel.opened(ours)
    worker = BlockingChannel(theirs)
    reads, writes = os.pipe()
    large = {"type": "plan", "text": "ü" * 3_000_000}
    sending = asyncio.create_task(asyncio.to_thread(worker.send, large))
    messages = channel.messages()
    assert await anext(messages) == large
    await sending
    channel.send_with({"type": "start", "text": "x" * 300_000}, [writes])
    message, [found] = await asyncio.to_thread(worker.receive, 4)
    assert message["type"] == "start"
    assert not os.get_inheritable(found)
    os.write(found, b"through")
    assert os.read(reads, 10) == b"through"
    channel.send({"type": "metrics"})
    assert await asyncio.to_thread(worker.receive) == ({"type": "metrics"}, [])
    theirs.close()
    assert [message async for message in messages] == []
    for each in (reads, writes, found):
        os.close(each)
    await channel.aclose()


@pytest.mark.parametrize("data", [b"", b"\0\0", b"\0\0\0\x05{}", b"\xff\xff\xff\xff", b"\0\0\0\x02[]", b"\0\0\0\x02{}"])
async def test_an_end_that_is_gone_or_says_nonsense_is_the_end(data):
    ours, theirs = socket.socketpair()
    theirs.sendall(data)
    theirs.close()
    channel = await Channel.opened(ours)
    assert [message async for message in channel.messages()] == []
    await channel.aclose()
    ours, theirs = socket.socketpair()
    theirs.sendall(data)
    theirs.close()
    with ours, pytest.raises(Gone):
        await asyncio.to_thread(BlockingChannel(ours).receive)


async def test_nothing_can_be_said_to_one_that_is_gone():
    ours, theirs = socket.socketpair()
    theirs.close()
    with ours, pytest.raises(Gone):
        await asyncio.to_thread(BlockingChannel(ours).send, {"type": "plan"})
    ours, theirs = socket.socketpair()
    channel = await Channel.opened(ours)
    theirs.close()
    with pytest.raises(Gone):
        channel.send_with({"type": "start"}, [])
    await channel.aclose()
    channel.send({"type": "metrics"})  # nothing happens


def test_a_message_is_its_length_and_itself():
    assert packed({"type": "a"}) == b'\0\0\0\x0c{"type":"a"}'


# --- addresses


def bound(port: int, *, share: bool) -> socket.socket:
    """Somebody who listens; who shares is let in by the kernel where all do."""
    found = socket.socket()
    found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if share:
        found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    try:
        found.bind(("127.0.0.1", port))
        found.listen()
    except OSError:
        found.close()
        raise
    return found


def test_a_port_that_is_held_is_for_those_who_share_it_and_refuses_connections():
    reserved = reserve([("http", 0, TcpListener(host="127.0.0.1", port=0))])
    port = reserved.ports["http", 0]
    with pytest.raises(OSError, match="in use"):
        bound(port, share=False)
    with socket.socket() as client:
        assert client.connect_ex(("127.0.0.1", port)) == errno.ECONNREFUSED
    with bound(port, share=True), bound(port, share=True):
        with socket.create_connection(("127.0.0.1", port)):
            pass
        with pytest.raises(Misconfigured, match="in use"):
            reserve([("http", 0, TcpListener(host="127.0.0.1", port=port))])
    with pytest.raises(Misconfigured, match="in use"):
        reserve([("http", 0, TcpListener(host="0.0.0.0", port=port))])
    reserved.release()
    bound(port, share=False).close()


def test_a_port_that_somebody_would_share_is_not_taken():
    port = free_port()
    with bound(port, share=True), pytest.raises(Misconfigured, match="in use"):
        reserve([("http", 0, TcpListener(host="127.0.0.1", port=port))])


def test_all_addresses_or_none():
    with Folder() as folder:
        unix, port = folder / "a.sock", free_port()
        with bound(port, share=False), pytest.raises(Misconfigured, match=str(port)):
            reserve(
                [
                    ("http", 0, UnixListener(path=str(unix))),
                    ("http", 1, TcpListener(host="127.0.0.1", port=0)),
                    ("grpc", 0, TcpListener(host="127.0.0.1", port=port)),
                ]
            )
        assert not unix.exists()


def test_a_name_with_several_addresses_has_one_port_at_all_of_them():
    reserved = reserve([("http", 0, TcpListener(host="localhost", port=0))])
    assert len({held.getsockname()[1] for held in reserved._held}) == 1
    reserved.release()


def test_an_address_of_another_machine_is_refused():
    with pytest.raises(Misconfigured, match=r"cannot listen on `192\.0\.2\.1:1`: cannot assign"):
        reserve([("http", 0, TcpListener(host="192.0.2.1", port=1))])


def test_a_name_that_nobody_knows_is_refused_in_words(monkeypatch: pytest.MonkeyPatch):
    def unknown(*_: object, **__: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    with pytest.raises(Misconfigured, match="cannot listen on `nobody:1`: name or service not known"):
        reserve([("http", 0, TcpListener(host="nobody", port=1))])


def test_a_unix_socket_is_bound_once_and_removed_only_while_it_is_ours():
    with Folder() as folder:
        path = folder / "a.sock"
        reserved = reserve([("http", 0, UnixListener(path=str(path), mode=0o600))])
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        path.unlink()
        path.write_text("a successor's")
        reserved.release()
        assert path.read_text() == "a successor's"


class Named:
    """Answers with its name."""

    def __init__(self, name: bytes) -> None:
        self.name = name

    async def answer(self, method, target, headers, peer, body):
        return Answer(200, (), self.name)

    def malformed(self, *, too_large):
        return Answer(400)


def aiohttp_host(listener: Listener, name: bytes) -> Any:
    return AiohttpHost(app=Named(name), listeners=[listener], trusted=TrustedPeers.parse())


def h2corn_host(listener: Listener, name: bytes) -> Any:
    return AsgiHost(app=Named(name), listeners=[listener], trusted=TrustedPeers.parse())


@pytest.mark.parametrize("make", [aiohttp_host, h2corn_host])
async def test_a_host_that_ends_leaves_a_shared_socket_to_the_others(make):
    """Both are in one process here; what they share is the same: one open socket."""
    with Folder() as folder:
        path = folder / "http.sock"
        reserved = await asyncio.to_thread(reserve, [("http", 0, UnixListener(path=str(path)))])
        [bound] = reserved.bound
        listener = UnixListener(path=str(path), inherited=bound.socket.fileno())
        hosts = {name: make(listener, name) for name in (b"one", b"two")}
        for host in hosts.values():
            await host.start()
        await hosts.pop(b"one").stop(1)
        assert path.exists()
        assert {(await send(path, "/")).body for _ in range(5)} == {b"two"}
        await hosts.pop(b"two").stop(1)
        assert path.exists()
        await asyncio.to_thread(reserved.release)
        assert not path.exists()


# --- settings of the start


def test_settings_that_count_from_a_start_stay_those_of_the_first(app):
    app.edit("authz.yaml", "record: {output: none}", "record: {output: none}\nlimits: {drain: 3s, deadline: 2s}")
    first = assemble(app.config).required()
    settings = start_settings(first.config)
    app.edit("authz.yaml", "drain: 3s, deadline: 2s", "drain: 9s, deadline: 5s, connection_age: 1m")
    app.edit("authz.yaml", "record: {output: none}", "trusted_proxies: [10.0.0.0/8]")
    later, otherwise = as_started(assemble(app.config).required(), settings)
    shape = later.config.shape
    assert shape.limits.drain == 3
    assert shape.limits.connection_age is None
    assert shape.record.output == "none"
    assert shape.trusted_proxies == first.config.shape.trusted_proxies
    assert shape.limits.deadline == 5  # a reload reaches it
    assert set(otherwise) == {"limits.drain", "limits.connection_age", "record", "trusted_proxies"}
    assert later.routes is not None
    assert shape.routes == "routes.yaml"


def test_a_start_by_its_own_settings_changes_nothing(app):
    app.edit("authz.yaml", "routes: routes.yaml", "routes: []\nresponses: {grpc_failure: error}")
    assembly = assemble(app.config).required()
    again, otherwise = as_started(assembly, start_settings(assembly.config))
    assert again == assembly
    assert otherwise == ()


# --- the process


def test_a_worker_is_started_by_the_same_python_that_looks_where_this_one_does(monkeypatch: pytest.MonkeyPatch):
    file = Path("authz.yaml")
    monkeypatch.setattr(sys, "path", ["", "/lib"])
    module = ["-m", "authz.wiring.worker_process", "7", "authz.yaml", "2"]
    assert command(7, file, 2) == [sys.executable, *module]
    monkeypatch.setattr(sys, "path", ["/bin", "/lib"])
    assert command(7, file, 2) == [sys.executable, "-P", *module]


@pytest.mark.parametrize(
    ("code", "told"),
    [(-9, "signal SIGKILL"), (-200, "exit code -200"), (3, "exit code 3"), (None, "it could not be started")],
)
def test_how_a_worker_ended_is_told(code, told):
    assert str(Ended(code=code, served=0.0)) == told
