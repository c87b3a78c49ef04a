"""CORS preflights through real proxies: those of a route that passes them reach the service, with no identity."""

from __future__ import annotations

import json

import pytest
import pytest_asyncio

from tests.proxies.client import Headers
from tests.proxies.harness import until
from tests.proxies.payments import Payments, payments, payments_site
from tests.proxies.sites import Site, parameters

pytestmark = [pytest.mark.proxy, pytest.mark.asyncio(loop_scope="module")]

TARGET = "/accounts/a1/payments"
PREFLIGHT: Headers = (("Origin", "https://app.example"), ("Access-Control-Request-Method", "POST"))
SPOOFED: Headers = (("X-Auth-User", "root"),)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def authz():
    async with payments() as process:
        yield process


@pytest_asyncio.fixture(
    scope="module", loop_scope="module", params=parameters(("envoy-grpc-tcp", "envoy-http-tcp", "traefik"))
)
async def running(request, authz: Payments):
    async with payments_site(authz, request.param, {}) as here:
        yield here


@pytest.fixture
def here(running: Site) -> Site:
    running.service.seen.clear()
    return running


async def test_a_preflight_reaches_the_service_without_an_identity(here: Site, authz: Payments):
    reply = await here.send(TARGET, method="OPTIONS", headers=(*PREFLIGHT, *SPOOFED))
    assert reply.status == 200
    (seen,) = here.service.seen
    assert (seen.method, seen.values("origin"), seen.values("x-auth-user")) == ("OPTIONS", ["https://app.example"], [])

    async def written() -> bool:
        records = [json.loads(line) for line in authz.log.split("\n")[:-1] if '"event":"decision"' in line]
        return any(record.get("decision_point") == "preflight" and record["route"] == "pay" for record in records)

    await until(written, "the record says that it was a preflight")


@pytest.mark.parametrize(
    ("method", "headers"),
    [
        ("OPTIONS", ()),
        ("OPTIONS", PREFLIGHT[:1]),
        ("OPTIONS", PREFLIGHT[1:]),
        ("OPTIONS", (*PREFLIGHT, PREFLIGHT[1])),
        ("OPTIONS", (*PREFLIGHT, ("Authorization", "Bearer x"))),
        ("OPTIONS", (PREFLIGHT[0], ("Access-Control-Request-Method", "DELETE"))),
        ("GET", PREFLIGHT),
        ("HEAD", PREFLIGHT),
        ("POST", PREFLIGHT),
    ],
)
async def test_nothing_else_passes_as_one(here: Site, method: str, headers: Headers):
    reply = await here.send(TARGET, method=method, headers=headers)
    assert (reply.status, here.service.seen) == (400 if method == "POST" else 403, [])


async def test_a_route_without_the_setting_decides(here: Site):
    reply = await here.send(
        "/accounts/a1", method="OPTIONS", headers=(PREFLIGHT[0], ("Access-Control-Request-Method", "GET"))
    )
    assert reply.status == 200  # by a policy: the route covers OPTIONS
    assert (await here.send("/accounts", method="OPTIONS", headers=PREFLIGHT)).status == 403
