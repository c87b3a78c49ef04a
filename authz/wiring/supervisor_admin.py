"""The admin listener of a supervisor: liveness of itself, readiness and metrics of all workers."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from authz.servers.admin import AdminApp
from authz.servers.aiohttp_host import AiohttpHost
from authz.servers.listeners import Listener, TcpListener, UnixListener
from authz.servers.tls import Certificates, TlsFiles
from authz.servers.trust import TrustedPeers
from authz.stores.watch import Mark, fingerprint, watch


class SupervisorAdmin:
    """The application and its host.

    Args:
        checks: of all workers.
        metrics: of all workers, in the form that the `Accept` value asks for.
        enough: whether the workers that are ready are enough, though not all checks hold.
    """

    def __init__(
        self,
        *,
        checks: Callable[[], Mapping[str, tuple[bool, str]]],
        metrics: Callable[[str], Awaitable[tuple[bytes, str]]],
        enough: Callable[[], bool],
    ) -> None:
        self._app = AdminApp(checks=checks, metrics=metrics, enough=enough)
        self._host: AiohttpHost | None = None
        self._certificates: Sequence[Certificates] = ()
        self._watch: asyncio.Task[None] | None = None

    async def start(self, addresses: Sequence[Mapping[str, Any]]) -> None:
        """Listens at the addresses of a plan.

        Raises:
            Misconfigured: an address, or a certificate, cannot be had.
        """
        mark = await asyncio.to_thread(fingerprint, _paths(addresses), ())
        certificates: dict[TlsFiles, Certificates] = {}
        listeners = [await _listener(address, certificates) for address in addresses]
        # As in one process: the address is the protection, or its `clients` are.
        anyone = TrustedPeers.parse(("0.0.0.0/0", "::/0"))
        host = AiohttpHost(app=self._app, listeners=listeners, trusted=anyone)
        await host.start()
        self._host = host
        self._certificates = tuple(certificates.values())
        if certificates:
            self._watch = asyncio.create_task(self._renew_on_change(_paths(addresses), mark), name="authz-tls-watch")

    def drain(self) -> None:
        """Not ready from now on."""
        self._app.drain()

    async def renew(self) -> None:
        """Reads certificates anew."""
        for one in self._certificates:
            await one.renew()

    async def _renew_on_change(self, files: Sequence[Path], mark: tuple[Mark, ...]) -> None:
        async for _ in watch(files, (), since=mark):
            await self.renew()

    async def stop(self) -> None:
        """Ends the listener."""
        if self._watch is not None:
            self._watch.cancel()
            with suppress(asyncio.CancelledError):
                await self._watch
        if self._host is not None:
            await self._host.stop(1.0)


async def _listener(address: Mapping[str, Any], certificates: dict[TlsFiles, Certificates]) -> Listener:
    if address["path"]:
        return UnixListener(path=address["path"], mode=address["mode"], group=address["group"])
    plain = TcpListener(host=address["host"], port=address["port"])
    tls = address["tls"]
    if tls is None:
        return plain
    authorities = tls["client_ca"]
    files = TlsFiles(
        certificate=Path(tls["certificate"]),
        key=Path(tls["key"]),
        minimum=tls["minimum"],
        client_ca=Path(authorities) if authorities is not None else None,
        clients=tuple(tls["clients"]),
    )
    if files not in certificates:
        certificates[files] = await asyncio.to_thread(Certificates.read, files)
    return replace(plain, tls=certificates[files])


def _paths(addresses: Sequence[Mapping[str, Any]]) -> list[Path]:
    names = ("certificate", "key", "client_ca")
    found = [one["tls"][name] for one in addresses if one["tls"] is not None for name in names]
    return sorted({Path(path) for path in found if path is not None})
