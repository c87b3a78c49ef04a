"""A request's header fields."""

from __future__ import annotations

from collections.abc import Iterable

_PRINTABLE = bytes(range(0x20, 0x7F))


class Headers:
    """A request's header fields by lower-case name, in the order received; immutable.

    Names with an underscore are left out: CGI-style folding makes them aliases of other names
    (CVE-2025-64484 and its like).
    """

    __slots__ = ("_fields", "aliases")

    def __init__(self, fields: Iterable[tuple[str, str]] = ()) -> None:
        table: dict[str, list[str]] = {}
        aliases: set[str] = set()
        for name, value in fields:
            if "_" in name:
                aliases.add(name.lower().replace("_", "-"))
                continue
            key = name.lower()
            if key in table:
                table[key].append(value)
            else:
                table[key] = [value]
        self._fields = table
        self.aliases = frozenset(aliases)
        """What the names left out are to whoever takes an underscore for a hyphen."""

    def all(self, name: str) -> tuple[str, ...]:
        """Every value of the lower-case `name`, in order; empty if absent."""
        values = self._fields.get(name)
        return tuple(values) if values else ()

    def get(self, name: str) -> str | None:
        """The first value of the lower-case `name`, None if absent."""
        values = self._fields.get(name)
        return values[0] if values else None

    def count(self, name: str) -> int:
        """How often the lower-case `name` was sent."""
        values = self._fields.get(name)
        return len(values) if values else 0

    def items(self) -> Iterable[tuple[str, str]]:
        """Every field as (lower-case name, value)."""
        return ((name, value) for name, values in self._fields.items() for value in values)

    def __len__(self) -> int:
        return sum(map(len, self._fields.values()))

    def plain(self) -> int | None:
        """Characters of all names and values; None if some value has a character that is not printable."""
        text = "".join([value for values in self._fields.values() for value in values])
        # Of a token's length the first way takes a third of the second one's time.
        printable = not text.encode("ascii").translate(None, _PRINTABLE) if text.isascii() else text.isprintable()
        return len(text) + len("".join(self._fields)) if printable else None

    def repeated(self, names: frozenset[str]) -> str | None:
        """One of `names` that was sent more than once, None if there is none."""
        fields = self._fields
        for name in names & fields.keys():
            if len(fields[name]) > 1:
                return name
        return None

    def __repr__(self) -> str:
        # Values may be credentials.
        return f"Headers({sorted(self._fields)})"
