"""Who is at the other end of an ASGI server's connection. The listener decides what counts, never a header."""

from __future__ import annotations

from datetime import UTC, datetime

from authz.core.model import Peer
from authz.servers.asgi_types import PeerOf, Scope
from authz.servers.listeners import Listener, UnixListener
from authz.servers.trust import TrustedPeers, certificate_peer

_KNOWN = 1024
_NOBODY = Peer()


def peer_of(listener: Listener, trusted: TrustedPeers) -> PeerOf:
    """Reads the peer of a request that came by this listener."""
    if isinstance(listener, UnixListener):
        peer = trusted.peer(None)
        return lambda _: peer
    if listener.tls is not None and listener.tls.files.client_ca is not None:
        return _Certified(listener.tls.files.clients)
    return _Addressed(trusted)


class _Addressed:
    """By the address of the connection."""

    def __init__(self, trusted: TrustedPeers) -> None:
        self._trusted = trusted
        self._known: dict[str, Peer] = {}

    def __call__(self, scope: Scope) -> Peer:
        client = scope.get("client")
        if client is None:
            return _NOBODY
        address = client[0]
        peer = self._known.get(address)
        if peer is None:
            if len(self._known) >= _KNOWN:
                self._known.clear()
            peer = self._known[address] = self._trusted.peer(address)
        return peer


class _Certified:
    """By the certificate that the handshake has verified. No certificate: nobody."""

    def __init__(self, clients: tuple[str, ...]) -> None:
        self._clients = clients

    def __call__(self, scope: Scope) -> Peer:
        client = scope.get("client")
        chain = scope.get("extensions", {}).get("tls", {}).get("client_cert_chain")
        if client is None or not chain:
            return _NOBODY
        return certificate_peer(client[0], chain[0].encode("ascii"), self._clients, now=datetime.now(UTC))
