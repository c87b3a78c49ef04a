"""The ASGI 3 interface, as far as it is used here. Reference: asgi.readthedocs.io, HTTP and WebSocket, 2.5."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, TypeAlias

from authz.core.model import Peer

Scope: TypeAlias = MutableMapping[str, Any]
Message: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[Message]]
Send: TypeAlias = Callable[[Message], Awaitable[None]]
Asgi: TypeAlias = Callable[[Scope, Receive, Send], Awaitable[None]]

PeerOf: TypeAlias = Callable[[Scope], Peer]
"""Who is at the other end of a request's connection."""

_GONE = 1.0


async def gone() -> None:
    """Waits for the server to end a request whose client has gone away: it does so at once, mostly.

    Neither is an answer sent, nor does the request end without one: h2corn writes a line to standard error for each
    of both, as many as strangers like.
    """
    await asyncio.sleep(_GONE)
