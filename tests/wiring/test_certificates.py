"""Certificates of listeners, by the configuration: errors with their line, the check, the watch, the metric."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sys
from pathlib import Path

import pytest
import yaml

from authz import cli
from authz.config.load import load_config
from authz.core.errors import Misconfigured
from authz.wiring import assemble
from authz.wiring.certificates import kept_current, read_certificates
from tests.proxies.client import send
from tests.proxies.harness import REPOSITORY, Folder, Program, free_port
from tests.servers.raw_http import Client, request, until
from tests.servers.tls_support import DAY, LISTED, World, put

PAIR = "certificate: server.pem, key: server.key"
MUTUAL = f"{PAIR}, client_ca: clients.pem, clients: [{LISTED}]"


@pytest.fixture
def world(app) -> World:
    return World(app.folder)


def configured(app, listeners: str, more: str = "") -> None:
    app.edit("authz.yaml", 'listeners: {http: "127.0.0.1:0"}\n', f"listeners:\n{listeners}{more}")


def told(app, *, certificates: bool = False) -> list[str]:
    problems = assemble(app.config, certificates=certificates).problems
    return [str(problem).replace(f"{app.folder}/", "") for problem in problems]


# --- the configuration ------------------------------------------------------------------------------------


def one(tls: str, address: str = "127.0.0.1:0", kind: str = "http") -> str:
    return f'  {kind}:\n    address: "{address}"\n    tls: {{{tls}}}\n'


def in_a_list(tls: str) -> str:
    return f'  http:\n  - "127.0.0.1:0"\n  - address: "127.0.0.1:0"\n    tls: {{{tls}}}\n'


UNKNOWN_NAME = "is no name; expected a DNS name, a URI, a common name, or `*.suffix`, which covers one more label"


@pytest.mark.parametrize(
    ("listeners", "expected"),
    [
        (one(f"{PAIR}, client_ca: clients.pem"), "authz.yaml:4: `client_ca` without `clients`: nobody could speak for clients; list their names"),
        (one(f"{PAIR}, clients: [a]"), "authz.yaml:4: `clients` without `client_ca`: nobody is asked for a certificate; name the CA of theirs"),
        (in_a_list(f"{PAIR}, client_ca: clients.pem"), "authz.yaml:5: `client_ca` without `clients`"),
        (one(PAIR, "unix:/run/authz/http.sock"), "authz.yaml:4: `unix:/run/authz/http.sock` is a Unix socket: its permissions say who may come; TLS is for TCP addresses"),
        (one(f'{PAIR}, minimum: "1.3"', kind="grpc"), 'authz.yaml:4: grpcio takes TLS 1.2 and newer, always; leave `minimum` at "1.2": only aiohttp can be told'),
        (one(f'{PAIR}, minimum: "1.1"'), "authz.yaml:4: `listeners.http.tls.minimum`: input should be '1.2' or '1.3'"),
        (one("certificate: server.pem"), "authz.yaml:4: `listeners.http.tls.key` is required"),
        (one(f"{PAIR}, client_ca: clients.pem, clients: ['*']"), f"authz.yaml:4: `*` {UNKNOWN_NAME}"),
        (one(f"{PAIR}, client_ca: clients.pem, clients: [a, 'g*.b']"), f"authz.yaml:4: `g*.b` {UNKNOWN_NAME}"),
        (one(f"{PAIR}, client_ca: clients.pem, clients: ['*.']"), f"authz.yaml:4: `*.` {UNKNOWN_NAME}"),
        (one(f"{PAIR}, client_ca: clients.pem, clients: ['']"), f"authz.yaml:4: `` {UNKNOWN_NAME}"),
        (one(f"{PAIR}, client_ca: clients.pem, clients: ['spiffe://a b']"), f"authz.yaml:4: `spiffe://a b` {UNKNOWN_NAME}"),
    ],
)  # fmt: skip
def test_half_a_mutual_tls_is_an_error_with_its_line(app, world, listeners, expected):
    configured(app, listeners)
    assert [line for line in told(app) if line.startswith(expected)], told(app)
    assert assemble(app.config).assembly is None


@pytest.mark.parametrize(
    "name", [LISTED, "*.example.com", "*.internal", "spiffe://example.com/a", "urn:a:b", "Edge Gateway"]
)
def test_names_of_every_kind_can_be_listed(app, world, name):
    configured(app, one(f"{PAIR}, client_ca: clients.pem, clients: ['{name}']"))
    assert told(app, certificates=True) == []


def test_an_admin_listener_that_asks_for_certificates_may_stand_anywhere(app, world):
    http = '  http: "127.0.0.1:0"\n'
    configured(app, http + one(MUTUAL, "0.0.0.0:9193", "admin"))
    assert told(app) == []
    app.edit("authz.yaml", MUTUAL, PAIR)
    (line,) = told(app)
    assert "metrics and readiness can be read by whoever reaches this address" in line


# --- the files --------------------------------------------------------------------------------------------


def test_the_check_tells_what_is_wrong_with_the_files_and_a_reload_does_not(app, world):
    configured(app, one(MUTUAL) + one(PAIR, "127.0.0.1:0", "admin"))
    assert told(app, certificates=True) == []
    put(app.folder / "server.key", b"rubbish")
    (app.folder / "clients.pem").unlink()
    expected = [
        "server.key: holds no PEM private key, or one that is cut off or damaged",
        "clients.pem: cannot be read: no such file or directory",
    ]
    assert told(app, certificates=True) == expected
    assert assemble(app.config, certificates=True).assembly is None
    assert told(app) == []
    with pytest.raises(Misconfigured) as caught:
        read_certificates(load_config(app.config).required())
    assert len(caught.value.problems) == 2


def test_the_command_tells_them(app, world, capsys):
    configured(app, one(MUTUAL))
    assert cli.main(["check", "-c", str(app.config)]) == cli.OK
    world.serve(ends=3 * DAY)
    assert cli.main(["check", "-c", str(app.config)]) == cli.OK
    assert "server.pem: warning: expires at" in capsys.readouterr().err
    world.serve(ends=-DAY)
    assert cli.main(["check", "-c", str(app.config)]) == cli.UNUSABLE
    assert "server.pem: expired at" in capsys.readouterr().err


def test_listeners_of_the_same_files_share_a_certificate(app, world):
    configured(app, in_a_list(PAIR) + one(PAIR, "127.0.0.1:9193", "admin"))
    found = read_certificates(load_config(app.config).required())
    listeners = found.config.shape.listeners
    assert found.of(listeners.http[0]) is None
    assert found.of(listeners.http[1]) is found.of(listeners.admin[0]) is not None
    assert set(found.expiries()) == {"127.0.0.1:0", "127.0.0.1:9193"}
    assert all(360 * 86400 < remaining < 366 * 86400 for remaining in found.expiries().values())


# --- the watch --------------------------------------------------------------------------------------------


def volume(folder: Path, name: str, files: dict[str, bytes]) -> None:
    """Puts files there as Kubernetes does: in a folder of their own, and a link swapped onto it."""
    (folder / name).mkdir()
    for file, content in files.items():
        (folder / name / file).write_bytes(content)
    link = folder / "..new"
    link.symlink_to(name)
    os.replace(link, folder / "..data")


def test_a_change_by_swapped_links_is_seen(app, world):
    mounted = app.folder / "tls"
    mounted.mkdir()

    def files(pair) -> dict[str, bytes]:
        return {"tls.crt": pair.pem, "tls.key": pair.key_pem}

    volume(mounted, "..1", files(world.ca.issue("localhost")))
    for name in ("tls.crt", "tls.key"):
        (mounted / name).symlink_to(f"..data/{name}")
    configured(app, one("certificate: tls/tls.crt, key: tls/tls.key"))
    new = world.ca.issue("localhost")

    async def talk() -> None:
        config = await asyncio.to_thread(lambda: load_config(app.config).required())
        async with kept_current(config) as current:
            (found,) = current.by_files.values()
            await asyncio.to_thread(volume, mounted, "..2", files(new))
            await until(lambda: found.material.certificate == new.pem, "renewed")

    asyncio.run(talk())


def test_key_and_certificate_written_one_after_the_other_count_once_both_are_there(app, world, caplog):
    configured(app, one(PAIR))
    new = world.ca.issue("localhost")

    async def talk() -> None:
        config = await asyncio.to_thread(lambda: load_config(app.config).required())
        async with kept_current(config) as current:
            (found,) = current.by_files.values()
            before = found.material
            await asyncio.to_thread(put, app.folder / "server.pem", new.pem)
            await until(lambda: "TLS files rejected" in caplog.text, "told")
            assert found.material is before
            await asyncio.to_thread(put, app.folder / "server.key", new.key_pem)
            await until(lambda: found.material.certificate == new.pem, "renewed")

    asyncio.run(talk())
    assert "is not the key of the certificate" in caplog.text


def test_a_change_between_reading_and_watching_is_seen(app, world):
    configured(app, one(PAIR))

    async def talk() -> None:
        config = await asyncio.to_thread(lambda: load_config(app.config).required())
        found = await asyncio.to_thread(read_certificates, config)
        new = await asyncio.to_thread(world.serve)
        watching = asyncio.create_task(found.watch())
        (one,) = found.by_files.values()
        await until(lambda: one.material.certificate == new.pem, "renewed")
        watching.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await watching

    asyncio.run(talk())


def test_without_tls_nothing_is_watched(app):
    async def talk() -> None:
        config = await asyncio.to_thread(lambda: load_config(app.config).required())
        async with kept_current(config) as current:
            assert current.expiries() == {}
            assert [task.get_name() for task in asyncio.all_tasks() if "tls" in task.get_name()] == []

    asyncio.run(talk())


# --- the process ------------------------------------------------------------------------------------------


class Serve(Program):
    """`authz serve` with TLS at the HTTP door, and mutual TLS at the admin listener."""

    name = "authz"

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.world = World(folder)
        self.context = self.world.context(self.world.client_ca.issue(LISTED))
        self.http, self.admin = free_port(), free_port()

    def command(self) -> list[str]:
        pair = {"certificate": "server.pem", "key": "server.key"}
        mutual = pair | {"client_ca": "clients.pem", "clients": [LISTED]}
        settings = {
            "listeners": {
                "http": {"address": f"127.0.0.1:{self.http}", "tls": pair},
                "admin": {"address": f"127.0.0.1:{self.admin}", "tls": mutual},
            },
            "policies": {"path": str(REPOSITORY / "policies/documents")},
            "routes": [],
            "record": {"output": "none"},
        }
        file = self.folder / "authz.yaml"
        file.write_text(yaml.safe_dump(settings), encoding="utf-8")
        return [sys.executable, "-m", "authz", "serve", "--config", str(file)]

    def environment(self) -> dict[str, str]:
        return super().environment() | {"PYTHONPATH": str(REPOSITORY)}

    async def ready(self) -> bool:
        try:
            status, _ = await self.ask(self.admin, "/readyz")
        except (OSError, asyncio.IncompleteReadError):
            return False
        return status == 200

    async def ask(self, port: int, target: str, context=None) -> tuple[int, bytes]:
        client = await Client.connect(f"127.0.0.1:{port}", context or self.context)
        try:
            client.send(request(target, "Connection: close"))
            reply = await client.reply()
            return reply.status, reply.body
        finally:
            await client.close()

    async def shown(self) -> bytes:
        client = await Client.connect(f"127.0.0.1:{self.http}", self.context)
        certificate: bytes = client.writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
        await client.close()
        return certificate


@pytest.mark.parametrize("by", ["watch", "hang-up"])
async def test_a_serving_process_shows_a_new_certificate(by):
    with Folder() as folder:
        async with Serve(folder) as authz:
            status, body = await authz.ask(authz.http, "/envoy/x")
            assert (status, json.loads(body)["reason"]) == (403, "no_route")
            _, metrics = await authz.ask(authz.admin, "/metrics")
            assert b'authz_certificate_expiry_seconds{listener="127.0.0.1:%d"} 3.15' % authz.http in metrics
            new = authz.world.serve(ends=10 * DAY)
            if by == "hang-up":
                os.kill(authz.pid, signal.SIGHUP)
            while await authz.shown() != new.der:
                await asyncio.sleep(0.02)
            _, metrics = await authz.ask(authz.admin, "/metrics")
            assert b'authz_certificate_expiry_seconds{listener="127.0.0.1:%d"} 86' % authz.http in metrics
            put(folder / "server.pem", b"rubbish")
            while "TLS files rejected" not in authz.log:
                await asyncio.sleep(0.02)
            assert await authz.shown() == new.der
            assert await authz.stop() == 0
            assert "PRIVATE" not in authz.log


async def test_the_admin_listener_tells_nothing_to_a_name_that_is_not_listed():
    with Folder() as folder:
        authz = Serve(folder)
        stranger = authz.world.context(authz.world.client_ca.issue("other.example.com"))
        async with authz:
            for target in ("/livez", "/readyz", "/metrics", "/"):
                status, body = await authz.ask(authz.admin, target, stranger)
                assert (status, b"`clients`" in body) == (403, True)
            with pytest.raises((OSError, asyncio.IncompleteReadError)):
                await authz.ask(authz.admin, "/livez", authz.world.context())
            with pytest.raises((OSError, AssertionError, asyncio.IncompleteReadError)):
                await send(authz.admin, "/livez")


async def test_a_process_does_not_start_with_files_that_cannot_be_used():
    with Folder() as folder:
        authz = Serve(folder)
        put(folder / "server.key", authz.world.ca.issue("localhost").key_pem)
        with pytest.raises(AssertionError, match="ended with status 2") as caught:
            await authz.start()
        assert "server.key: is not the key of the certificate" in str(caught.value)
