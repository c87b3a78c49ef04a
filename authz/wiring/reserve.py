"""The addresses of doors that several processes share, held by a process that serves at none of them.

A TCP port is held by a socket that is bound and never listens, so that nothing is sent to it. Each worker listens
there with SO_REUSEPORT, and the kernel spreads connections over those that listen. Held it is alone first: to be let
in by the kernel (same user, SO_REUSEPORT) is easy for a second start by mistake, which would answer some of the
requests. A Unix socket is bound here and handed on: a file can be bound once only.
"""

from __future__ import annotations

import errno
import socket
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from authz.servers.listeners import TcpListener, UnixListener, bind_unix, cannot_listen
from authz.servers.unix_socket import remove


@dataclass(frozen=True, slots=True, kw_only=True)
class Bound:
    """A Unix socket that is bound, and its file's identity: device and inode."""

    path: str
    socket: socket.socket
    identity: tuple[int, int]


class Reserved:
    """Addresses that are held. Made by `reserve`."""

    def __init__(self) -> None:
        self.ports: dict[tuple[str, int], int] = {}
        """Door and place → port."""
        self.bound: list[Bound] = []
        self._held: list[socket.socket] = []

    def hold(self, door: str, place: int, listener: TcpListener | UnixListener) -> None:
        """Takes an address.

        Raises:
            Misconfigured: it is in use, or cannot be had.
        """
        if isinstance(listener, UnixListener):
            bound, identity = bind_unix(listener)
            self.bound.append(Bound(path=listener.path, socket=bound, identity=identity or (0, 0)))
            return
        try:
            held = _held(listener.host, listener.port)
        except OSError as error:
            cannot_listen(listener, error)
        self._held += held
        self.ports[door, place] = held[0].getsockname()[1]

    def release(self) -> None:
        """Gives the addresses back, and removes the files of Unix sockets. Those who listen there are not disturbed."""
        for bound in self.bound:
            remove(Path(bound.path), bound.identity)
            bound.socket.close()
        for held in self._held:
            held.close()
        self.bound, self._held = [], []


def reserve(listeners: Iterable[tuple[str, int, TcpListener | UnixListener]]) -> Reserved:
    """Holds all addresses (door, place in its list, address), or none. Blocking: call it in a thread.

    Raises:
        Misconfigured: one of them cannot be had.
    """
    reserved = Reserved()
    try:
        for door, place, listener in listeners:
            reserved.hold(door, place, listener)
    except BaseException:
        reserved.release()
        raise
    return reserved


def _held(host: str, port: int) -> list[socket.socket]:
    """One socket for each address of the host, all with one port."""
    found: list[socket.socket] = []
    try:
        known = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        for family, kind, protocol, _, address in dict.fromkeys(known):
            here = (address[0], port, *address[2:])
            held = _bound(family, kind, protocol, here)
            if held is not None:
                found.append(held)
                port = held.getsockname()[1]
    except BaseException:
        for held in found:
            held.close()
        raise
    if not found:
        raise OSError(errno.EADDRNOTAVAIL, "no address")
    return found


def _bound(family: int, kind: int, protocol: int, address: tuple[Any, ...]) -> socket.socket | None:
    """None: this machine does not have this kind of address, as with `localhost` where there is no IPv6."""
    try:
        held = socket.socket(family, kind, protocol)
    except OSError:
        return None
    try:
        if family == socket.AF_INET6:
            held.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        # Connections of an earlier start that are not quite over do not count …
        held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        held.bind(address)
        # … and from here on only our workers may come.
        held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 0)
        held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    except OSError as error:
        held.close()
        if error.errno == errno.EADDRNOTAVAIL and family == socket.AF_INET6:
            return None
        raise
    return held
