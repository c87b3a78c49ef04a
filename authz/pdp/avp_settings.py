"""How the remote decision point asks Verified Permissions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

BATCH_LIMIT = 30
"""Questions of one batch call (API reference, BatchIsAuthorized); it is billed as so many whatever it holds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AvpDecisionSettings:
    """Which policy store, and what a decision may take. The defaults stay below one store's default quota."""

    policy_store: str
    """Its id, or `policy-store-alias/NAME`."""
    timeout: float = 0.8
    """Seconds for one decision: waiting for a permit, the call, and its second attempt. Give the client a read timeout
    that is no longer: a call that nobody waits for any more keeps its place until then."""
    concurrency: int = 32
    """Calls under way at once; each has a thread and a connection."""
    rate: float = 150.0
    """Single calls a second, of a quota of 200 that all who ask the store share."""
    batch_rate: float = 25.0
    """Batch calls a second, of a quota of 30."""
    batch_from: int = BATCH_LIMIT
    """Questions that go together by one batch call if they are so many; fewer go one by one. A batch is billed as 30,
    so 30 costs least; 2 asks for most in one call, where time counts more than money."""
    forward_token: bool = False
    """Hand on the verified token, so that the service verifies it again and makes the principal of it."""
    group_type: str = ""
    """With `forward_token`: the entity type of the token's groups. Empty: those that the principal's parents have."""
    on_forbid_error: Literal["skip", "fail"] = "skip"
    """`skip` is Cedar's rule; `fail`: no decision where the service allows and names an error. It does not say which
    policy erred, and a `forbid` may have."""
    cool_down: float = 1.0
    """Seconds in which nothing is asked after the credentials, a permission or the store were found to be wrong."""
    max_entities: int = 10_000
    """Entities that one question may tell."""
