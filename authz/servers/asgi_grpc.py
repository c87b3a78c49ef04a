"""Native gRPC on any ASGI server with trailers: `Authorization/Check` and the health service. No grpcio.

To Envoy an RPC that ends with an error is no denial (see `grpc_check`). So whatever arrives at `Check` is answered by
an ordinary reply, a cut message and two for one too; an RPC error is left for what is no gRPC call, for compression,
which nobody may use who was not offered it, and for calls that nobody serves.

Reference: "gRPC over HTTP2" of the gRPC project; ASGI's `http.response.trailers` extension.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from functools import lru_cache
from typing import Final, TypeAlias

from authz.servers.asgi_types import PeerOf, Receive, Scope, Send, gone
from authz.servers.grpc_check import CHECK, Checks
from authz.servers.grpc_health import HEALTH, Health, RpcRefused

UNIMPLEMENTED, INTERNAL = 12, 13
"""google.rpc.Code."""

_PREFIX: Final = 5
_HEALTH_BYTES: Final = 4096
_TYPE: Final = (b"content-type", b"application/grpc")
_NAMES: Final = frozenset({b"application/grpc", b"application/grpc+proto"})
# Shared by all answers: a server reads them, and does not write to them.
_START: Final = {"type": "http.response.start", "status": 200, "headers": [_TYPE], "trailers": True}
_END: Final = {"type": "http.response.trailers", "headers": [(b"grpc-status", b"0")]}
_UNITS = {b"H": 3600.0, b"M": 60.0, b"S": 1.0, b"m": 1e-3, b"u": 1e-6, b"n": 1e-9}
_MAX_DIGITS = 8
_LOGGER = logging.getLogger(__name__)


Fields: TypeAlias = Mapping[bytes, bytes]
"""Header fields of a call; of repeated ones the last, for none that counts here may be repeated."""
_Method: TypeAlias = Callable[[Scope, Fields, Receive, Send], Awaitable[None]]


class _Gone(Exception):
    """The caller has gone away; there is nobody to answer."""


class _Unframed(Exception):
    """The bytes are not one message."""

    def __init__(self, why: str) -> None:
        super().__init__(why)
        self.why = why


class GrpcDoor:
    """The gRPC services for one listener."""

    def __init__(self, checks: Checks, health: Health, peer: PeerOf) -> None:
        self._checks = checks
        self._health = health
        self._peer = peer
        self.cutting = False
        """What is under way is cancelled by ourselves, and answered all the same."""
        # The path as it was sent: an escaped one is another path.
        self._methods: dict[bytes, _Method] = {
            CHECK.encode(): self._check,
            f"/{HEALTH}/Check".encode(): self._health_check,
            f"/{HEALTH}/Watch".encode(): self._health_watch,
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers one call. Raises what `send` raises."""
        fields: Fields = dict(scope["headers"])
        status = _no_call(scope, fields)
        if status:
            await _status(send, status)
            return
        trailers = b"trailers" in fields.get(b"te", b"") and "http.response.trailers" in scope["extensions"]
        method = self._methods.get(scope["raw_path"])
        try:
            if not trailers:
                raise RpcRefused(INTERNAL, "expected the header `te: trailers`")
            if method is None or scope["query_string"]:
                raise RpcRefused(UNIMPLEMENTED, "unknown service or method")
            await method(scope, fields, receive, send)
        except RpcRefused as refused:
            await _refuse(send, refused, trailers=trailers)
        except _Gone:
            await gone()

    async def _check(self, scope: Scope, fields: Fields, receive: Receive, send: Send) -> None:
        try:
            reply = await self._reply(scope, fields, receive)
        except (RpcRefused, _Gone):
            raise
        except asyncio.CancelledError:
            if not self.cutting:
                raise  # the caller has gone
            reply = self._checks.unanswered()
        except Exception as error:  # noqa: BLE001 - a server would make an RPC error of it
            reply = self._checks.broken(error)
        await _answer(send, reply)

    async def _reply(self, scope: Scope, fields: Fields, receive: Receive) -> bytes:
        checks = self._checks
        try:
            data = await _message(receive, checks.max_message_bytes)
        except _Unframed as error:
            return checks.refuse(error.why)
        timeout = fields.get(b"grpc-timeout")
        return await checks.check(data, self._peer(scope), _seconds(timeout) if timeout is not None else None)

    async def _health_check(self, scope: Scope, fields: Fields, receive: Receive, send: Send) -> None:
        await _answer(send, self._health.check(await _health_request(receive)))

    async def _health_watch(self, scope: Scope, fields: Fields, receive: Receive, send: Send) -> None:
        data = await _health_request(receive)
        telling = asyncio.ensure_future(self._tell(data, send))
        leaving = asyncio.ensure_future(_left(receive))
        try:
            await asyncio.wait((telling, leaving), return_when=asyncio.FIRST_COMPLETED)
            if telling.done():
                await telling
        finally:
            telling.cancel()
            leaving.cancel()
            await asyncio.gather(telling, leaving, return_exceptions=True)

    async def _tell(self, data: bytes, send: Send) -> None:
        started = False
        async for status in self._health.watch(data):
            if not started:
                await send(_START)
                started = True
            await send({"type": "http.response.body", "body": _framed(status), "more_body": True})
        await send({"type": "http.response.body", "body": b""})
        await send(_END)


def is_grpc(scope: Scope) -> bool:
    """Does a request say that it is a gRPC call?"""
    return any(name == b"content-type" and _is_grpc(value) for name, value in scope["headers"])


def _no_call(scope: Scope, fields: Fields) -> int:
    """The HTTP status for what is no gRPC call; 0: it is one."""
    if scope["type"] != "http":
        return 400
    if scope["http_version"] != "2":
        return 505
    if not _is_grpc(fields.get(b"content-type", b"")):
        return 415
    return 0 if scope["method"] == "POST" else 405


def _is_grpc(value: bytes) -> bool:
    return value in _NAMES or value.partition(b";")[0].strip().lower() in _NAMES


async def _message(receive: Receive, limit: int) -> bytes:
    """The one message of a unary call. What is longer than the limit is cut there, and so still longer than it.

    Raises:
        _Unframed: it is cut, or not alone.
        RpcRefused: it is compressed.
        _Gone: the caller has.
    """
    data = await _body(receive, limit + _PREFIX)
    if len(data) < _PREFIX:
        raise _Unframed("expected one gRPC message, found " + ("a part of one" if data else "none"))
    flag, length = data[0], int.from_bytes(data[1:_PREFIX], "big")
    if flag == 1:
        raise RpcRefused(UNIMPLEMENTED, "expected a message without compression")
    if flag:
        raise _Unframed("expected one gRPC message, found other bytes")
    if length <= limit and length != len(data) - _PREFIX:
        raise _Unframed(
            "expected one gRPC message, found " + ("a part of one" if length > len(data) - _PREFIX else "more bytes")
        )
    if length > limit and len(data) <= limit + _PREFIX:
        raise _Unframed("expected one gRPC message, found a part of one")
    return data[_PREFIX:]


async def _body(receive: Receive, limit: int) -> bytes:
    """The whole body, or its beginning with at least a byte more than the limit."""
    first, more = await _part(receive)
    if not more:
        return first
    parts, size = [first], len(first)
    while more and size <= limit:
        part, more = await _part(receive)
        if part:
            parts.append(part)
            size += len(part)
    return b"".join(parts) if len(parts) > 1 else first


async def _part(receive: Receive) -> tuple[bytes, bool]:
    message = await receive()
    if message["type"] != "http.request":
        raise _Gone
    return message.get("body", b""), message.get("more_body", False)


async def _health_request(receive: Receive) -> bytes:
    try:
        return await _message(receive, _HEALTH_BYTES)
    except _Unframed as error:
        raise RpcRefused(INTERNAL, error.why) from None


async def _left(receive: Receive) -> None:
    while (await receive())["type"] == "http.request":
        pass


@lru_cache(maxsize=256)  # one proxy's calls all say the same
def _seconds(value: bytes) -> float | None:
    """`grpc-timeout`: up to eight digits and a unit. None: it is none, and our own limit counts alone."""
    digits, unit = value[:-1], _UNITS.get(value[-1:])
    if unit is None or not digits.isdigit() or len(digits) > _MAX_DIGITS:
        return None
    return int(digits) * unit


def _framed(message: bytes) -> bytes:
    return b"\x00" + len(message).to_bytes(4, "big") + message


async def _answer(send: Send, message: bytes) -> None:
    await send(_START)
    await send({"type": "http.response.body", "body": _framed(message)})
    await send(_END)


async def _refuse(send: Send, refused: RpcRefused, *, trailers: bool) -> None:
    """A status and no message. `details` are our own words: printable, no percent sign."""
    status = [(b"grpc-status", b"%d" % refused.code), (b"grpc-message", refused.details.encode("ascii"))]
    if trailers:
        await send(_START)
        await send({"type": "http.response.body", "body": b""})
        await send({"type": "http.response.trailers", "headers": status})
    else:  # "Trailers-Only", if the server ends the stream with the header
        await send({"type": "http.response.start", "status": 200, "headers": [_TYPE, *status]})
        await send({"type": "http.response.body", "body": b""})


async def _status(send: Send, status: int) -> None:
    await send({"type": "http.response.start", "status": status, "headers": [(b"content-length", b"0")]})
    await send({"type": "http.response.body", "body": b""})
