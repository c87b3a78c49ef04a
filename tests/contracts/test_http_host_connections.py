"""What every HTTP host must keep: the same connections, limits, drain and addresses."""

from __future__ import annotations

import asyncio
import logging
import os
import re
import stat
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from authz.core.errors import Misconfigured
from authz.servers.aiohttp_host import AiohttpHost
from authz.servers.listeners import Listener, TcpListener, UnixListener
from authz.servers.trust import TrustedPeers
from tests.contracts.http_hosts import CANARY, HOSTS, Running, Stage, kinds_for
from tests.servers.raw_http import WITHIN, Client, request, until
from tests.servers.raw_http2 import PREFACE, SETTINGS, frame


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "stage" in metafunc.fixturenames:
        metafunc.parametrize("stage", kinds_for(metafunc.function.__name__), indirect=True)


@pytest.fixture
def stage(request) -> Iterator[Stage]:
    with tempfile.TemporaryDirectory(prefix="authz-") as folder:  # short: a socket's path holds 107 bytes
        yield Stage(kind=HOSTS[request.param], folder=Path(folder))


async def is_empty(here: Running) -> bool:
    return await here.connections() == 0


# --- connections ------------------------------------------------------------------------------------------


def test_a_connection_is_kept(stage):
    async def talk(here: Running):
        async with here.client() as client:
            for number in range(3):
                client.send(request(f"/{number}"))
                reply = await client.reply()
                assert (reply.status, reply.closes) == (418, False)
        assert here.app.targets == ["/0", "/1", "/2"]

    stage.run(talk)


def test_pipelined_requests_are_answered_in_order(stage):
    async def talk(here: Running):
        async with here.client() as client:
            client.send(b"".join(request(target) for target in ("/empty", "/b", "/empty")))
            assert [(await client.reply()).status for _ in range(3)] == [200, 418, 200]

    stage.run(talk)


@pytest.mark.parametrize(
    ("line", "fields", "kept"),
    [
        ("GET /a HTTP/1.0", (), False),
        ("GET /a HTTP/1.0", ("Host: a", "Connection: close"), False),  # nginx 1.22
        ("GET /a HTTP/1.0", ("Host: a", "Connection: keep-alive"), True),
        ("GET /a HTTP/1.1", ("Host: a",), True),
        ("GET /a HTTP/1.1", ("Host: a", "Connection: close"), False),
        ("GET /a HTTP/1.1", ("Host: a", "Connection: Close, X-Forwarded-Uri"), False),
    ],
)
def test_a_connection_ends_when_the_client_says_so(stage, line, fields, kept):
    async def talk(here: Running):
        async with here.client() as client:
            client.send("\r\n".join((line, *fields, "", "")).encode())
            reply = await client.reply()
            if line.endswith("1.0") and not stage.kind.manners.http_1_0:
                assert (reply.status, reply.closes, here.app.seen) == (400, True, [])
                return
            stays = kept and (stage.kind.manners.keeps_1_0 or not line.endswith("1.0"))
            assert (reply.status, reply.closes) == (418, not stays)
            if stays and line.endswith("1.0"):
                assert reply.values("connection") == ["keep-alive"]
            if not stays:
                assert await client.ended() == b""

    stage.run(talk)


def test_an_untrusted_peer_is_told_so_and_keeps_no_connection(stage):
    async def talk(here: Running):
        async with here.client() as client:
            client.send(request("/a"))
            reply = await client.reply()
            trusted = stage.kind.unix  # its permissions say who may come
            assert (here.app.seen[0][3].trusted, reply.closes) == (trusted, not trusted)

    stage.run(talk, trusted=("10.0.0.0/8",))


@pytest.mark.parametrize(
    "fields",
    [
        ("Content-Length: 5",),  # nginx without `proxy_set_header Content-Length ""`
        ("Transfer-Encoding: chunked",),
        ("Content-Length: 5", "Expect: 100-continue"),
        ("Content-Length: 5", "Content-Encoding: gzip"),
    ],
)
def test_a_body_that_does_not_come_is_not_awaited(stage, fields):
    async def talk(here: Running):
        async with here.client() as client:
            client.send(request("/a", *fields, method="POST"))
            if stage.kind.manners.early and "Expect: 100-continue" in fields:
                assert (await client.interim()).startswith(b"HTTP/1.1 100 ")
            reply = await client.reply()
            assert (reply.status, reply.closes) == (418, True)
            assert await client.ended() == b""

    stage.run(talk, linger=0.05)


BODIES = {
    "by length": (("Content-Length: 5",), b"hello"),
    "in chunks": (("Transfer-Encoding: chunked",), b"5\r\nhello\r\n0\r\n\r\n"),
    "in broken chunks": (("Transfer-Encoding: chunked",), b"zz\r\n" + CANARY.encode() + b"\r\n"),
    "in broken gzip": (("Content-Length: 5", "Content-Encoding: gzip"), b"hello"),
    "that is a request": (("Content-Length: 45",), b"GET /smuggled HTTP/1.1\r\nHost: app.example\r\n\r\n"),
    "of unknown coding": (("Content-Length: 5", "Content-Encoding: br"), b"hello"),
    "larger than any buffer": (("Content-Length: 3000000",), b"x" * 3_000_000),
}


@pytest.mark.parametrize("what", BODIES)
def test_a_body_is_thrown_away(stage, what, caplog):
    caplog.set_level(logging.DEBUG)
    fields, body = BODIES[what]

    async def talk(here: Running):
        async with here.client() as client:
            client.send(request("/a", *fields, method="POST") + body)
            if what == "in broken chunks" and not stage.kind.manners.words:
                answer = await client.ended()
                assert answer == b"" or answer.startswith((b"HTTP/1.1 418", b"HTTP/1.1 400"))
                assert CANARY.encode() not in answer
            else:
                reply = await client.reply()
                assert reply.status == 418 or (what, reply.status) == ("in broken chunks", 400)
                if reply.closes:
                    await client.ended()
                else:
                    client.send(request("/next"))
                    assert (await client.reply()).status == 418
        assert "/smuggled" not in here.app.targets
        await here.well()

    stage.run(talk, linger=0.05)
    assert CANARY not in caplog.text


def test_a_small_body_that_has_come_costs_no_connection(stage):
    async def talk(here: Running):
        async with here.client() as client:
            for _ in range(2):
                client.send(request("/a", "Content-Length: 5", method="POST") + b"hello")
                assert not (await client.reply()).closes

    stage.run(talk)


def test_nothing_is_sent_before_the_answer(stage):
    async def talk(here: Running):
        reply = await here.ask(request("/a", "Expect: 100-continue"))
        assert reply.status == 418
        reply = await here.ask(request("/a", f"Expect: {CANARY}"))
        assert reply.status == 418

    stage.run(talk)


@pytest.mark.parametrize(
    "fields",
    [
        ("Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Key: a", "Sec-WebSocket-Version: 13"),
        ("Connection: Upgrade", "Upgrade: h2c", "HTTP2-Settings: AAMAAABkAAQAAP__"),  # what proxies make of it
        ("Upgrade: websocket",),
        ("Connection: Upgrade",),
    ],
)  # fmt: skip
def test_no_protocol_is_switched(stage, fields):
    websocket = not stage.kind.manners.any_upgrade and "Sec-WebSocket-Version: 13" in fields

    async def talk(here: Running):
        for key in ("a", "dGhlIHNhbXBsZSBub25jZQ=="):
            async with here.client() as client:
                for target in ("/a", "/b"):
                    client.send(request(target, *(field.replace("Key: a", f"Key: {key}") for field in fields)))
                    reply = await client.reply()
                    assert reply.status == 418 or (websocket and key == "a" and reply.status == 400)
                    assert reply.values("upgrade") == []
                    if websocket:
                        assert reply.closes
                        break
        assert set(here.app.targets) <= {"/a", "/b"}
        assert here.app.targets

    stage.run(talk)


def test_http_2_in_due_form_is_no_way_round_the_application(stage):
    async def talk(here: Running):
        async with here.client() as client:
            fields = ("Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAMAAABkAAQAAP__")
            client.send(request("/a", *fields))
            if stage.kind.manners.h2c:
                assert (await client.interim()).startswith(b"HTTP/1.1 101")
                client.send(PREFACE + frame(SETTINGS, 0, 0))
                await until(lambda: len(here.app.seen) == 1, "asked")
            else:
                assert (await client.reply()).status == 418
        assert [seen[:2] for seen in here.app.seen] == [("GET", "/a")]

    stage.run(talk)


def test_connect_opens_no_tunnel(stage):
    async def talk(here: Running):
        async with here.client() as client:
            client.send(request("app.example:443", method="CONNECT"))
            reply = await client.reply()
            assert 400 <= reply.status <= 499 or reply.status == 501
            if not reply.closes:
                client.send(request("/next"))
                assert (await client.reply()).status == 418
                assert here.app.targets[-1] == "/next"

    stage.run(talk, linger=0.05)


# --- limits -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("begun", [b"", b"G", b"GET /a HT", b"GET /a HTTP/1.1\r\nHost: a\r\nX-A: "])
def test_a_header_that_does_not_end_ends_the_connection(stage, begun):
    async def talk(here: Running):
        async with here.client() as client:
            client.send(begun)
            assert (await client.ended())[:10] in {b"", b"HTTP/1.1 4"}
        await here.well()

    # A host without a clock for headers has one for handshakes, and one for idle connections.
    clock = stage.kind.manners.header_clock or not (begun or stage.tls)
    stage.run(talk, header_timeout=0.2, idle_timeout=3630 if clock else 0.2)


def test_dripping_bytes_keep_no_connection_open(stage):
    clock = stage.kind.manners.header_clock
    if stage.kind.unix and not clock:
        return  # whoever reaches the socket is trusted, and the number of connections limited

    async def talk(here: Running):
        async with here.client() as client:
            if clock:
                client.send(request("/a"))
                assert (await client.reply()).status == 418  # the second request's time counts from its own begin

            async def drip():
                client.send(b"GET /b HTTP/1.1\r\nX-A: ")
                while not client.writer.is_closing():
                    client.send(b"a")
                    await asyncio.sleep(0.02)

            dripping = asyncio.create_task(drip())
            assert await client.ended() == b""
            dripping.cancel()
        assert here.app.targets == (["/a"] if clock else [])

    stage.run(talk, header_timeout=0.3, trusted=("127.0.0.0/8",) if clock else ())


def test_a_request_that_is_being_answered_outlasts_the_time_for_headers(stage):
    async def talk(here: Running):
        async with here.client() as client, here.client() as idle:
            client.send(request("/wait"))
            await until(lambda: here.app.waiting == 1, "asked")
            assert await idle.ended() == b""  # so the time for headers has passed
            here.app.go.set()
            assert (await client.reply()).status == 418

    stage.run(talk, header_timeout=0.2, idle_timeout=3630 if stage.kind.manners.header_clock else 0.2)


def test_an_idle_connection_ends(stage):
    async def talk(here: Running):
        async with here.client() as client:
            client.send(request("/a"))
            await client.reply()
            assert await client.ended() == b""

    stage.run(talk, idle_timeout=0.2)


def test_connections_are_limited_and_their_places_given_back(stage):
    async def talk(here: Running):
        async with here.client() as first, here.client() as second:
            for client in (first, second):
                client.send(request("/a"))
                assert (await client.reply()).status == 418
            if stage.kind.manners.turns_away:
                assert await turned_away(here)
                assert here.host.refused_connections == 1
            else:
                waiting = asyncio.create_task(here.well())
            first.send(request("/b"))
            assert (await first.reply()).status == 418
            assert stage.kind.manners.turns_away or not waiting.done()
        if not stage.kind.manners.turns_away:
            await waiting
        await until(lambda: is_empty(here), "closed")
        await here.well()

    stage.run(talk, connections=2)


async def turned_away(here: Running) -> bool:
    try:
        async with here.client() as client:
            return await client.ended() == b""
    except OSError:  # in the handshake
        return here.tls is not None


def test_who_does_not_read_the_answers_is_cut_off(stage):
    async def talk(here: Running):
        async with here.client() as client:
            client.stop_reading()
            client.send(request("/large") * 100)
            if stage.kind.manners.write_clock or not stage.kind.unix:
                await until(lambda: is_empty(here), "cut off")
            assert len(here.app.seen) < 100
        await here.well()

    stage.run(talk, header_timeout=0.3)


def test_a_client_that_leaves_cancels_its_check(stage):
    async def talk(here: Running):
        async with here.client() as client:
            client.send(request("/wait"))
            await until(lambda: here.app.waiting == 1, "asked")
            if not stage.kind.manners.notices:
                client.writer.transport.abort()  # in TLS it would not be answered if it said goodbye
        if stage.kind.manners.notices:
            await until(lambda: here.app.cancelled == 1, "cancelled")
        else:
            here.app.go.set()
            await until(lambda: here.app.waiting == 0, "done")
        await here.well()

    stage.run(talk)


# --- the end ----------------------------------------------------------------------------------------------


async def refused(here: Running) -> bool:
    try:
        client = await Client.connect(here.address)
    except OSError:
        return True
    await client.close()
    return False


def test_a_drain_answers_what_is_in_flight_and_closes_the_rest(stage):
    async def talk(here: Running):
        async with here.client() as busy, here.client() as idle:
            idle.send(request("/a"))
            await idle.reply()
            busy.send(request("/wait"))
            await until(lambda: here.app.waiting == 1, "asked")
            stopping = asyncio.create_task(here.host.stop(20))
            assert await idle.ended() == b""
            await until_refused(here)
            assert not stopping.done()
            here.app.go.set()
            reply = await busy.reply()
            assert (reply.status, reply.closes) == (418, True)
            assert await busy.ended() == b""
            await stopping
        assert here.app.cancelled == 0
        assert await here.connections() == 0

    stage.run(talk)


def test_a_drain_lets_a_request_finish_that_has_begun_to_arrive(stage):
    async def talk(here: Running):
        async with here.client() as client:
            data = request("/a")
            client.send(data[:20])
            await until(lambda: here.kind.arriving(here.host), "read")
            stopping = asyncio.create_task(here.host.stop(20))
            await until_refused(here)
            client.send(data[20:])
            if stage.kind.manners.half_requests:
                reply = await client.reply()
                assert (reply.status, reply.closes) == (418, True)
            else:
                assert await client.ended() == b""
            await stopping

    stage.run(talk)


async def until_refused(here: Running) -> None:
    deadline = time.monotonic() + WITHIN
    while not await refused(here):
        assert time.monotonic() < deadline, "still accepts"
        await asyncio.sleep(0.005)


def test_a_drain_ends_when_its_time_is_up(stage):
    async def talk(here: Running):
        async with here.client() as busy, here.client():
            busy.send(request("/wait"))
            await until(lambda: here.app.waiting == 1, "asked")
            await here.host.stop(0.05)
            assert (here.app.waiting, here.app.cancelled, await here.connections()) == (0, 1, 0)
            if stage.kind.manners.last_word:
                assert (await busy.reply()).status == 500
            assert await busy.ended() == b""

    stage.run(talk)


def test_a_drain_does_not_wait_for_who_does_not_read(stage):
    async def talk(here: Running):
        async with here.client() as client:
            client.stop_reading()
            client.send(request("/large") * 100)
            await until(lambda: len(here.app.seen) > 1, "asked")
            await here.host.stop(0.05)
            assert await here.connections() == 0

    stage.run(talk)


def test_a_stop_may_come_twice_or_without_a_start(stage):
    async def talk(here: Running):
        await here.host.stop(1)
        await here.host.stop(1)
        other = stage.kind.make(app=here.app, listeners=[stage.listener()], trusted=TrustedPeers.parse())
        await other.stop(1)

    stage.run(talk)


# --- where it listens -------------------------------------------------------------------------------------


def test_all_listeners_serve_and_an_address_that_is_taken_takes_all_down(stage):
    async def talk(here: Running):
        free, taken = stage.folder / "free.sock", here.address
        if stage.kind.unix:
            listener: Listener = UnixListener(path=taken.removeprefix("unix:"))
        else:
            listener = TcpListener(host="127.0.0.1", port=int(taken.rpartition(":")[2]))
        both = [UnixListener(path=str(free)), listener]
        other = stage.kind.make(app=here.app, listeners=both, trusted=TrustedPeers.parse())
        with pytest.raises(Misconfigured, match="cannot listen on"):
            await other.start()
        assert not free.exists()
        await here.well()

        both[1] = TcpListener(host="::1", port=0)
        other = stage.kind.make(app=here.app, listeners=both, trusted=TrustedPeers.parse())
        await other.start()
        assert other.addresses[0] == f"unix:{free}"
        assert other.addresses[1].startswith("[::1]:")
        for address in other.addresses:
            await Running(host=other, app=here.app, address=address, kind=here.kind).well()
        await other.stop(1)
        assert not free.exists()

    stage.run(talk)


def test_several_processes_can_share_a_port(stage):
    async def talk(here: Running):
        def host(port: int) -> AiohttpHost:
            listener = TcpListener(host="127.0.0.1", port=port, reuse_port=True)
            return stage.kind.make(app=here.app, listeners=[listener], trusted=TrustedPeers.parse())

        first = host(0)
        await first.start()
        second = host(int(first.addresses[0].rpartition(":")[2]))
        await second.start()
        assert first.addresses == second.addresses
        await first.stop(1)
        await Running(host=second, app=here.app, address=second.addresses[0], kind=here.kind).well()
        await second.stop(1)

    stage.run(talk)


@pytest.mark.parametrize("mode", [0o600, 0o660, 0o666])
def test_a_unix_socket_has_its_mode_and_group(stage, mode):
    async def talk(here: Running):
        path = stage.folder / "own.sock"
        listener = UnixListener(path=str(path), mode=mode, group=str(os.getgid()))
        host = stage.kind.make(app=here.app, listeners=[listener], trusted=TrustedPeers.parse(()))
        await host.start()
        made = path.stat()
        assert (stat.S_IMODE(made.st_mode), made.st_gid) == (mode, os.getgid())
        await host.stop(1)

    stage.run(talk)


def test_a_socket_left_behind_is_replaced_and_anything_else_is_not(stage):
    async def talk(here: Running):
        path = stage.folder / "left.sock"
        listener = UnixListener(path=str(path))

        async def start():
            host = stage.kind.make(app=here.app, listeners=[listener], trusted=TrustedPeers.parse())
            await host.start()
            return host

        first = await start()
        os.link(path, stage.folder / "kept")  # as if the process had died without removing it
        await first.stop(1)
        (stage.folder / "kept").rename(path)
        second = await start()
        await Running(host=second, app=here.app, address=second.addresses[0], kind=here.kind).well()

        with pytest.raises(Misconfigured, match="another process listens there"):
            await start()

        path.unlink()
        path.write_text("something of value")
        await second.stop(1)  # what stands there now is not its own
        with pytest.raises(Misconfigured, match="not a socket"):
            await start()
        assert path.read_text() == "something of value"

    stage.run(talk)


@pytest.mark.parametrize(
    ("listener", "why"),
    [
        (UnixListener(path="/nonexistent-folder/http.sock"), "no such file or directory"),
        # in the words of the event loop, which differ with its version
        (TcpListener(host="192.0.2.1", port=0), "cannot assign requested address|could not bind on any address"),
    ],
)
def test_an_address_that_cannot_be_had_is_named(stage, listener, why):
    async def talk(here: Running):
        host = stage.kind.make(app=here.app, listeners=[listener], trusted=TrustedPeers.parse())
        with pytest.raises(Misconfigured) as caught:
            await host.start()
        assert str(listener) in str(caught.value)
        assert re.search(why, str(caught.value).lower())

    stage.run(talk)


def test_a_group_that_does_not_exist_is_named_and_leaves_nothing(stage):
    async def talk(here: Running):
        path = stage.folder / "own.sock"
        listener = UnixListener(path=str(path), group="no-such-group")
        host = stage.kind.make(app=here.app, listeners=[listener], trusted=TrustedPeers.parse())
        with pytest.raises(Misconfigured, match="no-such-group"):
            await host.start()
        assert not path.exists()

    stage.run(talk)
