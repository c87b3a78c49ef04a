"""Carries an `HttpApp` on any ASGI server: scope to request, answer to messages.

ASGI gives the path and the query apart, so `/a?` arrives as `/a`; and a server may give an absolute target in origin
form, where its authority was equal to Host. In everything else the target is the client's own bytes.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Final, NamedTuple

from authz.core.errors import Reason, RequestRefused
from authz.servers.asgi_types import Message, PeerOf, Receive, Scope, Send, gone
from authz.servers.http_app import INTERNAL, Answer, HttpApp

_REST: Final = 65_536
"""Bytes of a body nobody asked for that are thrown away, if they have come, so that a connection can be kept."""
_LOGGER = logging.getLogger(__name__)


class _Types(NamedTuple):
    start: str
    body: str


# A proxy may pass on a client's `Upgrade: websocket`. The check is answered as any other; no protocol is switched.
_TYPES = {
    "http": _Types("http.response.start", "http.response.body"),
    "websocket": _Types("websocket.http.response.start", "websocket.http.response.body"),
}


class HttpDoor:
    """One application for one listener."""

    def __init__(self, app: HttpApp, peer: PeerOf) -> None:
        self._app = app
        self._peer = peer
        self.draining = False
        """Connections end with their next answer."""
        self.cutting = False
        """What is under way is cancelled by ourselves, and answered all the same."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers one request. Raises what `send` raises."""
        types = _TYPES[scope["type"]]
        body = _body(scope, receive)
        try:
            answer, keep = await self._answer(scope, body)
            start = _start(types.start, answer, keep=keep)
        except asyncio.CancelledError:
            if not self.cutting:
                raise  # the client has gone
            answer, start = INTERNAL, _start(types.start, INTERNAL, keep=False)
        except Exception as error:  # noqa: BLE001 - a server would write the request's data to the log
            _LOGGER.error("unexpected %s in the HTTP host", type(error).__name__)  # noqa: TRY400 - for the same reason
            answer, start = INTERNAL, _start(types.start, INTERNAL, keep=False)
        if body is not None and body.broken:
            await gone()
            return
        await send(start)
        await send({"type": types.body, "body": answer.body})

    async def _answer(self, scope: Scope, body: _Body | None) -> tuple[Answer, bool]:
        """The answer, and whether the connection may be kept."""
        two = scope["http_version"] == "2"
        headers = [
            (name.decode("latin-1"), value.decode("utf-8", "surrogateescape")) for name, value in scope["headers"]
        ]
        method = scope.get("method", "GET")  # an offer of WebSockets has none
        if two and ("method" not in scope or not any(name == "host" for name, _ in headers)):
            return self._app.malformed(too_large=False), True  # for nowhere; or an extended CONNECT
        peer = self._peer(scope)
        answer = await self._app.answer(method, _target(scope), headers, peer, body or _nothing)
        if two:
            return answer, True
        # An untrusted peer gets its answer, but no place among the connections. And a body that was announced but
        # does not come (nginx's auth_request) would swallow the next request.
        keep = peer.trusted and (body is None or await body.is_over())
        return answer, keep and not self.draining


def _target(scope: Scope) -> str:
    path: bytes = scope["raw_path"]
    query: bytes = scope["query_string"]
    return (path + b"?" + query if query else path).decode("utf-8", "surrogateescape")


def _start(kind: str, answer: Answer, *, keep: bool) -> Message:
    headers = []
    for name, value in answer.headers:
        if not value.isprintable():
            raise ValueError("an answer's header has a control character")
        headers.append((name.encode("ascii"), value.encode("ascii")))
    headers.append((b"content-length", b"%d" % len(answer.body)))
    if not keep:
        headers.append((b"connection", b"close"))
    return {"type": kind, "status": answer.status, "headers": headers}


async def _nothing(limit: int) -> bytes:
    """The body of a request without one."""
    return b""


def _body(scope: Scope, receive: Receive) -> _Body | None:
    """A request's body; None: it announces none. In HTTP/2 it need not be announced."""
    if scope["type"] != "http":
        return None
    length: int | None = None
    announced = scope["http_version"] == "2"
    for name, value in scope["headers"]:
        if name == b"content-length":
            length = int(value)
            announced = announced or length > 0
        elif name == b"transfer-encoding":
            announced = True
    return _Body(receive, length) if announced else None


class _Body:
    """A body that comes by `receive`; a `BodyReader`."""

    __slots__ = ("_length", "_over", "_receive", "broken")

    def __init__(self, receive: Receive, length: int | None) -> None:
        self._receive = receive
        self._length = length
        self._over = False
        self.broken = False
        """It ended before its end: the client has gone, or was too slow."""

    async def __call__(self, limit: int) -> bytes:
        """The whole of it; see `BodyReader`. Stops at the limit, whatever the peer goes on to send."""
        if (self._length or 0) > limit:
            raise _too_large(limit)
        found = bytearray()
        while not self._over:
            found += await self._next()
            if len(found) > limit:
                raise _too_large(limit)
        return bytes(found)

    async def is_over(self) -> bool:
        """Has all of it come? What has come is thrown away, what has not is not awaited."""
        left = _REST
        try:
            async with asyncio.timeout(0):
                while not self._over and left > 0:
                    left -= len(await self._next())
        except (TimeoutError, RequestRefused):
            return False
        return self._over

    async def _next(self) -> bytes:
        message = await self._receive()
        if message["type"] != "http.request":
            self.broken = True
            raise RequestRefused(Reason.BAD_BODY, "the body ended before its end, or its framing is broken")
        self._over = not message.get("more_body", False)
        part: bytes = message.get("body", b"")
        return part


def _too_large(limit: int) -> RequestRefused:
    return RequestRefused(Reason.TOO_LARGE, f"expected a body of at most {limit} bytes")
