"""The certificate of a TCP listener: files to validated bytes, bytes to a context, and both anew when files change.

A context is made from the very bytes that were checked, never from a path: what lies there may have changed since.
"""

from __future__ import annotations

import asyncio
import logging
import os
import ssl
import tempfile
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Literal, Self, TypeAlias

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from authz.core.errors import Misconfigured, Problem
from authz.servers.pem import (
    Key,
    check_authorities,
    check_chain,
    parse_certificates,
    parse_key,
    problem,
    read_pem,
    same_key,
)

SOON = timedelta(days=14)
"""A certificate that ends within this time is warned of. Longer than what renews certificates waits."""
CIPHERS = "ECDHE+AESGCM:ECDHE+CHACHA20"
"""Of TLS 1.2: forward secret and authenticated (RFC 9325, 4.2). All of TLS 1.3 are."""

Version: TypeAlias = Literal["1.2", "1.3"]
Subscriber: TypeAlias = Callable[[], Awaitable[None]]

_VERSIONS = {"1.2": ssl.TLSVersion.TLSv1_2, "1.3": ssl.TLSVersion.TLSv1_3}
_LOGGER = logging.getLogger("authz.tls")


@dataclass(frozen=True, slots=True, kw_only=True)
class TlsFiles:
    """Where a listener's certificate lies, and whose certificates it takes."""

    certificate: Path
    """The server's certificate, then those between it and its CA."""
    key: Path
    minimum: Version = "1.2"
    client_ca: Path | None = None
    """CAs of the certificates that clients must show. None: none is asked for."""
    clients: tuple[str, ...] = ()
    """The names that may speak for clients; see `trust.certificate_peer`."""

    @property
    def paths(self) -> tuple[Path, ...]:
        """All files, to be watched."""
        named = (self.certificate, self.key, self.client_ca)
        return tuple(dict.fromkeys(path for path in named if path is not None))


@dataclass(frozen=True, slots=True, kw_only=True)
class TlsMaterial:
    """What the files held, checked, and written anew: exactly what was parsed, and nothing else."""

    certificate: bytes = field(repr=False)
    """PEM: the chain, the server's own certificate first."""
    key: bytes = field(repr=False)
    """PEM (PKCS #8), not encrypted. A secret."""
    client_ca: bytes | None = field(default=None, repr=False)
    """PEM: one or more CAs."""
    minimum: Version = "1.2"
    expires: datetime
    """When the first certificate of the chain ends."""
    warnings: tuple[Problem, ...] = ()
    """What works, and should not stay so."""


def read_material(files: TlsFiles, *, now: datetime | None = None) -> TlsMaterial:
    """Reads and validates the files. Blocking: call it in a thread.

    Raises:
        Misconfigured: every problem, with its file and what to do: unreadable, damaged, too large, encrypted; a key
            of another certificate, a broken chain; expired or not valid yet.
    """
    now = now if now is not None else datetime.now(UTC)
    problems: list[Problem] = []
    chain = _certificates(files.certificate, problems)
    key = _key(files.key, problems)
    if chain:
        check_chain(files.certificate, chain, problems)
        _check_dates(files.certificate, chain, now, problems)
    if chain and key is not None and not same_key(chain[0], key):
        message = f"is not the key of the certificate in `{files.certificate}`; replace both together"
        problems.append(problem(files.key, message))
    authorities = _authorities(files.client_ca, now, problems)
    warnings = tuple(found for found in problems if found.severity == "warning")
    if key is None or len(warnings) < len(problems):
        raise Misconfigured(tuple(found for found in problems if found.severity == "error"))
    material = TlsMaterial(
        certificate=_pem(chain),
        key=key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()),
        client_ca=_pem(authorities) if authorities else None,
        minimum=files.minimum,
        expires=min(one.not_valid_after_utc for one in chain),
        warnings=warnings,
    )
    _check_use(files, material)
    return material


def _certificates(path: Path, problems: list[Problem]) -> tuple[x509.Certificate, ...]:
    content = read_pem(path, problems)
    return parse_certificates(path, content, problems) if content is not None else ()


def _key(path: Path, problems: list[Problem]) -> Key | None:
    content = read_pem(path, problems)
    return parse_key(path, content, problems) if content is not None else None


def _authorities(path: Path | None, now: datetime, problems: list[Problem]) -> tuple[x509.Certificate, ...]:
    if path is None:
        return ()
    authorities = _certificates(path, problems)
    check_authorities(path, authorities, problems)
    ended = [one for one in authorities if one.not_valid_after_utc <= now]
    if ended:
        # One old CA beside a new one is how CAs are changed; none that counts is a listener that nobody can use.
        severity = "error" if len(ended) == len(authorities) else "warning"
        message = f"{len(ended)} of {len(authorities)} CAs have expired: their clients are refused"
        problems.append(problem(path, message, severity=severity))
    return authorities


def _check_dates(path: Path, chain: Sequence[x509.Certificate], now: datetime, problems: list[Problem]) -> None:
    begins = max(one.not_valid_before_utc for one in chain)
    ends = min(one.not_valid_after_utc for one in chain)
    if ends <= now:
        problems.append(problem(path, f"expired at {_text(ends)}; every client refuses it: renew it"))
    elif begins > now:
        problems.append(problem(path, f"is not valid before {_text(begins)}; is the clock of this machine right?"))
    elif ends - now < SOON:
        problems.append(problem(path, f"expires at {_text(ends)}; renew it", severity="warning"))


def _check_use(files: TlsFiles, material: TlsMaterial) -> None:
    # OpenSSL has rules of its own, such as a security level set for the whole machine.
    try:
        server_context(material)
    except (ssl.SSLError, ValueError) as error:
        why = getattr(error, "reason", None) or type(error).__name__
        message = f"OpenSSL of this machine does not take this certificate and key: {why}"
        raise Misconfigured((problem(files.certificate, message),)) from None


def _text(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


def _pem(certificates: Sequence[x509.Certificate]) -> bytes:
    return b"".join(one.public_bytes(Encoding.PEM) for one in certificates)


def server_context(material: TlsMaterial) -> ssl.SSLContext:
    """A server's context of validated bytes.

    Raises:
        ssl.SSLError: OpenSSL refuses them.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = _VERSIONS[material.minimum]
    context.set_ciphers(CIPHERS)
    context.options |= ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION
    # No resumption in TLS 1.3: proxies keep their connections, and a key for tickets would live as long as the
    # context. In TLS 1.2 tickets stay: without them OpenSSL keeps up to 20,480 sessions in memory instead.
    context.num_tickets = 0
    context.set_alpn_protocols(["http/1.1"])
    with _as_file(material.certificate) as certificate, _as_file(material.key) as key:
        context.load_cert_chain(certificate, key)
    if material.client_ca is not None:
        context.verify_mode = ssl.CERT_REQUIRED
        # A CA in the file counts though its own issuer is not there: who lists it means it. So does gRPC.
        context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
        context.load_verify_locations(cadata=material.client_ca.decode("ascii"))
    return context


@contextmanager
def _as_file(content: bytes) -> Iterator[str]:
    """A name under which `ssl`, which takes names only, reads these bytes. It is on no disk where that can be had."""
    if hasattr(os, "memfd_create"):
        descriptor = os.memfd_create("authz-tls", os.MFD_CLOEXEC)
        file = open(descriptor, "w+b")  # noqa: PTH123, SIM115 - an open descriptor has no path
    else:
        file = tempfile.TemporaryFile()  # noqa: SIM115 - closed below
    with file:
        file.write(content)
        file.flush()
        file.seek(0)  # where /dev/fd is a duplicate, reading goes on from here
        yield f"/dev/fd/{file.fileno()}"


class Certificates:
    """The certificate in use, and its renewal. Values of one moment: read `material` and `context` once each."""

    def __init__(self, files: TlsFiles, material: TlsMaterial) -> None:
        self.files = files
        self._material = material
        self._context = server_context(material)
        self._subscribers: list[Subscriber] = []
        self._renewing = asyncio.Lock()

    @classmethod
    def read(cls, files: TlsFiles) -> Self:
        """From files. Blocking: call it in a thread, or before there is a loop.

        Raises:
            Misconfigured: see `read_material`.
        """
        return cls(files, read_material(files))

    @property
    def material(self) -> TlsMaterial:
        """What new connections are shown."""
        return self._material

    def context(self) -> ssl.SSLContext:
        """For the next connection: one object until a renewal, then another."""
        return self._context

    def subscribe(self, callback: Subscriber) -> None:
        """`callback` is awaited after each renewal."""
        self._subscribers.append(callback)

    def remaining(self) -> float:
        """Seconds until the certificate in use ends; negative: it has."""
        return (self._material.expires - datetime.now(UTC)).total_seconds()

    async def renew(self) -> bool:
        """Reads the files anew. Rubbish is told in the log, and the pair in use goes on. Never raises for content.

        Returns:
            Whether new connections are shown something else from now on.
        """
        async with self._renewing:
            try:
                material, context = await asyncio.to_thread(self._read)
            except Misconfigured as error:
                for found in error.problems:
                    _LOGGER.error("TLS files rejected, those read before go on: %s", found)  # noqa: TRY400 - no traceback
                return False
            except Exception as error:  # noqa: BLE001 - whatever it is, later changes must still be seen
                names = ", ".join(map(str, self.files.paths))
                _LOGGER.error("unexpected %s while TLS files were read: %s", type(error).__name__, names)  # noqa: TRY400
                return False
            if (material.certificate, material.key, material.client_ca) == self._served():
                return False
            self._material, self._context = material, context
            _LOGGER.info("TLS certificate renewed, valid until %s: %s", _text(material.expires), self.files.certificate)
            for found in material.warnings:
                _LOGGER.warning("%s", found)
            await self._tell()
            return True

    def _read(self) -> tuple[TlsMaterial, ssl.SSLContext]:
        material = read_material(self.files)
        return material, server_context(material)

    def _served(self) -> tuple[bytes, bytes, bytes | None]:
        return self._material.certificate, self._material.key, self._material.client_ca

    async def _tell(self) -> None:
        for callback in self._subscribers:
            try:
                await callback()
            except Exception as error:  # noqa: BLE001 - one listener's trouble is not another's
                _LOGGER.error("unexpected %s while a listener took its new certificate", type(error).__name__)  # noqa: TRY400
