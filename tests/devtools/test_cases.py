"""`authz test` runs cases through the whole pipeline, and says plainly what was not as expected."""

import argparse
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from authz.core.model import EntityUid, Extension
from authz.devtools.case_check import in_cedar
from authz.devtools.case_report import CaseResult, Coverage, Difference, Report, Uncovered, format_report
from authz.devtools.cases import add_test_arguments, main_test, run_cases
from authz.devtools.urls import split_url

REPOSITORY = Path(__file__).resolve().parents[2]
SCHEMA = """
namespace App {
  entity Group;
  entity User in [Group] { level?: Long, email?: String };
  entity Item { owner: User, secret: Bool };
  action Read, Write appliesTo {
    principal: User,
    resource: Item,
    context: { ip?: ipaddr, amr?: Set<String>, token?: { level?: Long, scope?: Set<String> } },
  };
}
"""
POLICIES = """
@id("owners") permit (principal, action, resource) when { resource.owner == principal };
@id("readers") permit (principal in App::Group::"readers", action == App::Action::"Read", resource);
@id("insiders")
permit (principal, action == App::Action::"Read", resource) when { context has ip && context.ip.isLoopback() };
@id("high")
permit (principal, action, resource) when { context has token && context.token has level && context.token.level > 5 };
@id("seniors") permit (principal, action, resource) when { principal has level && principal.level > 5 };
@id("secret") forbid (principal, action, resource) when { resource.secret };
"""
ROUTES = """
- name: read
  match: {methods: [GET], path: "/items/{id}"}
  action: App::Action::"Read"
  resource: {type: App::Item, id: "{path.id}"}
  context: {ip: {from: source.address, type: ip}, amr: {from: claims.amr, type: set}}
  headers: {x-user: "{principal.id}", x-level: "{claims.level}"}
- name: write
  match: {methods: [PUT], path: "/items/{id}"}
  action: App::Action::"Write"
  resource: {type: App::Item, id: "{path.id}"}
  fail_open: true
- name: open
  match: {path: "/open/{id}"}
  anonymous: App::User::"nobody"
  action: App::Action::"Read"
  resource: {type: App::Item, id: "{path.id}"}
"""
ENTITIES = """[
  {"uid": {"type": "App::Item", "id": "cup"},
   "attrs": {"owner": {"__entity": {"type": "App::User", "id": "alice"}}, "secret": false}, "parents": []},
  {"uid": {"type": "App::Item", "id": "plan"},
   "attrs": {"owner": {"__entity": {"type": "App::User", "id": "alice"}}, "secret": true}, "parents": []}
]"""
APPLICATION = """
policies: {path: app}
routes: app/routes.yaml
"""
ISSUER = "https://login.example.com"


def configured(*issuers: Mapping[str, str]) -> str:
    """An `authz.yaml` for the application, with these issuers."""
    defaults = {"issuer": ISSUER, "audience": "[app-api]"}
    rows = (
        "  - {" + ", ".join(f"{k}: {v}" for k, v in (defaults | dict(issuer)).items()) + "}\n" for issuer in issuers
    )
    return ("issuers:\n" + "".join(rows) if issuers else "") + APPLICATION


def issued(**settings: str) -> str:
    return configured(settings)


CONFIG = issued()


def application(folder: Path, cases: str = "", **files: str) -> Path:
    """An application in `app`, with one case file; `config` stands beside it."""
    app = folder / "app"
    (app / "cases").mkdir(parents=True, exist_ok=True)
    content = {
        "schema.cedarschema": files.get("schema", SCHEMA),
        "policies.cedar": files.get("policies", POLICIES),
        "routes.yaml": files.get("routes", ROUTES),
        "entities.json": files.get("entities", ENTITIES),
        "cases/some.yaml": cases,
    }
    for name, text in content.items():
        if text:
            (app / name).write_text(text, encoding="utf-8")
    if "config" in files:
        (folder / "authz.yaml").write_text(files["config"], encoding="utf-8")
    return app


def case(name: str = "one", **parts: str) -> str:
    lines = {"request": "{url: /items/cup}", "expect": "{outcome: allowed}"} | parts
    return f"  - name: {name}\n" + "".join(f"    {key}: {value}\n" for key, value in lines.items())


def file_of(*cases: str, issuer: str = "") -> str:
    return (f"issuer: {issuer}\n" if issuer else "") + "cases:\n" + "".join(cases)


async def result(folder: Path, text: str, **files: str) -> CaseResult:
    """The result of the one case in `text`; with `config`, against that."""
    app = application(folder, text, **files)
    report = await run_cases([app], config=folder / "authz.yaml" if "config" in files else None)
    assert [problem for problem in report.problems if problem.severity == "error"] == []
    [found] = report.results
    return found


def actual(found: CaseResult) -> Mapping[str, str]:
    return {difference.field: difference.actual for difference in found.differences}


# --- the whole pipeline -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("token", "expect"),
    [
        ("{sub: alice}", "{outcome: allowed, status: 200, reason: allowed, policies: [owners]}"),
        ("{sub: bob}", "{outcome: denied, status: 403, reason: policy_no_permit, policies: []}"),
        ("{sub: bob, groups: [readers]}", "{outcome: allowed, policies: [readers]}"),
        ("{sub: bob, groups: readers writers}", "{outcome: allowed, policies: [readers]}"),
        ("{sub: alice, groups: [readers]}", "{outcome: allowed, policies: [readers, owners]}"),
        ("{sub: bob, level: 9}", "{outcome: allowed, policies: [high]}"),
        ("null", "{outcome: denied, status: 401, reason: no_credentials, policies: []}"),
        ("{}", "{outcome: denied, status: 401, reason: token_claims}"),
        ("{sub: 7}", "{outcome: denied, status: 401, reason: token_claims}"),
        ("{sub: alice, exp: -1m}", "{outcome: denied, status: 401, reason: token_expired}"),
        ("{sub: alice, exp: -10s}", "{outcome: allowed}"),  # within the leeway of 30 s
        ("{sub: alice, exp: 1}", "{outcome: denied, status: 401, reason: token_expired}"),
        ("{sub: alice, exp: null}", "{outcome: denied, status: 401, reason: token_claims}"),
        ("{sub: alice, exp: tomorrow}", "{outcome: denied, status: 401, reason: token_claims}"),
        ("{sub: alice, nbf: +5m}", "{outcome: denied, status: 401, reason: token_not_yet_valid}"),
        ("{sub: alice, nbf: -1d, iat: null}", "{outcome: allowed}"),
        ("{sub: alice, aud: other-api}", "{outcome: denied, status: 401, reason: token_audience}"),
        ("{sub: alice, aud: [other-api, cases]}", "{outcome: allowed}"),
        ("{sub: alice, aud: null}", "{outcome: denied, status: 401, reason: token_audience}"),
        ('{sub: alice, iss: "https://evil.example"}', "{outcome: denied, status: 401, reason: token_issuer}"),
        ("{sub: alice, iss: null}", "{outcome: denied, status: 401, reason: token_issuer}"),
        ("{sub: alice, token_use: id}", "{outcome: denied, status: 401, reason: token_type}"),
        ("{sub: bob, level: high}", "{outcome: failed, status: 503, reason: claims_mismatch, policies: []}"),
    ],
)
async def test_a_token_with_these_claims(tmp_path: Path, token: str, expect: str) -> None:
    found = await result(tmp_path, file_of(case(token=token, expect=expect)))
    assert found.differences == ()


@pytest.mark.parametrize(
    ("request_", "expect"),
    [
        ("{url: /items/cup, source: 127.0.0.1}", "{outcome: allowed, policies: [insiders]}"),
        ('{url: /items/cup, source: "::1"}', "{outcome: allowed, policies: [insiders]}"),
        ("{url: /items/cup, source: 10.0.0.1}", "{outcome: denied, reason: policy_no_permit}"),
        ("{url: /items/plan, source: 127.0.0.1}", "{outcome: denied, reason: policy_forbid, policies: [secret]}"),
        ('{url: "https://app.example:8443/items/cup?a=b", source: 127.0.0.1}', "{outcome: allowed}"),
        ("{method: HEAD, url: /items/cup}", "{outcome: denied, status: 403, reason: no_route}"),
        ("{method: get, url: /items/cup}", "{outcome: denied, status: 400, reason: bad_method}"),
        ("{url: /items//cup}", "{outcome: denied, status: 400, reason: bad_path}"),
        ("{url: /items/../cup}", "{outcome: denied, status: 400, reason: bad_path}"),
        ('{url: "/items/cup#x"}', "{outcome: denied, status: 400, reason: bad_path}"),
        ("{url: /items/a%2Fb}", "{outcome: denied, status: 400, reason: bad_path}"),
        ('{url: "http://a b/items/cup"}', "{outcome: denied, status: 400, reason: bad_host}"),
        ('{url: "http:///items/cup"}', "{outcome: denied, status: 400, reason: bad_host}"),
        ('{url: "http://app.example"}', "{outcome: denied, status: 403, reason: no_route}"),
    ],
)
async def test_a_request_of_this_form(tmp_path: Path, request_: str, expect: str) -> None:
    found = await result(tmp_path, file_of(case(request=request_, token="{sub: bob}", expect=expect)))
    assert found.differences == ()


@pytest.mark.parametrize(
    ("authorization", "expect"),
    [
        ("Bearer abc", "{outcome: denied, status: 401, reason: token_malformed}"),
        ("Basic YTpi", "{outcome: denied, status: 401, reason: no_credentials}"),
        ("[Bearer a.b.c, Bearer d.e.f]", "{outcome: denied, status: 400, reason: bad_header}"),
    ],
)
async def test_a_credential_of_ones_own(tmp_path: Path, authorization: str, expect: str) -> None:
    request = f"{{url: /items/cup, headers: {{authorization: {authorization}}}}}"
    found = await result(tmp_path, file_of(case(request=request, expect=expect)))
    assert found.differences == ()


async def test_an_anonymous_route_needs_no_token(tmp_path: Path) -> None:
    entity = (
        "{uid: {type: App::Item, id: x}, attrs: {owner: {type: App::User, id: nobody}, secret: false}, parents: []}"
    )
    request = "{method: DELETE, url: /open/x}"
    text = file_of(case(request=request, entities=f"[{entity}]", expect="{outcome: allowed, policies: [owners]}"))
    found = await result(tmp_path, text)
    assert found.differences == ()
    assert found.route == "open"


async def test_claims_that_do_not_fit_are_a_failure_that_no_route_lets_through(tmp_path: Path) -> None:
    text = file_of(
        case(
            request="{method: PUT, url: /items/cup}",
            token="{sub: alice, level: high}",
            expect="{outcome: failed, status: 503, reason: claims_mismatch}",
        )
    )
    assert (await result(tmp_path, text)).differences == ()


@pytest.mark.parametrize(
    ("request_", "token", "expect"),
    [
        ("{url: /items/cup}", "{sub: alice, level: 3}", '{x-user: alice, X-Level: "3"}'),
        ("{url: /items/cup, headers: {x-user: mallory}}", "{sub: alice}", "{x-user: alice}"),
        ('{url: /items/cup, headers: {x-level: "9"}}', "{sub: alice}", "{x-level: null}"),
        ("{url: /items/cup, headers: {x-mine: [a, b]}}", "{sub: alice}", '{x-mine: "a, b", x-other: null}'),
    ],
)
async def test_headers_are_those_that_the_upstream_gets(tmp_path: Path, request_: str, token: str, expect: str) -> None:
    expected = f"{{outcome: allowed, headers: {expect}}}"
    found = await result(tmp_path, file_of(case(request=request_, token=token, expect=expected)))
    assert found.differences == ()


async def test_headers_of_a_denial_are_those_of_the_answer(tmp_path: Path) -> None:
    headers = """{www-authenticate: 'Bearer realm="authz"', cache-control: no-store, x-user: null}"""
    request = "{url: /items/cup, headers: {x-user: mallory}}"
    found = await result(tmp_path, file_of(case(request=request, expect=f"{{outcome: denied, headers: {headers}}}")))
    assert found.differences == ()


# --- entities ---------------------------------------------------------------------------------------------

REPLACED = "{uid: {type: App::Item, id: cup}, attrs: {owner: {type: App::User, id: bob}, secret: false}, parents: []}"
ADDED = "{uid: {type: App::Item, id: new}, attrs: {owner: {type: App::User, id: bob}, secret: false}, parents: []}"
MEMBER = "{uid: {type: App::User, id: bob}, attrs: {}, parents: [{type: App::Group, id: readers}]}"


async def test_entities_of_a_case_count_for_that_case_only(tmp_path: Path) -> None:
    def bobs(name: str, entities: str, outcome: str, url: str = "/items/cup") -> str:
        expect = f"{{outcome: {outcome}}}"
        return case(name, request=f"{{url: {url}}}", token="{sub: bob}", entities=f"[{entities}]", expect=expect)

    text = file_of(
        bobs("before", "", "denied"),
        bobs("replaced", REPLACED, "allowed"),
        bobs("between", "", "denied"),
        bobs("added", ADDED, "allowed", "/items/new"),
        bobs("gone again", "", "denied", "/items/new"),
        bobs("joined with the token's", MEMBER, "allowed"),
        bobs("several", f"{MEMBER}, {ADDED}", "allowed"),
        bobs("after", "", "denied"),
    )
    report = await run_cases([application(tmp_path, text)])
    assert len(report.results) == 8
    assert report.failed == ()


@pytest.mark.parametrize(
    ("entities", "problem"),
    [
        ("[5]", "entities: entity 1: expected an object with `uid`"),
        ("[{uid: {type: App::Item, id: x}, attrs: {}, parents: []}]", 'entities: `App::Item::"x"` does not fit'),
        (f"[{ADDED}, {ADDED}]", 'entities: entity 2: `App::Item::"new"` is already defined'),
        ("[{uid: {type: App::User, id: x}, attrs: {level: 1.5}, parents: []}]", "entities: `App::User::"),
    ],
)
async def test_wrong_entities_are_a_problem_with_its_line(tmp_path: Path, entities: str, problem: str) -> None:
    app = application(tmp_path, file_of(case(), case("two", entities=entities)))
    report = await run_cases([app])
    [found] = report.problems
    assert (report.results, report.exit_code()) == ((), 2)
    assert (found.file, found.line) == (str(app / "cases" / "some.yaml"), 8)
    assert found.message.startswith(f"case `two`: {problem}")


# --- the issuer without a configuration -------------------------------------------------------------------

TWO_GROUPS = SCHEMA.replace("entity Group;", "entity Group, Team;").replace("in [Group]", "in [Group, Team]")


@pytest.mark.parametrize(
    ("issuer", "schema", "token", "policies"),
    [
        ("", SCHEMA, "{sub: bob, groups: [readers]}", "[readers]"),
        ("{groups: null}", SCHEMA, "{sub: alice, groups: [readers]}", "[owners]"),
        ("", TWO_GROUPS, "{sub: alice, groups: [readers]}", "[owners]"),
        ("{groups: {type: App::Group}}", TWO_GROUPS, "{sub: bob, groups: [readers]}", "[readers]"),
        ("{groups: {type: App::Group, claim: roles}}", SCHEMA, "{sub: bob, roles: [readers]}", "[readers]"),
        ("{token: id}", SCHEMA, "{sub: bob, level: 9}", "[seniors]"),
        ("{principal: {claim: name}}", SCHEMA, "{sub: u-1, name: alice}", "[owners]"),
        ("{principal: {type: App::User}}", SCHEMA, "{sub: alice}", "[owners]"),
        ('{issuer: "any name"}', SCHEMA, "{sub: alice}", "[owners]"),
        ("{audience: [a, b]}", SCHEMA, "{sub: alice, aud: b}", "[owners]"),
        ("{clients: [web, cli]}", SCHEMA, "{sub: alice}", "[owners]"),
        ("{types: [my+jwt]}", SCHEMA, "{sub: alice}", "[owners]"),
        ('{types: [""]}', SCHEMA, "{sub: alice}", "[owners]"),
        ("{leeway: 2m}", SCHEMA, "{sub: alice, exp: -1m}", "[owners]"),
    ],
)
async def test_an_issuer_of_ones_own(tmp_path: Path, issuer: str, schema: str, token: str, policies: str) -> None:
    text = file_of(case(token=token, expect=f"{{outcome: allowed, policies: {policies}}}"), issuer=issuer)
    assert (await result(tmp_path, text, schema=schema)).differences == ()


async def test_each_file_may_have_an_issuer_of_its_own(tmp_path: Path) -> None:
    allowed = "{outcome: allowed, policies: [readers]}"
    app = application(tmp_path, file_of(case(token="{sub: bob, groups: [readers]}", expect=allowed)))
    other = file_of(
        case(token="{sub: bob, roles: [readers]}", expect=allowed), issuer="{groups: {type: App::Group, claim: roles}}"
    )
    (app / "cases" / "other.yaml").write_text(other)
    report = await run_cases([app])
    assert (len(report.results), report.failed) == (2, ())


@pytest.mark.parametrize(
    ("issuer", "problem"),
    [
        ("{groups: {type: App::Nothing}}", "does not let `App::User` be in `App::Nothing`"),
        ("{groups: {type: 'no type'}}", "`no type` is no entity type"),
        ("{principal: {type: App::Robot}}", "has no entity type `App::Robot`"),
        ("{audience: []}", "`audience` is empty"),
        ("{leeway: 20m}", "is longer than 600 s"),
    ],
)
async def test_an_issuer_that_cannot_be_is_a_problem(tmp_path: Path, issuer: str, problem: str) -> None:
    report = await run_cases([application(tmp_path, file_of(case(), issuer=issuer))])
    assert report.exit_code() == 2
    assert any(problem in found.message for found in report.problems), report.problems


# --- with a configuration ---------------------------------------------------------------------------------


COGNITO = "https://cognito-idp.eu-central-1.amazonaws.com/eu-central-1_AbCdEfGhI"


@pytest.mark.parametrize(
    ("config", "token", "expect"),
    [
        (CONFIG, "{sub: alice}", "{outcome: allowed, policies: [owners]}"),
        (CONFIG, "{sub: alice, aud: cases}", "{outcome: denied, reason: token_audience}"),
        (CONFIG, "{sub: alice, groups: [readers]}", "{outcome: allowed, policies: [owners]}"),
        (issued(token="id"), "{sub: bob, level: 9}", "{outcome: allowed, policies: [seniors]}"),
        (issued(algorithms="[RS256]"), "{sub: alice}", "{outcome: allowed}"),
        (issued(algorithms="[PS384]"), "{sub: alice}", "{outcome: allowed}"),
        (issued(algorithms="[ES512]"), "{sub: alice}", "{outcome: allowed}"),
        (issued(algorithms="[RS256, EdDSA]"), "{sub: alice}", "{outcome: allowed}"),
        (
            issued(algorithms="[HS512]", secret="a-secret-of-at-least-sixty-four-bytes-which-is-not-used-by-the-cases"),
            "{sub: alice}",
            "{outcome: allowed}",
        ),
        (issued(jwks_uri="https://login.example.com/keys"), "{sub: alice}", "{outcome: allowed}"),
        (issued(clients="[web]"), "{sub: alice}", "{outcome: allowed}"),
        (issued(clients="[web]"), "{sub: alice, azp: other}", "{outcome: denied, reason: token_audience}"),
        (issued(clients="[web]"), "{sub: alice, client_id: web}", "{outcome: allowed}"),
        (issued(issuer=COGNITO), "{sub: alice}", "{outcome: denied, policies: []}"),
        (issued(issuer=COGNITO), "{sub: alice, token_use: id}", "{outcome: denied, reason: token_type}"),
        (issued(issuer=COGNITO, token="either"), "{sub: bob, level: 9}", "{outcome: allowed, policies: [high]}"),
        (
            issued(issuer=COGNITO, token="either"),
            "{sub: bob, level: 9, token_use: id}",
            "{outcome: allowed, policies: [seniors]}",
        ),
        (issued(issuer=COGNITO, token="either"), "{sub: bob, token_use: x}", "{outcome: denied, reason: token_type}"),
        (
            issued(issuer=COGNITO, clients="[web, app-api]"),
            "{sub: a}",
            "{outcome: denied, reason: policy_no_permit}",
        ),
        (issued(issuer=COGNITO, token="id"), "{sub: bob, level: 9}", "{outcome: allowed, policies: [seniors]}"),
        (CONFIG + "limits: {deadline: 1ms}\n", "{sub: alice}", "{outcome: allowed}"),
        (
            CONFIG + "limits: {token_bytes: 512}\n",
            f"{{sub: {'a' * 600}}}",
            "{outcome: denied, reason: token_too_large}",
        ),
        (
            CONFIG + "responses: {realm: here}\n",
            "null",
            """{outcome: denied, headers: {www-authenticate: 'Bearer realm="here"'}}""",
        ),
    ],
)
async def test_a_configuration_s_terms_count(tmp_path: Path, config: str, token: str, expect: str) -> None:
    found = await result(tmp_path, file_of(case(token=token, expect=expect)), config=config)
    assert found.differences == ()


@pytest.mark.parametrize(("rule", "outcome"), [("refuse", "denied, reason: bad_path"), ("merge", "allowed")])
async def test_a_configuration_s_path_rules_count(tmp_path: Path, rule: str, outcome: str) -> None:
    text = file_of(case(request="{url: /items//cup}", token="{sub: alice}", expect=f"{{outcome: {outcome}}}"))
    found = await result(tmp_path, text, config=CONFIG + f"paths: {{empty_segments: {rule}}}\n")
    assert found.differences == ()


async def test_a_case_chooses_its_issuer_by_iss(tmp_path: Path) -> None:
    second = {"issuer": "https://other.example", "audience": "[other]", "principal": "{prefix: other}"}
    config = configured({}, second)
    owner = REPLACED.replace("id: bob", "id: other|bob")
    text = file_of(
        case("first", token="{sub: alice}"),
        case("second", token='{sub: bob, iss: "https://other.example"}', entities=f"[{owner}]"),
        case("not the first", token="{sub: bob}", entities=f"[{owner}]", expect="{outcome: denied}"),
    )
    report = await run_cases([application(tmp_path, text, config=config)], config=tmp_path / "authz.yaml")
    assert (len(report.results), report.failed) == (3, ())


async def test_the_deny_list_counts(tmp_path: Path) -> None:
    (tmp_path / "deny.yaml").write_text("subjects: [alice]\n")
    text = file_of(case(token="{sub: alice}", expect="{outcome: denied, status: 401, reason: token_revoked}"))
    found = await result(tmp_path, text, config=CONFIG + "deny_list: deny.yaml\n")
    assert found.differences == ()


async def test_with_a_configuration_the_issuer_of_a_case_file_does_not_count(tmp_path: Path) -> None:
    text = file_of(case(token="{sub: alice, aud: app-api}"), issuer="{issuer: https://x.example, audience: x}")
    assert (await result(tmp_path, text, config=CONFIG)).differences == ()


async def test_without_paths_the_cases_beside_the_configured_policies_are_run(tmp_path: Path) -> None:
    application(tmp_path, file_of(case(token="{sub: alice}")), config=CONFIG)
    report = await run_cases([], config=tmp_path / "authz.yaml")
    assert [found.file for found in report.results] == [str(tmp_path / "app" / "cases" / "some.yaml")]


async def test_case_files_may_lie_anywhere(tmp_path: Path) -> None:
    application(tmp_path, config=CONFIG)
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "more.yaml").write_text(file_of(case(token="{sub: alice}")))
    report = await run_cases([tmp_path / "elsewhere"], config=tmp_path / "authz.yaml")
    assert [found.passed for found in report.results] == [True]


async def test_a_token_needs_an_issuer(tmp_path: Path) -> None:
    routes = ROUTES[ROUTES.index("- name: open") :]
    app = application(
        tmp_path,
        file_of(case(token="{sub: a}")),
        routes=routes,
        config=configured(),
    )
    report = await run_cases([app], config=tmp_path / "authz.yaml")
    [problem] = [problem for problem in report.problems if problem.severity == "error"]
    assert (problem.line, problem.message) == (5, "case `one`: there is no issuer whose token could be sent")


# --- what cannot be run -----------------------------------------------------------------------------------


async def test_every_problem_is_told_and_nothing_is_run(tmp_path: Path) -> None:
    app = application(
        tmp_path,
        "cases: []",
        policies='permit (principal, action == App::Action::"Fly", resource);\n',
        routes=ROUTES.replace('App::Action::"Write"', "nonsense"),
    )
    (app / "cases" / "good.yaml").write_text(file_of(case()))
    (app / "cases" / "bad.yaml").write_text("cases:\n  - hello\n")
    report = await run_cases([app])
    assert report.results == ()
    assert report.exit_code() == 2
    found = [problem for problem in report.problems if problem.file]
    places = {(Path(problem.file).relative_to(app).as_posix(), problem.line) for problem in found}
    assert {("cases/some.yaml", 1), ("cases/bad.yaml", 2), ("policies.cedar", 1), ("routes.yaml", 8)} <= places


@pytest.mark.parametrize(
    ("path", "problem"),
    [
        ("nothing", "there is no such file or folder"),
        ("empty", "there is no `routes.yaml` in the folder or above it"),
        ("other/app", "there are no case files (`*.yaml`) here"),
    ],
)
async def test_a_path_without_cases_is_a_problem(tmp_path: Path, path: str, problem: str) -> None:
    (tmp_path / "empty").mkdir()
    app = application(tmp_path / "other")
    (app / "cases").rmdir()
    [found] = (await run_cases([tmp_path / path])).problems
    assert found.file.endswith(path)
    assert found.message.startswith(problem)


async def test_a_configuration_that_is_not_there_is_a_problem(tmp_path: Path) -> None:
    report = await run_cases([], config=tmp_path / "authz.yaml")
    assert report.exit_code() == 2
    assert "cannot be read" in report.problems[0].message


async def test_without_paths_the_configured_policies_need_cases(tmp_path: Path) -> None:
    app = application(tmp_path, config=CONFIG)
    (app / "cases").rmdir()
    [problem] = (await run_cases([], config=tmp_path / "authz.yaml")).problems
    assert str(problem) == f"{app / 'cases'}: there is no such file or folder"


async def test_files_of_an_application_are_filled_in_from_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ITEMS", "things")
    text = file_of(case(request="{url: /things/cup}", token="{sub: alice}"))
    folder = tmp_path / "a ${folder}"
    assert (await result(folder, text, routes=ROUTES.replace("/items/", "/${env:ITEMS}/"))).passed


async def test_problems_of_an_application_name_its_files_as_it_was_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    application(tmp_path, file_of(case()), policies="permit;\n")
    monkeypatch.chdir(tmp_path)
    [problem] = (await run_cases([Path("app/cases")])).problems
    assert (problem.file, problem.line) == ("app/policies.cedar", 1)


# --- differences and hints --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("expect", "differences"),
    [
        ("{outcome: denied}", {"outcome": "allowed"}),
        ("{outcome: failed, status: 503}", {"outcome": "allowed", "status": "200"}),
        ("{outcome: allowed, reason: no_route}", {"reason": "allowed"}),
        ("{outcome: allowed, policies: []}", {"policies": "owners"}),
        ("{outcome: allowed, policies: [owners, readers]}", {"policies": "owners"}),
        ("{outcome: allowed, headers: {x-user: bob}}", {"header x-user": "alice"}),
        ("{outcome: allowed, headers: {x-user: null}}", {"header x-user": "alice"}),
        ("{outcome: allowed, headers: {x-none: a}}", {"header x-none": "(none)"}),
    ],
)
async def test_each_thing_expected_is_compared(tmp_path: Path, expect: str, differences: Mapping[str, str]) -> None:
    found = await result(tmp_path, file_of(case(token="{sub: alice}", expect=expect)))
    assert actual(found) == differences
    assert not found.passed


@pytest.mark.parametrize(
    ("parts", "policies", "outcome"),
    [
        ({"token": "{sub: bob}"}, "(none): no policy permits, an implicit deny", "denied: policy_no_permit"),
        ({}, "(none): no policy was asked", "denied: no_credentials"),
        ({"token": "{sub: bob, level: x}"}, "(none): no decision was made", "failed: claims_mismatch"),
        ({"token": "{sub: alice}", "request": "{url: /items/plan}"}, "secret", "denied: policy_forbid"),
    ],
)
async def test_it_is_said_why_there_are_no_policies(
    tmp_path: Path, parts: Mapping[str, str], policies: str, outcome: str
) -> None:
    found = await result(tmp_path, file_of(case(**parts, expect="{outcome: allowed, policies: [owners]}")))
    assert actual(found) == {"outcome": outcome, "policies": policies}


@pytest.mark.parametrize(
    ("parts", "hint"),
    [
        ({"expect": "{outcome: denied, policies: [ownres]}"}, "there is no policy `ownres`; did you mean `owners`?"),
        ({"expect": "{outcome: denied, policies: [xyzzy]}"}, "there is no policy `xyzzy`"),
        ({"token": "{sub: alice, exp: -1h}"}, "the claim `exp` is in the past"),
        ({"request": "{url: /itms/cup}"}, "asked for GET /itms/cup of the host localhost"),
        ({"request": "{url: //}"}, "the path has an empty segment (`//`)"),
        (
            {"token": "{sub: bob, level: x}"},
            "context.token.level: expected a value of the type that the schema declares",
        ),
        (
            {"token": "{sub: bob}", "request": "{url: /items/unknown}"},
            'entity `App::Item::"unknown"` does not exist; skipped: permit `owners`, forbid `secret`',
        ),
    ],
)
async def test_hints_help_to_understand(tmp_path: Path, parts: Mapping[str, str], hint: str) -> None:
    found = await result(tmp_path, file_of(case(**{"token": "{sub: alice}"} | dict(parts))))
    assert hint in found.hints


async def test_a_case_that_passes_needs_no_hint(tmp_path: Path) -> None:
    text = file_of(case(token="{sub: bob, exp: -1h}", expect="{outcome: denied}"))
    assert (await result(tmp_path, text)).hints == ()


async def test_what_was_asked_is_told(tmp_path: Path) -> None:
    request = "{url: /items/cup, source: 10.0.0.1}"
    found = await result(tmp_path, file_of(case(request=request, token="{sub: bob, amr: [pwd]}")))
    assert found.asked == (
        'App::User::"bob", App::Action::"Read", App::Item::"cup"',
        "route read",
        'context {ip: ip("10.0.0.1"), amr: ["pwd"]}',
    )


def test_values_are_told_as_a_policy_would_write_them() -> None:
    value: Any = {"a": (1, True, "x\n"), "b": EntityUid("N::T", "i"), "c": Extension("decimal", "1.0"), "d": {}}
    assert in_cedar(value) == r'{a: [1, true, "x\n"], b: N::T::"i", c: decimal("1.0"), d: {}}'


# --- coverage ---------------------------------------------------------------------------------------------


async def test_what_no_case_saw_is_told(tmp_path: Path) -> None:
    app = application(tmp_path, file_of(case(token="{sub: alice}")))
    [coverage] = (await run_cases([app])).coverage
    assert [(item.kind, item.name, Path(item.file).name, item.line) for item in coverage.uncovered] == [
        ("policy", "readers", "policies.cedar", 3),
        ("policy", "insiders", "policies.cedar", 4),
        ("policy", "high", "policies.cedar", 6),
        ("policy", "seniors", "policies.cedar", 8),
        ("policy", "secret", "policies.cedar", 9),
        ("route", "write", "routes.yaml", 8),
        ("route", "open", "routes.yaml", 13),
    ]


async def test_a_link_is_a_policy_and_its_template_is_not(tmp_path: Path) -> None:
    app = application(
        tmp_path,
        file_of(case(token="{sub: bob}", expect="{outcome: allowed, policies: [bob-reads]}")),
        policies='@id("shared") permit (principal == ?principal, action, resource == ?resource);\n',
        routes=ROUTES[: ROUTES.index("- name: write")],
    )
    link = '{"id": "ID", "template": "shared", "principal": "App::User::\\"bob\\"", "resource": "App::Item::\\"cup\\""}'
    (app / "links.json").write_text(
        f"[{link.replace('ID', 'bob-reads')}, {link.replace('ID', 'again').replace('cup', 'x')}]"
    )
    report = await run_cases([app])
    assert report.failed == ()
    assert [item.name for item in report.coverage[0].uncovered] == ["again"]


async def test_coverage_is_told_of_whole_folders(tmp_path: Path) -> None:
    app = application(tmp_path, file_of(case(token="{sub: alice}")))
    assert "decided no case" in format_report(await run_cases([app]))
    report = await run_cases([app / "cases" / "some.yaml"])
    assert format_report(report) == "1 passed, 0 failed\n"
    assert "5 policies decided no case" in format_report(report, require_coverage=True)


# --- the report -------------------------------------------------------------------------------------------

FAILING = Report(
    results=(
        CaseResult(name="good", file="a.yaml", line=1),
        CaseResult(
            name="an analyst reads",
            file="cases/a.yaml",
            line=12,
            differences=(
                Difference(field="outcome", expected="allowed", actual="denied: policy_no_permit"),
                Difference(field="policies", expected="department-reads", actual="(none)"),
            ),
            asked=("A, B, C", "route read"),
            hints=("something\nin two lines",),
        ),
    ),
    coverage=(
        Coverage(
            application="policies/app",
            whole=True,
            uncovered=(
                Uncovered(kind="policy", name="one", file="p.cedar", line=3),
                Uncovered(kind="policy", name="longer", file="p.cedar", line=None),
                Uncovered(kind="route", name="read", file="routes.yaml", line=1),
            ),
        ),
    ),
)
FAILING_TEXT = """\
FAIL  cases/a.yaml:12  an analyst reads
      outcome    expected  allowed
                 got       denied: policy_no_permit
      policies   expected  department-reads
                 got       (none)
      asked      A, B, C
                 route read
      hint       something in two lines

hint  policies/app: 2 policies decided no case
      one     p.cedar:3
      longer  p.cedar

hint  policies/app: 1 route covered no case
      read  routes.yaml:1

1 passed, 1 failed
"""


def test_the_report_reads_well() -> None:
    assert format_report(FAILING) == FAILING_TEXT


def test_the_report_in_colour_says_the_same() -> None:
    text = format_report(FAILING, color=True)
    assert "\x1b[31m" in text
    assert re.sub(r"\x1b\[\d+m", "", text) == FAILING_TEXT


def test_required_coverage_is_a_failure_in_the_report() -> None:
    text = format_report(FAILING, require_coverage=True)
    assert "FAIL  policies/app: 2 policies decided no case\n" in text
    assert text.endswith("1 passed, 1 failed, coverage incomplete\n")


def test_exit_codes() -> None:
    covered = Report(results=FAILING.results[:1])
    uncovered = Report(results=FAILING.results[:1], coverage=FAILING.coverage)
    assert (covered.exit_code(), covered.exit_code(require_coverage=True)) == (0, 0)
    assert (uncovered.exit_code(), uncovered.exit_code(require_coverage=True)) == (0, 1)
    assert FAILING.exit_code() == 1


# --- the command ------------------------------------------------------------------------------------------


def command(*arguments: str) -> int:
    parser = argparse.ArgumentParser(prog="authz test")
    add_test_arguments(parser)
    return main_test(parser.parse_args(arguments))


GOOD, BAD = case(token="{sub: alice}"), case("two", token="{sub: alice}", expect="{outcome: denied}")


@pytest.mark.parametrize(
    ("text", "arguments", "ends"),
    [
        (file_of(GOOD), [], (0, "1 passed, 0 failed\n", "")),
        (file_of(GOOD, BAD), [], (1, "1 passed, 1 failed\n", "")),
        (file_of(GOOD), ["--require-coverage"], (1, "1 passed, 0 failed, coverage incomplete\n", "")),
        ("cases: 5", [], (2, "", "1 problem: no case was run\n")),
    ],
)
def test_the_command(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str, arguments: list[str], ends: tuple[int, str, str]
) -> None:
    app = application(tmp_path, text)
    assert command(str(app), *arguments) == ends[0]
    out, err = capsys.readouterr()
    assert out.endswith(ends[1])
    assert err.endswith(ends[2])
    assert not (out and err)


@pytest.mark.parametrize(
    ("paths", "uses_config"),
    [
        ([], True),
        (["app"], True),
        (["app/cases/some.yaml"], True),
        (["elsewhere"], True),
        (["other/app"], False),
        (["app", "other/app"], False),
    ],
)
def test_the_configuration_here_counts_but_not_for_other_applications(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    paths: list[str],
    uses_config: bool,
) -> None:
    # Only the configuration's issuer has this name, so the case tells which one counted.
    text = file_of(case(token='{sub: alice, iss: "https://login.example.com"}'))
    application(tmp_path, text, config=CONFIG)
    application(tmp_path / "other", text)
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "more.yaml").write_text(text)
    monkeypatch.chdir(tmp_path)
    assert command(*paths) == (0 if uses_config else 1)
    assert ("token_issuer" in capsys.readouterr().out) == (not uses_config)


def test_a_configuration_that_is_named_counts_everywhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    text = file_of(case(token='{sub: alice, iss: "https://login.example.com"}'))
    application(tmp_path, text, config=CONFIG)
    other = application(tmp_path / "other", text)
    monkeypatch.chdir(tmp_path)
    assert command(str(other), "--config", "authz.yaml") == 0
    capsys.readouterr()


def test_without_a_configuration_the_command_needs_a_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert command() == 2
    assert "there is no authz.yaml here" in capsys.readouterr().err


def test_reading_the_arguments_loads_neither_engine_nor_server() -> None:
    """Every command reads them, also the one that serves."""
    modules = "import sys, authz.devtools.cases, authz.devtools.scaffold; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", modules], capture_output=True, text=True, check=True, cwd=REPOSITORY)
    assert {"aiohttp", "cedarpy", "jwt", "pydantic", "yaml"} & set(loaded.stdout.split()) == set()


def test_warnings_are_told_and_stop_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    routes = ROUTES.replace("ip: {from", "unread: {from", 1)
    app = application(tmp_path, file_of(GOOD), routes=routes)
    assert command(str(app)) == 0
    assert "warning: route `read`" in capsys.readouterr().out


# --- urls -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "parts"),
    [
        ("http://a.example/x?y", ("http", "a.example", "/x?y")),
        ("https://a.example:1//x", ("https", "a.example:1", "//x")),
        ("http://a.example", ("http", "a.example", "/")),
        ("http://a.example?x", ("http", "a.example", "/?x")),
        ("//x/y", ("http", "localhost", "//x/y")),
        ("/x?u=http://b/", ("http", "localhost", "/x?u=http://b/")),
        ("http://user@a.example/", ("http", "user@a.example", "/")),
    ],
)
def test_a_url_is_cut_and_left_as_it_is(url: str, parts: tuple[str, str, str]) -> None:
    assert split_url(url) == parts


@given(st.sampled_from(["http", "https"]), st.from_regex(r"\A[^/?#]*\Z"), st.from_regex(r"\A/[^\n]*\Z"))
def test_no_character_of_a_url_is_lost(scheme: str, authority: str, target: str) -> None:
    assert split_url(f"{scheme}://{authority}{target}") == (scheme, authority, target)
