"""Bearer tokens: JSON Web Tokens (RFC 7519) in the Authorization header (RFC 6750).

A token is verified once and remembered by its digest until it expires. Each later use still asks: has it
expired, is it denied now, is the key that verified it still its issuer's?
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterable
from typing import cast

from cachetools import LRUCache
from jwt import PyJWS
from jwt.exceptions import PyJWTError

from authz.authn.compact import UnverifiedToken, bearer_token, unverified_token
from authz.authn.issuer import Issuer, check_claims, check_header
from authz.authn.keys import ASYMMETRIC, SYMMETRIC, Keys, VerificationKey
from authz.authn.revocation import DenyList
from authz.core.claims import identity_from_claims
from authz.core.errors import Misconfigured, Problem, Reason, Unauthenticated
from authz.core.model import Credential, Identity, Request

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


class BearerTokens:
    """Verifies the bearer tokens of the given issuers. An `Authenticator`.

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
        """Requests answered from the cache."""
        self.misses = 0
        """Requests whose token had to be verified, good or bad."""

    @property
    def remembered(self) -> int:
        """How many tokens are in the cache."""
        return len(self._cache)

    async def authenticate(self, request: Request) -> Identity | None:
        """The identity; None: no Bearer credential. The same object each time, for the token's lifetime.

        Raises:
            Unauthenticated: the token is bad; the reason code says how.
            KeysUnavailable: the issuer's keys are not at hand.
        """
        values = request.headers.all("authorization")
        if not values:
            return None
        token = bearer_token(values)
        if token is None:
            return None
        if len(token) > self._max_token:
            raise Unauthenticated(Reason.TOKEN_TOO_LARGE, f"expected at most {self._max_token} characters")
        try:
            digest = hashlib.sha256(token.encode("ascii")).digest()
        except UnicodeEncodeError:
            raise Unauthenticated(Reason.TOKEN_MALFORMED, "expected a token in ASCII") from None
        known = self._recall(digest)
        if known is not None:
            self.hits += 1
            return known
        self.misses += 1
        return await self._verify(token, digest)

    def _recall(self, digest: bytes) -> Identity | None:
        """The hot path: a lookup and three comparisons."""
        try:
            verified = self._cache[digest]
        except KeyError:
            return None
        if self._now() >= verified.until:
            del self._cache[digest]
            raise Unauthenticated(Reason.TOKEN_EXPIRED, "the claim `exp` is in the past")
        keys = verified.issuer.keys.current()
        if keys is None:  # too old; whoever verifies anew asks the issuer first
            return None
        if keys is not verified.keys:
            if not keys.holds(verified.fingerprint, verified.alg):
                del self._cache[digest]
                return None
            verified.keys = keys
        if verified.deny_list is not self.deny_list:
            self._check_denied(verified)
        return verified.identity

    def _check_denied(self, verified: _Verified) -> None:
        identity = verified.identity
        if self.deny_list.denies(identity.issuer, verified.jti, identity.subject):
            raise Unauthenticated(Reason.TOKEN_REVOKED, "the token or its subject is on the deny list")
        verified.deny_list = self.deny_list

    async def _verify(self, text: str, digest: bytes) -> Identity:
        token = unverified_token(text)
        issuer = self._issuer_of(token)
        kid, alg = check_header(token.header, issuer)
        key = await _key(issuer, kid, alg)
        self._check_signature(token, key, alg)
        # From here on the claims are the issuer's words.
        until = check_claims(token.claims, issuer, self._now())
        # While the keys were awaited another request may have brought the same token.
        known = self._recall(digest)
        if known is not None:
            return known
        credential = Credential(kind=issuer.source.token, secret=text)
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
