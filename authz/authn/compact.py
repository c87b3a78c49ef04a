"""A token's outer form, a compact JWS, before anything in it is believed."""

from __future__ import annotations

import binascii
import re
from base64 import urlsafe_b64decode, urlsafe_b64encode
from dataclasses import dataclass
from typing import Any

from authz.core.errors import Reason, Unauthenticated
from authz.core.strict_json import NotStrictJson, json_object

_COMPACT = re.compile(r"([A-Za-z0-9_-]+)\.([A-Za-z0-9_-]+)\.([A-Za-z0-9_-]*)")


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class UnverifiedToken:
    """What a token says of itself. Nobody has vouched for any of it yet."""

    header: dict[str, Any]
    claims: dict[str, Any]
    signed: bytes
    """What the signature is over (RFC 7515, section 5.2)."""
    signature: bytes


def unverified_token(text: str) -> UnverifiedToken:
    """The parts of a compact JWS (RFC 7515, section 7.1) with a JSON object inside (RFC 7519, section 7.2).

    Raises:
        Unauthenticated: `token_malformed`; also for an encrypted token (five parts, RFC 7516).
    """
    parts = _COMPACT.fullmatch(text)
    if parts is None:
        raise _malformed("expected three base64url parts with dots between, of which the last may be empty")
    return UnverifiedToken(
        header=_object(parts[1], "header"),
        claims=_object(parts[2], "payload"),
        signed=text[: parts.end(2)].encode(),
        signature=_decoded(parts[3], "signature"),
    )


def _object(segment: str, name: str) -> dict[str, Any]:
    try:
        return json_object(_decoded(segment, name))
    except NotStrictJson as error:
        raise _malformed(f"the {name}: {error}") from None


def _decoded(segment: str, name: str) -> bytes:
    try:
        data = urlsafe_b64decode(segment + "=" * (-len(segment) % 4))
    except binascii.Error:
        raise _malformed(f"the {name} is not base64url") from None
    # Two texts for the same bytes would be two tokens to the cache (RFC 4648, section 3.5).
    if urlsafe_b64encode(data).rstrip(b"=") != segment.encode():
        raise _malformed(f"the {name} is not canonical base64url")
    return data


def _malformed(detail: str) -> Unauthenticated:
    return Unauthenticated(Reason.TOKEN_MALFORMED, detail)
