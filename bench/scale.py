"""Decisions a second by the number of policies: ours, the engine's full set, and peers (`make peers`).

Each contender is a process of its own. What does not finish in time is told as that, and nothing is extrapolated.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench import peer_cedarling, peer_cerbos, scale_job, scale_set, scale_timing
from bench.answers import WrongAnswer

REPOSITORY = Path(__file__).resolve().parents[1]
PEERS = REPOSITORY / ".peers"
OURS, ENGINE, CEDARLING = "authz", "cedarpy, full set", "Cedarling"
CERBOS = {"rules": "Cerbos, a rule a document", "policies": "Cerbos, a policy a document"}
"""By the form of `peer_cerbos`."""
LIMIT = 60.0
"""Seconds that one contender may take for one size, from the start of its process; ours for all sizes together."""
ALL_SIZES = 10
"""How many times as long ours may take, for it does all sizes in one process."""
SECONDS = 1.0
"""Of calls in a round."""
Say = Callable[[str], None]


class PeerFailed(Exception):
    """A contender ended by itself without its figures."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """One contender at one size."""

    name: str
    size: int
    ready: float | None = None
    """Seconds until its policies were loaded."""
    rounds: Sequence[Mapping[str, float]] = ()
    once: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    """Ours: `cold` and `anywhere`."""
    stopped: float | None = None
    """Seconds after which it was ended, where it had not finished."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Contender:
    """A peer: how its policies are written, and the command that measures it."""

    name: str
    write: Callable[[Path, int], None]
    command: Callable[[Path, Path, int, float], list[str]]
    """Of job, folder, rounds and seconds."""


def contenders(peers: Path = PEERS) -> list[Contender]:
    """The engine, and those peers that are installed below `peers`."""
    found = [
        Contender(
            name=ENGINE,
            write=lambda *_: None,  # it makes them itself
            command=lambda job, _, count, seconds: module("scale_runner", "cedarpy", count, seconds, job),
        )
    ]
    python, binary = peers / "bin" / "python", next(iter(sorted(peers.glob(peer_cerbos.PROGRAM))), None)
    if any(peers.glob("lib/python3*/site-packages/cedarling_python")):
        found.append(_cedarling(python))
    if binary is not None:
        found += [_cerbos(form, binary) for form in CERBOS]
    return found


def versions(peers: Path = PEERS) -> str:
    """Of the peers that are installed, for the record."""
    found = [file.name for file in sorted(peers.glob("lib/python3*/site-packages/cedarling_python-*.dist-info"))]
    packages = [json.loads(file.read_text("utf-8")) for file in peers.glob("npm/node_modules/cerbos/package.json")]
    named = [f"Cedarling {name.removesuffix('.dist-info').partition('-')[2]}" for name in found]
    named += [f"Cerbos {package['version']}" for package in packages]
    return ", ".join(named) or "(not installed; `make peers`)"


def module(name: str, *arguments: object, python: Path | str = sys.executable) -> list[str]:
    """The command that runs a module of this package."""
    return [str(python), "-m", f"bench.{name}", *map(str, arguments)]


def _cedarling(python: Path) -> Contender:
    return Contender(
        name=CEDARLING,
        write=peer_cedarling.write,
        command=lambda job, folder, count, seconds: module(
            "peer_cedarling", job, folder, count, seconds, python=python
        ),
    )


def _cerbos(form: str, binary: Path) -> Contender:
    return Contender(
        name=CERBOS[form],
        write=lambda folder, size: peer_cerbos.write(folder, size, form),
        command=lambda job, folder, count, seconds: module("peer_cerbos", form, job, folder, count, seconds, binary),
    )


# --- measuring ---------------------------------------------------------------------------------------------


async def measure(
    *,
    runs: int,
    say: Say,
    sizes: Sequence[int] = scale_set.SIZES,
    peers: Path = PEERS,
    seconds: float = SECONDS,
    limit: float = LIMIT,
    jobs: Callable[[int], scale_set.Job] = scale_job.make,
) -> list[Point]:
    """Every contender at every size.

    Raises:
        WrongAnswer: one of them answers another thing than Cedar's engine.
        PeerFailed: one of them ends by itself.
    """
    chosen = contenders(peers)
    if len(chosen) == 1:
        say("  no peers: `make peers` installs them")
    with tempfile.TemporaryDirectory(prefix="authz-scale-") as name:
        work = Path(name)
        for size in sizes:
            scale_timing.write(_job(work, size), await asyncio.to_thread(jobs, size))
        found = await _ours(work, sizes, runs, seconds, limit * ALL_SIZES)
        for one in found:
            say(f"  {told(one)}")
        for size in sizes:
            for contender in chosen:
                found.append(await _measured(contender, work, size, runs, seconds, limit))
                say(f"  {told(found[-1])}")
        return found


def _job(work: Path, size: int) -> Path:
    return work / f"{size}.json"


async def _ours(work: Path, sizes: Sequence[int], runs: int, seconds: float, limit: float) -> list[Point]:
    pairs = []
    for size in sizes:
        folder = work / f"policies-{size}"
        scale_set.write(folder, size)
        pairs.append(f"{_job(work, size)}={folder}")
    command = module("scale_runner", "ours", runs, seconds, *pairs)
    lines, stopped = await output(command, limit)
    return [point(OURS, size, [one for one in lines if _size(one) == size], stopped) for size in sizes]


def _size(line: Mapping[str, Any]) -> int:
    return next(iter(line.values()))["size"]


async def _measured(contender: Contender, work: Path, size: int, runs: int, seconds: float, limit: float) -> Point:
    # Its files are removed before the next one's: there are 100,000 of some.
    with tempfile.TemporaryDirectory(prefix="peer-", dir=work) as name:
        folder = Path(name) / "policies"
        await asyncio.to_thread(contender.write, folder, size)
        lines, stopped = await output(contender.command(_job(work, size), folder, runs, seconds), limit)
    return point(contender.name, size, lines, stopped)


async def output(command: Sequence[str], limit: float) -> tuple[list[dict[str, Any]], float | None]:
    """What a contender prints, and the limit if it had to be ended for that.

    Raises:
        WrongAnswer: an answer is not that of the engine.
        PeerFailed: it ends otherwise than well.
    """
    process = await asyncio.create_subprocess_exec(
        *command,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={"PATH": os.defpath, "PYTHONPATH": str(REPOSITORY), "LANG": "C.UTF-8"},
        start_new_session=True,
    )
    reading = asyncio.ensure_future(process.communicate())
    stopped = None
    try:
        done, _ = await asyncio.wait({reading}, timeout=limit)
        stopped = None if done else limit
    finally:
        if process.returncode is None:
            os.killpg(process.pid, signal.SIGKILL)  # with the server that it may have started
    printed, wrong = await reading
    if stopped is None and process.returncode:
        text = wrong.decode(errors="replace").strip()
        last = text.rsplit("\n", 1)[-1][:500]
        raise WrongAnswer(f"{command[2]}: {last}") if ".Wrong: " in last else PeerFailed(f"{command[2]}: {last}")
    return [json.loads(line) for line in printed.splitlines() if line.endswith(b"}")], stopped


def point(name: str, size: int, lines: Sequence[Mapping[str, Any]], stopped: float | None) -> Point:
    """What a contender's lines amount to."""
    ready = [one["ready"]["seconds"] for one in lines if "ready" in one]
    return Point(
        name=name,
        size=size,
        ready=ready[0] if ready else None,
        rounds=[one["round"] for one in lines if "round" in one],
        once={kind: one[kind] for one in lines for kind in ("cold", "anywhere") if kind in one},
        stopped=stopped,
    )


def told(one: Point) -> str:
    """For whoever watches."""
    if not one.rounds:
        what = "deciding" if one.ready is not None else "loading"
        return f"{one.name:40} {one.size:8,} policies: not finished {what} in {one.stopped or 0:.0f} s"
    middle = sorted(each["median"] for each in one.rounds)[len(one.rounds) // 2]
    return f"{one.name:40} {one.size:8,} policies: loaded in {one.ready or 0:7.2f} s, {middle:10,.1f} µs a decision"
