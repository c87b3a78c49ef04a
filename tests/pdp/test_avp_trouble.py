"""What the log says of calls for decisions that fail."""

import logging

import pytest

from authz.core.errors import DecisionUnavailable, Reason
from authz.pdp.avp_trouble import AGAIN, CALM, Trouble


class Time:
    now = 0.0

    def __call__(self):
        return self.now


@pytest.fixture
def time():
    return Time()


@pytest.fixture
def told(caplog):
    caplog.set_level(logging.INFO, logger="authz.avp")
    return lambda: [(record.levelname, record.getMessage()) for record in caplog.records]


def test_trouble_is_told_when_it_begins_changes_lasts_and_ends(time, told):
    trouble = Trouble(time)
    for _ in range(100):
        trouble.failed(DecisionUnavailable(detail="no answer"))
    assert told() == [("ERROR", "Verified Permissions gives no decisions (decision_unavailable): no answer")]
    trouble.failed(DecisionUnavailable(Reason.DECISION_MISCONFIGURED, "no credentials"))
    assert told()[-1] == ("ERROR", "Verified Permissions gives no decisions (decision_misconfigured): no credentials")
    time.now += AGAIN
    trouble.failed(DecisionUnavailable(Reason.DECISION_MISCONFIGURED, "no credentials"))
    assert len(told()) == 3
    trouble.answered()  # one answer among failures is not the end
    assert len(told()) == 3
    time.now += CALM
    trouble.answered()
    trouble.answered()
    assert told()[3:] == [("INFO", "Verified Permissions gives decisions again")]


def test_a_question_that_is_refused_is_nobodys_trouble(time, told):
    trouble = Trouble(time)
    trouble.failed(DecisionUnavailable(Reason.QUERY_REFUSED, "this one"))
    trouble.answered()
    assert told() == []
