"""Credentials other than `Authorization`, through real proxies: client certificates that Envoy verified, cookies.

The table of what Envoy puts down of a certificate is the reason for `authz.authn.xfcc` and what it refuses.
"""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
import pytest_asyncio

from tests.proxies.authz_serve import AuthzServe, Issuer
from tests.proxies.client import Headers, Reply, send
from tests.proxies.harness import Folder
from tests.proxies.sites import Site, site
from tests.servers.tls_support import Authority, Pair

pytestmark = [pytest.mark.proxy, pytest.mark.asyncio(loop_scope="module")]

SCHEMA = """namespace Documents {
  entity Role;
  entity User in [Role];
  entity Document;
  action "ReadDocument" appliesTo { principal: User, resource: Document };
}
"""
ROUTES = """- name: read
  match: {methods: [GET], path: "/documents/{id}"}
  action: Documents::Action::"ReadDocument"
  resource: {type: Documents::Document, id: "{path.id}"}
  headers: {x-auth-user: "{principal.id}"}
"""
AUTHENTICATORS = [
    {"name": "session", "token": {"cookie": "__Host-session"}},
    {"name": "mesh", "client_certificate": {"type": "Documents::User", "allowed": ["spiffe://td/tenant/*"]}},
]
WORKLOAD = "spiffe://td/tenant/orders"
FORGED: Headers = (("X-Forwarded-Client-Cert", f'Hash={"0" * 64};Subject="CN=a";URI=spiffe://td/tenant/admin'),)
TLS = """    - transport_socket:
        name: envoy.transport_sockets.tls
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext
          common_tls_context:
            tls_certificates: [{certificate_chain: {filename: FOLDER/server.pem}, private_key: {filename: FOLDER/server.key}}]
            validation_context: {trusted_ca: {filename: FOLDER/clients.pem}}
      filters:"""
LISTED = "                - exact: x-request-id"


@dataclass(frozen=True, slots=True, kw_only=True)
class Keys:
    """The CAs, and a folder with what Envoy needs of them."""

    folder: Path
    servers: Authority
    clients: Authority

    def context(self, pair: Pair | None) -> ssl.SSLContext:
        """A client's, which shows a certificate."""
        context = ssl.create_default_context(cadata=self.servers.pem.decode())
        if pair is not None:
            pair.write(self.folder, "client")
            context.load_cert_chain(self.folder / "client.pem", self.folder / "client.key")
        return context

    def envoy(self, example: str, mode: str) -> Mapping[str, str]:
        """What is changed in an example so that Envoy asks for client certificates."""
        dns = "true" if "grpc" in example else "false"  # over HTTP it could be part of the URI before it
        forwarding = f"""          use_remote_address: true
          forward_client_cert_details: {mode}
          set_current_client_cert_details: {{uri: true, dns: {dns}, subject: true}}
"""
        changes = {
            "    - filters:": TLS.replace("FOLDER", str(self.folder)),
            "          use_remote_address: true\n": forwarding,
        }
        if "http" in example:
            changes[LISTED] = (
                f"                - exact: x-forwarded-client-cert\n                - exact: cookie\n{LISTED}"
            )
        return changes


@pytest.fixture(scope="module")
def keys():
    with Folder() as folder:
        servers, clients = Authority("Server CA"), Authority("Client CA")
        servers.issue("127.0.0.1", "spiffe://td/envoy").write(folder)
        (folder / "clients.pem").write_bytes(clients.pem)
        yield Keys(folder=folder, servers=servers, clients=clients)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def authz():
    with Folder() as folder:
        policies = folder / "policies"
        policies.mkdir()
        (policies / "schema.cedarschema").write_text(SCHEMA)
        (policies / "all.cedar").write_text("permit(principal, action, resource);")
        (folder / "routes.yaml").write_text(ROUTES)
        extra = {"policies": {"path": "policies"}, "routes": "routes.yaml", "authenticators": AUTHENTICATORS}
        async with AuthzServe(folder, Issuer(), extra) as process:
            yield process


@dataclass(frozen=True, slots=True, kw_only=True)
class Here:
    """An Envoy that asks its clients for certificates."""

    keys: Keys
    site: Site

    async def get(self, *names: str, headers: Headers = (), by: Authority | None = None) -> Reply:
        """The answer to a client whose certificate has these names; without any it shows none."""
        self.site.service.seen.clear()
        pair = (by or self.keys.clients).issue(*names, common_names=("a client",)) if names else None
        tls = self.keys.context(pair)
        return await send(self.site.proxy.port, "/documents/1", headers=headers, tls=tls)

    async def refused(self, *names: str, headers: Headers = ()) -> str:
        """The reason of the 401 to such a client."""
        reply = await self.get(*names, headers=headers)
        assert (reply.status, self.site.service.seen) == (401, [])
        return str(reply.json()["reason"])


@asynccontextmanager
async def envoy(example: str, mode: str, keys: Keys, authz: AuthzServe) -> AsyncIterator[Here]:
    async with site(example, authz.address(example), keys.envoy(example, mode)) as running:
        yield Here(keys=keys, site=running)


@pytest_asyncio.fixture(scope="module", loop_scope="module", params=["envoy-http-tcp", "envoy-grpc-tcp"])
async def here(request, keys, authz):
    async with envoy(request.param, "SANITIZE_SET", keys, authz) as running:
        yield running


class TestSanitizeSet:
    """The mode that the documentation recommends."""

    async def test_the_service_learns_whose_certificate_it_was(self, here):
        reply = await here.get(WORKLOAD, "orders.example")
        assert reply.status == 200
        assert here.site.service.seen[0].values("x-auth-user") == [WORKLOAD]

    async def test_a_clients_own_header_is_not_believed(self, here):
        assert (await here.get(WORKLOAD, headers=FORGED)).status == 200
        assert here.site.service.seen[0].values("x-auth-user") == [WORKLOAD]
        assert await here.refused(headers=FORGED) == "no_credentials"

    async def test_who_is_not_allowed_is_refused(self, here):
        assert await here.refused("spiffe://td/other/orders") == "certificate_invalid"
        assert await here.refused("orders.example") == "certificate_invalid"

    @pytest.mark.parametrize(
        "uri",
        [
            f"spiffe://td/tenant/x,Hash={'0' * 64};URI=spiffe://td/tenant/admin",
            "spiffe://td/tenant/x,URI=spiffe://td/tenant/admin",
            "spiffe://td/tenant/x;URI=spiffe://td/tenant/admin",
            "spiffe://td/tenant/admin;DNS=x",
            "spiffe://td/tenant/admin;URI=",
            'spiffe://td/tenant/x"',
        ],
    )
    async def test_a_name_that_looks_like_more_names_nobody_else(self, here, uri):
        reply = await here.get(uri)
        users = [value for seen in here.site.service.seen for value in seen.values("x-auth-user")]
        assert (reply.status, users) in [(401, []), (200, [uri])]

    async def test_two_uris_are_refused(self, here):
        assert await here.refused(WORKLOAD, "spiffe://td/tenant/admin") == "certificate_invalid"

    async def test_a_certificate_of_another_authority_ends_the_connection(self, here):
        with pytest.raises((ssl.SSLError, ConnectionError)):
            await here.get(WORKLOAD, by=Authority("Foreign CA"))

    async def test_a_bad_certificate_does_not_count_after_a_good_token(self, here, authz):
        cookie = (("Cookie", f"__Host-session={authz.issuer.token('ann')}"),)
        assert (await here.get("spiffe://td/other/orders", headers=cookie)).status == 200
        assert here.site.service.seen[0].values("x-auth-user") == ["ann"]


async def test_what_envoy_passes_on_unchecked_is_found_out_over_grpc(keys, authz):
    """A mode in which Envoy passes on what the client wrote."""
    async with envoy("envoy-grpc-tcp", "ALWAYS_FORWARD_ONLY", keys, authz) as here:
        assert await here.refused(headers=FORGED) == "no_credentials"
        assert await here.refused(WORKLOAD, headers=FORGED) == "certificate_invalid"
        assert (await here.get(WORKLOAD)).status == 200


@pytest.mark.parametrize("example", ["traefik", "nginx", "caddy"])
async def test_at_any_other_door_the_header_is_the_clients_own(authz, example):
    async with site(example, authz.address(example)) as here:
        reply = await here.send("/documents/1", headers=FORGED)
        assert (reply.status, here.service.seen) == (401, [])
        if example != "nginx":
            assert reply.json()["reason"] == "no_credentials"


CREDENTIAL = "            proxy_set_header Authorization     $http_authorization;\n"
COOKIES: Mapping[str, Mapping[str, str]] = {
    "envoy-http-tcp": {LISTED: f"                - exact: cookie\n{LISTED}"},
    "envoy-grpc-tcp": {},
    "nginx": {CREDENTIAL: f"{CREDENTIAL}            proxy_set_header Cookie $http_cookie;\n"},
}
"""What an example needs beside its own text so that cookies come this far."""


@pytest.mark.parametrize("example", COOKIES)
async def test_a_cookie_is_a_credential_and_two_of_them_are_none(authz, example):
    ann, bob = (f"__Host-session={authz.issuer.token(name)}" for name in ("ann", "bob"))
    async with site(example, authz.address(example), COOKIES[example]) as here:
        reply = await here.send("/documents/1", headers=(("Cookie", f"theme=dark; {ann}"),))
        assert reply.status == 200
        assert here.service.seen[0].values("x-auth-user") == ["ann"]
        here.service.seen.clear()
        doubtful: list[Headers] = [
            (("Cookie", f"{ann}; {bob}"),),
            (("Cookie", ann), ("Cookie", bob)),
            (("Cookie", f"theme=x,{ann}"),),
            (("Cookie", f"{ann[:-2]}xx"),),
        ]
        for headers in doubtful:
            assert (await here.send("/documents/1", headers=headers)).status == 401
        assert here.service.seen == []
