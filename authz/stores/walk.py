"""The folders below a folder, as a store reads them and as a watch looks at them: both must see the same."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path


def walk(root: Path, on_error: Callable[[OSError], None]) -> Iterator[tuple[Path, list[str]]]:
    """Each folder from `root` down with its files' names, sorted; names that begin with a dot are passed over.

    Linked folders count: a Kubernetes volume shows each folder as a link. Each is entered once, whatever leads to it.

    Args:
        root: where to begin.
        on_error: told of a folder that cannot be read, which has no entry.
    """
    seen: set[str] = set()
    for folder, inner, names in os.walk(root, followlinks=True, onerror=on_error):
        real = os.path.realpath(folder)
        inner[:] = sorted(name for name in inner if not name.startswith(".")) if real not in seen else []
        if real not in seen:
            seen.add(real)
            yield Path(folder), sorted(name for name in names if not name.startswith("."))
