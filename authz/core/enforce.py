"""Outcome → what leaves a door: a status, headers and a body that every dialect can carry.

The body is RFC 9457 problem JSON with a stable reason code and the decision id; for people in browsers a page,
for gRPC clients a line of text with the code that goes with it. It holds no claim, no attribute and no detail;
messages and policy ids only where the operator chose to show them.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from authz.core.accept import Form, form_for
from authz.core.errors import BEARER, Reason
from authz.core.login import Login
from authz.core.model import Allowed, Denied, Failed, Headers, Outcome, Request
from authz.core.page import html_headers, html_page

TITLES: Mapping[int, str] = {
    400: "The request was refused",
    401: "Authentication is required",
    403: "Access denied",
    500: "The authorization service failed",
    503: "No decision could be made",
}

# A shared cache in front of a door would replay one client's answer to another. So no `vary`: nothing is kept.
_NO_STORE = ("cache-control", "no-store")

# google.rpc.Code: what a gRPC client is told. 503 is worth another try, 500 is not.
_GRPC_STATUS: Mapping[int, int] = {400: 3, 401: 16, 403: 7, 500: 13, 503: 14}
_PERMISSION_DENIED, _INTERNAL = 7, 13

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
    Reason.API_KEY_INVALID: "the API key is not known",
    Reason.API_KEY_EXPIRED: "the API key has expired",
    Reason.CERTIFICATE_INVALID: "the client certificate names no one who is known here",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Disclosure:
    """What a client may learn beyond the reason code, and how. The defaults show nothing more."""

    realm: str = "authz"
    deny_messages: bool = False
    """`@deny_message` of the determining forbids."""
    policies: bool = False
    """Ids of the determining policies."""
    html: bool = True
    """A page for clients that prefer HTML."""
    login: Login | None = None
    """Send people without a credential to a login page."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Response:
    """What a door answers. On allow `status` is 200 and the body empty."""

    status: int
    headers: tuple[tuple[str, str], ...] = ()
    remove: tuple[str, ...] = ()
    """Request headers the proxy must remove before it passes the request on (allow only)."""
    body: bytes = b""
    grpc_status: int | None = None
    """google.rpc.Code for a client that speaks gRPC, never 0. For proxies that pass it on as such."""

    @property
    def allows(self) -> bool:
        """Does the request go on? True only for status 200, which only `respond` builds."""
        return self.status == 200


@dataclass(frozen=True, slots=True, kw_only=True)
class _Told:
    """What the body of a denial says, whatever its form."""

    status: int
    reason: Reason
    decision_id: str
    detail: str = ""
    policies: tuple[str, ...] | None = None
    """None: not to be shown."""

    @property
    def title(self) -> str:
        return TITLES.get(self.status, TITLES[403])


def respond(
    outcome: Outcome,
    decision_id: str,
    disclosure: Disclosure,
    asker: Request | Headers | None = None,
    *,
    now: Callable[[], float] | None = None,
) -> Response:
    """The answer for an outcome. Exhaustive: mypy refuses a fourth kind of outcome here.

    Args:
        outcome: what was found.
        decision_id: for the body.
        disclosure: what a client may learn.
        asker: the client's request, or what could be read of it; None: nothing could. Read for denials only, and
            never repeated in the answer but for the signed return address of a login.
        now: a clock, seconds since the epoch; None: nobody is sent to a login page.
    """
    match outcome:
        case Allowed():
            return Response(status=200, headers=outcome.edits.set, remove=outcome.edits.remove)
        case Failed() if outcome.let_through:
            return Response(status=200, headers=outcome.edits.set, remove=outcome.edits.remove)
        case Failed():
            told = _Told(status=outcome.status, reason=outcome.reason, decision_id=decision_id)
            return _problem(told, _form(disclosure, asker))
        case Denied():
            return _denial(outcome, decision_id, disclosure, asker, now)


def _form(disclosure: Disclosure, asker: Request | Headers | None) -> Form:
    if asker is None:
        return Form.JSON
    form = form_for(asker.headers if isinstance(asker, Request) else asker)
    return Form.JSON if form is Form.HTML and not disclosure.html else form


def _denial(
    denied: Denied,
    decision_id: str,
    disclosure: Disclosure,
    asker: Request | Headers | None,
    now: Callable[[], float] | None,
) -> Response:
    headers: tuple[tuple[str, str], ...] = ()
    if denied.status == 401:
        headers = (("www-authenticate", challenge(denied.reason, disclosure.realm, denied.scheme)),)
        if disclosure.login is not None and now is not None and isinstance(asker, Request):
            location = disclosure.login.location(asker, denied.reason, now())
            if location is not None:
                return _redirect(location, headers)
    decided = denied.decision
    told = _Told(
        status=denied.status,
        reason=denied.reason,
        decision_id=decision_id,
        detail=" ".join(decided.messages) if decided is not None and disclosure.deny_messages else "",
        policies=denied.policies if decided is not None and disclosure.policies else None,
    )
    return _problem(told, _form(disclosure, asker), headers)


def _redirect(location: str, headers: tuple[tuple[str, str], ...]) -> Response:
    # The challenge stays (RFC 9110, 11.6.1): nginx passes a redirect on as a 401, which must have one.
    text = ("content-type", "text/plain; charset=utf-8")
    return Response(status=302, headers=(("location", location), *headers, text, _NO_STORE), body=b"Please log in.\n")


def _problem(told: _Told, form: Form, headers: tuple[tuple[str, str], ...] = ()) -> Response:
    described, body = _WRITERS[form](told)
    code = None
    if form is Form.GRPC:
        code = _GRPC_STATUS.get(told.status, _PERMISSION_DENIED if told.status < 500 else _INTERNAL)
    return Response(status=told.status, headers=(*headers, *described, _NO_STORE), body=body, grpc_status=code)


_Written = tuple[tuple[tuple[str, str], ...], bytes]


def _json(told: _Told) -> _Written:
    body: dict[str, object] = {
        "type": f"urn:authz:reason:{told.reason}",
        "title": told.title,
        "status": told.status,
        "reason": told.reason.value,
        "decision_id": told.decision_id,
    }
    if told.detail:
        body["detail"] = told.detail
    if told.policies is not None:
        body["policies"] = list(told.policies)
    return (("content-type", "application/problem+json"),), json.dumps(body, separators=(",", ":")).encode()


def _html(told: _Told) -> _Written:
    page = html_page(
        status=told.status,
        title=told.title,
        reason=told.reason.value,
        decision_id=told.decision_id,
        detail=told.detail,
        policies=told.policies or (),
    )
    return html_headers(), page


def _grpc(told: _Told) -> _Written:
    # One line of ASCII: it becomes a header, `grpc-message`.
    text = f"{told.title}: {told.reason.value}, decision {told.decision_id}"
    return (("content-type", "text/plain; charset=utf-8"),), text.encode()


_WRITERS: Mapping[Form, Callable[[_Told], _Written]] = {Form.JSON: _json, Form.HTML: _html, Form.GRPC: _grpc}


def challenge(reason: Reason, realm: str, scheme: str = BEARER) -> str:
    """The WWW-Authenticate value for a 401; RFC 6750, section 3. ASCII, quotes escaped.

    Another scheme than `Bearer` has a realm alone: the error is a parameter of RFC 6750's.
    """
    quoted = "".join(c for c in realm if c.isascii() and c.isprintable()).replace("\\", "\\\\").replace('"', '\\"')
    parts = [f'{scheme} realm="{quoted}"']
    if scheme != BEARER:
        return parts[0]
    error = _CHALLENGE_ERROR.get(reason, "invalid_token")
    if error is not None:
        parts.append(f'error="{error}"')
        text = _CHALLENGE_TEXT.get(reason)
        if text is not None:
            parts.append(f'error_description="{text}"')
    return ", ".join(parts)
