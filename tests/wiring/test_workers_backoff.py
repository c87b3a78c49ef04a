"""How long a supervisor waits before it starts a worker again."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from authz.wiring.backoff import Backoff

BACKOFFS = st.builds(
    Backoff,
    first=st.floats(0.001, 10),
    most=st.floats(10, 1000),
    good=st.floats(0.1, 100),
    spread=st.floats(0, 1),
)
LOTS = st.floats(0, 1)
FAILURES = st.integers(1, 10_000)


@given(backoff=BACKOFFS, failures=FAILURES, lot=LOTS)
def test_a_delay_has_its_bounds(backoff, failures, lot):
    delay = backoff.delay(failures, lot)
    assert backoff.first * (1 - backoff.spread) * 0.999 <= delay <= backoff.most


@given(backoff=BACKOFFS, failures=FAILURES, lot=LOTS)
def test_the_next_delay_is_longer_until_the_longest(backoff, failures, lot):
    now, then = backoff.delay(failures, lot), backoff.delay(failures + 1, lot)
    assert then >= now
    if now and then < backoff.most * (1 - backoff.spread * (1 - lot)):
        assert 1.99 <= then / now <= 2.01


@given(failures=FAILURES, lots=st.tuples(LOTS, LOTS))
def test_those_who_fail_together_are_spread_over_half_the_time(failures, lots):
    backoff = Backoff()
    one, other = sorted(backoff.delay(failures, lot) for lot in lots)
    assert backoff.delay(failures, 1) / 2 <= one <= other <= backoff.delay(failures, 1)


@given(backoff=BACKOFFS, served=st.lists(st.floats(0, 200), max_size=50))
def test_who_served_well_begins_anew_and_others_never_spin(backoff, served):
    failures = 0
    for seconds in served:
        before, failures = failures, backoff.failures(failures, seconds)
        assert failures == (1 if seconds >= backoff.good else before + 1)


def test_the_defaults_go_from_a_tenth_of_a_second_to_half_a_minute():
    delays = [Backoff().delay(failures, 1) for failures in range(1, 12)]
    assert delays == [0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 12.8, 25.6, 30.0, 30.0]
