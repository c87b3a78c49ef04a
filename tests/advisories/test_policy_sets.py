"""Bad policy sets: each is told with file, line and policy, none takes the place of the last good one.

Through the same two ways as an operator's: a reload of what runs, and `authz check`.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import authz
from authz.cli import main
from authz.core.cedar_text import _Scanner, scan_statements
from authz.core.errors import Reason, Unavailable
from authz.core.model import Effect, EntityUid, Policy, PolicySnapshot, Query, Verdict
from authz.pdp.cedar import CedarDecisionPoint, CedarSettings
from authz.pdp.compiled import compile_snapshot
from tests.wiring.conftest import POLICIES, SCHEMA

ANY = "permit(principal, action, resource)"
CEDAR, ENTITIES, LINKS, TYPES = "all.cedar", "entities.json", "links.json", "schema.cedarschema"
STAFF = '@id("t") permit(principal == ?principal, action, resource);\n'


def when(condition):
    return f'// a\n@id("x")\n{ANY}\nwhen {{\n{condition} }};\n'


def typed(more):
    """The schema, with more declarations from its second line on."""
    return SCHEMA.replace("entity Group;", f"entity Group in [Group, User];\n{more}")


def stored(*rows, **attributes):
    entities = [{"uid": {"type": kind, "id": id}, "attrs": attributes, "parents": above} for kind, id, above in rows]
    return {ENTITIES: "[\n" + ",\n".join(map(json.dumps, entities)) + "\n]", TYPES: typed("")}


def group(id):
    return {"type": "A::Group", "id": id}


def linked(*links):
    return {CEDAR: STAFF, LINKS: "[\n" + ",\n".join(map(json.dumps, links)) + "\n]"}


def link(**changes):
    return {"id": "l", "template": "t", "principal": 'A::User::"a"', **changes}


# Name → the files that are bad, where they are at fault, and what is said.
BAD = {
    # policies that do not parse
    "an operand is missing": ({CEDAR: when("1 +")}, f"{CEDAR}:2", "policy `x`: unexpected token `}`"),
    "an unknown function": ({CEDAR: when("foo(1)")}, f"{CEDAR}:2", "policy `x`: `foo` is not a valid function"),
    "an unknown word": ({CEDAR: f"{ANY};\nallow(principal);"}, f"{CEDAR}:2", "unexpected `allow`"),
    "no end": ({CEDAR: f"\n{ANY}"}, f"{CEDAR}:2", "missing `;`"),
    "no end of a named one": ({CEDAR: f'@id("x")\n{ANY}'}, f"{CEDAR}:2", "policy `x`: missing `;`"),
    "a bracket is open": ({CEDAR: when("(true")}, f"{CEDAR}:5", "policy `x`: unexpected `}`: close the `(` of line 5"),
    "a slot in a condition": ({CEDAR: when("principal == ?principal")}, f"{CEDAR}:2", "policy `x`"),
    # policies that do not validate
    "an unknown attribute": ({CEDAR: when("principal.nope")}, f"{CEDAR}:2", "policy `x`: attribute `nope`"),
    "an attribute that may be absent": ({CEDAR: when("principal.level > 1")}, f"{CEDAR}:2", "policy `x`: unable to"),
    "an unknown type": (
        {CEDAR: '\n@id("x") permit(principal == B::"a", action, resource);'},
        f"{CEDAR}:2",
        "policy `x`: unrecognized entity type `B`",
    ),
    "an unknown action": (
        {CEDAR: '\n@id("x") permit(principal, action == A::Action::"b", resource);'},
        f"{CEDAR}:2",
        "policy `x`: unrecognized action",
    ),
    # nesting and chains
    "brackets": ({CEDAR: when("(" * 2000 + "true" + ")" * 2000)}, f"{CEDAR}:5", "policy `x`: more than 50 nested"),
    "sets": ({CEDAR: when("[" * 1000 + "]" * 1000)}, f"{CEDAR}:5", "policy `x`: more than 50 nested"),
    "records": ({CEDAR: when("{a: " * 1000 + "1" + "}" * 1000)}, f"{CEDAR}:5", "policy `x`: more than 50 nested"),
    "ifs": ({CEDAR: when("if true then " * 500)}, f"{CEDAR}:5", "policy `x`: more than 50 nested"),
    "attributes": ({CEDAR: when("context" + ".a" * 60)}, f"{CEDAR}:5", "policy `x`: more than 50 attribute accesses"),
    "a chain": ({CEDAR: when("true" + " && true" * 400)}, f"{CEDAR}:5", "policy `x`: more than 350 operators"),
    "conditions": ({CEDAR: f'@id("x") {ANY}' + " when {true}" * 400 + ";"}, f"{CEDAR}:1", "policy `x`: more than 350"),
    "length": ({CEDAR: when(f'"{"x" * 10_000}" == ""')}, f"{CEDAR}:2", "policy `x`: policy of 10"),
    # ids that stand twice
    "an id twice": ({CEDAR: f'@id("x") {ANY};\n\n@id("x") {ANY};'}, f"{CEDAR}:3", "the id `x` is already used in"),
    "an id in two files": (
        {CEDAR: f'@id("x") {ANY};', "b.cedar": f'\n@id("x") {ANY};'},
        "b.cedar:2",
        "the id `x` is already used in",
    ),
    "the id of a place": ({CEDAR: f'{ANY};\n@id("all.cedar#1") {ANY};'}, f"{CEDAR}:2", "`all.cedar#1` is already used"),
    "a template's id": ({CEDAR: f'{STAFF}@id("t") {ANY};'}, CEDAR, "the id `t` is already used"),
    "a link twice": (linked(link(), link()), f"{LINKS}:3", "the id `l` is already used"),
    "a link as a policy": (linked(link(id="t")), f"{LINKS}:2", "the id `t` is already used"),
    "an entity twice": (
        stored(("A::Group", "a", []), ("A::Group", "a", [])),
        f"{ENTITIES}:3",
        'entity 2: `A::Group::"a"` is already defined',
    ),
    "a key twice": ({ENTITIES: '[\n{"uid": 1,\n"uid": 2}]'}, f"{ENTITIES}:2", "the key `uid` stands twice"),
    # links
    "no such template": (linked(link(template="u")), f"{LINKS}:2", "link `l`: there is no template `u`"),
    "another slot": (
        linked({"id": "l", "template": "t", "resource": 'A::Doc::"d"'}),
        f"{LINKS}:2",
        "link `l`: its values must fill exactly the slots of template `t`",
    ),
    "no entity": (linked(link(principal="A::User")), f"{LINKS}:2", "`A::User` is no entity identifier"),
    "links cut short": ({LINKS: '[\n{"id":'}, f"{LINKS}:2", "links"),
    "a link's surrogate": (linked(link(id="l\ud800")), f"{LINKS}:2", "link 1"),
    # schemas
    "types in a circle": (
        {TYPES: typed("type X = { y: Y };\ntype Y = Set<X>;")},
        f"{TYPES}:3",
        "common types name each other in a circle: `A::X`, `A::Y`, `A::X`",
    ),
    "action groups in a circle": (
        {TYPES: typed("action b in [c];\naction c in [b];")},
        f"{TYPES}:3",
        "action groups contain each other in a circle: `b`, `c`, `b`",
    ),
    "a long way up": (
        {TYPES: typed("".join(f"entity E{n} in [E{n + 1}];\n" for n in range(500)) + "entity E500;")},
        f"{TYPES}:3",
        "more than 500 levels of entity types, from `A::E0` up",
    ),
    "a type that is unknown": ({TYPES: typed("entity B { a: C };")}, f"{TYPES}:3", "unknown name `C` in namespace `A`"),
    "a parent that is unknown": ({TYPES: typed("entity B in [C];")}, f"{TYPES}:3", "unknown name `C` in namespace `A`"),
    "a type twice": ({TYPES: typed("entity B;\nentity B;")}, f"{TYPES}:4", "entity type `B` is declared twice"),
    "a number as type": (
        {TYPES: typed("entity B { a: 9223372036854775808 };")},
        f"{TYPES}:3",
        "expected a type's name",
    ),
    "a schema's string": ({TYPES: f'{SCHEMA}\n"'}, f"{TYPES}:8", "unterminated string"),
    "a schema's NUL": ({TYPES: f"{SCHEMA}\n\0"}, f"{TYPES}:8", "unexpected NUL character"),
    "a reserved name": ({TYPES: f"{SCHEMA} namespace __cedar {{ entity B; }}"}, TYPES, "reserved `__cedar` namespace"),
    # entities
    "entities in a circle": (
        stored(("A::Group", "a", [group("b")]), ("A::Group", "b", [group("a")])),
        f"{ENTITIES}:2",
        'a cycle of parents: `A::Group::"a"` → `A::Group::"b"` → `A::Group::"a"`',
    ),
    "an entity in itself": (stored(("A::Group", "a", [group("a")])), f"{ENTITIES}:2", "a cycle of parents"),
    "a stored type that is unknown": (
        stored(("A::C", "c", [])),
        f"{ENTITIES}:2",
        '`A::C::"c"` does not fit the schema',
    ),
    "a parent of another type": (
        stored(("A::Group", "a", [{"type": "A::Doc", "id": "d"}])),
        f"{ENTITIES}:2",
        '`A::Group::"a"` does not fit the schema',
    ),
    "a number beyond 64 bits": (stored(("A::User", "u", []), level=2**63), f"{ENTITIES}:2", '`A::User::"u"`.level'),
    "a number below 64 bits": (
        stored(("A::User", "u", []), level=-(2**63) - 1),
        f"{ENTITIES}:2",
        '`A::User::"u"`.level',
    ),
    "a fraction": (stored(("A::User", "u", []), level=1.5), f"{ENTITIES}:2", '`A::User::"u"`.level'),
    "a number of a million digits": ({ENTITIES: f'[\n{{"a": {"9" * 10**6}}}]'}, f"{ENTITIES}:2", "too many digits"),
    "an entity's surrogate": (
        stored(("A::User", "\ud800", [])),
        f"{ENTITIES}:2",
        "its id holds half of a surrogate pair",
    ),
    "entities within entities": ({ENTITIES: "[\n" * 100_000}, f"{ENTITIES}:2", "nested too deeply"),
    "entities cut short": ({ENTITIES: '[\n{"uid":'}, f"{ENTITIES}:2", "entities"),
    "no list": ({ENTITIES: "{}"}, ENTITIES, "expected a list of entities"),
    "no number": ({ENTITIES: "[\nNaN]"}, f"{ENTITIES}:2", "`NaN` is no JSON number"),
    # numbers in policies
    "a literal beyond 64 bits": (
        {CEDAR: when("9223372036854775808 == 1")},
        f"{CEDAR}:2",
        "policy `x`: integer literal",
    ),
    "a decimal out of range": ({CEDAR: when('decimal("922337203685477.9999") == 1')}, f"{CEDAR}:2", "policy `x`"),
    # characters
    "a NUL": ({CEDAR: when('"\0" == ""')}, f"{CEDAR}:5", "unexpected NUL character"),
    "a byte order mark": ({CEDAR: f"\ufeff{ANY};"}, f"{CEDAR}:1", "unexpected byte order mark"),
    "an escaped surrogate": ({CEDAR: f'\n@id("\\u{{d800}}") {ANY};'}, f"{CEDAR}:2", "invalid escape"),
    "no escape": ({CEDAR: f'\n@id("\\q") {ANY};'}, f"{CEDAR}:2", "invalid escape `\\q`"),
    "a space that is none": ({CEDAR: f"{ANY};\n\u200b{ANY};"}, f"{CEDAR}:2", "unexpected character `\\u200b`"),
    "a bracket that is none": ({CEDAR: f"\n{ANY.replace('(', '（')};"}, f"{CEDAR}:2", "unexpected character `（`"),
    "a turn of direction": ({CEDAR: when("true \u202e")}, f"{CEDAR}:5", "policy `x`: unexpected character `\\u202e`"),
    "a string without end": ({CEDAR: f'\n@id("x) {ANY};\n'}, f"{CEDAR}:2", "unterminated string"),
    "a string without end, within": ({CEDAR: when('"x == ""')}, f"{CEDAR}:5", "policy `x`: unterminated string"),
    "a comment of C": ({CEDAR: f"\n/* {ANY}; */"}, f"{CEDAR}:2", "unexpected `/`"),
    "a comment without end": ({CEDAR: f"\n{ANY} // ;"}, f"{CEDAR}:2", "missing `;`"),
    "a line that some count": ({CEDAR: f"// \u2028\x85\x0b\x0c\n{ANY};\nnope"}, f"{CEDAR}:3", "unexpected `nope`"),
    "lines of an old Mac": ({CEDAR: f"// a\r{ANY};\r\rnope"}, f"{CEDAR}:4", "unexpected `nope`"),
}


async def reason(az, app):
    request = authz.HttpRequest(method="GET", url="https://h/d/1", headers=app.headers(groups=["staff"]))
    return (await az.check(request)).reason.value


@pytest.mark.parametrize("name", BAD)
async def test_a_bad_policy_set_is_told_and_the_last_good_one_stays(app, caplog, capsys, name):
    files, where, said = BAD[name]
    place = f"{app.folder / 'policies' / where}"
    async with authz.connect(app.config, watch=False, sinks=()) as az:
        assert await reason(az, app) == "allowed"
        version = az._runtime.assembly.compiled.version
        for file, text in files.items():
            path = app.folder / "policies" / file
            path.write_bytes(text.encode("utf-8", "surrogatepass"))
        assert await az.reload() is False
        assert tells([record.getMessage() for record in caplog.records], place, said)
        assert await reason(az, app) == "allowed"
        assert az._runtime.assembly.compiled.version == version
        assert tells(await checked(app, capsys), place, said)
        for file in files:
            (app.folder / "policies" / file).unlink()
        app.write(f"policies/{CEDAR}", POLICIES)
        app.write(f"policies/{TYPES}", SCHEMA)
        assert await az.reload() is True
        assert await reason(az, app) == "allowed"


def tells(lines, place, said):
    assert any(f"{place}:" in line and said in line for line in lines), lines
    return True


async def checked(app, capsys):
    """What `authz check` says of what is unusable, line by line."""
    assert await asyncio.to_thread(main, ["check", "-c", str(app.config)]) == 2
    printed = capsys.readouterr()
    assert "Traceback" not in printed.err + printed.out
    return printed.err.splitlines()


# --- what crashes the engine, past all limits

CRASH = when("(" * 3000 + "true" + ")" * 3000)
UNBOUNDED = """
from authz.core import cedar_text

bounded = cedar_text._Scanner.__init__
cedar_text._Scanner.__init__ = lambda self, text, *_: bounded(self, text, 10**9, 10**9, 10**9)
cedar_text.check_depth = lambda *_: None
"""
"""Takes the limits away that keep from the engine what it is known to crash on."""


def unbounded(app, *arguments):
    """Runs the command line, and each worker, without limits: Python reads this file as it begins."""
    (app.folder / "sitecustomize.py").write_text(UNBOUNDED)
    command = [sys.executable, "-m", "authz", *arguments, "-c", str(app.config)]
    paths = {"PYTHONPATH": f"{app.folder}:{Path(__file__).parents[2]}"}
    return subprocess.run(
        command, capture_output=True, text=True, timeout=60, check=False, env={**os.environ, **paths}, cwd=app.folder
    )


@pytest.mark.parametrize("command", [["serve"], ["serve", "--workers", "2"], ["check"]])
def test_a_start_with_what_crashes_the_engine_is_an_error_and_no_crash(app, command):
    app.write(f"policies/{CEDAR}", CRASH)
    done = unbounded(app, *command)
    assert done.returncode == 2
    assert f"{CEDAR}:2: policy `x`: Cedar's engine crashes on it (SIGSEGV)" in done.stderr
    assert "Traceback" not in done.stderr


def test_without_the_trial_it_is_a_crash(app):
    """So the text of these tests is one that really ends a process, and the setting does what it says."""
    app.write(f"policies/{CEDAR}", CRASH)
    app.edit("authz.yaml", "policies: {path: policies}", "policies: {path: policies, trial: false}")
    assert unbounded(app, "check").returncode == -signal.SIGSEGV


async def test_a_reload_of_what_crashes_the_engine_leaves_the_last_good_set(app, monkeypatch, caplog):
    bounded = _Scanner.__init__
    monkeypatch.setattr(_Scanner, "__init__", lambda self, text, *_: bounded(self, text, 10**9, 10**9, 10**9))
    monkeypatch.setattr("authz.core.cedar_text.check_depth", lambda *_: None)
    async with authz.connect(app.config, watch=False, sinks=()) as az:
        app.write(f"policies/{CEDAR}", POLICIES + CRASH)
        assert await az.reload() is False
        lines = [record.getMessage() for record in caplog.records]
        assert tells(lines, f"{CEDAR}:3", "policy `x`: Cedar's engine crashes on it (SIGSEGV)")
        assert await reason(az, app) == "allowed"
        app.write(f"policies/{CEDAR}", POLICIES + f'@id("never") forbid{ANY.removeprefix("permit")};')
        assert await az.reload() is True
        assert await reason(az, app) == "policy_forbid"


async def test_only_what_is_new_is_tried_at_a_reload(app, monkeypatch):
    """A child is started for a change of policies, and for none of a route."""
    started = []
    popen = subprocess.Popen

    def counted(*given, **more):
        started.append(given)
        return popen(*given, **more)

    monkeypatch.setattr(subprocess, "Popen", counted)
    async with authz.connect(app.config, watch=False, sinks=()) as az:
        assert len(started) == 1
        app.edit("routes.yaml", "x-user", "x-caller")
        assert await az.reload() is True
        assert len(started) == 1
        app.write("policies/more.cedar", f"{ANY};")
        assert await az.reload() is True
        assert len(started) == 2
        (app.folder / "policies" / "more.cedar").unlink()
        assert await az.reload() is True
        assert len(started) == 2


async def test_where_no_child_can_be_started_it_is_warned_of_once_and_goes_on(app, monkeypatch, caplog):
    async with authz.connect(app.config, watch=False, sinks=()) as az:
        monkeypatch.setattr(sys, "executable", "/nonexistent/python")
        app.write("policies/more.cedar", f"{ANY};")
        with caplog.at_level(logging.WARNING):
            assert await az.reload() is True
        lines = [record.getMessage() for record in caplog.records]
        assert sum("not tried in a child process" in line for line in lines) == 1


# --- what is odd and yet right

FINE = {
    "the least number": {CEDAR: when("-9223372036854775808 < 9223372036854775807")},
    "types in one another": {TYPES: typed("entity B in [B, C]; entity C in [B];")},
    "an id of a NUL": {CEDAR: f'@id("\\0") {ANY};'},
    "stored ids": stored(("A::User", "\0\u202e\n\U0010ffff", [])),
    "comments": {CEDAR: f'// \u202e\u2066 }} \ufeff /* " (\n{ANY}; // \u2028 forbid'},
    "space": {CEDAR: f"\u2028{ANY}\x85\u3000;\xa0".replace(" ", "\u2029")},
    "nothing but a comment": {CEDAR: "// none"},
}


@pytest.mark.parametrize("name", FINE)
async def test_what_is_odd_but_right_is_taken(app, name):
    async with authz.connect(app.config, watch=False, sinks=()) as az:
        for file, text in FINE[name].items():
            app.write(f"policies/{file}", text)
        assert await az.reload() is True


ID = st.text(
    st.one_of(
        st.sampled_from("\t\n\r\0\x1b\x7f\x85\u0301\u200b\u202e\u2028\u2066\ufeff\U0001f600\"'\\;/{}<&"),
        st.characters(codec="utf-8"),
    ),
    min_size=1,
    max_size=8,
)


def literal(value):
    """A string of Cedar in which everything is escaped."""
    return '"' + "".join(f"\\u{{{ord(c):x}}}" for c in value) + '"'


@given(ids=st.lists(ID, min_size=1, max_size=3, unique=True), other=ID)
def test_ids_of_any_characters_come_back_as_they_are(ids, other):
    """Of policies in decisions, of entities in scopes: no two ids are taken for one, as normalising would."""
    text = "".join(f"@id({literal(id)}) permit(principal == U::{literal(id)}, action, resource);\n" for id in ids)
    text += "".join(
        f"@id({literal(id + '!')}) forbid(principal == U::{literal(id)}, action, resource);" for id in ids[1:]
    )
    found = asked(text, EntityUid("U", ids[0]))
    assert (found.verdict, found.policies) == (Verdict.ALLOW, (ids[0],))
    for id in ids[1:]:
        found = asked(text, EntityUid("U", id))
        assert (found.verdict, found.policies) == (Verdict.DENY, (f"{id}!",))
    if other not in ids:
        assert asked(text, EntityUid("U", other)).policies == ()


def asked(text, principal=None, *, schema=None, settings=None, **context):
    """What a decision point says with the policies of a text."""
    policies = tuple(
        Policy(id=one.annotations["id"], text=one.text, effect=Effect(one.effect), file="f", line=one.line)
        for one in scan_statements(text)
    )
    compiled = compile_snapshot(PolicySnapshot(version="1", policies=policies, schema=schema))
    point = CedarDecisionPoint(compiled, settings or CedarSettings())
    principal = principal or EntityUid("U", "u")
    action, resource = EntityUid("Action", "read"), EntityUid("D", "d")
    query = Query(principal=principal, action=action, resource=resource, context=context)
    return asyncio.run(point.decide(query))


# --- requests

TYPED = "entity U; entity D; action read appliesTo { principal: U, resource: D, context: { x: Long } };"
EVERYBODY = f'@id("a") {ANY};'


def test_a_type_that_the_schema_lacks_is_decided_by_what_matches_or_by_strictness_a_failure():
    stranger = EntityUid("Stranger", "u")
    assert asked(EVERYBODY, stranger, schema=TYPED).policies == ("a",)
    assert asked('@id("a") permit(principal is U, action, resource);', stranger, schema=TYPED).verdict is Verdict.DENY
    with pytest.raises(Unavailable):
        asked(EVERYBODY, stranger, schema=TYPED, settings=CedarSettings(validate_requests=True))


LARGEST = 2**63 - 1
OVERFLOW = f'{EVERYBODY}\n@id("b") forbid(principal, action, resource) when {{ context.x + 1 > 0 }};'


def test_arithmetic_beyond_64_bits_is_an_error_of_its_policy():
    """Cedar never wraps around (Cedar reference, "Operators and functions"): the policy errs, and is skipped."""
    found = asked(OVERFLOW, schema=TYPED, x=LARGEST)
    assert (found.verdict, found.policies) == (Verdict.ALLOW, ("a",))
    assert [error.policy_id for error in found.errors] == ["b"]
    assert asked(OVERFLOW, schema=TYPED, x=LARGEST - 1).policies == ("b",)
    with pytest.raises(Unavailable) as caught:
        asked(OVERFLOW, schema=TYPED, settings=CedarSettings(on_forbid_error="fail"), x=LARGEST)
    assert caught.value.reason is Reason.FORBID_ERROR


@pytest.mark.parametrize("value", [2**63, -(2**63) - 1, 10**400], ids=["above", "below", "far"])
@pytest.mark.parametrize("schema", [TYPED, None], ids=["typed", "untyped"])
def test_a_number_beyond_64_bits_in_a_request_is_no_decision(value, schema):
    with pytest.raises(Unavailable):
        asked(OVERFLOW, schema=schema, x=value)


@pytest.mark.parametrize("principal", [EntityUid("U", "\ud800"), EntityUid("U\ud800", "u"), EntityUid("no type", "u")])
def test_an_entity_that_the_engine_cannot_be_told_is_no_decision(principal):
    with pytest.raises(Unavailable):
        asked(f'{EVERYBODY} @id("b") permit(principal in U::"g", action, resource);', principal)


def test_a_lone_surrogate_in_the_context_is_no_decision():
    with pytest.raises(Unavailable):
        asked(OVERFLOW, x="\ud800")


# --- what is told


def test_a_name_of_control_characters_is_told_on_one_line(app, capsys):
    """It neither begins a line of its own, nor colours a terminal, nor turns a line round."""
    app.write(f"policies/{CEDAR}", f'\n@id("a\\n\\u{{1b}}[31m\\u{{202e}}b") {ANY} when {{ principal.nope }};')
    told = asyncio.run(checked(app, capsys))
    assert tells(told, f"{CEDAR}:2", r"policy `a\n\x1b[31m\u202eb`: attribute `nope`")
