"""Where a route's values come from, and how they become Cedar values.

A *source* names one value of the request or the verified token (`path.id`, `query.page`, `headers.x-tenant`,
`claims.amr`, `source.address`, `request.method`, `principal.id`). A *template* is text with sources in braces.
A *kind* is the Cedar type that a value must become; a value that cannot is refused, never passed on as text.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from typing import Literal, get_args

from authz.core.errors import Reason, RequestRefused, Unauthenticated
from authz.core.model import EntityUid, Extension, Identity, Request, Value
from authz.core.request import parse_query

Kind = Literal["string", "long", "bool", "set", "ip", "datetime", "decimal", "entity"]
KINDS: tuple[str, ...] = get_args(Kind)

MAX_VALUE = 2048
"""Characters of one mapped value."""
MAX_SET = 256
"""Members of one mapped set."""
_LONG = re.compile(r"-?[0-9]{1,19}")
# Cedar documentation, "datetime": a date, or a date and time with milliseconds optional and Z or an offset.
_DATETIME = re.compile(r"\d{4}-\d{2}-\d{2}(T\d{2}:\d{2}:\d{2}(\.\d{3})?(Z|[+-]\d{4}))?")
_DECIMAL = re.compile(r"-?\d{1,15}\.\d{1,4}")
_DECIMAL_LIMIT = 9223372036854775807  # the decimal times 10,000 must fit a signed 64-bit integer
_PLACEHOLDER = re.compile(r"\{([^{}]*)\}")
_UID = re.compile(
    r'((?:[A-Za-z_][A-Za-z0-9_]*::)*[A-Za-z_][A-Za-z0-9_]*)::"((?:[^"\\\x00-\x1f]|\\["\\nrt0\'])*)"',
    re.DOTALL,
)
_TYPE = re.compile(r"(?:[A-Za-z_][A-Za-z0-9_]*::)*[A-Za-z_][A-Za-z0-9_]*")
_ESCAPES = {'"': '"', "\\": "\\", "n": "\n", "r": "\r", "t": "\t", "0": "\0", "'": "'"}
_FAMILIES = ("path", "query", "headers", "claims", "source", "request", "principal")


class MappingError(ValueError):
    """A source, template, kind or identifier that an operator wrote is not valid; says what was expected."""


def parse_uid(text: str) -> EntityUid:
    """Reads `Namespace::Type::"id"` (Cedar documentation, entity unique identifiers).

    Raises:
        MappingError: it is not of that form.
    """
    match = _UID.fullmatch(text.strip())
    if match is None:
        msg = f'`{text[:80]}` is no entity identifier; expected the form `Namespace::Type::"id"`'
        raise MappingError(msg)
    return EntityUid(match[1], re.sub(r"\\(.)", lambda escape: _ESCAPES[escape[1]], match[2]))


def parse_type(text: str) -> str:
    """Checks an entity type's name, `Namespace::Type`.

    Raises:
        MappingError: it is not of that form.
    """
    if _TYPE.fullmatch(text) is None:
        msg = f"`{text[:80]}` is no entity type; expected the form `Namespace::Type`"
        raise MappingError(msg)
    return text


class Lookup:
    """What sources read: the request, the identity, the path's parameters. Parses the query once, if asked."""

    __slots__ = ("_query", "identity", "parameters", "request")

    def __init__(self, request: Request, identity: Identity, parameters: Mapping[str, str]) -> None:
        self.request = request
        self.identity = identity
        self.parameters = parameters
        self._query: Mapping[str, tuple[str, ...]] | None = None

    @property
    def query(self) -> Mapping[str, tuple[str, ...]]:
        """The query's parameters."""
        if self._query is None:
            self._query = parse_query(self.request.query)
        return self._query


Read = Callable[[Lookup], object]


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """One named value. `read` gives None where it is absent."""

    name: str
    read: Read

    @property
    def from_token(self) -> bool:
        """Does the value come from the token (then a bad one is the token's fault, not the request's)?"""
        return self.name.startswith(("claims.", "principal."))


def parse_source(text: str, parameters: frozenset[str]) -> Source:
    """Compiles a source's name; `parameters` are those that the route's path declares.

    Raises:
        MappingError: no such source; the message lists those there are.
    """
    family, _, key = text.strip().partition(".")
    if family not in _FAMILIES or not key:
        msg = (
            f"`{text[:80]}` is no source; expected `path.NAME`, `query.NAME`, `headers.NAME`, `claims.NAME`, "
            "`source.address`, `request.method|host|path|scheme|id` or `principal.id|type|issuer`"
        )
        raise MappingError(msg)
    return Source(name=f"{family}.{key}", read=_READERS[family](key, parameters))


def _path_reader(key: str, parameters: frozenset[str]) -> Read:
    if key not in parameters:
        known = ", ".join(f"`{name}`" for name in sorted(parameters)) or "none"
        msg = f"`path.{key}` is not in the route's path; its parameters are: {known}"
        raise MappingError(msg)
    return lambda lookup: lookup.parameters[key]


def _query_reader(key: str, _: frozenset[str]) -> Read:
    return lambda lookup: lookup.query.get(key)


def _headers_reader(key: str, _: frozenset[str]) -> Read:
    name = key.lower()
    if "_" in name:
        msg = f"`headers.{key}`: header names with an underscore never count here; use `-`"
        raise MappingError(msg)
    if name in {"authorization", "cookie", "proxy-authorization"}:
        msg = f"`headers.{key}` is a credential; read the verified token with `claims.NAME` instead"
        raise MappingError(msg)
    return lambda lookup: lookup.request.headers.all(name) or None


def _claims_reader(key: str, _: frozenset[str]) -> Read:
    # A claim may itself be named with dots (`https://example.com/roles`), so the whole name is tried first.
    steps = tuple(key.split("."))

    def read(lookup: Lookup) -> object:
        claims: object = lookup.identity.claims
        if isinstance(claims, Mapping) and key in claims:
            return claims[key]
        for step in steps:
            if not isinstance(claims, Mapping) or step not in claims:
                return None
            claims = claims[step]
        return claims

    return read


def _fixed_reader(table: Mapping[str, Read]) -> Callable[[str, frozenset[str]], Read]:
    def reader(key: str, _: frozenset[str]) -> Read:
        if key not in table:
            msg = (
                f"expected one of {', '.join(f'`{name}`' for name in sorted(table))} after the dot, found `{key[:40]}`"
            )
            raise MappingError(msg)
        return table[key]

    return reader


_READERS: Mapping[str, Callable[[str, frozenset[str]], Read]] = {
    "path": _path_reader,
    "query": _query_reader,
    "headers": _headers_reader,
    "claims": _claims_reader,
    "source": _fixed_reader({"address": lambda lookup: lookup.request.source_address}),
    "request": _fixed_reader(
        {
            "method": lambda lookup: lookup.request.method,
            "host": lambda lookup: lookup.request.host,
            "path": lambda lookup: lookup.request.path.text,
            "scheme": lambda lookup: lookup.request.scheme,
            "id": lambda lookup: lookup.request.id,
        }
    ),
    "principal": _fixed_reader(
        {
            "id": lambda lookup: lookup.identity.principal.id,
            "type": lambda lookup: lookup.identity.principal.type,
            "issuer": lambda lookup: lookup.identity.issuer,
        }
    ),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Template:
    """Text with sources in braces, e.g. `{path.tenant}/{path.id}`."""

    parts: tuple[str | Source, ...]

    def render(self, lookup: Lookup) -> str | None:
        """The text; None if a source is absent.

        Raises:
            RequestRefused, Unauthenticated: a source's value is not one piece of text.
        """
        if len(self.parts) == 1 and not isinstance(self.parts[0], str):
            return _text(self.parts[0], lookup)
        pieces: list[str] = []
        for part in self.parts:
            piece = part if isinstance(part, str) else _text(part, lookup)
            if piece is None:
                return None
            pieces.append(piece)
        return "".join(pieces)


def parse_template(text: str, parameters: frozenset[str]) -> Template:
    """Compiles a template.

    Raises:
        MappingError: a brace that is not paired, or an unknown source.
    """
    parts: list[str | Source] = []
    position = 0
    for match in _PLACEHOLDER.finditer(text):
        parts.append(text[position : match.start()])
        parts.append(parse_source(match[1], parameters))
        position = match.end()
    parts.append(text[position:])
    if any(isinstance(part, str) and ("{" in part or "}" in part) for part in parts):
        msg = f"`{text[:80]}` has a brace without its partner; write a source as `{{path.id}}`"
        raise MappingError(msg)
    return Template(parts=tuple(part for part in parts if part != ""))


def _text(source: Source, lookup: Lookup) -> str | None:
    raw = source.read(lookup)
    if raw is None:
        return None
    value = convert("string", raw, source)
    return value if isinstance(value, str) else None


def bad_value(source: Source, expected: str) -> RequestRefused | Unauthenticated:
    """The error for a value that cannot be what its mapping wants. Names the source, never the value."""
    detail = f"`{source.name}`: expected {expected}"
    if source.from_token:
        return Unauthenticated(Reason.TOKEN_CLAIMS, detail)
    return RequestRefused(Reason.BAD_PARAMETER, detail)


def convert(kind: Kind, raw: object, source: Source, *, entity_type: str = "") -> Value:
    """A raw value as the Cedar value that `kind` names.

    Raises:
        RequestRefused: `bad_parameter`, where the request's value does not fit.
        Unauthenticated: `token_claims`, where a claim does not fit.
    """
    if kind == "set":
        return _set(raw, source)
    if isinstance(raw, tuple | list):
        if len(raw) != 1:
            raise bad_value(source, "one value, found several")
        raw = raw[0]
    if kind == "entity":
        return EntityUid(entity_type, _string(raw, source))
    return _CONVERTERS[kind](raw, source)


def _string(raw: object, source: Source) -> str:
    if isinstance(raw, bool) or not isinstance(raw, str | int):
        raise bad_value(source, "text")
    text = str(raw)
    if not text or len(text) > MAX_VALUE:
        raise bad_value(source, f"1 to {MAX_VALUE} characters")
    if not text.isascii():
        try:
            text.encode("utf-8")
        except UnicodeEncodeError:  # a lone surrogate: bytes that are not UTF-8, or a broken JSON escape
            raise bad_value(source, "valid Unicode") from None
    return text


def _long(raw: object, source: Source) -> int:
    if isinstance(raw, bool) or not isinstance(raw, str | int):
        raise bad_value(source, "a whole number")
    if isinstance(raw, str) and _LONG.fullmatch(raw) is None:
        raise bad_value(source, "a whole number")
    number = int(raw)
    if not -(2**63) <= number < 2**63:
        raise bad_value(source, "a number that fits 64 bits")
    return number


def _bool(raw: object, source: Source) -> bool:
    if isinstance(raw, bool):
        return raw
    if raw in {"true", "false"}:
        return raw == "true"
    raise bad_value(source, "`true` or `false`")


def _ip(raw: object, source: Source) -> Extension:
    address = _canonical_ip(_string(raw, source))
    if address is None:
        raise bad_value(source, "an IP address or range, IPv4 written as such, without a zone")
    return address


@lru_cache(maxsize=4096)
def _canonical_ip(text: str) -> Extension | None:
    """Parsing an address costs as much as the rest of a query's mapping, and clients come again."""
    try:
        address = ipaddress.ip_network(text, strict=False) if "/" in text else ipaddress.ip_address(text)
    except ValueError:
        return None
    # Cedar knows no IPv4-mapped IPv6 and no zone: the same host must not have two names.
    if isinstance(address, ipaddress.IPv6Address):
        if address.scope_id is not None:
            return None
        return Extension("ip", str(address.ipv4_mapped or address))
    if isinstance(address, ipaddress.IPv6Network) and address.network_address.ipv4_mapped is not None:
        return None
    return Extension("ip", str(address))


def _datetime(raw: object, source: Source) -> Extension:
    if isinstance(raw, int) and not isinstance(raw, bool):  # claims carry seconds since the epoch (RFC 7519, 2)
        try:
            moment = datetime.fromtimestamp(raw, tz=UTC)
        except (ValueError, OverflowError, OSError):
            raise bad_value(source, "seconds since the epoch") from None
        return Extension("datetime", f"{moment.year:04d}-{moment:%m-%dT%H:%M:%SZ}")
    text = _string(raw, source)
    if _DATETIME.fullmatch(text) is None or not _real_moment(text):
        raise bad_value(source, "a date, or a date and time such as `2026-01-31T09:30:00Z`")
    return Extension("datetime", text)


def _real_moment(text: str) -> bool:
    try:
        datetime.fromisoformat(text)
    except ValueError:
        return False
    return True


def _decimal(raw: object, source: Source) -> Extension:
    text = _string(raw, source)
    if _DECIMAL.fullmatch(text) is None:
        raise bad_value(source, "a decimal with one to four digits after the point")
    whole, _, fraction = text.lstrip("-").partition(".")
    if int(whole + fraction.ljust(4, "0")) > _DECIMAL_LIMIT:
        raise bad_value(source, "a decimal between -922337203685477.5807 and 922337203685477.5807")
    return Extension("decimal", text)


def _set(raw: object, source: Source) -> tuple[Value, ...]:
    members: tuple[object, ...] = tuple(raw) if isinstance(raw, tuple | list) else (raw,)
    if source.name.startswith("headers."):  # RFC 9110, 5.6.1: list-valued fields are joined with commas
        members = tuple(piece.strip() for member in members for piece in str(member).split(",") if piece.strip())
    if len(members) > MAX_SET:
        raise bad_value(source, f"at most {MAX_SET} members")
    return tuple(dict.fromkeys(_string(member, source) for member in members))


_CONVERTERS: Mapping[str, Callable[[object, Source], Value]] = {
    "string": _string,
    "long": _long,
    "bool": _bool,
    "ip": _ip,
    "datetime": _datetime,
    "decimal": _decimal,
}
