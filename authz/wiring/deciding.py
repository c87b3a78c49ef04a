"""Who decides: the decision point of an assembly, made of the parts that its configuration names.

    the route's cache → the parity check → local, remote, or one with the other behind it

Each part is there only where the configuration asks for it. What costs a connection or holds what was learned
(calls, caches, circuits, counts) outlives the policy sets; the rest is made anew with each.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING

from authz.config.policies import ParityShape, VerifiedPermissionsShape
from authz.core.errors import DecisionUnavailable
from authz.core.model import Decision, EntityUid, Query
from authz.core.ports import DecisionPoint
from authz.observe.decision_metrics import CacheReading
from authz.pdp.cedar import CedarDecisionPoint, CedarSettings
from authz.wiring.assembly import Assembly
from authz.wiring.freshness import Freshness
from authz.wiring.policy_store import avp_settings

if TYPE_CHECKING:
    from authz.aws.settings import AvpSettings
    from authz.pdp.avp import AvpDecisionPoint
    from authz.pdp.avp_calls import AvpCalls
    from authz.pdp.avp_settings import AvpDecisionSettings
    from authz.pdp.cached_store import DecisionCache
    from authz.pdp.fallback import Circuit
    from authz.pdp.parity import ParityCheck

MARGIN = 1.0
"""Seconds beyond the deadline of a check, after which none that began with the old calls is still under way."""
CONNECT_WITHIN = 5.0
"""Seconds for which a start or a reload waits for a client: reading boto3's models, and finding credentials."""
FIRST_SHARE = 0.6
"""Of the deadline: what Verified Permissions may take where the local policy set can decide in its place."""


class Deciding:
    """What outlives policy sets. Makes the decision point of each assembly."""

    def __init__(self, freshness: Freshness) -> None:
        self._freshness = freshness
        self._reached: tuple[AvpSettings, AvpDecisionSettings] | None = None
        self.calls: AvpCalls | None = None
        """Calls for decisions; None: none are made."""
        self.cache: DecisionCache | None = None
        self._cached_before: CacheReading | None = None
        self.circuit: Circuit | None = None
        self.parity: ParityCheck | None = None
        self._asked_again = _Latest()
        self._ending: set[asyncio.Task[None]] = set()

    def point(self, assembly: Assembly, *, tell_left_out: bool = False) -> DecisionPoint:
        """The decision point of an assembly."""
        policies = assembly.config.shape.policies
        avp = policies.verified_permissions
        wants_remote = avp is not None and (policies.decide != "local" or avp.parity is not None)
        calls = self._connected(assembly, avp) if avp is not None and wants_remote else None
        remote = _remote(assembly, calls) if calls is not None else None
        local: DecisionPoint = self._local(assembly, tell_left_out=tell_left_out)
        if remote is not None and avp is not None and avp.parity is not None:
            local = self._checked(assembly, avp.parity, local, remote)
        return self._kept(assembly, self._composed(assembly, local, remote))

    async def connect(self) -> None:
        """Makes the client of Verified Permissions, so that the first decision does not wait for it. What stands in
        the way of that the first decision will tell, as all others.
        """
        if self.calls is not None:
            with suppress(DecisionUnavailable, TimeoutError):
                async with asyncio.timeout(CONNECT_WITHIN):
                    await self.calls.connect()

    async def close(self) -> None:
        """Ends what was begun."""
        self._end_parity()
        await asyncio.gather(*self._ending)
        if self.calls is not None:
            self.calls.close()

    def _end_parity(self) -> None:
        if self.parity is not None:
            task = asyncio.get_running_loop().create_task(self.parity.aclose())
            self._ending.add(task)
            task.add_done_callback(self._ending.discard)
            self.parity = None

    # --- parts

    def _local(self, assembly: Assembly, *, tell_left_out: bool) -> CedarDecisionPoint:
        shape = assembly.config.shape
        policies = shape.policies
        settings = CedarSettings(
            on_forbid_error=policies.on_forbid_error,
            validate_requests=policies.validate_requests,
            validate_entities=policies.validate_entities,
            max_candidates=shape.limits.candidates,
            max_entities=shape.limits.entities,
            max_ancestors=shape.limits.ancestors,
            tell_left_out=tell_left_out,
            max_age=policies.oldest,
        )
        return CedarDecisionPoint(assembly.compiled, settings, age=self._freshness.age)

    def _connected(self, assembly: Assembly, avp: VerifiedPermissionsShape) -> AvpCalls:
        """The calls in use where nothing about them changed: they have the connections, and know the quota's state."""
        from authz.aws.client import avp_client
        from authz.pdp.avp_calls import AvpCalls

        reached = replace(
            avp_settings(avp, timeout=avp.remote.timeout, connections=avp.remote.connections), validate=False
        )
        settings = _decision_settings(assembly, avp)
        if self.calls is not None:
            if self._reached == (reached, settings):
                return self.calls
            # Checks under way may still ask; then the old ones go.
            delay = assembly.config.shape.limits.deadline + MARGIN
            asyncio.get_running_loop().call_later(delay, self.calls.close)
        self._reached, self.calls = (reached, settings), AvpCalls(lambda: avp_client(reached), settings)
        return self.calls

    def _checked(
        self, assembly: Assembly, shape: ParityShape, local: DecisionPoint, remote: DecisionPoint
    ) -> DecisionPoint:
        from authz.pdp.parity import ParityCheck
        from authz.pdp.parity_values import ParitySettings

        avp = assembly.config.shape.policies.verified_permissions
        settle = 2 * (avp.replica.interval if avp is not None else 0.0)
        settings = ParitySettings(share=shape.share, requests=shape.requests / assembly.sharing, settle=settle)
        self._asked_again.point = remote
        if self.parity is None or self.parity.settings != settings:
            shown = assembly.config.shape.record.principal == "shown"
            self._end_parity()
            self.parity = ParityCheck(self._asked_again, settings, principal=str if shown else _type)
        return self.parity.beside(local)

    def _composed(self, assembly: Assembly, local: DecisionPoint, remote: DecisionPoint | None) -> DecisionPoint:
        decide = assembly.config.shape.policies.decide
        if remote is None or decide == "local":
            return local
        if decide == "remote":
            return remote
        from authz.pdp.fallback import Circuit, FallbackDecisionPoint, FallbackSettings

        first = decide == "remote_or_local"
        seconds = assembly.config.shape.limits.deadline * FIRST_SHARE if first else None
        settings = FallbackSettings(seconds=seconds)
        if self.circuit is None or self.circuit.settings != settings:
            self.circuit = Circuit(settings)
        points = (remote, local) if first else (local, remote)
        return FallbackDecisionPoint(*points, circuit=self.circuit)

    def _kept(self, assembly: Assembly, point: DecisionPoint) -> DecisionPoint:
        """With the cache of the routes that want one: a new one each time, for the settings may be others too."""
        if self.cache is not None:
            self._cached_before = replace(found, size=0) if (found := self.cached()) is not None else None
        if not any(route.cache is not None for route in assembly.routes.routes):
            self.cache = None
            return point
        from authz.pdp.cached import CachedDecisionPoint
        from authz.pdp.cached_store import CacheSettings, DecisionCache

        policies = assembly.config.shape.policies
        avp = policies.verified_permissions
        self.cache = DecisionCache(CacheSettings(entries=policies.cache.entries))
        return CachedDecisionPoint(
            point,
            version=assembly.compiled.version,
            cache=self.cache,
            age=self._freshness.age,
            max_age=policies.oldest,
            by_credential=avp is not None and avp.remote.forward_token and policies.decide != "local",
        )

    def cached(self) -> CacheReading | None:
        """What the caches have counted, those before among them; None: there never was one."""
        if self.cache is None:
            return self._cached_before
        now, before = self.cache.counters, self._cached_before or CacheReading()
        return CacheReading(
            hits=before.hits + now.hits,
            misses=before.misses + now.misses,
            shared=before.shared + now.shared,
            evictions=before.evictions + now.evictions,
            size=len(self.cache),
        )


class _Latest:
    """The remote decision point of the latest assembly, for checks that outlive one."""

    def __init__(self) -> None:
        self.point: DecisionPoint | None = None

    async def decide(self, query: Query) -> Decision:
        """As the point does."""
        return await self._now().decide(query)

    async def decide_many(self, queries: Sequence[Query]) -> tuple[Decision, ...]:
        """As the point does."""
        return await self._now().decide_many(queries)

    def _now(self) -> DecisionPoint:
        if self.point is None:
            raise DecisionUnavailable(detail="there is no remote decision point")
        return self.point


def _type(principal: EntityUid) -> str:
    return principal.type


def _remote(assembly: Assembly, calls: AvpCalls) -> AvpDecisionPoint:
    from authz.pdp.avp import AvpDecisionPoint

    compiled = assembly.compiled
    rows = compiled.rows

    def names(ids: tuple[str, ...]) -> tuple[str, ...]:
        """Of policies that the replica has too."""
        found = [rows[id].name if id in rows else "" for id in ids]
        return tuple([name or id for name, id in zip(found, ids, strict=True)]) if any(found) else ()

    def messages(ids: tuple[str, ...]) -> tuple[str, ...]:
        return tuple([message for id in ids if id in rows and (message := rows[id].message) is not None])

    if assembly.config.shape.policies.store == "files":
        rows = {}  # other policies, though an id may be the same
    return AvpDecisionPoint(calls, schema=compiled.schema, stored=compiled.entities, names=names, messages=messages)


def _decision_settings(assembly: Assembly, avp: VerifiedPermissionsShape) -> AvpDecisionSettings:
    from authz.pdp.avp_settings import AvpDecisionSettings

    shape, remote = assembly.config.shape, avp.remote
    source = assembly.compiled.snapshot.identity_source
    return AvpDecisionSettings(
        policy_store=avp.policy_store,
        timeout=remote.timeout,
        concurrency=remote.connections,
        rate=remote.requests / assembly.sharing,
        batch_rate=remote.batches / assembly.sharing,
        forward_token=remote.forward_token,
        group_type=source.group_type if source is not None else "",
        on_forbid_error=shape.policies.on_forbid_error,
        max_entities=shape.limits.entities,
    )
