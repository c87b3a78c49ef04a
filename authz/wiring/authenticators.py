"""Authenticators as configured → those that are asked, by name and in order."""

from __future__ import annotations

from collections.abc import Mapping

from authz.authn import api_keys, forwarded_certificate
from authz.authn.api_keys import ApiKey, ApiKeys
from authz.authn.carriers import Carrier, cookie, header_with_scheme, plain_header
from authz.authn.forwarded_certificate import ClientCertificates
from authz.authn.jwt import TokenVerifier
from authz.authn.revocation import DenyList
from authz.authn.tokens import TokenAuthenticator
from authz.config.credentials import ApiKeysShape, AuthenticatorShape, ClientCertificateShape, TokenShape
from authz.config.shape import ConfigShape
from authz.core.ports import Authenticator

AUTHORIZATION = "authorization"
BEARER = "Bearer"


def build_authenticators(
    shape: ConfigShape,
    verifier: TokenVerifier,
    keys: Mapping[str, Mapping[str, ApiKey]],
    deny_list: DenyList,
) -> dict[str, Authenticator]:
    """Every configured authenticator by name. `keys`: those of each authenticator that has a file of them."""
    return {one.name: _built(one, verifier, keys, deny_list) for one in shape.authenticators}


def _built(
    shape: AuthenticatorShape,
    verifier: TokenVerifier,
    keys: Mapping[str, Mapping[str, ApiKey]],
    deny_list: DenyList,
) -> Authenticator:
    match _kind(shape):
        case TokenShape() as token:
            return TokenAuthenticator(verifier, token_carrier(token))
        case ApiKeysShape() as given:
            carrier = plain_header(given.header.lower())
            return ApiKeys(keys[shape.name], carrier, name=shape.name, deny_list=deny_list)
        case ClientCertificateShape() as certificate:
            return ClientCertificates(
                name=shape.name,
                principal_type=certificate.type,
                kind=certificate.name,
                allowed=certificate.allowed,
                deny_list=deny_list,
            )


def _kind(shape: AuthenticatorShape) -> TokenShape | ApiKeysShape | ClientCertificateShape:
    kind = shape.token or shape.api_keys or shape.client_certificate
    if kind is None:
        raise RuntimeError("an authenticator without a kind passed the check of the configuration")
    return kind


def token_carrier(shape: TokenShape) -> Carrier:
    """Where a token stands."""
    if shape.cookie is not None:
        return cookie(shape.cookie)
    header, scheme = place_of(shape)
    return header_with_scheme(header, scheme) if scheme is not None else plain_header(header)


def place_of(shape: TokenShape) -> tuple[str, str | None]:
    """The header of a token that stands in one, and the word before it."""
    header = (shape.header or AUTHORIZATION).lower()
    return header, shape.scheme if shape.scheme is not None or header != AUTHORIZATION else BEARER


def challenges(shape: ConfigShape) -> dict[str, str]:
    """Authenticator → the scheme of its challenge, where that is not `Bearer`."""
    found: dict[str, str] = {}
    for one in shape.authenticators:
        if one.api_keys is not None:
            found[one.name] = api_keys.SCHEME
        elif one.client_certificate is not None:
            found[one.name] = forwarded_certificate.SCHEME
    return found
