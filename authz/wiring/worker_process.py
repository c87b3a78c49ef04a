"""A worker: the ordinary serving path in a process of its own, on the addresses that it shares with the others.

Started by a supervisor as `python -m authz.wiring.worker_process DESCRIPTOR FILE WORKERS`. It reads and checks
everything, says what it found, and waits for its supervisor's word and sockets. From then on it says once a second
that it lives. If the supervisor is gone, however it ended, the worker drains and ends.
"""

from __future__ import annotations

import asyncio
import os
import select
import signal
import socket
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict
from pathlib import Path

import structlog

from authz.config.listeners import Listener
from authz.config.load import Config
from authz.core.errors import Misconfigured
from authz.observe.log import configure
from authz.observe.merge import families_of
from authz.servers.unix_socket import remove
from authz.wiring.assembly import Assembly
from authz.wiring.channel import BlockingChannel, Channel, Gone, Message
from authz.wiring.serve import Serving, loop_factory, servable, serving, warn
from authz.wiring.start_settings import as_started, start_settings
from authz.wiring.together import Together

OK, FAILED, UNUSABLE = 0, 1, 2
BEAT = 1.0
"""Seconds between two signs of life."""
METRICS_EVERY = 5
"""Signs of life to one report of metrics: what is lost of them with a worker that is killed."""
MARGIN = 10.0
"""Seconds beyond the drain after which a worker without supervisor ends in any case."""
_MOST_SOCKETS = 64
_log = structlog.get_logger("authz.worker")


def main(arguments: Sequence[str]) -> int:
    """Serves until the supervisor or a signal says to stop, or the supervisor is gone."""
    descriptor, file, workers = arguments
    for number in (signal.SIGHUP, signal.SIGTTOU):
        signal.signal(number, signal.SIG_IGN)
    end = socket.socket(fileno=int(descriptor))
    channel = BlockingChannel(end)
    orphaned = Orphaned(end)
    try:
        return _serve(Path(file), int(workers), channel, orphaned)
    except Gone:
        return FAILED
    except Misconfigured as error:
        with suppress(Gone):
            channel.send(unusable(error))
        return UNUSABLE


def _serve(file: Path, workers: int, channel: BlockingChannel, orphaned: Orphaned) -> int:
    begun = time.perf_counter()
    assembly = servable(file, sharing=workers)
    _check(assembly.config)
    channel.send(plan(assembly.config))
    start, descriptors = channel.receive(_MOST_SOCKETS)
    assembly, otherwise = as_started(assembly, start["settings"])
    together = _together(start, descriptors)
    log = assembly.config.shape.log
    always = {"worker": together.number, "pid": os.getpid()}
    configure(level=log.level, form=log.format, always=always, turns=together.turns_of_log())
    if start["first"]:
        warn(assembly)
    for name in otherwise:
        _log.warning("`%s` was changed, and counts from the next start only", name)
    with asyncio.Runner(loop_factory=loop_factory()) as runner:
        return runner.run(Worker(assembly, together, orphaned, begun).run(channel.end))


def _check(config: Config) -> None:
    """What one process can do and several cannot.

    Raises:
        Misconfigured: grpcio cannot take over a Unix socket that is bound already.
    """
    if config.shape.hosts.grpc != "grpcio":
        return
    message = (
        "grpcio cannot share a Unix socket between workers: set `hosts.grpc: h2corn`, give a TCP address, or start "
        "with `--workers 1`"
    )
    problems = [
        config.problem(("listeners", "grpc", place), message)
        for place, listener in enumerate(config.shape.listeners.grpc)
        if listener.address.path
    ]
    if problems:
        raise Misconfigured(tuple(problems))


def _together(start: Message, descriptors: Sequence[int]) -> Together:
    turns, *sockets = descriptors
    paths = [path for path, _, _ in start["sockets"]]
    return Together(
        number=start["number"],
        ports={(door, place): port for door, place, port in start["ports"]},
        sockets=dict(zip(paths, sockets, strict=True)),
        identities={path: (device, inode) for path, device, inode in start["sockets"]},
        turns=turns,
        hash_key=bytes.fromhex(start["hash_key"]),
    )


# --- what is said


def plan(config: Config) -> Message:
    """What a supervisor must know of a configuration."""
    shape = config.shape
    doors = {name: getattr(shape.listeners, name) for name in type(shape.listeners).model_fields}
    return {
        "type": "plan",
        "listeners": [
            {"door": door, "place": place, **_address(config, listener)}
            for door, listeners in doors.items()
            for place, listener in enumerate(listeners)
        ],
        "drain": shape.limits.drain,
        "drain_delay": shape.limits.drain_delay,
        "log": {"level": shape.log.level, "form": shape.log.format},
        "settings": start_settings(config),
    }


def _address(config: Config, listener: Listener) -> Message:
    tls = listener.tls.model_dump() if listener.tls is not None else None
    for name in ("certificate", "key", "client_ca"):
        if tls is not None and tls[name] is not None:
            tls[name] = str(config.path(tls[name]))
    address = listener.address
    return {**asdict(address), "mode": int(listener.mode, 8), "group": listener.group, "tls": tls}


def unusable(error: Misconfigured) -> Message:
    """That this configuration, or this place, cannot be served, and why."""
    return {
        "type": "unusable",
        "problems": [
            {"file": one.file, "line": one.line, "severity": one.severity, "message": one.message}
            for one in error.problems
        ],
    }


# --- life


class Orphaned:
    """Notices that the supervisor is gone, also while the event loop does not turn."""

    def __init__(self, end: socket.socket) -> None:
        self._watched = os.dup(end.fileno())
        self._stop: tuple[asyncio.AbstractEventLoop, asyncio.Event, float] | None = None
        self.noticed = False
        threading.Thread(target=self._watch, name="authz-orphaned", daemon=True).start()

    @contextmanager
    def stops(self, stop: asyncio.Event, limit: float) -> Iterator[None]:
        """Within, `stop` is set, and the process has `limit` seconds; outside, nothing is open yet, and it ends."""
        self._stop = (asyncio.get_running_loop(), stop, limit)
        yield

    def _watch(self) -> None:
        poll = select.poll()
        poll.register(self._watched, select.POLLRDHUP)
        poll.poll()
        self.noticed = True
        if self._stop is not None:
            loop, stop, limit = self._stop
            with suppress(RuntimeError):  # the loop is closed: the end is near
                loop.call_soon_threadsafe(stop.set)
            time.sleep(limit)
        os._exit(FAILED)


class Worker:
    """The serving of one worker."""

    def __init__(self, assembly: Assembly, together: Together, orphaned: Orphaned, begun: float) -> None:
        self._assembly = assembly
        self._together = together
        self._orphaned = orphaned
        self._begun = begun

    async def run(self, end: socket.socket) -> int:
        """Until the stop. The exit code."""
        channel = await Channel.opened(end)
        try:
            async with serving(self._assembly, self._together) as here:
                await self._run(channel, here)
        except Misconfigured as error:
            channel.send(unusable(error))
            return UNUSABLE
        finally:
            await channel.aclose()
        _log.info("stopped")
        return OK

    async def _run(self, channel: Channel, here: Serving) -> None:
        limits = self._assembly.config.shape.limits
        with self._orphaned.stops(here.stop, limits.drain + MARGIN):
            tasks = [asyncio.create_task(_listen(channel, here)), asyncio.create_task(_beat(channel, here))]
            _log.info("serving", seconds=round(time.perf_counter() - self._begun, 3))
            await here.stop.wait()
            _log.info("draining", seconds=limits.drain)
            channel.send({"type": "draining"})
            if self._orphaned.noticed:
                # Whoever comes next wants the addresses; readiness fell with the supervisor.
                await asyncio.to_thread(self._take_away)
            await here.drain(delay=0.0 if self._orphaned.noticed else limits.drain_delay, seconds=limits.drain)
            for task in tasks:
                task.cancel()
            channel.send(_metrics(here))

    def _take_away(self) -> None:
        for path, identity in self._together.identities.items():
            remove(Path(path), identity)


async def _listen(channel: Channel, here: Serving) -> None:
    async for message in channel.messages():
        if message["type"] == "metrics":
            channel.send({**_metrics(here), "asked": message["asked"]})


async def _beat(channel: Channel, here: Serving) -> None:
    beats = 0
    while True:
        if beats % METRICS_EVERY == 0:
            channel.send(_metrics(here))
        version = here.runtime.assembly.compiled.version
        channel.send({"type": "alive", "checks": _checks(here), "version": version})
        beats += 1
        await asyncio.sleep(BEAT)


def _checks(here: Serving) -> dict[str, tuple[bool, str]]:
    try:
        return dict(here.runtime.readiness())
    except Exception as error:  # noqa: BLE001 - a check that cannot be made does not hold
        return {"checks": (False, f"unexpected {type(error).__name__}")}


def _metrics(here: Serving) -> Message:
    try:
        return {"type": "metrics", "families": families_of(here.sinks.metrics.registry)}
    except Exception as error:  # noqa: BLE001 - a worker that cannot count still answers
        _log.error("unexpected error in the metrics", error=type(error).__name__)
        return {"type": "metrics", "families": None}


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
