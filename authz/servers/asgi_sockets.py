"""The sockets of a server that does its own accepting: bound here, and looked at from outside.

Such a server tells nobody of a connection before it carries a request. But its sockets are this process's
descriptors: they can be counted, and ended. Blocking calls: call them in a thread.
"""

from __future__ import annotations

import os
import socket
import stat
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from authz.servers.listeners import BACKLOG, Listener, TcpListener, UnixListener, bind_tcp, bind_unix, cannot_listen
from authz.servers.unix_socket import remove

_DESCRIPTORS = Path("/dev/fd")  # on Linux a link to /proc/self/fd
_ANY = frozenset({"0.0.0.0", "::"})  # noqa: S104 - compared with, not bound to


@dataclass(frozen=True, slots=True, kw_only=True)
class Bound:
    """Where one listener listens."""

    listener: Listener
    sockets: tuple[socket.socket, ...]
    address: str
    """`HOST:PORT` or `unix:PATH`, as bound."""
    names: tuple[tuple[int, object], ...]
    """Family and name of each socket: what is known of it when it is closed."""
    identity: tuple[int, int] | None = None
    """A Unix socket's own file; None: not ours to remove."""

    @property
    def shared(self) -> bool:
        """Do other processes listen by the same socket?"""
        return isinstance(self.listener, UnixListener) and self.listener.inherited is not None

    def unlink(self) -> None:
        """Nobody finds a Unix socket any more."""
        if isinstance(self.listener, UnixListener) and self.identity is not None:
            remove(Path(self.listener.path), self.identity)

    def close(self) -> None:
        """Listens no more, whoever holds copies. What is open stays open."""
        self.unlink()
        for one in self.sockets:
            with suppress(OSError):
                if not self.shared:
                    one.shutdown(socket.SHUT_RDWR)
            one.close()


def listen(listener: Listener, patience: float = 10.0) -> Bound:
    """Listens; connections wait until somebody accepts them.

    Args:
        listener: where.
        patience: seconds after which a TCP peer that does not take what is written is given up (where the system
            has TCP_USER_TIMEOUT).

    Raises:
        Misconfigured: the address cannot be had.
    """
    identity: tuple[int, int] | None = None
    sockets: tuple[socket.socket, ...]
    if isinstance(listener, UnixListener):
        one, identity = bind_unix(listener)
        sockets, address = (one,), str(listener)
    else:
        sockets = bind_tcp(listener)
        host, port = sockets[0].getsockname()[:2]
        address = str(TcpListener(host=host, port=port))
    for one in sockets:
        if one.family != socket.AF_UNIX:  # what is accepted inherits it
            one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # an answer is several small writes
            if hasattr(socket, "TCP_USER_TIMEOUT"):
                one.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, max(1, int(patience * 1000)))
        _begin(one, listener, sockets)
    names = tuple((one.family, one.getsockname()) for one in sockets)
    return Bound(listener=listener, sockets=sockets, address=address, names=names, identity=identity)


def _begin(one: socket.socket, listener: Listener, sockets: Sequence[socket.socket]) -> None:
    try:
        one.listen(BACKLOG)  # two may bind one port with SO_REUSEADDR, but only one listens
    except OSError as error:
        for each in sockets:
            each.close()
        cannot_listen(listener, error)


def accepted(bound: Bound) -> Iterator[tuple[socket.socket, str]]:
    """A duplicate of each open connection's socket, to be used before the next one, and the peer's address and port.

    By way of a duplicate a connection stays the same one while it is looked at, even if it is closed meanwhile and
    its number given to another. Nothing where the system does not list a process's descriptors.
    """
    with suppress(OSError):
        for entry in _DESCRIPTORS.iterdir():
            one = _socket(int(entry.name))
            if one is None:
                continue
            with one, suppress(OSError):
                if not one.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN) and _came_by(one, bound):
                    yield one, str(one.getpeername())


def _socket(descriptor: int) -> socket.socket | None:
    with suppress(OSError):
        if not stat.S_ISSOCK(os.fstat(descriptor).st_mode):
            return None
        copy = os.dup(descriptor)
        try:
            return socket.socket(fileno=copy)
        except OSError:
            os.close(copy)
    return None


def _came_by(one: socket.socket, bound: Bound) -> bool:
    own = one.getsockname()
    return any(one.family == family and _same(own, name) for family, name in bound.names)


def _same(own: object, listening: object) -> bool:
    if isinstance(own, tuple) and isinstance(listening, tuple):
        return own[1] == listening[1] and (own[0] == listening[0] or listening[0] in _ANY)
    return own == listening


def count(bounds: Sequence[Bound]) -> int:
    """How many connections are open."""
    return sum(1 for bound in bounds for _ in accepted(bound))


def cut(bounds: Sequence[Bound]) -> int:
    """Ends every connection; how many there were."""
    ended = 0
    for bound in bounds:
        for one, _ in accepted(bound):
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
                ended += 1
    return ended
