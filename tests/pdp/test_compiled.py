"""Only what changed is compiled anew: the rest keeps its rows, and what is kept by them."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from authz.core.errors import Misconfigured
from authz.core.model import EntityUid, Query
from authz.core.pieces import take_apart
from authz.pdp import compiled as compiling
from authz.pdp import validation
from authz.pdp.cedar import CedarDecisionPoint
from authz.pdp.compiled import compile_snapshot, remains
from tests.pdp.compiling import ANN, BOB, LOCKED, ONE, OPEN, PUBLIC, SCHEMA, SHARED, STAFF, TWO, link, snapshot

BEFORE = snapshot({"staff": STAFF, "public": PUBLIC, "locked": LOCKED}, link("l1"), link("l2", BOB))
ALL = {"staff", "public", "locked", "l1", "l2"}


@pytest.mark.parametrize(
    ("after", "kept"),
    [
        (BEFORE, ALL),
        (replace(BEFORE, version="2"), ALL),
        # an edit above moves what is below it
        (replace(BEFORE, policies=tuple(replace(p, line=(p.line or 0) + 5, file="b.cedar") for p in BEFORE.policies)), ALL),
        (replace(BEFORE, policies=tuple(reversed(BEFORE.policies)), links=tuple(reversed(BEFORE.links))), ALL),
        (snapshot({"staff": STAFF, "public": PUBLIC, "locked": LOCKED, "new": STAFF}, link("l1"), link("l2", BOB)), ALL),
        (snapshot({"staff": STAFF, "public": PUBLIC, "locked": LOCKED}, link("l1")), ALL - {"l2"}),
        (snapshot({"staff": STAFF, "public": PUBLIC, "locked": STAFF}, link("l1"), link("l2", BOB)), ALL - {"locked"}),
        (snapshot({"staff": PUBLIC, "public": STAFF, "locked": LOCKED}, link("l1"), link("l2", BOB)),
         {"locked", "l1", "l2"}),
        # only the message is another
        (snapshot({"staff": STAFF, "public": PUBLIC, "locked": LOCKED.replace("now", "ever")}, link("l1"), link("l2", BOB)),
         ALL - {"locked"}),
        (snapshot({"staff": STAFF, "public": PUBLIC, "locked": LOCKED}, link("l1"), link("l2", BOB, TWO)), ALL - {"l2"}),
        # a changed template makes other links
        (snapshot({"staff": STAFF, "public": PUBLIC, "locked": LOCKED}, link("l1"), link("l2", BOB), templates={"t": OPEN}),
         {"staff", "public", "locked"}),
        (snapshot({"staff": STAFF, "public": PUBLIC, "locked": LOCKED}, link("l1"), link("l2", BOB, template="u"),
                  templates={"t": SHARED, "u": OPEN}), ALL - {"l2"}),
        # a link and a policy change places
        (snapshot({"l1": STAFF, "public": PUBLIC, "locked": LOCKED}, link("staff"), link("l2", BOB)),
         {"public", "locked", "l2"}),
        (snapshot({}, templates={}), set()),
    ],
)  # fmt: skip
def test_unchanged_policies_and_links_keep_their_rows(after, kept):
    before = compile_snapshot(BEFORE)
    now = compile_snapshot(after, before)
    ids = [item.id for item in (*after.policies, *after.links)]
    assert list(now.rows) == ids
    assert {id for id in ids if now.rows[id] is before.rows.get(id)} == kept
    assert now.fresh == len(ids) - len(kept)
    serials = [row.serial for row in (*now.rows.values(), *now.templates.values())]
    assert len(set(serials)) == len(serials)
    assert now.handles is before.handles
    assert (now.version, now.snapshot) == (after.version, after)


def test_the_first_time_everything_is_new():
    assert compile_snapshot(BEFORE).fresh == len(ALL)


def test_where_no_policy_changed_the_index_stays_and_what_it_remembers():
    before = compile_snapshot(BEFORE)
    assert compile_snapshot(replace(BEFORE, version="2"), before).index is before.index


@pytest.fixture
def checked(monkeypatch):
    """Ids of what the engine was asked about, one list for each compilation."""
    asked: list[list[str]] = []
    check = validation.check_policies

    def spy(policies, *rest, **more):
        asked.append([policy.id for policy in policies])
        return check(policies, *rest, **more)

    monkeypatch.setattr(compiling, "check_policies", spy)
    return asked


def test_the_engine_is_asked_about_what_changed_alone(checked):
    before = compile_snapshot(BEFORE)
    changed = snapshot({"staff": STAFF, "public": STAFF, "locked": LOCKED}, link("l1"), link("l2", BOB))
    now = compile_snapshot(changed, before)
    compile_snapshot(changed, now)
    compile_snapshot(replace(changed, schema=SCHEMA + "entity More;"), now)
    compile_snapshot(replace(changed, schema=None), now)
    everything = ["staff", "public", "locked", "t"]
    assert checked == [everything, ["public"], [], everything, everything]


def test_another_schema_is_held_against_all_and_keeps_the_rows():
    before = compile_snapshot(BEFORE)
    more = compile_snapshot(replace(BEFORE, schema=SCHEMA.replace("level?", "rank?")), before)
    assert all(more.rows[id] is before.rows[id] for id in ALL)
    assert more.schema is not before.schema
    with pytest.raises(Misconfigured) as caught:
        compile_snapshot(replace(BEFORE, schema=SCHEMA.replace("Group", "Team")), before)
    assert {problem.message.partition(":")[0] for problem in caught.value.problems} == {"policy `staff`"}


def test_entities_are_read_again_only_where_they_or_their_schema_changed():
    entities = '[{"uid": {"type": "User", "id": "ann"}, "attrs": {"level": 1}, "parents": []}]'
    before = compile_snapshot(replace(BEFORE, entities=entities))
    assert before.entities[ANN].attributes == {"level": 1}
    same = compile_snapshot(replace(BEFORE, entities=entities, policies=()), before)
    assert same.entities is before.entities
    assert compile_snapshot(replace(BEFORE, entities=entities.replace("1", "2")), same).entities[ANN].attributes == {
        "level": 2
    }
    with pytest.raises(Misconfigured) as caught:
        compile_snapshot(replace(BEFORE, entities=entities, schema=SCHEMA.replace("Long", "String")), before)
    assert caught.value.problems[0].file == "entities.json"


FAULTS = {
    "a policy": (snapshot({"staff": STAFF, "bad": "permit(principal is Nope, action, resource);"}), "all.cedar:2: policy `bad`: "),
    "syntax": (snapshot({"staff": STAFF, "bad": "permit(principal action, resource);"}), "all.cedar:2: policy `bad`: "),
    "a template": (snapshot({}, link("l"), templates={"t": OPEN.replace("view", "nope")}), "all.cedar:101: policy `t`: "),
    "an id that is there twice": (snapshot({"l1": STAFF}, link("l1")), "links.json:7: the id `l1` is already used in all.cedar, line 1"),
    "no such template": (snapshot({}, link("l", template="none")), "links.json:7: link `l`: there is no template `none`"),
    "a link of a policy": (snapshot({"p": STAFF}, link("l", template="p")), "links.json:7: link `l`: there is no template `p`"),
    "slots": (
        snapshot({}, link("l"), templates={"t": "permit(principal == ?principal, action, resource);"}),
        "links.json:7: link `l`: its values must fill exactly ",
    ),
    "the schema": (snapshot({}, schema="entity A in [B];\n\nentity C"), "schema.cedarschema:"),
    "a type": (snapshot({}, schema="entity A in [B];"), "schema.cedarschema:1: schema: "),
    "JSON": (snapshot({}, entities='[\n{"uid": }]'), "entities.json:2: entities: Expecting value"),
    "a key twice": (snapshot({}, entities='[\n\n{"a": 1, "a": 2}]'), "entities.json:3: entities: the key `a` stands twice"),
    "an entity": (
        snapshot({}, entities='[\n{"uid": {"type": "Nope", "id": "x"}, "attrs": {}, "parents": []}]'),
        'entities.json:2: entities: `Nope::"x"`',
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", FAULTS)
async def test_a_fault_is_told_with_its_place_and_leaves_the_last_good_set_as_it_was(name):
    after, expected = FAULTS[name]
    before = compile_snapshot(BEFORE)
    rows, entities = dict(before.rows), dict(before.entities)
    with pytest.raises(Misconfigured) as caught:
        compile_snapshot(after, before)
    found = [str(problem) for problem in caught.value.problems]
    assert any(text.startswith(expected) for text in found), found
    assert (before.rows, before.entities) == (rows, entities)
    query = Query(principal=ANN, action=EntityUid("Action", "view"), resource=ONE)
    assert (await CedarDecisionPoint(before).decide(query)).policies == ("locked",)
    again = compile_snapshot(BEFORE, before)
    assert all(again.rows[id] is row for id, row in rows.items())


def test_a_link_of_a_template_with_a_fault_is_no_fault_of_its_own():
    after = snapshot({}, link("l"), templates={"t": OPEN.replace("view", "nope")})
    with pytest.raises(Misconfigured) as caught:
        compile_snapshot(after)
    assert {problem.file for problem in caught.value.problems} == {"all.cedar"}


def test_faults_of_all_kinds_are_told_together():
    after = snapshot({"a": STAFF.replace("Group", "Nope")}, link("l", template="none"), entities="{}")
    with pytest.raises(Misconfigured) as caught:
        compile_snapshot(after)
    assert {problem.file for problem in caught.value.problems} == {"all.cedar", "links.json", "entities.json"}


def test_what_a_replaced_set_leaves_can_be_taken_apart_beneath_the_new_one():
    before = compile_snapshot(BEFORE)
    now = compile_snapshot(snapshot({"staff": STAFF}, link("l1", BOB)), before)
    parts = remains(before)
    del before
    take_apart(parts, lambda: None)
    query = Query(principal=BOB, action=EntityUid("Action", "edit"), resource=ONE)
    assert asyncio.run(CedarDecisionPoint(now).decide(query)).policies == ("l1",)


def test_it_pauses_for_each_policy_and_entity():
    pauses: list[None] = []
    rows = [f'{{"uid": {{"type": "User", "id": "{n}"}}, "attrs": {{}}, "parents": []}}' for n in range(100)]
    many = snapshot({f"p{n}": STAFF for n in range(100)}, entities=f"[{','.join(rows)}]")
    compile_snapshot(many, pause=lambda: pauses.append(None))
    assert len(pauses) > 300
