"""One question to Cedar's engine through cedarpy, and its answer.

`cedarpy.is_authorized` copies the request, reads the answer with `json.loads` and wraps it: a fifth of the time
(measured with cedarpy 4.12: 10 of 55 µs). So the function below it is called, which takes and gives the same. It is
private, so it is looked for when a decision point is made; where it is not as expected the public one serves.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import cedarpy
import msgspec


class Diagnostics(msgspec.Struct, frozen=True):
    """Why."""

    reason: list[str] = []
    """The engine's positional ids of the determining policies, in no order. Left out where there is no decision."""
    errors: list[str] = []


class Answer(msgspec.Struct, frozen=True):
    """What the engine said. `decision` is `Allow`, `Deny` or `NoDecision`."""

    decision: str
    diagnostics: Diagnostics


Request: TypeAlias = dict[str, Any]
"""`principal`, `action`, `resource` as `{"type", "id"}`, and `context` as JSON text."""
Ask: TypeAlias = Callable[[Request, cedarpy.PolicySet, cedarpy.Entities, "cedarpy.Schema | None"], Answer]
AskAll: TypeAlias = Callable[[Sequence[Request], cedarpy.PolicySet, cedarpy.Entities], Sequence[Answer]]
_PROBE = {name: {"type": "T", "id": "i"} for name in ("principal", "action", "resource")} | {"context": "{}"}


def is_panic(error: BaseException) -> bool:
    """Is it a fault of the engine itself? Such errors are no `Exception`, so they would end whatever meets them."""
    return type(error).__module__ == "pyo3_runtime"


def asker() -> Ask:
    """How to ask: the short way if cedarpy has it, and it answers as the public one does."""
    try:
        short = _short_way()
        nothing = cedarpy.PolicySet.from_str(""), cedarpy.Entities.from_json_str("[]")
        if short(_PROBE, *nothing, None) == public(_PROBE, *nothing, None):
            return short
    except (ImportError, AttributeError, TypeError, ValueError, IndexError):  # msgspec's errors are ValueErrors
        pass
    return public


def all_asker() -> AskAll:
    """How to ask several questions in one call; answered in their order. Looked for as `asker` does."""
    try:
        short = _short_way_for_all()
        policies = cedarpy.PolicySet.from_str('permit(principal, action, resource == T::"i");')
        several = [_PROBE, _PROBE | {"resource": {"type": "T", "id": "j"}}], policies, _nothing()
        if short(*several) == public_for_all(*several):
            return short
    except (ImportError, AttributeError, TypeError, ValueError, IndexError):
        pass
    return public_for_all


def _nothing() -> cedarpy.Entities:
    return cedarpy.Entities.from_json_str("[]")


def _short_way_for_all() -> AskAll:
    from cedarpy import _internal

    decode = msgspec.json.Decoder(Answer).decode
    evaluate = _internal.is_authorized_batch

    def ask(requests: Sequence[Request], policies: cedarpy.PolicySet, entities: cedarpy.Entities) -> list[Answer]:
        return [decode(text) for text in evaluate(list(requests), policies, entities._inner, None, False)]  # noqa: SLF001

    return ask


def public_for_all(
    requests: Sequence[Request], policies: cedarpy.PolicySet, entities: cedarpy.Entities
) -> Sequence[Answer]:
    """Asks by the documented function."""
    return [_read(result) for result in cedarpy.is_authorized_batch(list(requests), policies, entities)]


def _short_way() -> Ask:
    from cedarpy import _internal

    decode = msgspec.json.Decoder(Answer).decode
    evaluate = _internal.is_authorized_batch

    def ask(
        request: Request, policies: cedarpy.PolicySet, entities: cedarpy.Entities, schema: cedarpy.Schema | None
    ) -> Answer:
        return decode(evaluate([request], policies, entities._inner, schema, False)[0])  # noqa: SLF001

    return ask


def public(
    request: Request, policies: cedarpy.PolicySet, entities: cedarpy.Entities, schema: cedarpy.Schema | None
) -> Answer:
    """Asks by the documented function."""
    return _read(cedarpy.is_authorized(request, policies, entities, schema))


def _read(result: cedarpy.AuthzResult) -> Answer:
    found = result.diagnostics
    return Answer(
        decision=result.decision.value, diagnostics=Diagnostics(reason=list(found.reasons), errors=list(found.errors))
    )
