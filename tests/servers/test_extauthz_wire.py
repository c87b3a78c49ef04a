"""The gRPC door behind a real Envoy 1.40: what its client gets, and what the service behind it receives."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass

import grpc
import pytest
import pytest_asyncio

from authz.core.model import Allowed, HeaderEdits, Request
from authz.servers.extauthz_codec import OnFailure
from authz.servers.grpc_check import CheckSettings
from authz.servers.grpc_host import GrpcHost, GrpcSettings
from authz.service import Limits
from tests.proxies.client import Reply, send
from tests.proxies.fakes import Upstream
from tests.proxies.harness import Folder, until
from tests.servers.extauthz_envoy import Front, ScriptedEnvoy
from tests.servers.extauthz_support import (
    ALLOW,
    ALLOW_WITH_EDITS,
    DENY,
    FAILED,
    LET_THROUGH,
    PERMIT,
    REFUSED,
    UNAUTHENTICATED,
    Records,
    Scripted,
    scripted_service,
)

pytestmark = [pytest.mark.proxy, pytest.mark.asyncio(loop_scope="module")]

OPEN = {"failure_mode_allow": True, "failure_mode_allow_header_add": True}
RAW = {"encode_raw_headers": True, "with_request_body": {"max_request_bytes": 65536, "pack_as_bytes": True}}
MARGIN = 10.0
"""Of the three seconds that Envoy waits a tenth is kept for the reply: enough on a slow machine."""


@dataclass(slots=True, kw_only=True)
class Site:
    envoy: ScriptedEnvoy
    upstream: Upstream
    scripted: Scripted
    records: Records
    checked: GrpcHost
    """The door whose health Envoy checks."""

    async def send(self, target: str = "/documents/42", *, front: str = "deny", **request) -> Reply:
        return await send(self.envoy.fronts[front].port, target, **request)

    def reset(self) -> None:
        self.upstream.seen.clear()
        self.scripted.requests.clear()
        self.scripted.answer = lambda _: ALLOW
        self.scripted.hold = None
        self.records.kept.clear()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def running() -> AsyncIterator[Site]:
    scripted, records = Scripted(), Records()
    service = scripted_service(scripted, records, limits=Limits(deadline=60))
    async with AsyncExitStack() as stack:
        folder = stack.enter_context(Folder())
        upstream = await stack.enter_async_context(Upstream())

        async def door(on_failure: OnFailure = "deny", **address) -> GrpcHost:
            checks = CheckSettings(on_failure=on_failure, reply_margin=MARGIN)
            host = GrpcHost(service, GrpcSettings(checks=checks), **address)
            await host.start()
            stack.push_async_callback(host.stop, 0.1)
            return host

        deny, error, checked = await door(), await door("error"), await door()
        await door(path=str(folder / "grpc.sock"))
        fronts = {
            "deny": Front(door=deny.port, options=OPEN),
            "error": Front(door=error.port),
            "error-open": Front(door=error.port, options=OPEN),
            "unix": Front(door=folder / "grpc.sock", options=RAW),
            "health": Front(door=checked.port, health=True),
            "tcp": Front(door=deny.port, tcp=True),
        }
        envoy = await stack.enter_async_context(ScriptedEnvoy(folder, fronts, upstream.port))
        yield Site(envoy=envoy, upstream=upstream, scripted=scripted, records=records, checked=checked)


@pytest.fixture
def here(running: Site) -> Site:
    running.reset()
    return running


def answering(here: Site, outcome) -> None:
    here.scripted.answer = lambda _: outcome


IDENTITY = (("x-user", "root"), ("X-User", "admin"), ("x-groups", "admins"), ("x-tenant", "t1"))


@pytest.mark.parametrize("front", ["deny", "unix"])
async def test_an_allow_sets_and_removes_headers_whatever_the_client_sent(here: Site, front):
    answering(here, ALLOW_WITH_EDITS)
    reply = await here.send(front=front, headers=(*IDENTITY, ("x-other", "kept")))
    assert reply.status == 200
    (seen,) = here.upstream.seen
    assert seen.values("x-user") == ["alice"]
    assert seen.values("x-groups") == ["a,b"]
    assert seen.values("x-tenant") == []
    assert seen.values("x-other") == ["kept"]


async def test_a_bare_allow_changes_nothing(here: Site):
    assert (await here.send(headers=(("x-other", "kept"),))).status == 200
    assert here.upstream.seen[0].values("x-other") == ["kept"]


async def test_a_let_through_failure_carries_no_identity(here: Site):
    answering(here, LET_THROUGH)
    assert (await here.send(headers=IDENTITY)).status == 200
    assert not {"x-user", "x-groups", "x-tenant"} & here.upstream.seen[0].names


async def test_values_arrive_as_they_were_encoded(here: Site):
    values = (("x-user", "Jos%C3%A9 %25"), ("x-empty", ""), ("x-list", "a, b"))
    answering(here, Allowed(decision=PERMIT, edits=HeaderEdits(set=values)))
    assert (await here.send()).status == 200
    assert [(name, here.upstream.seen[0].values(name)) for name, _ in values] == [(n, [v]) for n, v in values]


async def test_headers_that_would_reroute_or_desynchronise_never_reach_envoy(here: Site):
    evil = (
        *((":path", "/evil"), (":method", "DELETE"), ("host", "evil.example"), ("content-length", "3")),
        *(("transfer-encoding", "chunked"), ("connection", "x-user"), ("x-forwarded-for", "6.6.6.6")),
    )
    answering(here, Allowed(decision=PERMIT, edits=HeaderEdits(set=(*evil, ("x-user", "alice")))))
    assert (await here.send(method="POST", body=b"hello")).status == 200
    (seen,) = here.upstream.seen
    assert (seen.method, seen.target, seen.body) == ("POST", "/documents/42", b"hello")
    assert seen.values("host") == ["documents.example"]
    assert seen.values("x-user") == ["alice"]
    assert seen.values("x-forwarded-for") == []


@pytest.mark.parametrize(
    ("outcome", "status", "reason"),
    [
        (REFUSED, 400, "bad_path"),
        (UNAUTHENTICATED, 401, "token_expired"),
        (DENY, 403, "policy_forbid"),
        # As a denial, and so even where Envoy is told to let errors through.
        (FAILED, 503, "decision_unavailable"),
    ],
)
@pytest.mark.parametrize("method", ["GET", "HEAD"])
async def test_the_client_gets_status_challenge_and_problem(here: Site, outcome, status, reason, method):
    answering(here, outcome)
    reply = await here.send(method=method)
    assert reply.status == status
    assert reply.header("content-type") == "application/problem+json"
    assert reply.header("cache-control") == "no-store"
    assert (reply.header("www-authenticate") is not None) == (status == 401)
    assert here.upstream.seen == []
    if method == "HEAD":
        assert reply.body == b""
    else:
        assert reply.json()["reason"] == reason
        assert reply.json()["decision_id"] == here.records.kept[0].id


async def test_a_failure_as_an_error_keeps_its_status_where_envoy_fails_closed(here: Site):
    answering(here, FAILED)
    reply = await here.send(front="error")
    assert (reply.status, reply.json()["reason"]) == (503, "decision_unavailable")
    assert here.upstream.seen == []


async def test_a_failure_as_an_error_goes_on_where_envoy_is_told_so(here: Site):
    answering(here, FAILED)
    assert (await here.send(front="error-open")).status == 200
    assert here.upstream.seen[0].values("x-envoy-auth-failure-mode-allowed") == ["true"]


@pytest.mark.parametrize("outcome", [REFUSED, UNAUTHENTICATED, DENY])
async def test_a_denial_is_no_error(here: Site, outcome):
    answering(here, outcome)
    assert (await here.send(front="error-open")).status == outcome.status
    assert here.upstream.seen == []


def explode(_: Request):
    raise RuntimeError


async def test_a_fault_of_ours_is_not_let_through_by_envoy(here: Site):
    here.scripted.answer = explode
    reply = await here.send()
    assert (reply.status, reply.json()["reason"]) == (500, "internal")
    assert here.upstream.seen == []


async def test_a_check_that_takes_too_long_is_answered_before_envoy_gives_up(here: Site):
    here.scripted.hold = asyncio.Event().wait
    reply = await here.send()
    assert (reply.status, reply.json()["reason"]) == (503, "deadline")
    assert here.upstream.seen == []


@pytest.mark.parametrize(
    ("target", "headers", "reason"),
    [
        ("/a/../admin", (), "bad_path"),
        ("//admin/x", (), "bad_path"),
        ("/a%2fb", (), "bad_path"),
        ("/a;b", (), "bad_path"),
        ("/a", (("Host", "b.example"),), "bad_host"),
        ("/a", (("Authorization", "Bearer a"), ("Authorization", "Bearer b")), "bad_header"),
    ],
)
@pytest.mark.parametrize("front", ["deny", "unix"])
async def test_an_ambiguous_request_is_refused(here: Site, target, headers, reason, front):
    reply = await here.send(target, headers=headers, front=front)
    assert (reply.status, reply.json()["reason"]) == (400, reason)
    assert here.scripted.requests == []
    assert here.upstream.seen == []


async def test_what_the_service_is_asked(here: Site):
    assert (await here.send("/documents/42?page=2", headers=(("Authorization", "Bearer t"),))).status == 200
    (request,) = here.scripted.requests
    assert (request.method, request.scheme, request.host) == ("GET", "http", "documents.example")
    assert (request.path.text, request.query) == ("/documents/42", "page=2")
    assert request.headers.get("authorization") == "Bearer t"
    assert (request.source_address, request.peer.address, request.peer.trusted) == ("127.0.0.1", "127.0.0.1", True)
    assert request.external_id == here.upstream.seen[0].values("x-request-id")[0]


async def test_over_a_unix_socket_with_raw_headers_and_a_body(here: Site):
    headers = (("x-name", "caf\xe9"), ("x-dup", "1"), ("x-dup", "2"), ("cookie", "a=1"))
    body = b"hel\xfflo"
    assert (await here.send(front="unix", method="PUT", headers=headers, body=body)).status == 200
    (request,) = here.scripted.requests
    assert request.peer.trusted
    assert request.headers.get("x-name") == "café"
    assert request.headers.all("x-dup") == ("1", "2")
    assert request.extensions == {"envoy.altered_headers": "x-name"}
    assert request.body is None
    assert here.upstream.seen[0].body == body


async def test_the_network_filter_asks_about_the_connection(here: Site):
    answering(here, ALLOW_WITH_EDITS)
    assert (await here.send(front="tcp")).status == 200
    (request,) = here.scripted.requests
    assert (request.protocol, request.host, request.source_address) == ("tcp", "127.0.0.1", "127.0.0.1")
    assert request.path.segments == (str(here.envoy.fronts["tcp"].port),)


@pytest.mark.parametrize("outcome", [DENY, UNAUTHENTICATED, FAILED, REFUSED])
async def test_a_connection_that_is_not_allowed_is_closed(here: Site, outcome):
    answering(here, outcome)
    with pytest.raises(ConnectionError):
        await here.send(front="tcp")
    assert here.upstream.seen == []


async def test_envoys_access_log_can_name_decision_reason_and_policies(here: Site):
    answering(here, DENY)
    await here.send()
    line = f'403 ext_authz_denied id={here.records.kept[0].id} reason=policy_forbid policies=["documents/lock"]'

    async def logged() -> bool:
        return line in here.envoy.log

    await until(logged, "the access log names the decision")


@pytest.mark.parametrize(
    ("outcome", "code"),
    [(UNAUTHENTICATED, grpc.StatusCode.UNAUTHENTICATED), (DENY, grpc.StatusCode.PERMISSION_DENIED)],
)
async def test_a_grpc_client_gets_a_grpc_status(here: Site, outcome, code):
    answering(here, outcome)
    async with grpc.aio.insecure_channel(f"127.0.0.1:{here.envoy.fronts['deny'].port}") as channel:
        call: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary("/documents.Service/Read")
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await call(b"", timeout=20)
    assert caught.value.code() is code
    assert f": {outcome.reason}, decision {here.records.kept[0].id}" in (caught.value.details() or "")


async def test_envoy_asks_a_door_only_while_it_says_that_it_serves(here: Site):
    async def status(expected: int) -> bool:
        return (await here.send(front="health")).status == expected

    await until(lambda: status(200), "the door is healthy")
    here.checked.set_serving(serving=False)
    try:
        await until(lambda: status(403), "the door is taken out")
    finally:
        here.checked.set_serving(serving=True)
    await until(lambda: status(200), "the door is back")
