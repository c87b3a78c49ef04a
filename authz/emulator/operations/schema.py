"""The schema of a policy store (API reference: Put, GetSchema). JSON only; checked in both validation modes."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import cedarpy

from authz.core.cedar_schema import CedarSchemaError, schema_from_json
from authz.core.strict_json import NotStrictJson, json_object
from authz.emulator.errors import Resource, ResourceNotFound, ServiceQuotaExceeded, ValidationError
from authz.emulator.records import SchemaRecord
from authz.emulator.services import Services

PATH = "/schema"
_MAX_NAMESPACE = 100
_PLACE = re.compile(r" at line \d+ column \d+")


async def put_schema(services: Services, given: Mapping[str, Any]) -> dict[str, Any]:
    """Replaces the whole schema; `{}` deletes it. Policies that are there are not validated again."""
    store = services.state.store(given["policyStoreId"])
    text = given["definition"]["cedarJson"]
    limits = services.settings.limits
    if len(text.encode()) > limits.schema_bytes:
        raise ServiceQuotaExceeded(f"Schema is larger than {limits.schema_bytes} bytes", Resource(store.id, "SCHEMA"))
    namespaces = _namespaces(text)
    if len(namespaces) > limits.namespaces:
        raise ServiceQuotaExceeded("Schema Namespace Limit Exceeded.", Resource(store.id, "SCHEMA"))
    before, now = services.state.latest.schema(store.id), services.clock.stamp()
    created = before.created if before is not None else now
    schema = SchemaRecord(store_id=store.id, text=text, namespaces=namespaces, created=created, updated=now)
    with services.state.transaction():
        if namespaces:
            services.state.put_schema(schema)
        else:
            services.state.delete_schema(store.id)
    return _answer(schema)


async def get_schema(services: Services, given: Mapping[str, Any]) -> dict[str, Any]:
    """The schema as it was put: text of JSON, not an object."""
    store = services.state.store(given["policyStoreId"])
    schema = services.state.seen.schema(store.id)
    if schema is None:
        raise ResourceNotFound(Resource(store.id, "SCHEMA"))
    return _answer(schema) | {"schema": schema.text}


def _answer(schema: SchemaRecord) -> dict[str, Any]:
    return {
        "policyStoreId": schema.store_id,
        "namespaces": list(schema.namespaces),
        "createdDate": schema.created,
        "lastUpdatedDate": schema.updated,
    }


def _namespaces(text: str) -> tuple[str, ...]:
    try:
        schema = json_object(text.encode())
    except NotStrictJson:
        raise _refused("Provided schema is not a valid JSON object") from None
    for name in schema:
        size = len(name.encode())
        if not 1 <= size <= _MAX_NAMESPACE:
            raise _refused(
                f"Namespace lengths must be at least 1 and at most {_MAX_NAMESPACE} bytes in size,"
                f" but '{name}' is {size} bytes in size"
            )
    _refuse_unbounded(schema)
    try:
        cedarpy.Schema.from_json_str(text)
    except ValueError as error:
        # Seen without the parser's place, which is of no use in JSON that is all one line.
        raise _refused(_PLACE.sub("", str(error))) from None
    return tuple(schema)


def _refuse_unbounded(schema: object) -> None:
    """What would end the engine's process, or keep it busy for hours. All else is the engine's to judge."""
    try:
        schema_from_json(schema)
    except CedarSchemaError as error:
        if "more than" in error.message or "at most" in error.message:
            raise _refused(error.message) from None


def _refused(message: str) -> ValidationError:
    return ValidationError([(PATH, message)])
