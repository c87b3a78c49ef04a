"""What the kernel has counted for a process and everything it started: processor time and resident memory.

Reference: proc(5), /proc/PID/stat. Times are in clock ticks (usually 10 ms), and include all threads.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

PROC = Path("/proc")


@dataclass(frozen=True, slots=True, kw_only=True)
class Stat:
    """One line of /proc/PID/stat, as far as it is used here."""

    pid: int
    parent: int
    ticks: int
    """utime + stime, its own threads."""
    reaped: int
    """cutime + cstime: children that have ended and were waited for, with theirs."""
    pages: int
    """Resident pages."""


def parse_stat(line: str) -> Stat:
    """Reads a line. The command's name stands in parentheses and may hold anything, parentheses too."""
    head, _, tail = line.rpartition(")")
    fields = tail.split()  # from field 3, the state, on
    return Stat(
        pid=int(head.split(" ", 1)[0]),
        parent=int(fields[1]),
        ticks=int(fields[11]) + int(fields[12]),
        reaped=int(fields[13]) + int(fields[14]),
        pages=int(fields[21]),
    )


def tree(root: int, stats: Iterable[Stat]) -> list[Stat]:
    """The root and all that descends from it."""
    children: dict[int, list[Stat]] = {}
    found: list[Stat] = []
    for stat in stats:
        children.setdefault(stat.parent, []).append(stat)
        if stat.pid == root:
            found.append(stat)
    for stat in found:  # grows while it is walked
        found.extend(children.get(stat.pid, ()))
    return found


def snapshot(proc: Path = PROC) -> list[Stat]:
    """Every process there is."""
    stats = []
    for folder in proc.iterdir():
        if not folder.name.isdigit():
            continue
        try:
            stats.append(parse_stat((folder / "stat").read_text()))
        except (FileNotFoundError, ProcessLookupError):
            continue  # it has just ended
    return stats


def cpu_seconds(root: int, stats: Iterable[Stat] | None = None, *, tick: float | None = None) -> float:
    """User and system time of a process and its descendants, living and reaped, since each began."""
    seconds = tick if tick is not None else 1 / os.sysconf("SC_CLK_TCK")
    found = tree(root, snapshot() if stats is None else stats)
    if not found:
        raise ProcessLookupError(f"no process {root}")
    # A child that ends moves from its own line to its parent's: counted once either way.
    return sum(stat.ticks + stat.reaped for stat in found) * seconds


def thread_seconds(pid: int, *, proc: Path = PROC, tick: float | None = None) -> dict[str, float]:
    """User and system time of one process by the names of its threads; threads of one name together.

    Reference: proc(5), /proc/PID/task/TID/stat. A sampler of Python frames does not see threads that run none, such
    as those of a server written in Rust.
    """
    seconds = tick if tick is not None else 1 / os.sysconf("SC_CLK_TCK")
    found: dict[str, float] = {}
    for folder in (proc / str(pid) / "task").iterdir():
        try:
            line = (folder / "stat").read_text()
        except (FileNotFoundError, ProcessLookupError):
            continue  # it has just ended
        name = line.partition("(")[2].rpartition(")")[0]
        found[name] = found.get(name, 0.0) + parse_stat(line).ticks * seconds
    return found


def resident_bytes(root: int, stats: Iterable[Stat] | None = None) -> int:
    """Resident memory of a process and its descendants. Pages that they share count for each."""
    found = tree(root, snapshot() if stats is None else stats)
    return sum(stat.pages for stat in found) * os.sysconf("SC_PAGE_SIZE")


def machine(info: Path = PROC / "cpuinfo", memory: Path = PROC / "meminfo") -> Mapping[str, str]:
    """The processor's name, how many of it this process may use, and the memory."""
    models = [line.partition(":")[2].strip() for line in info.read_text().splitlines() if line.startswith("model name")]
    kib = int(next(line for line in memory.read_text().splitlines() if line.startswith("MemTotal")).split()[1])
    return {
        "processor": models[0] if models else "unknown",
        "cores": str(len(os.sched_getaffinity(0))),
        "memory": f"{kib / 2**20:.1f} GiB",
    }
