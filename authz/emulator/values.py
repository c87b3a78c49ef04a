"""Attribute values, entities and contexts as the API writes them → Cedar's JSON for the engine.

Written from the API reference alone and shared with nothing of the product, so that what the product sends can be held
against it. Source: API reference, `AttributeValue`, `CedarTagValue`, `EntityItem`, `EntitiesDefinition`,
`ContextDefinition`; Cedar documentation, "Entities and context JSON format".

A typed value means what its member says and nothing else: a `string` never becomes an address, a `record` never an
entity. `cedarJson` is Cedar's own format, in which `__entity` and `__extn` have their meaning.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import cedarpy

from authz.core.model import EntityUid
from authz.emulator.errors import ValidationError

Json = Any
"""What `json.loads` gives."""
MAX_DEPTH = 100
"""Levels of one typed value; the engine's reader takes some more."""
MAX_LEVELS = 120
"""Levels of `cedarJson`; the engine's reader takes some more, and Python's own limit hangs on who calls."""
ESCAPES = frozenset({"__entity", "__extn", "__expr"})
"""Keys to which Cedar's JSON gives a meaning."""
_LONG = range(-(2**63), 2**63)
_NAME = re.compile(r"[_a-zA-Z][_a-zA-Z0-9]*(?:::[_a-zA-Z][_a-zA-Z0-9]*)*")
_EXTENSIONS: Mapping[str, tuple[str, re.Pattern[str]]] = {
    "ipaddr": ("ip", re.compile(r"[0-9a-fA-F.:/]{1,44}")),
    "decimal": ("decimal", re.compile(r"-?[0-9]{1,15}\.[0-9]{1,4}")),
    "datetime": (
        "datetime",
        re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}(T[0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{3})?(Z|[+-][0-9]{4}))?"),
    ),
    "duration": (
        "duration",
        re.compile(r"(?=-?[0-9])-?([0-9]+d)?([0-9]+h)?([0-9]+m)?([0-9]+s)?([0-9]+ms)?"),
    ),
}
"""The member → Cedar's function and the member's pattern in the service model. `ipaddr` is `ip` in Cedar."""


class Context(NamedTuple):
    """A context in Cedar's JSON form."""

    members: Mapping[str, Json]

    def text(self, token: Mapping[str, Json] | None = None) -> str:
        """As JSON text for the engine, with `token` where an access token gives one."""
        return json.dumps({**self.members, "token": token} if token is not None else self.members)


def entity_uid(identifier: Mapping[str, Any], path: str = "") -> EntityUid:
    """An `EntityIdentifier`.

    Raises:
        ValidationError: its type is no Cedar name, or its id no Unicode text.
    """
    return checked_uid(identifier["entityType"], identifier["entityId"], path)


def action_uid(identifier: Mapping[str, Any], path: str = "") -> EntityUid:
    """An `ActionIdentifier`. Raises as `entity_uid`, and for a type that is no action's."""
    uid = checked_uid(identifier["actionType"], identifier["actionId"], path)
    if not is_action(uid):
        raise invalid(path, "the type of an action is `Action`, behind its namespace if there is one")
    return uid


def is_action(uid: EntityUid) -> bool:
    """Is its type that of actions? No other entity can have it (Cedar documentation, "Entity types")."""
    return uid.type == "Action" or uid.type.endswith("::Action")


def cedar_value(value: Mapping[str, Any], path: str = "", depth: int = MAX_DEPTH) -> Json:
    """An `AttributeValue` or `CedarTagValue` in Cedar's explicit form.

    Raises:
        ValidationError: not just one member, none of the ten, or a value that Cedar cannot hold.
    """
    if len(value) != 1:
        raise invalid(path, "a value has exactly one member")
    if depth == 0:
        raise invalid(path, f"a value has at most {MAX_DEPTH} levels")
    [(member, held)] = value.items()
    if member in _EXTENSIONS:
        return _extension(member, held, path)
    convert = _MEMBERS.get(member)
    if convert is None:
        raise invalid(path, f"`{member}` is no member of a value")
    return convert(held, f"{path}/{member}", depth)


def cedar_context(definition: Mapping[str, Any] | None, path: str = "/context") -> Context:
    """A `ContextDefinition`; nothing is the empty context. Raises as `cedar_entities`."""
    if definition is None:
        return Context({})
    if "contextMap" in definition:
        return Context(cedar_record(definition["contextMap"], f"{path}/contextMap"))
    members = loaded(definition["cedarJson"], f"{path}/cedarJson")
    # An object of one such key is no record to Cedar, and would be one as soon as `token` stands beside it.
    if not isinstance(members, dict) or (len(members) == 1 and ESCAPES & members.keys()):
        raise invalid(f"{path}/cedarJson", "expected a JSON object with the attributes of the context")
    return Context(members)


# --- names


def checked_uid(kind: object, id: object, path: str) -> EntityUid:
    """An entity's identifier. Raises as `entity_uid`."""
    if not isinstance(kind, str) or not is_type_name(kind):
        raise invalid(path, "expected an entity type such as `Namespace::Type`")
    if not isinstance(id, str) or not is_text(id):
        raise invalid(path, "expected an entity id in Unicode")
    return EntityUid(kind, id)


@lru_cache(maxsize=4096)
def is_type_name(name: str) -> bool:
    """Is it a type's name to Cedar, written plainly? Words of the language (`if`, `in`, …) are none."""
    return _NAME.fullmatch(name) is not None and _taken({}, name)


def is_text(text: str) -> bool:
    """Is it Unicode, with no half of a surrogate pair?"""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def json_uid(uid: EntityUid) -> dict[str, str]:
    """An identifier in Cedar's JSON form."""
    return {"type": uid.type, "id": uid.id}


# --- values


def _boolean(held: object, path: str, _: int) -> Json:
    if not isinstance(held, bool):
        raise invalid(path, "expected true or false")
    return held


def _long(held: object, path: str, _: int) -> Json:
    # bool is an int in Python.
    if isinstance(held, bool) or not isinstance(held, int) or held not in _LONG:
        raise invalid(path, "expected a whole number of 64 bits")
    return held


def _string(held: object, path: str, _: int) -> Json:
    if not isinstance(held, str) or not is_text(held):
        raise invalid(path, "expected a string in Unicode")
    return held


def _entity_identifier(held: Mapping[str, Any], path: str, _: int) -> Json:
    uid = entity_uid(held, path)
    return {"__entity": json_uid(uid)}


def _set(held: Sequence[Mapping[str, Any]], path: str, depth: int) -> Json:
    return [cedar_value(member, f"{path}/{place}", depth - 1) for place, member in enumerate(held)]


def cedar_record(held: Mapping[str, Mapping[str, Any]], path: str, depth: int = MAX_DEPTH) -> dict[str, Json]:
    """A record; also the attributes and tags of an entity, and the context."""
    for name in held:
        # As the only key it would turn the record into an entity or an address.
        if name in ESCAPES:
            raise invalid(path, f"`{name}` is reserved and cannot be the name of an attribute")
        if not is_text(name):
            raise invalid(path, "expected names in Unicode")
    return {name: cedar_value(member, f"{path}/{name}", depth - 1) for name, member in held.items()}


_MEMBERS: Mapping[str, Callable[[Any, str, int], Json]] = {
    "boolean": _boolean,
    "long": _long,
    "string": _string,
    "entityIdentifier": _entity_identifier,
    "set": _set,
    "record": cedar_record,
}


def _extension(member: str, held: object, path: str) -> Json:
    function, pattern = _EXTENSIONS[member]
    if not isinstance(held, str) or not pattern.fullmatch(held):
        raise invalid(f"{path}/{member}", f"expected a value of the form of `{member}`")
    # The patterns admit what Cedar does not: 999999999999999.9 overflows, 2024-02-30 is no day.
    if not _is_extension(function, held):
        raise invalid(f"{path}/{member}", f"Cedar has no such `{member}` value")
    return {"__extn": {"fn": function, "arg": held}}


@lru_cache(maxsize=4096)
def _is_extension(function: str, argument: str) -> bool:
    return _taken({"a": {"__extn": {"fn": function, "arg": argument}}})


def _taken(attributes: Mapping[str, Json], kind: str = "T") -> bool:
    """Does the engine take an entity of this kind with these attributes?"""
    entity = {"uid": {"type": kind, "id": ""}, "attrs": attributes, "parents": []}
    try:
        cedarpy.Entities.from_json_str(json.dumps([entity]))
    except ValueError:
        return False
    return True


# --- JSON


def loaded(text: str, path: str) -> Json:
    """What JSON text holds.

    Raises:
        ValidationError: it is none, or has more than `MAX_LEVELS` levels.
    """
    try:
        found = json.loads(text, parse_constant=_refuse)
    except (ValueError, RecursionError):
        raise invalid(path, "expected JSON in Cedar's format") from None
    level = [found]
    for _ in range(MAX_LEVELS):
        level = [member for held in level for member in _members(held)]
    if level:
        raise invalid(path, f"expected JSON of at most {MAX_LEVELS} levels")
    return found


def _members(held: Json) -> Iterable[Json]:
    if isinstance(held, dict):
        return held.values()
    return held if isinstance(held, list) else ()


def _refuse(name: str) -> Json:
    raise ValueError(name)


def invalid(path: str, message: str) -> ValidationError:
    """The refusal of one member of the input."""
    return ValidationError([(path, message)])
