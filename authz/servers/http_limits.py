"""What bounds the connections of an HTTP host, whichever carries them."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpLimits:
    """What bounds one listener's connections. All times in seconds."""

    connections: int = 1024
    """Open at once; more are closed as soon as they are accepted, or (h2corn) not accepted until one ends."""
    line_bytes: int = 16_384
    """Longest request target."""
    field_bytes: int = 16_384
    """Longest header field, name and value together: the tokens of 8 kB that gateways issue fit well."""
    fields: int = 128
    header_timeout: float = 10.0
    """From a connection's begin, TLS included, later from a request's first byte, until its header is complete.
    h2corn: from the begin to the first byte; a stranger's connection lasts no longer than half as long again, a trusted
    peer's header in HTTP/1.1 may take the `idle_timeout`. Also the time without a byte of a body."""
    idle_timeout: float = 3630.0
    """Between two requests. Longer than proxies keep theirs (Envoy: an hour), so that it is they who close."""
    linger: float = 1.0
    """aiohttp: how long what is left of a body is thrown away, so that the answer before it is not lost to a reset;
    and how long a TLS peer may take to see the end of a connection."""
