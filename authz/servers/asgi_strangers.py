"""Ends connections of strangers. A server that does its own accepting may let one wait as long as it drips bytes.

A stranger (not in `trusted_proxies`) gets an answer, which says so, and nothing else here: so no connection of one
needs to last. Where clients show certificates the handshake has its own time, and tells strangers apart.
"""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Sequence
from contextlib import suppress

from authz.servers.asgi_sockets import Bound, accepted
from authz.servers.listeners import Listener, TcpListener
from authz.servers.trust import TrustedPeers

_LOOKS = 2
"""How often within the time that a connection may last."""


class Strangers:
    """Those whose connections have lasted for `seconds` are cut off within half as long again."""

    def __init__(self, trusted: TrustedPeers, seconds: float) -> None:
        self._trusted = trusted
        self._seconds = seconds
        self._since: dict[tuple[str, str], float] = {}

    def concerns(self, listener: Listener) -> bool:
        """Whoever reaches a Unix socket is no stranger."""
        return isinstance(listener, TcpListener) and (listener.tls is None or listener.tls.files.client_ca is None)

    async def watch(self, bounds: Sequence[Bound]) -> None:
        """Looks now and then, until it is cancelled."""
        while True:
            await asyncio.sleep(self._seconds / _LOOKS)
            await asyncio.to_thread(self.look, bounds, time.monotonic())

    def look(self, bounds: Sequence[Bound], now: float) -> None:
        """Cuts off those whose time is up. Blocking: call it in a thread."""
        still: dict[tuple[str, str], float] = {}
        for bound in bounds:
            for one, peer in accepted(bound):
                with suppress(OSError):  # it has just ended by itself
                    if self._trusted.peer(one.getpeername()[0]).trusted:
                        continue
                    known = (bound.address, peer)
                    since = still[known] = self._since.get(known, now)
                    if now - since >= self._seconds:
                        one.shutdown(socket.SHUT_RDWR)
        self._since = still
