"""The fast host behind TLS: renewal under way, HTTP/2 by ALPN, what h2corn cannot be told."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Iterator

import pytest

from authz.core.errors import Misconfigured
from authz.servers import asgi_h2corn
from authz.servers.asgi_host import AsgiHost
from authz.servers.grpc_check import Checks, CheckSettings
from authz.servers.http_limits import HttpLimits
from authz.servers.listeners import TcpListener
from authz.servers.tls import Certificates
from authz.servers.trust import TrustedPeers
from authz.service import Limits
from tests.contracts.http_hosts import App
from tests.proxies.harness import Folder
from tests.servers.extauthz_support import CHECK, Scripted, check_request, read_as_envoy, scripted_service
from tests.servers.h2_support import H2Client, framed
from tests.servers.raw_http import Client, request, until
from tests.servers.tls_support import World


@pytest.fixture
def world() -> Iterator[World]:
    with Folder() as folder:
        yield World(folder)


def listener(certificates: Certificates) -> TcpListener:
    return TcpListener(host="127.0.0.1", port=0, tls=certificates)


def host_of(app: App, certificates: Certificates, **limits) -> AsgiHost:
    found = [listener(certificates)]
    return AsgiHost(app=app, listeners=found, trusted=TrustedPeers.parse(), limits=HttpLimits(**limits))


async def shown(host: AsgiHost, context: ssl.SSLContext) -> int:
    """The number of the certificate that a new connection is shown."""
    client = await Client.connect(host.addresses[0], context)
    try:
        certificate = client.writer.get_extra_info("ssl_object").getpeercert()
        client.send(request("/a", "Connection: close"))
        assert (await client.reply()).status == 418
        return int(certificate["serialNumber"], 16)
    finally:
        await client.close()


def test_a_new_certificate_is_shown_and_what_is_under_way_goes_on(world):
    certificates, context = world.tls(), world.context()

    async def talk() -> None:
        app = App()
        host = host_of(app, certificates)
        await host.start()
        try:
            before = await shown(host, context)
            busy = await Client.connect(host.addresses[0], context)
            busy.send(request("/wait"))
            await until(lambda: app.waiting == 1, "asked")
            await asyncio.to_thread(world.serve)
            assert await certificates.renew()
            after = await shown(host, context)
            assert after != before
            app.go.set()
            assert (await busy.reply()).status == 418
            await busy.close()
            await until(lambda: len(host._places[0].serving._all) == 1, "the one before has ended")
            assert await shown(host, context) == after
        finally:
            await host.stop(1)

    asyncio.run(talk())


def test_rubbish_is_never_taken_up(world):
    certificates, context = world.tls(), world.context()

    async def talk() -> None:
        host = host_of(App(), certificates)
        await host.start()
        try:
            before = await shown(host, context)
            (world.folder / "server.pem").write_bytes(b"rubbish")
            assert not await certificates.renew()
            assert await shown(host, context) == before
        finally:
            await host.stop(1)

    asyncio.run(talk())


def test_a_certificate_that_h2corn_refuses_leaves_the_one_before(world, monkeypatch, caplog):
    certificates, context = world.tls(), world.context()

    async def talk() -> None:
        host = host_of(App(), certificates)
        await host.start()
        try:
            before = await shown(host, context)
            await asyncio.to_thread(world.serve)

            def refuse(*_: object) -> None:
                raise OSError("no")

            monkeypatch.setattr(asgi_h2corn, "prepare_tls", refuse)
            await certificates.renew()
            assert await shown(host, context) == before
        finally:
            await host.stop(1)

    asyncio.run(talk())
    assert "the one before goes on" in caplog.text


def test_http_2_is_chosen_by_the_handshake(world):
    certificates, context = world.tls(), world.context()
    context.set_alpn_protocols(["h2"])
    scripted = Scripted()

    async def talk() -> None:
        checks = Checks(scripted_service(scripted, limits=Limits(deadline=60)), CheckSettings())
        host = AsgiHost(app=App(), checks=checks, listeners=[listener(certificates)], trusted=TrustedPeers.parse())
        await host.start()
        client = await H2Client.connect(host.addresses[0], context)
        try:
            assert client.writer.get_extra_info("ssl_object").selected_alpn_protocol() == "h2"
            assert (await client.answer(client.ask(b"/a"))).status == 418
            answer = await client.answer(client.call(CHECK, framed(check_request())))
            assert read_as_envoy(answer.message).verdict == "allow"
        finally:
            await client.close()
            await host.stop(1)

    asyncio.run(talk())


def test_a_handshake_that_does_not_end_ends_the_connection(world):
    async def talk() -> None:
        host = host_of(App(), certificates, header_timeout=0.3)
        await host.start()
        try:
            for begun in (b"", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", b"GET / HTTP/1.1\r\n\r\n"):
                stranger = await Client.connect(host.addresses[0])
                stranger.send(begun)
                answer = await stranger.ended()
                assert answer == b"" or answer[0] in {0x15, 0x16}  # at most an alert, after a hello
                await stranger.close()
            await shown(host, context)
        finally:
            await host.stop(1)

    certificates, context = world.tls(), world.context()
    asyncio.run(talk())


def test_old_ciphers_and_versions_find_no_listener(world):
    certificates = world.tls()

    async def talk() -> None:
        host = host_of(App(), certificates)
        await host.start()
        try:
            for cipher in ("AES128-SHA", "ECDHE-ECDSA-AES128-SHA"):
                context = world.context()
                context.maximum_version = ssl.TLSVersion.TLSv1_2
                context.set_ciphers(f"{cipher}:@SECLEVEL=0")
                with pytest.raises(ssl.SSLError):
                    await Client.connect(host.addresses[0], context)
        finally:
            await host.stop(1)

    asyncio.run(talk())


def test_a_least_version_that_h2corn_cannot_keep_to_is_refused(world):
    certificates = world.tls(minimum="1.3")

    async def talk() -> None:
        with pytest.raises(Misconfigured, match=r"TLS 1\.2"):
            await host_of(App(), certificates).start()

    asyncio.run(talk())
