"""The workload with a policy for each document: the store that `door-scale` and `load` serve from.

Of the ten policies of `policies/bench.cedar`, `owner-manages` says the same of every document. Here it is written
once a document instead, so that a request has the same ten candidates and the same answer in both, and whatever differs
is the number of policies. What is answered is asked of `cedarpy` alone, with the ten; a sample of it again with all.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import cedarpy

from authz.core.cedar_text import scan_statements
from bench.answers import WrongAnswer
from bench.workload import (
    DEPARTMENTS,
    POLICIES,
    TEAMS,
    Ask,
    User,
    Workload,
    cedar_entities,
    policy_set,
    uid,
    write_into,
)

GENERAL = "owner-manages"
SHARED = 9
A_FILE = 1_000
SAMPLE = 64
"""Answers that are asked of the full set, too."""
WRITES = 0.1
"""Share of the requests that update."""


def shared() -> list[str]:
    """The policies that stay as they are."""
    statements = scan_statements((POLICIES / "bench.cedar").read_text(encoding="utf-8"))
    found = [one.text for one in statements if one.annotations["id"] != GENERAL]
    if len(found) != SHARED:
        raise ValueError(f"bench.cedar: expected {SHARED} policies beside `{GENERAL}`")
    return found


def name(number: int) -> str:
    return f"doc-{number:04}"


def own(number: int, *, edition: int = 0) -> str:
    """`owner-manages` for one document; another edition is another text with the same meaning."""
    changed = f" && principal.clearance > {-edition - 1}" if edition else ""
    return (
        f'@id("owner-manages-{number:06}")\n'
        f'permit (principal, action, resource == Bench::Document::"{name(number)}")\n'
        f"when {{ resource.owner == principal{changed} }};"
    )


def policies(size: int, *, edition: int = 0) -> Iterator[str]:
    """`size` policies: the shared ones, then one a document."""
    yield from shared()
    yield from (own(number, edition=edition) for number in range(size - SHARED))


def write_policies(folder: Path, found: Sequence[str]) -> None:
    """Writes policies as files of `A_FILE` each."""
    for start in range(0, len(found), A_FILE):
        text = "\n\n".join(found[start : start + A_FILE])
        (folder / f"policies-{start // A_FILE:03}.cedar").write_text(f"{text}\n", encoding="utf-8")


def write(folder: Path, made: Workload, size: int | None) -> Path:
    """Writes store and keys; with `size` that many policies, else the ten of the workload. The folder."""
    write_into(folder, made)
    if size is not None:
        (folder / "policies" / "bench.cedar").unlink()
        write_policies(folder / "policies", list(policies(size)))
    return folder


# --- the round ---------------------------------------------------------------------------------------------


def enlarged(made: Workload, documents: int, requests: int) -> Workload:
    """The workload with as many documents, and a round of requests over all of them.

    Raises:
        WrongAnswer: the full set answers a request otherwise than the ten.
    """
    drawn = random.Random(made.description.seed)
    fixed = [one for one in made.entities if one["uid"]["type"] != "Bench::Document"]
    entities = [_document(number, made.users, drawn) for number in range(documents)]
    bases = [cedar_entities(user, fixed) for user in made.users]
    described = replace(made.description, documents=documents, requests=requests)
    asks = _round(made, requests, entities, bases, drawn)
    _confirm(asks[:SAMPLE], documents + SHARED, entities, bases)
    return replace(made, description=described, entities=[*fixed, *entities], asks=asks)


def _document(number: int, users: Sequence[User], drawn: random.Random) -> Any:
    attributes = {
        "classification": drawn.choice((0, 1, 1, 1, 2, 2, 3)),
        "tags": drawn.sample(("press", "contract", "invoice", "draft"), drawn.randint(0, 3)),
        "department": {"__entity": uid("Department", drawn.choice(DEPARTMENTS))},
        "owner": {"__entity": uid("User", drawn.choice(users).name)},
        "sharedWith": [{"__entity": uid("User", one.name)} for one in drawn.sample(users, drawn.randint(0, 3))],
        "sharedWithTeams": [{"__entity": uid("Team", team)} for team in TEAMS if drawn.random() < 0.2],
    }
    return {"uid": uid("Document", name(number)), "attrs": attributes, "parents": [uid("Folder", "library")]}


def _round(
    made: Workload,
    requests: int,
    entities: Sequence[Any],
    bases: Sequence[cedarpy.Entities],
    drawn: random.Random,
) -> list[Ask]:
    ten = policy_set()
    denied = round(requests * made.description.denied)
    asks = []
    for number in range(requests):
        allowed = number >= denied
        while True:
            ask = _draw(made, len(entities), drawn, allowed=allowed)
            if _answer(ask, ten, entities, bases) is allowed:
                asks.append(ask)
                break
    drawn.shuffle(asks)
    return asks


def _draw(made: Workload, documents: int, drawn: random.Random, *, allowed: bool) -> Ask:
    number, document = drawn.randrange(len(made.users)), drawn.randrange(documents)
    user = made.users[number]
    method, action = ("PUT", "UpdateDocument") if drawn.random() < WRITES else ("GET", "ReadDocument")
    context = {
        "ip": {"__extn": {"fn": "ip", "arg": made.description.source_address}},
        "mfa": list(user.mfa),
        "token": {"scope": user.scope.split()},
    }
    query = {
        "principal": uid("User", user.name),
        "action": uid("Action", action),
        "resource": uid("Document", name(document)),
        "context": context,
    }
    return Ask(user=number, method=method, path=f"/documents/{name(document)}", query=query, allowed=allowed)


def _answer(ask: Ask, policies: cedarpy.PolicySet, entities: Sequence[Any], bases: Sequence[cedarpy.Entities]) -> bool:
    document = entities[int(ask.path.rpartition("-")[2])]
    handle = bases[ask.user].with_added_json_str(json.dumps([document]))
    return cedarpy.is_authorized(ask.query, policies, handle).allowed


def _confirm(asks: Sequence[Ask], size: int, entities: Sequence[Any], bases: Sequence[cedarpy.Entities]) -> None:
    everything = cedarpy.PolicySet.from_str("\n".join(policies(size)))
    for ask in asks:
        if _answer(ask, everything, entities, bases) is not ask.allowed:
            raise WrongAnswer(f"{ask.method} {ask.path}: the full set of {size:,} policies answers otherwise")
