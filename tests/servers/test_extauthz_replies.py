"""Replies to checks, read as Envoy reads them (protocol facts A3, G18, G19, G26), and health messages."""

from __future__ import annotations

import pytest
from google.protobuf import json_format
from hypothesis import given
from hypothesis import strategies as st

from authz.core.enforce import Disclosure, Response, respond
from authz.core.errors import AuthzError, Reason
from authz.core.model import Allowed, Decision, Denied, Failed, HeaderEdits, Headers, Stage, Verdict
from authz.servers import extauthz_codec as codec
from authz.servers.extauthz_pb2 import CheckResponse
from tests.servers.extauthz_support import (
    ALLOW,
    ALLOW_WITH_EDITS,
    DENIED,
    DENY,
    ERROR,
    FAILED,
    LET_THROUGH,
    METADATA,
    OK,
    PERMIT,
    REFUSED,
    STATUS,
    UNAUTHENTICATED,
    check_request,
    read_as_envoy,
)


def encode(outcome, response=None, **options) -> bytes:
    answer = respond(outcome, "d-1", Disclosure()) if response is None else response
    return codec.encode(answer, outcome, **{"decision_id": "d-1", **options})


def test_an_allow_has_an_explicit_status_and_the_edits():
    reading = read_as_envoy(encode(ALLOW_WITH_EDITS))
    assert reading.verdict == "allow"
    assert reading.fields == (STATUS, OK, METADATA)
    assert reading.upstream_set == (("x-user", "alice"), ("x-groups", "a,b"))
    assert reading.upstream_remove == ("x-tenant",)


def test_an_allow_without_edits_and_metadata_is_not_an_empty_reply():
    reply = encode(ALLOW, metadata=False)
    assert read_as_envoy(reply).fields == (STATUS, OK)


def test_set_headers_are_never_appended():
    reply = CheckResponse.FromString(encode(ALLOW_WITH_EDITS))
    assert [option.append.value for option in reply.ok_response.headers] == [False, False]
    assert all(option.HasField("append") for option in reply.ok_response.headers)


def test_a_let_through_failure_goes_on_without_identity_headers():
    reading = read_as_envoy(encode(LET_THROUGH))
    assert reading.verdict == "allow"
    assert reading.upstream_set == ()
    assert reading.upstream_remove == ("x-user", "x-groups", "x-tenant")


@pytest.mark.parametrize(
    ("outcome", "status", "code", "reason"),
    [(REFUSED, 400, 3, "bad_path"), (UNAUTHENTICATED, 401, 16, "token_expired"), (DENY, 403, 7, "policy_forbid")],
)
@pytest.mark.parametrize("on_failure", ["deny", "error"])
def test_a_denial_is_a_denied_response_whatever_is_done_with_failures(outcome, status, code, reason, on_failure):
    reading = read_as_envoy(encode(outcome, on_failure=on_failure))
    assert (reading.verdict, reading.status, reading.code) == ("deny", status, code)
    assert reading.fields == (STATUS, DENIED, METADATA)
    assert dict(reading.headers)["content-type"] == "application/problem+json"
    assert f'"reason":"{reason}"'.encode() in reading.body
    assert ("www-authenticate" in dict(reading.headers)) == (status == 401)


@pytest.mark.parametrize("status", [500, 503])
def test_a_failure_is_a_denial_by_default_and_an_error_by_setting(status):
    outcome = Failed(stage=Stage.DECIDE, reason=Reason.INTERNAL, status=status)
    denied, error = read_as_envoy(encode(outcome)), read_as_envoy(encode(outcome, on_failure="error"))
    assert (denied.verdict, denied.status, denied.fields) == ("deny", status, (STATUS, DENIED, METADATA))
    assert (error.verdict, error.status) == ("error", status)
    # fields are written in the order of their numbers
    assert error.fields == (STATUS, METADATA, ERROR)
    assert error.code == denied.code == {500: 13, 503: 14}[status]


@pytest.mark.parametrize(
    ("outcome", "described"),
    [
        (DENY, {"reason": "policy_forbid", "policies": ["documents/lock"]}),
        (ALLOW, {"reason": "allowed", "policies": ["documents/read"]}),
        (FAILED, {"reason": "decision_unavailable"}),
        (LET_THROUGH, {"reason": "decision_unavailable"}),
        (UNAUTHENTICATED, {"reason": "token_expired"}),
    ],
)
def test_metadata_names_decision_reason_and_policies_by_setting(outcome, described):
    metadata = CheckResponse.FromString(encode(outcome)).dynamic_metadata
    assert json_format.MessageToDict(metadata) == {"decision_id": "d-1", **described}
    assert METADATA not in read_as_envoy(encode(outcome, metadata=False)).fields


FORBIDDEN = (
    *("connection", "content-length", "host", "keep-alive", "proxy-authenticate", "proxy-authorization"),
    *("proxy-connection", "te", "trailer", "transfer-encoding", "upgrade"),
    *(":path", ":method", ":authority", ":status"),
)


@pytest.mark.parametrize("name", [*FORBIDDEN, *(name.title() for name in FORBIDDEN), "", "a b", "a\r\nb", "é"])
def test_framing_routing_and_illegal_headers_are_never_emitted(name):
    edits = Response(status=200, headers=((name, "1"), ("x-user", "a")), remove=(name, "x-tenant"))
    allowed = read_as_envoy(encode(ALLOW, edits))
    assert allowed.upstream_set == (("x-user", "a"),)
    assert allowed.upstream_remove == ("x-tenant",)
    denied = read_as_envoy(encode(DENY, Response(status=403, headers=((name, "1"), ("x-a", "b")))))
    assert denied.headers == (("x-a", "b"),)


@pytest.mark.parametrize("name", ["x-forwarded-for", "X-Forwarded-Proto", "x-envoy-upstream-rq-timeout-ms"])
def test_what_steers_the_proxy_is_never_set_upstream_but_may_be_removed(name):
    reading = read_as_envoy(encode(ALLOW, Response(status=200, headers=((name, "1"),), remove=("x-forwarded-host",))))
    assert reading.upstream_set == ()
    assert reading.upstream_remove == ("x-forwarded-host",)


def test_a_name_is_set_once_and_never_also_removed():
    response = Response(
        status=200, headers=(("X-Group", "a"), ("x-group", "b")), remove=("x-group", "X-Tenant", "x-tenant")
    )
    reading = read_as_envoy(encode(ALLOW, response))
    assert reading.upstream_set == (("x-group", "a,b"),)
    assert reading.upstream_remove == ("x-tenant",)


def test_repeated_headers_of_a_denial_are_kept():
    headers = (("www-authenticate", "Bearer"), ("www-authenticate", "Basic"))
    assert read_as_envoy(encode(UNAUTHENTICATED, Response(status=401, headers=headers))).headers == headers


@pytest.mark.parametrize(
    ("value", "sent"),
    [
        ("a\r\nx-user: root", "a%0D%0Ax-user: root"),
        ("caf\u00e9", "caf%C3%A9"),
        ("\ud800", "?"),
        ("100%25 b", "100%25 b"),
        ("", ""),
        ("\x00\x7f\t", "%00%7F%09"),
    ],
)
def test_a_value_that_a_header_cannot_carry_is_percent_encoded(value, sent):
    reading = read_as_envoy(encode(ALLOW, Response(status=200, headers=(("x-user", value),))))
    assert reading.upstream_set == (("x-user", sent),)


@pytest.mark.parametrize("status", [0, 100, 101, 199, 200, 204, 299, 302, 399, 600, 999])
def test_a_refusal_never_has_a_status_that_is_none(status):
    assert read_as_envoy(encode(DENY, Response(status=status))).status == 403
    assert read_as_envoy(encode(FAILED, Response(status=status))).status == 503


@pytest.mark.parametrize("status", [302, 303])
def test_a_denial_may_be_a_redirect(status):
    response = Response(status=status, headers=(("location", "https://login.example/"),), body=b"go")
    reading = read_as_envoy(encode(UNAUTHENTICATED, response))
    assert (reading.verdict, reading.status, reading.headers) == ("deny", status, response.headers)
    assert reading.code == 16
    assert read_as_envoy(encode(FAILED, response)).status == 503
    assert read_as_envoy(encode(ALLOW, response)).verdict == "deny"


@pytest.mark.parametrize(("outcome", "code"), [(REFUSED, "3"), (UNAUTHENTICATED, "16"), (DENY, "7"), (FAILED, "14")])
@pytest.mark.parametrize("on_failure", ["deny", "error"])
def test_a_grpc_client_is_told_its_own_status(outcome, code, on_failure):
    response = respond(outcome, "d-1", Disclosure(), Headers([("content-type", "application/grpc")]))
    reading = read_as_envoy(encode(outcome, response, on_failure=on_failure))
    assert dict(reading.headers)["grpc-status"] == code
    assert reading.body.endswith(b"decision d-1")
    assert "grpc-status" not in dict(read_as_envoy(encode(outcome)).headers)


@pytest.mark.parametrize(
    "data",
    [
        check_request("//", headers={"accept": "text/html", "cookie": "a=1"}),
        check_request("//", raw=[("accept", b"text/html"), ("cookie", b"caf\xe9"), ("Cookie", b"b=2")]),
    ],
)
def test_the_headers_of_a_check_that_is_refused_can_still_be_read(data):
    headers = codec.asker_of(data)
    assert headers is not None
    assert headers.get("accept") == "text/html"
    assert headers.get("cookie") in {"a=1", "caf\xe9"}


@given(st.binary(max_size=200))
def test_any_bytes_have_headers_or_none(data):
    headers = codec.asker_of(data)
    assert headers is None or len(headers) >= 0


@pytest.mark.parametrize("status", [400, 404, 429, 418, 500, 502, 504, 599])
def test_a_refusal_keeps_its_status_and_has_a_code_that_is_not_ok(status):
    reading = read_as_envoy(encode(DENY, Response(status=status)))
    assert (reading.verdict, reading.status) == ("deny", status)
    assert reading.code != 0


@pytest.mark.parametrize("outcome", [DENY, UNAUTHENTICATED, REFUSED, FAILED])
def test_a_response_that_allows_what_the_outcome_does_not_is_denied(outcome):
    assert read_as_envoy(encode(outcome, Response(status=200))).verdict == "deny"


def test_a_response_that_denies_what_the_outcome_allows_is_denied():
    assert read_as_envoy(encode(ALLOW, Response(status=503))).verdict == "deny"


def test_a_body_that_is_not_utf8_is_made_so():
    assert read_as_envoy(encode(DENY, Response(status=403, body=b"a\xffb"))).body == "a\ufffdb".encode()


pairs = st.tuples(st.text(max_size=12), st.text(max_size=12))
edits = st.builds(
    HeaderEdits,
    set=st.lists(pairs, max_size=4).map(tuple),
    remove=st.lists(st.text(max_size=12), max_size=4).map(tuple),
)
decisions = st.builds(
    Decision,
    verdict=st.just(Verdict.DENY),
    policies=st.lists(st.text(st.characters(exclude_categories=["Cs"]), max_size=8), max_size=3).map(tuple),
)
outcomes = st.one_of(
    st.builds(Allowed, decision=st.just(PERMIT), edits=edits),
    st.builds(
        Denied,
        stage=st.sampled_from(Stage),
        reason=st.sampled_from(Reason),
        status=st.integers(400, 599),
        decision=st.none() | decisions,
    ),
    st.builds(
        Failed,
        stage=st.sampled_from(Stage),
        reason=st.sampled_from(Reason),
        status=st.integers(400, 599),
        let_through=st.booleans(),
        edits=edits,
    ),
)
responses = st.builds(
    Response,
    status=st.integers(0, 999) | st.just(200),
    headers=st.lists(pairs, max_size=4).map(tuple),
    remove=st.lists(st.text(max_size=12), max_size=4).map(tuple),
    body=st.binary(max_size=40),
)


def check_reply(reply: bytes, *, goes_on: bool, may_err: bool) -> None:
    reading = read_as_envoy(reply)
    assert (reading.verdict == "allow") == goes_on
    assert reading.verdict != "error" or may_err
    # Explicit, and one response only: the one that its status goes with.
    assert reading.fields[0] == STATUS
    response = {DENIED, OK, ERROR} & set(reading.fields)
    assert len(response) == 1
    assert (response == {OK}) == (reading.code == 0)
    if goes_on:
        names = [name for name, _ in reading.upstream_set]
        assert len(names) == len(set(names))
        assert not set(names) & set(reading.upstream_remove)
    else:
        assert 400 <= reading.status <= 599
    for name, value in (*reading.upstream_set, *reading.headers):
        assert name == name.lower()
        assert name not in FORBIDDEN
        assert value.isascii()
        assert value.isprintable()


@given(outcome=outcomes, on_failure=st.sampled_from(["deny", "error"]), metadata=st.booleans())
def test_envoy_allows_if_and_only_if_the_outcome_is_allowed_or_let_through(outcome, on_failure, metadata):
    goes_on = isinstance(outcome, Allowed) or (isinstance(outcome, Failed) and outcome.let_through)
    reply = encode(outcome, on_failure=on_failure, metadata=metadata)
    if goes_on:
        check_reply(reply, goes_on=True, may_err=False)
    else:
        check_reply(reply, goes_on=False, may_err=isinstance(outcome, Failed) and on_failure == "error")


@given(outcome=outcomes, response=responses, on_failure=st.sampled_from(["deny", "error"]))
def test_a_response_that_does_not_fit_the_outcome_never_opens(outcome, response, on_failure):
    goes_on = isinstance(outcome, Allowed) or (isinstance(outcome, Failed) and outcome.let_through)
    reply = encode(outcome, response, on_failure=on_failure)
    check_reply(reply, goes_on=goes_on and response.status == 200, may_err=isinstance(outcome, Failed))


# --- health -----------------------------------------------------------------------------------------------


def test_health_messages():
    assert codec.decode_health(b"") == ""
    assert codec.decode_health(b"\x0a\x01a") == "a"
    assert codec.encode_health(codec.SERVING) == b"\x08\x01"
    assert codec.encode_health(codec.NOT_SERVING) == b"\x08\x02"
    with pytest.raises(AuthzError) as caught:
        codec.decode_health(b"\x0a\xff")
    assert caught.value.reason is Reason.BAD_CHECK


# --- the reading that these tests rest on -----------------------------------------------------------------

OK_STATUS, NOT_OK = b"\x0a\x00", b"\x0a\x02\x08\x07"
OK_RESPONSE, DENIED_401, ERROR_503 = b"\x1a\x00", b"\x12\x05\x0a\x03\x08\x91\x03", b"\x2a\x05\x0a\x03\x08\xf7\x03"


@pytest.mark.parametrize(
    ("reply", "verdict", "status"),
    [
        (OK_STATUS + OK_RESPONSE, "allow", 200),
        (b"", "allow", 200),
        (OK_STATUS + DENIED_401, "allow", 200),
        (DENIED_401, "allow", 200),
        (OK_STATUS + ERROR_503, "allow", 200),
        (NOT_OK + OK_RESPONSE, "deny", 403),
        (NOT_OK, "deny", 403),
        (NOT_OK + DENIED_401, "deny", 401),
        (NOT_OK + b"\x12\x00", "deny", 403),
        (NOT_OK + ERROR_503, "error", 503),
        (b"\xff\xff", "error", 403),
        (NOT_OK + b"\x12\x7f", "error", 403),
    ],
)
def test_envoys_reading_of_replies_as_measured(reply, verdict, status):
    reading = read_as_envoy(reply)
    assert (reading.verdict, reading.status) == (verdict, status)
