"""The file of API keys: read as strictly as the configuration, and every problem told with its line.

keys:
  - id: reporting-1
    sha256: "…"                            # of the secret, 64 hexadecimal digits; `authz key` makes it
    principal: Shop::Service::"reporting"
    parents: ['Shop::Group::"batch"']
    attributes: {team: data, tier: 2}
    expires: 2027-01-31
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from authz.authn.api_keys import ID, ApiKey
from authz.config.yaml_text import Document, Place, read_document
from authz.core.claims import MAX_ID
from authz.core.errors import Problem
from authz.core.mapping import MappingError, parse_uid
from authz.core.model import EntityUid, Value

MAX_KEYS = 10_000
MAX_PARENTS = 100
_FIELDS = ("id", "sha256", "principal", "parents", "attributes", "expires")
_REQUIRED = _FIELDS[:3]
_DIGEST = re.compile(r"[0-9a-f]{64}")
_MOMENT = re.compile(r"\d{4}-\d{2}-\d{2}(T\d{2}:\d{2}:\d{2}(Z|[+-]\d{2}:\d{2}))?", re.ASCII)
_LONG = range(-(2**63), 2**63)


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyFile:
    """The keys of one file, by id, and the line of each."""

    file: str
    keys: Mapping[str, ApiKey] = field(default_factory=dict)
    lines: Mapping[str, int | None] = field(default_factory=dict)


def read_key_file(path: Path, problems: list[Problem]) -> KeyFile:
    """The file's keys. What is wrong is appended to `problems`, with its line; nothing is raised."""
    document = read_document(path, {})
    reader = _Reader(document)
    if not document.problems:
        reader.read()
    problems.extend(document.problems)
    return KeyFile(file=document.file, keys=reader.keys, lines=reader.lines)


class _Wrong(ValueError):
    """What stands in a field is not what is expected."""


class _Reader:
    def __init__(self, document: Document) -> None:
        self.document = document
        self.keys: dict[str, ApiKey] = {}
        self.lines: dict[str, int | None] = {}
        self._digests: dict[str, str] = {}

    def read(self) -> None:
        """Reads every entry; what is wrong is noted at its line."""
        data = self.document.data
        entries = data.get("keys") if isinstance(data, dict) and data.keys() == {"keys"} else None
        if not isinstance(entries, list):
            self.document.problem((), "expected `keys:` with a list, and nothing else; write `keys: []` for none")
            return
        if len(entries) > MAX_KEYS:
            self.document.problem(("keys",), f"expected at most {MAX_KEYS} keys")
            return
        if self.document.secrets:  # one that changes would not be seen
            self.document.problem(("keys",), "`${file:…}` does not count here: hashes are no secrets, write them down")
        for index, entry in enumerate(entries):
            place: Place = ("keys", index)
            if not isinstance(entry, dict):
                self.document.problem(place, "expected a mapping with `id`, `sha256` and `principal`")
            elif self._fields(entry, place):
                self._entry(entry, place)

    def _fields(self, entry: Mapping[str, Any], place: Place) -> bool:
        unknown = [name for name in entry if name not in _FIELDS]
        missing = [name for name in _REQUIRED if entry.get(name) is None]
        for name in unknown:
            known = ", ".join(f"`{field}`" for field in _FIELDS)
            self.document.problem((*place, name), f"unknown key `{name[:60]}`; expected {known}")
        if missing:
            self.document.problem(place, f"`{missing[0]}` is required")
        return not unknown and not missing

    def _entry(self, entry: Mapping[str, Any], place: Place) -> None:
        found: dict[str, Any] = {}
        for name in _FIELDS:
            if name in entry:
                try:
                    found[name] = _READERS[name](entry[name])
                except _Wrong as error:
                    self.document.problem((*place, name), f"`{name}`: {error}")
        if len(found) < len(entry):
            return  # told
        id, digest, line = found["id"], found["sha256"], self.document.line(place)
        if id in self.keys:
            self.document.problem((*place, "id"), f"the id `{id}` stands twice; the first is in line {self.lines[id]}")
            return
        if digest in self._digests:
            text = f"the hash is that of `{self._digests[digest]}`; each key has a secret of its own"
            self.document.problem((*place, "sha256"), text)
            return
        self._digests[digest], self.lines[id] = id, line
        self.keys[id] = ApiKey(
            id=id,
            digest=bytes.fromhex(digest),
            principal=found["principal"],
            parents=found.get("parents", ()),
            attributes=found.get("attributes", {}),
            expires_at=found.get("expires"),
        )


def _id(value: object) -> str:
    if not isinstance(value, str) or ID.fullmatch(value) is None:
        raise _Wrong("expected 1 to 64 lower-case letters, digits and `-`, and no `-` at its ends")
    return value


def _digest(value: object) -> str:
    if not isinstance(value, str) or _DIGEST.fullmatch(value) is None:
        # Nothing of it is repeated: it may be the secret itself.
        raise _Wrong("expected the SHA-256 of the secret, 64 lower-case hexadecimal digits in quotes")
    return value


def _uid(value: object) -> EntityUid:
    try:
        uid = parse_uid(value) if isinstance(value, str) else None
    except MappingError as error:
        raise _Wrong(str(error)) from None
    if uid is None or not uid.id or len(uid.id) > MAX_ID:
        raise _Wrong(f'expected an entity such as `Shop::Service::"reporting"`, its id of 1 to {MAX_ID} characters')
    return uid


def _parents(value: object) -> tuple[EntityUid, ...]:
    if not isinstance(value, list) or len(value) > MAX_PARENTS:
        raise _Wrong(f"expected a list of at most {MAX_PARENTS} entities")
    return tuple(dict.fromkeys(_uid(item) for item in value))


def _attributes(value: object) -> dict[str, Value]:
    if not isinstance(value, dict):
        raise _Wrong("expected a mapping")
    return {str(name): _value(item, str(name)) for name, item in value.items()}


def _value(value: object, name: str) -> Value:
    return tuple(_plain(item, name) for item in value) if isinstance(value, list) else _plain(value, name)


def _plain(value: object, name: str) -> Value:
    if isinstance(value, str | bool) or (isinstance(value, int) and value in _LONG):
        return value
    raise _Wrong(f"`{name[:60]}`: expected text, a whole number, `true`, `false`, or a list of these")


def _expires(value: object) -> float:
    try:
        if isinstance(value, str) and _MOMENT.fullmatch(value) is not None:
            moment = datetime.fromisoformat(value)
            return (moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        pass
    raise _Wrong("expected a date (its first moment in UTC) or a moment, such as 2027-01-31 or 2027-01-31T12:00:00Z")


_READERS: Mapping[str, Any] = {
    "id": _id,
    "sha256": _digest,
    "principal": _uid,
    "parents": _parents,
    "attributes": _attributes,
    "expires": _expires,
}
