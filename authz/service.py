"""The shell round the core: deadline, timings, the record. The only caller of `Authorizer.check`.

Doors and the library hold a `Service` and nothing behind it.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Callable, Coroutine, Generator
from dataclasses import dataclass, field
from functools import partial
from itertools import count
from types import coroutine
from typing import Any, cast

from authz.core.enforce import Disclosure, Response, respond
from authz.core.errors import AuthzError, NoRoute, Reason
from authz.core.model import Denied, Failed, Headers, Outcome, Record, Request, Stage
from authz.core.pipeline import Authorizer, Trail, ended, failed
from authz.core.ports import RecordSink
from authz.core.request import STRICT, PathRules

ALREADY_FINISHED = 0.0


class _TimedTrail(Trail):
    """A trail that notes when each stage began."""

    __slots__ = ("_clock", "marks")

    def __init__(self, clock: Callable[[], float]) -> None:
        super().__init__()
        self._clock = clock
        self.marks: list[tuple[Stage, float]] = [(Stage.ROUTE, clock())]

    def enter(self, stage: Stage) -> None:
        self.stage = stage
        self.marks.append((stage, self._clock()))

    def timings(self, end: float) -> tuple[tuple[str, float], ...]:
        """(stage, seconds) in order."""
        found: list[tuple[str, float]] = []
        stage, begun = self.marks[0]
        for following, at in self.marks[1:]:
            found.append((stage, at - begun))
            stage, begun = following, at
        found.append((stage, end - begun))
        return tuple(found)


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What bounds a check."""

    deadline: float = 1.0
    """Seconds. Keep it below the proxy's own timeout, so that the client gets a reason."""
    in_flight: int = 1024
    """Checks under way at once; more are failed with `overloaded` at once."""


@dataclass(slots=True, kw_only=True)
class Service:
    """Checks requests, and tells each check once to every sink. `authorizer` is swapped whole on reload."""

    authorizer: Authorizer
    sinks: tuple[RecordSink, ...] = ()
    limits: Limits = field(default_factory=Limits)
    disclosure: Disclosure = field(default_factory=Disclosure)
    path_rules: PathRules = STRICT
    clock: Callable[[], float] = time.perf_counter
    now: Callable[[], float] = time.time
    in_flight: int = 0
    _prefix: str = field(default_factory=lambda: secrets.token_hex(8))
    _numbers: count[int] = field(default_factory=count)

    def new_id(self) -> str:
        """A decision id: 64 random bits for the process, then a number. Unique, and cheap enough for each request."""
        return f"{self._prefix}-{next(self._numbers):x}"

    async def check(self, request: Request, *, door: str, deadline: float | None = None) -> Outcome:
        """The outcome for a request, recorded. Never raises an `Exception`.

        Args:
            request: canonical, from a codec or the library.
            door: which door asks, for the record.
            deadline: seconds the caller will still wait; the smaller of this and the configured one counts.
        """
        trail = _TimedTrail(self.clock)
        begun = self.now()
        if self.in_flight >= self.limits.in_flight:
            outcome: Outcome = failed(trail, Reason.OVERLOADED, detail="too many checks are under way")
            self._record(request, outcome, trail, begun, door)
            return outcome
        self.in_flight += 1
        # INVARIANT: until the authorizer answers, the outcome is a failure; a cancelled check is recorded as one.
        outcome = Failed(stage=Stage.ROUTE, reason=Reason.DEADLINE, detail="the caller went away")
        try:
            outcome = await self._bounded(request, trail, deadline)
        finally:
            self.in_flight -= 1
            self._record(request, outcome, trail, begun, door)
        return outcome

    async def _bounded(self, request: Request, trail: Trail, deadline: float | None) -> Outcome:
        seconds = self.limits.deadline if deadline is None else min(deadline, self.limits.deadline)
        if seconds <= ALREADY_FINISHED:
            return failed(trail, Reason.DEADLINE, detail="no time was left when the request arrived")
        check = self.authorizer.check(request, trail)
        try:
            # Most checks never wait: a known token and a local policy set. Those need no timer, which costs as
            # much as mapping the request; the first step of the others is no longer than theirs.
            waiting_for = check.send(None)
        except StopIteration as end:
            return cast("Outcome", end.value)
        try:
            async with asyncio.timeout(seconds):
                return await _resumed(check, waiting_for)
        except TimeoutError:
            # While the caller is not known yet, what waits is a key that the token names: a forged one can name any.
            known = trail.stage is not Stage.AUTHENTICATE
            return failed(trail, Reason.DEADLINE, detail=f"no decision within {seconds:g} s", outage=known)

    def body_limit(self, request: Request) -> int:
        """Bytes that a door may read of the body before it asks; 0: none, for no mapping would look at it."""
        routes = self.authorizer.routes
        if not routes.reads_bodies or not request.peer.trusted:
            return 0
        try:
            rules = routes.match(request)[0].body
        except NoRoute:
            return 0
        return rules.max_bytes if rules is not None else 0

    def refuse(self, error: AuthzError, *, id: str, door: str) -> Outcome:
        """The outcome where a door could not even build a `Request`; recorded like any other."""
        trail = _TimedTrail(self.clock)
        outcome = ended(trail, error)
        if not isinstance(outcome, Denied | Failed):  # pragma: no cover - `ended` builds no Allowed
            outcome = failed(trail, Reason.INTERNAL, status=500)
        self._write(
            Record(
                request=None,
                outcome=outcome,
                time=self.now(),
                door=door,
                id=id,
                timings=trail.timings(self.clock()),
            )
        )
        return outcome

    def respond(self, outcome: Outcome, id: str, asker: Request | Headers | None = None) -> Response:
        """What a door answers, by this service's settings. See `authz.core.enforce.respond`."""
        return respond(outcome, id, self.disclosure, asker, now=self.now)

    def _record(self, request: Request, outcome: Outcome, trail: _TimedTrail, begun: float, door: str) -> None:
        end = self.clock()
        self._write(
            Record(
                request=request,
                outcome=outcome,
                time=begun,
                door=door,
                route=trail.route.name if trail.route is not None else "",
                authenticator=trail.authenticator,
                identity=trail.identity,
                query=trail.query,
                decision=trail.decision,
                timings=trail.timings(end),
                duration=end - trail.marks[0][1],
                id=request.id,
            )
        )

    def _write(self, record: Record) -> None:
        for sink in self.sinks:
            sink.write(record)


@coroutine
def _resumed(started: Coroutine[Any, Any, Outcome], yielded: Any) -> Generator[Any, Any, Outcome]:
    """Awaits a coroutine that was begun by `send(None)`: hands on what it yields, and what comes back."""
    while True:
        try:
            sent = yield yielded
        except GeneratorExit:
            started.close()
            raise
        except BaseException as error:  # noqa: BLE001 - a cancellation is the coroutine's to take
            step = partial(started.throw, error)
        else:
            step = partial(started.send, sent)
        try:
            yielded = step()
        except StopIteration as end:
            return cast("Outcome", end.value)
