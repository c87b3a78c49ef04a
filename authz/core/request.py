"""The one place where method, host, path, query and headers become canonical, or are refused.

A path that two programs can read in two ways is the classic way round an authorizer (CVE-2019-9901,
GHSA-p224-6x5r-fjpm). So nothing is guessed: what is not plain is refused with 400, and each setting that
accepts more says which upstream it needs.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal
from urllib.parse import quote, unquote_to_bytes

from authz.core.errors import Reason, RequestRefused
from authz.core.model import BodyState, CanonicalPath, Headers, Peer, Request

# RFC 9110, section 5.6.2 (token), upper case only: an upstream may treat `get` as GET, we would not.
_METHOD = re.compile(r"[A-Z][A-Z0-9!#$%&'*+.^_`|~-]{0,31}")
_HOST = re.compile(r"(?:[a-z0-9_](?:[a-z0-9_-]*[a-z0-9_])?(?:\.[a-z0-9_](?:[a-z0-9_-]*[a-z0-9_])?)*|\[[0-9a-f:.]+\])")
_PORT = re.compile(r":[0-9]{1,5}\Z")
# RFC 3986, section 3.3 (pchar) without `;` and without percent signs; no empty and no dot segments.
_PLAIN_PATH = re.compile(r"(?:/(?!\.+(?:/|\Z))[A-Za-z0-9._~!$&'()*+,=:@-]+)+/?")
_PERCENT = re.compile(r"%(?![0-9A-Fa-f]{2})")
_ESCAPED = re.compile(r"%[0-9A-Fa-f]{2}")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_CONTROL_VALUE = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")
# A request that sends one of these twice can be read in two ways.
SINGLE_HEADERS = frozenset({"authorization", "host", "content-type", "content-length", "x-request-id"})
MAX_TARGET = 8192
"""Characters of path and query together; the usual limit of proxies."""
MAX_HEADER_BYTES = 65536
MAX_NAME = 253
"""Characters of a host name; RFC 1035, 2.3.4."""
MAX_HOST = 260
"""Characters of a host with its trailing dot and port."""
MAX_HEADERS = 128

Empty = Literal["refuse", "merge"]
Dots = Literal["refuse", "resolve"]
Keep = Literal["refuse", "keep"]


@dataclass(frozen=True, slots=True, kw_only=True)
class PathRules:
    """What is done with paths that upstreams treat differently. The defaults refuse all of them."""

    empty_segments: Empty = "refuse"
    """`//`. `merge`: as nginx does. Risk: an upstream that does not merge sees another resource."""
    dot_segments: Dots = "refuse"
    """`.` and `..`. `resolve`: RFC 3986, 5.2.4. Risk: an upstream that does not resolve sees another path."""
    encoded_slash: Keep = "refuse"
    """`%2F`. `keep`: part of one segment. Risk: an upstream that decodes first sees two segments."""
    semicolon: Keep = "refuse"
    """`;`. `keep`: part of the segment. Risk: servlet containers cut `;…` off before they match."""
    double_encoding: Keep = "refuse"
    """`%2541`. `keep`: decoded once. Risk: an upstream that decodes twice sees another path."""


STRICT = PathRules()


def canonical_request(
    *,
    id: str,
    method: str,
    scheme: str,
    host: str,
    target: str,
    headers: Headers,
    peer: Peer,
    source_address: str | None = None,
    external_id: str | None = None,
    body: bytes | None = None,
    body_state: BodyState = BodyState.WHOLE,
    extensions: Mapping[str, str] | None = None,
    rules: PathRules = STRICT,
) -> Request:
    """The request as every later stage sees it.

    `target` is the raw request target in origin form (RFC 9112, 3.2.1): path, and query if any, as received.

    Raises:
        RequestRefused: with the reason code of the part that cannot be read in one way only.
    """
    if _METHOD.fullmatch(method) is None:
        raise RequestRefused(Reason.BAD_METHOD, "expected an upper-case method name of at most 32 characters")
    if len(target) > MAX_TARGET:
        raise RequestRefused(Reason.TOO_LARGE, f"the request target has more than {MAX_TARGET} characters")
    check_headers(headers)
    # Never urlsplit: it takes `//admin/x` for a host (CVE-2026-26205).
    raw_path, _, query = target.partition("?")
    return Request(
        id=id,
        method=method,
        scheme=scheme if scheme in {"http", "https"} else canonical_scheme(scheme),
        host=canonical_host(host),
        path=canonical_path(raw_path, rules),
        query=checked_query(query),
        headers=headers,
        body=body,
        body_state=body_state,
        source_address=source_address,
        peer=peer,
        external_id=external_id,
        extensions=extensions if extensions is not None else {},
    )


def canonical_scheme(scheme: str) -> str:
    """`http` or `https`; RFC 3986, 3.1: schemes are case-insensitive, `ws` and `wss` are upgrades of these."""
    known = {"http": "http", "https": "https", "ws": "http", "wss": "https"}.get(scheme.lower())
    if known is None:
        raise RequestRefused(Reason.BAD_HEADER, "expected the scheme `http` or `https`")
    return known


def canonical_host(host: str) -> str:
    """Lower case, without port and one trailing dot (ext-auth facts G13).

    Raises:
        RequestRefused: `bad_host`.
    """
    name = _host_name(host) if len(host) <= MAX_HOST else None
    if name is None:
        raise RequestRefused(Reason.BAD_HOST, "expected one host name or address, with or without a port")
    return name


def canonical_server_name(name: str) -> str:
    """The server name of a TLS handshake (RFC 6066, section 3): lower case, without a trailing dot.

    The client chooses it. An address, which that section forbids, would pose as the place where a connection leads;
    and a name with a port is another one to a proxy that finds by the name.

    Raises:
        RequestRefused: `bad_host`.
    """
    host = canonical_host(name)
    if ":" in name or host.rpartition(".")[2].isdecimal():
        raise RequestRefused(Reason.BAD_HOST, "expected a host name as the server name, no address and no port")
    return host


@lru_cache(maxsize=1024)
def _host_name(host: str) -> str | None:
    """A service has few names, and each request tells one."""
    if not host.isascii():  # U+212A, made lower case, is the plain letter k, and the host another one
        return None
    name = _PORT.sub("", host.lower())
    if name.endswith(".") and len(name) > 1:
        name = name[:-1]
    return name if len(name) <= MAX_NAME and _HOST.fullmatch(name) is not None else None


def canonical_path(raw: str, rules: PathRules = STRICT) -> CanonicalPath:
    """The raw path's one reading.

    Raises:
        RequestRefused: `bad_path`, saying which construct was met.
    """
    if _PLAIN_PATH.fullmatch(raw) is not None or raw == "/":
        return CanonicalPath(text=raw, segments=tuple(raw[1:].split("/")))
    _check_raw_path(raw, rules)
    segments = [_decoded_segment(segment, rules) for segment in raw[1:].split("/")]
    segments = _without_dots(segments, rules)
    if "" in segments[:-1]:
        if rules.empty_segments == "refuse":
            raise _bad_path("an empty segment (`//`)")
        segments = [segment for segment in segments[:-1] if segment] + segments[-1:]
    text = "/" + "/".join(quote(segment, safe="~!$&'()*+,=:@;") for segment in segments)
    return CanonicalPath(text=text, segments=tuple(segments))


def _bad_path(what: str) -> RequestRefused:
    return RequestRefused(Reason.BAD_PATH, f"the path has {what}")


def _check_raw_path(raw: str, rules: PathRules) -> None:
    if not raw.startswith("/"):
        raise _bad_path("no leading slash; expected the origin form, such as `/a/b`")
    if not raw.isascii():
        raise _bad_path("a character outside ASCII; it must be percent-encoded")
    if "#" in raw or "?" in raw:
        raise _bad_path("a fragment (`#`), or a query that was not cut off")
    if "\\" in raw:
        raise _bad_path("a backslash")
    if _CONTROL.search(raw) or " " in raw:
        raise _bad_path("a control character or a space")
    if _PERCENT.search(raw):
        raise _bad_path("a percent sign that starts no escape")
    if rules.semicolon == "refuse" and ";" in raw:
        raise _bad_path("a semicolon")


def _decoded_segment(raw: str, rules: PathRules) -> str:
    if "%" not in raw:
        return raw
    try:
        segment = unquote_to_bytes(raw).decode("utf-8")
    except UnicodeDecodeError:
        raise _bad_path("an escape that is not UTF-8") from None
    if _CONTROL.search(segment):
        raise _bad_path("an encoded control character or NUL")
    if "\\" in segment:
        raise _bad_path("an encoded backslash")
    if "/" in segment and rules.encoded_slash == "refuse":
        raise _bad_path("an encoded slash (`%2F`)")
    if ";" in segment and rules.semicolon == "refuse":
        raise _bad_path("an encoded semicolon")
    # `100%25` is legal: a bare percent sign is left. `%2541` leaves `%41`, which is one more decoding away.
    if rules.double_encoding == "refuse" and _ESCAPED.search(segment):
        raise _bad_path("a double encoding")
    if "#" in segment or "?" in segment:
        # Legal, but an upstream that decodes before it splits would cut here.
        raise _bad_path("an encoded `#` or `?`")
    return segment


def _without_dots(segments: list[str], rules: PathRules) -> list[str]:
    if any(segment not in {"", ".", ".."} and not segment.strip(". ") for segment in segments):
        raise _bad_path("a segment of dots and spaces only")  # some file systems read `.. ` and `...` as `..`
    if "." not in segments and ".." not in segments:
        return segments
    if rules.dot_segments == "refuse":
        raise _bad_path("a dot segment (`.` or `..`)")
    kept: list[str] = []
    for position, segment in enumerate(segments):
        last = position == len(segments) - 1
        if segment == "..":
            if not kept:
                raise _bad_path("a `..` above the root")
            kept.pop()
        elif segment != ".":
            kept.append(segment)
        if last and segment in {".", ".."}:
            kept.append("")
    return kept or [""]


def checked_query(query: str) -> str:
    """The raw query, refused where it holds what no proxy should pass on."""
    if query and ("#" in query or _CONTROL.search(query) or not query.isascii() or " " in query):
        raise RequestRefused(
            Reason.BAD_QUERY,
            "the query has a fragment, space, control or non-ASCII character; percent-encode it",
        )
    return query


def parse_query(query: str) -> Mapping[str, tuple[str, ...]]:
    """Parameters by name, every value in order (application/x-www-form-urlencoded).

    Raises:
        RequestRefused: `bad_query` where an escape is broken or is not UTF-8.
    """
    table: dict[str, list[str]] = {}
    for part in query.split("&"):
        if not part:
            continue
        name, _, value = part.partition("=")
        key = _decoded_parameter(name)
        table.setdefault(key, []).append(_decoded_parameter(value))
    return {key: tuple(values) for key, values in table.items()}


def _decoded_parameter(raw: str) -> str:
    if _PERCENT.search(raw):
        raise RequestRefused(Reason.BAD_QUERY, "the query has a percent sign that starts no escape")
    try:
        return unquote_to_bytes(raw.replace("+", " ")).decode("utf-8")
    except UnicodeDecodeError:
        raise RequestRefused(Reason.BAD_QUERY, "the query has an escape that is not UTF-8") from None


def check_headers(headers: Headers) -> None:
    """Refuses repeated single-valued fields, control characters and more fields than any client sends.

    Raises:
        RequestRefused: `bad_header` or `too_large`; the message names the field, never its value.
    """
    name = headers.repeated(SINGLE_HEADERS)
    if name is not None:
        raise RequestRefused(Reason.BAD_HEADER, f"the header `{name}` was sent more than once")
    total = headers.plain()
    if total is None:
        total = _checked_values(headers)
    if len(headers) > MAX_HEADERS or total > MAX_HEADER_BYTES:
        raise RequestRefused(Reason.TOO_LARGE, f"more than {MAX_HEADERS} headers or {MAX_HEADER_BYTES} characters")


def _checked_values(headers: Headers) -> int:
    total = 0
    for name, value in headers.items():
        total += len(name) + len(value)
        if _CONTROL_VALUE.search(value):
            raise RequestRefused(Reason.BAD_HEADER, f"the header `{name[:64]}` has a control character")
    return total
