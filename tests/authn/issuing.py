"""An issuer for tests: real keys, signed tokens, and requests that carry them."""

import base64
import hashlib
import hmac
import json
from collections.abc import Callable, Coroutine, Mapping
from functools import cache
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from authz.authn.carriers import BEARER
from authz.authn.issuer import Issuer
from authz.authn.jwks import StaticKeys
from authz.authn.jwt import TokenVerifier
from authz.authn.tokens import TokenAuthenticator
from authz.core.claims import IdentitySource
from authz.core.model import CanonicalPath, Headers, Request

ISSUER = "https://login.example.com"
NOW = 1_800_000_000.0
SECRET = b"a secret of thirty-two bytes, or more of them, in fact sixty-four"
_CURVES: dict[str, Callable[[], ec.EllipticCurve]] = {
    "ES256": ec.SECP256R1,
    "ES384": ec.SECP384R1,
    "ES512": ec.SECP521R1,
    "ES256K": ec.SECP256K1,
}


class Clock:
    """A clock that moves when it is told to."""

    def __init__(self, time: float = NOW) -> None:
        self.time = time

    def __call__(self) -> float:
        return self.time


@cache
def private_key(alg: str, name: str = "first") -> Any:
    """A private key for an algorithm; another name, another key. Made once."""
    if alg.startswith(("RS", "PS")):
        return rsa.generate_private_key(65537, int(name) if name.isdigit() else 2048)
    if alg in _CURVES:
        return ec.generate_private_key(_CURVES[alg]())
    return ed448.Ed448PrivateKey.generate() if alg == "Ed448" else ed25519.Ed25519PrivateKey.generate()


def family(alg: str) -> str:
    """Algorithms of one family share a key here: RS256 and PS512 do."""
    return "RS256" if alg[:2] in ("RS", "PS") else alg


def jwk(alg: str, name: str = "first", /, *, kid: str | None = "k1", **changes: Any) -> dict[str, Any]:
    """The public key as a JWK. A member given as None is left out."""
    algorithm = jwt.get_algorithm_by_name(alg if alg != "Ed448" else "EdDSA")
    key = dict(algorithm.to_jwk(private_key(family(alg), name).public_key(), as_dict=True))
    key.pop("key_ops", None)
    key |= {"kid": kid, "alg": alg, "use": "sig"} | changes
    return {member: value for member, value in key.items() if value is not None}


def jwks(*keys: Mapping[str, Any]) -> bytes:
    return json.dumps({"keys": list(keys)}).encode()


def public_pem(alg: str, name: str = "first") -> bytes:
    key = private_key(family(alg), name).public_key()
    return key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


def private_pem(alg: str) -> bytes:
    return private_key(family(alg)).private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def claims(**changes: Any) -> dict[str, Any]:
    """Claims that are accepted. A claim given as None is left out; `null` in a token is written by hand."""
    base = {"iss": ISSUER, "sub": "u-1", "aud": "api", "exp": NOW + 300, "iat": NOW - 10}
    return {name: value for name, value in (base | changes).items() if value is not None}


def b64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def signed(
    payload: Mapping[str, Any] | bytes | None = None,
    *,
    alg: str = "RS256",
    name: str = "first",
    header: Mapping[str, Any] | bytes | None = None,
) -> str:
    """A token with exactly this header and payload, well-formed or not, and a good signature over them."""
    head = header if isinstance(header, bytes) else json.dumps(_header(alg, header)).encode()
    body = payload if isinstance(payload, bytes) else json.dumps(claims() if payload is None else payload).encode()
    text = f"{b64(head)}.{b64(body)}"
    return f"{text}.{b64(signature(text.encode(), alg, name))}"


def _header(alg: str, changes: Mapping[str, Any] | None) -> dict[str, Any]:
    base = {"alg": alg, "kid": "k1", "typ": "JWT"} | dict(changes or {})
    return {member: value for member, value in base.items() if value is not None}


def signature(text: bytes, alg: str, name: str = "first") -> bytes:
    if alg.startswith("HS"):
        return hmac.digest(SECRET, text, getattr(hashlib, f"sha{alg[2:]}"))
    return jwt.get_algorithm_by_name(alg).sign(text, private_key(family(alg), name))


def source(**changes: Any) -> IdentitySource:
    return IdentitySource(**{"principal_type": "App::User"} | changes)


def issuer(**changes: Any) -> Issuer:
    """An issuer with one RSA key `k1`, for access tokens with the audience `api`."""
    base: dict[str, Any] = {
        "name": "login",
        "issuer": ISSUER,
        "keys": static(jwk("RS256")),
        "source": source(),
        "algorithms": frozenset({"RS256"}),
        "audiences": frozenset({"api"}),
    }
    return Issuer(**base | changes)


def static(*keys: Mapping[str, Any]) -> StaticKeys:
    return StaticKeys.from_jwks(jwks(*keys))


def verifier(*issuers: Issuer, now: Any = None, **settings: Any) -> TokenVerifier:
    return TokenVerifier(issuers or (issuer(),), now=now if now is not None else Clock(), **settings)


def tokens(*issuers: Issuer, now: Any = None, **settings: Any) -> TokenAuthenticator:
    """Of the Authorization header."""
    return TokenAuthenticator(verifier(*issuers, now=now, **settings), BEARER)


def request_with(headers: Headers, extensions: Mapping[str, str] | None = None) -> Request:
    """A request with these header fields, and what a proxy vouches for."""
    return Request(
        id="r-1",
        method="GET",
        scheme="https",
        host="api.example.com",
        path=CanonicalPath(text="/", segments=("",)),
        headers=headers,
        extensions=extensions or {},
    )


def asking(*authorization: str) -> Request:
    """A request with these Authorization headers."""
    return request_with(Headers([("Authorization", value) for value in authorization]))


def bearing(token: str) -> Request:
    return asking(f"Bearer {token}")


def now_or_never(awaitable: Coroutine[Any, Any, Any]) -> Any:
    """The result of a coroutine that never waits."""
    try:
        awaitable.send(None)
    except StopIteration as stop:
        return stop.value
    awaitable.close()
    raise AssertionError("it waited")
