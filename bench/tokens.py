"""The issuer of the workload: its key, good tokens, and bad ones of every kind that must not pass."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import hmac
import json
import os
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import jwt
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from jwt.algorithms import RSAAlgorithm

ISSUER = "https://login.example.com"
AUDIENCE = "documents-api"
ALGORITHM = "RS256"
KEY_ID = "bench-2025-key-1"
TOKEN_TYPE = "at+jwt"
HOUR = 3600
VALID = 24 * HOUR
"""Seconds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Keys:
    """The issuer's signing key."""

    private: rsa.RSAPrivateKey = field(repr=False)

    @classmethod
    def new(cls) -> Self:
        return cls(private=rsa.generate_private_key(public_exponent=65537, key_size=2048))

    @classmethod
    def kept(cls, file: Path) -> Self:
        """The key in the file, made when there is none: a peer is configured with the key set once, and finds it
        the same in each run.
        """
        if not file.exists():
            _keep(file, cls.new().private)
        key = serialization.load_pem_private_key(file.read_bytes(), password=None)
        assert isinstance(key, rsa.RSAPrivateKey)
        return cls(private=key)

    @property
    def jwks(self) -> str:
        """The public key as a key set (RFC 7517)."""
        public = RSAAlgorithm.to_jwk(self.private.public_key(), as_dict=True)
        return json.dumps({"keys": [{**public, "kid": KEY_ID, "use": "sig", "alg": ALGORITHM}]})

    def token(self, claims: Mapping[str, Any]) -> str:
        """An access token with what an identity provider usually puts in; about 800 characters."""
        return jwt.encode(_usual(claims), self.private, algorithm=ALGORITHM, headers=_head())

    def bad_tokens(self, claims: Mapping[str, Any]) -> dict[str, str]:
        """Tokens that are not to be believed, by what is wrong with each; otherwise as `token` makes them."""
        now = int(time.time())
        good = self.token(claims)
        wrong: dict[str, Mapping[str, Any]] = {
            "expired": {"iat": now - 2 * HOUR, "nbf": now - 2 * HOUR, "exp": now - HOUR},
            "not-yet-valid": {"nbf": now + HOUR},
            "other-issuer": {"iss": "https://login.example.org"},
            "other-audience": {"aud": "another-api"},
        }
        return {name: self.token({**claims, **changes}) for name, changes in wrong.items()} | {
            "other-key": Keys.new().token(claims),
            "changed-claims": _changed(good, _usual({**claims, "sub": "user-99"})),
            "unsigned": f"{_part({**_head(), 'alg': 'none'})}.{_part(_usual(claims))}.",
            "public-key-as-secret": self._by_secret(claims),
            "no-token": "no.token.at-all",
        }

    def _by_secret(self, claims: Mapping[str, Any]) -> str:
        # By hand, for PyJWT refuses to be the one who makes it.
        pem = serialization.Encoding.PEM
        secret = self.private.public_key().public_bytes(pem, serialization.PublicFormat.SubjectPublicKeyInfo)
        signed = f"{_part({**_head(), 'alg': 'HS256'})}.{_part(_usual(claims))}"
        return f"{signed}.{_text(hmac.digest(secret, signed.encode(), hashlib.sha256))}"


def _head() -> dict[str, str]:
    return {"kid": KEY_ID, "typ": TOKEN_TYPE}


def _usual(claims: Mapping[str, Any]) -> dict[str, Any]:
    now = int(time.time())
    name = claims["sub"]
    return {
        "iss": ISSUER,
        "aud": AUDIENCE,
        "iat": now - 60,
        "nbf": now - 60,
        "exp": now + VALID,
        "jti": f"bench-{name}-0123456789abcdef",
        "client_id": "bench-web-client",
        "email": f"{name}@example.com",
        **claims,
    }


def _changed(token: str, claims: Mapping[str, Any]) -> str:
    head, _, signature = token.split(".")
    return f"{head}.{_part(claims)}.{signature}"


def _part(value: Mapping[str, Any]) -> str:
    return _text(json.dumps(value, separators=(",", ":")).encode())


def _text(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode("ascii")


def _keep(file: Path, key: rsa.RSAPrivateKey) -> None:
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    file.parent.mkdir(parents=True, exist_ok=True)
    number, name = tempfile.mkstemp(dir=file.parent)  # readable by its owner alone
    with os.fdopen(number, "wb") as opened:
        opened.write(pem)
    # Whole or not at all; of two benches that start at once one is first, and both take its key.
    with contextlib.suppress(FileExistsError):
        os.link(name, file)
    Path(name).unlink()
