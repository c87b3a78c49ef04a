"""The reply to an allowed request is put together from parts that are kept; it is the message that building it gives."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from authz.core.enforce import Disclosure, respond
from authz.core.errors import Reason
from authz.core.model import Allowed, Decision, HeaderEdits, Verdict
from authz.servers.extauthz_codec import replies as codec
from authz.servers.extauthz_pb2 import CheckResponse

names = st.sampled_from(("x-user", "X-Groups", "x-tenant", "host", "x-envoy-a", "x-\x01"))
values = st.text(max_size=12) | st.sampled_from(("alice", "\x01", "\x01\x01\x01", "d-1", "é", "a\r\nb"))
ids = st.text(alphabet=st.characters(max_codepoint=0x17F), max_size=24) | st.sampled_from(
    ("", "\x01", "\x01\x01", "0123456789abcdef-1")
)


def built(response, allowed: Allowed, id: str) -> CheckResponse:
    """The message, made by the long way."""
    reply = CheckResponse()
    codec._allow(reply, response)
    codec._describe(reply, Reason.ALLOWED, allowed.decision.policies, id)
    return reply


@given(
    edits=st.lists(st.tuples(names, values), max_size=4),
    remove=st.lists(names, max_size=3),
    policies=st.lists(values, max_size=3),
    ids=st.lists(ids, min_size=1, max_size=3),
)
def test_the_reply_is_the_message_that_building_it_gives(edits, remove, policies, ids):
    decision = Decision(verdict=Verdict.ALLOW, policies=tuple(policies))
    allowed = Allowed(decision=decision, edits=HeaderEdits(set=tuple(edits), remove=tuple(remove)))
    response = respond(allowed, "d", Disclosure())
    for id in (*ids, *ids):
        reply = codec.encode(response, allowed, decision_id=id)
        assert CheckResponse.FromString(reply) == built(response, allowed, id)


def test_a_response_that_does_not_allow_is_no_allowance():
    allowed = Allowed(decision=Decision(verdict=Verdict.ALLOW, policies=("p",)))
    response = respond(allowed, "d", Disclosure())
    codec.encode(response, allowed, decision_id="d-1")
    reply = CheckResponse.FromString(codec.encode(replace(response, status=403), allowed, decision_id="d-1"))
    assert reply.status.code != 0
    assert reply.WhichOneof("http_response") == "denied_response"


def test_the_network_filter_gets_the_status_alone():
    allowed = Allowed(decision=Decision(verdict=Verdict.ALLOW, policies=("p",)))
    response = respond(allowed, "d", Disclosure())
    codec.encode(response, allowed, decision_id="d-1")
    reply = CheckResponse.FromString(codec.encode(response, allowed, decision_id="d-1", connection=True))
    assert reply.WhichOneof("http_response") is None
