"""The equality properties over very many examples: `make equality`, which a nightly job runs.

Rounds with another seed each, until so many worlds were drawn or so much time has gone. A failure ends it with the
smallest world that shows it, and with the seed that finds it again.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any
from unittest import mock

from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

from authz.pdp import handles
from tests.pdp.equality.evenly import evenly
from tests.pdp.equality.indexes import drawn_index, finds_what_matches
from tests.pdp.equality.lists import drawn_list
from tests.pdp.equality.names import Draw
from tests.pdp.equality.properties import (
    drawn_history,
    edits_equal_the_full_set,
    equals_the_full_set,
    many_equal_the_full_set,
)
from tests.pdp.equality.worlds import World, drawn_world

ROUND = 1_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Property:
    """One of the properties, and how much of a round is its."""

    name: str
    check: Callable[[Any], None]
    drawn: Callable[[Draw[Any]], Any]
    share: float


def _in_a_thread(world: World) -> None:
    with mock.patch.object(handles, "AT_ONCE", 1):
        equals_the_full_set(world)


PROPERTIES = (
    Property(name="full set", check=equals_the_full_set, drawn=drawn_world, share=0.4),
    Property(name="in a thread", check=_in_a_thread, drawn=drawn_world, share=0.1),
    Property(name="after edits", check=edits_equal_the_full_set, drawn=drawn_history, share=0.1),
    Property(name="lists", check=many_equal_the_full_set, drawn=drawn_list, share=0.2),
    Property(name="index", check=finds_what_matches, drawn=drawn_index, share=0.2),
)


def rounds(first: int, examples: int, until: float) -> Iterator[tuple[int, Property, int]]:
    """Seed, property and how many examples, one after the other."""
    number, drawn = first, 0
    while drawn < examples and time.monotonic() < until:
        size = min(ROUND, examples - drawn)
        for one in PROPERTIES:
            yield number, one, max(1, round(size * one.share))
        number, drawn = number + 1, drawn + size


def run(number: int, one: Property, examples: int) -> None:
    """Draws so many examples, of even seeds evenly. Raises what the property raises."""
    if number % 2 == 0:
        evenly(one.drawn, one.check, range(number * ROUND, number * ROUND + examples))
        return

    @seed(number)
    @settings(
        max_examples=examples,
        deadline=None,
        database=None,
        print_blob=True,
        phases=[Phase.generate, Phase.shrink],
        suppress_health_check=list(HealthCheck),
    )
    @given(st.composite(one.drawn)())
    def check(drawn: Any) -> None:
        one.check(drawn)

    check()


def main() -> None:
    """Ends with an exception where a property does not hold."""
    parser = argparse.ArgumentParser(prog="python -m tests.pdp.equality", description=__doc__)
    parser.add_argument("--examples", type=int, default=200_000, help="how many worlds (default: %(default)s)")
    parser.add_argument("--seconds", type=float, default=7_200.0, help="time for it (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=1, help="of the first round (default: %(default)s)")
    options = parser.parse_args()
    begun, drawn = time.monotonic(), 0
    for number, one, examples in rounds(options.seed, options.examples, begun + options.seconds):
        try:
            run(number, one, examples)
        except BaseException:
            print(f"seed {number}, {one.name}: not equal", file=sys.stderr)
            raise
        drawn += examples
        print(f"{time.monotonic() - begun:6.0f} s: {drawn} examples, seed {number}, {one.name}: equal", flush=True)


if __name__ == "__main__":
    main()
