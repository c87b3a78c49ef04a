"""Certificates of all listeners, by the configuration: read at the start, renewed when their files change.

Not a part of a reload: listeners are read at the start only, and a certificate that is half written must not hold
back a change of the policies.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field

from authz.config.listeners import Listener, TlsShape
from authz.config.load import Config
from authz.core.errors import Misconfigured, Problem
from authz.servers.tls import SOON, Certificates, TlsFiles, read_material
from authz.stores.watch import Mark, fingerprint, watch

REMIND = 24 * 3600.0
"""Seconds between two warnings that a certificate is about to end."""
_log = logging.getLogger("authz.tls")


@dataclass(frozen=True, slots=True, kw_only=True)
class ListenerCertificates:
    """One `Certificates` for each set of files, shared by the listeners that name it."""

    by_files: Mapping[TlsFiles, Certificates]
    config: Config = field(repr=False)
    addresses: tuple[tuple[str, TlsFiles], ...]
    """Address of each listener with TLS, and its files."""
    mark: tuple[Mark, ...] = field(default=(), repr=False)
    """What the files looked like before they were read."""

    def of(self, shape: Listener) -> Certificates | None:
        """Those of a listener; None: it has no TLS."""
        return self.by_files[tls_files(self.config, shape.tls)] if shape.tls is not None else None

    def expiries(self) -> dict[str, float]:
        """Address of each listener with TLS → seconds until its certificate ends; negative: it has."""
        return {address: self.by_files[files].remaining() for address, files in self.addresses}

    async def renew(self) -> None:
        """Reads all files anew."""
        for certificates in self.by_files.values():
            await certificates.renew()

    async def watch(self) -> None:
        """Renews on each change of a file, until cancelled."""
        files = sorted({path for one in self.by_files for path in one.paths})
        async for _ in watch(files, (), since=self.mark):
            await self.renew()

    async def remind(self) -> None:
        """Warns once a day of certificates that are about to end, until cancelled."""
        while True:
            await asyncio.sleep(REMIND)
            for address, remaining in self.expiries().items():
                if remaining < SOON.total_seconds():
                    _log.warning("the TLS certificate of `%s` ends in %.1f days; renew it", address, remaining / 86400)


def tls_files(config: Config, shape: TlsShape) -> TlsFiles:
    """The files of a listener, resolved against the configuration's folder."""
    return TlsFiles(
        certificate=config.path(shape.certificate),
        key=config.path(shape.key),
        minimum=shape.minimum,
        client_ca=config.path(shape.client_ca) if shape.client_ca is not None else None,
        clients=shape.clients,
    )


def certificate_problems(config: Config) -> tuple[Problem, ...]:
    """Everything that is wrong with the files, warnings too. Blocking."""
    problems: list[Problem] = []
    for files in dict.fromkeys(files for _, files in _all(config)):
        try:
            problems.extend(read_material(files).warnings)
        except Misconfigured as error:
            problems.extend(error.problems)
    return tuple(dict.fromkeys(problems))


def read_certificates(config: Config) -> ListenerCertificates:
    """The certificates of all listeners. Blocking.

    Raises:
        Misconfigured: with every problem of every file.
    """
    addresses = _all(config)
    mark = fingerprint([path for _, files in addresses for path in files.paths], ())
    found: dict[TlsFiles, Certificates] = {}
    problems: list[Problem] = []
    for _, files in addresses:
        try:
            if files not in found:
                found[files] = Certificates.read(files)
        except Misconfigured as error:
            problems.extend(error.problems)
    if problems:
        raise Misconfigured(tuple(dict.fromkeys(problems)))
    return ListenerCertificates(config=config, by_files=found, addresses=addresses, mark=mark)


def _all(config: Config) -> tuple[tuple[str, TlsFiles], ...]:
    return tuple((str(one.address), tls_files(config, one.tls)) for one in _listeners(config) if one.tls is not None)


def _listeners(config: Config) -> Iterator[Listener]:
    listeners = config.shape.listeners
    yield from (*listeners.http, *listeners.grpc, *listeners.admin)


@asynccontextmanager
async def kept_current(config: Config) -> AsyncIterator[ListenerCertificates]:
    """The certificates of all listeners, renewed when their files change, until the end.

    Raises:
        Misconfigured: see `read_certificates`.
    """
    certificates = await asyncio.to_thread(read_certificates, config)
    if not certificates.by_files:
        yield certificates
        return
    tasks = [
        asyncio.create_task(certificates.watch(), name="authz-tls-watch"),
        asyncio.create_task(certificates.remind(), name="authz-tls-remind"),
    ]
    try:
        yield certificates
    finally:
        for task in tasks:
            task.cancel()
        for task in tasks:
            with suppress(asyncio.CancelledError):
                await task
