"""Writes what a pull has found, file by file, each whole or not at all, and none outside of the folder."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

from authz.core.errors import Problem
from authz.devtools.avp.edits import FileEdit
from authz.stores.file import LINKS_FILE


def outside(folder: Path, edits: Sequence[FileEdit]) -> list[Problem]:
    """A problem for each file that lies, by a symbolic link, outside of the folder, or is one."""
    root = folder.resolve()
    found: list[Problem] = []
    for edit in edits:
        path = folder / edit.path
        if path.is_symlink() or not path.parent.resolve().is_relative_to(root):
            text = "a symbolic link leads out of the folder, or stands for the file; only plain files are written"
            found.append(Problem(message=text, file=str(path)))
    return found


def write(folder: Path, edits: Sequence[FileEdit], begin: Callable[[FileEdit], None]) -> None:
    """Carries the edits out: first what comes, then what goes; links while their templates are there.

    Raises:
        OSError: at the first that fails; those before it are carried out.
    """
    for edit in sorted(edits, key=lambda edit: (edit.text is None, (edit.path == LINKS_FILE) != (edit.text is None))):
        begin(edit)
        path = folder / edit.path
        if edit.text is None:
            path.unlink(missing_ok=True)
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            _replace(path, edit.text.encode())


def _replace(path: Path, data: bytes) -> None:
    # A name that no reader of the folder takes for a policy, in the same folder, so that it can be moved at once.
    temporary = path.with_name(f".{path.name[:200]}.{os.getpid()}")
    try:
        temporary.write_bytes(data)
        temporary.replace(path)
    except BaseException:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise
