"""What every HTTP host must keep: same bytes in, same answer out.

The conversation is held in raw bytes: no client library smooths over what a host gets wrong.
"""

from __future__ import annotations

import asyncio
import logging
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from authz.core.model import Peer
from tests.contracts.http_hosts import CANARY, HOSTS, MALFORMED, TEAPOT, TOO_LARGE, Running, Stage, kinds_for
from tests.servers.raw_http import request


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "stage" in metafunc.fixturenames:
        metafunc.parametrize("stage", kinds_for(metafunc.function.__name__), indirect=True)


@pytest.fixture
def stage(request) -> Iterator[Stage]:
    with tempfile.TemporaryDirectory(prefix="authz-") as folder:  # short: a socket's path holds 107 bytes
        yield Stage(kind=HOSTS[request.param], folder=Path(folder))


# --- what arrives -----------------------------------------------------------------------------------------


def test_the_application_gets_what_was_sent_and_the_client_what_it_answered(stage):
    async def talk(here: Running):
        reply = await here.ask(request("/a?b", "X-Dup: 1", "X-Other: o", "x-dup: 2", "X_Under: u"))
        assert reply.essence() == (418, TEAPOT.headers, TEAPOT.body)
        method, target, headers, peer = here.app.seen[0]
        assert (method, target) == ("GET", "/a?b")
        assert [(name.lower(), value) for name, value in headers] == [
            ("host", "app.example"),
            ("x-dup", "1"),
            ("x-other", "o"),
            ("x-dup", "2"),
            ("x_under", "u"),
        ]
        assert peer == Peer(address="" if stage.kind.unix else "127.0.0.1", trusted=True)

    stage.run(talk)


@pytest.mark.parametrize(
    "target",
    [
        "/", "//admin", "/envoy//admin", "/a/../b", "/a/%2e%2e/b", "/a%2Fb", "/a;b=1", "/a?b?c", "/a?b=%20&b", "/a??",
        "/\\", "/" + "a" * 8000,
    ],
)  # fmt: skip
def test_the_target_arrives_as_it_was_sent(stage, target):
    async def talk(here: Running):
        assert (await here.ask(request(target))).status == 418
        assert here.app.targets == [target]

    stage.run(talk)


@pytest.mark.parametrize(
    ("target", "otherwise"),
    [
        ("/?", "/"), ("/a?", "/a"), ("http://app.example/abs?x", "/abs?x"), ("http://other.example/abs?x", None),
        ("/%", None), ("/%zz", None), ("/a#frag", None), ("/a?b#frag", None),
    ],
)  # fmt: skip
def test_what_is_hardly_a_target_arrives_as_it_was_sent_or_not_at_all(stage, target, otherwise):
    async def talk(here: Running):
        reply = await here.ask(request(target))
        if stage.kind.manners.any_target or reply.status == 418:
            assert here.app.targets in ([target], [] if stage.kind.manners.any_target else [otherwise])
        else:
            assert (otherwise, reply.status, here.app.targets) == (None, 400, [])

    stage.run(talk)


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "PROPFIND"])
def test_no_method_is_answered_by_the_host(stage, method):
    async def talk(here: Running):
        assert (await here.ask(request("/a", method=method))).essence()[0] == 418
        assert here.app.seen[0][0] == method

    stage.run(talk)


def test_options_for_the_server_itself_is_the_applications_too(stage):
    async def talk(here: Running):
        assert (await here.ask(request("*", method="OPTIONS"))).status == 418

    stage.run(talk)


def test_an_answer_to_head_has_no_body(stage):
    async def talk(here: Running):
        async with here.client() as client:
            client.send(request("/a", method="HEAD") + request("/b"))
            first = await client.reply(head=True)
            assert first.values("content-length") == [str(len(TEAPOT.body))]
            second = await client.reply()
            assert (first.status, second.essence()) == (418, (418, TEAPOT.headers, TEAPOT.body))
        assert here.app.targets == ["/a", "/b"]

    stage.run(talk)


def test_a_method_that_nobody_knows_is_the_applications_to_answer(stage):
    async def talk(here: Running):
        reply = await here.ask(request("/a", method="FOO"))
        assert reply.essence() in {
            (418, TEAPOT.headers, TEAPOT.body),
            (400, MALFORMED.headers, MALFORMED.body),
        }

    stage.run(talk)


def test_a_value_outside_utf_8_arrives_without_loss(stage):
    async def talk(here: Running):
        await here.ask(request("/a", "X-B: caf\xe9", "X-C: caf\xc3\xa9"))
        values = [value for name, value in here.app.seen[0][2] if name.lower() in {"x-b", "x-c"}]
        assert [value.encode("utf-8", "surrogateescape") for value in values] == [b"caf\xe9", b"caf\xc3\xa9"]

    stage.run(talk)


def test_a_token_of_8_kb_fits(stage):
    async def talk(here: Running):
        token = "t" * 8300
        assert (await here.ask(request("/a", f"Authorization: Bearer {token}"))).status == 418
        assert ("authorization", f"Bearer {token}") in [(n.lower(), v) for n, v in here.app.seen[0][2]]

    stage.run(talk)


def test_a_request_may_come_byte_by_byte(stage):
    async def talk(here: Running):
        async with here.client() as client:
            for byte in request("/a", "X-A: b"):
                client.send(bytes([byte]))
                await client.writer.drain()
                await asyncio.sleep(0)
            assert (await client.reply()).status == 418

    stage.run(talk)


def test_an_empty_answer_is_framed_by_its_length(stage):
    async def talk(here: Running):
        reply = await here.ask(request("/empty"))
        assert (reply.status, reply.values("content-length"), reply.body) == (200, ["0"], b"")
        assert reply.values("transfer-encoding") == []

    stage.run(talk)


def test_the_answer_does_not_say_who_made_it(stage):
    async def talk(here: Running):
        for data in (request("/a", "Connection: close"), request("/fail"), b"nonsense\r\n\r\n"):
            async with here.client() as client:
                client.send(data)
                client.no_more()
                answer = (await client.ended()).lower()
            assert not any(word in answer for word in (b"server:", b"aiohttp", b"corn", b"python"))

    stage.run(talk)


def test_a_large_answer_arrives_whole(stage):
    async def talk(here: Running):
        assert (await here.ask(request("/large"))).body == b"x" * 100_000

    stage.run(talk)


# --- what cannot be read ----------------------------------------------------------------------------------

BROKEN = {
    "a control character in a value": request("/a", f"Authorization: {CANARY}\x01"),
    "a NUL in a value": request("/a", f"X-A: {CANARY}\x00"),
    "a bare line feed": f"GET /a HTTP/1.1\nHost: a\nX-A: {CANARY}\n\n".encode(),
    "a bare carriage return": request("/a", f"X-A: b\rX-B: {CANARY}"),
    "a line without a colon": request("/a", CANARY),
    "a space in a name": request("/a", f"X A: {CANARY}"),
    "a space before the colon": request("/a", f"X-A : {CANARY}"),
    "a folded value": request("/a", "X-A: b", f" {CANARY}"),
    "an empty name": request("/a", f": {CANARY}"),
    "no Host": f"GET /a HTTP/1.1\r\nX-A: {CANARY}\r\n\r\n".encode(),
    "two Hosts": request("/a", "Host: b.example", f"X-A: {CANARY}"),
    "two lengths": request("/a", "Content-Length: 1", "Content-Length: 2", f"X-A: {CANARY}"),
    "a length that is none": request("/a", f"Content-Length: {CANARY}"),
    "a negative length": request("/a", "Content-Length: -1", f"X-A: {CANARY}"),
    "a length and chunks": request(
        "/a", "Content-Length: 4", "Transfer-Encoding: chunked", f"X-A: {CANARY}", method="POST"
    ),
    "an unknown coding": request("/a", "Transfer-Encoding: gzip", f"X-A: {CANARY}", method="POST"),
    "a space in the target": request(f"/a {CANARY}"),
    "another protocol": f"EHLO {CANARY}\r\n\r\n".encode(),
    "a version of three digits": f"GET /{CANARY} HTTP/1.11\r\nHost: a\r\n\r\n".encode(),
    "HTTP/2's preface": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + CANARY.encode() + b"\r\n\r\n",
    "too long a field": request("/a", f"Authorization: Bearer {CANARY * 2000}"),
    "too long a name": request("/a", f"X-{CANARY * 2000}: a"),
    "too long a target": request(f"/{CANARY * 2000}"),
    "too many fields": request("/a", *(f"X-{number}: {CANARY}" for number in range(200))),
}


@pytest.mark.parametrize("what", BROKEN)
def test_what_cannot_be_read_gets_the_applications_answer_and_the_connection_ends(stage, what, caplog):
    caplog.set_level(logging.DEBUG)

    async def talk(here: Running):
        async with here.client() as client:
            client.send(BROKEN[what])
            if stage.kind.manners.words:
                reply = await client.reply()
                assert reply.essence() in [(a.status, a.headers, a.body) for a in (MALFORMED, TOO_LARGE)]
                assert reply.closes
                assert CANARY.encode() not in reply.raw + await client.ended()
            else:
                client.no_more()  # what is not complete now never will be
                answer = await client.ended()
                refused = answer == b"" or answer.startswith(b"HTTP/1.1 4") or is_settings(answer)
                assert refused or what in stage.kind.manners.lenient
                assert CANARY.encode() not in answer
        assert here.app.seen == [] or what in stage.kind.manners.lenient
        await here.well()

    stage.run(talk, idle_timeout=0.5)
    assert CANARY not in caplog.text


def is_settings(answer: bytes) -> bool:
    """A server that speaks HTTP/2 answers its preface."""
    return answer[3:9] == bytes([4, 0, 0, 0, 0, 0])


@pytest.mark.parametrize("what", ["too long a field", "too long a name", "too long a target"])
def test_what_is_too_long_is_told_apart(stage, what):
    async def talk(here: Running):
        if what in stage.kind.manners.lenient:
            return
        reply = await here.ask(BROKEN[what])
        assert reply.body == TOO_LARGE.body if stage.kind.manners.words else reply.status in {400, 414, 431}

    stage.run(talk)


@pytest.mark.parametrize("kind", ["aiohttp-tcp-asyncio", "h2corn-tcp-asyncio"])
@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.one_of(st.binary(max_size=300), st.text("GET /HTP1.\r\n:a ", max_size=80).map(str.encode)))
def test_whatever_arrives_it_goes_on_serving(kind, data):
    async def talk(here: Running):
        async with here.client() as client:
            client.send(data)
            client.writer.write_eof()
            answer = await client.ended()
            assert answer == b"" or answer.startswith(b"HTTP/1.1 4")
        await here.well()

    Stage(kind=HOSTS[kind], folder=Path()).run(talk)


def test_an_error_of_the_application_is_500_without_a_word_of_it(stage, caplog):
    caplog.set_level(logging.DEBUG)

    async def talk(here: Running):
        for target in ("/fail", "/split"):
            async with here.client() as client:
                client.send(request(target, f"Authorization: Bearer {CANARY}"))
                reply = await client.reply()
                assert (reply.status, reply.closes) == (500, True)
                assert b'"reason":"internal"' in reply.body
                assert CANARY.encode() not in reply.raw + await client.ended()
        await here.well()

    stage.run(talk)
    assert CANARY not in caplog.text
    assert [record.levelname for record in caplog.records if record.name.startswith("authz")] == ["ERROR"] * 2
