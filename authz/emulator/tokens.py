"""Which tokens are good for a store's identity source. Whom they stand for: `authz.emulator.subjects`.

Written from the user guide alone ("Working with Amazon Cognito identity sources", "Working with OIDC identity sources",
"… token validation") and not from the product's own rules (`authz.authn`), but for the signature. A token is good or
the call is a ValidationException; no text holds a token or a claim's value.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from jwt import PyJWS
from jwt.exceptions import PyJWTError

from authz.authn.compact import UnverifiedToken, unverified_token
from authz.authn.keys import ASYMMETRIC
from authz.core.errors import Unauthenticated
from authz.emulator.errors import ValidationError
from authz.emulator.issuer_keys import IssuerKeys, KeyPlace, NoKeys
from authz.emulator.records import IdentitySourceRecord

Kind: TypeAlias = Literal["id", "access"]
Claims: TypeAlias = Mapping[str, Any]
FIELDS: Mapping[Kind, str] = {"id": "identityToken", "access": "accessToken"}
COGNITO_GROUPS = "cognito:groups"
_POOL = re.compile(r"arn:([a-zA-Z0-9-]+):cognito-idp:([a-zA-Z0-9-]+):[0-9]{12}:userpool/([\w-]+_[0-9a-zA-Z]+)")
_SUFFIXES = {"aws-cn": "amazonaws.com.cn"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """An identity source, read for what it says of tokens."""

    issuer: str
    cognito: bool
    kinds: frozenset[Kind]
    """Which are taken."""
    principal_type: str
    prefix: str | None
    """Before each id, with `|` between; None: ids are bare."""
    id_claim: str
    admitted: frozenset[str]
    """`clientIds` or `audiences`; empty: not checked."""
    group_type: str | None = None
    """None: groups are not mapped."""
    group_claim: str = COGNITO_GROUPS


def cognito_issuer(pool_arn: str, path: str = "") -> str:
    """The issuer of a user pool's tokens.

    Raises:
        ValidationError: it is no user pool's ARN.
    """
    partition, region, pool = _pool(pool_arn, path)
    return f"https://cognito-idp.{region}.{_SUFFIXES.get(partition, 'amazonaws.com')}/{pool}"


def terms_of(source: IdentitySourceRecord) -> Terms:
    """What an identity source says of tokens."""
    configuration = source.configuration
    if "cognitoUserPoolConfiguration" in configuration:
        return _cognito_terms(source.principal_type, configuration["cognitoUserPoolConfiguration"])
    return _oidc_terms(source.principal_type, configuration["openIdConnectConfiguration"])


def _cognito_terms(principal_type: str, cognito: Mapping[str, Any]) -> Terms:
    return Terms(
        issuer=cognito_issuer(cognito["userPoolArn"]),
        cognito=True,
        kinds=frozenset({"id", "access"}),
        principal_type=principal_type,
        prefix=_pool(cognito["userPoolArn"])[2],
        id_claim="sub",
        admitted=frozenset(cognito.get("clientIds", ())),
        group_type=cognito.get("groupConfiguration", {}).get("groupEntityType"),
    )


def _oidc_terms(principal_type: str, oidc: Mapping[str, Any]) -> Terms:
    selection = oidc["tokenSelection"]
    kind: Kind = "access" if "accessTokenOnly" in selection else "id"
    chosen = selection["accessTokenOnly" if kind == "access" else "identityTokenOnly"]
    groups = oidc.get("groupConfiguration", {})
    return Terms(
        issuer=oidc["issuer"],
        cognito=False,
        kinds=frozenset({kind}),
        principal_type=principal_type,
        prefix=oidc.get("entityIdPrefix"),
        id_claim=chosen.get("principalIdClaim", "sub"),
        admitted=frozenset(chosen.get("audiences" if kind == "access" else "clientIds", ())),
        group_type=groups.get("groupEntityType"),
        group_claim=groups.get("groupClaim", ""),
    )


def _pool(arn: str, path: str = "") -> tuple[str, str, str]:
    found = _POOL.fullmatch(arn)
    if found is None:
        raise ValidationError([(path, "expected the ARN of an Amazon Cognito user pool")])
    return found[1], found[2], found[3]


# --- verification


async def verified_claims(text: str, kind: Kind, terms: Terms, keys: IssuerKeys, place: KeyPlace, now: float) -> Claims:
    """The claims of a token that is good for this identity source at this moment.

    Raises:
        ValidationError: it is not; the text says why.
    """
    if kind not in terms.kinds:
        other = FIELDS["id" if kind == "access" else "access"]
        raise bad_token(kind, f"the identity source takes no such token; it takes the other kind, in `{other}`")
    try:
        token = unverified_token(text)
    except Unauthenticated as error:
        raise bad_token(kind, f"the token is malformed: {error.detail}") from None
    # Before the keys are looked for: of another issuer's token nothing is asked.
    if token.claims.get("iss") != terms.issuer:
        raise bad_token(kind, "the token's issuer is not the identity source's")
    await _check_signature(token, kind, keys, place)
    _check_times(token.claims, kind, now)
    _check_use(token.claims, kind, terms)
    _check_client(token.claims, kind, terms)
    return token.claims


async def _check_signature(token: UnverifiedToken, kind: Kind, keys: IssuerKeys, place: KeyPlace) -> None:
    alg, kid = token.header.get("alg"), token.header.get("kid")
    if not isinstance(alg, str) or alg not in ASYMMETRIC:
        raise bad_token(kind, "the token is not signed by an asymmetric algorithm that is known")
    if "crit" in token.header or not isinstance(kid, str | None):
        raise bad_token(kind, "the token's header is not one of a JSON Web Token")
    try:
        key = await keys.key(place, kid, alg)
    except NoKeys as error:
        raise bad_token(kind, f"the issuer's keys cannot be read: {error}") from None
    if key is None:
        raise bad_token(kind, "the issuer has no key of the token's `kid` and `alg`")
    algorithm = PyJWS(sorted(ASYMMETRIC)).get_algorithm_by_name(alg)
    try:
        good = algorithm.verify(token.signed, algorithm.prepare_key(key.key), token.signature)
    except (PyJWTError, TypeError):
        good = False
    if not good:
        raise bad_token(kind, "the token's signature is not its issuer's")


def _check_times(claims: Claims, kind: Kind, now: float) -> None:
    expires, begins = _number(claims.get("exp")), _number(claims.get("nbf", 0))
    if expires is None or begins is None:
        raise bad_token(kind, "the token's `exp` or `nbf` is missing or no number")
    if now >= expires:
        raise bad_token(kind, "the token is expired")
    if now < begins:
        raise bad_token(kind, "the token is not valid yet")


def _number(value: object) -> float | None:
    return value if isinstance(value, int | float) and not isinstance(value, bool) else None


def _check_use(claims: Claims, kind: Kind, terms: Terms) -> None:
    use = claims.get("token_use")
    # Other issuers need not write it; if they do, and it is the other kind, the token stands in the wrong member.
    if use != kind and (terms.cognito or use in FIELDS):
        raise bad_token(kind, f"the token's `token_use` is not `{kind}`")


def _check_client(claims: Claims, kind: Kind, terms: Terms) -> None:
    if not terms.admitted:
        return
    if kind == "access":
        named = "client_id" if terms.cognito else next((name for name in ("aud", "cid") if name in claims), "client_id")
    else:
        named = "aud"
    held = claims.get(named)
    found = held if isinstance(held, list) else [held]
    if not any(isinstance(name, str) and name in terms.admitted for name in found):
        raise bad_token(kind, f"the token's `{named}` names no client or audience of the identity source")


def bad_token(kind: Kind, message: str) -> ValidationError:
    """The refusal of a token; `message` holds nothing of it."""
    return ValidationError([(f"/{FIELDS[kind]}", message)], message=f"Invalid token: {message}")
