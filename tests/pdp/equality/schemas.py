"""Schemas: drawn, written in both forms, and applied to a query's own entities as the full set does."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace

from authz.core.cedar_schema import parse_schema, to_json
from authz.core.model import Entity, EntityUid, Value
from tests.pdp.equality.entities import ODD
from tests.pdp.equality.names import Draw, Names, chance, literal, pick, some

_MEMBERS = {"sub": "String", "n": "Long", "scope": "Set<String>"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Declared:
    """What a drawn schema says, as far as the full set must know it."""

    text: str
    types: frozenset[str]
    within: Mapping[str, frozenset[str]]
    """Type → types of its parents."""
    needed: Mapping[str, tuple[str, ...]]
    """Type → attributes that a stored entity must have."""
    attributes: Mapping[str, tuple[str, ...] | None]
    """Name of a declared attribute → the members that it has, if it is a record."""
    groups: Mapping[EntityUid, frozenset[EntityUid]]
    """Action → its groups, at any distance."""
    token: Mapping[EntityUid, tuple[str, ...] | None]
    """Action → what it declares of `context.token`; None: nothing at all."""

    def fitted(self, entity: Entity) -> Entity:
        """A query's own entity, cut to what is declared."""
        if entity.uid.type not in self.types:
            return entity
        return replace(entity, attributes=_cut(entity.attributes, self.attributes))

    def context(self, action: EntityUid, context: Mapping[str, Value]) -> dict[str, Value]:
        """A query's context, its token cut to what is declared."""
        found = dict(context)
        members, token = self.token.get(action), found.pop("token", None)
        if members is not None and isinstance(token, Mapping):
            found["token"] = {name: member for name, member in token.items() if name in members}
        return found


def _cut(values: Mapping[str, Value], declared: Mapping[str, tuple[str, ...] | None]) -> dict[str, Value]:
    found: dict[str, Value] = {}
    for name, value in values.items():
        if name not in declared:
            continue
        members = declared[name]
        if members is not None and isinstance(value, Mapping):
            found[name] = {member: inner for member, inner in value.items() if member in members}
        else:
            found[name] = value
    return found


def schemas(draw: Draw, names: Names) -> Declared:
    """A schema over the names of a world."""
    user, doc, folder, group = names.user, names.doc, names.folder, names.group
    within = {
        user: frozenset(some(draw, (group, folder, user), 3)) | {group},
        doc: frozenset(some(draw, (group, doc), 2)) | {folder},
        folder: frozenset(some(draw, (group,), 1)) | {folder},
        group: frozenset((group,)),
    }
    types = {
        "level": "Long", "owner": user, "team": group, "folder": folder, "groups": f"Set<{group}>", "ip": "ipaddr",
        "name": "String", "flag": "Bool", ODD: "Long",
    }  # fmt: skip
    by = chance(draw, 80)
    types["info"] = f"{{n: Long, by?: {user}}}" if by else "{n: Long}"
    undeclared = some(draw, tuple(types), 2)
    kept = {name: kind for name, kind in types.items() if name not in undeclared}
    needable = tuple(name for name in ("level", "owner", "team", "info") if name in kept)
    needed = {kind: tuple(name for name in needable if chance(draw, 40)) for kind in within}
    direct, token = _actions(draw, names)
    lines = [_entity(kind, within[kind], kept, needed[kind]) for kind in within]
    lines += [_action(draw, names, uid, direct[uid], token[uid]) for uid in names.actions]
    text = "\n".join(lines)
    if names.space:
        text = f"namespace {names.space.removesuffix('::')} {{\n{text}\n}}"
    if chance(draw, 30):
        text = json.dumps(to_json(parse_schema(text)))
    return Declared(
        text=text,
        types=frozenset(within),
        within=within,
        needed=needed,
        attributes={name: None if name != "info" else ("n", "by")[: 1 + by] for name in kept},
        groups={uid: _closed(uid, direct) for uid in names.actions},
        token=token,
    )


def _entity(kind: str, within: frozenset[str], kept: Mapping[str, str], needed: tuple[str, ...]) -> str:
    declared = ", ".join(f"{json.dumps(name)}{'' if name in needed else '?'}: {value}" for name, value in kept.items())
    return f"entity {kind.rpartition('::')[2]} in [{', '.join(sorted(within))}] {{{declared}}} tags String;"


def _actions(
    draw: Draw, names: Names
) -> tuple[dict[EntityUid, tuple[EntityUid, ...]], dict[EntityUid, tuple[str, ...] | None]]:
    direct: dict[EntityUid, tuple[EntityUid, ...]] = {}
    token: dict[EntityUid, tuple[str, ...] | None] = {}
    for position, uid in enumerate(names.actions):
        later = names.actions[position + 1 :]
        direct[uid] = some(draw, later, 2) if later else ()
        token[uid] = some(draw, tuple(_MEMBERS), 3) if chance(draw, 75) else None
    return direct, token


def _action(
    draw: Draw, names: Names, uid: EntityUid, groups: tuple[EntityUid, ...], token: tuple[str, ...] | None
) -> str:
    name = literal(EntityUid("x", uid.id)).removeprefix("x::")
    within = f" in [{', '.join(literal(group) for group in groups)}]" if groups else ""
    user, doc, folder = names.user, names.doc, names.folder
    resources = pick(draw, (doc, f"[{doc}, {folder}]", f"[{doc}, {folder}, {user}]"))
    context = f"level?: Long, who?: {user}, groups?: Set<{names.group}>, ip?: ipaddr"
    if token is not None:
        context += f", token?: {{{', '.join(f'{member}?: {_MEMBERS[member]}' for member in token)}}}"
    return f"action {name}{within} appliesTo {{principal: {user}, resource: {resources}, context: {{{context}}}}};"


def _closed(uid: EntityUid, direct: Mapping[EntityUid, tuple[EntityUid, ...]]) -> frozenset[EntityUid]:
    return frozenset(direct[uid]).union(*(_closed(group, direct) for group in direct[uid]))
