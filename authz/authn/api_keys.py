"""API keys that this service gave out: `authz_<id>_<secret>`.

The id is public, and finds the entry; the secret is 32 random bytes, of which only the SHA-256 is kept. A fast hash is
right for that, and a password's slow one is not needed: nobody can try 2^256 secrets. So no secret is ever chosen by a
person, and one that is too short to be random is refused. The prefix lets scanners find keys in places where none
should be.
"""

from __future__ import annotations

import hmac
import re
import secrets
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from hashlib import sha256

from authz.authn.carriers import Carrier
from authz.authn.revocation import DenyList
from authz.core.errors import Reason, Unauthenticated
from authz.core.model import Entity, EntitySlice, EntityUid, Identity, Request, Value

SECRET_BYTES = 32
MIN_SECRET, MAX_SECRET = 43, 128
"""Characters; 43 are 32 bytes in base64url (RFC 4648, 5)."""
SCHEME = "ApiKey"
"""Of the challenge; no registered one says what is asked for."""
ID = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,62}[a-z0-9])?")
"""No underscore, which ends the id in a key."""
_KEY = re.compile(rf"authz_({ID.pattern})_([A-Za-z0-9_-]{{{MIN_SECRET},{MAX_SECRET}}})")


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiKey:
    """One key, as the file has it."""

    id: str
    digest: bytes = field(repr=False)
    """SHA-256 of the secret's text."""
    principal: EntityUid
    parents: tuple[EntityUid, ...] = ()
    attributes: Mapping[str, Value] = field(default_factory=dict, repr=False)
    expires_at: float | None = None
    """Seconds since the epoch; None: never."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NewKey:
    """A key that was just made. The text is shown once, and kept nowhere."""

    text: str = field(repr=False)
    digest: str
    """SHA-256 of the secret, hexadecimal, for the file."""


def new_key(id: str) -> NewKey:
    """A new key for an id.

    Raises:
        ValueError: the id is not one.
    """
    if ID.fullmatch(id) is None:
        raise ValueError("the id must have 1 to 64 lower-case letters, digits and `-`, and no `-` at its ends")
    secret = secrets.token_urlsafe(SECRET_BYTES)
    return NewKey(text=f"authz_{id}_{secret}", digest=sha256(secret.encode("ascii")).hexdigest())


class ApiKeys:
    """Authenticates by API keys. An `Authenticator`; replaced whole when the file changes."""

    def __init__(
        self,
        keys: Mapping[str, ApiKey],
        carrier: Carrier,
        *,
        name: str,
        deny_list: DenyList | None = None,
        now: Callable[[], float] = time.time,
    ) -> None:
        """`keys` by id. `name` stands as the identities' issuer, also for the deny list (`issuers: {NAME: …}`)."""
        self._header, self._read = carrier
        self._name = name
        self._deny_list = deny_list if deny_list is not None else DenyList()
        self._now = now
        self._keys = {id: (key.digest, _identity(key, name)) for id, key in keys.items()}
        # What an unknown id is compared with, so that it takes as long as a known one.
        self._nobody = (secrets.token_bytes(SECRET_BYTES), None)

    async def authenticate(self, request: Request) -> Identity | None:
        """The identity; None: there is no such header. The same object each time, until the file changes.

        Raises:
            Unauthenticated: `api_key_invalid` (also where the deny list names it), `api_key_expired`,
                `credentials_ambiguous`.
        """
        values = request.headers.all(self._header)
        if not values:
            return None
        text = self._read(values)
        if text is None:
            return None
        key = _KEY.fullmatch(text)
        if key is None:
            raise _bad("expected `authz_`, the id, `_` and the secret; `authz key` makes one")
        digest, identity = self._keys.get(key[1], self._nobody)
        good = hmac.compare_digest(digest, sha256(key[2].encode("ascii")).digest())
        if not good or identity is None:
            raise _bad("no key has this id and this secret")
        # Said only to who has the secret.
        if identity.expires_at is not None and self._now() >= identity.expires_at:
            raise Unauthenticated(Reason.API_KEY_EXPIRED, "the time `expires` of the key is past", scheme=SCHEME)
        if self._deny_list.denies(self._name, None, identity.subject):
            raise _bad("the key is on the deny list")
        return identity


def _identity(key: ApiKey, issuer: str) -> Identity:
    principal = Entity(uid=key.principal, attributes=key.attributes, parents=frozenset(key.parents))
    return Identity(
        scheme="api_key",
        issuer=issuer,
        subject=key.id,
        expires_at=key.expires_at,
        principal=key.principal,
        entities=EntitySlice(entities=(principal, *(Entity(uid=parent) for parent in key.parents))),
    )


def _bad(detail: str) -> Unauthenticated:
    return Unauthenticated(Reason.API_KEY_INVALID, detail, scheme=SCHEME)
