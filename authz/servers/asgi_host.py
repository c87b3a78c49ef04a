"""The fast host: HTTP/1.1, HTTP/2 and native gRPC on h2corn, in our own event loop, without grpcio.

h2corn's are: accepting, TLS, HTTP, framing, flow control, all of it outside Python. Ours are the sockets, who is
trusted, the answers, and the ends of connections that h2corn would let live.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import dataclass

from authz.servers.asgi_app import AsgiApp
from authz.servers.asgi_grpc import GrpcDoor
from authz.servers.asgi_h2corn import Serving
from authz.servers.asgi_http import HttpDoor
from authz.servers.asgi_peer import peer_of
from authz.servers.asgi_sockets import Bound, count, cut, listen
from authz.servers.asgi_strangers import Strangers
from authz.servers.grpc_check import AUTHORIZATION, Checks
from authz.servers.grpc_health import Health
from authz.servers.http_app import HttpApp
from authz.servers.http_limits import HttpLimits
from authz.servers.listeners import Listener
from authz.servers.trust import TrustedPeers

CANCEL_TIMEOUT = 1.0
"""Seconds that cancelled checks get to write their records."""
_HUSHED = 0.2
"""Seconds after which h2corn accepts no more, for sure. Were its sockets shut while it does, it would end there and
then, with all that is in flight. Who connects meanwhile waits in vain, and so no longer than this."""
_SHORT = 0.05
"""Seconds for answers to what is cancelled."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Place:
    """One listener that serves."""

    app: AsgiApp
    serving: Serving


class AsgiHost:
    """Carries an HTTP application, the gRPC door or both, on any number of listeners.

    `start` and `stop` come as a pair, in the event loop that it serves in.
    """

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
        self._places: list[_Place] = []
        self._strangers = Strangers(trusted, self._limits.header_timeout)
        self._sweeper: asyncio.Task[None] | None = None

    @property
    def addresses(self) -> tuple[str, ...]:
        """Where it listens, `HOST:PORT` or `unix:PATH`, in the order of the listeners."""
        return tuple(bound.address for bound in self._bounds)

    async def connections(self) -> int:
        """How many are open."""
        return await asyncio.to_thread(count, self._bounds)

    def set_serving(self, *, serving: bool) -> None:
        """What the health service says. Checks are answered either way."""
        self._health.set(serving=serving)

    async def start(self) -> None:
        """Listens everywhere, or nowhere.

        Raises:
            Misconfigured: an address cannot be had, or a certificate cannot be used.
        """
        try:
            for listener in self._listeners:
                self._bounds.append(await asyncio.to_thread(listen, listener, self._limits.header_timeout))
            for bound in self._bounds:
                app = self._application(bound.listener)
                place = _Place(app=app, serving=Serving(app, bound, self._limits))
                self._places.append(place)
                await place.serving.start()
        except BaseException:
            await self.stop(0)
            raise
        if watched := [bound for bound in self._bounds if self._strangers.concerns(bound.listener)]:
            self._sweeper = asyncio.create_task(self._strangers.watch(watched), name="authz-strangers")

    async def stop(self, grace: float) -> None:
        """Drains: accepts no more, closes what is idle, answers what is in flight and then closes it.

        Args:
            grace: seconds for what is in flight; what is not answered by then is cut off.
        """
        self._health.set(serving=False)
        self._health.close()
        places, self._places = self._places, []
        for place in places:
            place.app.drain()
            place.serving.drain()
        if self._sweeper is not None:
            self._sweeper.cancel()
            self._sweeper = None
        await asyncio.to_thread(_unlink, self._bounds)
        drained = asyncio.gather(*(place.serving.drained() for place in places))
        hushed = min(grace, _HUSHED)
        await asyncio.wait((drained,), timeout=hushed)
        await asyncio.to_thread(_close, self._bounds)
        await asyncio.wait((drained,), timeout=grace - hushed)
        await self._cut_off(places, drained)

    async def _cut_off(self, places: Sequence[_Place], drained: asyncio.Future[list[None]]) -> None:
        if drained.done():
            return
        calls = sum(place.app.cut() for place in places)
        await asyncio.wait((drained,), timeout=_SHORT)
        left = 0 if drained.done() else await asyncio.to_thread(cut, self._bounds)
        if calls or left:
            logging.getLogger(__name__).warning("the drain cuts off %d calls, and %d connections", calls, left)
        await asyncio.wait((drained,), timeout=CANCEL_TIMEOUT)

    def _application(self, listener: Listener) -> AsgiApp:
        peer = peer_of(listener, self._trusted)
        return AsgiApp(
            http=HttpDoor(self._app, peer) if self._app is not None else None,
            grpc=GrpcDoor(self._checks, self._health, peer) if self._checks is not None else None,
        )


def _unlink(bounds: Sequence[Bound]) -> None:
    for bound in bounds:
        bound.unlink()


def _close(bounds: Sequence[Bound]) -> None:
    for bound in bounds:
        bound.close()
