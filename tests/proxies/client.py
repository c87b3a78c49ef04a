"""A client that sends exactly what it is told (no path is tidied) and keeps exactly what comes back."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterable
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
) -> Reply:
    """One request on a connection of its own to a port of 127.0.0.1 or a Unix socket. OSError if nobody answers."""
    async with asyncio.timeout(20):
        if isinstance(address, int):
            reader, writer = await asyncio.open_connection("127.0.0.1", address)
        else:
            reader, writer = await asyncio.open_unix_connection(address)
        try:
            writer.write(request_bytes(target, method, headers, body))
            answer = await reader.read()
        finally:
            writer.close()
            await writer.wait_closed()
    return parse(answer, bodiless=method == "HEAD")


def parse(answer: bytes, *, bodiless: bool = False) -> Reply:
    """The first response in `answer`. OSError if there is none, AssertionError if its length is not what it says."""
    head, separator, body = answer.partition(b"\r\n\r\n")
    if not separator:
        raise ConnectionError(f"no HTTP answer: {answer[:80]!r}")
    status_line, *lines = head.decode("latin-1").split("\r\n")
    pairs = [line.partition(":") for line in lines]
    headers = tuple((name, value.strip()) for name, _, value in pairs)
    if values(headers, "transfer-encoding") == ["chunked"] and not bodiless:
        body = _unchunk(body)
    elif (length := values(headers, "content-length")) and not bodiless:
        assert len(body) == int(length[0]), f"{len(body)} bytes of body, content-length {length}"
    return Reply(status=int(status_line.split(" ", 2)[1]), headers=headers, body=body)


def _unchunk(data: bytes) -> bytes:
    body = b""
    while True:
        size, _, data = data.partition(b"\r\n")
        length = int(size.partition(b";")[0], 16)
        if length == 0:
            return body
        body, data = body + data[:length], data[length + 2 :]
