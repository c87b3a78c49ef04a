"""Records for the tests of this room, and how a written log is read."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from authz.core.errors import Reason
from authz.core.model import (
    Allowed,
    CanonicalPath,
    Credential,
    Decision,
    Denied,
    Effect,
    Entity,
    EntitySlice,
    EntityUid,
    Extension,
    Failed,
    HeaderEdits,
    Headers,
    Identity,
    PolicyError,
    Query,
    Record,
    Request,
    Stage,
    Verdict,
)

ALICE = EntityUid("Documents::User", "alice")
READ = EntityUid("Documents::Action", "ReadDocument")
TIME = 1767323045.678  # 2026-01-02T03:04:05.678Z
TIMINGS = (
    ("route", 3.4e-6),
    ("authenticate", 12e-6),
    ("map", 5e-6),
    ("enrich", 1e-6),
    ("decide", 40e-6),
    ("enforce", 3e-6),
)


def decision(verdict: Verdict = Verdict.ALLOW, **changes: Any) -> Decision:
    values: dict[str, Any] = {"policies": ("read-own",), "version": "sha256:0f1e", "age": 1.2504}
    return Decision(verdict=verdict, **{**values, **changes})


def request(**changes: Any) -> Request:
    values: dict[str, Any] = {
        "id": "d-1",
        "method": "GET",
        "scheme": "https",
        "host": "docs.example.com",
        "path": CanonicalPath(text="/documents/7", segments=("documents", "7")),
        "query": "draft=1",
        "headers": Headers([("authorization", "Bearer s3cr3t"), ("cookie", "s=1")]),
        "source_address": "203.0.113.9",
        "external_id": "proxy-1",
    }
    return Request(**{**values, **changes})


def identity(**changes: Any) -> Identity:
    values: dict[str, Any] = {
        "scheme": "bearer",
        "issuer": "https://login.example.com",
        "subject": "alice",
        "principal": ALICE,
        "claims": {"sub": "alice", "email": "alice@example.com", "amr": ["mfa"]},
    }
    return Identity(**{**values, **changes})


def query(**changes: Any) -> Query:
    values: dict[str, Any] = {
        "principal": ALICE,
        "action": READ,
        "resource": EntityUid("Documents::Document", "7"),
        "context": {"ip": Extension("ip", "203.0.113.9"), "token": {"sub": "alice"}},
    }
    return Query(**{**values, **changes})


def record(id: str = "d-1", **changes: Any) -> Record:
    """An allowed check, as a whole."""
    said = changes.get("decision", decision())
    values: dict[str, Any] = {
        "request": request(id=id),
        "outcome": Allowed(decision=said) if said is not None and said.verdict is Verdict.ALLOW else None,
        "time": TIME,
        "door": "envoy_http",
        "route": "read-document",
        "identity": identity(),
        "query": query(),
        "decision": said,
        "timings": TIMINGS,
        "duration": 71.9e-6,
        "id": id,
    }
    return Record(**{**values, **changes})


def denied(id: str = "d-1", **changes: Any) -> Record:
    """A check that a policy forbade."""
    said = decision(Verdict.DENY, policies=("no-drafts",), messages=("drafts are private",))
    outcome = Denied(stage=Stage.ENFORCE, reason=Reason.POLICY_FORBID, decision=said, detail="a forbid matched")
    return record(id, **{"decision": said, "outcome": outcome, **changes})


def failed(id: str = "d-1", *, let_through: bool = False, **changes: Any) -> Record:
    """A check without a decision."""
    outcome = Failed(
        stage=Stage.DECIDE, reason=Reason.POLICIES_UNAVAILABLE, let_through=let_through, detail="no policy set yet"
    )
    return record(id, **{"decision": None, "outcome": outcome, **changes})


def refused(id: str = "d-1", reason: Reason = Reason.BAD_PATH) -> Record:
    """A request that could not even be read."""
    outcome = Denied(stage=Stage.ROUTE, reason=reason, status=400, detail="the path has `..`")
    return Record(request=None, outcome=outcome, time=TIME, door="nginx", id=id)


def stuffed(secret: str, depth: object) -> tuple[Record, ...]:
    """Records with a secret wherever a client, a token, an information point or an engine can put one."""
    path = CanonicalPath(text=f"/documents/{secret}", segments=("documents", secret))
    asked = request(
        path=path,
        query=f"token={secret}",
        headers=Headers([("authorization", f"Bearer {secret}"), (f"x-{secret}", secret)]),
        body=secret.encode("utf-8", "replace"),
        source_address=secret,
        extensions={secret: secret},
    )
    held = EntitySlice(entities=(Entity(uid=EntityUid("T", secret), attributes={secret: secret}),))
    who = identity(
        issuer=secret,
        subject=secret,
        claims={"sub": secret, secret: secret, "deep": depth},
        entities=held,
        token={"sub": secret},
        credential=Credential(kind="access", secret=secret),
    )
    what = query(
        context={"token": {"sub": secret}, "pip": {secret: secret}, "ip": secret},
        entities=(held,),
        credential=Credential(kind="access", secret=secret),
    )
    error = PolicyError(policy_id="p-1", effect=Effect.FORBID, message=secret)
    yes = decision(errors=(error,), messages=(secret,))
    no = decision(Verdict.DENY, errors=(error,), messages=(secret,))
    edits = HeaderEdits(set=(("x-user", secret),), remove=(f"x-{secret}",))
    common: dict[str, Any] = {"request": asked, "identity": who, "query": what}
    stopped = Denied(stage=Stage.ENFORCE, reason=Reason.POLICY_NO_PERMIT, decision=no, detail=secret)
    unknown = Failed(stage=Stage.DECIDE, reason=Reason.INTERNAL, detail=secret)
    through = Failed(stage=Stage.DECIDE, reason=Reason.DEADLINE, let_through=True, edits=edits, detail=secret)
    return (
        record(**common, decision=yes, outcome=Allowed(decision=yes, edits=edits)),
        record(**common, decision=no, outcome=stopped),
        record(**common, decision=None, outcome=unknown),
        record(**common, decision=None, outcome=through),
    )


def lines(text: str | bytes | Path) -> list[dict[str, Any]]:
    """Each line of a log, parsed; the log must end with a whole line."""
    data = text.read_bytes() if isinstance(text, Path) else text.encode() if isinstance(text, str) else text
    assert data.endswith(b"\n") or not data
    return [json.loads(line) for line in data.split(b"\n")[:-1]]
