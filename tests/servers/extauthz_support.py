"""What the tests of the gRPC door share: check requests, a service that answers as told, and Envoy's reading of
a reply, written from measurements and not from our codec.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

from google.protobuf import json_format

from authz.core.errors import Reason
from authz.core.model import (
    Allowed,
    Decision,
    Denied,
    Failed,
    HeaderEdits,
    Outcome,
    Record,
    Request,
    Stage,
    Verdict,
)
from authz.core.pipeline import Authorizer
from authz.core.routes import RouteTable
from authz.servers.extauthz_pb2 import CheckRequest
from authz.service import Service

DATA = Path(__file__).parent / "data"
CHECK = "/envoy.service.auth.v3.Authorization/Check"

PERMIT = Decision(verdict=Verdict.ALLOW, policies=("documents/read",))
FORBID = Decision(verdict=Verdict.DENY, policies=("documents/lock",), messages=("locked",))
ALLOW = Allowed(decision=PERMIT)
ALLOW_WITH_EDITS = Allowed(
    decision=PERMIT, edits=HeaderEdits(set=(("x-user", "alice"), ("x-groups", "a,b")), remove=("x-tenant",))
)
DENY = Denied(stage=Stage.DECIDE, reason=Reason.POLICY_FORBID, decision=FORBID)
UNAUTHENTICATED = Denied(stage=Stage.AUTHENTICATE, reason=Reason.TOKEN_EXPIRED, status=401)
REFUSED = Denied(stage=Stage.ROUTE, reason=Reason.BAD_PATH, status=400)
FAILED = Failed(stage=Stage.DECIDE, reason=Reason.DECISION_UNAVAILABLE)
LET_THROUGH = Failed(
    stage=Stage.DECIDE,
    reason=Reason.DECISION_UNAVAILABLE,
    let_through=True,
    edits=HeaderEdits(remove=("x-user", "x-groups", "x-tenant")),
)


# --- check requests ---------------------------------------------------------------------------------------


def fixture(name: str, changes: Callable[[dict[str, Any]], None] | None = None) -> bytes:
    """A recorded CheckRequest of tests/servers/data, serialized; `changes` edits its JSON first."""
    document = json.loads((DATA / f"{name}.json").read_text())
    if changes is not None:
        changes(document)
    return json_format.ParseDict(document, CheckRequest(), ignore_unknown_fields=True).SerializeToString()


def check_request(
    path: str = "/documents/42?page=2",
    *,
    method: str = "GET",
    host: str = "documents.example",
    scheme: str = "http",
    headers: Mapping[str, str] | None = None,
    raw: Iterable[tuple[str, bytes]] | None = None,
    pseudo: bool = True,
    extensions: Mapping[str, str] | None = None,
) -> bytes:
    """A CheckRequest as Envoy 1.40 makes it: headers as a map, or as raw bytes if `raw` is given."""
    message = CheckRequest()
    attributes = message.attributes
    for peer in (attributes.source, attributes.destination):
        peer.address.socket_address.address = "10.1.2.3"
        peer.address.socket_address.port_value = 40000
    http = attributes.request.http
    http.id, http.method, http.path, http.host, http.scheme = "5425654163639988473", method, path, host, scheme
    http.protocol = "HTTP/1.1"
    named = {":authority": host, ":method": method, ":path": path, ":scheme": scheme} if pseudo else {}
    if raw is None:
        for name, value in {**named, **(headers or {})}.items():
            http.headers[name] = value
    else:
        for key, octets in [*((name, value.encode()) for name, value in named.items()), *raw]:
            http.header_map.headers.add(key=key, raw_value=octets)
    for name, value in (extensions or {}).items():
        attributes.context_extensions[name] = value
    return message.SerializeToString()


# --- a service that answers as told -----------------------------------------------------------------------


@dataclass
class Scripted:
    """Stands where an Authorizer stands. `answer` makes the outcome, or raises; `hold` is awaited before."""

    answer: Callable[[Request], Outcome] = lambda _: ALLOW
    hold: Callable[[], Any] | None = None
    requests: list[Request] = field(default_factory=list)
    routes: RouteTable = field(default_factory=RouteTable)

    async def check(self, request: Request, trail: object) -> Outcome:
        self.requests.append(request)
        if self.hold is not None:
            await self.hold()
        return self.answer(request)


@dataclass
class Records:
    """A sink that keeps what it is told."""

    kept: list[Record] = field(default_factory=list)

    def write(self, record: Record) -> None:
        self.kept.append(record)


def scripted_service(authorizer: object, *sinks: Any, **settings: Any) -> Service:
    return Service(authorizer=cast("Authorizer", authorizer), sinks=sinks, **settings)


# --- Envoy's reading --------------------------------------------------------------------------------------

Headers = tuple[tuple[str, str], ...]
STATUS, DENIED, OK, METADATA, ERROR = 1, 2, 3, 4, 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """What Envoy 1.40 makes of a reply to its Check (table A3 of the protocol facts)."""

    verdict: str
    """`allow`, `deny`, or `error`: then `failure_mode_allow` decides."""
    status: int = 200
    headers: Headers = ()
    body: bytes = b""
    upstream_set: Headers = ()
    upstream_remove: tuple[str, ...] = ()
    fields: tuple[int, ...] = ()
    """Numbers of the reply's fields, in order."""
    code: int = 0


def read_as_envoy(reply: bytes) -> Reading:
    try:
        parts = wire_fields(reply)
        code = _number(_last(parts, STATUS), 1)
        numbers = tuple(number for number, _ in parts)
        if code == 0:  # an empty reply, and a denial or an error without a status, too
            ok = _last(parts, OK)
            removed = tuple(value.decode() for number, value in wire_fields(ok) if number == 5)
            return Reading(verdict="allow", upstream_set=_options(ok), upstream_remove=removed, fields=numbers)
        number = next((number for number, _ in reversed(parts) if number in {DENIED, OK, ERROR}), None)
        refusal = _last(parts, number) if number in {DENIED, ERROR} else b""
        return Reading(
            verdict="error" if number == ERROR else "deny",
            status=_number(_last(wire_fields(refusal), 1), 1) or 403,
            headers=_options(refusal),
            body=_last(wire_fields(refusal), 3),
            fields=numbers,
            code=code,
        )
    except (ValueError, IndexError):
        return Reading(verdict="error", status=403)


def wire_fields(message: bytes) -> list[tuple[int, bytes]]:
    """(number, value) of each field, in order; a varint's value stays encoded."""
    found: list[tuple[int, bytes]] = []
    position = 0
    while position < len(message):
        tag, position = _varint(message, position)
        if tag & 7 == 0:
            end = _varint(message, position)[1]
        elif tag & 7 == 2:
            length, position = _varint(message, position)
            end = position + length
        else:
            raise ValueError("no field of these messages has this wire type")
        if end > len(message):
            raise ValueError("cut off")
        found.append((tag >> 3, message[position:end]))
        position = end
    return found


def _varint(data: bytes, position: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[position]
        value |= (byte & 0x7F) << shift
        position, shift = position + 1, shift + 7
        if byte < 0x80:
            return value, position


def _last(parts: list[tuple[int, bytes]], number: int | None) -> bytes:
    return next((value for found, value in reversed(parts) if found == number), b"")


def _number(message: bytes, number: int) -> int:
    value = _last(wire_fields(message), number)
    return _varint(value, 0)[0] if value else 0


def _options(message: bytes) -> Headers:
    options = [_last(wire_fields(option), 1) for number, option in wire_fields(message) if number == 2]
    parts = [wire_fields(option) for option in options]
    return tuple((_last(part, 1).decode(), _last(part, 2).decode()) for part in parts)
