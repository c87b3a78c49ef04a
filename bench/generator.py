"""The load generator for machines without wrk.

`python -m bench.generator PORT SECONDS CONNECTIONS ROUND http|https`
"""

from __future__ import annotations

import asyncio
import itertools
import json
import ssl
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import cast

from bench.bare import loop_factory

MARK = "bench-load "


class Client(asyncio.Protocol):
    """One connection: a request, its answer, the next request."""

    def __init__(self, requests: Iterator[bytes], tally: Tally) -> None:
        self._requests = requests
        self._tally = tally
        self._transport: asyncio.Transport | None = None
        self._buffer = b""
        self._sent = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._ask()

    def _ask(self) -> None:
        assert self._transport is not None
        self._sent = time.perf_counter()
        self._transport.write(next(self._requests))

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        status = answered(self._buffer)
        if status is None:
            return
        self._buffer = b""
        self._tally.add(status, time.perf_counter() - self._sent)
        self._ask()

    def connection_lost(self, exc: BaseException | None) -> None:
        self._tally.broken += not self._tally.over

    def close(self) -> None:
        if self._transport is not None:
            self._transport.abort()


class Tally:
    """What all connections saw."""

    def __init__(self) -> None:
        self.latencies: list[float] = []
        self.refused = 0
        self.broken = 0
        self.over = False

    def add(self, status: int, seconds: float) -> None:
        self.latencies.append(seconds)
        self.refused += status >= 400

    def result(self, seconds: float) -> dict[str, float]:
        ordered = sorted(self.latencies) or [0.0]
        middle, late = (ordered[int(len(ordered) * share)] * 1000 for share in (0.5, 0.99))
        return {
            "requests": len(self.latencies),
            "seconds": seconds,
            "refused": self.refused,
            "broken": self.broken,
            "p50": middle,
            "p99": late,
        }


def answered(data: bytes) -> int | None:
    """The status of a whole response; None while some of it is still to come. Needs a Content-Length."""
    head, end, body = data.partition(b"\r\n\r\n")
    if not end:
        return None
    lines = head.lower().split(b"\r\n")
    lengths = [int(line.partition(b":")[2]) for line in lines[1:] if line.startswith(b"content-length:")]
    if not lengths:
        raise ValueError("an answer without Content-Length")
    return int(lines[0].split(b" ", 2)[1]) if len(body) >= lengths[0] else None


def encryption(scheme: str) -> ssl.SSLContext | None:
    """For `https` one that takes any certificate, as wrk does: it is this machine's own."""
    if scheme != "https":
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


async def main(port: int, seconds: float, connections: int, requests: Iterator[bytes], scheme: str) -> None:
    loop = asyncio.get_running_loop()
    tally = Tally()
    tls = encryption(scheme)
    begun = time.perf_counter()
    clients = [
        (await loop.create_connection(lambda: Client(requests, tally), "127.0.0.1", port, ssl=tls))[1]
        for _ in range(connections)
    ]
    await asyncio.sleep(seconds)
    took = time.perf_counter() - begun
    tally.over = True
    for client in clients:
        client.close()
    print(MARK + json.dumps(tally.result(took)))


def rounds(file: Path) -> Iterator[bytes]:
    """The requests of the file, round and round."""
    return itertools.cycle([one.encode("ascii") for one in json.loads(file.read_text(encoding="ascii"))])


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=loop_factory()) as runner:
        runner.run(main(int(sys.argv[1]), float(sys.argv[2]), int(sys.argv[3]), rounds(Path(sys.argv[4])), sys.argv[5]))
