"""The command line as a process: exit codes, and never a traceback for what an operator wrote."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
DOCUMENTS = ROOT / "policies" / "documents"
CONFIG = f"""listeners: {{http: "127.0.0.1:0"}}
issuers:
  - {{issuer: "https://login.example.com", audience: api, groups: {{type: "Documents::Role"}}}}
policies: {{path: {DOCUMENTS}}}
routes: {DOCUMENTS}/routes.yaml
"""


def run(*arguments, folder, **environment):
    return subprocess.run(
        [sys.executable, "-m", "authz", *arguments],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "authz.yaml").write_text(CONFIG)
    return tmp_path


def test_check_says_what_it_found(folder):
    done = run("check", folder=folder)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("ok: authz.yaml: 14 policies, 7 routes")


def test_check_lists_all_problems_with_file_and_line_and_exits_2(folder):
    policies = folder / "policies"
    shutil.copytree(DOCUMENTS, policies)
    with (policies / "reading.cedar").open("a") as file:
        file.write("\npermit(principal is Documents::Nobody, action, resource);\n")
    (folder / "authz.yaml").write_text(
        CONFIG.replace(str(DOCUMENTS), "policies")
        .replace("audience: api", "audience: []")
        .replace('type: "Documents::Role"', 'type: "Documents::Folder"')
    )
    done = run("check", folder=folder)
    assert done.returncode == 2
    assert "authz.yaml:3: `audience` is empty" in done.stderr
    assert "policies/reading.cedar:" in done.stderr
    assert "Documents::Nobody" in done.stderr
    assert "does not let `Documents::User` be in `Documents::Folder`" in done.stderr
    assert done.stderr.rstrip().endswith("problems found")
    assert "Traceback" not in done.stderr
    told = json.loads(run("check", "--json", folder=folder).stdout)
    assert {"authz.yaml", "policies/reading.cedar"} <= {problem["file"] for problem in told}
    assert all(problem["message"] for problem in told)


def test_check_warns_of_policies_that_do_nothing_and_exits_0(folder):
    policies = folder / "policies"
    shutil.copytree(DOCUMENTS, policies)
    with (policies / "writing.cedar").open("a") as file:
        file.write("""
@id("stop") forbid(principal, action == Documents::Action::"CreateDocument", resource);
@id("create") permit(principal, action == Documents::Action::"CreateDocument", resource);
@id("twin") permit(principal, action == Documents::Action::"CreateDocument", resource);
@id("never") permit(principal, action, resource) when { false };
@id("role") permit(principal in ?principal, action, resource);
""")
    (policies / "links.json").write_text(
        json.dumps([{"id": "linked", "template": "role", "principal": 'Documents::Folder::"archive"'}])
    )
    (folder / "authz.yaml").write_text(CONFIG.replace(str(DOCUMENTS), "policies"))
    done = run("check", folder=folder)
    assert done.returncode == 0
    lines = [line.partition(": warning: ") for line in done.stderr.splitlines()]
    written = (policies / "writing.cedar").read_text().splitlines()
    first = next(number for number, line in enumerate(written, 1) if "stop" in line)
    assert [(place, text.partition(";")[0]) for place, _, text in lines] == [
        (f"policies/writing.cedar:{first + 3}",
         "policy `never` can never match: one of its conditions is literally false"),
        ("policies/links.json:1",
         "link `linked` can never match: its principals are of `Documents::User`, which can never be in a `Documents::Folder`"),
        (f"policies/writing.cedar:{first + 1}",
         f"policy `create` never permits: `stop` (policies/writing.cedar:{first}), a forbid without a condition, "
         "covers its whole scope"),
        (f"policies/writing.cedar:{first + 2}",
         f"policy `twin` never permits: `stop` (policies/writing.cedar:{first}), a forbid without a condition, "
         "covers its whole scope"),
        (f"policies/writing.cedar:{first + 1}",
         f"policy `create` differs only in its id from `twin` (policies/writing.cedar:{first + 2})"),
    ]  # fmt: skip
    ok, unscoped, *_ = done.stdout.splitlines()
    assert ok.startswith("ok: authz.yaml: 19 policies, 7 routes")
    assert unscoped.startswith("unscoped: 13 of 19 policies name neither principal nor resource, so each request")
    told = json.loads(run("check", "--json", folder=folder).stdout)
    assert [problem["severity"] for problem in told] == ["warning"] * 5
    assert told[1]["message"] == lines[1][2]


def test_a_start_does_not_wait_for_what_is_only_doubtful():
    done = subprocess.run(
        [sys.executable, "-c", "import sys, authz.wiring.serve; print([n for n in sys.modules if 'analysis' in n])"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("command", ["serve", "check"])
@pytest.mark.parametrize("content", [None, "", "[", "listeners: {}", "\x00", "routes: 1\npolicies: 2"])
def test_nothing_starts_half(tmp_path, command, content):
    if content is not None:
        (tmp_path / "authz.yaml").write_text(content)
    done = run(command, folder=tmp_path)
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.startswith("authz.yaml")
    assert "Traceback" not in done.stderr


def test_serve_needs_a_door(folder):
    (folder / "authz.yaml").write_text(CONFIG.replace('{http: "127.0.0.1:0"}', '{admin: "127.0.0.1:0"}'))
    done = run("serve", folder=folder)
    assert done.returncode == 2
    assert "needs a listener" in done.stderr


def test_serve_says_which_address_is_taken(folder, unused_tcp_port):
    import socket

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", unused_tcp_port))
        taken.listen()
        (folder / "authz.yaml").write_text(CONFIG.replace("127.0.0.1:0", f"127.0.0.1:{unused_tcp_port}"))
        done = run("serve", folder=folder)
    assert done.returncode == 2
    assert str(unused_tcp_port) in done.stderr
    assert "Traceback" not in done.stderr


def test_the_schemas_are_printed_for_editors(folder):
    for name in ("authz", "routes"):
        done = run("schema", name, folder=folder)
        assert json.loads(done.stdout) == json.loads((ROOT / "docs" / "schema" / f"{name}.schema.json").read_text())


def test_help_and_unknown_commands(folder):
    assert run("--help", folder=folder).returncode == 0
    assert run("--version", folder=folder).returncode == 0
    for command in ("test", "routes", "token", "init", "demo", "serve", "check", "schema", "avp-local", "completion"):
        assert "usage: " in run(command, "--help", folder=folder).stdout
    done = run("nonsense", folder=folder)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr


def test_a_reader_that_goes_away_is_no_traceback(folder):
    done = subprocess.run(
        f"{sys.executable} -m authz schema | head -c 10",
        shell=True,
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert "Traceback" not in done.stderr


def test_routes_and_token_as_processes(folder):
    taken = run("routes", "GET", "http://documents.example/documents/7", folder=folder)
    assert (taken.returncode, taken.stderr) == (0, "")
    assert "taken by `read-document`" in taken.stdout
    assert run("routes", "GET", "/nowhere", folder=folder).returncode == 1
    assert run("token", "--offline", "--file", "authz.yaml", folder=folder).returncode == 1
    for command in ("routes", "token"):
        done = run(command, "-c", "elsewhere.yaml", folder=folder)
        assert (done.returncode, done.stdout) == (2, "")
        assert done.stderr.startswith("elsewhere.yaml")
        assert "Traceback" not in done.stderr
