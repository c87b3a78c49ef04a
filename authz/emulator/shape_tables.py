"""The input of each operation, as tables: what is required, lengths, patterns, ranges, unions.

Source: API reference, data types and operations. Limits that only its prose has: 30 requests of a batch, 50 of a page.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeAlias

_LONG = 2**63


@dataclass(frozen=True, slots=True)
class Text:
    """A string of `least` to `most` characters, wholly of the pattern."""

    least: int = 0
    most: int | None = None
    pattern: str | None = None


@dataclass(frozen=True, slots=True)
class Choice:
    """One of these words."""

    words: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Number:
    """A whole number."""

    least: int
    most: int


@dataclass(frozen=True, slots=True)
class Flag:
    """True or false."""


@dataclass(frozen=True, slots=True)
class Items:
    """A list of so many; `of` names their shape."""

    of: str
    least: int = 0
    most: int | None = None


@dataclass(frozen=True, slots=True)
class Table:
    """Names with values of one shape."""

    of: str
    key: str = "String"
    most: int | None = None


@dataclass(frozen=True, slots=True)
class Structure:
    """Members; the names of those that are required begin with `*`."""

    members: str
    """`name` or `name:Shape`, apart by blanks. Without a shape: the name with a capital."""


@dataclass(frozen=True, slots=True)
class Union:
    """Exactly one of these members, written as a structure's."""

    members: str


Shape: TypeAlias = Text | Choice | Number | Flag | Items | Table | Structure | Union
_ID = Text(1, 200, r"[a-zA-Z0-9\-/_]*")
_VALUE = (
    "boolean:Flag long:Long string:String entityIdentifier ipaddr decimal datetime duration set:{0}Set record:{0}Record"
)
_PAGE = "nextToken maxResults"
_OIDC = "*issuer entityIdPrefix groupConfiguration:OidcGroupConfiguration *tokenSelection"

SHAPES: Mapping[str, Shape] = {
    # --- scalars
    "String": Text(),
    "Flag": Flag(),
    "Tags": Flag(),
    "Long": Number(-_LONG, _LONG - 1),
    "PolicyStoreId": _ID,
    "PolicyId": _ID,
    "PolicyTemplateId": _ID,
    "IdentitySourceId": Text(1, 200, r"[a-zA-Z0-9\-]*"),
    "ClientToken": Text(1, 64, r"[a-zA-Z0-9\-]*"),
    "AliasName": Text(0, 150, r"[a-zA-Z0-9\-/_]*"),
    "Name": Text(0, 150, r"[a-zA-Z0-9\-/_]*"),
    "Description": Text(0, 150),
    "Statement": Text(1),
    "SchemaJson": Text(1),
    "CedarJson": Text(),
    "Claim": Text(1),
    "EntityType": Text(1, 200),
    "EntityId": Text(1, 612),
    "ActionType": Text(1, 200, r"Action|.+::Action"),
    "ActionId": Text(1, 512),
    "PrincipalEntityType": Text(1, 200),
    "GroupEntityType": Text(1, 200, r"([_a-zA-Z][_a-zA-Z0-9]*::)*[_a-zA-Z][_a-zA-Z0-9]*"),
    # The model has `.` for the dots, which takes cubic time to refuse a long text; possessive, for the same reason.
    "Token": Text(1, 131_072, r"[A-Za-z0-9\-_=]++\.[A-Za-z0-9\-_=]++\.[A-Za-z0-9\-_=]++"),
    "NextToken": Text(1, 8000, r"[A-Za-z0-9\-_=+/.]*"),
    "MaxResults": Number(1, 50),
    "ClientId": Text(1, 255),
    "ClientIds": Items("ClientId", 0, 1000),
    "Audience": Text(1, 255),
    "Audiences": Items("Audience", 1, 255),
    # That it is https is asked where the settings are known: a local issuer may be taken without.
    "Issuer": Text(1, 2048, r"https?://.*"),
    "EntityIdPrefix": Text(1, 100),
    "UserPoolArn": Text(
        1, 255, r"arn:[a-zA-Z0-9\-]+:cognito-idp:(([a-zA-Z0-9\-]+:\d{12}:userpool/[\w\-]+_[0-9a-zA-Z]+))"
    ),
    "TagKey": Text(1, 128),
    "TagValue": Text(0, 256),
    "TagKeys": Items("TagKey", 1, 200),
    "TagMap": Table("TagValue", "TagKey", 200),
    "ResourceArn": Text(1, 2048),
    "Key": Text(0, None, r"[a-zA-Z0-9:/_\-]+"),
    "EncryptionText": Text(1),
    "EncryptionContext": Table("EncryptionText", "EncryptionText", 8192),
    "Mode": Choice(("OFF", "STRICT")),
    "DeletionProtection": Choice(("ENABLED", "DISABLED")),
    "DeletionMode": Choice(("SoftDelete", "HardDelete")),
    "PolicyType": Choice(("STATIC", "TEMPLATE_LINKED")),
    "Ipaddr": Text(1, 44, r"[0-9a-fA-F.:/]*"),
    "Decimal": Text(3, 23, r"-?\d{1,15}\.\d{1,4}"),
    "Datetime": Text(10, 28, r"\d{4}-\d{2}-\d{2}(T\d{2}:\d{2}:\d{2}(\.\d{3})?(Z|[+-]\d{4}))?"),
    "Duration": Text(2, 100, r"-?(\d+d)?(\d+h)?(\d+m)?(\d+s)?(\d+ms)?"),
    # --- entities, values and contexts
    "EntityIdentifier": Structure("*entityType *entityId"),
    "Principal": Structure("*entityType *entityId"),
    "Resource": Structure("*entityType *entityId"),
    "Action": Structure("*actionType *actionId"),
    "AttributeValue": Union(_VALUE.format("Attribute")),
    "AttributeSet": Items("AttributeValue"),
    "AttributeRecord": Table("AttributeValue"),
    "TagOfEntity": Union(_VALUE.format("TagOfEntity")),
    "TagOfEntitySet": Items("TagOfEntity"),
    "TagOfEntityRecord": Table("TagOfEntity"),
    "Entities": Union("entityList cedarJson"),
    "EntityList": Items("EntityItem"),
    "EntityItem": Structure(
        "*identifier:EntityIdentifier attributes:AttributeRecord parents:ParentList tags:TagOfEntityRecord"
    ),
    "ParentList": Items("EntityIdentifier"),
    "Context": Union("contextMap:AttributeRecord cedarJson"),
    # --- decisions
    "IsAuthorized": Structure("*policyStoreId principal action resource context entities"),
    "IsAuthorizedWithToken": Structure(
        "*policyStoreId identityToken:Token accessToken:Token action resource context entities"
    ),
    "BatchItem": Structure("principal action resource context"),
    "BatchItems": Items("BatchItem", 1, 30),
    "BatchIsAuthorized": Structure("*policyStoreId entities *requests:BatchItems"),
    "TokenBatchItem": Structure("action resource context"),
    "TokenBatchItems": Items("TokenBatchItem", 1, 30),
    "BatchIsAuthorizedWithToken": Structure(
        "*policyStoreId identityToken:Token accessToken:Token entities *requests:TokenBatchItems"
    ),
    # --- stores, aliases, tags
    "ValidationSettings": Structure("*mode"),
    "Empty": Structure(""),
    "KmsEncryptionSettings": Structure("*key encryptionContext"),
    "EncryptionSettings": Union("kmsEncryptionSettings default:Empty"),
    "CreatePolicyStore": Structure(
        "clientToken *validationSettings description deletionProtection encryptionSettings tags:TagMap"
    ),
    "GetPolicyStore": Structure("*policyStoreId tags"),
    "UpdatePolicyStore": Structure("*policyStoreId *validationSettings deletionProtection description"),
    "DeletePolicyStore": Structure("*policyStoreId"),
    "ListPolicyStores": Structure(_PAGE),
    "CreatePolicyStoreAlias": Structure("*aliasName *policyStoreId"),
    "GetPolicyStoreAlias": Structure("*aliasName"),
    "AliasFilter": Structure("policyStoreId"),
    "ListPolicyStoreAliases": Structure(f"{_PAGE} filter:AliasFilter"),
    "DeletePolicyStoreAlias": Structure("*aliasName deletionMode"),
    "TagResource": Structure("*resourceArn *tags:TagMap"),
    "UntagResource": Structure("*resourceArn *tagKeys"),
    "ListTagsForResource": Structure("*resourceArn"),
    # --- schema
    "SchemaDefinition": Union("cedarJson:SchemaJson"),
    "PutSchema": Structure("*policyStoreId *definition:SchemaDefinition"),
    "GetSchema": Structure("*policyStoreId"),
    # --- policies and templates
    "Static": Structure("*statement description"),
    "TemplateLinked": Structure("*policyTemplateId principal resource"),
    "PolicyDefinition": Union("static templateLinked"),
    "UpdatePolicyDefinition": Union("static"),
    "CreatePolicy": Structure("clientToken *policyStoreId *definition:PolicyDefinition name"),
    "GetPolicy": Structure("*policyStoreId *policyId"),
    "UpdatePolicy": Structure("*policyStoreId *policyId definition:UpdatePolicyDefinition name"),
    "DeletePolicy": Structure("*policyStoreId *policyId"),
    "EntityReference": Union("unspecified:Flag identifier:EntityIdentifier"),
    "PolicyFilter": Structure("principal:EntityReference resource:EntityReference policyType policyTemplateId"),
    "ListPolicies": Structure(f"*policyStoreId {_PAGE} filter:PolicyFilter"),
    "BatchGetPolicyItems": Items("GetPolicy", 1, 100),
    "BatchGetPolicy": Structure("*requests:BatchGetPolicyItems"),
    "CreatePolicyTemplate": Structure("clientToken *policyStoreId *statement description name"),
    "GetPolicyTemplate": Structure("*policyStoreId *policyTemplateId"),
    "UpdatePolicyTemplate": Structure("*policyStoreId *policyTemplateId *statement description name"),
    "DeletePolicyTemplate": Structure("*policyStoreId *policyTemplateId"),
    "ListPolicyTemplates": Structure(f"*policyStoreId {_PAGE}"),
    # --- identity sources
    "CognitoGroupConfiguration": Structure("*groupEntityType"),
    "CognitoUserPoolConfiguration": Structure("*userPoolArn clientIds groupConfiguration:CognitoGroupConfiguration"),
    "OidcGroupConfiguration": Structure("*groupClaim:Claim *groupEntityType"),
    "AccessTokenOnly": Structure("principalIdClaim:Claim audiences"),
    "IdentityTokenOnly": Structure("principalIdClaim:Claim clientIds"),
    "TokenSelection": Union("accessTokenOnly identityTokenOnly"),
    "OpenIdConnectConfiguration": Structure(_OIDC),
    "Configuration": Union("cognitoUserPoolConfiguration openIdConnectConfiguration"),
    "CreateIdentitySource": Structure("clientToken *policyStoreId *configuration principalEntityType"),
    "GetIdentitySource": Structure("*policyStoreId *identitySourceId"),
    "UpdateIdentitySource": Structure(
        "*policyStoreId *identitySourceId *updateConfiguration:Configuration principalEntityType"
    ),
    "DeleteIdentitySource": Structure("*policyStoreId *identitySourceId"),
    "IdentitySourceFilter": Structure("principalEntityType"),
    "IdentitySourceFilters": Items("IdentitySourceFilter", 0, 10),
    "ListIdentitySources": Structure(f"*policyStoreId {_PAGE} filters:IdentitySourceFilters"),
}


def _members(text: str) -> tuple[tuple[str, str, bool], ...]:
    found = []
    for word in text.split():
        name, _, of = word.removeprefix("*").partition(":")
        found.append((name, of or name[0].upper() + name[1:], word.startswith("*")))
    return tuple(found)


MEMBERS: Mapping[str, tuple[tuple[str, str, bool], ...]] = {
    shape.members: _members(shape.members) for shape in SHAPES.values() if isinstance(shape, Structure | Union)
}
"""Of a structure or union as written: name, shape, whether it is required."""
