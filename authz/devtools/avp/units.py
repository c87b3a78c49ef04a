"""What becomes of each thing of a folder and a store, one by one. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import TypeAlias

from authz.core.avp_names import STAND_IN
from authz.devtools.avp.content import Content, IdentitySource, Link, Statement, same_schema
from authz.devtools.avp.match import Pair, match_links, match_statements


class Action(StrEnum):
    """What becomes of one thing in the store."""

    CREATE = "create"
    UPDATE = "update"
    """In place: it keeps its id."""
    REPLACE = "replace"
    """Deleted and made again: the service does not change this in place."""
    RENAME = "rename"
    DELETE = "delete"
    UNCHANGED = "unchanged"
    LEFT = "left"
    """The folder does not have it; deleting it must be asked for."""

    @property
    def is_change(self) -> bool:
        """Is there anything to do?"""
        return self not in {Action.UNCHANGED, Action.LEFT}


class Kind(StrEnum):
    """What it is."""

    SCHEMA = "schema"
    TEMPLATE = "template"
    POLICY = "policy"
    LINK = "link"
    IDENTITY_SOURCE = "identity source"


Thing: TypeAlias = Statement | Link


@dataclass(frozen=True, slots=True, kw_only=True)
class Unit:
    """One thing, and what becomes of it."""

    action: Action
    kind: Kind
    name: str = ""
    """What the store is to call it; empty: nothing."""
    wanted: Thing | None = None
    held: Thing | None = None
    detail: str = ""
    file: str = ""
    """Of the folder, for what stands in one by itself: schema and identity source."""

    @property
    def place(self) -> str:
        """Where it stands in the folder."""
        thing = self.wanted
        if thing is None:
            return self.file
        return f"{thing.file}:{thing.line}" if thing.line is not None else thing.file

    @property
    def shown(self) -> str:
        """What people call it."""
        thing = self.wanted or self.held
        return self.name or (thing.shown if thing is not None else "")


@dataclass(frozen=True, slots=True, kw_only=True)
class Units:
    """All of them."""

    templates: tuple[Unit, ...]
    policies: tuple[Unit, ...]
    """And links; what was a link and is a policy now is one unit."""
    schema: Action
    identity_source: Action
    detached: tuple[Unit, ...]
    """Links that the folder does not have, on templates that are to be replaced: they would go, unasked."""


_HEAD = "effect, principal or resource differ"


def classified(wanted: Content, held: Content, *, delete: bool) -> Units:
    """What becomes of everything.

    Args:
        wanted: what the folder has.
        held: what the store has.
        delete: whether what the folder does not have is deleted, and not left.
    """
    templates = [
        _statement(pair, Kind.TEMPLATE, delete=delete) for pair in match_statements(wanted.templates, held.templates)
    ]
    in_place = {Action.UNCHANGED, Action.UPDATE, Action.RENAME}
    kept = {u.wanted.id: u.held.id for u in templates if u.wanted and u.held and u.action in in_place}
    reserved = frozenset(link.name for link in held.links)
    matched = match_statements(wanted.policies, held.policies, reserved)
    policies = [_statement(pair, Kind.POLICY, delete=delete) for pair in matched]
    names = frozenset(thing.name for things in (wanted.policies, wanted.links) for thing in things if thing.name)
    links = [_link(pair, kept, delete=delete) for pair in match_links(wanted.links, held.links, kept, names)]
    replaced = {u.held.id for u in templates if u.held is not None and u.action is Action.REPLACE}
    detached = [u for u in links if u.wanted is None and _template(u.held) in replaced and u.action is Action.LEFT]
    return Units(
        templates=tuple(templates),
        policies=tuple(_crossed([*policies, *links])),
        schema=_schema(wanted.schema, held.schema, delete=delete),
        identity_source=_source(wanted.identity_source, held.identity_source, delete=delete),
        detached=tuple(detached),
    )


def _template(thing: Thing | None) -> str:
    return thing.template if isinstance(thing, Link) else ""


def _gone(kind: Kind, held: Thing, *, delete: bool) -> Unit:
    if held.name.startswith(STAND_IN):
        return Unit(
            action=Action.DELETE, kind=kind, name=held.name, held=held, detail="left by a push that was cut off"
        )
    return Unit(action=Action.DELETE if delete else Action.LEFT, kind=kind, name=held.name, held=held)


def _statement(pair: Pair[Statement], kind: Kind, *, delete: bool) -> Unit:
    wanted, held = pair.wanted, pair.held
    if wanted is None:
        assert held is not None
        return _gone(kind, held, delete=delete)
    unit = Unit(action=Action.CREATE, kind=kind, name=pair.name, wanted=wanted, held=held)
    if held is None:
        return unit
    if wanted.text != held.text:
        if wanted.updatable(held):
            return replace(unit, action=Action.UPDATE)
        return replace(unit, action=Action.REPLACE, name=pair.name or wanted.name, detail=_HEAD)
    if pair.renamed:
        before = f"it was called `{held.name}`" if held.name else f"it had no name (id {held.id})"
        return replace(unit, action=Action.RENAME, detail=before)
    return replace(unit, action=Action.UNCHANGED)


def _link(pair: Pair[Link], kept: dict[str, str], *, delete: bool) -> Unit:
    wanted, held = pair.wanted, pair.held
    if wanted is None:
        assert held is not None
        return _gone(Kind.LINK, held, delete=delete)
    unit = Unit(action=Action.CREATE, kind=Kind.LINK, name=pair.name, wanted=wanted, held=held)
    if held is None:
        return unit
    if kept.get(wanted.template) == held.template and wanted.values == held.values:
        return replace(unit, action=Action.UNCHANGED)
    detail = "its entities differ" if kept.get(wanted.template) == held.template else "its template is another"
    return replace(unit, action=Action.REPLACE, name=pair.name or wanted.name, detail=detail)


def _crossed(units: Sequence[Unit]) -> Iterator[Unit]:
    """A policy that takes the name of a link which is not wanted any more, or the reverse, replaces it."""
    new = {u.name for u in units if u.action is Action.CREATE and u.name}
    gone = {u.name: u for u in units if u.wanted is None and u.name in new}
    for unit in units:
        if unit.action is Action.CREATE and unit.name in gone:
            other = gone[unit.name]
            yield replace(unit, action=Action.REPLACE, held=other.held, detail=f"it was a {other.kind}")
        elif not (unit.wanted is None and unit.name in gone):
            yield unit


def _schema(wanted: str | None, held: str | None, *, delete: bool) -> Action:
    if wanted is None:
        return Action.UNCHANGED if held is None else Action.DELETE if delete else Action.LEFT
    if held is None:
        return Action.CREATE
    return Action.UNCHANGED if same_schema(wanted, held) else Action.UPDATE


def _source(wanted: IdentitySource | None, held: IdentitySource | None, *, delete: bool) -> Action:
    if wanted is None:
        return Action.UNCHANGED if held is None else Action.DELETE if delete else Action.LEFT
    if held is None:
        return Action.CREATE
    return Action.UNCHANGED if wanted.meaning == held.meaning else Action.UPDATE
