"""Carries the gRPC door on `grpc.aio`: Envoy's `Authorization/Check` and the health service, on one listener."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from urllib.parse import unquote

import grpc
import grpc.aio

from authz.core.errors import Misconfigured, Problem
from authz.core.model import Peer
from authz.servers.grpc_check import AUTHORIZATION, Checks, CheckSettings
from authz.servers.grpc_health import HEALTH, Health, RpcRefused
from authz.servers.grpc_tls import credentials, handshake_options, shown_certificate
from authz.servers.tls import Certificates
from authz.servers.trust import TrustedPeers, certificate_peer
from authz.servers.unix_socket import grant, make_way, only_mine, remove
from authz.service import Service

# How far the transport's limit is above ours: what lies between is refused by a reply, not by an RPC error.
_HEADROOM = 4
_LOOK_EVERY = 0.05
_KNOWN_PEERS = 1024
_CODES = {code.value[0]: code for code in grpc.StatusCode}
_LOGGER = logging.getLogger(__name__)


Context = grpc.aio.ServicerContext[bytes, bytes]


@dataclass(frozen=True, slots=True, kw_only=True)
class GrpcSettings:
    """What one listener does beyond its address."""

    checks: CheckSettings = field(default_factory=CheckSettings)
    trusted: TrustedPeers = field(default_factory=TrustedPeers.parse)
    """Whose checks count."""
    max_connection_age: float | None = None
    """Seconds after which a connection is asked to end (give or take a tenth), so that proxies spread over new
    processes and replicas. None: never."""
    connection_grace: float = 10.0
    """Seconds that calls on such a connection may still take."""
    reuse_port: bool = False
    """SO_REUSEPORT: several processes share the TCP port."""


class GrpcHost:
    """One listener: TCP (`host`, `port`; `tls`) or, if `path` is given, a Unix socket with `mode` and `group`.

    Started in the event loop that it serves in. `port` is the bound one once started.
    """

    def __init__(
        self,
        service: Service,
        settings: GrpcSettings,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        path: str | None = None,
        mode: int = 0o660,
        group: str | None = None,
        tls: Certificates | None = None,
    ) -> None:
        self.port = port
        self._settings = settings
        self._host = host
        self._path = Path(path) if path is not None else None
        self._mode = mode
        self._group = group
        self._tls = tls
        self._clients = tls.files.clients if tls is not None and tls.files.client_ca is not None else None
        self._checks = Checks(service, settings.checks)
        self._health = Health(frozenset({AUTHORIZATION}))
        # One connection of a proxy carries all its checks, so its peer string hardly ever changes.
        self._peer = lru_cache(_KNOWN_PEERS)(lambda text: read_peer(text, settings.trusted))
        self._identity: tuple[int, int] | None = None
        self._server: grpc.aio.Server | None = None
        self._keeper: asyncio.Task[None] | None = None
        self._retired: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Listens and serves.

        Raises:
            Misconfigured: the address cannot be listened on; says why.
        """
        self._server = await self._listen()
        self._keeper = asyncio.create_task(self._keep(), name="authz-grpc-keeper")

    def set_serving(self, *, serving: bool) -> None:
        """What the health service says. Checks are answered either way."""
        self._health.set(serving=serving)

    async def stop(self, grace: float) -> None:
        """Says NOT_SERVING, takes no further call, waits `grace` seconds for those under way, then cancels them."""
        self._health.set(serving=False)
        self._health.close()
        keeper, self._keeper = self._keeper, None
        if keeper is not None:
            keeper.cancel()
            with suppress(asyncio.CancelledError):
                await keeper
        server, self._server = self._server, None
        if server is not None:
            await server.stop(grace)
        for task in self._retired:
            task.cancel()
        await asyncio.gather(*self._retired, return_exceptions=True)
        if self._path is not None and self._identity is not None:
            await asyncio.to_thread(remove, self._path, self._identity)

    async def _listen(self) -> grpc.aio.Server:
        options = _options(self._settings) + (handshake_options() if self._tls is not None else [])
        server = grpc.aio.server(options=options)
        server.add_generic_rpc_handlers(self._handlers())
        if self._path is None:
            # Made anew for each server: gRPC core takes dynamic ones once only.
            shown = credentials(self._tls) if self._tls is not None else None
            self.port = _bind(server, f"{_bracketed(self._host)}:{self.port}", shown)
        else:
            await asyncio.to_thread(make_way, self._path)
            with only_mine():
                _bind(server, f"unix:{self._path}")
            self._identity = await asyncio.to_thread(grant, self._path, self._mode, self._group)
        await server.start()
        return server

    def _handlers(self) -> tuple[grpc.GenericRpcHandler, ...]:
        """Carries the calls without generated service code."""
        check: grpc.RpcMethodHandler[bytes, bytes] = grpc.unary_unary_rpc_method_handler(self._check)
        health: grpc.RpcMethodHandler[bytes, bytes] = grpc.unary_unary_rpc_method_handler(self._health_check)
        watch: grpc.RpcMethodHandler[bytes, bytes] = grpc.unary_stream_rpc_method_handler(self._health_watch)
        return (
            grpc.method_handlers_generic_handler(AUTHORIZATION, {"Check": check}),
            grpc.method_handlers_generic_handler(HEALTH, {"Check": health, "Watch": watch}),
        )

    async def _check(self, data: bytes, context: Context) -> bytes:
        return await self._checks.check(data, self._caller(context), context.time_remaining())

    def _caller(self, context: Context) -> Peer:
        peer = self._peer(context.peer())
        if self._clients is None:
            return peer
        # Asked of each call, never remembered by the peer string: a port is used again, by somebody else.
        return certificate_peer(peer.address, shown_certificate(context), self._clients)

    async def _health_check(self, data: bytes, context: Context) -> bytes:
        try:
            return self._health.check(data)
        except RpcRefused as refused:
            _end(context, refused)
            return b""

    async def _health_watch(self, data: bytes, context: Context) -> AsyncIterator[bytes]:
        try:
            async for status in self._health.watch(data):
                yield status
        except RpcRefused as refused:
            _end(context, refused)

    async def _keep(self) -> None:
        """Listens anew when the server has ended by itself.

        grpc.aio ends for good on one call whose path is not UTF-8, from anybody who can connect: from then on
        every check would fail, and be allowed where the proxy has `failure_mode_allow`. It tells nobody, so look.
        """
        while True:
            await asyncio.sleep(_LOOK_EVERY)
            if self._server is None or _is_running(self._server):
                continue
            _LOGGER.error("the gRPC server ended by itself; listening anew")
            # Calls under way on the old one are still answered.
            task = asyncio.create_task(self._server.stop(self._settings.connection_grace), name="authz-grpc-stop")
            self._retired.add(task)
            task.add_done_callback(self._retired.discard)
            self._server = None
            while self._server is None:
                try:
                    self._server = await self._listen()
                except Exception as error:  # noqa: BLE001 - whatever it is, not to listen is worse
                    _LOGGER.error("%s: %s", type(error).__name__, error)  # noqa: TRY400 - nothing of a request in it
                    await asyncio.sleep(_LOOK_EVERY)


def read_peer(text: str, trusted: TrustedPeers) -> Peer:
    """Who called, from gRPC's peer string: `ipv4:127.0.0.1:51234`, `ipv6:%5B::1%5D:51234` or `unix:`."""
    family, _, rest = text.partition(":")
    if family == "unix":
        return trusted.peer(None)
    if family in {"ipv4", "ipv6"}:
        return trusted.peer(unquote(rest).rpartition(":")[0].strip("[]"))
    return Peer()


def _end(context: Context, refused: RpcRefused) -> None:
    context.set_code(_CODES[refused.code])
    context.set_details(refused.details)


def _is_running(server: grpc.aio.Server) -> bool:
    # Not `wait_for_termination`: it does not return in this case, and to cancel it makes `stop` fail.
    return bool(server._server.is_running())  # type: ignore[attr-defined]  # noqa: SLF001


def _options(settings: GrpcSettings) -> list[tuple[str, int]]:
    options = [
        ("grpc.max_receive_message_length", settings.checks.max_message_bytes * _HEADROOM),
        # gRPC's default is on: two processes on one port by mistake would each answer some of the checks.
        ("grpc.so_reuseport", int(settings.reuse_port)),
        # A proxy may ping as often as it is told to; gRPC's default ends its connection for that.
        ("grpc.http2.max_ping_strikes", 0),
    ]
    if settings.max_connection_age is not None:
        options += [
            ("grpc.max_connection_age_ms", max(1, int(settings.max_connection_age * 1000))),
            ("grpc.max_connection_age_grace_ms", int(settings.connection_grace * 1000)),
        ]
    return options


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def _bind(server: grpc.aio.Server, address: str, tls: grpc.ServerCredentials | None = None) -> int:
    try:
        return server.add_insecure_port(address) if tls is None else server.add_secure_port(address, tls)
    except RuntimeError:
        why = "it is in use, or not an address of this machine"
        raise Misconfigured((Problem(message=f"cannot listen on `{address}`: {why}"),)) from None
