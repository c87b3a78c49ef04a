"""Which requests a policy's scope can match under the schema, and why it can match none.

Only requests that fit the schema are meant: an action that it declares, a principal and a resource of types that the
action applies to, and parents of types that `memberOf` allows (Cedar documentation, "Schema" and "Policy syntax",
scope). Whatever is in doubt counts as possible: "can never match" has to be true.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from authz.core.cedar_schema import ActionDecl, Schema
from authz.core.cedar_scope import Constraint, Scope
from authz.core.model import EntityUid
from authz.pdp.kept import kept

Side = Literal["principal", "resource"]
SHOWN = 5
"""Names that a message lists."""
_KEPT = 4096
"""Combinations that are remembered; an application has few."""


@dataclass(frozen=True, slots=True)
class Reach:
    """The requests that a scope can match: each of these actions has a type on both sides that fits."""

    actions: frozenset[EntityUid]
    """Empty: it can never match."""
    principals: frozenset[str]
    """Entity types."""
    resources: frozenset[str]


NOTHING = Reach(frozenset(), frozenset(), frozenset())


class Reaches:
    """Reads scopes against one schema. Immutable but for its caches."""

    def __init__(self, schema: Schema) -> None:
        self._schema = schema
        self._actions = {
            EntityUid(*uid): action for uid, action in schema.actions.items() if action.principals and action.resources
        }
        self._all = frozenset(self._actions)
        members: dict[EntityUid, set[EntityUid]] = defaultdict(set)
        for action in self._actions:
            for named in self.above(action):
                members[named].add(action)
        self._members = {uid: frozenset(found) for uid, found in members.items()}
        self._children: dict[str, set[str]] = defaultdict(set)
        for entity in schema.entities.values():
            for parent in entity.member_of:
                self._children[parent].add(entity.name)
        self._below = kept(_KEPT, self._find_below)
        self._known = kept(_KEPT, self._find)

    @property
    def actions(self) -> frozenset[EntityUid]:
        """The actions that apply to something; what is a group only is none."""
        return self._all

    def above(self, action: EntityUid) -> frozenset[EntityUid]:
        """An action and every group that it is in."""
        return frozenset({action, *(EntityUid(*group) for group in self._schema.action_ancestors(*action))})

    def of(self, scope: Scope) -> Reach:
        """What a scope can match. Of a template: with the best values for its slots."""
        return self._known(scope.action, self._types(scope.principal), self._types(scope.resource))

    def _find(self, action: Constraint, principals: frozenset[str], resources: frozenset[str]) -> Reach:
        found = {
            uid: declared
            for uid, declared in ((uid, self._actions[uid]) for uid in self._named(action))
            if not declared.principals.isdisjoint(principals) and not declared.resources.isdisjoint(resources)
        }
        return Reach(
            frozenset(found),
            principals.intersection(_united(found.values(), "principal")),
            resources.intersection(_united(found.values(), "resource")),
        )

    def _named(self, action: Constraint) -> frozenset[EntityUid]:
        """The actions, among those that apply, which the constraint of `action` takes."""
        if action.equals is not None:
            return self._all & {action.equals}
        if action.is_in:
            return frozenset[EntityUid]().union(*(self._members.get(uid, frozenset()) for uid in action.within))
        return self._all

    def _types(self, constraint: Constraint) -> frozenset[str]:
        """The entity types that a constraint of principal or resource can match."""
        named = _named(constraint)
        if named is not None and self._unlisted(named):
            return frozenset()
        kind = (constraint.type,) if constraint.type is not None else None
        if named is None:
            return frozenset(self._schema.entities if kind is None else kind)
        found = self._below(named.type) if constraint.is_in else frozenset({named.type})
        return found if kind is None else found.intersection(kind)

    def _find_below(self, kind: str) -> frozenset[str]:
        """A type, and every type whose entities can be in it at any distance. `in` takes the entity itself too."""
        found = {kind}
        waiting = [kind]
        while waiting:
            fresh = self._children.get(waiting.pop(), set()) - found
            found |= fresh
            waiting.extend(fresh)
        return frozenset(found)

    def _unlisted(self, uid: EntityUid) -> bool:
        declared = self._schema.entities.get(uid.type)
        return declared is not None and declared.enum is not None and uid.id not in declared.enum

    def why_never(self, scope: Scope) -> str:
        """Why a scope that reaches nothing does so, in words that go on after `can never match: `."""
        actions = [self._actions[uid] for uid in self._named(scope.action)]
        if not actions:
            return self._why_no_action(scope.action)
        sides: tuple[tuple[Side, Constraint], ...] = (("principal", scope.principal), ("resource", scope.resource))
        for side, constraint in sides:
            taken = _united(actions, side)
            if text := self._why_no_type(side, constraint, taken):
                return text
        principals, resources = _listed(self._types(scope.principal)), _listed(self._types(scope.resource))
        return f"none of its actions takes a principal of {principals} together with a resource of {resources}"

    def _why_no_action(self, action: Constraint) -> str:
        named = (action.equals,) if action.equals is not None else action.within
        unknown = [uid for uid in named if tuple(uid) not in self._schema.actions]
        if unknown:
            return f"the schema has no action {_listed(map(str, unknown))}"
        if named:
            return f"{_listed(map(str, named))} applies to nothing in the schema, nor has it members that do"
        return "its `action in []` names no action" if action.is_in else "no action of the schema applies to anything"

    def _why_no_type(self, side: Side, constraint: Constraint, taken: frozenset[str]) -> str:
        """Empty: one side alone does not tell."""
        named, kind = _named(constraint), constraint.type
        for name in (kind, named.type if named is not None else None):
            if name is not None and name not in self._schema.entities:
                return f"the schema has no entity type `{name}`"
        if named is not None and self._unlisted(named):
            return f"the schema does not list `{named}` among the entities of `{named.type}`"
        types = self._types(constraint)
        if not types.isdisjoint(taken):
            return ""
        if named is not None and constraint.is_in and kind is None:
            return f"its {side}s are of {_listed(taken)}, which can never be in a `{named.type}`"
        if named is not None and constraint.is_in and not types:
            return f"a `{kind}` can never be in a `{named.type}`"
        return f"none of its actions takes a {side} of {_listed(types)}; they take {_listed(taken)}"


def _named(constraint: Constraint) -> EntityUid | None:
    return constraint.equals or (constraint.within[0] if constraint.within else None)


def _united(actions: Iterable[ActionDecl], side: Side | str) -> frozenset[str]:
    """The types that any of the actions takes on one side."""
    sets = (action.principals if side == "principal" else action.resources for action in actions)
    return frozenset[str]().union(*sets)


def _listed(names: Iterable[str]) -> str:
    return listed(sorted(names))


def listed(names: Iterable[str]) -> str:
    """Names in backticks; of many the first."""
    given = list(names)
    shown = [f"`{name}`" for name in given[:SHOWN]]
    more = f" and {len(given) - SHOWN} more" if len(given) > SHOWN else ""
    return ", ".join(shown) + more
