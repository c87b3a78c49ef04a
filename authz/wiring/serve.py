"""`authz serve`: from a file to a running process, and back down in order.

Up: everything is read and checked, then listeners open; half a start does not happen. Down, on SIGTERM or
SIGINT: readiness first, then what is in flight, then the log. SIGHUP reads everything anew and reopens the log.
"""

from __future__ import annotations

import asyncio
import gc
import signal
import time
from collections.abc import Callable
from contextlib import AsyncExitStack
from pathlib import Path

import structlog

from authz.config.load import Config
from authz.core.errors import Misconfigured
from authz.observe.log import configure
from authz.wiring.assembly import Assembly, assemble
from authz.wiring.hosts import Host, admin_host, grpc_hosts, http_host
from authz.wiring.runtime import Runtime, running
from authz.wiring.sinks import Sinks, all_sinks

_log = structlog.get_logger("authz.serve")


def serve(file: Path) -> int:
    """Serves until a signal ends it.

    Raises:
        Misconfigured: what is configured cannot be run; every problem. Nothing listens then.
    """
    begun = time.perf_counter()
    # Until there is something to read anew a hang-up would end the process.
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    assembly = assemble(file).required()
    configure(level=assembly.config.shape.log.level, form=assembly.config.shape.log.format)
    _check_listeners(assembly.config)
    for warning in assembly.warnings:
        _log.warning("configuration", file=warning.file, line=warning.line, problem=warning.message)
    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        runner.run(_serve(assembly, begun))
    return 0


def _check_listeners(config: Config) -> None:
    listeners = config.shape.listeners
    if not listeners.http and not listeners.grpc:
        message = "`serve` needs a listener: give `listeners.http` or `listeners.grpc` an address"
        raise Misconfigured((config.problem(("listeners",), message),))


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    try:
        import uvloop
    except ImportError:
        return None
    return uvloop.new_event_loop


async def _serve(assembly: Assembly, begun: float) -> None:
    stop = asyncio.Event()
    config = assembly.config
    async with AsyncExitStack() as stack:
        runtime = await stack.enter_async_context(running(assembly))
        sinks = await stack.enter_async_context(all_sinks(config, runtime))
        runtime.service.sinks = sinks.sinks
        admin, admin_listener = admin_host(config, checks=runtime.readiness, metrics=sinks.metrics.render)
        grpc = grpc_hosts(config, runtime.service)
        doors: list[Host] = [host for host in (http_host(config, runtime.service), *grpc) if host is not None]
        _on_signals(stop, runtime, sinks)
        for door in doors:
            await door.start()
            stack.push_async_callback(door.stop, 0.0)
        if admin_listener is not None:  # last: whoever can ask whether we are ready finds every door open
            await admin_listener.start()
            stack.push_async_callback(admin_listener.stop, 1.0)
        gc.collect()
        gc.freeze()  # what was built at the start lives long: keep it out of every later collection
        _log.info("serving", seconds=round(time.perf_counter() - begun, 3), **_addresses(config))
        await stop.wait()
        _log.info("draining", seconds=config.shape.limits.drain)
        admin.drain()
        for host in grpc:
            host.set_serving(serving=False)
        await asyncio.sleep(config.shape.limits.drain_delay)
        await asyncio.gather(*(door.stop(config.shape.limits.drain) for door in doors))
    _log.info("stopped")


def _addresses(config: Config) -> dict[str, str]:
    listeners = config.shape.listeners
    named = {"http": listeners.http, "grpc": listeners.grpc, "admin": listeners.admin}
    return {name: ", ".join(str(one.address) for one in found) for name, found in named.items() if found}


def _on_signals(stop: asyncio.Event, runtime: Runtime, sinks: Sinks) -> None:
    loop = asyncio.get_running_loop()
    tasks: set[asyncio.Task[bool]] = set()

    def reload() -> None:
        sinks.reopen()
        if len(tasks) > 1:
            return  # one reads, the other waits, and will read all there is by then
        task = loop.create_task(runtime.reload())
        tasks.add(task)
        task.add_done_callback(tasks.discard)

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    loop.add_signal_handler(signal.SIGHUP, reload)
