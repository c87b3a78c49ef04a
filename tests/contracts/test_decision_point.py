"""What every `DecisionPoint` does, the fake included."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import pytest

from authz.core.errors import DecisionUnavailable, PoliciesUnavailable, Reason, Unavailable
from authz.core.model import (
    Caching,
    Credential,
    Decision,
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
from authz.pdp.avp import AvpDecisionPoint, AvpDecisionSettings
from authz.pdp.avp_calls import AvpCalls
from authz.pdp.cached import CachedDecisionPoint
from authz.pdp.cedar import CedarDecisionPoint, CedarSettings
from authz.pdp.compiled import compile_snapshot
from authz.pdp.fallback import FallbackDecisionPoint
from authz.pdp.parity import ParityCheck
from authz.pdp.parity_values import ParitySettings
from authz.testing import FakeDecisionPoint
from tests.emulator.running import emulator_thread

ANN, BOB = EntityUid("User", "ann"), EntityUid("User", "bob")
READ, DOC = EntityUid("Action", "read"), EntityUid("Doc", "1")


@dataclass(frozen=True, kw_only=True)
class Case:
    """A point that lets ann read and nobody else do anything, and one that cannot decide."""

    point: DecisionPoint
    broken: DecisionPoint


TEXT = 'permit(principal == User::"ann", action == Action::"read", resource);'


def cedar() -> Case:
    policy = Policy(id="ann-reads", text=TEXT, effect=Effect.PERMIT)
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


class Keeping:
    """A cache of decisions in front of a point; it says of each query that its answer may be kept."""

    def __init__(self, inner: DecisionPoint) -> None:
        self._point = CachedDecisionPoint(inner, version="v7")

    async def decide(self, query: Query) -> Decision:
        return await self._point.decide(replace(query, caching=Caching(allow=60, deny=60)))

    async def decide_many(self, queries: Sequence[Query]) -> tuple[Decision, ...]:
        return await self._point.decide_many([replace(one, caching=Caching(allow=60, deny=60)) for one in queries])


def cached() -> Case:
    case = cedar()
    return Case(point=Keeping(case.point), broken=Keeping(case.broken))


def fallback() -> Case:
    """The first never decides, so all that is told is what comes of asking the second."""
    case = cedar()
    return Case(
        point=FallbackDecisionPoint(fake().broken, case.point),
        broken=FallbackDecisionPoint(case.broken, fake().broken),
    )


def checked() -> Case:
    case, other = cedar(), ParityCheck(fake().broken, ParitySettings(share=1.0))
    return Case(point=other.beside(case.point), broken=other.beside(case.broken))


def bare(decision: Decision) -> Decision:
    """Without what says how it was come by."""
    return replace(decision, cached=False, age=0.0)


@pytest.fixture(scope="module")
def remote() -> Iterator[Callable[[int], Case]]:
    """Verified Permissions, as the emulator plays it."""
    with emulator_thread() as emulator:
        store = emulator.store(policies=[TEXT])
        client, opened = emulator.client(), list[AvpCalls]()

        def point(policy_store: str, batch_from: int) -> AvpDecisionPoint:
            settings = AvpDecisionSettings(policy_store=policy_store, batch_from=batch_from, timeout=10, rate=1000)
            opened.append(AvpCalls(lambda: client, settings))
            return AvpDecisionPoint(opened[-1], version=lambda: "v7")

        yield lambda batch_from: Case(point=point(store, batch_from), broken=point("PSnone", batch_from))
        for calls in opened:
            calls.close()


@pytest.fixture(
    params=[cedar, fake, 30, 2, cached, fallback, checked],
    ids=["cedar", "fake", "avp", "avp in batches", "cached", "fallback", "checked"],
)
def case(request: pytest.FixtureRequest) -> Case:
    if isinstance(request.param, int):
        made: Case = request.getfixturevalue("remote")(request.param)
        return made
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
    assert bare(await case.point.decide(ask())) == bare(await case.point.decide(ask()))


async def test_the_credential_does_not_count(case):
    with_one = ask(credential=Credential(kind="access", secret="canary"))
    assert bare(await case.point.decide(with_one)) == bare(await case.point.decide(ask()))
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
    assert [bare(one) for one in together] == [bare(await case.point.decide(query)) for query in queries]


async def test_one_that_cannot_be_decided_fails_them_all(case):
    with pytest.raises(Unavailable):
        await case.broken.decide_many([ask(), ask(BOB)])


async def test_an_unknown_principal_action_or_resource_is_denied(case):
    for strange in (EntityUid("Nobody", "x"), EntityUid("User", 'a"b\n\u202e')):
        assert (await case.point.decide(ask(strange))).verdict is Verdict.DENY
    assert (await case.point.decide(ask(action=EntityUid("Action", "write")))).verdict is Verdict.DENY


async def test_an_empty_id_is_denied_or_refused(case):
    # To Cedar it is an id like any other; Verified Permissions cannot be asked about it.
    try:
        assert (await case.point.decide(ask(EntityUid("User", "")))).verdict is Verdict.DENY
    except DecisionUnavailable as error:
        assert (error.reason, error.by_query) == (Reason.QUERY_REFUSED, True)
