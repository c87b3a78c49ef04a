"""Dialects of forward authorization: what each proxy sends about its client's request, and how it is read.

The dialect is the request's path, never a guess from headers: each proxy passes on some header that another
one sets itself, so whoever tries one after the other believes the client (CVE-2026-40575). Of a dialect only
its own headers are read, and each must be there exactly once: a client can have one removed by naming it in
`Connection` (CVE-2024-45410), or send a second one.

========  ===========================  ===============  =====================  ======================
path      method                       host             path and query         client address, scheme
========  ===========================  ===============  =====================  ======================
/envoy…   the request's own            Host             what follows /envoy    X-Forwarded-For, -Proto
/traefik  X-Forwarded-Method           X-Forwarded-Host X-Forwarded-Uri        X-Forwarded-For, -Proto
/nginx    X-Original-Method            X-Forwarded-Host X-Original-URI         X-Real-IP, X-Forwarded-Proto
/nginx    X-Original-Method            in X-Original-URL, which is absolute    X-Real-IP, in the URL
/caddy    X-Forwarded-Method           Host             X-Forwarded-Uri        X-Forwarded-For, -Proto
/haproxy  X-Original-Method            X-Forwarded-Host X-Original-URI         X-Forwarded-For, -Proto
========  ===========================  ===============  =====================  ======================

The query of the fixed paths is the client's wherever Caddy adds it, so it is never read.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from enum import StrEnum
from typing import NamedTuple

from authz.core.errors import Reason, RequestRefused
from authz.core.model import Headers
from authz.servers.trust import client_address, forwarded_address


class Dialect(StrEnum):
    """How a proxy speaks. The values are the names of the doors in records and metrics."""

    ENVOY = "envoy_http"
    """Envoy's ext_authz HTTP service with `path_prefix: /envoy`; Istio, Envoy Gateway, Contour, Gateway API."""
    TRAEFIK = "traefik"
    """Traefik's forwardAuth."""
    NGINX = "nginx"
    """auth_request of nginx, and of ingress-nginx."""
    CADDY = "caddy"
    """Caddy's forward_auth."""
    HAPROXY = "haproxy"
    """HAProxy with the Lua scripts auth-request and auth-intercept."""


class Asked(NamedTuple):
    """The client's request as the proxy tells it; nothing of it is checked or canonical yet."""

    method: str
    scheme: str
    host: str
    target: str
    source_address: str | None


ENVOY_PREFIX = "/envoy"
_FIXED_PATHS: Mapping[str, Dialect] = {
    "/traefik": Dialect.TRAEFIK,
    "/nginx": Dialect.NGINX,
    "/caddy": Dialect.CADDY,
    "/haproxy": Dialect.HAPROXY,
}


def dialect_of(target: str) -> Dialect | None:
    """The dialect of a raw request target; None: no door stands there."""
    if target.startswith(ENVOY_PREFIX) and target[len(ENVOY_PREFIX) :][:1] in {"/", "?", ""}:
        return Dialect.ENVOY
    return _FIXED_PATHS.get(target.partition("?")[0])


def asked(dialect: Dialect, method: str, target: str, headers: Headers, trusted_hops: int) -> Asked:
    """What the proxy asks about.

    Raises:
        RequestRefused: `bad_check` where one of the dialect's headers is missing or repeated; `bad_header`
            where Envoy joined two credentials.
    """
    return _READERS[dialect](method, target, headers, trusted_hops)


def _only(headers: Headers, name: str) -> str:
    values = headers.all(name)
    if len(values) != 1:
        raise _bad_check(f"expected the header `{name}` exactly once, found {len(values)}")
    return values[0]


def _at_most_one(headers: Headers, name: str) -> str | None:
    return _only(headers, name) if headers.count(name) else None


def _bad_check(what: str) -> RequestRefused:
    return RequestRefused(Reason.BAD_CHECK, f"the proxy's question cannot be read: {what}")


# --- Envoy -------------------------------------------------------------------------------------------------


def _envoy(method: str, target: str, headers: Headers, trusted_hops: int) -> Asked:
    """Envoy sends the client's method, path and Host; the rest only where its `allowed_headers` lists it.

    X-Forwarded-For and -Proto are Envoy's own view with `use_remote_address: true`. Without that they are the
    client's: then they must not be listed. A scheme that is not told counts as `http`, an address as unknown.
    """
    host = _only(headers, "host")
    forwarded_for = _at_most_one(headers, "x-forwarded-for")
    credential = headers.get("authorization")
    if credential is not None and "," in credential:
        check_one_credential(credential)
    return Asked(
        method=method,
        scheme=_at_most_one(headers, "x-forwarded-proto") or "http",
        host=host,
        # The prefix goes once: what follows is the client's, and may begin with the prefix again.
        target=target[len(ENVOY_PREFIX) :],
        source_address=client_address(forwarded_for, trusted_hops) if forwarded_for is not None else None,
    )


# RFC 9110, 11.4: a scheme, then one token or a list of parameters. Two of them joined by a comma match neither.
_PARAMETER = r"""[!#$%&'*+.^_`|~0-9A-Za-z-]+ *= *(?:"(?:[^"\\]|\\.)*"|[^",\s]+)"""
_ONE_CREDENTIAL = re.compile(rf"[A-Za-z][A-Za-z0-9-]* +{_PARAMETER}(?: *, *{_PARAMETER})*")
_TOKEN_SCHEMES = ("basic ", "bearer ", "dpop ", "negotiate ")


def check_one_credential(value: str) -> None:
    """Refuses an Authorization value that two fields were joined into, as Envoy joins repeated fields.

    An upstream behind it sees both, and may choose the one that was not verified.

    Raises:
        RequestRefused: `bad_header`.
    """
    if value.lower().startswith(_TOKEN_SCHEMES) or _ONE_CREDENTIAL.fullmatch(value) is None:
        raise RequestRefused(Reason.BAD_HEADER, "the header `authorization` holds more than one credential, or none")


# --- Traefik, Caddy ----------------------------------------------------------------------------------------


def _traefik(method: str, target: str, headers: Headers, trusted_hops: int) -> Asked:
    """Traefik rebuilds every X-Forwarded-… unless its entry point trusts the sender (then it adds to -For).

    With `trustForwardHeader: true` they are the client's own, and nothing here can tell.
    """
    return _forwarded(headers, _only(headers, "x-forwarded-host"), trusted_hops)


def _caddy(method: str, target: str, headers: Headers, trusted_hops: int) -> Asked:
    """Caddy keeps the client's Host, and rebuilds the X-Forwarded-… (adds to -For for its `trusted_proxies`)."""
    return _forwarded(headers, _only(headers, "host"), trusted_hops)


def _forwarded(headers: Headers, host: str, trusted_hops: int) -> Asked:
    return Asked(
        method=_only(headers, "x-forwarded-method"),
        scheme=_only(headers, "x-forwarded-proto"),
        host=host,
        target=_only(headers, "x-forwarded-uri"),
        source_address=client_address(_only(headers, "x-forwarded-for"), trusted_hops),
    )


# --- nginx -------------------------------------------------------------------------------------------------


def _nginx(method: str, target: str, headers: Headers, trusted_hops: int) -> Asked:
    """What nginx does not set it copies from the client, so its configuration must set all that is read here.

    Two forms, told apart by one header; a request with both is refused, for one of them is the client's. That
    X-Real-IP is required, too, shows a configuration that forgot it on the first request. It is nginx's own
    view (`$remote_addr`); hops before nginx are counted by nginx, with `set_real_ip_from`.
    """
    absolute = headers.count("x-original-url")
    if absolute and headers.count("x-original-uri"):
        raise _bad_check("both `x-original-url` and `x-original-uri` are there; expected one of them")
    original_method = _only(headers, "x-original-method")
    source = forwarded_address(_only(headers, "x-real-ip"))
    if absolute:
        scheme, host, path = _split_url(_only(headers, "x-original-url"))
        return Asked(original_method, scheme, host, path, source)
    return Asked(
        method=original_method,
        scheme=_only(headers, "x-forwarded-proto"),
        host=_only(headers, "x-forwarded-host"),
        target=_only(headers, "x-original-uri"),
        source_address=source,
    )


def _split_url(url: str) -> tuple[str, str, str]:
    # By hand: urlsplit drops control characters, and what it takes for the host is not what an upstream takes.
    scheme, separator, rest = url.partition("://")
    host, slash, path = rest.partition("/")
    if not (separator and slash):
        raise _bad_check("`x-original-url` is not absolute; expected `$scheme://$http_host$request_uri`")
    return scheme, host, slash + path


# --- HAProxy -----------------------------------------------------------------------------------------------


def _haproxy(method: str, target: str, headers: Headers, trusted_hops: int) -> Asked:
    """HAProxy says nothing of its own: its configuration must set each header that is read here.

    The script joins repeated fields with a comma, in reverse order. So where a rule adds to what the client sent
    (`option forwardfor`, `add-header`), a forged value comes last, and every value here must be one alone. Hops
    before HAProxy are counted by HAProxy.
    """
    forwarded_for = _only(headers, "x-forwarded-for")
    if "," in forwarded_for:
        raise _bad_check("`x-forwarded-for` holds more than one address; set it with `set-header`, not `add-header`")
    credential = headers.get("authorization")
    if credential is not None and "," in credential:
        check_one_credential(credential)
    return Asked(
        method=_only(headers, "x-original-method"),
        scheme=_only(headers, "x-forwarded-proto"),
        host=_only(headers, "x-forwarded-host"),
        target=_only(headers, "x-original-uri"),
        source_address=forwarded_address(forwarded_for),
    )


_READERS: Mapping[Dialect, Callable[[str, str, Headers, int], Asked]] = {
    Dialect.ENVOY: _envoy,
    Dialect.TRAEFIK: _traefik,
    Dialect.NGINX: _nginx,
    Dialect.CADDY: _caddy,
    Dialect.HAPROXY: _haproxy,
}
