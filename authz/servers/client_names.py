"""The names in a client certificate, and which of them a listener lists. Pure: bytes in, names out.

Reference: RFC 9525 (names in certificates), RFC 5280, 4.2.1.6; the X.509-SVID specification for URIs.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache

from cryptography import x509
from cryptography.x509.oid import NameOID

_WILDCARD = "*."


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientNames:
    """What a certificate calls its holder, and for how long."""

    dns: tuple[str, ...] = ()
    """In lower case."""
    uris: tuple[str, ...] = ()
    common_name: str = ""
    """Only where there is no subjectAltName at all (RFC 9525, 6.4.4 has given it up; private CAs have not)."""
    valid: tuple[datetime, datetime] | None = None
    """From when until when."""

    def count_at(self, moment: datetime) -> bool:
        """Is the certificate valid then?"""
        return self.valid is not None and self.valid[0] <= moment <= self.valid[1]


@lru_cache(maxsize=256)  # by the bytes: one proxy's certificate is read once for all its connections and calls
def client_names(certificate: bytes) -> ClientNames:
    """The names in a certificate, DER or PEM. One that cannot be read has none."""
    try:
        return _parsed(certificate)
    except Exception:  # noqa: BLE001 - a CA may sign what its reader has no word for; then it names nobody
        return ClientNames()


def _parsed(certificate: bytes) -> ClientNames:
    pem = certificate.startswith(b"-----BEGIN")
    parsed = x509.load_pem_x509_certificate(certificate) if pem else x509.load_der_x509_certificate(certificate)
    valid = (parsed.not_valid_before_utc, parsed.not_valid_after_utc)
    try:
        found = parsed.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        common = [str(one.value) for one in parsed.subject.get_attributes_for_oid(NameOID.COMMON_NAME)]
        # Of two nobody knows which is meant.
        return ClientNames(common_name=common[0] if len(common) == 1 else "", valid=valid)
    return ClientNames(
        # A wildcard in a certificate names many, and who asks is one.
        dns=tuple(name.lower() for name in found.get_values_for_type(x509.DNSName) if "*" not in name),
        uris=tuple(found.get_values_for_type(x509.UniformResourceIdentifier)),
        valid=valid,
    )


def matching_name(certificate: bytes, clients: Iterable[str], *, now: datetime | None = None) -> str | None:
    """The first name of the certificate that is listed; None: none is.

    Args:
        certificate: DER or PEM.
        clients: with a colon a URI, compared exactly; else a DNS name, or the subject's common name where the
            certificate has no subjectAltName. `*.suffix` covers DNS names with exactly one more label.
        now: if given, a certificate that is not valid at this time has no name.
    """
    names = client_names(certificate)
    if now is not None and not names.count_at(now):
        return None
    for listed in clients:
        name = _uri(names, listed) if ":" in listed else _dns(names, listed)
        if name is not None:
            return name
    return None


def _uri(names: ClientNames, listed: str) -> str | None:
    return listed if listed in names.uris else None


def _dns(names: ClientNames, listed: str) -> str | None:
    if listed.startswith(_WILDCARD):
        suffix = listed[1:].lower()
        return next((name for name in names.dns if _one_label_more(name, suffix)), None)
    lower = listed.lower()
    if lower in names.dns:
        return lower
    return listed if listed and listed == names.common_name else None


def _one_label_more(name: str, suffix: str) -> bool:
    label = name.removesuffix(suffix)
    return name.endswith(suffix) and bool(label) and "." not in label
