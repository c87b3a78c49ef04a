"""What an HTTP host carries: one application, and its answers. Hosts read and write bytes, applications decide."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from typing import NamedTuple, Protocol, TypeAlias

from authz.core.model import Peer


class Answer(NamedTuple):
    """A whole answer. The host adds what belongs to the connection: framing, `Connection`, `Date`."""

    status: int
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = b""


BodyReader: TypeAlias = Callable[[int], Awaitable[bytes]]
"""Reads the whole body, of at most so many bytes. Called at most once; what is not read is the host's to clear away.

Raises:
    RequestRefused: `too_large`: it is longer, or says it is; `bad_body`: it ended before its end, or cannot be read.
"""


class HttpApp(Protocol):
    """An application that any HTTP host can carry. The body of a request is read only if the application asks."""

    async def answer(
        self, method: str, target: str, headers: Iterable[tuple[str, str]], peer: Peer, body: BodyReader
    ) -> Answer:
        """The answer to a request.

        Args:
            method: as received.
            target: the raw request target, as received: never parsed and put together again.
            headers: every field in the order received, repeated ones too; bytes that are not UTF-8 as lone
                surrogates (PEP 383).
            peer: who is at the other end of the connection.
            body: reads the request's body. Who awaits it sets the time for it.
        """

    def malformed(self, *, too_large: bool) -> Answer:
        """The answer to bytes that are no HTTP request, or to more of them than the host's limits allow."""


INTERNAL = Answer(
    500,
    (("content-type", "application/problem+json"), ("cache-control", "no-store")),
    b'{"type":"urn:authz:reason:internal","title":"The authorization service failed","status":500,"reason":"internal"}',
)
"""What a host answers where even the application failed."""
