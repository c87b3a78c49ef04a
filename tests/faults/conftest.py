"""A whole application over a policy store of the emulator, looked at when a test says so."""

from __future__ import annotations

import asyncio
import json
from contextlib import asynccontextmanager

import pytest

import authz
from authz.wiring import assemble
from authz.wiring.library import Connection
from authz.wiring.runtime import running
from tests.emulator.running import ALONE, emulator_thread

SCHEMA = {
    "Ns": {
        "entityTypes": {"User": {}, "Doc": {}},
        "actions": {"Read": {"appliesTo": {"principalTypes": ["User"], "resourceTypes": ["Doc"]}}},
    }
}
ROUTES = """
- name: read
  match: {path: "/d/{id}"}
  anonymous: Ns::User::"anybody"
  action: Ns::Action::"Read"
  resource: {type: Ns::Doc, id: "{path.id}"}
"""


def permit(document: str) -> str:
    return f'permit(principal, action, resource == Ns::Doc::"{document}");'


class Site:
    """A policy store that permits reading `open`, and the configuration of who replicates it."""

    def __init__(self, folder, emulator):
        self.folder = folder
        self.emulator = emulator
        self.switches = emulator.switches
        self.client = emulator.client()
        self.store = emulator.store(schema=SCHEMA, mode="STRICT", policies=[permit("open")])
        self.snapshot = folder / "snapshot.json"
        self.settings()
        (folder / "routes.yaml").write_text(ROUTES)

    def settings(self, policies="", avp="", endpoint=None, max_age="60s"):
        """Writes `authz.yaml`. The texts are the inside of flow mappings."""
        where = endpoint or self.emulator.url
        (self.folder / "authz.yaml").write_text(
            f"""
listeners: {{http: "127.0.0.1:0"}}
policies:
  store: verified_permissions
  max_age: {max_age}
  verified_permissions:
    policy_store: {self.store}
    region: us-east-1
    endpoint: {where}
    replica: {{requests: 1000, snapshot: snapshot.json}}
    {avp}
  {policies}
routes: routes.yaml
record: {{output: none}}
"""
        )

    def create(self, statement):
        made = self.client.create_policy(policyStoreId=self.store, definition={"static": {"statement": statement}})
        return made["policyId"]

    @asynccontextmanager
    async def running(self, **options):
        """Whoever decides; nothing is looked at by itself."""
        assembled = await asyncio.to_thread(assemble, self.folder / "authz.yaml", serves=True, **options)
        async with running(assembled.required(), watching=False) as runtime:
            yield Decider(runtime)


class Decider:
    """A running application."""

    def __init__(self, runtime):
        self.runtime = runtime
        self.store = runtime.assembly.store
        self.keeper = runtime.keeper(self.store)
        self._connection = Connection(runtime)

    async def look(self):
        """One look at the policy store, and what follows."""
        await self.keeper.look()

    async def ask(self, document="open"):
        """The reason code of a request to read a document."""
        url = f"http://service.test/d/{document}"
        outcome = await self._connection.check(authz.HttpRequest(method="GET", url=url, headers={}))
        return outcome.reason.value

    @property
    def has_schema(self):
        return self.runtime.assembly.compiled.schema is not None

    @property
    def ready(self):
        return all(holds for holds, _ in self.runtime.readiness().values())


@pytest.fixture(scope="module")
def emulator(tmp_path_factory):
    with emulator_thread() as found:
        yield found


@pytest.fixture
def site(tmp_path, emulator, monkeypatch):
    for name, value in ALONE.items():
        monkeypatch.setenv(name, value)
    emulator.switches.clear()
    yield Site(tmp_path, emulator)
    emulator.switches.clear()


def digested(path):
    return json.loads(path.read_text())
