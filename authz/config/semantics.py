"""What a well-shaped configuration may still have wrong. Every finding, with its line; no side effects."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator
from urllib.parse import urlsplit

from authz.config.fields import Address
from authz.config.semantic_credentials import credential_problems
from authz.config.semantic_listeners import tls_problems
from authz.config.semantic_policies import policy_problems
from authz.config.semantic_responses import response_problems
from authz.config.shape import SYMMETRIC, ConfigShape, IssuerShape
from authz.config.yaml_text import Document, Place
from authz.core.errors import Problem
from authz.core.mapping import MappingError, parse_type

Finding = tuple[Place, str, str]
"""(place, message, severity)."""

MAX_LEEWAY = 600
"""Seconds; clocks that differ by more are broken."""
MIN_SECRET = 32
"""Bytes; RFC 7518, 3.2: a key at least as long as the hash of HS256."""
MIN_HASH_KEY, MAX_HASH_KEY = 16, 64
"""Bytes; RFC 7693, 2.1 (BLAKE2b keys)."""
_SHOWN = re.compile(r"path|source_address|detail|context\.[^.\s]+|claims\.\S+")
KEY_SETTINGS = ("jwks_uri", "jwks_file", "keys", "secret")


def semantic_problems(shape: ConfigShape, document: Document) -> tuple[Problem, ...]:
    """Everything that the shape alone cannot say."""
    findings = [*_listeners(shape), *_trust(shape), *_issuers(shape), *_record(shape), *_limits(shape)]
    findings += [*response_problems(shape), *tls_problems(shape, document), *credential_problems(shape)]
    findings += policy_problems(shape)
    return tuple(
        Problem(message=message, file=document.file, line=document.line(place), severity=severity)
        for place, message, severity in findings
    )


def _listeners(shape: ConfigShape) -> Iterator[Finding]:
    seen: dict[str, str] = {}
    for kind in ("http", "grpc", "admin"):
        for listener in getattr(shape.listeners, kind):
            text = str(listener.address)
            if text in seen and listener.address.port != 0:
                yield ("listeners", kind), f"`{text}` is already taken by `listeners.{seen[text]}`", "error"
            seen[text] = kind
            mutual = listener.tls is not None and listener.tls.client_ca is not None
            if kind == "admin" and not _is_local(listener.address) and not mutual:
                message = f"`{text}`: metrics and readiness can be read by whoever reaches this address"
                yield ("listeners", kind), message, "warning"


def _is_local(address: Address) -> bool:
    if address.path or address.host == "localhost":
        return True
    try:
        return ipaddress.ip_address(address.host).is_loopback
    except ValueError:
        return False


def _trust(shape: ConfigShape) -> Iterator[Finding]:
    for index, network in enumerate(shape.trusted_proxies):
        if ipaddress.ip_network(network).prefixlen == 0:
            message = f"`{network}` trusts everyone to speak for clients: whoever reaches the port chooses who they are"
            yield ("trusted_proxies", index), message, "warning"


def _issuers(shape: ConfigShape) -> Iterator[Finding]:
    names: dict[str, int] = {}
    for index, issuer in enumerate(shape.issuers):
        place: Place = ("issuers", index)
        if issuer.issuer in names:
            message = f"the issuer `{issuer.issuer}` stands twice; its tokens could be read in two ways"
            yield (*place, "issuer"), message, "error"
        names[issuer.issuer] = index
        for key, message in _issuer(issuer):
            yield (*place, key), message, "error"


def _issuer(issuer: IssuerShape) -> Iterator[tuple[str, str]]:
    if ("audience" in issuer.model_fields_set and not issuer.audience) or not all(issuer.audience):
        yield "audience", "`audience` is empty: tokens meant for any other service would count here"
    if issuer.leeway > MAX_LEEWAY:
        yield "leeway", f"`leeway` is longer than {MAX_LEEWAY} s: tokens would count long after they expired"
    if not issuer.algorithms:
        yield "algorithms", "`algorithms` is empty; list what the issuer signs with"
    yield from _keys(issuer)
    group_type = issuer.groups.type if issuer.groups is not None else None
    for key, text in (("principal", issuer.principal.type), ("groups", group_type)):
        try:
            if text is not None:
                parse_type(text)
        except MappingError as error:
            yield key, f"`{key}.type`: {error}"


def _keys(issuer: IssuerShape) -> Iterator[tuple[str, str]]:
    given = [name for name in KEY_SETTINGS if getattr(issuer, name) is not None]
    if len(given) > 1:
        yield given[1], f"`{given[0]}` and `{given[1]}` both say where the keys are; keep one"
    symmetric = [name for name in issuer.algorithms if name in SYMMETRIC]
    if issuer.secret is None and symmetric:
        yield "algorithms", f"`{symmetric[0]}` needs a `secret`; with public keys it would let anyone sign"
    if issuer.secret is not None:
        if len(symmetric) != len(issuer.algorithms):
            yield "algorithms", "with a `secret` only HS256, HS384 and HS512 can be listed"
        if len(issuer.secret.encode()) < MIN_SECRET:
            yield "secret", f"`secret` is shorter than {MIN_SECRET} bytes (RFC 7518, 3.2)"
    if not given and not _is_fetchable(issuer.issuer, allow_http=issuer.allow_http):
        yield "issuer", "discovery needs an https address; or give `jwks_uri`, `jwks_file` or `keys`"
    if issuer.jwks_uri is not None and not _is_fetchable(issuer.jwks_uri, allow_http=issuer.allow_http):
        yield (
            "jwks_uri",
            "`jwks_uri` must be an https address (http: on loopback, or with `allow_http: true`)",
        )


def _is_fetchable(address: str, *, allow_http: bool) -> bool:
    try:
        parts = urlsplit(address)
        host = parts.hostname
    except ValueError:
        return False
    if parts.scheme == "https":
        return bool(host)
    return parts.scheme == "http" and bool(host) and (allow_http or _is_local(Address(host=host or "", port=1)))


def _record(shape: ConfigShape) -> Iterator[Finding]:
    for index, name in enumerate(shape.record.show):
        if _SHOWN.fullmatch(name) is None:
            known = "`path`, `source_address`, `detail`, `context.NAME`, `claims.NAME`"
            yield ("record", "show", index), f"`{name[:60]}` cannot be shown; expected {known}", "error"
        if name == "context.token":
            message = "`context.token` would show the whole token; name its claims instead, as `claims.NAME`"
            yield ("record", "show", index), message, "error"
    key = shape.record.hash_key
    if key is not None and not MIN_HASH_KEY <= len(key.encode()) <= MAX_HASH_KEY:
        message = f"`record.hash_key` must have {MIN_HASH_KEY} to {MAX_HASH_KEY} bytes"
        yield ("record", "hash_key"), message, "error"


def _limits(shape: ConfigShape) -> Iterator[Finding]:
    if shape.limits.connection_age is not None and shape.hosts.grpc == "h2corn":
        message = (
            "`limits.connection_age` is for `hosts.grpc: grpcio`; h2corn cannot be told. Let the proxy spread calls: "
            "Envoy's `max_concurrent_streams` or `max_requests_per_connection`, see docs/operate.md"
        )
        yield ("limits", "connection_age"), message, "error"
    if shape.limits.deadline <= 0:
        yield ("limits", "deadline"), "`limits.deadline` must be longer than nothing", "error"
