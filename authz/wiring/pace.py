"""How work in a thread leaves time for the event loop of the same process."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

WORK = 0.001
"""Seconds of work between two rests."""
REST = 0.0001
"""Seconds. The system makes it 0.15 ms or so."""
_NEVER = 1_000_000


class Pace:
    """A `Pause` that rests for a moment after each millisecond of work.

    Python lets another thread in only after 5 ms, and the event loop asks to be let in after each of its system calls:
    beside a busy thread an answer that takes four of them takes 20 ms more. One that rests is not waited for.
    """

    def __init__(
        self, clock: Callable[[], float] = time.perf_counter, sleep: Callable[[float], object] = time.sleep
    ) -> None:
        self._clock = clock
        self._sleep = sleep
        self._until = clock() + WORK

    def __call__(self) -> None:
        """Called after each small step."""
        if self._clock() >= self._until:
            self._sleep(REST)
            self._until = self._clock() + WORK


@contextmanager
def without_full_collections() -> Iterator[None]:
    """While much is built that will stay, the collector looks at what is young only.

    For a process that is ours: looking through a million objects takes a second, and it would do so again each time
    that a quarter more is there. Reference counts free nearly all, as ever. No collection at first either: what is
    frozen it passes over, but not what the large containers refer to that stand beside it.
    """
    young, middle, old = gc.get_threshold()
    gc.set_threshold(young, middle, _NEVER)
    try:
        yield
    finally:
        gc.set_threshold(young, middle, old)


def freeze() -> None:
    """Keeps all that is there out of every later collection. What is young and unreachable is freed before."""
    gc.collect(1)
    gc.freeze()
