"""The gRPC listener behind TLS: renewal, and what strangers send instead of a handshake."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

import grpc
import grpc.aio
import pytest

from authz.servers import grpc_tls
from authz.servers.grpc_host import GrpcSettings
from authz.servers.tls import Certificates
from tests.proxies.harness import Folder
from tests.servers.extauthz_support import Scripted, check_request, read_as_envoy, scripted_service
from tests.servers.grpc_support import HEALTH, ask, serving
from tests.servers.raw_http import WITHIN, Client, until
from tests.servers.raw_http2 import PREFACE, SETTINGS, call, frame
from tests.servers.tls_support import LISTED, Authority, World, put

SERVING = b"\x08\x01"


@pytest.fixture
def world() -> Iterator[World]:
    with Folder() as folder:
        yield World(folder)


@pytest.fixture
def certificates(world: World) -> Certificates:
    return world.mtls()


@pytest.fixture
def own(world: World) -> grpc.ChannelCredentials:
    """What a proxy shows that may come."""
    return shown_by(world.ca.pem, world.client_ca)


def shown_by(root: bytes, issuer: Authority) -> grpc.ChannelCredentials:
    pair = issuer.issue(LISTED)
    return grpc.ssl_channel_credentials(root, pair.key_pem, pair.pem)


@asynccontextmanager
async def channel(port: int, credentials: grpc.ChannelCredentials) -> AsyncIterator[grpc.aio.Channel]:
    # Channels of one process share a connection unless they are told apart.
    options = [("grpc.use_local_subchannel_pool", 1)]
    async with grpc.aio.secure_channel(f"localhost:{port}", credentials, options) as opened:
        yield opened


async def verdict(opened: grpc.aio.Channel, timeout: float = 10) -> str:
    try:
        return read_as_envoy(await ask(opened, check_request(), timeout=timeout)).verdict
    except grpc.aio.AioRpcError as error:
        return error.code().name


async def test_new_connections_get_the_new_certificate_and_old_ones_live_on(world, certificates, own):
    new_ca = Authority("New server CA")
    async with serving(scripted_service(Scripted()), tls=certificates) as host, channel(host.port, own) as old:
        assert await verdict(old) == "allow"
        await asyncio.to_thread(new_ca.issue("localhost").write, world.folder)
        assert await certificates.renew()
        async with (
            channel(host.port, shown_by(new_ca.pem, world.client_ca)) as new,
            channel(host.port, own) as late,
        ):
            assert [await verdict(one) for one in (old, new, late, old)] == ["allow", "allow", "UNAVAILABLE", "allow"]


async def test_a_ca_that_is_taken_away_counts_at_once(world, certificates, own):
    other = Authority("New client CA")
    async with serving(scripted_service(Scripted()), tls=certificates) as host:
        async with channel(host.port, shown_by(world.ca.pem, other)) as stranger:
            assert await verdict(stranger) == "UNAVAILABLE"
        await asyncio.to_thread(put, world.folder / "clients.pem", other.pem)
        assert await certificates.renew()
        async with channel(host.port, shown_by(world.ca.pem, other)) as new, channel(host.port, own) as late:
            assert [await verdict(one) for one in (new, late)] == ["allow", "UNAVAILABLE"]


async def test_no_call_is_lost_in_renewals(world, certificates, own):
    async with serving(scripted_service(Scripted()), tls=certificates) as host:
        for _ in range(5):
            async with channel(host.port, own) as before:
                assert await verdict(before) == "allow"
                await asyncio.to_thread(world.serve)
                assert await certificates.renew()
                async with channel(host.port, own) as after:
                    assert [await verdict(one) for one in (before, after, before)] == ["allow"] * 3


async def test_rubbish_leaves_the_listener_as_it_was(world, certificates, own, caplog):
    async with serving(scripted_service(Scripted()), tls=certificates) as host, channel(host.port, own) as opened:
        await asyncio.to_thread(put, world.folder / "server.key", b"rubbish")
        assert not await certificates.renew()
        assert await verdict(opened) == "allow"
    assert "TLS files rejected" in caplog.text


async def test_health_is_told_to_whom_the_handshake_lets_in(world, certificates):
    pair = world.client_ca.issue("other.example.com")
    credentials = grpc.ssl_channel_credentials(world.ca.pem, pair.key_pem, pair.pem)
    async with (
        serving(scripted_service(Scripted()), tls=certificates) as host,
        channel(host.port, credentials) as probe,
    ):
        assert await ask(probe, b"", HEALTH + "Check") == SERVING


def half_a_hello() -> bytes:
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    made = ssl.create_default_context().wrap_bio(incoming, outgoing, server_hostname="localhost")
    with pytest.raises(ssl.SSLWantReadError):
        made.do_handshake()
    return outgoing.read()[:100]


@pytest.mark.parametrize(
    "data",
    [b"", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\4\0\0\0\0\0", b"GET / HTTP/1.1\r\n\r\n", b"\x00\xff" * 5000, half_a_hello()],
    ids=["nothing", "HTTP/2 in the clear", "HTTP/1.1", "rubbish", "half a ClientHello"],
)  # fmt: skip
async def test_what_is_no_handshake_ends_the_connection(certificates, own, data, monkeypatch):
    monkeypatch.setattr(grpc_tls, "HANDSHAKE_TIMEOUT", 0.3)
    async with serving(scripted_service(Scripted()), tls=certificates) as host:
        stranger = await Client.connect(f"127.0.0.1:{host.port}")
        stranger.send(data)
        async with asyncio.timeout(WITHIN):
            await stranger.ended()
        await stranger.close()
        async with channel(host.port, own) as opened:
            assert await verdict(opened) == "allow"


async def test_the_listener_that_is_opened_anew_has_tls_too(world, certificates, own, caplog):
    # As it is after one call whose path is not UTF-8, on which grpc.aio ends for good.
    context = await asyncio.to_thread(world.context, world.client_ca.issue(LISTED))
    context.set_alpn_protocols(["h2"])
    settings = GrpcSettings(connection_grace=0.2)
    async with serving(scripted_service(Scripted()), settings, tls=certificates) as host:
        poison = await Client.connect(f"127.0.0.1:{host.port}", context)
        poison.send(PREFACE + frame(SETTINGS, 0, 0) + call(1, b"/\xff/Check"))
        await until(lambda: "listening anew" in caplog.text, "the end was seen")
        async with asyncio.timeout(WITHIN):
            while await answered(host.port, own) != "allow":
                await asyncio.sleep(0.05)
        with pytest.raises(grpc.aio.AioRpcError):
            async with grpc.aio.insecure_channel(f"localhost:{host.port}") as plain:
                await ask(plain, check_request(), timeout=1)
        await poison.close()


async def answered(port: int, credentials: grpc.ChannelCredentials) -> str:
    async with channel(port, credentials) as opened:
        return await verdict(opened, timeout=1)  # the old server takes calls for a moment, and answers none
