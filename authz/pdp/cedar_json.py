"""Core values ↔ Cedar's JSON, and the rule by which values are projected onto what a schema declares.

Values reach the engine in explicit form only (`__entity`, `__extn`), so that the same value means the same
with and without a schema. Untrusted records can never spell these keys: `from_json` refuses them where no
type asks for them (Cedar documentation, "Entities and context JSON format").
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache
from json.encoder import encode_basestring_ascii
from typing import Any

import cedarpy

from authz.core.cedar_schema import (
    Attribute,
    BoolType,
    CedarType,
    EntityType,
    ExtensionType,
    LongType,
    RecordType,
    SetType,
    StringType,
)
from authz.core.model import Entity, EntityUid, Extension, Value

Json = Any
"""What `json.loads` gives and `json.dumps` takes."""

PLAIN = (str, int, Extension)
"""Values that name no entity."""
MAX_DEPTH = 100
"""Levels of a value that is not handed to the engine; the engine itself takes some more."""
ESCAPES = frozenset({"__entity", "__extn", "__expr"})
_FUNCTIONS = {"ipaddr": "ip", "decimal": "decimal", "datetime": "datetime", "duration": "duration"}


class Misfit(ValueError):
    """A value does not fit the type that the schema declares; names the place, never the value."""


def to_json(value: Value) -> Json:
    """A core value in Cedar's explicit JSON form."""
    if isinstance(value, str | int):  # bool is an int
        return value
    if isinstance(value, EntityUid):
        return {"__entity": uid_to_json(value)}
    if isinstance(value, Extension):
        return {"__extn": {"fn": value.function, "arg": value.argument}}
    if isinstance(value, tuple):
        return [to_json(member) for member in value]
    return {name: to_json(member) for name, member in value.items()}


def to_text(value: Value) -> str:
    """`to_json` as JSON text, in one pass: each decision needs it, and `json.dumps` costs three times as much."""
    if isinstance(value, str):
        return encode_basestring_ascii(value)
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    if isinstance(value, EntityUid):
        return f'{{"__entity":{_uid_text(value)}}}'
    if isinstance(value, Extension):
        return _extension_text(value)
    if isinstance(value, tuple):
        return f"[{','.join([to_text(member) for member in value])}]"
    return f"{{{members_text(value)}}}"


@lru_cache(maxsize=4096)  # clients come again from the same address
def _extension_text(value: Extension) -> str:
    function, argument = encode_basestring_ascii(value.function), encode_basestring_ascii(value.argument)
    return f'{{"__extn":{{"fn":{function},"arg":{argument}}}}}'


def members_text(record: Mapping[str, Value]) -> str:
    """The members of a record as JSON text, without its braces."""
    return ",".join([f"{encode_basestring_ascii(name)}:{to_text(member)}" for name, member in record.items()])


def uid_to_json(uid: EntityUid) -> dict[str, str]:
    """`{"type": …, "id": …}`; the engine's structured form, which takes every id as it is."""
    return {"type": uid.type, "id": uid.id}


def entity_to_json(entity: Entity) -> dict[str, Json]:
    """An entity in Cedar's JSON form."""
    found: dict[str, Json] = {
        "uid": uid_to_json(entity.uid),
        "attrs": {name: to_json(value) for name, value in entity.attributes.items()},
        "parents": [uid_to_json(parent) for parent in sorted(entity.parents)],
    }
    if entity.tags:
        found["tags"] = {name: to_json(value) for name, value in entity.tags.items()}
    return found


def is_sound(value: Value, depth: int = MAX_DEPTH) -> bool:
    """Is it a value that the engine takes? Asked of what is not handed to the engine, which would say so."""
    if isinstance(value, str):
        return value.isascii() or _encodable(value)
    if isinstance(value, int):
        return -(2**63) <= value < 2**63
    if isinstance(value, EntityUid):
        return is_uid(value)
    if isinstance(value, Extension):
        return _taken(to_text(value))
    if depth == 0:
        return False
    if isinstance(value, tuple):
        return all(is_sound(member, depth - 1) for member in value)
    return isinstance(value, Mapping) and all(
        is_name(name) and is_sound(member, depth - 1) for name, member in value.items()
    )


def is_name(name: str) -> bool:
    """Can an attribute be called so?"""
    return (name.isascii() or _encodable(name)) and name not in ESCAPES


def is_uid(uid: EntityUid) -> bool:
    """Can an entity be called so?"""
    return (uid.id.isascii() or _encodable(uid.id)) and _is_type(uid.type)


@lru_cache(maxsize=1024)
def _is_type(name: str) -> bool:
    return _taken(to_text(EntityUid(name, "")))


def _encodable(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


@lru_cache(maxsize=4096)
def _taken(text: str) -> bool:  # by the text, for an entity and an extension value may be equal as tuples
    try:
        cedarpy.Entities.from_json_str(f'[{{"uid":{{"type":"T","id":""}},"attrs":{{"a":{text}}},"parents":[]}}]')
    except ValueError:
        return False
    return True


def entity_text(entity: Entity, parents: Iterable[EntityUid]) -> str:
    """An entity in Cedar's JSON form as text, with these parents instead of its own."""
    above = ",".join([_uid_text(parent) for parent in parents])
    tags = f',"tags":{{{members_text(entity.tags)}}}' if entity.tags else ""
    return f'{{"uid":{_uid_text(entity.uid)},"attrs":{{{members_text(entity.attributes)}}},"parents":[{above}]{tags}}}'


def _uid_text(uid: EntityUid) -> str:
    return f'{{"type":{encode_basestring_ascii(uid.type)},"id":{encode_basestring_ascii(uid.id)}}}'


def references(value: Value) -> Iterator[EntityUid]:
    """Every entity that a value names, however deep."""
    if isinstance(value, EntityUid):
        yield value
    elif isinstance(value, tuple):
        if not isinstance(value, Extension):
            for member in value:
                if not isinstance(member, PLAIN):
                    yield from references(member)
    elif isinstance(value, Mapping):
        for member in value.values():
            if not isinstance(member, PLAIN):
                yield from references(member)


def uid_from_json(data: Json, where: str) -> EntityUid:
    """Reads `{"type", "id"}`, with or without the `__entity` wrapper.

    Raises:
        Misfit: it is not of that form.
    """
    if isinstance(data, Mapping) and set(data) == {"__entity"}:
        data = data["__entity"]
    if not isinstance(data, Mapping) or not isinstance(data.get("type"), str) or not isinstance(data.get("id"), str):
        raise Misfit(f'{where}: expected an entity reference such as {{"type": "Ns::User", "id": "alice"}}')
    return EntityUid(data["type"], data["id"])


def from_json(data: Json, declared: CedarType | None, where: str) -> Value:
    """A value of a store's own entities, by its declared type; without one, by its explicit form.

    Raises:
        Misfit: null, a float, a number beyond 64 bits, or a value of another type than declared.
    """
    if isinstance(declared, EntityType):
        return uid_from_json(data, where)
    if isinstance(declared, ExtensionType):
        return _extension_from_json(data, declared, where)
    if isinstance(data, Mapping):
        return _mapping_from_json(data, declared, where)
    if isinstance(data, list):
        member = declared.element if isinstance(declared, SetType) else None
        return tuple(from_json(item, member, f"{where}[{index}]") for index, item in enumerate(data))
    if isinstance(data, str) or (isinstance(data, int) and -(2**63) <= data < 2**63):
        return data
    raise Misfit(f"{where}: expected text, a 64-bit whole number, a boolean, a set or a record")


def _extension_from_json(data: Json, declared: ExtensionType, where: str) -> Extension:
    function = _FUNCTIONS.get(declared.name, declared.name)
    if isinstance(data, str):
        return Extension(function, data)
    inner = data.get("__extn") if isinstance(data, Mapping) else None
    if isinstance(inner, Mapping) and inner.get("fn") == function and isinstance(inner.get("arg"), str):
        return Extension(function, inner["arg"])
    raise Misfit(f"{where}: expected the text of a value of type `{declared.name}`")


def _mapping_from_json(data: Mapping[str, Json], declared: CedarType | None, where: str) -> Value:
    if declared is None and set(data) == {"__entity"}:
        return uid_from_json(data, where)
    if declared is None and set(data) == {"__extn"}:
        inner = data["__extn"]
        if isinstance(inner, Mapping) and isinstance(inner.get("fn"), str) and isinstance(inner.get("arg"), str):
            return Extension(inner["fn"], inner["arg"])
        raise Misfit(f'{where}: expected {{"__extn": {{"fn": …, "arg": …}}}}')
    if ESCAPES & data.keys():
        raise Misfit(f"{where}: `__entity`, `__extn` and `__expr` are no names of attributes")
    members = declared.attributes if isinstance(declared, RecordType) else {}
    return {
        name: from_json(item, members[name].type if name in members else None, f"{where}.{name}")
        for name, item in data.items()
    }


def project(value: Value, declared: CedarType, where: str) -> Value:
    """A value cut to what the schema declares: undeclared members of records are left out.

    Raises:
        Misfit: a declared part has another type. A policy would err on it and be skipped, also a forbid.
    """
    if isinstance(declared, RecordType):
        if isinstance(value, Mapping):
            return project_record(value, declared.attributes, where)
    elif isinstance(declared, SetType):
        if type(value) is tuple:
            return tuple(project(member, declared.element, f"{where}[]") for member in value)
    elif _is_of(value, declared):
        return value
    raise Misfit(f"{where}: expected a value of the type that the schema declares")


def project_record(values: Mapping[str, Value], declared: Mapping[str, Attribute], where: str) -> dict[str, Value]:
    """The declared members of a record, each projected. Raises as `project` does."""
    return {
        name: project(values[name], attribute.type, f"{where}.{name}")
        for name, attribute in declared.items()
        if name in values
    }


_EXACT: Mapping[type[object], type[object]] = {StringType: str, LongType: int, BoolType: bool}


def plainly_fits(values: Mapping[str, Value], declared: Mapping[str, Attribute]) -> bool:
    """Are all members declared, and each a text, number, boolean or entity of its type? No says nothing.

    Nearly every entity is so, and then `project_record`, which takes four times as long, would only copy it.
    """
    for name, value in values.items():
        attribute = declared.get(name)
        if attribute is None:
            return False
        kind = attribute.type
        if type(value) is EntityUid:
            if type(kind) is not EntityType or value.type != kind.name:
                return False
        elif type(value) is not _EXACT.get(type(kind)):
            return False
    return True


def _is_of(value: Value, declared: CedarType) -> bool:
    match declared:
        case StringType():
            return isinstance(value, str)
        case BoolType():
            return isinstance(value, bool)
        case LongType():
            return isinstance(value, int) and not isinstance(value, bool)
        case EntityType():
            return isinstance(value, EntityUid) and value.type == declared.name
        case ExtensionType():
            return isinstance(value, Extension) and value.function == _FUNCTIONS.get(declared.name)
        case _:
            return False
