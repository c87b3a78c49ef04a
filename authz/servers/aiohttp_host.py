"""The default HTTP host, on aiohttp.

aiohttp's are: reading HTTP/1.1, pipelining, keep-alive. Not aiohttp's are its error page, log, routing, answers
of its own to OPTIONS and HEAD, and its response objects, which cost as much as a decision: an answer is one write.
The body of a request is read only if the application asks for it. A connection on which one is still to come is
closed after the answer.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from email.utils import formatdate
from functools import partial
from http import HTTPStatus
from typing import cast

from aiohttp import web
from aiohttp.client_exceptions import ClientPayloadError
from aiohttp.http_exceptions import HttpProcessingError, LineTooLong, PayloadEncodingError

from authz.core.errors import Reason, RequestRefused
from authz.servers.aiohttp_connection import Acceptor, Callbacks, Connection, Written
from authz.servers.http_app import INTERNAL, Answer, HttpApp
from authz.servers.http_limits import HttpLimits
from authz.servers.listeners import Listener
from authz.servers.trust import TrustedPeers

CANCEL_TIMEOUT = 1.0
"""Seconds that cancelled checks get to write their records."""
_SHORT = 0.01
"""Seconds; to aiohttp a timeout of 0 is none."""
_TURNS = 3
"""Turns of the event loop in which what was accepted, or read, just before a drain becomes visible."""
_STATUS_LINES = {status.value: f"HTTP/1.1 {status.value} {status.phrase}\r\n" for status in HTTPStatus}


class AiohttpHost:
    """Carries one application on any number of listeners. `start` and `stop` come as a pair."""

    def __init__(
        self,
        *,
        app: HttpApp,
        listeners: Sequence[Listener],
        trusted: TrustedPeers,
        limits: HttpLimits | None = None,
    ) -> None:
        self._app = app
        self._listeners = listeners
        self._trusted = trusted
        self._limits = limits if limits is not None else HttpLimits()
        self._acceptors: list[Acceptor] = []
        self._sweeper: asyncio.Task[None] | None = None
        self._draining = False
        self._empty = asyncio.Event()
        self._in_flight = 0
        self._date = ""

    @property
    def addresses(self) -> tuple[str, ...]:
        """Where it listens, `HOST:PORT` or `unix:PATH`, in the order of the listeners."""
        return tuple(acceptor.address for acceptor in self._acceptors)

    @property
    def connections(self) -> int:
        """How many are open, those in a TLS handshake too."""
        return sum(len(acceptor.open) + len(acceptor.handshakes) for acceptor in self._acceptors)

    @property
    def refused_connections(self) -> int:
        """How many were closed at once, for there were too many."""
        return sum(acceptor.refused for acceptor in self._acceptors)

    async def start(self) -> None:
        """Listens everywhere, or nowhere.

        Raises:
            Misconfigured: an address cannot be had.
        """
        self._date = formatdate(usegmt=True)
        callbacks = Callbacks(serve=self._serve, malformed=self._malformed, gone=self._changed)
        try:
            for listener in self._listeners:
                acceptor = Acceptor(listener, limits=self._limits, trusted=self._trusted, callbacks=callbacks)
                await acceptor.listen()
                self._acceptors.append(acceptor)
        except BaseException:
            await self.stop(0)
            raise
        self._sweeper = asyncio.create_task(self._sweep())

    async def stop(self, grace: float) -> None:
        """Drains: accepts no more, closes what is idle, answers what is in flight and then closes it.

        Args:
            grace: seconds for what is in flight; what is not answered by then is cut off.
        """
        self._draining = True
        for acceptor in self._acceptors:
            await acceptor.close()
        for _ in range(_TURNS):
            await asyncio.sleep(0)
        for connection in self._open():
            if connection.idle:
                connection.force_close()
        await self._emptied(grace)
        await self._cut_off()
        if self._sweeper is not None:
            self._sweeper.cancel()
            self._sweeper = None

    def _open(self) -> list[Connection]:
        return [connection for acceptor in self._acceptors for connection in acceptor.open]

    def _changed(self) -> None:
        if self._draining and self._in_flight == 0 and self.connections == 0:
            self._empty.set()

    async def _emptied(self, seconds: float) -> None:
        self._changed()
        try:
            async with asyncio.timeout(seconds):
                await self._empty.wait()
        except TimeoutError:
            pass

    async def _cut_off(self) -> None:
        left = self._open()
        if not left:
            return
        logging.getLogger(__name__).warning("the drain cuts off %d HTTP connections", len(left))
        await asyncio.gather(*(connection.shutdown(_SHORT) for connection in left))
        for connection in left:
            connection.drop()
        await self._emptied(CANCEL_TIMEOUT)

    async def _sweep(self) -> None:
        """Drops connections whose header takes too long. One timer for all, so that none is set for a request."""
        loop = asyncio.get_running_loop()
        limit = self._limits.header_timeout
        while True:
            await asyncio.sleep(min(1.0, limit / 4))
            self._date = formatdate(usegmt=True)
            now = loop.time()
            for connection in self._open():
                if connection.waiting_since is not None and now - connection.waiting_since > limit:
                    connection.drop()

    async def _serve(self, request: web.BaseRequest) -> web.StreamResponse:
        connection = cast("Connection", request.protocol)
        connection.began()
        self._in_flight += 1
        try:
            answer = await self._app.answer(
                request.method, request.raw_path, request.headers.items(), connection.peer, partial(_read, request)
            )
            # An untrusted peer gets its answer, but no place among the connections.
            keep = request.keep_alive and request.content.is_eof() and connection.peer.trusted
            return self._written(answer, request, keep=keep and not self._draining)
        except Exception as error:  # noqa: BLE001 - nothing raises out of a door
            return self._broken(error, request)
        finally:
            connection.busy = False
            self._in_flight -= 1
            if self._draining:
                self._changed()

    def _malformed(self, request: web.BaseRequest, why: BaseException | None) -> web.StreamResponse:
        try:
            answer = self._app.malformed(too_large=isinstance(why, LineTooLong))
            return self._written(answer, request, keep=False)
        except Exception as error:  # noqa: BLE001 - nothing raises out of a door
            return self._broken(error, request)

    def _broken(self, error: Exception, request: web.BaseRequest) -> web.StreamResponse:
        # The type alone: message and traceback may quote the request.
        logging.getLogger(__name__).error("unexpected %s in the HTTP host", type(error).__name__)
        return self._written(INTERNAL, request, keep=False)

    def _written(self, answer: Answer, request: web.BaseRequest, *, keep: bool) -> web.StreamResponse:
        lines = [_STATUS_LINES[answer.status]]
        for name, value in answer.headers:
            if not value.isprintable():
                raise ValueError("an answer's header has a control character")
            lines.append(f"{name}: {value}\r\n")
        lines.append(f"content-length: {len(answer.body)}\r\ndate: {self._date}\r\n")
        if not keep:
            lines.append("connection: close\r\n")
        elif request.version.minor == 0:
            lines.append("connection: keep-alive\r\n")
        lines.append("\r\n")
        data = "".join(lines).encode("ascii")
        if answer.body and request.method != "HEAD":
            data += answer.body
        return Written(data, cast("Connection", request.protocol), keep=keep)


async def _read(request: web.BaseRequest, limit: int) -> bytes:
    """The body, as `BodyReader` says. Stops at the limit, whatever the peer goes on to send."""
    if (request.content_length or 0) > limit:
        raise RequestRefused(Reason.TOO_LARGE, f"expected a body of at most {limit} bytes")
    found = bytearray()
    try:
        async for chunk in request.content.iter_any():
            found += chunk
            if len(found) > limit:
                raise RequestRefused(Reason.TOO_LARGE, f"expected a body of at most {limit} bytes")
    except (PayloadEncodingError, ClientPayloadError, HttpProcessingError):
        raise RequestRefused(Reason.BAD_BODY, "the body ended before its end, or its framing is broken") from None
    return bytes(found)
