"""A case file is read strictly: whatever is not as it should be is told with its line, and all of it at once."""

from pathlib import Path

import pytest

from authz.core.errors import Problem
from authz.devtools.case_file import DEFAULT_ISSUER, CaseFile, find_case_files, read_case_file

GOOD = """
cases:
  - name: one
    request: {url: /x}
    expect: {outcome: allowed}
"""


def read(folder: Path, text: str) -> tuple[CaseFile | None, list[Problem]]:
    file = folder / "some.yaml"
    file.write_text(text, encoding="utf-8")
    problems: list[Problem] = []
    return read_case_file(file, problems), problems


def told(folder: Path, text: str) -> list[str]:
    """What is said of a file, each with its line."""
    found, problems = read(folder, text)
    assert found is None
    assert {problem.file for problem in problems} == {str(folder / "some.yaml")}
    return [f"{problem.line}: {problem.message}" for problem in problems]


def test_the_least_case(tmp_path: Path) -> None:
    found, problems = read(tmp_path, GOOD)
    assert problems == []
    assert found is not None
    [case] = found.cases
    assert (case.line, case.shape.request.method, case.shape.token) == (3, "GET", None)
    assert found.issuer.issuer == DEFAULT_ISSUER
    assert "groups" not in found.issuer.model_fields_set


def test_a_case_with_every_key(tmp_path: Path) -> None:
    text = """
issuer:
  issuer: https://login.example.com
  audience: [api, other]
  token: id
  leeway: 5s
  types: [JWT]
  clients: web
  principal: {type: App::User, claim: email, prefix: corp}
  groups: {type: App::Group, claim: roles}
cases:
  - name: everything
    request:
      method: POST
      url: "https://app.example:8443/x/%41?q=1"
      headers: {x-one: a, x-many: [b, c]}
      source: "2001:db8::1"
    token: {sub: alice, groups: [a], deep: {list: [1, true, null]}}
    entities:
      - {uid: {type: App::User, id: alice}, attrs: {}, parents: []}
    expect:
      outcome: denied
      status: 403
      reason: policy_forbid
      policies: [a, b]
      headers: {cache-control: no-store, x-gone: null}
"""
    found, problems = read(tmp_path, text)
    assert problems == []
    assert found is not None
    shape = found.cases[0].shape
    assert found.issuer.leeway == 5.0
    assert found.issuer.clients == ("web",)
    assert shape.request.headers == {"x-one": ("a",), "x-many": ("b", "c")}
    assert shape.token == {"sub": "alice", "groups": ["a"], "deep": {"list": [1, True, None]}}
    assert shape.expect.headers == {"cache-control": "no-store", "x-gone": None}


def case(**parts: str) -> str:
    """A file with one case: `request` in line 3, `expect` in line 4, more in line 5."""
    lines = {"request": "{url: /x}", "expect": "{outcome: allowed}"} | parts
    return "cases:\n  - name: one\n" + "".join(f"    {key}: {value}\n" for key, value in lines.items())


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        pytest.param("", "1: the file is empty", id="empty file"),
        pytest.param("[]", "1: expected a mapping", id="a list"),
        pytest.param("issuer: {}", "1: `cases` is required", id="no cases"),
        pytest.param("cases: []", "1: `cases`: expected at least one case", id="no case"),
        pytest.param("cases: {}", "1: `cases`: expected a list", id="cases that are no list"),
        pytest.param("cases:\n  - hello", "2: expected a mapping", id="a case that is text"),
        pytest.param("cases: [", "1: not valid YAML", id="broken YAML"),
        pytest.param(GOOD + "cases: []", "6: the key `cases` stands twice; the first is in line 2", id="key twice"),
        pytest.param("isuer: {}" + GOOD, "1: unknown key `isuer`; did you mean `issuer`?", id="unknown key above"),
        pytest.param(case(tokn="{}"), "5: unknown key `tokn`; did you mean `token`?", id="unknown key of a case"),
        pytest.param(case(xyzzy="{}"), "5: unknown key `xyzzy`", id="unlike any key"),
        pytest.param(
            case(expect="{outcome: allowed, polices: []}"),
            "4: unknown key `polices`; did you mean `policies`?",
            id="unknown key of expect",
        ),
        pytest.param(case(expect="{status: 200}"), "4: `expect.outcome` is required", id="no outcome"),
        pytest.param(
            case(expect="{outcome: allow}"),
            "4: `expect.outcome`: expected 'allowed', 'denied' or 'failed'",
            id="unknown outcome",
        ),
        pytest.param(
            case(expect="{outcome: denied, reason: no_rout}"),
            "4: `expect.reason`: `no_rout` is no reason code; did you mean `no_route`?",
            id="unknown reason",
        ),
        pytest.param(
            case(expect="{outcome: denied, reason: 403}"), "4: `expect.reason`: `403` is no reason code", id="no reason"
        ),
        pytest.param(
            case(expect='{outcome: denied, status: "403"}'), "4: `expect.status`: expected a valid integer", id="text"
        ),
        pytest.param(
            case(expect="{outcome: denied, status: 4030}"),
            "4: `expect.status`: expected less than or equal to 599",
            id="no status",
        ),
        pytest.param(
            case(expect="{outcome: allowed, policies: one}"), "4: `expect.policies`: expected a list", id="not a list"
        ),
        pytest.param(
            case(expect="{outcome: allowed, headers: {a: 1}}"),
            "4: `expect.headers.a`: expected text; put it in quotes",
            id="expected header that is a number",
        ),
        pytest.param(case(request="{method: GET}"), "3: `request.url` is required", id="no url"),
        pytest.param(
            case(request="{url: app.example/x}"),
            "3: `request.url`: expected `http://HOST/PATH`, `https://HOST/PATH` or `/PATH`",
            id="url without scheme",
        ),
        pytest.param(
            case(request="{url: /x, source: localhost}"), "3: `request.source`: expected an IP address", id="no address"
        ),
        pytest.param(
            case(request="{url: /x, headers: {a: 1}}"),
            "3: `request.headers.a`: expected a list",
            id="header that is a number",
        ),
        pytest.param(
            case(request="{url: /x, headers: {a: [1]}}"),
            "3: `request.headers.a.0`: expected text; put it in quotes",
            id="header among headers that is a number",
        ),
        pytest.param(case(token="alice"), "5: `token`: expected a mapping", id="token that is text"),
        pytest.param(
            case(token="{admin: yes}"),
            "5: `yes` is ambiguous; write `true` or `false`, or put text in quotes",
            id="a claim that could be two things",
        ),
        pytest.param(case(entities="{}"), "5: `entities`: expected a list", id="entities that are no list"),
        pytest.param(
            case(token="{sub: a}", request='{url: /x, headers: {Authorization: "Bearer x"}}'),
            "2: `token` and the header `authorization` both send a credential; keep one",
            id="two credentials",
        ),
        pytest.param(
            GOOD + "  - name: one\n    request: {url: /y}\n    expect: {outcome: denied}\n",
            "6: the name `one` is already used in line 3; names are unique in a file",
            id="a name twice",
        ),
        pytest.param(
            'cases:\n  - name: ""\n    request: {url: /x}\n    expect: {outcome: allowed}\n',
            "2: `name`: string should have at least 1 character",
            id="no name",
        ),
        pytest.param(
            "issuer: {leeway: 5}" + GOOD, "1: `issuer.leeway`: expected a duration with its unit", id="leeway"
        ),
        pytest.param("issuer: {keys: {}}" + GOOD, "1: unknown key `keys`", id="keys are made for each run"),
        pytest.param("issuer: {groups: {}}" + GOOD, "1: `issuer.groups.type` is required", id="groups of no type"),
    ],
)
def test_what_is_wrong_is_told_with_its_line(tmp_path: Path, text: str, problem: str) -> None:
    [found] = told(tmp_path, text)
    assert found.startswith(problem)


def test_everything_that_is_wrong_is_told(tmp_path: Path) -> None:
    text = """
cases:
  - name: one
    request: {url: x, source: y}
  - request: {url: /x}
    expect: {outcome: yeah}
"""
    assert told(tmp_path, text) == [
        "4: `request.url`: expected `http://HOST/PATH`, `https://HOST/PATH` or `/PATH`",
        "4: `request.source`: expected an IP address",
        "3: `expect` is required",
        "5: `name` is required",
        "6: `expect.outcome`: expected 'allowed', 'denied' or 'failed'",
    ]


def test_a_file_that_is_not_there_is_told(tmp_path: Path) -> None:
    problems: list[Problem] = []
    assert read_case_file(tmp_path / "none.yaml", problems) is None
    assert [problem.message for problem in problems] == ["the file cannot be read: No such file or directory"]


# --- which files ------------------------------------------------------------------------------------------


def tree(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()


def names(folder: Path, path: Path) -> list[str]:
    return [file.relative_to(folder).as_posix() for file in find_case_files(path)]


def test_a_folder_stands_for_the_files_in_its_cases(tmp_path: Path) -> None:
    tree(tmp_path, "app/routes.yaml", "app/cases/b.yaml", "app/cases/a.yml", "app/cases/routes.yaml", "app/cases/n.txt")
    expected = ["app/cases/a.yml", "app/cases/b.yaml", "app/cases/routes.yaml"]
    assert names(tmp_path, tmp_path / "app") == expected
    assert names(tmp_path, tmp_path / "app" / "cases") == expected


def test_cases_named_like_routes_are_found_from_inside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tree(tmp_path, "app/cases/routes.yaml")
    monkeypatch.chdir(tmp_path / "app" / "cases")
    assert find_case_files(Path()) == (Path("routes.yaml"),)


def test_any_other_folder_stands_for_the_case_files_in_it(tmp_path: Path) -> None:
    tree(tmp_path, "authz.yaml", "routes.yaml", "more.yaml")
    assert names(tmp_path, tmp_path) == ["more.yaml"]


def test_a_file_stands_for_itself(tmp_path: Path) -> None:
    tree(tmp_path, "routes.yaml")
    assert names(tmp_path, tmp_path / "routes.yaml") == ["routes.yaml"]
