"""What a policy store of Verified Permissions holds, as this house's nouns; and the version that this has."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, fields
from itertools import islice
from typing import Any

from authz.core.cedar_text import CedarTextError, each_statement
from authz.core.errors import Problem
from authz.core.identity_source import StoreIdentitySource
from authz.core.model import Effect, EntityUid, Policy, PolicySnapshot, TemplateLink
from authz.core.pieces import Pause

MAX_STATEMENT_BYTES = 200_000
"""Of one policy. The quota of 10,000 can be raised, but not beyond what may apply to one principal and resource
(user guide, "Policy size per resource")."""
NAME_PREFIX = "name/"
SLOTS = {"principal": "?principal", "resource": "?resource"}
_TYPE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*(?:::[A-Za-z_][A-Za-z0-9_]*)*")


@dataclass(frozen=True, slots=True, kw_only=True)
class Content:
    """All that a policy store holds, each part in the order of its ids."""

    store: str
    """The policy store's id."""
    policies: tuple[Policy, ...] = ()
    templates: tuple[Policy, ...] = ()
    links: tuple[TemplateLink, ...] = ()
    schema: str | None = None
    identity_source: StoreIdentitySource | None = None

    def snapshot(self, now: float, pause: Pause) -> PolicySnapshot:
        """As a snapshot that is loaded `now`, in seconds since the epoch."""
        return PolicySnapshot(
            version=self._version(pause),
            policies=self.policies,
            templates=self.templates,
            links=self.links,
            schema=self.schema,
            schema_file=f"avp:{self.store}/schema" if self.schema is not None else "",
            keeps_misfits=True,
            identity_source=self.identity_source,
            origin=f"avp:{self.store}",
            loaded_at=now,
        )

    def _version(self, pause: Pause) -> str:
        """Of the content alone: the same whichever way it was reached, and when."""
        digest = hashlib.sha256()

        def add(*parts: str) -> None:
            for part in parts:
                data = part.encode()
                digest.update(b"%d:" % len(data) + data)
            pause()

        for kind, policies in (("policy", self.policies), ("template", self.templates)):
            for policy in policies:
                add(kind, policy.id, policy.name, policy.text)
        for link in self.links:
            values = [part for slot in sorted(link.values) for part in (slot, *link.values[slot])]
            add("link", link.id, link.name, link.template_id, str(len(values)), *values)
        if self.schema is not None:
            add("schema", self.schema)
        if self.identity_source is not None:
            source = self.identity_source
            add("identity source", *(f"{one.name}={getattr(source, one.name)!r}" for one in fields(source)))
        return digest.hexdigest()[:32]


def short_name(name: object) -> str:
    """A policy's or template's name without `name/`; empty: it has none."""
    return name.removeprefix(NAME_PREFIX) if isinstance(name, str) and encodable(name) else ""


def encodable(text: str) -> bool:
    """Whether it is text at all: JSON can hold halves of surrogate pairs, which no encoder takes."""
    return text.isascii() or not any("\ud800" <= character <= "\udfff" for character in text)


def place(store: str, id: str, name: str = "") -> str:
    """Where a policy stands, for problems."""
    return f"avp:{store}/{name or id}"


def read_statement(store: str, id: str, name: str, text: str, *, template: bool) -> Policy | Problem:
    """A policy or template as it is stored, cut out of what stands round it; or what is wrong with it.

    The engine has not seen the text yet, and must not see one that crashes it. A template among the static policies
    would be a policy that never matches.
    """
    file = place(store, id, name)
    try:
        found = tuple(islice(each_statement(text, max_statement_bytes=MAX_STATEMENT_BYTES), 2))
    except CedarTextError as error:
        return Problem(message=f"policy `{id}`: {error.message}", file=file, line=error.line)
    if len(found) != 1:
        said = "holds more than one statement" if found else "is empty"
        return Problem(message=f"policy `{id}` {said}: each is stored alone", file=file)
    (statement,) = found
    if statement.is_template != template:
        said = "a template, but has no slot" if template else "a static policy, but has a slot"
        return Problem(message=f"`{id}` is stored as {said}", file=file, line=statement.line)
    return Policy(
        id=id,
        text=statement.text,
        effect=Effect(statement.effect),
        annotations=statement.annotations,
        file=file,
        line=statement.line,
        name=name,
    )


def link_values(definition: Mapping[str, Any], uids: dict[EntityUid, EntityUid]) -> dict[str, EntityUid] | None:
    """What fills a link's slots; None: it is not of the form that the API reference gives.

    Args:
        definition: `templateLinked` of a policy.
        uids: entities that were met before; links often name the same ones, and each is kept once.
    """
    values: dict[str, EntityUid] = {}
    for member, slot in SLOTS.items():
        one = definition.get(member)
        if one is None:
            continue
        uid = entity_uid(one.get("entityType"), one.get("entityId")) if isinstance(one, Mapping) else None
        if uid is None:
            return None
        values[slot] = uids.setdefault(uid, uid)
    return values or None


def entity_uid(type: object, id: object) -> EntityUid | None:
    """An entity's uid; None: its type is no name, or its id no text that can be written."""
    if isinstance(type, str) and isinstance(id, str) and _TYPE.fullmatch(type) and encodable(id):
        return EntityUid(type, id)
    return None
