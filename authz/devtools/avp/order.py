"""The calls of a push, in an order that opens nothing (`steps` says which, and why). Pure."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import NamedTuple

from authz.core.avp_names import STAND_IN
from authz.core.model import Effect
from authz.devtools.avp.content import Content, Link, Statement
from authz.devtools.avp.steps import (
    Call,
    CreateLink,
    CreatePolicy,
    Delete,
    DeleteIdentitySource,
    Phase,
    PutIdentitySource,
    PutSchema,
    Ref,
    Step,
    UpdatePolicy,
    in_order,
)
from authz.devtools.avp.units import Action, Kind, Thing, Unit, Units


class _NewTemplate(NamedTuple):
    """How links get at a template of the folder."""

    ref: Ref
    effect: Effect
    ready: Phase
    """When it is what it shall be."""
    guarded: bool
    """Stand-ins of its links are in force until then."""


def ordered(units: Units, wanted: Content, held: Content) -> tuple[Step, ...]:
    """The calls that bring a store from `held` to what the units say. Call it only where there are no problems."""
    return _Order(units, wanted, held).steps()


class _Order:
    def __init__(self, units: Units, wanted: Content, held: Content) -> None:
        self._units = units
        self._wanted = wanted
        self._held = held
        self._found: list[Step] = []
        self._effects = {template.id: template.effect for template in held.templates}
        things: tuple[Thing, ...] = (*held.policies, *held.templates, *held.links)
        self._taken = {thing.name for thing in things}
        self._replaced = {u.held.id for u in units.templates if u.held is not None and u.action is Action.REPLACE}
        deciding = [u for u in (*units.policies, *units.templates) if _decides(u)]
        self._alone = len(deciding) == 1 and deciding[0].action is Action.UPDATE
        self._templates: dict[str, _NewTemplate] = {}

    def steps(self) -> tuple[Step, ...]:
        self._schema()
        self._renames()
        for unit in self._units.templates:
            self._template(unit)
        for unit in self._units.policies:
            if unit.held is not None and unit.action in {Action.DELETE, Action.REPLACE}:
                self._removal(unit, unit.held)
            if unit.wanted is not None and unit.action in {Action.CREATE, Action.REPLACE}:
                self._arrival(unit, unit.wanted)
            if unit.action is Action.UPDATE:
                self._update(unit)
        self._identity_source()
        return in_order(self._found)

    def _add(self, phase: Phase, call: Call, about: str, thing: Thing | None = None) -> None:
        file, line = (thing.file, thing.line) if thing is not None else ("", None)
        self._found.append(Step(phase=phase, call=call, about=about, file=file, line=line))

    def _schema(self) -> None:
        action, schema = self._units.schema, self._wanted.schema
        if action is Action.DELETE:  # last: until then policies are held against it
            self._found.append(Step(phase=Phase.IDENTITY, call=PutSchema(schema="{}"), about="delete schema"))
        elif action.is_change and schema is not None:
            file = self._wanted.schema_file
            self._found.append(
                Step(phase=Phase.SCHEMA, call=PutSchema(schema=schema), about=f"{action} schema", file=file)
            )

    def _identity_source(self) -> None:
        action, mine, theirs = self._units.identity_source, self._wanted.identity_source, self._held.identity_source
        about = f"{action} identity source"
        if action is Action.DELETE and theirs is not None:
            self._add(Phase.CLOSE, DeleteIdentitySource(id=theirs.id), about)
        elif action.is_change and mine is not None:
            call = PutIdentitySource(source=mine, id=theirs.id if theirs is not None else "")
            self._found.append(Step(phase=Phase.IDENTITY, call=call, about=about, file=mine.file))

    # --- names

    def _renames(self) -> None:
        """Each after the one that has its name. Where they go in a circle, one steps aside."""
        for group in (self._units.policies, self._units.templates):
            waiting = [unit for unit in group if unit.action is Action.RENAME]
            holders = {unit.held.name: unit for unit in waiting if unit.held is not None and unit.held.name}
            done: set[int] = set()
            for unit in waiting:
                chain: dict[int, Unit] = {}
                at: Unit | None = unit
                while at is not None and id(at) not in done and id(at) not in chain:
                    chain[id(at)] = at
                    at = holders.get(at.name)
                if at is not None and id(at) in chain and at.held is not None:
                    self._rename(at, self._stand_in(at.held.name, at.held.id))
                for one in reversed(chain.values()):
                    self._rename(one, one.name)
                done |= chain.keys()

    def _rename(self, unit: Unit, name: str) -> None:
        held = unit.held
        assert isinstance(held, Statement)
        text = held.raw if held.template else ""  # a template's update always names its text
        call = UpdatePolicy(id=held.id, name=name, text=text, description=held.description, template=held.template)
        self._add(Phase.RENAME, call, f"rename {unit.kind} {held.shown} to {name}", unit.wanted)

    def _stand_in(self, *said: str) -> str:
        """A name that nothing has."""
        number = 0
        while True:
            digest = hashlib.sha256("\0".join((*said, str(number))).encode(errors="replace")).hexdigest()[:20]
            name = f"{STAND_IN}{digest}"
            if name not in self._taken:
                self._taken.add(name)
                return name
            number += 1

    # --- templates

    def _template(self, unit: Unit) -> None:
        wanted, held = unit.wanted, unit.held
        if not isinstance(wanted, Statement):
            if unit.action is Action.DELETE and held is not None:
                self._add(Phase.CLEAN, Delete(target=Ref(id=held.id), template=True), f"delete template {held.shown}")
            return
        there = Ref(id=held.id) if held is not None else Ref()
        effect = wanted.effect
        if unit.action is Action.UPDATE and isinstance(held, Statement):
            guarded = effect is Effect.FORBID and not self._alone and self._guard_template(unit, wanted, held.id)
            phase = Phase.FORBID_TEMPLATES if effect is Effect.FORBID else Phase.PERMIT_TEMPLATES
            call = UpdatePolicy(id=held.id, text=wanted.text, description=held.description, template=True)
            self._add(phase, call, f"update template {unit.shown}", wanted)
            self._templates[wanted.id] = _NewTemplate(there, effect, phase, guarded)
        elif unit.action in {Action.CREATE, Action.REPLACE}:
            phase = self._made_at(unit)
            guarded = phase is Phase.FORBID_TEMPLATES and effect is Effect.FORBID
            if guarded:
                guarded = self._guard_template(unit, wanted, "")
            if isinstance(held, Statement):
                closing = Phase.CLOSE if held.effect is Effect.PERMIT else Phase.FORBID_TEMPLATES
                about = f"delete template {unit.shown} and its links, to make it again"
                self._add(closing, Delete(target=there, template=True), about, wanted)
            description = held.description if isinstance(held, Statement) else ""
            call_ = CreatePolicy(name=unit.name, text=wanted.text, description=description, template=True)
            self._add(phase, call_, f"create template {unit.name}", wanted)
            self._templates[wanted.id] = _NewTemplate(Ref(made=unit.name), effect, phase, guarded)
        else:
            self._templates[wanted.id] = _NewTemplate(there, effect, Phase.SCHEMA, guarded=False)

    @staticmethod
    def _made_at(unit: Unit) -> Phase:
        held = unit.held
        if unit.action is Action.REPLACE and isinstance(held, Statement) and held.effect is Effect.FORBID:
            return Phase.FORBID_TEMPLATES  # the old one has the name until then
        return Phase.TEMPLATES

    def _guard_template(self, unit: Unit, wanted: Statement, held_id: str) -> bool:
        """Puts in a copy of a forbidding template with all the links that it will have. False: it will have none."""
        links = [*self._links_after(wanted.id, held_id)]
        if not links:
            return False
        name = self._stand_in(unit.name, wanted.text)
        about = f"stand-in of template {unit.shown}"
        made = Ref(made=name)
        self._add(Phase.TEMPLATES, CreatePolicy(name=name, text=wanted.text, template=True), f"create {about}", wanted)
        for link in links:
            call = CreateLink(name=self._stand_in(name, link.id), template=made, values=link.values)
            self._add(Phase.FORBID, call, f"create stand-in of link {link.shown}", link)
        self._add(Phase.CLEAN, Delete(target=made, template=True), f"delete {about}", wanted)
        return True

    def _links_after(self, wanted_id: str, held_id: str) -> Iterator[Link]:
        for unit in self._units.policies:
            if isinstance(unit.wanted, Link):
                if unit.wanted.template == wanted_id:
                    yield unit.wanted
            elif isinstance(unit.held, Link) and unit.action is Action.LEFT and unit.held.template == held_id:
                yield unit.held

    # --- policies and links

    def _removal(self, unit: Unit, held: Thing) -> None:
        if isinstance(held, Link) and held.template in self._replaced:
            return  # it goes with its template
        effect = self._held_effect(held)
        phase = Phase.CLOSE if effect is Effect.PERMIT else Phase.RELEASE
        again = ", to make it again" if unit.wanted is not None else ""
        kind = Kind.LINK if isinstance(held, Link) else Kind.POLICY
        self._add(phase, Delete(target=Ref(id=held.id)), f"delete {kind} {held.shown}{again}", unit.wanted)

    def _held_effect(self, held: Thing) -> Effect:
        return held.effect if isinstance(held, Statement) else self._effects.get(held.template, Effect.FORBID)

    def _wanted_effect(self, wanted: Thing) -> Effect:
        return wanted.effect if isinstance(wanted, Statement) else self._templates[wanted.template].effect

    def _arrival(self, unit: Unit, wanted: Thing) -> None:
        forbids = self._wanted_effect(wanted) is Effect.FORBID
        template = self._templates[wanted.template] if isinstance(wanted, Link) else None
        earliest = Phase.FORBID if forbids else Phase.PERMIT
        if template is not None and template.ready > earliest:
            earliest = Phase.RELEASE
        name_is_taken = unit.held is not None and self._held_effect(unit.held) is Effect.FORBID
        phase = Phase.RELEASE if name_is_taken else earliest
        if forbids and phase is Phase.RELEASE and not (template is not None and template.guarded):
            self._guard(unit, wanted)
        description = unit.held.description if isinstance(unit.held, Statement) else ""
        self._add(phase, self._creation(wanted, unit.name, description), f"create {unit.kind} {unit.name}", wanted)

    def _creation(self, wanted: Thing, name: str, description: str = "") -> Call:
        if isinstance(wanted, Link):
            return CreateLink(name=name, template=self._templates[wanted.template].ref, values=wanted.values)
        return CreatePolicy(name=name, text=wanted.text, description=description)

    def _guard(self, unit: Unit, wanted: Thing) -> None:
        """Puts in a copy of what forbids, until it is there itself."""
        said = wanted.text if isinstance(wanted, Statement) else repr(sorted(wanted.values.items()))
        name = self._stand_in(unit.name, said)
        about = f"stand-in of {unit.kind} {unit.shown}"
        self._add(Phase.FORBID, self._creation(wanted, name), f"create {about}", wanted)
        self._add(Phase.CLEAN, Delete(target=Ref(made=name)), f"delete {about}", wanted)

    def _update(self, unit: Unit) -> None:
        wanted, held = unit.wanted, unit.held
        assert isinstance(wanted, Statement)
        assert isinstance(held, Statement)
        call = UpdatePolicy(id=held.id, text=wanted.text, description=held.description)
        phase = Phase.PERMIT
        if wanted.effect is Effect.FORBID:
            phase = Phase.RELEASE
            if not self._alone:
                self._guard(unit, wanted)
        self._add(phase, call, f"update policy {unit.shown}", wanted)


def _decides(unit: Unit) -> bool:
    """Can it change a decision? A template that comes or goes has no links then, or they are told themselves."""
    if unit.kind is Kind.TEMPLATE:
        return unit.action in {Action.UPDATE, Action.REPLACE}
    return unit.action.is_change and unit.action is not Action.RENAME
