"""The one workload behind every row: users with their tokens, policies, entities, and a round of requests.

Everything but the tokens (`tokens.py`) is drawn from the seed in `workload.yaml`. What each request must be answered
is not asked of authz: `cedarpy` says it, called directly. JOB.md says the same for people.
"""

from __future__ import annotations

import json
import os
import random
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cedarpy
import yaml

from bench.tokens import ALGORITHM, AUDIENCE, ISSUER, Keys

HERE = Path(__file__).resolve().parent
DESCRIPTION = HERE / "workload.yaml"
POLICIES = HERE / "policies"
WORK = HERE / ".work"
CERTIFICATE, KEY = "server.pem", "server.key"
"""In the work folder, where a bench needs TLS."""
DEPARTMENTS = ("finance", "accounting", "engineering", "platform", "legal")
GROUPS = (["employee"], ["employee"], ["employee", "editor"], ["auditor"])
TEAMS = ("deal-team", "works-council")

Json = Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Description:
    """`workload.yaml`."""

    seed: int
    users: int
    documents: int
    requests: int
    host: str
    source_address: str
    denied: float
    mix: Mapping[str, float]

    @classmethod
    def read(cls, file: Path = DESCRIPTION) -> Description:
        return cls(**yaml.safe_load(file.read_text(encoding="utf-8")))


@dataclass(frozen=True, slots=True, kw_only=True)
class User:
    """A simulated caller. `entity` is how the entity store describes it."""

    name: str
    groups: Sequence[str]
    scope: str
    mfa: Sequence[str]
    entity: Json


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """One request, the question that it is to Cedar, and the answer that it must get."""

    user: int
    method: str
    path: str
    query: Json
    allowed: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Workload:
    """What all benchmarks share."""

    description: Description
    users: Sequence[User]
    tokens: Sequence[str] = field(repr=False)
    bad_tokens: Mapping[str, str] = field(repr=False)
    """By what is wrong with each; otherwise that of `probed`."""
    jwks: str
    entities: Sequence[Json]
    """The store's entities, in Cedar's JSON form."""
    asks: Sequence[Ask]
    """One round."""

    @property
    def probed(self) -> Ask:
        """An allowed read of a document: the request that must be refused with another credential."""
        return _first_read(self.asks)

    @property
    def denied(self) -> int:
        """Denials in one round."""
        return sum(not ask.allowed for ask in self.asks)

    def headers(self, ask: Ask) -> list[tuple[str, str]]:
        """What the client sends beside method and path: a usual API client's headers, with the token."""
        return [
            ("Host", self.description.host),
            ("User-Agent", "bench/1.0"),
            ("Accept", "application/json"),
            ("Authorization", f"Bearer {self.tokens[ask.user]}"),
        ]

    def http(self, ask: Ask) -> bytes:
        """The request on the wire, HTTP/1.1."""
        lines = [f"{ask.method} {ask.path} HTTP/1.1", *(f"{name}: {value}" for name, value in self.headers(ask))]
        lines += ["Content-Length: 0"] if ask.method not in {"GET", "HEAD"} else []
        return "\r\n".join((*lines, "", "")).encode("ascii")


def workload(description: Description | None = None, keys: Keys | None = None) -> Workload:
    """Draws the workload. Without `keys` they are new ones."""
    keys = keys or Keys.new()
    described = description or Description.read()
    drawn = random.Random(described.seed)
    fixed = json.loads((POLICIES / "entities.json").read_text(encoding="utf-8"))
    users = [_user(number, drawn) for number in range(described.users)]
    documents = [_document(number, users, drawn) for number in range(described.documents)]
    entities = [*fixed, *(user.entity for user in users), *documents]
    asks = _round(described, users, entities, drawn)
    return Workload(
        description=described,
        users=users,
        tokens=[keys.token(_claims(user)) for user in users],
        bad_tokens=keys.bad_tokens(_claims(users[_first_read(asks).user])),
        jwks=keys.jwks,
        entities=entities,
        asks=asks,
    )


def _first_read(asks: Sequence[Ask]) -> Ask:
    return next(ask for ask in asks if ask.allowed and ask.method == "GET" and ask.path != "/documents")


def uid(kind: str, id: str) -> dict[str, str]:
    return {"type": f"Bench::{kind}", "id": id}


def _user(number: int, drawn: random.Random) -> User:
    name = f"user-{number:02}"
    department = drawn.choice(DEPARTMENTS)
    parents = [uid("Department", department)]
    parents += [uid("Team", team) for team in TEAMS if drawn.random() < 0.3]
    attributes: dict[str, Json] = {"clearance": drawn.randint(1, 3)}
    if drawn.random() < 0.2:
        attributes["heads"] = {"__entity": uid("Department", department)}
    return User(
        name=name,
        groups=drawn.choice(GROUPS),
        scope="documents.read documents.write" if drawn.random() < 0.8 else "documents.read",
        mfa=["pwd", "mfa"] if drawn.random() < 0.7 else ["pwd"],
        entity={"uid": uid("User", name), "attrs": attributes, "parents": parents},
    )


def _document(number: int, users: Sequence[User], drawn: random.Random) -> Json:
    shared = drawn.sample(users, drawn.randint(0, 3))
    attributes = {
        "classification": drawn.choice((0, 1, 1, 1, 2, 2, 3)),
        "tags": drawn.sample(("press", "contract", "invoice", "draft"), drawn.randint(0, 3)),
        "department": {"__entity": uid("Department", drawn.choice(DEPARTMENTS))},
        "owner": {"__entity": uid("User", drawn.choice(users).name)},
        "sharedWith": [{"__entity": uid("User", user.name)} for user in shared],
        "sharedWithTeams": [{"__entity": uid("Team", team)} for team in TEAMS if drawn.random() < 0.2],
    }
    folder = uid("Folder", drawn.choice(("library", "projects")))
    return {"uid": uid("Document", f"doc-{number:04}"), "attrs": attributes, "parents": [folder]}


def _claims(user: User) -> dict[str, Json]:
    return {"sub": user.name, "groups": user.groups, "amr": user.mfa, "scope": user.scope}


# --- the round ---------------------------------------------------------------------------------------------


def policy_set() -> cedarpy.PolicySet:
    """The ten policies as the engine's handle."""
    return cedarpy.PolicySet.from_str((POLICIES / "bench.cedar").read_text(encoding="utf-8"))


_ACTION_GROUPS = {"ReadDocument": "reading", "UpdateDocument": "writing", "ListDocuments": "reading"}


def cedar_entities(user: User, entities: Sequence[Json]) -> cedarpy.Entities:
    """The engine's handle for one user: the store's entities, the actions, and the roles of the token."""
    roles = [uid("Role", group) for group in user.groups]
    principal = {**user.entity, "parents": [*user.entity["parents"], *roles]}
    actions = [
        {"uid": uid("Action", action), "attrs": {}, "parents": [uid("Action", group)]}
        for action, group in _ACTION_GROUPS.items()
    ]
    others = [entity for entity in entities if entity["uid"] != principal["uid"]]
    return cedarpy.Entities.from_json_str(json.dumps([*others, principal, *actions]))


def _round(described: Description, users: Sequence[User], entities: Sequence[Json], drawn: random.Random) -> list[Ask]:
    policies = policy_set()
    handles = [cedar_entities(user, entities) for user in users]
    denied = round(described.requests * described.denied)
    kinds, weights = list(described.mix), list(described.mix.values())
    asks = []
    for number in range(described.requests):
        kind = drawn.choices(kinds, weights)[0]
        wanted = number >= denied
        while True:
            ask = _draw(kind, described, users, drawn)
            if cedarpy.is_authorized(ask["query"], policies, handles[ask["user"]]).allowed is wanted:
                asks.append(Ask(allowed=wanted, **ask))
                break
    drawn.shuffle(asks)
    return asks


def _draw(kind: str, described: Description, users: Sequence[User], drawn: random.Random) -> dict[str, Json]:
    user = drawn.randrange(len(users))
    document = f"doc-{drawn.randrange(described.documents):04}"
    method, path, action, resource = {
        "read-document": ("GET", f"/documents/{document}", "ReadDocument", uid("Document", document)),
        "update-document": ("PUT", f"/documents/{document}", "UpdateDocument", uid("Document", document)),
        "list-documents": ("GET", "/documents", "ListDocuments", uid("Api", "documents")),
    }[kind]
    context = {
        "ip": {"__extn": {"fn": "ip", "arg": described.source_address}},
        "mfa": list(users[user].mfa),
        "token": {"scope": users[user].scope.split()},
    }
    query = {
        "principal": uid("User", users[user].name),
        "action": uid("Action", action),
        "resource": resource,
        "context": context,
    }
    return {"user": user, "method": method, "path": path, "query": query}


# --- files -------------------------------------------------------------------------------------------------


def write(made: Workload, below: Path = WORK) -> Path:
    """Writes the policy store and the key set into a folder of this process; the folder that holds them.

    Two benchmarks at once would otherwise take each other's keys.
    """
    folder = below / str(os.getpid())
    shutil.rmtree(folder, ignore_errors=True)
    write_into(folder, made)
    return folder


def write_into(folder: Path, made: Workload) -> None:
    """Writes `policies/` and `jwks.json` into the folder; what else is there stays."""
    store = folder / "policies"
    store.mkdir(parents=True, exist_ok=True)
    for name in ("schema.cedarschema", "bench.cedar", "routes.yaml"):
        shutil.copy(POLICIES / name, store / name)
    (store / "entities.json").write_text(json.dumps(made.entities, indent=1), encoding="utf-8")
    (folder / "jwks.json").write_text(made.jwks, encoding="utf-8")


def configuration(folder: Path, listeners: Mapping[str, Json]) -> dict[str, Json]:
    """`authz.yaml` for the workload written to `folder`: the defaults, so with record and metrics."""
    return {
        "listeners": dict(listeners),
        "issuers": [
            {
                "issuer": ISSUER,
                "audience": [AUDIENCE],
                "algorithms": [ALGORITHM],
                "jwks_file": str(folder / "jwks.json"),
                "token": "access",
                "principal": {"type": "Bench::User"},
                "groups": {"type": "Bench::Role", "claim": "groups"},
            }
        ],
        "policies": {"store": "files", "path": str(folder / "policies")},
        "routes": str(folder / "policies" / "routes.yaml"),
    }
