"""The gRPC health service, `grpc.health.v1.Health`, for the server as a whole and for each service it carries.

Reference: the gRPC health checking protocol. Kubernetes' gRPC probe asks for the empty name, Envoy's
`grpc_health_check` for whatever its `service_name` says.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import grpc
import grpc.aio

from authz.core.errors import AuthzError
from authz.servers.extauthz_codec import NOT_SERVING, SERVICE_UNKNOWN, SERVING, decode_health, encode_health

HEALTH = "grpc.health.v1.Health"

Context = grpc.aio.ServicerContext[bytes, bytes]


class Health:
    """One status for all names that are known."""

    def __init__(self, services: frozenset[str]) -> None:
        self._services = services | {""}
        self._serving = True
        self._closed = False
        self._changed = asyncio.Event()

    def handler(self) -> grpc.GenericRpcHandler:
        """Carries `Check` and `Watch`, bytes in and bytes out."""
        return grpc.method_handlers_generic_handler(
            HEALTH,
            {
                "Check": grpc.unary_unary_rpc_method_handler(self.check),
                "Watch": grpc.unary_stream_rpc_method_handler(self.watch),
            },
        )

    def set(self, *, serving: bool) -> None:
        """Tells every watcher, if it is news."""
        if serving != self._serving:
            self._serving = serving
            self._wake()

    def close(self) -> None:
        """Ends every watch, for a stop waits for calls under way."""
        self._closed = True
        self._wake()

    def _wake(self) -> None:
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()

    def _status(self, service: str) -> int:
        if service not in self._services:
            return SERVICE_UNKNOWN
        return SERVING if self._serving else NOT_SERVING

    async def check(self, data: bytes, context: Context) -> bytes:
        """The status now. NOT_FOUND for an unknown service, INVALID_ARGUMENT for bytes that are no request."""
        try:
            status = self._status(decode_health(data))
        except AuthzError as error:
            context.set_code(grpc.StatusCode.INVALID_ARGUMENT)
            context.set_details(error.detail)
            return b""
        if status == SERVICE_UNKNOWN:
            context.set_code(grpc.StatusCode.NOT_FOUND)
            context.set_details("unknown service")
            return b""
        return encode_health(status)

    async def watch(self, data: bytes, context: Context) -> AsyncIterator[bytes]:
        """The status now and at every change; an unknown service is told as a status, as the protocol asks."""
        try:
            service = decode_health(data)
        except AuthzError as error:
            context.set_code(grpc.StatusCode.INVALID_ARGUMENT)
            context.set_details(error.detail)
            return
        told: int | None = None
        while True:
            changed = self._changed
            status = self._status(service)
            if status != told:
                yield encode_health(status)
                told = status  # and look again: it may have changed while this was written
            elif self._closed:
                return
            else:
                await changed.wait()
