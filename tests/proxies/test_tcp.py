"""Envoy's network filter with its example: a connection is decided by its client certificate, or closed."""

from __future__ import annotations

import asyncio
import contextlib
import json
import ssl
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
import yaml

from tests.proxies.authz_serve import AuthzServe, Issuer
from tests.proxies.client import send
from tests.proxies.harness import EXAMPLES, Folder, Program, accepts, adapt, free_port, tool, until
from tests.servers.tls_support import Authority

pytestmark = [pytest.mark.proxy, pytest.mark.asyncio(loop_scope="module")]

ALLOWED, DENIED = "spiffe://example.com/ns/shop/sa/orders", "spiffe://example.com/ns/shop/sa/web"
SERVER = "db.example.com"
SCHEMA = """
namespace Db {
  entity Service, Database;
  action Connect appliesTo { principal: Service, resource: Database, context: { from: ipaddr } };
}
"""
POLICY = f"""
permit (principal == Db::Service::"{ALLOWED}", action == Db::Action::"Connect", resource == Db::Database::"{SERVER}")
when {{ context.from.isLoopback() }};
"""


class TcpAuthz(AuthzServe):
    """`authz serve` with one route, for connections to one port."""

    def __init__(self, folder: Path, port: int) -> None:
        super().__init__(folder, Issuer())
        self.port = port

    def configuration(self) -> dict[str, Any]:
        policies = self.folder / "policies"
        policies.mkdir(exist_ok=True)
        (policies / "schema.cedarschema").write_text(SCHEMA, encoding="utf-8")
        (policies / "connect.cedar").write_text(POLICY, encoding="utf-8")
        route = {
            "name": "connect",
            "match": {"protocol": "tcp", "host": "*.example.com", "path": f"/{self.port}"},
            "authenticators": ["mesh"],
            "action": 'Db::Action::"Connect"',
            "resource": {"type": "Db::Database", "id": "{request.sni}"},
            "context": {"from": {"from": "source.address", "type": "ip", "required": True}},
        }
        (self.folder / "routes.yaml").write_text(yaml.safe_dump([route]), encoding="utf-8")
        return super().configuration() | {
            "issuers": [],
            "authenticators": [{"name": "mesh", "client_certificate": {"type": "Db::Service"}}],
            "policies": {"store": "files", "path": str(policies)},
            "routes": str(self.folder / "routes.yaml"),
        }


class TcpEnvoy(Program):
    """Envoy with `envoy/tcp.yaml`."""

    name = "envoy"

    def __init__(self, folder: Path, *, port: int, authz: int, service: int) -> None:
        super().__init__(folder)
        self.ports = {"10000": port, "9901": free_port(), "9292": authz, "8080": service}

    def command(self) -> Sequence[str]:
        text = (EXAMPLES / "tcp.yaml").read_text(encoding="utf-8")
        replaced = {f"port_value: {old}": f"port_value: {new}" for old, new in self.ports.items()}
        file = self.folder / "tcp.yaml"
        file.write_text(adapt(text, {**replaced, "/etc/envoy/": f"{self.folder}/"}), encoding="utf-8")
        options = ["--disable-hot-restart", "--concurrency", "1", "--log-level", "warning"]
        return [str(tool("lib/python3*/site-packages/envoy/_bin/envoy")), "-c", str(file), *options]

    async def ready(self) -> bool:
        admin = self.ports["9901"]
        return await accepts(admin) and (await send(admin, "/ready")).status == 200


class Site:
    """The example, running: certificates, an echoing service, authz and Envoy."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port, self.service_port = free_port(), free_port()
        self.authz = TcpAuthz(folder, self.port)
        self.envoy = TcpEnvoy(folder, port=self.port, authz=self.authz.grpc, service=self.service_port)
        self.received: list[bytes] = []
        self.ca, self.strangers = Authority("ours"), Authority("theirs")

    def certify(self) -> None:
        """The files that the example names."""
        (self.folder / "clients-ca.pem").write_bytes(self.ca.pem)
        self.ca.issue(SERVER).write(self.folder, "server")

    async def _echo(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            while data := await reader.read(1000):
                self.received.append(data)
                writer.write(b"echo " + data)
                await writer.drain()
        writer.close()

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[Site]:
        self.certify()
        service = await asyncio.start_server(self._echo, "127.0.0.1", self.service_port)
        async with service, self.authz, self.envoy:
            yield self

    async def call(self, name: str | None, *, server: str = SERVER, ca: Authority | None = None) -> bytes:
        """What a client with this name in its certificate is told; empty: the connection was closed."""
        context = ssl.create_default_context(cadata=self.ca.pem.decode())
        if name is not None:
            (ca or self.ca).issue(name).write(self.folder, "client")
            context.load_cert_chain(self.folder / "client.pem", self.folder / "client.key")
        try:
            async with asyncio.timeout(20):
                reader, writer = await asyncio.open_connection(
                    "127.0.0.1", self.port, ssl=context, server_hostname=server
                )
                try:
                    writer.write(b"hello")
                    return await reader.read(1000)
                finally:
                    writer.close()
        except (ConnectionError, ssl.SSLError):
            return b""


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def running():
    with Folder() as folder:
        async with Site(folder).running() as site:
            yield site


@pytest.fixture
def here(running: Site) -> Site:
    running.received.clear()
    return running


async def test_the_service_that_is_permitted_gets_its_connection(here: Site):
    assert await here.call(ALLOWED) == b"echo hello"


@pytest.mark.parametrize("name", [DENIED, "spiffe://example.com/ns/shop/sa/orders2", "orders.example.com"])
async def test_another_one_is_cut_off_before_a_byte_arrives(here: Site, name: str):
    assert (await here.call(name), here.received) == (b"", [])


async def test_without_a_certificate_that_counts_nobody_is_asked(here: Site):
    assert [await here.call(None), await here.call(ALLOWED, ca=here.strangers), here.received] == [b"", b"", []]


async def test_another_server_name_finds_no_chain(here: Site):
    assert (await here.call(ALLOWED, server="other.example.com"), here.received) == (b"", [])


async def test_the_record_tells_of_the_connection(here: Site):
    await here.call(DENIED)

    def records() -> list[dict[str, Any]]:
        lines = here.authz.log.split("\n")[:-1]
        return [record for record in map(json.loads, lines) if record.get("event") == "decision"]

    async def written() -> bool:
        return any(record["reason"] == "policy_no_permit" and record["route"] == "connect" for record in records())

    await until(written, "the denial is recorded")
    assert {record["door"] for record in records()} == {"grpc"}


async def test_without_authz_no_connection_is_let_through(here: Site):
    await here.authz.kill()
    try:
        assert (await here.call(ALLOWED), here.received) == (b"", [])
    finally:
        await here.authz.start()

    async def back() -> bool:
        return await here.call(ALLOWED) == b"echo hello"

    await until(back, "connections pass again")
