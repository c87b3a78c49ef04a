"""The operations on identity sources (API reference, `CreateIdentitySource` and the others).

One a store. Of a Cognito pool nothing is fetched: the real service asks for the pool in the caller's name. An OpenID
Connect issuer's discovery document is read at creation where the setting `discovery` says so.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from authz.emulator.errors import Resource, ResourceNotFound, ServiceQuotaExceeded, ValidationError
from authz.emulator.idempotency import remember, replay
from authz.emulator.issuer_keys import KeyPlace, NoKeys
from authz.emulator.operations.common import new_id
from authz.emulator.paging import paged
from authz.emulator.records import IdentitySourceRecord
from authz.emulator.services import Services
from authz.emulator.tokens import cognito_issuer
from authz.emulator.values import is_type_name

COGNITO = "cognitoUserPoolConfiguration"
OIDC = "openIdConnectConfiguration"
DEFAULT_TYPE = "AWS::Cognito"
"""Of a Cognito pool's principals where none is given; no schema can declare it."""
_NO_TYPE = "Invalid PrincipalEntityType, must not be empty"


async def create_identity_source(services: Services, given: Mapping[str, Any]) -> dict[str, Any]:
    """CreateIdentitySource."""
    kept = replay(services, "CreateIdentitySource", given)
    if kept is not None:
        return kept
    configuration = _detail(services, given["configuration"], "/configuration")
    kind = _principal_type(configuration, given.get("principalEntityType"))
    await _discover(services, configuration)
    state, now = services.state, services.clock.stamp()
    store = state.latest.store(given["policyStoreId"], services.clock.now())
    # Again: the same call may have been answered while the issuer was.
    kept = replay(services, "CreateIdentitySource", given)
    if kept is not None:
        return kept
    limit = services.settings.limits.identity_sources
    if len(state.latest.identity_sources(store.id, (), 0, limit).items) >= limit:
        raise ServiceQuotaExceeded("Identity Source Limit Exceeded.", Resource(store.id, "IDENTITY_SOURCE"))
    record = IdentitySourceRecord(
        store_id=store.id,
        id=new_id(),
        principal_type=kind,
        configuration=configuration,
        created=now,
        updated=now,
    )
    answer = _written(record)
    with state.transaction():
        state.put_identity_source(record)
        remember(services, "CreateIdentitySource", given, answer)
    return answer


async def get_identity_source(services: Services, given: Mapping[str, Any]) -> dict[str, Any]:
    """GetIdentitySource."""
    store = services.state.store(given["policyStoreId"])
    found = services.state.identity_source(store.id, given["identitySourceId"])
    return _shown(_required(found, given))


async def update_identity_source(services: Services, given: Mapping[str, Any]) -> dict[str, Any]:
    """UpdateIdentitySource: another configuration; the principals' type stays where none is given."""
    configuration = _detail(services, given["updateConfiguration"], "/updateConfiguration")
    await _discover(services, configuration)
    state = services.state
    store = state.latest.store(given["policyStoreId"], services.clock.now())
    before = _required(state.latest.identity_source(store.id, given["identitySourceId"]), given)
    kind = given.get("principalEntityType")
    record = IdentitySourceRecord(
        store_id=store.id,
        id=before.id,
        principal_type=_principal_type(configuration, kind if kind is not None else before.principal_type),
        configuration=configuration,
        created=before.created,
        updated=services.clock.stamp(),
    )
    with state.transaction():
        state.put_identity_source(record)
    return _written(record)


async def delete_identity_source(services: Services, given: Mapping[str, Any]) -> dict[str, Any]:
    """DeleteIdentitySource. Unlike other deletions it does not promise to take what is not there."""
    state = services.state
    store = state.latest.store(given["policyStoreId"], services.clock.now())
    found = _required(state.latest.identity_source(store.id, given["identitySourceId"]), given)
    with state.transaction():
        state.delete_identity_source(store.id, found.id)
    return {}


async def list_identity_sources(services: Services, given: Mapping[str, Any]) -> dict[str, Any]:
    """ListIdentitySources; with filters, those that one of them admits."""
    store = services.state.store(given["policyStoreId"])
    filters = given.get("filters", ())
    types = [one["principalEntityType"] for one in filters if "principalEntityType" in one]
    if len(types) < len(filters):  # one that names no type admits all
        types = []
    bound = ("ListIdentitySources", store.id, sorted(types))
    found, more = paged(
        services, given, bound, lambda after, limit: services.state.identity_sources(store.id, types, after, limit)
    )
    return {"identitySources": [_shown(record) for record in found], **more}


# --- what is given


def _detail(services: Services, given: Mapping[str, Any], path: str) -> dict[str, Any]:
    """A configuration as it is answered: of a pool with its issuer, and with clients even where there are none."""
    if COGNITO in given:
        pool = given[COGNITO]
        issuer = cognito_issuer(pool["userPoolArn"], f"{path}/{COGNITO}/userPoolArn")
        return {COGNITO: {**pool, "clientIds": list(pool.get("clientIds", ())), "issuer": issuer}}
    issuer = given[OIDC]["issuer"]
    if not issuer.startswith("https://") and not services.settings.http_issuers:
        words = "Member must satisfy regular expression pattern: https://.*"
        raise ValidationError([(f"{path}/{OIDC}/issuer", words)])
    return {OIDC: given[OIDC]}


def _principal_type(configuration: Mapping[str, Any], given: str | None) -> str:
    kind = (given or "").strip()
    if not kind and COGNITO in configuration:
        return DEFAULT_TYPE
    if not kind:
        raise ValidationError([("/principalEntityType", _NO_TYPE)])
    if not is_type_name(kind):
        words = "Invalid PrincipalEntityType, must be an entity type such as `Namespace::User`"
        raise ValidationError([("/principalEntityType", words)])
    return kind


async def _discover(services: Services, configuration: Mapping[str, Any]) -> None:
    settings = services.settings
    if OIDC not in configuration or not settings.discovery:
        return
    issuer = configuration[OIDC]["issuer"]
    try:
        await services.keys.discover(KeyPlace(issuer=issuer, allow_http=settings.http_issuers))
    except NoKeys as error:
        address = f"{issuer.removesuffix('/')}/.well-known/openid-configuration"
        words = f"Failed to deserialize discovery document from issuer: {address}"
        raise ValidationError([("/configuration", f"{words} ({error})")]) from None


def _required(found: IdentitySourceRecord | None, given: Mapping[str, Any]) -> IdentitySourceRecord:
    if found is None:
        raise ResourceNotFound(Resource(given["identitySourceId"], "IDENTITY_SOURCE"))
    return found


# --- what is answered


def _written(record: IdentitySourceRecord) -> dict[str, Any]:
    return {
        "policyStoreId": record.store_id,
        "identitySourceId": record.id,
        "createdDate": record.created,
        "lastUpdatedDate": record.updated,
    }


def _shown(record: IdentitySourceRecord) -> dict[str, Any]:
    details = _details(record.configuration)
    return {
        **_written(record),
        "principalEntityType": record.principal_type,
        "configuration": record.configuration,
        **({"details": details} if details is not None else {}),
    }


def _details(configuration: Mapping[str, Any]) -> dict[str, Any] | None:
    """The deprecated form, which has words for Cognito alone."""
    if COGNITO not in configuration:
        return None
    pool = configuration[COGNITO]
    return {
        "clientIds": pool["clientIds"],
        "userPoolArn": pool["userPoolArn"],
        "discoveryUrl": f"{pool['issuer']}/.well-known/openid-configuration",
        "openIdIssuer": "COGNITO",
    }
