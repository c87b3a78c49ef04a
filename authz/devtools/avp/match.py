"""Which policy of a folder is which of the store. Pure.

By name first; then by the file that is kept for a name or id, as `pull` writes it; what has the same text under another
name was renamed. Only what is left over then is new, or is gone.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from authz.core.avp_names import STAND_IN
from authz.devtools.avp.content import Link, Statement

Item = TypeVar("Item", bound=Statement | Link)
Key = Callable[[Item], Hashable]
"""Of one item; None is equal to nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair(Generic[Item]):
    """One policy, template or link, on one side or on both."""

    wanted: Item | None = None
    held: Item | None = None
    name: str = ""
    """What the store is to call it; empty: nothing, as it does now."""

    @property
    def renamed(self) -> bool:
        """Is it there under another name?"""
        return self.wanted is not None and self.held is not None and self.held.name != self.name


class _Matcher(Generic[Item]):
    """The two sides, of which each round takes away what it finds."""

    def __init__(self, wanted: Iterable[Item], held: Iterable[Item]) -> None:
        self.wanted = list(wanted)
        self.held = list(held)
        self.names = {item.name for item in self.held if item.name}
        self.pairs: list[Pair[Item]] = []

    def round(self, mine: Key[Item], theirs: Key[Item], name: Callable[[Item, Item], str]) -> None:
        """Pairs what is equal by two keys, and calls each pair by what `name` says."""
        found: dict[Hashable, list[Item]] = {}
        for item in self.held:
            key = theirs(item)
            if key is not None:
                found.setdefault(key, []).append(item)
        taken: set[int] = set()
        rest: list[Item] = []
        for item in self.wanted:
            key = mine(item)
            equal = found.get(key) if key is not None else None
            if equal:
                held = equal.pop(0)
                taken.add(id(held))
                self.pairs.append(Pair(wanted=item, held=held, name=name(item, held)))
            else:
                rest.append(item)
        self.wanted = rest
        self.held = [item for item in self.held if id(item) not in taken]

    def finish(self) -> list[Pair[Item]]:
        """All pairs; what is on one side only comes last."""
        new: list[Pair[Item]] = [Pair(wanted=item, name=item.name) for item in self.wanted]
        gone: list[Pair[Item]] = [Pair(held=item, name=item.name) for item in self.held]
        return [*self.pairs, *new, *gone]


def match_statements(
    wanted: Sequence[Statement], held: Sequence[Statement], reserved: frozenset[str] = frozenset()
) -> list[Pair[Statement]]:
    """Policies with policies, or templates with templates.

    Args:
        wanted: of the folder.
        held: of the store.
        reserved: names that something else of the store has: nothing can be renamed to them.
    """
    sides: _Matcher[Statement] = _Matcher(wanted, held)
    for keyed in (_with_text, _alone):
        name, key, id = keyed(_name_of), keyed(lambda item: item.key), keyed(_id_of)
        sides.round(name, name, _new_name)
        sides.round(key, name, _kept_name)
        sides.round(key, id, _kept_name)
        if keyed is _with_text:
            _renamed(sides, reserved)
    return sides.finish()


def _with_text(read: Callable[[Statement], str]) -> Key[Statement]:
    return lambda item: (read(item), item.text) if read(item) else None


def _alone(read: Callable[[Statement], str]) -> Key[Statement]:
    return lambda item: read(item) or None


def match_links(
    wanted: Sequence[Link], held: Sequence[Link], templates: Mapping[str, str], reserved: frozenset[str] = frozenset()
) -> list[Pair[Link]]:
    """Links with links.

    Args:
        wanted: of the folder.
        held: of the store.
        templates: the folder's id of a template → the store's, where it stays what it is.
        reserved: names that something of the folder is to have: a link that has one is not taken for another's.
    """

    def mine(item: Link) -> Hashable:
        template = templates.get(item.template)
        return None if template is None else (template, frozenset(item.values.items()))

    def theirs(item: Link) -> Hashable:
        return (item.template, frozenset(item.values.items()))

    def lasting(item: Link) -> Hashable:
        return None if item.name in reserved or item.name.startswith(STAND_IN) else theirs(item)

    def saying(key: Callable[[Link], str], said: Key[Link]) -> Key[Link]:
        return lambda item: (key(item), said(item)) if key(item) else None

    sides: _Matcher[Link] = _Matcher(wanted, held)
    ways = ((_name_of, _name_of), (_id_of, _name_of), (_id_of, _id_of))
    for ours, others in ways:
        sides.round(saying(ours, mine), saying(others, theirs), _kept_name)
    # A link cannot be renamed. One that says the same is as good, unless its name is another's already.
    sides.round(lambda item: mine(item) if item.name not in sides.names else None, lasting, _kept_name)
    for ours, others in ways:
        sides.round(_alone_of(ours), _alone_of(others), _kept_name)
    return sides.finish()


def _alone_of(read: Callable[[Link], str]) -> Key[Link]:
    return lambda item: read(item) or None


def _name_of(item: Statement | Link) -> str:
    return item.name


def _id_of(item: Statement | Link) -> str:
    return item.id


def _new_name(wanted: Statement | Link, held: Statement | Link) -> str:
    return wanted.name


def _kept_name(wanted: Statement | Link, held: Statement | Link) -> str:
    return held.name


def _renamed(sides: _Matcher[Statement], reserved: frozenset[str]) -> None:
    """What has the same text under another name. Its new name must be free, or become free by such a renaming."""
    by_text: dict[str, list[Statement]] = {}
    for held in sides.held:
        by_text.setdefault(held.text, []).append(held)
    found: list[tuple[Statement, Statement]] = []
    for wanted in sides.wanted:
        equal = by_text.get(wanted.text)
        if equal and wanted.name and wanted.name not in reserved:
            found.append((wanted, equal.pop(0)))
    while True:
        leaving = {held.name for _, held in found}
        possible = [(w, h) for w, h in found if w.name not in sides.names or w.name in leaving]
        if len(possible) == len(found):
            break
        found = possible
    pairs = {id(wanted): id(held) for wanted, held in found}
    sides.round(lambda item: pairs.get(id(item)), id, _new_name)
