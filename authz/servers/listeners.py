"""Where an HTTP host listens: a TCP address, or a Unix socket bound so that nobody gets in too early."""

from __future__ import annotations

import os
import socket
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn, TypeAlias

from authz.core.errors import Misconfigured, Problem
from authz.servers.tls import Certificates
from authz.servers.unix_socket import grant, make_way

BACKLOG = 1024
"""Connections that may wait to be accepted; the kernel caps it (net.core.somaxconn)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TcpListener:
    """A TCP address. Port 0: any free one."""

    host: str
    port: int
    reuse_port: bool = False
    """Let several processes listen here and share the connections (SO_REUSEPORT)."""
    tls: Certificates | None = None
    """The certificate it shows, and whose it takes. None: no TLS."""

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True, kw_only=True)
class UnixListener:
    """A Unix socket. Who may connect is a matter of its permissions, and of its folder's."""

    path: str
    mode: int = 0o660
    group: str | None = None
    """Group of the socket, by name or number; None: the process's own."""
    inherited: int | None = None
    """Descriptor of a socket that is bound there already, shared with other processes. Who bound it removes it."""

    def __str__(self) -> str:
        return f"unix:{self.path}"


Listener: TypeAlias = TcpListener | UnixListener


def bind_unix(listener: UnixListener) -> tuple[socket.socket, tuple[int, int] | None]:
    """A bound socket that does not listen yet, and its file's identity. Blocking: call it in a thread.

    A socket that a dead process left behind is replaced. An inherited one comes without an identity: it is to be
    left where it is.

    Raises:
        Misconfigured: the path is in use, is no socket, or cannot be bound; or there is no such group.
    """
    if listener.inherited is not None:
        shared = socket.socket(fileno=os.dup(listener.inherited))
        shared.setblocking(False)
        return shared, None
    path = Path(listener.path)
    make_way(path)
    bound = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        bound.setblocking(False)
        bound.bind(listener.path)
        # Until it listens nobody can connect, so the permissions stand before the first one does.
        return bound, grant(path, listener.mode, listener.group)
    except OSError as error:
        bound.close()
        cannot_listen(listener, error)
    except Misconfigured:
        bound.close()
        path.unlink(missing_ok=True)
        raise


def bind_tcp(listener: TcpListener) -> tuple[socket.socket, ...]:
    """Bound sockets that do not listen yet, one for each address that the host's name stands for. Blocking.

    Raises:
        Misconfigured: an address cannot be had, or the name stands for none.
    """
    bound: list[socket.socket] = []
    try:
        found = socket.getaddrinfo(listener.host, listener.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        for family, kind, protocol, _, address in dict.fromkeys(found):
            one = socket.socket(family, kind, protocol)
            bound.append(one)
            one.setblocking(False)
            one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if listener.reuse_port:
                one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            if family == socket.AF_INET6:
                one.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            one.bind(address)
    except OSError as error:
        for one in bound:
            one.close()
        cannot_listen(listener, error)
    return tuple(bound)


def cannot_listen(listener: Listener, error: OSError) -> NoReturn:
    """Raises `Misconfigured` for an address that cannot be had."""
    if error.errno is None or isinstance(error, socket.gaierror):  # whose numbers are not the system's
        why = error.strerror or str(error)
    else:
        why = os.strerror(error.errno)
    raise Misconfigured((Problem(message=f"cannot listen on `{listener}`: {why.lower()}"),)) from error
