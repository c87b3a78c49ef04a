"""Reads of the emulator's state, over one database."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeAlias, TypeVar

from authz.core.model import EntityUid
from authz.emulator.errors import Resource, ResourceNotFound
from authz.emulator.records import (
    AliasRecord,
    Changes,
    IdentitySourceRecord,
    PolicyRecord,
    SchemaRecord,
    StoreRecord,
    TemplateRecord,
)

ALIAS = "policy-store-alias/"
NAME = "name/"
ALIAS_RESERVED = 24 * 3600.0
"""Seconds for which a softly deleted alias keeps its name."""

_T = TypeVar("_T")
Row: TypeAlias = tuple[Any, ...]

_POLICY = (
    "SELECT p.seq, p.store_id, p.id, p.name, p.template_id, p.principal_type, p.principal_id, p.resource_type,"
    " p.resource_id, p.doc, t.doc FROM policies p"
    " LEFT JOIN templates t ON t.store_id = p.store_id AND t.id = p.template_id"
)
_TEMPLATE = "SELECT seq, store_id, id, name, doc FROM templates"
_SOURCE = "SELECT seq, store_id, id, principal_type, doc FROM identity_sources"
_ALIAS = "SELECT seq, name, store_id, created, deleted_at FROM aliases"


@dataclass(frozen=True, slots=True)
class Page(Generic[_T]):
    """Some of a list."""

    items: tuple[_T, ...]
    after: int | None
    """Where the next page begins; None: there is none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """Which policies of a store are listed. A filter that is None counts for nothing."""

    principal: EntityUid | None = None
    principal_unspecified: bool | None = None
    resource: EntityUid | None = None
    resource_unspecified: bool | None = None
    type: str | None = None
    template_id: str | None = None

    def where(self) -> tuple[str, list[str]]:
        """Conditions in SQL, and their values."""
        words, values = "", []
        for name, uid in (("principal", self.principal), ("resource", self.resource)):
            if uid is not None:
                words += f" AND p.{name}_id = ? AND p.{name}_type = ?"
                values += [uid.id, uid.type]
        for name, unspecified in (
            ("principal", self.principal_unspecified),
            ("resource", self.resource_unspecified),
        ):
            if unspecified is not None:
                words += f" AND p.{name}_id IS {'' if unspecified else 'NOT '}NULL"
        if self.type is not None:
            words += f" AND p.template_id IS {'NOT ' if self.type == 'TEMPLATE_LINKED' else ''}NULL"
        if self.template_id is not None:
            words += " AND p.template_id = ?"
            values.append(self.template_id)
        return words, values


class View:
    """What a reader sees."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self.connection = connection

    def _one(self, sql: str, *values: object) -> Row | None:
        found: Row | None = self.connection.execute(sql, values).fetchone()
        return found

    def _page(self, sql: str, values: Sequence[object], limit: int) -> tuple[list[Row], int | None]:
        rows = self.connection.execute(f"{sql} LIMIT ?", (*values, limit + 1)).fetchall()
        return rows[:limit], rows[limit - 1][0] if len(rows) > limit else None

    # --- stores and aliases

    def store(self, reference: str, now: float) -> StoreRecord:
        """The store of an id, or of an alias that is active.

        Raises:
            ResourceNotFound: there is none, or the alias is deleted.
        """
        if reference.startswith(ALIAS):
            alias = self.alias(reference, now)
            if alias is None or alias.deleted_at is not None:
                raise ResourceNotFound(Resource(reference, "POLICY_STORE_ALIAS"))
            reference = alias.store_id
        found = self.find_store(reference)
        if found is None:
            raise ResourceNotFound(Resource(reference, "POLICY_STORE"))
        return found

    def find_store(self, store_id: str) -> StoreRecord | None:
        """The store of an id."""
        row = self._one("SELECT doc FROM stores WHERE id = ?", store_id)
        return StoreRecord(**json.loads(row[0])) if row else None

    def stores(self, after: int, limit: int) -> Page[StoreRecord]:
        """Stores, in the order in which they were made."""
        rows, last = self._page("SELECT seq, doc FROM stores WHERE seq > ? ORDER BY seq", (after,), limit)
        return Page(tuple(StoreRecord(**json.loads(row[1])) for row in rows), last)

    def store_count(self) -> int:
        """How many stores there are."""
        row = self._one("SELECT count(*) FROM stores")
        return int(row[0]) if row else 0

    def alias(self, name: str, now: float) -> AliasRecord | None:
        """An alias, also one that is softly deleted and whose name is still reserved."""
        row = self._one(f"{_ALIAS} WHERE name = ?", name)
        found = _alias(row) if row else None
        return None if found is None or _forgotten(found, now) else found

    def aliases(self, store_id: str | None, now: float, after: int, limit: int) -> Page[AliasRecord]:
        """Aliases, of one store or of all."""
        rows, last = self._page(
            f"{_ALIAS} WHERE seq > ? AND (? IS NULL OR store_id = ?) AND (deleted_at IS NULL OR deleted_at > ?)"
            " ORDER BY seq",
            (after, store_id, store_id, now - ALIAS_RESERVED),
            limit,
        )
        return Page(tuple(map(_alias, rows)), last)

    # --- schema, templates, identity sources

    def schema(self, store_id: str) -> SchemaRecord | None:
        """A store's schema."""
        row = self._one("SELECT doc FROM schemas WHERE store_id = ?", store_id)
        if row is None:
            return None
        doc = json.loads(row[0])
        return SchemaRecord(**doc | {"store_id": store_id, "namespaces": tuple(doc["namespaces"])})

    def template(self, store_id: str, reference: str) -> TemplateRecord | None:
        """The template of an id, or of a name with `name/`."""
        row = self._one(f"{_TEMPLATE} WHERE store_id = ? AND {_key(reference)} = ?", store_id, reference)
        return _template(row) if row else None

    def templates(self, store_id: str, after: int, limit: int) -> Page[TemplateRecord]:
        """Templates, in the order in which they were made."""
        rows, last = self._page(f"{_TEMPLATE} WHERE store_id = ? AND seq > ? ORDER BY seq", (store_id, after), limit)
        return Page(tuple(map(_template, rows)), last)

    def template_count(self, store_id: str) -> int:
        """How many templates a store has."""
        row = self._one("SELECT count(*) FROM templates WHERE store_id = ?", store_id)
        return int(row[0]) if row else 0

    def identity_source(self, store_id: str, source_id: str | None = None) -> IdentitySourceRecord | None:
        """A store's identity source; the one of an id, where an id is given."""
        sql = f"{_SOURCE} WHERE store_id = ? AND (? IS NULL OR id = ?) ORDER BY seq"
        row = self._one(sql, store_id, source_id, source_id)
        return _source(row) if row else None

    def identity_sources(
        self, store_id: str, principal_types: Sequence[str], after: int, limit: int
    ) -> Page[IdentitySourceRecord]:
        """Identity sources. `principal_types`: only those of one of these; empty: of all."""
        marks = ",".join("?" * len(principal_types))
        words = f" AND principal_type IN ({marks})" if principal_types else ""
        sql = f"{_SOURCE} WHERE store_id = ? AND seq > ?{words} ORDER BY seq"
        rows, last = self._page(sql, (store_id, after, *principal_types), limit)
        return Page(tuple(map(_source, rows)), last)

    # --- policies

    def policy(self, store_id: str, reference: str) -> PolicyRecord | None:
        """The policy of an id, or of a name with `name/`."""
        row = self._one(f"{_POLICY} WHERE p.store_id = ? AND p.{_key(reference)} = ?", store_id, reference)
        return _policy(row) if row else None

    def policies(self, store_id: str, selection: Selection, after: int, limit: int) -> Page[PolicyRecord]:
        """Policies, in the order in which they were made."""
        words, values = selection.where()
        sql = f"{_POLICY} WHERE p.store_id = ? AND p.seq > ?{words} ORDER BY p.seq"
        rows, last = self._page(sql, (store_id, after, *values), limit)
        return Page(tuple(map(_policy, rows)), last)

    def bytes_of_resource(self, store_id: str, resource: EntityUid | None) -> int:
        """The size of all policies that name this resource; None: of those that name none."""
        kind, name = (resource.type, resource.id) if resource is not None else (None, None)
        sql = "SELECT total(size) FROM policies WHERE store_id = ? AND resource_id IS ? AND resource_type IS ?"
        row = self._one(sql, store_id, name, kind)
        return int(row[0]) if row else 0

    def revision(self, store_id: str) -> int:
        """Grows with each change of the store's policies, templates, schema or identity source; 0: no such store."""
        row = self._one("SELECT revision FROM stores WHERE id = ?", store_id)
        return int(row[0]) if row else 0

    def changes(self, store_id: str, since: int) -> Changes:
        """What changed after a revision; 0: everything."""
        values = store_id, since
        changed = self.connection.execute(f"{_POLICY} WHERE p.store_id = ? AND p.revision > ?", values)
        schema = self.schema(store_id)
        return Changes(
            revision=self.revision(store_id),
            changed=tuple(map(_policy, changed)),
            deleted=tuple(self._deleted(*values)) if since else (),
            templates=self.templates(store_id, 0, 1_000_000).items,
            schema=schema.text if schema is not None else None,
        )

    def _deleted(self, store_id: str, since: int) -> Iterator[str]:
        sql = "SELECT id FROM deleted_policies WHERE store_id = ? AND revision > ?"
        for (found,) in self.connection.execute(sql, (store_id, since)):
            yield found


def _key(reference: str) -> str:
    return "name" if reference.startswith(NAME) else "id"


def _forgotten(alias: AliasRecord, now: float) -> bool:
    return alias.deleted_at is not None and alias.deleted_at <= now - ALIAS_RESERVED


def _alias(row: Row) -> AliasRecord:
    return AliasRecord(name=row[1], store_id=row[2], created=row[3], deleted_at=row[4])


def _uid(kind: str | None, name: str | None) -> EntityUid | None:
    return EntityUid(kind, name) if kind is not None and name is not None else None


def _uids(pairs: Sequence[Sequence[str]]) -> tuple[EntityUid, ...]:
    return tuple(EntityUid(*pair) for pair in pairs)


def _template(row: Row) -> TemplateRecord:
    doc = json.loads(row[4])
    return TemplateRecord(
        store_id=row[1],
        id=row[2],
        name=row[3],
        statement=doc["statement"],
        slots=tuple(doc["slots"]),
        effect=doc["effect"],
        actions=_uids(doc["actions"]),
        principal=EntityUid(*doc["principal"]) if doc["principal"] else None,
        resource=EntityUid(*doc["resource"]) if doc["resource"] else None,
        description=doc["description"],
        created=doc["created"],
        updated=doc["updated"],
    )


def _policy(row: Row) -> PolicyRecord:
    doc = json.loads(row[9])
    body = json.loads(row[10]) if row[4] is not None else doc
    return PolicyRecord(
        store_id=row[1],
        id=row[2],
        name=row[3],
        type="STATIC" if row[4] is None else "TEMPLATE_LINKED",
        template_id=row[4],
        principal=_uid(row[5], row[6]),
        resource=_uid(row[7], row[8]),
        statement=body["statement"],
        slots=tuple(body["slots"]) if row[4] is not None else (),
        effect=body["effect"],
        actions=_uids(body["actions"]),
        description=doc["description"],
        created=doc["created"],
        updated=doc["updated"],
    )


def _source(row: Row) -> IdentitySourceRecord:
    return IdentitySourceRecord(store_id=row[1], id=row[2], principal_type=row[3], **json.loads(row[4]))
