"""What every HTTP host must keep of a request's body: whole or refused, never longer than asked for."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from authz.core.errors import Reason
from tests.contracts.http_hosts import HOSTS, Running, Stage, kinds_for
from tests.servers.raw_http import request


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "stage" in metafunc.fixturenames:
        metafunc.parametrize("stage", kinds_for(metafunc.function.__name__), indirect=True)


@pytest.fixture
def stage(request) -> Iterator[Stage]:
    with tempfile.TemporaryDirectory(prefix="authz-") as folder:  # short: a socket's path holds 107 bytes
        yield Stage(kind=HOSTS[request.param], folder=Path(folder))


def by_length(body: bytes) -> tuple[tuple[str, ...], bytes]:
    return (f"Content-Length: {len(body)}",), body


def in_chunks(*parts: bytes) -> tuple[tuple[str, ...], bytes]:
    chunks = b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in (*parts, b""))
    return ("Transfer-Encoding: chunked",), chunks


@pytest.mark.parametrize(
    ("sent", "body"),
    [
        (by_length(b"hello"), b"hello"),
        (by_length(b"\x00\xff" * 500), b"\x00\xff" * 500),
        (in_chunks(b"he", b"l", b"lo"), b"hello"),
        (in_chunks(), b""),
        (((), b""), b""),
        (by_length(b""), b""),
        (by_length(b"x" * 1000), b"x" * 1000),
        (in_chunks(b"x" * 500, b"x" * 500), b"x" * 1000),
    ],
)
def test_a_body_arrives_whole_and_the_connection_goes_on(stage, sent, body):
    fields, octets = sent

    async def talk(here: Running):
        async with here.client() as client:
            for _ in range(2):
                client.send(request("/read/1000", *fields, method="POST") + octets)
                reply = await client.reply()
                assert (reply.status, reply.body, reply.closes) == (200, body, False)

    stage.run(talk)


def test_a_body_may_come_in_pieces(stage):
    async def talk(here: Running):
        async with here.client() as client:
            client.send(request("/read/1000", "Content-Length: 5", method="POST"))
            for byte in b"hello":
                client.send(bytes([byte]))
                await client.writer.drain()
                await asyncio.sleep(0.002)
            assert (await client.reply()).body == b"hello"

    stage.run(talk)


def test_a_large_body_within_the_limit_is_read(stage):
    async def talk(here: Running):
        body = bytes(range(256)) * 4000
        async with here.client() as client:
            client.send(request("/read/1024000", f"Content-Length: {len(body)}", method="POST") + body)
            assert (await client.reply()).body == body

    stage.run(talk)


@pytest.mark.parametrize(
    "sent",
    [
        by_length(b"x" * 1001),
        (("Content-Length: 5000000000",), b""),  # says so: nothing more need come
        in_chunks(b"x" * 1001),
        in_chunks(*[b"x" * 100] * 11),
        (("Transfer-Encoding: chunked",), b"40000000\r\n" + b"x" * 200_000),
    ],
)
def test_a_body_beyond_the_limit_is_refused_before_its_end(stage, sent):
    fields, octets = sent

    async def talk(here: Running):
        async with here.client() as client:
            client.send(request("/read/1000", *fields, method="POST") + octets)
            reply = await client.reply()
            assert (reply.status, reply.body) == (400, b"too_large")
        assert here.app.unread == [Reason.TOO_LARGE]
        await here.well()

    stage.run(talk, linger=0.05)


@pytest.mark.parametrize(
    "sent",
    [
        (("Content-Length: 5",), b"hell"),
        (("Transfer-Encoding: chunked",), b"5\r\nhel"),
        (("Transfer-Encoding: chunked",), b"5\r\nhello\r\n"),
        (("Transfer-Encoding: chunked",), b"5\r\nhello\r\n0\r\n"),
        (("Transfer-Encoding: chunked",), b"5\r\nhelloo\r\n0\r\n\r\n"),
        (("Transfer-Encoding: chunked",), b"zz\r\nhello\r\n0\r\n\r\n"),
    ],
)
def test_a_body_that_ends_before_its_end_is_never_taken_for_whole(stage, sent):
    fields, octets = sent

    async def talk(here: Running):
        async with here.client() as client:
            client.send(request("/read/1000", *fields, method="POST") + octets)
            client.no_more()
            if stage.tls is not None:
                await client.writer.drain()
                client.writer.transport.abort()  # in TLS nothing else says it in time
            else:
                answer = await client.ended()
                assert answer == b"" or answer.startswith(b"HTTP/1.1 400")
        await here.well()
        assert set(here.app.unread) <= {Reason.BAD_BODY}

    stage.run(talk, linger=0.05)
