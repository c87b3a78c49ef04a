"""A policy store's identity source, as the service tells it (API reference, `IdentitySourceItem`)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from authz.core.errors import Problem
from authz.core.identity_source import StoreIdentitySource
from authz.stores.avp_content import encodable


def read_identity_source(item: Mapping[str, Any], store: str) -> StoreIdentitySource | Problem:
    """The identity source, or why it cannot be one: a form that nobody here knows decides nothing."""
    id = str(item.get("identitySourceId", ""))
    file = f"avp:{store}/{id}"
    configuration = item.get("configuration")
    try:
        if isinstance(configuration, Mapping) and len(configuration) == 1:
            ((kind, settings),) = configuration.items()
            read = {"cognitoUserPoolConfiguration": _cognito, "openIdConnectConfiguration": _oidc}.get(kind)
            if read is not None:
                return read(id, _text(item, "principalEntityType"), settings)
    except (LookupError, TypeError, ValueError, AttributeError) as error:
        text = f"the identity source lacks what its kind needs ({error}): describe it anew"
        return Problem(message=text, file=file)
    text = "the identity source is of a kind that is not known here: use a Cognito user pool or OpenID Connect"
    return Problem(message=text, file=file)


def _cognito(id: str, principal_type: str, settings: Mapping[str, Any]) -> StoreIdentitySource:
    # arn:<partition>:cognito-idp:<region>:<account>:userpool/<pool>
    arn = _text(settings, "userPoolArn").split(":")
    region, pool = arn[3], arn[5].removeprefix("userpool/")
    suffix = "amazonaws.com.cn" if arn[1] == "aws-cn" else "amazonaws.com"
    return StoreIdentitySource(
        id=id,
        kind="cognito",
        issuer=settings.get("issuer") or f"https://cognito-idp.{region}.{suffix}/{pool}",
        principal_type=principal_type,
        user_pool=pool,
        clients=_texts(settings, "clientIds"),
        group_type=_group(settings, "groupEntityType"),
    )


def _oidc(id: str, principal_type: str, settings: Mapping[str, Any]) -> StoreIdentitySource:
    ((selected, selection),) = settings["tokenSelection"].items()
    kinds: dict[str, Literal["access", "id"]] = {"accessTokenOnly": "access", "identityTokenOnly": "id"}
    return StoreIdentitySource(
        id=id,
        kind="oidc",
        issuer=_text(settings, "issuer"),
        principal_type=principal_type,
        prefix=settings.get("entityIdPrefix") or "",
        token=kinds[selected],
        id_claim=selection.get("principalIdClaim") or "sub",
        clients=_texts(selection, "clientIds"),
        audiences=_texts(selection, "audiences"),
        group_type=_group(settings, "groupEntityType"),
        group_claim=_group(settings, "groupClaim"),
    )


def _group(settings: Mapping[str, Any], member: str) -> str:
    groups = settings.get("groupConfiguration")
    return _text(groups, member) if groups else ""


def _text(settings: Mapping[str, Any], member: str) -> str:
    value = settings[member]
    if not isinstance(value, str) or not value or not encodable(value):
        raise ValueError(member)
    return value


def _texts(settings: Mapping[str, Any], member: str) -> tuple[str, ...]:
    values = settings.get(member) or ()
    if isinstance(values, str) or not all(isinstance(one, str) and one and encodable(one) for one in values):
        raise ValueError(member)
    return tuple(sorted(values))
