"""A policy store's identity source: whose tokens its policies are written for (Verified Permissions).

Source: API reference, `Configuration` (CognitoUserPoolConfiguration, OpenIdConnectConfiguration). What tokens
become by it: `authz.core.claims`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

SourceKind: TypeAlias = Literal["cognito", "oidc"]


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreIdentitySource:
    """An identity source as its store keeps it."""

    id: str
    kind: SourceKind
    issuer: str
    """The exact `iss` of its tokens."""
    principal_type: str
    """Entity type of the principals."""
    user_pool: str = ""
    """`cognito`: the pool's id, which stands before each id, with a `|`."""
    prefix: str = ""
    """`oidc`: `entityIdPrefix`; empty: none."""
    token: Literal["access", "id", "either"] = "either"
    """The kind of token that counts; Cognito's take both, told apart by `token_use`."""
    id_claim: str = "sub"
    """`principalIdClaim`."""
    clients: tuple[str, ...] = ()
    """`clientIds`: of Cognito, and of OIDC ID tokens; empty: not checked."""
    audiences: tuple[str, ...] = ()
    """`audiences` of OIDC access tokens; empty: not checked."""
    group_type: str = ""
    """Empty: groups are not mapped."""
    group_claim: str = ""
