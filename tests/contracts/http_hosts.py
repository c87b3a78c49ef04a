"""Every HTTP host there is, and an application for it. A host is added by one entry in `HOSTS`."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import uvloop

from authz.core.errors import Reason, RequestRefused
from authz.core.model import Peer
from authz.servers.aiohttp_host import AiohttpHost
from authz.servers.asgi_host import AsgiHost
from authz.servers.http_app import Answer, BodyReader
from authz.servers.http_limits import HttpLimits
from authz.servers.listeners import Listener, TcpListener, UnixListener
from authz.servers.tls import Certificates
from authz.servers.trust import TrustedPeers
from tests.contracts.hypercorn_host import HypercornHost
from tests.servers.raw_http import Client, Reply, request
from tests.servers.tls_support import World

CANARY = "c4n4ry-credential"
TEAPOT = Answer(418, (("content-type", "text/plain"), ("x-one", "1"), ("x-one", "2")), b"short and stout")
MALFORMED = Answer(400, (("content-type", "text/plain"),), b"malformed")
TOO_LARGE = Answer(400, (("content-type", "text/plain"),), b"too large")


class App:
    """Answers 418 and remembers what it was asked. At /wait it waits until told, at /fail it fails, at /read/N it reads
    a body of at most N bytes, and answers by it: as it is, or by the reason why not.
    """

    def __init__(self) -> None:
        self.seen: list[tuple[str, str, tuple[tuple[str, str], ...], Peer]] = []
        self.go = asyncio.Event()
        self.waiting = 0
        self.cancelled = 0
        self.unread: list[Reason] = []
        """Why bodies could not be read."""

    async def answer(self, method, target, headers, peer, body):
        self.seen.append((method, target, tuple(headers), peer))
        if target == "/wait":
            self.waiting += 1
            try:
                await self.go.wait()
            except asyncio.CancelledError:
                self.cancelled += 1
                raise
            finally:
                self.waiting -= 1
        if target == "/fail":
            raise ValueError(CANARY)
        if target.startswith("/read/"):
            return await read(int(target.removeprefix("/read/")), body, self.unread)
        if target == "/split":
            return Answer(200, (("x-a", f"b\r\nx-c: {CANARY}"),))
        if target == "/empty":
            return Answer(200)
        if target == "/large":
            return Answer(200, (), b"x" * 100_000)
        return TEAPOT

    def malformed(self, *, too_large):
        return TOO_LARGE if too_large else MALFORMED

    @property
    def targets(self) -> list[str]:
        return [target for _, target, _, _ in self.seen]


async def read(limit: int, body: BodyReader, unread: list[Reason]) -> Answer:
    try:
        return Answer(200, (), await body(limit))
    except RequestRefused as error:
        unread.append(error.reason)
        return Answer(400, (), error.reason.encode())


@dataclass(frozen=True, slots=True, kw_only=True)
class Manners:
    """Where hosts differ, and may. The defaults are aiohttp's; what is not named here is the same for all."""

    words: bool = True
    """The application words the answer to what is no request. Else it is a bare 4xx, or the connection just ends."""
    any_target: bool = True
    """Every target arrives as sent. Else what is no URI is refused, an absolute one comes in origin form (where its
    authority is Host's) and an empty query is none: ASGI does not tell them apart."""
    http_1_0: bool = True
    """HTTP/1.0 is spoken. Else it is refused."""
    keeps_1_0: bool = True
    """`Connection: keep-alive` of HTTP/1.0 is honoured."""
    early: bool = False
    """`Expect: 100-continue` is answered at once, though nobody has asked for the body."""
    any_upgrade: bool = True
    """A broken offer of WebSockets is no matter. Else it is refused, and a whole one ends the connection."""
    h2c: bool = False
    """Switches to HTTP/2 where it is asked to in due form (RFC 7540, 3.2)."""
    header_clock: bool = True
    """A header that does not end ends the connection. Else only a stranger's; a proxy's may take the idle time."""
    turns_away: bool = True
    """A connection too many is closed at once. Else it waits for a place."""
    write_clock: bool = True
    """Who does not read the answers is cut off, on a Unix socket too."""
    notices: bool = True
    """A client that leaves cancels its check. Else the check takes its time, and nobody hears of it."""
    half_requests: bool = True
    """A drain waits for a request that has begun to arrive. Else its connection ends."""
    last_word: bool = False
    """What a drain cuts off is answered by 500."""
    lenient: frozenset[str] = frozenset()
    """What of `BROKEN` it reads as a request, or refuses in another way."""
    otherwise: Mapping[str, str] = field(default_factory=dict)
    """Tests that it does not keep, and why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """A way to carry an application: the host, its event loop, its transport."""

    make: Callable[..., Any]
    connections: Callable[[Any], Awaitable[int]]
    """How many are open."""
    arriving: Callable[[Any], Awaitable[bool]]
    """Has it read a part of a request's header?"""
    loop: Callable[[], asyncio.AbstractEventLoop]
    unix: bool
    tls: bool = False
    manners: Manners = Manners()


Loop = Callable[[], asyncio.AbstractEventLoop]


def aiohttp_kind(loop: Loop, *, unix: bool = False, tls: bool = False) -> Kind:
    async def connections(host: AiohttpHost) -> int:
        return host.connections

    async def arriving(host: AiohttpHost) -> bool:
        return any(connection.received for connection in host._open())

    return Kind(make=AiohttpHost, connections=connections, arriving=arriving, loop=loop, unix=unix, tls=tls)


def asgi_kind(
    make: type[AsgiHost | HypercornHost], loop: Loop, manners: Manners, *, unix: bool = False, tls: bool = False
) -> Kind:
    async def arriving(host: AsgiHost | HypercornHost) -> bool:
        return await host.connections() == 1

    return Kind(
        make=make, connections=make.connections, arriving=arriving, loop=loop, unix=unix, tls=tls, manners=manners
    )


H2CORN = Manners(
    words=False,
    any_target=False,
    http_1_0=False,
    early=True,
    any_upgrade=False,
    h2c=True,
    header_clock=False,
    turns_away=False,
    write_clock=False,
    notices=False,
    half_requests=False,
    last_word=True,
)
# fmt: off
HYPERCORN = Manners(
    words=False,
    any_target=False,
    early=True,
    any_upgrade=False,
    h2c=True,
    header_clock=False,
    turns_away=False,
    write_clock=False,
    notices=False,
    half_requests=False,
    keeps_1_0=False,
    lenient=frozenset(
        {
            "a control character in a value", "a bare line feed", "a folded value", "a length and chunks",
            "an unknown coding", "too long a field", "too long a name", "too long a target", "too many fields",
        }
    ),
    otherwise={
        "test_nothing_is_sent_before_the_answer": "sends 100 (Continue) where no body is announced, too",
        "test_no_protocol_is_switched": "asks less of an upgrade to HTTP/2, and frames an answer to WebSockets by chunks",
        "test_a_header_that_does_not_end_ends_the_connection": "has no clock for headers",
        "test_dripping_bytes_keep_no_connection_open": "has no clock for headers",
        "test_a_request_that_is_being_answered_outlasts_the_time_for_headers": "has no clock for headers",
        "test_an_idle_connection_ends": "counts its times in whole seconds",
        "test_connections_are_limited_and_their_places_given_back": "has no limit of connections",
        "test_a_drain_does_not_wait_for_who_does_not_read": "waits for it for a minute",
        "test_a_drain_ends_when_its_time_is_up": "answers what it cuts off, without framing",
    },
)
# fmt: on
asyncio_loop, uvloop_loop = asyncio.new_event_loop, uvloop.new_event_loop

HOSTS = {
    "aiohttp-tcp-asyncio": aiohttp_kind(asyncio_loop),
    "aiohttp-unix-asyncio": aiohttp_kind(asyncio_loop, unix=True),
    "aiohttp-tcp-uvloop": aiohttp_kind(uvloop_loop),
    "aiohttp-unix-uvloop": aiohttp_kind(uvloop_loop, unix=True),
    "aiohttp-tls-asyncio": aiohttp_kind(asyncio_loop, tls=True),
    "aiohttp-tls-uvloop": aiohttp_kind(uvloop_loop, tls=True),
    "h2corn-tcp-asyncio": asgi_kind(AsgiHost, asyncio_loop, H2CORN),
    "h2corn-unix-asyncio": asgi_kind(AsgiHost, asyncio_loop, H2CORN, unix=True),
    "h2corn-tcp-uvloop": asgi_kind(AsgiHost, uvloop_loop, H2CORN),
    "h2corn-unix-uvloop": asgi_kind(AsgiHost, uvloop_loop, H2CORN, unix=True),
    "h2corn-tls-uvloop": asgi_kind(AsgiHost, uvloop_loop, H2CORN, tls=True),
    "hypercorn-tcp-asyncio": asgi_kind(HypercornHost, asyncio_loop, HYPERCORN),
    "hypercorn-unix-asyncio": asgi_kind(HypercornHost, asyncio_loop, HYPERCORN, unix=True),
}


def kinds_for(test: str) -> list[str]:
    """The kinds of hosts that keep what a test asks."""
    return [name for name, kind in HOSTS.items() if test not in kind.manners.otherwise]


@dataclass(frozen=True, slots=True, kw_only=True)
class Running:
    """A host that serves, and its application."""

    host: Any
    app: App
    address: str
    kind: Kind
    tls: ssl.SSLContext | None = None

    async def connections(self) -> int:
        """How many are open."""
        return await self.kind.connections(self.host)

    @asynccontextmanager
    async def client(self) -> AsyncIterator[Client]:
        client = await Client.connect(self.address, self.tls)
        try:
            yield client
        finally:
            await client.close()

    async def ask(self, data: bytes, *, head: bool = False) -> Reply:
        """The answer to one request on a connection of its own."""
        async with self.client() as client:
            client.send(data)
            return await client.reply(head=head)

    async def well(self) -> None:
        """It still serves."""
        reply = await self.ask(request("/well"))
        assert reply.essence() == (418, TEAPOT.headers, TEAPOT.body)


Conversation = Callable[[Running], Awaitable[None]]


@dataclass(frozen=True, kw_only=True)
class Stage:
    """Runs conversations with one kind of host."""

    kind: Kind
    folder: Path

    @cached_property
    def tls(self) -> tuple[Certificates, ssl.SSLContext] | None:
        """The listener's certificate and a client's context, if it has TLS."""
        if not self.kind.tls:
            return None
        world = World(self.folder)
        return world.tls(), world.context()

    def listener(self) -> Listener:
        if self.kind.unix:
            return UnixListener(path=str(self.folder / "http.sock"))
        return TcpListener(host="127.0.0.1", port=0, tls=self.tls[0] if self.tls is not None else None)

    def run(self, conversation: Conversation, *, trusted=("127.0.0.0/8",), **limits) -> None:
        self.tls  # noqa: B018 - files are read before there is a loop
        with asyncio.Runner(loop_factory=self.kind.loop) as runner:
            runner.run(self._held(conversation, trusted, HttpLimits(**limits)))

    async def _held(self, conversation: Conversation, trusted, limits: HttpLimits) -> None:
        app = App()
        host = self.kind.make(app=app, listeners=[self.listener()], trusted=TrustedPeers.parse(trusted), limits=limits)
        await host.start()
        try:
            tls = self.tls[1] if self.tls is not None else None
            await conversation(Running(host=host, app=app, address=host.addresses[0], kind=self.kind, tls=tls))
        finally:
            await host.stop(0)
        assert await self.kind.connections(host) == 0
