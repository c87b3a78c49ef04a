"""Lines of several processes in one place stay whole lines."""

from __future__ import annotations

import fcntl
import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from authz.observe.lines import LineWriter
from authz.observe.outlet import Outlet
from authz.observe.turns import SharedTurns

ROOT = Path(__file__).parents[2]
# Lines longer than a pipe takes whole, as fast as they are taken, in batches that a small pipe never takes at once.
WRITER = """
import os, sys, time
from authz.observe.lines import LineWriter
from authz.observe.outlet import Outlet
from authz.observe.turns import SharedTurns
name, target, turns, lines, size = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4]), int(sys.argv[5])
target = int(target) if target.isdecimal() else target
writer = LineWriter(lambda count: b'{"dropped":%d}' % count, limit=100_000, interval=0.01, say=None,
                    turns=SharedTurns(turns, 1))
for number in range(lines):
    writer.queue.append(b'{"w":"%s","n":%d,"x":"%s"}' % (name.encode(), number, b"x" * (size + number % 97)))
outlet = Outlet(target)
print("ready", flush=True)
sys.stdin.read()
writer.start(outlet)
writer.close(100)
sys.exit(1 if any(writer.dropped.values()) else 0)
"""


def turns_file() -> int:
    return os.memfd_create("turns")


def writers(target: int | str, turns: int, *, count: int, lines: int, size: int) -> list[subprocess.Popen[bytes]]:
    """Processes that begin to write all at once."""
    keep = [turns] if isinstance(target, str) else [turns, target]
    found = [
        subprocess.Popen(
            [sys.executable, "-c", WRITER, f"w{number}", str(target), str(turns), str(lines), str(size)],
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            pass_fds=keep,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        for number in range(count)
    ]
    for process in found:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        process.stdout.close()
    for process in found:
        assert process.stdin is not None
        process.stdin.close()
    return found


def numbers(lines: list[bytes]) -> dict[str, list[int]]:
    found: dict[str, list[int]] = {}
    for line in lines:
        told = json.loads(line)
        assert set(told["x"]) <= {"x"}
        found.setdefault(told["w"], []).append(told["n"])
    return found


def test_lines_longer_than_a_pipe_takes_at_once_come_whole_and_in_order():
    reads, writes = os.pipe()
    fcntl.fcntl(writes, fcntl.F_SETPIPE_SZ, 4096)
    turns = turns_file()
    running = writers(writes, turns, count=3, lines=60, size=6000)
    os.close(writes)
    with os.fdopen(reads, "rb") as pipe:
        lines = pipe.read().splitlines()
    assert [process.wait(60) for process in running] == [0, 0, 0]
    assert numbers(lines) == {f"w{number}": list(range(60)) for number in range(3)}
    os.close(turns)


def test_many_short_lines_share_a_file(tmp_path: Path):
    path = tmp_path / "record"
    turns = turns_file()
    running = writers(str(path), turns, count=2, lines=3000, size=300)
    assert [process.wait(60) for process in running] == [0, 0]
    assert numbers(path.read_bytes().splitlines()) == {name: list(range(3000)) for name in ("w0", "w1")}
    os.close(turns)


def amid_a_line(turns: SharedTurns) -> bool:
    return turns.torn


def test_a_process_that_is_killed_amid_a_line_spoils_no_line_of_another():
    reads, writes = os.pipe()
    fcntl.fcntl(writes, fcntl.F_SETPIPE_SZ, 4096)
    turns = turns_file()
    (victim,) = writers(writes, turns, count=1, lines=5, size=6000)
    # Who is in the midst of a line says so: then nothing more fits, for nobody reads.
    own = SharedTurns(turns, 1)
    deadline = time.monotonic() + 60
    while not amid_a_line(own):
        assert victim.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.005)
    victim.send_signal(signal.SIGKILL)
    victim.wait(60)
    (other,) = writers(writes, turns, count=1, lines=20, size=6000)
    os.close(writes)
    with os.fdopen(reads, "rb") as pipe:
        first, *rest = pipe.read().splitlines()
    assert other.wait(60) == 0
    with pytest.raises(json.JSONDecodeError):
        json.loads(first)
    assert numbers(rest) == {"w0": list(range(20))}
    assert not amid_a_line(own)
    os.close(turns)


def test_a_turn_is_not_had_while_another_has_it():
    turns = turns_file()
    here = SharedTurns(turns, 0)
    assert here.take(0)
    elsewhere = SharedTurns(turns, 1)  # another slot: for lines that go to another place
    had: list[bool] = []
    thread = threading.Thread(target=lambda: had.extend((here.take(0.01), elsewhere.take(0.01))))
    thread.start()
    thread.join()
    assert had == [False, True]
    code = f"""
import sys
from authz.observe.turns import SharedTurns
sys.exit(SharedTurns({turns}, 0).take(0.01))
"""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}

    def other_process() -> int:
        return subprocess.run([sys.executable, "-c", code], env=environment, pass_fds=[turns], check=False).returncode

    assert other_process() == 0
    here.give()
    assert other_process() == 1
    os.close(turns)


def test_without_a_turn_lines_wait_and_are_lost_only_at_the_end(tmp_path: Path):
    turns = turns_file()
    code = f"""
import sys
from authz.observe.turns import SharedTurns
assert SharedTurns({turns}, 1).take(1)
print("have it", flush=True)
sys.stdin.read()
"""
    holder = subprocess.Popen(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        pass_fds=[turns],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert holder.stdout is not None
    assert holder.stdin is not None
    assert holder.stdout.readline() == b"have it\n"
    path = tmp_path / "record"
    writer = LineWriter(lambda _: b"", limit=10, interval=0.01, say=None, turns=SharedTurns(turns, 1))
    writer.queue.append(b"{}")
    writer.start(Outlet(path))
    writer.close(0.05)
    assert path.read_bytes() == b""
    assert writer.dropped["closed"] == 1
    holder.communicate(timeout=60)
    os.close(turns)
