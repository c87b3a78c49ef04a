"""A policy store in an emulator of its own process, filled: what the benchmarks of Verified Permissions ask."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import boto3.session
import botocore.session
from botocore.config import Config

REGION = "us-east-1"
KEYS = {"AWS_ACCESS_KEY_ID": "bench", "AWS_SECRET_ACCESS_KEY": "bench", "AWS_EC2_METADATA_DISABLED": "true"}
_URL = re.compile(r"http://127\.0\.0\.1:\d+")
SCHEMA = {
    "Bench": {
        "entityTypes": {"User": {}, "Document": {}},
        "actions": {"Read": {"appliesTo": {"principalTypes": ["User"], "resourceTypes": ["Document"]}}},
    }
}


@contextmanager
def emulator() -> Iterator[str]:
    """The URL of an emulator that runs meanwhile."""
    command = [sys.executable, "-m", "authz", "avp-local", "--listen", "127.0.0.1:0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env={**os.environ, **KEYS}) as process:
        try:
            found = _URL.search(process.stdout.readline()) if process.stdout is not None else None
            if found is None:
                raise RuntimeError("`authz avp-local` did not start")
            yield found[0]
        finally:
            process.terminate()


def client(url: str, *, connections: int = 8) -> Any:
    """A boto3 client as a program would make it, without second attempts."""
    alone = botocore.session.Session(
        session_vars=dict.fromkeys(("config_file", "credentials_file"), (None, None, os.devnull, None))
    )
    session = boto3.session.Session(
        botocore_session=alone, aws_access_key_id="bench", aws_secret_access_key="bench", region_name=REGION
    )
    config = Config(retries={"total_max_attempts": 1}, max_pool_connections=connections)
    return session.client("verifiedpermissions", endpoint_url=url, config=config)


def permit(number: int, *, user: str = "anybody") -> str:
    """A policy for one document."""
    who = f'principal == Bench::User::"{user}"' if user != "anybody" else "principal"
    return f'permit({who}, action == Bench::Action::"Read", resource == Bench::Document::"d{number}");'


def store(client: Any, size: int) -> str:
    """A policy store with so many policies, one a document; its id."""
    made = str(client.create_policy_store(validationSettings={"mode": "STRICT"})["policyStoreId"])
    client.put_schema(policyStoreId=made, definition={"cedarJson": json.dumps(SCHEMA)})
    with ThreadPoolExecutor(4) as threads:
        for _ in threads.map(lambda number: create(client, made, permit(number)), range(size)):
            pass
    return made


def create(client: Any, store: str, statement: str) -> str:
    """A new policy; its id."""
    return str(client.create_policy(policyStoreId=store, definition={"static": {"statement": statement}})["policyId"])


def question(number: int) -> dict[str, Any]:
    """Arguments of `is_authorized` beside the store: an entity with attributes, and a context."""
    return {
        "principal": {"entityType": "Bench::User", "entityId": "u1"},
        "action": {"actionType": "Bench::Action", "actionId": "Read"},
        "resource": {"entityType": "Bench::Document", "entityId": f"d{number}"},
        "context": {"contextMap": {"ip": {"ipaddr": "192.0.2.7"}, "mfa": {"boolean": True}}},
        "entities": {
            "entityList": [
                {
                    "identifier": {"entityType": "Bench::User", "entityId": "u1"},
                    "attributes": {"department": {"string": "finance"}, "level": {"long": 3}},
                    "parents": [],
                }
            ]
        },
    }


def median_of(times: Sequence[float]) -> float:
    """The middle one."""
    return sorted(times)[len(times) // 2]
