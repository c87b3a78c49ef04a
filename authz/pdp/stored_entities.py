"""A store's own entities, in Cedar's JSON form (Cedar documentation, "Entities and context JSON format").

The engine is asked about a few at a time, without the GIL. Of all together two things are to be known: whether parents
lead in a circle, and how many levels there are. Both are looked for here.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping
from types import MappingProxyType
from typing import NamedTuple

import cedarpy

from authz.core.cedar_lex import quoted
from authz.core.cedar_schema import Schema
from authz.core.errors import Problem
from authz.core.hierarchy import MAX_LEVELS, find_circle, find_too_deep
from authz.core.json_list import JsonListError, NoList, json_list
from authz.core.model import Entity, EntityUid, PolicySnapshot, Value
from authz.core.pieces import Pause, no_pause, take_apart
from authz.pdp.cedar_json import Json, Misfit, from_json, is_sound, uid_from_json
from authz.pdp.misfits import entity_misfit
from authz.pdp.validation import Schemas

CHUNK = 64
"""Entities in one text for the engine."""
_NOTHING: Mapping[str, Value] = MappingProxyType({})
_ORPHAN: frozenset[EntityUid] = frozenset()


class _Numbered(NamedTuple):
    """One entity as it stands in a list."""

    number: int
    """From 1."""
    line: int | None
    value: Json
    uid: EntityUid


def load_entities(
    snapshot: PolicySnapshot, schemas: Schemas, problems: list[Problem], pause: Pause
) -> Mapping[EntityUid, Entity]:
    """The entities of a snapshot. Problems are appended, with file and line."""
    file = snapshot.entities_file
    reader = _Reader(schemas, file, pause)
    try:
        for element in json_list(snapshot.entities):
            reader.take(element.value, element.line)
    except NoList:
        reader.told("expected a list of entities")
    except JsonListError as error:
        reader.told(error.message, error.line)
    return reader.finished(problems)


def read_entities(
    rows: Json,
    schema: Schema | None,
    engine_schema: cedarpy.Schema | None,
    file: str,
    problems: list[Problem],
) -> Mapping[EntityUid, Entity]:
    """Entities from their parsed JSON, each checked by the engine against the schema. Problems are appended."""
    reader = _Reader(Schemas(ours=schema, engine=engine_schema), file, no_pause)
    if isinstance(rows, list):
        for row in rows:
            reader.take(row, None)
    else:
        reader.told("expected a list of entities")
    return reader.finished(problems)


class _Reader:
    """Takes one entity after the other."""

    def __init__(self, schemas: Schemas, file: str, pause: Pause) -> None:
        self._schemas = schemas
        self._file = file
        self._pause = pause
        self._problems: list[Problem] = []
        self._found: dict[EntityUid, Entity] = {}
        self._lines: dict[EntityUid, int | None] = {}
        self._unchecked: list[_Numbered] = []
        self._number = 0
        # Large stores name the same parents again and again.
        self._uids: dict[EntityUid, EntityUid] = {}
        self._parents: dict[frozenset[EntityUid], frozenset[EntityUid]] = {_ORPHAN: _ORPHAN}

    def told(self, message: str, line: int | None = None) -> None:
        """Notes a problem."""
        self._problems.append(Problem(message=f"entities: {message}", file=self._file, line=line))

    def take(self, value: Json, line: int | None) -> None:
        """One entity more."""
        self._number += 1
        try:
            entity = self._entity(value, f"entity {self._number}")
            if entity.uid in self._found:
                raise Misfit(f"entity {self._number}: `{entity.uid}` is already defined")
        except Misfit as error:
            self.told(f"{error}", line)
        except RecursionError:
            self.told(f"entity {self._number}: nested too deeply", line)
        else:
            self._found[entity.uid] = entity
            self._lines[entity.uid] = line
            self._unchecked.append(_Numbered(self._number, line, value, entity.uid))
            if len(self._unchecked) >= CHUNK:
                self._check()
        self._pause()

    def finished(self, problems: list[Problem]) -> Mapping[EntityUid, Entity]:
        """All that was taken; empty where there was a problem."""
        self._check()
        self._climb()
        if self._problems:
            problems.extend(self._problems)
            for parts in (self._found, self._lines, self._parents, self._uids):
                take_apart(parts, self._pause)
        return self._found

    def _climb(self) -> None:
        above = _Above(self._found, self._pause)
        circle = find_circle(above)
        if circle is not None:
            names = " → ".join(f"`{uid}`" for uid in (*circle[:4], *(("…",) if len(circle) > 4 else ()), circle[0]))
            self.told(f"a cycle of parents: {names}; an entity cannot be in itself", self._lines[circle[0]])
            return
        deep = find_too_deep(above)
        if deep is not None:
            text = f"more than {MAX_LEVELS} levels of parents, beginning with `{deep}`; make the hierarchy flatter"
            self.told(text, self._lines[deep])

    def _check(self) -> None:
        """Asks the engine about those that it was not asked about yet: all at once, and if need be one by one."""
        chunk, self._unchecked = self._unchecked, []
        if not chunk or self._takes([one.value for one in chunk]) is None:
            return
        for one in chunk:
            refusal = self._takes([one.value])
            if refusal is not None and one.uid not in self._found[one.uid].parents:  # a circle, which is told as such
                self.told(self._words(self._found[one.uid], refusal), one.line)
            self._pause()

    def _words(self, entity: Entity, refusal: str) -> str:
        """Why one entity is refused. The engine's own words name no place in it."""
        schema = self._schemas.ours
        misfit = entity_misfit((entity,), schema) if schema is not None else ""
        if misfit:
            return f"`{entity.uid}` does not fit the schema: {misfit}"
        unsound = next(_unsound(entity), None)
        return f"`{entity.uid}`: {unsound or refusal}"

    def _takes(self, rows: list[Json]) -> str | None:
        """What the engine has against these; None: nothing."""
        try:
            cedarpy.Entities.from_json_str(json.dumps(rows), self._schemas.engine, release_gil=True)
        except ValueError as error:
            return str(error)
        except RecursionError:
            return "nested too deeply"
        return None

    def _entity(self, row: Json, where: str) -> Entity:
        if not isinstance(row, Mapping) or "uid" not in row:
            raise Misfit(f"{where}: expected an object with `uid`, `attrs` and `parents`")
        unknown = set(row) - {"uid", "attrs", "parents", "tags"}
        if unknown:
            raise Misfit(f"{where}: unknown key `{min(unknown)}`; expected `uid`, `attrs`, `parents`, `tags`")
        uid = self._uid(row["uid"], f"{where}, uid")
        schema = self._schemas.ours
        declared = schema.entities.get(uid.type) if schema is not None else None
        types = (
            {name: attribute.type for name, attribute in declared.attributes.items()} if declared is not None else {}
        )
        attributes, tags, parents = row.get("attrs"), row.get("tags", {}), row.get("parents")
        if not isinstance(attributes, Mapping) or not isinstance(tags, Mapping) or not isinstance(parents, list):
            raise Misfit(f"`{uid}`: expected the objects `attrs` (and `tags`) and the list `parents`")
        tag_type = declared.tags if declared is not None else None
        above = frozenset([self._uid(parent, f"`{uid}`, parents") for parent in parents])
        return Entity(
            uid=uid,
            attributes={
                name: from_json(value, types.get(name), f"`{uid}`.{name}") for name, value in attributes.items()
            },
            parents=self._parents.setdefault(above, above),
            tags={name: from_json(value, tag_type, f"`{uid}`, tag {name}") for name, value in tags.items()}
            if tags
            else _NOTHING,
        )

    def _uid(self, data: Json, where: str) -> EntityUid:
        uid = uid_from_json(data, where)
        return self._uids.setdefault(uid, uid)


class _Above(Mapping[EntityUid, Collection[EntityUid]]):
    """Parents by entity; pauses at each step of who walks through them."""

    def __init__(self, entities: Mapping[EntityUid, Entity], pause: Pause) -> None:
        self._entities = entities
        self._pause = pause

    def __getitem__(self, uid: EntityUid) -> Collection[EntityUid]:
        return self._entities[uid].parents

    def __contains__(self, uid: object) -> bool:
        return uid in self._entities

    def __iter__(self) -> Iterator[EntityUid]:
        for uid in self._entities:
            self._pause()
            yield uid

    def __len__(self) -> int:
        return len(self._entities)


def _unsound(entity: Entity) -> Iterator[str]:
    """What of an entity no engine takes, whatever the schema says. Holds no value."""
    if not is_sound(entity.uid):
        yield "its type is no name in Cedar, or its id holds half of a surrogate pair"
    for parent in sorted(entity.parents):
        if not is_sound(parent):
            yield f"the type of its parent `{parent}` is no name in Cedar, or the id holds half of a surrogate pair"
    for kind, members in (("attribute", entity.attributes), ("tag", entity.tags)):
        for name, value in members.items():
            if not is_sound(name) or not is_sound(value):
                text = "has no value that Cedar takes, such as a malformed address or half of a surrogate pair"
                yield f"its {kind} {quoted(name)} {text}"
