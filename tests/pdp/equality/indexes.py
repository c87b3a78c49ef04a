"""The index alone: what it finds is what Cedar's rules leave, told policy by policy; also after any edits.

Cedar's rules: "How Cedar authorization works", section "Policy satisfaction".
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from hypothesis import strategies as st

from authz.core.cedar_scope import Scope
from authz.core.model import EntityUid, Policy, Query, TemplateLink
from authz.pdp.index import Place, PolicyIndex
from authz.pdp.rows import Row, link_row, static_row
from tests.pdp.equality.full_set import FullSet
from tests.pdp.equality.names import Draw, chance
from tests.pdp.equality.worlds import Drawn, World, drawn_world

Places = Callable[[str, EntityUid, FullSet, Query], Place]
"""Role (`principal`, `action` or `resource`) and entity → what the index is told."""


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Indexed:
    """A world, and in which order its policies come and go."""

    world: World
    steps: tuple[tuple[tuple[str, ...], tuple[str, ...]], ...]
    """Ids added and removed, step by step; one that is in both is another policy under the same id."""

    def __repr__(self) -> str:
        return f"{self.steps}\n{self.world!r}"


def drawn_index(draw: Draw) -> Indexed:
    """A world whose policies are added, removed and added again."""
    world = drawn_world(draw, queries=4)
    here: set[str] = set()
    steps = []
    ids = [drawn.id for drawn in (*world.policies, *world.links)]
    for _ in range(4):
        removed = tuple(id for id in sorted(here) if chance(draw, 30))
        here -= set(removed)
        added = tuple(id for id in ids if id not in here and chance(draw, 60))
        here |= set(added)
        steps.append((added, removed))
    return Indexed(world=world, steps=tuple(steps))


indexed = st.composite(drawn_index)


def place(role: str, uid: EntityUid, whole: FullSet, query: Query) -> Place:
    """An entity with all that it is in."""
    return Place(uid, whole.ancestors(query).get(uid, frozenset((uid,))))


def finds_what_matches(drawn: Indexed, *, places: Places = place, read: Callable[[Scope], Scope] = lambda _: _) -> None:
    """After each step the index finds those policies whose scope matches, each once, and no other.

    Args:
        drawn: what is indexed.
        places: what the index is told of an entity; another one is a mutant.
        read: changes what was read of a head; a mutant.
    """
    index = PolicyIndex()
    world, whole = drawn.world, FullSet(drawn.world)
    every = {drawn.id: drawn for drawn in (*world.policies, *world.links)}
    rows: dict[str, Row] = {}
    serial = 0
    for added, removed in drawn.steps:
        fresh = {id: _row(world, every[id], serial + number) for number, id in enumerate(added, 1)}
        fresh = {id: replace(row, scope=read(row.scope)) for id, row in fresh.items()}
        serial += len(fresh)
        index = index.changed(added=list(fresh.values()), removed=[rows.pop(id) for id in removed])
        rows |= fresh
        assert len(index) == len(rows)
        for query in world.queries:
            principal, action, resource = (
                places(role, getattr(query, role), whole, query) for role in ("principal", "action", "resource")
            )
            narrowed = index.narrowed(principal, action)
            for _ in range(2):  # the second time from what the first one kept
                found = narrowed.found(resource)
                ids = [row.id for row in (*found.shared.rows, *found.own.rows)]
                assert sorted(ids) == sorted(whole.matching(query) & rows.keys()), query


def _row(world: World, drawn: Drawn, serial: int) -> Row:
    if not drawn.template:
        return static_row(Policy(id=drawn.id, text=drawn.text, effect=drawn.effect), serial)
    template = next(other for other in world.templates if other.id == drawn.template)
    link = TemplateLink(id=drawn.id, template_id=drawn.template, values=drawn.values or {})
    return link_row(link, static_row(Policy(id=template.id, text=template.text, effect=template.effect), 0), serial)
