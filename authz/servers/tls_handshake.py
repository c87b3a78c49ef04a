"""An accepted connection until its TLS stands: counted like any other, bounded in time, and silent about its bytes.

Not `create_server(ssl=…)`: that tells nobody of a connection before its handshake is done, so whoever connects and
sends nothing would count nowhere; and it shows one certificate for as long as it listens. Here each connection
takes the certificate of its own moment, so a renewal closes no socket and loses no connection.
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from typing import cast

from authz.servers.tls import Certificates

_LOG_EVERY = 1.0
"""Seconds between two lines about failed handshakes of one listener: strangers do not fill the log."""
_LOGGER = logging.getLogger("authz.tls")


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """What a handshake asks of its listener."""

    certificates: Certificates
    timeout: float
    """Seconds for the handshake."""
    linger: float
    """Seconds in which the peer may say that it has seen the end of the connection."""
    admit: Callable[[Handshake], bool]
    """Is there room for it? Then it counts as a connection."""
    secured: Callable[[Handshake], asyncio.Protocol]
    """Makes the protocol that takes over once TLS stands."""
    gone: Callable[[Handshake], None]
    """It has ended, either way; called once for each that was admitted."""
    failures: Failures


class Handshake(asyncio.Protocol):
    """One connection. It reads nothing itself: the loop makes a new transport of the same socket, with TLS."""

    def __init__(self, terms: Terms) -> None:
        self._terms = terms
        self._task: asyncio.Task[None] | None = None
        self._address = ""
        self.began = asyncio.get_running_loop().time()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Called by the loop, once, before it reads: TLS begins, or there is no room."""
        accepted = cast("asyncio.Transport", transport)
        name = accepted.get_extra_info("peername")
        self._address = name[0] if name else "nobody any more"
        try:
            if self._terms.admit(self):
                self._begin(accepted)
        finally:
            # Its own descriptor only. Not `start_tls` on it: uvloop reads on before that can begin, and the first
            # bytes would be lost.
            accepted.abort()

    def _begin(self, accepted: asyncio.Transport) -> None:
        try:
            # Not `dup`: uvloop's socket has none.
            connection = socket.socket(fileno=os.dup(accepted.get_extra_info("socket").fileno()))
        except OSError as error:  # no descriptor left
            _LOGGER.warning("a connection was dropped: %s", error.strerror)
            self._terms.gone(self)
            return
        self._task = asyncio.get_running_loop().create_task(self._shake(connection), name="authz-tls-handshake")
        self._task.add_done_callback(lambda _: self._terms.gone(self))

    def drop(self) -> None:
        """Ends it without a word."""
        if self._task is not None:
            self._task.cancel()

    async def _shake(self, connection: socket.socket) -> None:
        terms = self._terms
        try:
            connection.setblocking(False)
            await asyncio.get_running_loop().connect_accepted_socket(
                lambda: terms.secured(self),
                connection,
                ssl=terms.certificates.context(),
                ssl_handshake_timeout=terms.timeout,
                ssl_shutdown_timeout=terms.linger,
            )
        except Exception as error:  # noqa: BLE001 - whatever a stranger sent, the listener goes on
            terms.failures.note(self._address, error)


class Failures:
    """Tells of failed handshakes, seldom. Without it nobody would find out why a proxy's certificate is refused."""

    def __init__(self) -> None:
        self._next = 0.0
        self._untold = 0

    def note(self, address: str, error: Exception) -> None:
        """One has failed. Who merely left, or was too slow, is not told of: probes do that all day."""
        if not isinstance(error, ssl.SSLError) or isinstance(error, ssl.SSLEOFError | ssl.SSLZeroReturnError):
            return
        now = asyncio.get_running_loop().time()
        if now < self._next:
            self._untold += 1
            return
        why = _why(error)
        more = f", and {self._untold} more before" if self._untold else ""
        _LOGGER.info("TLS handshake with %s failed: %s%s", address, why, more)
        self._next, self._untold = now + _LOG_EVERY, 0


def _why(error: ssl.SSLError) -> str:
    """OpenSSL's constant words; nothing of what the peer sent."""
    reason = error.reason or "no reason given"
    return f"{reason} ({error.verify_message})" if isinstance(error, ssl.SSLCertVerificationError) else reason
