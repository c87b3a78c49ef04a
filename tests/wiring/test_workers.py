"""Several workers on one address: all answer, all learn, all are told of; and none answers for long alone."""

from __future__ import annotations

import asyncio
import json
import signal
import ssl
from pathlib import Path
from typing import Any

import pytest

from tests.proxies.client import send
from tests.proxies.harness import Folder, free_port, until
from tests.servers.tls_support import World
from tests.wiring.supervised import Supervised, alive, gone

DECISIONS = "authz_decisions_total"


@pytest.fixture
def folder():
    with Folder() as path:
        yield path


def total(samples: Any, name: str) -> float:
    return sum(value for (found, _), value in samples.items() if found == name)


@pytest.mark.parametrize("fast", [False, True], ids=["aiohttp and grpcio", "h2corn"])
async def test_every_worker_answers_at_every_door(app, folder, fast):
    async with Supervised(folder, app, grpc=True, fast=fast) as authz:
        doors: dict[str, Any] = {
            "tcp": lambda: authz.answering(authz.http),
            "unix": lambda: authz.answering(authz.socket),
            "grpc": authz.answering_grpc,
        }
        if fast:
            doors["grpc on unix"] = lambda: authz.answering_grpc(f"unix:{authz.grpc_socket}")
        seen: dict[str, set[str]] = {name: set() for name in doors}
        for _ in range(200):
            for name, ask in doors.items():
                if len(seen[name]) < 2:
                    # Together: a Unix socket's next connection goes to whoever is free.
                    seen[name] |= set(await asyncio.gather(*(ask() for _ in range(8))))
        assert all(workers == seen["tcp"] for workers in seen.values())
        assert len(seen["tcp"]) == 2
        assert (await authz.ask()).status == 200
        assert (await authz.ask(authz.socket)).status == 200
        assert len(set((await authz.pids()).values())) == 2
    assert list(folder.glob("*.sock")) == []


async def test_a_killed_worker_is_replaced_while_the_others_answer_and_no_count_falls(app, folder):
    async with Supervised(folder, app) as authz:
        for _ in range(30):
            assert (await authz.ask()).status == 200
        before = await authz.metrics()
        assert total(before, DECISIONS) == 30
        pids = await authz.pids()
        authz.worker_kill(pids["1"])
        await gone([pids["1"]])
        statuses: list[int] = []

        async def replaced() -> bool:
            # The kernel sends nothing to a socket that is closed; only what had reached it already is lost.
            statuses.append((await authz.ask()).status)
            now = await authz.pids()
            return len(now) == 2 and now["1"] != pids["1"] and now["2"] == pids["2"]

        await until(replaced, "a replacement serves")
        assert set(statuses) == {200}
        after = await authz.metrics()
        assert total(after, DECISIONS) == 30 + len(statuses)
        falling = [key for key, value in before.items() if key[0].endswith(("_total", "_count")) and after[key] < value]
        assert falling == []
        assert after["authz_worker_restarts_total", (("worker", "1"),)] == 1
        assert after["authz_worker_restarts_total", (("worker", "2"),)] == 0
        [ended] = [event for event in authz.events() if event["event"] == "a worker ended and is started again"]
        assert (ended["worker"], ended["how"]) == (1, "signal SIGKILL")


async def versions(authz: Supervised) -> list[str]:
    samples = await authz.metrics()
    found = [dict(labels)["version"] for name, labels in samples if name == "authz_worker_policy_set_info"]
    return found if len(found) == authz.workers else []


@pytest.mark.parametrize("way", ["edit", "hang-up"])
async def test_a_change_reaches_every_worker(app, folder, way):
    async with Supervised(folder, app) as authz:
        [before, _] = await versions(authz)
        if way == "edit":
            app.write("policies/all.cedar", '@id("nobody") forbid(principal, action, resource);\n')
        else:
            authz.worker_kill(authz.pid, signal.SIGHUP)

        async def reached() -> bool:
            samples = await authz.metrics()
            accepted = samples["authz_policy_reloads_total", (("result", "accepted"),)]
            return accepted >= 4 and (way == "hang-up" or before not in await versions(authz))

        await until(reached, "both workers have read anew")
        [one, other] = await versions(authz)
        assert one == other
        statuses = {(await authz.ask()).status for _ in range(20)}
        assert statuses == ({403} if way == "edit" else {200})
        if way == "hang-up":
            assert [event["workers"] for event in authz.events() if event["event"] == "reload"] == [2]


async def test_a_change_that_is_refused_is_counted_of_all_and_workers_started_later_do_not_open_by_it(app, folder):
    """The others go on with the last good state; the one that was killed comes when the file can be read."""
    async with Supervised(folder, app) as authz:
        policies = (app.folder / "policies/all.cedar").read_text()
        app.write("policies/all.cedar", "permit(")

        async def refused() -> bool:
            return (await authz.metrics())["authz_policy_reloads_total", (("result", "rejected"),)] == 2

        await until(refused, "both workers refuse it")
        pids = await authz.pids()
        authz.worker_kill(pids["2"])

        async def tried() -> bool:
            ended = [event for event in authz.events() if event.get("how") == "exit code 2"]
            return any("policies/all.cedar:1" in event["problems"][0] for event in ended)

        await until(tried, "the new worker says what it cannot read")
        assert list(await authz.pids()) == ["1"]
        assert {(await authz.ask()).status for _ in range(10)} == {200}
        assert (await send(authz.admin, "/readyz")).status == 200
        app.write("policies/all.cedar", policies)
        await until(authz.ready, "both serve again")


async def test_a_worker_started_later_keeps_to_the_settings_of_the_start(app, folder):
    async with Supervised(folder, app) as authz:
        pids = await authz.pids()
        app.edit("authz.yaml", "record: {output: none}", "record: {output: none}\ntrusted_proxies: [192.0.2.0/24]")
        authz.worker_kill(pids["1"])
        await gone([pids["1"]])
        await until(authz.ready, "both serve again")
        assert {(await authz.ask()).status for _ in range(20)} == {200}
        told = [event for event in authz.events() if "`trusted_proxies` was changed" in event["event"]]
        assert {event["logger"] for event in told} >= {"authz.worker"}


async def test_records_and_the_log_of_all_share_one_file_in_whole_lines_that_say_whose_they_are(app, folder):
    app.edit("authz.yaml", "record: {output: none}", "record: {output: stdout, principal: hashed}")
    async with Supervised(folder, app) as authz:
        await asyncio.gather(*(authz.ask() for _ in range(60)))
        pids = await authz.pids()
        assert await authz.stop() == 0
    lines = [json.loads(line) for line in authz.log.splitlines()]
    records = [line for line in lines if line["event"] == "decision"]
    assert len(records) == 60
    assert len({record["decision_id"].partition("-")[0] for record in records}) == 2
    # One key for all, though none is configured: what one principal did can be put together.
    assert len({record["principal"] for record in records}) == 1
    serving = [line for line in lines if line["event"] == "serving" and line["logger"] == "authz.worker"]
    assert {(str(line["worker"]), line["pid"]) for line in serving} == set(pids.items())


# --- TLS


async def shown(port: int, context: ssl.SSLContext) -> bytes:
    """The certificate that a fresh connection is shown."""
    _, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context)
    found: bytes = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
    writer.close()
    await writer.wait_closed()
    return found


async def test_workers_and_the_admin_listener_show_a_certificate_and_its_renewal(app, folder):
    world = World(app.folder)
    tls = {"certificate": "server.pem", "key": "server.key"}

    class Encrypted(Supervised):
        async def ready(self) -> bool:
            return sum('"authz.worker","event":"serving"' in line for line in self.log.splitlines()) == self.workers

    authz = Encrypted(folder, app)
    listeners = [{"address": f"127.0.0.1:{port}", "tls": tls} for port in (authz.http, authz.admin)]
    app.edit("authz.yaml", f'"127.0.0.1:{authz.http}"', json.dumps(listeners[0]))
    app.edit("authz.yaml", f'"127.0.0.1:{authz.admin}"', json.dumps(listeners[1]))
    async with authz:
        context = world.context()
        before = {await shown(port, context) for port in (authz.http, authz.admin) for _ in range(4)}
        assert len(before) == 1
        world.serve()

        async def renewed() -> bool:
            now = {await shown(port, context) for port in (authz.http, authz.admin) for _ in range(16)}
            return not now & before

        await until(renewed, "all show the new certificate")


# --- stop


class SlowKeys:
    """An issuer's key set; from the second time on it is told only when `go` is set."""

    def __init__(self, keys: str) -> None:
        self.keys = keys
        self.asked = 0
        self.held = asyncio.Event()
        self.go = asyncio.Event()
        self.free = 0

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        self.asked += 1
        if self.asked > self.free:
            self.held.set()
            await self.go.wait()
        body = self.keys.encode()
        head = f"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\n"
        writer.write(f"{head}connection: close\r\n\r\n".encode() + body)
        await writer.drain()
        writer.close()


async def under_way(authz: Supervised, keys: SlowKeys) -> asyncio.Task[Any]:
    """A question that waits for keys. One that came within the cool-down of a worker's first look is refused at once."""
    while True:
        asked = asyncio.create_task(authz.ask(kid="another"))
        held = asyncio.create_task(keys.held.wait())
        await asyncio.wait({asked, held}, return_when=asyncio.FIRST_COMPLETED)
        held.cancel()
        if not asked.done():
            return asked


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT])
async def test_a_stop_answers_what_is_under_way(app, folder, how):
    keys = SlowKeys((app.folder / "jwks.json").read_text())
    keys.free = 2
    port = free_port()
    server = await asyncio.start_server(keys, "127.0.0.1", port)
    app.edit("authz.yaml", "jwks_file: jwks.json", f"jwks_uri: http://127.0.0.1:{port}/\n    cool_down: 1ms")
    app.edit("authz.yaml", "record: {output: none}", "record: {output: none}\nlimits: {deadline: 30s, drain: 30s}")
    async with server, Supervised(folder, app) as authz:
        asked = await under_way(authz, keys)
        pids = list((await authz.pids()).values())
        # As Ctrl-C: to the whole process group.
        authz.worker_kill(authz.pid if how is signal.SIGTERM else -authz.pid, how)

        async def draining() -> bool:
            reply = await send(authz.admin, "/readyz")
            return reply.status == 503 and not reply.json()["checks"]["draining"]["ok"]

        await until(draining, "readiness falls")
        assert not asked.done()
        keys.keys = keys.keys.replace('"k1"', '"another"')
        keys.go.set()
        assert (await asked).status == 200
        await gone([authz.pid, *pids])
        assert await authz.stop() == 0


async def test_workers_do_not_outlive_a_supervisor_that_is_killed(app, folder):
    async with Supervised(folder, app) as authz:
        pids = list((await authz.pids()).values())
        assert all(alive(pid) for pid in pids)
        authz.worker_kill(authz.pid)
        await gone(pids)
        # Nothing is left that would be in the way of the next start.
        assert not authz.socket.exists()
        await authz.kill()
    async with authz:
        assert (await authz.ask()).status == 200


async def test_a_worker_that_is_told_to_end_drains_and_is_replaced(app, folder):
    async with Supervised(folder, app) as authz:
        pids = await authz.pids()
        authz.worker_kill(pids["1"], signal.SIGTERM)
        await gone([pids["1"]])
        await until(authz.ready, "both serve again")
        assert authz.socket.exists()
        assert (await authz.ask(authz.socket)).status == 200
        [ended] = [event for event in authz.events() if event["event"] == "a worker ended and is started again"]
        assert ended["how"] == "exit code 0"


async def test_another_start_on_the_same_address_is_refused_and_disturbs_nobody(app, folder, tmp_path: Path):
    async with Supervised(folder, app) as authz:
        for workers in (1, 2):
            second = await asyncio.create_subprocess_exec(
                *authz.command()[:-1],
                str(workers),
                env=authz.environment(),
                cwd=tmp_path,
                stderr=asyncio.subprocess.PIPE,
            )
            _, told = await second.communicate()
            assert second.returncode == 2
            assert b"cannot listen on" in told
            assert b"Traceback" not in told
        assert {(await authz.ask()).status for _ in range(10)} == {200}
        assert (await authz.ask(authz.socket)).status == 200
