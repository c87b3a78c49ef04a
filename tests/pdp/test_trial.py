"""What the engine does not outlive is found in a child process, told with its place, and never read in this one.

The texts here really crash cedarpy, for nobody holds them against the limits of `core` before.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time

import pytest

from authz.core.model import Effect, Policy, PolicySnapshot
from authz.pdp import trial
from authz.pdp.trial import MOST, Bounds, find_crashes

SCHEMA = "entity U = { a?: Long }; entity D; action read appliesTo { principal: U, resource: D };"
DEEP = "permit(principal, action, resource) when { " + "(" * 5000 + "true" + ")" * 5000 + " };"
LINKS = ".".join(["n"] * 400)
SLOW = "permit(principal, action, resource)" + f" when {{ principal has {LINKS} && principal.{LINKS}.b }}" * 12 + ";"
"""Its validation takes ten seconds: it is cubic."""
SLOW_SCHEMA = "entity U { n: U, b: Bool }; action read appliesTo { principal: U, resource: U };"
CLIMB = "".join(f"action a{n} in a{n + 1};" for n in range(50_000)) + "action a50000;"


def policy(number, text=None):
    text = text or f'permit(principal == U::"u{number}", action, resource);'
    return Policy(id=f"p{number}", text=text, effect=Effect.PERMIT, file="folder/a.cedar", line=number)


def snapshot(*, count=3, bad=(), text=DEEP, **changes):
    policies = tuple(policy(number, text if number in bad else None) for number in range(1, count + 1))
    base = {"version": "1", "policies": policies, "schema": SCHEMA, "schema_file": "s", "entities_file": "e"}
    return PolicySnapshot(**{**base, **changes})


def told(found):
    return [(problem.severity, problem.file, problem.line, problem.message.partition(": ")[0]) for problem in found]


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"schema": None},
        {"schema": '{"": {"entityTypes": {}, "actions": {}}}'},
        {"count": 0},
        {"entities": json.dumps([{"uid": {"type": "U", "id": "é\ud800"}, "attrs": {}, "parents": []}])},
    ],
)
def test_a_sound_set_has_nothing_to_say(changes):
    assert find_crashes(snapshot(**changes)) == ()


@pytest.mark.parametrize(
    "changes",
    [
        {"bad": [2], "text": "permit(principal, action, resource) when { nonsense( };"},
        {"bad": [2], "text": 'permit(principal == Unknown::"x", action, resource);'},
        {"schema": "entity ;"},
        {"schema": "{"},
        {"entities": "no JSON"},
        {"entities": "[1, {}, null]"},
        {"entities": '[{"uid": 1, "uid": 2}]'},
        {"entities": "[" * 100_000},
        {"entities": json.dumps([{"uid": {"type": "U", "id": "u"}, "attrs": {"a": 2**63}, "parents": []}])},
    ],
)
def test_what_is_merely_refused_is_not_told_here(changes):
    assert find_crashes(snapshot(**changes)) == ()


def test_a_policy_that_crashes_the_engine_is_told_with_file_line_and_id():
    (found,) = find_crashes(snapshot(count=200, bad=[150]))
    assert (found.severity, found.file, found.line) == ("error", "folder/a.cedar", 150)
    assert found.message == (
        "policy `p150`: Cedar's engine crashes on it (SIGSEGV) when tried in a child process; write it in a simpler way"
    )


def test_a_template_is_tried_too():
    text = DEEP.replace("(principal,", "(principal == ?principal,")
    assert told(find_crashes(snapshot(templates=(policy(9, text),)))) == [("error", "folder/a.cedar", 9, "policy `p9`")]


def test_what_the_engine_refuses_does_not_hide_what_it_crashes_on():
    refused = policy(1, "permit(principal, action, resource) when { nonsense( };")
    crashing = policy(2, DEEP)
    assert [line for _, _, line, _ in told(find_crashes(snapshot(policies=(refused, crashing))))] == [2]


def test_several_are_told_up_to_a_limit():
    assert [line for _, _, line, _ in told(find_crashes(snapshot(count=150, bad=[3, 140])))] == [3, 140]
    bad = range(1, 64 * (MOST + 2), 64)
    assert len(find_crashes(snapshot(count=64 * (MOST + 2), bad=bad))) == MOST


def test_an_id_of_any_characters_is_told_on_one_line():
    odd = Policy(id="a\n\x1b[31m\u202eb", text=DEEP, effect=Effect.PERMIT, file="f", line=1)
    (found,) = find_crashes(snapshot(policies=(odd,)))
    assert r"policy `a\n\x1b[31m\u202eb`: " in found.message


def test_a_schema_that_crashes_the_engine_is_told():
    (found,) = find_crashes(snapshot(schema=CLIMB, schema_file="folder/schema.cedarschema"))
    assert (found.severity, found.file) == ("error", "folder/schema.cedarschema")
    assert found.message.startswith("schema: Cedar's engine ")


def test_an_entity_for_which_the_memory_does_not_suffice_is_told_with_its_line():
    rows = [{"uid": {"type": "U", "id": str(n)}, "attrs": {}, "parents": []} for n in range(3)]
    rows[1]["attrs"] = {"long": "x" * 80_000_000}
    entities = "[\n" + ",\n".join(map(json.dumps, rows)) + "\n]"
    (found,) = find_crashes(snapshot(entities=entities), bounds=Bounds(memory=100 * 2**20, for_each_byte=0))
    assert (found.severity, found.file, found.line) == ("error", "e", 3)
    assert found.message.startswith("entity 2: Cedar's engine gives up on it (")
    assert "perhaps for want of 100 MiB of memory" in found.message
    rows[1]["attrs"] = {}
    assert find_crashes(snapshot(entities=json.dumps(rows)), bounds=Bounds(memory=100 * 2**20, for_each_byte=0)) == ()


@pytest.mark.parametrize(("limit", "severity"), [("max", None), ("200000000", "error"), ("120000000", "warning")])
def test_a_child_takes_no_more_than_the_container_has_left(monkeypatch, tmp_path, limit, severity):
    """Else all processes of the container would be ended for it, and again after each start."""
    (tmp_path / "memory.max").write_text(f"{limit}\n")
    (tmp_path / "memory.stat").write_text("anon 110000000\nfile 5\n")
    monkeypatch.setattr(trial, "CGROUP", tmp_path)
    entities = json.dumps([{"uid": {"type": "U", "id": "x" * 20_000_000}, "attrs": {}, "parents": []}])
    assert [problem.severity for problem in find_crashes(snapshot(entities=entities))] == (
        [severity] if severity else []
    )


def test_a_policy_that_the_engine_is_not_done_with_is_told():
    begun = time.monotonic()
    slow = snapshot(count=5, bad=[4], text=SLOW, schema=SLOW_SCHEMA)
    (found,) = find_crashes(slow, bounds=Bounds(seconds=0.5, memory=2**33))
    assert time.monotonic() - begun < 30
    assert told([found]) == [("error", "folder/a.cedar", 4, "policy `p4`")]
    assert "is not done with it after " in found.message


# --- only what is new


def test_what_was_taken_in_before_is_not_tried_again():
    before = snapshot(bad=[2])
    assert find_crashes(snapshot(count=9, bad=[2]), before) == ()
    assert [line for _, _, line, _ in told(find_crashes(snapshot(count=9, bad=[2, 7], text=DEEP + " "), before))] == [
        2,
        7,
    ]


def test_where_nothing_is_new_no_child_is_started(monkeypatch):
    monkeypatch.setattr(subprocess, "Popen", None)
    assert find_crashes(snapshot(), snapshot()) == ()
    assert find_crashes(snapshot(count=2), snapshot(count=3)) == ()


def test_under_another_schema_everything_is_tried_again():
    found = find_crashes(snapshot(bad=[2], schema=SCHEMA + " entity V;"), snapshot(bad=[2]))
    assert told(found) == [("error", "folder/a.cedar", 2, "policy `p2`")]


# --- the child


@pytest.mark.parametrize(
    ("executable", "said"),
    [
        ("/nonexistent/python", "it cannot be started (No such file or directory)"),
        ("/usr/sbin/uwsgi", "this process is no Python interpreter"),
        ("", "this process is no Python interpreter"),
        (None, "this process is no Python interpreter"),
    ],
)
def test_where_there_is_no_child_a_warning_says_so(monkeypatch, executable, said):
    monkeypatch.setattr(sys, "executable", executable)
    (found,) = find_crashes(snapshot(bad=[1]))
    assert found.severity == "warning"
    assert said in found.message
    assert "`policies.trial: false`" in found.message


@pytest.mark.parametrize("code", ["raise SystemExit(3)", "import os, signal; os.kill(os.getpid(), signal.SIGKILL)"])
def test_a_child_that_ends_before_it_begins_says_nothing_about_the_policies(monkeypatch, code):
    monkeypatch.setattr(trial, "_command", lambda *_: [sys.executable, "-I", "-c", code])
    (found,) = find_crashes(snapshot(bad=[1]))
    assert found.severity == "warning"
    assert "the child ended before it began" in found.message


def test_a_child_that_ends_early_without_a_fault_is_an_error(monkeypatch):
    monkeypatch.setattr(trial, "_command", lambda *_: [sys.executable, "-I", "-c", "print(end='.')"])
    (found,) = find_crashes(snapshot())
    assert found.severity == "error"


def test_a_child_that_is_ended_after_all_was_read_has_said_what_it_was_asked(monkeypatch):
    code = "import os, sys; print(end='.' * (1 + len(list(sys.stdin))), flush=True); os.abort()"
    monkeypatch.setattr(trial, "_command", lambda *_: [sys.executable, "-I", "-c", code])
    assert find_crashes(snapshot(count=100)) == ()


def test_texts_that_crash_the_engine_only_together_are_told_as_such(monkeypatch):
    code = "import json, os, sys; [print(end='.', flush=True) for _ in [0, 0]]; sys.stdin.readline()\n"
    code += "for line in sys.stdin: len(json.loads(line)[1]) > 1 and os.abort() or print(end='.', flush=True)"
    monkeypatch.setattr(trial, "_command", lambda *_: [sys.executable, "-I", "-c", code])
    (found,) = find_crashes(snapshot(count=3))  # the first one is of a kind that the others repeat
    assert (found.severity, found.line) == ("error", 2)
    assert found.message.startswith("policy `p2` to policy `p3`: ")


def test_of_policies_of_one_kind_one_is_validated_and_all_are_parsed(monkeypatch):
    """Where the schema has very many actions, one takes as long as a thousand others."""
    tried: list[tuple[str, list[str]]] = []
    child = trial._child

    def spy(lines, *bounds):
        tried.extend((kind, texts) for kind, texts in map(json.loads, lines))
        return child(lines, *bounds)

    monkeypatch.setattr(trial, "_child", spy)
    other = "forbid(principal, action, resource);"
    assert find_crashes(snapshot(count=4, bad=[3], text=other)) == ()
    texts = [policy(number).text for number in (1, 2, 4)]
    assert tried == [("schema", [SCHEMA]), ("policies", [texts[0], other]), ("repeated", texts[1:])]
    tried.clear()
    assert find_crashes(snapshot(count=2, schema=None)) == ()
    assert tried == [("policies", texts[:2])]


def test_one_that_repeats_a_kind_and_crashes_is_told_too():
    text = 'permit(principal == U::"x", action, resource) /* ' + "(" * 5000 + "*/;"
    deep = DEEP.replace("principal,", 'principal == U::"x",')
    (found,) = find_crashes(snapshot(count=3, bad=[1, 2, 3], text=deep))[:1]
    assert (found.severity, found.line, found.message.partition(":")[0]) == ("error", 1, "policy `p1`")
    assert len(find_crashes(snapshot(count=3, bad=[2, 3], text=deep))) == 2
    assert find_crashes(snapshot(count=3, bad=[2], text=text)) == ()


def test_the_child_is_told_no_secret(monkeypatch, tmp_path):
    monkeypatch.setenv("AUTHZ_SECRET", "s3cret")
    file = tmp_path / "environment"
    code = f"import os; open({str(file)!r}, 'w').write(repr(dict(os.environ)))"
    monkeypatch.setattr(trial, "_command", lambda *_: [sys.executable, "-I", "-c", code])
    find_crashes(snapshot())
    assert "MALLOC_ARENA_MAX" in file.read_text()
    assert "s3cret" not in file.read_text()


def test_the_child_loads_nothing_but_the_engine(monkeypatch, tmp_path):
    """It is started for each change: what it imports is paid for each time."""
    lines = [trial._line("policies", (trial._Text(kind="policies", text="", name="", file=""),))]
    command = trial._command(2**31, 60)
    done = subprocess.run(
        [*command[:1], "-X", "importtime", *command[1:]], input=lines[0], capture_output=True, check=True
    )
    assert done.stdout == b".."
    imported = {line.rpartition(b"|")[2].strip().decode() for line in done.stderr.splitlines()}
    assert "cedarpy" in imported
    assert not [
        name for name in imported if name.partition(".")[0] in {"authz", "asyncio", "site", "msgspec", "pydantic"}
    ]
