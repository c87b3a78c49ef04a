"""The names that worlds are made of: few, so that they meet often, and odd, so that each is read as it is written."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from random import Random
from typing import TypeVar

from hypothesis import strategies as st

from authz.core.model import EntityUid

T = TypeVar("T")
Draw = Callable[[st.SearchStrategy[T]], T] | Random
"""Hypothesis's `draw`, which goes on from what it drew before and finds the smallest example; or a `Random`, whose
draws do not depend on each other."""

ODD = (
    'q"uo\\te',
    "line\nbreak",
    "ünï ✓",
    "🦀",
    "",
    "*",
    "?principal",
    "when",
    '::"x',
    "// no comment",
    "\t\x00\x7f",
    "a,)];",
)
SPACES = ("", "N::", "A::B::", "when::")
STRANGE = EntityUid("Elsewhere::User", "a")
"""Of a type that no schema declares."""
_ROLES = (("User", "principal"), ("Doc", "resource", "permit"), ("Folder", "unless"), ("Group", "when"))
_ACTIONS = ("read", "write", "reading", "all")
DEEP = 7
"""How many groups, and folders, may stand one in the other."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Names:
    """One world's entities. Each may be in those that come later, so that no draw makes a circle."""

    space: str
    """The namespace with its `::`; empty: none."""
    user: str
    doc: str
    folder: str
    group: str
    users: tuple[EntityUid, ...]
    docs: tuple[EntityUid, ...]
    folders: tuple[EntityUid, ...]
    groups: tuple[EntityUid, ...]
    actions: tuple[EntityUid, ...]
    others: tuple[EntityUid, ...]
    """The same words in another namespace."""

    @property
    def ranked(self) -> tuple[EntityUid, ...]:
        """All that are no actions."""
        return self.users + self.docs + self.others + self.folders + self.groups

    @property
    def all(self) -> tuple[EntityUid, ...]:
        """Every name."""
        return self.ranked + self.actions


def pick(draw: Draw[T], options: Sequence[T]) -> T:
    """One of them."""
    if isinstance(draw, Random):
        return options[draw.randrange(len(options))]
    return draw(_sampled(tuple(options)))


@lru_cache(maxsize=4096)
def _sampled(options: tuple[T, ...]) -> st.SearchStrategy[T]:
    return st.sampled_from(options)


def some(draw: Draw, options: Sequence[T], at_most: int) -> tuple[T, ...]:
    """None to `at_most` of them, each once."""
    count = pick(draw, range(at_most + 1))
    return tuple(dict.fromkeys(pick(draw, options) for _ in range(count)))


def chance(draw: Draw, percent: int) -> bool:
    """True in about so many of a hundred; shrinks to False."""
    return pick(draw, range(100)) >= 100 - percent


def names(draw: Draw) -> Names:
    """The names of one world."""
    space = pick(draw, SPACES)
    other = pick(draw, tuple(found for found in SPACES if found != space))
    user, doc, folder, group = (space + pick(draw, role) for role in _ROLES)
    odd = pick(draw, ODD)
    chain = ("a", odd, *(str(number) for number in range(2, DEEP)))
    return Names(
        space=space,
        user=user,
        doc=doc,
        folder=folder,
        group=group,
        users=tuple(EntityUid(user, name) for name in ("a", "b", odd)),
        docs=tuple(EntityUid(doc, name) for name in ("a", "b", odd)),
        folders=tuple(EntityUid(folder, name) for name in chain),
        groups=tuple(EntityUid(group, name) for name in chain),
        actions=tuple(EntityUid(f"{space}Action", name) for name in (*_ACTIONS, odd)),
        others=(EntityUid(f"{other}User", "a"), EntityUid(f"{other}Group", "a"), STRANGE),
    )


def literal(uid: EntityUid, style: int = 0) -> str:
    """An entity in Cedar's syntax; each style means the same."""
    if style == 1:
        points = "".join(f"\\u{{{ord(character):x}}}" for character in uid.id)
        return f'{uid.type}::"{points}"'
    if style == 2:
        return f'{uid.type.replace("::", " :: ")} :: // "\n "{_escaped(uid.id)}"'
    return f'{uid.type}::"{_escaped(uid.id)}"'


def _escaped(text: str) -> str:
    replaced = text.replace("\\", "\\\\").replace('"', '\\"').replace("\x00", "\\0").replace("\x7f", "\\x7f")
    return replaced.replace("\t", "\\t")
