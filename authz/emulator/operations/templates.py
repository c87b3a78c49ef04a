"""Policy templates (API reference: Create, Get, Update, Delete, ListPolicyTemplates)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from authz.emulator.errors import Conflict, Resource, ResourceNotFound, ServiceQuotaExceeded, ValidationError
from authz.emulator.idempotency import remember, replay
from authz.emulator.operations.common import checked_name, new_id, told
from authz.emulator.paging import paged
from authz.emulator.records import StoreRecord, TemplateRecord
from authz.emulator.services import Services
from authz.emulator.statements import TEMPLATE, template_head, validate


async def create_policy_template(services: Services, given: Mapping[str, Any]) -> dict[str, Any]:
    """Makes a template."""
    kept = replay(services, "CreatePolicyTemplate", given)
    if kept is not None:
        return kept
    store, limits = services.state.store(given["policyStoreId"]), services.settings.limits
    statement, name = given["statement"], checked_name(given.get("name"))
    if len(statement.encode()) > limits.policy_bytes:
        raise ServiceQuotaExceeded(
            f"Policy template is larger than {limits.policy_bytes} bytes", Resource("", "POLICY_TEMPLATE")
        )
    head = template_head(statement)
    _validate(services, store, statement)
    _refuse_taken(services, store.id, name, "")
    if services.state.latest.template_count(store.id) >= limits.templates:
        raise ServiceQuotaExceeded("Policy Template Limit Exceeded.", Resource(store.id, "POLICY_STORE"))
    now = services.clock.stamp()
    template = TemplateRecord(
        store_id=store.id,
        id=new_id(),
        name=name,
        statement=statement,
        slots=head.slots,
        effect=head.effect,
        actions=head.actions,
        principal=head.principal,
        resource=head.resource,
        description=given.get("description"),
        created=now,
        updated=now,
    )
    answer = _answer(template)
    with services.state.transaction():
        services.state.put_template(template)
        remember(services, "CreatePolicyTemplate", given, answer)
    return answer


async def get_policy_template(services: Services, given: Mapping[str, Any]) -> dict[str, Any]:
    """A template, with its statement."""
    store = services.state.store(given["policyStoreId"])
    found = services.state.seen.template(store.id, given["policyTemplateId"])
    if found is None:
        raise _missing(given)
    return _answer(found) | told(statement=found.statement, description=found.description, name=found.name)


async def update_policy_template(services: Services, given: Mapping[str, Any]) -> dict[str, Any]:
    """Changes the action clause and the conditions, of all its links at once."""
    store = services.state.store(given["policyStoreId"])
    found = services.state.latest.template(store.id, given["policyTemplateId"])
    if found is None:
        raise _missing(given)
    statement, most = given["statement"], services.settings.limits.policy_bytes
    if len(statement.encode()) > most:  # the operation has no error for a quota
        raise ValidationError([(TEMPLATE, f"Policy template is larger than {most} bytes")])
    head = template_head(statement)
    if not head.keeps(template_head(found.statement)):
        raise ValidationError([(TEMPLATE, "An update cannot change the effect, the principal or the resource")])
    _validate(services, store, statement)
    name = given.get("name", found.name)
    name = checked_name(name) if name != "" else None
    _refuse_taken(services, store.id, name, found.id)
    changed = replace(
        found,
        statement=statement,
        actions=head.actions,
        description=given.get("description", found.description),
        name=name,
        updated=services.clock.stamp(),
    )
    with services.state.transaction():
        services.state.put_template(changed)
    return _answer(changed)


async def delete_policy_template(services: Services, given: Mapping[str, Any]) -> dict[str, Any]:
    """Deletes a template and the policies that are linked to it."""
    store = services.state.store(given["policyStoreId"])
    found = services.state.latest.template(store.id, given["policyTemplateId"])
    if found is None:
        raise _missing(given)
    with services.state.transaction():
        services.state.delete_template(store.id, found.id)
    return {}


async def list_policy_templates(services: Services, given: Mapping[str, Any]) -> dict[str, Any]:
    """Templates, without their statements."""
    store, seen = services.state.store(given["policyStoreId"]), services.state.seen
    items, more = paged(
        services,
        given,
        ("ListPolicyTemplates", store.id),
        lambda after, limit: seen.templates(store.id, after, limit),
    )
    templates = [_answer(one) | told(description=one.description, name=one.name) for one in items]
    return {"policyTemplates": templates, **more}


def _answer(template: TemplateRecord) -> dict[str, Any]:
    return {
        "policyStoreId": template.store_id,
        "policyTemplateId": template.id,
        "createdDate": template.created,
        "lastUpdatedDate": template.updated,
    }


def _validate(services: Services, store: StoreRecord, statement: str) -> None:
    if store.mode == "STRICT":
        schema = services.state.latest.schema(store.id)
        validate(statement, schema.text if schema is not None else None, TEMPLATE)


def _refuse_taken(services: Services, store_id: str, name: str | None, own_id: str) -> None:
    taken = services.state.latest.template(store_id, name) if name is not None else None
    if taken is not None and taken.id != own_id:
        raise Conflict("The name is in use", [Resource(taken.id, "POLICY_TEMPLATE")])


def _missing(given: Mapping[str, Any]) -> ResourceNotFound:
    return ResourceNotFound(Resource(given["policyTemplateId"], "POLICY_TEMPLATE"))
