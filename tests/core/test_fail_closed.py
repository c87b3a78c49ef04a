"""DESIGN 6.1: allowed if and only if every stage answered and the verdict was ALLOW.

The core awaits only ports, so a whole check runs without an event loop: `send(None)` until it ends.
"""

from __future__ import annotations

from collections.abc import Coroutine, Sequence
from dataclasses import dataclass
from types import coroutine
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from authz.core.enforce import Disclosure, respond
from authz.core.errors import (
    AttributesUnavailable,
    AuthzError,
    DecisionUnavailable,
    KeysUnavailable,
    NoRoute,
    PoliciesUnavailable,
    Reason,
    RequestRefused,
    Unauthenticated,
)
from authz.core.model import (
    Allowed,
    Decision,
    Denied,
    EntityUid,
    Failed,
    Headers,
    Identity,
    Peer,
    Query,
    Request,
    Verdict,
)
from authz.core.pipeline import Authorizer, Trail
from authz.core.ports import Attributes
from authz.core.request import canonical_request
from authz.core.route_compiler import RouteSpec, compile_routes

ERRORS = [
    RequestRefused(Reason.BAD_PATH),
    NoRoute(),
    Unauthenticated(Reason.TOKEN_EXPIRED),
    KeysUnavailable(),
    PoliciesUnavailable(),
    AttributesUnavailable(),
    DecisionUnavailable(),
    AuthzError(Reason.INTERNAL),
    ValueError("a bug"),
    KeyError("sub"),
    RecursionError(),
    MemoryError(),
    TimeoutError(),
    StopAsyncIteration(),
]


class Cancelled(BaseException):
    """Stands for asyncio.CancelledError, which the core must not know."""


@coroutine
def suspend() -> Any:
    yield


@dataclass
class Fate:
    """What a stage does: `answer`, `nothing` (None), `hang`, `cancel`, or an error to raise."""

    kind: str
    error: Exception | None = None
    verdict: Verdict = Verdict.ALLOW

    async def meet(self) -> None:
        await suspend()
        if self.kind == "hang":
            while True:
                await suspend()
        if self.kind == "cancel":
            raise Cancelled
        if self.error is not None:
            raise self.error


IDENTITY = Identity(scheme="bearer", issuer="i", subject="s", principal=EntityUid("U", "s"))


@dataclass
class FatefulStages:
    authenticate_fate: Fate
    fetch_fate: Fate
    decide_fate: Fate

    async def authenticate(self, request: Request) -> Identity | None:
        await self.authenticate_fate.meet()
        return None if self.authenticate_fate.kind == "nothing" else IDENTITY

    async def fetch(self, keys: object) -> Attributes:
        await self.fetch_fate.meet()
        return Attributes()

    async def decide(self, query: Query) -> Decision:
        await self.decide_fate.meet()
        return Decision(verdict=self.decide_fate.verdict, policies=("p",))

    async def decide_many(self, queries: Sequence[Query]) -> tuple[Decision, ...]:
        return tuple([await self.decide(query) for query in queries])


def routes(*, path: str = "/a/{id}", fail_open: bool = False) -> Any:
    spec = RouteSpec(
        name="r",
        path=path,
        action='Action::"read"',
        resource_type="D",
        resource_id="{path.id}" if "{id}" in path else "x",
        information={"pip": {"key": "{principal.id}"}},
        headers={"x-user": "{principal.id}"},
        fail_open=fail_open,
    )
    table, problems = compile_routes((spec,))
    assert problems == ()
    return table


def request(*, path: str = "/a/1", trusted: bool = True) -> Request:
    return canonical_request(
        id="d",
        method="GET",
        scheme="https",
        host="h",
        target=path,
        headers=Headers(),
        peer=Peer(trusted=trusted),
    )


def drive(check: Coroutine[Any, Any, Any], steps: int = 50) -> Any:
    """Runs without a loop. `hung`: it did not end; then nobody got an answer, and the door's deadline counts."""
    try:
        for _ in range(steps):
            check.send(None)
    except StopIteration as end:
        return end.value
    except Cancelled:
        return "cancelled"
    check.close()
    return "hung"


fates = st.one_of(
    st.just(Fate("answer")),
    st.just(Fate("hang")),
    st.just(Fate("cancel")),
    st.sampled_from(ERRORS).map(lambda error: Fate("raise", error)),
)
authentications = st.one_of(fates, st.just(Fate("nothing")))
decisions = st.one_of(fates, st.just(Fate("answer", verdict=Verdict.DENY)))


@given(
    authenticate=authentications,
    fetch=fates,
    decide=decisions,
    covered=st.booleans(),
    trusted=st.booleans(),
    fail_open=st.booleans(),
)
def test_allowed_if_and_only_if_every_stage_answered_and_the_verdict_was_allow(
    authenticate, fetch, decide, covered, trusted, fail_open
):
    stages = FatefulStages(authenticate, fetch, decide)
    authorizer = Authorizer(
        routes=routes(fail_open=fail_open),
        authenticators={"test": stages},
        decision_point=stages,
        information={"pip": stages},
    )
    outcome = drive(authorizer.check(request(path="/a/1" if covered else "/b", trusted=trusted), Trail()))

    answered = all(fate.kind == "answer" for fate in (authenticate, fetch, decide))
    expected = trusted and covered and answered and decide.verdict is Verdict.ALLOW
    assert isinstance(outcome, Allowed) == expected
    assert isinstance(outcome, Allowed | Denied | Failed) or outcome in {"hung", "cancelled"}
    if isinstance(outcome, Failed) and outcome.let_through:
        assert fail_open
        assert covered
        assert trusted
    if not isinstance(outcome, str):
        passes = expected or (isinstance(outcome, Failed) and outcome.let_through)
        assert respond(outcome, "d", Disclosure()).allows == passes


@pytest.mark.parametrize("verdict", [Verdict.DENY])
def test_an_allowed_cannot_be_built_without_an_allowing_decision(verdict):
    with pytest.raises(ValueError, match="verdict is ALLOW"):
        Allowed(decision=Decision(verdict=verdict))


def test_a_failure_never_looks_like_a_deny():
    stages = FatefulStages(Fate("answer"), Fate("answer"), Fate("raise", DecisionUnavailable()))
    authorizer = Authorizer(
        routes=routes(), authenticators={"test": stages}, decision_point=stages, information={"pip": stages}
    )
    outcome = drive(authorizer.check(request(), Trail()))
    assert isinstance(outcome, Failed)
    assert (outcome.status, outcome.reason, outcome.let_through) == (503, Reason.DECISION_UNAVAILABLE, False)


def test_fail_open_takes_our_identity_headers_from_the_request():
    stages = FatefulStages(Fate("answer"), Fate("answer"), Fate("raise", DecisionUnavailable()))
    authorizer = Authorizer(
        routes=routes(fail_open=True),
        authenticators={"test": stages},
        decision_point=stages,
        information={"pip": stages},
    )
    outcome = drive(authorizer.check(request(), Trail()))
    assert isinstance(outcome, Failed)
    assert outcome.let_through
    assert outcome.edits.remove == ("x-user",)
    assert outcome.edits.set == ()


def test_fail_open_does_not_open_for_bad_credentials_or_denials():
    for fate in (Fate("raise", Unauthenticated(Reason.TOKEN_EXPIRED)), Fate("nothing")):
        stages = FatefulStages(fate, Fate("answer"), Fate("answer"))
        authorizer = Authorizer(routes=routes(fail_open=True), authenticators={"test": stages}, decision_point=stages)
        outcome = drive(authorizer.check(request(), Trail()))
        assert isinstance(outcome, Denied)
        assert outcome.status == 401


@pytest.mark.parametrize(
    ("reason", "opens"),
    [
        (Reason.DECISION_UNAVAILABLE, True),
        (Reason.DECISION_MISCONFIGURED, True),
        (Reason.DECISION_THROTTLED, False),  # who calls often enough would let themselves in
        (Reason.QUERY_REFUSED, False),
    ],
)
def test_fail_open_opens_for_no_failure_that_a_client_can_bring_about(reason, opens):
    stages = FatefulStages(Fate("answer"), Fate("answer"), Fate("raise", DecisionUnavailable(reason)))
    authorizer = Authorizer(
        routes=routes(fail_open=True),
        authenticators={"test": stages},
        decision_point=stages,
        information={"pip": stages},
    )
    outcome = drive(authorizer.check(request(), Trail()))
    assert isinstance(outcome, Failed)
    assert (outcome.reason, outcome.let_through) == (reason, opens)


@pytest.mark.parametrize("kind", [Denied, Failed])
@pytest.mark.parametrize("status", [0, 100, 200, 204, 299, 302, 399, 600, 999])
def test_what_stops_a_request_cannot_have_a_status_that_passes_it(kind, status):
    with pytest.raises(ValueError, match="400 to 599"):
        kind(stage=Trail().stage, reason=Reason.INTERNAL, status=status)
