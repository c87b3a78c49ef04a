"""Peers: other ext_authz servers, already running, that are measured on the same job. What the command line says."""

from __future__ import annotations

import argparse
import ipaddress
import re
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Literal, get_args

Door = Literal["http", "grpc"]
FORM = "NAME=grpc://HOST:PORT or NAME=http://HOST:PORT/PREFIX"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,31}")
# Taken apart by hand: what is accepted is one form, and a library that repairs others would hide a mistake.
_URL = re.compile(r"(?P<door>[a-z]+)://(?P<host>\[[0-9A-Fa-f:]+\]|[A-Za-z0-9.-]+):(?P<port>[0-9]{1,5})(?P<path>/.*)?")
_SEGMENT = re.compile(r"[A-Za-z0-9._~-]+")


@dataclass(frozen=True, slots=True, kw_only=True)
class Peer:
    """Where a peer is, and how it is asked."""

    name: str
    door: Door
    host: str
    """A loopback address, without brackets."""
    port: int
    prefix: str = ""
    """HTTP: what Envoy puts before the path; begins with a slash, ends without one."""
    pid: int | None = None
    """Its process; its children count too. None: processor time and memory are not measured."""

    @property
    def address(self) -> str:
        """As it was given, for people."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.door}://{host}:{self.port}{self.prefix}"


def parse_peer(text: str) -> Peer:
    """Reads `NAME=grpc://HOST:PORT` or `NAME=http://HOST:PORT/PREFIX`.

    Raises:
        argparse.ArgumentTypeError: it has another form, or the host is not this machine.
    """
    name, found, url = text.partition("=")
    match = _URL.fullmatch(url)
    if not found or match is None:
        raise argparse.ArgumentTypeError(f"`{text}`: expected {FORM}")
    if match["door"] not in get_args(Door):
        raise argparse.ArgumentTypeError(f"`{url}`: expected one of {', '.join(get_args(Door))} before `://`")
    door: Door = "grpc" if match["door"] == "grpc" else "http"
    port = int(match["port"])
    if not 1 <= port <= 65535:
        raise argparse.ArgumentTypeError(f"`{url}`: expected a port from 1 to 65535")
    return Peer(
        name=_name(name), door=door, host=_loopback(match["host"]), port=port, prefix=_prefix(door, match["path"])
    )


def _name(text: str) -> str:
    if _NAME.fullmatch(text) is None:
        raise argparse.ArgumentTypeError(f"`{text}`: a name has 1 to 32 letters, digits, `.`, `_` and `-`")
    return text


def _loopback(host: str) -> str:
    if host == "localhost":
        return "127.0.0.1"
    try:
        address = ipaddress.ip_address(host.strip("[]"))
    except ValueError:
        address = None
    if address is None or not address.is_loopback:
        raise argparse.ArgumentTypeError(
            f"`{host}` is not this machine: load is sent to loopback addresses only. Run the bench where the peer "
            "runs, for figures over a network are the network's"
        )
    return str(address)


def _prefix(door: str, path: str | None) -> str:
    if path is None or path == "/":
        return ""
    segments = path.removeprefix("/").split("/")
    if door == "grpc":
        raise argparse.ArgumentTypeError(f"`{path}`: a gRPC peer has no path; expected grpc://HOST:PORT")
    if any(_SEGMENT.fullmatch(one) is None or one in {".", ".."} for one in segments):
        raise argparse.ArgumentTypeError(f"`{path}`: expected a prefix such as `/check`, without a slash at its end")
    return path


def parse_pid(text: str) -> tuple[str, int]:
    """Reads `NAME=PID`.

    Raises:
        argparse.ArgumentTypeError: it has another form.
    """
    name, _, number = text.partition("=")
    if not number.isascii() or not number.isdigit() or int(number) < 1:
        raise argparse.ArgumentTypeError(f"`{text}`: expected NAME=PID")
    return name, int(number)


def with_pids(
    peers: Sequence[Peer], pids: Iterable[tuple[str, int]], *, taken: Collection[str], alive: Collection[int]
) -> list[Peer]:
    """The peers, each with its process where one is named.

    Args:
        peers: as they were given.
        pids: name and process id.
        taken: names that are not free.
        alive: the processes there are.

    Raises:
        ValueError: a name stands twice, is taken or unknown, or there is no such process.
    """
    known = dict(pids)
    names = [peer.name for peer in peers]
    for name in names:
        if names.count(name) > 1 or name in taken:
            raise ValueError(f"--peer: the name `{name}` is already used; give each peer its own")
    for name, pid in known.items():
        if name not in names:
            raise ValueError(f"--peer-pid: there is no --peer `{name}`")
        if pid not in alive:
            raise ValueError(f"--peer-pid: there is no process {pid} (given for `{name}`)")
    return [replace(peer, pid=known.get(peer.name)) for peer in peers]
