"""Aliases of policy stores (API reference: Create, Get, Delete, ListPolicyStoreAliases)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from authz.emulator.errors import Conflict, Resource, ResourceNotFound, ServiceQuotaExceeded, ValidationError
from authz.emulator.operations.common import EVERYTHING, alias_arn, told
from authz.emulator.paging import paged
from authz.emulator.records import AliasRecord
from authz.emulator.services import EmulatorSettings, Services
from authz.emulator.state_view import ALIAS

_PAGE = 5


async def create_policy_store_alias(services: Services, given: Mapping[str, Any]) -> dict[str, Any]:
    """Gives a store an alias. The same alias for the same store again is no error."""
    name, store_id = _name(given), given["policyStoreId"]
    if store_id.startswith(ALIAS):
        raise ValidationError([("/policyStoreId", "An alias cannot be used here")])
    services.state.store(store_id)
    now, latest = services.clock.now(), services.state.latest
    found = latest.alias(name, now)
    if found is not None:
        if found.store_id == store_id and found.deleted_at is None:
            return _answer(services.settings, found)
        raise Conflict("The alias is in use, or its name is still reserved", [Resource(name, "POLICY_STORE_ALIAS")])
    if len(latest.aliases(store_id, now, 0, EVERYTHING).items) >= services.settings.limits.aliases:
        raise ServiceQuotaExceeded("Policy Store Alias Limit Exceeded.", Resource(store_id, "POLICY_STORE"))
    alias = AliasRecord(name=name, store_id=store_id, created=services.clock.stamp())
    with services.state.transaction():
        services.state.put_alias(alias)
    return _answer(services.settings, alias)


async def get_policy_store_alias(services: Services, given: Mapping[str, Any]) -> dict[str, Any]:
    """An alias, also a softly deleted one whose name is still reserved."""
    name = _name(given)
    found = services.state.seen.alias(name, services.clock.now())
    if found is None:
        raise ResourceNotFound(Resource(name, "POLICY_STORE_ALIAS"))
    return _with_state(services.settings, found)


async def list_policy_store_aliases(services: Services, given: Mapping[str, Any]) -> dict[str, Any]:
    """Aliases, of one store or of all."""
    store_id, now = given.get("filter", {}).get("policyStoreId"), services.clock.now()
    seen = services.state.seen
    if store_id is not None and store_id.startswith(ALIAS):
        named = seen.alias(store_id, now)
        store_id = named.store_id if named is not None and named.deleted_at is None else store_id
    items, more = paged(
        services,
        given,
        ("ListPolicyStoreAliases", store_id),
        lambda after, limit: seen.aliases(store_id, now, after, limit),
        _PAGE,
    )
    return {"policyStoreAliases": [_with_state(services.settings, alias) for alias in items], **more}


async def delete_policy_store_alias(services: Services, given: Mapping[str, Any]) -> dict[str, Any]:
    """Deletes an alias: softly, its name reserved for a day, or at once. One that is not there is no error."""
    name = _name(given)
    with services.state.transaction():
        if given.get("deletionMode") == "HardDelete":
            services.state.delete_alias(name)
        else:
            services.state.mark_alias_deleted(name, services.clock.now())
    return {}


def _name(given: Mapping[str, Any]) -> str:
    name: str = given["aliasName"]
    if len(name.removeprefix(ALIAS)) in {0, len(name)}:
        raise ValidationError([("aliasName", "Invalid format.")])
    return name


def _answer(settings: EmulatorSettings, alias: AliasRecord) -> dict[str, Any]:
    return told(
        aliasName=alias.name,
        policyStoreId=alias.store_id,
        aliasArn=alias_arn(settings, alias.name),
        createdAt=alias.created,
    )


def _with_state(settings: EmulatorSettings, alias: AliasRecord) -> dict[str, Any]:
    return _answer(settings, alias) | {"state": "Active" if alias.deleted_at is None else "PendingDeletion"}
