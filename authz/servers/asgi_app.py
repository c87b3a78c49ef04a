"""The one ASGI application: an `HttpApp`, the gRPC services, or both beside each other."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

from authz.servers.asgi_grpc import GrpcDoor, is_grpc
from authz.servers.asgi_http import HttpDoor
from authz.servers.asgi_types import Asgi, Receive, Scope, Send

_LOGGER = logging.getLogger(__name__)


class AsgiApp:
    """ASGI 3. What a server does with an exception (log the request, say UNKNOWN) is never asked of it."""

    def __init__(self, *, http: HttpDoor | None = None, grpc: GrpcDoor | None = None) -> None:
        if http is None and grpc is None:
            raise ValueError("expected an HTTP door, a gRPC door, or both")
        self.http = http
        self.grpc = grpc
        self._only: Asgi | None = http if grpc is None else grpc if http is None else None
        self._tasks: set[asyncio.Task[Any] | None] = set()
        self._cutting = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serves one request, or the server's lifespan."""
        if scope["type"] == "lifespan":
            await _lifespan(receive, send)
            return
        task = asyncio.current_task()
        self._tasks.add(task)
        try:
            await (self._only or self._door(scope))(scope, receive, send)
        except asyncio.CancelledError:
            if not self._cutting:
                raise  # the server's doing: its client has gone
        except Exception as error:  # noqa: BLE001 - the caller has gone while it was answered, mostly
            _LOGGER.debug("an answer was not sent: %s", type(error).__name__)
        finally:
            self._tasks.discard(task)

    def drain(self) -> None:
        """From now on a connection ends with its next answer."""
        if self.http is not None:
            self.http.draining = True

    def cut(self) -> int:
        """Ends what is under way: it is answered by a failure. How many there were."""
        self._cutting = True
        for door in (self.http, self.grpc):
            if door is not None:
                door.cutting = True
        tasks = [task for task in self._tasks if task is not None]
        for task in tasks:
            task.cancel()
        return len(tasks)

    def _door(self, scope: Scope) -> Asgi:
        door = self.grpc if is_grpc(scope) else self.http
        assert door is not None  # noqa: S101 - else one of them is the only one
        return door


async def _lifespan(receive: Receive, send: Send) -> None:
    """Nothing is started by a server: whoever makes the application has started it."""
    while True:
        kind = (await receive())["type"]
        await send({"type": f"{kind}.complete"})
        if kind == "lifespan.shutdown":
            return
