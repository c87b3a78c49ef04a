"""Who decides, by configuration: a replica, Verified Permissions, one behind the other, with cache and parity check."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time

import pytest

import authz
from authz import cli
from authz.core.errors import Misconfigured
from authz.observe.metrics import Metrics
from authz.wiring import assemble
from authz.wiring.runtime import running
from authz.wiring.sinks import runtime_metrics
from tests.emulator.running import ALONE, emulator_thread
from tests.faults.conftest import Decider, permit
from tests.faults.conftest import Site as BareSite


class Site(BareSite):
    """As of the fault tests, with a client of its own for what a test changes."""

    def configure(self, decide, avp="", routes="", **more):
        self.settings(policies=f"decide: {decide}", avp=avp, **more)
        if routes:
            text = (self.folder / "routes.yaml").read_text()
            (self.folder / "routes.yaml").write_text(text + f"  {routes}\n")

    def forbid(self, document):
        return self.create(permit(document).replace("permit", "forbid"))


@pytest.fixture(scope="module")
def emulator():
    with emulator_thread() as found:
        yield found


@pytest.fixture
def site(tmp_path, emulator, monkeypatch):
    for name, value in ALONE.items():
        monkeypatch.setenv(name, value)
    emulator.switches.clear()
    yield Site(tmp_path, emulator)
    emulator.switches.clear()


def value_of(metrics: Metrics, name: str, **labels: str) -> float | None:
    return metrics.registry.get_sample_value(name, labels)


def told(decider):
    """The metrics of a runtime that has just started; records go to them."""
    metrics = runtime_metrics(decider.runtime, None)
    decider.runtime.service.sinks = (metrics,)
    return metrics


async def until(condition, within=15.0):
    deadline = time.monotonic() + within
    while not condition():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.02)


async def decided_by(decider, document="open"):
    """(reason, decision point, was it kept) of a request."""
    url = f"http://service.test/d/{document}"
    connection = decider._connection
    outcome = await connection.check(authz.HttpRequest(method="GET", url=url, headers={}))
    decision = getattr(outcome, "decision", None)
    if decision is None:
        return outcome.reason.value, None, None
    return outcome.reason.value, decision.decision_point, decision.cached


# --- modes


@pytest.mark.parametrize(
    ("decide", "point"),
    [
        ("local", "cedar"),
        ("remote", "verified_permissions"),
        ("local_or_remote", "cedar"),
        ("remote_or_local", "verified_permissions"),
    ],
)
async def test_the_first_decides(site, decide, point):
    site.configure(decide)
    site.forbid("shut")
    async with site.running() as decider:
        assert await decided_by(decider) == ("allowed", point, False)
        assert await decided_by(decider, "shut") == ("policy_forbid", point, False)
        assert await decided_by(decider, "other") == ("policy_no_permit", point, False)


async def test_verified_permissions_decides_where_the_replica_is_too_old_and_only_then(site):
    site.configure("local_or_remote", max_age="100ms")
    async with site.running() as decider:
        begun = site.switches.calls["IsAuthorized"]
        while time.monotonic() < decider.store._good.clock + 0.15:
            await asyncio.sleep(0.02)
        assert await decided_by(decider) == ("allowed", "verified_permissions", False)
        assert await decided_by(decider, "other") == ("policy_no_permit", "verified_permissions", False)
        assert site.switches.calls["IsAuthorized"] - begun == 2
        await decider.look()
        assert await decided_by(decider) == ("allowed", "cedar", False)


async def test_the_replica_decides_where_verified_permissions_does_not_answer(site):
    site.configure("remote_or_local")
    site.forbid("shut")
    async with site.running() as decider:
        metrics = told(decider)
        site.switches.fail("IsAuthorized", status=503)
        assert await decided_by(decider) == ("allowed", "cedar", False)
        assert await decided_by(decider, "shut") == ("policy_forbid", "cedar", False)
        reason = {"by": "second", "reason": "decision_unavailable"}
        assert value_of(metrics, "authz_fallback_total", **reason) == 2


async def test_names_and_messages_of_policies_come_from_the_replica(site):
    site.configure("remote_or_local")
    statement = '@deny_message("gone")\n' + permit("shut").replace("permit", "forbid")
    site.client.create_policy(
        policyStoreId=site.store, name="name/shut", definition={"static": {"statement": statement}}
    )
    async with site.running() as decider:
        url = "http://service.test/d/shut"
        outcome = await decider._connection.check(authz.HttpRequest(method="GET", url=url, headers={}))
        decision = outcome.decision
        assert (decision.decision_point, decision.names, decision.messages) == (
            "verified_permissions",
            ("shut",),
            ("gone",),
        )


async def test_calls_that_fail_are_told(site, caplog):
    site.configure("remote")
    async with site.running() as decider:
        site.switches.deny("IsAuthorized")
        for _ in range(3):
            assert (await decided_by(decider))[0] == "decision_misconfigured"
    told = [record.getMessage() for record in caplog.records if record.name == "authz.avp"]
    assert len(told) == 1
    assert "allow the role this operation" in told[0]


async def test_a_deny_is_nobodys_to_overrule(site):
    """Verified Permissions denies what the replica, which has not heard of it yet, would allow."""
    site.configure("remote_or_local")
    async with site.running() as decider:
        site.forbid("open")
        assert await decided_by(decider) == ("policy_forbid", "verified_permissions", False)


async def test_asked_alone_it_needs_no_replica_of_policies(site):
    site.configure("remote")
    before = site.switches.calls["ListPolicies"]
    async with site.running() as decider:
        assert await decided_by(decider) == ("allowed", "verified_permissions", False)
        assert decider.runtime.assembly.compiled.rows == {}
        assert decider.ready
        site.switches.expire()
        assert (await decided_by(decider))[0] == "decision_misconfigured"
    assert site.switches.calls["ListPolicies"] == before


async def test_facts_in_a_file_beside_the_store_count_wherever_it_is_decided(site):
    site.create('permit(principal, action, resource) when { resource has owner && resource.owner == "anybody" };')
    (site.folder / "entities.json").write_text(
        '[{"uid": {"type": "Ns::Doc", "id": "mine"}, "attrs": {"owner": "anybody"}, "parents": []}]'
    )
    site.client.update_policy_store(policyStoreId=site.store, validationSettings={"mode": "OFF"})
    site.client.put_schema(
        policyStoreId=site.store,
        definition={
            "cedarJson": """{"Ns": {"entityTypes": {"User": {}, "Doc": {"shape": {"type": "Record", "attributes":
            {"owner": {"type": "String", "required": false}}}}}, "actions": {"Read": {"appliesTo":
            {"principalTypes": ["User"], "resourceTypes": ["Doc"]}}}}}"""
        },
    )
    for decide in ("local", "remote"):
        site.settings(policies=f"decide: {decide}\n  entities: entities.json")
        async with site.running() as decider:
            assert (await decided_by(decider, "mine"))[0] == "allowed", decide
            assert (await decided_by(decider, "yours"))[0] == "policy_no_permit", decide


# --- cache


async def test_a_route_keeps_its_decisions_until_a_new_policy_set(site):
    site.configure("local", routes="cache: {allow: 10m}")
    async with site.running() as decider:
        metrics = told(decider)
        assert [(await decided_by(decider))[2] for _ in range(3)] == [False, True, True]
        assert value_of(metrics, "authz_decision_cache_hits_total") == 2
        site.forbid("open")
        await decider.look()
        assert await decided_by(decider) == ("policy_forbid", "cedar", False)
        assert value_of(metrics, "authz_decision_cache_hits_total") == 2  # counters go on


async def test_without_a_cache_on_any_route_there_is_none(site):
    async with site.running() as decider:
        assert [(await decided_by(decider))[2] for _ in range(2)] == [False, False]
        assert decider.runtime.deciding.cache is None


# --- parity


async def test_a_divergence_is_counted_and_alarms(site):
    site.configure("local", avp="parity: {share: 1, requests: 1000}")
    text = (
        (site.folder / "authz.yaml").read_text().replace("requests: 1000, snap", "interval: 1s, requests: 1000, snap")
    )
    (site.folder / "authz.yaml").write_text(text)
    async with site.running() as decider:
        metrics = told(decider)
        await decided_by(decider)
        await until(lambda: value_of(metrics, "authz_parity_checks_total", result="agreed") == 1)
        assert value_of(metrics, "authz_parity_alarm") == 0
        site.forbid("open")  # the replica is not looked at here, so it never hears of it
        await decided_by(decider)
        await until(lambda: value_of(metrics, "authz_parity_checks_total", result="differs_verdict") == 1)
        assert value_of(metrics, "authz_parity_alarm") == 1
        assert value_of(metrics, "authz_avp_calls_saved_total") == 2
        assert value_of(metrics, "authz_avp_dollars_saved_total") == pytest.approx(0.00001)
        calls = {"operation": "IsAuthorized", "result": "answered"}
        assert value_of(metrics, "authz_avp_calls_total", **calls) == 3


# --- what is configured


@pytest.mark.parametrize(
    ("policies", "message"),
    [
        ("{store: verified_permissions}", "`policies.verified_permissions` is required"),
        ("{store: files}", "`policies.path` is required"),
        ("{path: p, decide: remote}", "say which in `policies.verified_permissions`"),
        ("{store: verified_permissions, path: p, verified_permissions: {policy_store: x}}", "is for `store: files`"),
        ("{path: p, entities: e.json}", "in `entities.json` of the folder"),
        (
            "{store: verified_permissions, decide: remote, verified_permissions: {policy_store: x, parity: {share: 1}}}",
            "and with `decide: remote` nothing is",
        ),
        (
            "{store: verified_permissions, verified_permissions: {policy_store: x, replica: {interval: 10ms}}}",
            "shorter than 1 s",
        ),
        ("{store: verified_permissions, verified_permissions: {policy_store: x, endpoint: nowhere}}", "http or https"),
    ],
)
def test_what_does_not_go_together_is_told_with_its_line(tmp_path, policies, message):
    (tmp_path / "authz.yaml").write_text(f"policies: {policies}\nroutes: []\n")
    with pytest.raises(Misconfigured) as raised:
        assemble(tmp_path / "authz.yaml").required()
    assert any(message in problem.message and problem.line == 1 for problem in raised.value.problems)


def test_a_route_whose_denials_outlive_its_allows_is_refused(site):
    site.configure("local", routes="cache: {allow: 1s, deny: 2s}")
    with pytest.raises(Misconfigured, match=r"`cache.deny` is longer than `cache.allow`"):
        assemble(site.folder / "authz.yaml").required()


def test_the_check_needs_the_store_that_a_start_may_wait_for(site, capsys):
    site.switches.fail()
    assert cli.main(["check", "-c", str(site.folder / "authz.yaml")]) == cli.UNUSABLE
    assert "the policies cannot be read" in capsys.readouterr().err
    site.switches.clear()
    assert cli.main(["check", "-c", str(site.folder / "authz.yaml")]) == cli.OK


async def test_workers_share_the_budgets(site):
    site.configure("local_or_remote")
    async with site.running() as alone, site.running(sharing=4) as shared:
        assert shared.store.settings.requests == alone.store.settings.requests / 4
        rates = [one.runtime.deciding.calls.settings.rate for one in (alone, shared)]
        assert rates == [150.0, 37.5]


async def test_told_to_read_anew_it_looks_at_the_store_at_once(site):
    async with site.running() as decider:
        site.create(permit("new"))
        assert await decider.runtime.reread()
        assert await decider.ask("new") == "allowed"


async def test_another_policy_store_in_the_settings_counts_from_then_on(site):
    async with site.running() as decider:
        site.store = site.emulator.store(policies=[permit("elsewhere")])
        site.settings()
        assert await decider.runtime.reload()
        assert await decider.ask("elsewhere") == "allowed"
        assert await decider.ask() == "policy_no_permit"


async def test_a_first_look_that_takes_long_is_waited_for_with_open_doors(site, monkeypatch):
    monkeypatch.setattr("authz.wiring.assembly.FIRST_LOOK", 0.2)
    site.switches.slow(1.0, "ListPolicies")
    assembly = (await asyncio.to_thread(assemble, site.folder / "authz.yaml", serves=True)).required()
    async with running(assembly) as runtime:
        decider = Decider(runtime)
        assert await decider.ask() == "policies_unavailable"
        assert not decider.ready
        assert "goes on" in runtime.readiness()["policies"][1]
        site.switches.clear()
        await until(lambda: decider.ready)
        assert await decider.ask() == "allowed"


async def test_it_keeps_up_by_itself_and_stops_at_once(site, monkeypatch):
    monkeypatch.setattr("authz.wiring.policy_store.CALL_TIMEOUT", 1.0)
    text = (
        (site.folder / "authz.yaml").read_text().replace("requests: 1000, snap", "interval: 1s, requests: 1000, snap")
    )
    (site.folder / "authz.yaml").write_text(text)
    assembly = (await asyncio.to_thread(assemble, site.folder / "authz.yaml")).required()
    async with running(assembly) as runtime:
        site.create(permit("new"))
        await until(lambda: runtime.freshness.reloads["accepted"] == 2)
        site.switches.slow(3600.0)
        calls = site.switches.calls["ListPolicies"]
        await until(lambda: site.switches.calls["ListPolicies"] > calls)
        begun = time.monotonic()
    assert time.monotonic() - begun < 30  # a look that is under way is not waited for


def test_cases_of_a_policy_store_are_named(site):
    command = [sys.executable, "-m", "authz", "test", "-c", str(site.folder / "authz.yaml")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, "name the case files" in done.stderr) == (cli.UNUSABLE, True), done.stderr
