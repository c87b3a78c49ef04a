"""The demo's folder: a copy of the sample policies to edit, the generated settings, the tokens, the logs."""

from __future__ import annotations

import json
import shlex
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from authz.devtools.demo import envoy, scenario, store
from authz.devtools.demo.issuer import DemoIssuer
from authz.devtools.demo.processes import DemoError
from authz.devtools.demo.scenario import Person
from authz.devtools.samples import envoy_example, sample

POLICIES = "policies/documents"

_SETTINGS = """\
# What `authz serve` of this demo runs with. Edit it: all but the listeners changes without a restart.

listeners:
  {door}: "127.0.0.1:{port}"  # Envoy asks here
  admin: "127.0.0.1:{admin}"  # /livez, /readyz, /metrics

issuers:
  - issuer: {issuer}  # the demo's own; its keys are found by discovery
    algorithms: [RS256, ES256]
    # audience, groups, the principal's type: the policy store's identity source says it

policies:
  store: verified_permissions
  entities: {policies}/entities.json  # facts about documents: a policy store keeps none
  verified_permissions:
    policy_store: {policy_store}
    region: {region}
    endpoint: {endpoint}  # the emulator's
    replica: {{interval: 1s, requests: 10, snapshot: snapshot.json}}
routes: {policies}/routes.yaml

# By default a client learns a reason code and nothing else.
responses: {{deny_messages: true, policies: true}}

record: {{output: {record}}}  # one line a decision
log: {{format: text}}
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ports:
    """Where everyone is, on 127.0.0.1."""

    front: int
    """Envoy, for clients; 0 lets the system choose."""
    door: int
    """authz, for Envoy."""
    admin: int
    service: int
    store: int
    """The emulator of Verified Permissions."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DemoFolder:
    """Names and content of the files in one folder, which only its owner may enter."""

    path: Path

    @property
    def settings(self) -> Path:
        """`authz.yaml`."""
        return self.path / "authz.yaml"

    @property
    def envoy_config(self) -> Path:
        """Envoy's configuration."""
        return self.path / "envoy.yaml"

    @property
    def policies(self) -> Path:
        """The copy of the sample policies."""
        return self.path / POLICIES

    @property
    def edited(self) -> Path:
        """The policy file that the demo proposes to edit."""
        return self.policies / scenario.EDITED_FILE

    @property
    def push(self) -> Path:
        """A script that brings the policy store to what the policies here say."""
        return self.path / "push"

    @property
    def record(self) -> Path:
        """The decision record."""
        return self.path / "decisions.jsonl"

    def log(self, name: str) -> Path:
        """The log of a child."""
        return self.path / f"{name}.log"

    def header(self, person: Person) -> Path:
        """A file with a person's Authorization header, for `curl -H @FILE`."""
        return self.path / person.name

    def fill(self, issuer: DemoIssuer, ports: Ports, *, grpc: bool) -> Mapping[str, str]:
        """Writes everything.

        Returns:
            The tokens by person.

        Raises:
            DemoError: the samples did not come with this installation, or do not hold what the demo shows.
        """
        try:
            _copy(sample(POLICIES), self.policies)
            example = envoy_example("grpc-tcp.yaml" if grpc else "http-tcp.yaml").read_text(encoding="utf-8")
        except FileNotFoundError as error:
            raise DemoError(str(error)) from None
        if self.edited.read_text(encoding="utf-8").count(scenario.EDIT[0]) != 1:
            raise DemoError(f"`{self.edited}` has no single `{scenario.EDIT[0]}` to edit")
        identity = self.policies / store.IDENTITY_SOURCE
        identity.write_text(store.identity_source(issuer.address), encoding="utf-8")
        self.push.write_text(store.push_script(self.policies, ports.store), encoding="utf-8")
        self.push.chmod(0o700)
        self.envoy_config.write_text(envoy.with_ports(example, _replacements(ports, grpc=grpc)), encoding="utf-8")
        self.settings.write_text(self._settings(issuer, ports, grpc=grpc), encoding="utf-8")
        tokens = {
            person.name: issuer.token(person.name, person.claims, algorithm=person.algorithm)
            for person in scenario.PEOPLE
        }
        for person in scenario.PEOPLE:
            self.header(person).write_text(f"Authorization: Bearer {tokens[person.name]}\n", encoding="ascii")
        return tokens

    def _settings(self, issuer: DemoIssuer, ports: Ports, *, grpc: bool) -> str:
        return _SETTINGS.format(
            door="grpc" if grpc else "http",
            port=ports.door,
            admin=ports.admin,
            issuer=issuer.address,
            policies=POLICIES,
            policy_store=store.POLICY_STORE,
            region=store.REGION,
            endpoint=store.endpoint(ports.store),
            record=json.dumps(self.record.name),
        )

    @property
    def edit_line(self) -> str:
        """The command that makes the edit and pushes it, to paste."""
        old, new = scenario.EDIT
        edit = shlex.join(["sed", "-i", f"s/{old}/{new}/", str(self.edited)])
        return f"{edit} && {shlex.quote(str(self.push))}"


def _copy(source: Path, target: Path) -> None:
    """Without permissions (`copytree` keeps a folder's): what was installed read-only is to be edited here."""
    target.mkdir(parents=True)
    for item in source.iterdir():
        if item.is_dir():
            _copy(item, target / item.name)
        else:
            shutil.copyfile(item, target / item.name)


def _replacements(ports: Ports, *, grpc: bool) -> Mapping[int, int]:
    return {
        envoy.FRONT: ports.front,
        envoy.ADMIN: 0,
        envoy.SERVICE: ports.service,
        envoy.AUTHZ_GRPC if grpc else envoy.AUTHZ_HTTP: ports.door,
    }
