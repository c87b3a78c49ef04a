"""A cache of a method, kept by its object, that does not keep the object.

`lru_cache` of a bound method that is stored in its own object is a circle: only the collector frees it, and what was
frozen (`gc.freeze`) the collector never looks at again.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import ParamSpec, TypeVar, cast
from weakref import WeakMethod

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
