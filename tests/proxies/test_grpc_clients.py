"""What a gRPC client gets when its call is denied: the right status, and a message that says why.

Envoy turns a denial of a gRPC call into a gRPC status by itself (trailers only). Traefik and Caddy pass the HTTP
status on, of which the client makes a gRPC status by the table of gRPC's own specification.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import grpc
import grpc.aio
import pytest
import pytest_asyncio

from authz.core.enforce import Disclosure, respond
from authz.core.errors import Reason
from authz.core.model import Denied, Failed, Headers, Outcome, Stage
from authz.servers import extauthz_codec, forward_auth
from authz.servers.dialects import Dialect
from tests.proxies.authz_serve import AuthzServe, Issuer
from tests.proxies.fakes import RawAuth, RawGrpcAuth, http_answer
from tests.proxies.harness import Folder, free_port
from tests.proxies.proxies import Neighbours
from tests.proxies.sites import PROXIES, ScriptedSite, parameters, scripted_site

pytestmark = [pytest.mark.proxy, pytest.mark.asyncio(loop_scope="module")]

DIALECTS = {
    "envoy-grpc-tcp": None,
    "envoy-http-tcp": Dialect.ENVOY,
    "traefik": Dialect.TRAEFIK,
    "caddy": Dialect.CADDY,
}
ASKER = Headers([("content-type", "application/grpc"), ("te", "trailers")])
REFUSED = Denied(stage=Stage.ROUTE, reason=Reason.BAD_PATH, status=400)
NOBODY = Denied(stage=Stage.AUTHENTICATE, reason=Reason.NO_CREDENTIALS, status=401)
DENIED = Denied(stage=Stage.DECIDE, reason=Reason.POLICY_FORBID)
BROKEN = Failed(stage=Stage.DECIDE, reason=Reason.INTERNAL, status=500)
FAILED = Failed(stage=Stage.DECIDE, reason=Reason.DECISION_UNAVAILABLE)

# Envoy over HTTP shows nothing of an answer of 5xx: it answers what `status_on_error` says, 503.
STATUSES: dict[str, tuple[Outcome, dict[str, str]]] = {
    "refused": (REFUSED, {"envoy": "INVALID_ARGUMENT", "traefik": "INTERNAL", "caddy": "INTERNAL"}),
    "nobody": (NOBODY, {"envoy": "UNAUTHENTICATED", "traefik": "UNAUTHENTICATED", "caddy": "UNAUTHENTICATED"}),
    "denied": (DENIED, {"envoy": "PERMISSION_DENIED", "traefik": "PERMISSION_DENIED", "caddy": "PERMISSION_DENIED"}),
    "failed": (FAILED, {"envoy": "UNAVAILABLE", "traefik": "UNAVAILABLE", "caddy": "UNAVAILABLE"}),
    "broken": (
        BROKEN,
        {"envoy-http-tcp": "UNAVAILABLE", "envoy": "INTERNAL", "traefik": "UNKNOWN", "caddy": "UNKNOWN"},
    ),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class End:
    """How a call ended."""

    status: str
    message: str
    metadata: dict[str, str]


async def call(port: int, method: str = "/shop.Orders/Get", *metadata: tuple[str, str]) -> End:
    """One unary call on a connection of its own."""
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        ask: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(method)
        pending = ask(b"question", metadata=metadata, timeout=20, wait_for_ready=True)
        try:
            answer = await pending
        except grpc.aio.AioRpcError as error:
            received = [*(error.initial_metadata() or ()), *(error.trailing_metadata() or ())]
            return End(
                status=error.code().name,
                message=error.details() or "",
                metadata={str(key): str(value) for key, value in received},
            )
        return End(status="OK", message=answer.decode(), metadata={})


def answer_of(example: str, outcome: Outcome) -> bytes:
    """What authz answers at the example's door to a gRPC client's request."""
    response = respond(outcome, "d-1", Disclosure(), ASKER)
    dialect = DIALECTS[example]
    if dialect is None:
        return extauthz_codec.encode(response, outcome, decision_id="d-1")
    answer = forward_auth.encode(dialect, response)
    return http_answer(answer.status, answer.headers, answer.body)


@pytest_asyncio.fixture(scope="module", loop_scope="module", params=parameters(DIALECTS))
async def running(request):
    async with scripted_site(request.param) as here:
        yield here


@pytest.mark.parametrize("kind", STATUSES)
async def test_a_grpc_client_gets_the_right_status(running: ScriptedSite, kind: str):
    outcome, expected = STATUSES[kind]
    assert isinstance(running.auth, RawAuth | RawGrpcAuth)
    running.auth.answer = answer_of(running.example, outcome)
    end = await call(running.proxy.port)
    proxy = running.family.partition("-")[0]
    assert end.status == expected.get(running.example, expected[proxy])
    if proxy == "envoy" and end.status != "UNAVAILABLE":
        assert end.message.endswith(f": {outcome.reason}, decision d-1")
        assert ("www-authenticate" in end.metadata) == (kind == "nobody")
    assert running.service.seen == []


# --- end to end --------------------------------------------------------------------------------------------

# The examples speak HTTP/1.1 to the service; gRPC is HTTP/2.
HTTP2_SERVICE = {
    "  - name: service\n    type: STATIC\n": "  - name: service\n    type: STATIC\n"
    "    typed_extension_protocol_options:\n"
    "      envoy.extensions.upstreams.http.v3.HttpProtocolOptions:\n"
    '        "@type": type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions\n'
    "        explicit_http_config: {http2_protocol_options: {}}\n"
}


@asynccontextmanager
async def grpc_service() -> AsyncIterator[int]:
    """A service that answers who it was told the caller is, whatever method is called. Yields its port."""

    async def answer(request: bytes, context: grpc.aio.ServicerContext[bytes, bytes]) -> bytes:
        told = dict(context.invocation_metadata() or ())
        return str(told.get("x-auth-user")).encode()

    class Any(grpc.GenericRpcHandler):
        def service(self, handler_call_details):
            return grpc.unary_unary_rpc_method_handler(answer)

    server = grpc.aio.server()
    server.add_generic_rpc_handlers((Any(),))
    port = free_port()
    server.add_insecure_port(f"127.0.0.1:{port}")
    await server.start()
    try:
        yield port
    finally:
        await server.stop(None)
        await server.wait_for_termination()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def authz():
    with Folder() as folder:
        async with AuthzServe(folder, Issuer()) as process:
            yield process


@pytest_asyncio.fixture(
    scope="module", loop_scope="module", params=parameters(name for name in DIALECTS if name.startswith("envoy"))
)
async def port(request, authz: AuthzServe):
    with Folder() as folder:
        async with grpc_service() as service:
            neighbours = Neighbours(authz=authz.address(request.param), service=service)
            async with PROXIES[request.param](folder, neighbours, HTTP2_SERVICE) as proxy:
                yield proxy.port


@pytest.mark.parametrize(
    ("method", "subject", "status", "said"),
    [
        ("/documents", "alice", "OK", "alice"),
        ("/documents", None, "UNAUTHENTICATED", "Authentication is required: no_credentials, decision "),
        ("/documents/handbook/shares", "frank", "PERMISSION_DENIED", "Access denied: policy_no_permit, decision "),
        ("/shop.Orders/Get", "alice", "PERMISSION_DENIED", "Access denied: no_route, decision "),
        ("/shop.Orders;v=1/Get", "alice", "INVALID_ARGUMENT", "The request was refused: bad_path, decision "),
    ],
)
async def test_a_grpc_call_is_decided_like_any_other(
    port: int, authz: AuthzServe, method: str, subject: str | None, status: str, said: str
):
    role = {"alice": "analyst", "frank": "auditor"}
    token = () if subject is None else (("authorization", f"Bearer {authz.issuer.token(subject, role[subject])}"),)
    end = await call(port, method, *token)
    assert (end.status, end.message[: len(said)]) == (status, said)
    assert end.metadata.get("www-authenticate") == ('Bearer realm="authz"' if status == "UNAUTHENTICATED" else None)
