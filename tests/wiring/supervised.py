"""`authz serve --workers N` as a process: its workers, who answers, what it says."""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
from prometheus_client.parser import text_string_to_metric_families as parse_text

from tests.proxies.client import Reply, send
from tests.proxies.harness import REPOSITORY, Program, accepts, free_port, until
from tests.servers.extauthz_support import CHECK, check_request

Samples = dict[tuple[str, tuple[tuple[str, str], ...]], float]


class Supervised(Program):
    """The application of `app`, served on every kind of listener that workers can share.

    Args:
        folder: for its log and its Unix socket; a short name.
        app: files and tokens.
        workers: how many.
        code: what the supervising process runs instead of the command; `FILE` is the configuration's path.
        grpc: a gRPC listener too.
        fast: on h2corn, which also takes gRPC on a Unix socket that workers share.
        first: looked through for modules before anything else.
    """

    name = "authz"

    def __init__(
        self,
        folder: Path,
        app: Any,
        *,
        workers: int = 2,
        code: str = "",
        grpc: bool = False,
        fast: bool = False,
        first: Path | None = None,
    ) -> None:
        super().__init__(folder)
        self.app = app
        self.workers = workers
        self.code = code
        self.first = first
        self.http = free_port()
        self.admin = free_port()
        self.grpc = free_port() if grpc else None
        self.socket = folder / "http.sock"
        self.grpc_socket = folder / "grpc.sock"
        listeners: dict[str, Any] = {
            "http": [f"127.0.0.1:{self.http}", f"unix:{self.socket}"],
            "admin": f"127.0.0.1:{self.admin}",
        }
        if grpc:
            listeners["grpc"] = [f"127.0.0.1:{self.grpc}", *([f"unix:{self.grpc_socket}"] if fast else [])]
        settings = {"listeners": listeners, **({"hosts": {"http": "h2corn", "grpc": "h2corn"}} if fast else {})}
        lines = "\n".join(f"{name}: {json.dumps(value)}" for name, value in settings.items())
        app.edit("authz.yaml", 'listeners: {http: "127.0.0.1:0"}', lines)

    def command(self) -> Sequence[str]:
        if self.code:
            return [sys.executable, "-c", self.code.replace("FILE", repr(str(self.app.config)))]
        command = [sys.executable, "-m", "authz", "serve", "-c", str(self.app.config)]
        return [*command, "--workers", str(self.workers)]

    def environment(self) -> dict[str, str]:
        folders = [*([str(self.first)] if self.first is not None else []), str(REPOSITORY)]
        return super().environment() | {"PYTHONPATH": os.pathsep.join(folders)}

    async def ready(self) -> bool:
        """All of them."""
        return await accepts(self.admin) and len(await self.pids()) == self.workers

    # --- what it says

    async def checks(self) -> dict[str, dict[str, Any]]:
        document = (await send(self.admin, "/readyz")).json()
        return document["checks"]

    async def pids(self) -> dict[str, int]:
        """Worker → its process, of those that serve."""
        return {
            name.removeprefix("worker "): int(check["detail"].rpartition(" ")[2])
            for name, check in (await self.checks()).items()
            if ":" not in name and check["ok"] and name != "draining"
        }

    async def metrics(self) -> Samples:
        reply = await send(self.admin, "/metrics")
        assert reply.status == 200
        return {
            (sample.name, tuple(sorted(sample.labels.items()))): sample.value
            for family in parse_text(reply.body.decode())
            for sample in family.samples
        }

    def events(self) -> list[Mapping[str, Any]]:
        return [json.loads(line) for line in self.log.splitlines() if line.startswith("{")]

    # --- who answers

    async def ask(self, door: int | Path | None = None, **claims: Any) -> Reply:
        """A question on a fresh connection."""
        headers = self.app.headers(groups=["staff"], **claims).items()
        return await send(self.http if door is None else door, "/envoy/d/1", headers=headers)

    async def answering(self, door: int | Path) -> str:
        """Which process answers: the part of the decision's id that each has for itself."""
        reply = await send(door, "/envoy/d/1")
        assert reply.status == 401
        return str(reply.json()["decision_id"]).partition("-")[0]

    async def answering_grpc(self, target: str = "") -> str:
        # A channel of its own: channels of one process share their connections.
        options = [("grpc.use_local_subchannel_pool", 1)]
        async with grpc.aio.insecure_channel(target or f"127.0.0.1:{self.grpc}", options=options) as channel:
            call: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(CHECK)
            reply = await call(check_request("/d/1"), timeout=20, wait_for_ready=True)
        document = reply[reply.index(b'{"type"') :]
        return str(json.JSONDecoder().raw_decode(document.decode("utf-8", "replace"))[0]["decision_id"]).partition("-")[
            0
        ]

    def worker_kill(self, pid: int, number: signal.Signals = signal.SIGKILL) -> None:
        os.kill(pid, number)


def alive(pid: int) -> bool:
    """Is there such a process, and does any of its threads run? Its sockets are open as long."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        threads = len(list(Path(f"/proc/{pid}/task").iterdir()))
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state != "Z" or threads > 1


async def gone(pids: Sequence[int], within: float = 20.0) -> None:
    async def all_gone() -> bool:
        return not any(alive(pid) for pid in pids)

    await until(all_gone, f"processes {list(pids)} end", within)
