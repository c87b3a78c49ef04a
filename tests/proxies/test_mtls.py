"""A real Envoy asks `authz serve` over mutual TLS, with the example that users copy, at both doors."""

from __future__ import annotations

import contextlib
import re
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.proxies.authz_serve import AuthzServe, Issuer
from tests.proxies.client import Reply, send
from tests.proxies.fakes import Upstream
from tests.proxies.harness import EXAMPLES, REPOSITORY, Folder, adapt, until
from tests.proxies.proxies import Caddy, Envoy, Neighbours, Nginx, Proxy, Traefik
from tests.servers.tls_support import Authority, Pair, put

pytestmark = pytest.mark.proxy

NAME, GATEWAY = "authz.example.com", "gateway.example.com"
DOORS = ("http", "grpc")
AFTER = "    connect_timeout: 0.25s\n"


class Authz(AuthzServe):
    """With mutual TLS at both doors. Where a caller comes from counts for nothing: no network is trusted here."""

    def configuration(self) -> dict[str, Any]:
        tls = {"certificate": "tls.crt", "key": "tls.key", "client_ca": "ca.crt", "clients": [GATEWAY]}
        listeners: dict[str, Any] = {
            door: {"address": f"127.0.0.1:{port}", "tls": tls}
            for door, port in (("http", self.http), ("grpc", self.grpc))
        }
        listeners["admin"] = f"127.0.0.1:{self.admin}"
        return super().configuration() | {"listeners": listeners, "trusted_proxies": ["192.0.2.0/24"]}


def install(folder: Path, pair: Pair, ca: Authority) -> None:
    """Puts `tls.crt`, `tls.key` and `ca.crt` there, as cert-manager names them."""
    put(folder / "tls.key", pair.key_pem)
    put(folder / "tls.crt", pair.pem)
    put(folder / "ca.crt", ca.pem)


class Front(Envoy):
    """With a name, as files with secrets need it."""

    def command(self) -> Sequence[str]:
        return [*super().command(), "--service-node", "front", "--service-cluster", "front"]


def proxy(folder: Path, door: str, authz: Authz, service: Upstream, changes: Mapping[str, str] | None = None) -> Envoy:
    """Envoy with the TCP example of a door, and the example of mutual TLS put into it as its comment says."""
    socket = (EXAMPLES / "mtls/transport-socket.yaml").read_text(encoding="utf-8")
    for name in ("shown", "expected"):
        secret = adapt(
            (EXAMPLES / f"mtls/{name}.yaml").read_text(encoding="utf-8"), {"/etc/envoy/tls": f"{folder}/tls"}
        )
        for old, new in (changes or {}).items():
            secret = secret.replace(old, new)
        (folder / f"{name}.yaml").write_text(secret, encoding="utf-8")
        socket = adapt(socket, {f"path: /etc/envoy/{name}.yaml": f"path: {folder}/{name}.yaml"})
    lines = socket.splitlines(keepends=True)
    inside = "".join("    " + line for line in lines)
    port = authz.http if door == "http" else authz.grpc
    return Front(
        folder, Neighbours(authz=port, service=service.port), {AFTER: AFTER + inside}, example=f"{door}-tcp.yaml"
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """Envoy, authz, and the CA of both."""

    ca: Authority
    authz: Authz
    envoy: Envoy

    async def ask(self) -> Reply:
        token = self.authz.issuer.token("alice", "analyst")
        return await send(self.envoy.port, "/documents/handbook", headers=(("Authorization", f"Bearer {token}"),))


@contextlib.asynccontextmanager
async def world(door: str, shown: str = GATEWAY, **options: Any) -> AsyncIterator[World]:
    """`shown`: the name in Envoy's certificate. `foreign`: it is of another CA."""
    ca = Authority()
    issuer = Authority("Foreign CA") if options.get("foreign") else ca
    with Folder() as own, Folder() as folder:
        install(own, ca.issue(NAME), ca)
        (folder / "tls").mkdir()
        install(folder / "tls", issuer.issue(shown), ca)
        async with Upstream() as service, Authz(own, Issuer()) as authz:
            envoy = proxy(folder, door, authz, service, options.get("changes"))
            async with envoy:
                yield World(ca=ca, authz=authz, envoy=envoy)


@pytest.mark.parametrize("door", DOORS)
async def test_envoy_asks_over_mutual_tls_and_renewals_interrupt_nothing(door: str):
    async with world(door) as here:
        assert (await here.ask()).status == 200
        install(here.authz.folder, here.ca.issue(NAME), here.ca)
        install(here.envoy.folder / "tls", here.ca.issue(GATEWAY), here.ca)

        async def renewed() -> bool:
            assert (await here.ask()).status == 200
            stats = (await send(here.envoy.admin, "/stats?filter=cluster.authz.client_ssl")).body.decode()
            taken = re.search(r"ssl_context_update_by_sds: (\d+)", stats)
            return "TLS certificate renewed" in here.authz.log and taken is not None and int(taken[1]) > 2

        await until(renewed, "both have new certificates")
        assert await here.envoy.stop() == 0
        await here.envoy.start()
        assert (await here.ask()).status == 200  # over a new connection
        assert "BEGIN" not in here.authz.log


@pytest.mark.parametrize("door", DOORS)
async def test_envoy_with_another_name_is_not_believed(door: str):
    async with world(door, "other.example.com") as here:
        reply = await here.ask()
        assert (reply.status, reply.json()["reason"]) == (403, "untrusted_peer")


@pytest.mark.parametrize("door", DOORS)
async def test_envoy_with_a_certificate_of_another_ca_reaches_nobody(door: str):
    async with world(door, foreign=True) as here:
        assert (await here.ask()).status == 503


@pytest.mark.parametrize("door", DOORS)
async def test_envoy_asks_nobody_of_another_name_than_authz(door: str):
    async with world(door, changes={"exact: authz.example.com": "exact: other.example.com"}) as here:
        assert (await here.ask()).status == 503


# --- the other proxies ------------------------------------------------------------------------------------

# What deploy.md says to put into the example, and before which of its lines, or in which line's place.
OTHERS: Mapping[str, tuple[Callable[..., Proxy], Mapping[str, str]]] = {
    "traefik": (
        Traefik,
        {
            'address: "http://127.0.0.1:9191/traefik"': """address: "https://127.0.0.1:9191/traefik"
        tls:
          ca: /etc/traefik/tls/ca.crt
          cert: /etc/traefik/tls/tls.crt
          key: /etc/traefik/tls/tls.key"""
        },
    ),
    "nginx": (
        Nginx,
        {
            "proxy_pass http://authz/nginx;": """proxy_pass https://authz/nginx;
            proxy_ssl_certificate         /etc/nginx/tls/tls.crt;
            proxy_ssl_certificate_key     /etc/nginx/tls/tls.key;
            proxy_ssl_trusted_certificate /etc/nginx/tls/ca.crt;
            proxy_ssl_verify              on;
            proxy_ssl_name                authz.example.com;
            proxy_ssl_server_name         on;"""
        },
    ),
    "caddy": (
        Caddy,
        {
            "transport http {": """transport http {
				tls_client_auth /etc/caddy/tls/tls.crt /etc/caddy/tls/tls.key
				tls_trust_pool file /etc/caddy/tls/ca.crt
				tls_server_name authz.example.com"""
        },
    ),
}


@pytest.mark.parametrize("name", OTHERS)
def test_the_document_has_what_is_tested(name: str):
    document = {line.strip() for line in (REPOSITORY / "docs/deploy.md").read_text(encoding="utf-8").splitlines()}
    for lines in OTHERS[name][1].values():
        for line in lines.replace("127.0.0.1:9191", "authz.example.com:9191").splitlines():
            assert line.strip() in document, line


@pytest.mark.parametrize(("shown", "status"), [(GATEWAY, 200), ("other.example.com", 403)])
@pytest.mark.parametrize("name", OTHERS)
async def test_other_proxies_ask_over_mutual_tls(name: str, shown: str, status: int):
    make, changes = OTHERS[name]
    ca = Authority()
    with Folder() as own, Folder() as folder:
        install(own, ca.issue(NAME, "127.0.0.1"), ca)
        (folder / "tls").mkdir()
        install(folder / "tls", ca.issue(shown), ca)
        adapted = {old: adapt(new, {f"/etc/{name}/tls": f"{folder}/tls"}) for old, new in changes.items()}
        async with Upstream() as service, Authz(own, Issuer()) as authz:
            neighbours = Neighbours(authz=authz.http, service=service.port)
            async with make(folder, neighbours, adapted) as running:
                token = authz.issuer.token("alice", "analyst")
                reply = await send(running.port, "/documents/handbook", headers=(("Authorization", f"Bearer {token}"),))
        assert reply.status == status
        assert bool(service.seen) is (status == 200)
