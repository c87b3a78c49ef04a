"""HTTP byte by byte: what a test sends is what arrives, and the answer is read by rules of our own."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import cast

WITHIN = 20.0
"""Seconds that an answer may take on a slow machine. Waiting ends as soon as it is there."""

Fields = tuple[tuple[str, str], ...]
DATA = Path(__file__).parent / "data"


@dataclass(frozen=True, slots=True, kw_only=True)
class Recorded:
    """A proxy's question, from `data/`."""

    method: str
    target: str
    headers: Fields
    body: bytes = b""

    def edited(self, **values: str | None) -> Recorded:
        """With headers set or (None) left out; `x_forwarded_uri` stands for `X-Forwarded-Uri`."""
        changes = {name.replace("_", "-"): value for name, value in values.items()}
        kept = [field for field in self.headers if field[0].lower() not in changes]
        added = [(name, value) for name, value in changes.items() if value is not None]
        return Recorded(method=self.method, target=self.target, headers=(*kept, *added), body=self.body)

    def to(self, target: str) -> Recorded:
        return Recorded(method=self.method, target=target, headers=self.headers, body=self.body)

    def plus(self, *fields: tuple[str, str]) -> Recorded:
        return Recorded(method=self.method, target=self.target, headers=(*self.headers, *fields), body=self.body)

    def without(self, name: str) -> Recorded:
        return self.edited(**{name: None})


def recorded(name: str) -> Recorded:
    head, _, body = (DATA / f"{name}.http").read_text().partition("\n\n")
    request_line, *lines = head.rstrip("\n").split("\n")
    method, target, _ = request_line.split(" ")
    headers = tuple((field, value.strip()) for field, _, value in (line.partition(":") for line in lines))
    return Recorded(method=method, target=target, headers=headers, body=body.rstrip("\n").encode())


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    status: int
    version: str
    headers: Fields
    body: bytes
    raw: bytes

    def values(self, name: str) -> list[str]:
        return [value for field, value in self.headers if field.lower() == name]

    @property
    def closes(self) -> bool:
        return "close" in [value.lower() for value in self.values("connection")]

    def essence(self) -> tuple[int, Fields, bytes]:
        """What the application answered: without what belongs to the connection, or to the clock."""
        own = {"date", "connection", "content-length", "keep-alive"}
        fields = tuple((name.lower(), value) for name, value in self.headers if name.lower() not in own)
        return self.status, fields, self.body


class Client:
    """One connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    @classmethod
    async def connect(cls, address: str, tls: ssl.SSLContext | None = None) -> Client:
        if address.startswith("unix:"):
            return cls(*await asyncio.open_unix_connection(address.removeprefix("unix:")))
        host, _, port = address.rpartition(":")
        name = "localhost" if tls is not None else None
        return cls(*await asyncio.open_connection(host.strip("[]"), int(port), ssl=tls, server_hostname=name))

    def send(self, data: bytes) -> None:
        self.writer.write(data)

    def no_more(self) -> None:
        """Says that nothing follows, where the transport can say that: TLS cannot."""
        if self.writer.can_write_eof():
            self.writer.write_eof()

    def stop_reading(self) -> None:
        cast("asyncio.Transport", self.writer.transport).pause_reading()

    async def interim(self) -> bytes:
        """The status line of an answer before the answer."""
        async with asyncio.timeout(WITHIN):
            return (await self.reader.readuntil(b"\r\n\r\n")).removesuffix(b"\r\n\r\n")

    async def reply(self, *, head: bool = False) -> Reply:
        """The next answer. `head`: the request was a HEAD, so no body follows."""
        async with asyncio.timeout(WITHIN):
            raw = await self.reader.readuntil(b"\r\n\r\n")
            status_line, *lines = raw.decode("latin-1").removesuffix("\r\n\r\n").split("\r\n")
            version, status, _ = status_line.split(" ", 2)
            headers = tuple((n, v.strip()) for n, _, v in (line.partition(":") for line in lines))
            lengths = [value for name, value in headers if name.lower() == "content-length"]
            assert len(lengths) == 1, "framed by exactly one Content-Length"
            body = b"" if head else await self.reader.readexactly(int(lengths[0]))
        return Reply(status=int(status), version=version, headers=headers, body=body, raw=raw + body)

    async def ended(self) -> bytes:
        """What still comes until the server closes. TimeoutError if it does not."""
        async with asyncio.timeout(WITHIN):
            try:
                return await self.reader.read()
            except ConnectionError:
                return b""

    async def close(self) -> None:
        self.writer.close()
        with contextlib.suppress(ConnectionError, ssl.SSLError):
            await self.writer.wait_closed()


def request(target: str = "/", *fields: str, method: str = "GET", host: str = "app.example") -> bytes:
    """The bytes of a request; `fields` are whole header lines."""
    return "\r\n".join((f"{method} {target} HTTP/1.1", f"Host: {host}", *fields, "", "")).encode("latin-1")


async def until(condition: Callable[[], bool | Awaitable[bool]], what: str) -> None:
    """Returns once `condition` holds."""
    deadline = time.monotonic() + WITHIN
    while not (holds if isinstance(holds := condition(), bool) else await holds):
        assert time.monotonic() < deadline, f"{what}: not within {WITHIN} s"
        await asyncio.sleep(0.005)
