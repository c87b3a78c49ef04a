"""What a route makes of an identity is made once for it, and never given to another."""

from __future__ import annotations

import pytest

from authz.core.errors import Unauthenticated
from authz.core.lookup import Lookup, Memo
from authz.core.model import EntitySlice, EntityUid, Headers, Identity, Peer, Request
from authz.core.request import canonical_request
from authz.core.route_compiler import AttributeSpec, RouteSpec, compile_routes
from authz.core.routes import RouteTable

SHARED = EntitySlice()


def table(**settings) -> RouteTable:
    spec = {
        "name": "one",
        "path": "/{id}",
        "action": 'A::"a"',
        "resource_type": "R",
        "resource_id": "{path.id}",
        "context": {
            "mfa": AttributeSpec(type="set", source="claims.amr", required=True),
            "page": AttributeSpec(source="query.page"),
        },
        "headers": {"x-user": "{principal.id}"},
    }
    routes, problems = compile_routes((RouteSpec(**(spec | settings)),))
    assert problems == ()
    return routes


def identity(name: str, *amr: str) -> Identity:
    # As alike as can be: equal but for what is asked, and with the same entities.
    return Identity(
        scheme="bearer",
        issuer="i",
        subject="s",
        claims={"amr": list(amr)} if amr else {},
        principal=EntityUid("U", name),
        entities=SHARED,
    )


def request(target: str) -> Request:
    peer = Peer(trusted=True)
    return canonical_request(
        id="1", method="GET", scheme="https", host="h", target=target, headers=Headers(), peer=peer
    )


def ask(routes: RouteTable, who: Identity, target: str = "/1?page=1"):
    asked = request(target)
    route, parameters = routes.match(asked)
    lookup = Lookup(asked, who, parameters, route.body, routes.memo)
    return route.query(lookup).context, route.edits(lookup).set


def test_each_identity_gets_its_own():
    routes = table()
    alice, bob = identity("alice", "pwd"), identity("bob", "mfa")
    for _ in range(2):
        assert ask(routes, alice) == ({"mfa": ("pwd",), "page": "1"}, (("x-user", "alice"),))
        assert ask(routes, bob) == ({"mfa": ("mfa",), "page": "1"}, (("x-user", "bob"),))


def test_what_the_request_says_is_read_each_time():
    routes, alice = table(headers={"x-page": "{query.page}"}), identity("alice", "pwd")
    assert ask(routes, alice, "/1?page=1") == ({"mfa": ("pwd",), "page": "1"}, (("x-page", "1"),))
    assert ask(routes, alice, "/2?page=2") == ({"mfa": ("pwd",), "page": "2"}, (("x-page", "2"),))
    assert ask(routes, alice, "/3") == ({"mfa": ("pwd",)}, ())


def test_a_context_that_was_given_out_is_nobody_elses():
    routes, alice = table(), identity("alice", "pwd")
    context, _ = ask(routes, alice)
    context["mfa"] = ("forged",)
    assert ask(routes, alice)[0]["mfa"] == ("pwd",)


def test_the_value_itself_is_made_once():
    routes, alice = table(), identity("alice", "pwd", "mfa")
    assert ask(routes, alice)[0]["mfa"] is ask(routes, alice)[0]["mfa"]


def test_a_refusal_is_not_remembered():
    routes, nobody = table(), identity("nobody")
    for _ in range(2):
        with pytest.raises(Unauthenticated):
            ask(routes, nobody)


def test_it_is_bounded_and_an_identity_that_has_gone_is_no_other():
    memo = Memo(limit=3)
    made: list[str] = []

    def make(lookup: Lookup):
        made.append(lookup.identity.principal.id)
        return {"name": lookup.identity.principal.id}

    for number in range(50):
        who = identity(str(number))  # the one before has gone, and its address may be given anew
        assert memo.context("one", Lookup(request("/1"), who, {}), make) == {"name": str(number)}
        assert len(memo._contexts) <= 3
    assert made == [str(number) for number in range(50)]


def test_routes_are_told_apart():
    memo, alice = Memo(), identity("alice", "pwd")
    lookup = Lookup(request("/1"), alice, {}, None, memo)
    assert memo.context("one", lookup, lambda _: {"a": 1}) == {"a": 1}
    assert memo.context("other", lookup, lambda _: {"a": 2}) == {"a": 2}
