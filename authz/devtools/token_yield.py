"""What a good token comes to: what Cedar cannot say of its claims, and what the schema lets policies see."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from authz.core.cedar_schema import ActionDecl, Schema
from authz.core.claims import MAX_DEPTH, MAX_ITEMS, MAX_TEXT, value_from_json
from authz.core.model import EntityUid, Identity, Value
from authz.pdp.cedar_json import ESCAPES, Misfit, project, project_record

_GROUPS_ONLY = "cognito:groups"


@dataclass(frozen=True, slots=True, kw_only=True)
class Lost:
    """A part of the claims that does not reach a policy."""

    path: str
    """Such as `address.lat` or `scores[2]`."""
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """What policies see of the token: attributes of the principal, or `context.token` for some actions."""

    where: str
    actions: tuple[str, ...] = ()
    """For which actions; empty: for all."""
    kept: Mapping[str, Value] | None = None
    """None: a request would fail with `claims_mismatch`."""
    left_out: tuple[str, ...] = ()
    """Claims that the schema does not declare there."""
    misfit: str = ""
    """What does not fit the schema."""


def unsayable(claims: Mapping[str, Any], *, access: bool) -> tuple[Lost, ...]:
    """The parts of the claims that have no Cedar value, each with the reason."""
    found: list[Lost] = []
    for name, value in claims.items():
        if name in ESCAPES:
            found.append(Lost(path=name, why="a reserved name"))
        elif name == _GROUPS_ONLY and not access:
            found.append(Lost(path=name, why="groups are parents, never an attribute"))
        elif not isinstance(value_from_json(name), str):
            found.append(Lost(path=name, why="its name is no Unicode text"))
        else:
            found += _lost(name, value, MAX_DEPTH)
    return tuple(found)


def _lost(path: str, data: object, depth: int) -> Iterator[Lost]:
    why = _why(data, depth)
    if why:
        yield Lost(path=path, why=why)
    elif isinstance(data, list):
        for index, member in enumerate(data):
            yield from _lost(f"{path}[{index}]", member, depth - 1)
    elif isinstance(data, dict):
        for name, member in data.items():
            if not isinstance(value_from_json(name), str):
                yield Lost(path=f"{path}.{name}", why="its name is no Unicode text")
            else:
                yield from _lost(f"{path}.{name}", member, depth - 1)


def _why(data: object, depth: int) -> str:
    if data is None:
        return "Cedar has no null"
    if isinstance(data, float):
        return "Cedar has no numbers with a fraction or an exponent"
    if isinstance(data, list | dict):
        return _too_much(data, depth)
    if value_from_json(data) is not None:
        return ""
    if isinstance(data, int):
        return "beyond 64 bits"
    too_long = isinstance(data, str) and len(data) > MAX_TEXT
    return f"more than {MAX_TEXT} characters" if too_long else "no Unicode text"


def _too_much(data: list[object] | dict[str, object], depth: int) -> str:
    if not depth:
        return f"deeper than {MAX_DEPTH} levels"
    if len(data) > MAX_ITEMS:
        return f"more than {MAX_ITEMS} members"
    return "it has a reserved name" if isinstance(data, dict) and ESCAPES & data.keys() else ""


def seen_by_policies(identity: Identity, schema: Schema | None) -> tuple[Seen, ...]:
    """What reaches policies, as the decision point cuts it to the schema."""
    if identity.token is not None:
        return _context(identity.token, identity.principal, schema)
    entity = next(entity for entity in identity.entities.entities if entity.uid == identity.principal)
    where = "attributes of the principal"
    declared = schema.entities.get(entity.uid.type) if schema is not None else None
    if declared is None or not entity.attributes:
        return (Seen(where=where, kept=entity.attributes),)
    try:
        kept = project_record(entity.attributes, declared.attributes, entity.uid.type)
    except Misfit as error:
        return (Seen(where=where, misfit=str(error)),)
    return (Seen(where=where, kept=kept, left_out=_left_out(entity.attributes, kept)),)


def _context(token: Mapping[str, Value], principal: EntityUid, schema: Schema | None) -> tuple[Seen, ...]:
    if schema is None:
        return (Seen(where="context.token", kept=token),)
    grouped: dict[object, tuple[Seen, list[str]]] = {}
    for action in schema.actions.values():
        if principal.type in action.principals:
            seen = _for_action(token, action)
            key = (seen.misfit, seen.left_out, repr(seen.kept))
            grouped.setdefault(key, (seen, []))[1].append(action.id)
    return tuple(
        Seen(where=seen.where, actions=tuple(names), kept=seen.kept, left_out=seen.left_out, misfit=seen.misfit)
        for seen, names in grouped.values()
    )


def _for_action(token: Mapping[str, Value], action: ActionDecl) -> Seen:
    declared = action.context.attributes.get("token")
    if declared is None:
        return Seen(where="context.token", kept={}, left_out=tuple(token))
    try:
        kept = project(token, declared.type, "context.token")
    except Misfit as error:
        return Seen(where="context.token", misfit=str(error))
    members = kept if isinstance(kept, Mapping) else {}
    return Seen(where="context.token", kept=members, left_out=_left_out(token, members))


def _left_out(before: Mapping[str, Value], after: Mapping[str, Value], path: str = "") -> tuple[str, ...]:
    found: list[str] = []
    for name, value in before.items():
        if name not in after:
            found.append(f"{path}{name}")
            continue
        kept = after[name]
        if isinstance(value, Mapping) and isinstance(kept, Mapping):
            found += _left_out(value, kept, f"{path}{name}.")
        elif kept != value:
            found.append(f"{path}{name}[]")  # members of records in a set
    return tuple(found)
