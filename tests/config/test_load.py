"""A configuration is taken whole, or every problem is told with its line."""

from __future__ import annotations

import json
from pathlib import Path
from textwrap import dedent

import jsonschema
import pytest
import yaml

from authz.config import json_schemas, load_config
from authz.config.fields import parse_address, parse_duration, parse_network
from authz.core.errors import Misconfigured

START = """\
listeners: {http: "127.0.0.1:9191", grpc: "unix:/run/authz/grpc.sock", admin: "127.0.0.1:9193"}
issuers:
  - issuer: https://login.example.com
    audience: [documents-api]
    algorithms: [RS256, ES256]
    token: access
    leeway: 30s
policies: {store: files, path: policies}
routes: routes.yaml
"""
ROUTES = """\
- name: read-document
  match: {methods: [GET], host: "*", path: "/documents/{id}"}
  action: Documents::Action::"ReadDocument"
  resource: {type: Documents::Document, id: "{path.id}"}
  context: {ip: {from: source.address, type: ip}, mfa: {from: claims.amr, type: set}}
"""


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "routes.yaml").write_text(ROUTES)
    return tmp_path


def load(folder: Path, text: str, **environment: str):
    file = folder / "authz.yaml"
    file.write_text(dedent(text))
    return load_config(file, environment)


def messages(loaded):
    return [(problem.line, problem.message) for problem in loaded.problems]


def test_the_documented_shape_is_taken(folder):
    loaded = load(folder, START)
    assert loaded.problems == ()
    config = loaded.required()
    assert config.shape.listeners.http[0].address.port == 9191
    assert config.shape.listeners.grpc[0].address.path == "/run/authz/grpc.sock"
    assert config.shape.issuers[0].leeway == 30.0
    (route,) = config.routes
    assert (route.name, route.methods, route.line) == ("read-document", ("GET",), 1)
    assert route.context["mfa"].source == "claims.amr"
    assert config.files == {str(folder / "authz.yaml"), str(folder / "routes.yaml")}


def test_routes_may_stand_inline(folder):
    inline = START.replace("routes: routes.yaml", "routes:\n" + "".join(f"  {x}\n" for x in ROUTES.splitlines()))
    loaded = load(folder, inline)
    assert loaded.problems == ()
    assert loaded.required().routes[0].line == 10


@pytest.mark.parametrize(
    ("old", "new", "line", "message"),
    [
        ("token: access", "tokn: access", 6, "unknown key `tokn`; did you mean `token`?"),
        ("token: access", "token: refresh", 6, "`issuers.0.token`: input should be 'access', 'id' or 'either'"),
        ("leeway: 30s", "leeway: 30", 7, "expected a duration with its unit"),
        ("leeway: 30s", "leeway: 1h", 7, "`leeway` is longer than 600 s"),
        ("leeway: 30s", "leeway: yes", 7, "ambiguous"),
        ("audience: [documents-api]", "audience: []", 4, "`audience` is empty"),
        ("[RS256, ES256]", "[RS256, HS256]", 5, "needs a `secret`"),
        ("[RS256, ES256]", "[none]", 5, "input should be 'RS256'"),
        ("https://login.example.com", "http://login.example.com", 3, "discovery needs an https address"),
        ("token: access", "jwks_file: a\n    jwks_uri: https://x", 6, "both say where the keys are"),
        ("127.0.0.1:9191", "9191", 1, "expected `HOST:PORT`"),
        ("unix:/run/authz/grpc.sock", "unix:run/x", 1, "absolute path"),
        ("127.0.0.1:9193", "127.0.0.1:9191", 1, "already taken"),
        ("store: files", "store: s3", 8, "`policies.store`"),
        ("routes: routes.yaml", "routes: none.yaml", None, "cannot be read"),
        ("routes: routes.yaml", "routes: routes.yaml\nroutes: x", 10, "stands twice"),
        ("routes: routes.yaml", "routes: routes.yaml\nrecord: {show: [headers]}", 10, "cannot be shown"),
        ("routes: routes.yaml", "routes: routes.yaml\nlimits: {in_flight: 0}", 10, "greater than or equal to 1"),
        ("routes: routes.yaml", "routes: routes.yaml\nlimits: {deadline: 0s}", 10, "longer than nothing"),
        (
            "routes: routes.yaml",
            "routes: routes.yaml\nhosts: {grpc: h2corn}\nlimits: {connection_age: 1m}",
            11,
            "h2corn cannot be told",
        ),
        ("routes: routes.yaml", "routes: routes.yaml\nresponses: {policies: 'yes'}", 10, "expected `true` or `false`"),
    ],
)
def test_problems_have_a_line_and_say_what_to_do(folder, old, new, line, message):
    assert old in START
    loaded = load(folder, START.replace(old, new))
    found = [(at, text) for at, text in messages(loaded) if message in text]
    assert found, messages(loaded)
    assert found[0][0] == line or line is None
    with pytest.raises(Misconfigured):
        loaded.required()


def test_all_problems_are_told_together(folder):
    text = START.replace("token: access", "token: x").replace("leeway: 30s", "leeway: x").replace("path:", "pth:")
    assert {line for line, _ in messages(load(folder, text))} >= {6, 7, 8}


def test_a_problem_of_a_union_is_told_once(folder):
    loaded = load(folder, START.replace("audience: [documents-api]", "audience: {a: b}"))
    assert len(loaded.problems) == 1


def test_secrets_come_from_elsewhere_and_are_shown_nowhere(folder):
    (folder / "key").write_text("a-very-long-shared-secret-of-32-bytes!\n")
    text = START.replace("[RS256, ES256]", "[HS256]\n    secret: ${file:key}")
    loaded = load(folder, text)
    assert loaded.problems == ()
    assert "very-long" not in repr(loaded.config)
    assert str(folder / "key") in loaded.required().files
    short = load(folder, text.replace("${file:key}", "${env:KEY}"), KEY="short-secret")
    assert any("shorter than 32 bytes" in message for _, message in messages(short))
    assert "short-secret" not in str(short.problems)


def test_trusting_everyone_is_warned_of(folder):
    loaded = load(folder, START + "trusted_proxies: ['0.0.0.0/0']\n")
    assert [problem.severity for problem in loaded.problems] == ["warning"]
    assert loaded.required()


@pytest.mark.parametrize("text", ["[]", "1", "text", "{}", "issuers: 5\n", "listeners: [1]\n", "routes: {a: b}\n"])
def test_any_other_yaml_is_refused_without_a_traceback(folder, text):
    loaded = load(folder, text)
    assert loaded.config is None
    assert loaded.problems


def test_routes_files_have_their_own_lines(folder):
    (folder / "routes.yaml").write_text(ROUTES.replace("action:", "acton:"))
    loaded = load(folder, START)
    assert [(Path(p.file).name, p.line) for p in loaded.problems] == [("routes.yaml", 1), ("routes.yaml", 3)]


def test_durations():
    assert [parse_duration(text) for text in ("200ms", "30s", "5m", "1h", "2d", "1.5s")] == [
        0.2, 30.0, 300.0, 3600.0, 172800.0, 1.5,
    ]  # fmt: skip
    for text in ("30", "s", "-1s", "1w", 30, None, "1e3s", "1s "):
        with pytest.raises(ValueError, match="duration"):
            parse_duration(text)


def test_addresses_and_networks():
    assert str(parse_address("[::1]:80")) == "::1:80"
    for text in ("", "host", ":80", "h:99999", "unix:", "unix:rel", "unix:/" + "x" * 200, 80):
        with pytest.raises(ValueError, match="expected"):
            parse_address(text)
    assert parse_network("10.0.0.1") == "10.0.0.1/32"
    for network in ("10.0.0.1/8", "x", None):
        with pytest.raises(ValueError, match="expected"):
            parse_network(network)


def test_the_published_schemas_are_those_of_the_code_and_take_the_documented_shape():
    published = Path(__file__).parents[2] / "docs" / "schema"
    schemas = json_schemas()
    assert {path.name for path in published.iterdir()} == set(schemas)
    for name, schema in schemas.items():
        assert json.loads((published / name).read_text()) == schema, f"run `make schema` to write {name}"
        jsonschema.Draft202012Validator.check_schema(schema)
    jsonschema.validate(yaml.safe_load(START), schemas["authz.schema.json"])
    jsonschema.validate(yaml.safe_load(ROUTES), schemas["routes.schema.json"])
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(yaml.safe_load(START.replace("leeway: 30s", "leeway: 30")), schemas["authz.schema.json"])


def test_files_of_another_shape_say_what_was_expected(folder):
    (folder / "routes.yaml").write_text("name: x")
    assert messages(load(folder, START)) == [(1, "expected a list of routes")]
    assert messages(load(folder, "- a")) == [(1, "expected a mapping of settings")]
