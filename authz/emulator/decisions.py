"""`IsAuthorized`, `IsAuthorizedWithToken` and their batches (API reference, the operations of these names).

What is common: an answer is a decision with the policies that brought it about, as objects, and with the errors of the
policies that were skipped. A request that cannot be evaluated is a ValidationException for the whole call, never a
decision.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from authz.core.cedar_schema import RecordType, Schema
from authz.core.model import EntityUid
from authz.emulator.engine import Question, StoreEngine, Verdict
from authz.emulator.entities import Entities, cedar_entities, cedar_entity
from authz.emulator.errors import ValidationError
from authz.emulator.issuer_keys import key_place
from authz.emulator.operations.common import identifier
from authz.emulator.services import Services
from authz.emulator.subjects import Subject, subject_of
from authz.emulator.tokens import FIELDS, Terms, terms_of, verified_claims
from authz.emulator.values import action_uid, cedar_context, entity_uid, is_action

MAX_REQUESTS = 30
"""Of a batch (API reference, `BatchIsAuthorized`; the service model does not say it)."""
MAX_ENTITIES = 100
"""Principals, and resources, of a batch."""


async def is_authorized(services: Services, given: Mapping[str, Any]) -> dict[str, Any]:
    """IsAuthorized."""
    engine = _engine(services, given)
    entities = _without_actions(cedar_entities(given.get("entities")))
    question = _question(given, entities)
    return _told(engine.decide(question, strict=services.settings.strict_requests))


async def batch_is_authorized(services: Services, given: Mapping[str, Any]) -> dict[str, Any]:
    """BatchIsAuthorized."""
    requests = _requests(given)
    engine = _engine(services, given)
    entities = _without_actions(cedar_entities(given.get("entities")))
    questions = [_question(request, entities, f"/requests/{place}") for place, request in enumerate(requests)]
    if len({one.principal for one in questions}) > 1 and len({one.resource for one in questions}) > 1:
        words = "expected the same principal in all requests, or the same resource"
        raise ValidationError([("/requests", words)])
    _check_entities(entities, questions)
    strict = services.settings.strict_requests
    verdicts = [engine.decide(question, strict=strict) for question in questions]
    return {"results": _results(requests, verdicts)}


async def is_authorized_with_token(services: Services, given: Mapping[str, Any]) -> dict[str, Any]:
    """IsAuthorizedWithToken."""
    subject, terms = await _subject(services, given)
    engine = _engine(services, given)
    entities = _along_token(cedar_entities(given.get("entities")), terms)
    question = _token_question(given, entities, subject, services, engine)
    verdict = engine.decide(question, strict=services.settings.strict_requests)
    return {**_told(verdict), "principal": identifier(subject.principal)}


async def batch_is_authorized_with_token(services: Services, given: Mapping[str, Any]) -> dict[str, Any]:
    """BatchIsAuthorizedWithToken."""
    requests = _requests(given)
    subject, terms = await _subject(services, given)
    engine = _engine(services, given)
    entities = _along_token(cedar_entities(given.get("entities")), terms)
    if len(entities) > MAX_ENTITIES:
        raise ValidationError([("/entities", f"expected at most {MAX_ENTITIES} resources")])
    verdicts = []
    for place, request in enumerate(requests):
        question = _token_question(request, entities, subject, services, engine, f"/requests/{place}")
        verdicts.append(engine.decide(question, strict=services.settings.strict_requests))
    return {"principal": identifier(subject.principal), "results": _results(requests, verdicts)}


# --- what is asked


def _engine(services: Services, given: Mapping[str, Any]) -> StoreEngine:
    store = services.state.store(given["policyStoreId"])
    return services.engines.of(services.state, store.id)


def _requests(given: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
    requests: Sequence[Mapping[str, Any]] = given["requests"]
    if not 1 <= len(requests) <= MAX_REQUESTS:
        raise ValidationError([("/requests", f"expected 1 to {MAX_REQUESTS} requests, found {len(requests)}")])
    return requests


def _question(request: Mapping[str, Any], entities: Entities, path: str = "") -> Question:
    principal = request.get("principal")
    return Question(
        principal=entity_uid(principal, f"{path}/principal") if principal is not None else None,
        action=_action(request, path),
        resource=_resource(request, path),
        context=cedar_context(request.get("context"), f"{path}/context").text(),
        entities=entities,
    )


def _token_question(
    request: Mapping[str, Any],
    entities: Entities,
    subject: Subject,
    services: Services,
    engine: StoreEngine,
    path: str = "",
) -> Question:
    action = _action(request, path)
    context = cedar_context(request.get("context"), f"{path}/context")
    if subject.token is not None and "token" in context.members:
        raise ValidationError([(f"{path}/context", "`token` is what the access token says; it cannot be defined here")])
    if services.settings.strict_requests and engine.schema is not None:
        subject = _declared(subject, action, engine.schema)
    principal = cedar_entity(subject.principal, attributes=subject.attributes, parents=subject.groups)
    groups = {group: cedar_entity(group, attributes={}, parents=()) for group in subject.groups}
    return Question(
        principal=subject.principal,
        action=action,
        resource=_resource(request, path),
        context=context.text(subject.token),
        entities={**entities, **groups, subject.principal: principal},
    )


def _action(request: Mapping[str, Any], path: str) -> EntityUid | None:
    action = request.get("action")
    return action_uid(action, f"{path}/action") if action is not None else None


def _resource(request: Mapping[str, Any], path: str) -> EntityUid | None:
    resource = request.get("resource")
    return entity_uid(resource, f"{path}/resource") if resource is not None else None


def _without_actions(entities: Entities) -> Entities:
    if any(map(is_action, entities)):
        raise ValidationError([("/entities", "actions cannot be defined in Entities; the schema defines them")])
    return entities


def _check_entities(entities: Entities, questions: Sequence[Question]) -> None:
    """At most 100 principals and 100 resources. What may be either counts for the sum alone."""
    principals = {question.principal.type for question in questions if question.principal is not None}
    resources = {question.resource.type for question in questions if question.resource is not None}
    found = Counter(uid.type for uid in entities)
    for name, types in (("principals", principals - resources), ("resources", resources - principals)):
        if sum(found[kind] for kind in types) > MAX_ENTITIES:
            raise ValidationError([("/entities", f"expected at most {MAX_ENTITIES} {name}")])
    if len(entities) > 2 * MAX_ENTITIES:
        words = f"expected at most {MAX_ENTITIES} principals and {MAX_ENTITIES} resources"
        raise ValidationError([("/entities", words)])


# --- along a token


async def _subject(services: Services, given: Mapping[str, Any]) -> tuple[Subject, Terms]:
    store = services.state.store(given["policyStoreId"])
    texts = {kind: given[name] for kind, name in FIELDS.items() if given.get(name) is not None}
    if not texts:
        raise ValidationError([("", "expected an identityToken, an accessToken or both")])
    source = services.state.identity_source(store.id)
    if source is None:
        raise ValidationError([("", "the policy store has no identity source")])
    terms, settings = terms_of(source), services.settings
    place = key_place(terms.issuer, settings.keys, cognito=terms.cognito, allow_http=settings.http_issuers)
    now = services.clock.now()
    tokens = {kind: await verified_claims(text, kind, terms, services.keys, place, now) for kind, text in texts.items()}
    return subject_of(tokens, terms), terms


def _along_token(entities: Entities, terms: Terms) -> Entities:
    """Resources only; actions may be named and are defined by the schema.

    The token alone says who the principal is and what groups it is in, so none of their types can be given.
    """
    found: Entities = {}
    for uid, entity in entities.items():
        if uid.type == terms.principal_type:
            raise ValidationError(message=f"PrincipalEntityType {uid.type} cannot be defined in Entities")
        if uid.type == terms.group_type:
            raise ValidationError(message=f"GroupEntityType {uid.type} cannot be defined in Entities")
        if not is_action(uid):
            found[uid] = entity
        elif entity.get("attrs") or entity.get("parents") or entity.get("tags"):
            words = "an action in Entities is an identifier only; the schema defines it"
            raise ValidationError([("/entities", words)])
    return found


def _declared(subject: Subject, action: EntityUid | None, schema: Schema) -> Subject:
    """What the schema declares of a token's claims: a check against it would refuse every token, for all have `iat`."""
    entity = schema.entities.get(subject.principal.type)
    declared = entity.attributes if entity is not None else {}
    attributes = {name: value for name, value in subject.attributes.items() if name in declared}
    token = subject.token
    act = schema.actions.get((action.type, action.id)) if action is not None else None
    if token is not None and act is not None:
        kind = act.context.attributes.get("token")
        if kind is None:
            token = None
        elif isinstance(kind.type, RecordType):
            names = kind.type.attributes
            token = {name: value for name, value in token.items() if name in names}
    return Subject(principal=subject.principal, groups=subject.groups, attributes=attributes, token=token)


# --- what is answered


def _told(verdict: Verdict) -> dict[str, Any]:
    return {
        "decision": "ALLOW" if verdict.allowed else "DENY",
        "determiningPolicies": [{"policyId": id} for id in verdict.policies],
        "errors": [{"errorDescription": text} for text in verdict.errors],
    }


def _results(requests: Sequence[Mapping[str, Any]], verdicts: Sequence[Verdict]) -> list[dict[str, Any]]:
    return [{"request": request, **_told(verdict)} for request, verdict in zip(requests, verdicts, strict=True)]
