"""A store's entities: what is wrong with one is told in words that help, with its line, and never with a value."""

from __future__ import annotations

import json

import cedarpy
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from authz.core.cedar_schema import load_schema
from authz.core.hierarchy import MAX_LEVELS
from authz.core.model import Entity, EntityUid, PolicySnapshot
from authz.pdp.stored_entities import CHUNK, load_entities, read_entities
from authz.pdp.validation import Schemas

SCHEMA = """
entity Group in [Group];
entity User in [Group] { n: Long, ip?: ipaddr, boss?: User } tags String;
entity Colour enum ["red"];
action read appliesTo { principal: User, resource: User };
"""
FITTING = Schemas(ours=load_schema(SCHEMA), engine=cedarpy.Schema.from_str(SCHEMA))
CANARY = "c4n4ry"


def user(id="u", parents=(), *, kind="User", attributes=None, **more):
    above = [{"type": parent.type, "id": parent.id} for parent in parents]
    attributes = {"n": 1} if attributes is None else attributes
    return {"uid": {"type": kind, "id": id}, "attrs": attributes, "parents": above, **more}


def group(id, *parents):
    return user(id, [EntityUid("Group", parent) for parent in parents], kind="Group", attributes={})


def loaded(rows, schemas=FITTING):
    """Entities, and problems as line and message."""
    text = "[\n" + ",\n".join(map(json.dumps, rows)) + "\n]"
    snapshot = PolicySnapshot(version="1", policies=(), entities=text, entities_file="e.json")
    problems: list = []
    found = load_entities(snapshot, schemas, problems, lambda: None)
    assert {problem.file for problem in problems} <= {"e.json"}
    assert not (found and problems)
    return found, [(problem.line, problem.message.removeprefix("entities: ")) for problem in problems]


@pytest.mark.parametrize(
    ("row", "text"),
    [
        (user(attributes={}), '`User::"u"` does not fit the schema: the schema requires `User.n`, and it is missing'),
        (user(attributes={"n": CANARY}), '`User::"u"` does not fit the schema: `User.n` is of another type than '),
        (user(attributes={"n": 1, "q": CANARY}), '`User::"u"` does not fit the schema: the schema does not declare `User.q`'),
        (user(kind="Nope"), '`Nope::"u"` does not fit the schema: the schema has no entity type `Nope`'),
        (user(parents=[EntityUid("User", "v")]), "the schema does not let `User` be in `User`"),
        (user("blue", kind="Colour", attributes={}), "an id is none of those that the schema lists for `Colour`"),
        (user(tags={"k": 3}), "`a tag of User` is of another type than the schema declares"),
        (user("g", kind="Group", attributes={}, tags={"k": "v"}), "the schema declares no tags for `Group`"),
        (user(attributes={"n": 1, "ip": CANARY}), '`User::"u"`: its attribute `ip` has no value that Cedar takes, '),
        (user(tags={"k": f"{CANARY}\ud800"}), '`User::"u"`: its tag `k` has no value that Cedar takes, '),
        (user("\ud800"), "`: its type is no name in Cedar, or its id holds half of a surrogate pair"),
        (user(parents=[EntityUid("Group", "\ud800")]), "the type of its parent `Group::"),
        (user(attributes={"n": 1.5}), '`User::"u"`.n: expected text, a 64-bit whole number'),
        (user(attributes={"n": 2**63}), '`User::"u"`.n: expected text, a 64-bit whole number'),
        ({"uid": 1}, "entity 2, uid: expected an entity reference"),
        ({**user(), "more": 1}, "entity 2: unknown key `more`"),
        ([], "entity 2: expected an object with `uid`"),
        (group("first"), 'entity 2: `Group::"first"` is already defined'),
    ],
)  # fmt: skip
def test_what_is_wrong_with_one_is_told_with_its_line_and_without_a_value(row, text):
    found, problems = loaded([group("first"), row, group("last")])
    assert not found
    [(line, message)] = problems
    assert line == 3
    assert text in message
    assert CANARY not in message
    assert "deserialization" not in message


@pytest.mark.parametrize(
    ("row", "text"),
    [
        (user(kind="1x"), "its type is no name in Cedar"),
        (user(kind="if"), "its type is no name in Cedar"),
        (user(parents=[EntityUid("a b", "v")]), 'the type of its parent `a b::"v"` is no name in Cedar'),
        (user(attributes={"a": {"__extn": {"fn": "ip", "arg": CANARY}}}), "its attribute `a` has no value that Cedar"),
        (user(attributes={"a": [{"__extn": {"fn": "nope", "arg": "1"}}]}), "its attribute `a` has no value that Cedar"),
    ],
)
def test_so_is_what_no_engine_takes_where_there_is_no_schema(row, text):
    _, [(line, message)] = loaded([user("first"), row], Schemas())
    assert line == 3
    assert text in message
    assert CANARY not in message


@pytest.mark.parametrize("bad", [0, CHUNK - 1, CHUNK, 2 * CHUNK + 1])
def test_one_among_many_is_named_alone(bad):
    rows = [user(f"u{number}") for number in range(2 * CHUNK + 2)]
    rows[bad]["attrs"] = {}
    _, problems = loaded(rows)
    assert [line for line, _ in problems] == [bad + 2]


def test_what_fits_is_read():
    found, problems = loaded([user(parents=[EntityUid("Group", "g")], tags={"k": "v"}), group("g", "h")])
    assert problems == []
    uid = EntityUid("User", "u")
    assert found[uid] == Entity(
        uid=uid, attributes={"n": 1}, parents=frozenset({EntityUid("Group", "g")}), tags={"k": "v"}
    )
    assert EntityUid("Group", "h") not in found  # named, not given


def test_a_circle_is_told_once_by_its_members():
    rows = [group("a", "b"), group("b", "c"), group("c", "a"), group("d", "a")]
    _, [(line, message)] = loaded(rows)
    assert line in (2, 3, 4)
    assert message.startswith("a cycle of parents: `Group::")
    assert all(f'`Group::"{member}"`' in message for member in "abc")
    assert "deserialization" not in message
    _, [(line, message)] = loaded([group("x"), group("self", "self")])
    assert (line, message.count('`Group::"self"`')) == (3, 2)


def test_a_long_circle_is_told_in_short():
    _, [(_, message)] = loaded([group(str(number), str((number + 1) % 1000)) for number in range(1000)])
    assert message.count("→") == 5
    assert "…" in message


@pytest.mark.parametrize("schemas", [FITTING, Schemas()])
@pytest.mark.parametrize(("levels", "is_told"), [(MAX_LEVELS, False), (MAX_LEVELS + 1, True), (5_000, True)])
def test_a_hierarchy_has_so_many_levels_at_most(schemas, levels, is_told):
    rows = [group(str(number), *([str(number + 1)] if number + 1 < levels else [])) for number in range(levels)]
    found, problems = loaded(rows, schemas)
    assert bool(found) != is_told
    if is_told:
        [(line, message)] = problems
        assert message.startswith(f'more than {MAX_LEVELS} levels of parents, beginning with `Group::"')
        assert message.endswith("make the hierarchy flatter")
        assert json.dumps(rows[(line or 0) - 2]["uid"]["id"]) in message


def test_a_parent_that_is_only_named_is_a_level_too():
    rows = [group(str(number), str(number + 1)) for number in range(MAX_LEVELS)]
    assert loaded(rows)[1]
    assert not loaded(rows[1:])[1]


GROUPS = st.dictionaries(st.integers(0, 6), st.frozensets(st.integers(0, 8), max_size=3))


@settings(max_examples=100)
@given(GROUPS)
def test_it_takes_what_the_engine_takes_all_at_once(above):
    rows = [group(str(number), *map(str, sorted(parents))) for number, parents in above.items()]
    try:
        cedarpy.Entities.from_json_str(json.dumps(rows), FITTING.engine)
    except ValueError:
        assert loaded(rows)[1]
    else:
        found, problems = loaded(rows)
        assert problems == []
        assert {uid.id: {parent.id for parent in entity.parents} for uid, entity in found.items()} == {
            str(number): set(map(str, parents)) for number, parents in above.items()
        }


def test_entities_of_a_case_are_read_from_their_values():
    problems: list = []
    found = read_entities([user()], FITTING.ours, FITTING.engine, "case.yaml", problems)
    assert (list(found), problems) == ([EntityUid("User", "u")], [])
    for rows, text in (({}, "expected a list of entities"), ([user(attributes={})], "the schema requires `User.n`")):
        problems.clear()
        assert not read_entities(rows, FITTING.ours, FITTING.engine, "case.yaml", problems)
        assert [(problem.file, text in problem.message) for problem in problems] == [("case.yaml", True)]


def test_what_many_name_is_kept_once():
    found, _ = loaded([user(f"u{number}", [EntityUid("Group", "g")]) for number in range(3)])
    first, *others = [entity.parents for entity in found.values()]
    assert all(one is first for one in others)
