"""What a pull does to the files of a folder. Pure: texts in, texts out."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from authz.core.cedar_text import scan_statements

_BREAK = re.compile(r"\r\n|\n|\r")


@dataclass(frozen=True, slots=True, kw_only=True)
class FileEdit:
    """One file that is not as the store has it."""

    path: str
    """Below the folder, with `/`."""
    text: str | None
    """What it will hold; None: it goes."""
    existed: bool
    why: str

    @property
    def verb(self) -> str:
        """What happens to it."""
        return "remove" if self.text is None else "change" if self.existed else "write"


class NumbersShift(Exception):
    """Taking a statement out of a file would give others, which are known by their number, new ids."""


@dataclass(slots=True, kw_only=True)
class CedarFile:
    """One file of policies, with what is to become of its statements."""

    text: str
    numbers: Mapping[str, int] = field(default_factory=dict)
    """Id of a statement → its number, from 0."""
    replaced: dict[int, str] = field(default_factory=dict)
    """Number of a statement, from 0 → its new text; empty: it goes."""

    def edited(self) -> str | None:
        """The text with all edits in; what stands between statements stays. None: nothing is left but white space.

        Raises:
            NumbersShift: see there.
        """
        statements = scan_statements(self.text)
        going = {number for number, text in self.replaced.items() if not text}
        kept = [number for number in range(len(statements)) if number not in going]
        if going and any(number > min(going) and not _has_id(statements[number].annotations) for number in kept):
            raise NumbersShift
        lines = [0, *(found.end() for found in _BREAK.finditer(self.text))]
        parts: list[str] = []
        place = 0
        for number, statement in enumerate(statements):
            # From its line on: a comment before it may quote it whole.
            start = self.text.index(statement.text, max(place, lines[statement.line - 1]))
            parts += [self.text[place:start], self.replaced.get(number, statement.text)]
            place = start + len(statement.text)
        parts.append(self.text[place:])
        text = "".join(parts)
        return text if text.strip() else None


def _has_id(annotations: Mapping[str, str]) -> bool:
    return bool(annotations.get("id"))


def statement_ids(path: str, text: str) -> Sequence[str]:
    """The ids that a folder's reader gives to the statements of a file."""
    found = enumerate(scan_statements(text), 1)
    return [statement.annotations.get("id") or f"{path}#{number}" for number, statement in found]
