"""`Response` and `Outcome` → a serialized CheckResponse.

What Envoy makes of each answer is measured (1.40) rather than read: an answer without a status, or with status 0 beside
a denial, is an *allow* to Envoy. So every answer made here carries both an explicit status and the one response that
goes with it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Literal
from urllib.parse import quote

from authz.core.enforce import Response
from authz.core.errors import Reason
from authz.core.model import Allowed, Denied, Failed, Outcome
from authz.servers.extauthz_pb2 import CheckResponse, DeniedHttpResponse, OkHttpResponse

OnFailure = Literal["deny", "error"]

_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9a-z-]+")
_PRINTABLE = "".join(map(chr, range(0x20, 0x7F)))
# Framing and routing belong to the proxy: it takes these verbatim, and then hangs or reroutes (measured).
_NEVER = frozenset(
    {
        "connection", "content-length", "host", "keep-alive", "proxy-authenticate", "proxy-authorization",
        "proxy-connection", "te", "trailer", "transfer-encoding", "upgrade",
    }
)  # fmt: skip
_NEVER_UPSTREAM = ("x-envoy-", "x-forwarded-")
# google.rpc.Code. Any but 0 denies; these say why to whoever reads Envoy's own records.
_RPC_CODES: Mapping[int, int] = {302: 16, 303: 16, 400: 3, 401: 16, 403: 7, 404: 5, 429: 8, 500: 13, 503: 14, 504: 4}
_PERMISSION_DENIED, _INTERNAL = 7, 13
_REDIRECTS = frozenset({302, 303})


def encode(
    response: Response,
    outcome: Outcome,
    *,
    decision_id: str,
    on_failure: OnFailure = "deny",
    metadata: bool = True,
    connection: bool = False,
) -> bytes:
    """The serialized `envoy.service.auth.v3.CheckResponse` for an outcome.

    Envoy lets the request go on if and only if the outcome is `Allowed`, or `Failed` with `let_through`, and the
    response says so too: what contradicts itself is denied.

    Args:
        response: what `authz.core.enforce.respond` made of the outcome.
        outcome: the outcome itself.
        decision_id: for the proxy's own records.
        on_failure: `deny`: a failure is answered as a denial with its status, whatever the proxy is configured
            to do. `error`: as an error (Envoy 1.37 and later), so that the proxy's `failure_mode_allow` decides.
        metadata: add the dynamic metadata `decision_id`, `reason` and `policies`, which Envoy files below
            `envoy.filters.http.ext_authz` for its access log and other filters.
        connection: the network filter asked. It reads the status alone.
    """
    if isinstance(outcome, Allowed) and response.allows and metadata and not connection:
        policies = outcome.decision.named
        parts = _allowance(response.headers, response.remove, policies, len(decision_id)) if decision_id else None
        if parts is not None and decision_id.isascii():
            return decision_id.encode("ascii").join(parts)
    reply = CheckResponse()
    if response.allows and (isinstance(outcome, Allowed) or (isinstance(outcome, Failed) and outcome.let_through)):
        _allow(reply, response)
    else:
        _refuse(reply, response, outcome, on_failure)
    if metadata:
        _describe(reply, outcome.reason, _policies(outcome), decision_id)
    if connection:
        for field in ("ok_response", "denied_response", "error_response"):
            reply.ClearField(field)
    return reply.SerializeToString()


def _allow(reply: CheckResponse, response: Response) -> None:
    reply.status.SetInParent()
    ok = reply.ok_response
    ok.SetInParent()
    if response.headers:
        edits = _united(response.headers)
        for name, value in edits.items():
            if not name.startswith(_NEVER_UPSTREAM):
                _add_header(ok, name, value)
    else:
        edits = {}
    if response.remove:
        # Envoy removes after it sets: a name in both would be gone.
        removed = dict.fromkeys(name.lower() for name in response.remove)
        ok.headers_to_remove.extend([name for name in removed if name not in edits and _is_settable(name)])


def _united(headers: tuple[tuple[str, str], ...]) -> dict[str, str]:
    """Lower-case name → value. Of two entries with one name Envoy takes the last, so both travel in one."""
    edits: dict[str, str] = {}
    for name, value in headers:
        key = name.lower()
        edits[key] = f"{edits[key]},{value}" if key in edits else value
    return edits


def _refuse(reply: CheckResponse, response: Response, outcome: Outcome, on_failure: OnFailure) -> None:
    failure = isinstance(outcome, Failed)
    status = response.status
    # Envoy passes on any status, 200 too, and 1xx hangs the client.
    if not (400 <= status <= 599 or (isinstance(outcome, Denied) and _redirects(response))):
        status = 503 if failure else 403
    reply.status.code = _RPC_CODES.get(status, _PERMISSION_DENIED if status < 500 else _INTERNAL)
    refusal = reply.error_response if failure and on_failure == "error" else reply.denied_response
    refusal.status.code = status
    for name, value in response.headers:
        _add_header(refusal, name.lower(), value)
    if response.grpc_status:
        # Envoy makes its own of the HTTP status otherwise: 400 would be INTERNAL, 500 UNKNOWN.
        _add_header(refusal, "grpc-status", str(response.grpc_status))
    refusal.body = response.body.decode("utf-8", "replace")


def _redirects(response: Response) -> bool:
    return response.status in _REDIRECTS and any(name.lower() == "location" for name, _ in response.headers)


def _is_settable(name: str) -> bool:
    # Pseudo headers fall to the pattern: no field name has a colon.
    return name not in _NEVER and _NAME.fullmatch(name) is not None


def _add_header(message: OkHttpResponse | DeniedHttpResponse, name: str, value: str) -> None:
    if not _is_settable(name):
        return
    # A line break would make Envoy answer 503, a lone surrogate cannot be sent at all. Only these are escaped:
    # what made the value has escaped it already, percent sign included.
    if not (value.isascii() and value.isprintable()):
        value = quote(value, safe=_PRINTABLE, errors="replace")
    option = message.headers.add()
    header = option.header
    header.key = name
    header.value = value
    # Explicitly not appended: for request headers Envoy reads `append`, and not `append_action`.
    option.append.SetInParent()


def _policies(outcome: Outcome) -> tuple[str, ...]:
    decision = outcome.decision if isinstance(outcome, Allowed | Denied) else None
    return decision.named if decision is not None else ()


def _describe(reply: CheckResponse, reason: Reason, policies: tuple[str, ...], decision_id: str) -> None:
    fields = reply.dynamic_metadata.fields
    fields["decision_id"].string_value = decision_id
    fields["reason"].string_value = reason.value
    if policies:
        fields["policies"].list_value.extend(policies)


@lru_cache(maxsize=2048)
def _allowance(
    headers: tuple[tuple[str, str], ...], remove: tuple[str, ...], policies: tuple[str, ...], length: int
) -> tuple[bytes, bytes] | None:
    """What stands before and after the decision id in the reply to an allowed request; None: it cannot be told apart.

    One caller's replies differ in the id alone, and to build one takes six times as long as to join it. An id of the
    same length leaves every length around it as it is.
    """
    reply = CheckResponse()
    _allow(reply, Response(status=200, headers=headers, remove=remove))
    place = "\x01" * length
    _describe(reply, Reason.ALLOWED, policies, place)
    parts = reply.SerializeToString(deterministic=True).split(place.encode("ascii"))
    return (parts[0], parts[1]) if len(parts) == 2 else None
