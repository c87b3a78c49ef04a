"""The policy store that is asked: a schema, policies that tell each what they saw, and identity sources."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

POOL = "us-east-1_Ab12"
COGNITO = f"https://cognito-idp.us-east-1.amazonaws.com/{POOL}"
OIDC = "https://login.example.com"
PREFIX = "login.example.com"
USER, GROUP, DOC = "App::User", "App::Group", "App::Doc"


def _optional(**types: Any) -> dict[str, Any]:
    return {name: {**kind, "required": False} for name, kind in types.items()}


_TEXT = {"type": "String"}
_TEXTS = {"type": "Set", "element": _TEXT}
_ADDRESS = {"type": "Record", "attributes": _optional(city=_TEXT, zip={"type": "Long"}, tags=_TEXTS)}
_CLAIMS = _optional(
    sub=_TEXT,
    email=_TEXT,
    email_verified={"type": "Boolean"},
    level={"type": "Long"},
    roles=_TEXTS,
    matrix={"type": "Set", "element": {"type": "Set", "element": {"type": "Long"}}},
    address=_ADDRESS,
    suspended={"type": "Boolean"},
    **{"custom:department": _TEXT, "cognito:groups": _TEXTS, "straße": _TEXT},
)
# An access token's `scope` is a set, an ID token's is the text that it was.
_USER = {"type": "Record", "attributes": {**_CLAIMS, **_optional(scope=_TEXT)}}
_TOKEN = {"type": "Record", "attributes": {**_CLAIMS, **_optional(scope=_TEXTS, client_id=_TEXT)}}
_APPLIES = {
    "principalTypes": ["User"],
    "resourceTypes": ["Doc"],
    "context": {"type": "Record", "attributes": _optional(token=_TOKEN)},
}
SCHEMA: dict[str, Any] = {
    "App": {
        "entityTypes": {
            "User": {"memberOfTypes": ["Group"], "shape": _USER},
            "Group": {},
            "Doc": {},
        },
        "actions": {"read": {"appliesTo": _APPLIES}, "delete": {"appliesTo": _APPLIES}},
    }
}
_SEEN = {
    "sub": '{}.sub == "u-1"',
    "email": '{}.email == "u@example.com"',
    "verified": "{}.email_verified",
    "level": "{}.level == 7",
    "roles": '{}.roles.contains("editor")',
    "no-editor": '!{}.roles.contains("editor")',
    "matrix": "{}.matrix.contains([1, 2])",
    "city": '{0}.address has city && {0}.address.city == "Köln"',
    "no-city": "!({}.address has city)",
    "tags": '{0}.address has tags && {0}.address.tags.contains("home")',
    "department": '{}["custom:department"] == "hr"',
    "cognito-groups": '{}["cognito:groups"].contains("staff")',
    "street": '{}["straße"] == "weg\\u{{1F600}}"',
}
_READ = {"verified": "email_verified", "no-editor": "roles", "city": "address", "no-city": "address", "tags": "address"}
_READ |= {"department": '"custom:department"', "cognito-groups": '"cognito:groups"', "street": '"straße"'}
_HEAD = 'principal, action == App::Action::"{}", resource'


def _permits(prefix: str) -> dict[str, str]:
    read = _HEAD.format("read")
    people = {"bare": "u-1", "usual": _id(prefix, "u-1"), "email": _id(prefix, "u@example.com")}
    people["unicode"] = _id(prefix, "zoë \\u{1F600}")
    groups = {"bare": "staff", **{name: _id(prefix, name) for name in ("staff", "night", "night shift")}}
    found = {f"is-{name}": f"permit({_scoped(read, f'== {USER}', id)});" for name, id in people.items()}
    found |= {
        f"in-{name.replace(' ', '-')}": f"permit({_scoped(read, f'in {GROUP}', id)});" for name, id in groups.items()
    }
    for name, test in _SEEN.items():
        claim = _READ.get(name, name)
        found[f"p-{name}"] = f"permit({read}) when {{ principal has {claim} && {test.format('principal')} }};"
        token = f"context has token && context.token has {claim}"
        found[f"t-{name}"] = f"permit({read}) when {{ {token} && {test.format('context.token')} }};"
    scope = "context has token && context.token has scope && context.token.scope"
    return found | {
        "p-scope": f'permit({read}) when {{ principal has scope && principal.scope == "read write" }};',
        "t-scope": f'permit({read}) when {{ {scope}.contains("read") }};',
        "t-scopes": f'permit({read}) when {{ {scope}.containsAll(["read", "write"]) }};',
        "t-scope-text": f'permit({read}) when {{ {scope}.contains("read write") }};',
        "t-client": f'permit({read}) when {{ context has token && context.token has client_id && context.token.client_id == "web" }};',
        "t-any": f"permit({read}) when {{ context has token }};",
    }


def _id(prefix: str, name: str) -> str:
    return f"{prefix}|{name}" if prefix else name


def _scoped(head: str, test: str, id: str) -> str:
    return head.replace("principal", f'principal {test}::"{id}"', 1)


def _forbids(prefix: str) -> dict[str, str]:
    delete = _HEAD.format("delete")
    return {
        "any-delete": f"permit({delete});",
        "banned": f"forbid({_scoped(delete, f'in {GROUP}', _id(prefix, 'banned'))});",
        "p-suspended": f"forbid({delete}) when {{ principal has suspended && principal.suspended }};",
        "t-suspended": (
            f"forbid({delete}) when {{ context has token && context.token has suspended && context.token.suspended }};"
        ),
    }


def policies(prefix: str) -> dict[str, str]:
    """Name → statement. Of the permits all that match are told; of the forbids too."""
    return _permits(prefix) | _forbids(prefix)


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """An identity source as it is given to the store, and what tokens of its issuer have."""

    name: str
    configuration: Mapping[str, Any]
    issuer: str
    kinds: tuple[str, ...]
    """Which tokens it takes."""
    id_claim: str = "sub"
    groups: str = ""
    """The claim with the groups; empty: they are not mapped."""
    prefix: str = ""
    settings: str = ""
    """YAML: what must be configured of the issuer, because the store leaves it open."""
    claims: Mapping[str, Any] = field(default_factory=dict)
    """Beside the usual ones."""

    def __str__(self) -> str:
        return self.name


def _pool(name: str, settings: str = "", /, **configuration: Any) -> Source:
    arn = f"arn:aws:cognito-idp:us-east-1:123456789012:userpool/{POOL}"
    whole = {"cognitoUserPoolConfiguration": {"userPoolArn": arn, **configuration}}
    return Source(
        name=name,
        configuration=whole,
        issuer=COGNITO,
        kinds=("access", "id"),
        groups="cognito:groups" if "groupConfiguration" in configuration else "",
        prefix=POOL,
        settings=settings,
    )


def _connect(
    name: str,
    kind: str,
    selection: Mapping[str, Any],
    *,
    prefix: str = PREFIX,
    groups: str | None = "groups",
    issuer: str = OIDC,
    settings: str = "",
    claims: Mapping[str, Any] | None = None,
) -> Source:
    arm = "accessTokenOnly" if kind == "access" else "identityTokenOnly"
    whole: dict[str, Any] = {"issuer": issuer, "tokenSelection": {arm: dict(selection)}}
    if prefix:
        whole["entityIdPrefix"] = prefix
    if groups is not None:
        whole["groupConfiguration"] = {"groupClaim": groups, "groupEntityType": GROUP}
    return Source(
        name=name,
        configuration={"openIdConnectConfiguration": whole},
        issuer=issuer,
        kinds=(kind,),
        id_claim=selection.get("principalIdClaim", "sub"),
        groups=groups or "",
        prefix=prefix,
        settings=settings,
        claims=claims or {},
    )


_GROUPS: dict[str, Any] = {"groupConfiguration": {"groupEntityType": GROUP}}
ANYBODY = "any_audience: true"
SOURCES = (
    _pool("pool", clientIds=["web", "app"], **_GROUPS),
    _pool("pool-without-groups", clientIds=["web"]),
    _pool("pool-for-anybody", ANYBODY, **_GROUPS),
    _connect("access", "access", {"audiences": ["api", "batch"]}),
    _connect("access-bare", "access", {"audiences": ["api"]}, prefix="", groups=None),
    _connect("access-for-anybody", "access", {}, settings=ANYBODY),
    _connect("access-by-uid", "access", {"audiences": ["api"], "principalIdClaim": "uid"}, groups="https://example.com/roles", claims={"uid": "u-1"}),
    _connect("id", "id", {"clientIds": ["web", "app"]}),
    _connect("id-bare", "id", {"clientIds": ["web"]}, prefix="", groups="groups"),
    _connect("id-for-anybody", "id", {}, settings=ANYBODY),
    _connect("id-by-email", "id", {"clientIds": ["web"], "principalIdClaim": "email"}, groups="realm_access.roles"),
    # A user pool that the store was told of as of any other issuer: nothing of Cognito counts.
    _connect("access-of-a-pool", "access", {"audiences": ["api"]}, issuer=COGNITO, prefix="", groups="cognito:groups"),
)  # fmt: skip
BY_NAME = {source.name: source for source in SOURCES}
