"""Keys of the issuers whose tokens the emulator verifies: from a file, an address, or where the issuer publishes them.

A real pool or issuer is out of reach of most machines that run the emulator, so a setting may say for each where its
keys are. Documents are read by the product's own fetcher: bounded, no redirects.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from aiohttp import ClientSession

from authz.authn.fetch import FetchFailed, KeySource, fetch_keys
from authz.authn.jwks import StaticKeys
from authz.authn.keys import Keys, VerificationKey
from authz.core.errors import Misconfigured

FRESH = 300.0
"""Seconds for which published keys are taken as they are."""
COOL_DOWN = 1.0
"""Seconds between two readings because of a key that is not among the known ones."""


class NoKeys(Exception):
    """An issuer's keys cannot be had. The words say why and name no token."""


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyPlace:
    """Where an issuer's keys are."""

    issuer: str
    location: str | None = None
    """An address or a file of a JSON Web Key Set; None: the issuer's discovery document names it."""
    allow_http: bool = False
    """Also over plain HTTP from other machines; loopback is always allowed."""


def key_place(issuer: str, located: Mapping[str, str], *, cognito: bool, allow_http: bool) -> KeyPlace:
    """Where the settings say, else where such an issuer publishes its keys (Amazon Cognito: without discovery)."""
    published = f"{issuer}/.well-known/jwks.json" if cognito else None
    return KeyPlace(issuer=issuer, location=located.get(issuer, published), allow_http=allow_http)


@dataclass(frozen=True, slots=True)
class _Read:
    keys: Keys
    at: float


class IssuerKeys:
    """Keys by issuer, read when a token asks for them. For one event loop; `close` it there."""

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._read: dict[KeyPlace, _Read] = {}
        self._session: ClientSession | None = None

    async def key(self, place: KeyPlace, kid: str | None, alg: str) -> VerificationKey | None:
        """The key that a token's header names; None: the issuer has no such key.

        Raises:
            NoKeys: there are none to look in.
        """
        if place.location is not None and "://" not in place.location:
            return (await asyncio.to_thread(_from_file, place.location)).find(kid, alg)
        known = self._read.get(place)
        if known is None or self._now() - known.at > FRESH:
            known = await self._fetch(place)
        found = known.keys.find(kid, alg)
        if found is None and self._now() - known.at > COOL_DOWN:
            found = (await self._fetch(place)).keys.find(kid, alg)
        return found

    async def discover(self, place: KeyPlace) -> None:
        """Reads an issuer's keys by its discovery document now, as when an identity source is made.

        Raises:
            NoKeys: there are none, or the document is for another issuer.
        """
        await self._fetch(place)

    async def close(self) -> None:
        """Ends the connections."""
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    async def _fetch(self, place: KeyPlace) -> _Read:
        try:
            source = KeySource(issuer=place.issuer, jwks_uri=place.location, allow_http=place.allow_http)
            keys, _ = await fetch_keys(self._opened(), source)
        except (FetchFailed, Misconfigured) as error:
            raise NoKeys(str(error)) from None
        found = self._read[place] = _Read(keys, self._now())
        return found

    def _opened(self) -> ClientSession:
        if self._session is None:
            self._session = ClientSession()
        return self._session


def _from_file(path: str) -> Keys:
    try:
        keys = StaticKeys.from_jwks(Path(path).read_bytes(), file=path).current()
    except (OSError, Misconfigured) as error:
        raise NoKeys(f"the key set `{path}` cannot be read: {error}") from None
    return keys or Keys(())
