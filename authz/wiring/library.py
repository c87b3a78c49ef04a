"""The library: the same answer in the process, without any server."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from os import PathLike
from pathlib import Path

from authz.core.body import declares_body
from authz.core.enforce import Response
from authz.core.errors import AuthzError, Reason, RequestRefused
from authz.core.model import BodyState, Headers, Outcome, Peer, Request
from authz.core.ports import RecordSink
from authz.core.request import canonical_request
from authz.wiring.assembly import assemble
from authz.wiring.runtime import Runtime, running
from authz.wiring.sinks import record_sinks

DOOR = "library"
_OURSELVES = Peer(trusted=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpRequest:
    """A request as an application has it: nothing about it is canonical yet."""

    method: str
    url: str
    """Absolute (`https://host/path?query`), or a path with query if `headers` has the host."""
    headers: Mapping[str, str] | Iterable[tuple[str, str]] = field(default_factory=dict, repr=False)
    source_address: str | None = None
    """The client's IP address, as the application knows it."""
    body: bytes | None = field(default=None, repr=False)
    """Whole. None: there is none; where the headers say otherwise, a route that reads bodies refuses the request."""


class Connection:
    """A running authorizer in this process. Made by `connect`."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime

    async def check(self, request: HttpRequest | Request) -> Outcome:
        """The outcome for a request, recorded like any other. Does not raise for what a client sends."""
        service = self._runtime.service
        if isinstance(request, Request):
            return await service.check(request, door=DOOR)
        decision_id = service.new_id()
        try:
            canonical = self._canonical(request, decision_id)
        except AuthzError as error:
            return service.refuse(error, id=decision_id, door=DOOR)
        return await service.check(canonical, door=DOOR)

    async def respond(self, request: HttpRequest) -> Response:
        """The answer that a door would give: status, headers and body."""
        service = self._runtime.service
        decision_id = service.new_id()
        try:
            canonical = self._canonical(request, decision_id)
            outcome = await service.check(canonical, door=DOOR)
        except AuthzError as error:
            outcome = service.refuse(error, id=decision_id, door=DOOR)
            return service.respond(outcome, decision_id)
        return service.respond(outcome, decision_id, canonical)

    def request(self, request: HttpRequest) -> Request:
        """The canonical form, for those who check it several times.

        Raises:
            AuthzError: it cannot be read in one way only.
        """
        return self._canonical(request, self._runtime.service.new_id())

    async def reload(self) -> bool:
        """Reads the configuration anew; False: it was rejected, and the last good one goes on."""
        return await self._runtime.reread()

    def _canonical(self, request: HttpRequest, decision_id: str) -> Request:
        fields = request.headers.items() if isinstance(request.headers, Mapping) else request.headers
        headers = Headers(fields)
        scheme, host, target = _split(request.url, headers)
        return canonical_request(
            id=decision_id,
            method=request.method,
            scheme=scheme,
            host=host,
            target=target,
            headers=headers,
            peer=_OURSELVES,
            source_address=request.source_address,
            external_id=headers.get("x-request-id"),
            body=request.body,
            body_state=_body_state(request.body, headers),
            rules=self._runtime.service.path_rules,
        )


def _body_state(body: bytes | None, headers: Headers) -> BodyState:
    if body is None:
        return BodyState.WITHHELD if declares_body(headers) else BodyState.WHOLE
    length = headers.get("content-length")
    return BodyState.WHOLE if length in {None, str(len(body))} else BodyState.PARTIAL


def _split(url: str, headers: Headers) -> tuple[str, str, str]:
    """(scheme, host, target). By hand: `urlsplit` reads `//a/b` as host `a` (CVE-2026-26205)."""
    if url.startswith("/"):
        host = headers.get("host")
        if host is None:
            raise RequestRefused(Reason.BAD_HOST, "a path without a host; give an absolute url or a `host` header")
        return "https", host, url
    scheme, separator, rest = url.partition("://")
    if not separator:
        raise RequestRefused(Reason.BAD_PATH, "expected an absolute url or a path")
    cut = min((rest.index(mark) for mark in "/?#" if mark in rest), default=len(rest))
    host, target = rest[:cut], rest[cut:]
    return scheme, host, target if target.startswith("/") else f"/{target}"


@asynccontextmanager
async def connect(
    config: str | PathLike[str], *, watch: bool = True, sinks: Iterable[RecordSink] | None = None
) -> AsyncIterator[Connection]:
    """Starts an authorizer in this process, by the same file that `authz serve` takes.

    Args:
        config: the configuration file; its listeners are passed over.
        watch: reload when files change.
        sinks: where records go, instead of where the configuration says.

    Raises:
        Misconfigured: every problem of configuration, routes, schema, policies and entities.
    """
    assembly = (await asyncio.to_thread(assemble, Path(config), serves=True)).required()
    async with AsyncExitStack() as stack:
        runtime = await stack.enter_async_context(running(assembly, watching=watch))
        if sinks is None:
            runtime.service.sinks = await stack.enter_async_context(record_sinks(assembly.config))
        else:
            runtime.service.sinks = tuple(sinks)
        yield Connection(runtime)
