"""An issuer as configured, and as the policy store's identity source describes it → the terms that count.

The configuration says how tokens are verified; a store's identity source says what they become, for Verified
Permissions answers by it. What the operator left out is the store's; what he wrote must not contradict it, for then
the same token would be another principal here than there.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from authz.config.shape import Groups, IssuerShape, Principal
from authz.config.yaml_text import Place
from authz.core.claims import MAX_GROUPS, MAX_STORE_GROUPS, IdentitySource
from authz.core.identity_source import StoreIdentitySource

# Amazon Cognito user pools: `https://cognito-idp.<region>.amazonaws.com/<pool id>`.
_COGNITO = re.compile(r"https://cognito-idp\.[a-z0-9-]+\.amazonaws\.com(?:\.cn)?/([A-Za-z0-9_-]+)")
_COGNITO_GROUPS = "cognito:groups"
_GROUPS = "groups"
_ADVICE = "leave the setting out, or change one of them"
_Fault = tuple[Place, str]
"""Where within the issuer's settings, and what is wrong."""
_Compared = tuple[Place, str | None, str | None]
"""A setting, what was written (None: nothing), and what the store has."""


@dataclass(frozen=True, slots=True, kw_only=True)
class IssuerTerms:
    """One issuer's settings, whole: what was written, and what a store's identity source adds to it."""

    shape: IssuerShape
    """As if the operator had written all of it."""
    user_pool: str | None = None
    """The id of an Amazon Cognito user pool; None: it is another issuer."""
    client_as_audience: bool = False
    """May a client stand for the audience of an access token without `aud`?"""
    max_groups: int = MAX_GROUPS

    def source(self, principal_type: str) -> IdentitySource:
        """What its tokens yield: principals of that type.

        Raises:
            Misconfigured: the settings do not go together.
        """
        shape, pool = self.shape, self.user_pool
        groups = shape.groups
        default = _COGNITO_GROUPS if pool is not None else _GROUPS
        return IdentitySource(
            principal_type=principal_type,
            prefix=pool if shape.principal.prefix is None else shape.principal.prefix,
            id_claim=shape.principal.claim,
            group_type=groups.type if groups is not None else None,
            group_claim=(groups.claim or default) if groups is not None else None,
            max_groups=self.max_groups,
            token=shape.token,
        )


def configured_terms(shape: IssuerShape) -> IssuerTerms:
    """The terms of an issuer of which the store says nothing."""
    pool = _COGNITO.fullmatch(shape.issuer)
    return IssuerTerms(shape=shape, user_pool=pool[1] if pool is not None else None)


def merged_terms(shape: IssuerShape, store: StoreIdentitySource) -> IssuerTerms:
    """The terms of an issuer that both describe: what the operator left out is the store's."""
    cognito = store.kind == "cognito"
    prefix = shape.principal.prefix
    changes: dict[str, object] = {
        "audience": shape.audience or _accepted(store),
        "token": shape.token if "token" in shape.model_fields_set else store.token,
        "principal": Principal(
            type=shape.principal.type or store.principal_type,
            claim=shape.principal.claim if "claim" in shape.principal.model_fields_set else store.id_claim,
            prefix=_prefix(store) if prefix is None else prefix,
        ),
        "groups": _groups(shape.groups, store),
    }
    return IssuerTerms(
        shape=shape.model_copy(update=changes),
        user_pool=store.user_pool if cognito else None,
        client_as_audience=not cognito and bool(store.audiences),
        max_groups=MAX_STORE_GROUPS,
    )


def contradictions(shape: IssuerShape, store: StoreIdentitySource) -> Iterator[_Fault]:
    """What an operator wrote otherwise than the store has it.

    Fewer audiences than the store's, and one kind of a user pool's two, are no contradiction: tokens that count
    here count there.
    """
    written: Sequence[_Compared] = (
        (("principal", "type"), shape.principal.type, store.principal_type),
        (("principal", "claim"), _written(shape.principal, "claim"), store.id_claim),
        (("principal", "prefix"), shape.principal.prefix, _prefix(store)),
        (("groups", "type"), shape.groups.type if shape.groups is not None else None, store.group_type or None),
        (("groups", "claim"), shape.groups.claim if shape.groups is not None else None, _group_claim(store)),
        (("token",), None if store.token == "either" else _written(shape, "token"), store.token),
    )
    for place, mine, theirs in written:
        if mine is not None and mine != theirs:
            text = f"`{'.'.join(map(str, place))}` is `{mine}`, and the policy store's identity source has "
            told = f"`{theirs}`" if theirs is not None else "none"
            yield place, f"{text}{told}: the same token would be another caller there; {_ADVICE}"
    yield from _wider(shape, _accepted(store))


def _wider(shape: IssuerShape, accepted: tuple[str, ...]) -> Iterator[_Fault]:
    known = ", ".join(f"`{name}`" for name in accepted)
    others = [name for name in shape.audience if name not in accepted]
    if accepted and others:
        text = f"`audience` has `{others[0]}`, and the policy store's identity source takes tokens for {known} only"
        yield ("audience",), f"{text}; {_ADVICE}"
    if accepted and shape.any_audience:
        text = f"`any_audience` is `true`, and the policy store's identity source takes tokens for {known} only"
        yield ("any_audience",), f"{text}; {_ADVICE}"


def terms_faults(terms: IssuerTerms, store: StoreIdentitySource | None) -> Iterator[_Fault]:
    """What the whole of an issuer's terms lacks, or has too much."""
    shape = terms.shape
    if shape.token == "either" and terms.user_pool is None:
        text = "`token: either` is for Amazon Cognito user pools, whose tokens say their kind; write `access` or `id`"
        yield ("token",), text
    if shape.any_audience and shape.audience:
        yield ("any_audience",), "`audience` and `any_audience` say whose tokens count in two ways; keep one"
    elif shape.any_audience and store is None:
        text = "`any_audience` is for the issuer of a policy store's identity source; list the `audience` of this one"
        yield ("any_audience",), text
    elif store is None and "audience" not in shape.model_fields_set:  # one that is written empty was told before
        yield ("audience",), "`audience` is required: without it tokens meant for any other service would count here"
    elif store is not None and not shape.audience and not shape.any_audience:
        text = (
            f"the policy store's identity source takes tokens of `{shape.issuer}` whoever they are meant for: list the "
            "`audience` that counts here (in `issuers`), or write `any_audience: true`"
        )
        yield ("audience",), text


def _accepted(store: StoreIdentitySource) -> tuple[str, ...]:
    """User guide, "Validating Amazon Cognito tokens" and "Validating OIDC tokens"."""
    return store.audiences if store.kind == "oidc" and store.token == "access" else store.clients


def _prefix(store: StoreIdentitySource) -> str | None:
    return (store.user_pool if store.kind == "cognito" else store.prefix) or None


def _group_claim(store: StoreIdentitySource) -> str | None:
    if not store.group_type:
        return None
    return store.group_claim or (_COGNITO_GROUPS if store.kind == "cognito" else _GROUPS)


def _groups(written: Groups | None, store: StoreIdentitySource) -> Groups | None:
    claim = _group_claim(store)
    if written is not None:
        return Groups(type=written.type, claim=written.claim or claim)
    return Groups(type=store.group_type, claim=claim) if store.group_type else None


def _written(shape: IssuerShape | Principal, name: str) -> str | None:
    return str(getattr(shape, name)) if name in shape.model_fields_set else None
