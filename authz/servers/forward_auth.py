"""The forward-authorization door: a proxy's HTTP question → `Request`, `Response` → the answer in its dialect.

Codec and application only; hosts carry them (`aiohttp_host`). How each proxy is read stands in `dialects`.
What each proxy makes of an answer (measured: ext-auth facts 0, D, G, J), and so what is answered:

* An allow is exactly 200 with an empty body: to Envoy 201, 204 and 299 are denials that also show the identity
  headers to the client; nginx keeps a connection only after an empty body.
* An identity header that is to be removed is left out for Traefik, nginx and Caddy: Traefik and Caddy (2.11.2 and
  later) delete the headers they are told to copy before they copy, nginx sets them from an empty variable, which
  removes them. Envoy keeps the client's value of a header that is left out, so there removals are listed in
  `x-envoy-auth-headers-to-remove`.
* HAProxy's script leaves the client's value of a header that is left out, too, and knows no list of removals: there
  such a header is set, and empty.
* A denial goes to the client as it is, with a closed list of headers; Envoy makes an empty 403 of any 5xx unless
  `status_on_error` is set. For a gRPC client Envoy makes a gRPC status of it, the one that the answer names if it
  names one; behind the others such a header would spoil what the client makes of the HTTP status.
* To nginx there are 401, with its challenge in one line, and 403; anything else would be its own 500, and so stays
  for failures alone. It never shows a body, and a body costs the connection.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace

from authz.core.enforce import Disclosure, Response, respond
from authz.core.errors import AuthzError, Reason, RequestRefused
from authz.core.mapping import FORWARDED_CERTIFICATE
from authz.core.model import BodyState, Failed, Headers, Peer, Request, Stage
from authz.core.request import STRICT, PathRules, canonical_request
from authz.servers.bodies import BODIES
from authz.servers.dialects import Dialect, asked, dialect_of
from authz.servers.http_app import Answer, BodyReader
from authz.service import Service

MAX_EXTERNAL_ID = 128
"""Characters kept of the request id, which a client may have chosen."""
UNKNOWN_DOOR = "http"
"""The door's name in records where the request names no dialect."""
REMOVAL = "x-envoy-auth-headers-to-remove"

_NO_STORE = ("cache-control", "no-store")
# A proxy may keep answers of its authorization requests (nginx's proxy_cache), under keys that know less than a
# decision does. Not to Envoy: a Gateway API implementation may copy all headers of an allow into the request.
_ALLOW_HEADERS: Mapping[Dialect, tuple[tuple[str, str], ...]] = {
    Dialect.ENVOY: (),
    Dialect.TRAEFIK: (_NO_STORE,),
    Dialect.NGINX: (_NO_STORE,),
    Dialect.CADDY: (_NO_STORE,),
    Dialect.HAPROXY: (_NO_STORE,),
}
_PLAIN_ALLOW: Mapping[Dialect, Answer] = {dialect: Answer(200, headers) for dialect, headers in _ALLOW_HEADERS.items()}
# They frame and route the answer itself, or mean something to Envoy.
_NEVER = frozenset(
    {
        "connection", "content-length", "content-type", "cache-control", "date", "host", "keep-alive",
        "proxy-authenticate", "proxy-authorization", "proxy-connection", "server", "set-cookie", "te", "trailer",
        "transfer-encoding", "upgrade", "www-authenticate",
    }
)  # fmt: skip
_NEVER_PREFIXES = (":", "x-envoy-")
# Proxies copy every header of a denial to the client.
_DENIAL_HEADERS = frozenset(
    {
        "www-authenticate", "content-type", "cache-control", "location", "retry-after", "content-security-policy",
        "x-content-type-options",
    }
)  # fmt: skip
_REDIRECTS = frozenset({301, 302, 303, 307, 308})


# --- codec -------------------------------------------------------------------------------------------------


def decode(
    dialect: Dialect,
    method: str,
    raw_target: str,
    headers: Iterable[tuple[str, str]],
    *,
    id: str,
    peer: Peer,
    rules: PathRules = STRICT,
    trusted_hops: int = 0,
) -> Request:
    """The client's request that a proxy asks about.

    Args:
        dialect: how the proxy speaks.
        method: of the proxy's question.
        raw_target: request target of the proxy's question, as received.
        headers: of the proxy's question, in the order received. Names with an underscore never count.
        id: the decision id.
        peer: who is at the other end of the connection.
        rules: what is done with ambiguous paths.
        trusted_hops: how many proxies before the one that asks also add to X-Forwarded-For and are trusted.

    Raises:
        RequestRefused: `bad_check` where one of the dialect's headers is missing or repeated; else the reason
            code of the part that cannot be read in one way only.
    """
    fields = Headers(headers)
    client = asked(dialect, method, raw_target, fields, trusted_hops)
    external_id = fields.get("x-request-id")
    return canonical_request(
        id=id,
        method=client.method,
        scheme=client.scheme,
        host=client.host,
        target=client.target,
        headers=fields,
        peer=peer,
        source_address=client.source_address if peer.trusted else None,
        external_id=external_id[:MAX_EXTERNAL_ID] if external_id is not None else None,
        extensions=_vouched_for(dialect, fields, peer),
        rules=rules,
    )


def _vouched_for(dialect: Dialect, headers: Headers, peer: Peer) -> Mapping[str, str]:
    # Envoy removes or replaces a client's own; any other proxy passes it on.
    certificates = headers.all("x-forwarded-client-cert") if dialect is Dialect.ENVOY and peer.trusted else ()
    return {FORWARDED_CERTIFICATE: ",".join(certificates)} if certificates else {}


def encode(dialect: Dialect, response: Response) -> Answer:
    """The answer that this proxy turns into what `response` says.

    The proxy lets the request go on if and only if `response` is an allow.
    """
    # INVARIANT: an allow has no body, a denial always has one (`respond`). So a denial that came to carry the
    # status 200 by mistake is still a denial.
    if response.allows and not response.body:
        return _allow(dialect, response)
    if dialect is Dialect.NGINX:
        return _nginx_denial(response)
    answer = _denial(response)
    if dialect is Dialect.ENVOY and response.grpc_status:
        return answer._replace(headers=(*answer.headers, ("grpc-status", str(response.grpc_status))))
    return answer


def _allow(dialect: Dialect, response: Response) -> Answer:
    if not response.headers and not response.remove:
        return _PLAIN_ALLOW[dialect]
    edits = tuple(field for field in response.headers if _is_settable(field[0].lower()))
    if dialect in _REMOVERS and response.remove:
        # Envoy removes after it sets: a name in both would be gone.
        kept = {name.lower() for name, _ in edits}
        removed = [name for name in response.remove if name.lower() not in kept]
        edits = (*edits, *_REMOVERS[dialect](removed)) if removed else edits
    return Answer(200, (*edits, *_ALLOW_HEADERS[dialect]))


_Fields = tuple[tuple[str, str], ...]


def _named(removed: Sequence[str]) -> _Fields:
    return ((REMOVAL, ",".join(removed)),)


def _emptied(removed: Sequence[str]) -> _Fields:
    return tuple((name, "") for name in removed if _is_settable(name.lower()))


_REMOVERS: Mapping[Dialect, Callable[[Sequence[str]], _Fields]] = {Dialect.ENVOY: _named, Dialect.HAPROXY: _emptied}


def _is_settable(name: str) -> bool:
    return name not in _NEVER and not name.startswith(_NEVER_PREFIXES)


def _denial(response: Response) -> Answer:
    return Answer(_denial_status(response.status), _picked(response, *_DENIAL_HEADERS), response.body)


def _denial_status(status: int) -> int:
    # 2xx would be an allow to most, 1xx and statuses outside the standard break proxies or their clients.
    return status if 400 <= status <= 599 or status in _REDIRECTS else 403


def _nginx_denial(response: Response) -> Answer:
    status = _denial_status(response.status)
    if status in _REDIRECTS:
        # An `error_page 401` in nginx can redirect by $upstream_http_location; a 302 itself would be its 500.
        status = 401
    if status == 401:
        # Versions before 1.23 pass on the first line only.
        challenges = ", ".join(value for name, value in response.headers if name.lower() == "www-authenticate")
        challenge = (("www-authenticate", challenges),) if challenges else ()
        return Answer(401, (*challenge, *_picked(response, "location", "cache-control")))
    return Answer(status if status >= 500 else 403, _picked(response, "cache-control"))


def _picked(response: Response, *names: str) -> tuple[tuple[str, str], ...]:
    return tuple(field for field in response.headers if field[0].lower() in names)


# --- application -------------------------------------------------------------------------------------------


class _NoDoor(RequestRefused):
    status = 404


@dataclass(frozen=True, slots=True, kw_only=True)
class ForwardAuth:
    """The door as an application for any HTTP host: decode, check, encode. Raises no `Exception`."""

    service: Service
    trusted_hops: int = 0

    async def answer(
        self, method: str, target: str, headers: Iterable[tuple[str, str]], peer: Peer, body: BodyReader
    ) -> Answer:
        """The answer in the dialect that the target's path names; without one 404."""
        service = self.service
        id = service.new_id()
        dialect = dialect_of(target)
        try:
            if dialect is None:
                raise _NoDoor(Reason.BAD_CHECK, "no door stands at the path of the proxy's question")
            request = decode(
                dialect,
                method,
                target,
                headers,
                id=id,
                peer=peer,
                rules=service.path_rules,
                trusted_hops=self.trusted_hops,
            )
            limit = service.body_limit(request)
            if limit:
                request = await self._with_body(dialect, request, body, limit)
        except AuthzError as error:
            return self._refusal(error, id, dialect, headers)
        except Exception as error:  # noqa: BLE001 - whatever it is, it is not an allow
            return self._breakdown(error, id, dialect)
        try:
            outcome = await service.check(request, door=dialect.value)
            return encode(dialect, service.respond(outcome, id, request))
        except Exception as error:  # noqa: BLE001 - the service raises none; a sink or an encoder might
            return _internal(error, id, dialect)

    def malformed(self, *, too_large: bool) -> Answer:
        """The answer to what is no HTTP request. Recorded; nobody knows which dialect it was to be in."""
        reason = Reason.TOO_LARGE if too_large else Reason.BAD_CHECK
        error = RequestRefused(reason, "the bytes are no HTTP request that this server accepts")
        return self._refusal(error, self.service.new_id(), None)

    async def _with_body(self, dialect: Dialect, request: Request, body: BodyReader, limit: int) -> Request:
        """The request with its body, for a route that reads it."""
        state = BODIES.get(dialect)
        if state is None:
            return replace(request, body_state=BodyState.WITHHELD)
        try:
            async with asyncio.timeout(self.service.limits.deadline):
                octets = await body(limit)
        except TimeoutError:
            raise RequestRefused(Reason.BAD_BODY, "the body did not come in time") from None
        return replace(request, body=octets, body_state=state(request.headers, octets))

    def _refusal(
        self, error: AuthzError, id: str, dialect: Dialect | None, headers: Iterable[tuple[str, str]] = ()
    ) -> Answer:
        try:
            outcome = self.service.refuse(error, id=id, door=_door(dialect))
            return _encoded(self.service.respond(outcome, id, Headers(headers)), dialect)
        except Exception as failure:  # noqa: BLE001 - as above
            return _internal(failure, id, dialect)

    def _breakdown(self, error: Exception, id: str, dialect: Dialect | None) -> Answer:
        """For what should not happen before a check: recorded, for it was not yet."""
        with suppress(Exception):
            self.service.refuse(AuthzError(Reason.INTERNAL), id=id, door=_door(dialect))
        return _internal(error, id, dialect)


def _door(dialect: Dialect | None) -> str:
    return dialect.value if dialect is not None else UNKNOWN_DOOR


def _internal(error: Exception, id: str, dialect: Dialect | None) -> Answer:
    # The type alone: a message may quote the request.
    logging.getLogger(__name__).error("unexpected %s in the HTTP door, decision id %s", type(error).__name__, id)
    outcome = Failed(stage=Stage.ROUTE, reason=Reason.INTERNAL, status=500)
    return _encoded(respond(outcome, id, Disclosure()), dialect)


def _encoded(response: Response, dialect: Dialect | None) -> Answer:
    return encode(dialect, response) if dialect is not None else _denial(response)
