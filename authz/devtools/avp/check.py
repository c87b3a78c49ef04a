"""What a store would refuse of a plan, found before the first call: validation as in `STRICT`, sizes, quotas.

Sources: user guide, "Quotas for Verified Permissions" and "Policy validation mode"; API reference, `PutSchema`.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import replace

import cedarpy

from authz.core.cedar_scope import read_scope
from authz.core.errors import Problem
from authz.core.model import Policy
from authz.core.pieces import no_pause
from authz.devtools.avp.content import Content, Link, Statement, Store
from authz.devtools.avp.plan import Plan
from authz.devtools.avp.steps import CreatePolicy, Delete
from authz.devtools.avp.units import Action, Kind, Thing
from authz.pdp.validation import check_policies

MAX_SCHEMA = 100_000
"""Bytes."""
MAX_NAMESPACES = 100
MAX_NAMESPACE = 100
"""Bytes."""
MAX_TEMPLATES = 40
MAX_PER_RESOURCE = 200_000
"""Bytes of the policies for one resource; those that name none count together."""
_SENT = frozenset({Action.CREATE, Action.UPDATE, Action.REPLACE})


def check(plan: Plan, wanted: Content, store: Store, *, quotas: bool = True) -> tuple[Problem, ...]:
    """Every problem that the service would have with a plan.

    Args:
        plan: of a push.
        wanted: the folder.
        store: as it was found.
        quotas: False: a quota that is passed is a warning, for most can be raised.
    """
    found: list[Problem] = []
    schema = _schema(wanted, store, found)
    if not any(problem.severity == "error" for problem in found):
        _statements(plan, wanted, store, schema, found)
    over = [*_schema_quotas(plan, wanted), *_templates(plan), *_resources(plan)]
    found += over if quotas else [replace(problem, severity="warning") for problem in over]
    return tuple(found)


# --- validation


def _schema(wanted: Content, store: Store, problems: list[Problem]) -> cedarpy.Schema | None:
    """The schema that will be in force, as the engine has it."""
    mine = wanted.schema is not None
    text = wanted.schema if mine else store.content.schema
    if text is None:
        if store.strict and (wanted.policies or wanted.templates):
            message = (
                "the store is `STRICT` and there is no schema, so it would refuse every policy: add "
                "`schema.cedarschema`, or set the store's validation mode to `OFF`"
            )
            problems.append(Problem(message=message))
        return None
    try:
        if mine and "" in json.loads(text):
            message = "schema: declarations outside of a namespace are refused by the service: put them into one"
            problems.append(Problem(message=message, file=wanted.schema_file))
        return cedarpy.Schema.from_json_str(text, release_gil=True)
    except ValueError as error:
        file = wanted.schema_file if mine else ""
        problems.append(Problem(message=f"schema: {error}", file=file, severity="error" if mine else "warning"))
        return None


def _statements(
    plan: Plan, wanted: Content, store: Store, schema: cedarpy.Schema | None, problems: list[Problem]
) -> None:
    sent = {unit.wanted.id for unit in plan.units if unit.action in _SENT and isinstance(unit.wanted, Statement)}
    everything = [*wanted.policies, *wanted.templates]
    unread: list[Problem] = []
    refused = check_policies(list(map(_policy, everything)), None, unread, no_pause)
    problems.extend(unread)
    if schema is None:
        return
    misfits: list[Problem] = []
    readable = [_policy(one) for one in everything if one.id not in refused]
    for severity, some in (
        ("error" if store.strict else "warning", [policy for policy in readable if policy.id in sent]),
        ("warning", [policy for policy in readable if policy.id not in sent]),
    ):
        misfits.clear()
        check_policies(some, schema, misfits, no_pause)
        problems.extend(replace(problem, severity=severity) for problem in misfits)


def _policy(statement: Statement) -> Policy:
    return Policy(
        id=statement.id, text=statement.text, effect=statement.effect, file=statement.file, line=statement.line
    )


# --- quotas


def _schema_quotas(plan: Plan, wanted: Content) -> Iterator[Problem]:
    if wanted.schema is None or not any(unit.kind is Kind.SCHEMA for unit in plan.changes):
        return
    size = len(wanted.schema.encode())
    if size > MAX_SCHEMA:
        yield Problem(message=f"schema: {size} bytes as JSON, at most {MAX_SCHEMA} are taken", file=wanted.schema_file)
    try:
        spaces = list(json.loads(wanted.schema))
    except ValueError:
        return
    if len(spaces) > MAX_NAMESPACES:
        text = f"schema: {len(spaces)} namespaces, at most {MAX_NAMESPACES} are taken"
        yield Problem(message=text, file=wanted.schema_file)
    for space in spaces:
        if len(space.encode()) > MAX_NAMESPACE:
            text = f"schema: the namespace `{space[:40]}…` has more than {MAX_NAMESPACE} bytes"
            yield Problem(message=text, file=wanted.schema_file)


def _templates(plan: Plan) -> Iterator[Problem]:
    """The most that there are at one moment, stand-ins included."""
    count = sum(1 for unit in plan.units if unit.kind is Kind.TEMPLATE and unit.held is not None)
    most, last = 0, None
    for step in plan.steps:
        if isinstance(step.call, CreatePolicy) and step.call.template:
            count += 1
            most, last = max(most, count), step
        elif isinstance(step.call, Delete) and step.call.template:
            count -= 1
    if most > MAX_TEMPLATES and last is not None:
        text = (
            f"{most} templates at one moment of the push, at most {MAX_TEMPLATES} are taken: push fewer at a time, or "
            "have the quota raised and give `--ignore-quotas`"
        )
        yield Problem(message=text, file=last.file, line=last.line)


def _resources(plan: Plan) -> Iterator[Problem]:
    sizes: dict[str, int] = defaultdict(int)
    last: dict[str, Thing] = {}
    for unit in plan.units:
        thing = unit.wanted or unit.held
        if unit.kind not in {Kind.POLICY, Kind.LINK} or unit.action is Action.DELETE or thing is None:
            continue
        resource, size = _weight(thing)
        sizes[resource] += size
        if unit.action in _SENT:
            last[resource] = thing
    for resource, thing in last.items():
        if sizes[resource] > MAX_PER_RESOURCE:
            whose = f"the resource `{resource}`" if resource else "no resource"
            text = (
                f"policies that name {whose} have {sizes[resource]} bytes together, at most {MAX_PER_RESOURCE} are "
                "taken: use templates, or have the quota raised and give `--ignore-quotas`"
            )
            yield Problem(message=text, file=thing.file, line=thing.line)


def _weight(thing: Thing) -> tuple[str, int]:
    if isinstance(thing, Link):
        resource = str(thing.values.get("?resource", ""))
        return resource, sum(len(f"{uid}".encode()) for uid in thing.values.values())
    try:
        equals = read_scope(thing.text).resource.equals
    except ValueError:
        equals = None
    return str(equals or ""), len(thing.text.encode())
