"""What may be wrong with the `tls` of a listener: half a mutual TLS, names that cover nobody or too many."""

from __future__ import annotations

import re
from collections.abc import Iterator

from authz.config.listeners import Listener, TlsShape
from authz.config.shape import ConfigShape
from authz.config.yaml_text import Document, Place

_URI = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:[!-~]+")
_LABEL = r"[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?"
_SUFFIX = re.compile(rf"\*(?:\.{_LABEL})+")
MAX_NAME = 255
"""Characters; the longest DNS name has 253."""

_Found = Iterator[tuple[tuple[str | int, ...], str]]


def tls_problems(shape: ConfigShape, document: Document) -> Iterator[tuple[Place, str, str]]:
    """(place, message, severity) of every problem."""
    for kind in ("http", "grpc", "admin"):
        for index, listener in enumerate(getattr(shape.listeners, kind)):
            place: Place = ("listeners", kind, index)
            if place not in document.lines:  # written alone, not as a list of one
                place = ("listeners", kind)
            for key, message in _problems(shape, kind, listener):
                yield (*place, "tls", *key), message, "error"


def _problems(shape: ConfigShape, kind: str, listener: Listener) -> _Found:
    tls = listener.tls
    if tls is None:
        return
    if listener.address.path:
        yield (), f"`{listener.address}` is a Unix socket: its permissions say who may come; TLS is for TCP addresses"
    host = {"http": shape.hosts.http, "grpc": shape.hosts.grpc, "admin": "aiohttp"}[kind]
    if tls.minimum != "1.2" and host != "aiohttp":
        message = f'{host} takes TLS 1.2 and newer, always; leave `minimum` at "1.2": only aiohttp can be told'
        yield ("minimum",), message
    yield from _clients(tls)


def _clients(tls: TlsShape) -> _Found:
    if tls.client_ca is not None and not tls.clients:
        yield ("client_ca",), "`client_ca` without `clients`: nobody could speak for clients; list their names"
    if tls.client_ca is None and tls.clients:
        yield ("clients",), "`clients` without `client_ca`: nobody is asked for a certificate; name the CA of theirs"
    for index, name in enumerate(tls.clients):
        if not _is_name(name):
            message = (
                f"`{name[:60]}` is no name; expected a DNS name, a URI, a common name, or `*.suffix`, "
                "which covers one more label"
            )
            yield ("clients", index), message


def _is_name(name: str) -> bool:
    if not name or len(name) > MAX_NAME or name != name.strip() or not name.isprintable():
        return False
    if ":" in name:
        return _URI.fullmatch(name) is not None
    return "*" not in name or _SUFFIX.fullmatch(name) is not None
