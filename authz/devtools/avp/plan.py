"""What a push would do: what becomes of each thing, and the calls for it. Pure: two contents in, one plan out."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from authz.core.avp_names import ADVICE
from authz.core.cedar_schema import CedarSchemaError, load_schema
from authz.core.errors import Problem
from authz.devtools.avp.content import Content, Link, Statement, Store
from authz.devtools.avp.order import ordered
from authz.devtools.avp.steps import Step
from authz.devtools.avp.units import Action, Kind, Unit, Units, classified


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What a push would do. With problems it does nothing."""

    units: tuple[Unit, ...]
    """Schema, templates, policies with links, identity source; the unchanged too."""
    steps: tuple[Step, ...] = ()
    problems: tuple[Problem, ...] = ()
    """Warnings among them."""

    @property
    def changes(self) -> tuple[Unit, ...]:
        """What will not be as it is."""
        return tuple(unit for unit in self.units if unit.action.is_change)

    @property
    def left(self) -> tuple[Unit, ...]:
        """What the store has, the folder does not, and nobody asked to delete."""
        return tuple(unit for unit in self.units if unit.action is Action.LEFT)

    @property
    def usable(self) -> bool:
        """Is there no error among the problems?"""
        return not any(problem.severity == "error" for problem in self.problems)


def plan(wanted: Content, store: Store, *, delete: bool = False) -> Plan:
    """Compares a folder with a store.

    Args:
        wanted: what the folder has.
        store: as it was found.
        delete: whether what the folder does not have is deleted.
    """
    held, source = store.content, wanted.identity_source
    found = classified(wanted, held, delete=delete)
    problems = (*_names(found), *_detached(found), *_schema_words(found, wanted, held))
    units = (
        *_one(Kind.SCHEMA, found.schema, wanted.schema_file),
        *found.templates,
        *found.policies,
        *_one(Kind.IDENTITY_SOURCE, found.identity_source, source.file if source is not None else ""),
    )
    usable = not any(problem.severity == "error" for problem in problems)
    return Plan(units=units, steps=ordered(found, wanted, held) if usable else (), problems=problems)


def _one(kind: Kind, action: Action, file: str) -> Iterator[Unit]:
    """A store has one of these, or none; it has no name."""
    if action is not Action.UNCHANGED:
        yield Unit(action=action, kind=kind, file=file)


def _names(units: Units) -> Iterator[Problem]:
    """Names are unique in a store. Policies and links share theirs; templates have their own."""
    for group in (units.policies, units.templates):
        first: dict[str, Unit] = {}
        for unit in group:
            if unit.action is Action.DELETE:
                continue
            wanted = unit.wanted
            if wanted is not None and wanted.fault and not unit.name:
                yield _problem(unit.kind, wanted, wanted.fault)
            elif unit.name:
                other = first.setdefault(unit.name, unit)
                if other is not unit:
                    yield _twice(unit, other)


def _twice(unit: Unit, other: Unit) -> Problem:
    if unit.wanted is None:
        unit, other = other, unit
    where = f"`{other.wanted.id}` ({other.place})" if other.wanted else "one that only the store has"
    thing = unit.wanted
    assert thing is not None, "the store has no name twice"
    return _problem(unit.kind, thing, f"its name in the store, `{unit.name}`, is that of {where} too: {ADVICE}")


def _detached(units: Units) -> Iterator[Problem]:
    for unit in units.detached:
        held = unit.held
        assert isinstance(held, Link)
        template = next(u for u in units.templates if u.held is not None and u.held.id == held.template)
        text = (
            f"it must be made again ({template.detail}), and with it would go the link `{held.shown}`, which only the "
            "store has: add the link to the folder, or give `--delete`"
        )
        assert template.wanted is not None
        yield _problem(Kind.TEMPLATE, template.wanted, text)


def _schema_words(units: Units, wanted: Content, held: Content) -> Iterator[Problem]:
    if units.schema is not Action.UPDATE or wanted.schema is None or held.schema is None:
        return
    changed = _regrouped(wanted.schema, held.schema)
    if changed:
        text = (
            f"the schema puts {_some(changed)} into other action groups: policies that name such a group mean "
            "something else as soon as the schema is in force, before the policies change"
        )
        yield Problem(message=text, file=wanted.schema_file, severity="warning")


def _regrouped(mine: str, theirs: str) -> list[str]:
    try:
        new, old = load_schema(mine), load_schema(theirs)
    except CedarSchemaError:
        return []
    both = new.actions.keys() & old.actions.keys()
    return sorted(
        f'{type}::"{id}"' for type, id in both if new.action_ancestors(type, id) != old.action_ancestors(type, id)
    )


def _some(names: Iterable[str]) -> str:
    listed = list(names)
    more = f" and {len(listed) - 3} more" if len(listed) > 3 else ""
    return ", ".join(f"`{name}`" for name in listed[:3]) + more


def _problem(kind: Kind, thing: Statement | Link, text: str) -> Problem:
    return Problem(message=f"{kind} `{thing.id}`: {text}", file=thing.file, line=thing.line)
