"""A request's body as a source of values: parsed only where a mapping reads it, and then in one way only.

What two programs can read in two ways is refused, for the service behind may be the other one: equal names in one
object, escapes that are broken, text that is not UTF-8, a body that was cut off, a content coding.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from urllib.parse import unquote_to_bytes

from authz.core.errors import Reason, RequestRefused
from authz.core.model import BodyState, Headers, Request
from authz.core.multipart import MAX_FIELDS, check_field, multipart_fields
from authz.core.parameters import Parameterised, is_utf8, parameterised
from authz.core.strict_json import NotStrictJson, json_object


class BodyKind(StrEnum):
    """Which bodies a route reads."""

    JSON = "json"
    """`application/json` and `application/…+json`: one object in UTF-8."""
    FORM = "form"
    """`application/x-www-form-urlencoded`."""
    MULTIPART = "multipart"
    """`multipart/form-data`; the fields, no files."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BodyRules:
    """What a route reads of bodies."""

    kinds: frozenset[BodyKind]
    max_bytes: int = 65_536
    optional: bool = False
    """Take it for no body where none came and nobody said that there is none."""


_JSON = re.compile(r"application/(?:[^/]+\+)?json")
_FORM = "application/x-www-form-urlencoded"
_MULTIPART = "multipart/form-data"
# A semicolon parts fields for some readers (CVE-2021-23336), and what has a quote may be JSON to those that look at the
# body alone; who writes forms by the standard escapes all of these.
_NOT_IN_A_FORM = re.compile(rb"[\x00-\x1f\x7f-\xff;\"]")
_BROKEN_ESCAPE = re.compile(rb"%(?![0-9A-Fa-f]{2})")

_UNREAD: Mapping[BodyState, str] = {
    BodyState.UNTOLD: (
        "no body came, and the proxy does not say that there is none: it must pass bodies on (Envoy: "
        "`with_request_body`, Traefik: `forwardBody`). For requests without one: `body: {optional: true}`"
    ),
    BodyState.WITHHELD: (
        "the proxy passes on no body: set `with_request_body` (Envoy) or `forwardBody` (Traefik); nginx, Caddy "
        "and HAProxy pass on none, so a route that reads bodies cannot stand behind them"
    ),
    BodyState.PARTIAL: (
        "the proxy passed on a part of the body only, or does not say that it is whole; raise `max_request_bytes`"
    ),
    BodyState.ALTERED: "a `!` in the body may stand for another byte; set Envoy's `pack_as_bytes: true`",
}


def parse_body(request: Request, rules: BodyRules) -> Mapping[str, object]:
    """The members of a body by name; empty where there is none.

    JSON gives what it holds: numbers exactly (`int`, `Decimal`), arrays as lists. A form's field gives a tuple of
    texts, one for each time that it was sent.

    Raises:
        RequestRefused: `bad_body` or `too_large`; the message never repeats what was sent.
    """
    body = request.body or b""
    if len(body) > rules.max_bytes:
        raise RequestRefused(Reason.TOO_LARGE, f"expected a body of at most {rules.max_bytes} bytes")
    state = request.body_state
    if state is not BodyState.WHOLE and not (state is BodyState.UNTOLD and rules.optional):
        raise _bad_body(_UNREAD[state])
    if not body:
        return {}
    kind, media_type = _kind(request.headers)
    if kind not in rules.kinds:
        raise _bad_body(f"the route reads {_named(rules.kinds)}; found a body of another type")
    return _READERS[kind](body, media_type)


def declares_body(headers: Headers) -> bool:
    """Do a message's headers announce a body (RFC 9112, section 6)?"""
    lengths = headers.all("content-length")
    return headers.count("transfer-encoding") > 0 or any(length.strip("0") for length in lengths)


def _bad_body(what: str) -> RequestRefused:
    return RequestRefused(Reason.BAD_BODY, what)


def _named(kinds: frozenset[BodyKind]) -> str:
    return " or ".join(sorted(f"`{kind}`" for kind in kinds))


def _kind(headers: Headers) -> tuple[BodyKind, Parameterised]:
    codings = ",".join(headers.all("content-encoding")).lower()
    if codings and codings.strip() != "identity":
        raise _bad_body("the body has a content coding; expected none, for only its recipient undoes it")
    types = headers.all("content-type")
    if len(types) != 1:
        raise _bad_body("the body has no content type; expected `content-type` once, and that the proxy passes it on")
    media_type = parameterised(types[0].strip(" \t"))
    if media_type is None:
        raise _bad_body("`content-type` cannot be read; expected one media type such as `application/json`")
    if not is_utf8(media_type.parameters):
        raise _bad_body("the body is in another charset; expected UTF-8")
    kind = _kind_of(media_type.value)
    if kind is None:
        raise _bad_body("the body is of a type that no route reads; expected JSON, a form or multipart/form-data")
    return kind, media_type


def _kind_of(media_type: str) -> BodyKind | None:
    if media_type == _FORM:
        return BodyKind.FORM
    if media_type == _MULTIPART:
        return BodyKind.MULTIPART
    return BodyKind.JSON if _JSON.fullmatch(media_type) is not None else None


def _json(body: bytes, _: Parameterised) -> Mapping[str, object]:
    try:
        return json_object(body, exact=True)
    except NotStrictJson as error:
        raise _bad_body(str(error)) from None


def _form(body: bytes, _: Parameterised) -> Mapping[str, object]:
    """Fields by name, every value in order (WHATWG URL standard, 5.1), without what only some readers take."""
    if _NOT_IN_A_FORM.search(body) or _BROKEN_ESCAPE.search(body):
        raise _bad_body("the form has a character that must be percent-encoded, or a broken escape")
    if body.count(b"&") >= MAX_FIELDS:
        raise RequestRefused(Reason.TOO_LARGE, f"expected a form of at most {MAX_FIELDS} fields")
    fields: dict[str, list[str]] = {}
    for piece in body.replace(b"+", b" ").split(b"&"):
        if not piece:
            continue
        raw_name, _equals, raw_value = piece.partition(b"=")
        try:
            name, value = unquote_to_bytes(raw_name).decode(), unquote_to_bytes(raw_value).decode()
        except UnicodeDecodeError:
            raise _bad_body("the form has an escape that is not UTF-8") from None
        check_field(name, value)
        fields.setdefault(name, []).append(value)
    return {name: tuple(values) for name, values in fields.items()}


def _multipart(body: bytes, media_type: Parameterised) -> Mapping[str, object]:
    return multipart_fields(body, media_type.parameters.get("boundary", ""))


_READERS: Mapping[BodyKind, Callable[[bytes, Parameterised], Mapping[str, object]]] = {
    BodyKind.JSON: _json,
    BodyKind.FORM: _form,
    BodyKind.MULTIPART: _multipart,
}
