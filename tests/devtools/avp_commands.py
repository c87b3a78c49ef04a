"""`authz avp` in this process, against an emulator of its own."""

from __future__ import annotations

import functools
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from authz import cli
from authz.aws.client import avp_client
from tests.emulator.running import REGION, Emulator, emulator_thread

SCHEMA = """namespace App {
  entity Group;
  entity User in [Group] { level: Long };
  entity Doc { owner: User };
  action read, write appliesTo { principal: User, resource: Doc };
}
"""
READ = 'permit(principal, action == App::Action::"read", resource);'
WRITE = 'permit(principal, action == App::Action::"write", resource) when { resource.owner == principal };'
STOP = "forbid(principal, action, resource) when { principal.level < 1 };"
SHARE = '@id("share") permit(principal == ?principal, action, resource == ?resource);'
LINK = {"id": "ann-7", "template": "share", "principal": 'App::User::"ann"', "resource": 'App::Doc::"7"'}
SOURCE: dict[str, Any] = {
    "configuration": {
        "cognitoUserPoolConfiguration": {
            "userPoolArn": "arn:aws:cognito-idp:us-east-1:123456789012:userpool/us-east-1_abcdefghi",
            "clientIds": ["web"],
            "groupConfiguration": {"groupEntityType": "App::Group"},
        }
    },
    "principalEntityType": "App::User",
}
WHOLE: dict[str, Any] = {
    "schema.cedarschema": SCHEMA,
    "docs.cedar": f"{READ}\n{WRITE}\n",
    "guard/stop.cedar": f'@id("stop")\n{STOP}\n',
    "sharing.cedar": SHARE,
    "links.json": [LINK],
    "identity_source.json": SOURCE,
}
ENVIRONMENT = {
    "AWS_EC2_METADATA_DISABLED": "true",
    "AWS_ACCESS_KEY_ID": "AKIDEXAMPLE",
    "AWS_SECRET_ACCESS_KEY": "no-secret",
    "AWS_DEFAULT_REGION": REGION,
    "AWS_CONFIG_FILE": "/dev/null",
    "AWS_SHARED_CREDENTIALS_FILE": "/dev/null",
}


@dataclass
class Said:
    code: int
    out: str
    err: str


@dataclass
class Tool:
    """The commands, on one emulator."""

    emulator: Emulator
    capsys: pytest.CaptureFixture[str]

    def __call__(self, command: str, folder: Path, *arguments: str) -> Said:
        self.capsys.readouterr()
        end = ("--endpoint", self.emulator.url, "--rate", "1000")
        code = cli.main(["avp", command, str(folder), *arguments, *end])
        said = self.capsys.readouterr()
        assert "Traceback" not in said.err
        assert "no-secret" not in said.out + said.err
        return Said(code, said.out, said.err)

    @property
    def client(self) -> Any:
        return _client(self.emulator)

    def store(self, mode: str = "OFF") -> str:
        return str(self.client.create_policy_store(validationSettings={"mode": mode})["policyStoreId"])

    def texts(self, store: str) -> dict[str, str]:
        """Name (or id, where there is none) → statement, of all static policies."""
        client = self.client
        found = {}
        for item in everything(client, "list_policies", "policies", policyStoreId=store):
            if item["policyType"] == "STATIC":
                whole = client.get_policy(policyStoreId=store, policyId=item["policyId"])
                found[item.get("name", item["policyId"])] = whole["definition"]["static"]["statement"]
        return found


@functools.cache
def _client(emulator: Emulator) -> Any:
    return emulator.client()


def everything(client: Any, operation: str, member: str, **arguments: Any) -> Iterator[Mapping[str, Any]]:
    yield from client.get_paginator(operation).paginate(**arguments).search(member)


@contextmanager
def environment() -> Iterator[None]:
    """No machine's AWS configuration counts, and nobody waits as long as outside."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN", "AWS_REGION", "AWS_ENDPOINT_URL"):
            patch.delenv(name, raising=False)
        for name, value in ENVIRONMENT.items():
            patch.setenv(name, value)
        patch.setattr("authz.devtools.avp.command.FIRST_WAIT", 0.001)
        # A client takes longer to make than most of what it is made for.
        patch.setattr("authz.devtools.avp.command.avp_client", functools.cache(avp_client))
        yield


@contextmanager
def emulated() -> Iterator[Emulator]:
    with environment(), emulator_thread() as emulator:
        yield emulator


def folder_of(path: Path, files: Mapping[str, str | object]) -> Path:
    """Writes files; what is no text is written as JSON."""
    path.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        file = path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes((content if isinstance(content, str) else json.dumps(content)).encode())
    return path
