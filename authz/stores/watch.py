"""Tells when files change, in whatever way they change: edited, replaced, or swapped behind a symbolic link.

The system's events (watchfiles) only wake us; whether something changed is decided by a fingerprint of names,
inodes, sizes and times. So nothing depends on which event a change causes: a Kubernetes volume swaps the link
`..data` beside the file, an editor renames over it, some file systems tell nothing. A slow poll backs all.
"""

from __future__ import annotations

import asyncio
import os
import stat
import time
from collections.abc import AsyncIterator, Iterable
from contextlib import suppress
from pathlib import Path

from watchfiles import awatch

from authz.stores.walk import walk

POLL = 2.0
"""Seconds between two looks without an event."""
STEP = 50
"""Milliseconds without a further event after which a burst of changes counts as ended."""

IDLE = 20
"""How many times longer than a look took it is waited for the next one, if that is more than POLL."""

Mark = tuple[str, str, int, int, int]


def fingerprint(files: Iterable[Path], folders: Iterable[Path]) -> tuple[Mark, ...]:
    """What files and folders (recursively, hidden names left out) look like now; missing ones have a mark too."""
    marks = [_mark(path) for path in sorted(set(files))]
    for root in sorted(set(folders)):
        marks.append(_mark(root))
        for folder, names in walk(root, lambda _: None):
            marks.extend(_mark(folder / name) for name in names)
    return tuple(marks)


def _mark(path: Path) -> Mark:
    try:
        status = path.stat()
    except OSError:
        return (str(path), "", 0, 0, 0)
    size, time = (0, 0) if stat.S_ISDIR(status.st_mode) else (status.st_size, status.st_mtime_ns)
    return (str(path), os.path.realpath(path), status.st_ino, time, size)


async def watch(files: Iterable[Path], folders: Iterable[Path], *, since: tuple[Mark, ...]) -> AsyncIterator[None]:
    """Yields once after each burst of changes; never ends by itself.

    Args:
        files: each is watched by its name, whatever it is a link to.
        folders: watched with all that is below.
        since: the fingerprint from before the content was read, so that no change falls between.
    """
    files, folders, seen = list(files), list(folders), since
    wake, took = asyncio.Event(), 0.0
    while True:
        roots = await asyncio.to_thread(_roots, files, folders)
        # Two listeners, not one a folder: each keeps threads of its own.
        watchers = [
            asyncio.create_task(_listen(sorted(path for path, below in roots if below is deep), wake, recursive=deep))
            for deep in (False, True)
        ]
        try:
            wake.set()  # changes from before the listeners stood have no event: look once at the start
            while await asyncio.to_thread(_roots, files, folders) == roots:
                # Not wait_for: before Python 3.12 it swallows a cancellation that comes with the event.
                with suppress(TimeoutError):
                    # To look at a hundred thousand files takes two seconds: not all the time.
                    async with asyncio.timeout(max(POLL, IDLE * took)):
                        await wake.wait()
                wake.clear()
                began = time.monotonic()
                now = await asyncio.to_thread(fingerprint, files, folders)
                took = time.monotonic() - began
                if now != seen:
                    seen = now
                    yield
        finally:
            for task in watchers:
                task.cancel()
            await asyncio.gather(*watchers, return_exceptions=True)


def _roots(files: list[Path], folders: list[Path]) -> frozenset[tuple[str, bool]]:
    """Real folders to listen on, and whether what is below counts too."""
    above = {(os.path.realpath(path.parent), False) for path in [*files, *folders]}
    below = {(os.path.realpath(path), True) for path in folders}
    return frozenset((path, deep) for path, deep in above | below if Path(path).is_dir())


async def _listen(paths: list[str], wake: asyncio.Event, *, recursive: bool) -> None:
    if not paths:
        return
    with suppress(OSError):  # gone, or not to be watched: the poll still sees it
        async for _ in awatch(*paths, watch_filter=None, step=STEP, recursive=recursive, ignore_permission_denied=True):
            wake.set()
