"""Which file of a folder a pulled policy is written to, so that it is another one on every file system.

On many file systems (macOS, Windows) `Admin.cedar` and `admin.cedar` are one file: the second to be written would take
the place of the first, and a later push would delete that policy. So a path that differs from another in upper and
lower case only is spelled differently, by escapes that `key_of` reads back.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from authz.core.avp_names import TEMPLATES
from authz.stores.walk import walk

_SUFFIX = ".cedar"
_LETTER = re.compile(r"(?<!%)(?<!%.)[A-Za-z]")
"""Not of an escape."""


class Places:
    """The paths of a folder that are taken, and what is still free.

    Args:
        taken: files and folders below the folder, with `/`.
    """

    def __init__(self, taken: Iterable[str]) -> None:
        self._taken: dict[str, set[str]] = {}
        for path in taken:
            self._take(path)
        # Policies called `Templates/…` make way for the templates, whose folder has this one name.
        if not self._taken.get(TEMPLATES[:-1]):
            self._take(TEMPLATES[:-1])

    def choose(self, path: str) -> str | None:
        """The path itself, or another with the same meaning which no file system confuses with one that is taken.

        Whether the path itself is taken is not asked.

        Args:
            path: of `path_of`.

        Returns:
            None: the folder of the templates has another spelling here.
        """
        chosen = TEMPLATES if path.startswith(TEMPLATES) else ""
        if chosen and self._confused(chosen[:-1]):
            return None
        *folders, file = path.removeprefix(chosen).split("/")
        for part in folders:
            chosen = f"{self._free(chosen, part, '')}/"
        chosen = self._free(chosen, file.removesuffix(_SUFFIX), _SUFFIX)
        parts = chosen.split("/")
        for count in range(1, len(parts) + 1):
            self._take("/".join(parts[:count]))
        return chosen

    def _free(self, before: str, part: str, suffix: str) -> str:
        # All letters escaped, it is like no other name in either case; if it is taken, then by that very name.
        spelled = f"{before}{part}{suffix}"
        for other in _spellings(part):
            spelled = f"{before}{other}{suffix}"
            if not self._confused(spelled):
                break
        return spelled

    def _confused(self, path: str) -> bool:
        known = self._taken.get(path.casefold())
        return known is not None and path not in known

    def _take(self, path: str) -> None:
        self._taken.setdefault(path.casefold(), set()).add(path)


def _spellings(part: str) -> Iterator[str]:
    """A part of a path in all ways that `key_of` reads alike, with more and more of its letters escaped."""
    yield part
    for end in [found.end() for found in _LETTER.finditer(part)]:
        yield _LETTER.sub(lambda found: f"%{ord(found[0]):02X}", part[:end]) + part[end:]


def taken_in(folder: Path) -> Iterator[str]:
    """All that a folder has, files and folders.

    Raises:
        OSError: it cannot be read.
    """
    if not folder.is_dir():
        return
    for inner, names in walk(folder, _raise):
        if inner != folder:
            yield inner.relative_to(folder).as_posix()
        yield from ((inner / name).relative_to(folder).as_posix() for name in names)


def _raise(error: OSError) -> None:
    raise error
