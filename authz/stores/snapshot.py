"""The last good content of a policy store, on disk: for a start while the store cannot be reached.

One JSON file: `{"format": 1, "body": {…}, "digest": "<SHA-256 of the body's bytes>"}`. It is written to a new file
beside it, which then takes its place: whoever reads it sees the old one or the new one. It is read strictly, and what
is wrong with it in any way is not used. It says by its own time how old it is, so one that is put back later is as old
as it was.

The digest finds damage, not malice: whoever may write the file decides. It is made for its owner alone (mode 0600), and
one that is another user's, as anybody can put into `/tmp`, is not used.
"""

from __future__ import annotations

import hashlib
import os
import stat
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from authz.core.errors import Problem
from authz.core.identity_source import StoreIdentitySource
from authz.core.model import Policy, TemplateLink
from authz.core.pieces import Pause, no_pause
from authz.stores.avp_content import SLOTS, Content, entity_uid, place, read_statement
from authz.stores.avp_settings import ReplicaSettings

FORMAT = 1
REFRESH = 300.0
"""Seconds after which the file is written again though nothing changed, so that it tells for how long that was so."""
RETRY = 60.0
"""Seconds after which a write that failed is tried again."""
_SALT = b"authz snapshot 1\n"
_OVERHEAD = 2.0
"""Bytes in the file for one of content, at most about; escapes take more, and are rare."""
_CHUNK = 1 << 16
_NEW = ".new"
_LEFT = 3600.0
"""Seconds after which nobody writes to a new file any more."""


class _Row(msgspec.Struct, array_like=True, forbid_unknown_fields=True):
    id: str
    name: str
    text: str


class _Link(msgspec.Struct, array_like=True, forbid_unknown_fields=True):
    id: str
    name: str
    template: str
    principal: tuple[str, str] | None
    resource: tuple[str, str] | None


class _Body(msgspec.Struct, forbid_unknown_fields=True):
    reference: str
    """The policy store as the configuration names it: its id, or an alias."""
    place: str
    """Where that name was looked up: an alias of another region is that of another policy store."""
    store: str
    with_policies: bool
    verified_at: float
    policies: list[_Row]
    templates: list[_Row]
    links: list[_Link]
    schema: str | None
    identity_source: StoreIdentitySource | None


class _File(msgspec.Struct, forbid_unknown_fields=True):
    format: int
    body: msgspec.Raw
    digest: str


class _Unfit(ValueError):
    """The file is not used; the words say why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """What a snapshot holds."""

    content: Content
    verified_at: float
    """Seconds since the epoch, at which it was known to be the store's content."""


@dataclass(slots=True)
class SnapshotFile:
    """The file of one replica. Without a path nothing is kept. No fault of it raises: each is told by `trouble`."""

    settings: ReplicaSettings
    pause: Pause = no_pause
    place: str = ""
    """By what the service is reached, as far as it is configured: region, endpoint, profile."""
    trouble: str = ""
    """Why it could not be written or used the last time."""
    counts: dict[str, int] = field(default_factory=lambda: {"written": 0, "failed": 0})
    _content: Content | None = None
    """What was written last."""
    _tried_at: float = 0.0

    def keep(self, content: Content, verified_at: float, clock: float) -> None:
        """Writes what is new; what is the same, from time to time.

        Args:
            content: the store's.
            verified_at: seconds since the epoch, at which it was known to be.
            clock: seconds, never going back.
        """
        path = self.settings.snapshot
        if path is None:
            return
        passed = clock - self._tried_at
        if content is self._content and passed < self._refresh:
            return
        if self.trouble and self.counts["failed"] and passed < RETRY:
            return
        self._tried_at = clock
        try:
            _replace(path, self._pieces(content, verified_at))
        except (OSError, ValueError) as error:
            self.counts["failed"] += 1
            why = error.strerror if isinstance(error, OSError) else type(error).__name__
            self.trouble = (
                f"the snapshot `{path}` cannot be written ({why}): its folder must be there, with room, and the "
                "service must be allowed to write there"
            )
        else:
            self.counts["written"] += 1
            self.trouble = ""
            self._content = content

    def load(self, now: float) -> Kept | None:
        """What the file holds; None: nothing that may be used, and `trouble` says why.

        Args:
            now: seconds since the epoch.
        """
        path = self.settings.snapshot
        if path is None:
            return None
        try:
            kept = self._loaded(path, now)
        except FileNotFoundError:
            why = "there is none yet"
        except OSError as error:
            why = f"it cannot be read: {error.strerror}"
        except _Unfit as error:
            why = str(error)
        except (msgspec.MsgspecError, ValueError, RecursionError):
            why = "it is damaged"
        else:
            self.trouble = ""
            return kept
        self.trouble = f"the snapshot `{path}` is not used: {why}"
        return None

    @property
    def _refresh(self) -> float:
        oldest = self.settings.max_age
        return REFRESH if oldest is None else min(REFRESH, oldest / 4)

    # --- writing

    def _pieces(self, content: Content, verified_at: float) -> Iterator[bytes]:
        """The file, piece by piece: as one it would let nothing else run for as long as it takes."""
        digest = hashlib.sha256(_SALT)
        yield b'{"format":%d,"body":' % FORMAT
        for piece in self._body(content, verified_at):
            digest.update(piece)
            yield piece
            self.pause()
        yield b',"digest":"%s"}\n' % digest.hexdigest().encode()

    def _body(self, content: Content, verified_at: float) -> Iterator[bytes]:
        encode = msgspec.json.Encoder().encode
        head = {
            "reference": self.settings.policy_store,
            "place": self.place,
            "store": content.store,
            "with_policies": self.settings.with_policies,
            "verified_at": verified_at,
            "schema": content.schema,
            "identity_source": content.identity_source,
        }
        yield encode(head)[:-1]
        for name, policies in (("policies", content.policies), ("templates", content.templates)):
            yield b',"%s":[' % name.encode()
            yield from _joined(encode(_Row(policy.id, policy.name, policy.text)) for policy in policies)
            yield b"]"
        yield b',"links":['
        yield from _joined(encode(_row_of(link)) for link in content.links)
        yield b"]}"

    # --- reading

    def _loaded(self, path: Path, now: float) -> Kept:
        file = msgspec.json.decode(_read(path, int(self.settings.max_characters * _OVERHEAD)), type=_File)
        body_bytes = bytes(file.body)
        if file.format != FORMAT:
            raise _Unfit(f"it is of format {file.format}, and {FORMAT} is read here")
        if hashlib.sha256(_SALT + body_bytes).hexdigest() != file.digest:
            raise _Unfit("it is damaged: its digest is another")
        body = msgspec.json.decode(body_bytes, type=_Body)
        wanted = self.settings
        if wanted.policy_store not in (body.reference, body.store):
            raise _Unfit("it is of another policy store")
        if wanted.policy_store != body.store and body.place != self.place:
            raise _Unfit("it was made by another region, endpoint or profile, where the alias may be another's")
        if body.with_policies != wanted.with_policies:
            raise _Unfit("it was made for another way to decide")
        age = now - body.verified_at
        if not age >= 0:
            raise _Unfit("it is from the future: a clock was, or is, wrong")
        if wanted.max_age is not None and age > wanted.max_age:
            raise _Unfit(f"it is {age:.0f} s old, and at most {wanted.max_age:.0f} s are allowed")
        return Kept(content=_content(body), verified_at=body.verified_at)


def _joined(rows: Iterator[bytes]) -> Iterator[bytes]:
    comma = b""
    for row in rows:
        yield comma + row
        comma = b","


def _row_of(link: TemplateLink) -> _Link:
    values = {name: link.values.get(slot) for name, slot in SLOTS.items()}
    return _Link(link.id, link.name, link.template_id, values["principal"], values["resource"])


def _content(body: _Body) -> Content:
    def policies(rows: list[_Row], *, template: bool) -> tuple[Policy, ...]:
        return tuple(_policy(read_statement(body.store, row.id, row.name, row.text, template=template)) for row in rows)

    return Content(
        store=body.store,
        policies=policies(body.policies, template=False),
        templates=policies(body.templates, template=True),
        links=tuple(_template_link(body.store, link) for link in body.links),
        schema=body.schema,
        identity_source=body.identity_source,
    )


def _policy(found: Policy | Problem) -> Policy:
    if isinstance(found, Problem):
        raise _Unfit(str(found))
    return found


def _template_link(store: str, link: _Link) -> TemplateLink:
    values = {}
    for slot, value in zip(SLOTS.values(), (link.principal, link.resource), strict=True):
        if value is not None:
            uid = entity_uid(*value)
            if uid is None:
                raise _Unfit(f"link `{link.id}` is filled with what is no entity")
            values[slot] = uid
    file = place(store, link.id, link.name)
    return TemplateLink(id=link.id, template_id=link.template, values=values, file=file, name=link.name)


def _read(path: Path, largest: int) -> bytes:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)  # a pipe would be waited for without end
    with os.fdopen(descriptor, "rb") as file:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise _Unfit("it is no regular file")
        if status.st_uid not in (os.geteuid(), 0):
            raise _Unfit("it belongs to another user, who could have written anything: remove it")
        if status.st_mode & stat.S_IWOTH:
            raise _Unfit("anybody may write it: take that permission away")
        if status.st_size > largest:
            raise _Unfit(f"it is larger than {largest} bytes")
        return file.read(largest + 1)


def _clear(folder: Path, prefix: str) -> None:
    """Removes what processes left that were killed while they wrote."""
    with suppress(OSError), os.scandir(folder) as files:
        for file in files:
            if file.name.startswith(prefix) and file.name.endswith(_NEW):
                with suppress(OSError):
                    if time.time() - file.stat(follow_symlinks=False).st_mtime > _LEFT:
                        os.unlink(file.path)  # noqa: PTH108


def _replace(path: Path, pieces: Iterator[bytes]) -> None:
    """Writes a new file, and has it take the place of the old one. Of a failure nothing is left."""
    prefix = f".{path.name}."
    _clear(path.parent, prefix)
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=prefix, suffix=_NEW)
    try:
        with os.fdopen(descriptor, "wb", buffering=_CHUNK) as file:
            for piece in pieces:
                file.write(piece)
            file.flush()
            os.fsync(descriptor)
        os.replace(name, path)  # noqa: PTH105 - the name is no Path yet
    except BaseException:
        with suppress(OSError):
            os.unlink(name)  # noqa: PTH108
        raise
    with suppress(OSError):  # the new file stands; that it would be lost with the power now, some systems cannot help
        folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
