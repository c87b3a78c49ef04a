"""The decision point, which evaluates the policies that its index finds, answers as the full set does.

The full set's answer is Cedar's ("How Cedar authorization works", sections "Algorithm" and "Policy satisfaction").
Longer: `make equality`.
"""

from __future__ import annotations

from collections import Counter
from random import Random
from unittest import mock

from hypothesis import HealthCheck, given, settings

from authz.core.cedar_scope import Constraint, read_scope
from authz.pdp import handles
from tests.pdp.equality.evenly import evenly
from tests.pdp.equality.full_set import FullSet
from tests.pdp.equality.heads import EQUALS, IS_IN, ONE_OF, WITHIN, Says
from tests.pdp.equality.lists import drawn_list, lists
from tests.pdp.equality.properties import (
    drawn_history,
    edits_equal_the_full_set,
    equals_the_full_set,
    histories,
    many_equal_the_full_set,
)
from tests.pdp.equality.worlds import drawn_world, worlds

SLOW = [HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.large_base_example]


@settings(max_examples=300, suppress_health_check=SLOW)
@given(worlds())
def test_verdict_policies_and_errors_are_those_of_the_full_set(world):
    equals_the_full_set(world)


def test_so_they_are_in_worlds_that_are_drawn_evenly():
    evenly(drawn_world, equals_the_full_set, range(300))


def test_so_are_lists_that_are_drawn_evenly():
    evenly(drawn_list, many_equal_the_full_set, range(100))


def test_so_are_histories_that_are_drawn_evenly():
    evenly(drawn_history, edits_equal_the_full_set, range(50))


@settings(max_examples=60, suppress_health_check=SLOW)
@given(worlds())
def test_so_they_are_where_candidates_are_parsed_in_a_worker_thread(world):
    with mock.patch.object(handles, "AT_ONCE", 1):
        equals_the_full_set(world)


@settings(max_examples=60, suppress_health_check=SLOW)
@given(histories())
def test_so_they_are_after_each_edit(worlds):
    edits_equal_the_full_set(worlds)


@settings(max_examples=100, suppress_health_check=SLOW)
@given(lists())
def test_the_queries_of_a_list_are_answered_so_too(world):
    many_equal_the_full_set(world)


@settings(max_examples=100, suppress_health_check=SLOW)
@given(worlds(queries=1))
def test_a_scope_is_read_as_it_was_drawn(world):
    for drawn in (*world.policies, *world.templates):
        scope = read_scope(drawn.text)
        assert scope.principal == read(drawn.head.principal)
        assert scope.action == read(drawn.head.action)
        assert scope.resource == read(drawn.head.resource)


def read(says: Says) -> Constraint:
    """What the scope reader should find."""
    return Constraint(
        equals=says.uids[0] if says.operator == EQUALS and says.uids else None,
        within=says.uids if says.operator in (WITHIN, IS_IN, ONE_OF) else (),
        is_in=says.operator in (WITHIN, IS_IN, ONE_OF),
        type=says.type or None,
        slot=says.slot,
    )


def test_what_is_drawn_is_of_every_kind():
    seen: Counter[str] = Counter()

    for number in range(300):
        world = drawn_world(Random(number))
        whole = FullSet(world)
        total = len(world.policies) + len(world.links)
        mode = "schema" if world.declared is not None else "no schema"
        seen[mode] += 1
        for query in world.queries:
            answer, matching = whole.answer(query), whole.matching(query)
            seen["queries"] += 1
            seen[f"{mode}: {answer.verdict}"] += 1
            seen[f"{mode}: errors"] += bool(answer.errors)
            seen["denied by a forbid"] += answer.verdict == "deny" and bool(answer.policies)
            seen["no decision: a forbid erred"] += whole.answer(query, on_forbid_error="fail").verdict == "none"
            seen["fewer candidates"] += len(matching) < total
            seen["several candidates"] += 1 < len(matching) < total
            seen["no candidate"] += not matching and total > 0
            seen["a link counts"] += any(link.id in (*answer.policies, *dict(answer.errors)) for link in world.links)
            seen["an action as principal or resource"] += bool(
                {query.principal, query.resource} & set(world.names.actions)
            )
            seen["several slices"] += len(query.entities) > 1
            seen["deep"] += any(len(found) > 5 for found in whole.ancestors(query).values())

    queries = seen["queries"]
    assert seen["schema"] > 60 < seen["no schema"]
    assert seen["schema: allow"] + seen["no schema: allow"] > queries / 8
    assert seen["denied by a forbid"] > queries / 20
    assert seen["fewer candidates"] > queries / 2
    assert seen["several candidates"] > queries / 8
    kinds = (
        "schema: allow", "schema: deny", "schema: errors", "no schema: allow", "no schema: deny", "no schema: errors",
        "no decision: a forbid erred", "no candidate", "a link counts", "an action as principal or resource",
        "several slices", "deep",
    )  # fmt: skip
    assert {kind: seen[kind] for kind in kinds if seen[kind] < 10} == {}
