"""Fields of a `multipart/form-data` body, if it can be read in one way only.

Readers of multipart differ more than those of any other format: in line breaks, preambles, escapes in names, part
headers that decode. What a browser or an HTTP library writes (RFC 7578, WHATWG HTML 4.10.21.8) is taken; of the rest
of RFC 2046 nothing is.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from authz.core.errors import Reason, RequestRefused
from authz.core.parameters import is_utf8, parameterised

MAX_FIELDS = 256
"""Fields of one form. Some services ignore what comes after their own limit, which is 1000 or more."""
MAX_PART_HEADERS = 2048
"""Bytes of one part's headers."""
_BOUNDARY = re.compile(r"[0-9A-Za-z'()+_,./:=? -]{0,69}[0-9A-Za-z'()+_,./:=?-]")  # RFC 2046, 5.1.1
_HEADER = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+):([^\x00-\x08\x0a-\x1f\x7f]*)")
_ESCAPE = re.compile(r"%[0-9A-Fa-f]{2}")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_IDENTITY_ENCODINGS = frozenset({"7bit", "8bit", "binary"})


def multipart_fields(body: bytes, boundary: str) -> Mapping[str, tuple[str, ...]]:
    """Fields by name, every value in order.

    Args:
        body: the whole body.
        boundary: the parameter of the content type.

    Raises:
        RequestRefused: `bad_body`: it is no such body, holds a file, or can be read in several ways; `too_large`.
    """
    fields: dict[str, list[str]] = {}
    for part in _parts(body, boundary):
        head, separator, content = part.partition(b"\r\n\r\n")
        if not separator:
            raise _bad_part("has no empty line after its headers")
        name = _name(_headers(head, len(content)))
        try:
            value = content.decode()
        except UnicodeDecodeError:
            raise _bad_part("is not UTF-8") from None
        check_field(name, value)
        fields.setdefault(name, []).append(value)
    return {name: tuple(values) for name, values in fields.items()}


def check_field(name: str, value: str) -> None:
    """Refuses a form's field that frameworks read differently; the same for both kinds of forms.

    Raises:
        RequestRefused: `bad_body`.
    """
    if not name or name != name.strip() or _CONTROL.search(name):
        raise _bad_body("a form's field has an empty name, or one with control characters or spaces at its ends")
    if "\0" in value:
        raise _bad_body("a form's field holds a NUL")
    if name == "_charset_" and value.lower() != "utf-8":  # RFC 7578, 4.6: it names the charset of all fields
        raise _bad_body("the form says that it is in another charset; expected UTF-8")


def _bad_body(what: str) -> RequestRefused:
    return RequestRefused(Reason.BAD_BODY, what)


def _bad_part(what: str) -> RequestRefused:
    return _bad_body(f"a part of the multipart body {what}")


def _parts(body: bytes, boundary: str) -> list[bytes]:
    if _BOUNDARY.fullmatch(boundary) is None:
        raise _bad_body("the multipart body's boundary is missing, or not valid (RFC 2046, 5.1.1)")
    mark = b"--" + boundary.encode("ascii")
    # The first delimiter has no line break before it; nothing may stand there.
    before, *parts = (b"\r\n" + body).split(b"\r\n" + mark, MAX_FIELDS + 2)
    if len(parts) > MAX_FIELDS + 1:
        raise RequestRefused(Reason.TOO_LARGE, f"expected a form of at most {MAX_FIELDS} fields")
    if before or not parts or parts.pop() not in {b"--", b"--\r\n"}:
        raise _bad_body("the multipart body does not begin with its boundary, or does not end with it")
    for part in parts:
        # Readers that take a bare line feed for a line break would see one delimiter more.
        if not part.startswith(b"\r\n") or mark in part:
            raise _bad_part("holds the boundary, or something stands behind a boundary")
    return [part[2:] for part in parts]


def _headers(head: bytes, length: int) -> Mapping[str, str]:
    """A part's headers; none but those that leave its content as it stands."""
    if len(head) > MAX_PART_HEADERS:
        raise RequestRefused(Reason.TOO_LARGE, f"expected at most {MAX_PART_HEADERS} bytes of headers in a part")
    found: dict[str, str] = {}
    for line in head.split(b"\r\n"):
        match = _HEADER.fullmatch(line)
        if match is None:
            raise _bad_part("has a header line that cannot be read")
        name = match[1].decode("ascii").lower()
        if name in found:
            raise _bad_part("has a header twice")
        try:
            found[name] = match[2].strip(b" \t").decode()
        except UnicodeDecodeError:
            raise _bad_part("has a header that is not UTF-8") from None
    _check_content(found, length)
    return found


def _check_content(headers: Mapping[str, str], length: int) -> None:
    if headers.keys() - {"content-disposition", "content-type", "content-transfer-encoding", "content-length"}:
        raise _bad_part("has a header that forms do not have")
    if headers.get("content-transfer-encoding", "8bit").lower() not in _IDENTITY_ENCODINGS:
        raise _bad_part("is encoded; expected no `content-transfer-encoding` (RFC 7578, 4.7)")
    if headers.get("content-length", str(length)) != str(length):
        raise _bad_part("says another length than it has")
    media_type = parameterised(headers.get("content-type", "text/plain"))
    if media_type is None or media_type.value != "text/plain" or not is_utf8(media_type.parameters, "us-ascii"):
        raise _bad_part("is no text in UTF-8; files are not read")


def _name(headers: Mapping[str, str]) -> str:
    disposition = parameterised(headers.get("content-disposition", ""))
    if disposition is None or disposition.value != "form-data" or "name" not in disposition.parameters:
        raise _bad_part('has no disposition that can be read; expected `form-data; name="…"`, without a backslash')
    if disposition.parameters.keys() & {"filename", "filename*"}:
        raise _bad_part("is a file; expected fields only")
    if len(disposition.parameters) > 1:
        raise _bad_part("has a disposition with more than a name")
    name = disposition.parameters["name"]
    # Browsers write a quote as %22, and a percent sign as it is: some readers decode, others do not.
    if _ESCAPE.search(name):
        raise _bad_part("has a name with a percent escape")
    return name
