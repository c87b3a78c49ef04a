"""What the client of each proxy gets, and whether the service is reached, for each kind of answer.

Measured with the example configurations and an authorization server that answers byte by byte, so that it is
known what `authz` may answer to whom: exactly 200 for an allow, to nginx nothing but 401 and 403 for a denial.
"""

from __future__ import annotations

import json

import pytest
import pytest_asyncio

from tests.proxies.client import Reply
from tests.proxies.fakes import RawAuth, RawGrpcAuth, check_ok, field_bytes, field_int, stopped
from tests.proxies.sites import EXAMPLES, GRPC, HTTP, ScriptedSite, family, parameters, scripted_site

pytestmark = [pytest.mark.proxy, pytest.mark.asyncio(loop_scope="module")]

ENVOY = tuple(name for name in EXAMPLES if name.startswith("envoy"))
CHALLENGE = 'Bearer realm="authz", error="invalid_token", error_description="the token has expired"'
PROBLEM = json.dumps({"status": 403, "reason": "policy_no_permit", "decision_id": "d1"}).encode()
PROBLEM_HEADERS = (("content-type", "application/problem+json"), ("cache-control", "no-store"))


@pytest_asyncio.fixture(scope="module", loop_scope="module", params=parameters())
async def running(request):
    async with scripted_site(request.param) as here:
        yield here


@pytest.fixture
def here(running: ScriptedSite) -> ScriptedSite:
    running.reset()
    return running


def for_examples(*examples: str):
    return pytest.mark.parametrize("running", parameters(examples), indirect=True, scope="module")


async def ask(here: ScriptedSite) -> Reply:
    return await here.send("/documents/handbook", headers=(("Authorization", "Bearer t"),))


def seen_by_client(reply: Reply) -> tuple[int, str]:
    """The status, and whose body it has: authz's problem, the proxy's own, or none."""
    if reply.body == PROBLEM and reply.header("content-type") == "application/problem+json":
        return reply.status, "problem"
    return reply.status, "own" if reply.body else "empty"


# --- allow -------------------------------------------------------------------------------------------------


async def test_an_allow_reaches_the_service(here: ScriptedSite):
    reply = await ask(here)
    assert (reply.status, reply.header("x-upstream")) == (200, "reached")
    assert [seen.target for seen in here.service.seen] == ["/documents/handbook"]
    assert len(here.auth.seen) == 1


async def test_an_identity_header_of_the_answer_replaces_the_clients(here: ScriptedSite):
    here.answers(200, (("x-auth-user", "alice"),))
    await here.send("/documents/handbook", headers=(("X-Auth-User", "root"), ("x-auth-user", "admin")))
    assert here.service.seen[0].values("x-auth-user") == ["alice"]


async def test_an_identity_header_that_the_answer_lacks_is_not_the_clients(here: ScriptedSite):
    await here.send("/documents/handbook", headers=(("X-Auth-User", "root"), ("X-AUTH-USER", "admin")))
    assert here.service.seen[0].values("x-auth-user") == []


async def test_other_names_of_the_identity_prefix_are_not_the_clients(here: ScriptedSite):
    await here.send("/documents/handbook", headers=(("X-Auth-Groups", "root"),))
    # nginx removes by name: each header that a route sets needs its line there.
    expected = ["root"] if here.family == "nginx" else []
    assert here.service.seen[0].values("x-auth-groups") == expected


async def test_an_underscore_is_no_way_round(here: ScriptedSite):
    reply = await here.send("/documents/handbook", headers=(("X_Auth_User", "root"),))
    if here.family in {"nginx", "caddy"}:
        assert reply.status == 200
        assert "x_auth_user" not in here.service.seen[0].names
    else:
        assert reply.status == 400
        assert here.service.seen == []


@pytest.mark.parametrize(
    "name", ["X-HTTP-Method-Override", "X-HTTP-Method", "X-Method-Override", "X-Original-URL", "X-Rewrite-URL"]
)
async def test_no_header_turns_the_request_into_another_one(here: ScriptedSite, name: str):
    await here.send("/documents/handbook", headers=((name, "DELETE"),))
    assert here.service.seen[0].values(name) == []


@for_examples("envoy-http-tcp")
async def test_over_http_authz_has_headers_removed(here: ScriptedSite):
    here.answers(200, remove=("x-tenant", "x-role"))
    await here.send("/documents/handbook", headers=(("X-Tenant", "acme"), ("X-Role", "root"), ("X-Other", "1")))
    assert here.service.seen[0].names & {"x-tenant", "x-role", "x-other"} == {"x-other"}


@for_examples("envoy-grpc-tcp")
async def test_over_grpc_authz_may_remove_identity_headers_and_no_others(here: ScriptedSite):
    here.answers(200, remove=("x-auth-groups",))
    assert (await ask(here)).status == 200
    here.answers(200, remove=("x-tenant",))
    assert (await here.send("/documents/handbook", headers=(("X-Tenant", "acme"),))).status == 500
    assert len(here.service.seen) == 1


@for_examples("envoy-grpc-tcp")
@pytest.mark.parametrize("name", [":path", ":method", ":authority", "host", "content-length", "authorization"])
async def test_over_grpc_authz_cannot_turn_the_request_into_another_one(here: ScriptedSite, name: str):
    here.answers(200, ((name, "5"),))
    reply = await ask(here)
    assert (reply.status, here.service.seen) == (500, [])


@for_examples("envoy-grpc-tcp")
async def test_over_grpc_an_empty_answer_is_an_allow(here: ScriptedSite):
    # The trap that the codec's explicit status is there for.
    assert isinstance(here.auth, RawGrpcAuth)
    here.auth.answer = b""
    assert (await ask(here)).status == 200


# --- denials -----------------------------------------------------------------------------------------------

# Anything but 200 is a denial to Envoy, so an allow is exactly 200.
OTHER_2XX = {"envoy-http": (False, 204), "traefik": (True, 200), "nginx": (True, 200), "caddy": (True, 200)}

DENIALS = {
    401: {
        "envoy-http": (401, "problem"),
        "envoy-grpc": (401, "problem"),
        "traefik": (401, "problem"),
        "nginx": (401, "own"),
        "caddy": (401, "problem"),
    },
    403: {
        "envoy-http": (403, "problem"),
        "envoy-grpc": (403, "problem"),
        "traefik": (403, "problem"),
        "nginx": (403, "own"),
        "caddy": (403, "problem"),
    },
    400: {
        "envoy-http": (400, "problem"),
        "envoy-grpc": (400, "problem"),
        "traefik": (400, "problem"),
        "nginx": (503, "own"),
        "caddy": (400, "problem"),
    },
    302: {
        "envoy-http": (302, "problem"),
        "envoy-grpc": (302, "problem"),
        "traefik": (302, "problem"),
        "nginx": (503, "own"),
        "caddy": (302, "problem"),
    },
    429: {
        "envoy-http": (429, "problem"),
        "envoy-grpc": (429, "problem"),
        "traefik": (429, "problem"),
        "nginx": (503, "own"),
        "caddy": (429, "problem"),
    },
    500: {
        "envoy-http": (503, "empty"),
        "envoy-grpc": (500, "problem"),
        "traefik": (500, "problem"),
        "nginx": (503, "own"),
        "caddy": (500, "problem"),
    },
    503: {
        "envoy-http": (503, "empty"),
        "envoy-grpc": (503, "problem"),
        "traefik": (503, "problem"),
        "nginx": (503, "own"),
        "caddy": (503, "problem"),
    },
}


@pytest.mark.parametrize("status", sorted(DENIALS))
async def test_a_denial_reaches_the_client_and_never_the_service(here: ScriptedSite, status: int):
    here.answers(status, PROBLEM_HEADERS, PROBLEM)
    reply = await ask(here)
    assert seen_by_client(reply) == DENIALS[status][here.family]
    assert here.service.seen == []


@for_examples(*HTTP)
async def test_what_another_2xx_is(here: ScriptedSite):
    here.answers(204)
    reply = await ask(here)
    assert (bool(here.service.seen), reply.status) == OTHER_2XX[here.family]


async def test_the_challenge_of_a_401_reaches_the_client(here: ScriptedSite):
    here.answers(401, (("www-authenticate", CHALLENGE), *PROBLEM_HEADERS), PROBLEM)
    reply = await ask(here)
    assert reply.values("www-authenticate") == [CHALLENGE]


async def test_a_denial_is_not_for_caches_unless_the_proxy_hides_that(here: ScriptedSite):
    here.answers(403, PROBLEM_HEADERS, PROBLEM)
    reply = await ask(here)
    assert reply.values("cache-control") == ([] if here.family == "nginx" else ["no-store"])


async def test_a_denial_of_head_has_no_body(here: ScriptedSite):
    here.answers(403, PROBLEM_HEADERS, PROBLEM if here.family == "envoy-grpc" else b"")
    reply = await here.send("/documents/handbook", method="HEAD")
    assert (reply.status, reply.body, here.service.seen) == (403, b"", [])


@for_examples(*(name for name in HTTP if name in ENVOY))
async def test_envoy_shows_the_client_nothing_but_what_is_listed(here: ScriptedSite):
    here.answers(403, (*PROBLEM_HEADERS, ("x-internal", "1"), ("set-cookie", "a=1"), ("x-auth-user", "alice")), PROBLEM)
    reply = await ask(here)
    assert {name for name, _ in reply.headers} & {"x-internal", "set-cookie", "x-auth-user"} == set()


# --- failures: never an allow, and the client is told that the fault is not its own -------------------------

NOT_HTTP = b"\x15\x03\x01\x00\x02\x02\x46 not HTTP\r\n\r\n"
BROKEN = {
    "not HTTP": NOT_HTTP,
    "a header line without a colon": b"HTTP/1.1 200 OK\r\nx-auth-user alice\r\nContent-Length: 0\r\n\r\n",
    "a status that is no number": b"HTTP/1.1 abc OK\r\nContent-Length: 0\r\n\r\n",
    "closed without an answer": None,
}
UNANSWERED = {"envoy-http": 503, "envoy-grpc": 503, "traefik": 500, "nginx": 503, "caddy": 502}
TOO_SLOW = {"envoy-http": 503, "envoy-grpc": 503, "nginx": 503, "caddy": 504}


@for_examples(*HTTP)
@pytest.mark.parametrize("kind", sorted(BROKEN))
async def test_a_broken_answer_is_a_failure(here: ScriptedSite, kind: str):
    assert isinstance(here.auth, RawAuth)
    here.auth.answer = BROKEN[kind]
    reply = await ask(here)
    assert (reply.status, here.service.seen) == (UNANSWERED[here.family], [])


@for_examples(*GRPC)
@pytest.mark.parametrize("answer", [None, b"\xff\xff\xff"], ids=["an RPC error", "no CheckResponse"])
async def test_a_broken_grpc_answer_is_a_failure(here: ScriptedSite, answer: bytes | None):
    assert isinstance(here.auth, RawGrpcAuth)
    here.auth.answer = answer
    reply = await ask(here)
    assert (reply.status, reply.body, here.service.seen) == (503, b"", [])


@for_examples(*GRPC)
async def test_a_denial_whose_status_is_missing_is_an_allow(here: ScriptedSite):
    # The other trap: Envoy looks at the status alone.
    assert isinstance(here.auth, RawGrpcAuth)
    here.auth.answer = field_bytes(2, field_bytes(1, field_int(1, 403)))
    assert (await ask(here)).status == 200
    here.auth.answer = check_ok()
    assert (await ask(here)).status == 200


async def test_nobody_there_is_a_failure_and_over_once_there_is_somebody(here: ScriptedSite):
    assert (await ask(here)).status == 200
    here.service.seen.clear()
    async with stopped(here.auth):
        reply = await ask(here)
        assert (reply.status, here.service.seen) == (UNANSWERED[here.family], [])
    assert (await ask(here)).status == 200


# Traefik waits for 30 s, which is not for a configuration to change.
@for_examples(*(name for name in EXAMPLES if family(name) != "traefik"))
async def test_silence_is_a_failure(here: ScriptedSite):
    here.auth.silent = True
    reply = await ask(here)
    assert (reply.status, here.service.seen) == (TOO_SLOW[here.family], [])
