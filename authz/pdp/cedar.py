"""The local decision point: Cedar's engine (`cedarpy`) over one compiled policy set.

Cedar's semantics are kept: a forbid wins over any permit, nothing matching is a deny, a policy that errs is
skipped (Cedar documentation, "Authorization"). The engine's third answer, `NoDecision`, is a failure here.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from operator import attrgetter
from typing import Literal

from authz.core.errors import AttributesUnavailable, DecisionUnavailable, PoliciesUnavailable, Reason
from authz.core.model import Decision, Effect, EntityUid, PolicyError, Query, Value, Verdict
from authz.pdp.ancestry import Reach, World
from authz.pdp.cedar_json import Misfit, is_name, is_sound, members_text, project, to_text
from authz.pdp.compiled import CompiledPolicies
from authz.pdp.engine import Answer, Request, all_asker, asker, is_panic
from authz.pdp.family import Limits
from authz.pdp.handles import Candidates
from authz.pdp.index import Found
from authz.pdp.kept import kept
from authz.pdp.left_out import undeclared
from authz.pdp.many import Many, Parts
from authz.pdp.misfits import request_misfit
from authz.pdp.rows import Row
from authz.pdp.slices import Prepared, Slices

_VERDICTS = frozenset({"Allow", "Deny"})
_GAVE_UP = re.compile(r"error while evaluating policy `policy\d+`: recursion limit reached")
_ERRED = re.compile(r"policy `(policy\d+)`")
_ID = attrgetter("id")
_POLICY = attrgetter("policy_id")


@dataclass(frozen=True, slots=True, kw_only=True)
class CedarSettings:
    """How the local decision point decides."""

    on_forbid_error: Literal["skip", "fail"] = "skip"
    """`skip` is Cedar's rule; `fail`: no decision where a forbid could not be evaluated."""
    validate_requests: bool = False
    """Strict: the engine checks each request against the schema, and what does not fit is a failure."""
    validate_entities: bool = False
    """Strict: the engine checks each entity of a request against the schema, and what does not fit is a failure."""
    max_candidates: int = 10_000
    """Policies that one decision may evaluate; each takes some microseconds, during which nothing else is done."""
    max_entities: int = 10_000
    """Entities that one decision may reach."""
    max_ancestors: int = 20_000
    """Entities that those of one decision may be in, at any distance, counted for each."""
    tell_left_out: bool = False
    """Say in each decision which attributes the schema does not declare, and so were not told to the engine."""
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
        self._world = World(
            compiled.entities,
            compiled.schema,
            Reach(entities=settings.max_entities, ancestors=settings.max_ancestors),
            cut=not settings.validate_entities,
        )
        self._slices = Slices(
            self._world,
            compiled.index,
            strict=compiled.engine_schema if settings.validate_entities else None,
            max_candidates=settings.max_candidates,
        )
        self._handles = compiled.handles
        self._handles.expect(len(compiled.index))
        self._token_text = kept(4096, self._build_token_text)
        self._engine_schema = compiled.engine_schema if settings.validate_requests else None
        self._ask = asker()
        self._ask_all = all_asker()

    async def decide(self, query: Query) -> Decision:
        """The decision for one query. Raises as the port says."""
        return await self._one(query, self._current_age())

    async def _one(self, query: Query, age: float) -> Decision:
        try:
            prepared = self._slices.prepared(query)
            candidates = self._handles.kept(prepared.found) or await self._handles.made(prepared.found)
            return self._decided(query, prepared, candidates, age)
        except RecursionError:
            raise _too_deep() from None
        except BaseException as error:
            if is_panic(error):
                raise _panicked() from None
            raise

    async def decide_many(self, queries: Sequence[Query]) -> tuple[Decision, ...]:
        """One decision for each query, in order. Raises as the port says, for the first one that has none.

        What queries have in common is done once (`many`). Give those of one principal the same slice for it, and
        those of one request the same context.
        """
        if not queries:
            return ()
        age = self._current_age()
        if len(queries) == 1 or self._settings.validate_requests or self._settings.validate_entities:
            return tuple([await self._one(query, age) for query in queries])
        parts = Parts(
            world=self._world,
            slices=self._slices,
            handles=self._handles,
            limits=Limits(entities=self._settings.max_entities, ancestors=self._settings.max_ancestors),
            ask=self._ask_all,
            context=self._context,
            read=lambda answer, found, forms: self._decision(answer, found, forms, age, ()),
            left_out=self._left_out if self._settings.tell_left_out else None,
            one=lambda query: self._one(query, age),
        )
        return await Many(tuple(queries), parts).decided()

    def _current_age(self) -> float:
        age = self._age()
        if self._settings.max_age is not None and age > self._settings.max_age:
            raise PoliciesUnavailable(f"the policy set was last current {age:.0f} s ago; see `policies.max_age`")
        return age

    def _decided(self, query: Query, prepared: Prepared, candidates: Candidates, age: float) -> Decision:
        try:
            answer = self._ask(
                self._request(query, candidates), candidates.handle, prepared.entities, self._engine_schema
            )
        except (ValueError, TypeError) as error:
            raise _no_decision() from error
        if answer.decision not in _VERDICTS:
            raise self._undecided(query)
        left_out = self._left_out(query) if self._settings.tell_left_out else ()
        return self._decision(answer, prepared.found, candidates.forms, age, left_out)

    def _undecided(self, query: Query) -> DecisionUnavailable:
        schema = self._compiled.schema
        misfit = request_misfit(query, schema) if self._engine_schema is not None and schema is not None else ""
        return DecisionUnavailable(detail=misfit, by_query=True) if misfit else _no_decision()

    def _request(self, query: Query, candidates: Candidates) -> Request:
        principal, action, resource = query.principal, query.action, query.resource
        return {
            "principal": {"type": principal.type, "id": principal.id},
            "action": {"type": action.type, "id": action.id},
            "resource": {"type": resource.type, "id": resource.id},
            "context": self._context(query, candidates.names),
        }

    def _decision(
        self, answer: Answer, found: Found, forms: Mapping[str, str], age: float, left_out: tuple[str, ...]
    ) -> Decision:
        diagnostics = answer.diagnostics
        try:
            determining = [row for name in diagnostics.reason for row in found.rows(forms[name])]
        except KeyError:
            raise _no_decision() from None
        if len(determining) > 1:
            determining.sort(key=_ID)
        reasons = tuple([row.id for row in determining])
        erred = [error for text in diagnostics.errors for error in _errors(text, found, forms)]
        errors = tuple(sorted(erred, key=_POLICY)) if erred else ()
        if erred and any(_GAVE_UP.fullmatch(text) for text in diagnostics.errors):
            # Not a policy that errs, but an engine that stopped: a forbid so deep must not be skipped.
            text = "a policy is nested too deeply for the engine to evaluate it here"
            raise DecisionUnavailable(detail=text, by_query=True)
        if errors and self._settings.on_forbid_error == "fail" and any(e.effect is Effect.FORBID for e in errors):
            names = ", ".join(f"`{error.policy_id}`" for error in errors if error.effect is Effect.FORBID)
            text = f"could not be evaluated: {names}; see `policies.on_forbid_error`"
            raise DecisionUnavailable(Reason.FORBID_ERROR, text)
        allowed = answer.decision == "Allow"
        if allowed and not reasons:  # there is no allow without a permit: the answer is not what it was read as
            raise _no_decision()
        return Decision(
            verdict=Verdict.ALLOW if allowed else Verdict.DENY,
            policies=reasons,
            names=_names(determining),
            errors=errors,
            messages=() if allowed else _messages(determining),
            version=self._compiled.version,
            age=age,
            left_out=left_out,
        )

    def _context(self, query: Query, names: frozenset[str] | None) -> str:
        """The context as far as it can matter.

        The engine parses all that it is told, which takes as long as ten policies (measured: 26 of 45 µs). What no
        candidate reads cannot change the answer; but what is no Cedar value is refused, whether read or not.
        """
        context = query.context
        token = context.get("token")
        # Where the engine holds each request against the schema, it must see all of it.
        if names is None or self._engine_schema is not None:
            told = [name for name in context if name != "token"]
        else:
            told = []
            for name, value in context.items():
                if name in names:
                    told.append(name)
                elif name != "token" and not (is_name(name) and is_sound(value)):
                    raise _no_decision()
            token = token if "token" in names else None
            if "token" in told:
                told.remove("token")
        text = members_text({name: context[name] for name in told})
        if token is None:
            return f"{{{text}}}"
        token_text = self._token_text(_Same(token), query.action)
        return f"{{{text}{',' if text and token_text else ''}{token_text}}}"

    def _left_out(self, query: Query) -> tuple[str, ...]:
        found = set(self._world.left_out(query.entities))
        token, schema = query.context.get("token"), self._compiled.schema
        if schema is not None and isinstance(token, Mapping):
            action = schema.actions.get((query.action.type, query.action.id))
            declared = action.context.attributes if action is not None else {}
            found.update(undeclared({"token": token}, declared, "context"))
        return tuple(sorted(found))

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


def _errors(text: str, found: Found, forms: Mapping[str, str]) -> Iterator[PolicyError]:
    match = _ERRED.search(text)
    name = match[1] if match is not None else ""
    if name not in forms:
        # An error that cannot be placed counts as a forbid's: the strict reading.
        yield PolicyError(policy_id="", effect=Effect.FORBID, message=text)
        return
    for row in found.rows(forms[name]):
        told = text.replace(f"`{name}`", f"`{row.id}`", 1)
        yield PolicyError(policy_id=row.id, effect=row.effect, message=told)


def _messages(determining: Sequence[Row]) -> tuple[str, ...]:
    return tuple([row.message for row in determining if row.message is not None])


def _names(determining: Sequence[Row]) -> tuple[str, ...]:
    return tuple([row.name or row.id for row in determining]) if any(row.name for row in determining) else ()


def _too_deep() -> DecisionUnavailable:
    return DecisionUnavailable(detail="a value of the query is nested too deeply", by_query=True)


def _panicked() -> DecisionUnavailable:
    return DecisionUnavailable(detail="the engine failed by a fault of its own; see its words on stderr", by_query=True)


def _no_decision() -> DecisionUnavailable:
    # The engine's text repeats the entities it was given: never logged, never returned (pitfalls, Cedar engine).
    return DecisionUnavailable(
        detail="the engine gave no decision: the request does not fit the schema, or has a value Cedar does not know",
        by_query=True,
    )
