"""Scopes: drawn, written in Cedar's syntax, and judged by Cedar's rules without looking at the product.

What a scope means: Cedar documentation, "Basic policy construction in Cedar", section "Scope"; when it matches:
"How Cedar authorization works", section "Policy satisfaction"; `in`, `is` and `is in`: "Operators and functions",
sections "`in` (Hierarchy membership)" and "`is` (entity type test)"; slots: "Cedar policy templates".
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass, replace

from authz.core.model import EntityUid
from tests.pdp.equality.names import Draw, Names, chance, literal, pick, some

ANY, EQUALS, WITHIN, IS, IS_IN, ONE_OF = "any", "==", "in", "is", "is in", "in [..]"
Ancestors = Mapping[EntityUid, frozenset[EntityUid]]
"""Of each entity: itself and all that it is in."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Says:
    """What a scope says of one variable."""

    operator: str = ANY
    uids: tuple[EntityUid, ...] = ()
    type: str = ""
    slot: bool = False
    """A template's slot stands in the place of the entity."""

    def holds(self, uid: EntityUid, ancestors: frozenset[EntityUid]) -> bool:
        """Does an entity match, which is in these and in itself?"""
        if self.operator in (IS, IS_IN) and self.type != uid.type:
            return False
        if self.operator == EQUALS:
            return uid == self.uids[0]
        if self.operator in (WITHIN, IS_IN, ONE_OF):
            return any(other in ancestors for other in self.uids)
        return True

    def text(self, variable: str, style: int) -> str:
        """In Cedar's syntax."""
        uids = [literal(uid, style) for uid in self.uids] if not self.slot else [f"?{variable}"]
        if style == 3:
            uids = [f"(({uid}))" for uid in uids]
        kind = f" is {self.type}" if self.type else ""
        if self.operator in (ANY, IS):
            return variable + kind
        if self.operator == ONE_OF:
            listed = f"[{', '.join(uids)}{',' if style == 3 and uids else ''}]"
            return f"{variable} in {f'({listed})' if style == 3 else listed}"
        return f"{variable}{kind} {'==' if self.operator == EQUALS else 'in'} {uids[0]}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Head:
    """The scope of one policy, template or link."""

    principal: Says = Says()
    action: Says = Says()
    resource: Says = Says()

    def matches(self, principal: EntityUid, action: EntityUid, resource: EntityUid, ancestors: Ancestors) -> bool:
        """Does a request match? All three must."""
        return all(
            says.holds(uid, ancestors.get(uid, frozenset((uid,))))
            for says, uid in ((self.principal, principal), (self.action, action), (self.resource, resource))
        )

    def text(self, style: int) -> str:
        """In Cedar's syntax, with brackets; each style means the same."""
        parts = [getattr(self, name).text(name, style) for name in ("principal", "action", "resource")]
        if style == 2:
            return "(\n" + ', // when { "\n'.join(parts) + "\n)"
        return f"({', '.join(parts)}{',' if style == 3 else ''})"

    @property
    def slots(self) -> tuple[str, ...]:
        """Which slots it has."""
        return tuple(f"?{name}" for name in ("principal", "resource") if getattr(self, name).slot)

    def filled(self, values: Mapping[str, EntityUid]) -> Head:
        """With entities in the place of the slots."""
        changed = {
            slot[1:]: replace(getattr(self, slot[1:]), uids=(value,), slot=False) for slot, value in values.items()
        }
        return replace(self, **changed)


def heads(draw: Draw, names: Names, *, template: bool = False) -> Head:
    """A scope; of a template: with at least one slot."""
    slots = pick(draw, ("principal", "resource", "both")) if template else ""
    users, docs = (names.users, names.groups), (names.docs, names.folders)
    pair = pick(draw, _PAIRS) if not template and chance(draw, 25) else ("", "")
    return Head(
        principal=_says(draw, names, pair[0], slot=slots in ("principal", "both"), mine=users),
        action=_action(draw, names),
        resource=_says(draw, names, pair[1], slot=slots in ("resource", "both"), mine=docs),
    )


_SLOTTED = (EQUALS, WITHIN, IS_IN)
_USUAL = (ANY, ANY, ANY, ANY, EQUALS, WITHIN, WITHIN, IS, IS_IN)


_PAIRS = tuple(itertools.product((EQUALS, WITHIN), repeat=2))


def _says(
    draw: Draw, names: Names, operator: str, *, slot: bool, mine: tuple[tuple[EntityUid, ...], tuple[EntityUid, ...]]
) -> Says:
    operator = operator or pick(draw, _SLOTTED if slot else _USUAL)
    if operator == ANY:
        return Says()
    kind = pick(draw, tuple(uid.type for uid in (*mine[0][:1] * 6, *mine[1][:1], names.actions[0], names.others[0])))
    if operator == IS:
        return Says(operator=IS, type=kind)
    uids = () if slot else (_target(draw, names, mine[operator != EQUALS]),)
    return Says(operator=operator, uids=uids, type=kind if operator == IS_IN else "", slot=slot)


def _target(draw: Draw, names: Names, usual: tuple[EntityUid, ...]) -> EntityUid:
    return pick(draw, pick(draw, (usual[:3], usual[:3], usual, names.all, names.actions)))


def _action(draw: Draw, names: Names) -> Says:
    operator = pick(draw, (ANY, ANY, EQUALS, WITHIN, ONE_OF))
    if operator == ANY:
        return Says()
    uids = some(draw, names.actions, 3) if operator == ONE_OF else (pick(draw, names.actions),)
    return Says(operator=operator, uids=uids)


def values(draw: Draw, names: Names, head: Head) -> Mapping[str, EntityUid]:
    """Entities for the slots of a template."""
    found: dict[str, EntityUid] = {}
    for slot in head.slots:
        usual = names.users + names.groups[:3] if slot == "?principal" else names.docs + names.folders[:3]
        found[slot] = _target(draw, names, usual)
    return found
