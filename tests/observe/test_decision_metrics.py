"""What decisions made here have spared."""

import pytest

from authz.observe.decision_metrics import SINGLE_PRICE, DecidingReading, deciding_metrics


def told(**reading):
    return {
        sample.name: sample.value
        for metric in deciding_metrics(DecidingReading(**reading))
        for sample in metric.samples
        if not sample.name.endswith("_created")
    }


def test_a_million_decisions_made_here_are_five_dollars():
    assert pytest.approx(5) == SINGLE_PRICE * 1_000_000
    found = told(saved_calls=1_000_000)
    assert found["authz_avp_calls_saved_total"] == 1_000_000
    assert found["authz_avp_dollars_saved_total"] == pytest.approx(5)


def test_parts_that_are_not_in_use_are_not_told():
    assert told() == {}
