"""Key sets: fixed ones, and those that an issuer publishes and rotates.

`RemoteKeys` keeps the last good set when the issuer cannot be read, up to a limit, and asks for an unknown
key at most once in a while, so that neither an outage nor forged tokens empty it or make it a load generator.
"""

from __future__ import annotations

import asyncio
import math
import random
import time
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Self

from aiohttp import ClientSession

from authz.authn.fetch import FetchFailed, KeySource, fetch_keys
from authz.authn.keys import KeyRefused, Keys, VerificationKey, key_from_pem, key_from_secret, keys_from_jwks
from authz.core.errors import KeysUnavailable, Misconfigured, Problem
from authz.core.strict_json import NotStrictJson, json_object


class StaticKeys:
    """Keys from the configuration or a file. A changed file is read again by the configuration's reload."""

    def __init__(self, keys: Keys, *, symmetric: bool = False) -> None:
        self._keys = keys
        self._symmetric = symmetric

    @classmethod
    def from_jwks(cls, text: bytes, *, file: str = "") -> Self:
        """Keys of a JWK set.

        Raises:
            Misconfigured: it is none, has no usable key, or has one that cannot be used.
        """
        try:
            keys, problems = keys_from_jwks(json_object(text), file=file)
        except (NotStrictJson, KeyRefused) as error:
            raise Misconfigured((Problem(message=str(error), file=file),)) from None
        if problems:  # an operator's own file is right or wrong, unlike an issuer's
            raise Misconfigured(tuple(Problem(message=problem.message, file=file) for problem in problems))
        if not keys:
            raise Misconfigured((Problem(message="expected at least one key for signatures", file=file),))
        return cls(keys)

    @classmethod
    def from_pem(cls, text: bytes, *, file: str = "") -> Self:
        """One PEM public key, for tokens with any `kid`.

        Raises:
            Misconfigured: it is none, or not of an accepted type and size.
        """
        try:
            return cls(Keys([key_from_pem(text)]))
        except KeyRefused as refused:
            raise Misconfigured((Problem(message=str(refused), file=file),)) from None

    @classmethod
    def from_secret(cls, secret: bytes) -> Self:
        """A secret shared with the issuer, for HS256 and its like.

        Raises:
            Misconfigured: it is too short, or is a key pair's key.
        """
        try:
            return cls(Keys([key_from_secret(secret)]), symmetric=True)
        except KeyRefused as refused:
            raise Misconfigured((Problem(message=str(refused)),)) from None

    @property
    def symmetric(self) -> bool:
        """Is it a shared secret?"""
        return self._symmetric

    @property
    def age(self) -> float:
        """Always zero: these keys are what the configuration says."""
        return 0.0

    def current(self) -> Keys | None:
        """The keys."""
        return self._keys

    async def key(self, kid: str | None, alg: str) -> VerificationKey:
        """The key for a token's header.

        Raises:
            Unauthenticated: `token_key_unknown`.
        """
        return self._keys.require(kid, alg)


class RemoteKeys:
    """An issuer's published keys, read now and then and when a token names a key not seen before.

    Use it as `async with RemoteKeys(…)`: it reads in the background while it is open. Before the first
    successful read, and when the last good set is older than `max_age`, there are no keys.
    """

    def __init__(
        self,
        session: ClientSession,
        source: KeySource,
        *,
        interval: float = 300.0,
        cooldown: float = 30.0,
        max_age: float = 86_400.0,
        now: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        report: Callable[[Problem], None] | None = None,
    ) -> None:
        """All times in seconds. `report` hears each problem once, not on every read."""
        self._session = session
        self._source = source
        self._interval = interval
        self._cooldown = cooldown
        self._max_age = max_age
        self._now = now
        self._sleep = sleep
        self._report = report
        self._keys: Keys | None = None
        self._fetched_at = -math.inf
        self._attempted_at = -math.inf
        self._fetch: asyncio.Task[bool] | None = None
        self._loop: asyncio.Task[None] | None = None
        self._random = random.SystemRandom()
        self.problems: tuple[Problem, ...] = ()
        """What the last read found wrong; an error if it failed, warnings for keys left out."""
        self.failures = 0
        """Failed reads since the last good one."""

    @property
    def symmetric(self) -> bool:
        """Never: a published secret is none."""
        return False

    @property
    def age(self) -> float:
        """Seconds since the last good read began; infinite before it."""
        return self._now() - self._fetched_at

    def current(self) -> Keys | None:
        """The last good set; None before it, and when it is older than `max_age`."""
        return self._keys if self._now() - self._fetched_at <= self._max_age else None

    async def key(self, kid: str | None, alg: str) -> VerificationKey:
        """The key for a token's header; the issuer is asked once per cool-down if it is not known.

        Raises:
            Unauthenticated: `token_key_unknown`.
            KeysUnavailable: no good read yet, or none for too long.
        """
        keys = self.current()
        if (keys is None or keys.find(kid, alg) is None) and self._may_ask():
            await self.refresh()
            keys = self.current()
        if keys is None:
            name = self._source.issuer
            raise KeysUnavailable(f"no current keys of `{name}`: {self._why()}", issuer=name)
        return keys.require(kid, alg)

    async def refresh(self) -> bool:
        """Reads the keys now, or waits for the read under way. Did it succeed?"""
        task = self._fetch
        if task is None:
            task = self._fetch = asyncio.create_task(self._read())
            task.add_done_callback(self._forget)
        # Not awaited itself: one caller that gives up must not end the read for the others.
        await asyncio.wait({task})
        return not task.cancelled() and task.result()

    async def start(self) -> None:
        """Begins to read in the background; does not wait for the first answer."""
        if self._loop is None:
            self._loop = asyncio.create_task(self._keep_reading())

    async def stop(self) -> None:
        """Ends the reading. The keys stay as they are."""
        tasks = [task for task in (self._loop, self._fetch) if task is not None]
        self._loop = None
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    async def _keep_reading(self) -> None:
        while True:
            good = await self.refresh()
            pause = self._interval if good else min(self._interval, self._cooldown)
            # A fleet started at one moment must not ask at one moment for ever.
            await self._sleep(pause * self._random.uniform(0.9, 1.1))

    async def _read(self) -> bool:
        began = self._now()
        try:
            keys, problems = await fetch_keys(self._session, self._source)
        except FetchFailed as failed:
            return self._failed(str(failed))
        except Exception as error:  # noqa: BLE001 - whatever it is, the reading must go on
            return self._failed(f"reading keys of `{self._source.issuer}` ended with {type(error).__name__}")
        finally:
            self._attempted_at = self._now()
        self._keys, self._fetched_at, self.failures = keys, began, 0
        self._tell(problems)
        return True

    def _failed(self, message: str) -> bool:
        self.failures += 1
        self._tell((Problem(message=message),))
        return False

    def _may_ask(self) -> bool:
        return self._fetch is not None or self._now() - self._attempted_at >= self._cooldown

    def _forget(self, _: asyncio.Task[bool]) -> None:
        self._fetch = None

    def _tell(self, problems: tuple[Problem, ...]) -> None:
        news = problems if problems != self.problems else ()
        self.problems = problems
        if self._report is not None:
            for problem in news:
                self._report(problem)

    def _why(self) -> str:
        return "; ".join(str(problem) for problem in self.problems) or "no answer yet"
