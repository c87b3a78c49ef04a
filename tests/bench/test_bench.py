"""How the benchmarks count and judge. What they measure is asserted nowhere."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import math
import os
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from authz.core.pipeline import Trail
from authz.stores.file import FileStore
from authz.wiring.assembly import assemble
from bench import __main__ as command
from bench import generator, idle, in_process, load, rows
from bench.answers import WrongAnswer
from bench.in_process import driven
from bench.procfs import Stat, cpu_seconds, machine, parse_stat, resident_bytes, snapshot, thread_seconds, tree
from bench.workload import Description, Workload, configuration, workload, write
from tests.proxies.harness import Folder

REPOSITORY = Path(__file__).resolve().parents[2]
TICK = 0.01
SCALE = ("decide", "many", "avp", "avp-swap", "scale", "load", "door-scale")


# --- processor time ----------------------------------------------------------------------------------------


def stat_line(
    pid: int, parent: int, *, command: str = "python", times: tuple[int, int, int, int] = (0, 0, 0, 0)
) -> str:
    before = "0 0 0 -1 0 0 0 0 0"  # pgrp … cmajflt: fields 5 to 13
    return (
        f"{pid} ({command}) S {parent} {before} {' '.join(map(str, times))} 20 0 1 0 99 4096 250 18446744073709551615"
    )


def stat(pid: int, parent: int, *, ticks: int = 0, reaped: int = 0, pages: int = 0) -> Stat:
    return Stat(pid=pid, parent=parent, ticks=ticks, reaped=reaped, pages=pages)


@pytest.mark.parametrize("command", ["python", "two words", "a) S 1 (b", ") ) 7"])
def test_a_line_is_read_whatever_the_command_is_called(command):
    read = parse_stat(stat_line(42, 7, command=command, times=(30, 12, 5, 3)))
    assert read == Stat(pid=42, parent=7, ticks=42, reaped=8, pages=250)


def test_a_tree_holds_all_descendants_and_nobody_else():
    stats = [stat(5, 4), stat(4, 2), stat(3, 1), stat(2, 1), stat(6, 3), stat(1, 0)]
    assert {one.pid for one in tree(2, stats)} == {2, 4, 5}


def test_processor_time_counts_living_and_reaped_children():
    stats = [
        stat(1, 0, ticks=1000),
        stat(2, 1, ticks=30, reaped=7),
        stat(3, 2, ticks=20),
        stat(4, 3, ticks=1, reaped=2),
    ]
    assert cpu_seconds(2, stats, tick=TICK) == pytest.approx(0.60)


def test_a_child_that_ends_is_counted_once():
    alive = [stat(2, 1, ticks=30), stat(3, 2, ticks=20, reaped=5)]
    reaped = [stat(2, 1, ticks=30, reaped=25)]
    assert cpu_seconds(2, alive, tick=TICK) == cpu_seconds(2, reaped, tick=TICK)


def test_a_process_that_is_gone_is_an_error_rather_than_free():
    with pytest.raises(ProcessLookupError):
        cpu_seconds(9, [stat(1, 0)])


def test_memory_is_summed_over_the_tree():
    page = os.sysconf("SC_PAGE_SIZE")
    assert resident_bytes(2, [stat(1, 0, pages=99), stat(2, 1, pages=3), stat(3, 2, pages=4)]) == 7 * page


def test_a_snapshot_skips_what_is_no_process_or_has_just_ended(tmp_path):
    (tmp_path / "17").mkdir()
    (tmp_path / "17" / "stat").write_text(stat_line(17, 1))
    (tmp_path / "18").mkdir()
    (tmp_path / "meminfo").write_text("")
    assert [one.pid for one in snapshot(tmp_path)] == [17]


def test_threads_are_told_apart_by_name_and_summed_by_it(tmp_path):
    for tid, name, ticks in ((7, "main", 30), (8, "tokio-rt", 20), (9, "tokio-rt", 5)):
        folder = tmp_path / "7" / "task" / str(tid)
        folder.mkdir(parents=True)
        (folder / "stat").write_text(stat_line(tid, 1, command=name, times=(ticks, 0, 0, 0)))
    (tmp_path / "7" / "task" / "10").mkdir()
    assert thread_seconds(7, proc=tmp_path, tick=TICK) == pytest.approx({"main": 0.30, "tokio-rt": 0.25})


def test_this_very_process_can_be_counted():
    assert cpu_seconds(os.getpid()) >= 0
    assert resident_bytes(os.getpid()) > 0


def test_the_machine_is_described(tmp_path):
    (tmp_path / "cpuinfo").write_text("processor\t: 0\nmodel name\t: Some CPU\n")
    (tmp_path / "meminfo").write_text("MemTotal:       16777216 kB\n")
    described = machine(tmp_path / "cpuinfo", tmp_path / "meminfo")
    assert (described["processor"], described["memory"]) == ("Some CPU", "16.0 GiB")


# --- rows --------------------------------------------------------------------------------------------------


def test_the_ratio_is_the_median_of_ratios_and_not_the_ratio_of_medians():
    made = rows.row("b", "m", "µs", [10, 20, 90], against=[10, 40, 30], name="other")
    assert (made.ours, made.reference, made.ratio) == (20, 30, 1)


@pytest.mark.parametrize(
    ("bar", "value", "met"),
    [
        (rows.at_most(1.8), 1.8, True),
        (rows.at_most(1.8), 1.81, False),
        (rows.less_than(80), 80, False),
        (rows.less_than(80), 79.9, True),
        (rows.at_least(0.4), 0.4, True),
        (rows.at_least(0.4), 0.39, False),
    ],
)
def test_a_bar_without_reference_judges_the_figure(bar, value, met):
    made = rows.row("b", "m", "s", [value], bar=bar)
    assert (made.met, made.bar, made.ratio, made.reference) == (met, str(bar), None, None)


def test_a_bar_with_a_reference_judges_the_ratio():
    assert (
        rows.row("b", "m", "µs", [300, 500, 400], against=[200, 200, 200], name="r", bar=rows.at_most(1.8)).met is False
    )
    assert (
        rows.row("b", "m", "µs", [300, 300, 400], against=[200, 200, 200], name="r", bar=rows.at_most(1.8)).met is True
    )


def test_what_is_judged_is_not_rounded_first():
    assert rows.row("b", "m", "µs", [1.80001], bar=rows.at_most(1.8)).met is False


def test_an_unknown_relation_is_an_error():
    with pytest.raises(ValueError, match="expected"):
        rows.Bar(at="==", limit=1).holds(1)


def test_runs_that_do_not_pair_are_an_error():
    with pytest.raises(ValueError, match="shorter"):
        rows.row("b", "m", "µs", [1, 2], against=[1], name="r")


def test_a_row_has_the_published_keys_in_their_order():
    (item,) = json.loads(rows.dump([rows.row("b", "m", "µs", [1])]))
    assert list(item) == ["bench", "metric", "unit", "ours", "reference", "reference_name", "ratio", "bar", "met"]


def test_rows_survive_the_file(tmp_path):
    made = [
        rows.row("b", "m", "µs", [1.23456]),
        rows.row("c", "n", "s", [2], against=[4], name="r", bar=rows.at_most(1)),
    ]
    file = tmp_path / "results.json"
    assert rows.read(file) == []
    file.write_text(rows.dump(made), encoding="utf-8")
    assert rows.read(file) == made


def test_new_rows_replace_those_of_their_bench_alone():
    old = [rows.row("a", "m", "s", [1]), rows.row("b", "gone", "s", [1]), rows.row("c", "m", "s", [1])]
    new = [rows.row("b", "m", "s", [2])]
    assert [(row.bench, row.metric) for row in rows.merged(old, new)] == [("a", "m"), ("c", "m"), ("b", "m")]


def test_the_table_says_what_was_missed():
    text = rows.tables(
        [rows.row("b", "slow one", "ms", [12345], bar=rows.less_than(1)), rows.row("b", "fine", "ms", [1])]
    )
    assert text.startswith("## b\n\n| metric")
    assert "12,340" in text
    assert "**no**" in text
    assert len({len(line) for line in text.splitlines()[2:]}) == 1


def test_committed_results_are_rows():
    file = REPOSITORY / "bench" / "results.json"
    for row in rows.read(file):
        assert (row.bar is None) == (row.met is None)
        assert (row.reference is None) == (row.reference_name is None) == (row.ratio is None)


# --- load --------------------------------------------------------------------------------------------------

SEEN: dict[str, Any] = {"requests": 1000, "seconds": 2.0, "refused": 100, "broken": 0, "p50": 1.5, "p99": 4.0}


def test_a_generators_result_is_found_among_what_it_prints():
    seen = load.parse(f"Running 2s test\n  1 threads\nbench-load {json.dumps(SEEN)}\n")
    assert seen == load.Load(**SEEN)
    assert seen.throughput == 500


def test_a_generator_without_result_failed():
    with pytest.raises(load.LoadFailed, match="unable to connect"):
        load.parse("unable to connect to 127.0.0.1")


def test_the_script_holds_every_request_as_it_goes_over_the_wire():
    text = load.script([b'GET /a HTTP/1.1\r\nX: "q\\"\r\n\r\n', b"GET /b HTTP/1.1\r\n\r\n"])
    assert r'"GET /a HTTP/1.1\r\nX: \"q\\\"\r\n\r\n",' in text
    assert r'"GET /b HTTP/1.1\r\n\r\n",' in text
    assert "turn, last = 0, 2" in text


def test_without_wrk_the_generator_stands_in_and_the_record_says_so(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    line = load.Generator(tmp_path, [b"GET / HTTP/1.1\r\n\r\n"])._command(1234, 2.0)
    assert line[:3] == [sys.executable, "-m", "bench.generator"]
    assert line[-1] == "http"
    assert "generator.py" in load.generator()


def test_both_generators_speak_tls_where_told_to(monkeypatch, tmp_path):
    made = load.Generator(tmp_path, [b"GET / HTTP/1.1\r\n\r\n"])
    monkeypatch.setattr(load, "wrk", lambda: "/usr/bin/wrk")
    assert made._command(1234, 2.0, tls=True)[-1] == "https://127.0.0.1:1234"
    assert made._command(1234, 2.0)[-1] == "http://127.0.0.1:1234"
    monkeypatch.setattr(load, "wrk", lambda: None)
    assert made._command(1234, 2.0, tls=True)[-1] == "https"
    assert generator.encryption("http") is None


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", 200),
        (b"HTTP/1.1 403 Forbidden\r\ncontent-length: 4\r\n\r\nno!!", 403),
        (b"HTTP/1.1 403 Forbidden\r\ncontent-length: 4\r\n\r\nno", None),
        (b"HTTP/1.1 200 OK\r\nContent-Le", None),
    ],
)
def test_an_answer_is_known_when_it_is_whole(data, status):
    assert generator.answered(data) == status


def test_an_answer_of_unknown_length_is_an_error():
    with pytest.raises(ValueError, match="Content-Length"):
        generator.answered(b"HTTP/1.1 200 OK\r\n\r\n")


def test_a_tally_tells_latencies_in_milliseconds():
    tally = generator.Tally()
    for number in range(100):
        tally.add(403 if number < 10 else 200, number / 1000)
    told = tally.result(2.0)
    assert (told["requests"], told["seconds"], told["refused"], told["broken"]) == (100, 2.0, 10, 0)
    assert (told["p50"], told["p99"]) == pytest.approx((50, 99))


async def test_the_generator_loads_a_real_server(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    asked: set[bytes] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while head := await reader.read(4096):
            asked.add(head.split(b" ")[1])
            status = b"403 Forbidden" if b"/denied" in head else b"200 OK"
            writer.write(b"HTTP/1.1 " + status + b"\r\nContent-Length: 2\r\n\r\nhi")
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        requests = [b"GET /allowed HTTP/1.1\r\n\r\n", b"GET /denied HTTP/1.1\r\n\r\n"]
        seen = await load.Generator(tmp_path, requests, connections=2).run(server.sockets[0].getsockname()[1], 0.2)
    assert asked == {b"/allowed", b"/denied"}
    assert seen.broken == 0
    assert seen.refused == pytest.approx(seen.requests / 2, abs=2)


# --- workload ----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def small() -> Workload:
    return workload(dataclasses.replace(Description.read(), requests=60))


def test_the_described_workload_is_the_job():
    described = Description.read()
    assert described.users >= 32
    assert math.isclose(sum(described.mix.values()), 1)


def test_each_user_has_a_token_and_a_tenth_is_denied(small):
    assert len(set(small.tokens)) == len(small.users) >= 32
    assert len(small.asks) == 60
    assert small.denied == 6


def test_the_round_is_the_same_each_time(small):
    again = workload(small.description)
    assert (again.asks, again.entities, again.users) == (small.asks, small.entities, small.users)
    assert again.jwks != small.jwks


def test_there_are_exactly_ten_policies_and_authz_accepts_them(small, tmp_path):
    work = write(small, tmp_path)
    assert len(FileStore(path=work / "policies").read().policies) == 10
    file = tmp_path / "authz.yaml"
    file.write_text(yaml.safe_dump(configuration(work, {"http": "127.0.0.1:0"})), encoding="utf-8")
    assert assemble(file).problems == ()


async def test_authz_answers_as_the_engine_says(small, tmp_path):
    async with in_process.authorizer(write(small, tmp_path)) as checked:
        outcomes = [await checked.check(request, Trail()) for request in in_process.requests(small)]
    in_process.check_answers(small, outcomes)
    with pytest.raises(WrongAnswer):
        in_process.check_answers(small, outcomes[::-1])


def test_the_request_on_the_wire_carries_the_users_token(small):
    ask = small.asks[0]
    head = small.http(ask)
    assert head.startswith(f"{ask.method} {ask.path} HTTP/1.1\r\nHost: documents.example\r\n".encode())
    assert f"Authorization: Bearer {small.tokens[ask.user]}\r\n".encode() in head
    assert head.endswith(b"\r\n\r\n")


# --- benches -----------------------------------------------------------------------------------------------


def test_a_coroutine_that_never_waits_is_driven():
    async def answer() -> int:
        return 42

    assert driven(answer()) == 42


async def test_a_coroutine_that_waits_is_an_error():
    with pytest.raises(RuntimeError, match="waits"):
        driven(asyncio.sleep(1))


async def test_a_run_in_process_gives_the_bar_and_its_parts(small, tmp_path):
    (split,) = await in_process.measure(small, write(small, tmp_path), runs=1, rounds=1)
    first, *parts = in_process.rows([split])
    assert (first.metric, first.bar, first.unit) == ("Authorizer.check", "<= 1.8", "µs")
    assert {row.metric for row in parts} >= {"stage: route", "stage: decide", "around it: decode"}
    assert all(row.bar is None for row in parts)


def test_idle_rows_carry_the_limits():
    memory, ready = idle.rows(
        [idle.Idle(ready=0.5, memory=81), idle.Idle(ready=1.6, memory=79), idle.Idle(ready=1, memory=70)]
    )
    assert (memory.ours, memory.bar, memory.met) == (79, "< 80", True)
    assert (ready.ours, ready.bar, ready.met) == (1, "< 1.5", True)


@pytest.mark.parametrize(
    ("argv", "groups"),
    [
        ([], ("idle", "in-process", *SCALE, "hosts", "cached", "tls", "workers")),
        (["--only", "tls,idle"], ("idle", "tls")),
        (["--only", "tls", "--only", "idle"], ("idle", "tls")),
        (["--only", "door-scale,scale"], ("scale", "door-scale")),
        (["--peer", "a=grpc://127.0.0.1:1"], ("idle", "in-process", *SCALE, "hosts", "cached", "tls", "workers")),
        (["--only", "peers", "--peer", "a=grpc://127.0.0.1:1"], ("peers",)),
        (["--only", "hosts,peers", "--peer", "a=grpc://127.0.0.1:1"], ("hosts",)),
    ],
)
def test_groups_are_chosen_and_peers_share_the_runs_of_the_hosts(argv, groups):
    assert command.arguments(argv).only == groups


@pytest.mark.parametrize(
    "argv",
    [
        ["--runs", "0"],
        ["--duration", "0"],
        ["--only", "nothing"],
        ["--only", "tls,,idle"],
        ["--only", "peers"],
        ["--only", "tls", "--peer", "a=grpc://127.0.0.1:1"],
        ["--jwks-port", "0"],
        ["profile", "--door", "grpc", "--host", "aiohttp"],
        ["profile", "--host", "grpcio"],
        ["explain"],
    ],
)
def test_a_wrong_argument_is_refused(argv):
    with pytest.raises(SystemExit) as stopped:
        command.arguments(argv)
    assert stopped.value.code == 2


def test_without_the_proxies_it_says_what_to_do(monkeypatch, capsys):
    with Folder() as empty:
        monkeypatch.setenv("AUTHZ_TOOLS", str(empty))
        assert command.main([]) == 2
    assert "make .tools/ready" in capsys.readouterr().err
