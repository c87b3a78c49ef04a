"""The harness itself: what it must refuse, and that nothing stays behind."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.proxies.harness import Folder, Program, ToolMissing, accepts, adapt, free_port, tool, until


class Python(Program):
    """A program made of Python source."""

    name = "python"
    source = ""

    def command(self) -> Sequence[str]:
        return [sys.executable, "-c", self.source]

    async def ready(self) -> bool:
        return "ready" in self.log


def test_a_replacement_that_has_nothing_to_replace_is_an_error():
    with pytest.raises(ValueError, match="does not contain `10000`"):
        adapt("listen 10001", {"10000": "1"})


def test_a_missing_program_is_an_error_that_says_what_to_do(monkeypatch, tmp_path):
    monkeypatch.setenv("AUTHZ_TOOLS", str(tmp_path))
    with pytest.raises(ToolMissing, match=r"make \.tools/ready"):
        tool("bin/envoy")


def test_ports_are_given_once():
    ports = [free_port() for _ in range(20)]
    assert len(set(ports)) == 20


async def test_a_condition_that_never_holds_is_an_error():
    async def never() -> bool:
        return False

    with pytest.raises(AssertionError, match="the moon rises: not within 0 s"):
        await until(never, "the moon rises", within=0)


async def test_nobody_listens_at_a_free_port():
    assert not await accepts(free_port())


async def test_a_program_that_ends_at_once_shows_what_it_said():
    class Broken(Python):
        source = "import sys; sys.exit('no such directive')"

    with Folder() as folder, pytest.raises(AssertionError, match="no such directive"):
        await Broken(folder).start()


async def test_a_program_is_asked_to_end():
    class Polite(Python):
        source = (
            "import signal, sys, time\n"
            "signal.signal(signal.SIGTERM, lambda *_: sys.exit(7))\n"
            "print('ready', flush=True)\n"
            "time.sleep(60)"
        )

    with Folder() as folder:
        program = Polite(folder)
        await program.start()
        pid = program.pid
        assert await program.stop() == 7
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)


async def test_killing_takes_the_children_too():
    class Parent(Python):
        source = (
            "import subprocess, sys, time\n"
            "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)'])\n"
            "print('ready', child.pid, flush=True)\n"
            "time.sleep(60)"
        )

    with Folder() as folder:
        program = Parent(folder)
        await program.start()
        child = int(program.log.split()[1])
        assert await program.kill() == -signal.SIGKILL

        async def gone() -> bool:
            try:
                return Path(f"/proc/{child}/stat").read_text(encoding="ascii").split()[2] == "Z"
            except OSError:
                return True

        await until(gone, "the child is gone", within=10)
