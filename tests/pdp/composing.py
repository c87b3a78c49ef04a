"""Decision points and clocks that a test moves by hand."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import replace

from authz.core.model import Caching, Decision, EntityUid, Query, Verdict

ANN, BOB = EntityUid("User", "ann"), EntityUid("User", "bob")
READ, DOC = EntityUid("Action", "read"), EntityUid("Doc", "1")
ALLOW = Decision(verdict=Verdict.ALLOW, policies=("p",), decision_point="inner", version="v1")
DENY = Decision(verdict=Verdict.DENY, decision_point="inner", version="v1")


def ask(principal: EntityUid = ANN, *, caching: Caching | None = None, **changes: object) -> Query:
    """A query; made of new objects each time."""
    query = Query(principal=EntityUid(*principal), action=READ, resource=DOC, context={"a": 1}, caching=caching)
    return replace(query, **changes)  # type: ignore[arg-type]


class Clock:
    """Both clocks of a machine: monotonic, and the wall's, which somebody may set."""

    def __init__(self) -> None:
        self.seconds = 1_000.0
        self.wall = 1_700_000_000.0

    def monotonic(self) -> float:
        return self.seconds

    def now(self) -> float:
        return self.wall

    def pass_(self, seconds: float) -> None:
        """Time passes, for both."""
        self.seconds += seconds
        self.wall += seconds


class Scripted:
    """A decision point that answers what it is told to: a decision, or an exception to raise."""

    def __init__(self, answer: Decision | BaseException | Callable[[Query], Decision] = ALLOW) -> None:
        self.answer = answer
        self.queries: list[Query] = []
        self.lists: list[int] = []
        """Lengths of the lists that were asked."""

    async def decide(self, query: Query) -> Decision:
        self.queries.append(query)
        return self._answered(query)

    async def decide_many(self, queries: Sequence[Query]) -> tuple[Decision, ...]:
        self.lists.append(len(queries))
        self.queries.extend(queries)
        return tuple([self._answered(query) for query in queries])

    def _answered(self, query: Query) -> Decision:
        answer = self.answer
        if isinstance(answer, BaseException):
            raise answer
        return answer if isinstance(answer, Decision) else answer(query)


class Held(Scripted):
    """One that answers when it is let to."""

    def __init__(self, answer: Decision | BaseException = ALLOW) -> None:
        super().__init__(answer)
        self.held: list[asyncio.Future[None]] = []
        """Questions under way, in order."""

    async def decide(self, query: Query) -> Decision:
        self.queries.append(query)
        future = asyncio.get_running_loop().create_future()
        self.held.append(future)
        await future
        return self._answered(query)

    def release(self, place: int = 0) -> None:
        """Lets one question be answered."""
        self.held.pop(place).set_result(None)


async def until(condition: Callable[[], object], turns: int = 1000) -> None:
    """Gives the event loop its turn until the condition holds. No time need pass for it."""
    for _ in range(turns):
        if condition():
            return
        await asyncio.sleep(0)
    raise AssertionError("it did not come to be")


async def idle(turns: int = 20) -> None:
    """Lets everything that is ready run."""
    for _ in range(turns):
        await asyncio.sleep(0)
