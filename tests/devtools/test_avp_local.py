"""`authz avp-local` as a process: the environment it prints, what it refuses, its end."""

import os
import re
import signal
import socket
import subprocess
import sys
from pathlib import Path

import boto3.session
import pytest
from botocore.config import Config

ROOT = Path(__file__).parents[2]
ALONE = {
    "PYTHONPATH": str(ROOT),
    "AWS_EC2_METADATA_DISABLED": "true",
    "AWS_CONFIG_FILE": os.devnull,
    "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
}


def command(*arguments):
    return [sys.executable, "-m", "authz", "avp-local", *arguments]


def environment():
    kept = {
        name: value for name, value in os.environ.items() if not name.startswith("AWS_") and name != "PYTHONUNBUFFERED"
    }
    return {**kept, **ALONE}


class Started:
    def __init__(self, *arguments):
        self.process = subprocess.Popen(
            command("--listen", "127.0.0.1:0", *arguments),
            env=environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert self.process.stdout is not None
        self.lines = [self.process.stdout.readline().strip() for _ in range(4)]
        self.variables = dict(re.findall(r"(\w+)=(\S+)", "\n".join(self.lines[1:])))

    def end(self, number=signal.SIGTERM):
        if self.process.poll() is None:
            self.process.send_signal(number)
        _, errors = self.process.communicate(timeout=20)
        return self.process.returncode, errors


@pytest.fixture
def start():
    started = []

    def one(*arguments):
        started.append(Started(*arguments))
        return started[-1]

    yield one
    for each in started:
        each.end()


def client(monkeypatch, variables):
    for name, value in {**ALONE, **variables}.items():
        monkeypatch.setenv(name, value)
    return boto3.session.Session().client("verifiedpermissions", config=Config(retries={"total_max_attempts": 1}))


def test_the_printed_environment_is_all_a_client_needs(monkeypatch, start):
    started = start()
    assert re.fullmatch(r"Verified Permissions, emulated: http://127\.0\.0\.1:\d+", started.lines[0])
    assert set(started.variables) == {
        "AWS_ENDPOINT_URL_VERIFIEDPERMISSIONS",
        "AWS_REGION",
        "AWS_DEFAULT_REGION",
        "AWS_ACCESS_KEY_ID",
        "AWS_SECRET_ACCESS_KEY",
    }
    made = client(monkeypatch, started.variables).create_policy_store(validationSettings={"mode": "OFF"})
    assert made["ResponseMetadata"]["HTTPStatusCode"] == 200


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_in_order(start, number):
    assert start().end(number) == (0, "")


def test_its_state_can_be_kept_in_a_file(monkeypatch, start, tmp_path):
    first = start("--state", str(tmp_path / "avp.db"))
    store = client(monkeypatch, first.variables).create_policy_store(validationSettings={"mode": "OFF"})[
        "policyStoreId"
    ]
    assert first.end() == (0, "")
    second = start("--state", str(tmp_path / "avp.db"), "--quota", "real", "--limit", "templates=1")
    assert client(monkeypatch, second.variables).get_policy_store(policyStoreId=store)["policyStoreId"] == store
    assert second.end() == (0, "")


def test_what_was_answered_outlives_a_kill(monkeypatch, start, tmp_path):
    first = start("--state", str(tmp_path / "avp.db"))
    asked = client(monkeypatch, first.variables)
    stores = [asked.create_policy_store(validationSettings={"mode": "OFF"})["policyStoreId"] for _ in range(3)]
    assert first.end(signal.SIGKILL)[0] == -signal.SIGKILL
    second = start("--state", str(tmp_path / "avp.db"))
    listed = client(monkeypatch, second.variables).list_policy_stores()["policyStores"]
    assert [one["policyStoreId"] for one in listed] == stores


def refused(*arguments):
    done = subprocess.run(
        command(*arguments), env=environment(), capture_output=True, text=True, timeout=60, check=False
    )
    assert "Traceback" not in done.stderr
    assert done.stdout == ""
    return done.returncode, done.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--listen", "8181"], "expected HOST:PORT"),
        (["--listen", "127.0.0.1:99999"], "expected HOST:PORT"),
        (["--limit", "templates"], "expected NAME=NUMBER"),
        (["--limit", "doors=1"], "no quota is named `doors`"),
        (["--limit", "identity_sources=2"], "no quota is named `identity_sources`"),
        (["--limit", "templates=-1"], "expected a number"),
        (["--keys", "https://issuer"], "expected ISSUER=PLACE"),
        (["--state", "/nowhere/avp.db"], "the folder must exist"),
        (["--quota", "some"], "invalid choice"),
    ],
)  # fmt: skip
def test_what_cannot_be_used_is_told(arguments, message):
    code, errors = refused(*arguments)
    assert (code, message in errors) == (2, True), errors


def test_an_address_that_is_taken():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        code, errors = refused("--listen", address)
    assert code == 2
    assert f"{address}: cannot be listened on" in errors


def test_a_file_of_another_program(tmp_path):
    file = tmp_path / "notes.txt"
    file.write_text("not a database\n" * 100)
    code, errors = refused("--state", str(file), "--listen", "127.0.0.1:0")
    assert (code, "is no SQLite database" in errors) == (2, True)
