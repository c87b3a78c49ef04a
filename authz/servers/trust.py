"""Who may speak for clients, and what they say of a client's address. Pure: text in, values out.

A door learns the peer from its own connection, never from a header. What a header says of the client counts
only if that peer is trusted, and of X-Forwarded-For only the elements that trusted proxies wrote: they are
counted from the right, since whatever stands further left came from the client (ext-auth facts G28).
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from ipaddress import IPv4Network, IPv6Network
from typing import Self

from authz.core.model import Peer
from authz.servers.client_names import matching_name

LOOPBACK = ("127.0.0.0/8", "::1/128")
"""The networks that are trusted unless an operator lists others."""

_IPV4 = re.compile(r"(?:(?:25[0-5]|2[0-4]\d|1\d\d|[1-9]?\d)\.){3}(?:25[0-5]|2[0-4]\d|1\d\d|[1-9]?\d)", re.ASCII)
# `192.0.2.1:80` and `[2001:db8::1]:80`: some load balancers add the client's port (RFC 7239, section 6).
_WITH_PORT = re.compile(r"(?:([0-9.]+)|\[([0-9A-Fa-f.]*:[0-9A-Fa-f:.]+)\])(?::[0-9]{1,5})?")


@dataclass(frozen=True, slots=True, kw_only=True)
class TrustedPeers:
    """The networks whose connections are trusted proxies. A Unix socket is guarded by its permissions instead."""

    networks: tuple[IPv4Network | IPv6Network, ...]

    @classmethod
    def parse(cls, networks: Iterable[str] = LOOPBACK) -> Self:
        """From texts such as `10.1.0.0/16`, `::1`.

        Raises:
            ValueError: one is no network, or has host bits set.
        """
        return cls(networks=tuple(ipaddress.ip_network(text) for text in networks))

    def peer(self, address: str | None) -> Peer:
        """The peer at the other end of a connection.

        Args:
            address: its IP address; None: the connection came over a Unix socket.
        """
        if address is None:
            return Peer(address="", trusted=True)
        canonical = canonical_address(address.partition("%")[0])  # a zone names our own interface
        if canonical is None:
            return Peer(address="", trusted=False)
        parsed = ipaddress.ip_address(canonical)
        return Peer(address=canonical, trusted=any(parsed in network for network in self.networks))


def certificate_peer(address: str, certificate: bytes, clients: Iterable[str], *, now: datetime | None = None) -> Peer:
    """The peer that showed a client certificate. Its names decide alone: from where it comes counts for nothing.

    Args:
        address: the IP address of its connection.
        certificate: its own certificate, DER or PEM. The handshake has verified it against the listener's CA.
        clients: the names that are trusted; see `client_names.matching_name`.
        now: refuse a certificate that is not valid at this time: a resumed session is not verified again.
    """
    name = matching_name(certificate, clients, now=now)
    plain = canonical_address(address.partition("%")[0]) or ""
    return Peer(address=plain, trusted=name is not None, certificate=name or "")


def canonical_address(text: str) -> str | None:
    """One spelling of an IP address: an IPv4 address in IPv6 form is itself. None: it is not an address.

    Reference: RFC 4291, section 2.5.5.2; RFC 5952.
    """
    if _IPV4.fullmatch(text) is not None:
        return text
    try:
        address = ipaddress.IPv6Address(text)
    except ValueError:
        return None
    if address.scope_id is not None:
        return None
    return str(address.ipv4_mapped or address)


def forwarded_address(text: str) -> str | None:
    """The address of one element of a forwarding header, with or without a port; None: it names none."""
    plain = canonical_address(text)
    if plain is not None:
        return plain
    match = _WITH_PORT.fullmatch(text)
    return canonical_address(match[1] or match[2]) if match is not None else None


def client_address(forwarded_for: str, trusted_hops: int = 0) -> str | None:
    """The client's address in the X-Forwarded-For that a trusted proxy sent; None: nobody vouches for one.

    Args:
        forwarded_for: the header's value. The last element is the sender's own view of whom it serves.
        trusted_hops: how many proxies before the sender also add an element and are trusted.
    """
    elements = forwarded_for.split(",")
    # Fewer elements than proxies: the request came round one of them.
    if len(elements) <= trusted_hops:
        return None
    return forwarded_address(elements[-1 - trusted_hops].strip(" \t"))
