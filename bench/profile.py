"""Where a door's processor time goes under load: py-spy where it may look into the process, else cProfile.

Both know Python's frames (py-spy with `native` those of compiled code too), on threads that run Python. What the
threads of a server in Rust take stands in a table of its own, from the kernel: all threads together are the process.
"""

from __future__ import annotations

import asyncio
import os
import pstats
import shutil
import sys
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from bench.behind_envoy import WARM, check_answers
from bench.load import Generator
from bench.peers import Door
from bench.procfs import thread_seconds
from bench.programs import AuthzGrpc, AuthzHttp, BenchEnvoy, Host
from bench.workload import Workload
from tests.proxies.harness import Folder

RATE = 500
"""Samples a second."""
WAITING = ("epoll_wait", "epoll_pwait", "poll (", "select (")
"""Innermost frames of a thread with nothing to do; py-spy sorts them out itself unless it reads native frames."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """Shares of the time, from 0 to 1, by function."""

    source: str
    own: Mapping[str, float]
    """In the function itself, with the C code that it calls."""
    whole: Mapping[str, float]
    """With all that it calls."""
    threads: Mapping[str, float] = field(default_factory=dict)
    """Microseconds of processor time per request by thread, measured while nobody looks."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """What is looked at."""

    door: Door
    host: Host | None = None
    native: bool = False
    """Also the frames of compiled code."""
    cached: bool = False
    """With every route's decisions kept."""

    def make(self, folder: Path, work: Path, **more: Any) -> AuthzHttp:
        return (AuthzGrpc if self.door == "grpc" else AuthzHttp)(
            folder, work, host=self.host, cached=self.cached, **more
        )


async def profile(made: Workload, work: Path, target: Target, *, duration: float) -> Profile:
    """Loads the door behind Envoy and looks."""
    with Folder() as folder:
        load = Generator(folder, [made.http(ask) for ask in made.asks])
        found = await _sampled(made, work, load, target, duration)
        return found if found is not None else await _traced(work, load, target, duration)


def _spy() -> str | None:
    return shutil.which("py-spy", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}")


async def _sampled(made: Workload, work: Path, load: Generator, target: Target, duration: float) -> Profile | None:
    spy = _spy()
    if spy is None:
        return None
    with Folder() as mine, Folder() as other:
        async with target.make(mine, work) as server, BenchEnvoy(other, server) as envoy:
            await check_answers(envoy, server, made, thorough=False)
            await load.run(envoy.port, WARM)
            threads = await _threads(load, envoy, server, duration)
            stacks = mine / "stacks.txt"
            # Not `--gil`: what C code does without it, such as writing to a socket, is the door's time too.
            command = [spy, "record", "--pid", str(server.pid), "--rate", str(RATE), "--format", "raw"]
            command += ["--output", str(stacks), "--duration", str(max(1, round(duration))), "--function", "--threads"]
            command += ["--native"] if target.native else []
            looking = await asyncio.create_subprocess_exec(
                *command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
            )
            await load.run(envoy.port, duration + 1)
            output = (await looking.communicate())[0].decode(errors="replace")
            if looking.returncode or not stacks.exists():
                print(f"py-spy could not look: {output.strip()[-300:]}\ncProfile stands in", file=sys.stderr)
                return None
            return replace(from_stacks(stacks.read_text(encoding="utf-8").splitlines()), threads=threads)


async def _threads(load: Generator, envoy: BenchEnvoy, server: AuthzHttp, duration: float) -> dict[str, float]:
    before = thread_seconds(server.pid)
    seen = await load.run(envoy.port, duration)
    after = thread_seconds(server.pid)
    return {name: (spent - before.get(name, 0.0)) / seen.requests * 1e6 for name, spent in after.items()}


async def _traced(work: Path, load: Generator, target: Target, duration: float) -> Profile:
    with Folder() as mine, Folder() as other:
        server = target.make(mine, work, launcher=("-m", "cProfile", "-o", "stats", "-m", "authz"))
        async with server, BenchEnvoy(other, server) as envoy:
            await load.run(envoy.port, duration)
        return from_stats(mine / "stats")


def from_stacks(lines: Iterable[str]) -> Profile:
    """Reads collapsed stacks, `thread;outermost;…;innermost COUNT`, of the thread that runs the event loop.

    Others hardly do anything but wait, and py-spy cannot always tell that they do.
    """
    own: Counter[str] = Counter()
    whole: Counter[str] = Counter()
    for line in lines:
        stack, _, count = line.rpartition(" ")
        thread, *frames = stack.split(";")
        if not frames or "MainThread" not in thread or frames[-1].startswith(WAITING):
            continue
        own[frames[-1]] += int(count)
        for frame in set(frames):
            whole[frame] += int(count)
    total = sum(own.values()) or 1
    return Profile(source="py-spy", own=_shares(own, total), whole=_shares(whole, total))


def from_stats(file: Path) -> Profile:
    """Reads what cProfile wrote."""
    own: Counter[str] = Counter()
    whole: Counter[str] = Counter()
    entries = pstats.Stats(str(file)).stats  # type: ignore[attr-defined]
    for (path, _, name), (_, _, self_seconds, seconds, _) in entries.items():
        label = f"{name} ({'/'.join(Path(path).parts[-3:])})"
        own[label] += self_seconds
        whole[label] += seconds
    total = sum(own.values()) or 1
    return Profile(
        source="cProfile (functions called often look dearer)", own=_shares(own, total), whole=_shares(whole, total)
    )


def _shares(counts: Mapping[str, float], total: float) -> dict[str, float]:
    return {name: count / total for name, count in counts.items()}


def told(found: Profile, top: int) -> str:
    """What each thread takes, then two lists of functions, dearest first."""
    return (
        f"{found.source}\n{_threads_told(found.threads)}\nown time\n{_list(found.own, top)}\n\n"
        f"with what it calls\n{_list(found.whole, top)}"
    )


def _threads_told(threads: Mapping[str, float]) -> str:
    if not threads:
        return ""
    lines = [f"  {spent:7.1f} µs  {name}" for name, spent in sorted(threads.items(), key=lambda item: -item[1])]
    return "\n".join(("", f"processor time per request by thread, {sum(threads.values()):.1f} µs", *lines, ""))


def _list(shares: Mapping[str, float], top: int) -> str:
    ordered = sorted(shares.items(), key=lambda item: -item[1])[:top]
    return "\n".join(f"  {share:6.1%}  {name}" for name, share in ordered)
