"""PEM files of a TLS listener: read within bounds, parsed, and told apart from rubbish. Blocking: call in a thread.

Every function adds what it finds wrong to a list, so that an operator is told all of it at once.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Sequence
from pathlib import Path
from typing import TypeAlias

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key
from cryptography.x509.oid import ExtendedKeyUsageOID

from authz.core.errors import Problem

MAX_FILE = 1024 * 1024
"""Bytes of one file; the CA bundle of a whole operating system has a quarter of that."""
MAX_CHAIN = 10
"""Certificates that a server shows; each handshake carries all of them."""
MIN_RSA = 2048
"""Bits; NIST SP 800-57 part 1, and what OpenSSL takes at its usual security level."""

_BEGIN = b"-----BEGIN CERTIFICATE-----"

Key: TypeAlias = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey
_CURVES = ("secp256r1", "secp384r1", "secp521r1")  # what TLS 1.3 signs with (RFC 8446, 4.2.3)


def read_pem(path: Path, problems: list[Problem]) -> bytes | None:
    """The file's content; None: a problem was added."""
    try:
        content = _content(path)
    except OSError as error:
        problems.append(problem(path, f"cannot be read: {(error.strerror or type(error).__name__).lower()}"))
        return None
    if content is None:
        problems.append(problem(path, "it is no file; name a PEM file"))
        return None
    if len(content) > MAX_FILE:
        problems.append(problem(path, f"is larger than {MAX_FILE} bytes"))
        return None
    return content


def _content(path: Path) -> bytes | None:
    # Not blocking: a pipe that nobody writes to would hold up the start for ever.
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            return None
        with open(descriptor, "rb", closefd=False) as file:
            return file.read(MAX_FILE + 1)
    finally:
        os.close(descriptor)


def parse_certificates(path: Path, content: bytes, problems: list[Problem]) -> tuple[x509.Certificate, ...]:
    """All certificates of a file; empty: a problem was added."""
    try:
        found = tuple(x509.load_pem_x509_certificates(content))
    except (ValueError, x509.InvalidVersion):
        found = ()
    # The parser passes over a last block without an end, and a file that is being written has one.
    if not found or len(found) != content.count(_BEGIN):
        problems.append(problem(path, "holds no PEM certificate, or one that is cut off or damaged"))
        return ()
    return found


def parse_key(path: Path, content: bytes, problems: list[Problem]) -> Key | None:
    """The private key of a file; None: a problem was added."""
    try:
        key = load_pem_private_key(content, password=None)
    except TypeError:
        problems.append(problem(path, "is encrypted, and nobody is there to type a pass phrase; store it without"))
        return None
    except (ValueError, UnsupportedAlgorithm):
        problems.append(problem(path, "holds no PEM private key, or one that is cut off or damaged"))
        return None
    if isinstance(key, rsa.RSAPrivateKey) and key.key_size >= MIN_RSA:
        return key
    if isinstance(key, ed25519.Ed25519PrivateKey):
        return key
    if isinstance(key, ec.EllipticCurvePrivateKey) and key.curve.name in _CURVES:
        return key
    problems.append(problem(path, f"is a key of another kind; use EC P-256, or RSA of at least {MIN_RSA} bits"))
    return None


def check_chain(path: Path, chain: Sequence[x509.Certificate], problems: list[Problem]) -> None:
    """The server's own certificate first; each further one has issued one before it (RFC 8446, 4.4.2)."""
    if len(chain) > MAX_CHAIN:
        problems.append(problem(path, f"holds more than {MAX_CHAIN} certificates; leave the server's and its chain"))
        return
    for index, issuer in enumerate(chain[1:], start=1):
        if not any(_issued(one, issuer) for one in chain[:index]):
            message = (
                f"certificate {index + 1} of {len(chain)} issued none of those before it; "
                "put the server's own first, then the one that issued it, and so on"
            )
            problems.append(problem(path, message))
            return
    usage = _extended_usage(chain[0])
    if usage is not None and ExtendedKeyUsageOID.SERVER_AUTH not in usage:
        problems.append(problem(path, "is not for servers: its extended key usage lacks `serverAuth`"))


def check_authorities(path: Path, authorities: Sequence[x509.Certificate], problems: list[Problem]) -> None:
    """Each one may issue certificates."""
    for index, authority in enumerate(authorities, start=1):
        if not _is_authority(authority):
            message = (
                f"certificate {index} of {len(authorities)} is not that of a CA; name the CA that issues the clients'"
            )
            problems.append(problem(path, message))


def same_key(certificate: x509.Certificate, key: Key) -> bool:
    """Does the private key belong to the certificate?"""
    form = (Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    try:
        return certificate.public_key().public_bytes(*form) == key.public_key().public_bytes(*form)
    except (ValueError, UnsupportedAlgorithm):  # a key that is not understood is not this one
        return False


def problem(path: Path, message: str, *, severity: str = "error") -> Problem:
    """A problem of one of the files."""
    return Problem(message=message, file=str(path), severity=severity)


def _issued(certificate: x509.Certificate, issuer: x509.Certificate) -> bool:
    try:
        certificate.verify_directly_issued_by(issuer)
    except (ValueError, TypeError, InvalidSignature, UnsupportedAlgorithm):
        return False
    return True


def _extended_usage(certificate: x509.Certificate) -> x509.ExtendedKeyUsage | None:
    try:
        return certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    except Exception:  # noqa: BLE001 - none, or extensions that cannot be read: no client will mind this one
        return None


def _is_authority(certificate: x509.Certificate) -> bool:
    try:
        return certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    except Exception:  # noqa: BLE001 - none, or extensions that cannot be read
        return False
