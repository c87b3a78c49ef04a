"""What loading takes by the number of policies: time, memory, and what traffic notices of a reload.

Each load is a process of its own (`scale_memory`), and so is the loop that is watched (`scale_reload`); a real `authz
serve` reloads on a change of its files, too, while a client asks it.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import shutil
import tempfile
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from bench import scale_job, scale_set, scale_store, scale_timing
from bench.answers import WrongAnswer
from bench.in_process import questions
from bench.programs import AuthzHttp
from bench.rows import Row, at_most, less_than, row
from bench.scale import Say, module, output
from bench.scale_reload import AFTER, CURRENT, Read, point_to
from bench.workload import Workload, configuration
from tests.proxies.harness import until

BENCH = "load"
SIZES = (10_000, 100_000)
SECONDS: Mapping[int, float] = {10_000: 3, 100_000: 30}
"""What a load may take."""
MOST_RUNS = 3
RUNS: Mapping[int, int] = {100_000: 1}
"""Of a size, where they would take long."""
LIMIT = 300.0
"""Seconds for one process."""
STALL = 0.050
QUESTIONS = 1_000
REST = 3.0
"""Seconds of traffic before anything is changed, for comparison."""
KINDS = ("all of them new", "one of them changed", "every document's changed")
"""Of change, in the order in which they come; before the first there are the ten policies of the workload."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Loaded:
    """One size: lines of `scale_memory` and `scale_reload`, run by run, and the client's worst latencies."""

    size: int
    ours: Sequence[Mapping[str, Any]]
    engine: Sequence[Mapping[str, Any]]
    reloads: Sequence[Sequence[Mapping[str, Any]]]
    """In each run: at rest, then for each of `KINDS`."""
    worst: Sequence[Sequence[float]]
    """In each run: seconds at rest, then for each of `KINDS`."""


async def measure(
    made: Workload, *, runs: int, say: Say, sizes: Sequence[int] = SIZES, rest: float = REST
) -> list[Loaded]:
    """Every size.

    Raises:
        WrongAnswer: something is answered otherwise than by Cedar's engine.
        PeerFailed: a process ended by itself.
    """
    found = []
    for size in sizes:
        count = min(runs, RUNS.get(size, MOST_RUNS))
        with tempfile.TemporaryDirectory(prefix="authz-load-") as name:
            ours, engine = await _memory(Path(name), size, count)
            say(f"  {size:,} policies: loaded in {ours[0]['seconds']:.2f} s, {ours[0]['held']:.0f} MiB")
            base = Path(name) / "served"
            editions = prepare(base, made, size)
            reloads = [await _reloads(base, editions, rest) for _ in range(count)]
            say(f"  {size:,} policies: stalls {_milliseconds(one['stall'] for one in reloads[0])}")
            worst = [await _served(base, editions, made, size, rest) for _ in range(count)]
            say(f"  {size:,} policies: worst latencies {_milliseconds(worst[0])}")
        found.append(Loaded(size=size, ours=ours, engine=engine, reloads=reloads, worst=worst))
    return found


def _milliseconds(found: Any) -> str:
    return ", ".join(f"{one * 1000:.1f} ms" for one in found)


async def _memory(work: Path, size: int, count: int) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    job, folder = work / "job.json", work / "policies"
    scale_timing.write(job, scale_job.make(size, hot=QUESTIONS, cold=0, anywhere=0))
    scale_set.write(folder, size)
    scale_set.write(work / "tiny", 10)
    found: dict[str, list[dict[str, Any]]] = {"ours": [], "cedarpy": []}
    for _ in range(count):
        for kind, lines in found.items():
            lines.append(_whole(await output(module("scale_memory", kind, job, folder), LIMIT)))
    return found["ours"], found["cedarpy"]


def _whole(told: tuple[list[dict[str, Any]], float | None]) -> dict[str, Any]:
    lines, stopped = told
    if stopped is not None:
        raise WrongAnswer(f"loading was not finished in {stopped:.0f} s")
    named = {kind: facts for line in lines for kind, facts in line.items()}
    return {**named["loaded"], "asked": named.get("asked", {}).get("held")}


# --- reloads -----------------------------------------------------------------------------------------------


def prepare(base: Path, made: Workload, size: int) -> list[Path]:
    """Writes the editions of the store: ten policies, then one for each of `KINDS`. `CURRENT` links to the first; the
    configuration and what is asked are beside it.
    """
    scale_store.write(base, made, None)
    editions = [base / "policies", base / "all-new", base / "one-changed", base / "documents-changed"]
    for edition, folder in enumerate(editions[1:]):
        shutil.copytree(editions[0], folder)
        (folder / "bench.cedar").unlink()
        found = list(scale_store.policies(size, edition=edition if folder == editions[-1] else 0))
        if folder == editions[2]:
            found[-1] = scale_store.own(size - scale_store.SHARED - 1, edition=1)
        scale_store.write_policies(folder, found)
    (base / CURRENT).symlink_to(editions[0])
    config = configured(configuration(base, {}), base)
    (base / "authz.yaml").write_text(yaml.safe_dump(config), encoding="utf-8")
    (base / "authz.asked").write_text(json.dumps(reads(made, size)), encoding="utf-8")
    return editions


def configured(config: dict[str, Any], base: Path) -> dict[str, Any]:
    """The configuration with the link as its policy folder."""
    return config | {"policies": {"store": "files", "path": str(base / CURRENT)}}


def reads(made: Workload, size: int) -> list[Read]:
    """The round's reads of documents that have a policy of their own, as Envoy asks them of the HTTP door."""
    most = size - scale_store.SHARED
    return [
        (target, headers, ask.allowed)
        for (_, target, headers), ask in zip(questions(made), made.asks, strict=True)
        if ask.method == "GET" and ask.path != "/documents" and int(ask.path.rpartition("-")[2]) < most
    ]


async def _reloads(base: Path, editions: Sequence[Path], rest: float) -> list[dict[str, Any]]:
    point_to(base / CURRENT, editions[0])
    told, stopped = await output(module("scale_reload", base / "authz.yaml", rest, *editions[1:]), LIMIT)
    if stopped is not None:
        raise WrongAnswer(f"reloading was not finished in {stopped:.0f} s")
    return [next(iter(line.values())) for line in told]


# --- what a client notices ---------------------------------------------------------------------------------


class Reloading(AuthzHttp):
    """`authz serve` on a store whose folder is a link."""

    def configuration(self) -> dict[str, Any]:
        return configured(super().configuration(), self.work)

    @property
    def accepted(self) -> int:
        """Reloads that it says it took."""
        return self.log.count("reload accepted")

    def took(self, before: int) -> Callable[[], Awaitable[bool]]:
        """Asks whether it took more than `before`."""

        async def taken() -> bool:
            return self.accepted > before

        return taken


class Client:
    """Asks on one kept connection, one request after the other, and keeps the worst latency."""

    PAUSE = 0.002

    def __init__(self, port: int, asked: Sequence[tuple[bytes, int]]) -> None:
        self._port = port
        self._asked = itertools.cycle(asked)
        self.worst = 0.0
        self.count = self.wrong = 0

    async def go_on(self) -> None:
        """Until cancelled."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
        try:
            while True:
                request, status = next(self._asked)
                begun = time.perf_counter()
                writer.write(request)
                self.wrong += await _status(reader) != status
                self.worst = max(self.worst, time.perf_counter() - begun)
                self.count += 1
                await asyncio.sleep(self.PAUSE)
        finally:
            writer.close()


async def _status(reader: asyncio.StreamReader) -> int:
    head = (await reader.readuntil(b"\r\n\r\n")).lower()
    length = head.partition(b"\r\ncontent-length:")[2].split(b"\r\n", 1)[0]
    await reader.readexactly(int(length or b"0"))
    return int(head.split(b" ", 2)[1])


def wire(found: Sequence[Read]) -> list[tuple[bytes, int]]:
    """Requests on the wire, with the status that each must get."""
    made = []
    for target, headers, allowed in found:
        lines = [f"GET {target} HTTP/1.1", *(f"{name}: {value}" for name, value in headers)]
        made.append(("\r\n".join((*lines, "", "")).encode("ascii"), 200 if allowed else 403))
    return made


async def _served(base: Path, editions: Sequence[Path], made: Workload, size: int, rest: float) -> list[float]:
    point_to(base / CURRENT, editions[0])
    folder = base / "serve"
    folder.mkdir(exist_ok=True)
    (folder / "authz.log").unlink(missing_ok=True)
    async with Reloading(folder, base) as server:
        client = Client(server.port, wire(reads(made, size)))
        asking = asyncio.ensure_future(client.go_on())
        try:
            await asyncio.sleep(rest)
            found = [client.worst]
            for target in editions[1:]:
                before, client.worst = server.accepted, 0.0
                point_to(base / CURRENT, target)
                await until(server.took(before), "the reload is accepted", LIMIT)
                await asyncio.sleep(AFTER)
                found.append(client.worst)
        finally:
            asking.cancel()
            await asyncio.gather(asking, return_exceptions=True)
    if client.wrong or not client.count:
        raise WrongAnswer(f"{client.wrong} of {client.count} requests were answered otherwise while policies changed")
    return found


# --- rows --------------------------------------------------------------------------------------------------


def rows(found: Sequence[Loaded]) -> list[Row]:
    """Time, memory and stalls of each size."""
    return [one for loaded in found for part in (_time, _held, _noticed) for one in part(loaded)]


def _time(one: Loaded) -> list[Row]:
    limit = SECONDS.get(one.size)
    seconds = [each["seconds"] for each in one.ours]
    bar = less_than(limit) if limit is not None else None
    found = [row(BENCH, f"{one.size:,} policies, files to decision point", "s", seconds, bar=bar)]
    for place, kind in enumerate(KINDS, 1):
        taken = [run[place]["seconds"] for run in one.reloads]
        found.append(row(BENCH, f"{one.size:,} policies, reload, {kind}", "s", taken, against=seconds, name="the load"))
    return found


def _held(one: Loaded) -> list[Row]:
    engine = [each["held"] for each in one.engine]
    handle = "cedarpy's handle of the full set"
    found = []
    for what, words in (("held", "memory once loaded"), ("asked", f"memory after {QUESTIONS:,} different questions")):
        mine = [each[what] for each in one.ours]
        metric = f"{one.size:,} policies, {words}"
        found.append(row(BENCH, metric, "MiB", mine, against=engine, name=handle, bar=at_most(1.5)))
    mine, most = ([each["peak"] for each in each_of] for each_of in (one.ours, one.engine))
    found.append(
        row(BENCH, f"{one.size:,} policies, most memory while loading", "MiB", mine, against=most, name=handle)
    )
    return found


def _noticed(one: Loaded) -> list[Row]:
    found = []
    for place, kind in enumerate(("no change", *KINDS)):
        stalls = [run[place]["stall"] * 1000 for run in one.reloads]
        bar = less_than(STALL * 1000) if place else None
        found.append(row(BENCH, f"{one.size:,} policies, longest stall of the loop, {kind}", "ms", stalls, bar=bar))
    for place, kind in enumerate(("no change", *KINDS)):
        worst = [run[place] * 1000 for run in one.worst]
        found.append(row(BENCH, f"{one.size:,} policies, worst latency of a client, {kind}", "ms", worst))
    return found
