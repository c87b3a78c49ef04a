"""A policy snapshot, compiled: rows, their index, entities and schema, or every problem found.

`compile_snapshot` is the one way from a snapshot to what decides; start, reload and `authz check` all call it. There
is no handle of the whole set: it would take 13 kB a policy, and seconds to build and to drop during which nothing else
runs (measured with cedarpy 4.12). The engine parses each statement here, and again where it is first a candidate.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import cedarpy

from authz.core.cedar_schema import Schema
from authz.core.errors import Misconfigured, Problem
from authz.core.model import Entity, EntityUid, Policy, PolicySnapshot, TemplateLink
from authz.core.pieces import Pause, Steps, no_pause, take_apart
from authz.pdp.handles import PolicyHandles
from authz.pdp.index import PolicyIndex
from authz.pdp.rows import DENY_MESSAGE, Row, link_row, static_row
from authz.pdp.stored_entities import load_entities
from authz.pdp.validation import LinkCheck, Schemas, check_policies, duplicates, kind_of, read_schemas

MOST_WARNINGS = 20
"""Policies that are told one by one because the schema does not allow them."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class CompiledPolicies:
    """What a local decision point needs of a snapshot."""

    version: str
    schema: Schema | None
    engine_schema: cedarpy.Schema | None
    entities: Mapping[EntityUid, Entity]
    snapshot: PolicySnapshot
    index: PolicyIndex
    rows: Mapping[str, Row]
    """Static policies and links by the store's id."""
    templates: Mapping[str, Row]
    """Templates by the store's id; they stand in no index themselves."""
    handles: PolicyHandles
    """The engine's handles of candidates, carried from one policy set to the next."""
    fresh: int
    """How many of the rows are not those of the policy set before; of the first one, all."""
    warnings: tuple[Problem, ...] = ()
    """Policies that are new or changed, and that the schema does not allow, where the store has those decide too."""


def compile_snapshot(
    snapshot: PolicySnapshot, previous: CompiledPolicies | None = None, *, pause: Pause = no_pause
) -> CompiledPolicies:
    """Compiles and validates. Slow for large sets: call it in a worker thread.

    With a previous policy set only what is different is parsed, validated and indexed: a policy whose text is the same
    keeps its row. The engine's handles are kept in any case, by the forms that are in them. Another schema has
    everything validated anew, and keeps the rows too.

    Args:
        snapshot: its policies are one statement each, as `cedar_text` cuts them.
        previous: what the last snapshot of the same store was compiled to.
        pause: called after each small step. It decides how much of the time other threads get.

    Raises:
        Misconfigured: with every problem of policies, links, schema and entities.
    """
    return _Compilation(snapshot, previous, pause).compiled()


def remains(compiled: CompiledPolicies) -> list[object]:
    """What a policy set that was replaced is made of, to be freed by `take_apart`.

    Whoever holds this list can let go of the policy set itself at once: its rows, policies and entities stay. Freed
    with it, a hundred thousand of them would stop the process for as long as that takes.
    """
    snapshot = compiled.snapshot
    found: list[object] = [*compiled.rows.values(), *compiled.templates.values(), *compiled.entities.values()]
    found += snapshot.policies
    found += snapshot.templates
    found += snapshot.links
    return found


class _Compilation:
    """One snapshot on its way. What the previous policy set has is taken from there."""

    def __init__(self, snapshot: PolicySnapshot, previous: CompiledPolicies | None, pause: Pause) -> None:
        self._snapshot = snapshot
        self._previous = previous
        self._pause = pause
        self._problems: list[Problem] = []
        self._handles = previous.handles if previous is not None else PolicyHandles()
        self._rows_before: Mapping[str, Row] = previous.rows if previous is not None else {}
        self._templates_before: Mapping[str, Row] = previous.templates if previous is not None else {}
        self._made: dict[int, Row] = {}
        """By the identity of their policies, for two may have one id."""

    def compiled(self) -> CompiledPolicies:
        """Raises as `compile_snapshot` does."""
        snapshot = self._snapshot
        schemas = self._schemas()
        refused = self._checked(schemas)
        self._problems.extend(duplicates([*snapshot.policies, *snapshot.templates, *snapshot.links], self._pause))
        templates = {row.id: row for row in self._template_rows(refused)}
        self._check_links(templates)
        entities = self._entities(schemas)
        if any(problem.severity == "error" for problem in self._problems):
            if isinstance(entities, dict) and (self._previous is None or entities is not self._previous.entities):
                take_apart(entities, self._pause)
            take_apart(self._made, self._pause)
            raise Misconfigured(tuple(self._problems))
        rows = {row.id: row for row in self._rows(templates)}
        fresh = [row for row in rows.values() if self._rows_before.get(row.id) is not row]
        return CompiledPolicies(
            version=snapshot.version,
            schema=schemas.ours,
            engine_schema=schemas.engine,
            entities=entities,
            snapshot=snapshot,
            index=self._index(rows, fresh),
            rows=rows,
            templates=templates,
            handles=self._handles,
            fresh=len(fresh),
            warnings=_few(self._problems),
        )

    # --- what is sound

    def _schemas(self) -> Schemas:
        previous = self._previous
        if previous is not None and self._same_schema():
            return Schemas(ours=previous.schema, engine=previous.engine_schema)
        return read_schemas(self._snapshot, self._problems)

    def _same_schema(self) -> bool:
        return self._previous is not None and self._previous.snapshot.schema == self._snapshot.schema

    def _checked(self, schemas: Schemas) -> frozenset[str]:
        """The ids of the policies and templates that the engine refuses."""
        snapshot = self._snapshot
        policies = [*self._unsettled(snapshot.policies, self._rows_before)]
        policies += self._unsettled(snapshot.templates, self._templates_before)

        def kind(policy: Policy) -> Hashable:
            before = self._rows_before if policy.id in self._rows_before else self._templates_before
            row = self._static_row(policy, before)
            return kind_of(row.scope, row.form, schemas.ours)

        misfits: Literal["error", "warning"] = "warning" if snapshot.keeps_misfits else "error"
        return check_policies(policies, schemas.engine, self._problems, self._pause, kind, misfits=misfits)

    def _unsettled(self, policies: Sequence[Policy], before: Mapping[str, Row]) -> Iterator[Policy]:
        """Those that were not validated against this schema before."""
        same_schema = self._same_schema()
        for policy in policies:
            if not same_schema or not _is_of(before.get(policy.id), policy):
                yield policy
            self._pause()

    def _check_links(self, templates: Mapping[str, Row]) -> None:
        known = frozenset(policy.id for policy in self._snapshot.templates)
        check = LinkCheck(templates, known)
        for link in self._snapshot.links:
            template = templates.get(link.template_id)
            if template is None or not _is_link_of(self._rows_before.get(link.id), link, template):
                problem = check.problem(link)
                if problem is not None:
                    self._problems.append(problem)
            self._pause()

    def _entities(self, schemas: Schemas) -> Mapping[EntityUid, Entity]:
        previous = self._previous
        if previous is not None and self._same_schema() and previous.snapshot.entities == self._snapshot.entities:
            return previous.entities
        return load_entities(self._snapshot, schemas, self._problems, self._pause)

    # --- what it becomes

    def _template_rows(self, refused: frozenset[str]) -> Iterator[Row]:
        for policy in self._snapshot.templates:
            if policy.id not in refused:
                yield self._static_row(policy, self._templates_before)
                self._pause()

    def _rows(self, templates: Mapping[str, Row]) -> Iterator[Row]:
        for policy in self._snapshot.policies:
            yield self._static_row(policy, self._rows_before)
            self._pause()
        for link in self._snapshot.links:
            before, template = self._rows_before.get(link.id), templates[link.template_id]
            if before is not None and _is_link_of(before, link, template):
                yield before
            else:
                yield link_row(link, template, self._handles.serial())
            self._pause()

    def _static_row(self, policy: Policy, rows_before: Mapping[str, Row]) -> Row:
        before = rows_before.get(policy.id)
        if before is not None and _is_of(before, policy):
            return before
        return self._row(policy)

    def _row(self, policy: Policy) -> Row:
        """A new row, the same one for the same policy."""
        made = self._made.get(id(policy))
        if made is None:
            made = self._made[id(policy)] = static_row(policy, self._handles.serial())
        return made

    def _index(self, rows: Mapping[str, Row], fresh: Sequence[Row]) -> PolicyIndex:
        previous = self._previous
        if previous is not None:
            gone = [row for id, row in previous.rows.items() if rows.get(id) is not row]
            if not fresh and not gone:
                return previous.index
            # Taking out one by one costs more than indexing what is left, where little is left.
            if len(gone) <= len(previous.rows) // 2:
                return previous.index.changed(added=Steps(fresh, self._pause), removed=Steps(gone, self._pause))
        return PolicyIndex().changed(added=Steps(list(rows.values()), self._pause))


def _few(warnings: Sequence[Problem]) -> tuple[Problem, ...]:
    """A schema that no longer fits has one for each policy: some are enough to see it."""
    more = len(warnings) - MOST_WARNINGS
    if more <= 0:
        return tuple(warnings)
    text = f"{more} more policies do not fit the schema; they decide all the same"
    return (*warnings[:MOST_WARNINGS], Problem(message=text, severity="warning"))


def _is_of(row: Row | None, policy: Policy) -> bool:
    """Is this the row of just such a static policy or template?"""
    return (
        row is not None
        and row.slots is None
        and row.text == policy.text
        and row.name == policy.name
        and row.effect is policy.effect
        and row.message == policy.annotations.get(DENY_MESSAGE)
    )


def _is_link_of(row: Row | None, link: TemplateLink, template: Row) -> bool:
    """Is this the row of just such a link of just such a template?"""
    return (
        row is not None
        and row.slots == link.values
        and row.name == link.name
        and row.text == template.text
        and row.effect is template.effect
        and row.message == template.message
    )
