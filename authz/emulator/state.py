"""The emulator's state: what operations read and write, always through SQL, on the loop directly.

What others build on: `store`, `revision`, `changes`, `identity_source`, `identity_sources`, `put_identity_source`,
`delete_identity_source`. Reads go through `seen`, which lags behind while a test says so; writes, and the checks that
belong to them, go through `latest`.
"""

from __future__ import annotations

import json
import sqlite3
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from authz.core.model import EntityUid
from authz.emulator.clock import Clock
from authz.emulator.records import (
    AliasRecord,
    Changes,
    IdentitySourceRecord,
    PolicyRecord,
    SchemaRecord,
    StoreRecord,
    TemplateRecord,
)
from authz.emulator.state_file import connect
from authz.emulator.state_view import Page, View

_OF_STORE = ("aliases", "schemas", "templates", "policies", "deleted_policies", "identity_sources")


class State:
    """One database, and a copy that lags behind it while it is asked to.

    Args:
        path: an SQLite file; None: in memory.
        clock: the emulator's time.
        delay: seconds by which reads lag behind writes, asked for at each read.

    Raises:
        UnusableState: the file is not ours, or of a newer version.
    """

    def __init__(self, path: Path | None, clock: Clock, delay: Callable[[], float] = lambda: 0.0) -> None:
        self._connection = connect(path)
        self._clock = clock
        self._delay = delay
        self._behind: View | None = None
        self._waiting: deque[tuple[float, list[tuple[str, Sequence[object]]]]] = deque()
        self._written: list[tuple[str, Sequence[object]]] | None = None
        (self.secret,) = self._connection.execute("SELECT secret FROM secrets").fetchone()
        """Seals the tokens of pages; as old as the state."""
        self.latest = View(self._connection)
        """As the last write left it."""

    def close(self) -> None:
        """Ends it. What was written stays in the file."""
        if self._behind is not None:
            self._behind.connection.close()
        self._connection.close()

    # --- what is seen

    @property
    def seen(self) -> View:
        """What reads and decisions see: without a delay, the latest."""
        delay = self._delay()
        if delay <= 0:
            self._catch_up_for_good()
            return self.latest
        behind = self._lagging()
        now = self._clock.now()
        while self._waiting and self._waiting[0][0] + delay <= now:
            for sql, values in self._waiting.popleft()[1]:
                behind.connection.execute(sql, values)
        return behind

    def _lagging(self) -> View:
        if self._behind is None:
            copy = sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False)
            self._connection.backup(copy)
            self._behind = View(copy)
        return self._behind

    def _catch_up_for_good(self) -> None:
        if self._behind is not None:
            self._behind.connection.close()
            self._behind = None
            self._waiting.clear()

    def store(self, reference: str) -> StoreRecord:
        """The store of an id or an active alias, as it is seen.

        Raises:
            ResourceNotFound: there is none.
        """
        return self.seen.store(reference, self._clock.now())

    def revision(self, store_id: str) -> int:
        """Grows with each change of a store's policies, templates, schema or identity source, as they are seen."""
        return self.seen.revision(store_id)

    def changes(self, store_id: str, since: int) -> Changes:
        """What changed after a revision, as it is seen; 0: everything."""
        return self.seen.changes(store_id, since)

    def identity_source(self, store_id: str, source_id: str | None = None) -> IdentitySourceRecord | None:
        """A store's identity source, as it is seen."""
        return self.seen.identity_source(store_id, source_id)

    def identity_sources(
        self, store_id: str, principal_types: Sequence[str] = (), after: int = 0, limit: int = 50
    ) -> Page[IdentitySourceRecord]:
        """A store's identity sources, as they are seen."""
        return self.seen.identity_sources(store_id, principal_types, after, limit)

    def client_token(self, operation: str, token: str, now: float) -> tuple[str, str] | None:
        """The digest of the call that used a client token, and its answer; None: it is new, or was forgotten."""
        sql = "SELECT digest, answer FROM client_tokens WHERE operation = ? AND token = ? AND until > ?"
        found: tuple[str, str] | None = self._connection.execute(sql, (operation, token, now)).fetchone()
        return found

    # --- what is written

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """All of the writes within, or none of them. Must not be held across an `await`."""
        if self._written is not None:
            raise RuntimeError("a transaction within a transaction")
        if self._delay() > 0:
            self._lagging()
        self._connection.execute("BEGIN IMMEDIATE")
        self._written = []
        try:
            yield
            self._connection.execute("COMMIT")
            if self._behind is not None:
                self._waiting.append((self._clock.now(), self._written))
        except BaseException:
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
            raise
        finally:
            self._written = None

    def write(self, sql: str, *values: object) -> int:
        """One statement; only within a `transaction`. Gives the number of rows it changed."""
        if self._written is None:
            raise RuntimeError("a write outside a transaction")
        self._written.append((sql, values))
        return self._connection.execute(sql, values).rowcount

    def _next_revision(self, store_id: str) -> int:
        self.write("UPDATE stores SET revision = revision + 1 WHERE id = ?", store_id)
        return self.latest.revision(store_id)

    def put_client_token(self, operation: str, token: str, digest: str, answer: str, now: float, until: float) -> None:
        """Keeps the answer of a call, and forgets those whose time is over."""
        self.write("DELETE FROM client_tokens WHERE until <= ?", now)
        sql = "INSERT OR REPLACE INTO client_tokens VALUES (?, ?, ?, ?, ?)"
        self.write(sql, operation, token, digest, answer, until)

    def put_store(self, store: StoreRecord) -> None:
        """Makes or replaces a store."""
        names = ("id", "created", "updated", "mode", "description", "deletion_protection", "encryption", "tags")
        doc = json.dumps({name: getattr(store, name) for name in names})
        self.write(
            "INSERT INTO stores (id, revision, doc) VALUES (?, 1, ?) ON CONFLICT (id) DO UPDATE SET doc = excluded.doc",
            store.id,
            doc,
        )

    def delete_store(self, store_id: str) -> None:
        """Deletes a store and all that is in it, and its aliases."""
        self.write("DELETE FROM stores WHERE id = ?", store_id)
        for table in _OF_STORE:
            self.write(f"DELETE FROM {table} WHERE store_id = ?", store_id)  # noqa: S608 - our own names

    def put_alias(self, alias: AliasRecord) -> None:
        """Makes an alias; takes the place of one of this name."""
        self.write("DELETE FROM aliases WHERE name = ?", alias.name)
        sql = "INSERT INTO aliases (name, store_id, created, deleted_at) VALUES (?, ?, ?, ?)"
        self.write(sql, alias.name, alias.store_id, alias.created, alias.deleted_at)

    def mark_alias_deleted(self, name: str, now: float) -> None:
        """Deletes an alias softly."""
        self.write("UPDATE aliases SET deleted_at = ? WHERE name = ? AND deleted_at IS NULL", now, name)

    def delete_alias(self, name: str) -> None:
        """Deletes an alias at once."""
        self.write("DELETE FROM aliases WHERE name = ?", name)

    def put_schema(self, schema: SchemaRecord) -> None:
        """Replaces a store's schema."""
        names = ("text", "namespaces", "created", "updated")
        self.write(
            "INSERT INTO schemas (store_id, doc) VALUES (?, ?) ON CONFLICT (store_id) DO UPDATE SET doc = excluded.doc",
            schema.store_id,
            json.dumps({name: getattr(schema, name) for name in names}),
        )
        self._next_revision(schema.store_id)

    def delete_schema(self, store_id: str) -> None:
        """Deletes a store's schema."""
        self.write("DELETE FROM schemas WHERE store_id = ?", store_id)
        self._next_revision(store_id)

    def put_template(self, template: TemplateRecord) -> None:
        """Makes or replaces a template. Its links count as changed."""
        revision = self._next_revision(template.store_id)
        self.write(
            "INSERT INTO templates (store_id, id, name, doc) VALUES (?, ?, ?, ?)"
            " ON CONFLICT (store_id, id) DO UPDATE SET name = excluded.name, doc = excluded.doc",
            template.store_id,
            template.id,
            template.name,
            _template_doc(template),
        )
        sql = "UPDATE policies SET revision = ? WHERE store_id = ? AND template_id = ?"
        self.write(sql, revision, template.store_id, template.id)

    def delete_template(self, store_id: str, template_id: str) -> None:
        """Deletes a template and its links."""
        revision = self._next_revision(store_id)
        self.write(
            "INSERT INTO deleted_policies SELECT store_id, id, ? FROM policies WHERE store_id = ? AND template_id = ?",
            revision,
            store_id,
            template_id,
        )
        self.write("DELETE FROM policies WHERE store_id = ? AND template_id = ?", store_id, template_id)
        self.write("DELETE FROM templates WHERE store_id = ? AND id = ?", store_id, template_id)

    def put_policy(self, policy: PolicyRecord, size: int) -> None:
        """Makes or replaces a policy. `size`: its bytes, as the quota per resource counts them."""
        principal, resource = policy.principal, policy.resource
        self.write(
            "INSERT INTO policies (store_id, id, name, template_id, principal_type, principal_id, resource_type,"
            " resource_id, size, revision, doc) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
            " ON CONFLICT (store_id, id) DO UPDATE SET name = excluded.name, size = excluded.size,"
            " revision = excluded.revision, doc = excluded.doc",
            policy.store_id,
            policy.id,
            policy.name,
            policy.template_id,
            *(principal or (None, None)),
            *(resource or (None, None)),
            size,
            self._next_revision(policy.store_id),
            _policy_doc(policy),
        )

    def delete_policy(self, store_id: str, policy_id: str) -> None:
        """Deletes a policy, if there is one of this id."""
        if self.write("DELETE FROM policies WHERE store_id = ? AND id = ?", store_id, policy_id):
            revision = self._next_revision(store_id)
            self.write("INSERT INTO deleted_policies VALUES (?, ?, ?)", store_id, policy_id, revision)

    def put_identity_source(self, source: IdentitySourceRecord) -> None:
        """Makes or replaces an identity source."""
        names = ("configuration", "created", "updated")
        self.write(
            "INSERT INTO identity_sources (store_id, id, principal_type, doc) VALUES (?, ?, ?, ?)"
            " ON CONFLICT (store_id, id) DO UPDATE SET principal_type = excluded.principal_type, doc = excluded.doc",
            source.store_id,
            source.id,
            source.principal_type,
            json.dumps({name: getattr(source, name) for name in names}),
        )
        self._next_revision(source.store_id)

    def delete_identity_source(self, store_id: str, source_id: str) -> bool:
        """Deletes an identity source. Was there one?"""
        found = self.write("DELETE FROM identity_sources WHERE store_id = ? AND id = ?", store_id, source_id) > 0
        if found:
            self._next_revision(store_id)
        return found


def _pair(uid: EntityUid | None) -> tuple[str, str] | None:
    return (uid.type, uid.id) if uid is not None else None


def _template_doc(template: TemplateRecord) -> str:
    names = ("statement", "slots", "effect", "description", "created", "updated")
    doc = {name: getattr(template, name) for name in names}
    doc["actions"] = [_pair(uid) for uid in template.actions]
    doc["principal"], doc["resource"] = _pair(template.principal), _pair(template.resource)
    return json.dumps(doc)


def _policy_doc(policy: PolicyRecord) -> str:
    doc: dict[str, object] = {name: getattr(policy, name) for name in ("description", "created", "updated")}
    if policy.template_id is None:
        doc["statement"], doc["effect"] = policy.statement, policy.effect
        doc["actions"] = [_pair(uid) for uid in policy.actions]
    return json.dumps(doc)
