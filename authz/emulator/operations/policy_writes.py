"""Making and changing policies (API reference: CreatePolicy, UpdatePolicy)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from authz.core.model import EntityUid
from authz.emulator.errors import Conflict, Resource, ResourceNotFound, ServiceQuotaExceeded, ValidationError
from authz.emulator.idempotency import remember, replay
from authz.emulator.operations.common import checked_name, new_id, uid_of
from authz.emulator.operations.policies import answer, missing
from authz.emulator.records import PolicyRecord, StoreRecord, TemplateRecord
from authz.emulator.services import Services
from authz.emulator.statements import DEFINITION, STATIC, linked_text, static_head, validate
from authz.emulator.values import is_type_name

LINKED = "/definition/templateLinked"


async def create_policy(services: Services, given: Mapping[str, Any]) -> dict[str, Any]:
    """Makes a static policy, or links one to a template."""
    kept = replay(services, "CreatePolicy", given)
    if kept is not None:
        return kept
    store = services.state.store(given["policyStoreId"])
    name, definition = checked_name(given.get("name")), given["definition"]
    if "static" in definition:
        policy, size = _static(services, store, definition["static"])
    else:
        policy, size = _linked(services, store, definition["templateLinked"])
    _refuse_taken(services, store.id, name, "")
    _refuse_too_much(services, policy, size)
    policy = replace(policy, name=name)
    told = answer(policy)
    with services.state.transaction():
        services.state.put_policy(policy, size)
        remember(services, "CreatePolicy", given, told)
    return told


async def update_policy(services: Services, given: Mapping[str, Any]) -> dict[str, Any]:
    """Changes a static policy's action clause and conditions, or any policy's name."""
    store = services.state.store(given["policyStoreId"])
    found = services.state.latest.policy(store.id, given["policyId"])
    if found is None:
        raise missing(given)
    changed, size = found, _size(found)
    if "definition" in given:
        changed = _changed(services, store, found, given["definition"]["static"])
        size = _size(changed)
        _refuse_too_much(services, changed, size, was=_size(found))
    name = given.get("name", found.name)
    name = checked_name(name) if name != "" else None
    _refuse_taken(services, store.id, name, found.id)
    changed = replace(changed, name=name, updated=services.clock.stamp())
    with services.state.transaction():
        services.state.put_policy(changed, size)
    return answer(changed)


def _static(services: Services, store: StoreRecord, given: Mapping[str, Any]) -> tuple[PolicyRecord, int]:
    statement = given["statement"]
    _refuse_too_long(services, statement)
    head = static_head(statement)
    _validate(services, store, statement)
    now = services.clock.stamp()
    policy = PolicyRecord(
        store_id=store.id,
        id=new_id(),
        type="STATIC",
        statement=statement,
        effect=head.effect,
        actions=head.actions,
        principal=head.principal,
        resource=head.resource,
        description=given.get("description"),
        created=now,
        updated=now,
    )
    return policy, _size(policy)


def _linked(services: Services, store: StoreRecord, given: Mapping[str, Any]) -> tuple[PolicyRecord, int]:
    template = services.state.latest.template(store.id, given["policyTemplateId"])
    if template is None:
        raise ResourceNotFound(Resource(given["policyTemplateId"], "POLICY_TEMPLATE"))
    values = {name: uid_of(given.get(name)) for name in ("principal", "resource")}
    _check_slots(template, values)
    now = services.clock.stamp()
    policy = PolicyRecord(
        store_id=store.id,
        id=new_id(),
        type="TEMPLATE_LINKED",
        statement=template.statement,
        slots=template.slots,
        effect=template.effect,
        actions=template.actions,
        principal=values["principal"] or template.principal,
        resource=values["resource"] or template.resource,
        template_id=template.id,
        created=now,
        updated=now,
    )
    _validate(services, store, linked_text(template, policy))
    return policy, _size(policy)


def _check_slots(template: TemplateRecord, values: Mapping[str, EntityUid | None]) -> None:
    """A value too many is as wrong as one that is missing."""
    if not any(values.values()):
        message = "No principal and no resource was provided. At least one must be provided"
        raise ValidationError([(LINKED, message)])
    wrong = [name for name, value in values.items() if (value is not None) != (name in template.slots)]
    # What is no name cannot be linked, and must never come into policy text.
    wrong += [name for name, value in values.items() if value is not None and not is_type_name(value.type)]
    if wrong:
        raise ValidationError([(f"{LINKED}/{name}", f"Invalid Parameter: {name}") for name in dict.fromkeys(wrong)])


def _changed(services: Services, store: StoreRecord, found: PolicyRecord, given: Mapping[str, Any]) -> PolicyRecord:
    if found.template_id is not None:
        message = "A template-linked policy cannot be updated: update its template"
        raise ValidationError([("/definition/static", message)])
    statement = given["statement"]
    _refuse_too_long(services, statement)
    head = static_head(statement)
    if not head.keeps(static_head(found.statement)):
        raise ValidationError([(STATIC, "An update cannot change the effect, the principal or the resource")])
    _validate(services, store, statement)
    description = given.get("description", found.description)
    return replace(found, statement=statement, actions=head.actions, description=description)


def _validate(services: Services, store: StoreRecord, statement: str) -> None:
    if store.mode == "STRICT":
        schema = services.state.latest.schema(store.id)
        validate(statement, schema.text if schema is not None else None, DEFINITION)


def _refuse_too_long(services: Services, statement: str) -> None:
    most = services.settings.limits.policy_bytes
    if len(statement.encode()) > most:
        raise ServiceQuotaExceeded(f"Policy is larger than {most} bytes", Resource("", "POLICY"))


def _refuse_taken(services: Services, store_id: str, name: str | None, own_id: str) -> None:
    taken = services.state.latest.policy(store_id, name) if name is not None else None
    if taken is not None and taken.id != own_id:
        raise Conflict("The name is in use", [Resource(taken.id, "POLICY")])


def _size(policy: PolicyRecord) -> int:
    """Bytes, as the quota counts them: of a link the values of its slots, not its template."""
    if policy.template_id is None:
        return len(policy.statement.encode())
    return sum(len(str(uid).encode()) for uid in (policy.principal, policy.resource) if uid is not None)


def _refuse_too_much(services: Services, policy: PolicyRecord, size: int, was: int = 0) -> None:
    there = services.state.latest.bytes_of_resource(policy.store_id, policy.resource) - was
    if there + size > services.settings.limits.resource_bytes:
        raise ServiceQuotaExceeded("Policy Size Per Resource Limit Exceeded.", Resource("", "POLICY"))
