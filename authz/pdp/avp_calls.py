"""Calls to Verified Permissions: threads, permits, a second attempt where it helps, and what a failure means.

The SDK is synchronous, so each call has a thread of a pool of its own. A thread cannot be interrupted: what was sent
for a request that is gone ends with the client's read timeout, and what was not sent yet is dropped.

aiobotocore needs no threads, and was measured (a server that does nothing, two cores): one call after the other takes
0.60 ms instead of 0.74, with 32 at once 0.53 ms of CPU instead of 1.0. It is not used: it holds botocore to a range
behind the release that this room needs, and below one store's quota the difference is a sixteenth of a core.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from threading import Lock
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from authz.aws.budget import Budget
from authz.aws.errors import AvpError, Kind, classified
from authz.core.errors import DecisionUnavailable, Reason
from authz.pdp.avp_settings import AvpDecisionSettings
from authz.pdp.avp_trouble import Trouble

if TYPE_CHECKING:
    from types_boto3_verifiedpermissions import VerifiedPermissionsClient

Operation: TypeAlias = Literal[
    "IsAuthorized", "IsAuthorizedWithToken", "BatchIsAuthorized", "BatchIsAuthorizedWithToken"
]
ANSWERED = "answered"
ATTEMPTS = 2
PAUSE = 0.05
"""Seconds, at most, before a second attempt at a service that erred; a random share of it is waited."""

_METHODS: Mapping[Operation, str] = {
    "IsAuthorized": "is_authorized",
    "IsAuthorizedWithToken": "is_authorized_with_token",
    "BatchIsAuthorized": "batch_is_authorized",
    "BatchIsAuthorizedWithToken": "batch_is_authorized_with_token",
}
_UNSENT = frozenset({"EndpointConnectionError", "ConnectTimeoutError", "ProxyConnectionError", "ConnectionClosedError"})
"""SDK errors of a call that nobody worked on: no connection, or a kept one that was closed meanwhile. After a read
timeout the time is gone, and an answer that cannot be read would come again."""
_ADVICE: Mapping[Kind, tuple[Reason, str]] = {
    Kind.CREDENTIALS: (
        Reason.DECISION_MISCONFIGURED,
        "mend the credentials, or the clock (docs/verified-permissions.md)",
    ),
    Kind.SETTINGS: (Reason.DECISION_MISCONFIGURED, "see `policies.verified_permissions`"),
    Kind.DENIED: (
        Reason.DECISION_MISCONFIGURED,
        "allow the role this operation on the policy store (docs/verified-permissions.md)",
    ),
    Kind.MISSING: (
        Reason.DECISION_MISCONFIGURED,
        "no such policy store or alias is in this account and region; see `policies.verified_permissions.policy_store`",
    ),
    Kind.INVALID: (Reason.QUERY_REFUSED, "Verified Permissions refuses the question, or the token handed on with it"),
    Kind.THROTTLED: (Reason.DECISION_THROTTLED, "ask less often, keep decisions, or have the store's quota raised"),
}
_WRONG = frozenset({Kind.CREDENTIALS, Kind.SETTINGS, Kind.DENIED, Kind.MISSING})
"""Nothing but somebody's hand will help, so a little rest costs nothing."""
_ALL = "*"


class AvpCalls:
    """One client and its calls. Lives as long as the client, over all decision points that ask through it.

    Args:
        connect: makes a client of boto3, as `avp_client` does; called in a thread, again where it raised. The client
            makes one attempt per call (`AvpSettings.attempts`): a second one takes a permit here first.
        settings: what calls may take.
        clock: seconds, never going back.
        jitter: a random number from 0 to 1.
    """

    def __init__(
        self,
        connect: Callable[[], VerifiedPermissionsClient],
        settings: AvpDecisionSettings,
        *,
        clock: Callable[[], float] = time.monotonic,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self.settings = settings
        self.calls: Counter[tuple[str, str]] = Counter()
        """Ended calls, each attempt by itself: (operation, `answered` or the kind of its error) → how many."""
        self.in_flight = 0
        """Calls that have a thread, also those that nobody waits for any more."""
        self.timeouts = 0
        """Decisions for which the time was over."""
        self.cooled = 0
        """Decisions that were refused at once, because a call just before found the credentials or the like wrong."""
        self.singles = Budget(settings.rate, clock=clock)
        self.batches = Budget(settings.batch_rate, clock=clock)
        self._connect = connect
        self._connecting = Lock()
        self._client: VerifiedPermissionsClient | None = None
        self._threads = ThreadPoolExecutor(settings.concurrency, thread_name_prefix="avp")
        self._clock = clock
        self._jitter = jitter
        self._trouble = Trouble(clock)
        self._lock = Lock()
        self._closed = False
        self._cold: dict[str, tuple[float, Reason, str]] = {}
        """Operation, or all of them → until when it rests, and why."""

    @property
    def throttled(self) -> int:
        """Calls that the service refused as too many, and decisions for which there was no permit in time."""
        answered = sum(count for (_, result), count in self.calls.copy().items() if result == Kind.THROTTLED)
        return answered + self.singles.refused + self.batches.refused

    async def call(self, operation: Operation, arguments: Mapping[str, Any]) -> Mapping[str, Any]:
        """The service's answer, as the SDK read it.

        Raises:
            DecisionUnavailable: there is none, and its reason says what to do about it.
        """
        try:
            answer = await self._bounded(operation, arguments)
        except DecisionUnavailable as error:
            self._trouble.failed(error)
            raise
        self._trouble.answered()
        return answer

    async def _bounded(self, operation: Operation, arguments: Mapping[str, Any]) -> Mapping[str, Any]:
        seconds = self.settings.timeout
        try:
            async with asyncio.timeout(seconds):
                return await self._tried(operation, arguments, self._clock() + seconds)
        except TimeoutError:
            self.timeouts += 1
            text = f"{operation}: no answer within {seconds:g} s; see `policies.verified_permissions.remote.timeout`"
            raise DecisionUnavailable(detail=text) from None

    async def connect(self) -> None:
        """Makes the client now; otherwise the first call does, which takes longer for it.

        Raises:
            DecisionUnavailable: `decision_misconfigured`, where there can be none, or no credentials for it.
        """
        try:
            await asyncio.get_running_loop().run_in_executor(self._threads, self._first)
        except AvpError as error:
            raise _failure(error) from None

    def close(self) -> None:
        """Takes no more calls, and lets go of the client's connections. Calls that were taken end by themselves."""
        self._closed = True
        self._threads.shutdown(wait=False)
        with self._lock:
            self._let_go()

    async def _tried(self, operation: Operation, arguments: Mapping[str, Any], deadline: float) -> Mapping[str, Any]:
        budget = self.batches if operation.startswith("Batch") else self.singles
        for attempt in range(1, ATTEMPTS + 1):
            begun = self._clock()
            self._refuse_while_cold(operation, begun)
            if not await budget.taken(deadline - begun):
                text = f"{operation}: {budget.rate:g} calls a second go out; see `policies.verified_permissions`"
                raise DecisionUnavailable(Reason.DECISION_THROTTLED, text)
            sent = self._clock()
            try:
                return await self._sent(operation, arguments)
            except AvpError as error:
                self._learn(error, budget)
                now = self._clock()
                # What took so long the first time has to fit in once more.
                if attempt == ATTEMPTS or not _helps(error) or deadline - now <= now - sent:
                    raise _failure(error) from None
                if error.kind is Kind.FAULT:
                    await asyncio.sleep(PAUSE * self._jitter())
        raise AssertionError("the last attempt returns or raises")  # pragma: no cover

    async def _sent(self, operation: Operation, arguments: Mapping[str, Any]) -> Mapping[str, Any]:
        try:
            waited = asyncio.get_running_loop().run_in_executor(self._threads, self._work, operation, arguments)
        except RuntimeError:  # closed
            raise DecisionUnavailable(detail="the remote decision point is closed") from None
        return await waited

    def _work(self, operation: Operation, arguments: Mapping[str, Any]) -> Mapping[str, Any]:
        """In a thread of the pool."""
        with self._lock:
            self.in_flight += 1
        result = "raised"
        try:
            client = self._client or self._connected()
            answer: Mapping[str, Any] = getattr(client, _METHODS[operation])(**arguments)
            result = ANSWERED
            return answer
        except Exception as error:  # noqa: BLE001 - what no call can raise, `classified` raises again
            found = classified(error, operation)
            result = found.kind.value
            # Not `from error`: the SDK's own has the answer's text, which may repeat what was asked.
            raise found from None
        finally:
            with self._lock:
                self.in_flight -= 1
                self.calls[operation, result] += 1
                self._let_go()

    def _let_go(self) -> None:
        if self._closed and not self.in_flight and self._client is not None:
            self._client.close()

    def _first(self) -> None:
        try:
            self._connected()
        except Exception as error:  # noqa: BLE001 - as in `_work`
            raise classified(error, "client") from None

    def _connected(self) -> VerifiedPermissionsClient:
        with self._connecting:  # making one takes a quarter of a second, and is not for threads
            if self._client is None:
                self._client = self._connect()
            return self._client

    def _learn(self, error: AvpError, budget: Budget) -> None:
        if error.kind is Kind.THROTTLED:
            budget.throttled()
        elif error.kind in _WRONG:
            whom = _ALL if error.kind in (Kind.CREDENTIALS, Kind.SETTINGS) else error.operation
            failure = _failure(error)  # not the error: its traceback holds what was asked
            self._cold[whom] = self._clock() + self.settings.cool_down, failure.reason, failure.detail

    def _refuse_while_cold(self, operation: str, now: float) -> None:
        for whom in (_ALL, operation) if self._cold else ():
            found = self._cold.get(whom)
            if found is None:
                continue
            until, reason, detail = found
            if now < until:
                self.cooled += 1
                raise DecisionUnavailable(reason, detail)
            del self._cold[whom]


def _helps(error: AvpError) -> bool:
    """Can a second attempt help?"""
    return error.kind in (Kind.THROTTLED, Kind.FAULT) or (error.kind is Kind.UNREACHABLE and error.code in _UNSENT)


def _failure(error: AvpError) -> DecisionUnavailable:
    kind = error.kind
    paths = sorted({path for path, _ in error.details})
    # The whole path: below `context` are names of a caller's choosing.
    if kind is Kind.INVALID and "policyStoreId" in (path.strip("/") for path in paths):
        kind = Kind.MISSING
    reason, advice = _ADVICE.get(kind, (Reason.DECISION_UNAVAILABLE, ""))
    text = f"{error}: {advice}" if advice else str(error)
    if paths and kind is Kind.INVALID:
        text += f" ({', '.join(paths)[:200]})"  # where; what the service says of it may repeat values
    return DecisionUnavailable(reason, text)
