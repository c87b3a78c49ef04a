"""A serialized CheckRequest → the `Request` that it asks about. What Envoy sends is measured (1.40), not read."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

from google.protobuf.message import DecodeError

from authz.core.connections import canonical_connection
from authz.core.errors import Reason, RequestRefused
from authz.core.mapping import CONTEXT_EXTENSION, FORWARDED_CERTIFICATE, SNI, SOURCE_PRINCIPAL
from authz.core.model import BodyState, Headers, Peer, Request
from authz.core.request import STRICT, PathRules, canonical_request
from authz.servers.bodies import envoys_checked_body
from authz.servers.dialects import check_one_credential
from authz.servers.extauthz_pb2 import AttributeContext, CheckRequest, HeaderValue
from authz.servers.trust import canonical_address, client_address, forwarded_address

DESTINATION_PRINCIPAL = "envoy.destination.principal"
"""The same as the source's, of the proxy's own certificate."""
ALTERED_HEADERS = "envoy.altered_headers"
"""Comma-separated names of headers whose text may differ from the bytes that the client sent."""
MAX_EXTERNAL_ID = 128
"""Characters kept of the proxy's request id, which a client may have chosen."""


def decode(
    data: bytes,
    *,
    id: str,
    peer: Peer,
    rules: PathRules = STRICT,
    trusted_hops: int = 0,
    use_external_address: bool = False,
    body_limit: Callable[[Request], int] | None = None,
) -> Request:
    """The request, or the connection, that a serialized `envoy.service.auth.v3.CheckRequest` asks about.

    Header values: where Envoy sends raw bytes (`encode_raw_headers`) they are read as UTF-8, and as ISO-8859-1
    where they are not UTF-8 (RFC 9110, 5.5). Otherwise Envoy sends text in which each byte outside UTF-8 is `!`.
    Values that may be altered in one of these ways are named in `extensions`.

    A check without an HTTP request is the network filter's: about a connection, which has the downstream address, the
    destination's port, the server name if the filter has `include_tls_session`, and the client certificate's name.

    Args:
        data: the message.
        id: the decision id.
        peer: who called the door.
        rules: what is done with ambiguous paths.
        trusted_hops: the client's address is the n-th element from the right of X-Forwarded-For. The last one is
            that of the proxy's downstream connection: with `use_remote_address` Envoy has added it, else it is added
            here. 0 and 1: the downstream connection's.
        use_external_address: the client's address is `x-envoy-external-address`, which an edge Envoy with
            `use_remote_address` sets for clients from outside, and only for these. Goes before `trusted_hops`.
        body_limit: how many bytes of the request's body are read (one more is kept, to show that there are more);
            0: it is left where it is, neither copied nor decoded. None: no body is ever read.

    Raises:
        RequestRefused: `bad_check` where the bytes are no CheckRequest, hold neither an HTTP request nor a connection
            or contradict themselves; else the reason code of the part that cannot be read in one way only.
    """
    try:
        attributes = CheckRequest.FromString(data).attributes
    except DecodeError:
        raise _bad_check("the bytes are no `envoy.service.auth.v3.CheckRequest`") from None
    if not attributes.request.HasField("http"):
        return _connection(attributes, id, peer)
    http = attributes.request.http
    headers, altered = _headers(http, data)
    _check_agreement(http, headers)
    credential = headers.get("authorization")
    if credential is not None and "," in credential:  # Envoy joins two fields, also where it sends raw headers
        check_one_credential(credential)
    external_id = headers.get("x-request-id")
    source = None
    if peer.trusted:
        source = _source_address(attributes, headers, trusted_hops=trusted_hops, external=use_external_address)
    request = canonical_request(
        id=id,
        method=http.method,
        scheme=http.scheme,
        host=http.host,
        target=http.path,
        headers=headers,
        peer=peer,
        source_address=source,
        external_id=external_id[:MAX_EXTERNAL_ID] if external_id is not None else None,
        extensions=_extensions(attributes, headers, altered),
        rules=rules,
    )
    limit = body_limit(request) if body_limit is not None else 0
    return _with_body(request, http, limit) if limit else request


def _connection(attributes: AttributeContext, id: str, peer: Peer) -> Request:
    destination = attributes.destination.address.socket_address
    address = canonical_address(destination.address)
    if address is None:
        raise _bad_check("it holds neither an HTTP request nor a connection to an IP address and port")
    source = attributes.source.address.socket_address.address
    return canonical_connection(
        id=id,
        address=address,
        port=destination.port_value,
        server_name=attributes.tls_session.sni,
        peer=peer,
        source_address=canonical_address(source) if peer.trusted else None,
        extensions=_extensions(attributes, Headers(), []),
    )


def _with_body(request: Request, http: AttributeContext.HttpRequest, limit: int) -> Request:
    text, octets = http.body, http.raw_body
    if text and octets:
        raise _bad_check("it has both `body` and `raw_body`; expected one of them")
    body = octets or text
    state = envoys_checked_body(request.headers, body, http.size)
    if state is BodyState.WHOLE and b"!" in text:  # Envoy's sign for each byte outside UTF-8
        state = BodyState.ALTERED
    return replace(request, body=body[: limit + 1], body_state=state)


def asker_of(data: bytes) -> Headers | None:
    """The header fields of a check that cannot be answered as asked, to choose the form of the refusal; None: it has
    none that can be read. Nothing about them is checked.
    """
    try:
        http = CheckRequest.FromString(data).attributes.request.http
    except DecodeError:
        return None
    fields = http.header_map.headers
    if fields:
        return Headers((field.key, field.raw_value.decode("latin-1") or field.value) for field in fields)
    return Headers(http.headers.items())


def _bad_check(what: str) -> RequestRefused:
    return RequestRefused(Reason.BAD_CHECK, f"the check request cannot be read: {what}")


def _headers(http: AttributeContext.HttpRequest, data: bytes) -> tuple[Headers, list[str]]:
    """The header fields without pseudo headers, and the names of those that may be altered."""
    raw = http.header_map.headers
    if not raw:
        return _text_headers(http, data)
    if http.headers:
        raise _bad_check("it has both `headers` and `header_map`; expected one of them")
    claimed = _claimed(http)
    fields: list[tuple[str, str]] = []
    altered: list[str] = []
    for field in raw:
        name, octets, text = field.key, field.raw_value, field.value
        # Nearly always the bytes are ASCII and alone.
        value = octets.decode("ascii") if octets and not text and octets.isascii() else _raw_value(field, altered)
        if name[:1] != ":":
            fields.append((name, value))
        elif claimed.get(name, value) != value:
            raise _differs(name)
    return Headers(fields), altered


def _text_headers(http: AttributeContext.HttpRequest, data: bytes) -> tuple[Headers, list[str]]:
    claimed = _claimed(http)
    given = http.headers
    fields: list[tuple[str, str]] = []
    for name in given:  # key by key: this map's `items()` takes twice as long
        value = given[name]
        if name[:1] != ":":
            fields.append((name, value))
        elif claimed.get(name, value) != value:
            raise _differs(name)
    # One search through all bytes first: a `!` is rare, and a search through each value is not free.
    return Headers(fields), [name for name, value in fields if "!" in value] if b"!" in data else []


def _claimed(http: AttributeContext.HttpRequest) -> Mapping[str, str]:
    return {":method": http.method, ":path": http.path, ":authority": http.host, ":scheme": http.scheme}


def _differs(name: str) -> RequestRefused:
    return _bad_check(f"the header `{name[:16]}` differs from the field that carries the same")


def _raw_value(field: HeaderValue, altered: list[str]) -> str:
    octets = field.raw_value
    if not octets:
        return field.value
    try:
        text = octets.decode()
    except UnicodeDecodeError:
        text = octets.decode("latin-1")
        altered.append(field.key)
    if field.value and field.value != text:
        raise _bad_check(f"the header `{field.key[:64]}` has two values, `value` and `raw_value`")
    return text


def _check_agreement(http: AttributeContext.HttpRequest, headers: Headers) -> None:
    host = headers.get("host")
    if host is not None and host != http.host:
        raise _differs("host")
    # Envoy leaves both fields empty: the path holds the query, and a fragment is refused.
    if http.fragment or (http.query and http.query != http.path.partition("?")[2]):
        raise _bad_check("`query` or `fragment` differs from what `path` holds")


def _source_address(attributes: AttributeContext, headers: Headers, *, trusted_hops: int, external: bool) -> str | None:
    if external:
        values = headers.all("x-envoy-external-address")
        return canonical_address(values[0]) if len(values) == 1 else None
    downstream = canonical_address(attributes.source.address.socket_address.address)
    if trusted_hops <= 1:
        return downstream
    chain = ",".join(headers.all("x-forwarded-for"))
    if forwarded_address(chain.rpartition(",")[2].strip()) != downstream:
        chain = f"{chain},{downstream or ''}"
    return client_address(chain, trusted_hops - 1)


def _extensions(attributes: AttributeContext, headers: Headers, altered: list[str]) -> Mapping[str, str]:
    # Not `source.service`: Envoy copies it from a request header, so nobody vouches for it.
    configured = attributes.context_extensions
    found = {CONTEXT_EXTENSION + key: configured[key] for key in configured} if configured else {}
    if value := attributes.source.principal:
        found[SOURCE_PRINCIPAL] = value
        # Only beside it: where Envoy's own connection has no client certificate, the header is somebody else's word,
        # which Envoy passes on with ALWAYS_FORWARD_ONLY (measured).
        if certificates := headers.all("x-forwarded-client-cert"):
            found[FORWARDED_CERTIFICATE] = ",".join(certificates)
    if value := attributes.destination.principal:
        found[DESTINATION_PRINCIPAL] = value
    if value := attributes.tls_session.sni:
        found[SNI] = value
    if altered:
        found[ALTERED_HEADERS] = ",".join(sorted(set(altered)))
    return found
