"""One policy as the local decision point holds it: a static policy, or a template with its slots filled."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache

from authz.core.cedar_literals import entity_literals
from authz.core.cedar_scope import Constraint, Scope, attribute_names, conditions, read_scope
from authz.core.model import Effect, EntityUid, Policy, TemplateLink

DENY_MESSAGE = "deny_message"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Row:
    """Compared by identity: what changed is another row, with another serial."""

    serial: int
    """Never given twice by one `PolicyHandles`: another text or another link is another row, also under one id."""
    id: str
    """The store's id."""
    name: str = ""
    """What people call it, where the store's ids are not theirs to choose."""
    effect: Effect
    text: str
    """The statement; of a link, its template's."""
    scope: Scope
    """With the slots filled."""
    slots: Mapping[str, EntityUid] | None = None
    """A link's values by slot (`?principal`, `?resource`); None: a static policy."""
    form: str
    """What the engine is given: effect and conditions, under a head that matches everything. For whether the scope
    matches is settled by the index. So policies that differ in their scopes alone are one to the engine."""
    message: str | None = None
    """`@deny_message`."""
    reads: frozenset[str] = frozenset()
    """Attributes of entities that it may read."""
    literals: tuple[EntityUid, ...] = ()
    """Entities that its conditions name."""


def static_row(policy: Policy, serial: int) -> Row:
    """The row of a static policy, whose text was scanned before (`cedar_text`) and which the engine took."""
    return Row(
        serial=serial,
        id=policy.id,
        name=policy.name,
        effect=policy.effect,
        text=policy.text,
        scope=read_scope(policy.text),
        form=sys.intern(f"{policy.effect}(principal, action, resource){conditions(policy.text)}"),
        message=policy.annotations.get(DENY_MESSAGE),
        reads=_shared(attribute_names(policy.text)),
        literals=tuple(dict.fromkeys(entity_literals(policy.text))),
    )


def link_row(link: TemplateLink, template: Row, serial: int) -> Row:
    """The row of a link.

    Args:
        link: gives the id and the values of the slots.
        template: what `static_row` makes of the template; it stands in no index itself.
        serial: another one wherever link or template changed.
    """
    return replace(
        template,
        serial=serial,
        id=link.id,
        name=link.name,
        scope=_filled(template.scope, link.values),
        slots=link.values,
    )


def united(names: Iterable[frozenset[str] | None]) -> frozenset[str] | None:
    """What any of several may read; None: any."""
    found: set[str] = set()
    for one in names:
        if one is None:
            return None
        found.update(one)
    return frozenset(found)


def _filled(scope: Scope, values: Mapping[str, EntityUid]) -> Scope:
    return replace(
        scope,
        principal=_fill(scope.principal, values.get("?principal")),
        resource=_fill(scope.resource, values.get("?resource")),
    )


def _fill(constraint: Constraint, value: EntityUid | None) -> Constraint:
    if not constraint.slot or value is None:
        return constraint
    if constraint.is_in:
        return replace(constraint, within=(value,), slot=False)
    return replace(constraint, equals=value, slot=False)


@lru_cache(maxsize=4096)  # policies of one kind read the same
def _shared(names: frozenset[str]) -> frozenset[str]:
    return names
