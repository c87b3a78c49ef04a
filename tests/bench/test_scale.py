"""The bench that grows the policy set: its sets, its answers, its peers (faked), its rows. No figure is asserted."""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
import time
from dataclasses import replace
from functools import partial
from pathlib import Path

import cedarpy
import pytest

from authz.pdp.compiled import compile_snapshot
from authz.stores.file import FileStore
from bench import peer_cerbos, scale, scale_job, scale_rows, scale_set, scale_timing
from bench.answers import WrongAnswer
from bench.rows import Row
from tests.bench.fake_peers import decided, install


@pytest.fixture(scope="module")
def job():
    return scale_job.make(100, hot=60, cold=20, anywhere=80)


# --- the set -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [10, 100])
def test_a_set_has_as_many_policies_as_it_says_and_they_are_valid(tmp_path, size):
    scale_set.write(tmp_path, size)
    compiled = compile_snapshot(FileStore(path=tmp_path).read())
    assert [policy.id for policy in compiled.snapshot.policies] == [id for id, _ in scale_set.policies(size)]
    assert len(compiled.rows) == size


def test_each_question_has_ten_candidates_whatever_the_size():
    assert {len(scale_set.candidates(number)) for number in (0, 5, 99_990)} == {10}
    assert len(scale_set.SHARED) + 1 == 10


def test_questions_are_the_same_each_time_and_others_at_another_size(job):
    assert scale_job.make(100, hot=60, cold=20, anywhere=80) == job
    assert scale_set.draw(100, 9) != scale_set.draw(1_000, 9)


def test_hot_and_cold_documents_are_different_and_every_hot_one_is_asked(job):
    hot, cold = {one.document for one in job.hot}, [one.document for one in job.cold]
    assert not hot & set(cold)
    assert len(set(cold)) == len(cold) == 20
    assert len(hot) == 53  # two thirds of the 80 that were drawn


def test_with_ten_policies_there_is_one_document_and_none_is_cold():
    job = scale_job.make(10, hot=5, cold=5, anywhere=5)
    assert {one.document for one in (*job.hot, *job.anywhere)} == {0}
    assert job.cold == []


def test_the_answers_are_those_of_the_full_set(job):
    found = list(scale_set.policies(job.size))
    everything = cedarpy.PolicySet.from_str(scale_set.text(found))
    handles, ids = scale_job.entity_handles(), [id for id, _ in found]
    for one in (*job.hot, *job.cold, *job.anywhere):
        assert scale_job.ask(one, everything, handles[one.user], ids) == (one.allowed, list(one.reasons))


def test_the_answers_are_of_every_kind(job):
    answers = {one.allowed for one in job.anywhere}
    reasons = {name for one in job.anywhere for name in one.reasons}
    assert answers == {True, False}
    assert any(name.startswith("own-") for name in reasons)
    assert any(name in reasons for name in ("night-needs-mfa", "outside", "reading-needs-some"))


def test_a_job_outlives_its_file(tmp_path, job):
    scale_timing.write(tmp_path / "job.json", job)
    assert scale_timing.read(tmp_path / "job.json") == job


# --- timing ------------------------------------------------------------------------------------------------


def test_a_wrong_verdict_and_a_wrong_reason_are_told(job):
    one = job.hot[0]
    scale_timing.check(one, (one.allowed is True, list(reversed(one.reasons))))
    scale_timing.check(one, (one.allowed is True, None))
    with pytest.raises(scale_timing.Wrong):
        scale_timing.check(one, (not one.allowed, None))
    with pytest.raises(scale_timing.Wrong):
        scale_timing.check(one, (one.allowed is True, [*one.reasons, "another"]))


def test_slow_questions_are_checked_and_timed_some_times_at_least(job):
    calls = scale_timing.checked(job.hot, lambda one: lambda: (one.allowed is True, None), seconds=0)
    assert len(calls) == scale_timing.LEAST
    assert len(scale_timing.timed(calls, seconds=0)) == scale_timing.LEAST


def test_figures_are_microseconds_and_calls_a_second():
    assert scale_timing.figures([1_000] * 98 + [5_000] * 2) == {
        "median": 1.0,
        "p99": 5.0,
        "rate": pytest.approx(100 / 108e-6),
        "calls": 100,
    }


# --- peers -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", peer_cerbos.FORMS)
def test_the_rules_of_cerbos_say_what_the_policies_say(tmp_path, job, form):
    folder = tmp_path / "policies"
    peer_cerbos.write(folder, job.size, form)
    policies = {one["resource"]: one for one in (json.loads(f.read_text())["resourcePolicy"] for f in folder.iterdir())}
    for one in (*job.hot, *job.anywhere):
        asked = json.loads(peer_cerbos.question(one, form).partition(b"\r\n\r\n")[2])
        resource = asked["resources"][0]["resource"]
        assert decided(policies[resource["kind"]], asked["principal"], resource, "Read") is one.allowed


def test_the_time_in_the_engine_of_cerbos_is_read_from_its_metrics():
    name = "cerbos_dev_engine_check_latency_milliseconds"
    text = f'# HELP {name} x\n{name}_bucket{{le="1"}} 9\n{name}_sum{{status="success"}} 30.5\n{name}_count{{status="success"}} 61\n'
    assert peer_cerbos.engine_seconds(text) == (0.0305, 61)


async def measured(peers, sizes=(10, 100)):
    said: list[str] = []
    jobs = partial(scale_job.make, hot=30, cold=5, anywhere=20)
    points = await scale.measure(runs=2, say=said.append, sizes=sizes, peers=peers, seconds=0.01, jobs=jobs)
    return points, said


async def test_every_contender_is_measured_at_every_size_and_told_in_rows_and_table(tmp_path):
    install(tmp_path)
    points, _ = await measured(tmp_path)
    names = [scale.OURS, scale.ENGINE, scale.CEDARLING, *scale.CERBOS.values()]
    assert {(one.name, one.size) for one in points} == {(name, size) for name in names for size in (10, 100)}
    assert all(len(one.rounds) == 2 and one.ready is not None for one in points)
    rows = scale_rows.rows(points)
    metrics = {row.metric for row in rows}
    assert "Cerbos, a rule a document, 100 policies: in its engine, as its metrics say" in metrics
    assert "authz: a document that nobody has asked for, 100 policies: median" in metrics
    assert {row.reference_name for row in rows} == {None, scale.ENGINE}
    lines = scale_rows.table(rows).splitlines()
    assert [cell.strip() for cell in lines[0].split("|")[2:4]] == ["10", "100"]
    assert [line.split("|")[1].strip() for line in lines[2:]] == names
    assert set(scale_rows.plotted(points)) == set(names)


async def test_without_peers_ours_and_the_engine_are_measured_and_it_says_how_to_get_them(tmp_path):
    points, said = await measured(tmp_path, sizes=(10,))
    assert [one.name for one in points] == [scale.OURS, scale.ENGINE]
    assert any("make peers" in text for text in said)
    assert scale.versions(tmp_path) == "(not installed; `make peers`)"


async def test_a_peer_that_answers_wrongly_is_not_measured(tmp_path):
    install(tmp_path, cedarling="True", cerbos=False)
    with pytest.raises(WrongAnswer, match="peer_cedarling"):
        await measured(tmp_path, sizes=(10,))


async def test_a_peer_that_breaks_is_told_with_its_last_words(tmp_path):
    install(tmp_path, cedarling="1 / 0", cerbos=False)
    with pytest.raises(scale.PeerFailed, match="ZeroDivisionError"):
        await measured(tmp_path, sizes=(10,))


def test_the_lock_of_the_npm_package_names_no_address_and_has_a_hash_for_each_package():
    text = (scale.REPOSITORY / "requirements" / "peers" / "package-lock.json").read_text()
    packages = {name: one for name, one in json.loads(text)["packages"].items() if name}
    assert "://" not in text
    assert all(one["integrity"].startswith("sha512-") for one in packages.values())
    assert any(name.startswith("node_modules/@cerbos/cerbos-") for name in packages)


def test_versions_are_told(tmp_path):
    install(tmp_path)
    assert scale.versions(tmp_path) == "Cedarling 9.9, Cerbos 0.0.9"


async def test_what_does_not_finish_is_ended_with_all_that_it_started_and_keeps_what_it_said(tmp_path):
    code = (
        "import subprocess, sys, time\n"
        f"child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'])\n"
        f"open({str(tmp_path / 'child')!r}, 'w').write(str(child.pid))\n"
        'print(\'{"ready": {"seconds": 0.5}}\', flush=True)\n'
        "time.sleep(600)\n"
    )
    lines, stopped = await scale.output([sys.executable, "-c", code], 3.0)
    assert (lines, stopped) == ([{"ready": {"seconds": 0.5}}], 3.0)
    child = int((tmp_path / "child").read_text())
    until = time.monotonic() + 20
    while alive(child):
        assert time.monotonic() < until
        time.sleep(0.01)


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (ProcessLookupError, FileNotFoundError):
        return False


# --- rows --------------------------------------------------------------------------------------------------


def a_point(name: str, size: int, *medians: float, **more) -> scale.Point:
    rounds = [{"median": one, "p99": one, "rate": 1e6 / one, "calls": 9} for one in medians]
    return scale.Point(name=name, size=size, ready=0.5, rounds=rounds, **more)


def by_metric(rows: list[Row]) -> dict[str, Row]:
    return {row.metric: row for row in rows}


def test_the_bars_are_ratios_within_a_round_to_ten_policies():
    once = {"cold": {"median": 1_001.0, "p99": 5.0}, "anywhere": {"median": 9.0, "p99": 9.0}}
    points = [
        a_point(scale.OURS, 10, 20, 40, 30),
        a_point(scale.OURS, 10_000, 30, 60, 90, once=once),
        a_point(scale.OURS, 100_000, 41, 82, 60),
    ]
    rows = by_metric(scale_rows.rows(points))
    ten, hundred = rows["authz: a decision, 10,000 policies"], rows["authz: a decision, 100,000 policies"]
    assert (ten.ratio, ten.bar, ten.met) == (1.5, "<= 1.5", True)
    assert (hundred.ratio, hundred.bar, hundred.met) == (2.05, "<= 2", False)
    cold = rows["authz: a document that nobody has asked for, 10,000 policies: median"]
    assert (cold.ours, cold.bar, cold.met) == (1_001, "<= 1000", False)
    assert rows["authz: any user and document, drawn anew, 10,000 policies: median"].bar is None


def test_what_did_not_finish_is_told_and_nothing_is_made_up():
    points = [
        a_point("Cedarling", 10, 50),
        scale.Point(name="Cedarling", size=1_000, ready=2.0, stopped=120.0),
        scale.Point(name="Cerbos", size=1_000, stopped=120.0),
    ]
    rows = scale_rows.rows(points)
    assert [row.metric for row in rows if row.unit == "s" and "not finished" in row.metric] == [
        "Cedarling, 1,000 policies: ended while deciding, not finished",
        "Cerbos, 1,000 policies: ended while loading, not finished",
    ]
    table = scale_rows.table(rows)
    assert "| decisions a second, by policies | 10     | 1,000                 |" in table
    assert "| Cedarling                       | 20,000 | not finished in 120 s |" in table
    assert "| Cerbos                          |        | not finished in 120 s |" in table
    assert scale_rows.plotted(points) == {"Cedarling": [(10, 50)]}
    assert "not finished deciding in 120 s" in scale.told(points[1])


def test_without_rows_there_is_no_table():
    assert scale_rows.told([]) == ""


async def test_without_matplotlib_there_is_no_plot_and_it_says_so(tmp_path):
    said: list[str] = []
    await scale_rows.plot([], tmp_path / "scale.png", peers=tmp_path, say=said.append)
    assert not (tmp_path / "scale.png").exists()
    assert "make peers" in said[0]


def test_what_the_environment_of_the_peers_runs_needs_the_standard_library_alone():
    code = (
        "import sys, bench.peer_cedarling, bench.scale_plot\n"
        "print(sorted({name.partition('.')[0] for name in sys.modules} - sys.stdlib_module_names))"
    )
    environment = {"PYTHONPATH": str(scale.REPOSITORY)}
    told = subprocess.run(
        [sys.executable, "-S", "-c", code], env=environment, capture_output=True, text=True, check=True
    )
    assert set(ast.literal_eval(told.stdout)) <= {"__main__", "bench"}


def test_a_question_without_an_answer_is_never_right(job):
    with pytest.raises(scale_timing.Wrong):
        scale_timing.check(replace(job.hot[0], allowed=None), (True, None))
