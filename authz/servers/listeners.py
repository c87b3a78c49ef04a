"""Where an HTTP host listens: a TCP address, or a Unix socket bound so that nobody gets in too early."""

from __future__ import annotations

import os
import socket
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn, TypeAlias

from authz.core.errors import Misconfigured, Problem
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

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True, kw_only=True)
class UnixListener:
    """A Unix socket. Who may connect is a matter of its permissions, and of its folder's."""

    path: str
    mode: int = 0o660
    group: str | None = None
    """Group of the socket, by name or number; None: the process's own."""

    def __str__(self) -> str:
        return f"unix:{self.path}"


Listener: TypeAlias = TcpListener | UnixListener


def bind_unix(listener: UnixListener) -> tuple[socket.socket, tuple[int, int]]:
    """A bound socket that does not listen yet, and its file's identity. Blocking: call it in a thread.

    A socket that a dead process left behind is replaced.

    Raises:
        Misconfigured: the path is in use, is no socket, or cannot be bound; or there is no such group.
    """
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


def cannot_listen(listener: Listener, error: OSError) -> NoReturn:
    """Raises `Misconfigured` for an address that cannot be had."""
    why = os.strerror(error.errno).lower() if error.errno is not None else str(error)
    raise Misconfigured((Problem(message=f"cannot listen on `{listener}`: {why}"),)) from error
