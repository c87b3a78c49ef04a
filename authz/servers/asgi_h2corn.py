"""h2corn as the server of one listener, inside our own event loop. The only place that knows h2corn.

Not `h2corn.Server`: its `serve` writes a banner to standard error, tells systemd of its own starts and stops, and
takes a TLS key by path, where something else may lie by now than what was checked. Below it lies one function that
does none of this, though h2corn does not promise to keep it: so the version is pinned, and tests hold every use.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Awaitable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from h2corn import Config, RequestPolicy
from h2corn._lib import prepare_tls, serve_fds
from h2corn._lifespan import PreparedApplication
from h2corn._server import TlsMaterial

from authz.core.errors import Misconfigured, Problem
from authz.servers.asgi_app import AsgiApp
from authz.servers.asgi_sockets import Bound
from authz.servers.http_limits import HttpLimits
from authz.servers.listeners import TcpListener
from authz.servers.tls import Certificates
from authz.servers.tls import TlsMaterial as Checked

if TYPE_CHECKING:
    from h2corn._lib import _PreparedTls

# A drain is cut off by our own clock, which is asked for when it begins; h2corn's would have to be set at the start.
_NEVER: Final = 86_400.0
_STREAMS = 1024
"""HTTP/2 calls at once on a connection. As many as are checked at once: more would only wait."""
_STREAM_WINDOW, _CONNECTION_WINDOW = 65_535, 1_048_576
"""Bytes that a client may send ahead. All of it is memory that any client can have."""
_UNANSWERED = 60.0
"""Seconds after which a client that does not take its answers is cut off (HTTP/2)."""
_AGAIN = 0.05
_NO_FILE = Path("/dev/null")
_LOGGER = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Generation:
    """One run of h2corn on the listener's sockets."""

    stop: asyncio.Future[str]
    """Set it to begin the drain."""
    hush: int
    """A pipe: a byte in it ends the accepting, without a turn of the loop."""
    done: asyncio.Future[None]
    """It has released everything."""


class Serving:
    """Serves one listener until it is told to drain. `start` may be called once."""

    def __init__(self, app: AsgiApp, bound: Bound, limits: HttpLimits) -> None:
        self._app = app
        self._bound = bound
        self._limits = limits
        self._tls = bound.listener.tls if isinstance(bound.listener, TcpListener) else None
        self._now: _Generation | None = None
        self._all: set[_Generation] = set()
        self._stopping = False
        self._changing = asyncio.Lock()
        self._restarts: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Accepts connections from now on.

        Raises:
            Misconfigured: h2corn refuses the certificate, or cannot keep to the least version of TLS.
        """
        self._now = await self._begin()
        if self._tls is not None:
            self._tls.subscribe(self._renew)

    def drain(self) -> None:
        """Accepts no more, closes what is idle, answers what is in flight."""
        self._stopping = True
        for generation in self._all:
            _stop(generation)

    async def drained(self) -> None:
        """Returns when every connection has ended."""
        for task in self._restarts:
            task.cancel()
        await asyncio.gather(*self._restarts, *(one.done for one in self._all), return_exceptions=True)

    async def _begin(self) -> _Generation:
        loop = asyncio.get_running_loop()
        material = self._tls.material if self._tls is not None else None
        config = _config(self._app, self._limits, self._bound, material)
        tls = await asyncio.to_thread(_prepared, config, material, self._tls)
        prepared = PreparedApplication(self._app, False, "off")
        await prepared.startup(required=False)
        ready: asyncio.Future[None] = loop.create_future()
        stop: asyncio.Future[str] = loop.create_future()
        heard, hush = os.pipe()
        os.set_blocking(hush, False)

        def started(error: BaseException | None = None) -> None:
            if ready.done():
                return
            if error is None:
                ready.set_result(None)
            else:
                ready.set_exception(error)

        sockets = [one.fileno() for one in self._bound.sockets]
        try:
            serving = serve_fds(prepared, sockets, config, stop, None, started, heard, prepared_tls=tls)
        except BaseException:
            os.close(hush)
            raise
        finally:
            os.close(heard)  # h2corn has its own copy
        done = loop.create_task(_until(serving), name="authz-h2corn")
        generation = _Generation(stop=stop, hush=hush, done=done)
        self._all.add(generation)
        done.add_done_callback(lambda _: self._ended(generation))
        await asyncio.wait((ready, done), return_when=asyncio.FIRST_COMPLETED)
        try:
            await (ready if ready.done() else done)
            why = "it ended at once" if not ready.done() else ""
        except (OSError, ValueError, RuntimeError) as error:
            why = str(error)
        if why:
            raise Misconfigured((Problem(message=f"h2corn cannot serve on `{self._bound.address}`: {why}"),))
        return generation

    async def _renew(self) -> None:
        """Shows a new certificate: a second run beside the first, which then drains."""
        async with self._changing:
            if self._stopping:
                return
            try:
                before, self._now = self._now, await self._begin()
            except Misconfigured as error:
                # By then the bytes are found good, and only h2corn minds.
                _LOGGER.error("a new certificate was refused, the one before goes on: %s", error)  # noqa: TRY400
                return
            if before is not None:
                _stop(before)

    def _ended(self, generation: _Generation) -> None:
        self._all.discard(generation)
        os.close(generation.hush)
        if generation.done.cancelled():
            return  # the loop is being closed
        error = generation.done.exception()
        if generation is not self._now or self._stopping:
            return
        # Nothing is known that makes it end by itself. But then every check would fail.
        why = type(error).__name__ if error is not None else "no error"
        _LOGGER.error("h2corn ended by itself (%s); serving anew on %s", why, self._bound.address)
        task = asyncio.get_running_loop().create_task(self._again(), name="authz-h2corn-again")
        self._restarts.add(task)
        task.add_done_callback(self._restarts.discard)

    async def _again(self) -> None:
        while not self._stopping:
            try:
                self._now = await self._begin()
            except Exception as error:  # noqa: BLE001 - whatever it is, not to serve is worse
                _LOGGER.error("%s: %s", type(error).__name__, error)  # noqa: TRY400 - nothing of a request in it
                await asyncio.sleep(_AGAIN)
            else:
                return


async def _until(serving: Awaitable[None]) -> None:
    # h2corn's own future is no task, nor is it quite a future.
    await serving


def _stop(generation: _Generation) -> None:
    if not generation.stop.done():
        generation.stop.set_result("stop")
        os.write(generation.hush, b"S")


def _config(app: AsgiApp, limits: HttpLimits, bound: Bound, tls: Checked | None) -> Config:
    head = limits.line_bytes + 4 * limits.field_bytes
    # HTTP/1.1: h2corn's time for a header also runs between two requests, and would end connections that proxies
    # keep. So there it is the idle time; `AsgiHost` ends those connections that nobody trusts.
    header_timeout = limits.idle_timeout if app.http is not None else limits.header_timeout
    authority = tls is not None and tls.client_ca is not None
    return Config(
        bind=tuple(f"fd://{one.fileno()}" for one in bound.sockets),
        lifespan="off",
        access_log=False,
        runtime_threads=1,
        http1=app.http is not None,
        grpc=app.grpc is not None,
        date_header=app.http is not None,
        # Never opened: the bytes go to `prepare_tls`.
        certfile=_NO_FILE if tls is not None else None,
        keyfile=_NO_FILE if tls is not None else None,
        ca_certs=_NO_FILE if authority else None,
        cert_reqs="required" if authority else "none",
        limit_connections=limits.connections,
        limit_request_line=limits.line_bytes + 32,  # method and version too
        limit_request_field_size=limits.field_bytes,
        limit_request_fields=limits.fields,
        limit_request_head_size=head,
        h2_max_header_list_size=head,
        h2_max_header_block_size=head,
        max_concurrent_streams=_STREAMS,
        h2_initial_stream_window_size=_STREAM_WINDOW,
        h2_initial_connection_window_size=_CONNECTION_WINDOW,
        max_request_body_size=0,  # a body is not kept, but read by whoever asks for it, within a limit of his
        timeout_handshake=limits.header_timeout,
        timeout_request_header=header_timeout,
        timeout_keep_alive=limits.idle_timeout,
        timeout_request_body_idle=limits.header_timeout,
        h2_timeout_response_stall=_UNANSWERED,
        h2_timeout_write=_UNANSWERED,
        timeout_graceful_shutdown=_NEVER,
        # Else native gRPC would be exempt from the times above.
        request_policies=(
            RequestPolicy(
                path="/*",
                max_request_body_size=0,
                timeout_request_body_idle=limits.header_timeout,
                h2_timeout_response_stall=_UNANSWERED,
            ),
        ),
    )


def _prepared(config: Config, material: Checked | None, certificates: Certificates | None) -> _PreparedTls:
    if material is None or certificates is None:
        return prepare_tls(config, None)
    if material.minimum != "1.2":
        message = 'h2corn takes TLS 1.2 and newer, always; leave `minimum` at "1.2", or carry HTTP on aiohttp'
        raise Misconfigured((Problem(message=message),))
    pem = TlsMaterial(certificate=material.certificate, private_key=material.key, client_ca=material.client_ca)
    try:
        return prepare_tls(config, pem)
    except (OSError, ValueError) as error:
        message = f"h2corn does not take this certificate and key: {certificates.files.certificate}: {error}"
        raise Misconfigured((Problem(message=message),)) from None
