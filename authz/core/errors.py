"""The ways a stage can fail, one tree, each with a stable reason code.

    AuthzError
    ├── RequestRefused        400  the request is not one that can be decided safely
    ├── UntrustedPeer         403  the caller of the door may not speak for clients
    ├── NoRoute               403  no route covers the request
    ├── Unauthenticated       401  no credential that counts, or a bad one
    └── Unavailable           503  a failure: no decision could be made
        ├── KeysUnavailable          the issuer's keys
        ├── PoliciesUnavailable      the policy set (none yet, or too old)
        ├── AttributesUnavailable    an information point, or claims that do not fit the schema
        └── DecisionUnavailable      the decision point

`Misconfigured` stands apart: it is raised while loading, never while a request is checked.
Reason codes are API: the same in responses, metrics, records and documents.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Reason(StrEnum):
    """Why a check ended as it did. A closed list; a test pins it."""

    # allowed
    ALLOWED = "allowed"
    # refused requests
    BAD_METHOD = "bad_method"
    BAD_HOST = "bad_host"
    BAD_PATH = "bad_path"
    BAD_QUERY = "bad_query"
    BAD_HEADER = "bad_header"
    BAD_PARAMETER = "bad_parameter"
    BAD_BODY = "bad_body"
    BAD_CHECK = "bad_check"
    TOO_LARGE = "too_large"
    # denied before a decision
    UNTRUSTED_PEER = "untrusted_peer"
    NO_ROUTE = "no_route"
    NO_CREDENTIALS = "no_credentials"
    CREDENTIALS_AMBIGUOUS = "credentials_ambiguous"
    TOKEN_MALFORMED = "token_malformed"
    TOKEN_TOO_LARGE = "token_too_large"
    TOKEN_TYPE = "token_type"
    TOKEN_ALGORITHM = "token_algorithm"
    TOKEN_CRITICAL = "token_critical"
    TOKEN_KEY_UNKNOWN = "token_key_unknown"
    TOKEN_SIGNATURE = "token_signature"
    TOKEN_ISSUER = "token_issuer"
    TOKEN_AUDIENCE = "token_audience"
    TOKEN_EXPIRED = "token_expired"
    TOKEN_NOT_YET_VALID = "token_not_yet_valid"
    TOKEN_CLAIMS = "token_claims"
    TOKEN_REVOKED = "token_revoked"
    API_KEY_INVALID = "api_key_invalid"
    API_KEY_EXPIRED = "api_key_expired"
    CERTIFICATE_INVALID = "certificate_invalid"
    # denied by decision
    POLICY_FORBID = "policy_forbid"
    POLICY_NO_PERMIT = "policy_no_permit"
    # failures
    KEYS_UNAVAILABLE = "keys_unavailable"
    POLICIES_UNAVAILABLE = "policies_unavailable"
    CLAIMS_MISMATCH = "claims_mismatch"
    ATTRIBUTES_UNAVAILABLE = "attributes_unavailable"
    DECISION_UNAVAILABLE = "decision_unavailable"
    DECISION_THROTTLED = "decision_throttled"
    DECISION_MISCONFIGURED = "decision_misconfigured"
    QUERY_REFUSED = "query_refused"
    FORBID_ERROR = "forbid_error"
    TOO_MANY_CANDIDATES = "too_many_candidates"
    TOO_MANY_ENTITIES = "too_many_entities"
    TOO_MANY_ANCESTORS = "too_many_ancestors"
    ENTITIES_MISMATCH = "entities_mismatch"
    DEADLINE = "deadline"
    OVERLOADED = "overloaded"
    INTERNAL = "internal"


BEARER = "Bearer"


class AuthzError(Exception):
    """A stage that could not answer.

    `detail` is for the log: it names what was expected and where, and never holds a credential,
    a claim's value or an entity's attribute. A client sees the reason code only.
    """

    reason: Reason
    status: int = 503

    def __init__(self, reason: Reason, detail: str = "") -> None:
        super().__init__(detail or reason.value)
        self.reason = reason
        self.detail = detail


class RequestRefused(AuthzError):
    """The request cannot be read in one way only; RFC 9110, section 15.5.1."""

    status = 400


class UntrustedPeer(AuthzError):
    """The caller of a door is not a trusted proxy, so what it says of a client counts for nothing."""

    status = 403

    def __init__(self, detail: str = "") -> None:
        super().__init__(Reason.UNTRUSTED_PEER, detail)


class NoRoute(AuthzError):
    """No route covers the request's method, host and path."""

    status = 403

    def __init__(self, detail: str = "") -> None:
        super().__init__(Reason.NO_ROUTE, detail)


class Unauthenticated(AuthzError):
    """No credential that counts here, or a bad one; answered as RFC 6750, section 3."""

    status = 401

    def __init__(self, reason: Reason, detail: str = "", *, scheme: str = BEARER) -> None:
        super().__init__(reason, detail)
        self.scheme = scheme
        """The authentication scheme that the challenge names (RFC 9110, 11.6.1)."""


class Unavailable(AuthzError):
    """A failure: nobody could decide. Never to be confused with a deny."""

    status = 503
    by_query = False
    """Is it this query that cannot be decided, whoever asks again? A client that can bring a failure about must
    not get past a route that fails open: only outages open one."""


class KeysUnavailable(Unavailable):
    """No key set of the issuer is at hand, or the last good one is too old."""

    def __init__(self, detail: str = "", *, issuer: str = "") -> None:
        super().__init__(Reason.KEYS_UNAVAILABLE, detail)
        self.issuer = issuer
        """Whose keys; empty: not told."""


class PoliciesUnavailable(Unavailable):
    """No policy set is loaded, or the one in use is older than its limit."""

    def __init__(self, detail: str = "") -> None:
        super().__init__(Reason.POLICIES_UNAVAILABLE, detail)


class AttributesUnavailable(Unavailable):
    """What the policies need to know could not be gathered."""

    def __init__(self, reason: Reason = Reason.ATTRIBUTES_UNAVAILABLE, detail: str = "") -> None:
        super().__init__(reason, detail)
        self.by_query = reason in (Reason.CLAIMS_MISMATCH, Reason.ENTITIES_MISMATCH)


_BY_QUERY = frozenset(
    {
        Reason.FORBID_ERROR,
        Reason.QUERY_REFUSED,
        Reason.TOO_MANY_CANDIDATES,
        Reason.TOO_MANY_ENTITIES,
        Reason.TOO_MANY_ANCESTORS,
    }
)


class DecisionUnavailable(Unavailable):
    """The decision point gave no decision (Cedar's third answer, or an engine that failed)."""

    def __init__(
        self, reason: Reason = Reason.DECISION_UNAVAILABLE, detail: str = "", *, by_query: bool = False
    ) -> None:
        super().__init__(reason, detail)
        self.by_query = by_query or reason in _BY_QUERY


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """One fault in what an operator wrote: where it is, and what to do about it."""

    message: str
    file: str = ""
    line: int | None = None
    severity: str = "error"
    """`error` stops a start or a reload; `warning` is reported only."""

    def __str__(self) -> str:
        where = self.file + (f":{self.line}" if self.line is not None else "")
        prefix = f"{where}: " if where else ""
        text = f"{prefix}{'warning: ' if self.severity == 'warning' else ''}{self.message}"
        # Ids and names are as somebody wrote them: no new line, terminal sequence or turn of direction may come of it.
        return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


class Misconfigured(Exception):
    """What was loaded cannot be used. Carries every problem found, not the first."""

    def __init__(self, problems: tuple[Problem, ...]) -> None:
        super().__init__("\n".join(str(problem) for problem in problems))
        self.problems = problems
