"""Who works beside an event loop rests after each millisecond, and the collector is left as it was."""

from __future__ import annotations

import gc

import pytest

from authz.wiring.pace import REST, WORK, Pace, without_full_collections


def test_it_rests_after_each_stretch_of_work_and_not_before():
    now: list[float] = [0.0]
    rests: list[float] = []
    pace = Pace(clock=lambda: now[0], sleep=rests.append)
    pace()
    now[0] = WORK * 0.9
    pace()
    assert rests == []
    now[0] = WORK
    pace()
    pace()
    assert rests == [REST]
    now[0] = WORK * 2
    pace()
    assert rests == [REST, REST]


def test_full_collections_wait_and_come_back_also_after_a_fault():
    before = gc.get_threshold()
    with without_full_collections():
        assert gc.get_threshold()[:2] == before[:2]
        assert gc.get_threshold()[2] > 100_000
    assert gc.get_threshold() == before
    with pytest.raises(ZeroDivisionError), without_full_collections():
        raise ZeroDivisionError
    assert gc.get_threshold() == before
