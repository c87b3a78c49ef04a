"""The messages of `grpc.health.v1`."""

from __future__ import annotations

from google.protobuf.message import DecodeError

from authz.core.errors import Reason, RequestRefused
from authz.servers.extauthz_pb2 import HealthCheckRequest, HealthCheckResponse

SERVING, NOT_SERVING, SERVICE_UNKNOWN = 1, 2, 3
"""grpc.health.v1, HealthCheckResponse.ServingStatus."""


def decode_health(data: bytes) -> str:
    """The service that a serialized `grpc.health.v1.HealthCheckRequest` asks about; empty: the whole server.

    Raises:
        RequestRefused: `bad_check` where the bytes are no such message.
    """
    try:
        return HealthCheckRequest.FromString(data).service
    except DecodeError:
        raise RequestRefused(Reason.BAD_CHECK, "the bytes are no `grpc.health.v1.HealthCheckRequest`") from None


def encode_health(status: int) -> bytes:
    """The serialized `grpc.health.v1.HealthCheckResponse` for one of the statuses above."""
    return HealthCheckResponse(status=status).SerializeToString()
