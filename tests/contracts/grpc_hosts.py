"""Every host of the gRPC door. A host is added by one entry in `HOSTS`."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import uvloop

from authz.servers.asgi_host import AsgiHost
from authz.servers.grpc_check import Checks, CheckSettings
from authz.servers.grpc_host import GrpcHost, GrpcSettings
from authz.servers.http_limits import HttpLimits
from authz.servers.listeners import Listener, TcpListener, UnixListener
from authz.servers.trust import TrustedPeers
from authz.service import Service
from tests.contracts.hypercorn_host import HypercornHost
from tests.servers.h2_support import H2Client

Loop = Callable[[], asyncio.AbstractEventLoop]


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """A way to carry the gRPC door, and where it differs and may."""

    make: type[AsgiHost | HypercornHost] | None
    """None: grpc.aio."""
    loop: Loop = asyncio.new_event_loop
    unix: bool = False
    frames: bool = True
    """What is not one message, or no call, is refused by us. Else by gRPC core: by a reset, an RPC error, a reply to
    the first of two messages; or it says nothing at all."""
    notices: bool = True
    """A caller that goes away cancels its check."""
    last_word: bool = True
    """What a drain cuts off is answered by a failure; else the call ends with an error."""


HOSTS = {
    "grpcio-tcp": Kind(make=None, frames=False, last_word=False),
    "grpcio-unix": Kind(make=None, unix=True, frames=False, last_word=False),
    "h2corn-tcp-asyncio": Kind(make=AsgiHost),
    "h2corn-unix-asyncio": Kind(make=AsgiHost, unix=True),
    "h2corn-tcp-uvloop": Kind(make=AsgiHost, loop=uvloop.new_event_loop),
    "h2corn-unix-uvloop": Kind(make=AsgiHost, loop=uvloop.new_event_loop, unix=True),
    "hypercorn-tcp": Kind(make=HypercornHost, notices=False, last_word=False),
    "hypercorn-unix": Kind(make=HypercornHost, unix=True, notices=False, last_word=False),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Running:
    """A host that serves."""

    host: Any
    address: str
    """`HOST:PORT` or `unix:PATH`."""
    kind: Kind

    @asynccontextmanager
    async def channel(self) -> AsyncIterator[grpc.aio.Channel]:
        """A real client's."""
        # Channels of one process share a connection unless they are told apart.
        options = [("grpc.use_local_subchannel_pool", 1)]
        async with grpc.aio.insecure_channel(self.address, options=options) as channel:
            yield channel

    @asynccontextmanager
    async def client(self) -> AsyncIterator[H2Client]:
        """One that sends what it is told to."""
        client = await H2Client.connect(self.address)
        try:
            yield client
        finally:
            await client.close()


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """Runs conversations with one kind of host."""

    kind: Kind
    folder: Path

    def run(self, conversation: Callable[[Running], Any], service: Service, **settings: Any) -> None:
        with asyncio.Runner(loop_factory=self.kind.loop) as runner:
            runner.run(self._held(conversation, service, **settings))

    async def _held(
        self,
        conversation: Callable[[Running], Any],
        service: Service,
        *,
        checks: CheckSettings | None = None,
        trusted: tuple[str, ...] = ("127.0.0.0/8",),
        **limits: Any,
    ) -> None:
        checks = checks or CheckSettings()
        path = str(self.folder / "grpc.sock")
        host: Any
        if self.kind.make is None:
            settings = GrpcSettings(checks=checks, trusted=TrustedPeers.parse(trusted))
            host = GrpcHost(service, settings, path=path if self.kind.unix else None)
            await host.start()
            address = f"unix:{path}" if self.kind.unix else f"127.0.0.1:{host.port}"
        else:
            listener: Listener = UnixListener(path=path) if self.kind.unix else TcpListener(host="127.0.0.1", port=0)
            host = self.kind.make(
                checks=Checks(service, checks),
                listeners=[listener],
                trusted=TrustedPeers.parse(trusted),
                limits=HttpLimits(**limits),
            )
            await host.start()
            address = host.addresses[0]
        try:
            await conversation(Running(host=host, address=address, kind=self.kind))
        finally:
            await host.stop(0)
