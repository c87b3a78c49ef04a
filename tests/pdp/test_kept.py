"""What is kept is no reason to be kept: a policy set that was replaced is freed without the collector."""

from __future__ import annotations

import asyncio
import gc
import weakref

import pytest

from authz.core.model import Effect, EntityUid, Policy, PolicySnapshot, Query
from authz.pdp.cedar import CedarDecisionPoint
from authz.pdp.compiled import compile_snapshot
from authz.pdp.kept import Weighed, kept


class Counting:
    """Keeps what it made."""

    def __init__(self) -> None:
        self.made: list[int] = []
        self.find = kept(2, self._find)

    def _find(self, number: int) -> list[int]:
        self.made.append(number)
        return [number]


def test_results_are_kept_and_bounded():
    counting = Counting()
    assert counting.find(1) is counting.find(1)
    counting.find(2)
    counting.find(3)
    counting.find(1)
    assert counting.made == [1, 2, 3, 1]


def test_the_cache_does_not_keep_its_object():
    gc.disable()
    try:
        counting = Counting()
        find, gone = counting.find, weakref.ref(counting)
        find(1)
        del counting
        assert gone() is None
        with pytest.raises(ReferenceError):
            find(2)
    finally:
        gc.enable()


def test_a_decision_point_and_its_index_are_freed_with_the_last_reference():
    policy = Policy(id="a", text='permit(principal, action, resource == Doc::"1");', effect=Effect.PERMIT)
    compiled = compile_snapshot(PolicySnapshot(version="1", policies=(policy,)))
    decider = CedarDecisionPoint(compiled)
    query = Query(
        principal=EntityUid("User", "ann"), action=EntityUid("Action", "view"), resource=EntityUid("Doc", "1")
    )
    asyncio.run(decider.decide(query))
    asyncio.run(decider.decide_many([query, query]))
    gc.collect()
    gc.disable()  # what is frozen the collector never looks at
    try:
        parts = [weakref.ref(one) for one in (compiled.index, decider, decider._slices, decider._world)]
        del compiled, decider
        assert [part() for part in parts] == [None] * len(parts)
    finally:
        gc.enable()


def test_what_is_weighed_is_bounded_and_the_least_used_goes():
    weighed = Weighed[str, str](10)
    for name in "abc":
        assert weighed.put(name, name.upper(), 4) == name.upper()
        assert weighed.get("a") in ("A", None)
    assert [weighed.get(name) for name in "abc"] == ["A", None, "C"]
    weighed.put("a", "again", 1)
    assert (weighed.weight, len(weighed)) == (5, 2)
    weighed.put("huge", "H", 11)
    assert (weighed.weight, len(weighed), weighed.get("huge")) == (0, 0, None)
