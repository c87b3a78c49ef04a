"""`Authorizer.check`: the stages of a check, on one page.

The result does not start as success. `Allowed` is built in one place, from an allowing decision; every other
end of every stage is a `Denied` or a `Failed`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from authz.core.errors import (
    BEARER,
    AuthzError,
    KeysUnavailable,
    NoRoute,
    PoliciesUnavailable,
    Reason,
    RequestRefused,
    Unauthenticated,
    Unavailable,
    UntrustedPeer,
)
from authz.core.lookup import Lookup
from authz.core.model import (
    Allowed,
    Decision,
    Denied,
    EntityUid,
    Failed,
    Identity,
    Outcome,
    Query,
    Request,
    Stage,
    Verdict,
)
from authz.core.ports import Authenticator, DecisionPoint, InformationPoint
from authz.core.routes import Route, RouteTable

PREFLIGHT = Decision(verdict=Verdict.ALLOW, decision_point="preflight")
"""A CORS preflight of a route that spells out that these pass. No policy was asked."""


class Trail:
    """How far a check came. The one mutable value: it survives a timeout, so the record still tells the tale."""

    __slots__ = ("authenticator", "decision", "error", "identity", "query", "route", "stage")

    def __init__(self) -> None:
        self.stage = Stage.ROUTE
        self.route: Route | None = None
        self.authenticator = ""
        self.identity: Identity | None = None
        self.query: Query | None = None
        self.decision: Decision | None = None
        self.error: BaseException | None = None

    def enter(self, stage: Stage) -> None:
        """Called as each stage begins. The shell's trail also reads its clock here."""
        self.stage = stage


@dataclass(frozen=True, slots=True, kw_only=True)
class Authorizer:
    """Everything one check needs, replaced whole on reload, so that no check sees half of a change."""

    routes: RouteTable
    authenticators: Mapping[str, Authenticator]
    """By name, in the order in which they are asked where a route does not list its own."""
    challenges: Mapping[str, str] = field(default_factory=dict)
    """Authenticator → the scheme of its challenge, for those whose scheme is not `Bearer`."""
    decision_point: DecisionPoint
    anonymous: Mapping[EntityUid, Identity] = field(default_factory=dict)
    information: Mapping[str, InformationPoint] = field(default_factory=dict)
    waiting: str = ""
    """Why there are no policies yet, and so no issuers: every check fails. Empty: there are."""

    async def check(self, request: Request, trail: Trail) -> Outcome:
        """The outcome for a request. Raises nothing but what cancels the task (BaseException)."""
        try:
            if not request.peer.trusted:
                raise UntrustedPeer("the caller is not a trusted proxy; see `trusted_proxies` and `tls.clients`")
            if request.method == "OPTIONS" and (answered := self.routes.preflight(request)) is not None:
                trail.route = answered
                answered.check_aliases(request.headers)
                trail.decision = PREFLIGHT
                return Allowed(decision=PREFLIGHT, edits=answered.bare_edits())
            route, parameters = self.routes.match(request)
            trail.route = route
            if request.headers.aliases:
                route.check_aliases(request.headers)
            if self.waiting:
                raise PoliciesUnavailable(self.waiting)

            trail.enter(Stage.AUTHENTICATE)
            identity = trail.identity = await self._authenticate(route, request, trail)

            trail.enter(Stage.MAP)
            lookup = Lookup(request, identity, parameters, route.body, self.routes.memo)
            query = trail.query = route.query(lookup)

            if route.information:
                trail.enter(Stage.ENRICH)
                query = trail.query = await self._enrich(route, lookup, query)

            trail.enter(Stage.DECIDE)
            decision = trail.decision = await self.decision_point.decide(query)

            trail.enter(Stage.ENFORCE)
            if decision.verdict is Verdict.ALLOW:
                return Allowed(decision=decision, edits=route.edits(lookup))
            reason = Reason.POLICY_FORBID if decision.policies else Reason.POLICY_NO_PERMIT
            return Denied(stage=Stage.DECIDE, reason=reason, decision=decision)
        except AuthzError as error:
            trail.error = error
            return ended(trail, error)
        except Exception as error:  # noqa: BLE001 - whatever it is, it is not an allow
            trail.error = error
            # No outage: an input that meets a fault of ours must not be let through for it.
            return failed(trail, Reason.INTERNAL, status=500, detail=f"unexpected {type(error).__name__}", outage=False)

    async def _authenticate(self, route: Route, request: Request, trail: Trail) -> Identity:
        # In order: the first that finds a credential of its kind settles who calls, and a bad one ends the check.
        for name in route.authenticators or self.authenticators:
            trail.authenticator = name
            try:
                identity = await self.authenticators[name].authenticate(request)
            except KeysUnavailable as error:
                # No outage where the token would not count anyway: anybody can name an issuer, and forge the rest.
                if error.issuer:
                    _check_issuer(route, error.issuer)
                raise
            if identity is not None:
                # Issuers are of tokens: which other credentials count, the route's authenticators say.
                if identity.scheme == "bearer":
                    _check_issuer(route, identity.issuer)
                return identity
        trail.authenticator = ""
        if route.anonymous is not None:
            return self.anonymous[route.anonymous]
        raise Unauthenticated(
            Reason.NO_CREDENTIALS,
            "no credential was sent, and the route has no anonymous principal",
            scheme=self._challenge(route),
        )

    def _challenge(self, route: Route) -> str:
        schemes = [self.challenges.get(name, BEARER) for name in route.authenticators or self.authenticators]
        return schemes[0] if schemes and BEARER not in schemes else BEARER

    async def _enrich(self, route: Route, lookup: Lookup, query: Query) -> Query:
        found = {name: await self.information[name].fetch(keys) for name, keys in route.keys(lookup).items()}
        pip = {key: value for attributes in found.values() for key, value in attributes.context.items()}
        return Query(
            principal=query.principal,
            action=query.action,
            resource=query.resource,
            context={**query.context, "pip": pip},
            entities=(*query.entities, *(attributes.entities for attributes in found.values())),
            credential=query.credential,
            caching=query.caching,
        )


def _check_issuer(route: Route, issuer: str) -> None:
    if route.issuers and issuer not in route.issuers:
        raise Unauthenticated(Reason.TOKEN_ISSUER, "the route does not accept this issuer's tokens")


def ended(trail: Trail, error: AuthzError) -> Outcome:
    """The outcome of a stage that could not answer. By type: what is not plainly a denial is a failure."""
    if isinstance(error, Unavailable):
        # Too many calls is what a client can bring about by calling.
        outage = not error.by_query and error.reason is not Reason.DECISION_THROTTLED
        return failed(trail, error.reason, status=error.status, detail=error.detail, outage=outage)
    if isinstance(error, Unauthenticated):
        return Denied(
            stage=trail.stage, reason=error.reason, status=error.status, detail=error.detail, scheme=error.scheme
        )
    if isinstance(error, RequestRefused | UntrustedPeer | NoRoute):
        return Denied(stage=trail.stage, reason=error.reason, status=error.status, detail=error.detail)
    return failed(trail, Reason.INTERNAL, status=500, detail=f"unexpected {type(error).__name__}", outage=False)


def failed(trail: Trail, reason: Reason, *, status: int = 503, detail: str = "", outage: bool = True) -> Failed:
    """A failure at the stage reached; an outage is let through where the matched route spells out fail-open."""
    route = trail.route
    if route is not None and route.fail_open and outage:
        return Failed(
            stage=trail.stage,
            reason=reason,
            status=status,
            detail=detail,
            let_through=True,
            edits=route.bare_edits(),
        )
    return Failed(stage=trail.stage, reason=reason, status=status, detail=detail)
