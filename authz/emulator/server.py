"""Runs the emulator on a TCP address."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from aiohttp import web

from authz.emulator.app import application
from authz.emulator.clock import Clock
from authz.emulator.services import EmulatorSettings, Services
from authz.emulator.state import State
from authz.emulator.switches import Switches


@dataclass(frozen=True, slots=True, kw_only=True)
class Running:
    """An emulator that answers."""

    url: str
    switches: Switches
    state: State
    clock: Clock


@asynccontextmanager
async def serving(settings: EmulatorSettings) -> AsyncIterator[Running]:
    """An emulator, for as long as the context lasts.

    Raises:
        UnusableState: the state's file is not ours, or of a newer version.
        OSError: the address cannot be listened on.
    """
    clock, switches = Clock(), Switches(settings.quota)
    state = State(settings.state, clock, lambda: switches.consistency_delay)
    try:
        services = Services(state=state, clock=clock, settings=settings, switches=switches)
        log = logging.getLogger(__name__)
        runner = web.AppRunner(application(services), access_log=None, logger=log, shutdown_timeout=1.0)
        await runner.setup()
        try:
            site = web.TCPSite(runner, settings.host, settings.port)
            await site.start()
            host, port = runner.addresses[0][:2]
            shown = f"[{host}]" if ":" in host else host
            yield Running(url=f"http://{shown}:{port}", switches=switches, state=state, clock=clock)
        finally:
            await runner.cleanup()
            await services.keys.close()
    finally:
        state.close()
