"""What goes wrong with a replicated policy store: decisions stay right or fail closed, say why, and mend themselves."""

import asyncio
import json
import logging
import socket
import time

import pytest

from authz.wiring import assemble
from tests.faults.conftest import SCHEMA, permit

NOWHERE = "http://127.0.0.1:9"
"""Nobody listens there (the discard port, unused on loopback)."""

FAULTS = {
    "throttling": lambda switches: switches.throttle(),
    "5xx": lambda switches: switches.fail(status=503),
    "garbage": lambda switches: switches.garbage(),
    "cut short": lambda switches: switches.truncate(),
    "dropped": lambda switches: switches.drop(),
    "expired credentials": lambda switches: switches.expire(),
    "no permission": lambda switches: switches.deny(),
    "list fails": lambda switches: switches.fail("ListPolicies"),
    "get fails": lambda switches: switches.fail("BatchGetPolicy"),
    "templates fail": lambda switches: switches.deny("ListPolicyTemplates"),
}


def rejected_or_unread(caplog):
    return [record.getMessage() for record in caplog.records if record.name.startswith("authz.")]


# --- at the start


@pytest.mark.parametrize("fault", FAULTS)
async def test_a_start_without_policies_waits_closed_and_mends_itself(site, fault):
    FAULTS[fault](site.switches)
    async with site.running() as decider:
        assert await decider.ask() == "policies_unavailable"
        assert not decider.ready
        assert "none yet" in decider.runtime.readiness()["policies"][1]
        await decider.look()
        assert await decider.ask() == "policies_unavailable"
        site.switches.clear()
        await decider.look()
        assert await decider.ask() == "allowed"
        assert await decider.ask("other") == "policy_no_permit"
        assert decider.ready


async def test_a_start_while_nobody_listens_decides_by_the_snapshot(site):
    async with site.running() as decider:
        assert await decider.ask() == "allowed"
    assert site.snapshot.exists()
    site.settings(endpoint=NOWHERE)
    async with site.running() as decider:
        assert await decider.ask() == "allowed"
        assert await decider.ask("other") == "policy_no_permit"
        assert decider.ready
        assert decider.runtime.freshness.age() > 0


@pytest.mark.parametrize(
    "spoil",
    [
        pytest.param(lambda data: data[: len(data) // 2], id="cut short"),
        pytest.param(lambda data: data.replace(b"open", b"evil"), id="edited"),
        pytest.param(lambda _: b"", id="empty"),
        pytest.param(lambda data: b"\xff\xfe" + data, id="not UTF-8"),
        pytest.param(lambda _: json.dumps([]).encode(), id="another structure"),
    ],
)
async def test_a_spoilt_snapshot_is_not_used_and_said_so(site, spoil):
    async with site.running():
        pass
    site.snapshot.write_bytes(spoil(site.snapshot.read_bytes()))
    site.settings(endpoint=NOWHERE)
    async with site.running() as decider:
        assert await decider.ask() == "policies_unavailable"
        assert "snapshot" in decider.runtime.readiness()["policies"][1]


async def test_a_snapshot_of_another_store_is_not_used(site):
    async with site.running():
        pass
    site.store = "PSanother0000000000000"
    site.settings(endpoint=NOWHERE)
    async with site.running() as decider:
        assert await decider.ask() == "policies_unavailable"


async def test_a_replayed_snapshot_counts_by_its_own_age(site):
    async with site.running():
        written = time.monotonic()
    site.settings(endpoint=NOWHERE, max_age="300ms")
    while time.monotonic() < written + 0.35:
        await asyncio.sleep(0.05)
    async with site.running() as decider:
        assert await decider.ask() == "policies_unavailable"


# --- later


@pytest.mark.parametrize("fault", FAULTS)
async def test_the_last_good_policies_go_on_and_age(site, fault, caplog):
    async with site.running() as decider:
        site.create(permit("new"))
        FAULTS[fault](site.switches)
        before = decider.runtime.freshness.age()
        with caplog.at_level(logging.ERROR):
            await decider.look()
            await decider.look()
        assert await decider.ask() == "allowed"
        assert await decider.ask("new") == "policy_no_permit"
        assert decider.runtime.freshness.age() > before
        assert len(rejected_or_unread(caplog)) == 1  # once, not at each look
        site.switches.clear()
        await decider.look()
        assert await decider.ask("new") == "allowed"
        assert decider.runtime.freshness.age() < 5


async def test_past_its_age_nothing_is_decided_until_the_store_is_back(site):
    site.settings(max_age="200ms")
    async with site.running() as decider:
        site.switches.fail()
        await decider.look()
        for _ in range(200):
            if await decider.ask() == "policies_unavailable":
                break
            await asyncio.sleep(0.01)
        assert await decider.ask() == "policies_unavailable"
        assert not decider.ready
        site.switches.clear()
        await decider.look()
        assert await decider.ask() == "allowed"


async def test_half_a_list_changes_nothing(site):
    for number in range(60):
        site.create(permit(f"n{number}"))
    async with site.running() as decider:
        site.client.create_policy(
            policyStoreId=site.store, definition={"static": {"statement": permit("open").replace("permit", "forbid")}}
        )
        site.switches.half_a_list()
        await decider.look()
        assert await decider.ask("n7") == "allowed"
        assert await decider.ask() == "allowed"
        site.switches.clear()
        await decider.look()
        assert await decider.ask() == "policy_forbid"
        assert await decider.ask("n7") == "allowed"


async def test_a_slow_store_holds_up_no_decision(site):
    async with site.running() as decider:
        site.switches.slow(0.5, calls=1)
        looking = asyncio.create_task(decider.look())
        asked = 0
        while not looking.done():
            assert await decider.ask() == "allowed"
            asked += 1
            await asyncio.sleep(0.005)
        await looking
        assert asked > 10


async def test_a_deleted_store_is_missing_and_not_an_empty_one(site, caplog):
    async with site.running() as decider:
        site.client.delete_policy_store(policyStoreId=site.store)
        with caplog.at_level(logging.ERROR):
            await decider.look()
        assert await decider.ask() == "allowed"
        assert "deleted" in rejected_or_unread(caplog)[0]


async def test_without_its_schema_a_store_decides_as_before(site):
    async with site.running() as decider:
        site.client.update_policy_store(policyStoreId=site.store, validationSettings={"mode": "OFF"})
        site.client.put_schema(policyStoreId=site.store, definition={"cedarJson": "{}"})
        site.create(permit("new"))  # whatever changes has the schema looked at
        await decider.look()
        assert not decider.has_schema
        assert [await decider.ask(name) for name in ("open", "new", "other")] == [
            "allowed", "allowed", "policy_no_permit",
        ]  # fmt: skip
        site.client.put_schema(policyStoreId=site.store, definition={"cedarJson": json.dumps(SCHEMA)})
        site.create(permit("newer"))
        await decider.look()
        assert decider.has_schema
        assert await decider.ask("newer") == "allowed"


async def test_a_set_that_routes_do_not_fit_is_rejected_and_the_last_good_one_goes_on(site, caplog):
    other = json.loads(json.dumps(SCHEMA).replace("Doc", "Paper"))
    async with site.running() as decider:
        site.client.update_policy_store(policyStoreId=site.store, validationSettings={"mode": "OFF"})
        site.client.put_schema(policyStoreId=site.store, definition={"cedarJson": json.dumps(other)})
        site.create('permit(principal, action, resource == Ns::Doc::"new");')
        with caplog.at_level(logging.ERROR):
            await decider.look()
        assert await decider.ask() == "allowed"
        assert await decider.ask("new") == "policy_no_permit"
        assert "Ns::Doc" in " ".join(rejected_or_unread(caplog))
        site.client.put_schema(policyStoreId=site.store, definition={"cedarJson": json.dumps(SCHEMA)})
        await asyncio.sleep(0)
        site.create(permit("newer"))
        await decider.look()
        assert await decider.ask("newer") == "allowed"


async def test_policies_that_the_schema_does_not_allow_decide_as_in_the_store_and_are_told(site, caplog):
    async with site.running() as decider:
        site.client.update_policy_store(policyStoreId=site.store, validationSettings={"mode": "OFF"})
        site.create('permit(principal == Ns::Robot::"r", action, resource == Ns::Doc::"new");')
        site.create(permit("newer"))
        with caplog.at_level(logging.WARNING):
            await decider.look()
        assert [await decider.ask(name) for name in ("open", "new", "newer")] == [
            "allowed", "policy_no_permit", "allowed",
        ]  # fmt: skip
        [told] = [text for text in rejected_or_unread(caplog) if "Ns::Robot" in text]
        assert "avp:" in told
    async with site.running() as decider:  # also from nothing
        assert await decider.ask("newer") == "allowed"


# --- this machine


async def test_a_full_disk_costs_the_snapshot_only(site, monkeypatch):
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    async with site.running() as decider:
        assert await decider.ask() == "allowed"
        site.create(permit("new"))
        await decider.look()
        assert await decider.ask("new") == "allowed"
        assert decider.store.snapshot_writes["failed"] > 0
        assert not site.snapshot.exists()
        assert list(site.folder.glob("*snapshot*")) == []


def test_nobody_listens_at_nowhere():
    with socket.socket() as probe, pytest.raises(OSError):
        probe.connect(("127.0.0.1", 9))


# --- the snapshot holds what decides


async def test_what_was_refused_is_not_what_the_next_start_decides_by(site):
    other = json.loads(json.dumps(SCHEMA).replace("Doc", "Paper"))
    async with site.running() as decider:
        before = site.snapshot.read_bytes()
        site.client.update_policy_store(policyStoreId=site.store, validationSettings={"mode": "OFF"})
        site.client.put_schema(policyStoreId=site.store, definition={"cedarJson": json.dumps(other)})
        site.create(permit("new"))
        await decider.look()
        assert await decider.ask() == "allowed"
        assert site.snapshot.read_bytes() == before
    site.settings(endpoint=NOWHERE)
    async with site.running() as decider:
        assert [await decider.ask(name) for name in ("open", "new")] == ["allowed", "policy_no_permit"]


async def test_a_snapshot_that_decides_is_told(site, caplog):
    async with site.running():
        pass
    site.settings(endpoint=NOWHERE)
    with caplog.at_level(logging.WARNING):
        async with site.running():
            pass
    assert any("its snapshot decides" in text for text in rejected_or_unread(caplog))


async def test_who_only_looks_neither_writes_the_snapshot_nor_decides_by_it(site):
    assert assemble(site.folder / "authz.yaml").assembly is not None
    assert not site.snapshot.exists()
    async with site.running():
        pass
    assert site.snapshot.exists()
    before = site.snapshot.read_bytes()
    site.settings(endpoint=NOWHERE, policies="decide: remote")
    assert assemble(site.folder / "authz.yaml").assembly is None  # though a start would go by it
    assert site.snapshot.read_bytes() == before
