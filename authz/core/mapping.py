"""What an operator writes for a value: sources, templates, entity identifiers and types.

A *source* names one value of the request or the verified token (`path.id`, `query.page`, `headers.x-tenant`,
`claims.amr`, `source.address`, `request.method`, `principal.id`). A *template* is text with sources in braces.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from authz.core.convert import convert
from authz.core.lookup import Lookup, Read, Source
from authz.core.model import EntityUid

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
