"""What stands beside a proxy in these tests: a service that says what it received, and an authorization
server that answers whatever a test tells it, byte by byte.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

import grpc
import grpc.aio
from aiohttp import WSMsgType, web

from tests.proxies.client import Headers, values
from tests.proxies.harness import free_port


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """A request as it arrived."""

    method: str
    target: str
    headers: Headers
    body: bytes = b""

    def values(self, name: str) -> list[str]:
        return values(self.headers, name)

    @property
    def names(self) -> set[str]:
        return {name.lower() for name, _ in self.headers}


class Upstream:
    """The service behind the proxy. Answers what it received as JSON, echoes WebSockets, remembers requests."""

    def __init__(self) -> None:
        self.port = free_port()
        self.seen: list[Seen] = []
        self.reached = asyncio.Event()
        app = web.Application(client_max_size=16 * 1024 * 1024)
        app.router.add_route("*", "/{tail:.*}", self._handle)
        # Room for a token of 8 kB, which is more than aiohttp takes by itself.
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=1, max_field_size=65_536)

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        headers = tuple((name.decode("latin-1"), value.decode("latin-1")) for name, value in request.raw_headers)
        seen = Seen(method=request.method, target=request.raw_path, headers=headers, body=await request.read())
        self.seen.append(seen)
        self.reached.set()
        if request.headers.get("Upgrade", "").lower() == "websocket":
            return await self._echo(request)
        document = {
            "method": seen.method,
            "target": seen.target,
            "headers": [list(header) for header in headers],
            "body": seen.body.decode("latin-1"),
        }
        return web.Response(
            body=json.dumps(document).encode(), content_type="application/json", headers={"X-Upstream": "reached"}
        )

    @staticmethod
    async def _echo(request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        async for message in socket:
            if message.type is WSMsgType.TEXT:
                await socket.send_str(f"echo {message.data}")
        return socket

    async def __aenter__(self) -> Self:
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", self.port).start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._runner.cleanup()


Answer = bytes | None
"""Bytes to send; None closes the connection without an answer."""


def http_answer(status: int, headers: Headers = (), body: bytes = b"") -> bytes:
    """An HTTP/1.1 response; nothing checks that it makes sense."""
    lines = [f"HTTP/1.1 {status} Status", *(f"{name}: {value}" for name, value in headers)]
    return "\r\n".join((*lines, f"Content-Length: {len(body)}", "", "")).encode("latin-1") + body


@dataclass(slots=True, kw_only=True)
class RawAuth:
    """An HTTP authorization server that a test tells what to answer. On TCP, or at `path` as a Unix socket."""

    path: Path | None = None
    port: int = field(default_factory=free_port)
    answer: Answer = field(default_factory=lambda: http_answer(200))
    silent: bool = False
    """Takes the request and says nothing."""
    seen: list[Seen] = field(default_factory=list)
    _server: asyncio.Server | None = None
    _writers: set[asyncio.StreamWriter] = field(default_factory=set)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        try:
            while request := await _read_request(reader):
                self.seen.append(request)
                if self.silent:
                    await reader.read()  # until the proxy gives up
                    break
                if self.answer is None:
                    break
                writer.write(self.answer)
                await writer.drain()
        except ConnectionError:
            pass  # the proxy has gone
        finally:
            self._writers.discard(writer)
            writer.close()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    async def start(self) -> None:
        if self.path is None:
            self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)
        else:
            self._server = await asyncio.start_unix_server(self._serve, self.path)
            self.path.chmod(0o666)

    async def stop(self) -> None:
        """Refuses connections from now on, and ends those that are open."""
        assert self._server is not None
        self._server.close()
        for writer in tuple(self._writers):
            writer.close()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()
        await self._server.wait_closed()


async def _read_request(reader: asyncio.StreamReader) -> Seen | None:
    try:
        head = await reader.readuntil(b"\r\n\r\n")
    except asyncio.IncompleteReadError:
        return None
    request_line, *lines = head.decode("latin-1").rstrip("\r\n").split("\r\n")
    headers = tuple((name, value.strip()) for name, _, value in (line.partition(":") for line in lines))
    method, target, _ = request_line.split(" ")
    length = int((values(headers, "content-length") or ["0"])[0])
    return Seen(method=method, target=target, headers=headers, body=await reader.readexactly(length))


class RawGrpcAuth:
    """An ext_authz server over gRPC that answers the bytes it is told; a gRPC error if they are None."""

    def __init__(self, path: Path | None = None) -> None:
        self.port = free_port()
        self.path = path
        self.answer: bytes | None = b""
        self.silent = False
        self.seen: list[bytes] = []
        self._server: grpc.aio.Server | None = None

    async def _check(self, request: bytes, context: grpc.aio.ServicerContext[bytes, bytes]) -> bytes:
        self.seen.append(request)
        if self.silent:
            await asyncio.Event().wait()  # until the proxy gives up, which cancels this
        if self.answer is None:
            context.set_code(grpc.StatusCode.UNAVAILABLE)
        return self.answer or b""

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    async def start(self) -> None:
        server = grpc.aio.server()
        check: grpc.RpcMethodHandler[bytes, bytes] = grpc.unary_unary_rpc_method_handler(self._check)
        server.add_generic_rpc_handlers(
            (grpc.method_handlers_generic_handler("envoy.service.auth.v3.Authorization", {"Check": check}),)
        )
        server.add_insecure_port(f"127.0.0.1:{self.port}" if self.path is None else f"unix:{self.path}")
        await server.start()
        self._server = server

    async def stop(self) -> None:
        assert self._server is not None
        await self._server.stop(None)
        await self._server.wait_for_termination()


# --- CheckResponse, field by field: envoy/service/auth/v3/external_auth.proto ------------------------------


def field_bytes(number: int, value: bytes) -> bytes:
    """A length-delimited protobuf field."""
    return _varint(number << 3 | 2) + _varint(len(value)) + value


def field_int(number: int, value: int) -> bytes:
    """A varint protobuf field."""
    return _varint(number << 3) + _varint(value)


def _varint(value: int) -> bytes:
    out = b""
    while value > 0x7F:
        out, value = out + bytes([value & 0x7F | 0x80]), value >> 7
    return out + bytes([value])


def _options(number: int, headers: Headers) -> bytes:
    return b"".join(
        field_bytes(number, field_bytes(1, field_bytes(1, name.encode()) + field_bytes(2, value.encode())))
        for name, value in headers
    )


def check_ok(headers: Headers = (), remove: tuple[str, ...] = ()) -> bytes:
    """CheckResponse: status OK and an ok_response."""
    removed = b"".join(field_bytes(5, name.encode()) for name in remove)
    return field_bytes(1, field_int(1, 0)) + field_bytes(3, _options(2, headers) + removed)


def check_denied(status: int, headers: Headers = (), body: bytes = b"") -> bytes:
    """CheckResponse: PERMISSION_DENIED and a denied_response."""
    denied = field_bytes(1, field_int(1, status)) + _options(2, headers) + field_bytes(3, body)
    return field_bytes(1, field_int(1, 7)) + field_bytes(2, denied)


@contextlib.asynccontextmanager
async def stopped(auth: RawAuth | RawGrpcAuth) -> AsyncIterator[None]:
    """While this lasts nobody listens there."""
    await auth.stop()
    try:
        yield
    finally:
        await auth.start()
