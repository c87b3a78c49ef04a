"""Who may speak for clients: every kind of listener × every kind of peer, on the HTTP door and on the gRPC door.

The rules: over a Unix socket whoever can connect; over TCP, and over TLS that asks for no certificate, the listed
networks; where a client certificate is asked for, its name and nothing else.
"""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager
from typing import Any

import grpc
import grpc.aio
import pytest

from authz.core.errors import Reason
from authz.core.model import Decision, EntityUid, Identity, Outcome, Peer, Query, Request, Verdict
from authz.core.pipeline import Authorizer, Trail
from authz.core.route_compiler import RouteSpec, compile_routes
from authz.servers.aiohttp_host import AiohttpHost
from authz.servers.asgi_host import AsgiHost
from authz.servers.forward_auth import ForwardAuth
from authz.servers.grpc_check import Checks, CheckSettings
from authz.servers.grpc_host import GrpcSettings
from authz.servers.listeners import Listener, TcpListener, UnixListener
from authz.servers.tls import Certificates
from authz.servers.trust import TrustedPeers
from tests.proxies.harness import Folder
from tests.servers.extauthz_support import check_request, read_as_envoy, scripted_service
from tests.servers.grpc_support import ask, client, serving
from tests.servers.raw_http import Client, request
from tests.servers.tls_support import LISTED, URI, Pair, World

LOOPBACK = "127.0.0.0/8"
ELSEWHERE = "10.0.0.0/8"
ALLOWED, UNTRUSTED, CLOSED = "allowed", "403 untrusted_peer", "no connection"

# What a peer may show, and the name by which it is then known.
SHOWN = ("no certificate", "listed name", "listed URI", "listed by suffix", "listed common name", "unlisted name", "foreign CA", "expired", "not yet valid", "for servers only")  # fmt: skip
KNOWN = {"listed name": LISTED, "listed URI": URI, "listed by suffix": "a.gateways.example.com", "listed common name": "old gateway"}  # fmt: skip

TABLE: list[tuple[str, str, str, str, Peer | None]] = [
    # listener, trusted network, certificate of the peer (which comes from 127.0.0.1), answer, whom the door sees
    ("unix", LOOPBACK, "no certificate", ALLOWED, Peer(trusted=True)),
    ("unix", ELSEWHERE, "no certificate", ALLOWED, Peer(trusted=True)),
    ("tcp", LOOPBACK, "no certificate", ALLOWED, Peer(address="127.0.0.1", trusted=True)),
    ("tcp", ELSEWHERE, "no certificate", UNTRUSTED, Peer(address="127.0.0.1")),
    # Nobody asks for a certificate, so none is shown.
    *(("tls", LOOPBACK, shown, ALLOWED, Peer(address="127.0.0.1", trusted=True)) for shown in SHOWN),
    *(("tls", ELSEWHERE, shown, UNTRUSTED, Peer(address="127.0.0.1")) for shown in SHOWN),
    *(
        ("mtls", network, shown, *(
            (ALLOWED, Peer(address="127.0.0.1", trusted=True, certificate=KNOWN[shown])) if shown in KNOWN
            else (UNTRUSTED, Peer(address="127.0.0.1")) if shown == "unlisted name"
            else (CLOSED, None)
        ))
        for network in (LOOPBACK, ELSEWHERE)
        for shown in SHOWN
    ),
]  # fmt: skip


@pytest.fixture(scope="module")
def world():
    with Folder() as folder:
        yield World(folder)


@pytest.fixture
def certificates(world: World) -> dict[str, Certificates | None]:
    return {"unix": None, "tcp": None, "tls": world.tls(), "mtls": world.mtls()}


@pytest.fixture(scope="module")
def pairs(world: World) -> dict[str, Pair | None]:
    return world.pairs()


class Watched:
    """Stands where an Authorizer stands, and remembers who asked. The real one decides: anybody may read."""

    def __init__(self) -> None:
        uid = EntityUid("User", "nobody")
        spec = RouteSpec(
            name="read",
            path="/documents/{id}",
            action='Action::"Read"',
            resource_type="Document",
            resource_id="{path.id}",
            anonymous=str(uid),
        )
        self.routes, problems = compile_routes((spec,))
        assert problems == ()
        identity = Identity(scheme="anonymous", issuer="", subject="nobody", principal=uid)
        self._authorizer = Authorizer(
            routes=self.routes, authenticators={}, decision_point=self, anonymous={uid: identity}
        )
        self.peers: list[Peer] = []

    async def check(self, request: Request, trail: Trail) -> Outcome:
        self.peers.append(request.peer)
        return await self._authorizer.check(request, trail)

    async def decide(self, query: Query) -> Decision:
        return Decision(verdict=Verdict.ALLOW)

    async def decide_many(self, queries: Sequence[Query]) -> tuple[Decision, ...]:
        return tuple([await self.decide(query) for query in queries])


async def over_http(
    listener: Listener, network: str, tls: ssl.SSLContext | None, make: type[AiohttpHost | AsgiHost] = AiohttpHost
) -> tuple[str, Peer | None]:
    watched = Watched()
    host = make(
        app=ForwardAuth(service=scripted_service(watched)),
        listeners=[listener],
        trusted=TrustedPeers.parse((network,)),
    )
    await host.start()
    try:
        answer = await _asked(host.addresses[0], tls)
    finally:
        await host.stop(1)
    assert (host.connections if isinstance(host, AiohttpHost) else await host.connections()) == 0
    return answer, watched.peers[0] if watched.peers else None


async def over_h2corn(listener: Listener, network: str, tls: ssl.SSLContext | None) -> tuple[str, Peer | None]:
    return await over_http(listener, network, tls, AsgiHost)


async def _asked(address: str, tls: ssl.SSLContext | None) -> str:
    try:
        connection = await Client.connect(address, tls)
    except OSError:
        return CLOSED
    try:
        connection.send(request("/envoy/documents/17", "Content-Length: 0"))
        reply = await connection.reply()
    except (asyncio.IncompleteReadError, OSError):
        return CLOSED
    finally:
        await connection.close()
    return ALLOWED if reply.status == 200 else f"{reply.status} {json.loads(reply.body)['reason']}"


async def over_grpc(listener: Listener, network: str, tls: grpc.ChannelCredentials | None) -> tuple[str, Peer | None]:
    watched = Watched()
    settings = GrpcSettings(trusted=TrustedPeers.parse((network,)))
    address: dict[str, Any] = {"path": listener.path} if isinstance(listener, UnixListener) else {"tls": listener.tls}
    async with serving(scripted_service(watched), settings, **address) as host:
        target = f"unix:{listener.path}" if isinstance(listener, UnixListener) else f"localhost:{host.port}"
        return await _called(target, tls, watched)


async def over_h2corn_grpc(
    listener: Listener, network: str, tls: grpc.ChannelCredentials | None
) -> tuple[str, Peer | None]:
    watched = Watched()
    checks = Checks(scripted_service(watched), CheckSettings())
    host = AsgiHost(checks=checks, listeners=[listener], trusted=TrustedPeers.parse((network,)))
    await host.start()
    try:
        return await _called(host.addresses[0].replace("127.0.0.1", "localhost"), tls, watched)
    finally:
        await host.stop(1)


async def _called(target: str, tls: grpc.ChannelCredentials | None, watched: Watched) -> tuple[str, Peer | None]:
    async with channel(target, tls) as opened:
        try:
            reading = read_as_envoy(await ask(opened, check_request(), timeout=10))
        except grpc.aio.AioRpcError as error:
            assert error.code() is grpc.StatusCode.UNAVAILABLE
            return CLOSED, None
    answer = ALLOWED if reading.verdict == "allow" else f"{reading.status} {json.loads(reading.body)['reason']}"
    return answer, watched.peers[0] if watched.peers else None


@asynccontextmanager
async def channel(target: str, tls: grpc.ChannelCredentials | None) -> AsyncIterator[grpc.aio.Channel]:
    if tls is None:
        async with client(target) as plain:
            yield plain
    else:
        async with grpc.aio.secure_channel(target, tls) as secured:
            yield secured


def grpc_credentials(world: World, pair: Pair | None) -> grpc.ChannelCredentials:
    if pair is None:
        return grpc.ssl_channel_credentials(world.ca.pem)
    return grpc.ssl_channel_credentials(world.ca.pem, pair.key_pem, pair.pem)


Row = tuple[str, str, str, str, Peer | None]
Asked = Callable[[Listener, str, Any], Coroutine[Any, Any, tuple[str, Peer | None]]]


DOORS: dict[str, Asked] = {
    "http": over_http,
    "grpc": over_grpc,
    "http-h2corn": over_h2corn,
    "grpc-h2corn": over_h2corn_grpc,
}


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize("row", TABLE, ids=lambda row: " ".join(str(part) for part in row[:3]))
def test_the_door_answers_whom_it_should(world, certificates, pairs, door, row: Row):
    kind, network, shown, answer, peer = row
    listener: Listener = TcpListener(host="127.0.0.1", port=0, tls=certificates[kind])
    if kind == "unix":
        listener = UnixListener(path=str(world.folder / f"{door}.sock"))
    pair, tls = pairs[shown], None
    if kind in {"tls", "mtls"}:
        tls = world.context(pair) if door.startswith("http") else grpc_credentials(world, pair)
    assert asyncio.run(DOORS[door](listener, network, tls)) == (answer, peer)


def test_an_untrusted_peer_is_a_reason_of_the_interface():
    assert UNTRUSTED.endswith(Reason.UNTRUSTED_PEER)


def test_the_port_of_a_trusted_proxy_does_not_make_the_next_caller_one(world, certificates, pairs):
    """gRPC names a caller by address and port, and both can be had again by somebody else."""
    watched = Watched()

    async def talk() -> list[str]:
        found = []
        async with serving(scripted_service(watched), tls=certificates["mtls"]) as host:
            host._peer = lambda _: Peer(address="192.0.2.7")  # type: ignore[assignment] # all from one port
            for shown in ("listed name", "unlisted name", "listed URI"):
                async with channel(f"localhost:{host.port}", grpc_credentials(world, pairs[shown])) as opened:
                    found.append(read_as_envoy(await ask(opened, check_request())).verdict)
        return found

    assert asyncio.run(talk()) == ["allow", "deny", "allow"]
    assert [peer.certificate for peer in watched.peers] == [LISTED, "", URI]
