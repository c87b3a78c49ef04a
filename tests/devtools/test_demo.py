"""`authz demo` as a user starts it: a real Envoy, `authz serve`, every process and file gone at the end."""

import asyncio
import os
import re
import shlex
import signal
import socket
import subprocess
import sys
from collections.abc import Collection
from pathlib import Path

import boto3
import pytest
import yaml

from tests.proxies.client import Reply, send
from tests.proxies.harness import REPOSITORY, WITHIN, free_port, tool, until

pytestmark = pytest.mark.proxy
PATIENT = ("--within", "30")
"""How soon an edit counts is no property of the code on a busy machine; `make demo-check` asks for five seconds."""


class Demo:
    """`python -m authz demo …` as a child process, with a folder for what it puts into the temporary folder."""

    def __init__(self, folder: Path, *words: str, envoy: str | Path | None = None) -> None:
        self.temporary = folder / "tmp"
        self.temporary.mkdir()
        self.output = folder / "output.txt"
        environment = {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")}
        program = envoy or os.environ.get("AUTHZ_ENVOY") or tool("lib/python3*/site-packages/envoy/_bin/envoy")
        with self.output.open("wb") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "authz", "demo", *words],
                cwd=REPOSITORY,
                env=environment | {"AUTHZ_ENVOY": str(program), "TMPDIR": str(self.temporary)},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
            )

    @property
    def text(self) -> str:
        return self.output.read_text()

    async def says(self, text: str) -> None:
        async def said() -> bool:
            assert self.process.poll() is None or text in self.text, self.text
            return text in self.text

        await until(said, f"the demo says `{text}`", within=2 * WITHIN)

    def children(self) -> dict[str, int]:
        """Name → process id of what it has started."""
        found = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        commands = {int(pid): Path(f"/proc/{pid}/cmdline").read_text() for pid in found}
        names = {"serve": "authz", "avp-local": "avp-local"}
        return {
            next((name for word, name in names.items() if word in command), "envoy"): pid
            for pid, command in commands.items()
        }

    def ended(self) -> int:
        return self.process.wait(timeout=2 * WITHIN)

    def leaves_nothing(self, pids: Collection[int] = ()) -> bool:
        return not list(self.temporary.iterdir()) and not any(Path(f"/proc/{pid}").exists() for pid in pids)


@pytest.fixture
def demo(tmp_path):
    started = []

    def start(*words: str, envoy: str | Path | None = None) -> Demo:
        started.append(Demo(tmp_path, *words, envoy=envoy))
        return started[-1]

    yield start
    for one in started:
        if one.process.poll() is None:
            one.process.send_signal(signal.SIGTERM)
            one.ended()


def rows(text: str) -> list[str]:
    return [line for line in text.splitlines() if line.startswith(("Envoy ", "library "))]


@pytest.mark.parametrize("door", [[], ["--grpc"]], ids=["http", "grpc"])
def test_the_check_makes_every_request_and_each_goes_as_it_must(demo, door):
    checked = demo("--check", *PATIENT, *door)
    assert checked.ended() == 0, checked.text
    assert [line.split()[0] for line in rows(checked.text)] == ["Envoy"] * 5 + ["library"] * 5
    assert all(line.endswith("  ok") for line in rows(checked.text))
    assert "all 10 as they must be" in checked.text
    assert "\x1b" not in checked.text
    assert checked.leaves_nothing()


def test_an_edit_that_counts_too_late_fails_the_check(demo):
    checked = demo("--check", "--within", "0.000001")
    assert checked.ended() == 1
    [failed] = [line for line in rows(checked.text) if line.endswith("FAILED")]
    assert "200, as dave, in 1e-06 s" in failed
    assert "1 of 10 failed" in checked.text
    assert "the end of its log" in checked.text
    assert checked.leaves_nothing()


# --- for people ---------------------------------------------------------------------------------------------


async def paste(line: str) -> Reply:
    """What the printed command gets."""
    words = shlex.split(line)
    assert words[:3] == ["curl", "-iw", r"\n"]
    options = dict(zip(words[3:-1:2], words[4:-1:2], strict=True))
    method = options.pop("-X", "GET")
    header = options.pop("-H", None)
    assert options == {}
    headers = []
    if header is not None:
        name, _, value = Path(header.removeprefix("@")).read_text().strip().partition(": ")
        headers = [(name, value)]
    address = re.fullmatch(r"http://127\.0\.0\.1:(\d+)(/.*)", words[-1])
    assert address is not None, words
    return await send(int(address[1]), address[2], method=method, headers=headers)


async def test_the_printed_lines_do_what_is_said_below_them(demo):
    running = demo("--port", str(free_port()))
    await running.says("Ctrl-C ")
    lines = [line.strip() for line in running.text.splitlines() if line.startswith("   ")]
    allowed, denied, without, before, after = (line for line in lines if line.startswith("curl "))
    [edit] = [line for line in lines if line.startswith("sed ")]

    reply = await paste(allowed)
    assert (reply.status, reply.json()["x-auth-user"]) == (200, "alice")
    reply = await paste(denied)
    assert (reply.status, reply.header("content-type")) == (403, "application/problem+json")
    assert reply.json()["reason"] == "policy_forbid"
    assert reply.json()["policies"] == ["legal-hold-blocks-deletion"]
    assert "legal hold" in reply.json()["detail"]
    reply = await paste(without)
    assert reply.status == 401
    assert reply.header("www-authenticate") == 'Bearer realm="authz"'
    assert (await paste(before)).json()["reason"] == "policy_no_permit"

    await asyncio.to_thread(subprocess.run, edit, shell=True, check=True, capture_output=True)

    async def counts() -> bool:
        return (await paste(after)).status == 200

    await until(counts, "the edit counts")
    assert (await paste(after)).json()["x-auth-user"] == "dave"


async def test_a_bad_edit_is_refused_before_it_reaches_the_store(demo):
    running = demo()
    await running.says("Ctrl-C ")
    allowed = next(line.strip() for line in running.text.splitlines() if line.strip().startswith("curl "))
    [file] = running.temporary.glob("*/policies/documents/reading.cedar")
    file.write_text("permit (principal, action, resource) when { resource.classificaton == 0 };\n")
    [push] = running.temporary.glob("*/push")
    pushed = await asyncio.to_thread(subprocess.run, [push], capture_output=True, text=True, check=False)
    assert pushed.returncode == 2
    assert "reading.cedar:1: " in pushed.stderr
    assert (await paste(allowed)).status == 200


async def test_an_edit_by_another_client_of_the_store_counts_too(demo):
    running = demo()
    await running.says("Ctrl-C ")
    after = [line.strip() for line in running.text.splitlines() if line.strip().startswith("curl ")][-1]
    [settings] = running.temporary.glob("*/authz.yaml")
    store = yaml.safe_load(settings.read_text())["policies"]["verified_permissions"]
    client = boto3.client(
        "verifiedpermissions",
        endpoint_url=store["endpoint"],
        region_name=store["region"],
        aws_access_key_id="anybody",
        aws_secret_access_key="anything",
    )
    name = {"policyStoreId": store["policy_store"], "policyId": "name/employee-reads"}
    text = client.get_policy(**name)["definition"]["static"]["statement"]
    statement = text.replace("classification <= 1", "classification <= 2")
    client.update_policy(**name, definition={"static": {"statement": statement}})

    async def counts() -> bool:
        return (await paste(after)).status == 200

    await until(counts, "the edit counts")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP], ids=lambda number: number.name)
async def test_a_signal_ends_it_and_leaves_nothing_behind(demo, number):
    running = demo()
    await running.says("Ctrl-C ")
    children = running.children()
    assert children.keys() == {"authz", "avp-local", "envoy"}
    running.process.send_signal(number)
    running.process.send_signal(number)
    assert running.ended() == 0
    assert "Traceback" not in running.text
    assert running.leaves_nothing(children.values())


async def test_the_folder_is_kept_if_asked(demo):
    running = demo("--keep")
    await running.says("Ctrl-C ")
    running.process.send_signal(signal.SIGINT)
    assert running.ended() == 0
    [kept] = running.temporary.iterdir()
    assert running.text.rstrip().endswith(f"kept: {kept}")
    assert "removes the folder" not in running.text
    assert (kept / "authz.yaml").is_file()


@pytest.mark.parametrize(("child", "name"), [("authz", "authz serve"), ("envoy", "Envoy")])
async def test_a_child_that_dies_ends_it_with_the_reason(demo, child, name):
    running = demo()
    await running.says("Ctrl-C ")
    children = running.children()
    os.kill(children[child], signal.SIGKILL)
    assert running.ended() == 1
    assert f"authz demo: {name} has ended by SIGKILL" in running.text
    assert running.leaves_nothing(children.values())


# --- what can be wrong at the start -------------------------------------------------------------------------


def script(folder: Path, text: str) -> Path:
    file = folder / "envoy.sh"
    file.write_text(f"#!/bin/sh\n{text}\n")
    file.chmod(0o755)
    return file


def test_an_envoy_that_does_not_start_is_told_with_its_log(demo, tmp_path):
    failed = demo(envoy=script(tmp_path, "echo wrong machine >&2; exit 3"))
    assert failed.ended() == 1
    assert "authz demo: Envoy has ended with status 3; the end of its log:\nwrong machine\n" in failed.text
    assert failed.leaves_nothing()


async def test_an_interrupted_check_is_no_success(demo, tmp_path):
    waiting = demo("--check", envoy=script(tmp_path, "echo up; exec sleep 1000"))

    async def started() -> bool:
        return "up" in "".join(log.read_text() for log in waiting.temporary.glob("*/envoy.log"))

    await until(started, "the program that stands for Envoy is started")
    pids = waiting.children().values()
    waiting.process.send_signal(signal.SIGINT)
    assert waiting.ended() == 130
    assert waiting.leaves_nothing(pids)


def test_a_port_that_is_taken_is_told(demo):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        failed = demo("--port", str(port))
        assert failed.ended() == 1
    assert f"authz demo: port `{port}` of 127.0.0.1 is taken; give another `--port`, or none" in failed.text
    assert failed.leaves_nothing()
