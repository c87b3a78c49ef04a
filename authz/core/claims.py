"""A verified token's claims → principal, parents, attributes and `context.token`.

The rules are those of Amazon Verified Permissions' identity sources (user guide, "Mapping Amazon Cognito
tokens to schema" and "Mapping OIDC tokens to schema"), so that policies written for `IsAuthorizedWithToken`
give the same answers here:

* the principal is `<principal type>::"<prefix>|<id claim>"`, its parents are its groups, with that prefix;
* an access token's claims are `context.token`, `scope` as a set; the principal has no attributes;
* an ID token's claims are the principal's attributes; the context gets nothing;
* `cognito:groups` is never an attribute.

Claims are converted by `value_from_json`, which drops what Cedar cannot say. A group, on the other hand, is
never dropped: a token whose groups cannot all be told is refused, for a `forbid` may hang on any of them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, TypeAlias

from authz.core.errors import Misconfigured, Problem, Reason, Unauthenticated
from authz.core.model import Credential, Entity, EntitySlice, EntityUid, Identity, Value

MAX_ID = 612
"""Characters of an entity's id; the limit of Verified Permissions (EntityIdentifier.entityId)."""
MAX_GROUPS = 1000
MAX_STORE_GROUPS = 99
"""Of a principal that Verified Permissions is asked about too (quotas, "Transitive parents": 100 with itself)."""
MAX_DEPTH = 16
"""Levels of arrays and objects in one claim."""
MAX_ITEMS = 1000
"""Items of one array or object within a claim."""
MAX_TEXT = 65_536
"""Characters of one string."""
MAX_SECONDS = float(2**53)
"""Beyond this a number of seconds is not exact, and no date."""

TokenKind: TypeAlias = Literal["access", "id"]
TokenSelection: TypeAlias = Literal["access", "id", "either"]

_LONG = range(-(2**63), 2**63)
_TYPE_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*(?:::[A-Za-z_][A-Za-z0-9_]*)*")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
# Cedar's JSON gives these keys a meaning: an object with one of them could become an entity.
_ESCAPES = frozenset({"__entity", "__extn", "__expr"})
# Verified Permissions refuses a claim of such a name beside `<name>:…` claims: as a record both would be one.
_COGNITO_PREFIXES = ("cognito", "custom", "dev")
_COGNITO_GROUPS = "cognito:groups"


@dataclass(frozen=True, slots=True, kw_only=True)
class IdentitySource:
    """What an issuer's tokens yield; the same settings as a Verified Permissions identity source.

    Raises:
        Misconfigured: a type is no Cedar type name, or the group settings do not go together.
    """

    principal_type: str
    """Cedar entity type with its namespace, e.g. `Documents::User`."""
    prefix: str | None = None
    """Before every id, with a bar between (`entityIdPrefix`, or the Cognito pool's id); None: bare ids."""
    id_claim: str = "sub"
    group_type: str | None = None
    """Entity type of the groups; None: groups are not mapped."""
    group_claim: str | None = None
    """Claim with the groups: an array of strings, or a string of words."""
    max_groups: int = MAX_GROUPS
    """A token with more is refused."""
    token: TokenSelection = "access"
    """The kind of token that counts; `either`: each token says its own, by the claim `token_use` (Amazon Cognito)."""

    def __post_init__(self) -> None:
        problems = [
            Problem(message=f"`{name}` is no Cedar entity type; expected a name like `Documents::User`")
            for name in (self.principal_type, self.group_type)
            if name is not None and _TYPE_NAME.fullmatch(name) is None
        ]
        if (self.group_type is None) != (self.group_claim is None):
            problems.append(Problem(message="groups need both a group type and a group claim"))
        if self.group_type == self.principal_type:
            problems.append(
                Problem(message=f"`{self.group_type}` is the principals' type; groups need one of their own")
            )
        if self.prefix == "":
            problems.append(Problem(message="expected a prefix that is not empty, or none"))
        if not self.id_claim:
            problems.append(Problem(message="expected the name of the claim that identifies the principal"))
        if problems:
            raise Misconfigured(tuple(problems))


def identity_from_claims(
    claims: Mapping[str, object], source: IdentitySource, *, issuer: str, credential: Credential | None
) -> Identity:
    """The identity that verified claims stand for. The caller has verified them; nothing here does.

    `subject` is the claim `sub`, or the id claim where a token has no `sub`.

    Raises:
        Unauthenticated: `token_claims`, where the id, the groups or `exp` are not as the source expects;
            `token_type`, where the source takes either kind and the token does not say its own.
    """
    _refuse_colliding_names(claims)
    value = claims.get(source.id_claim)
    if not isinstance(value, str) or not value:
        raise _bad(f"expected the claim `{source.id_claim}` to be a non-empty string")
    uid = EntityUid(source.principal_type, _entity_id(source, value, source.id_claim))
    groups = _groups(claims, source)
    access = token_kind(claims, source) == "access"
    principal = Entity(uid=uid, attributes={} if access else _attributes(claims), parents=frozenset(groups))
    subject = claims.get("sub")
    return Identity(
        scheme="bearer",
        issuer=issuer,
        subject=subject if isinstance(subject, str) and subject else value,
        claims=claims,
        expires_at=numeric_date(claims, "exp"),
        principal=uid,
        entities=EntitySlice(entities=(principal, *(Entity(uid=group) for group in groups))),
        token=_token_context(claims) if access else None,
        credential=credential,
    )


def token_kind(claims: Mapping[str, object], source: IdentitySource) -> TokenKind:
    """The kind of a verified token: the only one that the source takes, or that which the token says.

    Raises:
        Unauthenticated: `token_type`, where the source takes either and the token says neither.
    """
    if source.token != "either":
        return source.token
    match claims.get("token_use"):
        case "access":
            return "access"
        case "id":
            return "id"
        case _:
            raise Unauthenticated(Reason.TOKEN_TYPE, "expected the claim `token_use` to be `access` or `id`")


def numeric_date(claims: Mapping[str, object], name: str) -> float | None:
    """A NumericDate (RFC 7519, section 2) in seconds since the epoch; None if the claim is absent.

    Raises:
        Unauthenticated: `token_claims`, where it is not a finite number below 2^53.
    """
    if name not in claims:
        return None
    value = claims[name]
    # bool is an int in Python; for NaN the comparison is false.
    if isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= MAX_SECONDS:
        return float(value)
    raise _bad(f"expected the claim `{name}` to be a number of seconds since the epoch")


def value_from_json(data: object) -> Value | None:
    """A decoded JSON value as a Cedar value; None: Cedar cannot say it, leave it out.

    Left out are: null; numbers with a fraction or an exponent; integers beyond 64 bits; strings with a lone
    surrogate or of more than `MAX_TEXT` characters; arrays and objects of more than `MAX_ITEMS` items or
    nested deeper than `MAX_DEPTH`; objects with a key `__entity`, `__extn` or `__expr`. What is left out
    of an array or an object leaves the rest of it in place. Strings stay strings: none becomes an entity, an
    address or a date.
    """
    return _value(data, MAX_DEPTH)


def _value(data: object, depth: int) -> Value | None:
    match data:
        case str():
            return data if _is_text(data) else None
        case bool():
            return data
        case int():
            return data if data in _LONG else None
        case list() if depth and len(data) <= MAX_ITEMS:
            return tuple(item for element in data if (item := _value(element, depth - 1)) is not None)
        case dict() if depth and len(data) <= MAX_ITEMS and not _ESCAPES & data.keys():
            return _record(data, depth - 1)
        case _:
            return None


def _record(data: Mapping[str, object], depth: int) -> dict[str, Value]:
    return {
        name: value for name, member in data.items() if _is_text(name) and (value := _value(member, depth)) is not None
    }


def _is_text(text: str) -> bool:
    if len(text) > MAX_TEXT:
        return False
    if text.isascii():
        return True
    try:
        text.encode()
    except UnicodeEncodeError:  # "\ud800" is legal JSON, and no Unicode text
        return False
    return True


def _attributes(claims: Mapping[str, object]) -> dict[str, Value]:
    return _record({k: v for k, v in claims.items() if k not in _ESCAPES and k != _COGNITO_GROUPS}, MAX_DEPTH)


def _token_context(claims: Mapping[str, object]) -> dict[str, Value]:
    token = _record({name: value for name, value in claims.items() if name not in _ESCAPES}, MAX_DEPTH)
    scope = token.get("scope")
    if isinstance(scope, str):
        token["scope"] = tuple(word for word in scope.split(" ") if word)
    return token


def _groups(claims: Mapping[str, object], source: IdentitySource) -> tuple[EntityUid, ...]:
    if source.group_type is None or source.group_claim is None:
        return ()
    names = _group_names(claims, source.group_claim)
    ids = {_entity_id(source, name, source.group_claim): None for name in names}  # distinct, in order
    if len(ids) > source.max_groups:
        raise _bad(f"the claim `{source.group_claim}` has more than {source.max_groups} groups")
    return tuple(EntityUid(source.group_type, id) for id in ids)


def _group_names(claims: Mapping[str, object], claim: str) -> list[str]:
    match claims.get(claim):
        case None:
            # OpenID Connect Core, 5.6.2: the groups are kept elsewhere, which is not the same as none.
            elsewhere = claims.get("_claim_names")
            if isinstance(elsewhere, Mapping) and claim in elsewhere:
                raise _bad(f"the claim `{claim}` is distributed; expected the groups in the token")
            return []
        case str() as words:
            return [word for word in words.split(" ") if word]
        case list() as names if all(isinstance(name, str) and name for name in names):
            return names
        case _:
            raise _bad(f"expected the claim `{claim}` to be a string or an array of non-empty strings")


def _entity_id(source: IdentitySource, value: str, claim: str) -> str:
    id = value if source.prefix is None else f"{source.prefix}|{value}"
    if len(id) > MAX_ID:
        raise _bad(f"the claim `{claim}` makes an entity id of more than {MAX_ID} characters")
    if _CONTROL.search(value) or not _is_text(value):
        raise _bad(f"the claim `{claim}` holds characters that no entity id may have")
    return id


def _refuse_colliding_names(claims: Mapping[str, object]) -> None:
    for name in _COGNITO_PREFIXES:
        if name in claims and any(other.startswith(f"{name}:") for other in claims):
            raise _bad(f"expected no claim `{name}` beside claims that begin with `{name}:`")


def _bad(detail: str) -> Unauthenticated:
    return Unauthenticated(Reason.TOKEN_CLAIMS, detail)
