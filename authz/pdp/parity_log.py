"""How a divergence is told in the operational log."""

from __future__ import annotations

import structlog

from authz.core.model import Decision
from authz.pdp.parity_values import Divergence

_log = structlog.get_logger("authz.parity")
MOST = 20
"""Policies that are told of each decision."""


def logged(divergence: Divergence) -> None:
    """Warns of a divergence, with both answers: who asked what, verdicts, policies and versions; no values."""
    _log.warning(
        "a local decision is not that of Verified Permissions",
        kind=divergence.kind.value,
        settled=divergence.settled,
        principal=divergence.principal,
        action=divergence.action,
        resource=divergence.resource,
        local=_answer(divergence.local),
        remote=_answer(divergence.remote),
        todo="compare the replica with the store; see docs/decision-points.md",
    )


def _answer(decision: Decision) -> dict[str, object]:
    # Not the errors' messages: an engine's words may hold an attribute's value.
    return {
        "verdict": decision.verdict.value,
        "policies": list(decision.policies[:MOST]),
        "errors": [error.policy_id for error in decision.errors[:MOST]],
        "decision_point": decision.decision_point,
        "version": decision.version,
        "age_seconds": round(decision.age, 3),
    }
