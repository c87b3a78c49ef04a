r"""A policy store in a folder: `*.cedar`, a schema, entities, template links.

    schema.cedarschema    Cedar syntax; or schema.cedarschema.json / schema.json, Cedar JSON
    *.cedar               policies and templates, also in sub-folders; ids are `@id`, else `path#n`
    entities.json         Cedar JSON
    links.json            [{"id": …, "template": …, "principal": "Ns::User::\"a\"", "resource": …}]

Names that begin with a dot are passed over, so a Kubernetes volume's `..data` is read once, by its links.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import stat
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from authz.core.cedar_text import CedarTextError, Statement, scan_statements
from authz.core.errors import Misconfigured, PoliciesUnavailable, Problem
from authz.core.mapping import MappingError, parse_uid
from authz.core.model import Effect, EntityUid, Policy, PolicySnapshot, TemplateLink
from authz.stores.walk import walk

SCHEMA_FILES = ("schema.cedarschema", "schema.cedarschema.json", "schema.json")
ENTITIES_FILE = "entities.json"
LINKS_FILE = "links.json"
MAX_FILE = 64 * 1024 * 1024
"""Bytes of one file."""
_TRIES = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class FileStore:
    """Reads one folder. Relative names in problems are as the operator wrote the folder."""

    path: Path
    now: Callable[[], float] = time.time

    async def load(self) -> PolicySnapshot:
        """The folder's content; read in a worker thread. Raises as the port says."""
        return await asyncio.to_thread(self.read)

    def read(self) -> PolicySnapshot:
        """The folder's content, read at one moment: a change while reading (a symlink swap) starts it anew.

        Raises:
            Misconfigured: with every problem found.
            PoliciesUnavailable: the folder cannot be read, or changes all the time.
        """
        for _ in range(_TRIES):
            before = self._listing()
            contents = {name: _read_text(self.path / name, name) for name in before}
            if self._listing() == before:
                return self._snapshot(contents)
        raise PoliciesUnavailable(f"`{self.path}` changed each time that it was read")

    def schema(self) -> str | None:
        """The schema's text alone, if there is one that can be read: for findings beside those of `read`."""
        for name in SCHEMA_FILES:
            try:
                if text := _read_text(self.path / name, name):
                    return text
            except Misconfigured:
                continue
        return None

    def _listing(self) -> dict[str, tuple[int, int, int]]:
        if not self.path.is_dir():
            text = f"`{self.path}` is no folder; `policies.path` names the folder of the policy files"
            raise Misconfigured((Problem(message=text, file=str(self.path)),))
        found: dict[str, tuple[int, int, int]] = {}
        for folder, files in walk(self.path, _raise):
            for path in (folder / name for name in files):
                inner = path.relative_to(self.path).as_posix()
                # A link that leads nowhere could be a folder of forbids: better no policy set than part of one.
                if path.suffix == ".cedar" or inner in _SPECIAL or path.is_symlink():
                    status = path.stat()
                    if path.suffix == ".cedar" or inner in _SPECIAL:
                        found[inner] = (status.st_ino, status.st_mtime_ns, status.st_size)
        return dict(sorted(found.items()))

    def _snapshot(self, contents: Mapping[str, str]) -> PolicySnapshot:
        problems: list[Problem] = []
        found = [
            pair
            for name, text in contents.items()
            if name.endswith(".cedar")
            for pair in _policies(name, text, str(self.path / name), problems)
        ]
        for name in (name for name, text in contents.items() if name.endswith(".cedar") and not text):
            text = f"`{name}` is empty, as a write that was cut short leaves it; remove it, or write a comment"
            problems.append(Problem(message=text, file=str(self.path / name)))
        schemas = [name for name in SCHEMA_FILES if name in contents]
        if len(schemas) > 1:
            text = f"found {' and '.join(f'`{name}`' for name in schemas)}; keep one schema file"
            problems.append(Problem(message=text, file=str(self.path)))
        links = _links(contents.get(LINKS_FILE), str(self.path / LINKS_FILE), problems)
        if problems:
            raise Misconfigured(tuple(problems))
        return PolicySnapshot(
            version=_version(contents),
            policies=tuple(policy for statement, policy in found if not statement.is_template),
            templates=tuple(policy for statement, policy in found if statement.is_template),
            links=links,
            schema=contents[schemas[0]] if schemas else None,
            schema_file=str(self.path / schemas[0]) if schemas else "",
            entities=contents.get(ENTITIES_FILE, "[]"),
            entities_file=str(self.path / ENTITIES_FILE),
            origin=f"files:{self.path}",
            loaded_at=self.now(),
        )


_SPECIAL = frozenset({*SCHEMA_FILES, ENTITIES_FILE, LINKS_FILE})


def _raise(error: OSError) -> None:
    raise error


def _read_text(path: Path, name: str) -> str:
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):  # a pipe would be waited for without end
            text = "no regular file"
        elif status.st_size > MAX_FILE:
            text = f"larger than {MAX_FILE} bytes"
        else:
            return path.read_bytes().decode("utf-8")
    except UnicodeDecodeError as error:
        text = f"not UTF-8 at byte {error.start}"
    except FileNotFoundError:
        return ""  # gone since it was listed: the second listing differs, and reading starts anew
    except OSError as error:
        text = f"cannot be read: {error.strerror}"
    raise Misconfigured((Problem(message=f"`{name}` is {text}", file=str(path)),))


def _version(contents: Mapping[str, str]) -> str:
    digest = hashlib.sha256()
    for name, text in sorted(contents.items()):
        digest.update(f"{len(name)}:{name}:{len(text)}:{text}".encode())
    return digest.hexdigest()[:16]


def _policies(name: str, text: str, file: str, problems: list[Problem]) -> list[tuple[Statement, Policy]]:
    try:
        statements = scan_statements(text)
    except CedarTextError as error:
        problems.append(Problem(message=error.message, file=file, line=error.line))
        return []
    return [(statement, _policy(statement, f"{name}#{number}", file)) for number, statement in enumerate(statements, 1)]


def _policy(statement: Statement, default_id: str, file: str) -> Policy:
    return Policy(
        id=statement.annotations.get("id") or default_id,
        text=statement.text,
        effect=Effect(statement.effect),
        annotations=statement.annotations,
        file=file,
        line=statement.line,
    )


def _links(text: str | None, file: str, problems: list[Problem]) -> tuple[TemplateLink, ...]:
    if text is None:
        return ()
    try:
        rows = json.loads(text)
    except (json.JSONDecodeError, RecursionError) as error:
        line = error.lineno if isinstance(error, json.JSONDecodeError) else None
        problems.append(Problem(message=f"links: not valid JSON: {error}", file=file, line=line))
        return ()
    if not isinstance(rows, list):
        problems.append(Problem(message="links: expected a list", file=file))
        return ()
    found: list[TemplateLink] = []
    for number, row in enumerate(rows, 1):
        try:
            found.append(_link(row, file))
        except (MappingError, TypeError, KeyError, ValueError) as error:
            text = f"links: link {number}: expected `id`, `template` and one or both of `principal`, `resource`"
            problems.append(Problem(message=f"{text} ({error})", file=file))
    return tuple(found)


def _link(row: object, file: str) -> TemplateLink:
    if not isinstance(row, dict) or not row.keys() <= {"id", "template", "principal", "resource"}:
        raise MappingError("unknown keys")
    slots = {name: row[name] for name in ("principal", "resource") if name in row}
    texts = (row["id"], row["template"], *slots.values())
    if not slots or not all(isinstance(item, str) and item for item in texts):
        raise MappingError("each value is text")
    values: dict[str, EntityUid] = {f"?{name}": parse_uid(value) for name, value in slots.items()}
    return TemplateLink(id=row["id"], template_id=row["template"], values=values, file=file)
