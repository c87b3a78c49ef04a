"""What every `RecordSink` does, the fake included."""

import fcntl
import os
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from blockbuster import blockbuster_ctx

from authz.core.errors import Reason
from authz.core.ports import RecordSink
from authz.observe.audit import JsonLines
from authz.observe.metrics import Metrics
from authz.testing import FakeRecordSink
from tests.observe.making import denied, failed, lines, record, refused, stuffed

LIMIT = 50


@dataclass(frozen=True, kw_only=True)
class Case:
    """A sink that nobody empties until the test looks, and what it did with the records."""

    sink: RecordSink
    kept: Callable[[], int]
    """How many records were taken; ends the sink."""
    dropped: Callable[[], int]
    limit: int | None = LIMIT
    """How many it can take; None: it keeps none, and so takes any number."""
    ids: Callable[[], list[str]] | None = None
    """The decision ids taken, if it tells them; ends the sink."""


@pytest.fixture
def json_lines(tmp_path: Path) -> Case:
    path = tmp_path / "log"
    sink = JsonLines(path, limit=LIMIT)

    def ids() -> list[str]:
        sink.start()
        sink.close()
        return [str(line["decision_id"]) for line in lines(path) if line["event"] == "decision"]

    return Case(sink=sink, kept=lambda: len(ids()), dropped=lambda: sum(sink.dropped.values()), ids=ids)


@pytest.fixture
def stalled_json_lines() -> Iterator[Case]:
    """Its reader does not read: the pipe is full before the first record."""
    reads, writes = os.pipe()
    os.set_blocking(writes, False)
    os.write(writes, b"\n" * fcntl.fcntl(writes, fcntl.F_GETPIPE_SZ))
    os.set_blocking(writes, True)
    sink = JsonLines(writes, limit=LIMIT)
    sink.start()

    def kept() -> int:
        waiting = sink.waiting
        sink.close(timeout=0)
        return waiting

    dropped = [0]

    def count() -> int:
        dropped[0] = dropped[0] or sink.dropped["queue_full"]
        return dropped[0]

    yield Case(sink=sink, kept=kept, dropped=count)
    sink.close(timeout=0)
    os.close(reads)
    os.close(writes)


@pytest.fixture
def metrics() -> Case:
    sink = Metrics(routes=["read-document"])

    def kept() -> int:
        families = {family.name: family for family in sink.collect()}
        return int(sum(sample.value for sample in families["authz_decisions"].samples))

    return Case(sink=sink, kept=kept, dropped=lambda: 0, limit=None)


@pytest.fixture
def fake() -> Case:
    sink = FakeRecordSink(limit=LIMIT)
    return Case(
        sink=sink,
        kept=lambda: len(sink.records),
        dropped=lambda: sink.dropped,
        ids=lambda: [each.id for each in sink.records],
    )


@pytest.fixture(params=["json_lines", "stalled_json_lines", "metrics", "fake"])
def case(request: pytest.FixtureRequest) -> Case:
    made: Case = request.getfixturevalue(request.param)
    return made


def test_every_kind_of_record_is_taken(case: Case):
    kinds = (
        record(),
        denied(),
        failed(),
        failed(let_through=True),
        failed(query=None, identity=None),
        *(refused(reason=reason) for reason in list(Reason)[:20]),
        *stuffed("x\ud800\n", {"a": object()}),
    )
    for each in kinds:
        case.sink.write(each)
    assert case.dropped() == 0
    assert case.kept() == len(kinds)


def test_what_is_beyond_the_bound_is_dropped_and_counted(case: Case):
    for n in range(LIMIT + 30):
        case.sink.write(record(f"d-{n}"))
    assert case.dropped() == (0 if case.limit is None else 30)
    assert case.kept() == LIMIT + (30 if case.limit is None else 0)


def test_the_oldest_are_kept_in_order(case: Case):
    for n in range(LIMIT + 30):
        case.sink.write(record(f"d-{n}"))
    if case.ids is not None:
        assert case.ids() == [f"d-{n}" for n in range(LIMIT)]


def test_any_thread_may_write_and_every_record_is_kept_or_counted(case: Case):
    def work() -> None:
        for _ in range(100):
            case.sink.write(record())

    workers = [threading.Thread(target=work) for _ in range(6)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    dropped = case.dropped()
    assert case.kept() + dropped == 600


async def test_writing_does_not_block_the_event_loop(case: Case):
    with blockbuster_ctx():
        for n in range(LIMIT + 30):
            case.sink.write(record(f"d-{n}"))
