"""`authz serve --workers N`: starts workers, keeps them alive, and stands for all of them.

A supervisor serves no request and reads no policy. It holds the addresses, starts each worker as a fresh process
(threads and event loops do not survive a fork), starts it again when it ends, and answers on the admin listener for
all. The configuration is read and checked by the workers: what they find unusable ends the start as in one process.
"""

from __future__ import annotations

import asyncio
import os
import random
import secrets
import signal
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import structlog

from authz.core.errors import Misconfigured, Problem
from authz.observe.log import configure
from authz.observe.turns import SharedTurns
from authz.servers.listeners import TcpListener, UnixListener
from authz.wiring.backoff import Backoff
from authz.wiring.channel import Message
from authz.wiring.reserve import Reserved, reserve
from authz.wiring.worker import Ended, Timings, Worker
from authz.wiring.worker_metrics import WorkerMetrics

if TYPE_CHECKING:
    from authz.wiring.supervisor_admin import SupervisorAdmin

OK, FAILED = 0, 1
_SKEW = 10.0
"""Seconds for which workers may have different policy sets: each reads the files by itself."""
_log = structlog.get_logger("authz.supervisor")


def supervise(file: Path, workers: int, *, timings: Timings | None = None, backoff: Backoff | None = None) -> int:
    """Serves by several workers until a signal ends it. The exit code: 1 where a worker had to be killed at the end.

    Raises:
        Misconfigured: what is configured cannot be run; every problem. Nothing listens then.
    """
    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # workers inherit it, until they can do something about it
    configure()
    supervisor = Supervisor(file, workers, timings=timings or Timings(), backoff=backoff or Backoff())
    return asyncio.run(supervisor.run())


@dataclass(frozen=True, slots=True, kw_only=True)
class Opened:
    """What the first worker has read, and the addresses that are held by it."""

    plan: Message
    reserved: Reserved


class Supervisor:
    """Workers, and what they have in common."""

    def __init__(self, file: Path, workers: int, *, timings: Timings, backoff: Backoff) -> None:
        self._timings = timings
        self._backoff = backoff
        self._begun = time.perf_counter()
        self._metrics = WorkerMetrics(patience=timings.scrape)
        self._workers = [
            Worker(
                number,
                file,
                workers=workers,
                timings=timings,
                answer=self._answer,
                began=self._announce,
                metrics=self._metrics.take,
                say=_log.error,
            )
            for number in range(1, workers + 1)
        ]
        self._stop = asyncio.Event()
        self._problems: tuple[Problem, ...] = ()
        self._opening = asyncio.Lock()
        self._opened: Opened | None = None
        self._announced = False
        self._admin: SupervisorAdmin | None = None
        self._turns = os.memfd_create("authz-turns", os.MFD_CLOEXEC)
        self._hash_key = secrets.token_hex(32)
        self._restarts = dict.fromkeys((worker.name for worker in self._workers), 0)
        self._tried: set[int] = set()
        """Workers that were started once. What one of them finds unusable at its first start ends everything."""
        self._renewing: asyncio.Task[None] | None = None

    async def run(self) -> int:
        """Until a signal, or until it is found that nothing can be served.

        Raises:
            Misconfigured: nothing can be served; every problem.
        """
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stop.set)
        loop.add_signal_handler(signal.SIGHUP, self._reload)
        keepers = [asyncio.create_task(self._keep(worker)) for worker in self._workers]
        comparing = asyncio.create_task(self._compare())
        try:
            await self._stop.wait()
            killed = await self._end(keepers)
        finally:
            for task in (comparing, *keepers):
                task.cancel()
            await self._close()
            for number in (signal.SIGTERM, signal.SIGINT):
                loop.remove_signal_handler(number)
                signal.signal(number, signal.SIG_IGN)  # asked again while it ends, it ends as well
        if self._problems:
            raise Misconfigured(self._problems)
        return FAILED if killed else OK

    # --- start

    async def _answer(self, worker: Worker, plan: Message) -> tuple[Message, Sequence[int]]:
        """A worker's orders. The first one to have read its configuration says where the doors are.

        Raises:
            Misconfigured: an address cannot be had.
        """
        async with self._opening:
            if self._opened is None:
                self._opened = await self._open(plan)
        opened = self._opened
        bound = opened.reserved.bound
        first = worker.number == 1 and not self._restarts[worker.name]
        orders: Message = {
            "type": "start",
            "number": worker.number,
            "first": first,
            "settings": opened.plan["settings"],
            "ports": [[door, place, port] for (door, place), port in opened.reserved.ports.items()],
            "sockets": [[one.path, *one.identity] for one in bound],
            "hash_key": self._hash_key,
        }
        return orders, [self._turns, *(one.socket.fileno() for one in bound)]

    async def _open(self, plan: Message) -> Opened:
        configure(**plan["log"], turns=SharedTurns(self._turns, 0))
        doors = [one for one in plan["listeners"] if one["door"] != "admin"]
        held = [(one["door"], one["place"], listener(one)) for one in doors]
        reserved = await asyncio.to_thread(reserve, held)
        try:
            await self._open_admin([one for one in plan["listeners"] if one["door"] == "admin"])
        except BaseException:
            reserved.release()
            raise
        return Opened(plan=plan, reserved=reserved)

    async def _open_admin(self, addresses: Sequence[Mapping[str, Any]]) -> None:
        if not addresses:
            return
        # Only now: without an admin listener there is no HTTP server to be loaded.
        from authz.wiring.supervisor_admin import SupervisorAdmin

        admin = SupervisorAdmin(checks=self._checks, metrics=self._scrape, enough=self._enough)
        await admin.start(addresses)
        self._admin = admin

    def _announce(self) -> None:
        """Told by each worker that begins to serve; the first one is the beginning of all."""
        if self._announced or self._opened is None:
            return
        self._announced = True
        places: dict[str, list[str]] = {}
        for one in self._opened.plan["listeners"]:
            places.setdefault(one["door"], []).append(str(listener(one)))
        seconds = round(time.perf_counter() - self._begun, 3)
        addresses = {door: ", ".join(found) for door, found in places.items()}
        _log.info("serving", seconds=seconds, workers=len(self._workers), **addresses)

    # --- life

    async def _keep(self, worker: Worker) -> None:
        """Starts the worker again and again, until the stop."""
        failures = 0
        while True:
            ended = await worker.live()
            self._metrics.ended(worker.name)
            if self._stop.is_set():
                return
            if self._refused(worker, ended):
                return
            failures = self._backoff.failures(failures, ended.served)
            delay = self._backoff.delay(failures, random.random())  # noqa: S311 - no secret
            _log.error(
                "a worker ended and is started again",
                worker=worker.number,
                how=str(ended),
                problems=[str(problem) for problem in ended.problems],
                failures=failures,
                after=round(delay, 3),
            )
            with suppress(TimeoutError):
                async with asyncio.timeout(delay):
                    await self._stop.wait()
                return
            self._restarts[worker.name] += 1

    def _refused(self, worker: Worker, ended: Ended) -> bool:
        """Half a start does not happen: what cannot be served at the first try ends all."""
        first = worker.number not in self._tried
        self._tried.add(worker.number)
        if first and ended.problems and not ended.served:
            self._problems = self._problems or ended.problems
            self._stop.set()
            return True
        return False

    def _reload(self) -> None:
        _log.info("reload", workers=sum(worker.serves for worker in self._workers))
        for worker in self._workers:
            worker.signal(signal.SIGHUP)
        if self._admin is not None:
            self._renewing = asyncio.create_task(self._admin.renew())

    async def _compare(self) -> None:
        """Tells once of workers that do not come to the same policy set."""
        since, told = 0.0, False
        while True:
            await asyncio.sleep(1.0)
            versions = {worker.name: worker.version for worker in self._workers if worker.version is not None}
            since = since + 1.0 if len(set(versions.values())) > 1 else 0.0
            if since > _SKEW and not told:
                _log.error("workers decide by different policy sets", versions=versions)
            told = since > _SKEW

    # --- stop

    async def _end(self, keepers: Sequence[asyncio.Task[None]]) -> int:
        """Has all workers drain and end. How many had to be killed?"""
        opened = self._opened
        drain, delay = (opened.plan["drain"], opened.plan["drain_delay"]) if opened is not None else (0.0, 0.0)
        if not self._problems:
            _log.info("draining", seconds=drain)
        if self._admin is not None:
            self._admin.drain()
        for worker in self._workers:
            # One that does not serve yet has nothing to drain.
            worker.signal(signal.SIGTERM if worker.serves or worker.draining else signal.SIGKILL)
        await asyncio.wait(keepers, timeout=delay)
        if opened is not None:
            await asyncio.to_thread(opened.reserved.release)
        _, late = await asyncio.wait(keepers, timeout=drain + self._timings.margin)
        left = [worker for worker in self._workers if worker.pid is not None]
        for worker in left:
            _log.error("the worker does not end and is killed", worker=worker.number, pid=worker.pid)
            worker.kill()
        if late:
            await asyncio.wait(late, timeout=self._timings.margin)
        if not self._problems:
            _log.info("stopped")
        return len(left)

    async def _close(self) -> None:
        for worker in self._workers:
            worker.kill()  # nothing, but after an error of our own
        if self._opened is not None:
            await asyncio.to_thread(self._opened.reserved.release)
        if self._admin is not None:
            await self._admin.stop()

    # --- for all

    def _checks(self) -> Mapping[str, tuple[bool, str]]:
        return {name: check for worker in self._workers for name, check in worker.checks().items()}

    def _enough(self) -> bool:
        """One that answers is enough: the others are on their way."""
        return any(worker.ready for worker in self._workers)

    async def _scrape(self, accept: str) -> tuple[bytes, str]:
        return await self._metrics.scrape(self._workers, self._restarts, accept)


def listener(one: Mapping[str, Any]) -> TcpListener | UnixListener:
    """An address of a plan."""
    if one["path"]:
        return UnixListener(path=one["path"], mode=one["mode"], group=one["group"])
    return TcpListener(host=one["host"], port=one["port"])
