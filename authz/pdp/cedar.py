"""The local decision point: Cedar's engine (`cedarpy`) over one compiled policy set.

Cedar's semantics are kept: a forbid wins over any permit, nothing matching is a deny, a policy that errs is
skipped (Cedar documentation, "Authorization"). The engine's third answer, `NoDecision`, is a failure here.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

from authz.core.errors import AttributesUnavailable, DecisionUnavailable, PoliciesUnavailable, Reason
from authz.core.model import Decision, Effect, EntityUid, PolicyError, Query, Value, Verdict
from authz.pdp.cedar_json import Misfit, members_text, project, to_text
from authz.pdp.compiled import CompiledPolicies
from authz.pdp.context_needs import ContextNeeds
from authz.pdp.engine import Answer, asker
from authz.pdp.slices import Slices

_VERDICTS = frozenset({"Allow", "Deny"})
_GAVE_UP = "recursion limit reached"
_ERRED = re.compile(r"`(policy\d+|[^`]*)`")


@dataclass(frozen=True, slots=True, kw_only=True)
class CedarSettings:
    """How the local decision point decides."""

    on_forbid_error: Literal["skip", "fail"] = "skip"
    """`skip` is Cedar's rule; `fail`: no decision where a forbid could not be evaluated."""
    validate_requests: bool = False
    """Strict: the engine checks each request against the schema, and what does not fit is a failure."""
    max_age: float | None = None
    """Seconds that a policy set may be used after it was last known to be current; None: no limit."""


DEFAULTS = CedarSettings()


class CedarDecisionPoint:
    """Decides in the process. Immutable but for its caches; a new policy set is a new decision point."""

    def __init__(
        self,
        compiled: CompiledPolicies,
        settings: CedarSettings = DEFAULTS,
        *,
        age: Callable[[], float] = lambda: 0.0,
    ) -> None:
        self._compiled = compiled
        self._settings = settings
        self._age = age
        self._slices = Slices(compiled.entities, compiled.schema, named=compiled.named)
        self._token_text = lru_cache(maxsize=4096)(self._build_token_text)
        self._engine_schema = compiled.engine_schema if settings.validate_requests else None
        self._ask = asker()
        # Where the engine holds each request against the schema, it must see all of it.
        snapshot = compiled.snapshot
        self._needs = (
            ContextNeeds((*snapshot.policies, *snapshot.templates), compiled.schema)
            if self._engine_schema is None
            else None
        )

    async def decide(self, query: Query) -> Decision:
        """The decision for one query. Raises as the port says."""
        age = self._age()
        if self._settings.max_age is not None and age > self._settings.max_age:
            raise PoliciesUnavailable(f"the policy set was last current {age:.0f} s ago; see `policies.max_age`")
        return self._decided(query, age)

    async def decide_many(self, queries: Sequence[Query]) -> tuple[Decision, ...]:
        """One decision for each query, in order."""
        return tuple([await self.decide(query) for query in queries])

    def _decided(self, query: Query, age: float) -> Decision:
        principal, action, resource = query.principal, query.action, query.resource
        request = {
            "principal": {"type": principal.type, "id": principal.id},
            "action": {"type": action.type, "id": action.id},
            "resource": {"type": resource.type, "id": resource.id},
            "context": self._context(query),
        }
        entities = self._slices.handle(query)
        try:
            answer = self._ask(request, self._compiled.handle, entities, self._engine_schema)
        except (ValueError, TypeError) as error:
            raise _no_decision() from error
        return self._decision(answer, age)

    def _decision(self, answer: Answer, age: float) -> Decision:
        compiled = self._compiled
        if answer.decision not in _VERDICTS:
            raise _no_decision()
        diagnostics = answer.diagnostics
        reasons = tuple(sorted([compiled.ids[number] for number in diagnostics.reason]))
        errors = tuple(self._error(text) for text in diagnostics.errors) if diagnostics.errors else ()
        if any(_GAVE_UP in error.message for error in errors):
            # Not a policy that errs, but an engine that stopped: a forbid so deep must not be skipped.
            text = "a policy is nested too deeply for the engine to evaluate it here"
            raise DecisionUnavailable(detail=text, by_query=True)
        if errors and self._settings.on_forbid_error == "fail" and any(e.effect is Effect.FORBID for e in errors):
            raise DecisionUnavailable(Reason.FORBID_ERROR, "a forbid could not be evaluated; see `on_forbid_error`")
        if answer.decision == "Allow":
            if not reasons:  # there is no allow without a permit: the answer is not what it was read as
                raise _no_decision()
            return Decision(verdict=Verdict.ALLOW, policies=reasons, errors=errors, version=compiled.version, age=age)
        return Decision(
            verdict=Verdict.DENY,
            policies=reasons,
            errors=errors,
            messages=tuple(compiled.messages[policy] for policy in reasons if policy in compiled.messages),
            version=compiled.version,
            age=age,
        )

    def _error(self, text: str) -> PolicyError:
        match = _ERRED.search(text)
        policy = self._compiled.ids.get(match[1], "") if match is not None else ""
        # An error that cannot be placed counts as a forbid's: the strict reading.
        return PolicyError(policy_id=policy, effect=self._compiled.effects.get(policy, Effect.FORBID), message=text)

    def _context(self, query: Query) -> str:
        context = query.context
        names = self._needs.names(query) if self._needs is not None else None
        if names is not None:
            context = {name: context[name] for name in names if name in context}
        token = context.get("token")
        if token is None:
            return f"{{{members_text(context)}}}"
        rest = members_text({name: value for name, value in context.items() if name != "token"})
        text = self._token_text(_Same(token), query.action)
        return f"{{{rest}{',' if rest and text else ''}{text}}}"

    def _build_token_text(self, same: _Same, action: EntityUid) -> str:
        """The member `token` of the context, as the schema declares it for the action; empty where it declares none."""
        token, schema = same.value, self._compiled.schema
        if schema is not None:
            declaration = schema.actions.get((action.type, action.id))
            declared = declaration.context.attributes.get("token") if declaration is not None else None
            if declared is None:
                return ""
            try:
                token = project(token, declared.type, "context.token")
            except Misfit as error:
                raise AttributesUnavailable(Reason.CLAIMS_MISMATCH, str(error)) from None
        return f'"token":{to_text(token)}'


class _Same:
    """A value compared by identity, so that what was derived from it can be kept beside it."""

    __slots__ = ("value",)

    def __init__(self, value: Value) -> None:
        self.value = value

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Same) and other.value is self.value

    def __hash__(self) -> int:
        return id(self.value)


def _no_decision() -> DecisionUnavailable:
    # The engine's text repeats the entities it was given: never logged, never returned (pitfalls, Cedar engine).
    return DecisionUnavailable(
        detail="the engine gave no decision: the request does not fit the schema, or has a value Cedar does not know",
        by_query=True,
    )
