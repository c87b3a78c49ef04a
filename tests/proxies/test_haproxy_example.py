"""HAProxy's example, read as text: its Lua script belongs to others, so nothing here can start it."""

from __future__ import annotations

import re

import pytest

from authz.core.enforce import Disclosure, respond
from authz.core.errors import Reason
from authz.core.model import Denied, Headers, Stage
from authz.servers.dialects import Dialect
from authz.servers.forward_auth import encode
from tests.proxies.harness import EXAMPLES
from tests.servers.questions import REQUIRED

LINES = [
    line.strip()
    for line in (EXAMPLES / "haproxy/haproxy.cfg").read_text(encoding="utf-8").splitlines()
    if not line.lstrip().startswith("#")
]
RULES = [line.removeprefix("http-request ") for line in LINES if line.startswith("http-request ")]
[QUESTION] = [rule for rule in RULES if rule.startswith("lua.")]
NAME, BACKEND, PATH, METHOD, TO_AUTHZ, TO_SERVICE, TO_CLIENT = QUESTION.split()


def before(rule: str) -> bool:
    """Does the rule stand before the question?"""
    return RULES.index(rule) < RULES.index(QUESTION)


def test_it_asks_at_its_own_path_a_backend_that_there_is():
    assert (NAME, PATH, METHOD) == ("lua.auth-intercept", "/haproxy", "GET")
    assert f"backend {BACKEND}" in LINES


@pytest.mark.parametrize("name", REQUIRED["haproxy"])
def test_what_authz_reads_is_set_and_never_added_to(name: str):
    rules = [rule for rule in RULES if rule.split()[1] == name]
    assert rules
    assert all(rule.startswith("set-header ") and before(rule) for rule in rules)
    assert name in TO_AUTHZ.split(",")
    assert not any("forwardfor" in line for line in LINES)


def test_both_schemes_are_told():
    told = {rule.split(maxsplit=2)[2] for rule in RULES if rule.split()[1] == "x-forwarded-proto"}
    assert {re.sub(r"\s+", " ", text) for text in told} == {"https if { ssl_fc }", "http if !{ ssl_fc }"}


def test_the_clients_connection_header_is_not_copied():
    assert "connection" not in TO_AUTHZ
    assert not {"*", "-"} & {TO_AUTHZ, TO_SERVICE, TO_CLIENT}


def test_identity_headers_are_authzs_alone():
    assert TO_SERVICE == "x-auth-*"
    assert before("del-header x-auth- -m beg")
    assert before("deny deny_status 400 if { req.hdr_names -m sub _ }")


def test_what_is_not_an_allow_is_denied():
    after = RULES[RULES.index(QUESTION) + 1]
    assert after == "deny deny_status 503 unless { var(txn.auth_response_successful) -m bool }"


@pytest.mark.parametrize("accept", ["text/html", "application/json"])
def test_a_denial_comes_through_whole(accept: str):
    outcome = Denied(stage=Stage.AUTHENTICATE, reason=Reason.NO_CREDENTIALS, status=401)
    answer = encode(Dialect.HAPROXY, respond(outcome, "d-1", Disclosure(), Headers([("accept", accept)])))
    assert {name for name, _ in answer.headers} <= set(TO_CLIENT.split(","))
    assert "location" in TO_CLIENT.split(",")
