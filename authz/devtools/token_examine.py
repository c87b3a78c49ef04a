"""One token, check by check, in the verifier's order.

The verdict is the verifier's own: the token goes through `TokenVerifier`, whole. The checks tell where it ended, and
are made by the functions that the verifier calls, each with the part of the token that it looks at. Of the header,
and of the claims, every fault is told, not only the first; the claims are looked at only after the signature.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, Literal

from authz.authn.compact import UnverifiedToken, unverified_token
from authz.authn.issuer import DEFAULT_TYPES, Issuer, check_claims, check_header
from authz.authn.jwt import MAX_TOKEN, TokenVerifier
from authz.authn.keys import VerificationKey
from authz.authn.revocation import DenyList
from authz.core.claims import identity_from_claims
from authz.core.errors import AuthzError, KeysUnavailable, Reason, Unauthenticated
from authz.core.model import Identity
from authz.devtools.token_words import moment, told

State = Literal["holds", "fails", "not reached"]
NAMES = (
    "size", "form", "issuer", "crit", "alg", "typ", "kid", "key", "signature", "exp", "nbf", "iat", "sub", "jti",
    "token_use", "aud", "clients", "principal", "deny list",
)  # fmt: skip
"""Every check, in order."""
_CLIENTS = ("azp", "client_id", "cid")


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One check, and what came of it."""

    name: str
    state: State
    detail: str = ""
    """What was found; or, where it fails, what was expected."""
    reason: Reason | None = None
    """Where it fails."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Examination:
    """What the verifier says of a token, and how it came to it."""

    checks: tuple[Check, ...]
    identity: Identity | None
    """None: the token does not count, for the reason that `error` has."""
    error: AuthzError | None = None
    issuer: Issuer | None = None
    header: Mapping[str, Any] = field(default_factory=dict)
    claims: Mapping[str, Any] = field(default_factory=dict)
    now: float
    """The moment at which the token was looked at."""

    @property
    def signed(self) -> bool:
        """Does the signature hold, so that the claims are the issuer's words?"""
        return any(check.name == "signature" and check.state == "holds" for check in self.checks)

    @property
    def failing(self) -> Check | None:
        """The first check that fails: the one that the verifier stops at."""
        return next((check for check in self.checks if check.state == "fails"), None)


async def examine(
    token: str,
    issuers: Sequence[Issuer],
    *,
    now: float,
    deny_list: DenyList | None = None,
    max_token: int = MAX_TOKEN,
) -> Examination:
    """What the verifier of these issuers says of a token at a moment (seconds since the epoch)."""
    denied = deny_list if deny_list is not None else DenyList()
    verifier = TokenVerifier(issuers, deny_list=denied, now=lambda: now, cache_size=0, max_token=max_token)
    identity: Identity | None = None
    error: AuthzError | None = None
    try:
        identity = await verifier.verify(token)
    except (Unauthenticated, KeysUnavailable) as refusal:
        error = refusal
    steps = _Steps(token=token, issuers=issuers, now=now, deny_list=denied, max_token=max_token, error=error)
    checks = await steps.run()
    return Examination(
        checks=tuple(checks),
        identity=identity,
        error=error,
        issuer=steps.issuer,
        header=steps.parts.header if steps.parts is not None else {},
        claims=steps.parts.claims if steps.parts is not None else {},
        now=now,
    )


@dataclass(slots=True, kw_only=True)
class _Steps:
    """The stages of one verification; each gives its checks, and the first with a fault is the last."""

    token: str
    issuers: Sequence[Issuer]
    now: float
    deny_list: DenyList
    max_token: int
    error: AuthzError | None
    """What the verifier said."""
    parts: UnverifiedToken | None = None
    issuer: Issuer | None = None
    identity: Identity | None = None

    async def run(self) -> list[Check]:
        checks: list[Check] = []
        for stage in (self._form, self._issuer, self._header):
            checks += stage()
            if _fails(checks):
                return self._finished(checks)
        checks += await self._keys()
        for stage in (self._claims, self._principal, self._denied):
            if _fails(checks):
                break
            checks += stage()
        return self._finished(checks)

    def _finished(self, checks: list[Check]) -> list[Check]:
        if self.error is not None and not _fails(checks):
            # A check that the verifier makes and this does not know: its word counts.
            checks.append(_failing("verifier", self.error))
        reached = {check.name for check in checks}
        return [*checks, *(Check(name=name, state="not reached") for name in NAMES if name not in reached)]

    def _form(self) -> Iterator[Check]:
        length = len(self.token)
        if length > self.max_token:
            detail = f"expected at most {self.max_token} characters, found {length}"
            yield Check(name="size", state="fails", reason=Reason.TOKEN_TOO_LARGE, detail=detail)
            return
        yield Check(name="size", state="holds", detail=f"{length} characters, at most {self.max_token} are accepted")
        try:
            self.parts = unverified_token(self.token)
        except Unauthenticated as error:
            yield _failing("form", error)
            return
        yield Check(name="form", state="holds", detail="a compact JWS with a JSON object as header and as payload")

    def _issuer(self) -> Iterator[Check]:
        name = self._parts.claims.get("iss")
        self.issuer = next((issuer for issuer in self.issuers if issuer.issuer == name), None)
        if self.issuer is None:
            known = ", ".join(f"`{issuer.issuer}`" for issuer in self.issuers) or "none"
            detail = f"`iss` is {told(name)}; configured: {known}"
            yield Check(name="issuer", state="fails", reason=Reason.TOKEN_ISSUER, detail=detail)
        else:
            yield Check(name="issuer", state="holds", detail=self.issuer.issuer)

    def _header(self) -> Iterator[Check]:
        header, issuer = self._parts.header, self._known
        good = {"alg": min(issuer.algorithms), "typ": min(issuer.types or DEFAULT_TYPES[issuer.source.token])}
        looked_at = {"crit": ("crit", "b64"), "alg": ("alg",), "typ": ("typ",), "kid": ("kid",)}
        for name, members in looked_at.items():
            rest = {member: value for member, value in good.items() if member not in members}
            given = _only(header, members)
            yield _tried(name, partial(check_header, rest | given, issuer), partial(_values, given))

    async def _keys(self) -> list[Check]:
        kid, alg = check_header(self._parts.header, self._known)
        if isinstance(self.error, KeysUnavailable):
            return [_failing("key", self.error)]
        try:
            key = await self._known.keys.key(kid, alg)
        except (Unauthenticated, KeysUnavailable) as error:
            return [_failing("key", error)]
        found = Check(name="key", state="holds", detail=_key_told(key))
        unsigned = {Reason.TOKEN_SIGNATURE, Reason.TOKEN_KEY_UNKNOWN}  # or a key that does not fit the algorithm
        if self.error is not None and self.error.reason in unsigned:
            return [found, _failing("signature", self.error)]
        return [found, Check(name="signature", state="holds", detail=f"{alg}, by that key")]

    def _claims(self) -> Iterator[Check]:
        claims, issuer = self._parts.claims, self._known
        plain = replace(issuer, audiences=frozenset(), clients=frozenset())
        kind = issuer.source.token
        if kind == "either":
            kind = "id" if claims.get("token_use") == "id" else "access"
        ahead: dict[str, Any] = {"exp": self.now + 1, "token_use": kind}
        terms: Mapping[str, tuple[tuple[str, ...], Issuer]] = {
            **{name: ((name,), plain) for name in ("exp", "nbf", "iat", "sub", "jti")},
            "token_use": (("token_use",), plain),
            "aud": (("aud", "client_id", "cid"), replace(issuer, clients=frozenset())),
            "clients": (_CLIENTS, replace(plain, clients=issuer.clients)),
        }
        for name, (members, on) in terms.items():
            given = _only(claims, members)
            part = {member: value for member, value in ahead.items() if member not in members} | given
            typ = self._parts.header.get("typ", "") if name == "token_use" else ""
            yield _tried(
                name, partial(check_claims, part, on, self.now, typ=typ), partial(self._claim_told, name, given)
            )

    def _claim_told(self, name: str, given: Mapping[str, Any]) -> str:
        issuer = self._known
        if name in {"exp", "nbf", "iat"}:
            return moment(given[name], self.now) if name in given else "absent"
        if (name == "aud" and not issuer.audiences) or (name == "clients" and not issuer.clients):
            return "not looked at, for the configuration names none"
        return _values(given)

    def _principal(self) -> Iterator[Check]:
        issuer = self._known
        try:
            self.identity = identity_from_claims(
                self._parts.claims, issuer.source, issuer=issuer.issuer, credential=None
            )
        except Unauthenticated as error:
            yield _failing("principal", error)
            return
        yield Check(name="principal", state="holds", detail=str(self.identity.principal))

    def _denied(self) -> Iterator[Check]:
        identity, jti = self.identity, self._parts.claims.get("jti")
        if identity is not None and self.deny_list.denies(identity.issuer, jti, identity.subject):
            detail = "the token or its subject is on the deny list"
            yield Check(name="deny list", state="fails", reason=Reason.TOKEN_REVOKED, detail=detail)
        else:
            yield Check(name="deny list", state="holds", detail=f"not among its {len(self.deny_list)} entries")

    @property
    def _parts(self) -> UnverifiedToken:
        if self.parts is None:
            raise RuntimeError("the token was not read")
        return self.parts

    @property
    def _known(self) -> Issuer:
        if self.issuer is None:
            raise RuntimeError("the issuer is not known")
        return self.issuer


# --- one check --------------------------------------------------------------------------------------------


def _tried(name: str, check: Callable[[], object], found: Callable[[], str]) -> Check:
    try:
        check()
    except Unauthenticated as error:
        return Check(name=name, state="fails", reason=error.reason, detail=f"{error.detail}; found: {found()}")
    return Check(name=name, state="holds", detail=found())


def _failing(name: str, error: AuthzError) -> Check:
    return Check(name=name, state="fails", reason=error.reason, detail=error.detail)


def _fails(checks: Sequence[Check]) -> bool:
    return any(check.state == "fails" for check in checks)


def _only(members: Mapping[str, Any], names: Sequence[str]) -> dict[str, Any]:
    return {name: members[name] for name in names if name in members}


# --- in words ---------------------------------------------------------------------------------------------


def _values(found: Mapping[str, Any]) -> str:
    if len(found) == 1:
        return told(next(iter(found.values())))
    return ", ".join(f"{name} {told(value)}" for name, value in found.items()) or "absent"


def _key_told(key: VerificationKey) -> str:
    if isinstance(key.key, bytes):
        return "the shared secret"  # not its digest: a short secret could be found by it
    named = f"`kid` {told(key.kid)}" if key.kid is not None else "no `kid`"
    return f"{named}, SHA-256 {key.fingerprint[:16]}…, for {', '.join(sorted(key.algorithms))}"
