"""The supervisor: what ends a start, what only delays it, and that nothing keeps it from ending."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.proxies.client import send
from tests.proxies.harness import REPOSITORY, Folder, accepts, free_port, until
from tests.wiring.supervised import Supervised, gone

QUICK = """
import sys
from pathlib import Path
from authz.wiring.backoff import Backoff
from authz.wiring.supervisor import supervise
from authz.wiring.worker import Timings
sys.exit(supervise(Path(FILE), 2, timings=Timings({timings}), backoff=Backoff({backoff})))
"""


@pytest.fixture
def folder():
    with Folder() as path:
        yield path


def run(app: Any, *arguments: str, first: Path | None = None) -> subprocess.CompletedProcess[str]:
    path = os.pathsep.join([*([str(first)] if first is not None else []), str(REPOSITORY)])
    return subprocess.run(
        [sys.executable, "-m", "authz", "serve", "-c", "authz.yaml", *arguments],
        cwd=app.folder,
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


# --- what cannot be served


def break_policies(app: Any) -> None:
    app.write("policies/all.cedar", "permit(")


def break_configuration(app: Any) -> None:
    app.edit("authz.yaml", "routes: routes.yaml", "routes: absent.yaml\nunheard_of: 1")


def take_no_door(app: Any) -> None:
    app.edit("authz.yaml", '{http: "127.0.0.1:0"}', '{admin: "127.0.0.1:0"}')


def write_nowhere(app: Any) -> None:
    app.edit("authz.yaml", "{output: none}", "{output: absent/record}")


def name_no_group(app: Any) -> None:
    group = '{http: {address: "unix:/tmp/authz-no-group.sock", group: no-such-group}}'
    app.edit("authz.yaml", '{http: "127.0.0.1:0"}', group)


@pytest.mark.parametrize("spoil", [break_policies, break_configuration, take_no_door, write_nowhere, name_no_group])
def test_what_cannot_be_served_ends_with_2_and_the_words_of_one_process(app, spoil):
    spoil(app)
    alone, several = run(app), run(app, "--workers", "3")
    assert alone.returncode == several.returncode == 2
    assert several.stdout == alone.stdout == ""
    assert several.stderr == alone.stderr != ""
    assert "Traceback" not in several.stderr


@pytest.mark.parametrize("door", ["http", "admin"])
def test_an_address_that_is_taken_ends_the_start(app, door):
    port = free_port()
    doors = {"http": "127.0.0.1:0", "admin": "127.0.0.1:0"} | {door: f"127.0.0.1:{port}"}
    app.edit("authz.yaml", '{http: "127.0.0.1:0"}', str(doors))
    with socket.socket() as taken:
        # Even one that would share: the kernel would let us in, since it is the same user's.
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        taken.bind(("127.0.0.1", port))
        taken.listen()
        done = run(app, "--workers", "2")
    assert done.returncode == 2
    assert done.stderr == f"cannot listen on `127.0.0.1:{port}`: address already in use\n1 problem found\n"


def test_two_doors_on_one_address_are_refused_though_workers_share_ports(app):
    port = free_port()
    app.edit("authz.yaml", '"127.0.0.1:0"', f'["127.0.0.1:{port}", "127.0.0.1:{port}"]')
    done = run(app, "--workers", "2")
    assert done.returncode == 2
    assert str(port) in done.stderr


def test_grpcio_on_a_unix_socket_says_what_to_do(app):
    app.edit("authz.yaml", '{http: "127.0.0.1:0"}', '{grpc: ["127.0.0.1:0", "unix:/tmp/authz-none.sock"]}')
    done = run(app, "--workers", "2")
    assert done.returncode == 2
    assert "hosts.grpc: h2corn" in done.stderr
    assert "1 problem found" in done.stderr
    assert not Path("/tmp/authz-none.sock").exists()


@pytest.mark.parametrize("count", ["0", "-1", "257", "two", "", "1.5", "٢"])
def test_a_number_of_workers_that_is_none_is_refused(app, count):
    done = run(app, f"--workers={count}")
    assert done.returncode == 2
    assert "expected a number from 1 to 256" in done.stderr
    assert "Traceback" not in done.stderr


def test_warnings_are_told_once(app, folder):
    app.write("policies/all.cedar", "// none yet\n")
    process = subprocess.Popen(
        [sys.executable, "-m", "authz", "serve", "-c", str(app.config), "--workers", "2"],
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    lines: list[str] = []
    while sum('"serving"' in line for line in lines) < 3:
        lines.append(process.stderr.readline())
        assert lines[-1], lines
    process.terminate()
    assert sum("there are no policies" in line for line in lines) == 1
    process.stderr.read()
    assert process.wait(30) == 0
    process.stderr.close()


# --- what only delays it


def modules(folder: Path, **files: str) -> Path:
    """A folder of modules that is looked through before any other."""
    found = folder / "modules"
    found.mkdir()
    for name, text in files.items():
        (found / f"{name}.py").write_text(text)
    return found


CRASHES = {
    "as soon as it runs": "import os, sys\nif 'authz.wiring.worker_process' in sys.orig_argv: os._exit(3)\n",
    "once it has its orders": (
        "import asyncio, os, sys\n"
        "class Runner:\n    def __init__(self, **_): os.kill(os.getpid(), 11)\n"
        "if 'authz.wiring.worker_process' in sys.orig_argv: asyncio.Runner = Runner\n"
    ),
}
HOW = {"as soon as it runs": "exit code 3", "once it has its orders": "signal SIGSEGV"}


class Crashing(Supervised):
    """Never ready; `start` returns when each worker has failed a number of times."""

    async def ready(self) -> bool:
        failures = [event["failures"] for event in self.events() if event.get("failures")]
        return failures.count(4) == self.workers


@pytest.mark.parametrize("when", CRASHES)
async def test_workers_that_crash_for_ever_are_tried_ever_more_rarely_and_the_stop_comes_at_once(app, folder, when):
    async with Crashing(folder, app, first=modules(folder, sitecustomize=CRASHES[when])) as authz:
        if await accepts(authz.admin):
            reply = await send(authz.admin, "/readyz")
            assert reply.status == 503
            assert not any(check["ok"] for check in reply.json()["checks"].values())
            assert (await send(authz.admin, "/livez")).status == 200
            metrics = await authz.metrics()
            assert metrics["authz_worker_up", (("worker", "1"),)] == 0
            assert metrics["authz_worker_restarts_total", (("worker", "1"),)] >= 3
        else:
            assert when == "as soon as it runs"  # the addresses were never read
        assert not await accepts(authz.http)
        ended = [event for event in authz.events() if event.get("how")]
        assert {event["how"] for event in ended} == {HOW[when]}
        for worker in (1, 2):
            delays = {event["failures"]: event["after"] for event in ended if event["worker"] == worker}
            assert all(0.05 * 2 ** (n - 1) <= delay <= 0.1 * 2 ** (n - 1) for n, delay in delays.items())
        assert await authz.stop() == 0
        assert "SIGKILL" not in authz.log


async def test_a_worker_that_hangs_is_ended_and_replaced(app, folder):
    quick = QUICK.format(timings="hang=1.0, tick=0.2", backoff="")
    async with Supervised(folder, app, code=quick) as authz:
        pids = await authz.pids()
        authz.worker_kill(pids["1"], signal.SIGSTOP)
        # A scrape does not wait for it, and counts what it told before.
        assert ("process_cpu_seconds_total", (("worker", "1"),)) in await authz.metrics()
        await gone([pids["1"]])
        await until(authz.ready, "both serve again")
        now = await authz.pids()
        assert now["1"] != pids["1"]
        assert now["2"] == pids["2"]
        assert any("gives no sign of life" in event["event"] for event in authz.events())


async def test_a_supervisor_that_was_stopped_itself_takes_nobody_for_hung(app, folder):
    quick = QUICK.format(timings="hang=1.0, tick=0.2", backoff="")
    async with Supervised(folder, app, code=quick) as authz:
        pids = await authz.pids()
        authz.worker_kill(authz.pid, signal.SIGSTOP)
        deadline = time.monotonic() + 2.5  # longer than `hang`
        while time.monotonic() < deadline:
            assert (await authz.ask()).status == 200
        authz.worker_kill(authz.pid, signal.SIGCONT)
        for _ in range(3):
            # What it says next comes after the looks that it owes.
            assert await authz.pids() == pids
            await authz.metrics()
        assert not any("sign of life" in event["event"] for event in authz.events())


async def test_a_worker_that_does_not_end_is_killed_and_the_exit_code_says_so(app, folder):
    app.edit("authz.yaml", "record: {output: none}", "record: {output: none}\nlimits: {drain: 200ms}")
    quick = QUICK.format(timings="margin=0.5", backoff="")
    async with Supervised(folder, app, code=quick) as authz:
        pids = await authz.pids()
        authz.worker_kill(pids["1"], signal.SIGSTOP)
        assert await authz.stop() == 1
        await gone(list(pids.values()))
        assert [event["worker"] for event in authz.events() if "is killed" in event["event"]] == [1]
        assert not authz.socket.exists()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_stop_during_the_start_comes_at_once(app, folder, number):
    class Starting(Supervised):
        async def ready(self) -> bool:
            return True  # whatever it does

    # The workers wait for their deny list.
    (app.folder / "deny.yaml").unlink()
    os.mkfifo(app.folder / "deny.yaml")
    authz = Starting(folder, app)
    await authz.start()
    children = Path(f"/proc/{authz.pid}/task/{authz.pid}/children")

    async def both() -> bool:
        return len(children.read_text().split()) == 2

    await until(both, "workers are started")
    workers = [int(pid) for pid in children.read_text().split()]
    authz.worker_kill(authz.pid, number)
    await gone(workers)
    assert await authz.stop() == 0


# --- what it is


def imported(code: str) -> Mapping[str, bool]:
    heavy = ("cedarpy", "pydantic", "aiohttp", "grpc", "yaml", "jwt")
    told = subprocess.run(
        [sys.executable, "-c", f"{code}\nimport sys\nprint([n for n in {heavy} if n in sys.modules])"],
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    return {name: name in told.stdout for name in heavy}


def test_a_supervisor_loads_neither_engine_nor_configuration_and_a_server_only_for_its_admin_listener():
    assert not any(imported("import authz.wiring.supervisor").values())
    with_admin = imported("import authz.wiring.supervisor, authz.wiring.supervisor_admin")
    assert [name for name, found in with_admin.items() if found] == ["aiohttp"]


def test_code_in_the_working_folder_is_not_loaded_where_the_supervisor_does_not_look_there(app):
    app.write("structlog.py", "raise SystemExit('the wrong one')\n")
    script = app.folder.parent / "authz-script"
    script.write_text(
        f"import sys\nsys.path.append({str(REPOSITORY)!r})\nfrom authz.cli import main\nsys.exit(main())\n"
    )
    break_policies(app)
    done = subprocess.run(
        [sys.executable, str(script), "serve", "--workers", "2"],
        cwd=app.folder,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 2
    assert "policies/all.cedar" in done.stderr
    assert "the wrong one" not in done.stderr
