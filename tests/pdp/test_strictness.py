"""What the schema is used for: one meaning in both syntaxes, lenient by default, strict by setting.

Cedar documentation, "Schema", "Authorization" (request and entity validation) and "Entities and context JSON format".
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pytest

from authz.core.cedar_schema import load_schema
from authz.core.cedar_text import scan_statements
from authz.core.errors import AuthzError, Reason, Unavailable
from authz.core.model import (
    Decision,
    Effect,
    Entity,
    EntitySlice,
    EntityUid,
    Policy,
    PolicySnapshot,
    Query,
    TemplateLink,
    Value,
    Verdict,
)
from authz.pdp.cedar import CedarDecisionPoint, CedarSettings
from authz.pdp.compiled import compile_snapshot

CEDAR = """
namespace N {
  type Address = { city: String, zip?: String };
  entity Group in [Group];
  entity Robot;
  entity Colour enum ["red", "green"];
  entity User in [Group] { level: Long, mail?: String, home?: Address };
  entity Doc in [Folder] { owner?: User, labels?: Set<String>, from?: ipaddr } tags String;
  entity Folder;
  action "reading" in ["anything"];
  action "anything";
  action "read" in ["reading"] appliesTo {
    principal: User, resource: Doc,
    context: { mfa?: Bool, token?: { scope?: Set<String>, n?: Long, act?: { sub?: String } } }
  };
  action "write" appliesTo { principal: [User, Robot], resource: Doc, context: {} };
}
"""


def _attribute(kind: str, *, required: bool = False, **more: Any) -> dict[str, Any]:
    return {"type": kind, "required": required, **more}


JSON = json.dumps(
    {
        "N": {
            "commonTypes": {
                "Address": {
                    "type": "Record",
                    "attributes": {"city": _attribute("String", required=True), "zip": _attribute("String")},
                }
            },
            "entityTypes": {
                "Group": {"memberOfTypes": ["Group"]},
                "Robot": {},
                "Colour": {"enum": ["red", "green"]},
                "User": {
                    "memberOfTypes": ["Group"],
                    "shape": {
                        "type": "Record",
                        "attributes": {
                            "level": _attribute("Long", required=True),
                            "mail": _attribute("String"),
                            "home": _attribute("Address"),
                        },
                    },
                },
                "Doc": {
                    "memberOfTypes": ["Folder"],
                    "shape": {
                        "type": "Record",
                        "attributes": {
                            "owner": _attribute("Entity", name="User"),
                            "labels": _attribute("Set", element={"type": "String"}),
                            "from": _attribute("Extension", name="ipaddr"),
                        },
                    },
                    "tags": {"type": "String"},
                },
                "Folder": {},
            },
            "actions": {
                "anything": {},
                "reading": {"memberOf": [{"id": "anything"}]},
                "read": {
                    "memberOf": [{"id": "reading"}],
                    "appliesTo": {
                        "principalTypes": ["User"],
                        "resourceTypes": ["Doc"],
                        "context": {
                            "type": "Record",
                            "attributes": {
                                "mfa": _attribute("Boolean"),
                                "token": _attribute(
                                    "Record",
                                    attributes={
                                        "scope": _attribute("Set", element={"type": "String"}),
                                        "n": _attribute("Long"),
                                        "act": _attribute("Record", attributes={"sub": _attribute("String")}),
                                    },
                                ),
                            },
                        },
                    },
                },
                "write": {
                    "appliesTo": {
                        "principalTypes": ["User", "Robot"],
                        "resourceTypes": ["Doc"],
                        "context": {"type": "Record", "attributes": {}},
                    }
                },
            },
        }
    }
)
SCHEMAS = {"cedar": CEDAR, "json": JSON}
FORMS = pytest.mark.parametrize("form", SCHEMAS)
READ, WRITE = EntityUid("N::Action", "read"), EntityUid("N::Action", "write")
READING, ANYTHING = EntityUid("N::Action", "reading"), EntityUid("N::Action", "anything")
ANN, DOC, STAFF = EntityUid("N::User", "ann"), EntityUid("N::Doc", "1"), EntityUid("N::Group", "staff")
BY_GROUP = '@id("by-group") permit(principal, action in N::Action::"anything", resource);'
BY_LEVEL = """@id("by-level") permit(principal is N::User, action == N::Action::"read", resource)
              when { principal.level > 2 };"""
ANYBODY = '@id("anybody") permit(principal, action, resource);'
MODES = {
    "lenient": CedarSettings(),
    "requests": CedarSettings(validate_requests=True),
    "entities": CedarSettings(validate_entities=True),
    "both": CedarSettings(validate_requests=True, validate_entities=True),
}
CANARY = "canary-5e1"


def compiled(text: str, schema: str | None = CEDAR, links: tuple[TemplateLink, ...] = ()) -> Any:
    statements = [
        (
            statement.is_template,
            Policy(
                id=statement.annotations["id"],
                text=statement.text,
                effect=Effect(statement.effect),
                annotations=statement.annotations,
            ),
        )
        for statement in scan_statements(text)
    ]
    return compile_snapshot(
        PolicySnapshot(
            version="v1",
            policies=tuple(policy for is_template, policy in statements if not is_template),
            templates=tuple(policy for is_template, policy in statements if is_template),
            links=links,
            schema=schema,
        )
    )


def ann(parents: tuple[EntityUid, ...] = (STAFF,), **attributes: Value) -> Entity:
    return Entity(uid=ANN, attributes={"level": 3, **attributes}, parents=frozenset(parents))


def query(
    *given: Entity,
    principal: EntityUid = ANN,
    action: EntityUid = READ,
    resource: EntityUid = DOC,
    context: Mapping[str, Value] | None = None,
) -> Query:
    entities = EntitySlice(entities=given or (ann(), Entity(uid=STAFF)))
    return Query(principal=principal, action=action, resource=resource, context=context or {}, entities=(entities,))


async def answer(point: CedarDecisionPoint, asked: Query) -> str:
    """The determining policies of an allow, `deny`, or the reason of a failure."""
    try:
        decision = await point.decide(asked)
    except Unavailable as error:
        assert CANARY not in str(error)
        return error.reason.value
    return " ".join(decision.policies) if decision.verdict is Verdict.ALLOW else "deny"


async def decision_of(point: CedarDecisionPoint, asked: Query) -> Decision:
    return await point.decide(asked)


# --- both syntaxes


def test_both_syntaxes_are_read_alike():
    assert load_schema(CEDAR) == load_schema(JSON)


FIT, MISFIT, NO_DECISION, CLAIMS = "by-group by-level", "entities_mismatch", "decision_unavailable", "claims_mismatch"
MATRIX: dict[str, tuple[Query, str, str, str]] = {
    # what is asked: (query, lenient, with requests held against the schema, with entities held against it)
    "all as declared": (query(), FIT, FIT, FIT),
    "every optional attribute": (
        query(ann(mail="a@x", home={"city": "Wien", "zip": "1010"}), context={"mfa": True}), FIT, FIT, FIT,
    ),
    "no entity at all": (query(Entity(uid=STAFF)), "by-group", "by-group", "by-group"),
    # entities
    "a required attribute is missing": (query(Entity(uid=ANN)), "by-group", "by-group", MISFIT),
    "an attribute is not declared": (query(ann(iat=5)), FIT, FIT, MISFIT),
    "an attribute is of another type": (query(ann(level=CANARY)), CLAIMS, CLAIMS, MISFIT),
    "an optional attribute is of another type": (query(ann(mail=5)), CLAIMS, CLAIMS, MISFIT),
    "a member of a record is missing": (query(ann(home={"zip": CANARY})), FIT, FIT, MISFIT),
    "a member of a record is not declared": (query(ann(home={"city": "Wien", "x": CANARY})), FIT, FIT, MISFIT),
    "a member of a record is of another type": (query(ann(home={"city": 5})), CLAIMS, CLAIMS, MISFIT),
    "a parent is of a type that may be none": (query(ann((EntityUid("N::Folder", "f"),))), FIT, FIT, MISFIT),
    "a parent is of no type of the schema": (query(ann((EntityUid("N::Nope", CANARY),))), FIT, FIT, MISFIT),
    "the resource has an attribute too many": (
        query(ann(), Entity(uid=DOC, attributes={"x": CANARY})), FIT, FIT, MISFIT,
    ),
    "the resource has a tag of another type": (query(ann(), Entity(uid=DOC, tags={"k": 5})), FIT, FIT, MISFIT),
    # the request
    "the context has what is not declared": (query(context={"x": CANARY}), FIT, NO_DECISION, FIT),
    "the context has another type": (query(context={"mfa": CANARY}), FIT, NO_DECISION, FIT),
    "claims that are not declared": (query(context={"token": {"iat": 5, "n": 1}}), FIT, FIT, FIT),
    "a claim of another type": (query(context={"token": {"n": CANARY}}), FIT, CLAIMS, FIT),
    "the resource is of no type of the schema": (
        query(resource=EntityUid("N::Nope", CANARY)), FIT, NO_DECISION, FIT,
    ),
    "the resource is of a type that the action does not take": (
        query(resource=EntityUid("N::Folder", CANARY)), FIT, NO_DECISION, FIT,
    ),
    "the principal is of no type of the schema": (
        query(principal=EntityUid("N::Nope", CANARY)), "by-group", NO_DECISION, "by-group",
    ),
    "the principal is of a type that the action does not take": (
        query(principal=EntityUid("N::Robot", "r")), "by-group", NO_DECISION, "by-group",
    ),
    "the action is not in the schema": (query(action=EntityUid("N::Action", CANARY)), "deny", NO_DECISION, "deny"),
    "the action is a group": (query(action=READING), "by-group", NO_DECISION, "by-group"),
}  # fmt: skip


@FORMS
@pytest.mark.parametrize("case", MATRIX)
async def test_what_does_not_fit_the_schema(form, case):
    asked, lenient, requests, entities = MATRIX[case]
    policies = compiled(BY_GROUP + BY_LEVEL, SCHEMAS[form])
    found = {mode: await answer(CedarDecisionPoint(policies, settings), asked) for mode, settings in MODES.items()}
    expected = {"lenient": lenient, "requests": requests, "entities": entities}
    assert {mode: found[mode] for mode in expected} == expected
    # Held against it in both ways, what fails in one of them fails.
    failures = {requests, entities} - {"by-group", FIT, "deny"}
    assert found["both"] in (failures or {requests})


async def test_the_answer_stays_the_same_when_it_is_asked_for_again():
    for asked, lenient, requests, entities in MATRIX.values():
        policies = compiled(BY_GROUP + BY_LEVEL)
        for mode, expected in {"lenient": lenient, "requests": requests, "entities": entities}.items():
            point = CedarDecisionPoint(policies, MODES[mode])
            assert [await answer(point, asked) for _ in range(3)] == [expected] * 3


@FORMS
@pytest.mark.parametrize("colour", ["red", "blue"])
async def test_an_id_that_an_enumeration_does_not_have_is_a_failure_in_a_strict_request(form, colour):
    schema = SCHEMAS[form]
    asked = query(resource=EntityUid("N::Colour", colour))
    strict = CedarDecisionPoint(compiled(ANYBODY, schema), MODES["requests"])
    assert await answer(strict, asked) == NO_DECISION
    assert await answer(CedarDecisionPoint(compiled(ANYBODY, schema)), asked) == "anybody"


# --- a failure that says what to do


@pytest.mark.parametrize(
    ("mode", "asked", "told"),
    [
        ("requests", query(resource=EntityUid("N::Nope", CANARY)), "schema"),
        ("requests", query(action=EntityUid("N::Action", CANARY)), "schema"),
        ("requests", query(context={"x": CANARY}), "schema"),
        ("entities", query(ann(level=CANARY)), "schema"),
        ("entities", query(ann(iat=CANARY)), "schema"),
        ("entities", query(Entity(uid=ANN, attributes={"mail": CANARY})), "schema"),
    ],
)
async def test_a_failure_of_strictness_says_what_is_wrong_and_repeats_no_value(mode, asked, told):
    point = CedarDecisionPoint(compiled(ANYBODY), MODES[mode])
    with pytest.raises(AuthzError) as caught:
        await point.decide(asked)
    assert isinstance(caught.value, Unavailable)
    assert caught.value.by_query
    assert told in caught.value.detail
    assert CANARY not in caught.value.detail


async def test_strict_entities_do_not_look_at_what_the_query_cannot_reach():
    stranger = Entity(uid=EntityUid("N::User", "bob"))
    point = CedarDecisionPoint(compiled(ANYBODY), MODES["entities"])
    assert await answer(point, query(ann(), stranger)) == "anybody"
    assert await answer(point, query(ann(), stranger, resource=stranger.uid)) == MISFIT


# --- action groups


GROUPS = {
    "scope": 'permit(principal, action in N::Action::"anything", resource)',
    "list": 'permit(principal, action in [N::Action::"write", N::Action::"anything"], resource)',
    "condition": 'permit(principal, action, resource) when { action in N::Action::"anything" }',
    "set": 'permit(principal, action, resource) when { action in [N::Action::"write", N::Action::"reading"] }',
}


@FORMS
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("place", GROUPS)
async def test_an_action_is_in_its_groups(form, mode, place):
    point = CedarDecisionPoint(compiled(f'@id("g") {GROUPS[place]};', SCHEMAS[form]), MODES[mode])
    assert await answer(point, query()) == "g"
    assert await answer(point, query(principal=ANN, action=WRITE)) == ("g" if place in ("list", "set") else "deny")


@FORMS
@pytest.mark.parametrize("mode", ["lenient", "entities"])
@pytest.mark.parametrize("side", ["principal", "resource"])
@pytest.mark.parametrize("place", ["scope", "condition"])
async def test_an_action_is_in_its_groups_wherever_it_stands(form, mode, side, place):
    # A schema takes no action as principal or resource, so no scope that names one validates; a link's value can.
    head = {
        "principal": "principal in ?principal, action, resource",
        "resource": "principal, action, resource in ?resource",
    }
    link = TemplateLink(id="g", template_id="t", values={f"?{side}": ANYTHING})
    policies = {
        "scope": compiled(f'@id("t") permit({head[side]});', SCHEMAS[form], (link,)),
        "condition": compiled(
            f'@id("g") permit(principal, action, resource) when {{ {side} in N::Action::"anything" }};', SCHEMAS[form]
        ),
    }
    point = CedarDecisionPoint(policies[place], MODES[mode])
    asked = {"principal": query(principal=READ, action=WRITE), "resource": query(resource=READ, action=WRITE)}[side]
    other = {"principal": query(principal=WRITE), "resource": query(resource=WRITE)}[side]
    assert await answer(point, asked) == "g"
    assert await answer(point, other) == "deny"


@FORMS
@pytest.mark.parametrize("mode", ["lenient", "requests"])
async def test_the_schemas_groups_count_and_no_others(form, mode):
    liar = Entity(uid=WRITE, parents=frozenset({ANYTHING}))
    point = CedarDecisionPoint(compiled(BY_GROUP, SCHEMAS[form]), MODES[mode])
    assert await answer(point, query(ann(), liar, action=WRITE)) == "deny"
    assert await answer(point, query(ann(), Entity(uid=READ))) == "by-group"


# --- what was left out


def left_out_query() -> Query:
    claims: dict[str, Value] = {"scope": ("a",), "jti": CANARY, "act": {"sub": "x", "iss": CANARY}}
    return query(ann(iat=5, home={"city": "Wien", "floor": 3}), context={"token": claims})


@FORMS
async def test_what_the_schema_does_not_declare_is_named_where_it_is_asked_for(form):
    policies = compiled(BY_LEVEL, SCHEMAS[form])
    asked = left_out_query()
    telling = CedarDecisionPoint(policies, CedarSettings(tell_left_out=True))
    expected = ("N::User.home.floor", "N::User.iat", "context.token.act.iss", "context.token.jti")
    for _ in range(2):
        assert (await decision_of(telling, asked)).left_out == expected
    assert (await decision_of(telling, query())).left_out == ()
    assert (await decision_of(CedarDecisionPoint(policies), asked)).left_out == ()


@FORMS
async def test_a_decision_is_the_same_whether_or_not_it_tells(form):
    policies = compiled(BY_GROUP + BY_LEVEL, SCHEMAS[form])
    for asked in (left_out_query(), query(), query(action=WRITE)):
        told = await decision_of(CedarDecisionPoint(policies, CedarSettings(tell_left_out=True)), asked)
        plain = await decision_of(CedarDecisionPoint(policies), asked)
        assert (told.verdict, told.policies, told.errors) == (plain.verdict, plain.policies, plain.errors)


async def test_without_a_schema_nothing_is_left_out():
    point = CedarDecisionPoint(compiled(ANYBODY, None), CedarSettings(tell_left_out=True))
    assert (await decision_of(point, left_out_query())).left_out == ()


# --- a forbid that errs


SKIPPED = {
    "static": ('@id("no") forbid(principal, action, resource) when { 9223372036854775807 + 1 > 0 };', ()),
    "link": (
        '@id("t") forbid(principal == ?principal, action, resource) when { 9223372036854775807 + 1 > 0 };',
        (TemplateLink(id="no", template_id="t", values={"?principal": ANN}),),
    ),
    "attribute": ('@id("no") forbid(principal is N::User, action, resource) when { principal.level > 5 };', ()),
}
ERRING = pytest.mark.parametrize("kind", SKIPPED)


def forbidding(kind: str, text: str, settings: CedarSettings) -> CedarDecisionPoint:
    forbid, links = SKIPPED[kind]
    return CedarDecisionPoint(compiled(text + forbid, CEDAR, links), settings)


@FORMS
@ERRING
async def test_a_forbid_that_errs_is_skipped_and_named(form, kind):
    forbid, links = SKIPPED[kind]
    point = CedarDecisionPoint(compiled(ANYBODY + forbid, SCHEMAS[form], links))
    decision = await decision_of(point, query(Entity(uid=ANN)))
    assert (decision.verdict, decision.policies) == (Verdict.ALLOW, ("anybody",))
    assert [(error.policy_id, error.effect) for error in decision.errors] == [("no", Effect.FORBID)]


@ERRING
async def test_a_forbid_that_errs_is_a_failure_by_setting(kind):
    point = forbidding(kind, ANYBODY, CedarSettings(on_forbid_error="fail"))
    with pytest.raises(Unavailable) as caught:
        await point.decide(query(Entity(uid=ANN)))
    assert caught.value.reason is Reason.FORBID_ERROR
    assert caught.value.by_query


@ERRING
async def test_a_forbid_whose_scope_does_not_match_cannot_err(kind):
    point = forbidding(kind, ANYBODY, CedarSettings(on_forbid_error="fail"))
    robot = EntityUid("N::Robot", "r")
    found = await answer(point, query(Entity(uid=robot), principal=robot, action=WRITE))
    assert found == (Reason.FORBID_ERROR if kind == "static" else "anybody")


async def test_a_permit_that_errs_grants_nothing_and_is_no_failure():
    point = CedarDecisionPoint(compiled(BY_LEVEL), CedarSettings(on_forbid_error="fail"))
    decision = await decision_of(point, query(Entity(uid=ANN)))
    assert decision.verdict is Verdict.DENY
    assert [(error.policy_id, error.effect) for error in decision.errors] == [("by-level", Effect.PERMIT)]


async def test_a_link_that_errs_is_told_by_its_own_id_and_not_by_its_templates():
    links = tuple(
        TemplateLink(id=id, template_id="t", values={"?principal": uid})
        for id, uid in {"policy0": ANN, "policy1": EntityUid("N::User", "bob")}.items()
    )
    text = ANYBODY + SKIPPED["link"][0]
    decision = await decision_of(CedarDecisionPoint(compiled(text, CEDAR, links)), query())
    assert [(error.policy_id, error.effect) for error in decision.errors] == [("policy0", Effect.FORBID)]
