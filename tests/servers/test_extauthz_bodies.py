"""Bodies of gRPC checks: read where a limit is given, and then only if Envoy says that they are whole.

What Envoy 1.40 sends is measured: its own `x-envoy-auth-partial-body` wherever it buffered a body, never a client's;
never `transfer-encoding`; `content-length`, unless a client names it in `Connection`.
"""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from authz.core.enforce import Disclosure, respond
from authz.core.errors import AuthzError, Reason
from authz.core.model import BodyState, Peer, Request
from authz.servers.extauthz_codec import decode, encode
from authz.servers.extauthz_pb2 import CheckRequest
from tests.servers.extauthz_support import (
    ALLOW,
    ALLOW_WITH_EDITS,
    DENY,
    FAILED,
    LET_THROUGH,
    METADATA,
    STATUS,
    UNAUTHENTICATED,
    check_request,
    fixture,
    read_as_envoy,
)

PROXY = Peer(address="127.0.0.1", trusted=True)
PARTIAL = "x-envoy-auth-partial-body"
WHOLE = {PARTIAL: "false"}


def check(*, body: bytes = b"", raw: bytes = b"", size: int = 0, headers=None, method: str = "POST") -> bytes:
    message = CheckRequest.FromString(check_request(method=method, headers=headers))
    http = message.attributes.request.http
    http.body, http.raw_body, http.size = body, raw, size
    return message.SerializeToString()


def read(data: bytes, limit: int = 100) -> Request:
    return decode(data, id="d-1", peer=PROXY, body_limit=lambda _: limit)


@pytest.mark.parametrize(
    ("parts", "body", "state"),
    [
        # Envoy buffered
        ({"body": b"hello", "size": 5, "headers": WHOLE}, b"hello", BodyState.WHOLE),
        ({"raw": b"hel\xfflo", "size": 6, "headers": WHOLE}, b"hel\xfflo", BodyState.WHOLE),
        ({"raw": b"!", "size": 1, "headers": WHOLE}, b"!", BodyState.WHOLE),
        ({"body": b"hello", "size": 5, "headers": WHOLE | {"content-length": "5"}}, b"hello", BodyState.WHOLE),
        ({"body": b"hello", "size": -1, "headers": WHOLE}, b"hello", BodyState.WHOLE),
        ({"body": b"hello", "size": 0, "headers": WHOLE}, b"hello", BodyState.WHOLE),
        ({"headers": WHOLE}, b"", BodyState.WHOLE),
        # cut off, or nobody says that it is not
        ({"body": b"hel", "size": 3, "headers": {PARTIAL: "true"}}, b"hel", BodyState.PARTIAL),
        ({"body": b"hello", "size": 5, "headers": {PARTIAL: "False"}}, b"hello", BodyState.PARTIAL),
        ({"body": b"hello", "size": 5, "headers": {PARTIAL: "false,false"}}, b"hello", BodyState.PARTIAL),
        ({"body": b"hello", "size": 5, "headers": {PARTIAL: ""}}, b"hello", BodyState.PARTIAL),
        ({"body": b"hello", "size": 5}, b"hello", BodyState.PARTIAL),
        ({"body": b"hello", "size": 9, "headers": WHOLE}, b"hello", BodyState.PARTIAL),
        ({"body": b"hello", "size": 4, "headers": WHOLE}, b"hello", BodyState.PARTIAL),
        ({"raw": b"hello", "headers": WHOLE | {"content-length": "9"}}, b"hello", BodyState.PARTIAL),
        ({"size": 5, "headers": WHOLE}, b"", BodyState.PARTIAL),
        ({"headers": WHOLE | {"content-length": "5"}}, b"", BodyState.PARTIAL),
        ({"headers": {PARTIAL: "true"}}, b"", BodyState.PARTIAL),
        # `body` is text: a byte outside UTF-8 comes as `!`
        ({"body": b'{"a": "!"}', "size": 10, "headers": WHOLE}, b'{"a": "!"}', BodyState.ALTERED),
        # Envoy did not buffer
        ({"headers": {"content-length": "5"}}, b"", BodyState.WITHHELD),
        ({"headers": {"content-length": "5"}, "method": "GET"}, b"", BodyState.WITHHELD),
        ({"headers": {"transfer-encoding": "chunked"}}, b"", BodyState.WITHHELD),
        ({"headers": {"content-length": "0", "transfer-encoding": "chunked"}}, b"", BodyState.WITHHELD),
        ({"headers": {"content-length": "0"}}, b"", BodyState.WHOLE),
        ({"headers": {"content-type": "application/json"}}, b"", BodyState.UNTOLD),
        ({}, b"", BodyState.UNTOLD),
        ({"method": "GET"}, b"", BodyState.UNTOLD),
    ],
)
def test_what_is_known_of_a_body(parts, body, state):
    request = read(check(**parts))
    assert (request.body, request.body_state) == (body, state)


def test_a_check_with_two_bodies_is_refused_where_one_is_read():
    data = check(body=b"a", raw=b"a", size=1, headers=WHOLE)
    with pytest.raises(AuthzError) as caught:
        read(data)
    assert caught.value.reason is Reason.BAD_CHECK
    assert read(data, limit=0).body is None


@pytest.mark.parametrize("limit", [0, None])
def test_a_body_that_no_route_reads_is_left_where_it_is(limit):
    data = check(raw=b"x" * 1000, size=1000, headers=WHOLE)
    request = decode(data, id="d-1", peer=PROXY, body_limit=None if limit is None else lambda _: limit)
    assert (request.body, request.body_state) == (None, BodyState.WHOLE)


def test_no_more_is_kept_of_a_body_than_shows_that_it_is_too_long():
    assert read(check(raw=b"x" * 1000, size=1000, headers=WHOLE), limit=10).body == b"x" * 11


def test_the_limit_is_asked_for_the_request_that_was_read():
    seen: list[Request] = []

    def limit(request: Request) -> int:
        seen.append(request)
        return 0

    decode(check_request(), id="d-1", peer=PROXY, body_limit=limit)
    assert [request.path.text for request in seen] == ["/documents/42"]
    decode(fixture("k12"), id="d-1", peer=PROXY, body_limit=limit)
    assert len(seen) == 1


@given(
    body=st.binary(max_size=20),
    raw=st.binary(max_size=20),
    size=st.integers(-1, 30),
    headers=st.dictionaries(
        st.sampled_from([PARTIAL, "content-length", "transfer-encoding"]),
        st.sampled_from(["false", "true", "0", "5", ""]),
    ),
)
def test_a_whole_body_is_one_that_envoy_calls_whole(body, raw, size, headers):
    try:
        request = read(check(body=body, raw=raw, size=size, headers=headers))
    except AuthzError as error:
        assert error.reason is Reason.BAD_CHECK
        assert body
        assert raw
        return
    if request.body_state is BodyState.WHOLE:
        assert headers.get(PARTIAL) == "false" or (not (body or raw) and headers == {"content-length": "0"})


# --- connections ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("outcome", [ALLOW, ALLOW_WITH_EDITS, DENY, UNAUTHENTICATED, FAILED, LET_THROUGH])
@pytest.mark.parametrize("on_failure", ["deny", "error"])
def test_the_network_filter_is_answered_by_a_status(outcome, on_failure):
    response = respond(outcome, "d-1", Disclosure())
    reply = encode(response, outcome, decision_id="d-1", on_failure=on_failure, connection=True)
    reading = read_as_envoy(reply)
    assert reading.verdict == ("allow" if outcome in (ALLOW, ALLOW_WITH_EDITS, LET_THROUGH) else "deny")
    assert set(reading.fields) <= {STATUS, METADATA}
    assert (reading.code != 0) is (reading.verdict == "deny")
