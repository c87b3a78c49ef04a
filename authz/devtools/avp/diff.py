"""How the texts of a store and a folder differ: from what the store has to what the folder has."""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterator

from authz.devtools.avp.content import Content, IdentitySource, Link, schema_meaning
from authz.devtools.avp.report import safe
from authz.devtools.avp.units import Action, Thing, Unit, Units

_ABSENT = "/dev/null"


def difference(units: Units, wanted: Content, held: Content) -> str:
    """A unified diff: schema, templates, policies and links by name, identity source. Empty: no difference."""
    return "".join(line for part in _parts(units, wanted, held) for line in part)


def _parts(units: Units, wanted: Content, held: Content) -> Iterator[list[str]]:
    if units.schema is not Action.UNCHANGED:
        theirs = schema_meaning(held.schema) if held.schema is not None else None
        mine = schema_meaning(wanted.schema) if wanted.schema is not None else None
        yield _unified("store: schema", theirs, f"folder: {wanted.schema_file}", mine)
    for group in (units.templates, units.policies):
        for unit in sorted(group, key=lambda unit: (unit.shown, unit.held.id if unit.held is not None else "")):
            if unit.action is not Action.UNCHANGED:
                yield _unit(unit)
    if units.identity_source is not Action.UNCHANGED:
        yield _unified(
            "store: identity source",
            _source(held.identity_source),
            f"folder: {wanted.identity_source.file if wanted.identity_source is not None else ''}",
            _source(wanted.identity_source),
        )


def _unit(unit: Unit) -> list[str]:
    wanted, held = unit.wanted, unit.held
    theirs = f"store: {unit.kind} {held.shown}" if held is not None else ""
    place = f"{wanted.file}:{wanted.line}" if wanted is not None else ""
    mine = f"folder: {unit.kind} {unit.shown} ({place})"
    if unit.action is Action.RENAME:
        return [f"--- {safe(theirs)}\n", f"+++ {safe(mine)}\n"]
    return _unified(theirs, _text(held), mine, _text(wanted))


def _text(thing: Thing | None) -> str | None:
    if thing is None:
        return None
    if isinstance(thing, Link):
        values = {slot[1:]: str(uid) for slot, uid in sorted(thing.values.items())}
        return json.dumps({"template": thing.template, **values}, indent=2, ensure_ascii=False)
    return thing.text


def _source(source: IdentitySource | None) -> str | None:
    return json.dumps(source.meaning, indent=2, ensure_ascii=False) if source is not None else None


def _unified(before: str, old: str | None, after: str, new: str | None) -> list[str]:
    lines = difflib.unified_diff(
        _lines(old),
        _lines(new),
        safe(before) if old is not None else _ABSENT,
        safe(after) if new is not None else _ABSENT,
    )
    return list(lines)


def _lines(text: str | None) -> list[str]:
    """With line ends; what a terminal would obey is told instead."""
    return [f"{''.join(c if c == chr(9) else safe(c) for c in line)}\n" for line in (text or "").splitlines()]
