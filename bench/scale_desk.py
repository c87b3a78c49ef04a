"""Ten policies that are all candidates of each question, and documents of three attributes: for `decide` and `many`.

The reference is `cedarpy`, called directly over a handle of all ten, so neither side is spared an evaluation.
"""

from __future__ import annotations

import itertools
import json
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import cedarpy

from authz.core.cedar_text import scan_statements
from authz.core.model import (
    Decision,
    Effect,
    Entity,
    EntitySlice,
    EntityUid,
    Policy,
    PolicySnapshot,
    Query,
    Value,
    Verdict,
)
from authz.pdp.cedar import CedarDecisionPoint
from authz.pdp.cedar_json import entity_to_json
from authz.pdp.compiled import compile_snapshot
from bench.answers import WrongAnswer
from bench.scale_job import answer

SEED = 20250101
USERS, DOCUMENTS, QUESTIONS = 16, 64, 256
DEPARTMENTS = ("finance", "accounting", "audit", "platform", "legal")
SCHEMA = """\
namespace Desk {
  entity Role;
  entity User in [Role] { department: String, clearance: Long };
  entity Document { owner: User, department: String, classification: Long };
  action Read appliesTo { principal: User, resource: Document, context: { mfa: Bool } };
}
"""
POLICIES = """\
@id("public") permit (principal in Desk::Role::"employee", action == Desk::Action::"Read", resource)
when { resource.classification == 0 };
@id("owner") permit (principal, action == Desk::Action::"Read", resource is Desk::Document)
when { resource.owner == principal };
@id("department") permit (principal in Desk::Role::"employee", action, resource is Desk::Document)
when { resource.department == principal.department && resource.classification <= 1 };
@id("cleared") permit (principal, action == Desk::Action::"Read", resource)
when { principal.clearance >= 3 && resource.classification <= 2 };
@id("audit") permit (principal is Desk::User, action == Desk::Action::"Read", resource is Desk::Document)
when { principal.department == "audit" };
@id("above") permit (principal is Desk::User, action == Desk::Action::"Read", resource)
when { context.mfa && principal.clearance > resource.classification };
@id("board") permit (principal, action, resource is Desk::Document)
when { principal.department == "board" };
@id("secret-needs-mfa") forbid (principal, action, resource is Desk::Document)
when { resource.classification >= 3 }
unless { context.mfa };
@id("far-above") forbid (principal, action == Desk::Action::"Read", resource)
when { resource.classification > principal.clearance + 1 };
@id("outside") forbid (principal is Desk::User, action, resource)
when { principal.clearance < 0 };
"""
READ = EntityUid("Desk::Action", "Read")
ROLE = Entity(uid=EntityUid("Desk::Role", "employee"))
IDS = tuple(statement.annotations["id"] for statement in scan_statements(POLICIES))


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """A question about a document of the store, with the engine's answer and what it is asked with directly."""

    user: Entity
    given: EntitySlice
    """The user with its role, as a verified token says it: one object for as long as the token lives."""
    document: Entity
    mfa: bool
    request: Mapping[str, Any]
    entities: cedarpy.Entities
    """User, role and document."""
    base: cedarpy.Entities
    """User and role."""
    allowed: bool
    reasons: Sequence[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Desk:
    """The decision point, the engine's handle of the same policies, and the questions."""

    point: CedarDecisionPoint
    policies: cedarpy.PolicySet
    cases: Sequence[Case]
    numbers: Iterator[int]
    """For documents that were never seen."""

    def fresh(self, case: Case) -> Query:
        """The question about a new document with the attributes of the case's: the answer is the same."""
        uid = EntityUid("Desk::Document", f"new-{next(self.numbers)}")
        document = Entity(uid=uid, attributes=dict(case.document.attributes))
        return query(case, uid, EntitySlice(entities=(document,)))


def desk() -> Desk:
    """Draws the questions; the same each time."""
    drawn = random.Random(SEED)
    users = [_user(number, drawn) for number in range(USERS)]
    documents = [_document(number, users, drawn) for number in range(DOCUMENTS)]
    policies = cedarpy.PolicySet.from_str(POLICIES)
    slices = {user.uid: EntitySlice(entities=(user, ROLE)) for user in users}
    cases = []
    for _ in range(QUESTIONS):
        user = drawn.choice(users)
        cases.append(_case(user, slices[user.uid], drawn.choice(documents), drawn.random() < 0.5, policies))
    return Desk(
        point=CedarDecisionPoint(compile_snapshot(snapshot(POLICIES, SCHEMA, documents))),
        policies=policies,
        cases=cases,
        numbers=itertools.count(),
    )


def snapshot(text: str, schema: str, entities: Sequence[Entity] = ()) -> PolicySnapshot:
    """Policies as a store gives them."""
    policies = tuple(
        Policy(
            id=one.annotations["id"],
            text=one.text,
            effect=Effect(one.effect),
            annotations=one.annotations,
            file="bench.cedar",
            line=one.line,
        )
        for one in scan_statements(text)
    )
    return PolicySnapshot(version="bench", policies=policies, schema=schema, entities=in_json(entities))


def in_json(entities: Sequence[Entity]) -> str:
    """Entities in Cedar's JSON form."""
    return json.dumps([entity_to_json(one) for one in entities])


def _user(number: int, drawn: random.Random) -> Entity:
    attributes: dict[str, Value] = {"department": drawn.choice(DEPARTMENTS), "clearance": drawn.randint(0, 3)}
    uid = EntityUid("Desk::User", f"user-{number:02}")
    return Entity(uid=uid, attributes=attributes, parents=frozenset({ROLE.uid}))


def _document(number: int, users: Sequence[Entity], drawn: random.Random) -> Entity:
    attributes: dict[str, Value] = {
        "owner": drawn.choice(users).uid,
        "department": drawn.choice(DEPARTMENTS),
        "classification": drawn.randint(0, 3),
    }
    return Entity(uid=EntityUid("Desk::Document", f"doc-{number:03}"), attributes=attributes)


def _case(user: Entity, given: EntitySlice, document: Entity, mfa: bool, policies: cedarpy.PolicySet) -> Case:  # noqa: FBT001
    asking = request(user.uid, document.uid, mfa=mfa)
    entities = cedarpy.Entities.from_json_str(in_json((user, ROLE, document)))
    allowed, reasons = answer(cedarpy.is_authorized(dict(asking), policies, entities), IDS)
    return Case(
        user=user,
        given=given,
        document=document,
        mfa=mfa,
        request=asking,
        entities=entities,
        base=cedarpy.Entities.from_json_str(in_json((user, ROLE))),
        allowed=allowed,
        reasons=reasons,
    )


def request(user: EntityUid, document: EntityUid, *, mfa: bool) -> dict[str, Any]:
    """The question as cedarpy takes it."""
    return {
        "principal": {"type": user.type, "id": user.id},
        "action": {"type": READ.type, "id": READ.id},
        "resource": {"type": document.type, "id": document.id},
        "context": {"mfa": mfa},
    }


def query(case: Case, resource: EntityUid, *more: EntitySlice) -> Query:
    """The question as a decision point takes it."""
    return Query(
        principal=case.user.uid,
        action=READ,
        resource=resource,
        context={"mfa": case.mfa},
        entities=(case.given, *more),
    )


def check(case: Case, decision: Decision) -> None:
    """Raises WrongAnswer unless the decision is the engine's."""
    right = decision.verdict is (Verdict.ALLOW if case.allowed else Verdict.DENY)
    if not right or list(decision.policies) != list(case.reasons) or decision.errors:
        raise WrongAnswer(f"{case.user.uid} reads {case.document.uid}: {decision}, not {case.allowed}, {case.reasons}")
