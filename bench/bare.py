"""The bare hosts: what an authorizer costs that decides nothing. `python -m bench.bare http|grpc PORT`.

Each runs on the event loop that `authz serve` takes (uvloop where it is installed), reads nothing of a question
and answers every one with the same allow. `http` is an aiohttp handler as anybody would write it: an
`Application` with one catch-all route that returns a `Response`. `grpc` is a generic `grpc.aio` handler from bytes
to bytes: no message is decoded, the reply is a constant.
"""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import Callable

HOST = "127.0.0.1"
# A `CheckResponse` with the status 0 and an empty `ok_response` (external_auth.proto, fields 1 and 3).
ALLOW = b"\x0a\x00\x1a\x00"


def loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """As `authz serve` chooses it."""
    try:
        import uvloop
    except ImportError:
        return None
    return uvloop.new_event_loop


async def http(port: int) -> None:
    from aiohttp import web

    async def handler(request: web.Request) -> web.Response:
        return web.Response()

    app = web.Application()
    app.router.add_route("*", "/{tail:.*}", handler)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, HOST, port).start()
    await _stopped()
    await runner.cleanup()


async def grpc(port: int) -> None:
    import grpc as grpcio
    import grpc.aio

    async def handler(data: bytes, context: grpc.aio.ServicerContext[bytes, bytes]) -> bytes:
        return ALLOW

    check: grpcio.RpcMethodHandler[bytes, bytes] = grpcio.unary_unary_rpc_method_handler(handler)
    server = grpc.aio.server()
    server.add_generic_rpc_handlers(
        (grpcio.method_handlers_generic_handler("envoy.service.auth.v3.Authorization", {"Check": check}),)
    )
    server.add_insecure_port(f"{HOST}:{port}")
    await server.start()
    await _stopped()
    await server.stop(None)


async def _stopped() -> None:
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    await stop.wait()


def main(kind: str, port: int) -> None:
    with asyncio.Runner(loop_factory=loop_factory()) as runner:
        runner.run({"http": http, "grpc": grpc}[kind](port))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
