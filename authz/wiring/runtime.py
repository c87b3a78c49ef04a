"""What runs: the service, its key sets and its reloads. Every start has its stop."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from operator import attrgetter
from pathlib import Path
from typing import TYPE_CHECKING

import aiohttp

from authz.authn.anonymous import anonymous_identity
from authz.authn.jwks import RemoteKeys, StaticKeys
from authz.authn.jwt import TokenVerifier
from authz.authn.keys import KeySet
from authz.config.load import Config
from authz.core.errors import Misconfigured, Problem
from authz.core.pipeline import Authorizer
from authz.pdp.engine import is_panic
from authz.service import Service
from authz.stores.file import FileStore
from authz.stores.watch import watch
from authz.wiring.assembly import Assembly
from authz.wiring.authenticators import build_authenticators, challenges
from authz.wiring.consistency import anonymous_principals
from authz.wiring.deciding import Deciding
from authz.wiring.freshness import Freshness
from authz.wiring.issuers import IssuerPlan, RemotePlan
from authz.wiring.keeper import Keeper, Kept
from authz.wiring.policy_store import close_store, store_age
from authz.wiring.reloading import Reloading
from authz.wiring.service_settings import service_of

if TYPE_CHECKING:
    from authz.stores.avp import AvpStore

_log = logging.getLogger("authz.reload")
NEED_A_START = (
    "listeners", "hosts", "trusted_proxies", "trusted_hops", "responses.grpc_failure", "limits.connections",
    "limits.connection_age", "limits.drain", "limits.drain_delay", "record", "log",
)  # fmt: skip
"""Paths of the settings that count from the start of a process on: a reload leaves them as they were."""


class Runtime:
    """A service that keeps up with its files. Made by `running`."""

    def __init__(self, session: aiohttp.ClientSession, *, tell_left_out: bool = False, ours: bool = False) -> None:
        self.freshness = Freshness()
        self._files = Reloading(ours=ours)
        self._session = session
        self._tell_left_out = tell_left_out
        """Of the start, like `log.level` of which it comes: a reload leaves it as it was."""
        self._remote: dict[RemotePlan, RemoteKeys] = {}
        self._reloading = asyncio.Lock()
        self._assembly: Assembly | None = None
        self._read: tuple[list[Path], list[Path]] = ([], [])
        """Files and folders that the last reload read."""
        self._tokens: TokenVerifier | None = None
        self._service: Service | None = None
        self._applied = asyncio.Event()
        self.deciding = Deciding(self.freshness)
        """What outlives policy sets, of those that decide."""
        self.on_apply: list[Callable[[Assembly], None]] = []
        """Told of each assembly that begins to decide."""

    @property
    def assembly(self) -> Assembly:
        """What decides now."""
        if self._assembly is None:
            raise RuntimeError("the runtime was not started")
        return self._assembly

    @property
    def service(self) -> Service:
        """The one service of this process; reloads change what it holds."""
        if self._service is None:
            raise RuntimeError("the runtime was not started")
        return self._service

    @property
    def tokens(self) -> TokenVerifier:
        """The verifier in use, one for all authenticators that take tokens."""
        if self._tokens is None:
            raise RuntimeError("the runtime was not started")
        return self._tokens

    @property
    def key_sets(self) -> Mapping[str, KeySet]:
        """Issuer → its key set."""
        return {plan.shape.issuer: self._key_set(plan) for plan in self.assembly.issuers}

    def readiness(self) -> Mapping[str, tuple[bool, str]]:
        """Named checks: may this process answer? Fails on age, not on one rejected reload."""
        checks = {"policies": self._policies_ready()}
        for issuer, keys in self.key_sets.items():
            ready = keys.current() is not None
            checks[f"keys:{issuer}"] = (ready, f"age {keys.age:.0f} s" if ready else "no usable key set")
        return checks

    def _policies_ready(self) -> tuple[bool, str]:
        if self.assembly.waiting:
            return False, f"none yet: {self.assembly.waiting}"
        policies = self.assembly.config.shape.policies
        limit, age = policies.oldest, self.freshness.age()
        told = f"version {self.assembly.compiled.version}, age {age:.0f} s"
        if policies.decide != "local":
            # It has its own policies at hand. Whether it answers just now is no better known to another pod.
            return True, f"{told}; Verified Permissions may be asked"
        return limit is None or age <= limit, told

    async def apply(self, assembly: Assembly) -> None:
        """Makes an assembly the one that decides: new parts start first, then one swap, then old parts stop.

        Raises:
            Misconfigured: issuers that do not go together; nothing was changed.
        """
        wanted = {plan.keys for plan in assembly.issuers if isinstance(plan.keys, RemotePlan)}
        for remote in wanted - self._remote.keys():
            self._remote[remote] = await self._start(remote)
        tokens = self._verifier(assembly)
        tokens.deny_list = assembly.deny_list
        authorizer = self._authorizer(assembly, tokens)
        await self.deciding.connect()
        self.freshness.content_age = store_age(assembly.store)
        self._service = service_of(assembly, authorizer, self._service)
        self._tokens, self._assembly = tokens, assembly
        self._applied.set()
        for told in self.on_apply:
            told(assembly)
        for remote in [plan for plan in self._remote if plan not in wanted]:
            await self._remote.pop(remote).stop()

    async def _start(self, plan: RemotePlan) -> RemoteKeys:
        keys = RemoteKeys(
            self._session,
            plan.source,
            interval=plan.interval,
            cooldown=plan.cooldown,
            max_age=plan.max_age,
            report=_report,
        )
        await keys.start()
        return keys

    def _verifier(self, assembly: Assembly) -> TokenVerifier:
        """The verifier in use where nothing about issuers changed, for it holds the verified tokens."""
        limits = assembly.config.shape.limits
        if self._tokens is not None and _same_verifier(self.assembly, assembly):
            return self._tokens
        issuers = [plan.issuer(self._key_set(plan)) for plan in assembly.issuers]
        return TokenVerifier(issuers, cache_size=limits.token_cache, max_token=limits.token_bytes)

    def _key_set(self, plan: IssuerPlan) -> KeySet:
        return plan.keys if isinstance(plan.keys, StaticKeys) else self._remote[plan.keys]

    def _authorizer(self, assembly: Assembly, tokens: TokenVerifier) -> Authorizer:
        return Authorizer(
            routes=assembly.routes,
            authenticators=build_authenticators(assembly.config.shape, tokens, assembly.api_keys, assembly.deny_list),
            challenges=challenges(assembly.config.shape),
            decision_point=self.deciding.point(assembly, tell_left_out=self._tell_left_out),
            anonymous={uid: anonymous_identity(uid) for uid in anonymous_principals(assembly.routes)},
            waiting=assembly.waiting,
        )

    async def reload(self, age: float | None = None) -> bool:
        """Reads everything anew. A rejected change is told with file and line; the last good state goes on.

        Args:
            age: where a new content of the store is the occasion: what the policy set in force had before.

        Returns:
            Whether the new state was taken.
        """
        async with self._reloading:
            before, assembly = self.assembly, None
            try:
                assembled = await self._files.load(before)
                self._read = assembled.watched
                assembly = assembled.required()
                await self.apply(assembly)
            except Misconfigured as error:
                problems = error.problems
            except BaseException as error:
                # Whatever it is, later changes must still be seen; but who ends this is obeyed.
                if not isinstance(error, Exception) and not is_panic(error):
                    raise
                problems = (Problem(message=f"unexpected {type(error).__name__} while the files were read"),)
            else:
                self.freshness.accepted()
                self._files.swapped(before, assembly)
                compiled = assembly.compiled
                text = "reload accepted, policy set %s, %d of %d policies are new or changed"
                _log.info(text, compiled.version, compiled.fresh, len(compiled.rows))
                for warning in assembly.warnings:
                    _log.warning("%s", warning)
                for name in left_as_they_were(before.config, assembly.config):
                    _log.warning("`%s` was changed, and counts from the next start only", name)
                return True
            if assembly is not None:
                self._drop(assembly, before)
            self.freshness.rejected(age)
            for problem in problems:
                if problem.severity == "error":
                    _log.error("reload rejected, the last good state goes on: %s", problem)
            return False

    def _drop(self, assembly: Assembly, before: Assembly) -> None:
        self._files.dropped(assembly)
        if assembly.store is not before.store and assembly is not self._assembly:
            close_store(assembly.store)

    async def reread(self) -> bool:
        """As `reload`, and looks at a replicated policy store first, whether or not it is time to."""
        store = self.assembly.store
        if not isinstance(store, FileStore):
            await self.keeper(store).look()
        return await self.reload()

    async def watch(self) -> None:
        """Reloads on each change of a watched file, until cancelled."""
        while True:
            files, folders = watched = self._watched()
            async for _ in watch(files, folders, since=self.assembly.mark):
                await self.reload()
                if self._watched() != watched:
                    break  # a new set of files: listen to those

    async def keep(self) -> None:
        """Keeps a replica of the policy store up to date, where the store is one, until cancelled."""
        while True:
            store = self.assembly.store
            self._applied.clear()
            keeping = None if isinstance(store, FileStore) else asyncio.create_task(self.keeper(store).run())
            try:
                while self.assembly.store is store:
                    await self._applied.wait()
                    self._applied.clear()
                async with self._reloading:  # it may be the keeper's own, which ends whole
                    pass
            finally:
                close_store(store)  # or a look that is under way would go on in its thread
                if keeping is not None:
                    await _ended(keeping)

    def keeper(self, store: AvpStore) -> Keeper:
        """Whoever looks at a replicated store, and has what it finds there decide."""

        def in_force() -> str:
            return self.assembly.store_version

        return Keeper(store, Kept(in_force=in_force, reload=self.reload, freshness=self.freshness))

    def _watched(self) -> tuple[list[Path], list[Path]]:
        """The files that decide, and those of a state that was rejected: whoever mends these expects it to count."""
        files, folders = self.assembly.watched
        return sorted({*files, *self._read[0]}), sorted({*folders, *self._read[1]})

    async def close(self) -> None:
        """Stops the key sets, and what is cleared away."""
        await self._files.close()
        await self.deciding.close()
        for keys in self._remote.values():
            await keys.stop()
        self._remote.clear()


def _same_verifier(one: Assembly, other: Assembly) -> bool:
    limits = (one.config.shape.limits, other.config.shape.limits)
    return limits[0] == limits[1] and [p.terms for p in one.issuers] == [p.terms for p in other.issuers]


def left_as_they_were(before: Config, after: Config) -> Iterator[str]:
    """Settings that a reload does not reach: listeners are open, and their peers' trust is theirs."""
    for path in NEED_A_START:
        if attrgetter(path)(before.shape) != attrgetter(path)(after.shape):
            yield path


def _report(problem: Problem) -> None:
    _log.warning("key set: %s", problem)


@asynccontextmanager
async def running(assembly: Assembly, *, watching: bool = True, ours: bool = False) -> AsyncIterator[Runtime]:
    """A runtime for an assembly: started, kept up to date while `watching`, and stopped at the end.

    Args:
        assembly: what decides first.
        watching: reload when files change.
        ours: the process does nothing else, so its garbage collector may be told what is here to stay.
    """
    async with AsyncExitStack() as stack:
        # No proxy from the environment, no cookies: keys are fetched from exactly where the configuration says.
        session = await stack.enter_async_context(aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar()))
        runtime = Runtime(session, tell_left_out=assembly.config.shape.log.level == "debug", ours=ours)
        stack.push_async_callback(runtime.close)
        await runtime.apply(assembly)
        if assembly.waiting:
            _log.error("there are no policies yet, so every check fails: %s", assembly.waiting)
        else:
            runtime.freshness.accepted()
            await _keep_snapshot(assembly)
        if watching:
            for work in (runtime.watch(), runtime.keep()):
                stack.push_async_callback(_ended, asyncio.create_task(work, name="authz-watch"))
        yield runtime


async def _keep_snapshot(assembly: Assembly) -> None:
    store = assembly.store
    if isinstance(store, FileStore):
        return
    if store.from_disk:
        text = "the policy store cannot be read, so its snapshot decides, %.0f s old: %s"
        _log.warning(text, store.age(), store.trouble)
    await asyncio.to_thread(store.keep, assembly.store_version)
    if store.snapshot_trouble:
        _log.warning("%s", store.snapshot_trouble)


async def _ended(task: asyncio.Task[None]) -> None:
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task
