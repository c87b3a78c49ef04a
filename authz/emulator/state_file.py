"""The emulator's database: its tables, and whether a file is one of ours."""

from __future__ import annotations

import secrets
import sqlite3
from pathlib import Path

APPLICATION = 0x415650  # "AVP"
VERSION = 1

_TABLES = """
CREATE TABLE stores (
    seq INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE, revision INTEGER NOT NULL, doc TEXT NOT NULL
);
CREATE TABLE aliases (
    seq INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT NOT NULL UNIQUE, store_id TEXT NOT NULL, created TEXT NOT NULL,
    deleted_at REAL
);
CREATE INDEX aliases_of_store ON aliases (store_id, seq);
CREATE TABLE schemas (store_id TEXT PRIMARY KEY, doc TEXT NOT NULL);
CREATE TABLE templates (
    seq INTEGER PRIMARY KEY AUTOINCREMENT, store_id TEXT NOT NULL, id TEXT NOT NULL, name TEXT, doc TEXT NOT NULL
);
CREATE UNIQUE INDEX template_ids ON templates (store_id, id);
CREATE UNIQUE INDEX template_names ON templates (store_id, name) WHERE name IS NOT NULL;
CREATE INDEX templates_of_store ON templates (store_id, seq);
CREATE TABLE policies (
    seq INTEGER PRIMARY KEY AUTOINCREMENT, store_id TEXT NOT NULL, id TEXT NOT NULL, name TEXT, template_id TEXT,
    principal_type TEXT, principal_id TEXT, resource_type TEXT, resource_id TEXT,
    size INTEGER NOT NULL, revision INTEGER NOT NULL, doc TEXT NOT NULL
);
CREATE UNIQUE INDEX policy_ids ON policies (store_id, id);
CREATE UNIQUE INDEX policy_names ON policies (store_id, name) WHERE name IS NOT NULL;
CREATE INDEX policies_of_store ON policies (store_id, seq);
CREATE INDEX policies_of_template ON policies (store_id, template_id, seq);
CREATE INDEX policies_of_principal ON policies (store_id, principal_id, principal_type, seq);
CREATE INDEX policies_of_resource ON policies (store_id, resource_id, resource_type, size);
CREATE INDEX policies_by_revision ON policies (store_id, revision);
CREATE TABLE deleted_policies (store_id TEXT NOT NULL, id TEXT NOT NULL, revision INTEGER NOT NULL);
CREATE INDEX deleted_by_revision ON deleted_policies (store_id, revision);
CREATE TABLE identity_sources (
    seq INTEGER PRIMARY KEY AUTOINCREMENT, store_id TEXT NOT NULL, id TEXT NOT NULL, principal_type TEXT NOT NULL,
    doc TEXT NOT NULL
);
CREATE UNIQUE INDEX identity_source_ids ON identity_sources (store_id, id);
CREATE TABLE client_tokens (
    operation TEXT NOT NULL, token TEXT NOT NULL, digest TEXT NOT NULL, answer TEXT NOT NULL, until REAL NOT NULL,
    PRIMARY KEY (operation, token)
);
CREATE INDEX client_tokens_until ON client_tokens (until);
CREATE TABLE secrets (secret BLOB NOT NULL);
"""


class UnusableState(Exception):
    """The file cannot be used as the emulator's state. The message says why, and what to do."""


def connect(path: Path | None) -> sqlite3.Connection:
    """The database, with its tables.

    Args:
        path: a file, made if there is none; None: in memory.

    Raises:
        UnusableState: it is another program's file, a newer version's, or cannot be opened.
    """
    try:
        connection = sqlite3.connect(
            ":memory:" if path is None else path, isolation_level=None, check_same_thread=False, timeout=1.0
        )
    except sqlite3.Error as error:
        raise UnusableState(f"{path}: cannot be opened ({error}); the folder must exist and be writable") from None
    try:
        _prepare(connection, str(path))
    except sqlite3.OperationalError as error:
        connection.close()
        raise UnusableState(f"{path}: cannot be used ({error}); is another emulator running on it?") from None
    except sqlite3.DatabaseError:
        connection.close()
        raise UnusableState(f"{path}: is no SQLite database, or is damaged; name another file, or remove it") from None
    except BaseException:
        connection.close()
        raise
    return connection


def _prepare(connection: sqlite3.Connection, name: str) -> None:
    (application,) = connection.execute("PRAGMA application_id").fetchone()
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    (tables,) = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    if application == APPLICATION and version > VERSION:
        raise UnusableState(f"{name}: was written by a newer version; use that, or name another file")
    if application != APPLICATION and tables:
        raise UnusableState(f"{name}: is another program's database; name another file")
    # One process writes and only a crash of the machine can lose its last writes: worth ten times the speed.
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = NORMAL")
    # Two emulators on one file would each give out what the other does not know.
    connection.execute("PRAGMA locking_mode = EXCLUSIVE")
    connection.execute("BEGIN EXCLUSIVE")
    if application != APPLICATION:
        for statement in filter(str.strip, _TABLES.split(";")):
            connection.execute(statement)
        connection.execute("INSERT INTO secrets VALUES (?)", (secrets.token_bytes(32),))
        connection.execute(f"PRAGMA application_id = {APPLICATION}")
        connection.execute(f"PRAGMA user_version = {VERSION}")
    # Told only to who asks from an earlier revision on; who starts anew asks from the beginning.
    connection.execute("DELETE FROM deleted_policies")
    connection.execute("COMMIT")
