"""The local decision point keeps Cedar's semantics, and never takes an error for an answer."""

from __future__ import annotations

import json
from types import MappingProxyType

import cedarpy
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from authz.core.cedar_text import scan_statements
from authz.core.errors import (
    AttributesUnavailable,
    DecisionUnavailable,
    Misconfigured,
    PoliciesUnavailable,
    Reason,
)
from authz.core.model import (
    Decision,
    Effect,
    Entity,
    EntitySlice,
    EntityUid,
    Extension,
    Policy,
    PolicySnapshot,
    Query,
    TemplateLink,
    Verdict,
)
from authz.pdp.cedar import CedarDecisionPoint, CedarSettings
from authz.pdp.compiled import compile_snapshot
from authz.pdp.engine import Answer, Diagnostics
from tests.pdp.full_set import FullSet

SCHEMA = """
namespace N {
  entity Group in [Group];
  entity User in [Group] { level?: Long, mail?: String, manager?: User };
  entity Doc in [Folder] { owner?: User, rank?: Long, from?: ipaddr, labels?: Set<String> } tags String;
  entity Folder;
  action "reading";
  action "read" in ["reading"] appliesTo {
    principal: User, resource: Doc, context: { ip?: ipaddr, mfa?: Bool, token?: { scope?: Set<String>, n?: Long } }
  };
  action "write" appliesTo { principal: User, resource: Doc, context: {} };
}
"""
ENTITIES = [
    {"uid": {"type": "N::User", "id": "ann"}, "attrs": {"level": 3}, "parents": [{"type": "N::Group", "id": "staff"}]},
    {"uid": {"type": "N::Group", "id": "staff"}, "attrs": {}, "parents": [{"type": "N::Group", "id": "all"}]},
    {
        "uid": {"type": "N::Doc", "id": "1"},
        "attrs": {"owner": {"type": "N::User", "id": "bob"}, "from": "10.0.0.0/8", "labels": ["x"]},
        "parents": [{"type": "N::Folder", "id": "f"}],
        "tags": {"k": "v"},
    },
    {"uid": {"type": "N::User", "id": "bob"}, "attrs": {"manager": {"type": "N::User", "id": "ann"}}, "parents": []},
]
READ, WRITE = EntityUid("N::Action", "read"), EntityUid("N::Action", "write")
ANN, BOB, DOC = EntityUid("N::User", "ann"), EntityUid("N::User", "bob"), EntityUid("N::Doc", "1")


def snapshot(text, *, schema=SCHEMA, entities=ENTITIES, links=()):
    statements = scan_statements(text)
    rows = [
        (
            statement,
            Policy(
                id=statement.annotations.get("id", f"p#{number}"),
                text=statement.text,
                effect=Effect(statement.effect),
                annotations=statement.annotations,
                file="p.cedar",
                line=statement.line,
            ),
        )
        for number, statement in enumerate(statements, 1)
    ]
    return PolicySnapshot(
        version="v1",
        policies=tuple(policy for statement, policy in rows if not statement.is_template),
        templates=tuple(policy for statement, policy in rows if statement.is_template),
        links=tuple(links),
        schema=schema,
        schema_file="schema.cedarschema",
        entities=json.dumps(entities),
        entities_file="entities.json",
    )


def point(text, settings=None, **changes):
    return CedarDecisionPoint(compile_snapshot(snapshot(text, **changes)), settings or CedarSettings())


def query(principal=ANN, action=READ, resource=DOC, context=None, given=()):
    own = EntitySlice(entities=(Entity(uid=principal),))
    return Query(principal=principal, action=action, resource=resource, context=context or {}, entities=(own, *given))


async def decided(text, *arguments, **keywords):
    return await point(text).decide(query(*arguments, **keywords))


@pytest.mark.parametrize(
    ("text", "verdict", "policies"),
    [
        ('@id("a") permit(principal, action, resource);', "allow", ("a",)),
        ("permit(principal, action, resource);", "allow", ("p#1",)),
        ('@id("b") permit(principal, action, resource); @id("a") permit(principal, action, resource);', "allow", ("a", "b")),
        ('@id("p") permit(principal, action, resource); @id("f") forbid(principal, action, resource);', "deny", ("f",)),
        ('permit(principal == N::User::"bob", action, resource);', "deny", ()),
        ('@id("g") permit(principal in N::Group::"all", action, resource);', "allow", ("g",)),
        ('@id("g") permit(principal, action in N::Action::"reading", resource);', "allow", ("g",)),
        ('@id("g") permit(principal, action, resource in N::Folder::"f");', "allow", ("g",)),
        ('@id("g") permit(principal, action, resource) when { resource has owner && resource.owner has manager'
         ' && resource.owner.manager == principal };', "allow", ("g",)),
        ('@id("g") permit(principal, action, resource) when { resource has from'
         ' && ip("10.1.1.1").isInRange(resource.from) };', "allow", ("g",)),
        ('@id("g") permit(principal, action, resource) when { resource.hasTag("k") && resource.getTag("k") == "v" };',
         "allow", ("g",)),
        ('@id("g") permit(principal, action, resource) when { principal has level && principal.level == 3 };',
         "allow", ("g",)),
    ],
)  # fmt: skip
async def test_decisions_and_their_evidence(text, verdict, policies):
    decision = await decided(text)
    assert (decision.verdict.value, decision.policies, decision.errors) == (verdict, policies, ())
    assert decision.version == "v1"


async def test_no_policies_is_a_deny():
    assert (await decided("")).verdict is Verdict.DENY


async def test_context_reaches_the_policies():
    text = 'permit(principal, action == N::Action::"read", resource) when { context has ip && context.ip == ip("10.0.0.1") };'
    assert (await decided(text, context={"ip": Extension("ip", "10.0.0.1")})).verdict is Verdict.ALLOW
    assert (await decided(text, context={"ip": Extension("ip", "10.0.0.2")})).verdict is Verdict.DENY
    assert (await decided(text)).verdict is Verdict.DENY


async def test_token_claims_are_projected_onto_what_the_schema_declares():
    text = """permit(principal, action == N::Action::"read", resource)
              when { context has token && context.token has scope && context.token.scope.contains("docs") };"""
    token = {"scope": ("docs",), "iat": 5, "anything": {"deep": "x"}}
    decider = point(text)
    assert (await decider.decide(query(context={"token": token}))).verdict is Verdict.ALLOW
    assert (await decider.decide(query(context={"token": {"scope": ("x",)}}))).verdict is Verdict.DENY
    # an action whose context declares no token gets none
    assert (await decider.decide(query(action=WRITE, context={"token": token}))).verdict is Verdict.DENY


async def test_two_tokens_are_never_taken_for_each_other():
    text = 'permit(principal, action == N::Action::"read", resource) when { context has token && context.token has n && context.token.n == 1 };'
    decider = point(text)
    for _ in range(200):  # short-lived objects: their addresses are used again
        one, two = {"n": 1}, {"n": 2}
        assert (await decider.decide(query(context={"token": one}))).verdict is Verdict.ALLOW
        del one
        assert (await decider.decide(query(context={"token": two}))).verdict is Verdict.DENY


async def test_a_claim_of_another_type_than_declared_is_a_failure_not_a_skipped_forbid():
    text = """permit(principal, action, resource);
              forbid(principal, action == N::Action::"read", resource)
              when { context has token && context.token has n && context.token.n > 5 };"""
    with pytest.raises(AttributesUnavailable) as caught:
        await decided(text, context={"token": {"n": "6-secret"}})
    assert caught.value.reason is Reason.CLAIMS_MISMATCH
    assert "secret" not in caught.value.detail
    own = EntitySlice(entities=(Entity(uid=ANN, attributes={"level": "high"}),))
    with pytest.raises(AttributesUnavailable):
        await point(text).decide(Query(principal=ANN, action=READ, resource=DOC, entities=(own,)))


async def test_the_tokens_principal_and_the_stored_one_are_united_and_the_token_wins():
    text = """@id("level") permit(principal, action == N::Action::"read", resource) when { principal has level && principal.level == 9 };
              @id("mail") permit(principal, action == N::Action::"read", resource) when { principal has mail && principal.mail == "a@x" };
              @id("stored") permit(principal in N::Group::"all", action, resource);
              @id("own") permit(principal in N::Group::"extra", action, resource);"""
    own = EntitySlice(
        entities=(
            Entity(
                uid=ANN,
                attributes={"level": 9, "mail": "a@x", "undeclared": "x"},
                parents=frozenset({EntityUid("N::Group", "extra")}),
            ),
        )
    )
    decision = await point(text).decide(Query(principal=ANN, action=READ, resource=DOC, entities=(own,)))
    assert decision.policies == ("level", "mail", "own", "stored")
    assert decision.errors == ()


async def test_a_routes_parents_are_united_with_the_stored_resource():
    text = '@id("f") permit(principal, action, resource in N::Folder::"f"); @id("g") permit(principal, action, resource in N::Folder::"g");'
    extra = EntitySlice(entities=(Entity(uid=DOC, parents=frozenset({EntityUid("N::Folder", "g")})),))
    assert (await decided(text, given=(extra,))).policies == ("f", "g")


async def test_an_erring_forbid_is_skipped_and_told_or_fails_by_setting():
    text = """@id("yes") permit(principal, action, resource);
              @id("no") forbid(principal, action == N::Action::"write", resource) when { resource.rank > 1 };"""
    schema = SCHEMA.replace("rank?", "rank")  # validates, but the stored document has none
    decider = CedarDecisionPoint(compile_snapshot(snapshot(text, schema=schema, entities=[])))
    decision = await decider.decide(query(action=WRITE))
    assert decision.verdict is Verdict.ALLOW
    assert [(error.policy_id, error.effect) for error in decision.errors] == [("no", Effect.FORBID)]
    strict = CedarDecisionPoint(
        compile_snapshot(snapshot(text, schema=schema, entities=[])), CedarSettings(on_forbid_error="fail")
    )
    with pytest.raises(DecisionUnavailable) as caught:
        await strict.decide(query(action=WRITE))
    assert caught.value.reason is Reason.FORBID_ERROR


def answering(answer: Answer) -> CedarDecisionPoint:
    """A decision point whose engine gives this answer."""
    decider = point("permit(principal, action, resource);")
    decider._ask = lambda *_: answer
    return decider


async def test_an_engine_that_gives_up_is_a_failure_not_a_skipped_forbid():
    errors = ["error while evaluating policy `policy0`: recursion limit reached"]
    answer = Answer(decision="Allow", diagnostics=Diagnostics(reason=["policy0"], errors=errors))
    with pytest.raises(DecisionUnavailable, match="nested too deeply"):
        await answering(answer).decide(query())


async def test_an_id_that_reads_as_if_the_engine_gave_up_is_an_id():
    text = """permit(principal, action, resource);
              permit(principal, action, resource) when { resource.rank > 1 };"""
    decider = CedarDecisionPoint(compile_snapshot(snapshot(text, schema=None, entities=[])))
    for id in ("recursion limit reached", "error while evaluating policy `policy0`: recursion limit reached"):
        decision = await decider.decide(query(resource=EntityUid("N::Doc", id)))
        assert decision.verdict is Verdict.ALLOW
        assert len(decision.errors) == 1


async def test_a_panic_of_the_engine_is_a_failure():
    panic = type("PanicException", (BaseException,), {"__module__": "pyo3_runtime"})
    decider = point("permit(principal, action, resource);")

    def panics(*_: object) -> Answer:
        raise panic("index out of bounds: canary")

    decider._ask = panics
    with pytest.raises(DecisionUnavailable) as caught:
        await decider.decide(query())
    assert "canary" not in caught.value.detail
    assert caught.value.by_query


@pytest.mark.parametrize("decision", ["Allow", "NoDecision", "allow", "", "Permit"])
async def test_an_answer_that_is_not_plainly_one_is_a_failure(decision):
    with pytest.raises(DecisionUnavailable, match="no decision"):
        await answering(Answer(decision=decision, diagnostics=Diagnostics())).decide(query())
    denied = await answering(Answer(decision="Deny", diagnostics=Diagnostics())).decide(query())
    assert denied.verdict is Verdict.DENY


@pytest.mark.parametrize("decision", ["Allow", "Deny"])
async def test_an_answer_that_names_policies_that_were_not_asked_is_a_failure(decision):
    answer = Answer(decision=decision, diagnostics=Diagnostics(reason=["policy0", "policy1"]))
    with pytest.raises(DecisionUnavailable, match="no decision"):
        await answering(answer).decide(query())


async def test_no_decision_is_a_failure_and_repeats_nothing():
    decider = point("permit(principal, action, resource);", CedarSettings(validate_requests=True))
    with pytest.raises(DecisionUnavailable) as caught:
        await decider.decide(query(resource=EntityUid("N::Secret", "canary")))
    assert "canary" not in caught.value.detail
    lenient = point("permit(principal, action, resource) when { context has ip };")
    with pytest.raises(DecisionUnavailable):
        await lenient.decide(query(context={"ip": Extension("ip", "canary")}))


async def test_a_policy_set_that_is_too_old_decides_nothing():
    compiled = compile_snapshot(snapshot("permit(principal, action, resource);"))
    age = [5.0]
    decider = CedarDecisionPoint(compiled, CedarSettings(max_age=10), age=lambda: age[0])
    assert (await decider.decide(query())).age == 5.0
    age[0] = 11.0
    with pytest.raises(PoliciesUnavailable):
        await decider.decide(query())


async def test_deny_messages_come_with_denials_only():
    text = '@id("f") @deny_message("not now") forbid(principal, action, resource) when { context has mfa };'
    text = text.replace("action,", 'action == N::Action::"read",')
    assert (await decided(text, context={"mfa": True})).messages == ("not now",)


async def test_templates_and_links_keep_their_ids():
    text = """@id("t") permit(principal == ?principal, action, resource);
              @id("s") forbid(principal, action, resource) when { false };"""
    links = [
        TemplateLink(id="policy0", template_id="t", values={"?principal": ANN}),
        TemplateLink(id="l2", template_id="t", values={"?principal": BOB}),
    ]
    decider = point(text, links=links)
    assert (await decider.decide(query())).policies == ("policy0",)
    assert (await decider.decide(query(principal=BOB))).policies == ("l2",)


async def test_many_queries_are_answered_in_order():
    decider = point('permit(principal == N::User::"ann", action, resource);')
    decisions = await decider.decide_many([query(), query(principal=BOB), query()])
    assert [decision.verdict.value for decision in decisions] == ["allow", "deny", "allow"]


@pytest.mark.parametrize(
    ("changes", "where", "message"),
    [
        ({"text": "permit(principal, action, resource) when { principal.nope };"}, "p.cedar:1", "attribute `nope`"),
        ({"text": "permit(principal, action resource);"}, "p.cedar:1", "unexpected token"),
        ({"text": "\n\npermit(principal is N::Nope, action, resource);"}, "p.cedar:3", "unrecognized entity type"),
        ({"text": '@id("a") permit(principal, action, resource);\n@id("a") permit(principal, action, resource);'},
         "p.cedar:2", "already used"),
        ({"schema": "namespace N { entity A in [B]; }"}, "schema.cedarschema", ""),
        ({"schema": "{"}, "schema.cedarschema", ""),
        ({"entities": {}}, "entities.json", "expected a list"),
        ({"entities": [{"uid": {"type": "N::Nope", "id": "x"}, "attrs": {}, "parents": []}]}, "entities.json", '`N::Nope::"x"`'),
        ({"entities": [{"uid": {"type": "N::User", "id": "x"}, "attrs": {"level": "1"}, "parents": []}]},
         "entities.json", "does not fit the schema"),
        ({"entities": [{"uid": {"type": "N::User", "id": "x"}, "attrs": {"level": None}, "parents": []}]},
         "entities.json", "expected text"),
        ({"entities": [ENTITIES[0], ENTITIES[0]]}, "entities.json", "already defined"),
        ({"entities": [{"uid": {"type": "N::User", "id": "x"}}]}, "entities.json", "expected the objects"),
        ({"entities": [
            {"uid": {"type": "N::Group", "id": "a"}, "attrs": {}, "parents": [{"type": "N::Group", "id": "b"}]},
            {"uid": {"type": "N::Group", "id": "b"}, "attrs": {}, "parents": [{"type": "N::Group", "id": "a"}]},
        ]}, "entities.json", "cycle"),
        ({"links": [TemplateLink(id="l", template_id="none", values={}, file="links.json")]}, "links.json", "no template"),
    ],
)  # fmt: skip
def test_what_cannot_be_compiled_is_told_with_its_place(changes, where, message):
    changes = {"text": "permit(principal, action, resource);", **changes}
    with pytest.raises(Misconfigured) as caught:
        compile_snapshot(snapshot(changes.pop("text"), **changes))
    found = [str(problem) for problem in caught.value.problems]
    assert any(text.startswith(where) and message in text for text in found), found


def test_all_problems_are_told_at_once():
    text = "permit(principal is N::A, action, resource);\npermit(principal is N::B, action, resource);"
    with pytest.raises(Misconfigured) as caught:
        compile_snapshot(snapshot(text, entities={}))
    places = {(problem.file, problem.line) for problem in caught.value.problems}
    assert places == {("p.cedar", 1), ("p.cedar", 2), ("entities.json", None)}


# The slice that a query gets must decide as the whole store would.

users = st.sampled_from(["ann", "bob", "cid"])
groups = st.sampled_from(["staff", "all", "x"])


@settings(max_examples=60, deadline=None)
@given(
    principal=users,
    parents=st.dictionaries(users, st.sets(groups, max_size=2), max_size=3),
    nested=st.sets(groups, max_size=2),
    owner=users,
    manager=st.one_of(st.none(), users),
    token_groups=st.sets(groups, max_size=2),
)
async def test_a_slice_decides_as_the_whole_store(principal, parents, nested, owner, manager, token_groups):
    text = """@id("in") permit(principal in N::Group::"all", action, resource);
              @id("own") permit(principal, action, resource) when { resource has owner && resource.owner == principal };
              @id("boss") permit(principal, action, resource)
                when { resource has owner && resource.owner has manager && resource.owner.manager == principal };
              @id("peer") forbid(principal, action, resource) when { resource has owner && resource.owner in N::Group::"x" };"""
    group = {name: {"type": "N::Group", "id": name} for name in ("staff", "all", "x")}
    stored = [
        {
            "uid": {"type": "N::User", "id": name},
            "attrs": {"manager": {"type": "N::User", "id": manager}} if manager else {},
            "parents": [group[g] for g in sorted(found)],
        }
        for name, found in parents.items()
    ]
    stored.append({"uid": group["staff"], "attrs": {}, "parents": [group[g] for g in sorted(nested - {"staff"})]})
    stored.append(
        {"uid": {"type": "N::Doc", "id": "1"}, "attrs": {"owner": {"type": "N::User", "id": owner}}, "parents": []}
    )
    uid = EntityUid("N::User", principal)
    own = EntitySlice(entities=(Entity(uid=uid, parents=frozenset(EntityUid("N::Group", g) for g in token_groups)),))
    compiled = compile_snapshot(snapshot(text, entities=stored))
    decision = await CedarDecisionPoint(compiled).decide(
        Query(principal=uid, action=READ, resource=DOC, entities=(own,))
    )
    assert decision == _whole(compiled, stored, uid, token_groups)


def _whole(compiled, stored, principal, token_groups):
    """cedarpy over everything, the token's groups added to the principal."""
    whole = FullSet.of(compiled.snapshot)
    rows = {(row["uid"]["type"], row["uid"]["id"]): json.loads(json.dumps(row)) for row in stored}
    empty = {"uid": {"type": principal.type, "id": principal.id}, "attrs": {}, "parents": []}
    row = rows.setdefault(tuple(principal), empty)
    row["parents"] += [{"type": "N::Group", "id": g} for g in token_groups]
    doc = rows[("N::Doc", "1")]
    doc["attrs"] = {"owner": {"__entity": doc["attrs"]["owner"]}}
    for row in rows.values():
        if "manager" in row["attrs"]:
            row["attrs"]["manager"] = {"__entity": row["attrs"]["manager"]}
    result = cedarpy.is_authorized(
        {
            "principal": {"type": principal.type, "id": principal.id},
            "action": {"type": "N::Action", "id": "read"},
            "resource": {"type": "N::Doc", "id": "1"},
            "context": {},
        },
        whole.handle,
        list(rows.values()),
    )
    assert result.diagnostics.errors == []
    return Decision(
        verdict=Verdict.ALLOW if result.allowed else Verdict.DENY,
        policies=tuple(sorted(whole.ids[name] for name in result.diagnostics.reasons)),
        version="v1",
    )


async def test_records_in_the_store_cannot_smuggle_entities():
    row = {
        "uid": {"type": "N::User", "id": "x"},
        "attrs": {"mail": {"__entity": {"type": "N::User", "id": "ann"}}},
        "parents": [],
    }
    with pytest.raises(Misconfigured):
        compile_snapshot(snapshot("", entities=[row]))


def test_core_values_may_be_any_mapping():
    from authz.pdp.cedar_json import to_json

    assert to_json(MappingProxyType({"a": (1, EntityUid("T", "x"))})) == {
        "a": [1, {"__entity": {"type": "T", "id": "x"}}]
    }


names = st.text(max_size=6)
cedar_values = st.recursive(
    st.one_of(
        st.text(max_size=10),
        st.booleans(),
        st.integers(-(2**63), 2**63 - 1),
        st.builds(EntityUid, names, names),
        st.builds(Extension, names, names),
    ),
    lambda inner: st.one_of(st.lists(inner, max_size=3).map(tuple), st.dictionaries(names, inner, max_size=3)),
    max_leaves=8,
)


@given(cedar_values)
def test_the_fast_text_is_the_json_of_the_value(value):
    from authz.pdp.cedar_json import to_json, to_text

    assert json.loads(to_text(value)) == json.loads(json.dumps(to_json(value)))
