"""Authenticators: one kind each, names, and the places where no credential can stand."""

import pytest

from authz.config.load import load_config

BASE = """issuers:
  - {issuer: https://login.example.com, audience: api}
  - {issuer: tenant, audience: api, jwks_file: x, principal: {prefix: t}}
policies: {path: policies}
routes: []
authenticators:
"""
CERTIFICATE = "client_certificate: {type: A::S"


def problems(folder, *entries):
    file = folder / "authz.yaml"
    file.write_text(BASE + "".join(f"  - {entry}\n" for entry in entries))
    return [str(problem).removeprefix(f"{file}:") for problem in load_config(file, {}).problems]


@pytest.mark.parametrize(
    "entry",
    [
        "{name: a, token: {}}",
        "{name: a, token: {scheme: DPoP}}",
        "{name: a, token: {header: X-Access-Token}}",
        "{name: a, token: {header: x-access-token, scheme: Token}}",
        "{name: a, token: {cookie: __Host-session}}",
        "{name: a, token: {cookie: 'a.b_c!'}}",
        "{name: a, api_keys: {file: keys.yaml}}",
        "{name: a, api_keys: {file: keys.yaml, header: Apikey}}",
        "{name: a, client_certificate: {type: A::S}}",
        "{name: a, client_certificate: {type: A::S, allowed: ['spiffe://td/*', 'spiffe://td/x']}}",
        "{name: a, client_certificate: {type: A::S, name: dns, allowed: [a.example]}}",
        "{name: a, client_certificate: {type: A::S, name: subject, allowed: ['O=Example,*']}}",
    ],
)
def test_what_is_right(tmp_path, entry):
    assert problems(tmp_path, entry) == []


@pytest.mark.parametrize(
    ("entry", "expected"),
    [
        ("{name: a}", "7: expected one of `token`, `api_keys` and `client_certificate`, found none"),
        ("{name: a, token: {}, api_keys: {file: k}}", "found `token` and `api_keys`"),
        ("{name: A, token: {}}", "`authenticators.0.name`"),
        ("{name: tenant, token: {}}", "`tenant` is also an issuer"),
        ("{name: a, token: {cookie: a, header: x-a}}", "`header` and `cookie` exclude each other"),
        ("{name: a, token: {cookie: a, scheme: X}}", "`scheme` and `cookie` exclude each other"),
        ("{name: a, token: {cookie: ''}}", "is no name of a cookie"),
        ("{name: a, token: {cookie: 'a b'}}", "is no name of a cookie"),
        ("{name: a, token: {cookie: 'a;b'}}", "is no name of a cookie"),
        ("{name: a, token: {cookie: 'a=b'}}", "is no name of a cookie"),
        ("{name: a, token: {cookie: 'a,b'}}", "is no name of a cookie"),
        ("{name: a, token: {cookie: 'ä'}}", "is no name of a cookie"),
        (f"{{name: a, token: {{cookie: {'a' * 129}}}}}", "is no name of a cookie"),
        ("{name: a, token: {scheme: ''}}", "is no scheme"),
        ("{name: a, token: {scheme: 'Bearer '}}", "is no scheme"),
        ("{name: a, token: {scheme: 'a,b'}}", "is no scheme"),
        ("{name: a, token: {header: ''}}", "is no name of a header"),
        ("{name: a, token: {header: x_access_token}}", "is no name of a header"),
        ("{name: a, token: {header: ':path'}}", "is no name of a header"),
        ("{name: a, api_keys: {file: k, header: authorization}}", "`authorization` is for tokens"),
        ("{name: a, client_certificate: {type: 1A}}", "is no entity type"),
        (f"{{name: a, {CERTIFICATE}, name: email}}}}", "client_certificate.name"),
        (f"{{name: a, {CERTIFICATE}, allowed: ['']}}}}", "expected a name"),
        (f"{{name: a, {CERTIFICATE}, allowed: ['spiffe://*/x']}}}}", "with one `*` at the end"),
        (f"{{name: a, {CERTIFICATE}, allowed: ['spiffe://td*']}}}}", "would also cover other domains"),
        (f"{{name: a, {CERTIFICATE}, allowed: ['*']}}}}", "would also cover other domains"),
        (f"{{name: a, {CERTIFICATE}, name: dns, allowed: ['a*']}}}}", "a DNS name is not narrowed by its beginning"),
    ],
)  # fmt: skip
def test_what_is_wrong(tmp_path, entry, expected):
    found = problems(tmp_path, entry)
    assert any(expected in problem for problem in found), found


@pytest.mark.parametrize(
    "header",
    [
        "cookie", "Set-Cookie", "host", "connection", "keep-alive", "te", "trailer", "transfer-encoding", "upgrade",
        "proxy-authorization", "content-length", "content-type", "x-forwarded-for", "X-Forwarded-Client-Cert",
        "x-envoy-external-address", "x-original-url", "x-real-ip", "x-request-id", "sec-fetch-site", "forwarded", "via",
        "origin", "accept", "user-agent",
    ],
)  # fmt: skip
@pytest.mark.parametrize("kind", ["token: {header: NAME}", "api_keys: {file: k, header: NAME}"])
def test_headers_that_mean_something_else(tmp_path, header, kind):
    found = problems(tmp_path, f"{{name: a, {kind.replace('NAME', header)}}}")
    assert [problem.partition("; ")[0] for problem in found] == [
        f"7: `{header}` has another meaning, to proxies or to browsers"
    ]


def test_names_are_unique(tmp_path):
    found = problems(tmp_path, "{name: a, token: {}}", "{name: a, token: {cookie: s}}")
    assert found == ["8: the name `a` stands twice; names are unique"]


def test_none_at_all(tmp_path):
    file = tmp_path / "authz.yaml"
    file.write_text(BASE.replace("authenticators:", "authenticators: []"))
    assert "`authenticators` is empty" in str(load_config(file, {}).problems[0])
