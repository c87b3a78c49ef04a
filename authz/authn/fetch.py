"""Reading an issuer's keys over HTTP: OpenID Connect discovery, then the JWK set.

What comes back is not trusted before it is checked, and bounded while it is read. No redirect is followed: it
would let whoever can answer for one address name another.
"""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass, field
from ssl import SSLContext
from typing import Any

from aiohttp import ClientError, ClientSession, ClientTimeout
from yarl import URL

from authz.authn.keys import KeyRefused, Keys, keys_from_jwks
from authz.core.errors import Misconfigured, Problem
from authz.core.strict_json import NotStrictJson, json_object

MAX_DOCUMENT = 512 * 1024
"""Bytes of a discovery document or key set."""
_DISCOVERY = ".well-known/openid-configuration"
# A compressed answer could be small on the wire and huge in memory.
_HEADERS = {"Accept": "application/json", "Accept-Encoding": "identity"}


class FetchFailed(Exception):
    """The issuer's keys could not be read; the words are for the log."""


@dataclass(frozen=True, slots=True, kw_only=True)
class KeySource:
    """Where an issuer publishes its keys, and how far it is believed.

    Raises:
        Misconfigured: an address is none, or is neither https nor allowed to be http.
    """

    issuer: str
    """The issuer as in the claim `iss`; its discovery document is asked where `jwks_uri` is not set."""
    jwks_uri: str | None = None
    """The key set's address; no discovery."""
    jwks_hosts: frozenset[str] = frozenset()
    """Host names that a discovered `jwks_uri` may have beside the issuer's own."""
    allow_http: bool = False
    """Also without TLS, and not only on loopback. Risk: whoever is on the way chooses the keys."""
    ssl: SSLContext | None = field(default=None, repr=False, compare=False)
    """For a private certificate authority; None: the system's."""
    timeout: float = 5.0
    """Seconds for each of the two documents."""

    def __post_init__(self) -> None:
        address = self.jwks_uri if self.jwks_uri is not None else self.issuer
        problem = _unfit(address, allow_http=self.allow_http)
        if not problem and self.jwks_uri is None and URL(address).query_string:
            problem = "expected an issuer without a query"  # OpenID Connect Core, section 2 (iss)
        if problem:
            shown = f"…@{address.rpartition('@')[2]}" if "@" in address else address  # a password may stand before it
            raise Misconfigured((Problem(message=f"`{shown}`: {problem}"),))


async def fetch_keys(session: ClientSession, source: KeySource) -> tuple[Keys, tuple[Problem, ...]]:
    """The issuer's keys now, and why some of them were left out.

    Raises:
        FetchFailed: unreachable, slow, too large, malformed, for another issuer, or without a usable key.
    """
    address = source.jwks_uri if source.jwks_uri is not None else await _discovered(session, source)
    document = await _json(session, address, source)
    try:
        keys, problems = keys_from_jwks(document)
    except KeyRefused as refused:
        raise FetchFailed(f"the key set at `{address}` cannot be used: {refused}") from None
    if not keys:
        # An emptied set is far more often an issuer's mishap than its wish.
        raise FetchFailed("; ".join([f"the key set at `{address}` has no usable key", *map(str, problems)]))
    return keys, problems


async def _discovered(session: ClientSession, source: KeySource) -> str:
    """The `jwks_uri` of the issuer's metadata (OpenID Connect Discovery 1.0, sections 4.1 to 4.3)."""
    address = f"{source.issuer.removesuffix('/')}/{_DISCOVERY}"
    metadata = await _json(session, address, source)
    if metadata.get("issuer") != source.issuer:
        raise FetchFailed(f"the document at `{address}` is for another issuer; expected `{source.issuer}`")
    found = metadata.get("jwks_uri")
    if not isinstance(found, str):
        raise FetchFailed(f"the document at `{address}` has no `jwks_uri`")
    if problem := _unfit(found, allow_http=source.allow_http):
        raise FetchFailed(f"the `jwks_uri` at `{address}` cannot be used: {problem}")
    _check_pinned(URL(found), source)
    return found


def _check_pinned(found: URL, source: KeySource) -> None:
    issuer = URL(source.issuer)
    if found.host != issuer.host and found.host not in {host.lower() for host in source.jwks_hosts}:
        raise FetchFailed(f"`jwks_uri` is on `{found.host}`, not the issuer's host; allow it in `jwks_hosts`")
    if issuer.scheme == "https" and found.scheme != "https":
        raise FetchFailed("`jwks_uri` is http although the issuer is https")


async def _json(session: ClientSession, address: str, source: KeySource) -> dict[str, Any]:
    try:
        return json_object(await _body(session, address, source))
    except TimeoutError:
        raise FetchFailed(f"`{address}` did not answer within {source.timeout:g} s") from None
    except (ClientError, OSError, ValueError) as error:
        reason = str(error) if isinstance(error, NotStrictJson) else type(error).__name__
        raise FetchFailed(f"`{address}` could not be read: {reason}") from error


async def _body(session: ClientSession, address: str, source: KeySource) -> bytes:
    request = session.get(
        URL(address),
        allow_redirects=False,
        headers=_HEADERS,
        ssl=source.ssl if source.ssl is not None else True,
        timeout=ClientTimeout(total=source.timeout),
    )
    async with request as response:
        if response.status != 200:
            raise FetchFailed(f"`{address}` answered {response.status}; expected 200 and no redirect")
        if response.headers.get("Content-Encoding", "identity").lower() != "identity":
            raise FetchFailed(f"`{address}` answered with a compressed document")
        body = bytearray()
        async for chunk in response.content.iter_chunked(65_536):
            body += chunk
            if len(body) > MAX_DOCUMENT:
                raise FetchFailed(f"`{address}` answered with more than {MAX_DOCUMENT} bytes")
        return bytes(body)


def _unfit(address: str, *, allow_http: bool) -> str:
    """Why an address may not be asked; empty if it may. Read by the library that will ask it."""
    try:
        url = URL(address)
    except ValueError:
        return "expected an absolute address"
    if url.scheme not in {"http", "https"} or not url.host:
        return "expected an absolute https address"
    if url.user is not None or url.password is not None or url.fragment:
        return "expected an address without credentials and fragment"
    if url.scheme == "http" and not allow_http and not _is_loopback(url.host):
        return "expected https; http is for loopback addresses, or where `allow_http` is set"
    return ""


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
