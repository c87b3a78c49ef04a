"""Reads a schema in Cedar's schema syntax into its declarations (Cedar reference, "Cedar schema grammar").

A recursive-descent parser whose only recursion, a type in a type, is bounded. It takes all that the engine
takes and is laxer where that is simpler: reserved words as names, a comma more or less.
"""

from collections.abc import Container

from authz.core.cedar_lex import SCHEMA_TOKEN, SourceError, Token, check_characters, quoted, tokens, unescape
from authz.core.cedar_schema_written import (
    EMPTY_RECORD,
    MAX_TYPE_DEPTH,
    Kind,
    Namespace,
    Reference,
    WrittenAction,
    WrittenEntity,
    WrittenRecord,
    WrittenSet,
    WrittenType,
)


def read_schema_text(text: str) -> dict[str, Namespace]:
    """Read all declarations, by namespace; those outside of any are in the namespace ``.

    Raises:
        SourceError: what stands there is not a schema, or a name is declared twice.
    """
    check_characters(text)
    return _Parser(text).schema()


class _Parser:
    def __init__(self, text: str) -> None:
        self._tokens = tokens(SCHEMA_TOKEN, text)
        self._here = next(self._tokens)

    # --- tokens

    def _take(self) -> Token:
        token = self._here
        if token.kind != "eof":
            self._here = next(self._tokens)
        return token

    def _sees(self, *texts: str) -> bool:
        return self._here.kind != "string" and self._here.text in texts

    def _accept(self, text: str) -> bool:
        found = self._sees(text)
        if found:
            self._take()
        return found

    def _expect(self, text: str, place: str) -> None:
        if not self._accept(text):
            raise self._unexpected(f"expected `{text}` {place}")

    def _unexpected(self, wish: str) -> SourceError:
        shown = "the end of the text" if self._here.kind == "eof" else quoted(self._here.text)
        return SourceError(self._here.start, f"{wish}, found {shown}")

    def _word(self, what: str) -> str:
        if self._here.kind != "word":
            raise self._unexpected(f"expected {what}")
        return self._take().text

    def _string(self, what: str) -> str:
        if self._here.kind != "string":
            raise self._unexpected(f'expected {what}, in `"`')
        return unescape(self._take())

    def _name(self, what: str) -> str:
        """Read what may be spelled as an identifier or as a string."""
        return self._string(what) if self._here.kind == "string" else self._word(what)

    def _annotations(self) -> None:
        while self._accept("@"):
            self._word("the annotation's name after `@`")
            if self._accept("("):
                self._string("the annotation's value")
                self._expect(")", "after the annotation's value")

    # --- declarations

    def schema(self) -> dict[str, Namespace]:
        spaces = {"": Namespace(name="")}
        while True:
            self._annotations()
            if self._here.kind == "eof":
                return spaces
            if self._accept("namespace"):
                self._namespace(spaces)
            else:
                self._declaration(spaces[""])

    def _namespace(self, spaces: dict[str, Namespace]) -> None:
        start = self._here.start
        name, _ = self._path("the namespace's name")
        if name in spaces:
            raise SourceError(start, f"namespace {quoted(name)} stands twice: put its declarations together")
        spaces[name] = Namespace(name=name)
        self._expect("{", f"to open the namespace `{name}`")
        self._annotations()
        while not self._accept("}"):
            self._declaration(spaces[name])
            self._annotations()

    def _declaration(self, space: Namespace) -> None:
        if self._accept("entity"):
            self._entity(space)
        elif self._accept("action"):
            self._action(space)
        elif self._accept("type"):
            self._type_declaration(space)
        else:
            raise self._unexpected("expected `entity`, `action`, `type` or `namespace`")
        self._expect(";", "at the end of the declaration")

    def _declare(self, kind: str, name: str, known: Container[str], offset: int) -> None:
        if name in known:
            raise SourceError(offset, f"{kind} {quoted(name)} is declared twice: remove or rename one")

    def _entity(self, space: Namespace) -> None:
        names = [(self._here.start, self._word("the entity type's name"))]
        while self._accept(","):
            names.append((self._here.start, self._word("the entity type's name")))
        declared = self._enumeration() if self._accept("enum") else self._standard_entity()
        for offset, name in names:
            self._declare("entity type", name, space.entities, offset)
            space.entities[name] = declared

    def _enumeration(self) -> WrittenEntity:
        self._expect("[", "before the ids of the enumerated entity type")
        ids = [self._string("an entity id")]
        while self._accept(",") and not self._sees("]"):
            ids.append(self._string("an entity id"))
        self._expect("]", "behind the ids of the enumerated entity type")
        return WrittenEntity(enum=frozenset(ids))

    def _standard_entity(self) -> WrittenEntity:
        parents = self._entity_types() if self._accept("in") else ()
        shape = EMPTY_RECORD
        if self._accept("=") or self._sees("{"):
            shape = self._record(1)
        tags = self._type(0) if self._accept("tags") else None
        return WrittenEntity(parents=parents, shape=shape, tags=tags)

    def _entity_types(self) -> tuple[Reference, ...]:
        if not self._accept("["):
            return (self._reference(Kind.ENTITY),)
        found: list[Reference] = []
        while not self._accept("]"):
            found.append(self._reference(Kind.ENTITY))
            if not self._accept(",") and not self._sees("]"):
                raise self._unexpected("expected `,` or `]` in the list of entity types")
        return tuple(found)

    def _action(self, space: Namespace) -> None:
        names = [(self._here.start, self._name("the action's name"))]
        while self._accept(","):
            names.append((self._here.start, self._name("the action's name")))
        groups = self._groups() if self._accept("in") else ()
        declared = self._applies_to(groups) if self._accept("appliesTo") else WrittenAction(groups=groups)
        if self._accept("attributes"):
            self._expect("{", "after `attributes`")
            self._expect("}", "after `attributes {`: actions have no attributes")
        for offset, name in names:
            self._declare("action", name, space.actions, offset)
            space.actions[name] = declared

    def _groups(self) -> tuple[tuple[Reference, str], ...]:
        if not self._accept("["):
            return (self._group(),)
        found: list[tuple[Reference, str]] = []
        while not self._accept("]"):
            found.append(self._group())
            if not self._accept(",") and not self._sees("]"):
                raise self._unexpected("expected `,` or `]` in the list of action groups")
        return tuple(found)

    def _group(self) -> tuple[Reference, str]:
        """Read `name`, `"name"` or `Ns::Action::"name"`; without a type, an action of this namespace is meant."""
        offset = self._here.start
        if self._here.kind == "string":
            return Reference(name="Action", kind=Kind.ENTITY, offset=offset), self._string("the action group")
        path, id = self._path("the action group")
        type = "Action" if id is None else path
        return Reference(name=type, kind=Kind.ENTITY, offset=offset), path if id is None else id

    def _applies_to(self, groups: tuple[tuple[Reference, str], ...]) -> WrittenAction:
        self._expect("{", "after `appliesTo`")
        types: dict[str, tuple[Reference, ...]] = {}
        context: WrittenType | None = None
        while not self._accept("}"):
            offset, key = self._here.start, self._word("`principal`, `resource` or `context`")
            if key not in ("principal", "resource", "context"):
                raise SourceError(offset, f"expected `principal`, `resource` or `context`, found {quoted(key)}")
            if key in types or (key == "context" and context is not None):
                raise SourceError(offset, f"`{key}` stands twice: remove one")
            self._expect(":", f"after `{key}`")
            if key != "context":
                types[key] = self._entity_types()
            else:
                context = self._record(1) if self._sees("{") else self._reference(Kind.COMMON)
            if not self._accept(",") and not self._sees("}"):
                raise self._unexpected("expected `,` or `}` in `appliesTo`")
        return WrittenAction(
            groups=groups,
            principals=types.get("principal", ()),
            resources=types.get("resource", ()),
            context=context or EMPTY_RECORD,
        )

    def _type_declaration(self, space: Namespace) -> None:
        offset, name = self._here.start, self._word("the common type's name")
        self._declare("common type", name, space.types, offset)
        self._expect("=", f"after `type {name}`")
        space.types[name] = self._type(0)

    # --- types

    def _type(self, depth: int) -> WrittenType:
        if depth > MAX_TYPE_DEPTH:
            raise self._unexpected(f"expected at most {MAX_TYPE_DEPTH} sets and records within one another")
        if self._sees("{"):
            return self._record(depth + 1)
        reference = self._reference(Kind.EITHER)
        if reference.name == "Set" and self._accept("<"):
            element = self._type(depth + 1)
            self._expect(">", "behind the type of the set's elements")
            return WrittenSet(element)
        return reference

    def _record(self, depth: int) -> WrittenRecord:
        """Read `{…}`. Of an attribute that stands twice the last one counts, as in the engine."""
        self._expect("{", "before the attributes")
        attributes: dict[str, tuple[WrittenType, bool]] = {}
        self._annotations()
        while not self._accept("}"):
            name = self._name("the attribute's name")
            required = not self._accept("?")
            self._expect(":", f"after the attribute {quoted(name)}")
            attributes[name] = (self._type(depth), required)
            if not self._accept(",") and not self._sees("}"):
                raise self._unexpected("expected `,` or `}` in the record")
            self._annotations()
        return WrittenRecord(attributes)

    def _reference(self, kind: Kind) -> Reference:
        offset = self._here.start
        name, id = self._path("a type's name")
        if id is not None:
            raise SourceError(offset, f"expected a type's name, found an entity of type {quoted(name)}")
        return Reference(name=name, kind=kind, offset=offset)

    def _path(self, what: str) -> tuple[str, str | None]:
        """Read `A::B`, or `A::B::"id"`: then the id comes beside the path."""
        parts = [self._word(what)]
        while self._accept("::"):
            if self._here.kind == "string":
                return "::".join(parts), self._string("an id")
            parts.append(self._word(f"a name after `{parts[-1]}::`"))
        return "::".join(parts), None
