"""CORS preflights: only those that are one, and only for a route that spells out that they pass."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from authz.core.errors import Reason
from authz.core.model import Allowed, Decision, Denied, Headers, Peer, Verdict
from authz.core.pipeline import Authorizer, Trail
from authz.core.request import canonical_request
from authz.core.route_compiler import RouteSpec, compile_routes

ORIGIN, METHOD = "origin", "access-control-request-method"
EXACT = ((ORIGIN, "https://app.example"), (METHOD, "POST"))


def spec(name="passes", path="/a", **changes):
    parts = {
        "action": 'Action::"x"',
        "resource_type": "D",
        "resource_id": "d",
        "headers": {"x-auth-user": "{principal.id}"},
    }
    return RouteSpec(name=name, path=path, **{**parts, **changes})  # fmt: skip


PASSES = spec(methods=("POST", "PUT"), preflight=True)
DECIDED = spec("decided", "/b", methods=("POST",), headers={"x-auth-tenant": "t"})


class Point:
    """Denies all, so that whatever is allowed was not decided."""

    def __init__(self) -> None:
        self.asked = 0

    async def decide(self, query):
        self.asked += 1
        return Decision(verdict=Verdict.DENY)

    async def decide_many(self, queries):
        return tuple([await self.decide(query) for query in queries])


def ask(headers=EXACT, *, method="OPTIONS", target="/a", specs=(PASSES, DECIDED), trusted=True, body=None, host="h"):
    table, problems = compile_routes(specs)
    assert problems == ()
    request = canonical_request(
        id="d-1",
        method=method,
        scheme="https",
        host=host,
        target=target,
        headers=Headers(headers),
        peer=Peer(trusted=trusted),
        body=body,
    )
    trail = Trail()
    authorizer = Authorizer(routes=table, authenticators={}, decision_point=Point())
    return asyncio.run(authorizer.check(request, trail)), trail


def passes(headers=EXACT, **changes):
    outcome, _ = ask(headers, **changes)
    return isinstance(outcome, Allowed)


def test_an_exact_preflight_passes_without_a_decision_and_without_identity_headers():
    outcome, trail = ask()
    assert isinstance(outcome, Allowed)
    assert (outcome.decision.decision_point, outcome.decision.policies) == ("preflight", ())
    assert outcome.edits.set == ()
    assert set(outcome.edits.remove) == {"x-auth-user", "x-auth-tenant"}
    assert trail.route is not None
    assert (trail.route.name, trail.decision, trail.identity, trail.query) == ("passes", outcome.decision, None, None)


@pytest.mark.parametrize(
    "origin", ["null", "https://app.example", "http://localhost:3000", "http://[::1]:80", "app+x://a"]
)
def test_any_origin_may_ask(origin):  # which origins count is the service's to answer
    assert passes(((ORIGIN, origin), (METHOD, "PUT")))


def test_header_names_of_the_request_to_come_are_the_services_business():
    assert passes((*EXACT, ("access-control-request-headers", "authorization, x-auth-user")))


@pytest.mark.parametrize(
    "headers",
    [
        (), ((ORIGIN, "https://app.example"),), ((METHOD, "POST"),),
        (*EXACT, (METHOD, "POST")), (*EXACT, (ORIGIN, "https://app.example")),
        ((ORIGIN, "https://app.example"), (METHOD, "POST,PUT")), ((ORIGIN, "https://a.example,https://b.example"), (METHOD, "POST")),
        ((ORIGIN, ""), (METHOD, "POST")), ((ORIGIN, "app.example"), (METHOD, "POST")),
        ((ORIGIN, "https://app.example/"), (METHOD, "POST")), ((ORIGIN, "https://u@app.example"), (METHOD, "POST")),
        ((ORIGIN, "https://app.example"), (METHOD, "")), ((ORIGIN, "https://app.example"), (METHOD, "post")),
        ((ORIGIN, "https://app.example"), (METHOD, "DELETE")), ((ORIGIN, "https://app.example"), (METHOD, "OPTIONS")),
        ((ORIGIN, "https://app.example"), (METHOD, " POST")),
        (*EXACT, ("authorization", "Bearer x")), (*EXACT, ("cookie", "a=1")), (*EXACT, ("content-length", "5")),
        (*EXACT, ("transfer-encoding", "chunked")),
    ],
)  # fmt: skip
def test_what_is_no_exact_preflight_of_a_covered_method_is_decided(headers):
    outcome, _ = ask(headers)
    assert isinstance(outcome, Denied)
    assert outcome.reason is Reason.NO_ROUTE


@pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "PUT", "TRACE", "CONNECT"])
def test_no_other_method_is_a_preflight(method):
    assert not passes(method=method)


@pytest.mark.parametrize("changes", [{"target": "/b"}, {"target": "/c"}, {"trusted": False}, {"body": b"x"}])
def test_nothing_else_passes(changes):
    assert not passes(**changes)


def test_a_route_without_the_setting_decides_options_as_any_request():
    outcome, trail = ask(specs=(spec(methods=("OPTIONS", "POST")),))
    assert isinstance(outcome, Denied)
    assert outcome.reason is Reason.NO_CREDENTIALS
    assert trail.route is not None
    assert trail.route.name == "passes"


def test_a_route_for_all_methods_passes_preflights_for_each():
    every = spec(preflight=True)
    assert passes(((ORIGIN, "null"), (METHOD, "PATCH")), specs=(every,))
    assert not passes(((ORIGIN, "null"), (METHOD, "A B")), specs=(every,))
    assert not passes(((ORIGIN, "null"),), specs=(every,))


def test_the_route_of_the_method_that_is_asked_for_counts():
    specs = (spec("post", methods=("POST",), preflight=True), spec("rest", methods=("*",)))
    assert passes(specs=specs)
    assert not passes(((ORIGIN, "null"), (METHOD, "PUT")), specs=specs)
    hosts = (spec("one", host="a.example", preflight=True), spec("all"))
    assert passes(specs=hosts, host="a.example")
    assert not passes(specs=hosts, host="b.example")


def test_a_header_that_poses_as_an_identity_header_is_refused_here_too():
    outcome, _ = ask((*EXACT, ("X_Auth_User", "root")))
    assert isinstance(outcome, Denied)
    assert outcome.reason is Reason.BAD_HEADER


def test_a_connection_has_no_preflights():
    tcp = spec(path="/443", protocol="tcp", preflight=True, headers={})
    _, problems = compile_routes((tcp,))
    assert [problem.message for problem in problems] == [
        "route `passes`: a connection has no `preflight`: leave it out with `protocol: tcp`"
    ]


FIELD = st.tuples(
    st.sampled_from([ORIGIN, METHOD, "authorization", "cookie", "x-other", "content-length"]),
    st.sampled_from(["null", "https://app.example", "POST", "PUT", "GET", "0", "5", ""]),
)


@given(
    headers=st.lists(FIELD, max_size=4, unique_by=lambda field: field if field[0] in {ORIGIN, METHOD} else field[0]),
    method=st.sampled_from(["OPTIONS", "GET", "HEAD", "POST"]),
    target=st.sampled_from(["/a", "/b", "/a/"]),
)
def test_only_exact_preflights_of_the_route_pass(headers, method, target):
    values = {name: [value for n, value in headers if n == name] for name, _ in headers}
    exact = (
        method == "OPTIONS"
        and target == "/a"
        and values.get(ORIGIN) in (["null"], ["https://app.example"])
        and values.get(METHOD) in (["POST"], ["PUT"])
        and not {"authorization", "cookie"} & values.keys()
        and values.get("content-length", ["0"]) in (["0"], [""])
    )
    assert passes(headers, method=method, target=target) is exact
