"""An HTTP/2 client on the `h2` package that sends what it is told to, and reads answers by frames."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Self

import h2.config
import h2.connection
import h2.errors
import h2.events
import h2.exceptions

from tests.servers.raw_http import WITHIN

Pairs = list[tuple[bytes, bytes]]
GRPC: Pairs = [(b"content-type", b"application/grpc"), (b"te", b"trailers")]


@dataclass(slots=True)
class Answer:
    """What came on one stream, and how it ended."""

    headers: Pairs = field(default_factory=list)
    data: bytes = b""
    trailers: Pairs = field(default_factory=list)
    ended: bool = False
    reset: int | None = None

    @property
    def status(self) -> int:
        return int(self.named(b":status") or 0)

    @property
    def grpc_status(self) -> int | None:
        """None: none came."""
        found = self.named(b"grpc-status")
        return int(found) if found is not None else None

    @property
    def message(self) -> bytes:
        """The one gRPC message."""
        assert self.data[:1] == b"\x00"
        assert len(self.data) == 5 + int.from_bytes(self.data[1:5], "big")
        return self.data[5:]

    def named(self, name: bytes) -> bytes | None:
        return next((value for key, value in [*self.trailers, *self.headers] if key == name), None)


class H2Client:
    """One connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self.writer = writer
        config = h2.config.H2Configuration(
            header_encoding=None,
            validate_outbound_headers=False,
            normalize_outbound_headers=False,
            normalize_inbound_headers=False,
        )
        self.h2 = h2.connection.H2Connection(config)
        self.answers: dict[int, Answer] = {}
        self.closed = False
        self.goodbye: h2.events.ConnectionTerminated | None = None
        self.opens_windows = True

    @classmethod
    async def connect(cls, address: str, tls: ssl.SSLContext | None = None) -> Self:
        if address.startswith("unix:"):
            client = cls(*await asyncio.open_unix_connection(address.removeprefix("unix:")))
        else:
            host, _, port = address.rpartition(":")
            name = "localhost" if tls is not None else None
            client = cls(*await asyncio.open_connection(host.strip("[]"), int(port), ssl=tls, server_hostname=name))
        client.h2.initiate_connection()
        client.flush()
        return client

    def flush(self) -> None:
        self.writer.write(self.h2.data_to_send())

    def ask(
        self,
        path: bytes = b"/a",
        *fields: tuple[bytes, bytes],
        method: bytes = b"GET",
        authority: bytes | None = b"app.example",
        body: bytes | None = None,
        end: bool = True,
    ) -> int:
        """Begins a stream; its number."""
        stream = self.h2.get_next_available_stream_id()
        headers = [(b":method", method), (b":scheme", b"http"), (b":path", path)]
        if authority is not None:
            headers.append((b":authority", authority))
        self.h2.send_headers(stream, [*headers, *fields], end_stream=body is None and end)
        if body is not None:
            self.h2.send_data(stream, body, end_stream=end)
        self.answers[stream] = Answer()
        self.flush()
        return stream

    def call(self, path: str, body: bytes, *fields: tuple[bytes, bytes], end: bool = True) -> int:
        """Begins a gRPC call with a body as it is."""
        return self.ask(path.encode(), *(fields or GRPC), method=b"POST", body=body, end=end)

    async def answer(self, stream: int) -> Answer:
        """The whole answer, or what came of it until the stream or the connection ended."""
        answer = self.answers[stream]
        await self.read_until(lambda: answer.ended or answer.reset is not None)
        return answer

    async def read_until(self, condition) -> None:
        async with asyncio.timeout(WITHIN):
            while not condition() and not self.closed:
                try:
                    data = await self._reader.read(65_536)
                except ConnectionError:
                    data = b""
                if not data:
                    self.closed = True
                    return
                self._receive(data)

    def _receive(self, data: bytes) -> None:
        try:
            events = self.h2.receive_data(data)
        except h2.exceptions.ProtocolError:  # what follows a GOAWAY is beyond the package
            return
        self._note(events)
        self.flush()

    def _note(self, events: Iterable[h2.events.Event]) -> None:
        for event in events:
            stream = getattr(event, "stream_id", None)
            answer = self.answers.get(stream, Answer()) if stream else Answer()
            if isinstance(event, h2.events.ResponseReceived):
                answer.headers = list(event.headers)
            elif isinstance(event, h2.events.DataReceived):
                answer.data += event.data
                if self.opens_windows:
                    self.h2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
            elif isinstance(event, h2.events.TrailersReceived):
                answer.trailers = list(event.headers)
            elif isinstance(event, h2.events.StreamEnded):
                answer.ended = True
            elif isinstance(event, h2.events.StreamReset):
                answer.reset = int(event.error_code)
            elif isinstance(event, h2.events.ConnectionTerminated):
                self.goodbye = event

    async def ended(self) -> None:
        """Returns when the server has closed."""
        await self.read_until(lambda: False)

    async def close(self) -> None:
        self.writer.close()
        with contextlib.suppress(ConnectionError, ssl.SSLError):
            await self.writer.wait_closed()


def framed(message: bytes, flag: int = 0) -> bytes:
    """One gRPC message on the wire."""
    return bytes([flag]) + len(message).to_bytes(4, "big") + message
