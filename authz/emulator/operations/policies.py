"""What is asked of policies (API reference: Get, List, Delete, BatchGetPolicy)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from authz.emulator.errors import Resource, ResourceNotFound
from authz.emulator.operations.common import action_identifier, identifier, told, uid_of
from authz.emulator.paging import paged
from authz.emulator.records import PolicyRecord
from authz.emulator.services import Services
from authz.emulator.state_view import ALIAS, NAME, Selection, View


async def get_policy(services: Services, given: Mapping[str, Any]) -> dict[str, Any]:
    """A policy, with its definition."""
    store = services.state.store(given["policyStoreId"])
    found = services.state.seen.policy(store.id, given["policyId"])
    if found is None:
        raise missing(given)
    return answer(found) | told(definition=_definition(found), name=found.name)


async def list_policies(services: Services, given: Mapping[str, Any]) -> dict[str, Any]:
    """Policies, in the order in which they were made; without statements."""
    store, seen = services.state.store(given["policyStoreId"]), services.state.seen
    wanted = given.get("filter", {})
    selection = _selection(seen, store.id, wanted)
    items, more = paged(
        services,
        given,
        ("ListPolicies", store.id, wanted),
        lambda after, limit: seen.policies(store.id, selection, after, limit),
    )
    return {"policies": [_item(policy) for policy in items], **more}


async def batch_get_policy(services: Services, given: Mapping[str, Any]) -> dict[str, Any]:
    """Policies of any stores, each found or told as an error; both lists in the order of the requests."""
    results, errors = [], []
    for request in given["requests"]:
        found = _found(services, request)
        if isinstance(found, PolicyRecord):
            results.append(_whole(found))
        else:
            code, message = found
            errors.append({"code": code, "message": message, **request})
    return {"results": results, "errors": errors}


async def delete_policy(services: Services, given: Mapping[str, Any]) -> dict[str, Any]:
    """Deletes a policy. One that is not there is as good as deleted."""
    store = services.state.store(given["policyStoreId"])
    found = services.state.latest.policy(store.id, given["policyId"])
    if found is not None:
        with services.state.transaction():
            services.state.delete_policy(store.id, found.id)
    return {}


def missing(given: Mapping[str, Any]) -> ResourceNotFound:
    """There is no such policy."""
    return ResourceNotFound(Resource(given["policyId"], "POLICY"))


def answer(policy: PolicyRecord) -> dict[str, Any]:
    """What Create and Update tell of it."""
    return told(
        policyStoreId=policy.store_id,
        policyId=policy.id,
        policyType=policy.type,
        principal=identifier(policy.principal) if policy.principal is not None else None,
        resource=identifier(policy.resource) if policy.resource is not None else None,
        actions=[action_identifier(uid) for uid in policy.actions] or None,
        createdDate=policy.created,
        lastUpdatedDate=policy.updated,
        effect=policy.effect,
    )


def _definition(policy: PolicyRecord, *, statement: bool = True) -> dict[str, Any]:
    if policy.template_id is None:
        text = policy.statement if statement else None
        return {"static": told(statement=text, description=policy.description)}
    values = {name: getattr(policy, name) for name in policy.slots}
    filled = {name: identifier(uid) for name, uid in values.items() if uid is not None}
    return {"templateLinked": {"policyTemplateId": policy.template_id, **filled}}


def _item(policy: PolicyRecord) -> dict[str, Any]:
    return answer(policy) | told(definition=_definition(policy, statement=False), name=policy.name)


def _whole(policy: PolicyRecord) -> dict[str, Any]:
    return told(
        policyStoreId=policy.store_id,
        policyId=policy.id,
        policyType=policy.type,
        definition=_definition(policy),
        createdDate=policy.created,
        lastUpdatedDate=policy.updated,
        name=policy.name,
    )


def _found(services: Services, request: Mapping[str, Any]) -> PolicyRecord | tuple[str, str]:
    reference, policy_id = request["policyStoreId"], request["policyId"]
    try:
        store = services.state.store(reference)
    except ResourceNotFound as error:
        kind = "POLICY_STORE_ALIAS" if reference.startswith(ALIAS) else "POLICY_STORE"
        return f"{kind}_NOT_FOUND", error.message
    found = services.state.seen.policy(store.id, policy_id)
    return found if found is not None else ("POLICY_NOT_FOUND", missing(request).message)


def _selection(view: View, store_id: str, wanted: Mapping[str, Any]) -> Selection:
    principal, resource = wanted.get("principal", {}), wanted.get("resource", {})
    template = wanted.get("policyTemplateId")
    if template is not None and template.startswith(NAME):
        named = view.template(store_id, template)
        template = named.id if named is not None else template
    return Selection(
        principal=uid_of(principal.get("identifier")),
        principal_unspecified=principal.get("unspecified"),
        resource=uid_of(resource.get("identifier")),
        resource_unspecified=resource.get("unspecified"),
        type=wanted.get("policyType"),
        template_id=template,
    )
