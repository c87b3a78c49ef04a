"""The process itself: signals that come early or often, and streams that are not there."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
from typing import Any, cast

from authz.wiring.serve import _on_signals


class Sinks:
    def reopen(self):
        """Nothing to open."""


class Certificates:
    async def renew(self):
        """Nothing to read."""


class Slow:
    """A runtime whose reloads end when they are told to."""

    def __init__(self):
        self.begun = 0
        self.go = asyncio.Event()

    async def reread(self):
        self.begun += 1
        await self.go.wait()
        return True


async def test_a_storm_of_hang_ups_does_not_queue_reloads_without_end():
    runtime, stop = Slow(), asyncio.Event()
    _on_signals(stop, cast("Any", runtime), cast("Any", Sinks()), cast("Any", Certificates()))
    try:
        for _ in range(50):
            os.kill(os.getpid(), signal.SIGHUP)
            await asyncio.sleep(0.001)
        async with asyncio.timeout(20):
            while runtime.begun < 2:
                await asyncio.sleep(0.001)
        assert runtime.begun == 2  # one that reads, and one that will read all there is by then
    finally:
        runtime.go.set()
        for number in (signal.SIGHUP, signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().remove_signal_handler(number)


def test_a_closed_standard_output_is_a_problem_and_no_traceback(app):
    app.edit("authz.yaml", "output: none", "output: stdout")
    command = [sys.executable, "-m", "authz", "serve", "-c", str(app.config)]
    closed = subprocess.run(
        ["/bin/sh", "-c", 'exec "$@" >&-', "sh", *command], stderr=subprocess.PIPE, timeout=60, check=False
    )
    assert closed.returncode == 2
    assert b"`stdout` is closed" in closed.stderr
    assert b"Traceback" not in closed.stderr


def test_a_hang_up_during_the_start_does_not_end_the_process(app):
    # The start waits for its deny list, so the signal comes in its midst.
    (app.folder / "deny.yaml").unlink()
    os.mkfifo(app.folder / "deny.yaml")
    command = [sys.executable, "-m", "authz", "serve", "-c", str(app.config)]
    process = subprocess.Popen(command, stderr=subprocess.PIPE)
    try:
        with (app.folder / "deny.yaml").open("w") as pipe:  # opens when the process has opened its end
            process.send_signal(signal.SIGHUP)
            pipe.write("unheard-of: []")
        _, told = process.communicate(timeout=60)
        assert process.returncode == 2
        assert b"is not known here" in told
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
