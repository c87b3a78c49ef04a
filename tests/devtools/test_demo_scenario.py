"""The demo's folder, and how its check reads an answer: from a client's side and from the library's."""

import argparse
import json
import shlex
import stat
import subprocess

import jwt
import pytest
import yaml
from aiohttp import ClientSession, web

import authz
from authz.core.errors import Reason
from authz.core.model import Allowed, Decision, Denied, Failed, HeaderEdits, Stage, Verdict
from authz.devtools.demo import add_demo_arguments, folder, scenario
from authz.devtools.demo.check import answer_of_outcome, answer_of_response
from authz.devtools.demo.folder import DemoFolder, Ports
from authz.devtools.demo.issuer import DemoIssuer, SigningKeys
from authz.devtools.demo.processes import DemoError
from authz.devtools.demo.scenario import Answer
from authz.devtools.demo.service import loopback_socket, service_application, serving
from authz.devtools.samples import sample

PORTS = Ports(front=0, door=9, admin=8, service=7, store=6)


@pytest.fixture(scope="module")
def issuer():
    return DemoIssuer("http://127.0.0.1:6", SigningKeys.generate())


# --- the command line ---------------------------------------------------------------------------------------


def parsed(*words):
    parser = argparse.ArgumentParser()
    add_demo_arguments(parser)
    return parser.parse_args(words)


def test_the_defaults():
    assert vars(parsed()) == {
        "check": False,
        "envoy": None,
        "grpc": False,
        "port": 0,
        "keep": False,
        "within": 5.0,
    }


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--port", "0"], "`0` is no port"),
        (["--port", "65536"], "`65536` is no port"),
        (["--port", "http"], "`http` is no port"),
        (["--within", "0"], "`0` is no time"),
        (["--within", "nan"], "`nan` is no time"),
        (["--within", "soon"], "`soon` is no time"),
    ],
)
def test_what_cannot_be_is_refused(words, told, capsys):
    with pytest.raises(SystemExit) as ended:
        parsed(*words)
    assert ended.value.code == 2
    assert told in capsys.readouterr().err


# --- the folder ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("grpc", [False, True])
def test_the_settings_name_the_one_door_the_issuer_and_the_copied_policies(tmp_path, issuer, grpc):
    demo = DemoFolder(path=tmp_path)
    demo.fill(issuer, PORTS, grpc=grpc)
    settings = yaml.safe_load(demo.settings.read_text())
    assert settings["listeners"] == {"grpc" if grpc else "http": "127.0.0.1:9", "admin": "127.0.0.1:8"}
    assert settings["issuers"][0]["issuer"] == issuer.address
    assert settings["responses"] == {"deny_messages": True, "policies": True}
    store = settings["policies"]["verified_permissions"]
    assert (store["policy_store"], store["endpoint"]) == ("policy-store-alias/documents", "http://127.0.0.1:6")
    assert (tmp_path / settings["policies"]["entities"]).samefile(demo.policies / "entities.json")
    assert (tmp_path / settings["routes"]).is_file()


def test_each_person_s_header_is_a_file_for_curl(tmp_path, issuer):
    demo = DemoFolder(path=tmp_path)
    tokens = demo.fill(issuer, PORTS, grpc=False)
    for person in scenario.PEOPLE:
        assert demo.header(person).read_text() == f"Authorization: Bearer {tokens[person.name]}\n"
        claims = jwt.decode(tokens[person.name], options={"verify_signature": False})
        assert claims["sub"] == person.name
        assert claims["groups"] == person.claims["groups"]


def test_the_copy_may_be_edited_though_the_sample_may_not(tmp_path, issuer, monkeypatch):
    installed = tmp_path / "installed"
    subprocess.run(["cp", "-r", sample("policies/documents"), installed], check=True)
    readable = [installed, *installed.rglob("*")]
    for path in readable:
        path.chmod(0o555 if path.is_dir() else 0o444)
    monkeypatch.setattr(folder, "sample", lambda _: installed)
    demo = DemoFolder(path=tmp_path / "demo")
    demo.path.mkdir()
    demo.fill(issuer, PORTS, grpc=False)
    copied = [demo.policies, *demo.policies.rglob("*")]
    assert {path.name for path in copied} - {path.name for path in readable} == {"documents", "identity_source.json"}
    assert len(copied) == len(readable) + 1
    assert all(path.stat().st_mode & stat.S_IWUSR for path in copied)
    for path in readable:
        path.chmod(0o755)


def test_the_edit_to_paste_makes_the_one_edit(tmp_path, issuer):
    demo = DemoFolder(path=tmp_path)
    demo.fill(issuer, PORTS, grpc=False)
    before = demo.edited.read_text()
    edit, _, push = demo.edit_line.partition(" && ")
    assert shlex.split(push) == [str(demo.push)]
    subprocess.run(shlex.split(edit), check=True)
    assert demo.edited.read_text() == before.replace(*scenario.EDIT)
    [changed] = [line for line in demo.edited.read_text().splitlines() if line not in before.splitlines()]
    assert changed == "when { resource.classification <= 2 };"


def test_policies_that_cannot_be_edited_as_shown_are_told(tmp_path, issuer, monkeypatch):
    monkeypatch.setattr(scenario, "EDIT", ("no such text", "another"))
    with pytest.raises(DemoError, match="has no single `no such text` to edit"):
        DemoFolder(path=tmp_path).fill(issuer, PORTS, grpc=False)


def test_an_installation_without_samples_is_told(tmp_path, issuer, monkeypatch):
    def missing(name):
        raise FileNotFoundError(f"the sample `{name}` did not come with this installation")

    monkeypatch.setattr(folder, "sample", missing)
    with pytest.raises(DemoError, match="the sample `policies/documents` did not come"):
        DemoFolder(path=tmp_path).fill(issuer, PORTS, grpc=False)


# --- answers ------------------------------------------------------------------------------------------------


def decision(verdict, *policies, messages=()):
    return Decision(verdict=verdict, policies=policies, messages=messages)


@pytest.mark.parametrize(
    ("outcome", "answer"),
    [
        (
            Allowed(
                decision=decision(Verdict.ALLOW, "department-reads"),
                edits=HeaderEdits(set=(("x-auth-user", "alice"),)),
            ),
            scenario.ALLOWED.expected,
        ),
        (
            Denied(
                stage=Stage.DECIDE,
                reason=Reason.POLICY_FORBID,
                decision=decision(
                    Verdict.DENY,
                    "legal-hold-blocks-deletion",
                    messages=("this document is under legal hold and cannot be deleted",),
                ),
            ),
            scenario.DENIED.expected,
        ),
        (
            Denied(stage=Stage.AUTHENTICATE, reason=Reason.NO_CREDENTIALS, status=401),
            scenario.NO_TOKEN.expected,
        ),
        (
            Denied(stage=Stage.DECIDE, reason=Reason.POLICY_NO_PERMIT, decision=decision(Verdict.DENY)),
            scenario.BEFORE.expected,
        ),
        (
            Failed(stage=Stage.AUTHENTICATE, reason=Reason.KEYS_UNAVAILABLE),
            Answer(status=503, reason="keys_unavailable"),
        ),
    ],
)
def test_an_outcome_s_answer(outcome: authz.Outcome, answer):
    assert answer_of_outcome(outcome) == answer


PROBLEM = {"status": 403, "reason": "policy_forbid", "policies": ["a", "b"], "detail": "no", "decision_id": "1"}
CHALLENGE = {"www-authenticate": 'Bearer realm="authz"'}


@pytest.mark.parametrize(
    ("status", "headers", "body", "answer"),
    [
        (200, {}, json.dumps({"x-auth-user": "alice"}), Answer(status=200, user="alice")),
        (200, {}, json.dumps({"x-auth-user": None}), Answer(status=200)),
        (403, {}, json.dumps(PROBLEM), Answer(status=403, reason="policy_forbid", policies=("a", "b"), message="no")),
        (401, CHALLENGE, '{"reason": "no_credentials"}', scenario.NO_TOKEN.expected),
        (401, {}, '{"reason": "no_credentials"}', Answer(status=401, reason="no_credentials")),
        (403, {}, "", Answer(status=403, reason="without a problem document")),
        (503, {}, "[1]", Answer(status=503, reason="without a problem document")),
        (403, {}, '{"reason": 7, "policies": "a"}', Answer(status=403, reason="without a problem document")),
    ],
)
async def test_a_response_s_answer(status, headers, body, answer):
    async def respond(_):
        return web.Response(status=status, headers=headers, text=body)

    app = web.Application()
    app.router.add_get("/", respond)
    bound, port = loopback_socket()
    async with serving(app, bound), ClientSession() as session, session.get(f"http://127.0.0.1:{port}") as response:
        assert await answer_of_response(response) == answer


async def test_the_service_says_whom_it_serves():
    bound, port = loopback_socket()
    async with serving(service_application(), bound), ClientSession(f"http://127.0.0.1:{port}") as session:
        async with session.delete("/documents/a%20b", headers={"x-auth-user": "dave"}) as response:
            seen = await response.json()
        async with session.get("/") as response:
            anonymous = await response.json()
    assert seen == {"service": "documents", "method": "DELETE", "path": "/documents/a%20b", "x-auth-user": "dave"}
    assert anonymous["x-auth-user"] is None


def test_through_envoy_a_client_learns_no_policy_of_an_allowed_request():
    assert scenario.ALLOWED.through_envoy == Answer(status=200, user="alice")
    assert scenario.DENIED.through_envoy == scenario.DENIED.expected


@pytest.mark.parametrize(
    ("answer", "text"),
    [
        (scenario.ALLOWED.expected, "200 department-reads, as alice"),
        (scenario.ALLOWED.through_envoy, "200, as alice"),
        (scenario.DENIED.expected, "403 legal-hold-blocks-deletion"),
        (scenario.NO_TOKEN.expected, "401 no_credentials"),
        (Answer(status=0, reason="no answer"), "0 no answer"),
    ],
)
def test_an_answer_in_a_word(answer, text):
    assert str(answer) == text


def test_answers_that_differ_never_read_alike():
    challenged, bare = scenario.NO_TOKEN.expected, Answer(status=401, reason="no_credentials")
    assert challenged.told_apart_from(bare) != bare.told_apart_from(challenged)
    assert challenged.told_apart_from(challenged) == "401 no_credentials"
