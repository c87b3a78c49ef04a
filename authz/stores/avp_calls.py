"""Calls to Verified Permissions' management operations: within a budget, counted, and asked again where that helps.

A listing may take two hundred calls. One of them that fails must not cost all the others, and one that is throttled
must not be followed by more: so a call waits and is made again, a few times. What fails at once, before anything was
got, is told at once: the caller has a last good state and a later look.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeAlias

from authz.aws.budget import Budget
from authz.aws.errors import AvpError, Kind, classified
from authz.stores.avp_content import encodable

OK = "ok"
"""Of a call: it was answered."""
PAGE = 50
"""Items of one page; the most that the service gives (API reference, `maxResults`)."""
MAX_EMPTY_PAGES = 100
"""In a row. A short page is legal, also an empty one; an endless row of them is a fault."""

_METHODS = {
    "BatchGetPolicy": "batch_get_policy",
    "GetPolicyStoreAlias": "get_policy_store_alias",
    "GetPolicyTemplate": "get_policy_template",
    "GetSchema": "get_schema",
    "ListIdentitySources": "list_identity_sources",
    "ListPolicies": "list_policies",
    "ListPolicyTemplates": "list_policy_templates",
}
_FIRST_TRIES = {Kind.THROTTLED: 3}
_TRIES = {Kind.THROTTLED: 6, Kind.UNREACHABLE: 3, Kind.FAULT: 3}
_WAIT = {Kind.THROTTLED: 1.0, Kind.UNREACHABLE: 0.5, Kind.FAULT: 0.5}
"""Seconds before the second try, about; doubled with each further one."""
_NO_WAIT_LIMIT = float("inf")

ClientFactory: TypeAlias = Callable[[], Any]
"""Makes a boto3 client of Verified Permissions. Any: no type of it exists without boto3's stubs."""
Item: TypeAlias = Mapping[str, Any]


class Stopped(Exception):
    """The store was closed while it was being read."""


class Calls:
    """Makes calls, one at a time. Not thread-safe.

    Args:
        factory: makes the client; called again after the credentials were refused, for a client keeps what it found.
        budget: of calls.
        sleep: waits so many seconds.
        random: from 0 to 1.
        stopped: whether to give up.
    """

    def __init__(
        self,
        factory: ClientFactory,
        budget: Budget,
        *,
        sleep: Callable[[float], object],
        random: Callable[[], float],
        stopped: Callable[[], bool],
    ) -> None:
        self._factory = factory
        self._budget = budget
        self._sleep = sleep
        self._random = random
        self._stopped = stopped
        self._client: Any = None
        self._answered = False
        self._renewed = False
        self.counts: dict[tuple[str, str], int] = {}
        """Calls by operation and result: `ok`, or the kind of failure."""

    def begin(self) -> None:
        """To be told when a new look begins."""
        self._answered = self._renewed = False

    def __call__(self, operation: str, member: str, kind: type[object], **parameters: object) -> Item:
        """One call's answer, in which `member` is of the type `kind`.

        Raises:
            AvpError: it failed, for the last time.
            Stopped: meanwhile the store was closed.
            Misconfigured: no client can be made.
        """
        tries = 0
        while True:
            tries += 1
            self._wait(self._budget.reserve(_NO_WAIT_LIMIT) or 0.0)
            try:
                answer = self._once(operation, parameters)
                if not isinstance(answer, Mapping) or not isinstance(answer.get(member), kind):
                    raise unreadable(operation, f"no `{member}`")
            except AvpError as error:
                self._count(operation, error.kind.value)
                self._before_another(error, tries)
            else:
                self._count(operation, OK)
                self._answered = True
                return answer

    def pages(self, operation: str, member: str, limit: int, **parameters: object) -> Iterator[Item]:
        """The items of all pages.

        Args:
            operation: one that lists.
            member: of its answer, with the items.
            limit: items, at most.
            parameters: of each call.

        Raises:
            AvpError: any page failed, or the pages have no end: what was given before counts for nothing.
            Stopped, Misconfigured: as a call.
        """
        seen: set[object] = set()
        following: dict[str, object] = {}
        count = empty = 0
        while True:
            answer = self(operation, member, list, maxResults=PAGE, **parameters, **following)
            items = answer[member]
            count += len(items)
            empty = 0 if items else empty + 1
            if count > limit:
                raise AvpError(Kind.QUOTA, operation, f"more than {limit} items", code="TooMany")
            if empty > MAX_EMPTY_PAGES:
                raise unreadable(operation, "empty pages without end")
            for item in items:
                if not isinstance(item, Mapping):
                    raise unreadable(operation, "an item is no object")
                yield item
            token = answer.get("nextToken")
            if not token:
                return
            if not isinstance(token, str) or token in seen:
                raise unreadable(operation, "a page's `nextToken` is no text, or came before")
            seen.add(token)
            following["nextToken"] = token

    def answered(self, operation: str) -> int:
        """How many calls of the operation were answered so far."""
        return self.counts.get((operation, OK), 0)

    def pause(self, seconds: float) -> None:
        """Waits, with jitter. Raises Stopped."""
        self._wait(seconds * (0.75 + 0.5 * self._random()))

    def close(self) -> None:
        """Lets go of the client and its connections."""
        client, self._client = self._client, None
        if client is not None:
            client.close()

    def _once(self, operation: str, parameters: Mapping[str, object]) -> Any:
        if self._client is None:
            self._client = self._factory()
        try:
            return getattr(self._client, _METHODS[operation])(**parameters)
        except Exception as error:  # noqa: BLE001 - `classified` raises again what no call can raise
            raise classified(error, operation) from None

    def _before_another(self, error: AvpError, tries: int) -> None:
        """Waits until the call may be made again; raises the error where it may not."""
        if error.kind is Kind.THROTTLED:
            self._budget.throttled()
        if error.kind is Kind.CREDENTIALS:
            self.close()
            if self._renewed:
                raise error
            self._renewed = True  # a client keeps the credentials that it found; a new one looks for them anew
            return
        allowed = (_TRIES if self._answered else _FIRST_TRIES).get(error.kind, 1)
        if tries >= allowed:
            raise error
        self.pause(_WAIT[error.kind] * 2 ** (tries - 1))

    def _wait(self, seconds: float) -> None:
        if self._stopped():
            raise Stopped
        if seconds > 0:
            self._sleep(seconds)
            if self._stopped():
                raise Stopped

    def _count(self, operation: str, result: str) -> None:
        key = (operation, result)
        self.counts[key] = self.counts.get(key, 0) + 1


def unreadable(operation: str, text: str) -> AvpError:
    """For an answer that is not of the form that the API reference gives."""
    return AvpError(Kind.UNREACHABLE, operation, f"an answer that cannot be read ({text})", code="Unreadable")


def text_of(item: Item, member: str, operation: str) -> str:
    """A required text of an item.

    Raises:
        AvpError: there is none.
    """
    value = item.get(member)
    if not isinstance(value, str) or not value or not encodable(value):
        raise unreadable(operation, f"an item without `{member}`")
    return value
