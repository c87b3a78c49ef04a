"""What of the entities a query is told: little where there is much, and always enough."""

from __future__ import annotations

import itertools
import json
from dataclasses import replace

import pytest

from authz.core.cedar_text import scan_statements
from authz.core.errors import DecisionUnavailable, Reason
from authz.core.model import Effect, Entity, EntitySlice, EntityUid, Policy, PolicySnapshot, Query, Verdict
from authz.pdp import slices as module
from authz.pdp.ancestry import World
from authz.pdp.cedar import CedarDecisionPoint, CedarSettings
from authz.pdp.compiled import compile_snapshot

ANN, READ, DOC = EntityUid("User", "ann"), EntityUid("Action", "read"), EntityUid("Doc", "1")
GROUPS = [EntityUid("Group", str(number)) for number in range(10_000)]


def point(text: str, settings: CedarSettings | None = None, entities: list | None = None) -> CedarDecisionPoint:
    policies = tuple(
        Policy(id=f"p{number}", text=statement.text, effect=Effect(statement.effect))
        for number, statement in enumerate(scan_statements(text))
    )
    snapshot = PolicySnapshot(version="1", policies=policies, entities=json.dumps(entities or []))
    return CedarDecisionPoint(compile_snapshot(snapshot), settings or CedarSettings())


def query(*given: Entity, resource: EntityUid = DOC, **context) -> Query:
    return Query(
        principal=ANN, action=READ, resource=resource, context=context, entities=(EntitySlice(entities=given),)
    )


@pytest.fixture
def told(monkeypatch):
    """Entities as they reach the engine, by uid; the last word of each."""
    found: dict[str, dict] = {}

    def spied(name):
        through = getattr(module, name)

        def spy(*arguments):
            texts = list(arguments[-1])
            found.update({entity["uid"]["id"]: entity for entity in map(json.loads, texts)})
            return through(*arguments[:-1], texts)

        monkeypatch.setattr(module, name, spy)

    spied("_parsed")
    spied("_added")
    return found


def parents(entity: dict) -> list[str]:
    return sorted(parent["id"] for parent in entity["parents"])


async def test_of_ten_thousand_groups_only_those_are_told_that_something_is_compared_with(told):
    text = """permit(principal in Group::"7", action, resource);
              forbid(principal, action, resource)
              when { principal in Group::"8" && resource has owner && principal has home };
              permit(principal, action, resource in Group::"9");
              permit(principal == User::"bob", action, resource) when { principal in Group::"nobody" };"""
    ann = Entity(uid=ANN, parents=frozenset(GROUPS), attributes={"home": GROUPS[11]})
    decision = await point(text).decide(query(ann))
    assert (decision.verdict, decision.policies) == (Verdict.ALLOW, ("p0",))
    assert parents(told["ann"]) == ["11", "8"]


async def test_a_group_that_is_a_value_of_the_resource_or_the_context_is_told_too(told):
    text = """permit(principal, action, resource) when { principal in resource.readers };
              permit(principal, action, resource) when { context has team && principal in context.team };"""
    decider = point(text)
    ann = Entity(uid=ANN, parents=frozenset(GROUPS))
    for group, verdict in ((GROUPS[5], Verdict.ALLOW), (EntityUid("Group", "x"), Verdict.DENY)):
        doc = Entity(uid=DOC, attributes={"readers": (group,)})
        assert (await decider.decide(query(ann, doc))).verdict is verdict
        doc = Entity(uid=DOC, attributes={"readers": ()})
        assert (await decider.decide(query(ann, doc, team=group))).verdict is verdict
        assert parents(told["ann"]) == (["5"] if verdict is Verdict.ALLOW else [])


async def test_a_principal_in_the_resource_itself(told):
    ann = Entity(uid=ANN, parents=frozenset(GROUPS))
    decision = await point("permit(principal, action, resource) when { principal in resource };").decide(
        query(ann, resource=GROUPS[3])
    )
    assert decision.verdict is Verdict.ALLOW
    assert parents(told["ann"]) == ["3"]


async def test_of_a_resource_only_the_attributes_are_told_that_a_candidate_may_read(told):
    text = """permit(principal, action, resource) when { resource.owner == principal };
              permit(principal == User::"bob", action, resource) when { resource.other == 1 };"""
    doc = Entity(uid=DOC, attributes={"owner": ANN, "other": 1, "boss": EntityUid("User", "boss")})
    boss = Entity(uid=EntityUid("User", "boss"), attributes={"a": 1})
    assert (await point(text).decide(query(doc, boss))).verdict is Verdict.ALLOW
    assert told["1"]["attrs"].keys() == {"owner"}
    assert "boss" not in told


@pytest.mark.parametrize("nonsense", [2**63, "\ud800", {"\ud800": 1}, (None,)])
async def test_an_attribute_that_no_policy_reads_must_be_a_value_nevertheless(nonsense):
    doc = Entity(uid=DOC, attributes={"other": nonsense})
    with pytest.raises(DecisionUnavailable):
        await point("permit(principal, action, resource);").decide(query(doc))


CHAIN = [
    {
        "uid": {"type": "Group", "id": str(number)},
        "attrs": {},
        "parents": [{"type": "Group", "id": str(number + 1)}],
    }
    for number in range(50)
]


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        (CedarSettings(max_ancestors=40), Reason.TOO_MANY_ANCESTORS),
        (CedarSettings(max_entities=9), Reason.TOO_MANY_ENTITIES),
        (CedarSettings(max_candidates=2), Reason.TOO_MANY_CANDIDATES),
    ],
)
async def test_limits(settings, reason):
    text = "permit(principal, action, resource) when { principal has friend && principal.friend has friend };" * 3
    friends = [
        Entity(uid=EntityUid("User", str(number)), attributes={"friend": EntityUid("User", str(number + 1))})
        for number in range(10)
    ]
    ann = Entity(uid=ANN, attributes={"friend": friends[0].uid}, parents=frozenset({GROUPS[0]}))
    assert (await point(text, entities=CHAIN).decide(query(ann, *friends))).verdict is Verdict.ALLOW
    with pytest.raises(DecisionUnavailable) as caught:
        await point(text, settings, CHAIN).decide(query(ann, *friends))
    assert caught.value.reason is reason
    assert caught.value.by_query
    assert "limits." in caught.value.detail


async def test_a_parent_count_beyond_the_limit_is_refused_before_it_is_walked():
    ann = Entity(uid=ANN, parents=frozenset(GROUPS))
    with pytest.raises(DecisionUnavailable) as caught:
        await point("permit(principal, action, resource);", CedarSettings(max_ancestors=9_999)).decide(query(ann))
    assert caught.value.reason is Reason.TOO_MANY_ANCESTORS


@pytest.mark.parametrize(
    "edges",
    [
        [("ann", "ann")],
        [("ann", "a"), ("a", "ann")],
        [("ann", "a"), ("a", "b"), ("b", "a")],
        [("1", "a"), ("a", "1")],
    ],
)
async def test_a_cycle_of_parents_is_a_failure(edges):
    def uid(name: str) -> EntityUid:
        return {"ann": ANN, "1": DOC}.get(name, EntityUid("Group", name))

    given = [Entity(uid=uid(child), parents=frozenset({uid(parent)})) for child, parent in edges]
    with pytest.raises(DecisionUnavailable) as caught:
        await point("permit(principal, action, resource);").decide(query(*given))
    assert caught.value.by_query
    assert "cycle" in caught.value.detail


async def test_a_later_slice_may_speak_of_what_the_first_leads_to():
    text = 'permit(principal in Group::"top", action, resource) when { principal.boss.level > 1 };'
    decider = point(text)
    team, boss = EntityUid("Group", "team"), EntityUid("User", "boss")
    token = EntitySlice(entities=(Entity(uid=ANN, attributes={"boss": boss}, parents=frozenset({team})),))
    top = EntitySlice(entities=(Entity(uid=team, parents=frozenset({EntityUid("Group", "top")})),))
    level = EntitySlice(entities=(Entity(uid=boss, attributes={"level": 2}),))
    for given, verdict in (
        ((token,), Verdict.DENY),
        ((token, top, level), Verdict.ALLOW),
        ((token, level), Verdict.DENY),
        ((token, level, top), Verdict.ALLOW),
        ((token,), Verdict.DENY),
    ):
        found = Query(principal=ANN, action=READ, resource=DOC, entities=given)
        assert (await decider.decide(found)).verdict is verdict


async def test_what_all_entities_are_in_together_is_limited():
    chain = [
        Entity(
            uid=EntityUid("Folder", str(number)),
            attributes={"up": EntityUid("Folder", str(number + 1))},
            parents=frozenset({EntityUid("Folder", str(number + 1))}),
        )
        for number in range(100)
    ]
    text = "permit(principal, action, resource) when { !(resource has up) || resource.up has up || true };"
    asked = query(*chain, resource=chain[0].uid)
    assert (await point(text, CedarSettings(max_ancestors=5_100)).decide(asked)).verdict is Verdict.ALLOW
    for settings in (CedarSettings(max_ancestors=4_900), CedarSettings(max_ancestors=99)):
        with pytest.raises(DecisionUnavailable) as caught:
            await point(text, settings).decide(asked)
        assert caught.value.reason is Reason.TOO_MANY_ANCESTORS


async def test_a_chain_of_parents_has_an_end():
    def chain(length: int) -> Query:
        groups = [EntityUid("Group", str(number)) for number in range(length)]
        links = [Entity(uid=one, parents=frozenset({other})) for one, other in itertools.pairwise(groups)]
        return query(Entity(uid=ANN, parents=frozenset({groups[0]})), *links)

    decider = point('permit(principal in Group::"400", action, resource);')
    assert (await decider.decide(chain(450))).verdict is Verdict.ALLOW
    with pytest.raises(DecisionUnavailable) as caught:
        await decider.decide(chain(501))
    assert caught.value.reason is Reason.TOO_MANY_ANCESTORS


async def test_where_nothing_is_read_of_a_resource_it_is_not_told(told):
    text = """permit(principal, action, resource) when { principal in Group::"1" };
              forbid(principal == User::"bob", action, resource) when { resource.owner == principal };"""
    ann = Entity(uid=ANN, parents=frozenset(GROUPS[:3]))
    doc = Entity(uid=DOC, attributes={"owner": ANN})
    decider = point(text)
    assert (await decider.decide(query(ann, doc))).verdict is Verdict.ALLOW
    assert told.keys() == {"ann"}
    inside = point('permit(principal, action, resource) when { resource in Group::"1" };')
    doc = Entity(uid=DOC, attributes={"owner": ANN}, parents=frozenset(GROUPS[:3]))
    assert (await inside.decide(query(ann, doc))).verdict is Verdict.ALLOW
    assert parents(told["1"]) == ["1"]


@pytest.mark.parametrize(
    "condition",
    [
        'resource["locked"]',
        '"x[" != "a" && resource["locked"]',
        '"x has" != "a" && resource has "locked"',
        '["un["].contains("un[") && resource["locked"]',
        'principal == User::"a[" || resource["locked"]',
        '(if resource has other then principal else resource)["locked"]',
        'resource["l\\u{6f}cked"]',
        "resource. // what\n locked",
        "resource\u3000.\u2028locked",
        '{"a[": resource}["a["].locked',
    ],
)
@pytest.mark.parametrize("note", ["", '@note("see when [")\n', '@note("unless { has")\n'])
async def test_a_forbid_finds_the_attribute_however_it_reads_it(condition, note):
    text = f"permit(principal, action, resource); {note}forbid(principal, action, resource) when {{ {condition} }};"
    doc = Entity(uid=DOC, attributes={"locked": True, "more": 1})
    assert (await point(text).decide(query(doc))).policies == ("p1",)


@pytest.mark.parametrize(
    "entity",
    [
        Entity(uid=ANN, parents=frozenset({EntityUid("Group ", "a")})),
        Entity(uid=ANN, parents=frozenset({EntityUid("Group", "\ud83d\ude00")})),
        Entity(uid=EntityUid("1x", "a")),
        Entity(uid=DOC, parents=frozenset({EntityUid("", "a")})),
    ],
)
async def test_an_entity_is_called_as_one_can_be_also_where_nobody_looks(entity):
    with pytest.raises(DecisionUnavailable):
        await point('permit(principal, action, resource); forbid(principal in Group::"😀", action, resource);').decide(
            query(entity)
        )


async def test_a_value_that_nests_too_deep_is_a_failure_whether_it_is_read_or_not():
    value: tuple = ("x",)
    for _ in range(5_000):
        value = (value,)
    for name in ("read", "unread"):
        with pytest.raises(DecisionUnavailable):
            await point("permit(principal, action, resource) when { resource has read };").decide(
                query(Entity(uid=DOC, attributes={name: value}))
            )
        with pytest.raises(DecisionUnavailable):
            await point("permit(principal, action, resource) when { context has read };").decide(
                replace(query(), context={name: value})
            )


async def test_what_all_principals_share_is_one_object():
    text = "permit(principal, action, resource);" * 3 + 'permit(principal == User::"ann", action, resource);'
    decider = point(text)
    groups = []
    for name in ("bob", "eve", "ann"):
        asked = Query(principal=EntityUid("User", name), action=READ, resource=DOC)
        groups.append(decider._slices.prepared(asked).found)
        assert (await decider.decide(asked)).verdict is Verdict.ALLOW
    assert groups[0] is groups[1]
    assert groups[2].shared is groups[0].shared
    assert len(groups[2]) == 4


def friends(count: int) -> list[Entity]:
    users = [EntityUid("User", str(number)) for number in range(count)]
    return [Entity(uid=one, attributes={"friend": other}) for one, other in itertools.pairwise([*users, users[0]])]


async def test_a_principal_is_told_with_what_some_policy_may_read(told):
    ann = Entity(uid=ANN, attributes={"friend": EntityUid("User", "0"), "level": 1})
    text = "permit(principal, action, resource) when { principal.level == 1 };"
    assert (await point(text).decide(query(ann, *friends(50)))).verdict is Verdict.ALLOW
    assert told.keys() == {"ann"}
    assert told["ann"]["attrs"] == {"level": 1}


async def test_a_list_does_not_walk_a_large_graph_for_each_resource(monkeypatch):
    entities = friends(2_000)
    documents = [
        EntitySlice(entities=(Entity(uid=EntityUid("Doc", str(number)), attributes={"owner": entities[number].uid}),))
        for number in range(100)
    ]
    token = EntitySlice(entities=(Entity(uid=ANN), *entities))
    queries = [
        Query(principal=ANN, action=READ, resource=document.entities[0].uid, entities=(token, document))
        for document in documents
    ]
    text = """permit(principal, action, resource) when { resource.owner != principal };
              permit(principal == User::"bob", action, resource) when { principal.friend == resource };"""
    seen = 0
    entity = World.entity

    def counted(self, uid, local):
        nonlocal seen
        seen += 1
        return entity(self, uid, local)

    decider = point(text)
    monkeypatch.setattr(World, "entity", counted)
    assert {decision.verdict for decision in await decider.decide_many(queries)} == {Verdict.ALLOW}
    assert seen < 100 * 500
