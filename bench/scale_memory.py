"""Loads one policy set in a process of its own and tells what it took: `python -m bench.scale_memory KIND JOB FOLDER`.

KIND is `ours` (files → decision point) or `cedarpy` (the text, one handle of all). Memory is what the process holds
more than before, once what is free was given back to the system (`malloc_trim`): an allocator keeps what parsing took
for a moment, and how much of it is chance. What it held at most is told, too.
"""

from __future__ import annotations

import ctypes
import ctypes.util
import gc
import os
import sys
import time
from pathlib import Path

import cedarpy

from authz.pdp.cedar import CedarDecisionPoint
from authz.pdp.compiled import compile_snapshot
from authz.stores.file import FileStore
from bench import scale_set
from bench.procfs import resident_bytes
from bench.scale_job import answer, entity_handles, request
from bench.scale_runner import asked, slices
from bench.scale_timing import checked, read, say

MIB = 2**20


def held() -> float:
    """Resident memory of this process in MiB, what is free given back."""
    gc.collect()
    library = ctypes.util.find_library("c")
    trim = getattr(ctypes.CDLL(library), "malloc_trim", None) if library else None
    if trim is not None:  # glibc only
        trim(0)
    return resident_bytes(os.getpid()) / MIB


def peak() -> float:
    """The most that this process was resident with, in MiB."""
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        if line.startswith("VmHWM"):
            return int(line.split()[1]) / 1024
    raise OSError("/proc/self/status tells no VmHWM")


def ours(job: Path, folder: Path) -> None:
    """The load, then every hot question of the job, each of another document where there are so many."""
    questions, described = read(job).hot, slices()
    before = held()
    begun = time.monotonic()
    point = CedarDecisionPoint(compile_snapshot(FileStore(path=folder).read()))
    seconds = time.monotonic() - begun
    say("loaded", seconds=seconds, held=held() - before, peak=peak() - before)
    calls = checked(questions, lambda one: asked(point, one, described), seconds=600)
    found = len(calls)
    del calls  # the questions are the caller's
    say("asked", held=held() - before, questions=found)


def engine(job: Path, folder: Path) -> None:
    """The engine's own handle of the whole set, and nothing beside it."""
    one = read(job).hot[0]
    before = held()
    begun = time.monotonic()
    text = "\n".join(file.read_text(encoding="utf-8") for file in sorted(folder.glob("*.cedar")))
    policies = cedarpy.PolicySet.from_str(text)
    seconds = time.monotonic() - begun
    del text
    say("loaded", seconds=seconds, held=held() - before, peak=peak() - before)
    result = cedarpy.is_authorized(request(one), policies, entity_handles()[one.user])
    ids = [id for id, _ in scale_set.policies(len(policies))]
    if answer(result, ids) != (one.allowed, list(one.reasons)):
        raise ValueError("the full set answers otherwise than the job expects")


def main(kind: str, job: str, folder: str) -> None:
    """Loads one."""
    # Whatever is loaded once, whoever loads: not to be counted.
    CedarDecisionPoint(compile_snapshot(FileStore(path=Path(folder).parent / "tiny").read()))
    {"ours": ours, "cedarpy": engine}[kind](Path(job), Path(folder))


if __name__ == "__main__":
    main(*sys.argv[1:])
