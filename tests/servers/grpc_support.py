"""The gRPC door and a real grpc.aio client, in one event loop."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import grpc

from authz.servers.grpc_host import GrpcHost, GrpcSettings
from authz.service import Service
from tests.servers.extauthz_support import CHECK, Reading, Scripted, read_as_envoy

HEALTH = "/grpc.health.v1.Health/"


@asynccontextmanager
async def serving(service: Service, settings: GrpcSettings | None = None, **address: Any) -> AsyncIterator[GrpcHost]:
    host = GrpcHost(service, settings or GrpcSettings(), **address)
    await host.start()
    try:
        yield host
    finally:
        await host.stop(0.1)


@asynccontextmanager
async def client(host: GrpcHost | str) -> AsyncIterator[grpc.aio.Channel]:
    target = host if isinstance(host, str) else f"127.0.0.1:{host.port}"
    async with grpc.aio.insecure_channel(target) as channel:
        yield channel


def calling(
    channel: grpc.aio.Channel, data: bytes, method: str = CHECK, timeout: float | None = 30
) -> grpc.aio.UnaryUnaryCall[bytes, bytes]:
    call: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(method)
    return call(data, timeout=timeout)


async def ask(channel: grpc.aio.Channel, data: bytes, method: str = CHECK, timeout: float | None = 30) -> bytes:
    return await calling(channel, data, method, timeout)


def watching(channel: grpc.aio.Channel, data: bytes) -> grpc.aio.UnaryStreamCall[bytes, bytes]:
    call: grpc.aio.UnaryStreamMultiCallable[bytes, bytes] = channel.unary_stream(HEALTH + "Watch")
    return call(data)


async def asked(service: Service, data: bytes, settings: GrpcSettings | None = None) -> Reading:
    """Envoy's reading of the reply to one check."""
    async with serving(service, settings) as host, client(host) as channel:
        return read_as_envoy(await ask(channel, data))


async def reached(scripted: Scripted, number: int) -> bool:
    return len(scripted.requests) >= number


async def finished(calls: list[asyncio.Task[bytes]], number: int) -> bool:
    return sum(call.done() for call in calls) >= number
