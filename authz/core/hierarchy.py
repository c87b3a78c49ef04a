"""What is in what: circles, and how many levels there are.

The engine climbs hierarchies by calling itself once a level, without a bound, and so can be made to end the process.
Measured with cedarpy 4.12.2, the longest chain that it bears, by size of the stack (see `cedar_depth`):

    ========================================  ======  =====  =====
    what                                       8 MiB  2 MiB  1 MiB
    ========================================  ======  =====  =====
    entities, each a parent of the one before  >6000   2859   1546   then SIGSEGV
    action groups within one another           >6000   4078   1991   then SIGSEGV
    entity types, each a member of the next    >6000   4218   2366   then SIGSEGV
    ========================================  ======  =====  =====

Nor is it free: 1,000 entities in a chain take 0.5 s and 110 MB, 4,000 more at its lower end 4 s and 1 GB.
"""

from collections.abc import Collection, Iterator, Mapping
from typing import TypeVar

Node = TypeVar("Node")
MAX_LEVELS = 500
"""Entities, entity types or action groups that contain one another: a third of what the smallest stack bears."""


def find_circle(above: Mapping[Node, Collection[Node]]) -> tuple[Node, ...] | None:
    """Nodes that contain each other, in their order; None: there are none.

    Args:
        above: each node's direct parents. A parent that is no key has none itself.
    """
    for together in _knots(above):
        if len(together) > 1 or together[0] in above[together[0]]:
            return _circle(above, set(together), together[0])
    return None


def find_too_deep(above: Mapping[Node, Collection[Node]], limit: int = MAX_LEVELS) -> Node | None:
    """A node with more than `limit` levels, its own included; None: there is none.

    Nodes that contain each other count as a level each, for a climb may pass them all.
    """
    levels: dict[Node, int] = {}
    for together in _knots(above):
        beyond = (parent for node in together for parent in above[node] if parent in levels or parent not in above)
        found = len(together) + max((levels.get(parent, 1) for parent in beyond), default=0)
        if found > limit:
            return together[0]
        levels.update(dict.fromkeys(together, found))
    return None


def _circle(above: Mapping[Node, Collection[Node]], members: set[Node], start: Node) -> tuple[Node, ...]:
    """Each member of a knot has a parent in it, so a walk within it comes back to where it was."""
    path: dict[Node, None] = {start: None}
    node = start
    while True:
        node = next(parent for parent in above[node] if parent in members)
        if node in path:
            found = list(path)
            return tuple(found[found.index(node) :])
        path[node] = None


def _knots(above: Mapping[Node, Collection[Node]]) -> Iterator[list[Node]]:
    """Tarjan's strongly connected components, parents first. By hand on a stack: it must not call itself either."""
    order: dict[Node, int] = {}
    lowest: dict[Node, int] = {}
    held: list[Node] = []
    is_held: set[Node] = set()
    for root in above:
        if root in order:
            continue
        ways = [(root, iter(above[root]))]
        while ways:
            node, parents = ways[-1]
            if node not in order:
                order[node] = lowest[node] = len(order)
                held.append(node)
                is_held.add(node)
            for parent in parents:
                if parent not in order and parent in above:
                    ways.append((parent, iter(above[parent])))
                    break
                if parent in is_held:
                    lowest[node] = min(lowest[node], order[parent])
            else:
                ways.pop()
                if ways:
                    child = ways[-1][0]
                    lowest[child] = min(lowest[child], lowest[node])
                if lowest[node] == order[node]:
                    cut = held.index(node) if held[-1] != node else len(held) - 1
                    together = held[cut:]
                    del held[cut:]
                    is_held.difference_update(together)
                    yield together
