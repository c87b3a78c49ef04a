"""A store's policies in the engine: kept up by what changed, and the same answer as all of them have in one set."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import cedarpy
import pytest
from hypothesis import given
from hypothesis import strategies as st

from authz.core.model import EntityUid
from authz.emulator.engine import KEPT_STORES, Engines, Question, StoreEngine, Verdict
from authz.emulator.entities import Entities, cedar_entity
from authz.emulator.errors import ValidationError
from authz.emulator.records import Changes, PolicyRecord

SCHEMA = json.dumps(
    {
        "App": {
            "entityTypes": {
                "User": {
                    "memberOfTypes": ["Group"],
                    "shape": {
                        "type": "Record",
                        "attributes": {
                            "age": {"type": "Long", "required": False},
                            "a": {"type": "Boolean", "required": False},
                        },
                    },
                },
                "Group": {"memberOfTypes": ["Group"]},
                "Doc": {"memberOfTypes": ["Doc"]},
            },
            "actions": {
                "Any": {},
                "Reading": {"memberOf": [{"id": "Any"}]},
                "Read": {
                    "memberOf": [{"id": "Reading"}],
                    "appliesTo": {"principalTypes": ["User"], "resourceTypes": ["Doc"]},
                },
                "Write": {"appliesTo": {"principalTypes": ["User"], "resourceTypes": ["Doc"]}},
            },
        }
    }
)
DECLARED = """"context": {"type": "Record", "attributes": {
    "n": {"type": "Long", "required": false}, "r": {"type": "Record", "attributes": {}, "required": false}}}"""
ANN, BOB = EntityUid("App::User", "ann"), EntityUid("App::User", "bob")
STAFF, ALL = EntityUid("App::Group", "staff"), EntityUid("App::Group", "all")
DOC, BOOK = EntityUid("App::Doc", "doc"), EntityUid("App::Doc", "book")
READ, WRITE = EntityUid("App::Action", "Read"), EntityUid("App::Action", "Write")


def static(id: str, statement: str) -> PolicyRecord:
    effect = "Forbid" if "forbid" in statement.split("(", maxsplit=1)[0] else "Permit"
    return PolicyRecord(store_id="S", id=id, type="STATIC", statement=statement, effect=effect, created="", updated="")


def linked(id: str, statement: str, **values: EntityUid) -> PolicyRecord:
    filled: dict[str, Any] = dict(values)
    template = f"of {statement}"
    return replace(static(id, statement), type="TEMPLATE_LINKED", template_id=template, slots=tuple(values), **filled)


def changes(revision: int, *changed: PolicyRecord, deleted: Sequence[str] = (), schema: str | None = SCHEMA) -> Changes:
    return Changes(revision=revision, changed=changed, deleted=tuple(deleted), templates=(), schema=schema)


def engine(*records: PolicyRecord, full: int = 300, schema: str | None = SCHEMA) -> StoreEngine:
    made = StoreEngine(full=full)
    made.update(changes(1, *records, schema=schema))
    return made


def entities(**parents: tuple[EntityUid, Sequence[EntityUid]]) -> Entities:
    return {
        uid: cedar_entity(uid, attributes={"age": 30} if uid == ANN else {}, parents=above)
        for uid, above in parents.values()
    }


KNOWN = entities(ann=(ANN, [STAFF]), staff=(STAFF, [ALL]), doc=(DOC, [BOOK]))


def question(
    principal: EntityUid | None = ANN,
    action: EntityUid | None = READ,
    resource: EntityUid | None = DOC,
    given: Entities = KNOWN,
    context: str = "{}",
) -> Question:
    return Question(principal=principal, action=action, resource=resource, context=context, entities=given)


def asked(*records: PolicyRecord, full: int = 300, **changes: Any) -> Verdict:
    return engine(*records, full=full).decide(question(**changes))


PERMIT = "permit(principal, action, resource);"
TEMPLATE = "permit(principal == ?principal, action, resource in ?resource);"


@pytest.fixture(params=[300, 0], ids=["all", "candidates"])
def full(request: pytest.FixtureRequest) -> int:
    """The way to a decision: all policies at once, or those whose scope matches."""
    found: int = request.param
    return found


class TestDecisions:
    def test_explicit_and_implicit(self, full):
        """H34: an implicit deny has no determining policies."""
        forbid = static("F", "forbid(principal, action, resource);")
        assert asked(full=full) == Verdict(allowed=False, policies=(), errors=())
        assert asked(static("P2", PERMIT), static("P1", PERMIT), full=full) == Verdict(
            allowed=True, policies=("P1", "P2"), errors=()
        )
        assert asked(static("P", PERMIT), forbid, full=full) == Verdict(allowed=False, policies=("F",), errors=())

    def test_the_id_is_the_stores_and_no_annotation(self, full):
        """H32."""
        verdict = asked(static("SP9", f'@id("mine") {PERMIT}'), static("SP8", f'@id("policy0") {PERMIT}'), full=full)
        assert verdict.policies == ("SP8", "SP9")

    def test_a_policy_that_errs_is_skipped_and_named(self, full):
        """H33: allowed, with errors."""
        verdict = asked(
            static("P", PERMIT),
            static("F", "forbid(principal, action, resource) when { principal.ghost };"),
            linked("L", "forbid(principal == ?principal, action, resource) when { context.ghost };", principal=ANN),
            full=full,
        )
        assert (verdict.allowed, verdict.policies) == (True, ("P",))
        assert verdict.errors == (
            'error while evaluating policy `F`: `App::User::"ann"` does not have the attribute `ghost`',
            "error while evaluating policy `L`: record does not have the attribute `ghost`",
        )

    def test_what_a_policy_says_in_an_error_is_no_policys_name(self, full):
        verdict = asked(
            static("P", 'permit(principal, action, resource) when { context["policy `policy0`"] };'), full=full
        )
        assert verdict.errors == (
            "error while evaluating policy `P`: record does not have the attribute `policy `policy0``",
        )

    def test_comments_and_text_without_a_line_end(self, full):
        verdict = asked(static("A", f"{PERMIT} // the last word"), static("B", f"/// first\n{PERMIT}"), full=full)
        assert verdict.policies == ("A", "B")

    def test_links(self, full):
        verdict = asked(
            linked("L1", TEMPLATE, principal=ANN, resource=BOOK),
            linked("L2", TEMPLATE, principal=BOB, resource=BOOK),
            linked("L3", TEMPLATE, principal=ANN, resource=DOC),
            static("P", 'permit(principal is App::User in App::Group::"all", action, resource);'),
            full=full,
        )
        assert verdict.policies == ("L1", "L3", "P")

    def test_groups_of_actions_come_from_the_schema(self, full):
        """H36."""
        policy = static("P", 'permit(principal, action in App::Action::"Any", resource);')
        assert asked(policy, full=full).allowed
        assert not asked(policy, full=full, action=WRITE).allowed
        assert not engine(policy, full=full, schema=None).decide(question()).allowed

    def test_an_action_in_a_condition(self, full):
        policy = static("P", 'permit(principal, action, resource) when { App::Action::"Read" in App::Action::"Any" };')
        assert asked(policy, full=full, action=WRITE).allowed

    @pytest.mark.parametrize("missing", ["principal", "action", "resource"])
    def test_an_omitted_member_matches_no_scope(self, full, missing):
        constraints = {
            "principal": 'in App::Group::"all"',
            "action": 'in App::Action::"Any"',
            "resource": "is App::Doc",
        }
        heads = [f"{name} {constraints[name]}" if name == missing else name for name in constraints]
        verdict = asked(
            static("scoped", f"permit({', '.join(heads)});"),
            static("reads", f"permit(principal, action, resource) when {{ {missing}.ghost }};"),
            static("open", PERMIT),
            full=full,
            **{missing: None},
        )
        assert verdict.policies == ("open",)
        assert [text.split(":")[0] for text in verdict.errors] == ["error while evaluating policy `reads`"]

    def test_omitted_members_are_two_entities(self, full):
        policy = static("P", "permit(principal, action, resource) when { principal == resource };")
        assert not asked(policy, full=full, principal=None, resource=None).allowed

    @pytest.mark.parametrize(
        ("context", "given"),
        [
            pytest.param("[]", KNOWN, id="context-is-no-record"),
            pytest.param('{"a": null}', KNOWN, id="null"),
            pytest.param('{"a": 1.5}', KNOWN, id="fraction"),
            pytest.param("{}", entities(a=(ANN, [STAFF]), s=(STAFF, [ANN])), id="circle"),
        ],
    )
    def test_no_decision_is_no_deny(self, full, context, given):
        """H46."""
        with pytest.raises(ValidationError):
            asked(static("P", PERMIT), full=full, context=context, given=given)

    @pytest.mark.parametrize(
        "context",
        [
            '{"token": {"__extn": {"fn": "ip", "arg": "secret"}}}',
            '{"n": "secret"}',
            '{"r": "secret"}',
            '{"n": {"__entity": {"type": "App::User", "id": "secret"}}}',
            '"secret"',
        ],
    )
    def test_the_engines_words_do_not_repeat_the_request(self, context):
        made = engine(static("P", PERMIT), schema=SCHEMA.replace('"appliesTo": {', f'"appliesTo": {{{DECLARED}, '))
        with pytest.raises(ValidationError) as caught:
            made.decide(question(context=context), strict=True)
        assert "secret" not in str(caught.value.body())


class TestStrictRequests:
    def test_declared(self):
        made = engine(static("P", 'permit(principal in App::Group::"all", action in App::Action::"Any", resource);'))
        assert made.decide(question(), strict=True).allowed

    @pytest.mark.parametrize(
        "changes",
        [
            pytest.param({"principal": EntityUid("App::Robot", "r")}, id="principal"),
            pytest.param({"action": EntityUid("App::Action", "Burn")}, id="action"),
            pytest.param({"context": '{"a": 1}'}, id="context"),
            pytest.param({"principal": None}, id="omitted"),
            pytest.param({"given": {ANN: cedar_entity(ANN, attributes={"zz": 1}, parents=[])}}, id="attribute"),
        ],
    )
    def test_undeclared(self, changes):
        made = engine(static("P", PERMIT))
        assert made.decide(question(**changes)).allowed
        with pytest.raises(ValidationError):
            made.decide(question(**changes), strict=True)


class TestChanges:
    def test_policies_come_change_and_go(self, full):
        made = engine(static("A", PERMIT), static("B", PERMIT), full=full)
        assert made.decide(question()).policies == ("A", "B")
        made.update(
            changes(5, static("C", PERMIT), static("B", PERMIT.replace("permit", "forbid")), deleted=["A", "no"])
        )
        assert (made.revision, len(made)) == (5, 2)
        assert made.decide(question()).policies == ("B",)
        made.update(changes(6, deleted=["B"]))
        assert made.decide(question()).policies == ("C",)

    def test_a_template_changes_its_links(self, full):
        """H26: the state tells the links of a template that changed."""
        made = engine(linked("L", TEMPLATE, principal=ANN, resource=BOOK), full=full)
        assert made.decide(question()).allowed
        made.update(changes(2, linked("L", TEMPLATE.replace(";", " unless { true };"), principal=ANN, resource=BOOK)))
        assert not made.decide(question()).allowed

    def test_a_schema_changes_the_groups(self, full):
        made = engine(static("P", 'permit(principal, action in App::Action::"Any", resource);'), full=full)
        assert made.decide(question()).allowed
        made.update(changes(2, schema=SCHEMA.replace('"memberOf": [{"id": "Reading"}],', "")))
        assert not made.decide(question()).allowed
        made.update(changes(3, schema=None))
        assert not made.decide(question()).allowed

    def test_a_store_that_is_seen_as_it_was_before(self):
        """Where reads begin to lag behind, what is seen goes back."""

        class Seen:
            def __init__(self) -> None:
                self.told = {
                    1: changes(1, static("A", PERMIT)),
                    2: changes(2, static("A", PERMIT), static("B", PERMIT)),
                }
                self.at = 2

            def revision(self, _: str) -> int:
                return self.at

            def changes(self, _: str, since: int) -> Changes:
                assert since == 0
                return self.told[self.at]

        seen: Any = Seen()
        engines = Engines()
        assert engines.of(seen, "S").decide(question()).policies == ("A", "B")
        seen.at = 1
        assert engines.of(seen, "S").decide(question()).policies == ("A",)

    def test_stores_beyond_what_is_kept_are_read_again(self):
        class Seen:
            def __init__(self) -> None:
                self.read: list[str] = []

            def revision(self, _: str) -> int:
                return 1

            def changes(self, store_id: str, _: int) -> Changes:
                self.read.append(store_id)
                return changes(1)

        seen: Any = Seen()
        engines = Engines()
        for n in [*range(KEPT_STORES), 0, KEPT_STORES, 0, 1]:
            engines.of(seen, str(n))
        assert seen.read[KEPT_STORES:] == [str(KEPT_STORES), "1"]

    def test_one_change_leaves_the_others(self):
        made = engine(
            *(static(f"P{n}", f'permit(principal == App::User::"u{n}", action, resource);') for n in range(50))
        )
        before = dict(made._rows)  # what is held, for it is the point that it is held on
        made.update(changes(2, static("P7", PERMIT)))
        assert [id for id, row in made._rows.items() if row is not before[id]] == ["P7"]


UIDS = [ANN, BOB, STAFF, ALL, DOC, BOOK]
ACTIONS = [READ, WRITE, EntityUid("App::Action", "Any"), EntityUid("App::Action", "Reading")]
CONDITIONS = [
    "",
    " when { principal.age > 18 }",
    " when { resource.a }",
    ' when { principal in App::Group::"all" }',
    " unless { context.ok }",
    " when { context.ok } unless { principal == resource }",
    ' when { App::User::"bob".a }',
    " when { action in resource }",
]


def head(name: str, uids: Sequence[EntityUid], *, types: bool = True) -> st.SearchStrategy[str]:
    uid = st.sampled_from(uids).map(str)
    kind = st.sampled_from(uids).map(lambda one: one.type)
    plain = st.just(name) | uid.map(lambda u: f"{name} == {u}") | uid.map(lambda u: f"{name} in {u}")
    if not types:
        several = st.lists(uid, max_size=2).map(lambda found: f"{name} in [{', '.join(found)}]")
        return plain | several
    return (
        plain | kind.map(lambda t: f"{name} is {t}") | st.tuples(kind, uid).map(lambda f: f"{name} is {f[0]} in {f[1]}")
    )


STATEMENTS = st.builds(
    lambda effect, p, a, r, rest: f"{effect}({p}, {a}, {r}){rest};",
    st.sampled_from(["permit", "forbid"]),
    head("principal", UIDS),
    head("action", ACTIONS, types=False),
    head("resource", [*UIDS, *ACTIONS]),
    st.sampled_from(CONDITIONS),
)
LINKS = st.builds(
    lambda effect, slots, a, rest, values: (
        f"{effect}(principal{slots[0]}, {a}, resource{slots[1]}){rest};",
        {
            name: value
            for name, value in zip(("principal", "resource"), values, strict=True)
            if slots[name == "resource"]
        },
    ),
    st.sampled_from(["permit", "forbid"]),
    st.sampled_from([(" == ?principal", ""), ("", " in ?resource"), (" in ?principal", " == ?resource")]),
    head("action", ACTIONS, types=False),
    st.sampled_from(CONDITIONS),
    st.tuples(st.sampled_from(UIDS), st.sampled_from(UIDS)),
)


@given(
    statements=st.lists(STATEMENTS, max_size=6),
    links=st.lists(LINKS, max_size=4),
    above=st.dictionaries(
        st.sampled_from(UIDS), st.lists(st.sampled_from([*UIDS, *ACTIONS]), max_size=2, unique=True), max_size=5
    ),
    principal=st.none() | st.sampled_from([*UIDS, *ACTIONS]),
    action=st.none() | st.sampled_from([*ACTIONS, EntityUid("App::Action", "Burn")]),
    resource=st.none() | st.sampled_from([*UIDS, *ACTIONS]),
    context=st.sampled_from(["{}", '{"ok": true}', '{"ok": 1}']),
)
def test_candidates_answer_as_the_whole_set(statements, links, above, principal, action, resource, context):
    """Verdict, determining policies and errors, asked of cedarpy with everything in one set of texts."""
    records = [static(f"S{place}", text) for place, text in enumerate(statements)]
    records += [linked(f"L{place}", text, **values) for place, (text, values) in enumerate(links)]
    given = {uid: cedar_entity(uid, attributes={"age": 20}, parents=parents) for uid, parents in above.items()}
    asking = question(principal=principal, action=action, resource=resource, given=given, context=context)
    made = engine(*records, full=0)
    try:
        expected = whole_set(records, asking, made._unspecified)
    except ValueError:
        with pytest.raises(ValidationError):
            made.decide(asking)
        return
    verdict = made.decide(asking)
    assert verdict == expected
    assert engine(*records).decide(asking).allowed == expected.allowed


def whole_set(records: Iterable[PolicyRecord], asking: Question, unspecified: str) -> Verdict:
    """The engine's answer without any help of ours: slots are written into the text."""
    texts = {record.id: filled(record) for record in records}
    ids = dict(zip((f"policy{place}" for place in range(len(texts))), texts, strict=True))
    known = cedarpy.Entities.from_json_str("[]", cedarpy.Schema.from_json_str(SCHEMA))
    known = known.with_added_json_str(json.dumps(list(asking.entities.values())))
    names: Mapping[str, EntityUid | None] = {
        "principal": asking.principal,
        "action": asking.action,
        "resource": asking.resource,
    }
    request = {
        name: {"type": uid.type, "id": uid.id} if uid is not None else {"type": unspecified, "id": name}
        for name, uid in names.items()
    }
    answer = cedarpy.is_authorized({**request, "context": asking.context}, "\n".join(texts.values()), known)
    if answer.decision is cedarpy.Decision.NoDecision:
        raise ValueError(answer.diagnostics.errors)
    errors = (text.split("`", 2) for text in answer.diagnostics.errors)
    return Verdict(
        allowed=answer.allowed,
        policies=tuple(sorted(ids[reason] for reason in answer.diagnostics.reasons)),
        errors=tuple(sorted(f"{before}`{ids[name]}`{after}" for before, name, after in errors)),
    )


def filled(record: PolicyRecord) -> str:
    return record.statement.replace("?principal", str(record.principal)).replace("?resource", str(record.resource))
