"""The schema, read without the engine: which attributes are declared, and which groups an action is in.

The engine keeps its schema to itself, and needs a bounded one: nesting can crash it, doubling common types can
keep it busy for hours. So a schema passes here first, and the engine, which remains the judge of its validity,
second. What this module refuses the engine would refuse too, but for its limits; what the engine refuses may
pass here.
"""

from collections.abc import Callable, Mapping

from authz.core.cedar_lex import SourceError, line_of
from authz.core.cedar_schema_json import read_json_text, read_schema_json
from authz.core.cedar_schema_model import (
    ActionDecl,
    ActionUid,
    Attribute,
    BoolType,
    CedarSchemaError,
    CedarType,
    EntityDecl,
    EntityType,
    ExtensionType,
    LongType,
    RecordType,
    Schema,
    SetType,
    StringType,
)
from authz.core.cedar_schema_resolve import resolve
from authz.core.cedar_schema_text import read_schema_text
from authz.core.cedar_schema_write import to_json
from authz.core.cedar_schema_written import Namespace

__all__ = [
    "ActionDecl",
    "ActionUid",
    "Attribute",
    "BoolType",
    "CedarSchemaError",
    "CedarType",
    "EntityDecl",
    "EntityType",
    "ExtensionType",
    "LongType",
    "RecordType",
    "Schema",
    "SetType",
    "StringType",
    "load_schema",
    "parse_schema",
    "schema_from_json",
    "to_json",
]


def parse_schema(text: str) -> Schema:
    """Read a schema in Cedar's schema syntax (`.cedarschema`).

    Raises:
        CedarSchemaError: with the line wherever a declaration is at fault.
    """
    return _read(lambda: read_schema_text(text), text)


def schema_from_json(data: object) -> Schema:
    """Read a schema in Cedar's JSON form, decoded (`json.loads`).

    Raises:
        CedarSchemaError: without line; the message names the declaration.
    """
    return _read(lambda: read_schema_json(data), "")


def load_schema(text: str) -> Schema:
    """Read a schema in the form that its first character tells: `{` begins JSON, all else is Cedar's syntax.

    Raises:
        CedarSchemaError: as the form's own function, and for JSON that cannot be decoded.
    """
    if not text.lstrip().startswith("{"):
        return parse_schema(text)
    return _read(lambda: read_schema_json(read_json_text(text)), text)


def _read(read: Callable[[], Mapping[str, Namespace]], text: str) -> Schema:
    try:
        return resolve(read())
    except SourceError as error:
        line = None if error.offset is None else line_of(text, error.offset)
        raise CedarSchemaError(line, error.message) from None
