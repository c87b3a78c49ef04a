"""Large work cut into pieces, so that other threads of the process get their turn in between.

A call that frees or builds a hundred thousand objects at once lets nothing else run for as long as it takes. Whoever
works on much takes a `Pause`, which it calls after each small step; how often that really rests is the caller's to say.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, MutableMapping, Sequence
from typing import Any, Generic, TypeAlias, TypeVar, overload

T = TypeVar("T")
Pause: TypeAlias = Callable[[], None]
"""Called after each small step of large work."""


def no_pause() -> None:
    """For work beside which nothing else runs."""


class Steps(Sequence[T], Generic[T]):
    """A sequence that pauses before each element while it is walked through."""

    __slots__ = ("_items", "_pause")

    def __init__(self, items: Sequence[T], pause: Pause) -> None:
        self._items = items
        self._pause = pause

    def __len__(self) -> int:
        return len(self._items)

    @overload
    def __getitem__(self, index: int) -> T: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[T]: ...
    def __getitem__(self, index: int | slice) -> T | Sequence[T]:
        return self._items[index]

    def __iter__(self) -> Iterator[T]:
        for item in self._items:
            self._pause()
            yield item


def take_apart(parts: list[Any] | MutableMapping[Any, Any], pause: Pause) -> None:
    """Empties a container piece by piece. What nobody else holds is freed with its element, not all at once."""
    if isinstance(parts, list):
        while parts:
            parts.pop()
            pause()
        return
    while parts:
        parts.popitem()
        pause()
