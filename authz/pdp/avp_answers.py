"""What Verified Permissions answered → a decision. Whatever is not of the promised form is a failure, never a verdict.

Source: API reference, IsAuthorized, BatchIsAuthorized (response elements).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from authz.core.avp_values import Unreadable, uid_from_identifier
from authz.core.errors import DecisionUnavailable, Reason
from authz.core.model import Decision, Effect, PolicyError, Query, Verdict
from authz.pdp.avp_questions import Question

NAME = "verified_permissions"
_VERDICTS = {"ALLOW": Verdict.ALLOW, "DENY": Verdict.DENY}
_ECHOED = ("principal", "action", "resource")


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """What decisions are read by."""

    on_forbid_error: Literal["skip", "fail"]
    version: Callable[[], str]
    """Of the policy set, as far as it is known here; the service tells none."""
    age: Callable[[], float]
    names: Callable[[tuple[str, ...]], tuple[str, ...]]
    """Policies' ids → their names, as far as they are known here; empty: they are not."""
    messages: Callable[[tuple[str, ...]], tuple[str, ...]]
    """Of forbids → their `@deny_message` annotations, as far as they are known here."""


def single(answer: Mapping[str, Any], question: Question, reading: Reading) -> Decision:
    """The answer to a single call.

    Raises:
        DecisionUnavailable: it is none, it is for another principal, or `forbid_error`.
    """
    _check_principal(answer, question)
    return _decision(answer, reading)


def batch(answer: Mapping[str, Any], questions: Sequence[Question], reading: Reading) -> tuple[Decision, ...]:
    """The answers to a batch call, in order. Raises as `single` does, and where one is missing or for another one."""
    if questions:
        _check_principal(answer, questions[0])
    results = answer.get("results")
    if not isinstance(results, list) or len(results) != len(questions):
        raise _unreadable("another number of answers than of questions")
    found: list[Decision] = []
    for result, question in zip(results, questions, strict=True):
        if not isinstance(result, Mapping) or not _answers(result.get("request"), question):
            raise _unreadable("an answer to another question")
        found.append(_decision(result, reading))
    return tuple(found)


def _decision(answer: Mapping[str, Any], reading: Reading) -> Decision:
    verdict = _VERDICTS.get(answer["decision"]) if isinstance(answer.get("decision"), str) else None
    if verdict is None:
        raise _unreadable("neither ALLOW nor DENY")
    policies = tuple(sorted(_texts(answer, "determiningPolicies", "policyId")))
    if verdict is Verdict.ALLOW and not policies:  # there is no allow without a permit
        raise _unreadable("an ALLOW without a determining policy")
    # The texts follow the engine's version and name no effect: an error that cannot be placed counts as a forbid's.
    errors = tuple(
        PolicyError(policy_id="", effect=Effect.FORBID, message=text)
        for text in _texts(answer, "errors", "errorDescription")
    )
    if errors and verdict is Verdict.ALLOW and reading.on_forbid_error == "fail":
        text = "an allow, but a policy could not be evaluated, and it may be a forbid; see `policies.on_forbid_error`"
        raise DecisionUnavailable(Reason.FORBID_ERROR, text)
    return Decision(
        verdict=verdict,
        policies=policies,
        names=reading.names(policies),
        errors=errors,
        messages=reading.messages(policies) if verdict is Verdict.DENY else (),
        decision_point=NAME,
        version=reading.version(),
        age=reading.age(),
    )


def _texts(answer: Mapping[str, Any], member: str, name: str) -> list[str]:
    items = answer.get(member)
    if not isinstance(items, list):
        raise _unreadable(f"`{member}` is missing")
    found: list[str] = []
    for item in items:
        text = item.get(name) if isinstance(item, Mapping) else None
        if not isinstance(text, str):
            raise _unreadable(f"`{member}` has an item without `{name}`")
        found.append(text)
    return found


def _check_principal(answer: Mapping[str, Any], question: Question) -> None:
    if question.credential is None or answer.get("principal") is None:  # optional in the service's model
        return
    try:
        theirs = uid_from_identifier(answer["principal"])
    except Unreadable as error:
        raise _unreadable(f"`principal`: {error}") from None
    if theirs != question.query.principal:
        text = "Verified Permissions makes another principal of the token: compare the issuer's settings with those "
        raise DecisionUnavailable(Reason.DECISION_MISCONFIGURED, f"{text}of the store's identity source")


def _answers(request: Any, question: Question) -> bool:
    """Does the echo name what was asked? The token calls echo no principal."""
    if not isinstance(request, Mapping):
        return False
    asked: Query = question.query
    wanted = {"principal": asked.principal, "action": asked.action, "resource": asked.resource}
    try:
        return all(
            uid_from_identifier(request.get(name)) == wanted[name]
            for name in _ECHOED
            if name != "principal" or question.credential is None
        )
    except Unreadable:
        return False


def _unreadable(what: str) -> DecisionUnavailable:
    return DecisionUnavailable(detail=f"the answer of Verified Permissions cannot be read: {what}")
