"""An emulator for tests: in a loop and thread of its own, so that synchronous clients of the test do not hold it up."""

import asyncio
import json
import os
import threading
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from typing import Any

import boto3.session
import botocore.session
from botocore.config import Config

from authz.emulator.clock import Clock
from authz.emulator.server import Running, serving
from authz.emulator.services import EmulatorSettings
from authz.emulator.state import State
from authz.emulator.switches import Switches

REGION = "us-east-1"
_DEFAULTS: dict[str, Any] = {
    "retries": {"total_max_attempts": 1},
    "connect_timeout": 5,
    "read_timeout": 30,
    "max_pool_connections": 32,
    "proxies": {},  # nor do the proxies of its environment
}


ALONE = {
    "AWS_ACCESS_KEY_ID": "AKIDEXAMPLE",
    "AWS_SECRET_ACCESS_KEY": "no-secret",
    "AWS_EC2_METADATA_DISABLED": "true",
    "AWS_CONFIG_FILE": os.devnull,
    "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
}
"""An environment for whoever goes by it: credentials of nobody, and nothing of this machine's."""


class Emulator:
    """What a test has of a running emulator. `client` and `store` are synchronous."""

    def __init__(self, running: Running) -> None:
        self.url = running.url
        self.switches: Switches = running.switches
        self.state: State = running.state
        self.clock: Clock = running.clock
        self._client: Any = None
        self._own: Any = None

    def client(self, **config: Any) -> Any:
        """A boto3 client with dummy credentials. `config` goes to botocore's `Config`; without any it is one for all."""
        if config:
            return self._made(config)
        if self._client is None:  # boto3 takes a while to make one
            self._client = self._made({})
        return self._client

    def _made(self, config: Mapping[str, Any]) -> Any:
        # No machine's AWS configuration counts.
        alone = botocore.session.Session(
            session_vars={
                "profile": (None, None, None, None),
                "config_file": (None, None, os.devnull, None),
                "credentials_file": (None, None, os.devnull, None),
            }
        )
        session = boto3.session.Session(
            botocore_session=alone,
            aws_access_key_id="AKIDEXAMPLE",
            aws_secret_access_key="no-secret",
            aws_session_token="no-token",
            region_name=REGION,
        )
        given = {**_DEFAULTS, **config}
        return session.client("verifiedpermissions", endpoint_url=self.url, config=Config(**given))

    def store(
        self,
        schema: str | Mapping[str, Any] | None = None,
        mode: str = "OFF",
        policies: Sequence[str] = (),
        **more: Any,
    ) -> str:
        """Makes a policy store through a client; gives its id. `more` goes to `CreatePolicyStore`."""
        # One for all stores: to make a client takes botocore longer than all that is done here.
        client = self._own = self._own or self.client()
        store = client.create_policy_store(validationSettings={"mode": mode}, **more)["policyStoreId"]
        if schema is not None:
            text = schema if isinstance(schema, str) else json.dumps(schema)
            client.put_schema(policyStoreId=store, definition={"cedarJson": text})
        for statement in policies:
            client.create_policy(policyStoreId=store, definition={"static": {"statement": statement}})
        return str(store)


@contextmanager
def emulator_thread(**settings: Any) -> Iterator[Emulator]:
    """An emulator, for synchronous tests. `settings` are those of `EmulatorSettings`."""
    started: list[Running | BaseException] = []
    ready, loop_of = threading.Event(), list[asyncio.AbstractEventLoop]()
    ending = list[asyncio.Event]()

    async def run() -> None:
        loop_of.append(asyncio.get_running_loop())
        ending.append(asyncio.Event())
        try:
            async with serving(EmulatorSettings(**settings)) as running:
                started.append(running)
                ready.set()
                await ending[0].wait()
        except BaseException as error:
            started.append(error)
            raise
        finally:
            ready.set()

    def in_thread() -> None:
        with suppress(Exception):  # told by `started`
            asyncio.run(run())

    thread = threading.Thread(target=in_thread, name="emulator", daemon=True)
    thread.start()
    ready.wait()
    first = started[0]
    if isinstance(first, BaseException):
        thread.join()
        raise first
    try:
        yield Emulator(first)
    finally:
        loop_of[0].call_soon_threadsafe(ending[0].set)
        thread.join()


@asynccontextmanager
async def emulator(**settings: Any) -> AsyncIterator[Emulator]:
    """The same, for asynchronous tests."""
    context = emulator_thread(**settings)
    running = await asyncio.to_thread(context.__enter__)
    try:
        yield running
    finally:
        await asyncio.to_thread(context.__exit__, None, None, None)
