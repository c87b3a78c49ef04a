"""Which route counts, which routes may stand together, and what a route asks."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from authz.core.errors import NoRoute, Reason, RequestRefused, Unauthenticated
from authz.core.lookup import Lookup
from authz.core.model import Entity, EntitySlice, EntityUid, Extension, HeaderEdits, Headers, Identity, Peer
from authz.core.request import canonical_request
from authz.core.route_compiler import AttributeSpec, RouteSpec, compile_routes
from authz.core.route_conflicts import _covers, _overlap
from authz.core.routes import header_value

IDENTITY = Identity(
    scheme="bearer",
    issuer="i",
    subject="alice",
    principal=EntityUid("U", "alice"),
    claims={"amr": ["mfa"], "mail": "ä@x"},
    entities=EntitySlice(entities=(Entity(uid=EntityUid("U", "alice")),)),
)


def spec(name="r", path="/a", line=1, **changes):
    parts = {"action": 'Action::"read"', "resource_type": "D", "resource_id": "x", "file": "routes.yaml"}
    return RouteSpec(name=name, path=path, line=line, **{**parts, **changes})


def table(*specs):
    routes, problems = compile_routes(specs)
    assert problems == ()
    return routes


def problems(*specs):
    routes, found = compile_routes(specs)
    assert found
    assert routes.routes == ()
    return [str(problem) for problem in found]


def request(target="/a", method="GET", host="h", **changes):
    parts = {"id": "d", "scheme": "https", "headers": Headers(), "peer": Peer(trusted=True)}
    return canonical_request(method=method, host=host, target=target, **{**parts, **changes})


def matched(routes, *arguments, **keywords):
    try:
        return routes.match(request(*arguments, **keywords))[0].name
    except NoRoute:
        return None


def test_the_narrowest_route_wins_whatever_the_order():
    specs = [
        spec("rest", "/d/{rest...}"),
        spec("one", "/d/{id}"),
        spec("new", "/d/new"),
        spec("new-post", "/d/new", methods=("POST",)),
        spec("host", "/d/new", methods=("POST",), host="a.example"),
        spec("suffix", "/d/new", methods=("POST",), host="*.example"),
        spec("deep", "/d/{id}/x"),
    ]
    for order in itertools.islice(itertools.permutations(specs), 0, None, 97):
        routes = table(*order)
        assert matched(routes, "/d/new") == "new"
        assert matched(routes, "/d/new", "POST") == "new-post"
        assert matched(routes, "/d/new", "POST", "a.example") == "host"
        assert matched(routes, "/d/new", "POST", "b.example") == "suffix"
        assert matched(routes, "/d/new", "GET", "b.example") == "new"
        assert matched(routes, "/d/7") == "one"
        assert matched(routes, "/d/7/x") == "deep"
        assert matched(routes, "/d/7/y") == "rest"
        assert matched(routes, "/d/a/b/c") == "rest"
        assert matched(routes, "/d") is None
        assert matched(routes, "/") is None


def test_path_parameters():
    routes = table(spec(path="/d/{id}/f/{rest...}"))
    _, parameters = routes.match(request("/d/a%20b/f/x/y"))
    assert parameters == {"id": "a b", "rest": "x/y"}


def test_a_parameter_is_never_empty_and_a_trailing_slash_is_another_path():
    routes = table(spec(path="/d/{id}"), spec("slash", "/d/"))
    assert matched(routes, "/d/") == "slash"
    assert matched(table(spec(path="/d/{id}")), "/d/") is None
    assert matched(table(spec(path="/d")), "/d/") is None


def test_methods_are_exact():
    routes = table(spec(methods=("GET",)))
    assert matched(routes, "/a", "HEAD") is None
    assert matched(routes, "/a", "GET") == "r"


def test_suffix_hosts_do_not_match_the_bare_domain_or_a_longer_name():
    routes = table(spec(host="*.example.com"))
    assert matched(routes, host="a.example.com") == "r"
    assert matched(routes, host="a.b.example.com") == "r"
    assert matched(routes, host="example.com") is None
    assert matched(routes, host="badexample.com") is None


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (spec("one", "/a"), spec("two", "/a", line=9)),
        (spec("one", "/a/{x}"), spec("two", "/a/{y}", line=9)),
        (spec("one", "/a/{x}"), spec("two", "/{y}/b", line=9)),
        (spec("one", "/a", methods=("GET", "PUT")), spec("two", "/a", methods=("GET", "POST"), line=9)),
        (spec("one", "/{rest...}", host="h"), spec("two", "/admin", line=9)),
        (spec("one", "/a/{x}", methods=("GET",)), spec("two", "/a/b", line=9)),
    ],
)
def test_crossing_and_equal_routes_are_refused_with_both_lines(first, second):
    (text,) = problems(first, second)
    assert text.startswith("routes.yaml:9:")
    assert "(line 1)" in text
    assert "(line 9)" in text


def test_a_route_that_can_never_match_is_refused():
    found = problems(
        spec("all", methods=("GET", "PUT"), line=3),
        spec("get", methods=("GET",)),
        spec("put", methods=("PUT",), line=7),
    )
    assert found == [
        "routes.yaml:3: the route `all` can never match: `get` (line 1) and `put` (line 7) take each of its methods; "
        "remove it"
    ]


segment_specs = st.sampled_from(["a", "b", "{p}"])
paths = st.builds(
    lambda pieces, rest: "/" + "/".join([*(p if p != "{p}" else f"{{p{i}}}" for i, p in enumerate(pieces)), *rest]),
    st.lists(segment_specs, min_size=1, max_size=3),
    st.sampled_from([[], [], ["{rest...}"]]),
)
route_specs = st.builds(
    lambda path, methods, host: spec(path=path, methods=methods, host=host),
    paths,
    st.sampled_from([("*",), ("GET",), ("POST",), ("GET", "POST")]),
    st.sampled_from(["*", "h", "*.h", "x.h"]),
)


@settings(max_examples=300)
@given(st.lists(route_specs, min_size=2, max_size=4))
def test_matching_agrees_with_a_plain_search_for_the_one_route_inside_all_others(specs):
    specs = [spec(name=f"r{n}", path=s.path, methods=s.methods, host=s.host) for n, s in enumerate(specs)]
    routes, found = compile_routes(tuple(specs))
    singles = [compile_routes((s,))[0] for s in specs]
    for method, host, pieces in itertools.product(
        ("GET", "POST", "PUT"),
        ("h", "x.h", "o"),
        itertools.chain.from_iterable(itertools.product("abc", repeat=n) for n in (1, 2, 3)),
    ):
        target = "/" + "/".join(pieces)
        hits = [single.routes[0] for single in singles if matched(single, target, method, host) is not None]
        if found:
            continue
        inner = [route for route in hits if all(_covers(other, route) for other in hits)]
        assert matched(routes, target, method, host) == (inner[0].name if hits else None)
        assert len(inner) == (1 if hits else 0)
    for one, other in itertools.combinations([single.routes[0] for single in singles], 2):
        crossing = _overlap(one, other) and _covers(one, other) == _covers(other, one)
        assert not (crossing and not found)


def lookup(route_request=None, identity=IDENTITY, parameters=None):
    return Lookup(route_request or request(), identity, parameters or {})


def query_of(route_spec, route_request, identity=IDENTITY):
    routes = table(route_spec)
    route, parameters = routes.match(route_request)
    return route.query(Lookup(route_request, identity, parameters))


def test_a_query_is_made_of_request_and_identity():
    route = spec(
        path="/f/{folder}/d/{id}",
        resource_id="{path.folder}/{path.id}",
        resource_parents=(("F", "{path.folder}"),),
        context={
            "ip": AttributeSpec(type="ip", source="source.address"),
            "mfa": AttributeSpec(type="set", source="claims.amr"),
            "page": AttributeSpec(type="long", source="query.page"),
            "app": AttributeSpec(value="docs"),
        },
    )
    query = query_of(route, request("/f/1/d/2?page=3", source_address="192.0.2.1"))
    assert query.principal == EntityUid("U", "alice")
    assert query.action == EntityUid("Action", "read")
    assert query.resource == EntityUid("D", "1/2")
    assert query.context == {"ip": Extension("ip", "192.0.2.1"), "mfa": ("mfa",), "page": 3, "app": "docs"}
    assert query.entities[0] is IDENTITY.entities
    assert query.entities[1].entities == (Entity(uid=EntityUid("D", "1/2"), parents=frozenset({EntityUid("F", "1")})),)


def test_absent_values_are_left_out_unless_required():
    optional = spec(context={"page": AttributeSpec(type="long", source="query.page")})
    assert query_of(optional, request()).context == {}
    required = spec(context={"page": AttributeSpec(type="long", source="query.page", required=True)})
    with pytest.raises(RequestRefused) as caught:
        query_of(required, request())
    assert caught.value.reason is Reason.BAD_PARAMETER
    claim = spec(context={"x": AttributeSpec(source="claims.none", required=True)})
    with pytest.raises(Unauthenticated) as told:
        query_of(claim, request())
    assert told.value.reason is Reason.TOKEN_CLAIMS


def test_a_resource_needs_its_id():
    with pytest.raises(RequestRefused) as caught:
        query_of(spec(resource_id="{query.id}"), request("/a"))
    assert caught.value.reason is Reason.BAD_PARAMETER


def test_claims_of_access_tokens_are_context_token():
    identity = Identity(
        scheme="bearer", issuer="i", subject="s", principal=EntityUid("U", "s"), token={"scope": ("a",)}
    )
    assert query_of(spec(), request(), identity).context["token"] is identity.token


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"path": "a"}, "must begin with `/`"),
        ({"path": "/{id}/{id}"}, "twice"),
        ({"path": "/{rest...}/a"}, "must be last"),
        ({"path": "/a//b"}, "empty or dot segment"),
        ({"path": "/a/../b"}, "empty or dot segment"),
        ({"path": "/a-{id}"}, "neither a plain segment nor one whole parameter"),
        ({"path": "/a%20b"}, "neither a plain segment"),
        ({"host": "A.example"}, "lower-case name"),
        ({"host": "*"}, None),
        ({"methods": ("get",)}, "expected upper case"),
        ({"methods": ()}, "`methods` is empty"),
        ({"methods": ("GET", "*")}, "expected upper case"),
        ({"action": "read"}, "is no entity identifier"),
        ({"resource_type": "1D"}, "is no entity type"),
        ({"resource_id": ""}, "`id` is empty"),
        ({"resource_id": "{path.id}"}, "is not in the route's path"),
        ({"anonymous": "nobody"}, "is no entity identifier"),
        ({"context": {"token": AttributeSpec(value="x")}}, "reserved"),
        ({"context": {"pip": AttributeSpec(value="x")}}, "reserved"),
        ({"context": {"x": AttributeSpec()}}, "exactly one of `from` and `value`"),
        ({"context": {"x": AttributeSpec(value=1, source="query.x")}}, "exactly one of `from` and `value`"),
        ({"context": {"x": AttributeSpec(source="query.x", type="float")}}, "unknown type"),
        ({"context": {"x": AttributeSpec(source="query.x", type="entity")}}, "`entity_type` belongs to"),
        ({"context": {"x": AttributeSpec(source="nowhere.x")}}, "is no source"),
        ({"context": {"x": AttributeSpec(value="abc", type="long")}}, "does not fit its type"),
        ({"headers": {"x_user": "a"}}, "is not valid"),
        ({"headers": {"Host": "a"}}, "is not ours to set"),
        ({"headers": {"authorization": "a"}}, "is not ours to set"),
        ({"headers": {"x-forwarded-for": "a"}}, "is not ours to set"),
        ({"headers": {"x-user": "{nope}"}}, "is no source"),
    ],
)
def test_what_is_wrong_with_a_route_is_said_with_its_line(changes, message):
    _, found = compile_routes((spec(line=7, **changes),))
    if message is None:
        assert found == ()
        return
    assert any(message in str(problem) for problem in found), found
    assert all(str(problem).startswith("routes.yaml:7: route `r`: ") for problem in found)


def test_all_problems_are_told_at_once():
    _, found = compile_routes((spec(action="x", resource_type="1"), spec("two", path="b", line=2)))
    assert len(found) == 3


def test_names_are_unique():
    assert any("already used" in text for text in problems(spec(), spec(path="/b", line=2)))


def test_identity_headers_are_set_or_removed_never_both():
    routes = table(spec(headers={"X-User": "{principal.id}", "x-mail": "{claims.mail}", "x-none": "{claims.none}"}))
    edits = routes.routes[0].edits(lookup())
    assert edits == HeaderEdits(set=(("x-user", "alice"), ("x-mail", "%C3%A4@x")), remove=("x-none",))


@given(st.text(max_size=20))
def test_header_values_are_plain_for_every_proxy_and_can_be_read_back(value):
    from urllib.parse import unquote

    encoded = header_value(value)
    assert encoded.isascii()
    assert encoded.isprintable()
    assert encoded == encoded.strip()
    try:
        value.encode()
    except UnicodeEncodeError:
        return
    assert unquote(encoded) == value


def test_identity_headers_of_other_routes_are_removed_too():
    routes = table(spec(headers={"x-user": "{principal.id}"}), spec("two", "/b", headers={"x-doc": "d"}))
    one, two = routes.routes
    assert one.edits(lookup()) == HeaderEdits(set=(("x-user", "alice"),), remove=("x-doc",))
    assert two.edits(lookup()) == HeaderEdits(set=(("x-doc", "d"),), remove=("x-user",))
    assert one.bare_edits().remove == ("x-user", "x-doc")
    assert set(table(spec(), spec("two", "/b", headers={"x-doc": "d"})).routes[0].edits(lookup()).remove) == {"x-doc"}
