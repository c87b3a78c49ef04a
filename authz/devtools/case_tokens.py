"""Tokens for cases: real ones, signed by keys that exist for one run, on the terms of the issuers configured."""

from __future__ import annotations

import json
import re
import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from authz.authn.issuer import DEFAULT_TYPES, Issuer
from authz.authn.jwks import StaticKeys
from authz.core.claims import TokenKind
from authz.wiring.issuers import IssuerPlan

LIFETIME = 300
"""Seconds that a case's token lives, unless the case gives `exp`."""
KID = "cases"
# Those whose keys are made quickly come first.
_PREFERRED = ("EdDSA", "ES256", "ES384", "ES512", "RS256", "RS384", "RS512", "PS256", "PS384", "PS512")
_CURVES: Mapping[str, Callable[[], ec.EllipticCurve]] = {
    "ES256": ec.SECP256R1,
    "ES384": ec.SECP384R1,
    "ES512": ec.SECP521R1,
}
_TIMES = frozenset({"exp", "nbf", "iat", "auth_time"})
_RELATIVE = re.compile(r"([+-][0-9]{1,9})([smhd])")
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


@dataclass(frozen=True, slots=True, kw_only=True)
class Signer:
    """One issuer's part in a run: a key of its own, and the claims that its tokens must have."""

    plan: IssuerPlan
    """As configured, but for the keys, which are the run's."""
    issuer: Issuer
    algorithm: str
    key: Any = field(repr=False)

    @classmethod
    def of(cls, plan: IssuerPlan) -> Signer:
        """A signer for an issuer, with a new key for one of the algorithms that it accepts.

        Raises:
            Misconfigured: the issuer's terms do not go together.
        """
        algorithm = _algorithm(plan.shape.algorithms)
        key, keys = _key_pair(algorithm)
        return cls(plan=replace(plan, keys=keys, material=KID), issuer=plan.issuer(keys), algorithm=algorithm, key=key)

    def token(self, claims: Mapping[str, Any], *, now: float) -> str:
        """A signed token with these claims, and those that the issuer asks for where they are not given.

        A claim given as None is left out; `-1h` as the value of a date means an hour before `now`.
        """
        given = {name: _moment(value, now) if name in _TIMES else value for name, value in claims.items()}
        payload = {name: value for name, value in (self._needed(given, int(now)) | given).items() if value is not None}
        headers = {
            "typ": _type(self.issuer, self._kind(given)),
            **({"kid": KID} if not self.issuer.keys.symmetric else {}),
        }
        # Not `jwt.encode`: it refuses what a case may well want to send, such as a number as `sub`.
        body = json.dumps(payload, separators=(",", ":")).encode()
        return jwt.PyJWS().encode(body, self.key, algorithm=self.algorithm, headers=headers)

    def _needed(self, given: Mapping[str, Any], now: int) -> dict[str, Any]:
        shape, kind = self.plan.shape, self._kind(given)
        audience = shape.audience or (KID,)  # where any will do
        needed: dict[str, Any] = {"iss": shape.issuer, "iat": now, "exp": now + LIFETIME}
        if self.issuer.cognito:
            needed["token_use"] = kind
        if self.issuer.cognito and kind == "access":
            # A Cognito access token has no `aud`: who asked for it is whom it is meant for.
            both = [name for name in audience if not shape.clients or name in shape.clients]
            needed["client_id"] = (both or audience)[0]
        else:
            needed["aud"] = audience[0]
            if shape.clients and not given.keys() & {"azp", "client_id", "cid"}:
                needed["azp"] = shape.clients[0]
        return needed

    def _kind(self, given: Mapping[str, Any]) -> TokenKind:
        """Where either kind counts, a token is an access token, unless its case says that it is an ID token."""
        kind = self.issuer.source.token
        if kind != "either":
            return kind
        return "id" if given.get("token_use") == "id" else "access"


def signer_for(signers: Sequence[Signer], claims: Mapping[str, Any]) -> Signer:
    """The signer that the claim `iss` names, else the first: a foreign `iss` is a case of its own."""
    name = claims.get("iss")
    return next((signer for signer in signers if signer.issuer.issuer == name), signers[0])


def _algorithm(accepted: Sequence[str]) -> str:
    return next((name for name in _PREFERRED if name in accepted), accepted[0])


def _key_pair(algorithm: str) -> tuple[Any, StaticKeys]:
    if algorithm.startswith("HS"):
        secret = secrets.token_bytes(64)
        return secret, StaticKeys.from_secret(secret)
    key = _private_key(algorithm)
    member = dict(jwt.get_algorithm_by_name(algorithm).to_jwk(key.public_key(), as_dict=True))
    member |= {"kid": KID, "alg": algorithm, "use": "sig", "key_ops": ["verify"]}
    return key, StaticKeys.from_jwks(json.dumps({"keys": [member]}).encode())


def _private_key(algorithm: str) -> Any:
    if algorithm in _CURVES:
        return ec.generate_private_key(_CURVES[algorithm]())
    if algorithm == "EdDSA":
        return ed25519.Ed25519PrivateKey.generate()
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


def _type(issuer: Issuer, kind: TokenKind) -> str:
    types = issuer.types or DEFAULT_TYPES[kind]
    # RFC 9068, section 2.1, names the type of access tokens; where it is accepted, it is the one to send.
    return next((name for name in ("at+jwt", "jwt") if name in types), min(types))


def _moment(value: Any, now: float) -> Any:
    match = _RELATIVE.fullmatch(value) if isinstance(value, str) else None
    return int(now) + int(match[1]) * _SECONDS[match[2]] if match is not None else value
