"""Authorization and policy enforcement with Cedar policies.

    async with authz.connect("authz.yaml") as az:
        outcome = await az.check(authz.HttpRequest(method="GET", url="https://…", headers={…}))
        if isinstance(outcome, authz.Allowed): …

Importing this package loads the rules only: no server, no gRPC, no AWS SDK. `connect` loads what the
configuration needs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from authz.core.errors import AuthzError, Misconfigured, Problem, Reason
from authz.core.model import (
    Allowed,
    Decision,
    Denied,
    EntityUid,
    Failed,
    HeaderEdits,
    Identity,
    Outcome,
    Query,
    Record,
    Request,
    Stage,
    Verdict,
)

if TYPE_CHECKING:
    from authz.core.login import verified_return_address
    from authz.wiring.library import Connection, HttpRequest, connect

__all__ = [
    "Allowed",
    "AuthzError",
    "Connection",
    "Decision",
    "Denied",
    "EntityUid",
    "Failed",
    "HeaderEdits",
    "HttpRequest",
    "Identity",
    "Misconfigured",
    "Outcome",
    "Problem",
    "Query",
    "Reason",
    "Record",
    "Request",
    "Stage",
    "Verdict",
    "connect",
    "verified_return_address",
]

_LATE = frozenset({"Connection", "HttpRequest", "connect"})


def __getattr__(name: str) -> Any:
    if name == "verified_return_address":
        from authz.core import login

        return login.verified_return_address
    if name in _LATE:
        from authz.wiring import library

        return getattr(library, name)
    raise AttributeError(f"module `authz` has no attribute `{name}`")


def __dir__() -> list[str]:
    return sorted(__all__)
