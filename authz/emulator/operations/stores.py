"""Policy stores (API reference: Create, Get, Update, Delete, ListPolicyStores)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from authz.emulator.errors import InvalidState, Resource, ServiceQuotaExceeded, ValidationError
from authz.emulator.idempotency import remember, replay
from authz.emulator.operations.common import new_id, store_arn, told
from authz.emulator.operations.tags import MAX_TAGS
from authz.emulator.paging import paged
from authz.emulator.records import StoreRecord
from authz.emulator.services import EmulatorSettings, Services
from authz.emulator.state_view import ALIAS


async def create_policy_store(services: Services, given: Mapping[str, Any]) -> dict[str, Any]:
    """Makes a store."""
    kept = replay(services, "CreatePolicyStore", given)
    if kept is not None:
        return kept
    if len(given.get("tags", {})) > MAX_TAGS:
        raise ValidationError([("/tags", f"A resource has at most {MAX_TAGS} tags")])
    if services.state.latest.store_count() >= services.settings.limits.stores:
        raise ServiceQuotaExceeded("Policy Store Limit Exceeded.", Resource("", "POLICY_STORE"))
    now = services.clock.stamp()
    store = StoreRecord(
        id=new_id(),
        created=now,
        updated=now,
        mode=given["validationSettings"]["mode"],
        description=given.get("description"),
        deletion_protection=given.get("deletionProtection", "DISABLED"),
        encryption=_encryption(given.get("encryptionSettings")),
        tags=given.get("tags", {}),
    )
    answer = _answer(services.settings, store)
    with services.state.transaction():
        services.state.put_store(store)
        remember(services, "CreatePolicyStore", given, answer)
    return answer


async def get_policy_store(services: Services, given: Mapping[str, Any]) -> dict[str, Any]:
    """A store. Its tags only if they are asked for, and there are any."""
    store = services.state.store(given["policyStoreId"])
    return _answer(services.settings, store) | told(
        validationSettings={"mode": store.mode},
        description=store.description,
        deletionProtection=store.deletion_protection,
        encryptionState=store.encryption,
        cedarVersion="CEDAR_4",
        tags=dict(store.tags) if given.get("tags") and store.tags else None,
    )


async def update_policy_store(services: Services, given: Mapping[str, Any]) -> dict[str, Any]:
    """Changes a store. What is not given stays."""
    store = services.state.store(given["policyStoreId"])
    latest = services.state.latest.find_store(store.id) or store
    changed = replace(
        latest,
        mode=given["validationSettings"]["mode"],
        deletion_protection=given.get("deletionProtection", latest.deletion_protection),
        description=given.get("description", latest.description),
        updated=services.clock.stamp(),
    )
    with services.state.transaction():
        services.state.put_store(changed)
    return _answer(services.settings, changed)


async def delete_policy_store(services: Services, given: Mapping[str, Any]) -> dict[str, Any]:
    """Deletes a store and its aliases. One that does not exist is as good as deleted."""
    store_id = given["policyStoreId"]
    if store_id.startswith(ALIAS):
        raise ValidationError([("/policyStoreId", "An alias cannot be used here")])
    store = services.state.latest.find_store(store_id)
    if store is None:
        return {}
    if store.deletion_protection == "ENABLED":
        raise InvalidState("The policy store cannot be deleted: its deletion protection is enabled")
    with services.state.transaction():
        services.state.delete_store(store_id)
    return {}


async def list_policy_stores(services: Services, given: Mapping[str, Any]) -> dict[str, Any]:
    """All stores."""
    items, more = paged(services, given, ("ListPolicyStores",), services.state.seen.stores)
    settings = services.settings
    return {
        "policyStores": [_answer(settings, store) | told(description=store.description) for store in items],
        **more,
    }


def _answer(settings: EmulatorSettings, store: StoreRecord) -> dict[str, Any]:
    return {
        "policyStoreId": store.id,
        "arn": store_arn(settings, store.id),
        "createdDate": store.created,
        "lastUpdatedDate": store.updated,
    }


def _encryption(given: Mapping[str, Any] | None) -> dict[str, Any]:
    kms = (given or {}).get("kmsEncryptionSettings")
    if kms is None:
        return {"default": {}}
    return {"kmsEncryptionState": {"key": kms["key"], "encryptionContext": kms.get("encryptionContext", {})}}
