"""What is the fast host's own: HTTP/2, both doors on one listener, silence, no grpcio, and being left by h2corn."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import textwrap
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from authz.core.errors import Misconfigured
from authz.core.model import Peer
from authz.servers import asgi_h2corn
from authz.servers.asgi_host import AsgiHost
from authz.servers.grpc_check import Checks, CheckSettings
from authz.servers.http_limits import HttpLimits
from authz.servers.listeners import Listener, TcpListener, UnixListener
from authz.servers.trust import TrustedPeers
from authz.service import Limits
from tests.contracts.http_hosts import TEAPOT, App
from tests.proxies.harness import Folder
from tests.servers.extauthz_support import CHECK, Scripted, check_request, read_as_envoy, scripted_service
from tests.servers.h2_support import H2Client, framed
from tests.servers.raw_http import Client, request, until

LOOPBACK = TcpListener(host="127.0.0.1", port=0)
ROOT = Path(__file__).parents[2]


@pytest.fixture
def folder() -> Iterator[Path]:
    with Folder() as path:
        yield path


@asynccontextmanager
async def serving(
    app: App | None = None, scripted: Scripted | None = None, listener: Listener = LOOPBACK, **limits
) -> AsyncIterator[AsgiHost]:
    service = scripted_service(scripted, limits=Limits(deadline=60)) if scripted is not None else None
    host = AsgiHost(
        app=app,
        checks=Checks(service, CheckSettings(max_message_bytes=100_000)) if service is not None else None,
        listeners=[listener],
        trusted=TrustedPeers.parse(),
        limits=HttpLimits(**limits),
    )
    await host.start()
    try:
        yield host
    finally:
        await host.stop(0)


@asynccontextmanager
async def http2(host: AsgiHost) -> AsyncIterator[H2Client]:
    client = await H2Client.connect(host.addresses[0])
    try:
        yield client
    finally:
        await client.close()


# --- an HTTP application by HTTP/2 ------------------------------------------------------------------------


async def test_a_request_by_http_2_arrives_as_it_was_sent():
    app = App()
    async with serving(app) as host, http2(host) as client:
        fields = [(b"x-dup", b"1"), (b"x-b", b"caf\xe9"), (b"x_under", b"u"), (b"x-dup", b"2"), (b"x-c", b"c")]
        answer = await client.answer(client.ask(b"/a//b/%2e%2e?c=%20&d", *fields))
        assert (answer.status, answer.data) == (418, TEAPOT.body)
        sent = [(name, value) for name, value in answer.headers if name.startswith((b"x-", b"content-"))]
        assert sent == [
            (b"content-type", b"text/plain"), (b"x-one", b"1"), (b"x-one", b"2"), (b"content-length", b"15")
        ]  # fmt: skip
    method, target, headers, peer = app.seen[0]
    assert (method, target, peer) == ("GET", "/a//b/%2e%2e?c=%20&d", Peer(address="127.0.0.1", trusted=True))
    # `:authority` stands last, as Host (ASGI gives no other place to it).
    expected = [(name.decode(), value.decode("utf-8", "surrogateescape")) for name, value in fields]
    assert list(headers) == [*expected, ("host", "app.example")]


async def test_crumbs_of_a_cookie_are_put_together():
    app = App()
    async with serving(app) as host, http2(host) as client:
        await client.answer(client.ask(b"/a", (b"cookie", b"a=b"), (b"x-a", b"1"), (b"cookie", b"c=d")))
    assert [value for name, value in app.seen[0][2] if name == "cookie"] == ["a=b; c=d"]  # RFC 9113, 8.2.3


async def test_a_request_for_nowhere_is_refused():
    app = App()
    async with serving(app) as host, http2(host) as client:
        assert (await client.answer(client.ask(b"/a", authority=None))).status == 400
        assert (await client.answer(client.ask(b"/a", (b"host", b"h.example"), authority=None))).status == 418
        two = client.ask(b"/a", (b"host", b"h.example"))
        assert (await client.answer(two)).reset is not None
    assert len(app.seen) == 1


async def test_websockets_by_http_2_are_no_way_round():
    app = App()
    async with serving(app) as host, http2(host) as client:
        fields = [(b":protocol", b"websocket"), (b"sec-websocket-version", b"13")]
        answer = await client.answer(client.ask(b"/a", *fields, method=b"CONNECT", end=False))
        assert answer.status == 400 or answer.reset is not None
    assert app.seen == []


async def test_a_failing_application_costs_one_answer_and_not_the_connection():
    async with serving(App()) as host, http2(host) as client:
        for target, status in ((b"/fail", 500), (b"/split", 500), (b"/a", 418)):
            assert (await client.answer(client.ask(target))).status == status


# --- both doors -------------------------------------------------------------------------------------------


async def test_one_listener_carries_both_doors():
    app, scripted = App(), Scripted()
    async with serving(app, scripted) as host:
        async with http2(host) as client:
            checked = client.call(CHECK, framed(check_request()))
            asked = client.ask(b"/a")
            plain = client.ask(CHECK.encode(), method=b"POST", body=b"")  # no gRPC call: the application's
            assert read_as_envoy((await client.answer(checked)).message).verdict == "allow"
            assert [(await client.answer(stream)).status for stream in (asked, plain)] == [418, 418]
        old = await Client.connect(host.addresses[0])
        old.send(request(CHECK, "Content-Type: application/grpc", "TE: trailers", "Content-Length: 0", method="POST"))
        assert (await old.reply()).status == 505
        await old.close()
    assert sorted(app.targets) == ["/a", CHECK]
    assert len(scripted.requests) == 1


async def test_a_grpc_listener_speaks_no_http_1():
    async with serving(scripted=Scripted()) as host:
        client = await Client.connect(host.addresses[0])
        client.send(request("/a"))
        assert not (await client.ended()).startswith(b"HTTP/1.1 2")
        await client.close()


async def test_a_listener_without_a_grpc_door_takes_no_calls():
    app = App()
    async with serving(app) as host, http2(host) as client:
        answer = await client.answer(client.call(CHECK, framed(check_request())))
        assert (answer.status, answer.data, answer.grpc_status) == (415, b"", None)
    assert app.seen == []


# --- strangers --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("trusted", [True, False])
async def test_the_connection_of_a_stranger_does_not_last(trusted):
    app = App()
    networks = TrustedPeers.parse() if trusted else TrustedPeers.parse(["10.0.0.0/8"])
    host = AsgiHost(app=app, listeners=[LOOPBACK], trusted=networks, limits=HttpLimits(header_timeout=0.3))
    await host.start()
    try:
        async with http2(host) as client, http2(host) as idle:
            asked = 0
            for _ in range(30):  # more than twice the time
                if client.closed:
                    break
                answer = await client.answer(client.ask(b"/a"))
                asked += answer.status == 418
                await asyncio.sleep(0.03)
            assert asked > 0
            assert app.seen[0][3].trusted == trusted
            assert client.closed != trusted
            if not trusted:
                await idle.ended()
    finally:
        await host.stop(0)


# --- silence ----------------------------------------------------------------------------------------------

ALONE = """
    import asyncio, sys
    sys.path.insert(0, {root!r})
    from authz.servers.asgi_host import AsgiHost
    from authz.servers.grpc_check import Checks, CheckSettings
    from authz.servers.listeners import TcpListener, UnixListener
    from authz.servers.trust import TrustedPeers
    from authz.servers.http_app import Answer

    class App:
        async def answer(self, method, target, headers, peer, body):
            if target == "/fail":
                raise ValueError("s3cret")
            if target == "/wait":
                await asyncio.Event().wait()
            return Answer(200)

        def malformed(self, *, too_large):
            return Answer(400)

    async def main():
        listeners = [TcpListener(host="127.0.0.1", port=0), UnixListener(path={path!r})]
        host = AsgiHost(app=App(), checks=Checks(None, CheckSettings()), listeners=listeners, trusted=TrustedPeers.parse())
        await host.start()
        for target in ("/a", "/fail", "/wait", "\\x01", "/%"):
            reader, writer = await asyncio.open_unix_connection({path!r})
            writer.write(f"GET {{target}} HTTP/1.1\\r\\nHost: a\\r\\n\\r\\n".encode())
            if target != "/wait":
                await reader.read(1)
            writer.close()
        check = b"POST /envoy.service.auth.v3.Authorization/Check HTTP/1.1\\r\\nHost: a\\r\\nContent-Length: 9\\r\\n"
        reader, writer = await asyncio.open_unix_connection({path!r})
        writer.write(check + b"Content-Type: application/grpc\\r\\n\\r\\nhel")
        writer.close()
        await host.stop(0.1)
        found = sorted(name for name in sys.modules if name.split(".")[0] in ("grpc", "grpcio", "aiohttp"))
        assert not found, found

    asyncio.run(main())
"""


def test_it_says_nothing_and_needs_no_grpcio(folder):
    program = textwrap.dedent(ALONE.format(root=str(ROOT), path=str(folder / "a.sock")))
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)  # noqa: PLW1510
    # Our own lines, from a log that nobody has set up: the type of what was raised, and how many were cut off.
    said = [
        line for line in done.stderr.splitlines() if not line.startswith(("unexpected ValueError", "the drain cuts"))
    ]
    assert (done.returncode, done.stdout, said) == (0, "", [])


# --- the end of h2corn ------------------------------------------------------------------------------------


async def test_a_server_that_ends_by_itself_is_begun_anew(caplog):
    async with serving(App()) as host:
        [place] = host._places
        first = place.serving._now
        assert first is not None
        asgi_h2corn._stop(first)
        await until(lambda: place.serving._now is not first, "begun anew")
        client = await Client.connect(host.addresses[0])
        client.send(request("/a"))
        assert (await client.reply()).status == 418
        await client.close()
    assert "ended by itself" in caplog.text


async def test_a_stop_in_the_middle_of_a_new_begin_is_a_stop():
    async with serving(App()) as host:
        [place] = host._places
        assert place.serving._now is not None
        asgi_h2corn._stop(place.serving._now)
        await host.stop(1)
        assert await host.connections() == 0


@pytest.mark.parametrize("what", ["serve_fds", "prepare_tls"])
async def test_what_h2corn_refuses_is_a_configuration_that_cannot_be_run(monkeypatch, what, folder):
    def refuse(*_, **__):
        raise OSError("no")

    monkeypatch.setattr(asgi_h2corn, what, refuse)
    listener = UnixListener(path=str(folder / "http.sock"))
    host = AsgiHost(app=App(), listeners=[listener], trusted=TrustedPeers.parse())
    with pytest.raises((Misconfigured, OSError)):
        await host.start()
    assert not Path(listener.path).exists()


async def test_connections_are_counted_by_listener():
    app = App()
    listeners = [LOOPBACK, LOOPBACK]
    host = AsgiHost(app=app, listeners=listeners, trusted=TrustedPeers.parse())
    await host.start()
    try:
        clients = [await Client.connect(address) for address in (host.addresses[0], *host.addresses)]
        for client in clients:
            client.send(request("/a"))
            await client.reply()
        assert await host.connections() == 3
        for client in clients:
            await client.close()

        async def none_left() -> bool:
            return await host.connections() == 0

        await until(none_left, "closed")
    finally:
        await host.stop(1)
    await asyncio.sleep(0)
