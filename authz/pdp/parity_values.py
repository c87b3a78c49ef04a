"""What a parity check works with: its settings, what it counts, and when two decisions are the same."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Literal

from authz.core.errors import Reason
from authz.core.model import Decision


@dataclass(frozen=True, slots=True, kw_only=True)
class ParitySettings:
    """How much is checked, and what it may cost."""

    share: float = 0.01
    """Of local decisions, from 0 to 1."""
    requests: float = 1.0
    """Calls in a second, at most."""
    settle: float = 30.0
    """Seconds until both are asked again after a difference: longer than the replica takes to hear of a change. 0: a
    difference counts at once."""
    timeout: float = 5.0
    """Seconds for one call."""
    queue: int = 100
    """Queries that wait for their call, and as many that wait for their second; more are not checked."""
    concurrency: int = 4
    """Calls at once."""
    alarm: float = 3600.0
    """Seconds for which one divergence is told as an alarm."""


DEFAULTS = ParitySettings()


class Difference(StrEnum):
    """In what two decisions differ, the gravest first."""

    VERDICT = "verdict"
    POLICIES = "policies"
    """The same verdict, by other determining policies."""
    ERRORS = "errors"
    """The same by the same, but other policies were skipped, for they erred."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Divergence:
    """Two answers to one question. Nothing of it but its ids and names: no attribute, no context, no credential."""

    time: float
    """Seconds since the epoch."""
    kind: Difference
    settled: bool
    """Was it the same when both were asked again?"""
    principal: str
    """As the log may show it."""
    action: str
    resource: str
    local: Decision
    remote: Decision


Dropped = Literal["budget", "queue", "settling"]
"""Why a sampled decision was not checked to its end: no call left, too many that wait for their first, or for their
second."""


@dataclass(slots=True, kw_only=True)
class ParityCounters:
    """Sums since the start; none goes back."""

    decisions: int = 0
    """Local decisions, each a call that was not made."""
    calls: int = 0
    """Calls that checks made."""
    agreed: int = 0
    """Checks that ended without a difference."""
    passing: int = 0
    """Differences that were gone when both were asked again."""
    divergences: Counter[Difference] = field(default_factory=Counter)
    failed: Counter[Reason] = field(default_factory=Counter)
    """Checks without a result: one of the two gave no decision."""
    dropped: Counter[Dropped] = field(default_factory=Counter)


def difference(local: Decision, remote: Decision) -> Difference | None:
    """In what the two differ; None: in nothing that counts. Messages, versions and ages do not."""
    if local.verdict is not remote.verdict:
        return Difference.VERDICT
    if set(local.policies) != set(remote.policies):
        return Difference.POLICIES
    here, there = ({error.policy_id for error in decision.errors} for decision in (local, remote))
    if "" in here | there:  # one of the two does not say which policies erred
        return Difference.ERRORS if bool(here) != bool(there) else None
    return Difference.ERRORS if here != there else None
