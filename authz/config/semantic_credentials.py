"""What may be wrong with `authenticators`: not one kind each, names, places that no credential can stand in."""

from __future__ import annotations

import re
from collections.abc import Iterator

from authz.config.credentials import AuthenticatorShape, ClientCertificateShape, TokenShape
from authz.config.shape import ConfigShape
from authz.config.yaml_text import Place
from authz.core.mapping import MappingError, parse_type

KINDS = ("token", "api_keys", "client_certificate")
MAX_NAME = 128
"""Characters of a header's or a cookie's name."""
_HEADER = re.compile(rf"[A-Za-z][A-Za-z0-9-]{{0,{MAX_NAME - 1}}}")
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9-]{0,31}")
# RFC 6265, 4.1.1: a cookie's name is a token (RFC 9110, 5.6.2).
_COOKIE = re.compile(rf"[!#$%&'*+.^_`|~0-9A-Za-z-]{{1,{MAX_NAME}}}")
# They frame, route or describe the request, or are the proxy's own word; a credential in one would be lost or forged.
_TAKEN = frozenset(
    {
        "accept", "accept-encoding", "access-control-request-method", "connection", "content-encoding",
        "content-length", "content-type", "cookie", "date", "expect", "forwarded", "host", "keep-alive", "origin",
        "proxy-authenticate", "proxy-authorization", "proxy-connection", "referer", "set-cookie", "te", "trailer",
        "transfer-encoding", "upgrade", "user-agent", "via", "www-authenticate", "x-real-ip", "x-request-id",
    }
)  # fmt: skip
_TAKEN_PREFIXES = ("access-control-", "sec-", "x-envoy-", "x-forwarded-", "x-original-")

_Found = Iterator[tuple[Place, str, str]]
"""(place, message, severity)."""


def credential_problems(shape: ConfigShape) -> _Found:
    """Every problem of the authenticators as such."""
    names: set[str] = set()
    issuers = {issuer.issuer for issuer in shape.issuers}
    if not shape.authenticators:
        yield ("authenticators",), "`authenticators` is empty; leave it out for `Authorization: Bearer` alone", "error"
    for index, one in enumerate(shape.authenticators):
        place: Place = ("authenticators", index)
        if one.name in names:
            yield (*place, "name"), f"the name `{one.name}` stands twice; names are unique", "error"
        names.add(one.name)
        if one.name in issuers:
            yield (
                (*place, "name"),
                f"`{one.name}` is also an issuer; records and deny list could not tell them",
                "error",
            )
        for key, message in _authenticator(one):
            yield (*place, *key), message, "error"
        known = shape.issuers or shape.policies.store != "files"  # a policy store may name an issuer itself
        if one.token is not None and not known and "authenticators" in shape.model_fields_set:
            yield (*place, "token"), "there are no `issuers` whose token could be verified", "error"


def _authenticator(one: AuthenticatorShape) -> Iterator[tuple[Place, str]]:
    given = [kind for kind in KINDS if getattr(one, kind) is not None]
    if len(given) != 1:
        found = "none" if not given else " and ".join(f"`{kind}`" for kind in given)
        yield (), f"expected one of `token`, `api_keys` and `client_certificate`, found {found}"
    if one.token is not None:
        yield from _token(one.token)
    if one.api_keys is not None:
        header = one.api_keys.header
        if header.lower() == "authorization":
            yield ("api_keys", "header"), "`authorization` is for tokens; give keys a header of their own"
        else:
            yield from _header(header, ("api_keys", "header"))
    if one.client_certificate is not None:
        yield from _certificate(one.client_certificate)


def _token(token: TokenShape) -> Iterator[tuple[Place, str]]:
    if token.cookie is not None:
        if token.header is not None or token.scheme is not None:
            other = "header" if token.header is not None else "scheme"
            yield (
                ("token", other),
                f"a token stands in a cookie or in a header: `{other}` and `cookie` exclude each other",
            )
        if _COOKIE.fullmatch(token.cookie) is None:
            text = f"`{token.cookie[:60]}` is no name of a cookie; expected letters, digits, `-`, `_` and the like"
            yield ("token", "cookie"), text
    if token.header is not None:
        yield from _header(token.header, ("token", "header"))
    if token.scheme is not None and _SCHEME.fullmatch(token.scheme) is None:
        yield ("token", "scheme"), f"`{token.scheme[:40]}` is no scheme; expected one word such as `Bearer`"


def _header(name: str, place: Place) -> Iterator[tuple[Place, str]]:
    lowered = name.lower()
    if _HEADER.fullmatch(name) is None:
        yield place, f"`{name[:60]}` is no name of a header that counts here; expected letters, digits and `-`"
    elif lowered in _TAKEN or lowered.startswith(_TAKEN_PREFIXES):
        yield place, f"`{name}` has another meaning, to proxies or to browsers; choose a name such as `x-access-token`"


def _certificate(certificate: ClientCertificateShape) -> Iterator[tuple[Place, str]]:
    try:
        parse_type(certificate.type)
    except MappingError as error:
        yield ("client_certificate", "type"), f"`client_certificate.type`: {error}"
    for index, pattern in enumerate(certificate.allowed):
        place: Place = ("client_certificate", "allowed", index)
        if not pattern or "*" in pattern[:-1]:
            yield place, f"`{pattern[:80]}`: expected a name, or the beginning of names with one `*` at the end"
        elif certificate.name == "uri" and pattern.endswith("*") and pattern.count("/") < 3:
            yield place, f"`{pattern[:80]}` would also cover other domains; write it out as far as the domain and a `/`"
        elif certificate.name == "dns" and pattern.endswith("*"):
            yield place, f"`{pattern[:80]}`: a DNS name is not narrowed by its beginning; list the names"
