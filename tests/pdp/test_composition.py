"""Cache, fallback and parity check over the real points: Cedar's engine here, Verified Permissions as the emulator."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import pytest

from authz.core.errors import DecisionUnavailable, PoliciesUnavailable, Reason
from authz.core.model import Caching, Effect, Entity, EntitySlice, EntityUid, Extension, Policy, PolicySnapshot, Query
from authz.pdp.avp import AvpDecisionPoint
from authz.pdp.avp_calls import AvpCalls
from authz.pdp.avp_settings import AvpDecisionSettings
from authz.pdp.cached import CachedDecisionPoint
from authz.pdp.cedar import CedarDecisionPoint, CedarSettings
from authz.pdp.compiled import compile_snapshot
from authz.pdp.fallback import Circuit, FallbackDecisionPoint, FallbackSettings
from authz.pdp.parity import ParityCheck
from authz.pdp.parity_values import Difference, Divergence, ParitySettings
from tests.emulator.running import Emulator, emulator

ANN, BOB, STAFF = EntityUid("User", "ann"), EntityUid("User", "bob"), EntityUid("Group", "staff")
READ, WRITE, DOC = EntityUid("Action", "read"), EntityUid("Action", "write"), EntityUid("Doc", "1")
TEXTS = (
    'permit(principal in Group::"staff", action == Action::"read", resource);',
    "permit(principal, action, resource) when { principal has level && principal.level > 2 };",
    'forbid(principal, action, resource) when { context has address && context.address == ip("10.0.0.1") };',
    "forbid(principal, action, resource) unless { context.sure };",
)
LONG = Caching(allow=60, deny=60)


@dataclass(frozen=True, kw_only=True)
class World:
    emulator: Emulator
    store: str
    ids: tuple[str, ...]
    calls: AvpCalls
    remote: AvpDecisionPoint

    def local(self, texts: tuple[str, ...] = TEXTS, **settings: Any) -> CedarDecisionPoint:
        """The replica: the store's policies under the store's ids."""
        policies = tuple(
            Policy(id=id, text=text, effect=Effect.PERMIT if text.startswith("permit") else Effect.FORBID)
            for id, text in zip(self.ids, texts, strict=True)
        )
        compiled = compile_snapshot(PolicySnapshot(version=str(hash(texts)), policies=policies))
        return CedarDecisionPoint(compiled, CedarSettings(**settings), age=lambda: 5.0)

    async def edit(self, number: int, text: str) -> None:
        await asyncio.to_thread(
            self.emulator.client().update_policy,
            policyStoreId=self.store,
            policyId=self.ids[number],
            definition={"static": {"statement": text}},
        )


@asynccontextmanager
async def world(**settings: Any) -> AsyncIterator[World]:
    async with emulator() as running:
        client = await asyncio.to_thread(running.client)
        store = await asyncio.to_thread(running.store)

        def create(text: str) -> str:
            made = client.create_policy(policyStoreId=store, definition={"static": {"statement": text}})
            return str(made["policyId"])

        ids = await asyncio.to_thread(lambda: tuple(create(text) for text in TEXTS))
        given = {"timeout": 10.0, "rate": 1000.0, **settings}
        calls = AvpCalls(lambda: client, AvpDecisionSettings(policy_store=store, **given))
        try:
            yield World(emulator=running, store=store, ids=ids, calls=calls, remote=AvpDecisionPoint(calls))
        finally:
            calls.close()


def queries() -> list[Query]:
    slices = [
        EntitySlice(entities=(Entity(uid=ANN, attributes={"level": 1}, parents=frozenset({STAFF})),)),
        EntitySlice(entities=(Entity(uid=ANN, attributes={"level": 3, "mail": ("a", "b")}, tags={"t": "x"}),)),
        EntitySlice(entities=(Entity(uid=BOB, attributes={"level": "no number"}),)),
        EntitySlice(),
    ]
    contexts: list[dict[str, Any]] = [
        {"sure": True},
        {"sure": True, "address": Extension("ip", "10.0.0.1")},
        {"sure": False, "nested": {"a": (1, 2), "who": BOB}},
        {},
    ]
    return [
        Query(principal=who, action=action, resource=DOC, context=context, entities=(source,), caching=LONG)
        for who in (ANN, BOB)
        for action in (READ, WRITE)
        for source in slices
        for context in contexts
    ]


async def ended(check: ParityCheck) -> None:
    async with asyncio.timeout(60):
        while check.pending:
            await asyncio.sleep(0.005)


async def test_replica_and_service_agree_and_a_change_is_no_divergence_once_the_replica_has_it():
    async with world() as there:
        told: list[Divergence] = []
        changed = asyncio.Event()

        async def until_changed(_: float) -> None:
            await changed.wait()

        settings = ParitySettings(share=1.0, requests=1e6, queue=1000, timeout=30.0)
        check = ParityCheck(there.remote, settings, told=told.append, sleep=until_changed)
        point = check.beside(there.local())
        for query in queries():
            await point.decide(query)
        await ended(check)
        assert check.counters.agreed == len(queries())
        assert check.counters.calls == there.calls.calls[("IsAuthorized", "answered")] == len(queries())

        # The policy is changed in the store; the replica hears of it while the second question waits.
        newer = (TEXTS[0].replace("read", "write"), *TEXTS[1:])
        await there.edit(0, newer[0])
        staff = queries()[0]
        await point.decide(staff)
        while not check._settling:
            await asyncio.sleep(0.005)
        point = check.beside(there.local(newer))
        changed.set()
        await ended(check)
        assert (check.counters.passing, told, check.alarmed) == (1, [], False)

        # And one that the replica never hears of.
        await there.edit(0, TEXTS[0])
        await point.decide(staff)
        await ended(check)
        assert [(one.kind, one.settled) for one in told] == [(Difference.VERDICT, True)]
        assert check.alarmed
        await check.aclose()


@pytest.mark.parametrize("fault", ["throttle", "fail", "garbage", "drop", "expire", "deny"])
async def test_whatever_is_wrong_with_the_service_the_replica_decides(fault: str):
    async with world() as there:
        point = FallbackDecisionPoint(there.remote, there.local(), circuit=Circuit(FallbackSettings(failures=0)))
        query = queries()[0]
        first = await point.decide(query)
        getattr(there.emulator.switches, fault)("IsAuthorized")
        second = await point.decide(query)
        assert (first.verdict, first.policies) == (second.verdict, second.policies)
        assert (first.decision_point, second.decision_point) == ("verified_permissions", "cedar")
        assert point.circuit.counters.secondary.total() == 1


async def test_a_slow_service_leaves_time_for_the_replica_and_is_left_alone_then():
    async with world() as there:
        settings = FallbackSettings(seconds=0.06, failures=1, cool_down=3600)
        point = FallbackDecisionPoint(there.remote, there.local(), circuit=Circuit(settings))
        there.emulator.switches.slow(1.0, "IsAuthorized")
        query = queries()[0]
        assert [(await point.decide(query)).decision_point for _ in range(3)] == ["cedar"] * 3
        assert point.circuit.counters.secondary == {Reason.DEADLINE: 3}
        assert point.circuit.counters.left_alone == 2


async def test_where_the_replica_is_too_old_the_service_decides():
    async with world() as there:
        point = FallbackDecisionPoint(there.local(max_age=1.0), there.remote)
        decisions = [await point.decide(query) for query in queries()[:4]]
        assert {decision.decision_point for decision in decisions} == {"verified_permissions"}
        assert point.circuit.counters.secondary == {Reason.POLICIES_UNAVAILABLE: 4}
        there.emulator.switches.fail("IsAuthorized")
        with pytest.raises(DecisionUnavailable) as caught:
            await point.decide(queries()[0])
        assert caught.value.reason is Reason.POLICIES_UNAVAILABLE
        assert "IsAuthorized" in caught.value.detail


async def test_kept_decisions_spare_calls_and_failures_are_asked_again():
    async with world() as there:
        point = CachedDecisionPoint(there.remote, version=there.store)
        calls = there.emulator.switches.calls
        alone = [await there.remote.decide(query) for query in queries()]
        before = calls["IsAuthorized"]
        for _ in range(3):
            found = [await point.decide(query) for query in queries()]
            assert [(one.verdict, one.policies, one.errors) for one in found] == [
                (one.verdict, one.policies, one.errors) for one in alone
            ]
        assert calls["IsAuthorized"] - before == len(queries())

        there.emulator.switches.fail("IsAuthorized")
        strange = Query(principal=BOB, action=READ, resource=BOB, caching=LONG)
        for _ in range(2):
            with pytest.raises(DecisionUnavailable):
                await point.decide(strange)
        assert (await point.decide(queries()[0])).cached
        there.emulator.switches.clear()
        assert not (await point.decide(strange)).cached


async def test_all_of_it_together_fails_closed():
    """The cache in front of the parity check in front of a replica that is too old, and nobody else to ask."""
    async with world() as there:
        check = ParityCheck(there.remote, ParitySettings(share=1.0))
        local = there.local(max_age=1.0)
        point = CachedDecisionPoint(check.beside(local), version="v", age=lambda: 5.0, max_age=1.0)
        for _ in range(2):
            with pytest.raises(PoliciesUnavailable):
                await point.decide(queries()[0])
        assert (len(point.cache), check.counters.decisions) == (0, 0)
        await check.aclose()
