"""What was rejected because of a fault counts by itself when that is over, and hides nothing meanwhile."""

from __future__ import annotations

import asyncio
import time
from contextlib import asynccontextmanager

from authz.stores.avp import AvpStore
from authz.wiring import assemble, keeper
from authz.wiring.backoff import Backoff
from authz.wiring.runtime import running
from tests.faults.conftest import SCHEMA, Decider, permit


@asynccontextmanager
async def watching(site):
    """Looks at store and files by itself."""
    assembled = await asyncio.to_thread(assemble, site.folder / "authz.yaml", serves=True)
    async with running(assembled.required()) as runtime:
        yield Decider(runtime)


async def until(holds, within=20.0):
    end = time.monotonic() + within
    while not await holds():
        assert time.monotonic() < end, "it never held"
        await asyncio.sleep(0.02)


async def test_another_store_that_is_out_of_reach_counts_when_it_is_back(site, monkeypatch):
    monkeypatch.setattr(keeper, "AGAIN", Backoff(first=0.2, most=0.2, spread=0.0))
    first, avp = site.store, "replica: {interval: 1s, requests: 1000}"
    other = site.emulator.store(schema=SCHEMA, mode="STRICT", policies=[permit("moved")])
    text = (site.folder / "authz.yaml").read_text()
    text = text.replace("replica: {requests: 1000, snapshot: snapshot.json}", avp)
    (site.folder / "authz.yaml").write_text(text)
    async with watching(site) as decider:
        assert await decider.ask("open") == "allowed"
        rejected = decider.runtime.freshness.reloads["rejected"]
        site.switches.fail("ListPolicies", status=503)
        (site.folder / "authz.yaml").write_text(text.replace(first, other))

        async def is_rejected():
            return decider.runtime.freshness.reloads["rejected"] > rejected

        async def moved():
            return await decider.ask("moved") == "allowed"

        await until(is_rejected)
        assert await decider.ask("open") == "allowed"
        assert await decider.ask("moved") == "policy_no_permit"
        site.switches.clear()
        await until(moved)
        assert await decider.ask("open") == "policy_no_permit"
        assert decider.runtime.freshness.rejected_at is None


async def test_a_mistake_in_a_file_makes_an_old_replica_no_younger(site):
    site.settings(max_age="300ms")
    async with site.running() as decider:
        site.switches.fail("ListPolicies", status=503)

        async def is_too_old():
            return await decider.ask() == "policies_unavailable"

        await until(is_too_old)
        (site.folder / "routes.yaml").write_text("- nonsense")
        assert not await decider.runtime.reload()
        assert await decider.ask() == "policies_unavailable"
        assert not decider.ready


async def test_a_store_of_a_state_that_is_rejected_is_let_go_and_the_one_in_use_is_not(site, monkeypatch):
    closed = []
    close = AvpStore.close

    def told(store):
        closed.append(store)
        close(store)

    monkeypatch.setattr(AvpStore, "close", told)
    async with site.running() as decider:
        (site.folder / "routes.yaml").write_text("- nonsense")
        assert not await decider.runtime.reload()
        assert closed == []  # it would be the store of the state that goes on
        site.settings(endpoint=site.emulator.url.replace("127.0.0.1", "localhost"))
        assert not await decider.runtime.reload()
        assert len(closed) == 1
        assert decider.store not in closed
        await decider.look()
        assert decider.store.trouble == ""
