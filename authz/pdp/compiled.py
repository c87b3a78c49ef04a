"""A policy snapshot, compiled: the engine's handle with everything beside it, or every problem found.

`compile_snapshot` is the one way from text to engine; start, reload and `authz check` all call it. The engine
gives neither line nor policy in its errors, so each statement is parsed and validated alone (pitfalls, Cedar
engine); the statements were cut and bounded before, for deep nesting crashes the engine's parser.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import cedarpy

from authz.core.cedar_literals import entity_literals
from authz.core.cedar_schema import CedarSchemaError, Schema, load_schema
from authz.core.errors import Misconfigured, Problem
from authz.core.model import Effect, Entity, EntityUid, Policy, PolicySnapshot, TemplateLink
from authz.pdp.cedar_json import Json, Misfit, from_json, uid_from_json, uid_to_json

DENY_MESSAGE = "deny_message"
_POSITIONAL = "for policy `policy0`, "


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class CompiledPolicies:
    """What a local decision point needs of a snapshot."""

    version: str
    handle: cedarpy.PolicySet
    ids: Mapping[str, str]
    """The engine's positional id → the store's id."""
    effects: Mapping[str, Effect]
    messages: Mapping[str, str]
    """Policy id → its `@deny_message`."""
    schema: Schema | None
    engine_schema: cedarpy.Schema | None
    entities: Mapping[EntityUid, Entity]
    named: frozenset[EntityUid]
    """Entities that policies name in their conditions."""
    snapshot: PolicySnapshot


def compile_snapshot(snapshot: PolicySnapshot) -> CompiledPolicies:
    """Compiles and validates. Slow for large sets: call it in a worker thread.

    Raises:
        Misconfigured: with every problem of policies, links, schema and entities.
    """
    problems: list[Problem] = []
    engine_schema, schema = _schemas(snapshot, problems)
    usable = [policy for policy in (*snapshot.policies, *snapshot.templates) if _parses(policy, problems)]
    if engine_schema is not None:
        for policy in usable:
            problems.extend(_validated(policy, engine_schema))
    problems.extend(_duplicates([*snapshot.policies, *snapshot.templates, *snapshot.links]))
    entities = _entities(snapshot, schema, engine_schema, problems)
    if problems:
        raise Misconfigured(tuple(problems))
    handle = cedarpy.PolicySet.from_str("\n".join(policy.text for policy in usable), release_gil=True)
    ids = {f"policy{position}": policy.id for position, policy in enumerate(usable)}
    effects = {policy.id: policy.effect for policy in usable}
    messages = {policy.id: policy.annotations[DENY_MESSAGE] for policy in usable if DENY_MESSAGE in policy.annotations}
    for link in snapshot.links:
        # The engine names a link by its new id; the prefix keeps a link called `policy3` apart from a position.
        ids[_link_name(link)] = link.id
        effects[link.id] = effects.get(link.template_id, Effect.FORBID)
        if link.template_id in messages:
            messages[link.id] = messages[link.template_id]
    handle = _linked(handle, snapshot.links, {policy.id: name for name, policy in _named(usable)})
    return CompiledPolicies(
        version=snapshot.version,
        handle=handle,
        ids=ids,
        effects=effects,
        messages=messages,
        schema=schema,
        engine_schema=engine_schema,
        entities=entities,
        named=frozenset(uid for policy in usable for uid in entity_literals(policy.text)),
        snapshot=snapshot,
    )


def _named(policies: Sequence[Policy]) -> Iterable[tuple[str, Policy]]:
    return ((f"policy{position}", policy) for position, policy in enumerate(policies))


def _link_name(link: TemplateLink) -> str:
    return f"link:{link.id}"


def _linked(
    handle: cedarpy.PolicySet, links: Sequence[TemplateLink], positions: Mapping[str, str]
) -> cedarpy.PolicySet:
    if not links:
        return handle
    problems: list[Problem] = []
    rows = []
    for link in links:
        if link.template_id not in positions:
            text = f"link `{link.id}`: there is no template `{link.template_id}`"
            problems.append(Problem(message=text, file=link.file, line=link.line))
            continue
        values = {slot: uid_to_json(uid) for slot, uid in link.values.items()}
        row = {"template_id": positions[link.template_id], "new_id": _link_name(link), "values": values}
        try:
            handle.with_linked_batch([row])
        except ValueError:
            text = f"link `{link.id}`: its values must fill exactly the slots of template `{link.template_id}`"
            problems.append(Problem(message=text, file=link.file, line=link.line))
        rows.append(row)
    if problems:
        raise Misconfigured(tuple(problems))
    return handle.with_linked_batch(rows)


def _schemas(snapshot: PolicySnapshot, problems: list[Problem]) -> tuple[cedarpy.Schema | None, Schema | None]:
    text = snapshot.schema
    if text is None:
        return None, None
    try:
        # Ours first: it bounds the nesting on which the engine's parser would crash.
        schema = load_schema(text)
    except CedarSchemaError as error:
        problems.append(Problem(message=f"schema: {error.message}", file=snapshot.schema_file, line=error.line))
        return None, None
    try:
        is_json = text.lstrip().startswith("{")
        engine = cedarpy.Schema.from_json_str(text) if is_json else cedarpy.Schema.from_str(text)
    except ValueError as error:
        problems.append(Problem(message=f"schema: {error}", file=snapshot.schema_file))
        return None, None
    return engine, schema


def _parses(policy: Policy, problems: list[Problem]) -> bool:
    try:
        handle = cedarpy.PolicySet.from_str(policy.text, release_gil=True)
    except ValueError as error:
        problems.append(_problem(policy, f"{error}"))
        return False
    if len(handle) + len(handle.templates()) != 1:
        problems.append(_problem(policy, "expected exactly one policy in a statement"))
        return False
    return True


def _validated(policy: Policy, schema: cedarpy.Schema) -> list[Problem]:
    result = cedarpy.validate_policies(policy.text, schema, release_gil=True)
    if result.validation_passed:
        return []
    return [_problem(policy, error.error.replace(_POSITIONAL, "")) for error in result.errors]


def _problem(policy: Policy, text: str) -> Problem:
    return Problem(message=f"policy `{policy.id}`: {text}", file=policy.file, line=policy.line)


def _duplicates(items: Sequence[Policy | TemplateLink]) -> list[Problem]:
    first: dict[str, Policy | TemplateLink] = {}
    found: list[Problem] = []
    for item in items:
        other = first.setdefault(item.id, item)
        if other is not item:
            text = f"the id `{item.id}` is already used in {other.file}, line {other.line}; ids are unique"
            found.append(Problem(message=text, file=item.file, line=item.line))
    return found


def _entities(
    snapshot: PolicySnapshot,
    schema: Schema | None,
    engine_schema: cedarpy.Schema | None,
    problems: list[Problem],
) -> Mapping[EntityUid, Entity]:
    try:
        rows = json.loads(snapshot.entities, object_pairs_hook=_unique)
    except RecursionError:
        problems.append(Problem(message="entities: nested too deeply", file=snapshot.entities_file))
        return {}
    except json.JSONDecodeError as error:
        text = f"entities: {error.msg}"
        problems.append(Problem(message=text, file=snapshot.entities_file, line=error.lineno))
        return {}
    except Misfit as error:
        problems.append(Problem(message=f"entities: {error}", file=snapshot.entities_file))
        return {}
    except ValueError:  # Python's own limit on the digits of a number
        problems.append(Problem(message="entities: a number has too many digits", file=snapshot.entities_file))
        return {}
    return read_entities(rows, schema, engine_schema, snapshot.entities_file, problems)


def _unique(pairs: list[tuple[str, Json]]) -> dict[str, Json]:
    found = dict(pairs)
    if len(found) != len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise Misfit(f"the key `{twice}` stands twice in one object")
    return found


def read_entities(
    rows: Json,
    schema: Schema | None,
    engine_schema: cedarpy.Schema | None,
    file: str,
    problems: list[Problem],
) -> Mapping[EntityUid, Entity]:
    """Entities in Cedar's JSON form, each checked by the engine against the schema. Problems are appended."""
    found: dict[EntityUid, Entity] = {}
    if not isinstance(rows, list):
        problems.append(Problem(message="entities: expected a list of entities", file=file))
        return found
    for index, row in enumerate(rows):
        try:
            entity = _entity(row, schema, f"entity {index + 1}")
            if entity.uid in found:
                raise Misfit(f"entity {index + 1}: `{entity.uid}` is already defined")
            found[entity.uid] = entity
            _checked(row, entity.uid, engine_schema)
        except Misfit as error:
            problems.append(Problem(message=f"entities: {error}", file=file))
        except RecursionError:
            problems.append(Problem(message=f"entities: entity {index + 1}: nested too deeply", file=file))
    if not problems:
        _check_whole(rows, file, problems)
    return found


def _checked(row: Json, uid: EntityUid, engine_schema: cedarpy.Schema | None) -> None:
    try:
        cedarpy.Entities.from_json_str(json.dumps([row]), engine_schema)
    except ValueError as error:
        raise Misfit(f"`{uid}` does not fit the schema: {error}") from None


def _check_whole(rows: Json, file: str, problems: list[Problem]) -> None:
    try:
        cedarpy.Entities.from_json_str(json.dumps(rows))
    except ValueError as error:
        problems.append(Problem(message=f"entities: {error}; is there a cycle of parents?", file=file))


def _entity(row: Json, schema: Schema | None, where: str) -> Entity:
    if not isinstance(row, Mapping) or "uid" not in row:
        raise Misfit(f"{where}: expected an object with `uid`, `attrs` and `parents`")
    unknown = row.keys() - {"uid", "attrs", "parents", "tags"}
    if unknown:
        raise Misfit(f"{where}: unknown key `{min(unknown)}`; expected `uid`, `attrs`, `parents`, `tags`")
    uid = uid_from_json(row["uid"], f"{where}, uid")
    declared = schema.entities.get(uid.type) if schema is not None else None
    types = {name: attribute.type for name, attribute in declared.attributes.items()} if declared is not None else {}
    attributes, tags, parents = row.get("attrs"), row.get("tags", {}), row.get("parents")
    if not isinstance(attributes, Mapping) or not isinstance(tags, Mapping) or not isinstance(parents, list):
        raise Misfit(f"`{uid}`: expected the objects `attrs` (and `tags`) and the list `parents`")
    tag_type = declared.tags if declared is not None else None
    return Entity(
        uid=uid,
        attributes={name: from_json(value, types.get(name), f"`{uid}`.{name}") for name, value in attributes.items()},
        parents=frozenset(uid_from_json(parent, f"`{uid}`, parents") for parent in parents),
        tags={name: from_json(value, tag_type, f"`{uid}`, tag {name}") for name, value in tags.items()},
    )
