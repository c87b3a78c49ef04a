"""The child process of a trial: lets the engine read what it is given, and says how far it came.

Run by its path as `python -I -S trial_child.py FOLDER MEMORY SECONDS`, so it imports nothing of ours: only the
standard library, and cedarpy from its FOLDER. It has a stack of 1 MiB, the smallest that a thread has anywhere
(musl), so what passes here has room wherever it is read later.

It reads one JSON list a line, `["schema", [text]]`, `["policies", [text, …]]`, `["repeated", [text, …]]` (policies
that are parsed only) or `["entities", [text, …]]`, and writes a byte when it is ready and one after each line. A text
that the engine refuses is no fault here: whoever reads it next says so with its place. A panic of the engine ends the
process, as a crash does.
"""

from __future__ import annotations

import json
import os
import sys
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

STACK = 1024 * 1024
"""Bytes."""
PANICKED, OUT_OF_MEMORY = 70, 71
"""Exit codes: the engine raised what is no ordinary error; Python had no memory left."""


def main(arguments: Sequence[str]) -> None:
    """Until the end of the input. Ends the process."""
    folder, memory, seconds = arguments
    _bound(int(memory), int(seconds))
    sys.path.append(folder)
    threading.stack_size(STACK)
    thread = threading.Thread(target=_run)
    thread.start()
    thread.join()


def _bound(memory: int, seconds: int) -> None:
    import resource  # the module has constants that are of use where this one does not exist

    limits = {resource.RLIMIT_AS: memory, resource.RLIMIT_CPU: seconds, resource.RLIMIT_FSIZE: 0}
    # Of one byte: no dump to a file, and, unlike none, no dump to a program either (core(5)).
    limits[resource.RLIMIT_CORE] = 1
    for name, limit in limits.items():
        with suppress(ValueError, OSError):
            hard = resource.getrlimit(name)[1]
            resource.setrlimit(name, (limit if hard == resource.RLIM_INFINITY else min(limit, hard), hard))
    with suppress(OSError), open("/proc/self/oom_score_adj", "w") as file:  # noqa: PTH123 - pathlib is slow to import
        file.write("1000")  # should memory run out, this process goes first


def _run() -> None:
    try:
        reader = _Reader()
        _tell()
        for line in sys.stdin.buffer:
            kind, given = json.loads(line)
            getattr(reader, kind)(given)
            _tell()
    except MemoryError:
        os._exit(OUT_OF_MEMORY)
    except BaseException:  # noqa: BLE001 - a panic of the engine is no Exception
        os._exit(PANICKED)
    os._exit(0)


def _tell() -> None:
    os.write(1, b".")


class _Reader:
    def __init__(self) -> None:
        import cedarpy

        self._cedar: Any = cedarpy
        self._schema: Any = None

    def schema(self, texts: Sequence[str]) -> None:
        (text,) = texts
        schema = self._cedar.Schema
        with suppress(ValueError):
            self._schema = schema.from_json_str(text) if text.lstrip().startswith("{") else schema.from_str(text)

    def policies(self, texts: Sequence[str]) -> None:
        self._each(self._read_policies, texts, "\n".join(texts))

    def repeated(self, texts: Sequence[str]) -> None:
        self._each(self._cedar.PolicySet.from_str, texts, "\n".join(texts))

    def entities(self, texts: Sequence[str]) -> None:
        self._each(self._read_entities, [f"[{text}]" for text in texts], f"[{','.join(texts)}]")

    def _each(self, read: Callable[[str], None], texts: Sequence[str], together: str) -> None:
        """Together if the engine takes them so; else each alone, for one that is refused hides those behind it."""
        try:
            read(together)
        except ValueError:
            for text in texts:
                with suppress(ValueError):
                    read(text)

    def _read_policies(self, text: str) -> None:
        self._cedar.PolicySet.from_str(text)
        if self._schema is not None:
            self._cedar.validate_policies(text, self._schema)

    def _read_entities(self, text: str) -> None:
        self._cedar.Entities.from_json_str(text, self._schema)


if __name__ == "__main__":
    main(sys.argv[1:])
