"""What of a record may be written: pure rules, no I/O, no clock.

By default a line says who asked for what, and how it ended; no path, query, header, claim, context value, entity
or source address. A `Redaction` names what more is shown. Whatever is written is bounded, and holds no character
that a terminal or a line reader would act on.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from functools import lru_cache
from hashlib import blake2b

import msgspec

from authz.core.model import (
    Allowed,
    Decision,
    Denied,
    Effect,
    EntityUid,
    Failed,
    Outcome,
    Query,
    Record,
    Request,
)
from authz.observe.values import MAX_ITEMS, MAX_PATH, MAX_UID, clean, shown

KEPT = 512
"""Texts of uids, and lists of policy ids, that are kept made."""
MIN_KEY = 16
MAX_KEY = 64
"""Bytes of a BLAKE2b key; RFC 7693, section 2.1 allows 64 at most."""
_USUAL_POINT = "cedar"
_PLAIN = ("path", "source_address", "detail")
_USUAL = frozenset({"bearer", "anonymous"})


class PrincipalForm(StrEnum):
    """How a principal is told."""

    SHOWN = "shown"
    HASHED = "hashed"
    """The type, and a keyed hash of the uid: lines of one principal can be joined, by who has the key named."""
    HIDDEN = "hidden"


@dataclass(frozen=True, slots=True, kw_only=True)
class Redaction:
    """What a line shows beyond the default.

    Raises:
        ValueError: a field that cannot be shown, or a key that does not fit.
    """

    show: frozenset[str] = frozenset()
    """`path`, `source_address`, `detail`, `context.<key>`, `claims.<name>`. Each shows what a client sent."""
    principal: PrincipalForm = PrincipalForm.SHOWN
    principal_key: bytes = field(default=b"", repr=False)
    """The key of `hashed`, 16 to 64 bytes."""

    def __post_init__(self) -> None:
        for name in sorted(self.show):
            _require_showable(name)
        if self.principal is PrincipalForm.HASHED and not MIN_KEY <= len(self.principal_key) <= MAX_KEY:
            raise ValueError(
                f"a hashed principal needs a key of {MIN_KEY} to {MAX_KEY} bytes; this has {len(self.principal_key)}"
            )


def _require_showable(name: str) -> None:
    kind, dot, key = name.partition(".")
    if name == "context.token":
        raise ValueError("`context.token` would show a whole token: name claims instead, as `claims.<name>`")
    if name in _PLAIN or (kind in ("context", "claims") and dot and key):
        return
    expected = "`path`, `source_address`, `detail`, `context.<key>` or `claims.<name>`"
    raise ValueError(f"unknown field `{clean(name)}`: expected {expected}")


class Line(msgspec.Struct, kw_only=True, omit_defaults=True, gc=False, tag_field="event", tag="decision"):
    """One decision as it is written. Fields at their default are left out; the order is the order written."""

    time: str
    """When the check began: RFC 3339, UTC, milliseconds."""
    decision_id: str
    request_id: str = ""
    """The proxy's own id of the request."""
    door: str
    method: str = ""
    host: str = ""
    route: str = ""
    outcome: str
    status: int
    stage: str = ""
    """Where the check ended, unless it was allowed."""
    reason: str
    detail: str = ""
    path: str = ""
    source_address: str = ""
    authenticator: str = ""
    """Which one settled who calls, or refused the credential, by its name in the configuration."""
    scheme: str = ""
    """`api_key` or `certificate`; left out for tokens, and where nobody is known."""
    principal: str = ""
    action: str = ""
    resource: str = ""
    verdict: str = ""
    decision_point: str = ""
    """Who decided, where it was not the policies in this process: `verified_permissions`, `preflight`."""
    cached: bool = False
    """Was it decided for an equal question before?"""
    policies: tuple[str, ...] = ()
    """Determining policies."""
    policies_omitted: int = 0
    policy_names: tuple[str, ...] = ()
    """Their names, in the same order, where the policy store gives names beside ids."""
    policy_errors: tuple[str, ...] = ()
    """Ids of policies that were skipped because they could not be evaluated."""
    policy_errors_omitted: int = 0
    forbid_errors: tuple[str, ...] = ()
    """Those of them that are forbids: without the fault one might have denied."""
    forbid_errors_omitted: int = 0
    policy_set: str = ""
    policy_set_age_seconds: float = 0.0
    left_out: tuple[str, ...] = ()
    """Names of what the schema does not declare, and policies were not told; no values."""
    left_out_omitted: int = 0
    context: dict[str, object] = msgspec.field(default_factory=dict)
    claims: dict[str, object] = msgspec.field(default_factory=dict)
    timings_us: dict[str, int] = msgspec.field(default_factory=dict)
    duration_us: int = 0


def outcome_word(outcome: Outcome) -> str:
    """`allowed`, `denied`, `failed` or `let_through`: the same in lines and in metrics."""
    match outcome:
        case Allowed():
            return "allowed"
        case Denied():
            return "denied"
        case Failed():
            return "let_through" if outcome.let_through else "failed"


class Redactor:
    """A `Redaction` made ready: turns records into lines. Of a record it keeps texts of uids and policy ids, a few."""

    __slots__ = (
        "_claims", "_context", "_detail", "_form", "_ids", "_key", "_moment", "_path", "_source_address", "_uid"
    )  # fmt: skip

    def __init__(self, redaction: Redaction) -> None:
        self._path, self._source_address, self._detail = (name in redaction.show for name in _PLAIN)
        self._context = _keys_of("context", redaction.show)
        self._claims = _keys_of("claims", redaction.show)
        self._form = redaction.principal
        self._key = redaction.principal_key
        # What comes again and again is made once; resources do not, so they are not kept.
        self._uid = lru_cache(maxsize=KEPT)(_uid)
        self._ids = lru_cache(maxsize=KEPT)(_ids)
        self._moment = (0, "1970-01-01T00:00:00")

    def line(self, record: Record) -> Line:
        """What may be written of `record`.

        Raises:
            ValueError, OverflowError: the record's time or a duration is no time.
        """
        outcome = record.outcome
        line = Line(
            time=self.timestamp(record.time),
            decision_id=clean(record.id),
            door=record.door,
            route=clean(record.route),
            outcome=outcome_word(outcome),
            status=200,
            reason=outcome.reason,
            timings_us={stage: int(seconds * 1e6) for stage, seconds in record.timings},
            authenticator=record.authenticator,
            duration_us=int(record.duration * 1e6),
        )
        if not isinstance(outcome, Allowed):
            self._tell_end(line, outcome)
        if record.request is not None:
            self._tell_request(line, record.request)
        if record.query is not None:
            self._tell_query(line, record.query)
        elif record.identity is not None:
            line.principal = self._principal(record.identity.principal)
        if record.decision is not None:
            self._tell_decision(line, record.decision)
        if record.identity is not None and record.identity.scheme not in _USUAL:
            line.scheme = record.identity.scheme
        if self._claims and record.identity is not None:
            line.claims = _chosen(self._claims, record.identity.claims)
        return line

    def _tell_end(self, line: Line, outcome: Denied | Failed) -> None:
        line.stage = outcome.stage.value
        if not (isinstance(outcome, Failed) and outcome.let_through):
            line.status = outcome.status
        if self._detail:
            line.detail = clean(outcome.detail)

    def _tell_request(self, line: Line, request: Request) -> None:
        if request.external_id is not None:
            line.request_id = clean(request.external_id)
        line.method = clean(request.method)
        line.host = clean(request.host)
        if self._path:
            line.path = clean(request.path.text, MAX_PATH)
        if self._source_address and request.source_address is not None:
            line.source_address = clean(request.source_address)

    def _tell_query(self, line: Line, query: Query) -> None:
        line.principal = self._principal(query.principal)
        line.action = self._uid(query.action)
        # A principal is no less private where it is what is asked for.
        line.resource = line.principal if query.resource == query.principal else _uid(query.resource)
        if self._context:
            line.context = _chosen(self._context, query.context)

    def _tell_decision(self, line: Line, decision: Decision) -> None:
        line.verdict = decision.verdict
        if decision.decision_point != _USUAL_POINT:
            line.decision_point = clean(decision.decision_point)
        line.policy_set = clean(decision.version)
        line.policy_set_age_seconds = int(decision.age * 1000) / 1000
        line.policies, line.policies_omitted = self._ids(decision.policies)
        if decision.names:
            line.policy_names, _ = self._ids(decision.names)
        if decision.cached:
            line.cached = True
        if decision.errors:
            failed = tuple(error.policy_id for error in decision.errors)
            line.policy_errors, line.policy_errors_omitted = _ids(failed)
            forbids = tuple(error.policy_id for error in decision.errors if error.effect is Effect.FORBID)
            line.forbid_errors, line.forbid_errors_omitted = _ids(forbids)
        if decision.left_out:
            line.left_out, line.left_out_omitted = _ids(decision.left_out)

    def _principal(self, uid: EntityUid) -> str:
        if self._form is PrincipalForm.SHOWN:
            return self._uid(uid)
        if self._form is PrincipalForm.HIDDEN:
            return ""
        digest = blake2b(str(uid).encode("utf-8", "surrogatepass"), key=self._key, digest_size=16).hexdigest()
        return f"{clean(uid.type)}#{digest}"

    def timestamp(self, seconds: float) -> str:
        """Seconds since the epoch as RFC 3339, UTC, milliseconds."""
        second, rest = divmod(int(seconds * 1000 + 0.5), 1000)
        # Many checks begin within one second. One tuple, read and replaced whole: threads may share a redactor.
        known, text = self._moment
        if known != second:
            text = datetime.fromtimestamp(second, UTC).isoformat(timespec="seconds")[:19]
            self._moment = (second, text)
        return f"{text}.{rest:03d}Z"


def _uid(uid: EntityUid) -> str:
    return clean(str(uid), MAX_UID)


def _ids(ids: tuple[str, ...]) -> tuple[tuple[str, ...], int]:
    """The ids or names that are told, and how many are not."""
    return tuple(clean(id) for id in ids[:MAX_ITEMS]), max(0, len(ids) - MAX_ITEMS)


def _keys_of(kind: str, show: frozenset[str]) -> tuple[str, ...]:
    prefix = kind + "."
    return tuple(sorted(name.removeprefix(prefix) for name in show if name.startswith(prefix)))


def _chosen(names: tuple[str, ...], values: Mapping[str, object]) -> dict[str, object]:
    return {clean(name): shown(values[name]) for name in names if name in values}
