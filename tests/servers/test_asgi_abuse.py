"""HTTP/2 as an attack on the fast host: a clear end or none, bounded memory, nothing on standard error, and others
are served meanwhile (CVE-2023-44487, CVE-2019-9511 to -9518, CVE-2024-27316 and their kin).
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from authz.core.errors import Reason, RequestRefused
from authz.servers import asgi_h2corn
from authz.servers.asgi_host import AsgiHost
from authz.servers.grpc_check import Checks, CheckSettings
from authz.servers.http_app import Answer
from authz.servers.http_limits import HttpLimits
from authz.servers.listeners import TcpListener
from authz.servers.trust import TrustedPeers
from authz.service import Limits
from tests.contracts.http_hosts import App
from tests.servers.extauthz_support import CHECK, Scripted, check_request, read_as_envoy, scripted_service
from tests.servers.h2_support import H2Client, framed
from tests.servers.raw_http import Client, request, until
from tests.servers.raw_http2 import DATA, END_HEADERS, END_STREAM, GOAWAY, HEADERS, PING, SETTINGS, Connection, frame

RST_STREAM, PRIORITY, WINDOW_UPDATE, CONTINUATION, UNKNOWN = 3, 2, 8, 9, 99
MEGABYTES = 64
"""What an attack may cost: some buffers, no more with every frame."""


def length(number: int, bits: int = 7) -> bytes:
    """An HPACK integer after a prefix of zeros (RFC 7541, 5.1)."""
    most = (1 << bits) - 1
    if number < most:
        return bytes([number])
    found, number = [most], number - most
    while number >= 128:
        found.append(number % 128 + 128)
        number //= 128
    return bytes([*found, number])


def literal(name: bytes, value: bytes) -> bytes:
    return b"\x00" + length(len(name)) + name + length(len(value)) + value


CALL = b"".join(
    literal(name, value)
    for name, value in (
        (b":method", b"POST"), (b":scheme", b"http"), (b":path", CHECK.encode()), (b":authority", b"x"),
        (b"te", b"trailers"), (b"content-type", b"application/grpc"),
    )
)  # fmt: skip
WHOLE = framed(check_request())


def opened(number: int, block: bytes = CALL) -> bytes:
    return frame(HEADERS, END_HEADERS, 2 * number + 1, block)


def reset(number: int) -> bytes:
    return frame(RST_STREAM, 0, 2 * number + 1, (8).to_bytes(4, "big"))


def checked(number: int) -> bytes:
    return opened(number) + frame(DATA, END_STREAM, 2 * number + 1, WHOLE)


def indexed_bomb() -> bytes:
    """4 kB in the dynamic table, then each byte stands for them again."""
    return CALL + b"\x40" + length(1) + b"x" + length(4000) + b"v" * 4000 + b"\xbe" * 10_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Attack:
    frames: Callable[[], Iterator[bytes]]
    ends: bool | None = None
    """Does h2corn end the connection? None: it may."""
    calls: int = 0
    """How many checks may come of it."""


ATTACKS = {
    "rapid reset": Attack(frames=lambda: (opened(n) + reset(n) for n in range(20_000)), ends=True),
    "rapid reset of whole checks": Attack(
        frames=lambda: (checked(n) + reset(n) for n in range(5_000)), ends=True, calls=5_000
    ),
    "more streams than there may be": Attack(frames=lambda: (opened(n) for n in range(3_000))),
    "settings": Attack(frames=lambda: (frame(SETTINGS, 0, 0) * 100 for _ in range(300))),
    "pings": Attack(frames=lambda: (frame(PING, 0, 0, bytes(8)) * 100 for _ in range(300))),
    "empty data": Attack(frames=lambda: (opened(0) if n == 0 else frame(DATA, 0, 1) * 100 for n in range(300))),
    "continuations without an end": Attack(
        frames=lambda: (
            frame(HEADERS, 0, 1, CALL) if n == 0 else frame(CONTINUATION, 0, 1, literal(b"x-a", b"a" * 1000))
            for n in range(5_000)
        ),
        ends=True,
    ),
    "empty continuations": Attack(
        frames=lambda: (frame(HEADERS, 0, 1, CALL) if n == 0 else frame(CONTINUATION, 0, 1) * 100 for n in range(300)),
        ends=None,
    ),
    "a header that does not go on": Attack(frames=lambda: iter([frame(HEADERS, 0, 1, CALL)]), ends=True),
    "many fields": Attack(
        frames=lambda: (opened(n, CALL + b"".join(literal(b"x-%d" % k, b"v") for k in range(500))) for n in range(200))
    ),
    "a field that is too long": Attack(
        frames=lambda: (opened(n, CALL + literal(b"x", b"v" * 15_000) + literal(b"y", b"v" * 15_000)) for n in range(1))
    ),
    "an indexed bomb": Attack(frames=lambda: iter([opened(0, indexed_bomb())])),
    "window updates": Attack(frames=lambda: (frame(WINDOW_UPDATE, 0, 0, b"\0\0\0\1") * 100 for _ in range(300))),
    "a window beyond any": Attack(frames=lambda: iter([frame(WINDOW_UPDATE, 0, 0, b"\x7f\xff\xff\xff")]), ends=True),
    "priorities": Attack(frames=lambda: (frame(PRIORITY, 0, 1, b"\0\0\0\0\1") * 100 for _ in range(300))),
    "unknown frames": Attack(frames=lambda: (frame(UNKNOWN, 0, 0, bytes(10_000)) for _ in range(300))),
    "a frame that is too large": Attack(frames=lambda: iter([frame(DATA, 0, 1, bytes(1 << 20))]), ends=True),
    "a message of 4 GB": Attack(
        frames=lambda: (
            opened(0) + frame(DATA, 0, 1, b"\x00\xff\xff\xff\xff") if n == 0 else frame(DATA, 0, 1, bytes(16_000))
            for n in range(500)
        )
    ),
    "calls that do not end": Attack(frames=lambda: (opened(n) for n in range(500)), ends=True),
    "a stream of an even number": Attack(frames=lambda: iter([frame(HEADERS, END_HEADERS, 2, CALL)]), ends=True),
    "a preface twice": Attack(frames=lambda: iter([b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"]), ends=True),
}


class Reader(App):
    """Reads bodies."""

    async def answer(self, method, target, headers, peer, body):
        try:
            return Answer(200, (), await body(1000))
        except RequestRefused as error:
            return Answer(413 if error.reason is Reason.TOO_LARGE else 400)


@asynccontextmanager
async def attacked(**limits) -> AsyncIterator[tuple[AsgiHost, Scripted]]:
    scripted = Scripted()
    checks = Checks(scripted_service(scripted, limits=Limits(deadline=60)), CheckSettings())
    listeners = [TcpListener(host="127.0.0.1", port=0)]
    host = AsgiHost(checks=checks, listeners=listeners, trusted=TrustedPeers.parse(), limits=HttpLimits(**limits))
    await host.start()
    try:
        yield host, scripted
    finally:
        await host.stop(1)


async def well(host: AsgiHost) -> None:
    client = await H2Client.connect(host.addresses[0])
    try:
        answer = await client.answer(client.call(CHECK, WHOLE))
        assert read_as_envoy(answer.message).verdict == "allow"
    finally:
        await client.close()


def megabytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096 >> 20


def port(host: AsgiHost) -> int:
    return int(host.addresses[0].rpartition(":")[2])


async def read_on(connection: Connection) -> bool:
    """Until the connection ends: True; or stands still for a while: False."""
    with contextlib.suppress(TimeoutError):
        while True:
            async with asyncio.timeout(0.4):
                if await connection.receive() is None:
                    return True
    return False


@pytest.mark.parametrize("what", ATTACKS)
async def test_an_attack_costs_its_own_connection_at_most(what, capfd):
    attack = ATTACKS[what]
    async with attacked(header_timeout=0.3) as (host, scripted):
        await well(host)
        before = megabytes()
        connection = await Connection.open(port(host))
        reading = asyncio.create_task(read_on(connection))
        with contextlib.suppress(ConnectionError):
            for number, data in enumerate(attack.frames()):
                await connection.send(data)
                if number % 50 == 0:
                    await asyncio.sleep(0)
                if number == 100:
                    await well(host)
        ended = await reading
        assert attack.ends is None or ended or not attack.ends
        assert megabytes() - before < MEGABYTES
        assert len(scripted.requests) <= 2 + attack.calls
        await connection.close()
        await well(host)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("what", ["settings", "pings", "checks"])
async def test_who_reads_no_answers_fills_no_memory(what, monkeypatch, capfd):
    monkeypatch.setattr(asgi_h2corn, "_UNANSWERED", 0.5)
    flood = {
        "settings": lambda _: frame(SETTINGS, 0, 0) * 1000,
        "pings": lambda _: frame(PING, 0, 0, bytes(8)) * 1000,
        "checks": lambda n: b"".join(checked(100 * n + k) for k in range(100)),
    }[what]
    async with attacked(header_timeout=5) as (host, _):
        await well(host)
        before = megabytes()
        connection = await Connection.open(port(host))
        connection._writer.transport.set_write_buffer_limits(high=1 << 20)
        connection._reader._transport.pause_reading()  # type: ignore[attr-defined]
        with contextlib.suppress(ConnectionError, TimeoutError):
            async with asyncio.timeout(1.5):
                for number in range(2000):
                    await connection.send(flood(number))
        assert megabytes() - before < MEGABYTES
        await well(host)

        async def gone() -> bool:
            return await host.connections() == 0

        connection._writer.transport.abort()
        await until(gone, "closed")
    assert capfd.readouterr() == ("", "")


async def test_a_client_that_opens_no_window_is_cut_off(monkeypatch, capfd):
    monkeypatch.setattr(asgi_h2corn, "_UNANSWERED", 0.3)
    async with attacked() as (host, scripted):
        connection = await Connection.open(port(host))
        await connection.send(frame(SETTINGS, 0, 0, b"\x00\x04\x00\x00\x00\x00"))  # INITIAL_WINDOW_SIZE: 0
        await connection.send(b"".join(checked(number) for number in range(200)))
        await until(lambda: len(scripted.requests) == 200, "asked")
        ends = 0
        async with asyncio.timeout(20):
            while ends < 200 and (received := await connection.receive()) is not None:
                assert received.kind != DATA
                ends += received.kind == RST_STREAM
                if received.kind == GOAWAY:
                    break
        await connection.close()
        await well(host)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("rude", [False, True])
async def test_clients_that_vanish_leave_nothing_behind(rude, capfd):
    async with attacked() as (host, scripted):
        scripted.hold = lambda: asyncio.sleep(0.002)
        before = len(asyncio.all_tasks())
        for _ in range(10):
            connection = await Connection.open(port(host))
            await connection.send(b"".join(checked(number) for number in range(100)))
            await connection.send(b"".join(opened(number) for number in range(100, 200)))
            await asyncio.sleep(0.002)
            if rude:
                connection._writer.transport.abort()
            else:
                await connection.close()
        await until(lambda: len(asyncio.all_tasks()) <= before, "no task is left")
        await well(host)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("two", [False, True])
async def test_bodies_that_stop_are_told_to_the_application_and_to_nobody_else(two, capfd):
    host = AsgiHost(
        app=Reader(),
        listeners=[TcpListener(host="127.0.0.1", port=0)],
        trusted=TrustedPeers.parse(),
        limits=HttpLimits(header_timeout=0.3),
    )
    await host.start()
    if two:
        client = await H2Client.connect(host.addresses[0])
        for _ in range(200):
            client.ask(b"/a", method=b"POST", body=b"he", end=False)
        await client.read_until(lambda: all(answer.reset is not None for answer in client.answers.values()))
        await client.close()
    else:
        for _ in range(20):
            old = await Client.connect(host.addresses[0])
            old.send(request("/a", "Content-Length: 5", method="POST") + b"he")
            await old.close()
        old = await Client.connect(host.addresses[0])
        old.send(request("/a", "Transfer-Encoding: chunked", method="POST") + b"2\r\nhe\r\n")
        assert not (await old.ended()).startswith(b"HTTP/1.1 2")
        await old.close()
    await host.stop(1)
    assert capfd.readouterr() == ("", "")
