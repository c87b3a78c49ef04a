"""A policy store in memory that carries out the steps of a push, refuses what the service would, and can be asked."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace

from authz.core.model import EntityUid
from authz.devtools.avp.content import Content, IdentitySource, Link, Statement, Store
from authz.devtools.avp.steps import (
    CreateLink,
    CreatePolicy,
    Delete,
    DeleteIdentitySource,
    PutIdentitySource,
    PutSchema,
    Ref,
    Step,
    UpdatePolicy,
)

USERS, ACTIONS, RESOURCES = ("a", "b"), ("x", "y"), ("r", "s")
ANY = "any"
REQUESTS = tuple(itertools.product(USERS, ACTIONS, RESOURCES))
UNLESS = ("", *(f' unless {{ principal == U::"{user}" }}' for user in USERS))


def text_of(effect: str, principal: str, action: str, resource: str, unless: str = "", id: str = "") -> str:
    """A statement; `?` is a slot."""
    names = (("principal", "U", principal), ("action", "Action", action), ("resource", "R", resource))
    parts = [
        name if value == ANY else f"{name} == ?{name}" if value == "?" else f'{name} == {type}::"{value}"'
        for name, type, value in names
    ]
    annotation = f'@id("{id}") ' if id else ""
    return f"{annotation}{effect}({', '.join(parts)}){unless};"


def matches(text: str, request: tuple[str, str, str], values: Mapping[str, EntityUid]) -> bool:
    for slot, uid in values.items():
        text = text.replace(slot, str(uid))
    head, _, unless = text.partition(" unless ")
    for name, type, value in zip(("principal", "action", "resource"), ("U", "Action", "R"), request, strict=True):
        if f"{name} == " in head and f'{name} == {type}::"{value}"' not in head:
            return False
    return f'U::"{request[0]}"' not in unless


@dataclass
class FakeStore:
    policies: dict[str, Statement | Link] = field(default_factory=dict)
    templates: dict[str, Statement] = field(default_factory=dict)
    schema: str | None = None
    source: IdentitySource | None = None
    made: dict[str, str] = field(default_factory=dict)
    ids: Iterator[int] = field(default_factory=itertools.count)

    def store(self) -> Store:
        statics = tuple(one for one in self.policies.values() if isinstance(one, Statement))
        links = tuple(one for one in self.policies.values() if isinstance(one, Link))
        content = Content(
            policies=statics,
            templates=tuple(self.templates.values()),
            links=links,
            schema=self.schema,
            identity_source=self.source,
        )
        return Store(id="store", content=content)

    def allowed(self) -> frozenset[tuple[str, str, str]]:
        return frozenset(request for request in REQUESTS if self._allows(request))

    def _allows(self, request: tuple[str, str, str]) -> bool:
        effects = set()
        for policy in self.policies.values():
            text, values = (
                (self.templates[policy.template].text, policy.values) if isinstance(policy, Link) else (policy.text, {})
            )
            if matches(text, request, values):
                effects.add("forbid" if "forbid(" in text else "permit")
        return effects == {"permit"}

    def new_push(self) -> None:
        self.made = {}

    def add(self, thing: Statement | Link) -> None:
        """As somebody does on the console."""
        id = f"{'T' if isinstance(thing, Statement) and thing.template else 'P'}{next(self.ids)}"
        home: dict = self.templates if isinstance(thing, Statement) and thing.template else self.policies
        if thing.name:
            assert thing.name not in {one.name for one in home.values()}, f"ConflictException: {thing.name}"
            assert len(thing.name) <= 145
            self.made[thing.name] = id
        home[id] = replace(thing, id=id, file="", line=None)

    def make(self, step: Step) -> None:
        match step.call:
            case PutSchema(schema=schema):
                self.schema = None if schema == "{}" else schema
            case CreatePolicy(name=name, text=text, template=template):
                self.add(Statement(id="", name=name, text=text, raw=text, template=template))
            case CreateLink(name=name, template=template, values=values):
                id = self._id(template)
                assert {slot for slot in ("?principal", "?resource") if slot in self.templates[id].text} == set(values)
                self.add(Link(id="", name=name, template=id, values=values))
            case UpdatePolicy():
                self._update(step.call)
            case Delete(target=target, template=True):
                id = self._id(target)
                del self.templates[id]
                self.policies = {
                    key: one for key, one in self.policies.items() if not (isinstance(one, Link) and one.template == id)
                }
            case Delete(target=target):
                del self.policies[self._id(target)]
            case PutIdentitySource(source=source, id=id):
                assert bool(id) == (self.source is not None)
                self.source = replace(source, id="IS", file="")
            case DeleteIdentitySource():
                assert self.source is not None
                self.source = None

    def _id(self, ref: Ref) -> str:
        return ref.id or self.made[ref.made]

    def _update(self, call: UpdatePolicy) -> None:
        home: dict = self.templates if call.template else self.policies
        old = home[call.id]
        assert isinstance(old, Statement), "template-linked policies cannot be updated"
        new = old
        if call.text:
            new = replace(new, text=call.text, raw=call.text)
            assert new.updatable(old), "effect, principal and resource cannot be updated"
        if call.name is not None:
            assert call.name not in {one.name for key, one in home.items() if key != call.id}, "ConflictException"
            new = replace(new, name=call.name)
        home[call.id] = new
