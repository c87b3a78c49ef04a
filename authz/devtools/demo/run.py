"""Puts the demo together, waits for Ctrl-C or runs the check, and takes it apart again."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path

from aiohttp import ClientError, ClientSession, ClientTimeout, DummyCookieJar

from authz.devtools.demo import scenario, store
from authz.devtools.demo.check import Check
from authz.devtools.demo.envoy import EnvoyChild, find_envoy
from authz.devtools.demo.folder import DemoFolder, Ports
from authz.devtools.demo.issuer import DemoIssuer, SigningKeys
from authz.devtools.demo.processes import Child, DemoError, free_port, is_free, while_running
from authz.devtools.demo.screen import Style, introduction, style_for, table
from authz.devtools.demo.service import loopback_socket, service_application, serving

OK, FAILED, INTERRUPTED = 0, 1, 130
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What was asked for on the command line."""

    check: bool = False
    envoy: str | None = None
    grpc: bool = False
    port: int = 0
    keep: bool = False
    within: float = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Demo:
    """A running demo."""

    folder: DemoFolder
    session: ClientSession
    children: tuple[Child, ...]
    tokens: Mapping[str, str]
    port: int
    """Where Envoy listens."""


def run(options: Options) -> int:
    """The demo from start to end, with its exit code."""
    os.environ.update(store.ENVIRONMENT)  # for what is begun here, and for the library that the check asks
    try:
        with _folder(keep=options.keep) as folder:
            return asyncio.run(_run(options, folder))
    except DemoError as error:
        print(f"authz demo: {error}", file=sys.stderr)
        return FAILED


@contextmanager
def _folder(*, keep: bool) -> Iterator[DemoFolder]:
    path = Path(tempfile.mkdtemp(prefix="authz-demo-"))
    try:
        yield DemoFolder(path=path)
    finally:
        if keep:
            print(f"kept: {path}")
        else:
            shutil.rmtree(path, ignore_errors=True)


async def _run(options: Options, folder: DemoFolder) -> int:
    """Ends in order on Ctrl-C, SIGTERM and the terminal's end: what was started is ended by its own context."""
    work = asyncio.create_task(_main(options, folder))
    loop = asyncio.get_running_loop()
    for number in _SIGNALS:
        # Once: a second Ctrl-C must not interrupt the taking apart.
        loop.add_signal_handler(number, _cancel_once, work)
    try:
        return await work
    except asyncio.CancelledError:
        print()
        return INTERRUPTED if options.check else OK


def _cancel_once(work: asyncio.Task[int]) -> None:
    if not work.cancelling():
        work.cancel()


async def _main(options: Options, folder: DemoFolder) -> int:
    program = find_envoy(options.envoy)
    if options.port and not is_free(options.port):
        raise DemoError(f"port `{options.port}` of {scenario.HOST} is taken; give another `--port`, or none")
    style = style_for()
    print("Starting Envoy, authz, a policy store, an issuer and a sample service ...", flush=True)
    async with _running(options, folder, program) as demo:
        if options.check:
            return await while_running(_check(demo, options, style), demo.children)
        door = "gRPC" if options.grpc else "HTTP"
        print(introduction(folder, demo.port, style, door=door, kept=options.keep), flush=True)
        return await while_running(_follow(demo, style), demo.children)


async def _follow(demo: Demo, style: Style) -> int:
    """Shows what authz logs, such as an edit that it rejects and why."""
    await demo.children[0].follow(lambda line: print(style(line, "dim"), flush=True))
    return OK


async def _check(demo: Demo, options: Options, style: Style) -> int:
    check = Check(session=demo.session, folder=demo.folder, port=demo.port, tokens=demo.tokens, within=options.within)
    rows = await check.run()
    print(table(rows, style))
    failed = sum(not row.ok for row in rows)
    print(style(f"{failed} of {len(rows)} failed", "bold", "red") if failed else f"all {len(rows)} as they must be")
    if failed:
        print(demo.children[0].end_of_log("authz serve answered otherwise"), file=sys.stderr)
    return FAILED if failed else OK


@asynccontextmanager
async def _running(options: Options, folder: DemoFolder, program: Path) -> AsyncIterator[Demo]:
    """Everything started and serving; ended in the opposite order.

    Raises:
        DemoError: something did not start.
    """
    async with AsyncExitStack() as stack:
        session = await stack.enter_async_context(ClientSession(cookie_jar=DummyCookieJar()))
        issuer = await _issuer(stack)
        bound, service = loopback_socket()
        await stack.enter_async_context(serving(service_application(), bound))
        ports = Ports(front=options.port, door=free_port(), admin=free_port(), service=service, store=free_port())
        tokens = folder.fill(issuer, ports, grpc=options.grpc)
        emulator = await stack.enter_async_context(store.emulator(ports.store, folder.log("store")))
        await emulator.until(lambda: _answers(ports.store))
        await store.first_push(folder.policies, ports.store, os.environ)
        authz = await stack.enter_async_context(_authz(folder))
        envoy = EnvoyChild(program, folder.envoy_config, log=folder.log("envoy"), folder=folder.path)
        await stack.enter_async_context(envoy)
        await authz.until(lambda: _is_ready(session, ports))
        port = await envoy.port(session)
        yield Demo(folder=folder, session=session, children=(authz, envoy, emulator), tokens=tokens, port=port)


async def _issuer(stack: AsyncExitStack) -> DemoIssuer:
    keys = await asyncio.to_thread(SigningKeys.generate)
    bound, port = loopback_socket()
    issuer = DemoIssuer(f"http://{scenario.HOST}:{port}", keys)
    await stack.enter_async_context(serving(issuer.application(), bound))
    return issuer


def _authz(folder: DemoFolder) -> Child:
    command: list[str | Path] = [sys.executable, "-m", "authz", "serve", "--config", folder.settings]
    return Child("authz serve", command, log=folder.log("authz"), folder=store.ROOT)


async def _is_ready(session: ClientSession, ports: Ports) -> bool:
    try:
        address = f"http://{scenario.HOST}:{ports.admin}/readyz"
        async with session.get(address, timeout=ClientTimeout(total=5)) as response:
            if response.status != 200:
                return False
    except (ClientError, OSError, TimeoutError):  # not there yet
        return False
    # The admin listener may be up before the door is.
    return await _answers(ports.door)


async def _answers(port: int) -> bool:
    try:
        _, writer = await asyncio.open_connection(scenario.HOST, port)
        writer.close()
        await writer.wait_closed()
    except OSError:  # not there yet
        return False
    return True
