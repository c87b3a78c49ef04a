"""The published requests per second (user guide, "Quotas"), as token buckets. All but three can be raised on request.

Alias and tag operations have no line of their own there: they are not limited here.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import NamedTuple

from authz.emulator.clock import Clock
from authz.emulator.errors import Throttling

_MOST = 10_000
"""Buckets that are kept: a caller may name any number of stores."""

_ROUNDING = 1e-4
"""Of calls: a time has seven digits after the point and is multiplied by up to 200."""


class _Rate(NamedTuple):
    per_second: float
    per_store: bool = True


_TEN = (
    "CreatePolicy UpdatePolicy DeletePolicy GetPolicy ListPolicies BatchGetPolicy CreatePolicyTemplate"
    " UpdatePolicyTemplate DeletePolicyTemplate GetPolicyTemplate ListPolicyTemplates PutSchema GetSchema"
    " GetIdentitySource ListIdentitySources"
)
RATES = {
    "IsAuthorized": _Rate(200),
    "IsAuthorizedWithToken": _Rate(200),
    "BatchIsAuthorized": _Rate(30),
    "BatchIsAuthorizedWithToken": _Rate(30),
    **{name: _Rate(10) for name in _TEN.split()},
    **{f"{verb}IdentitySource": _Rate(1) for verb in ("Create", "Update", "Delete")},
    "CreatePolicyStore": _Rate(1, per_store=False),
    "DeletePolicyStore": _Rate(1, per_store=False),
    **{name: _Rate(10, per_store=False) for name in ("GetPolicyStore", "ListPolicyStores", "UpdatePolicyStore")},
}
"""Operation → its rate, each with a bucket of its own; the bucket holds one second's worth."""


class Quota:
    """The buckets."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._buckets: OrderedDict[tuple[str, str], tuple[float, float]] = OrderedDict()

    def take(self, operation: str, store: str) -> None:
        """Takes one from a bucket.

        Raises:
            Throttling: it is empty.
        """
        rate = RATES.get(operation)
        if rate is None:
            return
        key = operation, store if rate.per_store else ""
        now = self._clock.now()
        left, at = self._buckets.pop(key, (rate.per_second, now))
        left = min(rate.per_second, left + max(0.0, now - at) * rate.per_second)
        enough = left >= 1 - _ROUNDING
        self._buckets[key] = max(left - 1, 0.0) if enough else left, now
        if len(self._buckets) > _MOST:
            self._buckets.popitem(last=False)
        if not enough:
            raise Throttling
