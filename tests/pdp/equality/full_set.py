"""What Cedar's engine says with every policy, link and entity before it: the measure of the decision point.

Built from what was drawn, through cedarpy's public functions alone. Nothing here is read by the product's scope
reader, index or entity slices.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass

import cedarpy

from authz.core.errors import DecisionUnavailable, Reason
from authz.core.model import Decision, Effect, Entity, EntityUid, Query
from tests.pdp.equality.entities import above, as_json, entity_as_json, uid_as_json, united
from tests.pdp.equality.worlds import Drawn, World

Errors = tuple[tuple[str, str], ...]
_PREFIX = re.compile(r"^error while evaluating policy `.*?`: ", re.DOTALL)


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """A verdict with its evidence; or `none`, where nobody could decide."""

    verdict: str
    policies: tuple[str, ...] = ()
    errors: Errors = ()
    reason: str = ""
    """With `none`: the reason code, where Cedar's rules settle it."""


class FullSet:
    """Every policy of a world, in one handle of the engine."""

    def __init__(self, world: World) -> None:
        self.world = world
        texts = [*world.policies, *world.templates]
        handle = cedarpy.PolicySet.from_str("\n".join(drawn.text for drawn in texts))
        names = {f"policy{position}": drawn for position, drawn in enumerate(texts)}
        positions = {drawn.id: name for name, drawn in names.items()}
        rows = []
        for number, link in enumerate(world.links):
            values = {slot: uid_as_json(uid) for slot, uid in (link.values or {}).items()}
            rows.append({"template_id": positions[link.template], "new_id": f"link{number}", "values": values})
            names[f"link{number}"] = link
        self._handle = handle.with_linked_batch(rows) if rows else handle
        self._names: Mapping[str, Drawn] = names

    def answer(self, query: Query, *, on_forbid_error: str = "skip") -> Answer:
        """The engine's answer, with the store's ids."""
        declared = self.world.declared
        context = query.context if declared is None else declared.context(query.action, query.context)
        result = cedarpy.is_authorized(
            {
                "principal": uid_as_json(query.principal),
                "action": uid_as_json(query.action),
                "resource": uid_as_json(query.resource),
                "context": json.dumps(as_json(context)),
            },
            self._handle,
            [entity_as_json(entity) for entity in self.entities(query).values()],
        )
        if result.decision is cedarpy.Decision.NoDecision:
            return Answer(verdict="none")
        erring = [(self._names[_named(text)], _PREFIX.sub("", text)) for text in result.diagnostics.errors]
        if on_forbid_error == "fail" and any(drawn.effect is Effect.FORBID for drawn, _ in erring):
            return Answer(verdict="none", reason=Reason.FORBID_ERROR)
        return Answer(
            verdict=result.decision.value.lower(),
            policies=tuple(sorted(self._names[name].id for name in result.diagnostics.reasons)),
            errors=tuple(sorted((drawn.id, text) for drawn, text in erring)),
        )

    def entities(self, query: Query) -> dict[EntityUid, Entity]:
        """Every entity of the query and of the store, and every action of the schema with all its groups."""
        world, declared = self.world, self.world.declared
        given = [source.entities for source in query.entities]
        if declared is None:
            return united((*given, world.stored))
        fitted = ([declared.fitted(entity) for entity in source] for source in given)
        found = united((*fitted, world.stored))
        for action, groups in declared.groups.items():
            found[action] = Entity(uid=action, parents=groups)
        return found

    def ancestors(self, query: Query) -> dict[EntityUid, frozenset[EntityUid]]:
        """Of each entity: itself and all that it is in."""
        return above(self.entities(query))

    def matching(self, query: Query) -> frozenset[str]:
        """Ids of the policies and links whose scope matches, by Cedar's rules."""
        ancestors = self.ancestors(query)
        return frozenset(
            drawn.id
            for drawn in (*self.world.policies, *self.world.links)
            if drawn.head.matches(query.principal, query.action, query.resource, ancestors)
        )


def _named(text: str) -> str:
    found = re.search(r"`(policy\d+|link\d+)`", text)
    assert found is not None, text
    return found[1]


def told(decision: Decision | DecisionUnavailable) -> Answer:
    """What the decision point said."""
    if isinstance(decision, DecisionUnavailable):
        reason = decision.reason if decision.reason is Reason.FORBID_ERROR else ""
        return Answer(verdict="none", reason=reason)
    assert decision.policies == tuple(sorted(decision.policies))
    return Answer(
        verdict=decision.verdict.value,
        policies=decision.policies,
        errors=tuple(sorted((error.policy_id, _PREFIX.sub("", error.message)) for error in decision.errors)),
    )
