"""The decision record as JSON lines: whole, in order, and in nobody's way."""

import fcntl
import math
import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from authz.core.errors import Misconfigured
from authz.core.model import Record
from authz.observe import audit
from authz.observe.audit import JsonLines
from authz.observe.redact import Redaction
from tests.observe.making import denied, lines, record

NOW = 1767323045.678
TICK = 0.005
DEADLINE = 20.0


def until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + DEADLINE
    while not condition():
        assert time.monotonic() < end, "it did not come about"
        time.sleep(0.002)


def ids(written: list[dict[str, object]]) -> list[object]:
    return [line["decision_id"] for line in written if line["event"] == "decision"]


class Pipe:
    """A pipe of one page that is read only when a test says so."""

    def __init__(self) -> None:
        self.reads, self.writes = os.pipe()
        fcntl.fcntl(self.writes, fcntl.F_SETPIPE_SZ, 4096)
        self._got: list[bytes] = []
        self._reader = threading.Thread(target=self._read)

    def _read(self) -> None:
        while data := os.read(self.reads, 65536):
            self._got.append(data)

    def read(self) -> None:
        """Begins to read."""
        self._reader.start()

    def got(self) -> bytes:
        """All that was written, once every writer has closed."""
        os.close(self.writes)
        self._reader.join(DEADLINE)
        return b"".join(self._got)

    def close(self) -> None:
        os.close(self.reads)


@pytest.fixture
def pipe() -> Iterator[Pipe]:
    made = Pipe()
    yield made
    made.close()


# --- what is written


def test_a_log_is_one_object_a_line_in_order(tmp_path: Path):
    with JsonLines(tmp_path / "log") as sink:
        sink.write(record("d-1"))
        sink.write(denied("d-2"))
    text = (tmp_path / "log").read_text()
    assert text.startswith('{"event":"decision","time":"2026-01-02T03:04:05.678Z","decision_id":"d-1",')
    assert ids(lines(text)) == ["d-1", "d-2"]


def test_the_redaction_is_the_one_given(tmp_path: Path):
    with JsonLines(tmp_path / "log", redaction=Redaction(show=frozenset({"path"}))) as sink:
        sink.write(record())
    assert lines(tmp_path / "log")[0]["path"] == "/documents/7"


def test_order_is_kept_over_many_batches(tmp_path: Path):
    with JsonLines(tmp_path / "log", interval=TICK) as sink:
        for n in range(3000):
            sink.write(record(f"d-{n}"))
    assert ids(lines(tmp_path / "log")) == [f"d-{n}" for n in range(3000)]
    assert sum(sink.dropped.values()) == 0


def test_lines_come_out_without_being_asked_for(tmp_path: Path):
    with JsonLines(tmp_path / "log", interval=TICK) as sink:
        sink.write(record())
        until(lambda: sink.waiting == 0)
        assert ids(lines(tmp_path / "log")) == ["d-1"]


def test_what_was_written_before_the_start_is_kept(tmp_path: Path):
    sink = JsonLines(tmp_path / "log")
    sink.write(record())
    sink.start()
    sink.close()
    assert ids(lines(tmp_path / "log")) == ["d-1"]


def test_any_number_of_threads_may_write(tmp_path: Path):
    threads, each = 8, 400

    def work(name: int) -> None:
        for n in range(each):
            sink.write(record(f"{name}-{n}"))

    with JsonLines(tmp_path / "log", interval=TICK) as sink:
        workers = [threading.Thread(target=work, args=(name,)) for name in range(threads)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
    written = [str(id) for id in ids(lines(tmp_path / "log"))]
    for name in range(threads):
        assert [id for id in written if id.startswith(f"{name}-")] == [f"{name}-{n}" for n in range(each)]
    assert len(written) == threads * each


# --- a reader that stops reading


def test_a_reader_that_stops_stops_nobody_and_is_told_what_it_missed(pipe: Pipe):
    sink = JsonLines(pipe.writes, limit=100, interval=TICK, now=lambda: NOW)
    sink.start()
    for n in range(5000):
        sink.write(record(f"d-{n}"))
    until(lambda: sink.waiting == 100)
    dropped = sink.dropped["queue_full"]
    assert dropped > 4000
    pipe.read()
    until(lambda: sink.waiting == 0)
    sink.write(record("after"))
    sink.close()
    written = lines(pipe.got())
    assert len(ids(written)) + dropped == 5001
    assert ids(written)[-1] == "after"
    told = [line for line in written if line["event"] == "records_dropped"]
    assert sum(line["count"] for line in told) == dropped
    assert told[-1]["time"] == "2026-01-02T03:04:05.678Z"


def test_one_line_tells_of_one_gap_where_it_is(pipe: Pipe):
    sink = JsonLines(pipe.writes, limit=100, now=lambda: NOW)
    for n in range(130):
        sink.write(record(f"d-{n}"))
    assert sink.dropped == {"queue_full": 30, "write_error": 0, "encode_error": 0, "closed": 0}
    assert sink.waiting == 100
    pipe.read()
    sink.start()
    until(lambda: sink.waiting == 0)
    sink.write(record("after"))
    sink.close()
    written = lines(pipe.got())
    assert [line.get("decision_id", line["event"]) for line in written] == [
        *(f"d-{n}" for n in range(100)),
        "records_dropped",
        "after",
    ]
    assert written[100] == {"event": "records_dropped", "time": "2026-01-02T03:04:05.678Z", "count": 30}


def test_drops_are_counted_once_however_many_threads_drop():
    sink = JsonLines(limit=10)

    def work() -> None:
        for _ in range(500):
            sink.write(record())

    workers = [threading.Thread(target=work) for _ in range(8)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    # The bound is looked at and then used, so each thread may pass it by one.
    assert 10 <= sink.waiting <= 18
    assert sink.dropped["queue_full"] + sink.waiting == 4000


# --- closing


def test_closing_writes_all_that_is_queued_to_a_slow_reader(pipe: Pipe):
    sink = JsonLines(pipe.writes)
    for n in range(500):
        sink.write(record(f"d-{n}"))
    sink.start()
    pipe.read()
    sink.close(timeout=DEADLINE)
    assert len(lines(pipe.got())) == 500


def test_closing_ends_although_nobody_reads_and_counts_what_is_left(pipe: Pipe):
    sink = JsonLines(pipe.writes, interval=TICK)
    sink.start()
    for n in range(500):
        sink.write(record(f"d-{n}"))
    sink.close(timeout=0.05)
    pipe.read()
    whole = pipe.got().count(b"\n")
    assert 0 < whole < 500
    assert sink.dropped["closed"] == 500 - whole


async def test_starting_and_closing_let_the_event_loop_go_on(tmp_path: Path):
    sink = JsonLines(tmp_path / "log")
    await sink.astart()
    sink.write(record())
    await sink.aclose(timeout=DEADLINE)
    assert ids(lines(tmp_path / "log")) == ["d-1"]


def test_what_comes_after_the_end_is_dropped_and_counted(tmp_path: Path):
    sink = JsonLines(tmp_path / "log")
    sink.start()
    sink.close()
    sink.close()
    sink.write(record())
    assert sink.dropped["closed"] == 1
    assert lines(tmp_path / "log") == []


def test_what_was_never_started_is_dropped_at_the_end():
    sink = JsonLines()
    sink.write(record())
    sink.close()
    assert sink.dropped["closed"] == 1


def test_a_descriptor_that_was_handed_in_stays_open(pipe: Pipe):
    with JsonLines(pipe.writes):
        pass
    os.fstat(pipe.writes)
    pipe.read()
    assert pipe.got() == b""


# --- faults


@pytest.mark.parametrize("target", ["/nowhere/log", "/", 987654])
def test_a_target_that_cannot_be_opened_is_told_at_the_start(target: int | str):
    with pytest.raises(Misconfigured, match=r"cannot open (`/|descriptor 98).* for the record: .*; expected something"):
        JsonLines(target).start()


async def test_a_target_that_cannot_be_opened_is_told_to_the_loop_as_well():
    with pytest.raises(Misconfigured, match="cannot open `/nowhere/log`"):
        await JsonLines("/nowhere/log").astart()


def test_a_record_that_has_no_line_is_dropped_and_takes_no_other_along(tmp_path: Path):
    with JsonLines(tmp_path / "log") as sink:
        for each in (record("d-1"), record("d-2", time=math.nan), record("d-3")):
            sink.write(each)
    assert sink.dropped["encode_error"] == 1
    assert ids(lines(tmp_path / "log")) == ["d-1", "d-3"]


def test_a_full_disk_costs_records_and_is_reported_once():
    said: list[str] = []
    with JsonLines("/dev/full", report=said.append, interval=TICK) as sink:
        for _ in range(3):
            sink.write(record())
            until(lambda: sink.waiting == 0)
    assert sink.dropped["write_error"] == 3
    assert said == ["lines cannot be written and are dropped: no space left on device"]


def test_a_reader_that_went_away_costs_records_and_nothing_else():
    reads, writes = os.pipe()
    with JsonLines(writes, interval=TICK) as sink:
        os.close(reads)
        sink.write(record())
        until(lambda: sink.dropped["write_error"] == 1)
    os.close(writes)


class Flaky:
    """An outlet that does what the script says: a number of bytes to take, or an error. Then it takes all."""

    def __init__(self, script: list[int | OSError]) -> None:
        self.script = script
        self.taken = b""

    def write(self, data: memoryview) -> int:
        step = self.script.pop(0) if self.script else len(data)
        if isinstance(step, OSError):
            raise step
        self.taken += bytes(data[:step])
        return min(step, len(data))

    def wait(self, seconds: float) -> None:
        """Ready at once."""

    def close(self) -> None:
        """Nothing to close."""

    def reopen(self) -> bool:
        return False


def through(outlet: Flaky, monkeypatch: pytest.MonkeyPatch, records: list[Record], **more: object) -> JsonLines:
    monkeypatch.setattr(audit, "Outlet", lambda _: outlet)
    sink = JsonLines(interval=TICK, now=lambda: NOW, **more)  # type: ignore[arg-type]
    for each in records:
        sink.write(each)
    sink.start()
    return sink


def test_a_line_that_was_torn_by_an_error_spoils_no_other(monkeypatch: pytest.MonkeyPatch):
    outlet = Flaky([700, OSError(5, "Input/output error")])
    sink = through(outlet, monkeypatch, [record("d-1"), record("d-2")])
    until(lambda: sink.waiting == 0)
    sink.write(record("d-3"))
    sink.close()
    first, torn, *rest = outlet.taken.split(b"\n")
    assert b'"d-1"' in first
    assert b'"decision_id":"d-2"' in torn
    assert not torn.endswith(b"}")
    assert lines(b"\n".join(rest)) == [
        {"event": "records_dropped", "time": "2026-01-02T03:04:05.678Z", "count": 1},
        lines(b"\n".join(rest))[1],
    ]
    assert ids(lines(b"\n".join(rest))) == ["d-3"]
    assert sink.dropped["write_error"] == 1


def test_a_notice_that_was_lost_is_told_later(monkeypatch: pytest.MonkeyPatch):
    fault = OSError(5, "Input/output error")
    said: list[str] = []
    outlet = Flaky([fault, fault])
    sink = through(outlet, monkeypatch, [record("d-1")], report=said.append)
    until(lambda: not outlet.script and sink.waiting == 0)
    sink.write(record("d-2"))
    until(lambda: b"records_dropped" in outlet.taken)
    sink.close()
    assert [(line["event"], line.get("count")) for line in lines(outlet.taken)] == [
        ("decision", None),
        ("records_dropped", 1),
    ]
    assert said == [
        "lines cannot be written and are dropped: input/output error",
        "lines are written again",
    ]


def test_a_report_that_raises_does_not_end_the_log(monkeypatch: pytest.MonkeyPatch):
    def report(_: str) -> None:
        raise RuntimeError

    outlet = Flaky([OSError(5, "Input/output error")])
    sink = through(outlet, monkeypatch, [record("d-1")], report=report)
    until(lambda: sink.waiting == 0)
    sink.write(record("d-2"))
    sink.close()
    assert ids(lines(outlet.taken)) == ["d-2"]


@pytest.mark.parametrize("step", [1, 7, 100, 701])
def test_a_reader_that_takes_little_at_a_time_gets_it_all(monkeypatch: pytest.MonkeyPatch, step: int):
    outlet = Flaky([step, 0] * 50)
    sink = through(outlet, monkeypatch, [record(f"d-{n}") for n in range(200)])
    sink.close(timeout=DEADLINE)
    assert ids(lines(outlet.taken)) == [f"d-{n}" for n in range(200)]


# --- rotation


def test_after_rotation_lines_go_to_the_new_file(tmp_path: Path):
    path = tmp_path / "log"
    with JsonLines(path, interval=TICK) as sink:
        sink.write(record("old"))
        until(lambda: sink.waiting == 0)
        path.rename(tmp_path / "log.1")
        sink.reopen()
        until(path.exists)
        sink.write(record("new"))
    assert ids(lines(tmp_path / "log.1")) == ["old"]
    assert ids(lines(path)) == ["new"]


def test_a_rotation_that_fails_is_reported_and_the_old_file_stays_in_use(tmp_path: Path):
    folder, said = tmp_path / "logs", list[str]()
    folder.mkdir()
    with JsonLines(folder / "log", interval=TICK, report=said.append) as sink:
        folder.rename(tmp_path / "moved")
        sink.reopen()
        until(lambda: bool(said))
        sink.write(record())
    assert said == ["the file cannot be opened again, the old one stays in use: no such file or directory"]
    assert ids(lines(tmp_path / "moved" / "log")) == ["d-1"]
