"""Child processes of the demo: started, waited for, watched, and ended by their process id."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import socket
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Self, TypeVar

READY_WITHIN = 45.0
"""Seconds a child may take to serve; a warm start takes one or two."""
END_WITHIN = 15.0
"""Seconds between SIGTERM and SIGKILL; longer than authz drains."""
_TAIL = 20
"""Lines of a log shown when its process failed."""
_GLANCE = 0.1
"""Seconds between two looks at a log that is followed."""

# Below the range from which systems hand out ports: no outgoing connection takes one between here and the
# process that is about to bind it.
_PORTS = range(12_000, 20_000)


T = TypeVar("T")


class DemoError(Exception):
    """The demo cannot go on. The message is for whoever runs it, and says what to do."""


def free_port() -> int:
    """A TCP port of 127.0.0.1 on which nobody listens.

    Raises:
        DemoError: a hundred were tried.
    """
    for port in random.SystemRandom().sample(_PORTS, 100):
        if is_free(port):
            return port
    raise DemoError("found no free port on 127.0.0.1 after 100 tries")


def is_free(port: int) -> bool:
    """Does nobody listen there? Asked without SO_REUSEPORT, with which two Envoys would share a port in silence."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


class Child:
    """A process whose output goes to a file. Use it as `async with`; it is ended at the end."""

    def __init__(self, name: str, command: Sequence[str | Path], *, log: Path, folder: Path) -> None:
        """`folder` is the working directory; `log` is where the end is shown from if it fails."""
        self.name = name
        self.log = log
        self._command = command
        self._folder = folder
        self._process: asyncio.subprocess.Process | None = None

    async def __aenter__(self) -> Self:
        """Starts it.

        Raises:
            DemoError: there is no such program, or it may not be run.
        """
        with self.log.open("wb") as output:
            try:
                self._process = await asyncio.create_subprocess_exec(
                    *self._command,
                    cwd=self._folder,
                    stdin=asyncio.subprocess.DEVNULL,
                    stdout=output,
                    stderr=output,
                    # A group of its own: Ctrl-C reaches the demo, which then ends its children in order.
                    start_new_session=True,
                )
            except OSError as error:
                raise DemoError(f"`{self._command[0]}` cannot be started: {error.strerror}") from None
        return self

    async def __aexit__(self, *_: object) -> None:
        """SIGTERM; SIGKILL to it and whatever it started if that does not end it."""
        process = self._process
        if process is None or process.returncode is not None:
            return
        with suppress(ProcessLookupError):
            process.terminate()
        try:
            async with asyncio.timeout(END_WITHIN):
                await process.wait()
        except TimeoutError:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            await process.wait()

    @property
    def pid(self) -> int | None:
        """The process id, while it runs."""
        process = self._process
        return process.pid if process is not None and process.returncode is None else None

    async def until(self, ready: Callable[[], Awaitable[bool]]) -> None:
        """Returns when `ready` holds.

        Raises:
            DemoError: the process ended first, or `READY_WITHIN` has passed.
        """
        try:
            async with asyncio.timeout(READY_WITHIN):
                while not await ready():
                    if self.pid is None:
                        raise await self.ended()
                    await asyncio.sleep(0.02)
        except TimeoutError:
            raise DemoError(self.end_of_log(f"{self.name} does not serve after {READY_WITHIN:g} s")) from None

    async def ended(self) -> DemoError:
        """Waits for the process to end, which it should not do by itself. The error is for the caller to raise."""
        if self._process is None:
            return DemoError(f"{self.name} was not started")
        status = await self._process.wait()
        how = f"with status {status}" if status >= 0 else f"by {signal.Signals(-status).name}"
        return DemoError(self.end_of_log(f"{self.name} has ended {how}"))

    async def follow(self, tell: Callable[[str], None]) -> None:
        """Tells each further line of the log, for ever."""
        with self.log.open(encoding="utf-8", errors="replace") as log:
            log.seek(0, os.SEEK_END)
            rest = ""
            while True:
                *lines, rest = (rest + log.read()).split("\n")
                for line in lines:
                    tell(line)
                await asyncio.sleep(_GLANCE)

    def end_of_log(self, message: str) -> str:
        """`message`, and the last lines of the log below it."""
        lines = self.log.read_text(encoding="utf-8", errors="replace").splitlines()[-_TAIL:]
        return "\n".join([f"{message}; the end of its log:" if lines else f"{message}; its log is empty", *lines])


async def while_running(work: Coroutine[Any, Any, T], children: Sequence[Child]) -> T:
    """The result of `work`, which is cancelled when a child ends.

    Raises:
        DemoError: a child has ended.
    """
    task = asyncio.create_task(work)
    watches = [asyncio.create_task(child.ended()) for child in children]
    try:
        await asyncio.wait([task, *watches], return_when=asyncio.FIRST_COMPLETED)
        for watch in watches:
            if watch.done():
                raise watch.result()
        return await task
    finally:
        for other in (task, *watches):
            other.cancel()
        await asyncio.gather(task, *watches, return_exceptions=True)
