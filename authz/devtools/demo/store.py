"""The demo's policy store: the emulator of Verified Permissions as a child, and how the sample policies get there."""

from __future__ import annotations

import asyncio
import json
import shlex
import sys
from collections.abc import Mapping
from pathlib import Path

from authz.devtools.demo import scenario
from authz.devtools.demo.issuer import AUDIENCE
from authz.devtools.demo.processes import Child, DemoError

ALIAS = "documents"
POLICY_STORE = f"policy-store-alias/{ALIAS}"
REGION = "us-east-1"
ENVIRONMENT = {
    "AWS_ACCESS_KEY_ID": "local",
    "AWS_SECRET_ACCESS_KEY": "local",
    "AWS_EC2_METADATA_DISABLED": "true",
}
"""The emulator asks for a signature, and takes any: nobody's real credentials come near it."""
IDENTITY_SOURCE = "identity_source.json"
ROOT = Path(__file__).resolve().parents[3]
"""Where the package `authz` is imported from; children find the same one from there."""


def identity_source(issuer: str) -> str:
    """Whose tokens the policies are written for, as the API has it: the demo's issuer, access tokens, groups."""
    source = {
        "principalEntityType": "Documents::User",
        "configuration": {
            "openIdConnectConfiguration": {
                "issuer": issuer,
                "groupConfiguration": {"groupClaim": "groups", "groupEntityType": "Documents::Role"},
                "tokenSelection": {"accessTokenOnly": {"audiences": [AUDIENCE]}},
            }
        },
    }
    return json.dumps(source, indent=2) + "\n"


def endpoint(port: int) -> str:
    """Where the emulator is."""
    return f"http://{scenario.HOST}:{port}"


def emulator(port: int, log: Path) -> Child:
    """The emulator, to be started. `--http-issuers`: the demo's issuer has no certificate."""
    address = f"{scenario.HOST}:{port}"
    command = [sys.executable, "-m", "authz", "avp-local", "--listen", address, "--http-issuers"]
    return Child("authz avp-local", command, log=log, folder=ROOT)


def push_script(policies: Path, port: int) -> str:
    """A shell script that makes the store say what the folder says."""
    exports = " ".join(f"{name}={shlex.quote(value)}" for name, value in ENVIRONMENT.items())
    words = [
        *(sys.executable, "-m", "authz", "avp", "push", str(policies)),
        *("--store", POLICY_STORE, "--region", REGION, "--endpoint", endpoint(port), "--rate", "100", "--yes"),
    ]
    return f"#!/bin/sh\nexport {exports}\ncd {shlex.quote(str(ROOT))} && exec {shlex.join(words)}\n"


async def first_push(policies: Path, port: int, environment: Mapping[str, str]) -> None:
    """Makes the store, and fills it.

    Raises:
        DemoError: it could not be filled; with what was said.
    """
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "authz", "avp", "push", str(policies), "--create", "--alias", ALIAS),
        *("--region", REGION, "--endpoint", endpoint(port), "--rate", "1000", "--yes"),
        cwd=ROOT,
        env=environment,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        start_new_session=True,
    )
    try:
        said, _ = await process.communicate()
    except asyncio.CancelledError:
        process.kill()
        await process.wait()
        raise
    if process.returncode != 0:
        raise DemoError(f"the policies could not be pushed to the store:\n{said.decode(errors='replace').strip()}")
