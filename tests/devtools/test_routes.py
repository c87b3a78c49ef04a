"""`authz routes`: the table as it matches, and why a route takes a request or does not."""

from __future__ import annotations

import itertools
import json
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from authz import cli
from authz.core.body import BodyKind, BodyRules
from authz.core.errors import NoRoute, Reason, RequestRefused
from authz.core.model import Headers, Peer, Request
from authz.core.request import canonical_request
from authz.core.route_compiler import AttributeSpec, RouteSpec, compile_routes
from authz.core.routes import RouteTable
from authz.devtools.route_explain import Explanation, Obstacle, explain, in_order, obstacles
from authz.devtools.route_report import BadQuestion, asked
from authz.devtools.route_table import as_json, format_table


def spec(name: str = "r", path: str = "/a", **changes) -> RouteSpec:
    parts = {"action": 'Action::"read"', "resource_type": "D", "resource_id": "x", "file": "routes.yaml", "line": 1}
    return RouteSpec(name=name, path=path, **{**parts, **changes})


def table(*specs: RouteSpec) -> RouteTable:
    routes, problems = compile_routes(specs)
    assert problems == ()
    return routes


def request(
    target: str = "/a", method: str = "GET", host: str = "h", headers: tuple[tuple[str, str], ...] = ()
) -> Request:
    return canonical_request(
        id="d",
        method=method,
        scheme="https",
        host=host,
        target=target,
        headers=Headers(headers),
        peer=Peer(trusted=True),
    )


def connection(host: str, port: int) -> Request:
    return asked(f"tcp://{host}:{port}", None)


def reasons(found: Explanation) -> dict[str, list[str]]:
    return {other.route.name: [step.kind for step in other.obstacles] for other in found.others}


# --- true for any table -----------------------------------------------------------------------------------

_paths = st.builds(
    lambda pieces, last: (
        "/" + "/".join([*(f"{{p{n}}}" if piece == "{}" else piece for n, piece in enumerate(pieces)), *last])
    ),
    st.lists(st.sampled_from(["a", "b", "{}"]), max_size=3),
    st.sampled_from([[], [], ["{rest...}"], [""], ["x"]]),
).filter(lambda path: "//" not in path)
_http = st.builds(
    lambda path, methods, host: spec(path=path, methods=methods, host=host),
    _paths,
    st.sampled_from([("*",), ("GET",), ("POST",), ("GET", "POST")]),
    st.sampled_from(["*", "h", "*.h", "x.h"]),
)
_tcp = st.builds(
    lambda path, host: spec(path=path, host=host, protocol="tcp"),
    st.sampled_from(["/1", "/2", "/{port}"]),
    st.sampled_from(["*", "h"]),
)
_tables = st.lists(st.one_of(_http, _http, _tcp), max_size=6)


def compiled(specs: list[RouteSpec]) -> RouteTable:
    """A table of those that may stand beside each other."""
    kept: list[RouteSpec] = []
    for number, given_spec in enumerate(specs):
        named = replace(given_spec, name=f"r{number}")
        if not compile_routes((*kept, named))[1]:
            kept.append(named)
    return table(*kept)


def every_request() -> list[Request]:
    targets = [
        "/",
        *("/" + "/".join(p) for n in (1, 2, 3, 4) for p in itertools.product("abx", repeat=n) if n < 3 or p[0] == "a"),
    ]
    targets += ["/a/", "/a/b/", "/x/"]
    web = [
        request(target, method, host) for target in targets for method in ("GET", "PUT") for host in ("h", "x.h", "o")
    ]
    return [*web, connection("h", 1), connection("o", 2), connection("x.h", 3)]


REQUESTS = every_request()


def holds(obstacle: Obstacle, name: str, routes: RouteTable, asked_for: Request) -> bool:
    """Is a reason true? Asked of the table itself, with the route's other terms relaxed as far as they go."""
    route = next(route for route in routes.routes if route.name == name)
    segments, wanted = asked_for.path.segments, route.segments
    at = obstacle.segment
    match obstacle.kind:
        case "protocol":
            return route.protocol != asked_for.protocol
        case "method":
            return not matches(replace(route, host="*", segments=anywhere(asked_for)), asked_for)
        case "host":
            return not matches(replace(route, methods=None, segments=anywhere(asked_for)), asked_for)
        case "literal":
            return at is not None and wanted[at - 1].literal not in {None, segments[at - 1]}
        case "empty":
            return at is not None and segments[at - 1] == "" and wanted[at - 1].literal is None
        case "short":
            return at is not None and len(segments) < at <= len(wanted)
        case "long":
            return at is not None and len(segments) >= at > len(wanted) and not wanted[-1].rest
        case "narrower":
            return matches(route, asked_for)


def anywhere(asked_for: Request):
    (route,) = table(spec(path="/{all...}")).routes
    return route.segments


def matches(route, asked_for: Request) -> bool:
    try:
        RouteTable((route,)).match(asked_for)
    except NoRoute:
        return False
    return True


@settings(max_examples=60, deadline=None)
@given(_tables)
def test_what_is_explained_is_what_the_table_does(specs):
    routes = compiled(specs)
    for asked_for in REQUESTS:
        found = explain(routes, asked_for)
        try:
            route, parameters = routes.match(asked_for)
        except NoRoute:
            assert (found.outcome, found.route) == ("none", None)
            route = None
        else:
            assert (found.outcome, found.route, found.parameters) == ("taken", route, parameters)
        assert {other.route.name for other in found.others} == {r.name for r in routes.routes if r is not route}
        for other in found.others:
            assert other.obstacles
            for obstacle in other.obstacles:
                assert holds(obstacle, other.route.name, routes, asked_for), (obstacle, asked_for)
                assert (obstacle.kind == "narrower") == matches(other.route, asked_for)


@settings(max_examples=60, deadline=None)
@given(_tables)
def test_the_order_is_the_tables_preference(specs):
    routes = compiled(specs)
    ordered = in_order(routes.routes)
    assert sorted(route.name for route in ordered) == sorted(route.name for route in routes.routes)
    for asked_for in REQUESTS:
        covering = [route for route in ordered if not obstacles(route, asked_for)]
        taken = explain(routes, asked_for).route
        assert taken is (covering[0] if covering else None)


# --- one by one -------------------------------------------------------------------------------------------

SHOP = (
    spec("list", "/items", methods=("GET",)),
    spec("item", "/items/{id}", methods=("GET", "PUT")),
    spec("new", "/items/new", methods=("GET",)),
    spec("files", "/files/{path...}"),
    spec("admin", "/admin/{id}", host="admin.example", methods=("GET",)),
    spec("db", "/5432", protocol="tcp"),
)


def test_a_narrower_route_is_named():
    found = explain(table(*SHOP), request("/items/new"))
    assert found.route is not None
    assert found.route.name == "new"
    assert reasons(found)["item"] == ["narrower"]
    first = found.others[0]
    assert (first.route.name, first.obstacles[0].text) == ("item", "the narrower route `new` takes it")


@pytest.mark.parametrize(
    ("asked_for", "route", "texts"),
    [
        (request("/items/7", "DELETE"), "item", ["the method is DELETE, not GET, PUT"]),
        (request("/admin/7", "GET", "h"), "admin", ["the host is `h`, not `admin.example`"]),
        (request("/things"), "list", ["segment 1 is `things`, not `items`"]),
        (request("/items/7/x"), "item", ["the path goes on after segment 2, where the route ends"]),
        (request("/items/"), "list", ["the path has a slash at its end"]),
        (request("/items/"), "item", ["segment 2 is empty, and `{id}` never is"]),
        (request("/files"), "files", ["the path ends before segment 2, `{path...}`"]),
        (request("/items"), "item", ["the path ends before segment 2, `{id}`"]),
        (request("/items"), "db", ["it is for connections"]),
        (connection("db.example", 5432), "list", ["it is for HTTP requests"]),
        (connection("db.example", 5433), "db", ["the port is `5433`, not `5432`"]),
        (request("/x", "POST"), "list", ["the method is POST, not GET", "segment 1 is `x`, not `items`"]),
    ],
)
def test_the_reason_why_not(asked_for: Request, route: str, texts: list[str]):
    (other,) = [other for other in explain(table(*SHOP), asked_for).others if other.route.name == route]
    assert [obstacle.text for obstacle in other.obstacles] == texts


def test_where_none_takes_it_the_nearest_come_first():
    found = explain(table(*SHOP), request("/items/7/x"))
    assert found.outcome == "none"
    assert found.others[0].route.name == "item"
    assert found.others[-1].route.name == "db"
    assert explain(table(*SHOP), request("/items/7", "DELETE")).others[0].route.name == "item"


CORS = (("origin", "https://app.example"), ("access-control-request-method", "PUT"))


def test_a_header_that_poses_as_an_identity_header_is_refused_after_the_match():
    routes = table(spec("one", headers={"x-user": "{principal.id}"}))
    found = explain(routes, request(headers=(("X_User", "admin"),)))
    assert (found.outcome, found.route) == ("refused", routes.routes[0])
    assert found.refusal is not None
    assert found.refusal.reason is Reason.BAD_HEADER
    routes = table(spec("one", methods=("PUT",), preflight=True, headers={"x-user": "{principal.id}"}))
    asked_for = request(method="OPTIONS", headers=(*CORS, ("X_User", "admin")))
    assert explain(routes, asked_for).outcome == "refused"


@pytest.mark.parametrize(
    ("preflight", "headers", "outcome", "note"),
    [
        (True, CORS, "preflight", "lets it through without a decision"),
        (False, CORS, "none", "`item` takes: its preflights are decided"),
        (True, CORS[1:], "none", "no CORS preflight"),
        (True, (*CORS, CORS[1]), "none", "no CORS preflight"),
        (True, (CORS[0], (CORS[1][0], "PATCH")), "none", "which no route takes"),
        (True, (*CORS, ("cookie", "a=b")), "none", "no CORS preflight"),
        (True, CORS[:1], "none", None),
    ],
)
def test_preflights(preflight, headers, outcome, note):
    routes = table(spec("item", "/items/{id}", methods=("PUT",), preflight=preflight), spec("other", "/other"))
    asked_for = request("/items/7", "OPTIONS", headers=headers)
    found = explain(routes, asked_for)
    assert found.outcome == outcome
    assert (routes.preflight(asked_for) is not None) == (outcome == "preflight")
    assert (note in found.notes[0]) if note is not None else (found.notes == ())
    assert all(other.obstacles for other in found.others)


# --- the question -----------------------------------------------------------------------------------------


def test_a_url_is_taken_as_a_door_takes_it():
    one = asked("PUT", "https://Api.Example:8443/a%20b?x=1", headers=["X-A: 1", "x-a:2"])
    assert (one.method, one.scheme, one.host, one.path.segments, one.query) == (
        "PUT",
        "https",
        "api.example",
        ("a b",),
        "x=1",
    )
    assert one.headers.all("x-a") == ("1", "2")
    path = asked("GET", "/a/b", host="api.example")
    assert (path.host, path.path.text) == ("api.example", "/a/b")
    assert asked("/a", None).method == "GET"
    tcp = asked("tcp://[2001:DB8::1]:05432", None)
    assert (tcp.protocol, tcp.host, tcp.path.segments) == ("tcp", "[2001:db8::1]", ("5432",))


@pytest.mark.parametrize(
    ("method", "url", "reason"),
    [
        ("GET", "/a/../b", Reason.BAD_PATH),
        ("GET", "//a", Reason.BAD_PATH),
        ("GET", "http://h/a%2fb", Reason.BAD_PATH),
        ("GET", "/a#b", Reason.BAD_PATH),
        ("GET", "/a?b=#", Reason.BAD_QUERY),
        ("GET", "http:///a", Reason.BAD_HOST),
        ("GET", "http://u@h/a", Reason.BAD_HOST),
        ("get", "/a", Reason.BAD_METHOD),
        ("tcp://a b:1", None, Reason.BAD_HOST),
    ],
)
def test_what_a_door_refuses_is_refused(method, url, reason):
    with pytest.raises(RequestRefused) as caught:
        asked(method, url)
    assert caught.value.reason is reason


@pytest.mark.parametrize(
    ("method", "url", "headers"),
    [
        ("GET", None, []),
        ("GET", "a/b", []),
        ("GET", "ftp://h/a", []),
        ("GET", "tcp://h:1", []),
        ("tcp://h", None, []),
        ("tcp://h:0", None, []),
        ("tcp://h:65536", None, []),
        ("tcp://:1", None, []),
        ("GET", "/a", ["no colon"]),
        ("GET", "/a", [": value"]),
    ],
)
def test_what_asks_nothing_is_told(method, url, headers):
    with pytest.raises(BadQuestion):
        asked(method, url, headers=headers)


# --- the command ------------------------------------------------------------------------------------------

ROUTES = """
- name: item
  match: {methods: [PUT, GET], host: "*.example", path: "/items/{id}"}
  action: Shop::Action::"Read"
  resource: {type: Shop::Item, id: "{path.id}/{claims.tenant}"}
  context: {kind: {from: body.kind}}
  issuers: ["https://login.example.com"]
  anonymous: Shop::User::"nobody"
  preflight: pass
  body: {accept: [json, form]}
  fail_open: true
- name: db
  match: {protocol: tcp, path: "/{port}", host: db.example}
  action: Shop::Action::"Connect"
  resource: {type: Shop::Database, id: "{path.port}"}
"""
CONFIG = """
issuers:
  - {issuer: "https://login.example.com", audience: api}
policies: {path: policies}
routes: routes.yaml
paths: {dot_segments: resolve}
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "routes.yaml").write_text(ROUTES)
    (tmp_path / "authz.yaml").write_text(CONFIG)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_table_says_all_of_a_route(folder, capsys):
    assert cli.main(["routes"]) == 0
    told = capsys.readouterr().out.splitlines()
    assert len(told) == 3
    assert told[1].split("  ")[0] == "item"
    for part in (
        "GET,PUT",
        "*.example",
        "/items/{id}",
        'Shop::Item::"{path.id}/{claims.tenant}"',
        "routes.yaml:2",
        "of https://login.example.com",
        'or Shop::User::"nobody"',
        "fail_open preflight:pass body:form,json",
    ):
        assert part in told[1]
    assert " tcp " in told[2]
    assert cli.main(["routes", "--json"]) == 0
    item, db = json.loads(capsys.readouterr().out)
    assert (item["methods"], item["fail_open"], item["preflight"], item["body"]) == (
        ["GET", "PUT"],
        True,
        "pass",
        ["form", "json"],
    )
    assert (db["protocol"], db["path"], db["anonymous"]) == ("tcp", "/{port}", None)


def test_every_setting_of_a_route_that_the_table_shows_differs_from_its_default():
    plain, full = (
        as_json(table(given_spec).routes[0])
        for given_spec in (
            spec(),
            spec(
                "full",
                "/b/{c...}",
                methods=("GET",),
                host="h",
                authenticators=("key",),
                issuers=("i",),
                anonymous='U::"a"',
                fail_open=True,
                preflight=True,
                body=BodyRules(kinds=frozenset({BodyKind.JSON})),
                context={"kind": AttributeSpec(source="body.kind")},
                line=2,
            ),
        )
    )
    same = {name for name in plain if plain[name] == full[name]}
    assert same == {"protocol", "action", "resource", "file"}


def test_no_routes_is_said():
    assert format_table(RouteTable()) == "there are no routes: every request is denied\n"


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["GET", "http://a.example/items/7"], 0, ["taken by `item`", "id = 7", 'asks Shop::Action::"Read"', "fail_open"]),
        (["/x/../items/7", "--host", "a.example"], 0, ["taken by `item`"]),
        (["DELETE", "http://a.example/items/7"], 1, ["no_route", "the method is DELETE, not GET, PUT"]),
        (["GET", "http://a.example/items//7"], 1, ["bad_path", "an empty segment"]),
        (["tcp://db.example:5432"], 0, ["taken by `db`", "port = 5432"]),
        (["tcp://other.example:5432"], 1, ["the host is `other.example`, not `db.example`"]),
        (["OPTIONS", "http://a.example/items/7", "-H", "Origin: https://b.example", "-H",
          "Access-Control-Request-Method: PUT"], 0, ["passes by `item`", "without a decision"]),
    ],
)  # fmt: skip
def test_the_command_answers(folder, capsys, arguments, code, words):
    assert cli.main(["routes", *arguments]) == code
    told = capsys.readouterr()
    assert told.err == ""
    for word in words:
        assert word in told.out
    assert cli.main(["routes", *arguments, "--json"]) == code
    found = json.loads(capsys.readouterr().out)
    assert (found["route"] is not None) == (code == 0)
    assert found["outcome"] in ({"taken", "preflight"} if code == 0 else {"none", "refused"})
    assert (found["reason"] is None) == (code == 0)


def test_what_cannot_be_used_is_2(folder, capsys):
    assert cli.main(["routes", "GET"]) == 2
    assert cli.main(["routes", "-c", "elsewhere.yaml"]) == 2
    (folder / "routes.yaml").write_text(ROUTES.replace('action: Shop::Action::"Read"', "action: Read"))
    assert cli.main(["routes"]) == 2
    told = capsys.readouterr().err
    assert "routes.yaml:2: route `item`" in told
    assert "Traceback" not in told


def test_policies_and_keys_are_not_needed(folder, capsys):
    assert not (folder / "policies").exists()
    assert cli.main(["routes", "GET", "http://a.example/items/7"]) == 0
