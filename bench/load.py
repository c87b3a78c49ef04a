"""Load: a closed loop of connections that each wait for one answer before they ask again.

wrk, from Debian, where it is there. Otherwise a generator of our own, written in Python: it takes more of the
processors that it shares with what is measured, so throughput and latency then say less; processor time of the
authorizer per request is nearly the same.
"""

from __future__ import annotations

import asyncio
import json
import os
import resource
import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]
CONNECTIONS = 32
INSTALL = "wrk is not installed (Debian: `apt install wrk`): the slower generator of bench/generator.py stands in"
_MARK = "bench-load "
_SCRIPT = """\
local requests = {{
{requests}
}}
local turn, last = 0, {count}
function request()
  turn = turn % last + 1
  return requests[turn]
end
function done(summary, latency, threads)
  local e = summary.errors
  io.write(string.format(
    '{mark}{{"requests": %d, "seconds": %.6f, "refused": %d, "broken": %d, "p50": %.4f, "p99": %.4f}}\\n',
    summary.requests, summary.duration / 1e6, e.status, e.connect + e.read + e.write + e.timeout,
    latency:percentile(50) / 1e3, latency:percentile(99) / 1e3))
end
"""


class LoadFailed(Exception):
    """The load generator ended with an error."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """What one run of the load generator saw."""

    requests: int
    """Answered."""
    seconds: float
    refused: int
    """Answers with a status of 400 or more."""
    broken: int
    """Connections refused or lost, and timeouts."""
    p50: float
    """Milliseconds."""
    p99: float
    """Milliseconds."""
    spent: float = 0.0
    """Seconds of processor time that the generator itself took."""

    @property
    def throughput(self) -> float:
        """Requests a second."""
        return self.requests / self.seconds


def wrk() -> str | None:
    """Where wrk is, if it is."""
    return shutil.which("wrk")


def generator() -> str:
    """Which one is used, for the record."""
    return "wrk" if wrk() else "bench/generator.py (wrk was not there)"


def script(requests: Sequence[bytes]) -> str:
    """A script for wrk that goes round the requests, and tells what it saw as JSON."""
    return _SCRIPT.format(requests="\n".join(f"  {_lua(one)}," for one in requests), count=len(requests), mark=_MARK)


def _lua(data: bytes) -> str:
    text = data.decode("ascii").replace("\\", "\\\\").replace('"', '\\"').replace("\r", "\\r").replace("\n", "\\n")
    return f'"{text}"'


def parse(output: str) -> Load:
    """What a generator printed.

    Raises:
        LoadFailed: it printed no result.
    """
    for line in output.splitlines():
        if line.startswith(_MARK):
            return Load(**json.loads(line.removeprefix(_MARK)))
    raise LoadFailed(f"the load generator gave no result:\n{output[-2000:]}")


def _children() -> float:
    """Processor time of all children of this process that have ended, in seconds."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


class Generator:
    """Sends a round of requests again and again, on 32 connections unless told otherwise."""

    def __init__(self, folder: Path, requests: Sequence[bytes], *, connections: int = CONNECTIONS) -> None:
        self._connections = connections
        self._script = folder / "round.lua"
        self._script.write_text(script(requests), encoding="ascii")
        self._round = folder / "round.json"
        self._round.write_text(json.dumps([one.decode("ascii") for one in requests]), encoding="ascii")

    async def run(self, port: int, seconds: float, *, tls: bool = False) -> Load:
        """Loads a port of 127.0.0.1; with `tls` behind whatever certificate is shown.

        Raises:
            LoadFailed: the generator failed.
        """
        before = _children()
        process = await asyncio.create_subprocess_exec(
            *self._command(port, seconds, tls=tls),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
        )
        output = (await process.communicate())[0].decode(errors="replace")
        if process.returncode:
            raise LoadFailed(f"the load generator ended with status {process.returncode}:\n{output[-2000:]}")
        # Nothing else of ours ends while a load runs.
        return replace(parse(output), spent=_children() - before)

    def _command(self, port: int, seconds: float, *, tls: bool = False) -> list[str]:
        program = wrk()
        scheme = "https" if tls else "http"
        if program is None:
            arguments = [str(port), str(seconds), str(self._connections), str(self._round), scheme]
            return [sys.executable, "-m", "bench.generator", *arguments]
        whole = max(1, round(seconds))  # wrk knows whole seconds only
        url = f"{scheme}://127.0.0.1:{port}"
        return [program, "-t1", f"-c{self._connections}", f"-d{whole}s", "-s", str(self._script), url]
