"""The same ASGI application on another server. Nobody is to run it: it shows that h2corn can be replaced."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any, cast

from hypercorn.asyncio import serve
from hypercorn.config import Config

from authz.servers.asgi_app import AsgiApp
from authz.servers.asgi_grpc import GrpcDoor
from authz.servers.asgi_http import HttpDoor
from authz.servers.asgi_peer import peer_of
from authz.servers.asgi_sockets import Bound, count, listen
from authz.servers.grpc_check import AUTHORIZATION, Checks
from authz.servers.grpc_health import Health
from authz.servers.http_app import HttpApp
from authz.servers.http_limits import HttpLimits
from authz.servers.listeners import Listener
from authz.servers.trust import TrustedPeers


class HypercornHost:
    def __init__(
        self,
        *,
        app: HttpApp | None = None,
        checks: Checks | None = None,
        listeners: Sequence[Listener],
        trusted: TrustedPeers,
        limits: HttpLimits | None = None,
    ) -> None:
        self._app = app
        self._checks = checks
        self._listeners = listeners
        self._trusted = trusted
        self._limits = limits if limits is not None else HttpLimits()
        self._health = Health(frozenset({AUTHORIZATION}))
        self._bounds: list[Bound] = []
        self._running: list[tuple[AsgiApp, Config, asyncio.Event, asyncio.Task[None]]] = []

    @property
    def addresses(self) -> tuple[str, ...]:
        return tuple(bound.address for bound in self._bounds)

    async def connections(self) -> int:
        return await asyncio.to_thread(count, self._bounds)

    def set_serving(self, *, serving: bool) -> None:
        self._health.set(serving=serving)

    async def start(self) -> None:
        try:
            for listener in self._listeners:
                self._bounds.append(await asyncio.to_thread(listen, listener, self._limits.header_timeout))
        except BaseException:
            await self.stop(0)
            raise
        for bound in self._bounds:
            peer = peer_of(bound.listener, self._trusted)
            app = AsgiApp(
                http=HttpDoor(self._app, peer) if self._app is not None else None,
                grpc=GrpcDoor(self._checks, self._health, peer) if self._checks is not None else None,
            )
            config, stop = self._config(bound), asyncio.Event()
            serving = asyncio.create_task(serve(cast(Any, app), config, shutdown_trigger=stop.wait))
            self._running.append((app, config, stop, serving))

    def _config(self, bound: Bound) -> Config:
        config = Config()
        config.bind = [f"fd://{one.detach()}" for one in bound.sockets]
        config.accesslog = config.errorlog = None
        config.include_server_header = False
        config.keep_alive_timeout = int(self._limits.idle_timeout)
        config.h11_max_incomplete_size = self._limits.field_bytes + 8192
        config.h2_max_header_list_size = self._limits.field_bytes * 4
        return config

    async def stop(self, grace: float) -> None:
        self._health.set(serving=False)
        self._health.close()
        running, self._running = self._running, []
        for app, config, stop, _ in running:
            app.drain()
            config.graceful_timeout = grace
            stop.set()
        await asyncio.to_thread(self._unlink)
        await asyncio.gather(*(serving for _, _, _, serving in running), return_exceptions=True)

    def _unlink(self) -> None:
        for bound in self._bounds:
            bound.unlink()
            for one in bound.sockets:
                one.close()  # those that were not handed over
