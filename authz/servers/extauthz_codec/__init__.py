"""Envoy's external authorization messages ↔ `Request` and `Outcome`. Plain functions over bytes; no I/O.

The only place that knows protobuf: `checks` reads, `replies` writes, `health` does both for gRPC's health service.
"""

from authz.servers.extauthz_codec.checks import asker_of, decode
from authz.servers.extauthz_codec.health import NOT_SERVING, SERVICE_UNKNOWN, SERVING, decode_health, encode_health
from authz.servers.extauthz_codec.replies import OnFailure, encode

__all__ = [
    "NOT_SERVING",
    "SERVICE_UNKNOWN",
    "SERVING",
    "OnFailure",
    "asker_of",
    "decode",
    "decode_health",
    "encode",
    "encode_health",
]
