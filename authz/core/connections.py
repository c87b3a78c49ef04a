"""A connection as a request: what Envoy's network filter asks about. It has a port, a server name and two ends."""

from __future__ import annotations

from collections.abc import Mapping

from authz.core.errors import Reason, RequestRefused
from authz.core.model import Peer, Request
from authz.core.request import canonical_host, canonical_path, canonical_server_name

METHOD = "CONNECT"
"""Every connection's. An HTTP request with this method is none: routes are found by `Request.protocol` first."""
SCHEME = "tcp"
_PORTS = range(1, 65536)


def canonical_connection(
    *,
    id: str,
    address: str,
    port: int,
    server_name: str = "",
    peer: Peer,
    source_address: str | None = None,
    extensions: Mapping[str, str] | None = None,
) -> Request:
    """A connection, with the destination's port as its path.

    Args:
        id: the decision id.
        address: the destination's IP address, canonical; counts as the host where there is no server name.
        port: the destination's.
        server_name: of the client's TLS handshake (RFC 6066, section 3); the client chooses it.
        peer: who called the door.
        source_address: the client's IP address, canonical.
        extensions: what the proxy vouches for.

    Raises:
        RequestRefused: `bad_host` or `bad_check`.
    """
    if port not in _PORTS:
        raise RequestRefused(Reason.BAD_CHECK, "the check request cannot be read: the destination has no port")
    literal = f"[{address}]" if ":" in address else address
    return Request(
        id=id,
        method=METHOD,
        scheme=SCHEME,
        host=canonical_server_name(server_name) if server_name else canonical_host(literal),
        path=canonical_path(f"/{port}"),
        peer=peer,
        source_address=source_address,
        extensions=extensions if extensions is not None else {},
        protocol="tcp",
    )
