"""Calls to Verified Permissions: permits, a second attempt, deadlines, and what each failure means."""

import asyncio
import threading
import time
from contextlib import contextmanager

import pytest
from botocore import exceptions as boto

from authz.aws.budget import RECOVERY
from authz.aws.errors import AvpError, Kind
from authz.core.errors import DecisionUnavailable, Misconfigured, Problem, Reason
from authz.pdp.avp_calls import AvpCalls
from authz.pdp.avp_settings import AvpDecisionSettings

ALLOW = {"decision": "ALLOW", "determiningPolicies": [{"policyId": "p"}], "errors": []}
CANARY = "canary-of-a-value"


def refused(code, status=400, **more):
    error = {"Error": {"Code": code, "Message": CANARY}, "ResponseMetadata": {"HTTPStatusCode": status}, **more}
    return boto.ClientError(error, "IsAuthorized")  # type: ignore[arg-type]


THROTTLED = refused("ThrottlingException", 429)
FAULT = refused("InternalServerException", 500)
UNREACHABLE = boto.EndpointConnectionError(endpoint_url="http://x")


class Client:
    """Answers with what `script` holds, then with an allow. An exception is raised, a function called."""

    def __init__(self, *script):
        self.script = list(script)
        self.asked = []
        self.closed = 0

    def close(self):
        self.closed += 1

    def is_authorized(self, **arguments):
        self.asked.append(arguments)
        step = self.script.pop(0) if self.script else ALLOW
        if isinstance(step, Exception):
            raise step
        return step() if callable(step) else step

    is_authorized_with_token = batch_is_authorized = batch_is_authorized_with_token = is_authorized


@contextmanager
def calling(client, *, connect=None, clock=time.monotonic, **settings):
    known = {"policy_store": "ps", "timeout": 5.0, "rate": 10_000.0, "batch_rate": 10_000.0, **settings}
    calls = AvpCalls(connect or (lambda: client), AvpDecisionSettings(**known), clock=clock, jitter=lambda: 0.0)
    try:
        yield calls
    finally:
        calls.close()


async def failure(calls, operation="IsAuthorized"):
    with pytest.raises(DecisionUnavailable) as caught:
        await calls.call(operation, {})
    assert CANARY not in caught.value.detail
    assert caught.value.__cause__ is None
    return caught.value


async def test_an_answer_is_what_the_sdk_gives():
    client = Client()
    with calling(client) as calls:
        assert await calls.call("IsAuthorized", {"policyStoreId": "ps"}) == ALLOW
        assert client.asked == [{"policyStoreId": "ps"}]
        assert calls.calls == {("IsAuthorized", "answered"): 1}
        assert calls.in_flight == 0


@pytest.mark.parametrize(
    ("error", "reason", "attempts", "advice"),
    [
        (THROTTLED, Reason.DECISION_THROTTLED, 2, "quota"),
        (FAULT, Reason.DECISION_UNAVAILABLE, 2, "InternalServerException"),
        (refused("NobodyKnowsThis", 418), Reason.DECISION_UNAVAILABLE, 2, "NobodyKnowsThis"),
        (UNREACHABLE, Reason.DECISION_UNAVAILABLE, 2, "no answer"),
        (boto.ConnectTimeoutError(endpoint_url="http://x"), Reason.DECISION_UNAVAILABLE, 2, "no answer"),
        (boto.ConnectionClosedError(endpoint_url="http://x"), Reason.DECISION_UNAVAILABLE, 2, "no answer"),
        (boto.ReadTimeoutError(endpoint_url="http://x"), Reason.DECISION_UNAVAILABLE, 1, "no answer"),
        (AttributeError("'list' has no attribute 'get'"), Reason.DECISION_UNAVAILABLE, 1, "cannot be read"),
        (refused("ExpiredTokenException", 403), Reason.DECISION_MISCONFIGURED, 1, "mend the credentials"),
        (refused("InvalidSignatureException", 403), Reason.DECISION_MISCONFIGURED, 1, "clock"),
        (boto.NoCredentialsError(), Reason.DECISION_MISCONFIGURED, 1, "mend the credentials"),
        (refused("AccessDeniedException", 403), Reason.DECISION_MISCONFIGURED, 1, "allow the role"),
        (refused("ResourceNotFoundException", 404), Reason.DECISION_MISCONFIGURED, 1, "policy_store"),
        (
            refused("ValidationException", 400, fieldList=[{"path": "/policyStoreId", "message": CANARY}]),
            Reason.DECISION_MISCONFIGURED,
            1,
            "policy_store",
        ),
        (
            refused("ValidationException", 400, fieldList=[{"path": "/context/a", "message": CANARY}]),
            Reason.QUERY_REFUSED,
            1,
            "/context/a",
        ),
        (  # a name of the caller's choosing
            refused("ValidationException", fieldList=[{"path": "/context/policyStoreId", "message": CANARY}]),
            Reason.QUERY_REFUSED,
            1,
            "question",
        ),
        (refused("413", 413), Reason.QUERY_REFUSED, 1, "question"),
        (boto.ParamValidationError(report=CANARY), Reason.QUERY_REFUSED, 1, "question"),
        (RecursionError(), Reason.QUERY_REFUSED, 1, "nested"),
        (refused("ConflictException", 409), Reason.DECISION_UNAVAILABLE, 1, "Conflict"),
        (refused("ServiceQuotaExceededException", 402), Reason.DECISION_UNAVAILABLE, 1, "Quota"),
    ],
)
async def test_each_failure_has_its_reason_and_is_tried_again_only_where_that_can_help(error, reason, attempts, advice):
    client = Client(error, error, error)
    with calling(client) as calls:
        found = await failure(calls)
    assert found.reason is reason
    assert advice in found.detail
    assert len(client.asked) == attempts
    assert found.by_query is (reason is Reason.QUERY_REFUSED)
    assert sum(calls.calls.values()) == attempts


@pytest.mark.parametrize("error", [THROTTLED, FAULT, UNREACHABLE])
async def test_a_second_attempt_may_answer(error):
    with calling(Client(error)) as calls:
        assert await calls.call("IsAuthorized", {}) == ALLOW


async def test_what_no_call_can_raise_is_raised():
    with calling(Client(ZeroDivisionError())) as calls:
        with pytest.raises(ZeroDivisionError):
            await calls.call("IsAuthorized", {})
        assert calls.in_flight == 0


class Time:
    now = 0.0

    def __call__(self):
        return self.now


async def test_no_second_attempt_where_the_time_is_too_short():
    clock = Time()

    def slow():
        clock.now += 0.6
        raise refused("InternalServerException", 500)

    client = Client(slow)
    with calling(client, clock=clock, timeout=1.0) as calls:
        assert (await failure(calls)).reason is Reason.DECISION_UNAVAILABLE
    assert len(client.asked) == 1


@pytest.mark.parametrize(
    ("error", "others"),
    [
        (refused("ExpiredTokenException", 403), True),
        (boto.NoCredentialsError(), True),
        (refused("AccessDeniedException", 403), False),
        (refused("ResourceNotFoundException", 404), False),
    ],
)
async def test_dead_credentials_are_no_storm(error, others):
    clock = Time()
    client = Client(error)
    with calling(client, clock=clock) as calls:
        first = await failure(calls)
        for _ in range(20):
            again = await failure(calls)
            assert (again.reason, again.detail) == (first.reason, first.detail)
        assert len(client.asked) == 1
        assert calls.cooled == 20
        if others:
            await failure(calls, "IsAuthorizedWithToken")
        else:
            await calls.call("IsAuthorizedWithToken", {})
        clock.now += 1.0
        assert await calls.call("IsAuthorized", {}) == ALLOW


async def test_a_question_that_is_refused_stops_nobody_else():
    with calling(Client(refused("ValidationException"))) as calls:
        await failure(calls)
        assert await calls.call("IsAuthorized", {}) == ALLOW


async def test_no_more_calls_than_permits():
    clock = Time()
    client = Client()
    with calling(client, clock=clock, rate=5.0, timeout=0.01) as calls:
        await calls.call("IsAuthorized", {})
        found = await failure(calls)
        assert found.reason is Reason.DECISION_THROTTLED
        assert "5 calls a second" in found.detail
        assert await calls.call("BatchIsAuthorized", {}) == ALLOW  # it has permits of its own
        assert (len(client.asked), calls.throttled) == (2, 1)


async def test_a_throttled_call_slows_all_down():
    clock = Time()
    with calling(Client(THROTTLED), clock=clock, rate=1000.0) as calls:
        assert await calls.call("IsAuthorized", {}) == ALLOW
        assert calls.singles.rate == 500
        clock.now += RECOVERY
        assert calls.singles.rate == 1000
        assert calls.throttled == 1


async def test_a_decision_ends_with_its_time_and_its_call_later():
    release = threading.Event()
    client = Client(lambda: release.wait(10) and ALLOW)
    with calling(client, timeout=0.05) as calls:
        found = await failure(calls)
        assert found.reason is Reason.DECISION_UNAVAILABLE
        assert "0.05 s" in found.detail
        assert (calls.in_flight, calls.timeouts) == (1, 1)
        release.set()
        await until(lambda: calls.in_flight == 0)
        assert calls.calls == {("IsAuthorized", "answered"): 1}


async def test_what_waits_for_a_place_is_dropped_when_nobody_waits_for_it():
    release = threading.Event()
    client = Client(lambda: release.wait(10) and ALLOW)
    with calling(client, concurrency=1) as calls:
        first = asyncio.ensure_future(calls.call("IsAuthorized", {"number": 1}))
        await until(lambda: client.asked)
        second = asyncio.ensure_future(calls.call("IsAuthorized", {"number": 2}))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        second.cancel()
        with pytest.raises(asyncio.CancelledError):
            await second
        third = asyncio.ensure_future(calls.call("IsAuthorized", {"number": 3}))
        release.set()
        assert [await first, await third] == [ALLOW, ALLOW]
        assert [one["number"] for one in client.asked] == [1, 3]


async def test_never_more_calls_at_once_than_places():
    most, now, lock = [0], [0], threading.Lock()

    def busy():
        with lock:
            now[0] += 1
            most[0] = max(most[0], now[0])
        time.sleep(0.002)
        with lock:
            now[0] -= 1
        return ALLOW

    with calling(Client(*[busy] * 40), concurrency=3) as calls:
        await asyncio.gather(*[calls.call("IsAuthorized", {}) for _ in range(40)])
    assert most[0] <= 3


async def test_a_closed_one_asks_nothing():
    client = Client()
    with calling(client) as calls:
        calls.close()
        assert (await failure(calls)).reason is Reason.DECISION_UNAVAILABLE
    assert client.asked == []


async def test_what_was_taken_is_answered_after_the_end():
    release = threading.Event()
    client = Client(lambda: release.wait(10) and ALLOW)
    with calling(client, concurrency=1) as calls:
        taken = [asyncio.ensure_future(calls.call("IsAuthorized", {})) for _ in range(3)]
        await until(lambda: client.asked)
        calls.close()
        assert client.closed == 0
        release.set()
        assert await asyncio.gather(*taken) == [ALLOW] * 3
        await until(lambda: client.closed)


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (Misconfigured((Problem(message="no region is known"),)), "no region is known"),
        (AvpError(Kind.CREDENTIALS, "credentials", "the agent is away"), "the agent is away"),
    ],
)
async def test_a_client_that_cannot_be_made_is_made_later(error, words):
    clock = Time()
    script = [error, error]

    def connect():
        if script:
            raise script.pop()
        return Client()

    with calling(None, connect=connect, clock=clock) as calls:
        with pytest.raises(DecisionUnavailable) as caught:
            await calls.connect()
        assert caught.value.reason is Reason.DECISION_MISCONFIGURED
        assert words in caught.value.detail
        assert words in (await failure(calls)).detail
        assert len(script) == 0
        await failure(calls)  # resting
        clock.now += 1.0
        assert await calls.call("IsAuthorized", {}) == ALLOW


async def test_one_client_is_made_for_all():
    made = []

    def connect():
        made.append(1)
        time.sleep(0.01)
        return Client()

    with calling(None, connect=connect) as calls:
        await asyncio.gather(*[calls.call("IsAuthorized", {}) for _ in range(10)], calls.connect())
    assert made == [1]


async def until(condition):
    for _ in range(500):
        if condition():
            return
        await asyncio.sleep(0.01)
    raise AssertionError("it did not come about")
