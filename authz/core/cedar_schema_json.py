"""Reads a schema in Cedar's JSON form into its declarations (Cedar reference, "JSON schema format").

It takes all that the engine takes, but for objects spelled as lists of their values, which the engine's
decoder happens to allow and nobody documents.
"""

import json
import re
from collections.abc import Mapping
from typing import TypeAlias

from authz.core.cedar_lex import SourceError, check_characters, quoted
from authz.core.cedar_schema_model import ExtensionType
from authz.core.cedar_schema_written import (
    EMPTY_RECORD,
    EXTENSIONS,
    MAX_TYPE_DEPTH,
    PRIMITIVES,
    Kind,
    Namespace,
    Reference,
    WrittenAction,
    WrittenEntity,
    WrittenRecord,
    WrittenSet,
    WrittenType,
)

MAX_JSON_DEPTH = 128
"""Objects and arrays within one another: the engine's own limit."""

Fields: TypeAlias = Mapping[str, object]
_PATH = re.compile(r"[A-Za-z_][A-Za-z0-9_]*(?:::[A-Za-z_][A-Za-z0-9_]*)*")
_BRACKET = re.compile(r'"[^"\\]*+(?:\\.[^"\\]*+)*+"?|[\[{]|[\]}]', re.DOTALL)


def read_json_text(text: str) -> object:
    """Read JSON strictly: no key twice in one object, no NaN, no nesting that would exhaust a stack.

    Raises:
        SourceError: not such JSON, with the place where the decoder knows it.
    """
    check_characters(text)
    _check_nesting(text)
    try:
        return json.loads(text, object_pairs_hook=_unique, parse_constant=_no_constant)
    except json.JSONDecodeError as error:
        raise SourceError(error.pos, f"not JSON: {error.msg[:1].lower()}{error.msg[1:]}") from None
    except SourceError:
        raise
    except ValueError:  # a number of thousands of digits
        raise SourceError(None, "not JSON for a schema: a number is too long") from None


def _check_nesting(text: str) -> None:
    depth = 0
    for match in _BRACKET.finditer(text):
        first = match.group()[0]
        depth += (first in "[{") - (first in "]}")
        if depth > MAX_JSON_DEPTH:
            raise SourceError(match.start(), f"more than {MAX_JSON_DEPTH} objects and lists within one another")


def _unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
    found = dict(pairs)
    if len(found) < len(pairs):
        twice = next(name for index, (name, _) in enumerate(pairs) if name in dict(pairs[:index]))
        raise SourceError(None, f"key {quoted(twice)} stands twice in one object: remove one")
    return found


def _no_constant(name: str) -> object:
    raise SourceError(None, f"`{name}` is no JSON: remove it")


def read_schema_json(data: object) -> dict[str, Namespace]:
    """Read the declarations from a decoded JSON document.

    Raises:
        SourceError: without offset, naming the place as a path.
    """
    spaces: dict[str, Namespace] = {}
    for name, definition in _object(data, "the schema").items():
        if name and not _PATH.fullmatch(name):
            raise _fault("the schema", f"expected a namespace's name as key, found {quoted(name)}")
        spaces[name] = _namespace(name, definition)
    return spaces


def _fault(where: str, wish: str) -> SourceError:
    return SourceError(None, f"{wish}, at {where}")


# --- shapes of JSON


def _object(value: object, where: str) -> Fields:
    if not isinstance(value, dict) or not all(isinstance(key, str) for key in value):
        raise _fault(where, "expected an object")
    return value


def _fields(value: object, where: str, *known: str) -> Fields:
    found = _object(value, where)
    for key in found:
        if key not in known:
            raise _fault(where, f"unknown key {quoted(key)}, expected one of {', '.join(f'`{k}`' for k in known)}")
    return found


def _list(value: object, where: str) -> list[object]:
    if not isinstance(value, list):
        raise _fault(where, "expected a list")
    return value


def _text(value: object, where: str) -> str:
    if not isinstance(value, str):
        raise _fault(where, "expected a string")
    return value


def _flag(value: object, where: str) -> bool:
    if not isinstance(value, bool):
        raise _fault(where, "expected `true` or `false`")
    return value


def _reference(value: object, kind: Kind, where: str) -> Reference:
    name = _text(value, where)
    if not _PATH.fullmatch(name):
        raise _fault(where, f"expected a type's name such as `Ns::User`, found {quoted(name)}")
    return Reference(name=name, kind=kind, offset=None)


def _references(value: object, where: str) -> tuple[Reference, ...]:
    return tuple(_reference(item, Kind.ENTITY, where) for item in _list(value, where))


# --- declarations


def _namespace(name: str, value: object) -> Namespace:
    where = f"namespace `{name}`" if name else "the empty namespace"
    fields = _fields(value, where, "commonTypes", "entityTypes", "actions", "annotations")
    for key in ("entityTypes", "actions"):
        if key not in fields:
            raise _fault(where, f"expected the key `{key}`")
    types = _object(fields.get("commonTypes", {}), f"{where}, `commonTypes`")
    entities = _object(fields["entityTypes"], f"{where}, `entityTypes`")
    actions = _object(fields["actions"], f"{where}, `actions`")
    for key in (*types, *entities):
        if "::" in key or not _PATH.fullmatch(key):
            raise _fault(where, f"expected an identifier as the type's name, found {quoted(key)}")
    return Namespace(
        name=name,
        types={key: _type(item, f"type {quoted(key)} of {where}", 0, "annotations") for key, item in types.items()},
        entities={key: _entity(item, f"entity {quoted(key)} of {where}") for key, item in entities.items()},
        actions={key: _action(item, f"action {quoted(key)} of {where}") for key, item in actions.items()},
    )


def _entity(value: object, where: str) -> WrittenEntity:
    fields = _fields(value, where, "memberOfTypes", "shape", "tags", "enum", "annotations")
    if "enum" in fields:
        ids = frozenset(_text(item, where) for item in _list(fields["enum"], where))
        if not ids or len(fields.keys() - {"annotations"}) > 1:
            raise _fault(where, "expected ids in `enum`, and no other key beside it")
        return WrittenEntity(enum=ids)
    return WrittenEntity(
        parents=_references(fields.get("memberOfTypes", []), f"`memberOfTypes` of {where}"),
        shape=_type(fields["shape"], f"`shape` of {where}", 0) if "shape" in fields else EMPTY_RECORD,
        tags=_type(fields["tags"], f"`tags` of {where}", 0) if "tags" in fields else None,
    )


def _action(value: object, where: str) -> WrittenAction:
    fields = _fields(value, where, "appliesTo", "memberOf", "attributes", "annotations")
    written = fields.get("memberOf")
    members = [] if written is None else _list(written, f"`memberOf` of {where}")
    groups = tuple(_group(item, where) for item in members)
    if fields.get("appliesTo") is None:
        return WrittenAction(groups=groups)
    place = f"`appliesTo` of {where}"
    applies = _fields(fields["appliesTo"], place, "principalTypes", "resourceTypes", "context")
    return WrittenAction(
        groups=groups,
        principals=_references(applies.get("principalTypes"), f"`principalTypes`, {place}"),
        resources=_references(applies.get("resourceTypes"), f"`resourceTypes`, {place}"),
        context=_type(applies["context"], f"`context`, {place}", 0) if "context" in applies else EMPTY_RECORD,
    )


def _group(value: object, where: str) -> tuple[Reference, str]:
    fields = _fields(value, f"`memberOf` of {where}", "id", "type")
    type = fields.get("type")
    return _reference("Action" if type is None else type, Kind.ENTITY, where), _text(fields.get("id"), where)


# --- types

_KEYS = {
    "Set": ("element",),
    "Record": ("attributes", "additionalAttributes"),
    "Entity": ("name",),
    "EntityOrCommon": ("name",),
    "Extension": ("name",),
}


def _type(value: object, where: str, depth: int, *more: str) -> WrittenType:
    """Read a type; `more` are keys that its surroundings put beside it."""
    if depth > MAX_TYPE_DEPTH:
        raise _fault(where, f"expected at most {MAX_TYPE_DEPTH} sets and records within one another")
    name = _text(_object(value, where).get("type"), f"`type`, {where}")
    fields = _fields(value, where, "type", *_KEYS.get(name, ()), *more)
    match name:
        case "String" | "Long":
            return PRIMITIVES[name]
        case "Boolean":
            return PRIMITIVES["Bool"]
        case "Set":
            return WrittenSet(_type(fields.get("element"), where, depth + 1))
        case "Record":
            return _record(fields, where, depth + 1)
        case "Entity":
            return _reference(fields.get("name"), Kind.ENTITY, f"`name`, {where}")
        case "EntityOrCommon":
            return _reference(fields.get("name"), Kind.EITHER, f"`name`, {where}")
        case "Extension":
            return _extension(fields.get("name"), where)
        case _:
            return _reference(name, Kind.COMMON, where)


def _extension(value: object, where: str) -> ExtensionType:
    name = _text(value, f"`name`, {where}")
    if name not in EXTENSIONS:
        known = ", ".join(f"`{known}`" for known in sorted(EXTENSIONS))
        raise _fault(where, f"unknown extension type {quoted(name)}, expected one of {known}")
    return ExtensionType(name)


def _record(fields: Fields, where: str, depth: int) -> WrittenRecord:
    if _flag(fields.get("additionalAttributes", False), where):
        raise _fault(where, "`additionalAttributes` is not supported: declare the attributes")
    attributes: dict[str, tuple[WrittenType, bool]] = {}
    for name, item in _object(fields.get("attributes"), f"`attributes`, {where}").items():
        place = f"attribute {quoted(name)} of {where}"
        required = _flag(_object(item, place).get("required", True), place)
        attributes[name] = (_type(item, place, depth, "required", "annotations"), required)
    return WrittenRecord(attributes)
