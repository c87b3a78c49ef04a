"""Connections: what they are to routes, and that neither they nor HTTP requests get into the other's."""

from __future__ import annotations

import pytest

from authz.core.connections import canonical_connection
from authz.core.errors import NoRoute, Reason, RequestRefused
from authz.core.lookup import Lookup
from authz.core.model import EntityUid, Extension, Headers, Identity, Peer
from authz.core.request import canonical_request
from authz.core.route_compiler import AttributeSpec, RouteSpec, compile_routes

PEER = Peer(trusted=True)
IDENTITY = Identity(scheme="certificate", issuer="mesh", subject="s", principal=EntityUid("Service", "s"))


def connection(**changes):
    parts = {"id": "d-1", "address": "10.0.0.7", "port": 5432, "peer": PEER, "source_address": "10.0.0.1"}
    return canonical_connection(**{**parts, **changes})


def spec(name="db", path="/5432", **changes):
    parts = {"action": 'Action::"Connect"', "resource_type": "Db", "resource_id": "{request.host}", "protocol": "tcp"}
    return RouteSpec(name=name, path=path, **{**parts, **changes})


def table(*specs):
    routes, problems = compile_routes(specs)
    assert problems == ()
    return routes


def test_a_connection_is_its_port_and_server():
    request = connection(server_name="DB.Example.")
    assert (request.method, request.scheme, request.host, request.protocol) == ("CONNECT", "tcp", "db.example", "tcp")
    assert (request.path.text, request.path.segments) == ("/5432", ("5432",))
    assert (request.source_address, request.query, len(request.headers), request.body) == ("10.0.0.1", "", 0, None)


@pytest.mark.parametrize(("address", "host"), [("10.0.0.7", "10.0.0.7"), ("2001:db8::7", "[2001:db8::7]")])
def test_without_a_server_name_the_host_is_the_address(address, host):
    assert connection(address=address).host == host


@pytest.mark.parametrize("port", [0, -1, 65536])
def test_a_connection_has_a_port(port):
    with pytest.raises(RequestRefused) as caught:
        connection(port=port)
    assert caught.value.reason is Reason.BAD_CHECK


@pytest.mark.parametrize("name", ["a b", "a..b", "-", "a/b", "ä.example", "a" * 300, ".", "a,b"])
def test_a_server_name_that_is_no_name_is_refused(name):
    with pytest.raises(RequestRefused) as caught:
        connection(server_name=name)
    assert caught.value.reason is Reason.BAD_HOST


def test_routes_of_connections_and_of_requests_do_not_meet():
    routes = table(spec(), spec("http", protocol="http"), spec("any", "/{port}"))
    assert routes.match(connection())[0].name == "db"
    assert routes.match(connection(port=80)) == (routes.routes[2], {"port": "80"})
    request = canonical_request(
        id="d", method="CONNECT", scheme="https", host="h", target="/5432", headers=Headers(), peer=PEER
    )
    assert routes.match(request)[0].name == "http"
    with pytest.raises(NoRoute):
        table(spec()).match(request)
    with pytest.raises(NoRoute):
        table(spec("http", protocol="http")).match(connection())
    with pytest.raises(NoRoute):
        table().match(connection())


def test_what_a_connection_tells():
    sources = {
        "who": AttributeSpec(source="source.principal"),
        "from_": AttributeSpec(type="ip", source="source.address"),
        "sni": AttributeSpec(source="request.sni"),
        "port": AttributeSpec(type="long", source="path.port"),
        "scheme": AttributeSpec(source="request.scheme"),
        "how": AttributeSpec(source="principal.scheme"),
        "zone": AttributeSpec(source="proxy.zone"),
    }
    routes = table(spec(path="/{port}", context=sources))
    extensions = {
        "envoy.source.principal": "spiffe://td/sa/a",
        "envoy.sni": "db.example",
        "envoy.context.zone": "eu",
    }
    route, parameters = routes.match(connection(extensions=extensions))
    assert route.query(Lookup(connection(extensions=extensions), IDENTITY, parameters)).context == {
        "who": "spiffe://td/sa/a",
        "from_": Extension("ip", "10.0.0.1"),
        "sni": "db.example",
        "port": 5432,
        "scheme": "tcp",
        "how": "certificate",
        "zone": "eu",
    }
    # A proxy that vouches for none of it leaves it out.
    bare = route.query(Lookup(connection(source_address=None), IDENTITY, parameters)).context
    assert bare == {"port": 5432, "scheme": "tcp", "how": "certificate"}


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"path": "/a"}, "destination's port"),
        ({"path": "/5432/x"}, "destination's port"),
        ({"path": "/{rest...}"}, "destination's port"),
        ({"methods": ("GET",)}, "no `methods`"),
        ({"headers": {"x-a": "b"}}, "no `headers`"),
        ({"context": {"a": AttributeSpec(source="headers.x-a")}}, "no `headers.x-a`"),
        ({"resource_id": "{query.a}"}, "no `query.a`"),
    ],
)
def test_what_a_connection_does_not_have_is_refused_at_load(changes, text):
    _, problems = compile_routes((spec(**changes),))
    assert [text in problem.message for problem in problems] == [True]
