"""Children of the demo: started, watched, reported with the end of their log, and never left behind."""

import asyncio
import os
import socket
import sys

import pytest

from authz.devtools.demo import processes
from authz.devtools.demo.processes import Child, DemoError, free_port, is_free, while_running

WAITS = "import signal; print('up', flush=True); signal.pause()"
STUBBORN = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN);" + WAITS
PARENT = f"import subprocess, sys; subprocess.Popen([sys.executable, '-c', {STUBBORN!r}]);" + STUBBORN


def child(tmp_path, script):
    return Child("the child", [sys.executable, "-c", script], log=tmp_path / "child.log", folder=tmp_path)


def logs(tmp_path, text, times=1):
    async def ready():
        return (tmp_path / "child.log").read_text().count(text) >= times

    return ready


def exists(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


async def test_a_child_is_ended_by_its_context(tmp_path):
    async with child(tmp_path, WAITS) as running:
        await running.until(logs(tmp_path, "up"))
        pid = running.pid
        assert exists(pid)
    assert running.pid is None
    assert not exists(pid)


async def test_it_is_ended_also_when_something_went_wrong(tmp_path):
    pids = []

    async def goes_wrong():
        async with child(tmp_path, WAITS) as running:
            pids.append(running.pid)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await goes_wrong()
    assert not exists(pids[0])


async def test_one_that_does_not_end_is_killed_with_what_it_started(tmp_path, monkeypatch):
    monkeypatch.setattr(processes, "END_WITHIN", 0.05)
    async with child(tmp_path, PARENT) as running:
        await running.until(logs(tmp_path, "up", times=2))
        group = running.pid
    async with asyncio.timeout(30):
        while True:  # the grandchild is reaped by init, some time
            try:
                os.killpg(group, 0)
            except ProcessLookupError:
                break
            await asyncio.sleep(0.01)


async def test_one_that_ends_while_it_is_waited_for_is_told_with_its_log(tmp_path):
    async with child(tmp_path, "import sys; print('line', flush=True); sys.exit('no such setting')") as running:
        with pytest.raises(DemoError) as told:
            await running.until(logs(tmp_path, "never"))
    assert str(told.value) == "the child has ended with status 1; the end of its log:\nline\nno such setting"


async def test_only_the_end_of_a_long_log_is_told(tmp_path):
    async with child(tmp_path, "print('\\n'.join(str(n) for n in range(1000)))") as running:
        lines = str(await running.ended()).splitlines()
    assert lines[1:] == [str(n) for n in range(980, 1000)]


async def test_one_killed_by_a_signal_is_told_as_that(tmp_path):
    async with child(tmp_path, "import os, signal; os.kill(os.getpid(), signal.SIGKILL)") as running:
        assert str(await running.ended()) == "the child has ended by SIGKILL; its log is empty"


async def test_one_that_never_serves_is_given_up(tmp_path, monkeypatch):
    monkeypatch.setattr(processes, "READY_WITHIN", 0.05)
    async with child(tmp_path, WAITS) as running:
        with pytest.raises(DemoError, match=r"the child does not serve after 0\.05 s"):
            await running.until(logs(tmp_path, "never"))


async def test_a_program_that_is_not_there_is_told(tmp_path):
    missing = Child("the child", [tmp_path / "nowhere"], log=tmp_path / "child.log", folder=tmp_path)
    with pytest.raises(DemoError, match="nowhere` cannot be started: No such file"):
        async with missing:
            raise AssertionError("it was started")


async def test_work_goes_on_while_the_children_run(tmp_path):
    async def work():
        await asyncio.sleep(0)
        return 7

    async with child(tmp_path, WAITS) as running:
        assert await while_running(work(), [running]) == 7
        assert running.pid is not None


async def test_work_is_cancelled_when_a_child_ends(tmp_path):
    cancelled = asyncio.Event()

    async def work():
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()

    async with child(tmp_path, "print('goodbye')") as running:
        with pytest.raises(DemoError, match=r"the child has ended with status 0; the end of its log:\ngoodbye"):
            await while_running(work(), [running])
    assert cancelled.is_set()


async def test_what_fails_in_the_work_is_raised(tmp_path):
    async def work():
        raise DemoError("a reason")

    async with child(tmp_path, WAITS) as running:
        with pytest.raises(DemoError, match="a reason"):
            await while_running(work(), [running])


def test_a_port_on_which_somebody_listens_is_not_free():
    with socket.socket() as taken:
        # As Envoy does; a second one would share the port without a word.
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        assert not is_free(taken.getsockname()[1])


def test_a_free_port_can_be_bound():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", free_port()))


def test_without_a_free_port_the_demo_says_so(monkeypatch):
    monkeypatch.setattr(processes, "is_free", lambda _: False)
    with pytest.raises(DemoError, match="found no free port"):
        free_port()
