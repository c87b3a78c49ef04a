"""What every `DecisionPoint` does, the fake included."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import pytest

from authz.core.errors import DecisionUnavailable, PoliciesUnavailable, Unavailable
from authz.core.model import (
    Credential,
    Effect,
    Entity,
    EntitySlice,
    EntityUid,
    Policy,
    PolicySnapshot,
    Query,
    Verdict,
)
from authz.core.ports import DecisionPoint
from authz.pdp.cedar import CedarDecisionPoint, CedarSettings
from authz.pdp.compiled import compile_snapshot
from authz.testing import FakeDecisionPoint

ANN, BOB = EntityUid("User", "ann"), EntityUid("User", "bob")
READ, DOC = EntityUid("Action", "read"), EntityUid("Doc", "1")


@dataclass(frozen=True, kw_only=True)
class Case:
    """A point that lets ann read and nobody else do anything, and one that cannot decide."""

    point: DecisionPoint
    broken: DecisionPoint


def cedar() -> Case:
    text = 'permit(principal == User::"ann", action == Action::"read", resource);'
    policy = Policy(id="ann-reads", text=text, effect=Effect.PERMIT)
    compiled = compile_snapshot(PolicySnapshot(version="v7", policies=(policy,)))
    return Case(
        point=CedarDecisionPoint(compiled),
        broken=CedarDecisionPoint(compiled, CedarSettings(max_age=1.0), age=lambda: 2.0),
    )


def fake() -> Case:
    return Case(
        point=FakeDecisionPoint({(ANN, READ, DOC)}, version="v7"),
        broken=FakeDecisionPoint(failure=DecisionUnavailable()),
    )


@pytest.fixture(params=[cedar, fake], ids=lambda make: make.__name__)
def case(request: pytest.FixtureRequest) -> Case:
    make: Callable[[], Case] = request.param
    return make()


def ask(principal: EntityUid = ANN, **changes: object) -> Query:
    return Query(**{"principal": principal, "action": READ, "resource": DOC, **changes})  # type: ignore[arg-type]


async def test_it_allows_with_its_evidence(case):
    decision = await case.point.decide(ask())
    assert decision.verdict is Verdict.ALLOW
    assert decision.policies
    assert list(decision.policies) == sorted(decision.policies)


async def test_a_deny_is_a_decision_not_an_error(case):
    decision = await case.point.decide(ask(BOB))
    assert (decision.verdict, decision.policies, decision.errors) == (Verdict.DENY, (), ())


async def test_every_decision_says_who_made_it_and_by_which_policies(case):
    decision = await case.point.decide(ask())
    assert decision.decision_point
    assert decision.version == "v7"
    assert decision.age >= 0


async def test_equal_questions_have_equal_answers(case):
    assert await case.point.decide(ask()) == await case.point.decide(ask())


async def test_the_credential_does_not_count(case):
    with_one = ask(credential=Credential(kind="access", secret="canary"))
    assert await case.point.decide(with_one) == await case.point.decide(ask())
    assert "canary" not in repr(with_one)


async def test_no_decision_is_an_error_never_a_verdict(case):
    with pytest.raises(Unavailable) as caught:
        await case.broken.decide(ask())
    assert isinstance(caught.value, DecisionUnavailable | PoliciesUnavailable)


async def test_many_are_answered_in_order(case):
    decisions = await case.point.decide_many([ask(), ask(BOB), ask()])
    assert [decision.verdict for decision in decisions] == [Verdict.ALLOW, Verdict.DENY, Verdict.ALLOW]
    assert await case.point.decide_many([]) == ()


async def test_many_are_decided_as_each_is_alone(case):
    other, write = EntityUid("Doc", "2"), EntityUid("Action", "write")
    described = EntitySlice(entities=(Entity(uid=DOC, attributes={"rank": 1}),))
    queries = [
        ask(),
        ask(BOB),
        ask(resource=other),
        ask(action=write),
        ask(entities=(described,)),
        ask(context={"rank": 1}),
        ask(context={"rank": True}),
        ask(BOB, action=write, resource=other),
        ask(),
    ]
    together = await case.point.decide_many(queries)
    assert list(together) == [await case.point.decide(query) for query in queries]


async def test_one_that_cannot_be_decided_fails_them_all(case):
    with pytest.raises(Unavailable):
        await case.broken.decide_many([ask(), ask(BOB)])


async def test_an_unknown_principal_action_or_resource_is_denied(case):
    for strange in (EntityUid("Nobody", "x"), EntityUid("User", ""), EntityUid("User", 'a"b\n\u202e')):
        assert (await case.point.decide(ask(strange))).verdict is Verdict.DENY
    assert (await case.point.decide(ask(action=EntityUid("Action", "write")))).verdict is Verdict.DENY
