"""JSON Web Tokens (RFC 7519) as texts; where a request carries them is the carriers' business.

A token is verified once and remembered by its digest until it expires. Each later use still asks: has it
expired, is it denied now, is the key that verified it still its issuer's?
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from hashlib import sha256
from typing import cast

from cachetools import LRUCache
from jwt import PyJWS
from jwt.exceptions import PyJWTError

from authz.authn.compact import UnverifiedToken, unverified_token
from authz.authn.issuer import Issuer, check_claims, check_header
from authz.authn.keys import ASYMMETRIC, SYMMETRIC, Keys, VerificationKey
from authz.authn.revocation import DenyList
from authz.core.claims import identity_from_claims, token_kind
from authz.core.errors import Misconfigured, Problem, Reason, Unauthenticated
from authz.core.model import Credential, Identity

MAX_TOKEN = 16_384
"""Characters of a token; browsers and proxies stop well before."""
CACHE_SIZE = 10_000
PLACE = 4096
"""A remembered token takes a place in the cache for every so many characters: that bounds its bytes."""


class _Verified:
    """A verified token, and against what it was last checked."""

    __slots__ = ("alg", "deny_list", "fingerprint", "identity", "issuer", "jti", "keys", "places", "until")

    def __init__(
        self, *, identity: Identity, issuer: Issuer, until: float, key: VerificationKey, alg: str, places: int
    ) -> None:
        self.identity = identity
        self.issuer = issuer
        self.until = until
        self.fingerprint = key.fingerprint
        self.alg = alg
        self.jti = cast("str | None", identity.claims.get("jti"))  # a string or absent: check_claims
        self.places = places
        self.keys: Keys | None = None
        self.deny_list: DenyList | None = None


class TokenVerifier:
    """Verifies the tokens of the given issuers. One for all carriers, so that a token is verified once.

    For one loop: it is not thread-safe. `deny_list` may be replaced at any time and counts at once.
    """

    def __init__(
        self,
        issuers: Iterable[Issuer],
        *,
        deny_list: DenyList | None = None,
        now: Callable[[], float] = time.time,
        cache_size: int = CACHE_SIZE,
        max_token: int = MAX_TOKEN,
    ) -> None:
        """`now` gives seconds since the epoch; `cache_size` counts tokens of up to `PLACE` characters.

        Raises:
            Misconfigured: two issuers have the same `iss`.
        """
        self._issuers: dict[str, Issuer] = {}
        for issuer in issuers:
            if issuer.issuer in self._issuers:
                raise Misconfigured((Problem(message=f"the issuer `{issuer.issuer}` is there twice"),))
            self._issuers[issuer.issuer] = issuer
        self.deny_list = deny_list if deny_list is not None else DenyList()
        self._now = now
        self._max_token = max_token
        self._cache: LRUCache[bytes, _Verified] = LRUCache(cache_size, getsizeof=_places)
        self._jws = PyJWS(sorted(ASYMMETRIC | SYMMETRIC))
        self.hits = 0
        """Tokens found in the cache."""
        self.misses = 0
        """Tokens that had to be verified, good or bad."""

    @property
    def remembered(self) -> int:
        """How many tokens are in the cache."""
        return len(self._cache)

    def recall(self, token: str) -> Identity | None:
        """The identity of a token that was verified before; None: it must be verified.

        Raises:
            Unauthenticated: it is too long, not ASCII, expired, or denied since.
        """
        # The hot path: in one piece, for each call of a function here is a call for each request.
        if len(token) > self._max_token:
            raise Unauthenticated(Reason.TOKEN_TOO_LARGE, f"expected at most {self._max_token} characters")
        try:
            digest = sha256(token.encode("ascii")).digest()
        except UnicodeEncodeError:
            raise Unauthenticated(Reason.TOKEN_MALFORMED, "expected a token in ASCII") from None
        try:
            verified = self._cache[digest]
        except KeyError:
            return None
        keys, now = verified.issuer.keys.current(), self._now
        if (
            keys is None
            or keys is not verified.keys
            or verified.deny_list is not self.deny_list
            or now() >= verified.until
        ) and not self._still_counts(digest, verified):
            return None
        self.hits += 1
        return verified.identity

    async def verify(self, token: str) -> Identity:
        """The identity of a token, remembered from now on. The same object each time, for the token's lifetime.

        Raises:
            Unauthenticated: the token is bad; the reason code says how.
            KeysUnavailable: the issuer's keys are not at hand.
        """
        known = self.recall(token)
        if known is not None:
            return known
        self.misses += 1
        return await self._verify(token)

    def _still_counts(self, digest: bytes, verified: _Verified) -> bool:
        """Asked where anything may have changed since a remembered token was last looked at."""
        if self._now() >= verified.until:
            del self._cache[digest]
            raise Unauthenticated(Reason.TOKEN_EXPIRED, "the claim `exp` is in the past")
        keys = verified.issuer.keys.current()
        if keys is None:  # too old; whoever verifies anew asks the issuer first
            return False
        if keys is not verified.keys:
            if not keys.holds(verified.fingerprint, verified.alg):
                del self._cache[digest]
                return False
            verified.keys = keys
        if verified.deny_list is not self.deny_list:
            self._check_denied(verified)
        return True

    def _check_denied(self, verified: _Verified) -> None:
        identity = verified.identity
        if self.deny_list.denies(identity.issuer, verified.jti, identity.subject):
            raise Unauthenticated(Reason.TOKEN_REVOKED, "the token or its subject is on the deny list")
        verified.deny_list = self.deny_list

    async def _verify(self, text: str) -> Identity:
        token = unverified_token(text)
        issuer = self._issuer_of(token)
        kid, alg = check_header(token.header, issuer)
        key = await _key(issuer, kid, alg)
        self._check_signature(token, key, alg)
        # From here on the claims are the issuer's words.
        until = check_claims(token.claims, issuer, self._now(), typ=token.header.get("typ", ""))
        # While the keys were awaited another request may have brought the same token.
        digest = sha256(text.encode("ascii")).digest()
        known = self._cache.get(digest)
        if known is not None and self._still_counts(digest, known):
            return known.identity
        credential = Credential(kind=token_kind(token.claims, issuer.source), secret=text)
        identity = identity_from_claims(token.claims, issuer.source, issuer=issuer.issuer, credential=credential)
        verified = _Verified(
            identity=identity, issuer=issuer, until=until, key=key, alg=alg, places=-(-len(text) // PLACE)
        )
        if verified.places <= self._cache.maxsize:
            self._cache[digest] = verified
        self._check_denied(verified)
        return identity

    def _issuer_of(self, token: UnverifiedToken) -> Issuer:
        name = token.claims.get("iss")
        issuer = self._issuers.get(name) if isinstance(name, str) else None
        if issuer is None:
            raise Unauthenticated(Reason.TOKEN_ISSUER, "the claim `iss` names no configured issuer")
        return issuer

    def _check_signature(self, token: UnverifiedToken, key: VerificationKey, alg: str) -> None:
        # INVARIANT: the issuer's settings allow `alg` (check_header), and the key fits it (Keys.find). PyJWT's
        # `decode` would read the token again, a Python step for each of its characters: forgers would like that.
        algorithm = self._jws.get_algorithm_by_name(alg)
        try:
            good = algorithm.verify(token.signed, algorithm.prepare_key(key.key), token.signature)
        except (PyJWTError, TypeError):
            raise Unauthenticated(Reason.TOKEN_KEY_UNKNOWN, "the key does not fit the algorithm") from None
        if not good:
            raise Unauthenticated(Reason.TOKEN_SIGNATURE, "the signature is not the key's")


async def _key(issuer: Issuer, kid: str | None, alg: str) -> VerificationKey:
    keys = issuer.keys.current()
    key = keys.find(kid, alg) if keys is not None else None
    return key if key is not None else await issuer.keys.key(kid, alg)


def _places(verified: _Verified) -> int:
    return verified.places
