"""Two decision points: the second is asked where the first could not decide. Never on a deny, which is a decision."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, TypeVar

from authz.core.errors import DecisionUnavailable, Reason, Unavailable
from authz.core.model import Decision, Query
from authz.core.ports import DecisionPoint

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class FallbackSettings:
    """When the second is asked."""

    seconds: float | None = None
    """What the first may take: a share of the request's deadline, so that time is left for the second. None: all."""
    failures: int = 5
    """So many slow failures without an answer between them, and the first is left alone for a while: else each request
    would wait for a point that is dead. 0: never."""
    slow: float = 0.05
    """Seconds from which on a failure is a slow one. To ask a point that fails at once costs nothing."""
    cool_down: float = 5.0
    """Seconds for which it is left alone. Then one request tries it; the others wait for what becomes of that."""


DEFAULTS = FallbackSettings()


@dataclass(slots=True, kw_only=True)
class FallbackCounters:
    """Who answered, in calls: a list of queries is one."""

    primary: int = 0
    """The first decided."""
    secondary: Counter[Reason] = field(default_factory=Counter)
    """The second decided, by why the first did not."""
    failed: Counter[Reason] = field(default_factory=Counter)
    """Neither did, by why the first did not."""
    left_alone: int = 0
    """Calls for which the first was not asked, for it had failed before."""
    openings: int = 0
    """How often that began."""


class Why(NamedTuple):
    """Why the first did not decide."""

    reason: Reason
    detail: str


class Turn(NamedTuple):
    """One call of the first."""

    begun: float
    probe: bool
    """Is it the one that tries whether it is back?"""


class Circuit:
    """Whether the first is asked at all; handed on from one policy set's decision point to the next."""

    def __init__(self, settings: FallbackSettings = DEFAULTS, *, clock: Callable[[], float] = time.monotonic) -> None:
        self.settings = settings
        self.counters = FallbackCounters()
        self._clock = clock
        self._failures = 0
        self._until: float | None = None
        """Until when the first is left alone; None: it is asked."""
        self._probing = False
        self._last = Why(Reason.DECISION_UNAVAILABLE, "")

    @property
    def open(self) -> bool:
        """Is the first left alone?"""
        return self._until is not None

    @property
    def last(self) -> Why:
        """Why the first did not decide, the last time."""
        return self._last

    def enter(self) -> Turn | None:
        """A turn to ask the first, to be given back by `leave`; None: it is left alone."""
        now = self._clock()
        if self._until is None:
            return Turn(now, probe=False)
        if self._probing or now < self._until:
            return None
        self._probing = True
        return Turn(now, probe=True)

    def leave(self, turn: Turn, why: Why | None, *, answered: bool) -> None:
        """What became of it: an answer, a failure, or neither, where the caller went away."""
        now = self._clock()
        if turn.probe:
            self._probing = False
        if answered:
            self._failures, self._until = 0, None
        elif why is not None:
            self._last = why
            self._failures += turn.probe or now - turn.begun >= self.settings.slow
            if self.settings.failures and self._failures >= self.settings.failures:
                self.counters.openings += self._until is None
                self._until = now + self.settings.cool_down


class FallbackDecisionPoint:
    """Asks `primary`, and `secondary` where that failed. `Decision.decision_point` says who decided.

    What cannot be decided because of the query itself is asked of nobody else: who sends a request must not choose
    who decides it.

    Args:
        primary: asked first.
        secondary: asked where `primary` raises `Unavailable`, or takes too long.
        circuit: of the point before this one, if there was one.
    """

    def __init__(self, primary: DecisionPoint, secondary: DecisionPoint, *, circuit: Circuit | None = None) -> None:
        self._primary = primary
        self._secondary = secondary
        self._circuit = circuit if circuit is not None else Circuit()
        self._seconds = self._circuit.settings.seconds

    @property
    def circuit(self) -> Circuit:
        """Its state, and the counters."""
        return self._circuit

    async def decide(self, query: Query) -> Decision:
        """The decision of whoever can. Raises as the port says: the first's reason, and what both said."""
        return await self._answer(lambda point: point.decide(query))

    async def decide_many(self, queries: Sequence[Query]) -> tuple[Decision, ...]:
        """All decisions, in order, by whoever can decide all. Raises as `decide` does."""
        return await self._answer(lambda point: point.decide_many(queries))

    async def _answer(self, ask: Callable[[DecisionPoint], Awaitable[T]]) -> T:
        circuit = self._circuit
        turn = circuit.enter()
        if turn is not None:
            answer = await self._first(ask, turn)
            if not isinstance(answer, Why):
                circuit.counters.primary += 1
                return answer
            why = answer
        else:
            circuit.counters.left_alone += 1
            why = Why(circuit.last.reason, f"not asked now, for: {circuit.last.detail}")
        try:
            found = await ask(self._secondary)
        except Unavailable as error:
            circuit.counters.failed[why.reason] += 1
            text = f"{why.detail}; then the other decision point: {_told(error)}"
            # A query that the second cannot decide must not get past a route that fails open for the first's outage.
            raise DecisionUnavailable(why.reason, text, by_query=error.by_query) from None
        circuit.counters.secondary[why.reason] += 1
        return found

    async def _first(self, ask: Callable[[DecisionPoint], Awaitable[T]], turn: Turn) -> T | Why:
        """The answer, or why there is none. Raises what is by the query, and what is no failure of the point's."""
        why, answered = None, False
        try:
            answer = await self._timed(ask)
            answered = True
            return answer
        except Unavailable as error:
            if error.by_query:
                answered = True  # the point is well
                raise
            why = Why(error.reason, _told(error))
            return why
        finally:
            self._circuit.leave(turn, why, answered=answered)

    async def _timed(self, ask: Callable[[DecisionPoint], Awaitable[T]]) -> T:
        if self._seconds is None:
            return await ask(self._primary)
        try:
            async with asyncio.timeout(self._seconds) as scope:
                return await ask(self._primary)
        except TimeoutError:
            if not scope.expired():
                raise
            raise DecisionUnavailable(Reason.DEADLINE, f"no decision within {self._seconds:g} s") from None


def _told(error: Unavailable) -> str:
    return error.detail or error.reason.value
