r"""A policy store in a folder: `*.cedar`, a schema, entities, template links.

    schema.cedarschema    Cedar syntax; or schema.cedarschema.json / schema.json, Cedar JSON
    *.cedar               policies and templates, also in sub-folders; ids are `@id`, else `path#n`
    entities.json         Cedar JSON
    links.json            [{"id": …, "template": …, "principal": "Ns::User::\"a\"", "resource": …}]

Names that begin with a dot are passed over, so a Kubernetes volume's `..data` is read once, by its links.
"""

# ruff: noqa: PTH114, PTH116, PTH118, PTH123 - of ten thousand files `Path` would take most of the time

from __future__ import annotations

import asyncio
import hashlib
import os
import stat
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from authz.core.errors import Misconfigured, PoliciesUnavailable, Problem
from authz.core.model import PolicySnapshot
from authz.core.pieces import Pause, Steps, no_pause, take_apart
from authz.stores.file_content import Links, Policies, read_links, read_policies
from authz.stores.walk import walk

SCHEMA_FILES = ("schema.cedarschema", "schema.cedarschema.json", "schema.json")
ENTITIES_FILE = "entities.json"
LINKS_FILE = "links.json"
MAX_FILE = 64 * 1024 * 1024
"""Bytes of one file."""
_TRIES = 5
_SPECIAL = frozenset({*SCHEMA_FILES, ENTITIES_FILE, LINKS_FILE})


class _Content(NamedTuple):
    """What one file holds."""

    text: str
    digest: bytes
    """Of its bytes: made without a copy, and without the lock of Python."""


@dataclass(slots=True)
class _Known:
    """What the files held when they were last read. Replaced whole, so that readings do not mix."""

    policies: dict[str, Policies] = field(default_factory=dict)
    links: Links | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class FileStore:
    """Reads one folder. Relative names in problems are as the operator wrote the folder.

    A store that is read again takes a file that did not change (by its digest) as it was: the same objects.
    """

    path: Path
    now: Callable[[], float] = time.time
    pause: Pause = no_pause
    """Called after each small step of a reading."""
    _known: _Known = field(default_factory=_Known, init=False, repr=False, compare=False)

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
            contents: dict[str, _Content] = {}
            for name in before:
                contents[name] = self._content(name)
                self.pause()
            if self._listing() == before:
                try:
                    return self._snapshot(contents)
                finally:
                    take_apart(contents, self.pause)
        raise PoliciesUnavailable(f"`{self.path}` changed each time that it was read")

    def schema(self) -> str | None:
        """The schema's text alone, if there is one that can be read: for findings beside those of `read`."""
        for name in SCHEMA_FILES:
            try:
                if text := self._content(name).text:
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
            here = folder == self.path
            inner = "" if here else f"{folder.relative_to(self.path).as_posix()}/"
            for name in files:
                self.pause()
                path = os.path.join(folder, name)
                counts = name.endswith(".cedar") or (here and name in _SPECIAL)
                # A link that leads nowhere could be a folder of forbids: better no policy set than part of one.
                if counts or os.path.islink(path):
                    status = os.stat(path)
                    if counts:
                        found[f"{inner}{name}"] = (status.st_ino, status.st_mtime_ns, status.st_size)
        return {name: found[name] for name in sorted(found)}

    def _content(self, name: str) -> _Content:
        return _read(os.path.join(self.path, name), name)

    def _snapshot(self, contents: Mapping[str, _Content]) -> PolicySnapshot:
        problems: list[Problem] = []
        found = dict(self._policies(contents, problems))
        for name, content in contents.items():
            if name.endswith(".cedar") and not content.text:
                text = f"`{name}` is empty, as a write that was cut short leaves it; remove it, or write a comment"
                problems.append(Problem(message=text, file=str(self.path / name)))
            self.pause()
        schemas = [name for name in SCHEMA_FILES if name in contents]
        if len(schemas) > 1:
            text = f"found {' and '.join(f'`{name}`' for name in schemas)}; keep one schema file"
            problems.append(Problem(message=text, file=str(self.path)))
        links = self._links(contents.get(LINKS_FILE), problems)
        self._remember(found, links)
        if problems:
            raise Misconfigured(tuple(problems))
        files = Steps(list(found.values()), self.pause)
        return PolicySnapshot(
            version=self._version(contents),
            policies=tuple(policy for file in files for policy in file.policies),
            templates=tuple(policy for file in files for policy in file.templates),
            links=links.links if links is not None else (),
            schema=contents[schemas[0]].text if schemas else None,
            schema_file=str(self.path / schemas[0]) if schemas else "",
            entities=contents[ENTITIES_FILE].text if ENTITIES_FILE in contents else "[]",
            entities_file=str(self.path / ENTITIES_FILE),
            origin=f"files:{self.path}",
            loaded_at=self.now(),
        )

    def _policies(self, contents: Mapping[str, _Content], problems: list[Problem]) -> Iterator[tuple[str, Policies]]:
        for name, (text, digest) in contents.items():
            if name.endswith(".cedar"):
                self.pause()
                known = self._known.policies.get(name)
                if known is None or known.digest != digest:
                    known = read_policies(name, text, digest, str(self.path / name), known, problems, self.pause)
                if known is not None:
                    yield name, known

    def _links(self, content: _Content | None, problems: list[Problem]) -> Links | None:
        if content is None:
            return None
        text, digest = content
        known = self._known.links
        if known is not None and known.digest == digest:
            return known
        return read_links(text, digest, str(self.path / LINKS_FILE), problems, self.pause)

    def _remember(self, policies: dict[str, Policies], links: Links | None) -> None:
        before, links_before = self._known.policies, self._known.links
        self._known.policies, self._known.links = policies, links
        gone: list[object] = []
        for name, file in before.items():
            if policies.get(name) is not file:
                gone += (*file.policies, *file.templates)
        if links_before is not None and links_before is not links:
            gone += links_before.links
        before.clear()
        del links_before
        take_apart(gone, self.pause)

    def _version(self, contents: Mapping[str, _Content]) -> str:
        """Names come in their order, from the listing."""
        digest = hashlib.sha256()
        for name, content in contents.items():
            digest.update(f"{len(name)}:{name}:".encode() + content.digest)
            self.pause()
        return digest.hexdigest()[:16]


def _raise(error: OSError) -> None:
    raise error


def _read(path: str, name: str) -> _Content:
    try:
        status = os.stat(path)
        if not stat.S_ISREG(status.st_mode):  # a pipe would be waited for without end
            text = "no regular file"
        elif status.st_size > MAX_FILE:
            text = f"larger than {MAX_FILE} bytes"
        else:
            with open(path, "rb") as file:
                data = file.read()
            return _Content(data.decode("utf-8"), hashlib.sha256(data).digest())
    except UnicodeDecodeError as error:
        text = f"not UTF-8 at byte {error.start}"
    except FileNotFoundError:
        return _Content("", b"")  # gone since it was listed: the second listing differs, and reading starts anew
    except OSError as error:
        text = f"cannot be read: {error.strerror}"
    raise Misconfigured((Problem(message=f"`{name}` is {text}", file=path),))
