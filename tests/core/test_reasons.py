"""Reason codes are API: whoever changes this list changes dashboards, alerts and clients."""

import pytest

from authz.core.errors import AttributesUnavailable, DecisionUnavailable, Problem, Reason
from authz.core.model import Failed
from authz.core.pipeline import Trail, ended

REASONS = {
    "allowed", "attributes_unavailable", "bad_check", "bad_header", "bad_host", "bad_method", "bad_parameter",
    "bad_path", "bad_query", "claims_mismatch", "credentials_ambiguous", "deadline", "decision_unavailable",
    "forbid_error", "internal", "keys_unavailable", "no_credentials", "no_route", "overloaded",
    "policies_unavailable", "policy_forbid", "policy_no_permit", "token_algorithm", "token_audience",
    "token_claims", "token_critical", "token_expired", "token_issuer", "token_key_unknown", "token_malformed",
    "api_key_expired", "api_key_invalid", "bad_body", "certificate_invalid",
    "token_not_yet_valid", "token_revoked", "token_signature", "token_too_large", "token_type", "too_large",
    "untrusted_peer", "too_many_candidates", "too_many_entities", "too_many_ancestors", "entities_mismatch",
    "decision_throttled", "decision_misconfigured", "query_refused",
}  # fmt: skip


def test_reason_codes_are_stable():
    assert {reason.value for reason in Reason} == REASONS


@pytest.mark.parametrize(
    "reason",
    [
        "too_many_candidates",
        "too_many_entities",
        "too_many_ancestors",
        "entities_mismatch",
        "forbid_error",
        "query_refused",
    ],
)
def test_what_a_query_brings_about_is_no_outage(reason):
    # Only outages open a route that fails open.
    kind = AttributesUnavailable if reason == "entities_mismatch" else DecisionUnavailable
    assert kind(Reason(reason)).by_query
    outcome = ended(Trail(), kind(Reason(reason), "detail"))
    assert isinstance(outcome, Failed)
    assert (outcome.reason, outcome.status, outcome.let_through) == (reason, 503, False)


def test_a_problem_says_where_it_is():
    assert str(Problem(message="m", file="f", line=3)) == "f:3: m"
    assert str(Problem(message="m", file="f", severity="warning")) == "f: warning: m"
    assert str(Problem(message="m")) == "m"
