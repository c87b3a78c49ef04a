"""`authz serve` among proxies from start to end, and where it is not configured as the end-to-end tests have it."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from tests.proxies.authz_serve import AuthzServe, Issuer
from tests.proxies.client import send
from tests.proxies.harness import Folder, accepts, free_port
from tests.proxies.sites import Site, parameters, site

pytestmark = pytest.mark.proxy

ENVOY = ("envoy-http-tcp", "envoy-grpc-tcp")


async def test_once_ready_every_door_is_open():
    with Folder() as folder:
        authz = AuthzServe(folder, Issuer())
        async with authz:
            doors: list[int | Path] = [authz.http, authz.grpc, authz.http_socket, authz.grpc_socket]
            assert [await accepts(door) for door in doors] == [True] * 4


async def test_it_ends_with_status_0_and_leaves_no_socket_behind():
    with Folder() as folder:
        authz = AuthzServe(folder, Issuer())
        await authz.start()
        assert await authz.stop() == 0
        assert list(folder.glob("*.sock")) == []


@pytest.mark.parametrize("example", parameters(("envoy-http-tcp", "envoy-grpc-tcp", "nginx", "caddy")))
async def test_a_stop_amid_requests_lets_nothing_through_undecided_and_loses_no_record(example: str):
    with Folder() as folder:
        authz = AuthzServe(folder, Issuer())
        headers = (("Authorization", f"Bearer {authz.issuer.token('alice', 'analyst')}"),)
        async with authz, site(example, authz.address(example)) as here:
            calls = [asyncio.create_task(_call(here, headers)) for _ in range(80)]
            await here.service.reached.wait()
            assert await authz.stop() == 0
            statuses = await asyncio.gather(*calls)
            allowed = statuses.count(200)
            assert set(statuses) <= {200, 502, 503}
            assert 0 < allowed == len(here.service.seen)
            decided = [record for record in _records(authz) if record["outcome"] == "allowed"]
            assert len(decided) >= allowed


async def _call(here: Site, headers: tuple[tuple[str, str], ...]) -> int:
    return (await here.send("/documents/handbook", headers=headers)).status


def _records(authz: AuthzServe) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in authz.log.splitlines()]
    return [line for line in lines if line.get("event") == "decision"]


# Two routes own identity headers between them, and the second one sets but one of the two.
OWNED: list[dict[str, Any]] = [
    {
        "name": "read",
        "match": {"methods": ["GET"], "path": "/documents/{id}"},
        "action": 'Documents::Action::"ReadDocument"',
        "resource": {"type": "Documents::Document", "id": "{path.id}"},
        "headers": {"x-auth-user": "{principal.id}", "x-auth-document": "{path.id}"},
    },
    {
        "name": "read-public",
        "match": {"methods": ["GET"], "path": "/public/{id}"},
        "anonymous": 'Documents::User::"anonymous"',
        "action": 'Documents::Action::"ReadDocument"',
        "resource": {"type": "Documents::Document", "id": "{path.id}"},
        "headers": {"x-auth-document": "{path.id}"},
    },
]
EARLY_REMOVAL = "- remove_on_match: {key_matcher: {prefix: x-auth-, ignore_case: true}}"


@pytest.mark.parametrize("example", parameters(ENVOY))
async def test_authz_removes_identity_headers_that_a_route_does_not_set(example: str):
    """Even where Envoy's own removal, which comes first in the examples, is missing."""
    with Folder() as folder:
        authz = AuthzServe(folder, Issuer(), {"routes": OWNED})
        async with authz, site(example, authz.address(example), {EARLY_REMOVAL: "- remove: x-none"}) as here:
            forged = (("X-Auth-User", "erin"), ("X-Auth-Document", "merger-plan"))
            assert (await here.send("/public/press-kit", headers=forged)).status == 200
            (seen,) = here.service.seen
            assert (seen.values("x-auth-user"), seen.values("x-auth-document")) == ([], ["press-kit"])


async def test_a_stranger_on_loopback_learns_nothing_from_the_doors():
    with Folder() as folder:
        async with AuthzServe(folder, Issuer(), {"trusted_proxies": ["192.0.2.0/24"]}) as authz:
            reply = await send(authz.http, "/envoy/documents/handbook")
            assert reply.status == 403
            assert reply.json()["reason"] == "untrusted_peer"


class Keyless(AuthzServe):
    """authz whose issuer's keys cannot be fetched: it runs, and cannot know whose a token is."""

    def configuration(self) -> dict[str, Any]:
        configuration = super().configuration()
        (issuer,) = configuration["issuers"]
        del issuer["jwks_file"]
        issuer["jwks_uri"] = f"http://127.0.0.1:{free_port()}/jwks"
        return configuration

    async def ready(self) -> bool:
        doors: list[int | Path] = [self.admin, self.http, self.grpc, self.http_socket, self.grpc_socket]
        return all([await accepts(door) for door in doors]) and (await send(self.admin, "/livez")).status == 200


# What of authz's answer is left at the client: Envoy's HTTP filter empties a 503, nginx shows its own page.
CANNOT_DECIDE = [
    ("envoy-http-tcp", {}, "empty"),
    ("envoy-grpc-tcp", {}, "problem"),
    ("envoy-grpc-tcp", {"grpc_failure": "error"}, "problem"),
    ("traefik", {}, "problem"),
    ("nginx", {}, "own"),
    ("caddy", {}, "problem"),
]


@pytest.mark.parametrize(("example", "responses", "body"), CANNOT_DECIDE)
async def test_where_nobody_can_decide_the_client_gets_503(example: str, responses: dict[str, str], body: str):
    with Folder() as folder:
        authz = Keyless(folder, Issuer(), {"responses": responses})
        async with authz, site(example, authz.address(example)) as here:
            assert (await send(authz.admin, "/readyz")).status == 503
            headers = (("Authorization", f"Bearer {authz.issuer.token('alice', 'analyst')}"),)
            reply = await here.send("/documents/handbook", headers=headers)
            assert (reply.status, here.service.seen) == (503, [])
            if body == "problem":
                assert reply.json()["reason"] == "keys_unavailable"
            else:
                assert bool(reply.body) == (body == "own")
