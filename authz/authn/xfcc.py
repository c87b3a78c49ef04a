"""X-Forwarded-Client-Cert, read strictly.

Source: Envoy's documentation, "HTTP header manipulation", x-forwarded-client-cert; what it leaves open is measured with
Envoy 1.40. Elements are joined by commas, each the word of one proxy on its client; the last one is the nearest
proxy's. Envoy writes the keys of its element in a fixed order, and it puts URI and DNS names down *as the certificate
has them, without quotes*: a name with `;` or `,` in it looks like further keys, or like a further element. So the
order is held to, and what could come of such a name is left to the caller to refuse.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

MAX_HEADER = 32_768
"""Characters; room for a certificate and its chain, which Envoy adds where it is told to."""
MAX_PAIRS = 256
"""Pairs of all elements."""

# Proxies that join two fields put a space behind the comma (RFC 9110, 5.3).
_PAIR = re.compile(r'([A-Za-z]{1,16})=(?:"((?:[^"\\]|\\.)*)"|([^",;]*))(;|, *|\Z)')
# What Envoy writes, in the order in which it writes it.
_ORDER: Mapping[str, int] = {"by": 0, "hash": 1, "cert": 2, "chain": 3, "subject": 4, "uri": 5, "dns": 6}
_REPEATED = frozenset({"by", "uri", "dns"})


class NotReadable(ValueError):
    """The header is not what Envoy writes. The text says why, and quotes nothing of it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ForwardedCertificate:
    """What one proxy says of its client's certificate. What it does not say is empty."""

    hash: str = ""
    """SHA-256 of the certificate (DER), 64 hexadecimal digits."""
    subject: str = ""
    """RFC 2253, as Envoy has it: with the escapes of that form."""
    uris: tuple[str, ...] = ()
    dns: tuple[str, ...] = ()
    keys: frozenset[str] = field(default=frozenset(), compare=False)
    """What is told of, also where there is none: `uri` stands there without a value if the certificate has no URI."""


def parse_xfcc(text: str) -> tuple[ForwardedCertificate, ...]:
    """The header's elements, in order; at least one.

    Raises:
        NotReadable: too long, not ASCII, a key that is unknown, repeated or out of order, quotes that do not fit.
    """
    if len(text) > MAX_HEADER:
        raise NotReadable(f"expected at most {MAX_HEADER} characters")
    if not text.isascii():
        raise NotReadable("expected ASCII")
    elements: list[ForwardedCertificate] = []
    pairs: list[tuple[str, str]] = []
    position = count = 0
    while True:
        count += 1
        pair = _PAIR.match(text, position)
        if pair is None or count > MAX_PAIRS:
            raise NotReadable(f"expected KEY=VALUE, at most {MAX_PAIRS} times, with `;` or `,` between")
        pairs.append((pair[1].lower(), pair[3] if pair[2] is None else pair[2]))
        position = pair.end()
        if pair[4] != ";":
            elements.append(_element(pairs))
            pairs = []
        if not pair[4]:
            return tuple(elements)


def _element(pairs: list[tuple[str, str]]) -> ForwardedCertificate:
    found: dict[str, list[str]] = {}
    reached = -1
    for key, value in pairs:
        place = _ORDER.get(key, -1)
        if place < reached or place < 0:
            raise NotReadable("a key is unknown, or not where Envoy writes it")
        if key in found and key not in _REPEATED:
            raise NotReadable("a key stands twice that may stand once")
        reached = place
        found.setdefault(key, []).append(value)
    uris, dns = found.get("uri", []), found.get("dns", [])
    if "" in dns or ("" in uris and len(uris) > 1):
        # Envoy writes neither; a URI that ends with `;DNS=`, or with `;URI=`, looks like it.
        raise NotReadable("a name is empty")
    return ForwardedCertificate(
        hash=found.get("hash", [""])[0].lower(),
        subject=found.get("subject", [""])[0],
        uris=tuple(uri for uri in uris if uri),  # `URI=`: the certificate has none
        dns=tuple(dns),
        keys=frozenset(found),
    )
