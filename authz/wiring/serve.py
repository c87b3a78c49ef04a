"""`authz serve`: from a file to a running process, and back down in order.

Up: everything is read and checked, then listeners open; half a start does not happen. Down, on SIGTERM or
SIGINT: readiness first, then what is in flight, then the log. SIGHUP reads everything anew and reopens the log.

`serve` is one process. With several, a supervisor (`supervisor`) has the admin listener, and each worker
(`worker_process`) does the rest by the same `serving`.
"""

from __future__ import annotations

import asyncio
import gc
import signal
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import structlog

from authz.config.load import Config
from authz.core.errors import Misconfigured
from authz.observe.log import configure
from authz.wiring.assembly import Assembly, assemble
from authz.wiring.certificates import ListenerCertificates, kept_current
from authz.wiring.hosts import GrpcDoor, Host, admin_host, grpc_hosts, http_host
from authz.wiring.pace import freeze, without_full_collections
from authz.wiring.runtime import Runtime, running
from authz.wiring.sinks import Sinks, all_sinks
from authz.wiring.together import Together

_log = structlog.get_logger("authz.serve")


def serve(file: Path) -> int:
    """Serves until a signal ends it.

    Raises:
        Misconfigured: what is configured cannot be run; every problem. Nothing listens then.
    """
    begun = time.perf_counter()
    # Until there is something to read anew a hang-up would end the process.
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    assembly = servable(file)
    configure(level=assembly.config.shape.log.level, form=assembly.config.shape.log.format)
    warn(assembly)
    with asyncio.Runner(loop_factory=loop_factory()) as runner:
        runner.run(_serve(assembly, begun))
    return 0


def servable(file: Path, *, sharing: int = 1) -> Assembly:
    """What is configured, read and checked. A policy store that cannot be reached is waited for, closed.

    Args:
        file: the configuration.
        sharing: how many processes share the budget of calls to the policy store.

    Raises:
        Misconfigured: it cannot be run; every problem.
    """
    with without_full_collections():
        assembly = assemble(file, certificates=True, serves=True, sharing=sharing).required()
    listeners = assembly.config.shape.listeners
    if not listeners.http and not listeners.grpc:
        message = "`serve` needs a listener: give `listeners.http` or `listeners.grpc` an address"
        raise Misconfigured((assembly.config.problem(("listeners",), message),))
    return assembly


def warn(assembly: Assembly) -> None:
    """Tells the log what `authz check` warns of."""
    for warning in assembly.warnings:
        _log.warning("configuration", file=warning.file, line=warning.line, problem=warning.message)


def loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """The faster event loop, where it is installed."""
    try:
        import uvloop
    except ImportError:
        return None
    return uvloop.new_event_loop


@dataclass(frozen=True, slots=True, kw_only=True)
class Serving:
    """Doors that are open, and what is behind them."""

    runtime: Runtime
    sinks: Sinks
    certificates: ListenerCertificates
    doors: Sequence[Host]
    grpc: Sequence[GrpcDoor]
    stop: asyncio.Event
    """Set by the signals that end a process."""
    reload: Callable[[], None]
    """What a hang-up does: reads everything anew, and opens the record's file again."""

    async def drain(self, *, delay: float, seconds: float) -> None:
        """Says that no more should come, goes on for `delay`, then has `seconds` for what is under way."""
        for host in self.grpc:
            host.set_serving(serving=False)
        await asyncio.sleep(delay)
        await asyncio.gather(*(door.stop(seconds) for door in self.doors))


@asynccontextmanager
async def serving(assembly: Assembly, together: Together | None = None) -> AsyncIterator[Serving]:
    """Everything but the admin listener, started, and stopped at the end. `together`: with other workers.

    Raises:
        Misconfigured: an address or the record's output cannot be had.
    """
    config = assembly.config
    freeze()  # a large policy set is in place: no collection beside open doors looks through it
    async with AsyncExitStack() as stack:
        runtime = await stack.enter_async_context(running(assembly, ours=True))
        certificates = await stack.enter_async_context(kept_current(config))
        sinks = await stack.enter_async_context(
            all_sinks(config, runtime, together, certificates=certificates.expiries)
        )
        runtime.service.sinks = sinks.sinks
        grpc = grpc_hosts(config, runtime.service, together, certificates=certificates)
        http = http_host(config, runtime.service, together, certificates=certificates)
        doors: list[Host] = [host for host in (http, *grpc) if host is not None]
        stop = asyncio.Event()
        reload = _on_signals(stop, runtime, sinks, certificates)
        for door in doors:
            await door.start()
            stack.push_async_callback(door.stop, 0.0)
        gc.collect()
        gc.freeze()  # what was built at the start lives long: keep it out of every later collection
        yield Serving(
            runtime=runtime,
            sinks=sinks,
            certificates=certificates,
            doors=doors,
            grpc=grpc,
            stop=stop,
            reload=reload,
        )


async def _serve(assembly: Assembly, begun: float) -> None:
    config = assembly.config
    limits = config.shape.limits
    async with serving(assembly) as here, AsyncExitStack() as stack:
        admin, admin_listener = admin_host(
            config,
            checks=here.runtime.readiness,
            metrics=here.sinks.metrics.render,
            certificates=here.certificates,
        )
        if admin_listener is not None:  # last: whoever can ask whether we are ready finds every door open
            await admin_listener.start()
            stack.push_async_callback(admin_listener.stop, 1.0)
        _log.info("serving", seconds=round(time.perf_counter() - begun, 3), **_addresses(config))
        await here.stop.wait()
        _log.info("draining", seconds=limits.drain)
        admin.drain()
        await here.drain(delay=limits.drain_delay, seconds=limits.drain)
    _log.info("stopped")


def _addresses(config: Config) -> dict[str, str]:
    listeners = config.shape.listeners
    named = {"http": listeners.http, "grpc": listeners.grpc, "admin": listeners.admin}
    return {name: ", ".join(str(one.address) for one in found) for name, found in named.items() if found}


def _on_signals(
    stop: asyncio.Event, runtime: Runtime, sinks: Sinks, certificates: ListenerCertificates
) -> Callable[[], None]:
    loop = asyncio.get_running_loop()
    tasks: set[asyncio.Task[None]] = set()

    async def reread() -> None:
        await certificates.renew()
        await runtime.reread()

    def reload() -> None:
        sinks.reopen()
        if len(tasks) > 1:
            return  # one reads, the other waits, and will read all there is by then
        task = loop.create_task(reread())
        tasks.add(task)
        task.add_done_callback(tasks.discard)

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    loop.add_signal_handler(signal.SIGHUP, reload)
    return reload
