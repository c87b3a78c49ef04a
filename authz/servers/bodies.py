"""What a proxy says of the body that it passes on, or of the one that it does not.

That no body came is no proof that there is none. Envoy without `with_request_body`, and Traefik without `forwardBody`,
ask about a request with a body just as about one without; `transfer-encoding` never reaches authz, and a client can
have its `content-length` taken away by naming it in `Connection` (all measured, Envoy 1.40, Traefik 3.7).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from authz.core.body import declares_body
from authz.core.model import BodyState, Headers
from authz.servers.dialects import Dialect

PARTIAL_BODY = "x-envoy-auth-partial-body"
"""Envoy's own wherever it buffered a body; a client's never comes this far (measured, gRPC and HTTP)."""


def envoys_body(headers: Headers, body: bytes) -> BodyState:
    """Of Envoy's HTTP service. Its `content-length` is that of its question, so it tells nothing of the client."""
    said = headers.all(PARTIAL_BODY)
    if said == ("false",):
        return BodyState.WHOLE
    return BodyState.PARTIAL if said or body else BodyState.UNTOLD


def envoys_checked_body(headers: Headers, body: bytes, size: int) -> BodyState:
    """Of Envoy's gRPC check, which has the client's own headers, and the size of what was buffered (0, -1: not told).

    A `content-length` of 0 is the one proof that there is no body: with another one Envoy refuses the request itself.
    """
    state = envoys_body(headers, body)
    if state is BodyState.UNTOLD:
        if headers.all("content-length") == ("0",) and not declares_body(headers):
            return BodyState.WHOLE
        return BodyState.WITHHELD if declares_body(headers) else BodyState.UNTOLD
    length = headers.get("content-length")
    if size not in {0, -1, len(body)} or length not in {None, str(len(body))}:
        return BodyState.PARTIAL
    return state


def traefiks_body(headers: Headers, body: bytes) -> BodyState:
    """Of Traefik, which passes on whole bodies or asks nothing (401), framed as the client framed them."""
    return BodyState.WHOLE if body or headers.count("transfer-encoding") else BodyState.UNTOLD


BODIES: Mapping[Dialect, Callable[[Headers, bytes], BodyState]] = {
    Dialect.ENVOY: envoys_body,
    Dialect.TRAEFIK: traefiks_body,
}
"""How each proxy that can pass on bodies is read. The others never do."""
