"""What is doubtful about policies that are valid: for `authz check` alone, since no start needs to wait for it.

Each warning is true under the schema: it is never raised on a guess. What the engine refuses is an error and told
before (`compiled`); many impossible scopes are, but not those of links, nor of a store that does not validate.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TypeVar

from authz.core.errors import Problem
from authz.core.model import Effect, EntityUid, Policy, PolicySnapshot, TemplateLink
from authz.pdp.analysis_cover import Reached, shadowed
from authz.pdp.analysis_reach import SHOWN, Reach, Reaches, listed
from authz.pdp.analysis_text import action_lines, holds, sameness
from authz.pdp.compiled import CompiledPolicies
from authz.pdp.rows import Row

MANY_UNSCOPED = 100
"""Candidates for one action beyond which a warning is due. Each costs each such decision some microseconds."""

_Item = TypeVar("_Item", Policy, TemplateLink)


@dataclass(frozen=True, slots=True, kw_only=True)
class Unscoped:
    """Policies that name neither principal nor resource: candidates of every request for their action."""

    ids: tuple[str, ...]
    """Sorted."""
    by_action: tuple[tuple[EntityUid, int], ...]
    """How many of them each action has, most first; empty without a schema."""
    busiest: tuple[str, ...] = ()
    """Those of the first action; without a schema, all."""
    policies: int
    """Static policies and links in all."""

    def __str__(self) -> str:
        lines = [f"unscoped: {len(self.ids)} of {self.policies} policies name neither principal nor resource"]
        if self.ids:
            lines[0] += ", so each request for their action evaluates them"
            lines.append(f"  {listed(self.ids)}")
        if self.by_action:
            shown = ", ".join(f"{action} {count}" for action, count in self.by_action[:SHOWN])
            rest = len(self.by_action) - SHOWN
            lines.append(f"  by action: {shown}{f' and {rest} more actions' if rest > 0 else ''}")
        return "\n".join(lines)


@dataclass(frozen=True, slots=True, kw_only=True)
class Analysis:
    """What was found; nothing of it stops a start."""

    problems: tuple[Problem, ...]
    """Warnings."""
    unscoped: Unscoped


def analyse(compiled: CompiledPolicies) -> Analysis:
    """Analyses a compiled policy set. Its time grows with the number of policies, not with their pairs."""
    found = _Found(compiled)
    unscoped = found.unscoped()
    problems = [
        *found.false(),
        *found.unreachable(),
        *found.shadowed(),
        *found.unpermitted(),
        *_same(compiled),
        *_unlinked(compiled.snapshot),
        *_many(unscoped),
    ]
    return Analysis(problems=tuple(problems), unscoped=unscoped)


class _Found:
    """The findings about rows, with what they share."""

    def __init__(self, compiled: CompiledPolicies) -> None:
        self._compiled = compiled
        self._snapshot = compiled.snapshot
        self._reaches = Reaches(compiled.schema) if compiled.schema is not None else None
        items: tuple[Policy | TemplateLink, ...] = (*compiled.snapshot.policies, *compiled.snapshot.links)
        self._places = {item.id: item for item in items}

    @cached_property
    def _holds(self) -> Mapping[str, bool | None]:
        """By the text of policies and templates; links share the latter."""
        policies = (*self._snapshot.policies, *self._snapshot.templates)
        return {text: holds(text) for text in {policy.text for policy in policies}}

    @cached_property
    def _reached(self) -> Sequence[tuple[Row, Reach]]:
        if self._reaches is None:
            return ()
        return [(row, self._reaches.of(row.scope)) for row in self._compiled.rows.values()]

    def _live(self, effect: Effect) -> Iterator[Reached]:
        """Policies of one effect that a request can match, as far as is known."""
        for row, reach in self._reached:
            if row.effect is effect and reach.actions and self._holds[row.text] is not False:
                yield row, reach

    def false(self) -> Iterator[Problem]:
        """Policies and templates with a condition that is literally false."""
        for policy in (*self._snapshot.policies, *self._snapshot.templates):
            if self._holds[policy.text] is False:
                text = "can never match: one of its conditions is literally false; correct it, or remove the policy"
                yield _warning(policy, text)

    def unreachable(self) -> Iterator[Problem]:
        """Policies and links whose scope nothing can match."""
        if self._reaches is None:
            return
        for row, reach in self._reached:
            if not reach.actions:
                why = self._reaches.why_never(row.scope)
                yield _warning(self._places[row.id], f"can never match: {why}; correct its scope, or remove it")

    def shadowed(self) -> Iterator[Problem]:
        """Permits that an unconditional forbid makes void."""
        if self._reaches is None:
            return
        forbids = ((row, reach) for row, reach in self._live(Effect.FORBID) if self._holds[row.text] is True)
        for permit, forbid in shadowed(self._live(Effect.PERMIT), forbids, self._reaches):
            by = self._places[forbid.id]
            text = f"never permits: {_named(by)}, a forbid without a condition, covers its whole scope"
            yield _warning(self._places[permit.id], f"{text}; narrow that forbid, or remove this permit")

    def unpermitted(self) -> Iterator[Problem]:
        """Actions that are always denied. Without any policy all are, which is told elsewhere."""
        if self._reaches is None or not self._compiled.rows:
            return
        live = {reach for _, reach in self._live(Effect.PERMIT)}
        left = self._reaches.actions.difference(*(reach.actions for reach in live))
        lines = action_lines(self._snapshot.schema or "") if left else {}
        for action in sorted(left):
            text = f"action `{action}`: no policy permits it, so each request for it is denied; permit or remove it"
            yield _placed(text, self._snapshot.schema_file, lines.get(action))

    def unscoped(self) -> Unscoped:
        """How many policies are candidates whatever principal and resource are called."""
        reaches = self._reaches
        rows = [
            (row, reaches.of(row.scope) if reaches is not None else None) for row in self._compiled.index.unscoped()
        ]
        actions: Counter[EntityUid] = Counter()
        for reach, count in Counter(reach for _, reach in rows if reach is not None).items():
            actions.update(dict.fromkeys(reach.actions, count))
        by_action = tuple(sorted(actions.items(), key=lambda pair: (-pair[1], pair[0])))
        first = [row for row, reach in rows if reach is None or (by_action and by_action[0][0] in reach.actions)]
        return Unscoped(
            ids=tuple(sorted(row.name or row.id for row, _ in rows)),
            by_action=by_action,
            busiest=tuple(sorted(row.name or row.id for row in first)),
            policies=len(self._compiled.rows),
        )


def _same(compiled: CompiledPolicies) -> Iterator[Problem]:
    """Policies, templates and links that say what another one says already."""
    snapshot = compiled.snapshot
    # Most differ in their scope, so that few texts are read.
    alike: dict[Hashable, list[Policy]] = defaultdict(list)
    for policy in snapshot.policies:
        alike[policy.effect, compiled.rows[policy.id].scope].append(policy)
    for policies in (*alike.values(), snapshot.templates):
        if len(policies) > 1:
            yield from _equal(policies, sameness)
    yield from _equal(snapshot.links, lambda link: (link.template_id, frozenset(link.values.items())))


def _equal(items: Sequence[_Item], key: Callable[[_Item], Hashable]) -> Iterator[Problem]:
    groups: dict[Hashable, list[_Item]] = defaultdict(list)
    for item in items:
        groups[key(item)].append(item)
    for first, *others in groups.values():
        if others:
            named = ", ".join(_named(other) for other in others[:SHOWN])
            more = f" and {len(others) - SHOWN} more" if len(others) > SHOWN else ""
            yield _warning(first, f"differs only in its id from {named}{more}; keep one of them")


def _unlinked(snapshot: PolicySnapshot) -> Iterator[Problem]:
    linked = {link.template_id for link in snapshot.links}
    for template in snapshot.templates:
        if template.id not in linked:
            yield _warning(template, "is a template without a link, so it decides nothing; link it, or remove it")


def _many(unscoped: Unscoped) -> Iterator[Problem]:
    if len(unscoped.busiest) > MANY_UNSCOPED:
        # Without a schema nobody knows the actions, and each policy may be a candidate of all.
        asked = f"each request for `{unscoped.by_action[0][0]}`" if unscoped.by_action else "each request"
        text = f"{len(unscoped.busiest)} policies name neither principal nor resource, and {asked} evaluates them all"
        advice = "decisions slow down with each; in the head of those that you can, name an entity or a group"
        yield _placed(f"{text}; {advice}: {listed(unscoped.busiest)}", "", None)


def _named(item: Policy | TemplateLink) -> str:
    place = item.file + (f":{item.line}" if item.line is not None else "")
    return f"`{item.name or item.id}`" + (f" ({place})" if place else "")


def _warning(item: Policy | TemplateLink, text: str) -> Problem:
    what = "link" if isinstance(item, TemplateLink) else "policy"
    return _placed(f"{what} `{item.name or item.id}` {text}", item.file, item.line)


def _placed(text: str, file: str, line: int | None) -> Problem:
    return Problem(message=text, file=file, line=line, severity="warning")
