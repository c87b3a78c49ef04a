"""Every HTTP host there is, and an application for it. A host is added by one entry in `HOSTS`."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import uvloop

from authz.core.model import Peer
from authz.servers.aiohttp_connection import HttpLimits
from authz.servers.aiohttp_host import AiohttpHost
from authz.servers.http_app import Answer
from authz.servers.listeners import Listener, TcpListener, UnixListener
from authz.servers.trust import TrustedPeers
from tests.servers.raw_http import Client, Reply, request

CANARY = "c4n4ry-credential"
TEAPOT = Answer(418, (("content-type", "text/plain"), ("x-one", "1"), ("x-one", "2")), b"short and stout")
MALFORMED = Answer(400, (("content-type", "text/plain"),), b"malformed")
TOO_LARGE = Answer(400, (("content-type", "text/plain"),), b"too large")


class App:
    """Answers 418 and remembers what it was asked. At /wait it waits until told, at /fail it fails."""

    def __init__(self) -> None:
        self.seen: list[tuple[str, str, tuple[tuple[str, str], ...], Peer]] = []
        self.go = asyncio.Event()
        self.waiting = 0
        self.cancelled = 0

    async def answer(self, method, target, headers, peer):
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """A way to carry an application: the host, its event loop, its transport."""

    make: Callable[..., AiohttpHost]
    arriving: Callable[[AiohttpHost], bool]
    """Has it read a part of a request's header?"""
    loop: Callable[[], asyncio.AbstractEventLoop]
    unix: bool


def aiohttp_kind(loop: Callable[[], asyncio.AbstractEventLoop], *, unix: bool) -> Kind:
    return Kind(
        make=AiohttpHost,
        arriving=lambda host: any(connection.received for connection in host._open()),
        loop=loop,
        unix=unix,
    )


HOSTS = {
    "aiohttp-tcp-asyncio": aiohttp_kind(asyncio.new_event_loop, unix=False),
    "aiohttp-unix-asyncio": aiohttp_kind(asyncio.new_event_loop, unix=True),
    "aiohttp-tcp-uvloop": aiohttp_kind(uvloop.new_event_loop, unix=False),
    "aiohttp-unix-uvloop": aiohttp_kind(uvloop.new_event_loop, unix=True),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Running:
    """A host that serves, and its application."""

    host: AiohttpHost
    app: App
    address: str

    @asynccontextmanager
    async def client(self) -> AsyncIterator[Client]:
        client = await Client.connect(self.address)
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """Runs conversations with one kind of host."""

    kind: Kind
    folder: Path

    def listener(self) -> Listener:
        if self.kind.unix:
            return UnixListener(path=str(self.folder / "http.sock"))
        return TcpListener(host="127.0.0.1", port=0)

    def run(self, conversation: Conversation, *, trusted=("127.0.0.0/8",), **limits) -> None:
        with asyncio.Runner(loop_factory=self.kind.loop) as runner:
            runner.run(self._held(conversation, trusted, HttpLimits(**limits)))

    async def _held(self, conversation: Conversation, trusted, limits: HttpLimits) -> None:
        app = App()
        host = self.kind.make(app=app, listeners=[self.listener()], trusted=TrustedPeers.parse(trusted), limits=limits)
        await host.start()
        try:
            await conversation(Running(host=host, app=app, address=host.addresses[0]))
        finally:
            await host.stop(0)
        assert host.connections == 0
