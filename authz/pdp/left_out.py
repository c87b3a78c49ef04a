"""What the schema does not declare, and so is not told to the engine: for those who wonder where a claim went."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from authz.core.cedar_schema import Attribute, RecordType
from authz.core.model import Value


def undeclared(values: Mapping[str, Value], declared: Mapping[str, Attribute], where: str) -> Iterator[str]:
    """Names of members that a record has and its type does not, however deep, as `where.name`; never values."""
    for name, value in values.items():
        attribute = declared.get(name)
        if attribute is None:
            yield f"{where}.{name}"
        elif isinstance(attribute.type, RecordType) and isinstance(value, Mapping):
            yield from undeclared(value, attribute.type.attributes, f"{where}.{name}")
