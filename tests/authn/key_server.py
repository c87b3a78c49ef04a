"""An issuer's web server on loopback: discovery and key set, answering as the test says."""

import json
import ssl
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from aiohttp import web
from aiohttp.test_utils import TestServer

DISCOVERY = "/.well-known/openid-configuration"
JWKS = "/keys"

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class KeyServer:
    """Serves `document` and `keys`; a handler set in `answers` takes a path over."""

    def __init__(self) -> None:
        self.asked: Counter[str] = Counter()
        self.keys: list[Mapping[str, Any]] = []
        self.document: dict[str, Any] = {}
        self.answers: dict[str, Handler] = {}
        self.seen: list[web.Request] = []
        app = web.Application()
        app.router.add_get("/{path:.*}", self._answer)
        self._server = TestServer(app)

    async def start(self, *, tls: ssl.SSLContext | None = None) -> None:
        await self._server.start_server(ssl=tls)
        self.document = {"issuer": self.issuer, "jwks_uri": self.issuer + JWKS}

    async def stop(self) -> None:
        await self._server.close()

    @property
    def issuer(self) -> str:
        return str(self._server.make_url("")).removesuffix("/")

    def on(self, host: str, path: str = JWKS) -> str:
        """The same server under another name."""
        return str(self._server.make_url(path).with_host(host))

    def answer(
        self, path: str, body: bytes | str, *, status: int = 200, headers: Mapping[str, str] | None = None
    ) -> None:
        async def handler(_: web.Request) -> web.Response:
            data = body.encode() if isinstance(body, str) else body
            return web.Response(body=data, status=status, headers=headers)

        self.answers[path] = handler

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        self.asked[request.path] += 1
        self.seen.append(request)
        if request.path in self.answers:
            return await self.answers[request.path](request)
        if request.path == DISCOVERY:
            return web.Response(text=json.dumps(self.document))
        if request.path == JWKS:
            return web.Response(text=json.dumps({"keys": self.keys}))
        return web.Response(status=404)
