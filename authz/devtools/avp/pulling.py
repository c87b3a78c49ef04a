"""`authz avp pull`: shows what it would write, and writes it where that was asked for."""

from __future__ import annotations

import argparse
from pathlib import Path

from authz.core.errors import Misconfigured, Problem
from authz.devtools.avp.command import DONE, TO_DO, agreed, folder_of, refuse, remote_of, said
from authz.devtools.avp.content import Content, Store
from authz.devtools.avp.edits import FileEdit
from authz.devtools.avp.pull import Pull, pull
from authz.devtools.avp.remote import read_store
from authz.devtools.avp.report import safe
from authz.devtools.avp.write import outside, write


def main_pull(arguments: argparse.Namespace) -> int:
    """Gives the exit code.

    Raises:
        Misconfigured: nothing was written, for something cannot be used.
        AvpError: the store cannot be read.
    """
    folder: Path = arguments.folder
    local = folder_of(arguments)[0] if folder.exists() else Content()
    store = read_store(remote_of(arguments), arguments.store)
    try:
        found = pull(store, local, folder, delete=arguments.delete)
    except (OSError, UnicodeDecodeError) as error:
        raise Misconfigured((Problem(message=f"`{folder}` cannot be read again: {error}", file=str(folder)),)) from None
    refuse([*found.problems, *outside(folder, found.edits)])
    _show(found, store, folder)
    if not found.edits:
        return DONE
    if found.overwrites and not arguments.force:
        said(f"nothing was written: `--force` changes {len(found.overwrites)} of these files, which there are")
        return TO_DO
    if not agreed(arguments, "write?"):
        return TO_DO
    return _write(found.edits, folder)


def _show(found: Pull, store: Store, folder: Path) -> None:
    print(f"policy store {store.id} → {folder}")
    for edit in found.edits:
        print(f"  {edit.verb:<6}  {safe(edit.path)}  {edit.why}")
    for name in found.left:
        print(f"  left    {safe(name)}  only in the folder; `--delete` takes it out")
    count = len(found.edits)
    print(f"{count} file{'s' if count != 1 else ''}" if count else "nothing to do", flush=True)


def _write(edits: tuple[FileEdit, ...], folder: Path) -> int:
    written: list[str] = []

    def begin(edit: FileEdit) -> None:
        written.append(edit.path)
        said(f"[{len(written)}/{len(edits)}] {edit.verb} {edit.path}")

    try:
        folder.mkdir(parents=True, exist_ok=True)
        write(folder, edits, begin)
    except OSError as error:
        said(f"stopped: {error.strerror}: {folder / written[-1] if written else folder}")
        said(f"{max(0, len(written) - 1)} of {len(edits)} files were written, each of them whole; pull again to go on")
        return TO_DO
    print(f"done: {len(edits)} file{'s' if len(edits) != 1 else ''}")
    return DONE
