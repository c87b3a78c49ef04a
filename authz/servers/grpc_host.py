"""Carries the gRPC door on `grpc.aio`: Envoy's `Authorization/Check` and the health service, on one listener."""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import grpc
import grpc.aio

from authz.core.errors import Misconfigured, Problem
from authz.servers.grpc_check import AUTHORIZATION, Checks, CheckSettings
from authz.servers.grpc_health import Health
from authz.servers.unix_socket import grant, make_way, only_mine, remove
from authz.service import Service

# How far the transport's limit is above ours: what lies between is refused by a reply, not by an RPC error.
_HEADROOM = 4
_LOOK_EVERY = 0.05
_LOGGER = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class GrpcSettings:
    """What one listener does beyond its address."""

    checks: CheckSettings = field(default_factory=CheckSettings)
    max_connection_age: float | None = None
    """Seconds after which a connection is asked to end (give or take a tenth), so that proxies spread over new
    processes and replicas. None: never."""
    connection_grace: float = 10.0
    """Seconds that calls on such a connection may still take."""
    reuse_port: bool = False
    """SO_REUSEPORT: several processes share the TCP port."""


class GrpcHost:
    """One listener: TCP (`host`, `port`) or, if `path` is given, a Unix socket with `mode` and `group`.

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
    ) -> None:
        self.port = port
        self._settings = settings
        self._host = host
        self._path = Path(path) if path is not None else None
        self._mode = mode
        self._group = group
        self._checks = Checks(service, settings.checks)
        self._health = Health(frozenset({AUTHORIZATION}))
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
        server = grpc.aio.server(options=_options(self._settings))
        server.add_generic_rpc_handlers((self._checks.handler(), self._health.handler()))
        if self._path is None:
            self.port = _bind(server, f"{_bracketed(self._host)}:{self.port}")
        else:
            await asyncio.to_thread(make_way, self._path)
            with only_mine():
                _bind(server, f"unix:{self._path}")
            self._identity = await asyncio.to_thread(grant, self._path, self._mode, self._group)
        await server.start()
        return server

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


def _bind(server: grpc.aio.Server, address: str) -> int:
    try:
        return server.add_insecure_port(address)
    except RuntimeError:
        why = "it is in use, or not an address of this machine"
        raise Misconfigured((Problem(message=f"cannot listen on `{address}`: {why}"),)) from None
