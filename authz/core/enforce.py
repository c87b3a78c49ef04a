"""Outcome → what leaves a door: a status, headers and a body that every dialect can carry.

The body is RFC 9457 problem JSON with a stable reason code and the decision id. It holds no claim, no
attribute and no detail; messages and policy ids only where the operator chose to show them.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass

from authz.core.errors import Reason
from authz.core.model import Allowed, Denied, Failed, Outcome

TITLES: Mapping[int, str] = {
    400: "The request was refused",
    401: "Authentication is required",
    403: "Access denied",
    500: "The authorization service failed",
    503: "No decision could be made",
}

# RFC 6750, 3.1: no error code where no credential was sent; `invalid_request` for a malformed request.
_CHALLENGE_ERROR: Mapping[Reason, str | None] = {
    Reason.NO_CREDENTIALS: None,
    Reason.CREDENTIALS_AMBIGUOUS: "invalid_request",
}

_CHALLENGE_TEXT: Mapping[Reason, str] = {
    Reason.CREDENTIALS_AMBIGUOUS: "more than one credential was sent",
    Reason.TOKEN_MALFORMED: "the token is malformed",
    Reason.TOKEN_TOO_LARGE: "the token is too large",
    Reason.TOKEN_TYPE: "the token is of another type",
    Reason.TOKEN_ALGORITHM: "the token's algorithm is not accepted",
    Reason.TOKEN_CRITICAL: "the token has a critical extension that is not understood",
    Reason.TOKEN_KEY_UNKNOWN: "the token's key is not known",
    Reason.TOKEN_SIGNATURE: "the token's signature is wrong",
    Reason.TOKEN_ISSUER: "the token's issuer is not accepted",
    Reason.TOKEN_AUDIENCE: "the token is meant for another audience",
    Reason.TOKEN_EXPIRED: "the token has expired",
    Reason.TOKEN_NOT_YET_VALID: "the token is not valid yet",
    Reason.TOKEN_CLAIMS: "the token lacks a claim, or has one that is not valid",
    Reason.TOKEN_REVOKED: "the token was revoked",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Disclosure:
    """What a client may learn beyond the reason code. The defaults show nothing."""

    realm: str = "authz"
    deny_messages: bool = False
    """`@deny_message` of the determining forbids."""
    policies: bool = False
    """Ids of the determining policies."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Response:
    """What a door answers. On allow `status` is 200 and the body empty."""

    status: int
    headers: tuple[tuple[str, str], ...] = ()
    remove: tuple[str, ...] = ()
    """Request headers the proxy must remove before it passes the request on (allow only)."""
    body: bytes = b""

    @property
    def allows(self) -> bool:
        """Does the request go on? True only for status 200, which only `respond` builds."""
        return self.status == 200


def respond(outcome: Outcome, decision_id: str, disclosure: Disclosure) -> Response:
    """The answer for an outcome. Exhaustive: mypy refuses a fourth kind of outcome here."""
    match outcome:
        case Allowed():
            return Response(status=200, headers=outcome.edits.set, remove=outcome.edits.remove)
        case Failed() if outcome.let_through:
            return Response(status=200, headers=outcome.edits.set, remove=outcome.edits.remove)
        case Failed():
            return _problem(outcome.status, outcome.reason, decision_id)
        case Denied():
            return _denial(outcome, decision_id, disclosure)


def _denial(denied: Denied, decision_id: str, disclosure: Disclosure) -> Response:
    extra: dict[str, object] = {}
    if denied.decision is not None:
        if disclosure.deny_messages and denied.decision.messages:
            extra["detail"] = " ".join(denied.decision.messages)
        if disclosure.policies:
            extra["policies"] = list(denied.policies)
    headers: tuple[tuple[str, str], ...] = ()
    if denied.status == 401:
        headers = (("www-authenticate", challenge(denied.reason, disclosure.realm)),)
    return _problem(denied.status, denied.reason, decision_id, headers=headers, extra=extra)


def _problem(
    status: int,
    reason: Reason,
    decision_id: str,
    *,
    headers: tuple[tuple[str, str], ...] = (),
    extra: Mapping[str, object] | None = None,
) -> Response:
    body = {
        "type": f"urn:authz:reason:{reason}",
        "title": TITLES.get(status, TITLES[403]),
        "status": status,
        "reason": reason.value,
        "decision_id": decision_id,
        **(extra or {}),
    }
    return Response(
        status=status,
        # no-store: a shared cache in front of a door would replay one client's answer to another.
        headers=(*headers, ("content-type", "application/problem+json"), ("cache-control", "no-store")),
        body=json.dumps(body, separators=(",", ":")).encode(),
    )


def challenge(reason: Reason, realm: str) -> str:
    """The WWW-Authenticate value for a 401; RFC 6750, section 3. ASCII, quotes escaped."""
    quoted = "".join(c for c in realm if c.isascii() and c.isprintable()).replace("\\", "\\\\").replace('"', '\\"')
    parts = [f'Bearer realm="{quoted}"']
    error = _CHALLENGE_ERROR.get(reason, "invalid_token")
    if error is not None:
        parts.append(f'error="{error}"')
        text = _CHALLENGE_TEXT.get(reason)
        if text is not None:
            parts.append(f'error_description="{text}"')
    return ", ".join(parts)
