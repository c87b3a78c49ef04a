"""One issuer's terms, and the checks of a token's header and claims against them, each with its reason code.

Pure functions of the token, the issuer's settings and the time. PyJWT checks claims only where they are
present, takes `"exp": "123"` for a number and reads its own clock, so the claims are checked here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from authz.authn.keys import ASYMMETRIC, SYMMETRIC, KeySet
from authz.core.claims import IdentitySource, TokenSelection, numeric_date, token_kind
from authz.core.errors import Misconfigured, Problem, Reason, Unauthenticated

MAX_LEEWAY = 600.0
# RFC 9068, section 2.1, asks for `at+jwt`; most issuers still write `JWT` or nothing. OpenID Connect says
# nothing of ID tokens. Tokens for other ends (`logout+jwt`, `dpop+jwt`, `secevent+jwt`) count for neither.
DEFAULT_TYPES: Mapping[TokenSelection, frozenset[str]] = {
    "access": frozenset({"at+jwt", "jwt", ""}),
    "id": frozenset({"jwt", ""}),
    "either": frozenset({"at+jwt", "jwt", ""}),  # and then, once the kind is known, those of the kind
}
# Who asked for the token, by issuer: OpenID Connect and most; RFC 9068; Okta.
_CLIENT_CLAIMS = ("azp", "client_id", "cid")
# What Verified Permissions takes for the audience of an access token that has no `aud`.
_AUDIENCE_CLAIMS = ("cid", "client_id")


@dataclass(frozen=True, slots=True, kw_only=True)
class Issuer:
    """One issuer whose tokens are accepted, and on which terms.

    Raises:
        Misconfigured: every setting that cannot be.
    """

    name: str
    """For logs and metrics."""
    issuer: str
    """The claim `iss`, character for character."""
    keys: KeySet
    source: IdentitySource
    algorithms: frozenset[str]
    """Of RS/PS/ES256–512 and EdDSA; or, with a shared secret, of HS256–512."""
    audiences: frozenset[str] = frozenset()
    """One of these must be in `aud`; empty: `aud` is not looked at, every token of the issuer counts."""
    clients: frozenset[str] = frozenset()
    """Clients that may have asked for the token (`azp`, `client_id`, `cid`); empty: any."""
    types: frozenset[str] = frozenset()
    """Accepted `typ`: lower case, without `application/`, the empty string for none; empty: by token kind."""
    leeway: float = 30.0
    """Seconds by which clocks may differ."""
    cognito: bool = False
    """An Amazon Cognito user pool: `token_use` must be there, an access token's audience is `client_id`."""
    client_as_audience: bool = False
    """May `cid` or `client_id` name the audience of an access token without `aud`, as Verified Permissions has it?"""

    def __post_init__(self) -> None:
        if problems := tuple(Problem(message=f"issuer `{self.name}`: {text}") for text in self._problems()):
            raise Misconfigured(problems)

    def _problems(self) -> list[str]:
        problems = []
        if not self.issuer:
            problems.append("expected the issuer's name as in the claim `iss`")
        if unknown := sorted(self.algorithms - ASYMMETRIC - SYMMETRIC):
            problems.append(f"`{unknown[0]}` is no accepted algorithm; expected some of {sorted(ASYMMETRIC)}")
        if not self.algorithms:
            problems.append("expected at least one algorithm")
        allowed = SYMMETRIC if self.keys.symmetric else ASYMMETRIC
        if not unknown and self.algorithms - allowed:
            problems.append("a shared secret goes with HS256, HS384 and HS512, and these with nothing else")
        if not 0 <= self.leeway <= MAX_LEEWAY:  # NaN is refused too
            problems.append(f"expected a leeway of 0 to {MAX_LEEWAY:g} seconds")
        if self.source.token == "either" and not self.cognito:
            problems.append("`either` goes with Amazon Cognito only, whose tokens say their kind; expected one kind")
        return problems


def check_header(header: Mapping[str, Any], issuer: Issuer) -> tuple[str | None, str]:
    """The `kid` (if any) and `alg` of a token that may be this issuer's.

    Keys and their addresses in a header (`jwk`, `jku`, `x5c`, `x5u`) are never looked at (RFC 8725, 3.10).

    Raises:
        Unauthenticated: `token_critical`, `token_algorithm`, `token_type` or `token_malformed`.
    """
    # No extension is understood here (RFC 7515, 4.1.11), and b64=false is not for tokens (RFC 7797, 7).
    if "crit" in header or header.get("b64", True) is not True:
        raise _refused(Reason.TOKEN_CRITICAL, "expected no critical header extension")
    alg = header.get("alg")
    if not isinstance(alg, str) or alg not in issuer.algorithms:
        raise _refused(Reason.TOKEN_ALGORITHM, f"expected `alg` to be one of {sorted(issuer.algorithms)}")
    _check_type(header.get("typ", ""), issuer.types or DEFAULT_TYPES[issuer.source.token])
    if not isinstance(header.get("kid", ""), str):
        raise _refused(Reason.TOKEN_MALFORMED, "expected `kid` to be a string")
    return header.get("kid"), alg


def _check_type(typ: object, types: frozenset[str]) -> None:
    # RFC 7515, section 4.1.9: a media type, in any case, `application/` may be left out.
    if not isinstance(typ, str) or typ.lower().removeprefix("application/") not in types:
        raise _refused(Reason.TOKEN_TYPE, f"expected `typ` to be one of {sorted(types)}")


def check_claims(claims: Mapping[str, Any], issuer: Issuer, now: float, *, typ: object = "") -> float:
    """The moment at which the token stops to count: `exp` and the leeway, in seconds since the epoch.

    `typ` is the header's: where the issuer's tokens are of either kind, it must suit the kind that the claims say.

    Raises:
        Unauthenticated: with the reason code of the first claim that is not as expected.
    """
    until = _check_times(claims, issuer.leeway, now)
    for name in ("sub", "jti"):  # RFC 7519, sections 4.1.2 and 4.1.7
        if name in claims and not isinstance(claims[name], str):
            raise _refused(Reason.TOKEN_CLAIMS, f"expected the claim `{name}` to be a string")
    _check_use(claims, issuer, typ)
    _check_audience(claims, issuer)
    if issuer.clients:
        # OpenID Connect Core, section 3.1.3.7, steps 4 and 5; RFC 9068, section 2.2, for `client_id`.
        _check_named(claims, _CLIENT_CLAIMS, issuer.clients)
    return until


def _check_times(claims: Mapping[str, Any], leeway: float, now: float) -> float:
    expires = numeric_date(claims, "exp")
    if expires is None:
        raise _refused(Reason.TOKEN_CLAIMS, "expected the claim `exp`")
    # RFC 7519, section 4.1.4: the present moment must be before `exp`.
    if now >= expires + leeway:
        raise _refused(Reason.TOKEN_EXPIRED, "the claim `exp` is in the past")
    for name in ("nbf", "iat"):
        begins = numeric_date(claims, name)
        if begins is not None and now < begins - leeway:
            raise _refused(Reason.TOKEN_NOT_YET_VALID, f"the claim `{name}` is in the future")
    return expires + leeway


def _check_use(claims: Mapping[str, Any], issuer: Issuer, typ: object) -> None:
    """Amazon Cognito's `token_use`: an ID token is no access token, though the keys are the same."""
    use = claims.get("token_use")
    expected = token_kind(claims, issuer.source)
    if use != expected and (issuer.cognito or use in ("access", "id")):
        raise _refused(Reason.TOKEN_TYPE, f"expected an {expected} token by its claim `token_use`")
    if issuer.source.token == "either" and not issuer.types:
        _check_type(typ, DEFAULT_TYPES[expected])


def _check_audience(claims: Mapping[str, Any], issuer: Issuer) -> None:
    if not issuer.audiences:
        return
    access = token_kind(claims, issuer.source) == "access"
    if access and issuer.client_as_audience and "aud" not in claims:
        _check_named(claims, _AUDIENCE_CLAIMS, issuer.audiences)
        return
    claim = "client_id" if access and issuer.cognito else "aud"
    found = claims.get(claim)
    named = found if isinstance(found, list) and claim == "aud" else [found]  # RFC 7519, section 4.1.3
    if not all(isinstance(name, str) for name in named) or issuer.audiences.isdisjoint(named):
        raise _refused(Reason.TOKEN_AUDIENCE, f"expected `{claim}` to name an audience of issuer `{issuer.name}`")


def _check_named(claims: Mapping[str, Any], among: tuple[str, ...], allowed: frozenset[str]) -> None:
    """At least one of the claims is there, and none of them names anybody else."""
    named = [claims[name] for name in among if name in claims]
    if not named or not all(isinstance(name, str) and name in allowed for name in named):
        raise _refused(Reason.TOKEN_AUDIENCE, f"expected {list(among)} to name an allowed client")


def _refused(reason: Reason, detail: str) -> Unauthenticated:
    return Unauthenticated(reason, detail)
