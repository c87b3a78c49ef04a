"""The sample service behind Envoy: it answers what it was asked and who authz says is asking."""

from __future__ import annotations

import json
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from aiohttp import web

IDENTITY_HEADER = "x-auth-user"
"""Set by authz (`headers` in routes.yaml); what a client sends under this name never arrives."""
_GRACE = 0.5
"""Seconds that a request under way gets at the end."""


def service_application() -> web.Application:
    """A service that trusts its proxy: no token is read here."""
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", _answer)
    return app


async def _answer(request: web.Request) -> web.Response:
    seen = {
        "service": "documents",
        "method": request.method,
        "path": request.raw_path,
        IDENTITY_HEADER: request.headers.get(IDENTITY_HEADER),
    }
    return web.Response(text=json.dumps(seen, indent=2), content_type="application/json")


def loopback_socket() -> tuple[socket.socket, int]:
    """A bound socket of 127.0.0.1 and its port, which the system chose. Its caller closes it."""
    bound = socket.socket()
    bound.bind(("127.0.0.1", 0))
    return bound, bound.getsockname()[1]


@asynccontextmanager
async def serving(app: web.Application, bound: socket.socket) -> AsyncIterator[None]:
    """Serves an application on a bound socket while the context lasts."""
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=_GRACE)
    await runner.setup()
    try:
        await web.SockSite(runner, bound).start()
        yield
    finally:
        await runner.cleanup()
        bound.close()
