"""What the replica does with calls that fail, and with answers that are none."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from botocore.exceptions import EndpointConnectionError, NoCredentialsError, ReadTimeoutError

from authz.aws.errors import Kind
from authz.core.errors import Misconfigured, PoliciesUnavailable, Problem
from authz.stores.avp import _ADVICE, ReplicaSettings
from authz.stores.avp_pace import NextLook
from tests.stores.avp_fake import STORE, FakeAvp, Time, refused, replica


@pytest.fixture
def avp():
    fake = FakeAvp()
    fake.static()
    fake.link(fake.template())
    return fake


FAILURES: list[tuple[Callable[[str], Exception], str, str]] = [
    (lambda _op: EndpointConnectionError(endpoint_url="http://x"), "unreachable", "network"),
    (lambda _op: ReadTimeoutError(endpoint_url="http://x"), "unreachable", "network"),
    (lambda op: refused(op, "InternalServerException", 500), "fault", "fault of its own"),
    (lambda op: refused(op, "ThrottlingException", 429), "throttled", "throttles"),
    (lambda op: refused(op, "ExpiredTokenException", 403), "credentials", "renew"),
    (lambda _op: NoCredentialsError(), "credentials", "renew"),
    (lambda op: refused(op, "AccessDeniedException", 403), "denied", "role lacks a permission"),
    (lambda op: refused(op, "ResourceNotFoundException", 404), "missing", "deleted"),
    (lambda op: refused(op, "ValidationException"), "invalid", "refuses the call"),
    (lambda _op: ValueError("a date"), "unreachable", "usable answer"),
]
OPERATIONS = ("ListPolicies", "BatchGetPolicy", "ListPolicyTemplates", "ListIdentitySources")


@pytest.mark.parametrize("operation", OPERATIONS)
@pytest.mark.parametrize(("failure", "kind", "advice"), FAILURES)
def test_a_call_that_keeps_failing_is_told_and_the_last_good_content_stays(avp, operation, failure, kind, advice):
    time = Time()
    store = replica(avp.client, time, slow_interval=1.0)
    before = store.read()
    avp.update(next(iter(avp.store.policies)), "forbid(principal, action, resource);")
    time.pass_by(100)

    def fail(called, _number):
        if called == operation:
            raise failure(operation)

    avp.before = fail
    with pytest.raises(PoliciesUnavailable, match=advice) as caught:
        store.poll()
    assert operation in caught.value.detail
    assert store.trouble == caught.value.detail
    assert store.read() is before
    assert store.age() >= 100
    assert store.calls[operation, kind] >= 1
    assert sum(time.slept) < 120
    avp.before = lambda _operation, _number: None
    assert store.poll()
    assert not store.trouble
    assert store.age() < 100


@pytest.mark.parametrize("name", ["ThrottlingException", "InternalServerException"])
def test_one_call_of_many_that_fails_does_not_cost_the_others(avp, name):
    for _ in range(300):
        avp.static()
    failed: list[int] = []

    def fail(operation, number):
        if operation == "ListPolicies" and number in {3, 4}:
            failed.append(number)
            raise refused(operation, name, 429)

    avp.before = fail
    time = Time()
    store = replica(avp.client, time)
    assert len(store.read().policies) == 301
    assert failed == [3, 4]
    assert avp.calls["ListPolicies"] == 7 + 2
    assert sum(time.slept) > 1


def test_throttling_makes_it_slower_not_faster(avp):
    avp.before = lambda operation, _number: (_ for _ in ()).throw(refused(operation, "ThrottlingException", 429))
    time = Time()
    store = replica(avp.client, time, requests=10.0)
    waits, began = [], time.clock
    for _ in range(12):
        with pytest.raises(PoliciesUnavailable):
            store.poll()
        waits.append(store.next_poll())
        time.pass_by(waits[-1])
    assert waits == sorted(waits)
    assert 45 <= waits[-1] <= 75
    assert sum(avp.calls.values()) / (time.clock - began) < 0.2


def test_what_was_fetched_before_a_failure_is_not_fetched_again(avp):
    for _ in range(500):
        avp.static()
    avp.before = lambda operation, number: (
        (_ for _ in ()).throw(refused(operation, "AccessDeniedException"))
        if operation == "BatchGetPolicy" and number == 4
        else None
    )
    store = replica(avp.client)
    with pytest.raises(PoliciesUnavailable):
        store.read()
    assert store.age() == float("inf")
    avp.before = lambda _operation, _number: None
    assert len(store.read().policies) == 501
    assert avp.calls["BatchGetPolicy"] == 5 + 2


def test_credentials_that_are_refused_are_looked_for_anew(avp):
    def fail(operation, number):
        if operation == "ListPolicies" and number == 1:
            raise refused(operation, "ExpiredTokenException", 403)

    avp.before = fail
    store = replica(avp.client)
    store.read()
    assert avp.clients == 1
    assert not store.poll()
    assert (avp.clients, avp.closed) == (2, 1)
    assert store.calls["ListPolicies", "credentials"] == 1


def test_credentials_that_stay_refused_make_no_storm(avp):
    avp.before = lambda operation, _number: (_ for _ in ()).throw(refused(operation, "ExpiredTokenException", 403))
    store = replica(avp.client)
    for number in range(1, 6):
        with pytest.raises(PoliciesUnavailable):
            store.poll()
        assert sum(avp.calls.values()) == 2 * number
        assert store.next_poll() > 10


def test_a_client_that_cannot_be_made_is_a_problem():
    def factory():
        raise Misconfigured((Problem(message="no region"),))

    store = replica(factory)
    with pytest.raises(Misconfigured, match="no region"):
        store.read()
    assert "no region" in store.trouble


def test_every_kind_of_failure_has_its_advice():
    assert set(_ADVICE) == set(Kind)


def test_a_fault_of_ones_own_is_told_and_waited_after(avp):
    avp.before = lambda _operation, _number: (_ for _ in ()).throw(MemoryError)
    store = replica(avp.client)
    waits = []
    for _ in range(5):
        with pytest.raises(MemoryError):
            store.poll()
        waits.append(store.next_poll())
    assert waits == [1, 2, 4, 8, 15]
    assert "MemoryError" in store.trouble
    avp.before = lambda _operation, _number: None
    assert store.read()


# --- answers that are none


def _spoil(operation: str, spoil: Callable[[Any], Any]) -> Callable[[str, Any], Any]:
    return lambda called, answer: spoil(answer) if called == operation else answer


def _items(member: str, **changes: object) -> Callable[[Any], Any]:
    return lambda answer: {**answer, member: [{**item, **changes} for item in answer[member]]}


GARBAGE = [
    ("ListPolicies", lambda _answer: {}),
    ("ListPolicies", lambda _answer: []),
    ("ListPolicies", lambda _answer: None),
    ("ListPolicies", lambda _answer: {"policies": {}}),
    ("ListPolicies", lambda _answer: {"policies": ["x"]}),
    ("ListPolicies", lambda answer: {**answer, "nextToken": "0"}),
    ("ListPolicies", lambda answer: {**answer, "nextToken": ["0"]}),
    ("BatchGetPolicy", lambda _answer: {"results": [], "errors": [{"code": "POLICY_NOT_FOUND", "policyId": []}]}),
    ("BatchGetPolicy", lambda _answer: {"results": [], "errors": [{"code": "SOMETHING", "policyId": "x"}]}),
    ("ListPolicies", lambda _answer: {"policies": [{}]}),
    ("ListPolicies", _items("policies", policyStoreId="PSother")),
    ("ListPolicies", _items("policies", policyId=7)),
    ("ListPolicies", _items("policies", policyId="\ud800")),
    ("ListPolicies", _items("policies", lastUpdatedDate=None, policyType="STATIC")),
    ("ListPolicies", _items("policies", definition=None, policyType="TEMPLATE_LINKED")),
    ("ListPolicyTemplates", lambda _answer: {}),
    ("ListPolicyTemplates", _items("policyTemplates", policyStoreId="PSother")),
    ("BatchGetPolicy", lambda _answer: {}),
    ("BatchGetPolicy", lambda _answer: {"results": [], "errors": []}),
    ("BatchGetPolicy", lambda answer: {**answer, "results": answer["results"] * 2}),
    ("BatchGetPolicy", _items("results", policyId="SPother")),
    ("BatchGetPolicy", _items("results", definition={})),
    ("BatchGetPolicy", _items("results", definition={"static": {"statement": 5}})),
    ("BatchGetPolicy", _items("results", lastUpdatedDate=None)),
    ("BatchGetPolicy", lambda _answer: {"results": [], "errors": ["x"]}),
    ("BatchGetPolicy", lambda _answer: {"results": [], "errors": [{"code": "POLICY_STORE_NOT_FOUND"}]}),
    ("GetPolicyTemplate", lambda _answer: {}),
    ("GetPolicyTemplate", lambda answer: {**answer, "statement": 7}),
    ("ListIdentitySources", lambda _answer: {}),
    ("GetSchema", lambda _answer: {}),
    ("GetSchema", lambda answer: {**answer, "schema": "\ud800"}),
    ("GetSchema", lambda answer: {**answer, "schema": "x" * 5_000_000}),
]


@pytest.mark.parametrize(("operation", "spoil"), GARBAGE)
def test_an_answer_of_another_form_changes_nothing(avp, operation, spoil):
    avp.store.schema = '{"App": {}}'
    store = replica(avp.client)
    before = store.read()
    avp.update(next(iter(avp.store.policies)), "forbid(principal, action, resource);")
    avp.update_template(next(iter(avp.store.templates)), "forbid(principal == ?principal, action, resource);")
    store._rest.forget()
    avp.answers = _spoil(operation, spoil)
    with pytest.raises(PoliciesUnavailable, match=operation):
        store.poll()
    assert store.read() is before
    avp.answers = lambda _operation, answer: answer
    assert store.poll()


def test_a_link_that_is_filled_with_what_is_no_entity_is_a_problem(avp):
    store = replica(avp.client)
    before = store.read()
    for principal in (
        {"entityType": "no type", "entityId": "a"},
        {"entityType": "A"},
        {"entityType": "A", "entityId": "\udc00"},
    ):
        link = next(one for one in avp.store.policies.values() if one["policyType"] == "TEMPLATE_LINKED")
        link["definition"]["templateLinked"]["principal"] = principal
        with pytest.raises(Misconfigured, match="no entity"):
            store.poll()
    assert store.read() is before


def test_a_policy_of_a_type_that_is_not_known_is_a_problem(avp):
    avp.answers = _spoil("ListPolicies", _items("policies", policyType="DYNAMIC"))
    with pytest.raises(Misconfigured, match="type that is not known"):
        replica(avp.client).read()


@pytest.mark.parametrize("same", [True, False])
def test_pages_without_end_come_to_an_end(avp, same):
    numbers = iter(range(1_000_000))

    def more(_answer):
        return {"policies": [], "nextToken": "same" if same else f"t{next(numbers)}"}

    avp.answers = _spoil("ListPolicies", more)
    avp._paged = lambda *_given: {}
    store = replica(avp.client, requests=1000.0)
    with pytest.raises(PoliciesUnavailable, match="came before" if same else "without end"):
        store.read()
    assert avp.calls["ListPolicies"] < 500


def test_short_and_empty_pages_are_legal(avp):
    for _ in range(20):
        avp.static()
    avp.page = 3
    assert len(replica(avp.client).read().policies) == 21


def test_bounds(avp):
    for _ in range(60):
        avp.static()
    with pytest.raises(PoliciesUnavailable, match=r"holds more than a replica takes.*more than 50 items"):
        replica(avp.client, max_policies=50).read()
    with pytest.raises(Misconfigured, match="more than 100 characters"):
        replica(avp.client, max_characters=100).read()


# --- when it looks next


def test_the_interval_has_jitter():
    numbers = iter([0.0, 0.25, 0.5, 1.0])
    pace = NextLook(15.0, lambda: next(numbers))
    assert [round(pace.seconds(), 2) for _ in range(4)] == [13.5, 14.25, 15.0, 16.5]


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        (Kind.UNREACHABLE, [1, 2, 4, 8, 15, 15]),
        (Kind.FAULT, [1, 2, 4, 8, 15, 15]),
        (Kind.THROTTLED, [15, 30, 60, 60, 60, 60]),
        (Kind.CREDENTIALS, [15] * 6),
        (Kind.MISSING, [15] * 6),
    ],
)
def test_failures_are_followed_by_longer_waits_within_bounds(kind, expected):
    pace = NextLook(15.0, lambda: 0.5)
    waits = []
    for _ in expected:
        pace.failed(kind)
        waits.append(pace.seconds())
    assert waits == expected
    pace.regular()
    assert pace.seconds() == 15


@pytest.mark.parametrize("wrong", [{"requests": 0}, {"interval": 0}, {"slow_interval": -1}])
def test_settings_that_make_no_sense(wrong):
    with pytest.raises(ValueError, match="above zero"):
        ReplicaSettings(policy_store=STORE, **wrong)
