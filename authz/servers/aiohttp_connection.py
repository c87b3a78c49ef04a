"""One connection of the aiohttp host, and the listener that accepts it.

aiohttp's protocol reads HTTP; overridden here is what would leak (its error page and its log both quote the line
that could not be read), and added what it lacks: who the peer is, a limit on connections, a time for headers.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

from aiohttp import web
from aiohttp.abc import AbstractStreamWriter

from authz.core.model import Peer
from authz.servers.http_limits import HttpLimits
from authz.servers.listeners import (
    BACKLOG,
    Listener,
    TcpListener,
    UnixListener,
    bind_unix,
    cannot_listen,
)
from authz.servers.tls import Certificates
from authz.servers.tls_handshake import Failures, Handshake, Terms
from authz.servers.trust import TrustedPeers, certificate_peer
from authz.servers.unix_socket import remove

_NOBODY = Peer()


@dataclass(frozen=True, slots=True, kw_only=True)
class Callbacks:
    """What a connection asks of its host."""

    serve: Callable[[web.BaseRequest], Any]
    """A coroutine function: the response to a request."""
    malformed: Callable[[web.BaseRequest, BaseException | None], web.StreamResponse]
    """The response to bytes that are no request, and why aiohttp could not read them."""
    gone: Callable[[], None]
    """A connection has ended."""


class Acceptor(web.Server):
    """One listener and its open connections."""

    def __init__(self, listener: Listener, *, limits: HttpLimits, trusted: TrustedPeers, callbacks: Callbacks) -> None:
        # A proxy that has gone away waits for no decision; the check is recorded as cancelled.
        super().__init__(callbacks.serve, handler_cancellation=True)
        self.open: set[Connection] = set()
        self.handshakes: set[Handshake] = set()
        """Connections without TLS so far, where it is to come first."""
        self.refused = 0
        self.address = str(listener)
        self.limits = limits
        self.callbacks = callbacks
        self._listener = listener
        self._trusted = trusted
        self._server: asyncio.Server | None = None
        self._identity: tuple[int, int] | None = None
        self._tls = listener.tls if isinstance(listener, TcpListener) else None
        self._terms = self._handshake_terms(self._tls) if self._tls is not None else None
        self._closed = False

    def __call__(self) -> asyncio.Protocol:  # type: ignore[override]
        """A new connection's protocol."""
        if self._terms is None:
            return Connection(self)
        return Handshake(self._terms)

    def _handshake_terms(self, certificates: Certificates) -> Terms:
        return Terms(
            certificates=certificates,
            timeout=self.limits.header_timeout,
            linger=self.limits.linger,
            admit=self._admit,
            secured=lambda handshake: Connection(self, handshake),
            gone=self._shaken,
            failures=Failures(),
        )

    def has_room(self) -> bool:
        """May one more connection stay? Counts those that may not."""
        if len(self.open) + len(self.handshakes) < self.limits.connections:
            return True
        self.refused += 1
        return False

    def _admit(self, handshake: Handshake) -> bool:
        if self._closed or not self.has_room():
            return False
        self.handshakes.add(handshake)
        return True

    def _shaken(self, handshake: Handshake) -> None:
        self.handshakes.discard(handshake)
        self.callbacks.gone()

    async def listen(self) -> None:
        """Accepts connections from now on.

        Raises:
            Misconfigured: the address cannot be had.
        """
        if isinstance(self._listener, UnixListener):
            await self._listen_unix(self._listener)
        else:
            await self._listen_tcp(self._listener)

    async def _listen_tcp(self, listener: TcpListener) -> None:
        loop = asyncio.get_running_loop()
        try:
            server = await loop.create_server(
                self, listener.host, listener.port, backlog=BACKLOG, reuse_port=listener.reuse_port
            )
        except OSError as error:
            cannot_listen(listener, error)
        self._server = server
        host, port = server.sockets[0].getsockname()[:2]
        self.address = str(TcpListener(host=host, port=port))

    async def _listen_unix(self, listener: UnixListener) -> None:
        bound, self._identity = await asyncio.to_thread(bind_unix, listener)
        loop = asyncio.get_running_loop()
        # Who bound it removes it: since 3.13 the loop would, though other processes may still listen there.
        keep: dict[str, Any] = {}
        if "cleanup_socket" in inspect.signature(loop.create_unix_server).parameters:
            keep["cleanup_socket"] = False
        self._server = await loop.create_unix_server(self, sock=bound, backlog=BACKLOG, **keep)

    async def close(self) -> None:
        """Accepts no more. What is open stays open."""
        if self._server is not None:
            self._server.close()
            self._server = None
        self._closed = True
        for handshake in tuple(self.handshakes):
            handshake.drop()  # nothing was asked yet
        if isinstance(self._listener, UnixListener) and self._identity is not None:
            await asyncio.to_thread(remove, Path(self._listener.path), self._identity)

    def peer(self, transport: asyncio.BaseTransport) -> Peer:
        """Who is at the other end."""
        if isinstance(self._listener, UnixListener):
            return self._trusted.peer(None)
        name = transport.get_extra_info("peername")
        address = name[0] if name else ""
        if self._tls is None or self._tls.files.client_ca is None:
            return self._trusted.peer(address)
        certificate = transport.get_extra_info("ssl_object").getpeercert(binary_form=True)
        return certificate_peer(address, certificate or b"", self._tls.files.clients, now=datetime.now(UTC))


class Connection(web.RequestHandler):
    """aiohttp's protocol for one connection, with our answers to what it cannot read."""

    __slots__ = ("acceptor", "busy", "handshake", "peer", "pipe", "received", "waiting_since")

    def __init__(self, acceptor: Acceptor, handshake: Handshake | None = None) -> None:
        limits = acceptor.limits
        super().__init__(
            acceptor,
            loop=asyncio.get_running_loop(),
            access_log=cast("logging.Logger", None),  # how aiohttp is told to keep none
            keepalive_timeout=limits.idle_timeout,
            max_line_size=limits.line_bytes,
            max_field_size=limits.field_bytes,
            max_headers=limits.fields,
            lingering_time=limits.linger,
            auto_decompress=False,
        )
        self.acceptor = acceptor
        self.handshake = handshake
        """What it was before TLS stood, and whose place it takes."""
        self.peer = _NOBODY
        self.pipe: asyncio.Transport | None = None
        """The transport until it is gone; aiohttp forgets its own as soon as it is told to close."""
        self.busy = False
        """A request is being answered."""
        self.received = False
        """Something has come that no request was made of yet."""
        self.waiting_since: float | None = None
        """Since when a header is awaited; None: none is."""

    @property
    def idle(self) -> bool:
        """Nothing is lost by closing it."""
        return not (self.busy or self.received or self.writing_paused)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Called by the loop. One connection too many ends here."""
        acceptor = self.acceptor
        self.pipe = cast("asyncio.Transport", transport)
        if self.handshake is not None:
            acceptor.handshakes.discard(self.handshake)
        elif not acceptor.has_room():
            self.drop()
            return
        acceptor.open.add(self)
        self.peer = acceptor.peer(transport)
        self.waiting_since = self._loop.time() if self.handshake is None else self.handshake.began
        super().connection_made(transport)

    def connection_lost(self, exc: BaseException | None) -> None:
        """Called by the loop, once."""
        super().connection_lost(exc)
        self.pipe = None
        self.acceptor.open.discard(self)
        self.acceptor.callbacks.gone()

    def data_received(self, data: bytes) -> None:
        """Called by the loop. Raises no `Exception`: the loop would log it, and the data with it."""
        if not self.received and not self.busy:
            self.received = True
            if self.waiting_since is None:
                self.waiting_since = self._loop.time()
        try:
            super().data_received(data)
        except Exception as error:  # noqa: BLE001 - as said
            self.log_exception(exc_info=error)
            self.drop()

    def began(self) -> None:
        """A request's header is complete, and its answer is being found."""
        self.busy = True
        self.received = False
        self.waiting_since = None

    def drop(self) -> None:
        """Ends the connection without a word. Closing it would wait for a peer that does not read."""
        if self.pipe is not None:
            self.pipe.abort()

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """Our answer where aiohttp could not read a request; `message` quotes it, so it goes nowhere."""
        self.received = False
        self.waiting_since = None
        return self.acceptor.callbacks.malformed(request, exc)

    def log_exception(self, *args: Any, **kw: Any) -> None:
        """The type of what went wrong on the wire; its text may hold credentials."""
        logging.getLogger(__name__).debug("HTTP connection: %s", type(kw.get("exc_info")).__name__)

    def log_debug(self, *args: Any, **kw: Any) -> None:
        """Nothing, for the same reason."""


class Written(web.StreamResponse):
    """A response that is bytes already. The base class's own state is never made: nothing here reads it."""

    def __init__(self, data: bytes, connection: Connection, *, keep: bool) -> None:
        self._data = data
        self._connection = connection
        self._keep = keep
        self._request: web.BaseRequest | None = None

    @property
    def keep_alive(self) -> bool:
        """May another request follow on this connection?"""
        return self._keep

    async def prepare(self, request: web.BaseRequest) -> AbstractStreamWriter | None:
        """Remembers what it answers; nothing is left to prepare."""
        self._request = request
        return None

    async def write_eof(self, data: bytes = b"") -> None:
        """Writes it all.

        Raises:
            ConnectionResetError: the peer is gone, or does not read.
        """
        connection = self._connection
        transport = connection.transport
        if transport is None or transport.is_closing():
            raise ConnectionResetError
        transport.write(self._data)
        if connection.writing_paused and self._request is not None:
            await self._flushed(self._request.writer)

    async def _flushed(self, writer: AbstractStreamWriter) -> None:
        # Who asks and asks without reading the answers would fill the memory.
        try:
            async with asyncio.timeout(self._connection.acceptor.limits.header_timeout):
                await writer.drain()
        except TimeoutError:
            self._connection.drop()
            raise ConnectionResetError from None
