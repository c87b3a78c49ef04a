"""The HTTP application: `POST /` of awsJson1_0, and the control path."""

from __future__ import annotations

import asyncio
import json
import logging
import uuid
from collections.abc import Mapping
from typing import Any

from aiohttp import web

from authz.core.strict_json import MAX_NESTING, NotStrictJson, json_object
from authz.emulator.errors import (
    AccessDenied,
    EmulatorError,
    ExpiredToken,
    InternalServer,
    MissingAuthenticationToken,
    Serialization,
    Throttling,
    UnknownOperation,
    ValidationError,
)
from authz.emulator.operations.table import HANDLERS
from authz.emulator.quota import Quota
from authz.emulator.services import Services
from authz.emulator.shapes import check
from authz.emulator.switches import Fault, FaultKind
from authz.pdp.engine import is_panic

MAX_BODY = 1_048_576
"""Bytes of one request (user guide, "Quotas": 1 MB)."""
TARGET = "VerifiedPermissions."
CONTENT_TYPE = "application/x-amz-json-1.0"
CONTROL = "/_emulator/switches"
TICK = "/_emulator/tick"
_VARY = "origin, access-control-request-method, access-control-request-headers"
_GARBAGE = b"<html><body>502 Bad Gateway</body></html>"
_SERVICES = web.AppKey("services", Services)
_QUOTA = web.AppKey("quota", Quota)


def application(services: Services) -> web.Application:
    """The emulator as an aiohttp application."""
    app = web.Application(client_max_size=MAX_BODY)
    app[_SERVICES] = services
    app[_QUOTA] = Quota(services.clock)
    if services.settings.control:
        app.router.add_get(CONTROL, _show_switches, allow_head=False)
        app.router.add_put(CONTROL, _set_switches)
        app.router.add_post(TICK, _tick)
    app.router.add_route("*", "/{path:.*}", _operation)
    return app


async def _operation(request: web.Request) -> web.StreamResponse:
    faults: tuple[Fault, ...] = ()
    status, body = 200, dict[str, Any]()
    try:
        operation = _named(request)
        services = request.app[_SERVICES]
        services.switches.calls[operation] += 1
        faults = services.switches.due(operation)
        if await _met(faults):
            return await _gone(request)
        body = await _answered(request, operation)
    except EmulatorError as error:
        status, body = error.status, error.body()
    except web.HTTPRequestEntityTooLarge:
        refused = ValidationError(message=f"Request is larger than {MAX_BODY} bytes")
        status, body = refused.status, refused.body()
    except BaseException as error:
        # A fault of ours, or the engine's (whose are no `Exception`), is told as the service tells its own.
        if not isinstance(error, Exception) and not is_panic(error):
            raise
        # The type alone: a message or a traceback could quote a policy or a token.
        logging.getLogger(__name__).error("unexpected %s", type(error).__name__)  # noqa: TRY400
        status, body = 500, InternalServer().body()
    return await _told(request, status, json.dumps(body).encode(), {fault.kind: fault for fault in faults})


def _named(request: web.Request) -> str:
    """The operation that is called."""
    target = request.headers.get("X-Amz-Target", "")
    if request.method != "POST" or request.path != "/" or not target:
        raise UnknownOperation(f"expected POST / with X-Amz-Target: {TARGET}<Operation>")
    operation = target.removeprefix(TARGET)
    if not target.startswith(TARGET) or operation not in HANDLERS:
        raise UnknownOperation("the operation that X-Amz-Target names is unknown")
    if request.content_type != CONTENT_TYPE:
        raise Serialization(f"expected Content-Type: {CONTENT_TYPE}")
    if request.app[_SERVICES].settings.require_signature and not request.headers.get("Authorization"):
        raise MissingAuthenticationToken
    return operation


async def _met(faults: tuple[Fault, ...]) -> bool:
    """Waits, or refuses, as the faults say. Is the connection to be ended?"""
    for fault in faults:
        match fault.kind:
            case FaultKind.LATENCY:
                await asyncio.sleep(fault.seconds)
            case FaultKind.DROP:
                return True
            case FaultKind.THROTTLE:
                raise Throttling
            case FaultKind.EXPIRED:
                raise ExpiredToken
            case FaultKind.DENIED:
                raise AccessDenied("User is not authorized to perform this operation")
            case FaultKind.ERROR:
                raise InternalServer(status=fault.status)
    return False


async def _answered(request: web.Request, operation: str) -> dict[str, Any]:
    services = request.app[_SERVICES]
    given = check(operation, _read(await request.read()))
    if services.switches.quota == "real":
        request.app[_QUOTA].take(operation, _store_of(services, given))
    return await HANDLERS[operation](services, given)


def _store_of(services: Services, given: Mapping[str, Any]) -> str:
    reference = given.get("policyStoreId")
    if reference is None and "requests" in given:
        reference = given["requests"][0].get("policyStoreId")
    if not isinstance(reference, str):
        return ""
    try:
        return services.state.store(reference).id
    except EmulatorError:
        return reference


def _read(data: bytes) -> dict[str, Any]:
    try:
        given = json_object(data)
        # Half of a surrogate pair is JSON, but no text that could be kept or sent on.
        json.dumps(given, ensure_ascii=False).encode()
    except NotStrictJson as error:
        raise Serialization(f"{error} (at most {MAX_NESTING} levels)") from None
    except UnicodeEncodeError:
        raise Serialization("expected text of whole characters") from None
    return given


async def _told(
    request: web.Request, status: int, body: bytes, faults: Mapping[FaultKind, Fault]
) -> web.StreamResponse:
    if FaultKind.GARBAGE in faults:
        status, body = 200, _GARBAGE
    headers = {"Content-Type": CONTENT_TYPE, "x-amzn-RequestId": str(uuid.uuid4()), "vary": _VARY}
    if FaultKind.TRUNCATE in faults:
        return await _half(request, status, body, headers)
    return web.Response(status=status, body=body, headers=headers)


async def _half(request: web.Request, status: int, body: bytes, headers: Mapping[str, str]) -> web.StreamResponse:
    response = web.StreamResponse(status=status, headers=headers)
    response.content_length = len(body)
    await response.prepare(request)
    await response.write(body[: len(body) // 2])
    return await _gone(request, response)


async def _gone(request: web.Request, response: web.StreamResponse | None = None) -> web.StreamResponse:
    """Ends the connection without another byte."""
    if request.transport is not None:
        request.transport.close()
    return response if response is not None else web.Response()


# --- the control path


async def _show_switches(request: web.Request) -> web.Response:
    return web.json_response(request.app[_SERVICES].switches.shown())


async def _set_switches(request: web.Request) -> web.Response:
    services = request.app[_SERVICES]
    try:
        services.switches.update(json_object(await request.read()))
    except ValueError as error:
        return web.json_response({"message": str(error)}, status=400)
    return web.json_response(services.switches.shown())


async def _tick(request: web.Request) -> web.Response:
    """Sets the emulator's time forward: `{"seconds": 28800}`."""
    try:
        seconds = json_object(await request.read()).get("seconds")
    except NotStrictJson as error:
        return web.json_response({"message": str(error)}, status=400)
    if isinstance(seconds, bool) or not isinstance(seconds, (int, float)) or not 0 <= seconds <= 1e8:
        return web.json_response({"message": "seconds: expected a number from 0 to 100000000"}, status=400)
    clock = request.app[_SERVICES].clock
    clock.advance(seconds)
    return web.json_response({"now": clock.now()})
