"""The way to a login page and back: a signed return address, made here and verified by the login page.

The address is a host of the operator's list, https, and nothing a client wrote but path and query. Whoever follows
a redirect to an address that anybody can choose lends their name to a forger (open redirect); so the login page
goes only to an address whose signature it has verified, and only until it expires.
"""

from __future__ import annotations

import hmac
import re
from base64 import urlsafe_b64encode
from collections.abc import Sequence
from dataclasses import dataclass, field
from urllib.parse import quote, urlsplit

from authz.core.accept import is_navigation
from authz.core.errors import Reason, RequestRefused
from authz.core.model import Request
from authz.core.request import canonical_host, canonical_path, parse_query
from authz.core.routes import host_covers

MIN_KEY = 32
"""Bytes; RFC 2104, 3: a key at least as long as the digest."""
MAX_ADDRESS = 2048
"""Characters of the encoded return address: beside it a proxy's buffer of 4 kB for headers has room for the rest."""
MAX_QUERY = 16_384
"""Characters of a login page's query that are read."""
REASONS = frozenset({Reason.NO_CREDENTIALS, Reason.TOKEN_EXPIRED})
"""What a login mends. Any other bad credential may be bad again after it, and the browser go round in circles."""

# Says what is signed, so that a signature made for another purpose with the same key is none for this one.
_PURPOSE = b"authz return address, version 1"
_EXPIRES = re.compile(r"[1-9][0-9]{0,11}")
_ADDRESS = re.compile(r"https://([^/?#\\@\s]+)(/[!-~]*)?")


@dataclass(frozen=True, slots=True, kw_only=True)
class Login:
    """Where people log in, and where they may come back to."""

    url: str
    """Absolute address of the login page; a query is kept."""
    key: bytes = field(repr=False)
    hosts: tuple[str, ...]
    """Names or `*.suffix`, canonical."""
    parameter: str = "return"
    """`_expires` and `_signature` are added for the other two."""
    valid: float = 600.0
    """Seconds."""

    def location(self, request: Request, reason: Reason, now: float) -> str | None:
        """Where the client is sent; None: it is told the reason instead.

        Args:
            request: canonical.
            reason: why it was denied.
            now: seconds since the epoch.
        """
        if reason not in REASONS or not is_navigation(request):
            return None
        if not covered(request.host, self.hosts) or self._is_own(request):
            return None
        return self.url + ("&" if "?" in self.url else "?") + self.signed(_address(request), now)

    def _is_own(self, request: Request) -> bool:
        """Is it the login page, or something below it? Sent to itself it would never be shown."""
        own = urlsplit(self.url)
        try:
            if canonical_host(own.netloc) != request.host:
                return False
            path = canonical_path(own.path or "/").text
        except RequestRefused:
            return True  # nobody knows; the configuration refuses such an address
        return request.path.text == path or request.path.text.startswith(path.rstrip("/") + "/")

    def signed(self, address: str, now: float) -> str:
        """The query parameters that carry an address."""
        encoded = quote(address, safe="/:")
        expires = str(int(now + self.valid))
        signature = _signature(self.key, expires, address)
        name = self.parameter
        return f"{name}={encoded}&{name}_expires={expires}&{name}_signature={signature}"


def signing_key(key: str | bytes) -> bytes:
    """The key's bytes, without the line end of the file that it was read from."""
    return (key.encode() if isinstance(key, str) else key).rstrip(b"\r\n")


def _address(request: Request) -> str:
    """The request's own address. Always https: the scheme a proxy tells may be that of its own, inner leg."""
    start = f"https://{request.host}"
    address = start + request.path.text + (f"?{request.query}" if request.query else "")
    return address if len(quote(address, safe="/:")) <= MAX_ADDRESS else f"{start}/"


def _signature(key: bytes, expires: str, address: str) -> str:
    # Neither part can hold the separator: digits, and a canonical address.
    message = b"\0".join((_PURPOSE, expires.encode(), address.encode()))
    return urlsafe_b64encode(hmac.digest(key, message, "sha256")).rstrip(b"=").decode()


def covered(host: str, hosts: Sequence[str]) -> bool:
    """Is the canonical host one of the names, or below one of the suffixes (`*.example.com`)?"""
    return any(pattern != "*" and host_covers(pattern, host) for pattern in hosts)


def verified_return_address(
    query: str, *, key: str | bytes, hosts: Sequence[str], now: float, parameter: str = "return"
) -> str | None:
    """The address to return to after a login, if authz signed it; else None: go to a page of your own choice.

        address = authz.verified_return_address(query, key=key, hosts=["shop.example.com"], now=time.time())

    None for whatever a client may have made of the query: a parameter missing or repeated, a wrong signature, an
    address that expired or whose host is not listed. Redirect to the address as it is returned, nothing else.

    Args:
        query: the login page's query string as received, or its URL.
        key: as in `responses.login.key`.
        hosts: as in `responses.login.hosts`.
        now: seconds since the epoch.
        parameter: as in `responses.login.parameter`.

    Raises:
        ValueError: the key is shorter than 32 bytes, or no host is given: anybody could sign, or nobody come back.
    """
    secret = signing_key(key)
    if len(secret) < MIN_KEY:
        raise ValueError(f"the key must have at least {MIN_KEY} bytes")
    if isinstance(hosts, str) or not hosts:
        raise ValueError("`hosts` must list the hosts that may be returned to")
    if query.startswith(("?", "/", "http://", "https://")):
        query = query.partition("?")[2]
    if len(query) > MAX_QUERY:
        return None
    try:
        given = parse_query(query)
    except RequestRefused:
        return None
    values = [given.get(parameter + suffix, ()) for suffix in ("", "_expires", "_signature")]
    if any(len(value) != 1 for value in values):
        return None
    (address,), (expires,), (signature,) = values
    return address if _holds(secret, address, expires, signature, now) and _leads_to(address, hosts) else None


def _holds(key: bytes, address: str, expires: str, signature: str, now: float) -> bool:
    if _EXPIRES.fullmatch(expires) is None or "\0" in address:
        return False
    try:
        expected, told = _signature(key, expires, address).encode(), signature.encode()
    except UnicodeEncodeError:
        return False
    return hmac.compare_digest(expected, told) and now < int(expires)


def _leads_to(address: str, hosts: Sequence[str]) -> bool:
    """Signed is not enough where a host was taken off the list, or the key has another user."""
    match = _ADDRESS.fullmatch(address)
    try:
        return match is not None and covered(canonical_host(match[1]), hosts)
    except RequestRefused:
        return False
