"""Reason codes are API: whoever changes this list changes dashboards, alerts and clients."""

from authz.core.errors import Problem, Reason

REASONS = {
    "allowed", "attributes_unavailable", "bad_check", "bad_header", "bad_host", "bad_method", "bad_parameter",
    "bad_path", "bad_query", "claims_mismatch", "credentials_ambiguous", "deadline", "decision_unavailable",
    "forbid_error", "internal", "keys_unavailable", "no_credentials", "no_route", "overloaded",
    "policies_unavailable", "policy_forbid", "policy_no_permit", "token_algorithm", "token_audience",
    "token_claims", "token_critical", "token_expired", "token_issuer", "token_key_unknown", "token_malformed",
    "api_key_expired", "api_key_invalid", "bad_body", "certificate_invalid",
    "token_not_yet_valid", "token_revoked", "token_signature", "token_too_large", "token_type", "too_large",
    "untrusted_peer",
}  # fmt: skip


def test_reason_codes_are_stable():
    assert {reason.value for reason in Reason} == REASONS


def test_a_problem_says_where_it_is():
    assert str(Problem(message="m", file="f", line=3)) == "f:3: m"
    assert str(Problem(message="m", file="f", severity="warning")) == "f: warning: m"
    assert str(Problem(message="m")) == "m"
