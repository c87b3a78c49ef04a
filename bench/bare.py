"""The bare hosts: what an authorizer costs that decides nothing. `python -m bench.bare KIND PORT FILE`.

Each runs on the event loop that `authz serve` takes (uvloop where it is installed), reads nothing of a question
and answers every one with the same allow. KIND is one of

- `http`: an aiohttp handler as anybody would write it, an `Application` with one catch-all route that returns a
  `Response`;
- `grpc`: a generic `grpc.aio` handler from bytes to bytes, no message is decoded, the reply is a constant;
- `asgi-http`, `asgi-grpc`: an ASGI application on h2corn, in our own loop. One thread of h2corn's beside it, as authz
  has: with two (its default) each request costs more. The gRPC one receives the message (as grpc.aio does for its
  handler) and sends the same constant with its trailers;
- `engine`: `http` with one bare `cedarpy.is_authorized` a request, all handles ready: what the engine alone costs
  under the same load, where it shares cores and caches with a proxy. It times each call by the thread's own clock
  and writes the median to FILE.
"""

from __future__ import annotations

import asyncio
import itertools
import signal
import statistics
import sys
import time
from collections.abc import Awaitable, Callable, MutableMapping
from pathlib import Path
from typing import Any

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[Message, Receive, Send], Awaitable[None]]

HOST = "127.0.0.1"
# A `CheckResponse` with the status 0 and an empty `ok_response` (external_auth.proto, fields 1 and 3).
ALLOW = b"\x0a\x00\x1a\x00"
# The same as a gRPC message: not compressed, four bytes long.
FRAME = b"\x00" + len(ALLOW).to_bytes(4, "big") + ALLOW


def loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """As `authz serve` chooses it."""
    try:
        import uvloop
    except ImportError:
        return None
    return uvloop.new_event_loop


async def http(port: int, _: Path) -> None:
    await _serve_http(port, lambda: None)


async def engine(port: int, told: Path) -> None:
    from bench.in_process import bare_calls
    from bench.workload import workload

    calls = itertools.cycle(bare_calls(workload()))
    times: list[int] = []
    now = time.thread_time_ns

    def decide() -> None:
        call = next(calls)
        begun = now()
        call()
        times.append(now() - begun)

    await _serve_http(port, decide)
    _tell(told, statistics.median(times) / 1000)


def _tell(file: Path, microseconds: float) -> None:
    file.write_text(str(microseconds), encoding="utf-8")


async def _serve_http(port: int, work: Callable[[], None]) -> None:
    from aiohttp import web

    async def handler(request: web.Request) -> web.Response:
        work()
        return web.Response()

    app = web.Application()
    app.router.add_route("*", "/{tail:.*}", handler)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, HOST, port).start()
    await _stopped()
    await runner.cleanup()


async def grpc(port: int, _: Path) -> None:
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


async def asgi_http(port: int, _: Path) -> None:
    start = {"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"0")]}
    body = {"type": "http.response.body", "body": b""}

    async def application(scope: Message, receive: Receive, send: Send) -> None:
        await send(start)
        await send(body)

    await _serve_asgi(port, application)


async def asgi_grpc(port: int, _: Path) -> None:
    head = [(b"content-type", b"application/grpc")]
    start = {"type": "http.response.start", "status": 200, "headers": head, "trailers": True}
    body = {"type": "http.response.body", "body": FRAME}
    trailers = {"type": "http.response.trailers", "headers": [(b"grpc-status", b"0")]}

    async def application(scope: Message, receive: Receive, send: Send) -> None:
        while (await receive()).get("more_body"):
            pass
        await send(start)
        await send(body)
        await send(trailers)

    await _serve_asgi(port, application)


async def _serve_asgi(port: int, application: Application) -> None:
    from h2corn import Config, Server

    bind = (f"{HOST}:{port}",)
    config = Config(bind=bind, grpc=True, access_log=False, lifespan="off", runtime_threads=1)
    server = Server(application, config)
    serving = asyncio.create_task(server.serve())
    await server.wait_started()
    await _stopped()
    server.shutdown()
    await serving


async def _stopped() -> None:
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    await stop.wait()


KINDS = {"http": http, "engine": engine, "grpc": grpc, "asgi-http": asgi_http, "asgi-grpc": asgi_grpc}


def main(kind: str, port: int, told: Path) -> None:
    with asyncio.Runner(loop_factory=loop_factory()) as runner:
        runner.run(KINDS[kind](port, told))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), Path(sys.argv[3]))
