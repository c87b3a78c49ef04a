"""A worker, as its supervisor sees it: started, heard, ended."""

from __future__ import annotations

import asyncio
import fcntl
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from authz.core.errors import Misconfigured, Problem
from authz.observe.merge import Family, from_json
from authz.wiring.channel import Channel, Gone, Message

MODULE = "authz.wiring.worker_process"
_FIRST_DESCRIPTOR = 10
"""Where a worker gets its end of the channel: not where a closed standard stream would be."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Timings:
    """How patient a supervisor is. All in seconds."""

    start: float = 300.0
    """For a worker to begin to serve: large policy sets take their time."""
    hang: float = 30.0
    """For a worker that serves to give a sign of life."""
    scrape: float = 1.0
    """For workers to tell their metrics; of those that do not, the last ones count."""
    margin: float = 7.0
    """At a stop, beyond `drain_delay` and `drain`: for the record's queue and the end of a process."""
    tick: float = 1.0
    """Between two looks at the time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """How a worker ended."""

    code: int | None
    """Its exit code; negative: the signal; None: it could not be started."""
    served: float
    """Seconds for which it served; 0: it never did."""
    problems: tuple[Problem, ...] = ()
    """Why it could not serve, where it said so."""

    def __str__(self) -> str:
        if self.code is None:
            return "it could not be started"
        if self.code < 0:
            with suppress(ValueError):
                return f"signal {signal.Signals(-self.code).name}"
        return f"exit code {self.code}"


class Worker:
    """One of the workers by its number, whatever process it is now.

    Args:
        number: from 1.
        file: the configuration's.
        workers: how many there are, this one among them.
        timings: when it is given up.
        answer: given what a worker has read, its orders and the descriptors that go with them; Misconfigured where
            the addresses cannot be had.
        began: told when it begins to serve.
        metrics: told its name and its metrics, whenever it tells them.
        say: told what happened, for the log.
    """

    def __init__(
        self,
        number: int,
        file: Path,
        *,
        workers: int = 1,
        timings: Timings,
        answer: Callable[[Worker, Message], Awaitable[tuple[Message, Sequence[int]]]],
        began: Callable[[], None],
        metrics: Callable[[str, Sequence[Family]], None],
        say: Callable[..., None],
    ) -> None:
        self.number = number
        self.name = str(number)
        self.version: str | None = None
        """Of the policy set that it decides by."""
        self.draining = False
        self._file = file
        self._workers = workers
        self._timings = timings
        self._answer = answer
        self._began = began
        self._metrics = metrics
        self._say = say
        self._checks: Mapping[str, tuple[bool, str]] = {}
        self._process: asyncio.subprocess.Process | None = None
        self._channel: Channel | None = None
        self._problems: tuple[Problem, ...] = ()
        self._since: float | None = None
        self._silent = 0.0
        self._asked: dict[int, asyncio.Future[None]] = {}

    # --- what it is now

    @property
    def pid(self) -> int | None:
        """Of its process; None: there is none now."""
        return self._process.pid if self._process is not None else None

    @property
    def serves(self) -> bool:
        """Are its doors open?"""
        return self._since is not None and not self.draining

    @property
    def ready(self) -> bool:
        """Does it serve, and do all its own checks hold?"""
        return self.serves and all(holds for holds, _ in self._checks.values())

    def checks(self) -> dict[str, tuple[bool, str]]:
        """Itself, then its own checks, for readiness."""
        state = "draining" if self.draining else "serving" if self.serves else "starting" if self.pid else "waiting"
        detail = f"{state}, pid {self.pid}" if self.pid is not None else f"{state} to be started again"
        own = {f"worker {self.name}: {name}": check for name, check in self._checks.items()}
        return {f"worker {self.name}": (self.serves, detail), **own}

    # --- its life

    async def live(self) -> Ended:
        """Starts a process and stays with it until it has ended."""
        ours, theirs = _pair()
        try:
            with theirs:
                process = await asyncio.create_subprocess_exec(
                    *command(theirs.fileno(), self._file, self._workers),
                    stdin=subprocess.DEVNULL,
                    pass_fds=(theirs.fileno(),),
                    # Ctrl-C is for the supervisor, which stops the workers in order.
                    process_group=0,
                )
        except OSError:
            ours.close()
            return Ended(code=None, served=0.0)
        self._process, self._problems, self._silent, self.draining = process, (), 0.0, False
        self._channel = await Channel.opened(ours)
        tasks = [asyncio.create_task(self._listen(self._channel)), asyncio.create_task(self._watch(process))]
        try:
            code = await process.wait()
            # What it said last is still to be read; its end of the channel is closed.
            await tasks[0]
        finally:
            for task in tasks:
                task.cancel()
            served = time.monotonic() - self._since if self._since is not None else 0.0
            self._forget()
            await self._channel.aclose()
        return Ended(code=code, served=served, problems=self._problems)

    def _forget(self) -> None:
        self._process = self._since = self.version = None
        self._checks = {}
        for asked in self._asked.values():
            if not asked.done():
                asked.set_result(None)
        self._asked.clear()

    async def _listen(self, channel: Channel) -> None:
        try:
            async for message in channel.messages():
                self._silent = 0.0
                await self._hear(channel, message)
        except Misconfigured as error:
            self._problems = error.problems
            self.kill()
        except Exception as error:  # noqa: BLE001 - a defect of one worker must not end the others
            what = f"unexpected {type(error).__name__} in what the worker says; it is ended"
            self._say(what, worker=self.number, pid=self.pid)
            self.kill()

    async def _hear(self, channel: Channel, message: Message) -> None:
        match message["type"]:
            case "plan":
                orders, descriptors = await self._answer(self, message)
                with suppress(Gone):  # then its exit code is on its way
                    channel.send_with(orders, descriptors)
            case "unusable":
                self._problems = tuple(Problem(**problem) for problem in message["problems"])
            case "alive":
                self._alive(message)
            case "metrics":
                self._tell(message)
            case "draining":
                self.draining = True

    def _alive(self, message: Message) -> None:
        if self._since is None:
            self._since = time.monotonic()
            self._began()
        self._checks = {name: (bool(holds), str(detail)) for name, (holds, detail) in message["checks"].items()}
        self.version = message["version"]

    def _tell(self, message: Message) -> None:
        if message["families"] is not None:
            self._metrics(self.name, from_json(message["families"]))
        asked = self._asked.pop(message.get("asked", 0), None)
        if asked is not None and not asked.done():
            asked.set_result(None)

    async def _watch(self, process: asyncio.subprocess.Process) -> None:
        """Ends a worker that says nothing. Counted in looks, not read off a clock: where the supervisor itself was
        stopped, or its machine was, the worker's signs of life are still to be read.
        """
        while True:
            await asyncio.sleep(self._timings.tick)
            self._silent += self._timings.tick
            limit = self._timings.hang if self._since is not None else self._timings.start
            if self._silent > limit:
                what = "gives no sign of life" if self._since is not None else "does not begin to serve"
                self._say(f"the worker {what} and is ended", worker=self.number, pid=process.pid, seconds=limit)
                self.kill()
                return

    # --- what it is told

    def signal(self, number: signal.Signals) -> None:
        """Sends a signal to its process, if there is one."""
        if self._process is not None and self._process.returncode is None:
            # Not the process's own method: it collects one that has just ended, and asyncio, which waits for it too,
            # then warns that it does not know it (CPython 3.11).
            with suppress(ProcessLookupError):
                os.kill(self._process.pid, number)

    def kill(self) -> None:
        """Ends its process at once."""
        self.signal(signal.SIGKILL)

    async def tell_metrics(self, number: int) -> None:
        """Has it tell its metrics; returns when it has, or is gone. `number` tells one asking from another."""
        if not self.serves or self._channel is None:
            return
        asked = self._asked.setdefault(number, asyncio.get_running_loop().create_future())
        self._channel.send({"type": "metrics", "asked": number})
        try:
            await asked
        finally:
            self._asked.pop(number, None)


def _pair() -> tuple[socket.socket, socket.socket]:
    ours, theirs = socket.socketpair()
    with theirs:
        moved = fcntl.fcntl(theirs.fileno(), fcntl.F_DUPFD_CLOEXEC, _FIRST_DESCRIPTOR)
    return ours, socket.socket(fileno=moved)


def command(descriptor: int, file: Path, workers: int) -> list[str]:
    """How one of so many workers is started: by the same Python, which looks for code where this one does."""
    flags = []
    if sys.flags.isolated:
        flags.append("-I")
    elif not sys.flags.safe_path and not _looks_in_the_working_folder(sys.path):
        # `-m` would look there first, though this process, started by its script, does not.
        flags.append("-P")
    return [sys.executable, *flags, "-m", MODULE, str(descriptor), str(file), str(workers)]


def _looks_in_the_working_folder(folders: Sequence[Any]) -> bool:
    here = os.path.realpath(".")
    return any(os.path.realpath(folder or ".") == here for folder in folders)
