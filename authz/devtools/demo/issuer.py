"""An OpenID Connect issuer as far as a verifier sees one: discovery, a key set, and signed access tokens.

Nobody signs in here: tokens are made by whoever holds the object. For demonstrations on loopback only.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import jwt
from aiohttp import web
from cryptography.hazmat.primitives.asymmetric import ec, rsa

AUDIENCE = "documents-api"
LIFETIME = 12 * 3600.0
"""Seconds for which a token counts: longer than anyone tries a demo."""
DISCOVERY = "/.well-known/openid-configuration"
JWKS = "/keys"

Algorithm = Literal["ES256", "RS256"]


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class SigningKeys:
    """One private key for each algorithm; never written anywhere."""

    es256: ec.EllipticCurvePrivateKey
    rs256: rsa.RSAPrivateKey

    @classmethod
    def generate(cls) -> SigningKeys:
        """New keys. Takes up to a second: call it in a worker thread."""
        return cls(
            es256=ec.generate_private_key(ec.SECP256R1()),
            rs256=rsa.generate_private_key(public_exponent=65537, key_size=2048),
        )


class DemoIssuer:
    """Signs tokens as `address`, and publishes what verifies them."""

    def __init__(self, address: str, keys: SigningKeys, *, now: Callable[[], float] = time.time) -> None:
        """`address` is the claim `iss` and where the issuer is reached, e.g. `http://127.0.0.1:8000`."""
        self.address = address
        self._keys = keys
        self._now = now

    def token(self, subject: str, claims: Mapping[str, object], *, algorithm: Algorithm = "ES256") -> str:
        """A signed access token (RFC 9068) with these claims beside the registered ones."""
        now = int(self._now())
        registered = {
            "iss": self.address,
            "sub": subject,
            "aud": AUDIENCE,
            "iat": now,
            "exp": now + int(LIFETIME),
            "jti": secrets.token_urlsafe(12),
            "client_id": "demo",
        }
        key = self._keys.es256 if algorithm == "ES256" else self._keys.rs256
        headers = {"kid": algorithm.lower(), "typ": "at+jwt"}
        return jwt.encode({**claims, **registered}, key, algorithm=algorithm, headers=headers)

    def discovery(self) -> dict[str, Any]:
        """The metadata (OpenID Connect Discovery 1.0, section 3); no endpoint to sign in, there is none."""
        return {
            "issuer": self.address,
            "jwks_uri": f"{self.address}{JWKS}",
            "response_types_supported": ["code"],
            "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": ["RS256", "ES256"],
        }

    def jwks(self) -> dict[str, Any]:
        """The public keys (RFC 7517, section 5)."""
        return {"keys": [_jwk("ES256", self._keys.es256.public_key()), _jwk("RS256", self._keys.rs256.public_key())]}

    def application(self) -> web.Application:
        """Discovery and key set over HTTP."""

        async def discovery(_: web.Request) -> web.Response:
            return web.json_response(self.discovery())

        async def jwks(_: web.Request) -> web.Response:
            return web.json_response(self.jwks())

        app = web.Application()
        app.router.add_get(DISCOVERY, discovery)
        app.router.add_get(JWKS, jwks)
        return app


def _jwk(algorithm: Algorithm, key: ec.EllipticCurvePublicKey | rsa.RSAPublicKey) -> dict[str, Any]:
    public = dict(jwt.get_algorithm_by_name(algorithm).to_jwk(key, as_dict=True))
    # PyJWT writes `key_ops` too, which says the same as `use`; RFC 7517, 4.3, asks for one of them.
    public.pop("key_ops", None)
    return public | {"kid": algorithm.lower(), "alg": algorithm, "use": "sig"}
