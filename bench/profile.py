"""Where a door's processor time goes under load: py-spy where it may look into the process, else cProfile."""

from __future__ import annotations

import asyncio
import os
import pstats
import shutil
import sys
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from bench.behind_envoy import WARM, check_answers
from bench.load import Generator
from bench.programs import AuthzGrpc, AuthzHttp, BenchEnvoy, Door
from bench.workload import Workload
from tests.proxies.harness import Folder

RATE = 500
"""Samples a second."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """Shares of the time, from 0 to 1, by function."""

    source: str
    own: Mapping[str, float]
    """In the function itself, with the C code that it calls."""
    whole: Mapping[str, float]
    """With all that it calls."""


async def profile(made: Workload, work: Path, *, door: Door, duration: float) -> Profile:
    """Loads the door behind Envoy and looks."""
    with Folder() as folder:
        load = Generator(folder, [made.http(ask) for ask in made.asks])
        found = await _sampled(made, work, load, door, duration)
        return found if found is not None else await _traced(made, work, load, door, duration)


def _spy() -> str | None:
    return shutil.which("py-spy", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}")


async def _sampled(made: Workload, work: Path, load: Generator, door: Door, duration: float) -> Profile | None:
    spy = _spy()
    if spy is None:
        return None
    with Folder() as mine, Folder() as other:
        async with (
            (AuthzGrpc if door == "grpc" else AuthzHttp)(mine, work) as server,
            BenchEnvoy(other, server) as envoy,
        ):
            await check_answers(envoy, server, made, made.asks[:8])
            await load.run(envoy.port, WARM)
            stacks = mine / "stacks.txt"
            # Not `--gil`: what C code does without it, such as writing to a socket, is the door's time too.
            command = [spy, "record", "--pid", str(server.pid), "--rate", str(RATE), "--format", "raw"]
            command += ["--output", str(stacks), "--duration", str(max(1, round(duration))), "--function", "--threads"]
            looking = await asyncio.create_subprocess_exec(
                *command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
            )
            await load.run(envoy.port, duration + 1)
            output = (await looking.communicate())[0].decode(errors="replace")
            if looking.returncode or not stacks.exists():
                print(f"py-spy could not look: {output.strip()[-300:]}\ncProfile stands in", file=sys.stderr)
                return None
            return from_stacks(stacks.read_text(encoding="utf-8").splitlines())


async def _traced(made: Workload, work: Path, load: Generator, door: Door, duration: float) -> Profile:
    with Folder() as mine, Folder() as other:
        kind = AuthzGrpc if door == "grpc" else AuthzHttp
        server = kind(mine, work, launcher=("-m", "cProfile", "-o", "stats", "-m", "authz"))
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
        if not frames or "MainThread" not in thread:
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
    """Two lists, dearest first."""
    return f"{found.source}\n\nown time\n{_list(found.own, top)}\n\nwith what it calls\n{_list(found.whole, top)}"


def _list(shares: Mapping[str, float], top: int) -> str:
    ordered = sorted(shares.items(), key=lambda item: -item[1])[:top]
    return "\n".join(f"  {share:6.1%}  {name}" for name, share in ordered)
