"""A policy store of Amazon Verified Permissions, replicated: policies, templates, links, schema, identity source.

A look lists everything and fetches what changed (`avp_look`), within a budget of calls. Its result replaces the
last one whole, or not at all: a call that fails, a page that is missing or a policy that is none leaves the last good
content as it was, and older. Schema, identity source and what an alias stands for change seldom, and are looked at in
turn, one at a look, so that a look that finds no change costs ⌈n/50⌉ + 2 calls; where policies have changed, the schema
is looked at too. The last good content also stands on disk (`snapshot`), for a start while the service cannot be
reached.

A listing of several pages is not of one moment: what changes while it is made is seen in part until the next look,
which therefore follows a change at once. A forbid that such a listing does not show counts for one look more
(`avp_linger`).
"""

from __future__ import annotations

import asyncio
import random as randomness
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

from authz.aws.budget import Budget
from authz.aws.errors import AvpError, Kind
from authz.aws.settings import AvpSettings
from authz.core.errors import Misconfigured, PoliciesUnavailable
from authz.core.model import PolicySnapshot
from authz.core.pieces import Pause, no_pause
from authz.stores.avp_calls import Calls, ClientFactory, Stopped
from authz.stores.avp_content import Content
from authz.stores.avp_linger import lingering
from authz.stores.avp_look import Found, Looking
from authz.stores.avp_pace import NextLook
from authz.stores.avp_pool import Pool, results
from authz.stores.avp_rest import Rest
from authz.stores.avp_settings import ReplicaSettings as ReplicaSettings  # noqa: PLC0414 - the store's, told to mypy
from authz.stores.snapshot import SnapshotFile

QUOTA = 8.0
"""Calls in any one second, at most; of the 10 that the service allows (user guide, "Quotas")."""
_ADVICE = {
    Kind.UNREACHABLE: "Verified Permissions gives no usable answer; check region, endpoint and network",
    Kind.THROTTLED: "Verified Permissions throttles; others use the same quota, or `requests` is too high for it",
    Kind.FAULT: "Verified Permissions has a fault of its own",
    Kind.CREDENTIALS: "the AWS credentials are missing, expired or refused; renew them",
    Kind.DENIED: "the AWS role lacks a permission; docs/verified-permissions.md lists what a replica needs",
    Kind.SETTINGS: "no client can be made; see `policies.verified_permissions`",
    Kind.MISSING: "the policy store or its alias is not there; it was deleted, or is of another account or region",
    Kind.CONFLICT: "the policy store is changing",
    Kind.INVALID: "Verified Permissions refuses the call; `policy_store` is an id, or `policy-store-alias/NAME`",
    Kind.QUOTA: "the policy store holds more than a replica takes",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class _Good:
    """The last good content, and when it was known to be the store's."""

    content: Content
    snapshot: PolicySnapshot
    verified_at: float
    """Seconds since the epoch: when the look that saw it began."""
    clock: float
    """Of the monotonic clock, at which its age was `age`."""
    age: float = 0.0
    from_disk: bool = False


def _since_boot() -> float:
    """As `time.monotonic`, which stands still on Linux while the machine sleeps: no store is younger for that."""
    return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))


class AvpStore:
    """Replicates one policy store. Thread-safe; `poll` and the first `read` wait for the network.

    Args:
        client_factory: makes a boto3 client; better one that does not try again by itself, for the budget counts calls.
        settings: which store, and how.
        reached: how the client reaches the service; kept for whoever compares.
        now: seconds since the epoch.
        clock: seconds, never going back. By default those count too in which the machine slept.
        sleep: waits so many seconds; None: until `close`, at most.
        random: from 0 to 1.
        pause: called after each small step.
    """

    def __init__(
        self,
        client_factory: ClientFactory,
        settings: ReplicaSettings,
        *,
        reached: AvpSettings | None = None,
        now: Callable[[], float] = time.time,
        clock: Callable[[], float] = _since_boot,
        sleep: Callable[[float], object] | None = None,
        random: Callable[[], float] = randomness.random,
        pause: Pause = no_pause,
    ) -> None:
        self.settings = settings
        self.reached = reached
        self._now = now
        self._clock = clock
        self._pause = pause
        self._stop = threading.Event()
        # A small store is read at once: as much as fits below the quota in one second, or twice what is allowed.
        burst = max(1.0, min(2 * settings.requests, QUOTA - settings.requests))
        budget = Budget(settings.requests, burst=burst, clock=clock)
        wait = sleep if sleep is not None else self._stop.wait
        self._calls = Calls(client_factory, budget, sleep=wait, random=random, stopped=self._stop.is_set)
        self._rest = Rest(self._calls, settings.policy_store, settings.slow_interval, clock)
        self._next = NextLook(settings.interval if settings.with_policies else settings.slow_interval, random)
        self._file = SnapshotFile(settings, pause=pause, place=_place(reached))
        self._pool: Pool | None = None
        self._good: _Good | None = None
        self._lingered: frozenset[str] = frozenset()
        """Ids of what counts since the last look though that did not list it."""
        self._lock = threading.Lock()
        self._keeping = threading.Lock()
        self.trouble: str = ""
        """Why the last look failed; empty: it did not."""

    # --- what there is

    async def load(self) -> PolicySnapshot:
        """As `read`, in a worker thread."""
        return await asyncio.to_thread(self.read)

    def read(self) -> PolicySnapshot:
        """The last good content, without the network. At first there is none: then the store is looked at, and
        if that fails the snapshot on disk counts, if it is sound, of this store and not too old.

        Raises:
            PoliciesUnavailable: there is nothing yet; why the store could not be read, and the snapshot not be used.
            Misconfigured: the store's content cannot be a policy set, and there was none before.
        """
        if self._good is None:
            with self._lock:
                if self._good is None:
                    self._begin()
        good = self._good
        if good is None:  # unreachable: `_begin` raises, or leaves something good
            raise PoliciesUnavailable("the policy store was not read yet")
        return good.snapshot

    def poll(self) -> bool:
        """Looks at the store. True: the content is another than before.

        Raises:
            PoliciesUnavailable: the store cannot be read; its `detail` says what to do. The last good content stays.
            Misconfigured: the content cannot be a policy set; every problem found. The last good content stays.
        """
        with self._lock:
            return self._poll()

    def schema(self) -> str | None:
        """The schema of the last good content."""
        return self._good.content.schema if self._good is not None else None

    # --- how good it is

    def verified_at(self) -> float | None:
        """Seconds since the epoch at which the content was last known to be the store's; None: there is none.

        For people and records. Whether it is too old is `age`'s to say, which no change of the wall clock can move.
        """
        return self._good.verified_at if self._good is not None else None

    def age(self) -> float:
        """Seconds since the content was last known to be the store's; without any: infinite."""
        good = self._good
        return good.age + max(0.0, self._clock() - good.clock) if good is not None else float("inf")

    @property
    def from_disk(self) -> bool:
        """Is the content that of the snapshot on disk, and the store not read yet?"""
        return self._good is not None and self._good.from_disk

    @property
    def calls(self) -> dict[tuple[str, str], int]:
        """Calls by operation and result (`ok`, or the kind of failure), so far."""
        return self._calls.counts.copy()

    @property
    def snapshot_writes(self) -> dict[str, int]:
        """Snapshots `written` to disk, and `failed`, so far."""
        return self._file.counts.copy()

    @property
    def snapshot_trouble(self) -> str:
        """Why the snapshot could not be written or used the last time; empty: it could."""
        return self._file.trouble

    def next_poll(self) -> float:
        """Seconds until the next look: the interval, or longer after failures; with jitter."""
        return self._next.seconds()

    def keep(self, version: str) -> None:
        """Writes the last good content to disk, if it is of this version: to be told that this decides, or still does.

        Not done by a look itself: what the store holds may be refused yet, and a start must not depend on it.
        """
        good = self._good
        if good is not None and not good.from_disk and good.snapshot.version == version:
            with self._keeping:
                self._file.keep(good.content, good.verified_at, self._clock())

    def close(self) -> None:
        """Ends a look that is under way at its next call; it raises PoliciesUnavailable. For good."""
        self._stop.set()
        if self._lock.acquire(blocking=False):
            try:
                self._calls.close()
            finally:
                self._lock.release()

    # --- one look

    def _begin(self) -> None:
        try:
            self._poll()
        except (PoliciesUnavailable, Misconfigured) as error:
            if self._from_disk():
                return
            if isinstance(error, PoliciesUnavailable) and self._file.trouble:
                raise PoliciesUnavailable(f"{error.detail}; {self._file.trouble}") from None
            raise

    def _poll(self) -> bool:
        self._calls.begin()
        try:
            changed, unsettled = self._look()
        except AvpError as error:
            if error.kind is Kind.MISSING:
                self._rest.forget_store()  # an alias may have come to stand for another store
            self._next.failed(error.kind)
            self.trouble = f"{_ADVICE[error.kind]} ({error})"
            raise PoliciesUnavailable(self.trouble) from None
        except Misconfigured as error:
            self._next.regular()
            self.trouble = str(error)
            raise
        except Stopped:
            self._calls.close()
            raise PoliciesUnavailable("the replica is being stopped") from None
        except Exception as error:
            self._next.failed(Kind.FAULT)
            self.trouble = f"unexpected {type(error).__name__} while the policy store was read"
            raise
        self.trouble = ""
        self._next.soon() if unsettled else self._next.regular()
        return changed

    def _look(self) -> tuple[bool, bool]:
        """Whether the content changed; and whether it may be seen in part only."""
        verified_at, clock = self._now(), self._clock()
        turn = self._rest.turn(whole=not self.settings.with_policies)
        store = self._rest.store(turn)
        pool = self._pool
        if pool is None or pool.store != store:
            self._rest.forget()
            pool = self._pool = Pool(store)
        if self._good is not None and self._good.from_disk:
            pool.know(self._good.content)
        found = Found()
        if self.settings.with_policies:
            limits = (self.settings.max_policies, self.settings.max_characters)
            found = Looking(self._calls, pool, limits, self._pause).look()
        before = self._good.content if self._good is not None else None
        content, waits = self._listed(pool, found, before)
        other = before is None or (before.policies, before.templates, before.links) != (
            content.policies,
            content.templates,
            content.links,
        )
        source = self._rest.identity_source(store, turn)  # before the schema, whose lack could be that of the store
        schema = self._rest.schema(store, turn, again=other)
        changed = self._take(replace(content, identity_source=source, schema=schema), verified_at, clock)
        self._lingered = waits
        return changed, found.vanished or bool(waits) or (changed and found.pages > 1)

    def _listed(self, pool: Pool, found: Found, before: Content | None) -> tuple[Content, frozenset[str]]:
        """The policies that count now, and the ids of those among them that were not listed."""
        content = Content(
            store=pool.store,
            policies=results(pool.policies, found.policies),
            templates=results(pool.templates, found.templates),
            links=tuple(found.links[id] for id in sorted(found.links)),
        )
        if before is None or before.store != pool.store or found.pages <= 1:
            return content, frozenset()
        left = lingering(before, content, self._lingered)
        return left.beside(content), left.ids

    def _take(self, content: Content, verified_at: float, clock: float) -> bool:
        good = self._good
        if good is not None and good.content == content:
            self._good = replace(good, verified_at=verified_at, clock=clock, age=0.0, from_disk=False)
            changed = False
        else:
            snapshot = content.snapshot(self._now(), self._pause)
            changed = good is None or good.snapshot.version != snapshot.version
            self._good = _Good(content=content, snapshot=snapshot, verified_at=verified_at, clock=clock)
        return changed

    def _from_disk(self) -> bool:
        now, clock = self._now(), self._clock()
        kept = self._file.load(now)
        if kept is None:
            return False
        self._good = _Good(
            content=kept.content,
            snapshot=kept.content.snapshot(now, self._pause),
            verified_at=kept.verified_at,
            clock=clock,
            age=now - kept.verified_at,
            from_disk=True,
        )
        return True


def _place(reached: AvpSettings | None) -> str:
    return " ".join([part or "-" for part in (reached.region, reached.endpoint, reached.profile)]) if reached else ""
