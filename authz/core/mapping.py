"""What an operator writes for a value: sources, templates, entity identifiers and types.

A *source* names one value of the request or the verified token (`path.id`, `query.page`, `headers.x-tenant`,
`claims.amr`, `source.address`, `request.method`, `principal.id`). A *template* is text with sources in braces.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from authz.core.convert import convert
from authz.core.errors import Reason, RequestRefused
from authz.core.lookup import Lookup, Read, Source
from authz.core.model import EntityUid
from authz.core.request import canonical_server_name

_PLACEHOLDER = re.compile(r"\{([^{}]*)\}")
_UID = re.compile(
    r'((?:[A-Za-z_][A-Za-z0-9_]*::)*[A-Za-z_][A-Za-z0-9_]*)::"((?:[^"\\\x00-\x1f]|\\["\\nrt0\'])*)"',
    re.DOTALL,
)
_TYPE = re.compile(r"(?:[A-Za-z_][A-Za-z0-9_]*::)*[A-Za-z_][A-Za-z0-9_]*")
_ESCAPES = {'"': '"', "\\": "\\", "n": "\n", "r": "\r", "t": "\t", "0": "\0", "'": "'"}
_FAMILIES = ("path", "query", "headers", "body", "claims", "source", "request", "principal", "proxy")


# Keys of `Request.extensions`: what a proxy vouches for by its own configuration, never by a client's header.
SOURCE_PRINCIPAL = "envoy.source.principal"
"""The client certificate's first URI name, else its first DNS name, else its subject."""
SNI = "envoy.sni"
"""The server name that the client asked for in its TLS handshake with the proxy."""
FORWARDED_CERTIFICATE = "envoy.forwarded_client_certificate"
"""Envoy's X-Forwarded-Client-Cert, raw, from a trusted Envoy only."""
CONTEXT_EXTENSION = "envoy.context."
"""Prefix of Envoy's `context_extensions`."""


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


def parse_source(text: str, parameters: frozenset[str]) -> Source:
    """Compiles a source's name; `parameters` are those that the route's path declares.

    Raises:
        MappingError: no such source; the message lists those there are.
    """
    family, _, key = text.strip().partition(".")
    if family not in _FAMILIES or not key:
        msg = (
            f"`{text[:80]}` is no source; expected `path.NAME`, `query.NAME`, `headers.NAME`, `body.NAME`, "
            "`claims.NAME`, `source.address|principal`, `request.method|host|path|scheme|sni|id`, "
            "`principal.id|type|issuer|scheme` or `proxy.NAME`"
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
    if name == "x-forwarded-client-cert":  # whoever is not Envoy passes on the client's own
        msg = f"`headers.{key}` is a credential, and only Envoy's counts; read `source.principal` instead"
        raise MappingError(msg)
    return lambda lookup: lookup.request.headers.all(name) or None


def _claims_reader(key: str, _: frozenset[str]) -> Read:
    find = _finder(key)
    return lambda lookup: find(lookup.identity.claims)


def _body_reader(key: str, _: frozenset[str]) -> Read:
    # Not as claims are found: a caller who sends `{"a.b": 1, "a": {"b": 2}}` must not choose which of them counts.
    steps = tuple(key.split("."))
    if "" in steps:
        msg = f"`body.{key[:80]}` has an empty name; expected names joined by dots"
        raise MappingError(msg)

    def read(lookup: Lookup) -> object:
        members: object = lookup.body
        if isinstance(members, Mapping) and isinstance(_member(lookup, members, key), tuple):
            return members[key]  # a form's field: its name is text, dots and all
        for step in steps:
            members = _member(lookup, members, step) if isinstance(members, Mapping) else None
        return members

    return read


def _member(lookup: Lookup, members: Mapping[str, object], name: str) -> object:
    """A member of a body. Refused where another one differs in case only: to many services they are the same.

    Go and ASP.NET match JSON's names without regard to case, and the last one wins.
    """
    if lookup.likenesses(members).get(name.casefold(), 0) > (name in members):
        raise RequestRefused(Reason.BAD_BODY, f"a name in the body differs from `{name}` in case only")
    return members.get(name)


def _finder(key: str) -> Callable[[object], object]:
    # A claim may itself be named with dots (`https://example.com/roles`), so the whole name is tried first.
    steps = tuple(key.split("."))

    def find(members: object) -> object:
        if isinstance(members, Mapping) and key in members:
            return members[key]
        for step in steps:
            if not isinstance(members, Mapping) or step not in members:
                return None
            members = members[step]
        return members

    return find


def _proxy_reader(key: str, _: frozenset[str]) -> Read:
    name = CONTEXT_EXTENSION + key
    return lambda lookup: lookup.request.extensions.get(name)


def _server_name(lookup: Lookup) -> object:
    # Proxies find by it in any case and with or without a dot at its end; an entity has one name.
    name = lookup.request.extensions.get(SNI)
    return canonical_server_name(name) if name is not None else None


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
    "body": _body_reader,
    "claims": _claims_reader,
    "proxy": _proxy_reader,
    "source": _fixed_reader(
        {
            "address": lambda lookup: lookup.request.source_address,
            "principal": lambda lookup: lookup.request.extensions.get(SOURCE_PRINCIPAL),
        }
    ),
    "request": _fixed_reader(
        {
            "method": lambda lookup: lookup.request.method,
            "host": lambda lookup: lookup.request.host,
            "path": lambda lookup: lookup.request.path.text,
            "scheme": lambda lookup: lookup.request.scheme,
            "sni": _server_name,
            "id": lambda lookup: lookup.request.id,
        }
    ),
    "principal": _fixed_reader(
        {
            "id": lambda lookup: lookup.identity.principal.id,
            "type": lambda lookup: lookup.identity.principal.type,
            "issuer": lambda lookup: lookup.identity.issuer,
            "scheme": lambda lookup: lookup.identity.scheme,
        }
    ),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Template:
    """Text with sources in braces, e.g. `{path.tenant}/{path.id}`."""

    parts: tuple[str | Source, ...]

    @property
    def from_identity(self) -> bool:
        """Does it depend on the identity alone?"""
        return all(isinstance(part, str) or part.from_identity for part in self.parts)

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
