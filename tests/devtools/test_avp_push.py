"""`authz avp plan` and `push` against the emulator: what is done, what is refused, and what happens in the middle."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from authz.aws.client import avp_client
from authz.devtools.avp.apply import Push
from tests.devtools.avp_commands import (
    LINK,
    READ,
    SCHEMA,
    SHARE,
    SOURCE,
    STOP,
    WHOLE,
    WRITE,
    Tool,
    emulated,
    everything,
    folder_of,
)
from tests.emulator.running import REGION

DOCUMENTS = Path(__file__).parents[2] / "policies" / "documents"


@pytest.fixture(scope="module")
def emulator():
    with emulated() as running:
        yield running


@pytest.fixture
def tool(emulator, capsys):
    emulator.switches.clear()
    emulator.switches.calls.clear()
    return Tool(emulator, capsys)


@pytest.fixture
def patience(monkeypatch):
    """Where waiting is what it is about."""
    monkeypatch.setattr("authz.devtools.avp.command.FIRST_WAIT", 0.05)


@pytest.fixture
def whole(tmp_path):
    return folder_of(tmp_path / "whole", WHOLE)


def test_a_push_brings_everything_and_a_second_one_has_nothing_to_do(tool, whole):
    store = tool.store("STRICT")
    planned = tool("plan", whole, "--store", store)
    assert planned.code == 1
    assert [[part for part in line.split()[:3] if part[0] != "/"] for line in planned.out.splitlines()[1:-1]] == [
        ["create", "schema"],
        ["create", "template", "share"],
        ["create", "policy", "docs"],
        ["create", "policy", "docs/2"],
        ["create", "policy", "stop"],
        ["create", "link", "ann-7"],
        ["create", "identity", "source"],
    ]
    assert f"{whole}/docs.cedar:2" in planned.out
    assert tool.texts(store) == {}
    done = tool("push", whole, "--store", store, "--yes")
    assert (done.code, done.out.splitlines()[-1]) == (0, "done: 7 calls")
    assert f"[3/7] create policy stop ({whole}/guard/stop.cedar:1)" in done.err
    assert tool.texts(store) == {"name/docs": READ, "name/docs/2": WRITE, "name/stop": f'@id("stop")\n{STOP}'}
    tool.emulator.switches.calls.clear()
    for command in (("plan",), ("push",), ("push", "--yes"), ("diff",)):
        again = tool(command[0], whole, "--store", store, *command[1:])
        assert (again.code, again.err) == (0, ""), command
        assert command[0] == "diff" or "nothing to do; 5 unchanged" in again.out
    assert not [name for name in tool.emulator.switches.calls if not name.startswith(("Get", "List", "Batch"))]


def test_the_sample_application_can_be_pushed(tool):
    store = tool.store("STRICT")
    assert tool("push", DOCUMENTS, "--store", store, "--yes").code == 0
    again = tool("plan", DOCUMENTS, "--store", store)
    assert again.code == 0
    assert "entities are not pushed" in again.err


def test_without_yes_and_without_a_terminal_it_is_only_shown(tool, whole):
    store = tool.store("STRICT")
    said = tool("push", whole, "--store", store)
    assert said.code == 1
    assert "`--yes` does it" in said.err
    assert "create  policy stop" in said.out
    assert tool.texts(store) == {}


def test_the_question_names_store_region_and_endpoint(tool, whole, monkeypatch):
    asked: list[str] = []

    def no(question: str) -> str:
        asked.append(question)
        return "n"

    monkeypatch.setattr("sys.stdin.isatty", lambda: True)
    monkeypatch.setattr("builtins.input", no)
    store = tool.store("STRICT")
    where = f"in {REGION} ({tool.emulator.url})? [y/N] "
    assert tool("push", whole, "--store", store).code == 1
    assert tool("push", whole, "--create").code == 1
    assert asked == [f"push to policy store {store} {where}", f"push to a new policy store {where}"]


@pytest.mark.parametrize(("answer", "code", "count"), [("y", 0, 3), ("yes", 0, 3), ("n", 1, 0), ("", 1, 0)])
def test_on_a_terminal_it_asks(tool, whole, monkeypatch, answer, code, count):
    monkeypatch.setattr("sys.stdin.isatty", lambda: True)
    monkeypatch.setattr("builtins.input", lambda _: answer)
    store = tool.store("STRICT")
    assert tool("push", whole, "--store", store).code == code
    assert len(tool.texts(store)) == count


def test_a_store_that_changed_while_the_question_stood_is_left_alone(tool, whole, monkeypatch):
    store = tool.store("STRICT")

    def answer(_: str) -> str:
        client = tool.client
        client.put_schema(policyStoreId=store, definition={"cedarJson": '{"X": {"entityTypes": {}, "actions": {}}}'})
        return "y"

    monkeypatch.setattr("sys.stdin.isatty", lambda: True)
    monkeypatch.setattr("builtins.input", answer)
    said = tool("push", whole, "--store", store)
    assert said.code == 2
    assert "changed while the question stood" in said.err
    assert tool.texts(store) == {}


def test_what_only_the_store_has_is_left_unless_asked(tool, whole):
    store = tool.store("STRICT")
    assert tool("push", whole, "--store", store, "--yes").code == 0
    tool.client.create_policy(policyStoreId=store, definition={"static": {"statement": STOP}})
    (whole / "docs.cedar").write_text(READ)
    (whole / "links.json").unlink()
    planned = tool("plan", whole, "--store", store)
    assert planned.code == 0
    assert planned.out.count("only in the store; `--delete` removes it") == 3
    assert "0 unchanged" not in planned.out
    gone = tool("push", whole, "--store", store, "--yes", "--delete")
    assert gone.code == 0
    assert set(tool.texts(store)) == {"name/docs", "name/stop"}
    assert tool("plan", whole, "--store", store, "--delete").out.endswith("nothing to do; 3 unchanged\n")


def test_updates_keep_ids_replacements_do_not_and_moves_are_renamings(tool, whole):
    store = tool.store("STRICT")
    tool("push", whole, "--store", store, "--yes")
    client = tool.client
    before = {
        one.get("name"): one["policyId"] for one in everything(client, "list_policies", "policies", policyStoreId=store)
    }
    (whole / "docs.cedar").write_text(READ.replace("principal,", 'principal == App::User::"ann",'))
    (whole / "moved.cedar").write_text(WRITE)
    (whole / "guard" / "stop.cedar").write_text(f'@id("stop")\n{STOP.replace("< 1", "< 2")}\n')
    planned = tool("plan", whole, "--store", store)
    rows = [line.split()[:3] for line in planned.out.splitlines()[1:-1]]
    assert sorted(rows) == [["rename", "policy", "moved"], ["replace", "policy", "docs"], ["update", "policy", "stop"]]
    assert "it was called `docs/2`" in planned.out
    assert "effect, principal or resource differ" in planned.out
    assert tool("push", whole, "--store", store, "--yes").code == 0
    after = {
        one.get("name"): one["policyId"] for one in everything(client, "list_policies", "policies", policyStoreId=store)
    }
    assert after["name/stop"] == before["name/stop"]
    assert after["name/moved"] == before["name/docs/2"]
    assert after["name/docs"] != before["name/docs"]
    assert tool("plan", whole, "--store", store).code == 0


def test_descriptions_of_the_store_outlive_an_update_and_a_replacement(tool, tmp_path):
    store, client = tool.store(), tool.client
    texts = {"a": READ, "b": WRITE}
    for name, text in texts.items():
        definition = {"static": {"statement": text, "description": f"about {name}"}}
        client.create_policy(policyStoreId=store, definition=definition, name=f"name/{name}")
    changed = {"a.cedar": READ.replace("permit", "forbid"), "b.cedar": WRITE.replace("==", "!=", 1)}
    changed["b.cedar"] = WRITE.replace("owner ==", "owner !=")
    folder = folder_of(tmp_path, changed)
    assert tool("push", folder, "--store", store, "--yes").code == 0
    for name in texts:
        found = client.get_policy(policyStoreId=store, policyId=f"name/{name}")
        assert found["definition"]["static"]["description"] == f"about {name}"


def test_the_plan_as_json(tool, whole):
    store = tool.store("STRICT")
    said = tool("plan", whole, "--store", store, "--json")
    told = json.loads(said.out)
    assert said.code == 1
    assert told["policyStoreId"] == store
    stop = next(change for change in told["changes"] if change["name"] == "stop")
    assert (stop["action"], stop["kind"], stop["file"], stop["line"]) == (
        "create",
        "policy",
        f"{whole}/guard/stop.cedar",
        1,
    )
    assert len(told["calls"]) == 7


# --- what is refused, before anything is written

BAD: dict[str, tuple[dict[str, Any], str]] = {
    "a policy does not fit the schema": (
        {"bad.cedar": f"{READ}\n\npermit(principal is App::Nobody, action, resource);"},
        "bad.cedar:3: policy `bad.cedar#2`: unrecognized entity type `App::Nobody`",
    ),
    "a policy the engine does not parse": (
        {"bad.cedar": f"{READ}\npermit(principal, action, resource) when {{ 1 + }};"},
        "bad.cedar:2: policy `bad.cedar#2`: ",
    ),
    "a text that cannot be cut": ({"bad.cedar": f"{READ}\npermit(principal"}, "bad.cedar:2: "),
    "a schema that is none": ({"schema.cedarschema": "namespace App { entity"}, "schema.cedarschema:1: "),
    "a schema with dangling types": (
        {"schema.cedarschema": "namespace App {\n entity User in [Nowhere];\n}"},
        "schema.cedarschema:2: ",
    ),
    "a schema outside of a namespace": (
        {"schema.cedarschema": "entity User; action read appliesTo { principal: User, resource: User };"},
        "outside of a namespace",
    ),
    "one name for two": (
        {"a.b.cedar": READ, "a-b.cedar": WRITE},
        "a.b.cedar:1: policy `a.b.cedar#1`: its name in the store, `a-b`, is that of `a-b.cedar#1`",
    ),
    "one id for two": ({"a.cedar": f'@id("x") {READ}\n@id("x") {WRITE}'}, "a.cedar:2: the id `x` is already used"),
    "too long a name": ({"a.cedar": f'\n@id("{"x" * 146}") {READ}'}, "a.cedar:2: policy `xxx"),
    "a link to nowhere": (
        {"links.json": [{**LINK, "template": "nowhere"}]},
        "links.json:1: link `ann-7`: there is no template `nowhere`",
    ),
    "a link whose entity is an object": (
        {"links.json": [{**LINK, "principal": {"type": "App::User", "id": "ann"}}]},
        "links.json:1: links: link 1: expected `id`, `template` and one or both of `principal`, `resource` "
        '(each value is text; an entity is `Ns::User::"alice"`, in JSON "Ns::User::\\"alice\\"")',
    ),
    "a link that fills too little": (
        {"links.json": [{key: LINK[key] for key in ("id", "template", "principal")}]},
        "links.json:1: link `ann-7`: its values must fill exactly the slots",
    ),
    "an identity source that is none": (
        {"identity_source.json": {**SOURCE, "configuration": {"cognitoUserPoolConfiguration": {"userPoolArn": "x"}}}},
        "identity_source.json:1: identity source: `userPoolArn` must be text",
    ),
    "an identity source with a misspelt member": (
        {"identity_source.json": {**SOURCE, "PrincipalEntityType": "App::User"}},
        "`PrincipalEntityType` is no member of the file",
    ),
    "an identity source that is no JSON": ({"identity_source.json": "{\n,}"}, "identity_source.json:2: identity source: not JSON"),
    "an OpenID Connect source without a type": (
        {
            "identity_source.json": {
                "configuration": {
                    "openIdConnectConfiguration": {
                        "issuer": "https://login.example.com",
                        "tokenSelection": {"accessTokenOnly": {"audiences": ["api"]}},
                    }
                }
            }
        },
        "`principalEntityType` is missing; with OpenID Connect it must be there",
    ),
    "more for one resource than the quota": (
        {f"{number}.cedar": f'permit(principal, action, resource) unless {{ "{"x" * 9000}" == "" }};' for number in range(25)},
        "policies that name no resource have",
    ),
    "more templates than the quota": (
        {"many.cedar": "\n".join(f'@id("t{number}") {SHARE[13:]}' for number in range(41))},
        "templates at one moment of the push, at most 40",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_what_the_store_would_refuse_is_told_with_file_and_line_and_nothing_is_written(tool, tmp_path, case):
    files, expected = BAD[case]
    folder = folder_of(tmp_path, {**WHOLE, **files})
    store = tool.store("STRICT")
    tool.emulator.switches.calls.clear()
    for command in (("plan",), ("push", "--yes")):
        said = tool(command[0], folder, "--store", store, *command[1:])
        assert said.code == 2
        assert expected in said.err
        assert said.out == ""
    assert not [name for name in tool.emulator.switches.calls if not name.startswith(("Get", "List", "Batch"))]


def test_a_strict_store_without_any_schema_is_told_at_once(tool, tmp_path):
    said = tool("plan", folder_of(tmp_path, {"a.cedar": READ}), "--store", tool.store("STRICT"))
    assert said.code == 2
    assert "there is no schema, so it would refuse every policy" in said.err


def test_a_folder_without_schema_is_held_against_the_stores(tool, whole, tmp_path):
    store = tool.store("STRICT")
    tool("push", whole, "--store", store, "--yes")
    said = tool("plan", folder_of(tmp_path / "b", {"a.cedar": READ.replace("read", "fly")}), "--store", store)
    assert said.code == 2
    assert 'a.cedar:1: policy `a.cedar#1`: unrecognized action `App::Action::"fly"`' in said.err


def test_a_store_that_does_not_validate_takes_what_does_not_fit_and_it_is_told(tool, tmp_path):
    folder = folder_of(tmp_path, {**WHOLE, "odd.cedar": "permit(principal is App::Nobody, action, resource);"})
    store = tool.store("OFF")
    said = tool("push", folder, "--store", store, "--yes")
    assert said.code == 0
    assert "odd.cedar:1: warning: policy `odd.cedar#1`" in said.err


def test_a_quota_that_was_raised_can_be_ignored(tool, tmp_path):
    files, expected = BAD["more for one resource than the quota"]
    folder = folder_of(tmp_path, {**WHOLE, **files})
    said = tool("plan", folder, "--store", tool.store("STRICT"), "--ignore-quotas")
    assert said.code == 1
    assert "warning: " in said.err
    assert expected in said.err


def test_moving_actions_between_groups_is_warned_of(tool, whole):
    store = tool.store("STRICT")
    tool("push", whole, "--store", store, "--yes")
    grouped = SCHEMA.replace("action read, write", "action all;\n  action read, write in [all]")
    (whole / "schema.cedarschema").write_text(grouped)
    said = tool("plan", whole, "--store", store)
    assert said.code == 1
    assert 'warning: the schema puts `App::Action::"read"`, `App::Action::"write"` into other action groups' in said.err


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ((), "expected one of `--store ID`, `--alias NAME` and `--create`"),
        (("--store", "x", "--create"), "give one of them"),
        (("--store", "x", "--alias", "y"), "expected one of"),
        (("--store", "nowhere"), "there is no such policy store in this account and region"),
        (("--store", "no such id!"), "ValidationException (invalid)"),
        (
            ("--alias", "nowhere"),
            "no such policy store in this account and region: `--create` beside `--alias` makes it",
        ),
    ],
)
def test_stores_that_cannot_be_found(tool, whole, arguments, expected):
    said = tool("push", whole, *arguments, "--yes")
    assert (said.code, said.out) == (2, "")
    assert expected in said.err


@pytest.mark.parametrize("command", ["plan", "diff", "push", "pull"])
def test_a_folder_that_is_none(tool, tmp_path, command):
    store = tool.store()
    (tmp_path / "file").write_text(READ)
    for name in ("file", "nowhere"):
        if (command, name) == ("pull", "nowhere"):  # is made
            continue
        said = tool(command, tmp_path / name, "--store", store)
        assert said.code == 2
        assert f"FOLDER: `{tmp_path / name}` is no folder: name the one that holds the policies" in said.err
        assert "policies.path" not in said.err


@pytest.mark.parametrize("command", ["plan", "push"])
def test_without_a_region_it_is_told_how_to_name_one(tool, whole, monkeypatch, command):
    monkeypatch.setattr("authz.devtools.avp.command.avp_client", avp_client)
    monkeypatch.delenv("AWS_DEFAULT_REGION")
    said = tool(command, whole, "--store", "any")
    assert (said.code, said.out) == (2, "")
    assert "no region is known: name it by `--region`, by AWS_REGION" in said.err


def test_another_client_that_cannot_be_made_is_told_as_it_is(tool, whole, monkeypatch):
    monkeypatch.setattr("authz.devtools.avp.command.avp_client", avp_client)
    said = tool("plan", whole, "--store", "any", "--profile", "nobody")
    assert said.code == 2
    assert "The config profile (nobody) could not be found" in said.err


# --- making a store


def test_a_store_is_made_once_for_an_alias(tool, whole):
    first = tool("push", whole, "--create", "--alias", "app", "--yes")
    assert first.code == 0
    assert " (STRICT)" in first.out
    again = tool("push", whole, "--create", "--alias", "app", "--yes")
    assert again.code == 0
    assert "none is made" in again.err
    assert "nothing to do" in again.out
    assert tool("plan", whole, "--store", "policy-store-alias/app").code == 0
    assert tool("push", whole, "--alias", "app").code == 0
    assert tool.emulator.switches.calls["CreatePolicyStore"] == 1


def test_a_store_is_not_made_without_yes(tool, whole):
    said = tool("push", whole, "--create")
    assert said.code == 1
    assert "a new policy store (STRICT)" in said.out
    assert tool.emulator.switches.calls["CreatePolicyStore"] == 0


def test_a_new_store_is_waited_for(tool, whole, patience):
    tool.emulator.switches.consistency_delay = 0.05
    said = tool("push", whole, "--create", "--yes")
    assert said.code == 0, said.err
    tool.emulator.switches.clear()
    store = said.out.split("\npolicy store ")[1].split()[0]
    assert tool("plan", whole, "--store", store).code == 0


@pytest.mark.parametrize("operation", ["GetPolicyStore", "CreatePolicyStoreAlias"])
def test_a_store_that_was_made_and_cannot_be_gone_on_with_is_told(tool, whole, operation):
    tool.emulator.switches.deny(operation)
    said = tool("push", whole, "--create", "--alias", "unlucky", "--yes")
    assert said.code == 1
    store = said.out.split("\npolicy store ")[1].split()[0]
    assert f"{operation}: AccessDeniedException" in said.err
    assert "docs/store-tooling.md, `Permissions`" in said.err
    assert "\\n" not in said.err
    assert f"was made, and nothing else: go on with `--store {store}`" in said.err
    tool.emulator.switches.clear()
    assert tool("push", whole, "--store", store, "--yes").code == 0


def test_a_store_that_cannot_be_made_is_none(tool, whole):
    tool.emulator.switches.deny("CreatePolicyStore")
    said = tool("push", whole, "--create", "--yes")
    assert said.code == 2
    assert "a new policy store: CreatePolicyStore: AccessDeniedException" in said.err
    assert "docs/store-tooling.md, `Permissions`" in said.err


def test_a_push_that_fails_after_the_store_was_made_says_its_id(tool, whole):
    tool.emulator.switches.fail("CreatePolicy", after=1)
    said = tool("push", whole, "--create", "--yes")
    assert said.code == 1
    store = said.out.split("\npolicy store ")[1].split()[0]
    assert f"push again (`--store {store}`)" in said.err
    tool.emulator.switches.clear()
    assert tool("push", whole, "--store", store, "--yes").code == 0


# --- in the middle


FAULTS = ("fail", "drop", "throttle", "garbage", "truncate", "expire", "deny")


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("after", [0, 2])
def test_a_push_that_stops_says_what_was_done_and_the_next_one_goes_on(tool, whole, fault, after):
    store = tool.store("STRICT")
    getattr(tool.emulator.switches, fault)("CreatePolicy", after=after)
    said = tool("push", whole, "--store", store, "--yes")
    assert said.code == 1
    done = 2 + after
    doubtful = fault in {"fail", "drop", "garbage", "truncate"}
    assert f"\ndone: {done}\n" in said.err
    assert f"\nnot done: {7 - done - doubtful}\n" in said.err
    assert ("\ndone or not done: 1\n" in said.err) == doubtful
    assert "stopped at: create " in said.err
    assert "CreatePolicy: " in said.err
    assert "done: 7 calls" not in said.out
    assert ("this call may or may not have been carried out" in said.err) == doubtful
    assert ("docs/store-tooling.md, `Permissions`" in said.err) == (fault == "deny")
    tool.emulator.switches.clear()
    assert tool("push", whole, "--store", store, "--yes").code == 0
    assert tool("plan", whole, "--store", store).code == 0
    client = tool.client
    names = Counter(one.get("name") for one in everything(client, "list_policies", "policies", policyStoreId=store))
    assert names == {"name/docs": 1, "name/docs/2": 1, "name/stop": 1, "name/ann-7": 1}


@pytest.mark.parametrize("fault", ["fail", "drop", "throttle", "garbage", "truncate"])
def test_what_passes_by_itself_is_waited_for_and_makes_nothing_twice(tool, whole, fault):
    store = tool.store("STRICT")
    for operation in ("CreatePolicy", "PutSchema", "ListPolicies", "CreatePolicyTemplate"):
        getattr(tool.emulator.switches, fault)(operation, calls=2)
    said = tool("push", whole, "--store", store, "--yes")
    assert said.code == 0, said.err
    assert "trying again in" in said.err
    assert len(tool.texts(store)) == 3
    assert tool("plan", whole, "--store", store).code == 0


def test_elements_that_are_seen_late_are_waited_for(tool, whole, patience):
    store = tool.store("STRICT")
    tool.emulator.switches.consistency_delay = 0.05
    assert tool("push", whole, "--store", store, "--yes").code == 0
    tool.emulator.switches.clear()
    assert tool("plan", whole, "--store", store).code == 0


def test_what_was_pushed_deleted_and_pushed_again_is_there(tool, tmp_path):
    """The service answers a known token with what it said first, also where that was deleted since."""
    store = tool.store()
    for _ in range(3):
        folder = folder_of(tmp_path, {"a.cedar": READ, "t.cedar": SHARE, "links.json": [LINK]})
        assert tool("push", folder, "--store", store, "--yes", "--delete").code == 0
        assert tool.texts(store) == {"name/a": READ}
        for name in ("t.cedar", "links.json"):
            (folder / name).unlink()
        (folder / "a.cedar").write_text("// nothing\n")
        assert tool("push", folder, "--store", store, "--yes", "--delete").code == 0
        assert tool.texts(store) == {}


@pytest.mark.parametrize(
    ("done", "where", "rest"), [(3, "create policy docs (", "3\n"), (6, "create identity source (", "nothing\n")]
)
def test_a_push_that_is_interrupted_says_where(tool, whole, monkeypatch, done, where, rest):
    store = tool.store("STRICT")
    make = Push._make

    def interrupted(self: Push, call: object) -> None:
        if len(self.applied) == done:
            raise KeyboardInterrupt
        make(self, call)  # type: ignore[arg-type]

    monkeypatch.setattr(Push, "_make", interrupted)
    said = tool("push", whole, "--store", store, "--yes")
    assert said.code == 130
    assert f"interrupted at: {where}" in said.err
    assert "this call may or may not have been carried out; the next push will see" in said.err
    assert f"\ndone: {done}\n" in said.err
    assert f"\ndone or not done: 1\n  {where}" in said.err
    assert f"\nnot done: {rest}" in said.err
    monkeypatch.undo()


@pytest.mark.parametrize("fault", ["fail", "garbage", "expire", "deny", "throttle", "drop"])
@pytest.mark.parametrize("operation", ["GetPolicyStore", "ListPolicies", "GetSchema", "ListIdentitySources"])
def test_a_store_that_cannot_be_read_is_no_empty_store(tool, whole, fault, operation):
    store = tool.store("STRICT")
    getattr(tool.emulator.switches, fault)(operation)
    said = tool("push", whole, "--store", store, "--yes")
    assert (said.code, said.out) == (2, "")
    assert f"policy store `{store}`: {operation}: " in said.err
    tool.emulator.switches.clear()
    assert tool.texts(store) == {}


def test_as_a_process(tool, whole):
    store = tool.store("STRICT")
    for arguments, code in ((("plan",), 1), (("push", "--yes"), 0), (("diff",), 0)):
        done = subprocess.run(
            [sys.executable, "-m", "authz", "avp", arguments[0], whole, "--store", store, "--endpoint", tool.emulator.url, *arguments[1:], "--rate", "100"],
            cwd=Path(__file__).parents[2],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
            stdin=subprocess.DEVNULL,
        )  # fmt: skip
        assert (done.returncode, "Traceback" in done.stderr) == (code, False), done.stderr
