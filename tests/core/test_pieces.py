"""Large work pauses after each step, and leaves nothing behind."""

from __future__ import annotations

import pytest

from authz.core.pieces import Steps, take_apart


class Pauses:
    """Counts."""

    def __init__(self):
        self.count = 0

    def __call__(self):
        self.count += 1


@pytest.mark.parametrize("parts", [[1, 2, 3], {1: 1, 2: 2, 3: 3}, [], {}])
def test_what_is_taken_apart_is_empty_afterwards_and_paused_at_each_piece(parts):
    pauses, pieces = Pauses(), len(parts)
    take_apart(parts, pauses)
    assert not parts
    assert pauses.count == pieces


def test_steps_are_the_sequence_with_pauses():
    pauses = Pauses()
    steps = Steps([1, 2, 3], pauses)
    assert (len(steps), steps[1], list(steps[1:])) == (3, 2, [2, 3])
    assert pauses.count == 0
    assert list(steps) == [1, 2, 3]
    assert pauses.count == 3
