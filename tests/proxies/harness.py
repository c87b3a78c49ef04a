"""Real programs as test fixtures: where they are, a port of their own, start, wait, look at the log, end.

A configuration is the very file that users copy, changed only by replacing addresses and paths in its text.
"""

from __future__ import annotations

import asyncio
import fcntl
import functools
import os
import random
import shutil
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import time
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

REPOSITORY = Path(__file__).resolve().parents[2]
EXAMPLES = REPOSITORY / "envoy"
WITHIN = 30.0
"""Seconds that a condition may take on a slow machine. Waiting ends as soon as it holds."""

# Below the range from which kernels hand out ports, so no outgoing connection takes one between here and the
# program that is about to bind it.
_PORTS = range(20_000, 32_000)


class ToolMissing(Exception):
    """A program that the tests need is not installed. A failure: what is skipped is not tested."""


def tool(pattern: str) -> Path:
    """The program at `pattern` below the tools' virtual environment (AUTHZ_TOOLS, else `.tools`)."""
    root = Path(os.environ.get("AUTHZ_TOOLS") or REPOSITORY / ".tools")
    for path in sorted(root.glob(pattern)):
        if path.is_file():
            if not path.stat().st_mode & stat.S_IXUSR:
                path.chmod(0o755)
            return path
    raise ToolMissing(f"`{pattern}` is not below `{root}`; run `make .tools/ready`, or set AUTHZ_TOOLS")


def free_port() -> int:
    """A TCP port of 127.0.0.1 that nobody uses, and that no other test process gets while this one lives."""
    for port in random.SystemRandom().sample(_PORTS, 1000):
        if port not in _claimed() and _claim(port) and _bindable(port):
            _claimed().add(port)
            return port
    raise OSError("no free port: 1000 were tried")


@functools.cache
def _claimed() -> set[int]:
    return set()  # a process does not see its own locks


@functools.cache
def _ledger() -> int:
    """A file shared by all test processes of this user: a lock on its n-th byte claims port n. Never closed: the
    locks live as long as this process.
    """
    name = f"authz-test-ports-{os.getuid()}"
    return os.open(Path(tempfile.gettempdir()) / name, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)


def _claim(port: int) -> bool:
    try:
        fcntl.lockf(_ledger(), fcntl.LOCK_EX | fcntl.LOCK_NB, 1, port)
    except OSError:
        return False
    return True


def _bindable(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


class Folder:
    """A temporary folder with a short name (a Unix socket's path holds 107 bytes) that any user may enter:
    nginx started by root works as `nobody`.
    """

    def __init__(self) -> None:
        self.path = Path(tempfile.mkdtemp(prefix="authz-"))
        self.path.chmod(0o755)

    def __enter__(self) -> Path:
        return self.path

    def __exit__(self, *_: object) -> None:
        shutil.rmtree(self.path, ignore_errors=True)


def adapt(text: str, replacements: Mapping[str, str]) -> str:
    """`text` with each key replaced wherever it stands. Each must stand there: else the test tests nothing."""
    for old, new in replacements.items():
        if old not in text:
            raise ValueError(f"the example does not contain `{old}`")
        text = text.replace(old, new)
    return text


async def until(condition: Callable[[], Awaitable[bool]], what: str, within: float = WITHIN) -> None:
    """Returns when `condition` holds; AssertionError when it does not hold within `within` seconds."""
    deadline = time.monotonic() + within
    while not await condition():
        if time.monotonic() > deadline:
            raise AssertionError(f"{what}: not within {within} s")
        await asyncio.sleep(0.02)


class Program(ABC):
    """A process that is started, waited for and ended. Its output goes to a file, shown when it fails."""

    name = "program"

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.log_file = folder / f"{self.name}.log"
        self._process: subprocess.Popen[bytes] | None = None

    @abstractmethod
    def command(self) -> Sequence[str]:
        """The command line; its first element is the path of the program."""

    def environment(self) -> dict[str, str]:
        """Nothing of ours reaches it: no home folder, no outgoing proxy, no credential."""
        return {"PATH": os.defpath, "HOME": str(self.folder), "TMPDIR": str(self.folder), "LANG": "C.UTF-8"}

    @abstractmethod
    async def ready(self) -> bool:
        """Does it serve?"""

    @property
    def log(self) -> str:
        return self.log_file.read_text(errors="replace") if self.log_file.exists() else ""

    @property
    def pid(self) -> int:
        assert self._process is not None, f"{self.name} is not running"
        return self._process.pid

    async def start(self) -> None:
        assert self._process is None, f"{self.name} is already running"
        with self.log_file.open("ab") as log:
            self._process = subprocess.Popen(
                self.command(),
                cwd=self.folder,
                env=self.environment(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        try:
            await until(self._ready_or_dead, f"{self.name} serves")
        except AssertionError as problem:
            await self.kill()
            raise AssertionError(f"{problem}\n{self.log[-8000:]}") from None

    async def _ready_or_dead(self) -> bool:
        assert self._process is not None
        status = self._process.poll()
        if status is not None:
            self._process = None
            raise AssertionError(f"{self.name} ended with status {status}")
        return await self.ready()

    async def stop(self) -> int | None:
        """SIGTERM, then after a grace period SIGKILL. The exit status, None when it was not running."""
        return await self._end(signal.SIGTERM)

    async def kill(self) -> int | None:
        """SIGKILL, to it and what it started."""
        return await self._end(signal.SIGKILL)

    async def _end(self, first: signal.Signals) -> int | None:
        process, self._process = self._process, None
        if process is None:
            return None
        for number in (first, signal.SIGKILL):
            if number is signal.SIGKILL:
                os.killpg(process.pid, number)  # its own session: workers do not outlive it
            else:
                process.send_signal(number)
            if await _ended(process):
                return process.returncode
        raise AssertionError(f"{self.name} (pid {process.pid}) does not end")

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()
        if kind is not None:
            print(f"--- {self.name} ---\n{self.log[-8000:]}", file=sys.stderr)


async def _ended(process: subprocess.Popen[bytes], within: float = 10.0) -> bool:
    deadline = time.monotonic() + within
    while process.poll() is None:
        if time.monotonic() > deadline:
            return False
        await asyncio.sleep(0.01)
    return True


async def accepts(address: int | Path) -> bool:
    """Does somebody accept connections at this port of 127.0.0.1, or at this Unix socket?"""
    try:
        if isinstance(address, int):
            _, writer = await asyncio.open_connection("127.0.0.1", address)
        else:
            _, writer = await asyncio.open_unix_connection(address)
    except OSError:
        return False
    writer.close()
    await writer.wait_closed()
    return True
