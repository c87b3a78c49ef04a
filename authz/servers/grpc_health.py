"""The gRPC health service, `grpc.health.v1.Health`, for the server as a whole and for each service it carries.

Bytes in, bytes out, whatever carries them. Reference: the gRPC health checking protocol. Kubernetes' gRPC probe asks
for the empty name, Envoy's `grpc_health_check` for whatever its `service_name` says.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from authz.core.errors import AuthzError
from authz.servers.extauthz_codec import NOT_SERVING, SERVICE_UNKNOWN, SERVING, decode_health, encode_health

HEALTH = "grpc.health.v1.Health"
INVALID_ARGUMENT, NOT_FOUND = 3, 5
"""google.rpc.Code."""


class RpcRefused(Exception):
    """A call that ends with a status instead of a message."""

    def __init__(self, code: int, details: str) -> None:
        super().__init__(details)
        self.code = code
        """google.rpc.Code; not 0."""
        self.details = details
        """For the caller; printable ASCII."""


class Health:
    """One status for all names that are known."""

    def __init__(self, services: frozenset[str]) -> None:
        self._services = services | {""}
        self._serving = True
        self._closed = False
        self._changed = asyncio.Event()

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

    def check(self, data: bytes) -> bytes:
        """The status now.

        Raises:
            RpcRefused: NOT_FOUND for an unknown service, INVALID_ARGUMENT for bytes that are no request.
        """
        status = self._status(_service(data))
        if status == SERVICE_UNKNOWN:
            raise RpcRefused(NOT_FOUND, "unknown service")
        return encode_health(status)

    async def watch(self, data: bytes) -> AsyncIterator[bytes]:
        """The status now and at every change; an unknown service is told as a status, as the protocol asks.

        Raises:
            RpcRefused: INVALID_ARGUMENT for bytes that are no request.
        """
        service = _service(data)
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


def _service(data: bytes) -> str:
    try:
        return decode_health(data)
    except AuthzError as error:
        raise RpcRefused(INVALID_ARGUMENT, error.detail) from None
