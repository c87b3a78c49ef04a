"""Worlds by number: each is drawn for itself, so that a few hundred of them are of every kind.

Hypothesis, which the same worlds are drawn by too, makes most examples from earlier ones. That finds the smallest
example, and what lies near to it; but a run of a few hundred may pass over a whole kind.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from random import Random
from typing import Any, TypeVar

from tests.pdp.equality.worlds import World

T = TypeVar("T")


def evenly(drawn: Callable[[Random], T], check: Callable[[T], None], numbers: Iterable[int]) -> None:
    """Checks each example.

    Raises:
        AssertionError: with the number of the first that fails; a world is made as small as it can be.
    """
    for number in numbers:
        example = drawn(Random(number))
        try:
            check(example)
        except AssertionError as error:
            found = _smallest(example, check) if isinstance(example, World) else example
            raise AssertionError(f"number {number}: {error}\n{found!r}") from error


def found_out(drawn: Callable[[Random], T], check: Callable[[T], None], numbers: Iterable[int]) -> bool:
    """Does one of the examples fail?"""
    return any(_fails(drawn(Random(number)), check) for number in numbers)


def _fails(example: T, check: Callable[[T], None]) -> bool:
    try:
        check(example)
    except AssertionError:
        return True
    return False


def _smallest(world: World, check: Callable[[Any], None]) -> World:
    """What is left when nothing more can be left out without passing the check."""
    while (smaller := next((one for one in _smaller(world) if _fails(one, check)), None)) is not None:
        world = smaller
    return world


def _smaller(world: World) -> Iterator[World]:
    if len(world.queries) > 1:
        yield from (replace(world, queries=left) for left in _without_one(world.queries))
    yield from (replace(world, policies=left) for left in _without_one(world.policies))
    yield from (replace(world, links=left) for left in _without_one(world.links))
    used = {link.template for link in world.links}
    for left in _without_one(world.templates):
        if used <= {template.id for template in left}:
            yield replace(world, templates=left)
    yield from (replace(world, stored=left) for left in _without_one(world.stored))
    for place, query in enumerate(world.queries):
        fewer = [replace(query, entities=left) for left in _without_one(query.entities)]
        fewer += [
            replace(query, context={other: value for other, value in query.context.items() if other != name})
            for name in query.context
        ]
        for one in fewer:
            yield replace(world, queries=(*world.queries[:place], one, *world.queries[place + 1 :]))


def _without_one(items: tuple[T, ...]) -> Iterator[tuple[T, ...]]:
    return (items[:place] + items[place + 1 :] for place in range(len(items)))
