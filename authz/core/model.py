"""The nouns: frozen values that every room shares. DESIGN calls this the house's glossary.

Cedar's terms follow the Cedar documentation (authorization, policies, entities and schema).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Literal, TypeAlias

from authz.core.errors import BEARER, Reason
from authz.core.headers import Headers as Headers  # noqa: PLC0414 - nouns like the others, told to mypy
from authz.core.identity_source import StoreIdentitySource as StoreIdentitySource  # noqa: PLC0414
from authz.core.policies import Effect as Effect  # noqa: PLC0414
from authz.core.policies import Policy as Policy  # noqa: PLC0414
from authz.core.policies import PolicySnapshot as PolicySnapshot  # noqa: PLC0414
from authz.core.policies import TemplateLink as TemplateLink  # noqa: PLC0414
from authz.core.values import Entity as Entity  # noqa: PLC0414
from authz.core.values import EntitySlice as EntitySlice  # noqa: PLC0414
from authz.core.values import EntityUid as EntityUid  # noqa: PLC0414
from authz.core.values import Extension as Extension  # noqa: PLC0414
from authz.core.values import Value as Value  # noqa: PLC0414

Protocol: TypeAlias = Literal["http", "tcp"]
"""What a door asks about: an HTTP request, or a connection."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CanonicalPath:
    """A path that can be read in one way only. Made by `authz.core.request`, nowhere else."""

    text: str
    """Normalised form, percent-encoded, for the log."""
    segments: tuple[str, ...]
    """Decoded segments; `/a/` has the segments `a` and the empty string."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Peer:
    """Who called the door: the proxy, not the client."""

    address: str = ""
    """IP address of the proxy's connection; empty on a Unix socket."""
    trusted: bool = False
    """May it speak for clients (method, path, host, address)? Decided by the door."""
    certificate: str = ""
    """The name in its verified client certificate that the listener's `clients` lists; empty: none was asked for."""


class BodyState(StrEnum):
    """What is known of the body that a door was given. Nothing is read from any but a whole one."""

    WHOLE = "whole"
    """As the client sent it; without one: there is none."""
    UNTOLD = "untold"
    """None was passed on, and nobody said that there is none."""
    WITHHELD = "withheld"
    """There is one, or may be one, that the proxy does not pass on."""
    PARTIAL = "partial"
    """Its beginning only."""
    ALTERED = "altered"
    """Bytes may have been replaced on the way."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """A request for which a proxy or an application asks. Canonical by construction."""

    id: str
    """The decision id, ours, unique."""
    method: str
    scheme: str
    host: str
    """Lower case, without port and trailing dot."""
    path: CanonicalPath
    query: str = ""
    """Raw, without the question mark."""
    headers: Headers = field(default_factory=Headers)
    body: bytes | None = field(default=None, repr=False)
    """As the proxy passed it on; None: it passed on none, or the route reads none."""
    body_state: BodyState = BodyState.WHOLE
    source_address: str | None = None
    """The client's IP address as a trusted proxy vouches for it; None if nobody does."""
    peer: Peer = Peer()
    external_id: str | None = None
    """The proxy's request id, if it sent one."""
    extensions: Mapping[str, str] = field(default_factory=dict)
    """What the proxy's own configuration vouches for, e.g. Envoy's context_extensions."""
    protocol: Protocol = "http"
    """`tcp`: a connection; then `path` is the destination's port and `host` the SNI or the destination's address."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False, weakref_slot=True, repr=False)
class Credential:
    """The verified token, opaque. Only a remote decision point in token mode opens it."""

    kind: str
    """`access` or `id`."""
    secret: str

    def __repr__(self) -> str:
        return f"Credential(kind={self.kind!r}, secret=<redacted>)"


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """Who calls. Exists only after verification, or for a route's configured anonymous principal."""

    scheme: str
    """`bearer`, `api_key`, `certificate` or `anonymous`."""
    issuer: str
    subject: str
    claims: Mapping[str, object] = field(default_factory=dict, repr=False)
    expires_at: float | None = None
    """Seconds since the epoch; None: never."""
    principal: EntityUid
    entities: EntitySlice = field(default_factory=EntitySlice, repr=False)
    """The principal with its parents and attributes, by the rules of its identity source."""
    token: Mapping[str, Value] | None = field(default=None, repr=False)
    """`context.token` (access tokens only); one object for the life of the token."""
    credential: Credential | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Caching:
    """How long an answer may be given again, where a decision cache is in use. Says nothing about the question."""

    allow: float
    """Seconds for an allow; 0: never."""
    deny: float
    """Seconds for a deny; 0: never."""
    until: float | None = None
    """Seconds since the epoch past which no answer counts: the token's expiry, or that of another source's value."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    """Cedar's question; a decision point's only input.

    `context` may hold the reserved keys `token` and `pip`. `entities` comes source by source; one entity
    described by two of them is united, the earlier source winning on attributes.
    """

    principal: EntityUid
    action: EntityUid
    resource: EntityUid
    context: Mapping[str, Value] = field(default_factory=dict)
    entities: tuple[EntitySlice, ...] = ()
    credential: Credential | None = field(default=None, compare=False, repr=False)
    caching: Caching | None = field(default=None, compare=False, repr=False)
    """None: the answer is not kept."""


class Verdict(StrEnum):
    """A decision point's answer. A failure is an exception, never a third verdict."""

    ALLOW = "allow"
    DENY = "deny"


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyError:
    """A policy that could not be evaluated and was therefore skipped, as Cedar does."""

    policy_id: str
    effect: Effect
    message: str = field(repr=False)
    """The engine's words; may hold attribute values, so it goes to the debug log at most."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """What a decision point said, with its evidence."""

    verdict: Verdict
    policies: tuple[str, ...] = ()
    """Determining policies, sorted: the matching forbids if any, else the matching permits."""
    names: tuple[str, ...] = ()
    """The names of `policies`, in their order, where the store gives names beside ids; empty: the ids are names."""
    errors: tuple[PolicyError, ...] = ()
    messages: tuple[str, ...] = ()
    """`@deny_message` annotations of the determining forbids."""
    decision_point: str = "cedar"
    version: str = ""
    """Version of the policy set."""
    age: float = 0.0
    """Seconds since the policy set was known to be current."""
    cached: bool = False
    """Was it decided for an equal query before?"""
    left_out: tuple[str, ...] = ()
    """Names of what the schema does not declare and the engine was not told, such as `Ns::User.iat` and
    `context.token.jti`; sorted, without values. Only where a setting asks for it."""

    @property
    def named(self) -> tuple[str, ...]:
        """The determining policies as people call them."""
        return self.names or self.policies


class Stage(StrEnum):
    """The five stages of a check, in order; the values are the names in metrics and records."""

    ROUTE = "route"
    AUTHENTICATE = "authenticate"
    MAP = "map"
    ENRICH = "enrich"
    DECIDE = "decide"
    ENFORCE = "enforce"


@dataclass(frozen=True, slots=True, kw_only=True)
class HeaderEdits:
    """What an allowed request's headers become. INVARIANT: no name is in both."""

    set: tuple[tuple[str, str], ...] = ()
    remove: tuple[str, ...] = ()


NO_EDITS = HeaderEdits()


@dataclass(frozen=True, slots=True, kw_only=True)
class Allowed:
    """Go on. INVARIANT: cannot be built without an allowing decision."""

    decision: Decision
    edits: HeaderEdits = NO_EDITS

    def __post_init__(self) -> None:
        if self.decision.verdict is not Verdict.ALLOW:
            msg = "an Allowed needs a decision whose verdict is ALLOW"
            raise ValueError(msg)

    @property
    def reason(self) -> Reason:
        """Always `allowed`."""
        return Reason.ALLOWED


@dataclass(frozen=True, slots=True, kw_only=True)
class Denied:
    """Stop: the request, its credential or a decision forbids it."""

    stage: Stage
    reason: Reason
    status: int = 403
    decision: Decision | None = None
    detail: str = ""
    """For the log, never for the client."""
    scheme: str = BEARER
    """With status 401: the authentication scheme of the challenge."""

    def __post_init__(self) -> None:
        _require_error_status(self.status)

    @property
    def policies(self) -> tuple[str, ...]:
        """Determining policies by name, empty before a decision and on implicit deny."""
        return self.decision.named if self.decision is not None else ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Failed:
    """Stop: nobody could decide. `let_through` is set by a route that spells out fail-open, by nothing else."""

    stage: Stage
    reason: Reason
    status: int = 503
    let_through: bool = False
    edits: HeaderEdits = NO_EDITS
    """With `let_through` only: the identity headers, removed."""
    detail: str = ""

    def __post_init__(self) -> None:
        _require_error_status(self.status)


def _require_error_status(status: int) -> None:
    # A denial with status 200 would be an allow to whoever reads the status alone.
    if not 400 <= status <= 599:
        raise ValueError("an outcome that stops a request has a status from 400 to 599")


Outcome: TypeAlias = Allowed | Denied | Failed


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """One check, told once: the audit line, `explain` and replay all read it."""

    request: Request | None
    outcome: Outcome
    time: float
    """Seconds since the epoch at which the check began."""
    door: str
    route: str = ""
    authenticator: str = ""
    """The name of the one that settled who calls, or refused the credential; empty: none found one."""
    identity: Identity | None = None
    query: Query | None = None
    decision: Decision | None = None
    timings: tuple[tuple[str, float], ...] = ()
    """(stage, seconds) in order."""
    duration: float = 0.0
    id: str = ""
    """The decision id; also present where no Request could be made."""
