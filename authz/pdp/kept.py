"""Caches: of a method, kept by its object, that does not keep the object; and by the weight of what is kept.

`lru_cache` of a bound method that is stored in its own object is a circle: only the collector frees it, and what was
frozen (`gc.freeze`) the collector never looks at again.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable
from functools import lru_cache
from typing import Generic, ParamSpec, TypeVar, cast
from weakref import WeakMethod

K = TypeVar("K", bound=Hashable)
P = ParamSpec("P")
T = TypeVar("T")


def kept(maxsize: int, method: Callable[P, T]) -> Callable[P, T]:
    """`method`, its last results kept by their arguments. To be stored in the object that it is bound to.

    Raises:
        ReferenceError: when called, the object is gone.
    """
    reference = WeakMethod(method)

    def find(*arguments: P.args, **named: P.kwargs) -> T:
        found = reference()
        if found is None:
            raise ReferenceError("the object of the method is gone")
        return found(*arguments, **named)

    return cast("Callable[P, T]", lru_cache(maxsize=maxsize)(find))


class Weighed(Generic[K, T]):
    """Values by key, bounded by what they weigh together; the least used go first.

    Args:
        limit: bytes, about. A value that weighs more by itself is not kept.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.weight = 0
        self._kept: OrderedDict[K, tuple[T, int]] = OrderedDict()

    def __len__(self) -> int:
        """How many values are kept."""
        return len(self._kept)

    def get(self, key: K) -> T | None:
        """The value that is kept for the key."""
        found = self._kept.get(key)
        if found is None:
            return None
        self._kept.move_to_end(key)
        return found[0]

    def put(self, key: K, value: T, weight: int) -> T:
        """Keeps a value."""
        earlier = self._kept.pop(key, None)
        self.weight += weight - (earlier[1] if earlier is not None else 0)
        self._kept[key] = value, weight
        while self.weight > self.limit:
            _, (_, dropped) = self._kept.popitem(last=False)
            self.weight -= dropped
        return value
