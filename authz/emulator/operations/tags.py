"""Tags of policy stores, the one resource that has any (API reference: Tag, UntagResource, ListTagsForResource)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from authz.emulator.errors import Resource, ResourceNotFound, TooManyTags, ValidationError
from authz.emulator.operations.common import store_arn
from authz.emulator.records import StoreRecord
from authz.emulator.services import Services

MAX_TAGS = 50


async def tag_resource(services: Services, given: Mapping[str, Any]) -> dict[str, Any]:
    """Adds tags, or gives them another value."""
    store = _store(services, given["resourceArn"])
    tags = {**store.tags, **given["tags"]}
    if len(tags) > MAX_TAGS:
        raise TooManyTags(given["resourceArn"])
    _put(services, store, tags)
    return {}


async def untag_resource(services: Services, given: Mapping[str, Any]) -> dict[str, Any]:
    """Takes tags away; those it has not are passed over."""
    store = _store(services, given["resourceArn"])
    _put(services, store, {key: value for key, value in store.tags.items() if key not in given["tagKeys"]})
    return {}


async def list_tags_for_resource(services: Services, given: Mapping[str, Any]) -> dict[str, Any]:
    """All tags."""
    return {"tags": dict(_store(services, given["resourceArn"], latest=False).tags)}


def _put(services: Services, store: StoreRecord, tags: Mapping[str, str]) -> None:
    with services.state.transaction():
        services.state.put_store(replace(store, tags=tags))


def _store(services: Services, arn: str, *, latest: bool = True) -> StoreRecord:
    store_id = arn.rpartition("/")[2]
    if arn != store_arn(services.settings, store_id):
        raise ValidationError([("/resourceArn", "Invalid format. Only policy stores have tags")])
    seen = services.state.seen.find_store(store_id)
    if seen is None:
        raise ResourceNotFound(Resource(store_id, "POLICY_STORE"))
    return (services.state.latest.find_store(store_id) or seen) if latest else seen
