"""Before a policy set is taken in, the engine reads what is new of it in a child process.

The limits in `core` bound every way that is known to crash the engine's parser or to keep it busy for ever. For a
way that is not known there is the trial: the child dies in place of the process that serves, the policy set is
refused with the place of the text it died of, and the last good set stays. At a start there is an error and an exit
code instead of a crash loop.

Measured with cedarpy 4.12: 50 ms for a small set, 0.5 s for 10,000 policies, 4.5 s for 100,000; no memory afterwards.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Hashable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import chain, islice
from pathlib import Path

import cedarpy

from authz.core.cedar_lex import quoted
from authz.core.cedar_schema import CedarSchemaError, Schema, load_schema
from authz.core.cedar_scope import conditions, read_scope
from authz.core.errors import Problem
from authz.core.json_list import JsonListError, json_list
from authz.core.model import Policy, PolicySnapshot
from authz.core.pieces import Pause, no_pause, take_apart
from authz.pdp import trial_child
from authz.pdp.validation import kind_of

CGROUP = Path("/sys/fs/cgroup")
BATCH = 64
"""Texts that the child reads together: policies take twice as long to validate where each comes by itself."""
MOST = 5
"""Texts of one set that are found before the search ends."""
_MEBIBYTE = 1024 * 1024
_ENDED_BY_ITSELF = frozenset({-signal.SIGABRT, -signal.SIGKILL, trial_child.PANICKED, trial_child.OUT_OF_MEMORY})


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """What one child may use; of memory, never more than the container has left."""

    seconds: float = 60.0
    """Processor time, and a millisecond for each text; five times as much may pass on a busy machine."""
    memory: int = 256 * _MEBIBYTE
    """Bytes of address space beside `for_each_byte`. One policy within the limits of `core` can take 200 MiB."""
    for_each_byte: int = 128
    """Bytes for each byte of the largest text."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Text:
    kind: str
    """What the child calls it: `schema`, `policies`, `repeated` or `entities`."""
    text: str
    """A statement, an entity as JSON, or the schema."""
    name: str
    """As a problem names it."""
    file: str
    line: int | None = None


_Job = tuple[_Text, ...]
"""Texts of one kind that the child reads together."""


@dataclass(frozen=True, slots=True)
class _Death:
    """How a child ended, and where: the place of the job in those that it was given; -1: the schema."""

    place: int
    how: str
    is_late: bool = False


class _Unavailable(Exception):
    """No child can be had here."""


def find_crashes(
    snapshot: PolicySnapshot,
    previous: PolicySnapshot | None = None,
    *,
    bounds: Bounds | None = None,
    pause: Pause = no_pause,
) -> tuple[Problem, ...]:
    """Whether the engine outlives a policy set. Blocks: call it in a worker thread.

    Args:
        snapshot: what is to be taken in; its texts passed the limits of `core`.
        previous: what was taken in last. Its texts are not tried again, unless the schema is another one.
        bounds: what a child may use.
        pause: called between two small steps of this process's own work.

    Returns:
        An error for each text that the engine crashed on, or did not get done with, five at most. A warning if no
        child process could be started. What the engine merely refuses is not told here.
    """
    jobs = list(_jobs(snapshot, previous, pause))
    if not jobs:
        return ()
    try:
        return tuple(_Trial(_schema(snapshot), bounds or Bounds(), pause).problems(jobs))
    except _Unavailable as error:
        text = f"the policies were not tried in a child process, for {error}; `policies.trial: false` says so by intent"
        return (Problem(message=text, severity="warning"),)
    finally:
        take_apart(jobs, pause)


def _schema(snapshot: PolicySnapshot) -> _Text | None:
    if snapshot.schema is None:
        return None
    return _Text(kind="schema", text=snapshot.schema, name="schema", file=snapshot.schema_file)


def _jobs(snapshot: PolicySnapshot, previous: PolicySnapshot | None, pause: Pause) -> Iterator[_Job]:
    if previous is not None and previous.schema != snapshot.schema:
        previous = None
    first, repeated = _by_kind(_new_policies(snapshot, previous, pause), snapshot.schema, pause)
    yield from _batches(iter(first))
    yield from _batches(iter(repeated))
    if previous is None or previous.entities != snapshot.entities:
        yield from _batches(_entities(snapshot, pause))


def _batches(texts: Iterator[_Text]) -> Iterator[_Job]:
    while batch := tuple(islice(texts, BATCH)):
        yield batch


def _new_policies(snapshot: PolicySnapshot, previous: PolicySnapshot | None, pause: Pause) -> Iterator[_Text]:
    known: set[str] = set()
    for policy in _policies(previous):
        known.add(policy.text)
        pause()
    for policy in _policies(snapshot):
        pause()
        if policy.text not in known:
            name = f"policy {quoted(policy.id)}"
            yield _Text(kind="policies", text=policy.text, name=name, file=policy.file, line=policy.line)


def _by_kind(texts: Iterator[_Text], schema: str | None, pause: Pause) -> tuple[list[_Text], list[_Text]]:
    """The first policy of each kind, and those that only repeat one: they are parsed, but validated no more than later.

    With a thousand actions in the schema, one policy can take 10 ms to validate.
    """
    ours = _ours(schema)
    kinds: dict[Hashable, None] = {}
    first: list[_Text] = []
    repeated: list[_Text] = []
    for text in texts:
        kind = _kind(text.text, ours) if ours is not None else None
        if kind is None or kind not in kinds:
            kinds[kind] = None
            first.append(text)
        else:
            repeated.append(replace(text, kind="repeated"))
        pause()
    take_apart(kinds, pause)
    return first, repeated


def _ours(schema: str | None) -> Schema | None:
    try:
        return load_schema(schema) if schema is not None else None
    except CedarSchemaError:
        return None  # whoever reads it next says so


def _kind(policy: str, schema: Schema) -> Hashable:
    """None: it cannot be told before the engine has parsed it."""
    try:
        return kind_of(read_scope(policy), conditions(policy), schema)
    except ValueError:
        return None


def _policies(snapshot: PolicySnapshot | None) -> Iterator[Policy]:
    return chain(snapshot.policies, snapshot.templates) if snapshot is not None else iter(())


def _entities(snapshot: PolicySnapshot, pause: Pause) -> Iterator[_Text]:
    file = snapshot.entities_file
    with suppress(JsonListError):  # what comes behind does not reach the engine: whoever reads it next says so
        for number, entity in enumerate(json_list(snapshot.entities), 1):
            pause()
            with suppress(RecursionError):  # nor does this one
                text = json.dumps(entity.value)
                yield _Text(kind="entities", text=text, name=f"entity {number}", file=file, line=entity.line)


class _Trial:
    def __init__(self, schema: _Text | None, bounds: Bounds, pause: Pause) -> None:
        self._schema = schema
        self._bounds = bounds
        self._pause = pause

    def problems(self, jobs: Sequence[_Job]) -> list[Problem]:
        """The texts that a child does not outlive. Raises `_Unavailable`."""
        found: list[Problem] = []
        # Of a job whose texts are looked at one by one now: `singles` is how many, the first of `jobs`.
        suspect: Problem | None = None
        singles = 0
        while jobs and len(found) < MOST:
            death = self._run(jobs)
            if suspect is not None and (death is None or death.place >= singles):
                found.append(suspect)  # none of them by itself
            suspect = None
            if death is None:
                break
            if death.place < 0:
                return [*found, _problem((self._schema,) if self._schema else (), death)]
            job, jobs = jobs[death.place], jobs[death.place + 1 :]
            if death.is_late:
                jobs = ()  # each further one would take as long
            if len(job) == 1:
                found.append(_problem(job, death))
            else:
                suspect, singles = _problem(job, death), len(job)
                jobs = [*((text,) for text in job), *jobs]
        return found

    def _run(self, jobs: Sequence[_Job]) -> _Death | None:
        """Starts a child and gives it all jobs."""
        lines = [_line("schema", (self._schema,))] if self._schema is not None else []
        for job in jobs:
            lines.append(_line(job[0].kind, job))
            self._pause()
        seconds = self._bounds.seconds + sum(map(len, jobs)) / 1000
        memory = min(_room(), self._bounds.memory + self._bounds.for_each_byte * max(map(len, lines)))
        code, done = _child(lines, memory, seconds)
        if done <= 0:
            raise _Unavailable(f"the child ended before it began ({_how(code)})")
        if done > len(lines):
            return None  # it outlived all, however it ended then
        place = done - 1 - (self._schema is not None)
        if code is None or code == -signal.SIGXCPU:
            return _Death(place, f"is not done with it after {seconds:.0f} s", is_late=True)
        if code in _ENDED_BY_ITSELF:
            return _Death(
                place, f"gives up on it ({_how(code)}), perhaps for want of {memory // _MEBIBYTE} MiB of memory"
            )
        return _Death(place, f"crashes on it ({_how(code)})")


def _line(kind: str, job: _Job) -> bytes:
    return json.dumps([kind, [one.text for one in job]]).encode() + b"\n"


def _problem(job: _Job, death: _Death) -> Problem:
    name = job[0].name if len(job) == 1 else f"{job[0].name} to {job[-1].name}"
    text = f"{name}: Cedar's engine {death.how} when tried in a child process; write it in a simpler way"
    return Problem(message=text, file=job[0].file, line=job[0].line)


def _how(code: int | None) -> str:
    if code is None:
        return "it took too long"
    if code >= 0:
        return f"exit code {code}"
    try:
        return signal.Signals(-code).name
    except ValueError:  # a real-time signal has no name
        return f"signal {-code}"


def _child(lines: Sequence[bytes], memory: int, seconds: float) -> tuple[int | None, int]:
    """Runs one child to its end: its exit code, None if it had to be ended, and how many bytes it wrote."""
    try:
        process = subprocess.Popen(
            _command(memory, seconds),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=_environment(),
            cwd="/",
            start_new_session=True,  # an interrupt from the terminal is not meant for it
        )
    except OSError as error:
        raise _Unavailable(f"it cannot be started ({error.strerror})") from None
    with process:
        try:
            told, _ = process.communicate(b"".join(lines), timeout=5 * seconds)
        except subprocess.TimeoutExpired:
            process.kill()
            return None, len(process.communicate()[0])
        except BaseException:
            process.kill()
            raise
        return process.returncode, len(told)


def _room() -> int:
    """Bytes that the container has left. Where one of its processes takes more, all are ended (cgroup v2)."""
    try:
        limit = int((CGROUP / "memory.max").read_text())
        _, used, _ = (CGROUP / "memory.stat").read_text().split(maxsplit=2)  # anon, which cannot be taken back
    except (OSError, ValueError):  # there is no limit
        return sys.maxsize
    return max(limit - int(used), 0)


def _environment() -> dict[str, str]:
    """No secret of ours is its business."""
    kept = {name: os.environ[name] for name in ("LD_LIBRARY_PATH",) if name in os.environ}  # where libpython is
    # glibc reserves 128 MiB of addresses for a thread, and where it gets none it tries again at each allocation:
    # that made a trial of 10,000 policies last 31 s instead of 0.5 s.
    return {**kept, "MALLOC_ARENA_MAX": "1"}


def _command(memory: int, seconds: float) -> list[str]:
    # Where Python is a part of another program (uWSGI, a frozen application), that would be started once more.
    if not Path(sys.executable or "").name.startswith(("python", "pypy")):
        raise _Unavailable("this process is no Python interpreter that could be started again")
    folder = Path(cedarpy.__file__).parent.parent
    script = Path(trial_child.__file__)
    return [sys.executable, "-I", "-S", str(script), str(folder), str(memory), str(int(seconds) + 1)]
