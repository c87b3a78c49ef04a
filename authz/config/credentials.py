"""The shape of `authenticators`: which credentials count, and where they stand in a request."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from authz.config.base import Shape


class TokenShape(Shape):
    """A token of one of the `issuers`, from one place."""

    header: str | None = None
    """A header. Default: `authorization`, unless `cookie` is given."""
    scheme: str | None = None
    """The word before the token. Default: `Bearer` in `authorization`, none in another header."""
    cookie: str | None = None
    """A cookie, instead of a header."""


class ApiKeysShape(Shape):
    """Keys that this service gave out itself; `authz key` makes them."""

    file: str
    """File with the keys' hashes and whom they stand for; watched."""
    header: str = "x-api-key"
    """The header that carries a key."""


class ClientCertificateShape(Shape):
    """The client's certificate as Envoy verified it: X-Forwarded-Client-Cert, or gRPC's `source.principal`."""

    type: str
    """Entity type of the principal."""
    name: Literal["uri", "dns", "subject", "hash"] = "uri"
    """What of the certificate is the principal's id."""
    allowed: tuple[str, ...] = ()
    """Names that count, such as `spiffe://example.org/ns/shop/*`, whose `*` covers the rest. Empty: all that Envoy
    verified."""


class AuthenticatorShape(Shape):
    """One way to say who calls: exactly one of `token`, `api_keys`, `client_certificate`."""

    name: str = Field(pattern=r"^[a-z][a-z0-9-]{0,63}$")
    """Unique; routes name it."""
    token: TokenShape | None = None
    """A token of an issuer."""
    api_keys: ApiKeysShape | None = None
    """API keys."""
    client_certificate: ClientCertificateShape | None = None
    """A client certificate that Envoy verified."""


BEARER = AuthenticatorShape(name="bearer", token=TokenShape())
