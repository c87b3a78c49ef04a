"""The HTTP host behind TLS: what strangers send instead of a handshake, and a renewal under way."""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
import uvloop

from authz.servers.aiohttp_host import AiohttpHost
from authz.servers.http_limits import HttpLimits
from authz.servers.listeners import TcpListener
from authz.servers.tls import Certificates
from authz.servers.trust import TrustedPeers
from tests.contracts.http_hosts import App
from tests.proxies.harness import Folder
from tests.servers.raw_http import WITHIN, Client, request, until
from tests.servers.tls_support import LISTED, Authority, World, put

LOOPS = {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}


@dataclass(frozen=True, slots=True, kw_only=True)
class Here:
    """A host that serves with TLS."""

    world: World
    certificates: Certificates
    host: AiohttpHost
    app: App
    context: ssl.SSLContext
    """Of a client that may come."""

    @asynccontextmanager
    async def client(self, context: ssl.SSLContext | None = None) -> AsyncIterator[Client]:
        client = await Client.connect(self.host.addresses[0], context or self.context)
        try:
            yield client
        finally:
            await client.close()

    @asynccontextmanager
    async def raw(self) -> AsyncIterator[Client]:
        """A TCP connection that speaks no TLS of its own."""
        client = await Client.connect(self.host.addresses[0])
        try:
            yield client
        finally:
            await client.close()

    async def status(self, context: ssl.SSLContext | None = None) -> int:
        async with self.client(context) as client:
            client.send(request("/a"))
            return (await client.reply()).status

    async def well(self) -> None:
        assert await self.status() == 418


Conversation = Callable[[Here], Awaitable[None]]
Run = Callable[..., None]


@pytest.fixture
def world() -> Iterator[World]:
    with Folder() as folder:
        yield World(folder)


@pytest.fixture(params=LOOPS)
def run(request: pytest.FixtureRequest, world: World) -> Run:
    """Runs a conversation; then nothing may be left open."""

    def run(conversation: Conversation, *, minimum: str = "1.2", **limits) -> None:
        certificates = world.mtls(minimum=minimum)
        context = world.context(world.client_ca.issue(LISTED))
        with asyncio.Runner(loop_factory=LOOPS[request.param]) as runner:
            runner.run(_held(conversation, world, certificates, context, HttpLimits(**limits)))

    return run


async def _held(
    talk: Conversation, world: World, tls: Certificates, context: ssl.SSLContext, limits: HttpLimits
) -> None:
    app = App()
    listener = TcpListener(host="127.0.0.1", port=0, tls=tls)
    host = AiohttpHost(app=app, listeners=[listener], trusted=TrustedPeers.parse(()), limits=limits)
    await host.start()
    try:
        await talk(Here(world=world, certificates=tls, host=host, app=app, context=context))
    finally:
        await host.stop(1)
    assert host.connections == 0


def hello(context: ssl.SSLContext) -> tuple[ssl.SSLObject, ssl.MemoryBIO, ssl.MemoryBIO]:
    """A handshake by hand, after its first step: the object, what it reads, what it wants to send."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    made = context.wrap_bio(incoming, outgoing, server_hostname="localhost")
    with pytest.raises(ssl.SSLWantReadError):
        made.do_handshake()
    return made, incoming, outgoing


# --- instead of a handshake -------------------------------------------------------------------------------


def first_bytes(world: World) -> bytes:
    return hello(world.context())[2].read()


def old_hello(version: int) -> bytes:
    """A ClientHello of TLS 1.0 or 1.1, as libraries of today no longer make it."""
    suites = b"\xc0\x14\xc0\x13\x00\x35\x00\x2f"
    body = bytes((3, version)) + b"r" * 32 + b"\x00" + len(suites).to_bytes(2, "big") + suites + b"\x01\x00"
    message = b"\x01" + len(body).to_bytes(3, "big") + body
    return b"\x16\x03\x01" + len(message).to_bytes(2, "big") + message


def endless_hello() -> bytes:
    """A ClientHello that says it has 16 MB, in records of the largest size."""
    record = b"\x16\x03\x01\x40\x00"
    return record + b"\x01\xff\xff\xff" + b"x" * (0x4000 - 4) + (record + b"x" * 0x4000) * 80


REFUSED: dict[str, Callable[[World], bytes]] = {
    "plain HTTP": lambda _: request("/a", "Authorization: Bearer c4n4ry"),
    "HTTP/2 in the clear": lambda _: b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "rubbish": lambda _: b"\x00\xff" * 500,
    "TLS 1.0": lambda _: old_hello(1),
    "TLS 1.1": lambda _: old_hello(2),
    "a ClientHello of 16 MB": lambda _: endless_hello(),
    "a record of no length, again and again": lambda _: b"\x16\x03\x01\x00\x00" * 1000,
    "an alert": lambda _: b"\x15\x03\x03\x00\x02\x02\x28",
    "a damaged ClientHello": lambda world: first_bytes(world)[:43] + b"\xff" + first_bytes(world)[44:],
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_is_no_handshake_ends_the_connection(run, world, what, caplog):
    caplog.set_level(logging.DEBUG)
    data = REFUSED[what](world)

    async def talk(here: Here) -> None:
        async with here.raw() as client:
            client.send(data)
            assert len(await client.ended()) < 100  # an alert at most
        await until(lambda: here.host.connections == 0, "given back")
        assert here.app.seen == []
        await here.well()

    run(talk)
    assert "c4n4ry" not in caplog.text
    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []


SILENT: dict[str, Callable[[World], bytes]] = {
    "nothing": lambda _: b"",
    "one byte": lambda _: b"\x16",
    "half a ClientHello": lambda world: first_bytes(world)[:100],
    "a ClientHello and no more": first_bytes,
}


@pytest.mark.parametrize("what", SILENT)
def test_a_handshake_that_does_not_end_counts_and_is_ended(run, world, what):
    data = SILENT[what](world)

    async def talk(here: Here) -> None:
        async with here.raw() as client:
            client.send(data)
            await until(lambda: here.host.connections == 1, "counted")
            await client.ended()
        await until(lambda: here.host.connections == 0, "given back")
        assert here.host.refused_connections == 0
        await here.well()

    run(talk, header_timeout=0.3)


def test_dripping_bytes_keep_no_handshake_open(run, world):
    data = first_bytes(world)

    async def talk(here: Here) -> None:
        async with here.raw() as client:

            async def drip() -> None:
                for byte in data:
                    client.send(bytes((byte,)))
                    await asyncio.sleep(0.02)

            dripping = asyncio.create_task(drip())
            await client.ended()
            assert not dripping.done()
            dripping.cancel()

    run(talk, header_timeout=0.3)


def test_the_time_for_the_header_includes_the_handshake_and_then_begins_anew(run):
    async def talk(here: Here) -> None:
        async with here.client() as client:
            assert await client.ended() == b""  # no header came
        async with here.client() as client:
            client.send(request("/a"))
            assert (await client.reply()).status == 418
            client.send(b"GET /b HTTP/1.1\r\n")
            assert await client.ended() == b""
        assert here.app.targets == ["/a"]

    run(talk, header_timeout=0.3)


def test_handshakes_take_places_of_the_limit(run):
    async def talk(here: Here) -> None:
        async with here.raw(), here.raw():
            await until(lambda: here.host.connections == 2, "counted")
            async with here.raw() as third:
                assert await third.ended() == b""
            assert here.host.refused_connections == 1
        await until(lambda: here.host.connections == 0, "given back")
        async with here.client() as first, here.client() as second:
            for client in (first, second):
                client.send(request("/a"))
                assert (await client.reply()).status == 418
            with pytest.raises(OSError):
                await here.status()
        await until(lambda: here.host.connections == 0, "given back")
        await here.well()

    run(talk, connections=2, header_timeout=20.0)


def test_a_connection_for_which_there_is_no_descriptor_is_dropped(run, monkeypatch, caplog):
    def none_left(_: int) -> int:
        raise OSError(errno.EMFILE, "Too many open files")

    async def talk(here: Here) -> None:
        with monkeypatch.context() as patched:
            patched.setattr(os, "dup", none_left)
            async with here.raw() as client:
                assert await client.ended() == b""
        assert here.host.connections == 0
        await here.well()

    run(talk)
    assert "a connection was dropped: Too many open files" in caplog.text


def test_many_failed_handshakes_fill_no_log(run, caplog):
    caplog.set_level(logging.INFO)

    async def talk(here: Here) -> None:
        for _ in range(30):
            async with here.raw() as client:
                client.send(request("/a"))
                await client.ended()
        await here.well()

    run(talk)
    lines = [record.getMessage() for record in caplog.records if record.name == "authz.tls"]
    assert lines[0] == "TLS handshake with 127.0.0.1 failed: HTTP_REQUEST"
    assert len(lines) < 30


def test_a_probe_that_connects_and_leaves_is_not_told_of(run, caplog):
    caplog.set_level(logging.INFO)

    async def talk(here: Here) -> None:
        for _ in range(3):
            async with here.raw():
                pass
        await until(lambda: here.host.connections == 0, "gone")
        await here.well()

    run(talk)
    assert caplog.records == []


# --- versions ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("minimum", "highest", "spoken"),
    [
        ("1.2", ssl.TLSVersion.TLSv1_3, "TLSv1.3"),
        ("1.2", ssl.TLSVersion.TLSv1_2, "TLSv1.2"),
        ("1.3", ssl.TLSVersion.TLSv1_3, "TLSv1.3"),
        ("1.3", ssl.TLSVersion.TLSv1_2, None),
    ],
)
def test_the_lowest_version_is_kept(run, minimum, highest, spoken):
    async def talk(here: Here) -> None:
        here.context.maximum_version = highest
        if spoken is None:
            with pytest.raises(OSError):
                await here.status()
            return
        async with here.client() as client:
            client.send(request("/a"))
            assert (await client.reply()).status == 418
            assert client.writer.get_extra_info("ssl_object").version() == spoken
            assert client.writer.get_extra_info("compression") is None

    run(talk, minimum=minimum)


def test_http_1_is_what_is_agreed_on(run):
    async def talk(here: Here) -> None:
        for offered, agreed in ((["h2", "http/1.1"], "http/1.1"), (["h2"], None), ([], None)):
            here.context.set_alpn_protocols(offered)
            async with here.client() as client:
                assert client.writer.get_extra_info("ssl_object").selected_alpn_protocol() == agreed
                client.send(request("/a"))
                assert (await client.reply()).status == 418

    run(talk)


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_a_resumed_session_has_its_certificate_still_and_none_is_kept_in_memory(run, version):
    async def talk(here: Here) -> None:
        here.context.maximum_version = here.context.minimum_version = version
        resumed = []
        session = None
        for _ in range(3):
            made, incoming, outgoing = hello_again(here.context, session)
            async with here.raw() as client:
                await shake(client, made, incoming, outgoing)
                assert (await asked(client, made, incoming, outgoing)).startswith(b"HTTP/1.1 418")
                resumed.append(made.session_reused)
                session = made.session
        assert resumed == [False, *[version is ssl.TLSVersion.TLSv1_2] * 2]
        assert {peer.certificate for *_, peer in here.app.seen} == {LISTED}
        assert here.certificates.context().session_stats()["number"] == 0

    run(talk)


def hello_again(
    context: ssl.SSLContext, session: ssl.SSLSession | None
) -> tuple[ssl.SSLObject, ssl.MemoryBIO, ssl.MemoryBIO]:
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    return context.wrap_bio(incoming, outgoing, server_hostname="localhost", session=session), incoming, outgoing


async def shake(client: Client, made: ssl.SSLObject, incoming: ssl.MemoryBIO, outgoing: ssl.MemoryBIO) -> None:
    """A client's handshake; its last message stays in `outgoing`, where the protocol lets it."""
    while True:
        try:
            made.do_handshake()
        except ssl.SSLWantReadError:
            client.send(outgoing.read())
            async with asyncio.timeout(WITHIN):
                incoming.write(await client.reader.read(65536))
        else:
            return


async def asked(client: Client, made: ssl.SSLObject, incoming: ssl.MemoryBIO, outgoing: ssl.MemoryBIO) -> bytes:
    made.write(request("/early"))
    client.send(outgoing.read())
    while True:
        try:
            return made.read()
        except ssl.SSLWantReadError:
            async with asyncio.timeout(WITHIN):
                incoming.write(await client.reader.read(65536))


def test_a_request_in_one_packet_with_the_handshakes_end_is_answered(run):
    async def talk(here: Here) -> None:
        for number in range(20):
            made, incoming, outgoing = hello_again(here.context, None)
            async with here.raw() as client:
                await shake(client, made, incoming, outgoing)
                assert outgoing.pending, "the handshake's last message goes with the request"
                assert (await asked(client, made, incoming, outgoing)).startswith(b"HTTP/1.1 418")
            assert here.app.targets == ["/early"] * (number + 1)

    run(talk)


# --- renewal ----------------------------------------------------------------------------------------------


async def shown(client: Client) -> bytes:
    certificate: bytes = client.writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
    return certificate


def test_new_connections_get_the_new_certificate_and_old_ones_live_on(run):
    async def talk(here: Here) -> None:
        async with here.client() as old:
            before = await shown(old)
            pair = await asyncio.to_thread(here.world.serve)
            assert await here.certificates.renew()
            async with here.client() as new:
                assert await shown(new) == pair.der != before
                for client in (old, new, old):
                    client.send(request("/a"))
                    assert (await client.reply()).status == 418
            assert await shown(old) == before

    run(talk)


def test_no_connection_is_lost_in_a_renewal(run):
    async def talk(here: Here) -> None:
        done = asyncio.Event()
        seen: set[bytes] = set()

        async def calling() -> int:
            calls = 0
            while not done.is_set() or calls < 5:
                async with here.client() as client:
                    client.send(request("/a"))
                    assert (await client.reply()).status == 418
                    seen.add(await shown(client))
                calls += 1
            return calls

        callers = [asyncio.create_task(calling()) for _ in range(4)]
        made = []
        for _ in range(5):
            made.append((await asyncio.to_thread(here.world.serve)).der)
            assert await here.certificates.renew()
            await until(lambda: made[-1] in seen or any(caller.done() for caller in callers), "shown")
        done.set()
        assert sum(await asyncio.gather(*callers)) >= 20
        assert here.host.refused_connections == 0

    run(talk)


def test_rubbish_leaves_the_listener_as_it_was(run, caplog):
    async def talk(here: Here) -> None:
        await asyncio.to_thread(put, here.world.folder / "server.pem", b"rubbish")
        assert not await here.certificates.renew()
        await here.well()

    run(talk)
    assert "TLS files rejected" in caplog.text


def test_a_ca_that_is_taken_away_counts_at_once(run):
    other = Authority("New client CA")
    pair = other.issue(LISTED)

    async def talk(here: Here) -> None:
        new = await asyncio.to_thread(here.world.context, pair)
        here.context.maximum_version = ssl.TLSVersion.TLSv1_2  # whose sessions can be resumed
        await here.well()
        with pytest.raises((OSError, asyncio.IncompleteReadError)):
            await here.status(new)
        await asyncio.to_thread(put, here.world.folder / "clients.pem", other.pem)
        assert await here.certificates.renew()
        assert await here.status(new) == 418
        with pytest.raises((OSError, asyncio.IncompleteReadError)):
            await here.status()

    run(talk)


# --- the end ----------------------------------------------------------------------------------------------


def test_a_drain_does_not_wait_for_handshakes(run):
    async def talk(here: Here) -> None:
        async with here.raw() as client:
            await until(lambda: here.host.connections == 1, "counted")
            async with asyncio.timeout(WITHIN):
                await here.host.stop(600)
            assert await client.ended() == b""

    run(talk, header_timeout=600.0)


def test_who_never_says_goodbye_is_let_go_of(run):
    async def talk(here: Here) -> None:
        made, incoming, outgoing = hello_again(here.context, None)
        async with here.raw() as client:
            await shake(client, made, incoming, outgoing)
            made.write(request("/a", "Connection: close"))
            client.send(outgoing.read())
            client.stop_reading()
            await until(lambda: len(here.app.seen) == 1, "asked")
            await until(lambda: here.host.connections == 0, "let go of")

    run(talk, linger=0.1)


def test_the_files_may_be_gone_once_they_were_read(run, world: World):
    async def talk(here: Here) -> None:
        for name in ("server.pem", "server.key", "clients.pem"):
            await asyncio.to_thread(Path.unlink, here.world.folder / name)
        await here.well()

    run(talk)
