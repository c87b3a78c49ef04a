"""What carries the doors, by the configuration: chosen, missing, and as a whole process."""

from __future__ import annotations

import asyncio
import json
import sys
from typing import Any

import grpc
import pytest

from authz.core.errors import Misconfigured
from authz.servers.aiohttp_host import AiohttpHost
from authz.servers.asgi_host import AsgiHost
from authz.servers.grpc_host import GrpcHost
from authz.wiring.assembly import assemble
from authz.wiring.certificates import ListenerCertificates
from authz.wiring.hosts import grpc_hosts, http_host
from tests.proxies.authz_serve import AuthzServe, Issuer
from tests.proxies.client import send
from tests.proxies.harness import Folder
from tests.servers.extauthz_support import CHECK, check_request, read_as_envoy, scripted_service

LISTENERS = 'listeners: {http: "127.0.0.1:0"}'
BOTH = 'listeners: {http: ["127.0.0.1:0", "127.0.0.1:0"], grpc: ["127.0.0.1:0", "127.0.0.1:0"]}'
NO_TLS: dict[str, Any] = {"by_files": {}, "addresses": ()}


def doors(app: Any, hosts: str) -> list[Any]:
    app.edit("authz.yaml", LISTENERS, f"{BOTH}\n{hosts}")
    config = assemble(app.config).required().config
    certificates = ListenerCertificates(config=config, **NO_TLS)
    service = scripted_service(None)
    return [
        http_host(config, service, certificates=certificates),
        *grpc_hosts(config, service, certificates=certificates),
    ]


@pytest.mark.parametrize(
    ("hosts", "kinds"),
    [
        ("", [AiohttpHost, GrpcHost, GrpcHost]),
        ("hosts: {http: h2corn}", [AsgiHost, GrpcHost, GrpcHost]),
        ("hosts: {grpc: h2corn}", [AiohttpHost, AsgiHost]),
        ("hosts: {http: h2corn, grpc: h2corn}", [AsgiHost, AsgiHost]),
    ],
)
async def test_each_door_is_carried_by_what_is_configured(app, hosts, kinds):
    assert [type(door) for door in await asyncio.to_thread(doors, app, hosts)] == kinds


@pytest.mark.parametrize("door", ["http", "grpc"])
def test_a_host_that_is_not_installed_is_named_with_its_extra(app, door, monkeypatch):
    monkeypatch.setitem(sys.modules, "h2corn", None)
    for name in ("authz.servers.asgi_host", "authz.servers.asgi_h2corn"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    with pytest.raises(Misconfigured) as caught:
        doors(app, f"hosts: {{{door}: h2corn}}")
    assert f"`hosts.{door}: h2corn` needs the extra `fast`: install `authz[fast]`" in str(caught.value)
    assert "authz.yaml:2" in str(caught.value)


async def test_a_process_on_the_fast_host_serves_and_says_what_it_says_in_its_own_form():
    hosts = {"hosts": {"http": "h2corn", "grpc": "h2corn"}, "record": {"output": "none"}}
    with Folder() as folder:
        async with AuthzServe(folder, Issuer(), hosts) as process:
            bearer = (("Authorization", f"Bearer {process.issuer.token('alice', 'analyst')}"),)
            for address in (process.http, process.http_socket):
                assert (await send(address, "/envoy/documents/handbook", headers=bearer)).status == 200
                assert (await send(address, "/envoy/documents/handbook")).status == 401
            for target in (f"127.0.0.1:{process.grpc}", f"unix:{process.grpc_socket}"):
                async with grpc.aio.insecure_channel(target) as channel:
                    call: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(CHECK)
                    data = check_request("/documents/handbook", headers={"authorization": bearer[0][1]})
                    assert read_as_envoy(await call(data)).verdict == "allow"
                    assert read_as_envoy(await call(check_request("/documents/handbook"))).status == 401
            _, writer = await asyncio.open_connection("127.0.0.1", process.http)
            writer.write(b"rubbish\r\n\r\n")
            writer.close()
        said = process.log.splitlines()
    assert said
    assert all(isinstance(json.loads(line), dict) for line in said)
    assert [line for line in said if json.loads(line)["level"] not in {"info", "warning"}] == []
