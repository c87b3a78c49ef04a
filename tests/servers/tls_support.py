"""Certificates of every kind that a listener may meet, made for a test run, and connections that show them."""

from __future__ import annotations

import ssl
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from authz.servers.pem import Key
from authz.servers.tls import Certificates, TlsFiles

DAY = timedelta(days=1)
LISTED = "gateway.example.com"
URI = "spiffe://example.com/gateway"
CLIENTS = (LISTED, URI, "*.gateways.example.com", "old gateway")


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """A certificate, those above it without the root, and its key."""

    certificate: x509.Certificate
    key: Key
    above: tuple[x509.Certificate, ...] = ()

    @property
    def pem(self) -> bytes:
        return b"".join(one.public_bytes(Encoding.PEM) for one in (self.certificate, *self.above))

    @property
    def der(self) -> bytes:
        return self.certificate.public_bytes(Encoding.DER)

    @property
    def key_pem(self) -> bytes:
        return self.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())

    def encrypted(self) -> bytes:
        return self.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"secret"))

    def write(self, folder: Path, name: str = "server") -> None:
        """Puts `name.pem` and `name.key` there, each in one step."""
        put(folder / f"{name}.pem", self.pem)
        put(folder / f"{name}.key", self.key_pem)


def put(path: Path, content: bytes) -> None:
    new = path.with_name(f".{path.name}.new")
    new.write_bytes(content)
    new.replace(path)


def ec_key() -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP256R1())


def ed_key() -> ed25519.Ed25519PrivateKey:
    return ed25519.Ed25519PrivateKey.generate()


@cache
def rsa_key(bits: int = 2048) -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(65537, bits)


class Authority:
    """A CA, and all that it issues."""

    def __init__(
        self,
        name: str = "Test CA",
        *,
        parent: Authority | None = None,
        begins: timedelta = -DAY,
        ends: timedelta = 3650 * DAY,
    ) -> None:
        self._key = ec_key()
        self._parent = parent
        subject = _name(name)
        issuer, signer = (parent.certificate.subject, parent._key) if parent is not None else (subject, self._key)
        builder = _builder(subject, issuer, self._key, begins, ends)
        constraints = x509.BasicConstraints(ca=True, path_length=None)
        self.certificate: x509.Certificate = builder.add_extension(constraints, critical=True).sign(signer, SHA256())

    @property
    def pem(self) -> bytes:
        return self.certificate.public_bytes(Encoding.PEM)

    def issue(
        self,
        *names: str,
        common_names: Sequence[str] = (),
        begins: timedelta = -DAY,
        ends: timedelta = 365 * DAY,
        usages: Sequence[x509.ObjectIdentifier] = (ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH),
        key: Key | None = None,
    ) -> Pair:
        """A certificate with names: an address, a URI, a mailbox or a DNS name each."""
        key = key if key is not None else ec_key()
        builder = _builder(_name(*common_names), self.certificate.subject, key, begins, ends)
        if names:
            builder = builder.add_extension(
                x509.SubjectAlternativeName([_general(name) for name in names]), critical=not common_names
            )
        if usages:
            builder = builder.add_extension(x509.ExtendedKeyUsage(list(usages)), critical=False)
        above = (self.certificate,) if self._parent is not None else ()
        return Pair(certificate=builder.sign(self._key, SHA256()), key=key, above=above)


def _name(*common: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, one) for one in common])


def _builder(
    subject: x509.Name, issuer: x509.Name, key: Key, begins: timedelta, ends: timedelta
) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now + min(begins, ends - DAY))
        .not_valid_after(now + ends)
    )


def _general(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ip_address(name))
    except ValueError:
        pass
    if ":" in name:
        return x509.UniformResourceIdentifier(name)
    return x509.RFC822Name(name) if "@" in name else x509.DNSName(name)


class World:
    """A listener's files in a folder, the CA of its clients, and another one that nobody listed."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.ca = Authority("Server CA")
        self.client_ca = Authority("Client CA")
        self.foreign_ca = Authority("Foreign CA")
        self.serve()
        put(folder / "clients.pem", self.client_ca.pem)

    def serve(self, **options) -> Pair:
        """Gives the listener a new certificate."""
        pair = self.ca.issue("localhost", "127.0.0.1", "::1", **options)
        pair.write(self.folder)
        return pair

    def files(self, **options) -> TlsFiles:
        return TlsFiles(certificate=self.folder / "server.pem", key=self.folder / "server.key", **options)

    def mutual(self, clients: tuple[str, ...] = CLIENTS, **options) -> TlsFiles:
        return self.files(client_ca=self.folder / "clients.pem", clients=clients, **options)

    def tls(self, **options) -> Certificates:
        return Certificates.read(self.files(**options))

    def mtls(self, **options) -> Certificates:
        return Certificates.read(self.mutual(**options))

    def context(self, pair: Pair | None = None) -> ssl.SSLContext:
        """A client's, which shows `pair`."""
        context = ssl.create_default_context(cadata=self.ca.pem.decode())
        if pair is not None:
            pair.write(self.folder, "client")
            context.load_cert_chain(self.folder / "client.pem", self.folder / "client.key")
        return context

    def pairs(self) -> dict[str, Pair | None]:
        """What clients may show, by what is right or wrong with it."""
        issue = self.client_ca.issue
        return {
            "listed name": issue(LISTED),
            "listed URI": issue(URI),
            "listed by suffix": issue("b", "a.gateways.example.com"),
            "listed common name": issue(common_names=("old gateway",)),
            "unlisted name": issue("other.example.com", common_names=(LISTED,)),
            "no certificate": None,
            "foreign CA": self.foreign_ca.issue(LISTED),
            "expired": issue(LISTED, ends=-DAY),
            "not yet valid": issue(LISTED, begins=DAY, ends=3 * DAY),
            "for servers only": issue(LISTED, usages=(ExtendedKeyUsageOID.SERVER_AUTH,)),
        }
