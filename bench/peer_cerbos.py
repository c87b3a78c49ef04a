"""Cerbos, asked over its HTTP API on loopback: a process of its own, `python -m bench.peer_cerbos …`.

It has no library, so its figures hold a socket and two codecs that those of the others do not: what its own metrics
say of the engine, and its processor time, are told beside them. One caller asks, one question at a time.

Two forms, for it looks for policies by the kind of the resource: `rules` is one resource policy with a rule for each
document, as one Cedar policy a document reads in its language; `policies` is a resource policy for each document, each
a kind of its own with the nine shared rules repeated in it, which is how its index can help.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench import scale_set
from bench.procfs import cpu_seconds
from bench.scale_set import Question
from bench.scale_timing import Ask, checked, figures, read, say, timed
from tests.proxies.harness import free_port

FORMS = ("rules", "policies")
PROGRAM = "npm/node_modules/@cerbos/cerbos-*/cerbos-*"
"""Below `.peers`."""
_ALLOW, _DENY = "EFFECT_ALLOW", "EFFECT_DENY"
_SHARED: tuple[tuple[Sequence[str], str, str], ...] = (
    (("Read",), _ALLOW, "P.attr.clearance >= 5"),
    (("Read",), _ALLOW, 'P.attr.department == "board"'),
    (("Read", "Update"), _ALLOW, 'P.attr.department == "audit" && P.attr.mfa'),
    (("Read",), _ALLOW, "P.attr.hour >= 12 && P.attr.hour < 13"),
    (("Read", "Update"), _ALLOW, "P.attr.clearance >= 4 && P.attr.mfa"),
    (("Read",), _ALLOW, 'P.attr.department == "platform" && P.attr.clearance >= 3'),
    (("Read", "Update"), _DENY, "P.attr.hour < 5 && !P.attr.mfa"),
    (("Read", "Update"), _DENY, "P.attr.clearance < 1"),
    (("Read",), _DENY, "!(P.attr.clearance >= 2 || P.attr.mfa)"),
)
"""`scale_set.SHARED` in its language, in the same order. It has no context: that stands in the principal."""
_LATENCY = "cerbos_dev_engine_check_latency_milliseconds"


def _rule(actions: Sequence[str], effect: str, condition: str) -> dict[str, Any]:
    return {"actions": list(actions), "effect": effect, "roles": ["user"], "condition": {"match": {"expr": condition}}}


def _policy(kind: str, rules: Sequence[dict[str, Any]]) -> str:
    body = {"resource": kind, "version": "default", "rules": list(rules)}
    return json.dumps({"apiVersion": "api.cerbos.dev/v1", "resourcePolicy": body})


def write(folder: Path, size: int, form: str) -> None:
    """Its policies as files."""
    folder.mkdir(parents=True)
    shared = [_rule(*one) for one in _SHARED]
    numbers = range(scale_set.documents(size))
    if form == "rules":
        own = [_rule(("Read",), _ALLOW, f'R.id == "{scale_set.document(n)}" && {_member(n)}') for n in numbers]
        (folder / "document.json").write_text(_policy("document", shared + own), encoding="utf-8")
        return
    for number in numbers:
        rules = [*shared, _rule(("Read",), _ALLOW, _member(number))]
        file = folder / f"{scale_set.document(number)}.json"
        file.write_text(_policy(kind(number, form), rules), encoding="utf-8")


def _member(number: int) -> str:
    return f'P.attr.department == "{scale_set.department(number)}"'


def kind(number: int, form: str) -> str:
    """The kind of a document."""
    return "document" if form == "rules" else f"document:{scale_set.document(number)}"


def question(asked: Question, form: str) -> bytes:
    """The request on the wire."""
    person = scale_set.people()[asked.user]
    attributes = {
        "department": person.department,
        "clearance": person.clearance,
        "mfa": asked.mfa,
        "hour": asked.hour,
    }
    resource = {"kind": kind(asked.document, form), "id": scale_set.document(asked.document)}
    body = json.dumps(
        {
            "principal": {"id": person.name, "roles": ["user"], "attr": attributes},
            "resources": [{"actions": [scale_set.READ], "resource": resource}],
        }
    ).encode()
    head = f"POST /api/check/resources HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n"
    return head.encode() + b"Content-Type: application/json\r\n\r\n" + body


@dataclass(slots=True)
class Client:
    """One kept connection. As little as HTTP needs, for its time counts as the peer's."""

    port: int
    _socket: socket.socket = field(init=False)

    def __post_init__(self) -> None:
        self._socket = socket.create_connection(("127.0.0.1", self.port))
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def ask(self, request: bytes) -> bytes:
        """The body of the answer."""
        self._socket.sendall(request)
        data = b""
        while b"\r\n\r\n" not in data:
            data += self._received()
        head, _, body = data.partition(b"\r\n\r\n")
        length = int(head.lower().partition(b"\r\ncontent-length:")[2].split(b"\r\n", 1)[0])
        while len(body) < length:
            body += self._received()
        return body

    def _received(self) -> bytes:
        data = self._socket.recv(65536)
        if not data:
            raise ConnectionError("Cerbos closed the connection")
        return data


def engine_seconds(exposition: str) -> tuple[float, float]:
    """Seconds that its engine took, and how many checks, by its own metrics."""
    found = {"sum": 0.0, "count": 0.0}
    for line in exposition.splitlines():
        for name in found:
            if line.startswith((f"{_LATENCY}_{name} ", f"{_LATENCY}_{name}{{")):
                found[name] += float(line.rpartition(" ")[2])
    return found["sum"] / 1000, found["count"]


def _metrics(port: int) -> str:
    with socket.create_connection(("127.0.0.1", port)) as one:
        one.sendall(b"GET /_cerbos/metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        data = b""
        while part := one.recv(65536):
            data += part
    return data.decode()


def _started(program: str, folder: Path, port: int) -> subprocess.Popen[bytes]:
    config = {
        "server": {"httpListenAddr": f"127.0.0.1:{port}", "grpcListenAddr": f"unix:{folder}.sock"},
        "storage": {"driver": "disk", "disk": {"directory": str(folder), "watchForChanges": False}},
        "telemetry": {"disabled": True},
        "audit": {"enabled": False},
    }
    file = folder.with_suffix(".config.json")
    file.write_text(json.dumps(config), encoding="utf-8")
    with folder.with_suffix(".log").open("wb") as log:
        return subprocess.Popen(
            [program, "server", "--config", str(file), "--log-level=warn"],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            env={"PATH": os.defpath, "HOME": str(folder.parent)},
        )


def _wait(server: subprocess.Popen[bytes], port: int, folder: Path) -> None:
    request = b"GET /_cerbos/health HTTP/1.1\r\nHost: localhost\r\n\r\n"
    while True:  # whoever started this ends it when it takes too long
        if server.poll() is not None:
            raise RuntimeError(f"Cerbos ended: {folder.with_suffix('.log').read_text(errors='replace')[-500:]}")
        try:
            if b"SERVING" in Client(port).ask(request):
                return
        except (OSError, ValueError):
            pass
        time.sleep(0.02)


def main(form: str, file: str, folder: str, count: str, seconds: str, program: str) -> None:
    """Reads the job in `file`, starts the server on the policies in `folder`, times `count` rounds."""
    job = read(Path(file))
    port = free_port()
    begun = time.monotonic()
    server = _started(program, Path(folder), port)
    try:
        _wait(server, port, Path(folder))
        say("ready", seconds=time.monotonic() - begun)
        client = Client(port)

        def ask(asked: Question) -> Ask:
            request = question(asked, form)
            return lambda: (b'"EFFECT_ALLOW"' in client.ask(request), None)

        calls = checked(job.hot, ask, seconds=float(seconds))
        for _ in range(int(count)):
            before, spent = engine_seconds(_metrics(port)), cpu_seconds(server.pid)
            times = timed(calls, seconds=float(seconds))
            cpu, (engine, asked) = cpu_seconds(server.pid) - spent, engine_seconds(_metrics(port))
            mine = (engine - before[0]) / max(1.0, asked - before[1]) * 1e6
            say("round", **figures(times), engine=mine, cpu=cpu / len(times) * 1e6)
    finally:
        server.terminate()
        server.wait()


if __name__ == "__main__":
    main(*sys.argv[1:])
