"""The input of each operation: what is required, lengths, patterns, ranges, unions.

The SDKs check little of it (no maximum, no pattern, no enumeration), so the service does. All that is wrong is told in
one ValidationException. Members that no shape knows are left out, and so are those that are null, as servers of
awsJson1_0 do (Smithy, "AWS JSON 1.0 protocol").

Source: API reference, data types and operations. Limits that only its prose has: 30 requests of a batch, 50 of a page.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

from authz.emulator.errors import Field, ValidationError

MAX_FIELDS = 100
"""Of one answer: a body can be wrong in a hundred thousand places."""
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


def check(operation: str, given: Mapping[str, Any]) -> dict[str, Any]:
    """The input, of what its shape knows; null members are left out.

    Raises:
        ValidationError: with all that is wrong with it.
    """
    reader = _Reader()
    found = reader.read(operation, given, "")
    if reader.fields:
        raise ValidationError(reader.fields[:MAX_FIELDS])
    members: dict[str, Any] = found
    return members


class _Reader:
    def __init__(self) -> None:
        self.fields: list[Field] = []

    def wrong(self, path: str, message: str) -> None:
        self.fields.append(Field(path or "/", message))

    def read(self, name: str, value: object, path: str) -> Any:
        shape = SHAPES[name]
        if len(self.fields) >= MAX_FIELDS:
            return None
        read: Callable[[Any, object, str], Any] = getattr(self, f"_{type(shape).__name__.lower()}")
        return read(shape, value, path)

    def _fits(self, value: Any, least: int, most: int | None, path: str) -> bool:
        if len(value) < least:
            self.wrong(path, f"Member must have length greater than or equal to {least}")
            return False
        if most is not None and len(value) > most:
            self.wrong(path, f"Member must have length less than or equal to {most}")
            return False
        return True

    def _text(self, shape: Text, value: object, path: str) -> object:
        if not isinstance(value, str):
            self.wrong(path, "Member must be a string")
            return None
        fits = self._fits(value, shape.least, shape.most, path)
        if fits and shape.pattern is not None and not re.fullmatch(shape.pattern, value, re.ASCII):
            self.wrong(path, f"Member must satisfy regular expression pattern: {shape.pattern}")
        return value

    def _choice(self, shape: Choice, value: object, path: str) -> object:
        if value not in shape.words:
            self.wrong(path, f"Member must satisfy enum value set: [{', '.join(shape.words)}]")
        return value

    def _number(self, shape: Number, value: object, path: str) -> object:
        if isinstance(value, bool) or not isinstance(value, int):  # a bool is an int in Python
            self.wrong(path, "Member must be a whole number")
        elif value < shape.least:
            self.wrong(path, f"Member must have value greater than or equal to {shape.least}")
        elif value > shape.most:
            self.wrong(path, f"Member must have value less than or equal to {shape.most}")
        return value

    def _flag(self, shape: Flag, value: object, path: str) -> object:
        if not isinstance(value, bool):
            self.wrong(path, "Member must be a boolean")
        return value

    def _items(self, shape: Items, value: object, path: str) -> object:
        if not isinstance(value, list):
            self.wrong(path, "Member must be a list")
            return None
        if not self._fits(value, shape.least, shape.most, path):
            return None
        return [self.read(shape.of, item, f"{path}/{number}") for number, item in enumerate(value)]

    def _table(self, shape: Table, value: object, path: str) -> object:
        if not isinstance(value, dict):
            self.wrong(path, "Member must be an object")
            return None
        if not self._fits(value, 0, shape.most, path):
            return None
        found = {}
        for key, item in value.items():
            inner = f"{path}/{_escaped(key)}"
            self.read(shape.key, key, inner)
            if item is not None:
                found[key] = self.read(shape.of, item, inner)
        return found

    def _structure(self, shape: Structure, value: object, path: str) -> object:
        if not isinstance(value, dict):
            self.wrong(path, "Member must be an object")
            return None
        found = {}
        for name, of, required in _MEMBERS[shape.members]:
            item = value.get(name)
            if item is not None:
                found[name] = self.read(of, item, f"{path}/{name}")
            elif required:
                self.wrong(f"{path}/{name}", "Member must not be null")
        return found

    def _union(self, shape: Union, value: object, path: str) -> object:
        if not isinstance(value, dict):
            self.wrong(path, "Member must be an object")
            return None
        known = {name: of for name, of, _ in _MEMBERS[shape.members]}
        given = [name for name, item in value.items() if item is not None]
        if len(given) != 1 or given[0] not in known:
            self.wrong(path, f"Exactly one member must be given: {', '.join(known)}")
            return None
        name = given[0]
        return {name: self.read(known[name], value[name], f"{path}/{name}")}


def _escaped(name: str) -> str:
    """A name in a JSON pointer (RFC 6901)."""
    return name.replace("~", "~0").replace("/", "~1")


def _members(text: str) -> tuple[tuple[str, str, bool], ...]:
    found = []
    for word in text.split():
        name, _, of = word.removeprefix("*").partition(":")
        found.append((name, of or name[0].upper() + name[1:], word.startswith("*")))
    return tuple(found)


_MEMBERS = {shape.members: _members(shape.members) for shape in SHAPES.values() if isinstance(shape, Structure | Union)}
