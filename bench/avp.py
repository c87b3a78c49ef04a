"""Verified Permissions through the emulator: what a replica costs in calls and in time, and what a remote decision and
a kept one take.

The replica runs on a clock that its own waiting moves: at the default budget a look at 10,000 policies waits for a
hundred seconds, which nobody has to sit through to know it.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from authz.core.model import Caching, Decision, Entity, EntitySlice, EntityUid, Extension, Query, Verdict
from authz.pdp.avp import AvpDecisionPoint
from authz.pdp.avp_calls import AvpCalls
from authz.pdp.avp_settings import AvpDecisionSettings
from authz.pdp.cached import CachedDecisionPoint
from authz.pdp.cedar import CedarDecisionPoint
from authz.pdp.compiled import compile_snapshot
from authz.stores.avp import AvpStore, ReplicaSettings
from bench import avp_store
from bench.answers import WrongAnswer
from bench.in_process import driven
from bench.rows import Row, at_most, row

BENCH = "avp"
SIZES = (100, 1_000, 10_000)
QUESTIONS = 300
"""Decisions, of either kind, in a run."""
HITS = 5_000
_now = time.perf_counter


class Waiting:
    """Seconds, moved by waiting and by nothing else."""

    def __init__(self) -> None:
        self.seconds = 1_000.0

    def now(self) -> float:
        return self.seconds

    def wait(self, seconds: float) -> None:
        self.seconds += seconds


@dataclass(frozen=True, slots=True, kw_only=True)
class Replica:
    """One store, replicated at the default budget."""

    size: int
    cold: int
    """Calls of the first look."""
    cold_seconds: float
    idle: int
    """Calls of a look that finds no change."""
    visible: float
    """Seconds from a change, made just after a look, until the replica has it: interval and look."""
    page: float
    """Milliseconds of a ListPolicies page of the emulator."""
    decision: float
    """Milliseconds of an IsAuthorized of the emulator."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """Medians of one run."""

    bare: float
    """Milliseconds of `client.is_authorized`."""
    remote: float
    """Milliseconds of the remote decision point, the same question."""
    hit: float
    """Microseconds of a kept decision."""
    local: float
    """Microseconds of the same decided anew."""


def replica(url: str, size: int) -> Replica:
    """Fills a store and replicates it."""
    client = avp_store.client(url)
    store = avp_store.store(client, size)
    clock = Waiting()
    settings = ReplicaSettings(policy_store=store)
    ours = AvpStore(lambda: client, settings, clock=clock.now, sleep=clock.wait, random=lambda: 0.5)
    begun = clock.now()
    if len(ours.read().policies) != size:
        raise WrongAnswer(f"the replica has {len(ours.read().policies)} policies, not {size}")
    cold_seconds, cold = clock.now() - begun, sum(ours.calls.values())
    idle = min(_calls(ours, clock) for _ in range(3))
    avp_store.create(client, store, avp_store.permit(size))
    changed = clock.now()
    clock.wait(ours.next_poll())
    if not ours.poll():
        raise WrongAnswer("the replica has not seen a change")
    return Replica(
        size=size,
        cold=cold,
        cold_seconds=cold_seconds,
        idle=idle,
        visible=clock.now() - changed,
        page=_timed(lambda: client.list_policies(policyStoreId=store, maxResults=50)),
        decision=_timed(lambda: _check(client.is_authorized(policyStoreId=store, **avp_store.question(size // 2)))),
    )


def _calls(ours: AvpStore, clock: Waiting) -> int:
    clock.wait(ours.next_poll())
    before = sum(ours.calls.values())
    if ours.poll():
        raise WrongAnswer("the replica has seen a change where there was none")
    return sum(ours.calls.values()) - before


def _check(answer: Any) -> None:
    if answer["decision"] != "ALLOW":
        raise WrongAnswer("the emulator denies what a policy permits")


def _timed(call: Callable[[], object], times: int = 40) -> float:
    call()
    found = []
    for _ in range(times):
        begun = _now()
        call()
        found.append((_now() - begun) * 1e3)
    return avp_store.median_of(found)


def _query(number: int, caching: Caching | None = None) -> Query:
    user = EntityUid("Bench::User", "u1")
    entity = Entity(uid=user, attributes={"department": "finance", "level": 3})
    return Query(
        principal=user,
        action=EntityUid("Bench::Action", "Read"),
        resource=EntityUid("Bench::Document", f"d{number}"),
        context={"ip": Extension("ip", "192.0.2.7"), "mfa": True},
        entities=(EntitySlice(entities=(entity,)),),
        caching=caching,
    )


async def asked(url: str, store: str, size: int) -> Asked:
    """Remote decisions and bare calls in turn, then kept and new decisions in turn."""
    client = avp_store.client(url)
    settings = AvpDecisionSettings(policy_store=store, rate=1_000_000)
    calls = AvpCalls(lambda: avp_store.client(url), settings)
    point = AvpDecisionPoint(calls)
    bare, remote = [], []
    for number in range(QUESTIONS + 10):
        begun = _now()
        _check(client.is_authorized(policyStoreId=store, **avp_store.question(number % size)))
        between = _now()
        _allowed(await point.decide(_query(number % size)))
        if number >= 10:  # the first ones open connections
            bare.append((between - begun) * 1e3)
            remote.append((_now() - between) * 1e3)
    calls.close()
    hit, local = await asyncio.to_thread(_hits, client, store)
    return Asked(bare=avp_store.median_of(bare), remote=avp_store.median_of(remote), hit=hit, local=local)


def _hits(client: Any, store: str) -> tuple[float, float]:
    snapshot = AvpStore(lambda: client, ReplicaSettings(policy_store=store, requests=1e6)).read()
    inner = CedarDecisionPoint(compile_snapshot(snapshot))
    cached = CachedDecisionPoint(inner, version=snapshot.version)
    queries = [_query(number, Caching(allow=3600.0, deny=3600.0)) for number in range(50)]
    hits, local = [], []
    for number in range(HITS):
        query = queries[number % 50]
        begun = _now()
        decision = driven(cached.decide(query))
        between = _now()
        driven(inner.decide(query))
        if number >= 50:
            _allowed(decision)
            if not decision.cached:
                raise WrongAnswer("a decision was not kept")
            hits.append((between - begun) * 1e6)
            local.append((_now() - between) * 1e6)
    return avp_store.median_of(hits), avp_store.median_of(local)


def _allowed(decision: Decision) -> None:
    if decision.verdict is not Verdict.ALLOW:
        raise WrongAnswer("what a policy permits is denied")


async def measure(
    *, runs: int, say: Callable[[str], None], sizes: Sequence[int] = SIZES
) -> tuple[list[Replica], list[Asked]]:
    """Each store once, for calls are counted; questions in every run."""
    with avp_store.emulator() as url:
        replicas = []
        for size in sizes:
            replicas.append(await asyncio.to_thread(replica, url, size))
            say(f"  {replicas[-1]}")
        store = await asyncio.to_thread(lambda: avp_store.store(avp_store.client(url), 100))
        found = [await asked(url, store, 100) for _ in range(runs)]
    return replicas, found


def rows(replicas: Sequence[Replica], asked: Sequence[Asked]) -> list[Row]:
    """Calls against their bars, then times."""
    found: list[Row] = []
    for one in replicas:
        pages = math.ceil(one.size / 50)
        cold, idle = pages + math.ceil(one.size / 100) + 5, pages + 2
        told = f"replica of {one.size:,} policies"
        found += [
            row(BENCH, f"{told}: calls, cold start", "calls", [one.cold], bar=at_most(cold)),
            row(BENCH, f"{told}: calls, look without change", "calls", [one.idle], bar=at_most(idle)),
            row(BENCH, f"{told}: cold start at the default budget", "s", [one.cold_seconds]),
            row(BENCH, f"{told}: a change is visible, default budget", "s", [one.visible]),
            row(BENCH, f"emulator, {one.size:,} policies: ListPolicies page", "ms", [one.page], bar=at_most(20)),
            row(BENCH, f"emulator, {one.size:,} policies: IsAuthorized", "ms", [one.decision], bar=at_most(20)),
        ]
    bare, remote = [one.bare for one in asked], [one.remote for one in asked]
    hit, local = [one.hit for one in asked], [one.local for one in asked]
    call = "bare client.is_authorized"
    new = "decided anew"
    return [
        *found,
        row(BENCH, "remote decision", "ms", remote, against=bare, name=call, bar=at_most(1.3)),
        row(BENCH, "kept decision", "µs", hit, bar=at_most(15)),
        row(BENCH, "kept decision", "µs", hit, against=local, name=new),
    ]
