"""The policies of a store as Cedar's engine has them, kept up as they change, and decisions by them.

The policies are given to the engine as they were written, templates linked by the engine itself. Of a small store all
are asked each time, so that nothing of the product's own way to a decision has a part in it; of a large one those whose
scope can match, told by the product's index (a property test holds the two against each other).
"""

from __future__ import annotations

import json
import re
import secrets
from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import cedarpy

from authz.core.cedar_schema import CedarSchemaError, Schema, load_schema
from authz.core.model import Effect, EntityUid, Policy, TemplateLink
from authz.emulator.entities import Entities, ancestors, parents_of
from authz.emulator.errors import ValidationError
from authz.emulator.records import Changes, PolicyRecord
from authz.emulator.state import State
from authz.emulator.values import is_action
from authz.pdp.index import Place, PolicyIndex
from authz.pdp.rows import Row, link_row, static_row

FULL = 300
"""Policies up to which all of a store are asked; it takes the engine half a millisecond."""
KEPT = 256
"""Sets of candidates whose handles are kept."""
KEPT_STORES = 256
"""Stores whose engines are kept."""
KEPT_POLICIES = 30_000
"""Policies in them, at some 13 kB each."""
_REPEATED = re.compile(r"\{|\n|: `|(?<=extension function):")
_NAMED = re.compile(r"policy `((?:policy|link)[0-9]+)`")


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """A request to the engine. What the caller left out is None."""

    principal: EntityUid | None
    action: EntityUid | None
    resource: EntityUid | None
    context: str
    """JSON text."""
    entities: Entities = field(repr=False)
    """Without actions."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """The answer."""

    allowed: bool
    policies: tuple[str, ...]
    """Ids of the determining policies, sorted; none where nothing matched."""
    errors: tuple[str, ...]
    """The engine's words on policies that were skipped, sorted, with the store's ids."""


@dataclass(frozen=True, slots=True, eq=False)
class _Handle:
    policies: cedarpy.PolicySet
    ids: Mapping[str, str]
    """The engine's id → the store's."""


class StoreEngine:
    """One policy store's policies and schema, at one revision."""

    def __init__(self, *, full: int = FULL) -> None:
        self._full = full
        self._rows: dict[str, Row] = {}
        self._index = PolicyIndex()
        self._serial = 0
        self._handles: OrderedDict[tuple[int, ...], _Handle] = OrderedDict()
        self._all: _Handle | None = None
        self._schema_text: str | None = None
        self._schema: Schema | None = None
        self._engine_schema: cedarpy.Schema | None = None
        self._actions = cedarpy.Entities.from_json_str("[]")
        # Cedar 4 has no unspecified entities. An entity of which nobody can know the type is as good: no scope names
        # it, and whoever reads an attribute of it errs, as with an unspecified one.
        self._unspecified = f"Unspecified_{secrets.token_hex(16)}"
        self.revision = 0

    def __len__(self) -> int:
        """How many policies there are."""
        return len(self._rows)

    @property
    def schema(self) -> Schema | None:
        """As the product reads it; None: there is none."""
        return self._schema

    def update(self, changes: Changes) -> None:
        """Takes what changed since `revision`. Costs by what changed."""
        gone = [self._rows[id] for id in (*changes.deleted, *(one.id for one in changes.changed)) if id in self._rows]
        fresh = [self._row(record) for record in changes.changed]
        if gone or fresh:
            self._index = self._index.changed(added=fresh, removed=_once(gone))
            for id in changes.deleted:
                self._rows.pop(id, None)
            self._rows.update({row.id: row for row in fresh})
            self._all = None
        if changes.schema != self._schema_text:
            self._take_schema(changes.schema)
        self.revision = changes.revision

    def decide(self, question: Question, *, strict: bool = False) -> Verdict:
        """The engine's answer.

        Args:
            question: what is asked.
            strict: the engine holds request, context and entities against the schema.

        Raises:
            ValidationError: the engine cannot take the request.
        """
        if strict and None in (question.principal, question.action, question.resource):
            raise ValidationError([("", "no schema can declare a request without principal, action and resource")])
        handle = self._handle(question)
        entities = self._entities(question.entities, strict=strict)
        request = {
            "principal": self._told(question.principal, "principal"),
            "action": self._told(question.action, "action"),
            "resource": self._told(question.resource, "resource"),
            "context": question.context,
        }
        schema = self._engine_schema if strict else None
        return _verdict(cedarpy.is_authorized(request, handle.policies, entities, schema), handle)

    # --- what the store holds

    def _row(self, record: PolicyRecord) -> Row:
        self._serial += 1
        effect = Effect(record.effect.lower())
        row = static_row(Policy(id=record.id, text=record.statement, effect=effect), self._serial)
        if record.template_id is None:
            return row
        held = {"principal": record.principal, "resource": record.resource}
        values = {f"?{name}": value for name in record.slots if (value := held[name]) is not None}
        return link_row(TemplateLink(id=record.id, template_id=record.template_id, values=values), row, self._serial)

    def _take_schema(self, text: str | None) -> None:
        self._schema_text = text
        self._schema = self._engine_schema = None
        if text is not None:
            try:
                self._schema = load_schema(text)
            except CedarSchemaError:  # of a size or depth that the product does not take; then all policies are asked
                self._schema = None
            self._engine_schema = cedarpy.Schema.from_json_str(text)
        # With the schema the engine itself gives the actions with their groups.
        self._actions = cedarpy.Entities.from_json_str("[]", self._engine_schema)

    # --- which policies are asked

    def _handle(self, question: Question) -> _Handle:
        untold = self._schema_text is not None and self._schema is None
        if len(self._rows) <= self._full or untold:
            self._all = self._all or _parsed(tuple(self._rows.values()))
            return self._all
        rows = self._candidates(question)
        key = tuple(row.serial for row in rows)
        handle = self._handles.get(key)
        if handle is None:
            handle = self._handles[key] = _parsed(rows)
            while len(self._handles) > KEPT or sum(map(len, self._handles)) > max(KEPT_POLICIES, len(key)):
                self._handles.popitem(last=False)
        self._handles.move_to_end(key)
        return handle

    def _candidates(self, question: Question) -> tuple[Row, ...]:
        above = {uid: parents_of(entity) for uid, entity in question.entities.items()}
        principal, action, resource = (
            self._place(uid or EntityUid(self._unspecified, name), above)
            for uid, name in (
                (question.principal, "principal"),
                (question.action, "action"),
                (question.resource, "resource"),
            )
        )
        found = self._index.narrowed(principal, action).found(resource)
        return (*found.shared.rows, *found.own.rows)

    def _place(self, uid: EntityUid, above: Mapping[EntityUid, Sequence[EntityUid]]) -> Place:
        groups = self._groups(uid) if is_action(uid) else ancestors(uid, above)
        # What is given may be in an action, which is in its groups.
        groups |= {group for one in groups if is_action(one) for group in self._groups(one)}
        return Place(uid, groups | {uid})

    def _groups(self, action: EntityUid) -> frozenset[EntityUid]:
        if self._schema is None:
            return frozenset()
        return frozenset(EntityUid(*group) for group in self._schema.action_ancestors(action.type, action.id))

    # --- what the engine is told

    def _told(self, uid: EntityUid | None, name: str) -> dict[str, str]:
        return {"type": uid.type, "id": uid.id} if uid is not None else {"type": self._unspecified, "id": name}

    def _entities(self, given: Entities, *, strict: bool) -> cedarpy.Entities:
        try:
            text = json.dumps(list(given.values()))
            if strict:
                return cedarpy.Entities.from_json_str(text, self._engine_schema)
            return self._actions.with_added_json_str(text) if given else self._actions
        except (ValueError, RecursionError):
            words = "the entities contradict the schema" if strict else "Cedar cannot take these entities"
            raise ValidationError([("/entities", words)]) from None


class Engines:
    """The engines of the stores that were last asked."""

    def __init__(self) -> None:
        self._engines: OrderedDict[str, StoreEngine] = OrderedDict()

    def of(self, state: State, store_id: str) -> StoreEngine:
        """The store's engine, at the store's revision."""
        revision = state.revision(store_id)
        engine = self._engines.get(store_id)
        # What is seen may go back, where reads begin to lag behind.
        if engine is None or engine.revision > revision:
            engine = self._engines[store_id] = StoreEngine()
            if len(self._engines) > KEPT_STORES:
                self._engines.popitem(last=False)
        self._engines.move_to_end(store_id)
        if engine.revision != revision:
            engine.update(state.changes(store_id, engine.revision))
        return engine


def _parsed(rows: Sequence[Row]) -> _Handle:
    """All at once, each static policy and each template once, then the links, each under a name of ours."""
    texts = dict.fromkeys(row.text for row in rows if row.slots is not None)
    templates = {text: f"policy{place}" for place, text in enumerate(texts)}
    static = [row for row in rows if row.slots is None]
    policies = cedarpy.PolicySet.from_str("\n".join([*texts, *(row.text for row in static)]))
    ids = {f"policy{place}": row.id for place, row in enumerate(static, start=len(texts))}
    links = [row for row in rows if row.slots is not None]
    ids |= {f"link{place}": row.id for place, row in enumerate(links)}
    linked = [
        {
            "template_id": templates[row.text],
            "new_id": f"link{place}",
            "values": {slot: {"type": uid.type, "id": uid.id} for slot, uid in (row.slots or {}).items()},
        }
        for place, row in enumerate(links)
    ]
    return _Handle(policies.with_linked_batch(linked) if linked else policies, ids)


def _verdict(result: cedarpy.AuthzResult, handle: _Handle) -> Verdict:
    if result.decision is cedarpy.Decision.NoDecision:
        raise ValidationError([("", _why(result.diagnostics.errors))])
    return Verdict(
        allowed=result.decision is cedarpy.Decision.Allow,
        policies=tuple(sorted(handle.ids[reason] for reason in result.diagnostics.reasons)),
        errors=tuple(sorted(_with_ids(text, handle) for text in result.diagnostics.errors)),
    )


def _with_ids(text: str, handle: _Handle) -> str:
    """The engine's words with the store's id. Only the first: behind it stands what policies and requests say."""
    return _NAMED.sub(lambda found: f"policy `{handle.ids[found[1]]}`", text, count=1)


def _why(errors: Iterable[str]) -> str:
    """What the engine says of a request, up to where it repeats the request: a token's claims stand there."""
    words = next(iter(errors), "").removeprefix("failed to build request: ")
    told = _REPEATED.split(words, maxsplit=1)[0].strip(" :`\n")
    return f"the engine does not take the request: {told or 'it gave no reason'}"


def _once(rows: Iterable[Row]) -> list[Row]:
    return list({row.serial: row for row in rows}.values())
