"""Requests with bodies, and what is read of them."""

from __future__ import annotations

from authz.core.body import BodyKind, BodyRules, parse_body
from authz.core.errors import Reason, RequestRefused
from authz.core.model import BodyState, Headers, Peer, Request
from authz.core.request import canonical_request

ALL = BodyRules(kinds=frozenset(BodyKind))
JSON = "application/json"
FORM = "application/x-www-form-urlencoded"
MULTIPART = "multipart/form-data; boundary=x"


def request_with(body: bytes | None, *types: str, state: BodyState = BodyState.WHOLE, **headers: str) -> Request:
    """A POST with this body and content type; `headers` with underscores for hyphens."""
    fields = [("content-type", text) for text in types]
    fields += [(name.replace("_", "-"), value) for name, value in headers.items()]
    return canonical_request(
        id="d-1",
        method="POST",
        scheme="https",
        host="h",
        target="/a",
        headers=Headers(fields),
        peer=Peer(trusted=True),
        body=body,
        body_state=state,
    )


def outcome(request: Request, rules: BodyRules = ALL) -> dict[str, object] | Reason:
    """What is read, or why it is refused."""
    try:
        return dict(parse_body(request, rules))
    except RequestRefused as error:
        assert error.status == 400
        assert error.detail
        return error.reason


def read(body: bytes, content_type: str = JSON) -> dict[str, object] | Reason:
    return outcome(request_with(body, content_type))
