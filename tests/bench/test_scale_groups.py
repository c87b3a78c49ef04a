"""The other benches of the local decision point, each in a tiny form. No figure is asserted."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from authz.core.model import Decision, Verdict
from authz.pdp.compiled import compile_snapshot
from authz.stores.file import FileStore
from bench import scale_decide, scale_desk, scale_door, scale_load, scale_many, scale_store
from bench.answers import WrongAnswer
from bench.behind_envoy import Sample
from bench.in_process import driven
from bench.load import wrk
from bench.scale_desk import IDS
from bench.workload import Description, Workload, workload


@pytest.fixture(scope="module")
def made() -> Workload:
    description = Description.read()
    return workload(replace(description, users=6, documents=30, requests=80))


# --- decide ------------------------------------------------------------------------------------------------


def test_decide_answers_as_the_engine_and_makes_four_rows():
    rows = scale_decide.rows(scale_decide.measure(runs=1, rounds=1))
    assert [(row.bar, row.unit) for row in rows] == [("<= 1.25", "µs"), ("<= 1.7", "µs"), (None, "µs"), (None, "µs")]
    assert all(row.ours > 0 and row.ratio for row in rows)


def test_all_ten_policies_are_candidates_of_each_question_so_none_is_spared():
    desk = scale_desk.desk()
    index = compile_snapshot(scale_desk.snapshot(scale_desk.POLICIES, scale_desk.SCHEMA)).index
    assert len(IDS) == len(index) == 10
    determining = {name for case in desk.cases for name in case.reasons}
    assert {case.allowed for case in desk.cases} == {True, False}
    assert len(determining) >= 5


def test_a_fresh_document_is_new_each_time_and_has_the_same_answer():
    desk = scale_desk.desk()
    case = desk.cases[0]
    one, two = desk.fresh(case), desk.fresh(case)
    assert one.resource != two.resource
    assert one.entities[0] is two.entities[0] is case.given
    scale_desk.check(case, driven(desk.point.decide(one)))


@pytest.mark.parametrize("flaw", [{"verdict": "other"}, {"policies": ("another",)}])
def test_a_decision_that_is_not_the_engines_is_refused(flaw):
    desk = scale_desk.desk()
    case = next(case for case in desk.cases if case.allowed)
    right = driven(desk.point.decide(desk.fresh(case)))
    wrong: Decision = replace(right, **({"verdict": Verdict.DENY} if "verdict" in flaw else flaw))
    with pytest.raises(WrongAnswer):
        scale_desk.check(case, wrong)


# --- many --------------------------------------------------------------------------------------------------


def test_every_kind_of_many_is_answered_as_by_the_engine_and_three_are_judged():
    found = scale_many.measure(runs=1, batches=1, count=7)
    rows = scale_many.rows(found, count=7)
    assert [row.bar for row in rows] == ["<= 20", "<= 20", "<= 20", None]
    assert rows[0].metric == "decide_many, 7 resources fresh, three attributes each"


def test_the_resources_of_one_batch_are_of_one_principal_and_action():
    for kind in scale_many.kinds(5):
        batch = kind.batch()
        assert len({(one.principal, one.action) for one in batch}) == 1
        assert len(batch) == 5


# --- the store with a policy a document --------------------------------------------------------------------


def test_the_store_has_as_many_valid_policies_as_it_says(tmp_path, made):
    scale_store.write(tmp_path, made, 100)
    compiled = compile_snapshot(FileStore(path=tmp_path / "policies").read())
    assert len(compiled.rows) == 100
    scale_store.write(tmp_path / "ten", made, None)
    assert len(compile_snapshot(FileStore(path=tmp_path / "ten" / "policies").read()).rows) == 10


def test_another_edition_is_another_text_with_the_same_meaning():
    first, second = (scale_store.own(3, edition=edition) for edition in (0, 1))
    assert first != second
    assert first.splitlines()[:2] == second.splitlines()[:2]


def test_the_round_goes_to_all_documents_and_the_full_set_confirms_it(made):
    whole = scale_store.enlarged(made, 91, 120)
    assert whole.denied == 12
    assert len(whole.asks) == 120
    assert len({ask.path for ask in whole.asks}) > 50
    assert len([one for one in whole.entities if one["uid"]["type"] == "Bench::Document"]) == 91


def test_a_full_set_that_answers_otherwise_is_refused(made, monkeypatch):
    monkeypatch.setattr(scale_store, "policies", lambda _: ["forbid (principal, action, resource);"])
    with pytest.raises(WrongAnswer, match="full set"):
        scale_store.enlarged(made, 20, 60)


# --- door-scale --------------------------------------------------------------------------------------------


async def test_both_doors_are_checked_and_loaded_behind_a_real_envoy(tmp_path, made):
    runs = await scale_door.measure(made, tmp_path, runs=1, duration=1, say=lambda _: None, size=60, requests=40)
    throughput, *others = scale_door.rows(runs, size=60)
    assert (throughput.bar, throughput.reference_name) == (">= 0.8", "10 policies")
    assert throughput.metric == "authz http, 60 policies, one a document: throughput"
    assert all(row.bar is None for row in others)


def test_the_throughput_is_judged_within_each_run():
    def sample(throughput: float) -> Sample:
        return Sample(cpu=1, throughput=throughput, p50=1, p99=1, memory=1)

    runs = [{"ten": sample(100), "10,000": sample(79)}, {"ten": sample(200), "10,000": sample(158)}]
    assert scale_door.rows(runs)[0].met is False


def test_requests_are_sent_in_random_order(tmp_path):
    scale_door.AtRandom(tmp_path, [b"GET /%d HTTP/1.1\r\n\r\n" % number for number in range(50)])
    assert "math.random(last)" in (tmp_path / "round.lua").read_text()
    sent = json.loads((tmp_path / "round.json").read_text())
    assert len(set(sent)) == 50
    assert (sent == sorted(sent, key=lambda one: int(one.split("/")[1].split()[0]))) is (wrk() is not None)


# --- load --------------------------------------------------------------------------------------------------


async def test_loading_and_reloading_is_measured_with_traffic(made):
    found = await scale_load.measure(made, runs=1, say=lambda _: None, sizes=(100,), rest=0.2)
    (one,) = found
    assert [len(run) for run in (*one.reloads, *one.worst)] == [4, 4]
    assert all(line["checks"] > 0 for line in one.reloads[0])
    rows = scale_load.rows(found)
    judged = {row.metric: row.bar for row in rows if row.bar}
    assert judged == {
        "100 policies, memory once loaded": "<= 1.5",
        "100 policies, memory after 1,000 different questions": "<= 1.5",
        "100 policies, longest stall of the loop, all of them new": "< 50",
        "100 policies, longest stall of the loop, one of them changed": "< 50",
        "100 policies, longest stall of the loop, every document's changed": "< 50",
    }


def test_the_loads_that_count_have_their_limits():
    facts = {"seconds": 3.5, "held": 20.0, "asked": 30.0, "peak": 40.0}
    line = {"seconds": 1.0, "stall": 0.060, "checks": 5}
    loaded = scale_load.Loaded(
        size=10_000, ours=[facts], engine=[facts], reloads=[[line] * 4], worst=[[0.01, 0.02, 0.03, 0.04]]
    )
    rows = {row.metric: row for row in scale_load.rows([loaded])}
    load = rows["10,000 policies, files to decision point"]
    assert (load.bar, load.met) == ("< 3", False)
    stall = rows["10,000 policies, longest stall of the loop, one of them changed"]
    assert (stall.ours, stall.met) == (60, False)
    assert rows["10,000 policies, memory after 1,000 different questions"].met is True
    assert rows["10,000 policies, longest stall of the loop, no change"].bar is None


def test_the_editions_differ_as_they_say(tmp_path, made):
    ten, new, one, every = scale_load.prepare(tmp_path, made, 60)
    rows = [
        {policy.id: policy.text for policy in FileStore(path=folder).read().policies}
        for folder in (ten, new, one, every)
    ]
    assert [len(found) for found in rows] == [10, 60, 60, 60]

    def changed(first, second):
        return sum(first[id] != second[id] for id in first)

    assert (changed(rows[1], rows[2]), changed(rows[1], rows[3]), changed(rows[2], rows[3])) == (1, 51, 51)
