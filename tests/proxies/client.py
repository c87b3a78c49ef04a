"""A client that sends exactly what it is told (no path is tidied) and keeps exactly what comes back."""

from __future__ import annotations

import asyncio
import contextlib
import json
import ssl
from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

Headers = tuple[tuple[str, str], ...]


def values(headers: Iterable[tuple[str, str]], name: str) -> list[str]:
    """Every value of a header, in order."""
    return [value for key, value in headers if key.lower() == name.lower()]


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """A response as it came over the wire; the body without its chunks."""

    status: int
    headers: Headers
    body: bytes

    def values(self, name: str) -> list[str]:
        return values(self.headers, name)

    def header(self, name: str) -> str | None:
        return ", ".join(self.values(name)) or None

    def json(self) -> Any:
        return json.loads(self.body)


def request_bytes(
    target: str, method: str = "GET", headers: Iterable[tuple[str, str]] = (), body: bytes | None = None
) -> bytes:
    """An HTTP/1.1 request for `target` as it is; the connection is closed after the answer."""
    lines = [f"{method} {target} HTTP/1.1"]
    lines += [f"{name}: {value}" for name, value in (("Host", "documents.example"), *headers)]
    lines += [] if body is None else [f"Content-Length: {len(body)}"]
    return "\r\n".join((*lines, "Connection: close", "", "")).encode("latin-1") + (body or b"")


async def send(
    address: int | Path,
    target: str,
    *,
    method: str = "GET",
    headers: Iterable[tuple[str, str]] = (),
    body: bytes | None = None,
    tls: ssl.SSLContext | None = None,
) -> Reply:
    """One request on a connection of its own to a port of 127.0.0.1 or a Unix socket. OSError if nobody answers."""
    async with asyncio.timeout(20):
        if isinstance(address, int):
            reader, writer = await asyncio.open_connection("127.0.0.1", address, ssl=tls)
        else:
            reader, writer = await asyncio.open_unix_connection(address)
        try:
            writer.write(request_bytes(target, method, headers, body))
            return await _read_reply(reader, bodiless=method == "HEAD")
        finally:
            writer.close()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()


async def _read_reply(reader: asyncio.StreamReader, *, bodiless: bool) -> Reply:
    # By its length, not by the end of the connection: Envoy keeps a refused client waiting for that.
    try:
        head = await reader.readuntil(b"\r\n\r\n")
        status_line, *lines = head.decode("latin-1").rstrip("\r\n").split("\r\n")
        headers = tuple((name, value.strip()) for name, _, value in (line.partition(":") for line in lines))
        body = b"" if bodiless else await _read_body(reader, headers)
    except asyncio.IncompleteReadError as error:
        raise ConnectionError(f"the answer ends after {error.partial[:80]!r}") from None
    return Reply(status=int(status_line.split(" ", 2)[1]), headers=headers, body=body)


async def _read_body(reader: asyncio.StreamReader, headers: Headers) -> bytes:
    if values(headers, "transfer-encoding") == ["chunked"]:
        return b"".join([chunk async for chunk in _chunks(reader)])
    length = values(headers, "content-length")
    return await reader.readexactly(int(length[0])) if length else await reader.read()


async def _chunks(reader: asyncio.StreamReader) -> AsyncIterator[bytes]:
    while size := int((await reader.readuntil(b"\r\n")).partition(b";")[0], 16):
        yield await reader.readexactly(size)
        await reader.readexactly(2)
