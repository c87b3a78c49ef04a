"""The admin endpoint: `/livez`, `/readyz`, `/metrics`. An application for an HTTP host of its own address.

It answers whoever asks, so its address is to be kept away from clients. What it says holds no credential and
no request's data.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Awaitable, Callable, Iterable, Mapping
from inspect import isawaitable
from typing import TypeAlias

from authz.core.model import Peer
from authz.servers.http_app import INTERNAL, Answer, BodyReader

Checks: TypeAlias = Callable[[], Mapping[str, tuple[bool, str]]]
"""Name of each check → does it hold, and a word for the operator. Cheap: it is asked at each probe."""
Exposition: TypeAlias = tuple[bytes, str]
"""The text, and its content type."""
Metrics: TypeAlias = Callable[[str], Exposition | Awaitable[Exposition]]
"""The request's Accept header → the exposition, at once or when it is there."""

_TEXT = "text/plain; charset=utf-8"
_JSON = "application/json"
_NOT_LISTED = b"this listener answers only the certificates that its `clients` lists\n"
_NOT_FOUND = b"not found; there are /livez, /readyz and /metrics\n"


class AdminApp:
    """Liveness, readiness and metrics, for GET and HEAD; anything else is not found.

    Args:
        checks: what is looked at for readiness.
        metrics: what a scrape gets.
        enough: whether it may be ready when not all checks hold. Default: never.
    """

    def __init__(self, *, checks: Checks, metrics: Metrics, enough: Callable[[], bool] | None = None) -> None:
        self._checks = checks
        self._metrics = metrics
        self._enough = enough
        self._draining = False

    def drain(self) -> None:
        """Not ready from now on: the first step of a stop, so that no new requests are sent here."""
        self._draining = True

    async def answer(
        self, method: str, target: str, headers: Iterable[tuple[str, str]], peer: Peer, body: BodyReader
    ) -> Answer:
        """The answer to a probe or a scrape."""
        if not peer.trusted:
            return _answer(403, _NOT_LISTED)
        if method not in {"GET", "HEAD"}:
            return _answer(404, _NOT_FOUND)
        match target.partition("?")[0]:
            case "/livez":
                return _answer(200, b"ok\n")
            case "/readyz":
                return self._ready()
            case "/metrics":
                return await self._scrape(headers)
            case _:
                return _answer(404, _NOT_FOUND)

    def malformed(self, *, too_large: bool) -> Answer:
        """The answer to what is no HTTP request."""
        return _answer(400, b"bad request\n")

    def _ready(self) -> Answer:
        try:
            checks = dict(self._checks())
        except Exception as error:  # noqa: BLE001 - a check that cannot be made does not hold
            checks = {"checks": (False, f"unexpected {type(error).__name__}")}
        if self._draining:
            checks["draining"] = (False, "the process is stopping")
        ready = all(holds for holds, _ in checks.values())
        if not ready and not self._draining and self._enough is not None:
            ready = self._enough()
        document = {
            "ready": ready,
            "checks": {name: {"ok": holds, "detail": detail} for name, (holds, detail) in checks.items()},
        }
        return _answer(200 if ready else 503, json.dumps(document).encode() + b"\n", _JSON)

    async def _scrape(self, headers: Iterable[tuple[str, str]]) -> Answer:
        accept = ", ".join(value for name, value in headers if name.lower() == "accept")
        try:
            told = self._metrics(accept)
            body, content_type = await told if isawaitable(told) else told
        except Exception as error:  # noqa: BLE001 - nothing raises out of a door
            # Not the traceback: no door writes one.
            logging.getLogger(__name__).error(  # noqa: TRY400
                "unexpected %s in the metrics", type(error).__name__
            )
            return INTERNAL
        return _answer(200, body, content_type)


def _answer(status: int, body: bytes, content_type: str = _TEXT) -> Answer:
    return Answer(status, (("content-type", content_type), ("cache-control", "no-store")), body)
