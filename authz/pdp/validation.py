"""Are these policies, links and schema the engine's to take? Every problem, with file, line and policy.

The engine gives neither line nor policy in its errors, so what it refuses is asked about statement by statement
(pitfalls, Cedar engine). Asked about many at once it takes half the time (measured with cedarpy 4.12: 102 µs to parse
and validate one policy, 42 µs each in a text of 64), so only where it refuses those are they asked about alone.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import cedarpy

from authz.core.cedar_schema import CedarSchemaError, Schema, load_schema
from authz.core.cedar_scope import Constraint, Scope
from authz.core.errors import Problem
from authz.core.model import EntityUid, Policy, PolicySnapshot, TemplateLink
from authz.core.pieces import Pause, take_apart
from authz.pdp.rows import Row

CHUNK = 64
"""Policies in one text."""
_POSITIONAL = re.compile(r"^for policy `policy0`[,:] ")


@dataclass(frozen=True, slots=True, kw_only=True)
class Schemas:
    """One schema, as we read it and as the engine does; both None: there is none, or it has a problem."""

    ours: Schema | None = None
    engine: cedarpy.Schema | None = None


def read_schemas(snapshot: PolicySnapshot, problems: list[Problem]) -> Schemas:
    """The schema of a snapshot. Problems are appended."""
    text = snapshot.schema
    if text is None:
        return Schemas()
    try:
        # Ours first: it bounds the nesting on which the engine's parser would crash.
        ours = load_schema(text)
    except CedarSchemaError as error:
        problems.append(Problem(message=f"schema: {error.message}", file=snapshot.schema_file, line=error.line))
        return Schemas()
    try:
        is_json = text.lstrip().startswith("{")
        read = cedarpy.Schema.from_json_str if is_json else cedarpy.Schema.from_str
        return Schemas(ours=ours, engine=read(text, release_gil=True))
    except ValueError as error:
        problems.append(Problem(message=f"schema: {error}", file=snapshot.schema_file))
        return Schemas()


def check_policies(
    policies: Sequence[Policy],
    schema: cedarpy.Schema | None,
    problems: list[Problem],
    pause: Pause,
    kind: Callable[[Policy], Hashable] = lambda policy: policy.text,
    *,
    misfits: Literal["error", "warning"] = "error",
) -> frozenset[str]:
    """Has the engine parse policies and templates, and hold them against the schema if there is one.

    Args:
        policies: one statement each, as `cedar_text` cuts them: only so do they mean the same in one text.
        schema: None: they are parsed only.
        problems: to append to.
        pause: called between two texts. While the engine reads one, other threads run.
        kind: of policies of one kind the schema allows either all or none, so one of them is held against it. Asked
            only about what the engine parses.
        misfits: of what severity it is that the schema does not allow a policy.

    Returns:
        The ids of those that it refuses.
    """
    doubtful = _unparsed(policies, pause)
    if schema is not None:
        parsed = (
            [place for place in range(len(policies)) if place not in doubtful] if doubtful else range(len(policies))
        )
        doubtful.update(_of_refused_kinds(policies, parsed, schema, kind, pause))
    refused: set[str] = set()
    for place in sorted(doubtful):
        found = list(_wrong(policies[place], schema, misfits))
        if any(problem.severity == "error" for problem in found):
            refused.add(policies[place].id)
        problems.extend(found)
        pause()
    return frozenset(refused)


def kind_of(scope: Scope, form: str, schema: Schema | None) -> Hashable:
    """What the engine's validator looks at in a policy: with two that are equal in this it finds the same.

    It holds a policy against the types that each action allows, and so against types only: of the entities that a
    scope compares principal and resource to, the ids do not count. They do for actions, whose ids name what the types
    are read from, and for enumerated types, which list them (Cedar documentation, "Policy validation"; the schema's
    "Enumerated entity types"). Conditions count as they are written. What an action type or an unknown one is, is
    left as it is too.

    Args:
        scope: as `read_scope` gives it.
        form: the conditions; whether the effect is in it too is nothing to the validator.
        schema: None: every id counts.
    """
    return (_blanked(scope.principal, schema), scope.action, _blanked(scope.resource, schema), form)


def _blanked(constraint: Constraint, schema: Schema | None) -> Hashable:
    equals = _typed(constraint.equals, schema) if constraint.equals is not None else None
    within = tuple([_typed(uid, schema) for uid in constraint.within])
    return (equals, within, constraint.is_in, constraint.type, constraint.slot)


def _typed(uid: EntityUid, schema: Schema | None) -> Hashable:
    declared = schema.entities.get(uid.type) if schema is not None else None
    is_free = declared is not None and declared.enum is None and not uid.type.endswith("Action")
    return uid.type if is_free else uid


def _unparsed(policies: Sequence[Policy], pause: Pause) -> set[int]:
    """Places of those that the engine does not parse, or not as one policy."""
    found: set[int] = set()
    for start in range(0, len(policies), CHUNK):
        chunk = policies[start : start + CHUNK]
        if not _parses(chunk):
            for place, policy in enumerate(chunk, start):
                if not _parses([policy]):
                    found.add(place)
                pause()
        pause()
    return found


def _of_refused_kinds(
    policies: Sequence[Policy],
    places: Sequence[int],
    schema: cedarpy.Schema,
    kind: Callable[[Policy], Hashable],
    pause: Pause,
) -> list[int]:
    """Places of the policies of each kind of which the schema does not allow the first."""
    first: dict[Hashable, int] = {}
    for place in places:
        first.setdefault(kind(policies[place]), place)
        pause()
    kinds, refused = list(first.items()), set[Hashable]()
    for start in range(0, len(kinds), CHUNK):
        chunk = kinds[start : start + CHUNK]
        if not _validates([policies[place] for _, place in chunk], schema):
            for one, place in chunk:
                if not _validates([policies[place]], schema):
                    refused.add(one)
                pause()
        pause()
    found = []
    if refused:
        for place in places:
            if kind(policies[place]) in refused:
                found.append(place)
            pause()
    take_apart(first, pause)
    take_apart(kinds, pause)
    return found


def _parses(policies: Sequence[Policy]) -> bool:
    try:
        handle = cedarpy.PolicySet.from_str("\n".join([policy.text for policy in policies]), release_gil=True)
    except ValueError:
        return False
    return len(handle) + len(handle.templates()) == len(policies)


def _validates(policies: Sequence[Policy], schema: cedarpy.Schema) -> bool:
    text = "\n".join([policy.text for policy in policies])
    return cedarpy.validate_policies(text, schema, release_gil=True).validation_passed


def _wrong(policy: Policy, schema: cedarpy.Schema | None, misfits: Literal["error", "warning"]) -> Iterator[Problem]:
    try:
        handle = cedarpy.PolicySet.from_str(policy.text, release_gil=True)
    except ValueError as error:
        yield _problem(policy, f"{error}")
        return
    if len(handle) + len(handle.templates()) != 1:
        yield _problem(policy, "expected exactly one policy in a statement")
    elif schema is not None:
        result = cedarpy.validate_policies(policy.text, schema, release_gil=True)
        if not result.validation_passed:
            # The engine tells them in another order each time.
            for text in sorted({_POSITIONAL.sub("", fault.error) for fault in result.errors}):
                yield _problem(policy, text, misfits)


def _problem(policy: Policy, text: str, severity: str = "error") -> Problem:
    return Problem(
        message=f"policy `{policy.name or policy.id}`: {text}", file=policy.file, line=policy.line, severity=severity
    )


class LinkCheck:
    """Tells which links the engine would take, without having it link each: that costs more with each link before.

    A link fills exactly the slots of its template with well-formed entities (Cedar documentation, "Policy templates").

    Args:
        templates: the rows of sound templates, by id.
        known: ids of all templates, also of those with a problem of their own.
    """

    def __init__(self, templates: Mapping[str, Row], known: frozenset[str]) -> None:
        self._templates = templates
        self._known = known
        self._types: dict[str, bool] = {}

    def problem(self, link: TemplateLink) -> Problem | None:
        """What is wrong with a link; None: nothing, or its template has a problem that is told already."""
        template = self._templates.get(link.template_id)
        if template is None:
            if link.template_id in self._known:
                return None
            return _link_problem(link, f"there is no template `{link.template_id}`")
        expected = slots(template)
        if link.values.keys() != expected:
            names = " and ".join(f"`{slot}`" for slot in sorted(expected))
            return _link_problem(link, f"its values must fill exactly the slots of template `{template.id}`: {names}")
        for slot, uid in sorted(link.values.items()):
            if not self._is_type(uid.type):
                return _link_problem(link, f"`{uid.type}`, the type of its `{slot}`, is no name in Cedar")
            if not _can_be_told(uid.id):
                return _link_problem(link, f"the id of its `{slot}` holds half of a surrogate pair")
        return None

    def _is_type(self, name: str) -> bool:
        known = self._types.get(name)
        if known is None:
            known = self._types[name] = _engine_takes_type(name)
        return known


def slots(template: Row) -> frozenset[str]:
    """The slots of a template. Cedar has them in the scope alone, one for the principal and one for the resource."""
    scope = template.scope
    found = {"?principal": scope.principal.slot, "?resource": scope.resource.slot}
    return frozenset(slot for slot, stands in found.items() if stands)


def _engine_takes_type(name: str) -> bool:
    """The engine's word: it knows which words are reserved."""
    try:
        template = cedarpy.PolicySet.from_str("permit(principal == ?principal, action, resource);")
        values = {"?principal": {"type": name, "id": ""}}
        template.with_linked_batch([{"template_id": "policy0", "new_id": "link", "values": values}])
    except ValueError:
        return False
    return True


def _can_be_told(id: str) -> bool:
    try:
        id.encode()
    except UnicodeEncodeError:  # a lone surrogate
        return False
    return True


def _link_problem(link: TemplateLink, text: str) -> Problem:
    return Problem(message=f"link `{link.id}`: {text}", file=link.file, line=link.line)


def duplicates(items: Sequence[Policy | TemplateLink], pause: Pause) -> Iterator[Problem]:
    """A problem for each that has the id of one before it."""
    first: dict[str, Policy | TemplateLink] = {}
    for item in items:
        other = first.setdefault(item.id, item)
        if other is not item:
            text = f"the id `{item.id}` is already used in {other.file}, line {other.line}; ids are unique"
            yield Problem(message=text, file=item.file, line=item.line)
        pause()
