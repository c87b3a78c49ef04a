"""Verified claims → the principal, its groups and attributes, and `context.token`, by a store's identity source.

Written from the user guide alone ("Mapping Amazon Cognito tokens to schema", "Mapping OIDC tokens to schema") and not
from the product's own rules (`authz.core.claims`), which a test holds against these. What the guide leaves open is
answered as docs/emulator.md says.

* The principal is `<principal type>::"<pool id or prefix>|<claim>"`; its parents are its groups, prefixed alike.
* Claims of an ID token are the principal's attributes; those of an access token are `context.token`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from authz.core.model import EntityUid
from authz.emulator.errors import ValidationError
from authz.emulator.tokens import COGNITO_GROUPS, Claims, Kind, Terms, bad_token
from authz.emulator.values import ESCAPES, Json, is_text

MAX_GROUPS = 99
"""Of one principal (API reference, `BatchIsAuthorizedWithToken`; quotas, "Transitive parents")."""
MAX_ID = 612
"""Characters (`EntityId`)."""
_COGNITO_PREFIXES = ("cognito", "custom", "dev")
_LONG = range(-(2**63), 2**63)


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """Whom one or two tokens stand for. Values are in Cedar's JSON form."""

    principal: EntityUid
    groups: tuple[EntityUid, ...] = ()
    attributes: Mapping[str, Json] = field(default_factory=dict, repr=False)
    token: Mapping[str, Json] | None = field(default=None, repr=False)
    """`context.token`; None: there was no access token."""


def subject_of(tokens: Mapping[Kind, Claims], terms: Terms) -> Subject:
    """Whom verified claims stand for.

    Raises:
        ValidationError: a claim is not as the identity source needs it, or two tokens have two subjects.
    """
    principals = {kind: _principal(claims, kind, terms) for kind, claims in tokens.items()}
    if len(set(principals.values())) != 1:
        raise ValidationError([("", "the identity token and the access token are of different subjects")])
    # Both tokens of one user tell the same groups; where they differ none is lost, for a forbid may hang on it.
    groups = dict.fromkeys(group for kind, claims in tokens.items() for group in _groups(claims, kind, terms))
    if len(groups) > MAX_GROUPS:
        raise ValidationError([("", f"the principal is in more than {MAX_GROUPS} groups")])
    return Subject(
        principal=next(iter(principals.values())),
        groups=tuple(groups),
        attributes=_attributes(tokens["id"]) if "id" in tokens else {},
        token=_token(tokens["access"]) if "access" in tokens else None,
    )


def _principal(claims: Claims, kind: Kind, terms: Terms) -> EntityUid:
    for name in _COGNITO_PREFIXES:
        if name in claims and any(other.startswith(f"{name}:") for other in claims):
            raise bad_token(kind, f"the token has a claim `{name}` beside claims that begin with `{name}:`")
    value = claims.get(terms.id_claim)
    if not isinstance(value, str) or not value:
        raise bad_token(kind, f"the token's `{terms.id_claim}` is missing or no text")
    return _uid(terms.principal_type, value, kind, terms)


def _groups(claims: Claims, kind: Kind, terms: Terms) -> Iterator[EntityUid]:
    if terms.group_type is None:
        return
    held = claims.get(terms.group_claim)
    if held is None:
        return
    # One name and several are told apart by spaces: a group with a space in its name needs an array.
    names = _words(held) if isinstance(held, str) else held
    if not isinstance(names, list) or not all(isinstance(name, str) and name for name in names):
        raise bad_token(kind, f"the token's `{terms.group_claim}` is neither a text nor an array of texts")
    for name in names:
        yield _uid(terms.group_type, name, kind, terms)


def _uid(entity_type: str, name: str, kind: Kind, terms: Terms) -> EntityUid:
    id = name if terms.prefix is None else f"{terms.prefix}|{name}"
    if len(id) > MAX_ID or not is_text(id):
        raise bad_token(kind, f"the token makes an id of a `{entity_type}` that is no entity's")
    return EntityUid(entity_type, id)


def _attributes(claims: Claims) -> dict[str, Json]:
    return _record({name: value for name, value in claims.items() if name != COGNITO_GROUPS})


def _token(claims: Claims) -> dict[str, Json]:
    found = _record(claims)
    scope = claims.get("scope")
    return {**found, "scope": _words(scope)} if isinstance(scope, str) and is_text(scope) else found


def _words(text: str) -> list[str]:
    return [word for word in text.split(" ") if word]


def _record(claims: Claims) -> dict[str, Json]:
    return {name: _value(value) for name, value in claims.items() if _is_name(name) and _can_be_told(value)}


def _value(value: Json) -> Json:
    """A claim without what Cedar has no word for, wherever that stands."""
    if isinstance(value, dict):
        return _record(value)
    if isinstance(value, list):
        return [_value(member) for member in value if _can_be_told(member)]
    return value


def _can_be_told(value: Json) -> bool:
    """No null, no fraction, nothing beyond 64 bits, no object that Cedar would read as something else."""
    if isinstance(value, str):
        return is_text(value)
    if isinstance(value, int):
        return value in _LONG
    if isinstance(value, dict):
        return not ESCAPES & value.keys()
    return isinstance(value, list)


def _is_name(name: str) -> bool:
    return name not in ESCAPES and is_text(name)
