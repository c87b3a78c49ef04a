"""What each proxy asks with its example configuration: the client's request as the proxy sees it, and nothing
that the client could have forged.
"""

from __future__ import annotations

import pytest
import pytest_asyncio

from tests.proxies.client import Headers
from tests.proxies.fakes import RawAuth, Seen
from tests.proxies.sites import GRPC, HTTP, ScriptedSite, parameters, scripted_site

pytestmark = [pytest.mark.proxy, pytest.mark.asyncio(loop_scope="module")]

# Every header by which some proxy or framework is told something about the request or its sender.
FORGED: Headers = tuple(
    (name, "forged.example")
    for name in (
        "Forwarded", "True-Client-IP", "CF-Connecting-IP", "X-Client-IP", "X-Real-IP",
        "X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Method", "X-Forwarded-Port", "X-Forwarded-Prefix",
        "X-Forwarded-Proto", "X-Forwarded-Scheme", "X-Forwarded-Server", "X-Forwarded-Uri",
        "X-Forwarded-Client-Cert", "X-HTTP-Method-Override", "X-Original-Host", "X-Original-Method",
        "X-Original-URI", "X-Original-URL", "X-Rewrite-URL", "X-Scheme",
        "X-Auth-User", "X-Auth-Groups", "X-Auth-Request-User",
        "X-Envoy-Auth-Partial-Body", "X-Envoy-External-Address", "X-Envoy-Original-Path",
    )
)  # fmt: skip

TARGET = "/documents/handbook?page=2&q=a%20b"


@pytest_asyncio.fixture(scope="module", loop_scope="module", params=parameters(HTTP))
async def running(request):
    async with scripted_site(request.param) as here:
        yield here


@pytest.fixture
def here(running: ScriptedSite) -> ScriptedSite:
    running.reset()
    return running


def for_examples(*examples: str):
    return pytest.mark.parametrize("running", parameters(examples), indirect=True, scope="module")


async def question(here: ScriptedSite, headers: Headers, *, method: str = "POST", target: str = TARGET) -> Seen:
    """What an HTTP authorization server is asked about a request."""
    assert isinstance(here.auth, RawAuth)
    reply = await here.send(target, method=method, headers=headers, body=b"hello" if method == "POST" else None)
    assert reply.status == 200
    assert len(here.auth.seen) == 1
    return here.auth.seen[0]


def facts(asked: Seen, *names: str) -> dict[str, list[str]]:
    return {name: asked.values(name) for name in names}


# Names that may reach the authorization server with the client's value: they count for nothing there.
HARMLESS_AT_CADDY = {name.lower() for name, _ in FORGED} - {
    "forwarded", "x-real-ip", "x-forwarded-for", "x-forwarded-host", "x-forwarded-method", "x-forwarded-proto",
    "x-forwarded-uri", "x-original-host", "x-original-method", "x-original-uri", "x-original-url",
    "x-http-method-override", "x-rewrite-url", "x-auth-user", "x-auth-groups",
}  # fmt: skip


async def test_nothing_forged_arrives(here: ScriptedSite):
    asked = await question(here, FORGED)
    forged = {name.lower() for name, value in asked.headers if "forged.example" in value}
    if here.family == "envoy-http":
        # The client's elements stay on the left; the last one is Envoy's, and the only one that counts.
        assert forged == {"x-forwarded-for"}
        elements = asked.values("x-forwarded-for")[0].split(",")
        assert elements[0] == "forged.example"
        assert len(elements) == 2
    else:
        assert forged <= (HARMLESS_AT_CADDY if here.family == "caddy" else set())


@for_examples("envoy-http-tcp", "envoy-http-unix")
async def test_envoy_asks_with_the_clients_own_method_and_path(here: ScriptedSite):
    asked = await question(here, FORGED)
    assert (asked.method, asked.target, asked.body) == ("POST", f"/envoy{TARGET}", b"")
    assert facts(asked, "host", "x-forwarded-proto", "content-length") == {
        "host": ["documents.example"],
        "x-forwarded-proto": ["http"],
        "content-length": ["0"],
    }


@for_examples("traefik")
async def test_traefik_tells_the_request_in_headers(here: ScriptedSite):
    asked = await question(here, FORGED)
    assert (asked.method, asked.target, asked.body) == ("GET", "/traefik", b"")
    assert facts(asked, "x-forwarded-method", "x-forwarded-host", "x-forwarded-uri") == {
        "x-forwarded-method": ["POST"],
        "x-forwarded-host": ["documents.example"],
        "x-forwarded-uri": [TARGET],
    }
    assert facts(asked, "x-forwarded-for", "x-forwarded-proto", "content-length") == {
        "x-forwarded-for": ["127.0.0.1"],
        "x-forwarded-proto": ["http"],
        "content-length": [],
    }


@for_examples("nginx", "nginx-unix")
async def test_nginx_tells_the_request_in_headers_and_nothing_else(here: ScriptedSite):
    asked = await question(here, (*FORGED, ("Authorization", "Bearer t"), ("Cookie", "a=1")))
    assert (asked.method, asked.target, asked.body) == ("GET", "/nginx", b"")
    request_id = asked.values("x-request-id")
    assert dict(asked.headers) == {
        "Host": "authz",
        "Authorization": "Bearer t",
        "X-Original-Method": "POST",
        "X-Original-URI": TARGET,
        "X-Forwarded-Host": "documents.example",
        "X-Forwarded-Proto": "http",
        "X-Real-IP": "127.0.0.1",
        "X-Request-ID": request_id[0],
    }
    assert here.service.seen[0].values("x-request-id") == request_id


@for_examples("caddy", "caddy-unix")
async def test_caddy_tells_the_request_in_headers(here: ScriptedSite):
    asked = await question(here, FORGED)
    assert (asked.method, asked.target, asked.body) == ("GET", "/caddy", b"")
    assert facts(asked, "host", "x-forwarded-method", "x-forwarded-uri") == {
        "host": ["documents.example"],
        "x-forwarded-method": ["POST"],
        "x-forwarded-uri": [TARGET],
    }
    assert facts(asked, "x-forwarded-for", "x-forwarded-proto", "content-length") == {
        "x-forwarded-for": ["127.0.0.1"],
        "x-forwarded-proto": ["http"],
        "content-length": [],
    }


async def test_the_token_arrives_once_and_as_sent(here: ScriptedSite):
    asked = await question(here, (("Authorization", "Bearer a.b.c"),))
    assert asked.values("authorization") == ["Bearer a.b.c"]


async def test_without_a_token_there_is_no_empty_one(here: ScriptedSite):
    asked = await question(here, ())
    assert asked.values("authorization") == []


async def test_a_second_token_is_never_hidden(here: ScriptedSite):
    headers = (("Authorization", "Bearer first"), ("Authorization", "Bearer second"))
    reply = await here.send(TARGET, headers=headers)
    if here.family == "nginx":
        assert reply.status == 400
        assert here.auth.seen == []
    else:
        asked = here.auth.seen[0]
        assert isinstance(asked, Seen)
        assert "Bearer second" in ",".join(asked.values("authorization"))
        assert "Bearer first" in ",".join(asked.values("authorization"))


async def test_cookies_stay_with_the_service(here: ScriptedSite):
    asked = await question(here, (("Cookie", "session=1"),))
    assert asked.values("cookie") == []
    assert here.service.seen[0].values("cookie") == ["session=1"]


@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS", "PUT", "PATCH", "DELETE"])
async def test_the_method_is_the_clients(here: ScriptedSite, method: str):
    asked = await question(here, (), method=method)
    told = {
        "envoy-http": [asked.method],
        "nginx": asked.values("x-original-method"),
    }.get(here.family, asked.values("x-forwarded-method"))
    assert told == [method]


@pytest.mark.parametrize("nominated", ["X-Forwarded-Uri", "X-Original-URI", "Authorization", "X-Real-IP", "Host"])
async def test_connection_cannot_take_a_header_away(here: ScriptedSite, nominated: str):
    # A client that names a header in `Connection` asks for it to be dropped. The proxy's own must stay; the
    # token may go, which is a request without one.
    assert isinstance(here.auth, RawAuth)
    headers = (("Authorization", "Bearer t"), ("Connection", f"close, {nominated}"))
    await here.send(TARGET, headers=headers)
    for asked in here.auth.seen:
        expected = {
            "envoy-http": {"host"},
            "traefik": {"x-forwarded-uri", "x-forwarded-method", "x-forwarded-host"},
            "nginx": {"x-original-uri", "x-original-method", "x-forwarded-host", "x-real-ip"},
            "caddy": {"host", "x-forwarded-uri", "x-forwarded-method", "x-forwarded-for"},
        }[here.family]
        assert expected <= asked.names


async def test_a_body_is_never_announced_to_authz_and_reaches_the_service(here: ScriptedSite):
    body = b"x" * 200_000  # more than a proxy keeps in memory
    reply = await here.send(TARGET, method="POST", body=body)
    assert isinstance(here.auth, RawAuth)
    assert reply.status == 200
    assert here.auth.seen[0].body == b""
    assert here.auth.seen[0].values("content-length") in ([], ["0"])
    assert here.service.seen[0].body == body


async def test_an_upgrade_is_not_asked_for_at_authz(here: ScriptedSite):
    upgrade = (
        ("Connection", "Upgrade"),
        ("Upgrade", "websocket"),
        ("Sec-WebSocket-Version", "13"),
        ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
    )
    assert isinstance(here.auth, RawAuth)
    here.answers(403)
    reply = await here.send("/documents/handbook", headers=upgrade)
    assert reply.status == 403
    assert here.auth.seen[0].values("upgrade") == []


PATHS = {
    # as sent                    Envoy               Traefik            nginx, Caddy: as sent
    "/documents/%2e%2e/x": ("/x", "/x"),
    "/documents/../x": ("/x", "/x"),
    "//documents//a": ("/documents/a", "/documents/a"),
    "/documents/./a": ("/documents/a", "/documents/a"),
    "/documents/a%2Fb": (None, None),
    "/documents/a%5Cb": (None, None),
    "/documents/a%00b": (None, None),
    "/documents/a;b": ("/documents/a;b", "/documents/a;b"),
    "/documents/a%2525": ("/documents/a%2525", "/documents/a%2525"),
    "/documents/%41%7e": ("/documents/A~", "/documents/A~"),
    "/documents/%C3%A4": ("/documents/%C3%A4", "/documents/%C3%A4"),
}


@pytest.mark.parametrize("path", sorted(PATHS))
async def test_authz_and_the_service_read_the_same_path(here: ScriptedSite, path: str):
    reply = await here.send(path)
    envoy, traefik = PATHS[path]
    nginx = None if path == "/documents/a%00b" else path
    expected = {"envoy-http": envoy, "traefik": traefik, "nginx": nginx, "caddy": path}[here.family]
    asked = [_path(here, seen) for seen in here.auth.seen if isinstance(seen, Seen)]
    received = [seen.target for seen in here.service.seen]
    if expected is None:
        assert (reply.status, asked, received) == (400, [], [])
    else:
        assert (asked, received) == ([expected], [expected])


def _path(here: ScriptedSite, asked: Seen) -> str:
    if here.family == "envoy-http":
        return asked.target.removeprefix("/envoy")
    return asked.values("x-original-uri" if here.family == "nginx" else "x-forwarded-uri")[0]


@for_examples(*GRPC)
async def test_over_grpc_nothing_forged_that_counts_arrives(here: ScriptedSite):
    headers = (*FORGED, ("Authorization", "Bearer first"), ("Authorization", "Bearer second"))
    await here.send(TARGET, headers=headers)
    (asked,) = here.auth.seen
    assert isinstance(asked, bytes)
    assert TARGET.encode() in asked
    assert b"documents.example" in asked
    # Envoy joins this field even with encode_raw_headers, so authz must know two tokens by the comma …
    assert b"Bearer first,Bearer second" in asked
    for name in (b"x-auth-user", b"x-auth-groups", b"x-envoy-original-path", b"x-http-method-override"):
        assert name not in asked
