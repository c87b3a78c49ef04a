"""The client's certificate as an identity, as Envoy verified it and tells of it.

Two places: gRPC's `source.principal`, and X-Forwarded-Client-Cert. Doors put them into `Request.extensions`, and only
those that Envoy asks: at any other proxy the header is the client's own. What Envoy does not verify, nobody does.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Literal, TypeAlias

from authz.authn.revocation import DenyList
from authz.authn.xfcc import ForwardedCertificate, NotReadable, parse_xfcc
from authz.core.claims import MAX_ID
from authz.core.errors import Reason, Unauthenticated
from authz.core.mapping import FORWARDED_CERTIFICATE, SOURCE_PRINCIPAL
from authz.core.model import Entity, EntitySlice, EntityUid, Identity, Request

NameKind: TypeAlias = Literal["uri", "dns", "subject", "hash"]
SCHEME = "ClientCertificate"
"""Of the challenge. HTTP has none for certificates: they are asked for in the TLS handshake."""
KEPT = 1024
"""Identities that are kept, so that one certificate is one object."""

# How Envoy's one text is told apart: a URI has a scheme and a colon, a subject begins `CN=`, the rest is a host name.
_FORMS: Mapping[str, re.Pattern[str]] = {
    "uri": re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:[^\s\"<>\\^`{|}]+"),
    "dns": re.compile(r"[A-Za-z0-9_-]+(?:\.[A-Za-z0-9_-]+)*"),
    "subject": re.compile(r"(?:[A-Za-z][A-Za-z0-9-]*|[0-9]+(?:\.[0-9]+)*)=[^\n]+"),
    "hash": re.compile(r"[0-9a-f]{64}"),
}
# Envoy's `source.principal`: the first URI, else the first DNS name, else the subject (measured, 1.40).
_PRECEDENCE: tuple[NameKind, ...] = ("uri", "dns", "subject")


class ClientCertificates:
    """Authenticates by the client certificate that Envoy tells of. An `Authenticator`."""

    def __init__(
        self,
        *,
        name: str,
        principal_type: str,
        kind: NameKind = "uri",
        allowed: Iterable[str] = (),
        deny_list: DenyList | None = None,
    ) -> None:
        """`name` stands as the identities' issuer. `allowed`: those that count; a last `*` is any rest; empty: all."""
        self._name = name
        self._type = principal_type
        self._kind: NameKind = kind
        patterns = frozenset(allowed)
        self._exact = frozenset(pattern for pattern in patterns if not pattern.endswith("*"))
        self._prefixes = tuple(sorted(pattern[:-1] for pattern in patterns - self._exact))
        self._all = not patterns
        self._deny_list = deny_list if deny_list is not None else DenyList()
        self._identity = lru_cache(maxsize=KEPT)(self._new_identity)

    async def authenticate(self, request: Request) -> Identity | None:
        """The identity; None: Envoy tells of no certificate.

        Raises:
            Unauthenticated: `certificate_invalid`, where what Envoy tells cannot be read in one way only, has not one
                name of the kind, or names nobody who is allowed.
        """
        principal = request.extensions.get(SOURCE_PRINCIPAL)
        header = request.extensions.get(FORWARDED_CERTIFICATE)
        if principal is None and header is None:
            return None
        name = self._name_of(principal, header)
        if not (self._all or name in self._exact or name.startswith(self._prefixes)):
            raise _bad(f"its {self._kind} is none of those `allowed`")
        if self._deny_list.denies(self._name, None, name):
            raise _bad("it is on the deny list")
        return self._identity(name)

    def _name_of(self, principal: str | None, header: str | None) -> str:
        told = _told(principal, header) if header is not None else ForwardedCertificate()
        names = _names(told, self._kind)
        if not names and principal is not None and _kind_of(principal) == self._kind and not _denies(told, principal):
            names = (principal,)
        if len(names) != 1:
            count = "no" if not names else "more than one"
            raise _bad(f"Envoy tells of {count} {self._kind}; see set_current_client_cert_details")
        if told.uris and told.dns and (principal is None or len(told.uris) > 1) and self._kind in {"uri", "dns"}:
            # A URI that reads `spiffe://x;DNS=admin` and the two names look the same. Only of the first URI does
            # `source.principal` tell where it ends.
            other = "uri" if self._kind == "dns" else "dns"
            text = f"a DNS name beside a URI can be part of it; leave `{other}` out of set_current_client_cert_details"
            raise _bad(text)
        if len(names[0]) > MAX_ID or _FORMS[self._kind].fullmatch(names[0]) is None:
            raise _bad(f"its {self._kind} is not of that form, or longer than {MAX_ID} characters")
        return names[0]

    def _new_identity(self, name: str) -> Identity:
        uid = EntityUid(self._type, name)
        return Identity(
            scheme="certificate",
            issuer=self._name,
            subject=name,
            principal=uid,
            entities=EntitySlice(entities=(Entity(uid=uid),)),
        )


def _told(principal: str | None, header: str) -> ForwardedCertificate:
    """The nearest Envoy's word, which is the last; checked against the one text that gRPC carries, if it does."""
    try:
        elements = parse_xfcc(header)
    except NotReadable as error:
        raise _bad(f"X-Forwarded-Client-Cert cannot be read: {error}") from None
    last = elements[-1]
    agrees = _agrees(principal, last) if principal is not None else None
    if agrees is False:
        raise _bad("X-Forwarded-Client-Cert and `source.principal` name different certificates")
    if len(elements) > 1 and not agrees:
        # A URI of the certificate can hold a comma, and what looks like an element of the nearest Envoy.
        raise _bad("X-Forwarded-Client-Cert has several elements; use SANITIZE_SET")
    return last


def _agrees(principal: str, told: ForwardedCertificate) -> bool | None:
    """Do both tell of one certificate? None: they have nothing in common to compare."""
    kind = _kind_of(principal)
    for other in _PRECEDENCE:
        names = _names(told, other)
        if other == kind:
            return names[0] == principal if names else None
        if names:
            return False  # Envoy would have taken this one
    return False


def _denies(told: ForwardedCertificate, principal: str) -> bool:
    """Does the header say that the one text is a name of another kind, such as a DNS name that reads like a URI?"""
    kind = _kind_of(principal)
    return kind in told.keys or principal in {*told.uris, *told.dns, told.subject}


def _kind_of(principal: str) -> NameKind | None:
    # A subject may hold a colon (`CN=a:b`), a URI an equals sign (`https://x?a=b`): which form fits begins it.
    order: tuple[NameKind, ...] = ("dns", "uri", "subject")
    return next((kind for kind in order if _FORMS[kind].fullmatch(principal) is not None), None)


def _names(told: ForwardedCertificate, kind: NameKind) -> tuple[str, ...]:
    match kind:
        case "uri":
            return told.uris
        case "dns":
            return told.dns
        case "subject":
            return (told.subject,) if told.subject else ()
        case "hash":
            return (told.hash,) if told.hash else ()


def _bad(detail: str) -> Unauthenticated:
    return Unauthenticated(Reason.CERTIFICATE_INVALID, f"the client certificate: {detail}", scheme=SCHEME)
