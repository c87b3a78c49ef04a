"""Each example as a site: a proxy with its configuration, and the service behind it."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pytest
from _pytest.mark import ParameterSet

from tests.proxies.client import Headers, Reply, send
from tests.proxies.fakes import RawAuth, RawGrpcAuth, Upstream, check_denied, check_ok, http_answer
from tests.proxies.harness import Folder
from tests.proxies.proxies import Caddy, Envoy, Neighbours, Nginx, Proxy, Traefik

PROXIES: Mapping[str, Callable[..., Proxy]] = {
    "envoy-http-tcp": partial(Envoy, example="http-tcp.yaml"),
    "envoy-http-unix": partial(Envoy, example="http-unix.yaml"),
    "envoy-grpc-tcp": partial(Envoy, example="grpc-tcp.yaml"),
    "envoy-grpc-unix": partial(Envoy, example="grpc-unix.yaml"),
    "traefik": Traefik,
    "nginx": Nginx,
    "nginx-unix": Nginx,
    "caddy": Caddy,
    "caddy-unix": Caddy,
}
EXAMPLES = tuple(PROXIES)
GRPC = tuple(name for name in EXAMPLES if "grpc" in name)
HTTP = tuple(name for name in EXAMPLES if name not in GRPC)


def family(example: str) -> str:
    """The proxy and its protocol, by which tables of expectations go: `envoy-http`, `envoy-grpc`, `nginx` …"""
    return example.removesuffix("-tcp").removesuffix("-unix")


@dataclass(slots=True, kw_only=True)
class Site:
    """A running proxy, and the service behind it."""

    example: str
    proxy: Proxy
    service: Upstream

    @property
    def family(self) -> str:
        return family(self.example)

    async def send(
        self, target: str, *, method: str = "GET", headers: Headers = (), body: bytes | None = None
    ) -> Reply:
        return await send(self.proxy.port, target, method=method, headers=headers, body=body)


@contextlib.asynccontextmanager
async def site(example: str, authz: int | Path, changes: Mapping[str, str] | None = None) -> AsyncIterator[Site]:
    """The example's proxy, asking `authz` at a port or at the path of a Unix socket."""
    with Folder() as folder:
        async with (
            Upstream() as service,
            PROXIES[example](folder, Neighbours(authz=authz, service=service.port), changes) as proxy,
        ):
            yield Site(example=example, proxy=proxy, service=service)


@dataclass(slots=True, kw_only=True)
class ScriptedSite(Site):
    """A site whose authorization server answers what a test says, in the example's own protocol."""

    auth: RawAuth | RawGrpcAuth

    def answers(self, status: int, headers: Headers = (), body: bytes = b"", *, remove: tuple[str, ...] = ()) -> None:
        """From now on: an allow for status 200 (`headers` set and `remove` removed upstream), else a denial."""
        if isinstance(self.auth, RawAuth):
            removal = (("x-envoy-auth-headers-to-remove", ",".join(remove)),) if remove else ()
            self.auth.answer = http_answer(status, headers + removal, body)
        else:
            self.auth.answer = check_ok(headers, remove) if status == 200 else check_denied(status, headers, body)

    def reset(self) -> None:
        """Forgets what was seen; allows from now on."""
        self.service.seen.clear()
        self.auth.seen.clear()
        self.auth.silent = False
        self.answers(200)


@contextlib.asynccontextmanager
async def scripted_site(example: str, changes: Mapping[str, str] | None = None) -> AsyncIterator[ScriptedSite]:
    """The example's proxy, asking an authorization server that a test scripts."""
    with Folder() as folder:
        auth, address = _auth(example, folder)
        async with auth, site(example, address, changes) as here:
            yield ScriptedSite(example=example, proxy=here.proxy, service=here.service, auth=auth)


def _auth(example: str, folder: Path) -> tuple[RawAuth | RawGrpcAuth, int | Path]:
    path = folder / "authz.sock" if example.endswith("-unix") else None
    if "grpc" in example:
        grpc = RawGrpcAuth(path)
        return grpc, path or grpc.port
    http = RawAuth(path=path)
    return http, path or http.port


def parameters(examples: Iterable[str] = EXAMPLES) -> list[ParameterSet]:
    """The examples as parameters of a test or fixture; with `--dist loadgroup` a worker keeps to one proxy."""
    return [pytest.param(name, marks=pytest.mark.xdist_group(name)) for name in examples]
