"""Keys that verify signatures: which are accepted, and how a token finds its own.

A key knows the algorithms it fits, by its type and curve and by its own `alg` (RFC 7517, section 4.4). A
token gets a key for its algorithm or none, so a public key can never serve as an HMAC secret (RFC 8725,
section 2.1). PyJWT and cryptography read the keys.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeAlias

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_public_key
from jwt import PyJWK
from jwt.algorithms import HMACAlgorithm
from jwt.exceptions import PyJWTError

from authz.core.errors import Problem, Reason, Unauthenticated

_RSA = frozenset({"RS256", "RS384", "RS512", "PS256", "PS384", "PS512"})
ASYMMETRIC = _RSA | {"ES256", "ES384", "ES512", "EdDSA"}
SYMMETRIC = frozenset({"HS256", "HS384", "HS512"})
MAX_KEYS = 100
MIN_RSA_BITS = 2048
MAX_RSA_BITS = 16_384
MAX_KID = 256
"""Characters of a key's id."""

# secp256k1 and Ed448 are left out: no issuer we know of needs them.
_CURVES: Mapping[str, frozenset[str]] = {
    "P-256": frozenset({"ES256"}),
    "P-384": frozenset({"ES384"}),
    "P-521": frozenset({"ES512"}),
    "Ed25519": frozenset({"EdDSA"}),
    "secp256r1": frozenset({"ES256"}),
    "secp384r1": frozenset({"ES384"}),
    "secp521r1": frozenset({"ES512"}),
}
_KTY: Mapping[str, str] = {"P-256": "EC", "P-384": "EC", "P-521": "EC", "Ed25519": "OKP"}
# RFC 7518, sections 6.2.2, 6.3.2 and 6.4: who publishes one of these has published the private key.
_PRIVATE_MEMBERS = frozenset({"d", "p", "q", "dp", "dq", "qi", "oth", "k"})
# RFC 7518, section 3.2: an HMAC key is at least as long as the hash.
_HMAC_BYTES: Mapping[str, int] = {"HS256": 32, "HS384": 48, "HS512": 64}
# Numbers are base64url: no longer text than the largest RSA modulus has is ever decoded.
_MAX_MEMBER = MAX_RSA_BITS // 6 + 8

PublicKey: TypeAlias = RSAPublicKey | EllipticCurvePublicKey | Ed25519PublicKey


class KeyRefused(ValueError):
    """A key that cannot be used; the words say what was expected."""


@dataclass(frozen=True, slots=True, kw_only=True)
class VerificationKey:
    """One key with the algorithms it fits."""

    kid: str | None
    algorithms: frozenset[str]
    fingerprint: str
    """SHA-256 of the public key (SubjectPublicKeyInfo), hexadecimal: the same whatever the key's form."""
    key: PublicKey | bytes = field(repr=False, compare=False)
    """bytes: a shared secret."""


class Keys:
    """An issuer's keys at one moment; replaced whole, never edited."""

    __slots__ = ("_all", "_by_kid", "_trusted")

    def __init__(self, keys: Iterable[VerificationKey]) -> None:
        self._all = tuple(keys)
        self._by_kid: dict[str | None, list[VerificationKey]] = {}
        for key in self._all:
            self._by_kid.setdefault(key.kid, []).append(key)
        self._trusted = frozenset((key.fingerprint, alg) for key in self._all for alg in key.algorithms)

    def __len__(self) -> int:
        return len(self._all)

    def __iter__(self) -> Iterator[VerificationKey]:
        return iter(self._all)

    def find(self, kid: str | None, alg: str) -> VerificationKey | None:
        """The key for a token's `kid` and `alg`, or None.

        `kid` is a hint (RFC 7515, section 4.1.4). Where it names no key, a key without an id may serve, and
        for a token without `kid` any key; but only if there is exactly one that fits the algorithm.
        """
        if kid is not None and kid in self._by_kid:
            return next((key for key in self._by_kid[kid] if alg in key.algorithms), None)
        candidates = self._all if kid is None else self._by_kid.get(None, ())
        fitting = {key.fingerprint: key for key in candidates if alg in key.algorithms}
        return next(iter(fitting.values())) if len(fitting) == 1 else None

    def require(self, kid: str | None, alg: str) -> VerificationKey:
        """As `find`.

        Raises:
            Unauthenticated: `token_key_unknown`, where `find` gives None.
        """
        key = self.find(kid, alg)
        if key is None:
            named = "without `kid`" if kid is None else f"with the `kid` `{_shown(kid)}`"
            raise Unauthenticated(Reason.TOKEN_KEY_UNKNOWN, f"no key for this algorithm and a token {named}")
        return key

    def holds(self, fingerprint: str, alg: str) -> bool:
        """Is the key that once verified a token still one of these, and for that algorithm?"""
        return (fingerprint, alg) in self._trusted


class KeySet(Protocol):
    """Where an issuer's keys come from."""

    @property
    def symmetric(self) -> bool:
        """Is it a shared secret?"""

    @property
    def age(self) -> float:
        """Seconds since the keys were known to be current; infinite before the first load."""

    def current(self) -> Keys | None:
        """The keys in use; None if there are none yet, or the last good ones are too old."""

    async def key(self, kid: str | None, alg: str) -> VerificationKey:
        """The key for a token's header, after asking the issuer again where that may help.

        Raises:
            Unauthenticated: `token_key_unknown`.
            KeysUnavailable: there are no keys to look in.
        """


def keys_from_jwks(document: Mapping[str, Any], *, file: str = "") -> tuple[Keys, tuple[Problem, ...]]:
    """The usable keys of a JWK set (RFC 7517, section 5), and why others were left out.

    Keys that are not meant for signatures (`use`, `key_ops`, `alg`) are left out without a word.

    Raises:
        KeyRefused: the document is no key set, or has more than `MAX_KEYS` keys.
    """
    members = document.get("keys")
    if not isinstance(members, list):
        raise KeyRefused("expected a JWK set: an object with an array `keys`")
    if len(members) > MAX_KEYS:
        raise KeyRefused(f"expected at most {MAX_KEYS} keys, found {len(members)}")
    found: list[VerificationKey] = []
    problems: list[Problem] = []
    for number, member in enumerate(members, start=1):
        try:
            key = key_from_jwk(member)
            if key is not None:
                _admit(found, key)
        except KeyRefused as refused:
            message = f"key {number} is left out: {refused}"
            problems.append(Problem(message=message, file=file, severity="warning"))
    return Keys(found), tuple(problems)


def _admit(keys: list[VerificationKey], key: VerificationKey) -> None:
    if key in keys:
        return
    # Which key verifies a token must not hang on their order.
    rivals = [other for other in keys if key.kid == other.kid and key.algorithms & other.algorithms]
    if rivals and key.kid is not None:
        raise KeyRefused("a key before it has the same `kid` and algorithm")
    keys.append(key)


def key_from_jwk(jwk: object) -> VerificationKey | None:
    """One JWK as a key; None: it is not meant for verifying signatures.

    Raises:
        KeyRefused: it is, and it cannot be used.
    """
    if not isinstance(jwk, dict):
        raise KeyRefused("expected an object")
    if not _for_signatures(jwk):
        return None
    if _PRIVATE_MEMBERS & jwk.keys():
        raise KeyRefused("expected a public key, found private or secret members")
    kid = jwk.get("kid")
    if kid is not None and not (isinstance(kid, str) and len(kid) <= MAX_KID):
        raise KeyRefused(f"expected `kid` to be a string of at most {MAX_KID} characters")
    algorithms = _algorithms(jwk)
    return _verification_key(_public_key(jwk, min(algorithms)), kid=kid, algorithms=algorithms)


def _for_signatures(jwk: Mapping[str, Any]) -> bool:
    """RFC 7517, sections 4.2 to 4.4."""
    operations = jwk.get("key_ops")
    if operations is not None and not (isinstance(operations, list) and "verify" in operations):
        return False
    alg = jwk.get("alg")
    encrypts = isinstance(alg, str) and (alg == "dir" or alg.startswith(("RSA", "ECDH", "A", "PBES")))
    return jwk.get("use", "sig") == "sig" and not encrypts


def _algorithms(jwk: Mapping[str, Any]) -> frozenset[str]:
    kty, crv, alg = jwk.get("kty"), jwk.get("crv"), jwk.get("alg")
    if kty == "RSA":
        fitting = _RSA
    elif isinstance(crv, str) and crv in _KTY and _KTY[crv] == kty:
        fitting = _CURVES[crv]
    else:
        raise KeyRefused("expected an RSA key, an EC key on P-256, P-384 or P-521, or an OKP key on Ed25519")
    if alg is None:
        return fitting
    if not isinstance(alg, str) or alg not in fitting:
        raise KeyRefused("its `alg` does not go with its key type and curve")
    return frozenset({alg})


def _public_key(jwk: dict[str, Any], alg: str) -> PublicKey:
    if any(isinstance(jwk.get(name), str) and len(jwk[name]) > _MAX_MEMBER for name in ("n", "e", "x", "y")):
        raise KeyRefused(f"expected a key of at most {MAX_RSA_BITS} bits")
    try:
        key = PyJWK(jwk, alg).key
    except (PyJWTError, ValueError, TypeError, UnsupportedAlgorithm):
        raise KeyRefused("its numbers make no key of its type") from None
    return _accepted(key)


def _accepted(key: object) -> PublicKey:
    if isinstance(key, RSAPublicKey):
        if not MIN_RSA_BITS <= key.key_size <= MAX_RSA_BITS:
            raise KeyRefused(f"expected an RSA key of {MIN_RSA_BITS} to {MAX_RSA_BITS} bits")
        if key.public_numbers().e.bit_length() > 64:
            raise KeyRefused("expected an RSA exponent of at most 64 bits")
        return key
    if isinstance(key, EllipticCurvePublicKey | Ed25519PublicKey):
        return key
    raise KeyRefused("expected a public RSA, EC or Ed25519 key")


def _verification_key(key: PublicKey, *, kid: str | None, algorithms: frozenset[str]) -> VerificationKey:
    der = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    fingerprint = hashlib.sha256(der).hexdigest()
    return VerificationKey(kid=kid, algorithms=algorithms, fingerprint=fingerprint, key=key)


def key_from_pem(pem: bytes) -> VerificationKey:
    """A PEM public key (RFC 7468, section 13). It has no `kid`, so it serves tokens with any.

    Raises:
        KeyRefused: it is no public key, or not of an accepted type and size.
    """
    if b"PRIVATE KEY" in pem:
        raise KeyRefused("expected a public key (`BEGIN PUBLIC KEY`), found a private one")
    try:
        key = _accepted(load_pem_public_key(pem))
    except UnsupportedAlgorithm:
        raise KeyRefused("expected a public RSA, EC or Ed25519 key") from None
    except KeyRefused:
        raise
    except ValueError:
        raise KeyRefused("expected a PEM public key (`BEGIN PUBLIC KEY`)") from None
    if isinstance(key, RSAPublicKey):
        algorithms: frozenset[str] | None = _RSA
    else:
        algorithms = _CURVES.get("Ed25519" if isinstance(key, Ed25519PublicKey) else key.curve.name)
    if algorithms is None:
        raise KeyRefused("expected an EC key on P-256, P-384 or P-521")
    return _verification_key(key, kid=None, algorithms=algorithms)


def key_from_secret(secret: bytes) -> VerificationKey:
    """A shared secret, for the HMAC algorithms that its length allows (RFC 7518, section 3.2).

    Raises:
        KeyRefused: it has fewer than 32 bytes, or is not a secret but a key pair's key.
    """
    try:
        HMACAlgorithm(HMACAlgorithm.SHA256).prepare_key(secret)
    except PyJWTError:
        raise KeyRefused("expected a secret, found nothing or a key of a key pair") from None
    algorithms = frozenset(alg for alg, size in _HMAC_BYTES.items() if len(secret) >= size)
    if not algorithms:
        raise KeyRefused("expected a secret of at least 32 bytes")
    digest = hashlib.sha256(secret).hexdigest()
    return VerificationKey(kid=None, algorithms=algorithms, fingerprint=digest, key=secret)


def _shown(text: str) -> str:
    """An outsider's text for a log line: plain ASCII, at most 64 characters."""
    return ascii(text[:64])[1:-1][:64]
