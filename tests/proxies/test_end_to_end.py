"""The main job, end to end: a client, each real proxy with its example configuration, `authz serve`, a service.

The tables say what the *client* of each proxy gets, and what of the request the service gets.
"""

from __future__ import annotations

import asyncio
import dataclasses
import json
import time
from typing import Any

import aiohttp
import pytest
import pytest_asyncio

from tests.proxies.authz_serve import AuthzServe, Issuer
from tests.proxies.client import Headers, Reply
from tests.proxies.harness import Folder, until
from tests.proxies.sites import Site, parameters, site

pytestmark = [pytest.mark.proxy, pytest.mark.asyncio(loop_scope="module")]

IDENTITY = "x-auth-user"
SPOOFED: Headers = (("X-Auth-User", "erin"), ("x-auth-user", "carol"))


@dataclasses.dataclass(slots=True, kw_only=True)
class World(Site):
    """A site whose proxy asks a real `authz serve`."""

    authz: AuthzServe

    def bearer(self, subject: str, *groups: str, **claims: Any) -> Headers:
        return (("Authorization", f"Bearer {self.authz.issuer.token(subject, *groups, **claims)}"),)


HOSTS = {"aiohttp and grpcio": {}, "h2corn": {"hosts": {"http": "h2corn", "grpc": "h2corn"}}}


@pytest_asyncio.fixture(scope="module", loop_scope="module", params=HOSTS.values(), ids=HOSTS)
async def authz(request):
    with Folder() as folder:
        async with AuthzServe(folder, Issuer(), request.param) as process:
            yield process


@pytest_asyncio.fixture(scope="module", loop_scope="module", params=parameters())
async def running(request, authz: AuthzServe):
    async with site(request.param, authz.address(request.param)) as here:
        yield World(example=here.example, proxy=here.proxy, service=here.service, authz=authz)


@pytest.fixture
def here(running: World) -> World:
    running.service.seen.clear()
    return running


def problem(here: World, reply: Reply) -> dict[str, Any] | None:
    """authz's problem document; None at nginx, which shows pages of its own."""
    if here.family == "nginx":
        assert b"decision_id" not in reply.body
        return None
    assert reply.header("content-type") == "application/problem+json"
    assert reply.header("cache-control") == "no-store"
    return reply.json()


def refused(here: World, reply: Reply, status: int, reason: str) -> None:
    """The client got this, with authz's reason where the proxy passes bodies on; the service got nothing."""
    assert (reply.status, here.service.seen) == (status, [])
    document = problem(here, reply)
    if document is not None:
        assert document["status"] == status
        assert document["reason"] == reason
        assert document["type"].endswith(reason)
        assert document["decision_id"]


# --- allowed -----------------------------------------------------------------------------------------------


async def test_an_allowed_request_reaches_the_service_with_the_callers_identity(here: World):
    reply = await here.send("/documents/handbook", headers=here.bearer("alice", "analyst"))
    assert (reply.status, reply.header("x-upstream")) == (200, "reached")
    (seen,) = here.service.seen
    assert (seen.method, seen.target, seen.values(IDENTITY)) == ("GET", "/documents/handbook", ["alice"])


async def test_the_clients_own_identity_header_is_replaced(here: World):
    await here.send("/documents/handbook", headers=(*SPOOFED, *here.bearer("alice", "analyst")))
    assert here.service.seen[0].values(IDENTITY) == ["alice"]


async def test_an_anonymous_route_says_who_nobody_is(here: World):
    reply = await here.send("/public/press-kit", headers=SPOOFED)
    assert reply.status == 200
    assert here.service.seen[0].values(IDENTITY) == ["anonymous"]


async def test_an_identity_beyond_ascii_arrives_in_one_spelling(here: World):
    await here.send("/documents/handbook", headers=here.bearer("jürgen", "employee"))
    assert here.service.seen[0].values(IDENTITY) == ["j%C3%BCrgen"]


async def test_the_service_gets_the_token_the_query_and_its_own_headers(here: World):
    token = here.bearer("alice", "analyst")
    await here.send("/documents/handbook?page=2&q=a%20b%2Fc", headers=(*token, ("X-Tenant", "acme"), ("Cookie", "a=1")))
    (seen,) = here.service.seen
    assert seen.target == "/documents/handbook?page=2&q=a%20b%2Fc"
    assert seen.values("authorization") == [token[0][1]]
    assert seen.values("x-tenant") == ["acme"]
    assert seen.values("cookie") == ["a=1"]


async def test_a_body_reaches_the_service_as_it_was(here: World):
    body = bytes(range(256)) * 400
    reply = await here.send("/documents", method="POST", headers=here.bearer("alice", "analyst"), body=body)
    assert reply.status == 200
    assert [(seen.method, seen.body) for seen in here.service.seen] == [("POST", body)]


async def test_head_is_decided_as_head(here: World):
    reply = await here.send("/documents/handbook", method="HEAD", headers=here.bearer("alice", "analyst"))
    assert (reply.status, reply.body) == (200, b"")
    assert [seen.method for seen in here.service.seen] == ["HEAD"]


async def test_a_token_of_eight_kilobytes_is_fine(here: World):
    groups = ["analyst", *(f"group-{number:04}" for number in range(480))]
    headers = here.bearer("alice", *groups)
    assert len(headers[0][1]) > 8_000
    assert (await here.send("/documents/handbook", headers=headers)).status == 200


# --- who calls ---------------------------------------------------------------------------------------------


async def test_without_a_token_the_client_is_challenged(here: World):
    reply = await here.send("/documents/handbook")
    refused(here, reply, 401, "no_credentials")
    assert reply.values("www-authenticate") == ['Bearer realm="authz"']


BAD_TOKENS = {
    "expired": "token_expired",
    "of another issuer's key": "token_signature",
    "for another audience": "token_audience",
    "not a token": "token_malformed",
}


@pytest.mark.parametrize("kind", sorted(BAD_TOKENS))
async def test_a_bad_token_is_challenged_with_an_error(here: World, kind: str):
    long_ago = int(time.time()) - 7200
    tokens = {
        "expired": here.authz.issuer.token("alice", "analyst", iat=long_ago, exp=long_ago + 60),
        "of another issuer's key": Issuer().token("alice", "analyst"),
        "for another audience": here.authz.issuer.token("alice", "analyst", aud="payroll-api"),
        "not a token": "a.b.c",
    }
    reply = await here.send("/documents/handbook", headers=(("Authorization", f"Bearer {tokens[kind]}"),))
    refused(here, reply, 401, BAD_TOKENS[kind])
    (challenge,) = reply.values("www-authenticate")
    assert challenge.startswith('Bearer realm="authz", error="invalid_token"')
    assert tokens[kind].encode() not in reply.body


async def test_two_tokens_are_never_taken_for_one(here: World):
    headers = (*here.bearer("alice", "analyst"), *here.bearer("frank", "auditor"))
    reply = await here.send("/documents/handbook", headers=headers)
    assert reply.status in {400, 401}
    assert here.service.seen == []


# --- what is decided ---------------------------------------------------------------------------------------


async def test_a_forbid_is_403_with_its_reason(here: World):
    reply = await here.send("/documents/q3-forecast", headers=here.bearer("bob", "employee"))
    refused(here, reply, 403, "policy_forbid")


async def test_no_permit_is_403_with_its_reason(here: World):
    reply = await here.send("/documents/handbook", headers=here.bearer("frank", "auditor"))
    refused(here, reply, 403, "policy_no_permit")


async def test_another_method_is_another_action(here: World):
    reply = await here.send("/documents/handbook", method="DELETE", headers=here.bearer("alice", "analyst"))
    refused(here, reply, 403, "policy_no_permit")


async def test_a_denied_head_has_no_body(here: World):
    reply = await here.send("/documents/handbook", method="HEAD", headers=here.bearer("frank", "auditor"))
    assert (reply.status, reply.body, here.service.seen) == (403, b"", [])


@pytest.mark.parametrize(
    ("method", "target"),
    [("GET", "/"), ("GET", "/admin"), ("GET", "/documents/handbook/"), ("OPTIONS", "/documents/handbook")],
)
async def test_what_no_route_covers_is_refused(here: World, method: str, target: str):
    reply = await here.send(target, method=method, headers=here.bearer("alice", "analyst"))
    refused(here, reply, 403, "no_route")


@pytest.mark.parametrize("name", ["X-HTTP-Method-Override", "X-Forwarded-Method", "X-Original-Method"])
async def test_a_header_does_not_change_the_method(here: World, name: str):
    headers = (*here.bearer("frank", "auditor"), (name, "GET"))
    reply = await here.send("/documents/press-kit", method="DELETE", headers=headers)
    refused(here, reply, 403, "policy_no_permit")


@pytest.mark.parametrize("name", ["X-Forwarded-Uri", "X-Original-URI", "X-Original-URL", "X-Rewrite-URL"])
async def test_a_header_does_not_change_the_path(here: World, name: str):
    headers = (*here.bearer("frank", "auditor"), (name, "/documents/press-kit"))
    reply = await here.send("/documents/handbook", headers=headers)
    refused(here, reply, 403, "policy_no_permit")


@pytest.mark.parametrize("name", ["X-Forwarded-For", "X-Real-IP", "Forwarded", "X-Envoy-External-Address"])
async def test_a_header_does_not_change_the_address(here: World, name: str):
    # Erin may read the plan from the office network (10.0.0.0/8) only, and calls from loopback.
    headers = (*here.bearer("erin", "employee", amr=["pwd", "mfa"]), (name, "10.1.2.3"))
    reply = await here.send("/documents/merger-plan", headers=headers)
    refused(here, reply, 403, "policy_forbid")


# --- refused paths: sent as they stand, so that no client tidies them ----------------------------------------

# What Envoy and Traefik tidy themselves goes on as the tidy path; what can be read in two ways ends with 400,
# which nginx, that knows no 400 from an authorizer, shows as 403. A number: the status. Text: the path that
# was decided and that the service gets. `own`: the proxy refuses by itself, so no reason of authz is shown.
TIDY = "/documents/handbook"
PATHS: dict[str, dict[str, str | int]] = {
    "//documents/handbook": {"envoy": TIDY, "traefik": TIDY, "nginx": 403, "caddy": 400},
    "/documents//handbook": {"envoy": TIDY, "traefik": TIDY, "nginx": 403, "caddy": 400},
    "/documents/./handbook": {"envoy": TIDY, "traefik": TIDY, "nginx": 403, "caddy": 400},
    "/public/%2e%2e/documents/handbook": {"envoy": TIDY, "traefik": TIDY, "nginx": 403, "caddy": 400},
    "/public/../documents/handbook": {"envoy": TIDY, "traefik": TIDY, "nginx": 403, "caddy": 400},
    "/documents/hand%2Fbook": {"envoy": "own", "traefik": "own", "nginx": 403, "caddy": 400},
    "/documents/hand%5Cbook": {"envoy": "own", "traefik": "own", "nginx": 403, "caddy": 400},
    "/documents/hand%00book": {"envoy": "own", "traefik": "own", "nginx": "own", "caddy": 400},
    "/documents/handbook;v=1": {"envoy": 400, "traefik": 400, "nginx": 403, "caddy": 400},
    "/documents/hand%2562ook": {"envoy": 400, "traefik": 400, "nginx": 403, "caddy": 400},
    "/documents/hand%ffbook": {"envoy": 400, "traefik": 400, "nginx": 403, "caddy": 400},
    "/documents/hand%01book": {"envoy": 400, "traefik": 400, "nginx": 403, "caddy": 400},
}


@pytest.mark.parametrize("path", sorted(PATHS))
async def test_a_path_that_can_be_read_in_two_ways(here: World, path: str):
    reply = await here.send(path, headers=here.bearer("alice", "analyst"))
    expected = PATHS[path][here.family.partition("-")[0]]
    received = [seen.target for seen in here.service.seen]
    if expected == "own":
        assert (reply.status, received) == (400, [])
        assert b"decision_id" not in reply.body
    elif isinstance(expected, str):
        assert (reply.status, received) == (200, [expected])
    else:
        refused(here, reply, expected, "bad_path")


# --- upgrades ----------------------------------------------------------------------------------------------


async def test_a_websocket_is_authorized_once_at_the_upgrade(here: World):
    url = f"http://127.0.0.1:{here.proxy.port}/documents/handbook"
    headers = dict(here.bearer("alice", "analyst"))
    async with aiohttp.ClientSession() as session, session.ws_connect(url, headers=headers) as socket:
        for number in range(3):
            await socket.send_str(f"{number}")
            assert await socket.receive_str(timeout=10) == f"echo {number}"
    assert [(seen.target, seen.values(IDENTITY)) for seen in here.service.seen] == [("/documents/handbook", ["alice"])]


async def test_a_websocket_without_a_token_is_not_opened(here: World):
    url = f"http://127.0.0.1:{here.proxy.port}/documents/handbook"
    async with aiohttp.ClientSession() as session:
        with pytest.raises(aiohttp.WSServerHandshakeError) as refusal:
            await session.ws_connect(url)
    assert (refusal.value.status, here.service.seen) == (401, [])


async def test_a_websocket_that_is_denied_is_not_opened(here: World):
    url = f"http://127.0.0.1:{here.proxy.port}/documents/handbook"
    async with aiohttp.ClientSession() as session:
        with pytest.raises(aiohttp.WSServerHandshakeError) as refusal:
            await session.ws_connect(url, headers=dict(here.bearer("frank", "auditor")))
    assert (refusal.value.status, here.service.seen) == (403, [])


async def test_an_upgrade_leaves_authz_answering(here: World):
    # The question about an upgrade must not turn the proxy's connection to authz into something else.
    upgrade = (
        ("Connection", "Upgrade"),
        ("Upgrade", "websocket"),
        ("Sec-WebSocket-Version", "13"),
        ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
    )
    for _ in range(3):
        assert (await here.send("/documents/handbook", headers=upgrade)).status == 401
        reply = await here.send("/documents/handbook", headers=here.bearer("alice", "analyst"))
        assert reply.status == 200


# --- many at once ------------------------------------------------------------------------------------------


async def test_answers_are_not_mixed_up(here: World):
    """Concurrent callers over the proxy's few connections to authz: everybody gets their own answer."""

    async def call(number: int) -> tuple[int, int, str | None]:
        user = ("alice", "frank", "bob")[number % 3]
        role = {"alice": "analyst", "frank": "auditor", "bob": "employee"}[user]
        reply = await here.send(f"/documents/handbook?n={number}", headers=here.bearer(user, role))
        echoed = dict(json.loads(reply.body)["headers"]) if reply.status == 200 else {}
        return number, reply.status, {name.lower(): value for name, value in echoed.items()}.get(IDENTITY)

    answers = await asyncio.gather(*(call(number) for number in range(60)))
    expected = {0: (200, "alice"), 1: (403, None), 2: (200, "bob")}
    assert [answer[1:] for answer in answers] == [expected[number % 3] for number in range(60)]


# --- what is written down ----------------------------------------------------------------------------------


def records(here: World) -> list[dict[str, Any]]:
    """The decision records that authz has written whole."""
    lines = here.authz.log.split("\n")[:-1]
    return [record for record in map(json.loads, lines) if record.get("event") == "decision"]


async def test_a_record_bears_the_request_id_that_the_service_sees(here: World):
    await here.send(
        "/documents/handbook", headers=(*here.bearer("alice", "analyst"), ("X-Request-Id", "from-a-client"))
    )
    (seen,) = here.service.seen
    (request_id,) = seen.values("x-request-id")
    # Traefik makes no ids; the others make one, so that a client cannot choose it.
    assert (request_id == "from-a-client") == (here.family == "traefik")

    async def written() -> bool:
        return any(record.get("request_id") == request_id for record in records(here))

    await until(written, "the record is written")


async def test_no_token_is_written_down(here: World):
    good, bad = here.bearer("alice", "analyst"), (("Authorization", "Bearer a-bad-token-of-ours"),)
    before = len(records(here))
    statuses = [(await here.send("/documents/handbook", headers=headers)).status for headers in (good, bad)]
    assert statuses == [200, 401]

    async def written() -> bool:
        return len(records(here)) == before + 2

    await until(written, "both records are written")
    for text in (here.authz.log, here.proxy.log):
        assert good[0][1].removeprefix("Bearer ") not in text
        assert "a-bad-token-of-ours" not in text


# --- when authz is not there --------------------------------------------------------------------------------

WITHOUT_AUTHZ = {"envoy-http": 503, "envoy-grpc": 503, "traefik": 500, "nginx": 503, "caddy": 502}


async def test_without_authz_nothing_reaches_the_service_and_all_is_well_when_it_is_back(here: World):
    headers = here.bearer("alice", "analyst")
    assert (await here.send("/documents/handbook", headers=headers)).status == 200
    here.service.seen.clear()
    await here.authz.kill()
    try:
        for target in ("/documents/handbook", "/public/press-kit", "/admin"):
            reply = await here.send(target, headers=headers)
            assert (reply.status, here.service.seen) == (WITHOUT_AUTHZ[here.family], [])
    finally:
        await here.authz.start()
    assert (await here.send("/documents/handbook", headers=headers)).status == 200
