"""HTTP/2 by hand, for what no client library sends: preface, frames, literal header fields (RFC 9113, 7541)."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass
from pathlib import Path

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, SETTINGS, PING, GOAWAY = 0, 1, 4, 6, 7
END_STREAM, ACK, END_HEADERS = 1, 1, 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Frame:
    kind: int
    flags: int
    stream: int
    payload: bytes


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    return len(payload).to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big") + payload


def header(name: bytes, value: bytes) -> bytes:
    return b"\x00" + bytes([len(name)]) + name + bytes([len(value)]) + value


def call(stream: int, path: bytes) -> bytes:
    """A gRPC call of `path` with an empty message."""
    fields = (
        (b":method", b"POST"),
        (b":scheme", b"http"),
        (b":path", path),
        (b":authority", b"x"),
        (b"te", b"trailers"),
        (b"content-type", b"application/grpc"),
    )
    block = b"".join(header(name, value) for name, value in fields)
    return frame(HEADERS, END_HEADERS, stream, block) + frame(DATA, END_STREAM, stream, bytes(5))


class Connection:
    """Open until closed; `receive` gives frame after frame, None at the end."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    @classmethod
    async def open(cls, address: int | Path) -> Connection:
        if isinstance(address, int):
            reader, writer = await asyncio.open_connection("127.0.0.1", address)
        else:
            reader, writer = await asyncio.open_unix_connection(address)
        connection = cls(reader, writer)
        await connection.send(PREFACE + frame(SETTINGS, 0, 0))
        return connection

    async def send(self, data: bytes) -> None:
        self._writer.write(data)
        await self._writer.drain()

    async def receive(self) -> Frame | None:
        try:
            head = await self._reader.readexactly(9)
            payload = await self._reader.readexactly(int.from_bytes(head[:3], "big"))
        except (asyncio.IncompleteReadError, ConnectionError):
            return None
        return Frame(kind=head[3], flags=head[4], stream=int.from_bytes(head[5:9], "big"), payload=payload)

    async def receive_until(self, kind: int, flags: int = 0, within: float = 20.0) -> Frame | None:
        """The next frame of a kind with these flags; None: the connection ended without one."""
        async with asyncio.timeout(within):
            while (received := await self.receive()) is not None:
                if received.kind == kind and received.flags & flags == flags:
                    return received
        return None

    async def close(self) -> None:
        self._writer.close()
        with contextlib.suppress(ConnectionError):
            await self._writer.wait_closed()
