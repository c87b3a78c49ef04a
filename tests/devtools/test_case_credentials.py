"""Cases that send other credentials than a token in `Authorization`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from authz.devtools.case_report import Report
from authz.devtools.cases import run_cases

FILES = {
    "policies/schema.cedarschema": """namespace A {
  entity Group;
  entity User, Service in [Group];
  entity Doc;
  action "read" appliesTo { principal: [User, Service], resource: Doc, context: {} };
}
""",
    "policies/all.cedar": 'permit(principal in A::Group::"staff", action, resource);\n',
    "routes.yaml": """- name: read
  match: {path: "/d/{id}"}
  action: A::Action::"read"
  resource: {type: A::Doc, id: "{path.id}"}
  headers: {x-user: "{principal.id}"}
""",
    "keys.yaml": f"""keys:
  - {{id: one, sha256: "{"a" * 64}", principal: 'A::Service::"one"', parents: ['A::Group::"staff"']}}
  - {{id: old, sha256: "{"b" * 64}", principal: 'A::Service::"old"', expires: 2020-01-01}}
""",
    "authz.yaml": """issuers:
  - issuer: https://login.example.com
    audience: api
    jwks_uri: https://login.example.com/keys
    principal: {type: A::User}
    groups: {type: A::Group}
authenticators:
  - {name: gateway, token: {header: x-token, scheme: Token}}
  - {name: plain, token: {header: x-plain}}
  - {name: session, token: {cookie: s}}
  - {name: keys, api_keys: {file: keys.yaml}}
  - {name: mesh, client_certificate: {type: A::Service, allowed: ["spiffe://td/*"]}}
policies: {path: policies}
routes: routes.yaml
""",
}
ANN = {"sub": "ann", "groups": ["staff"]}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name, text in FILES.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    return tmp_path


async def run(folder: Path, **case: Any) -> Report:
    whole = {"name": "c", "request": {"url": "/d/1"}, "expect": {"outcome": "allowed"}} | case
    (folder / "cases.yaml").write_text(yaml.safe_dump({"cases": [whole]}))
    return await run_cases([folder / "cases.yaml"], config=folder / "authz.yaml")


def allowed(user: str) -> dict[str, Any]:
    return {"outcome": "allowed", "headers": {"x-user": user}}


def denied(reason: str) -> dict[str, Any]:
    return {"outcome": "denied", "reason": reason}


@pytest.mark.parametrize(
    ("case", "expect"),
    [
        ({"token": ANN}, allowed("ann")),
        ({"token": ANN, "authenticator": "plain"}, allowed("ann")),
        ({"token": ANN, "authenticator": "session"}, allowed("ann")),
        ({"api_key": "one"}, allowed("one")),
        ({"api_key": "old"}, denied("api_key_expired")),
        ({"certificate": "spiffe://td/x"}, denied("policy_no_permit")),
        ({"certificate": "spiffe://other/x"}, denied("certificate_invalid")),
        ({"token": ANN, "api_key": "one"}, allowed("ann")),
        ({"api_key": "one", "certificate": "spiffe://other/x"}, allowed("one")),
        ({"token": ANN | {"aud": "other"}, "api_key": "one"}, denied("token_audience")),
        ({}, denied("no_credentials")),
    ],
)
async def test_a_credential_goes_where_the_configuration_reads_it(
    folder: Path, case: dict[str, Any], expect: dict[str, Any]
) -> None:
    report = await run(folder, **case, expect=expect)
    assert report.problems == ()
    assert [result.differences for result in report.results] == [()]


@pytest.mark.parametrize(
    ("case", "told"),
    [
        ({"token": ANN, "authenticator": "keys"}, "`keys` is no authenticator that takes tokens"),
        ({"authenticator": "session"}, "there is no `token`"),
        ({"api_key": "none"}, "no file of API keys has the id `none`"),
    ],
)
async def test_what_cannot_be_sent_is_told(folder: Path, case: dict[str, Any], told: str) -> None:
    [problem] = (await run(folder, **case)).problems
    assert told in problem.message


async def test_without_such_authenticators_it_is_told(folder: Path) -> None:
    lines = FILES["authz.yaml"].splitlines(keepends=True)
    (folder / "authz.yaml").write_text("".join(line for line in lines if "token:" not in line and "mesh" not in line))
    [problem] = (await run(folder, certificate="x")).problems
    assert "no authenticator takes client certificates" in problem.message
    [problem] = (await run(folder, token=ANN)).problems
    assert "no authenticator takes tokens" in problem.message
