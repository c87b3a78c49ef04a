"""From the declarations of a schema, as written, to the schema that they mean.

Names mean what they mean by Cedar's rules (RFC 24, RFC 70 and the Cedar reference, "Schema format"):

- an unqualified name means the current namespace's before the empty namespace's;
- within one namespace a common type comes before an entity type;
- `String`, `ipaddr` and the like are common types of the empty namespace, unless that declares the name itself,
  and can always be had as `__cedar::String`.
"""

from collections.abc import Iterable, Iterator, Mapping
from graphlib import TopologicalSorter
from types import MappingProxyType
from typing import NamedTuple

from authz.core.cedar_lex import SourceError, quoted
from authz.core.cedar_schema_model import (
    ActionDecl,
    ActionUid,
    Attribute,
    CedarType,
    EntityDecl,
    EntityType,
    ExtensionType,
    RecordType,
    Schema,
    SetType,
)
from authz.core.cedar_schema_written import (
    EXTENSIONS,
    MAX_TYPE_DEPTH,
    PRIMITIVES,
    Kind,
    Namespace,
    Reference,
    WrittenAction,
    WrittenEntity,
    WrittenRecord,
    WrittenSet,
    WrittenType,
)
from authz.core.hierarchy import MAX_LEVELS, find_circle, find_too_deep

MAX_SCHEMA_TYPES = 200_000
"""Types in the whole schema, common types put in. Doubling common types (`type B = {x: A, y: A};` …) keep the
engine busy for a second at 26 of them, for a day at 42."""


def resolve(namespaces: Mapping[str, Namespace]) -> Schema:
    """Resolve all names and put common types in.

    Raises:
        SourceError: unknown or cyclic type or action group, or a limit is passed.
    """
    return _Resolver(namespaces).schema()


class _Measured(NamedTuple):
    """A resolved type with its height and the number of types in it. Shared where common types repeat it."""

    type: CedarType
    depth: int
    size: int


class _Resolver:
    def __init__(self, namespaces: Mapping[str, Namespace]) -> None:
        self._namespaces = tuple(namespaces.values())
        self._entities = {space.qualify(name) for space in self._namespaces for name in space.entities}
        self._actions = {(space.qualify("Action"), id) for space in self._namespaces for id in space.actions}
        self._action_types = {type for type, _ in self._actions}
        self._written = {
            space.qualify(name): (written, space) for space in self._namespaces for name, written in space.types.items()
        }
        self._types = self._builtin()
        self._size = 0

    def schema(self) -> Schema:
        for name in self._in_order():
            written, space = self._written[name]
            self._types[name] = self._counted(written, space, f"type `{name}`")
        entities = [
            self._entity(space, name, written) for space in self._namespaces for name, written in space.entities.items()
        ]
        actions = [
            self._action(space, id, written) for space in self._namespaces for id, written in space.actions.items()
        ]
        self._check_types(entities)
        self._check_groups(actions)
        return Schema(
            entities=MappingProxyType({entity.name: entity for entity in entities}),
            actions=MappingProxyType({(action.uid_type, action.id): action for action in actions}),
        )

    def _builtin(self) -> dict[str, _Measured]:
        found: dict[str, _Measured] = {}
        for name, type in (*PRIMITIVES.items(), *((name, ExtensionType(name)) for name in sorted(EXTENSIONS))):
            found[f"__cedar::{name}"] = _Measured(type, 0, 1)
            if name not in self._entities and name not in self._written:
                found[name] = _Measured(type, 0, 1)
        return found

    # --- common types, each after those that it names

    def _in_order(self) -> Iterator[str]:
        above = {
            name: tuple(target for target, _ in self._commons(written, space) if target in self._written)
            for name, (written, space) in self._written.items()
        }
        circle = find_circle(above)
        if circle is not None:
            offset = next(place for name, place in self._commons(*self._written[circle[0]]) if name in circle)
            text = f"common types name each other in a circle: {_listed((*circle, circle[0]))}; break it up"
            raise SourceError(offset, text)
        yield from TopologicalSorter(above).static_order()

    def _commons(self, written: WrittenType, space: Namespace) -> Iterator[tuple[str, int | None]]:
        """Yield the common types named in a type, with their places."""
        for reference in _references(written):
            name, is_common = self._find(reference, space)
            if is_common:
                yield name, reference.offset

    def _find(self, reference: Reference, space: Namespace) -> tuple[str, bool]:
        """Return what a reference means: the full name, and whether it is a common type."""
        name = reference.name
        for candidate in dict.fromkeys((name,) if "::" in name else (space.qualify(name), name)):
            if Kind.COMMON in reference.kind and (candidate in self._written or candidate in self._types):
                return candidate, True
            if Kind.ENTITY in reference.kind and (candidate in self._entities or candidate in self._action_types):
                return candidate, False
        wanted = {Kind.COMMON: "`type`", Kind.ENTITY: "`entity`"}.get(reference.kind, "`type` or `entity`")
        where = f" in namespace `{space.name}`" if space.name else ""
        raise SourceError(reference.offset, f"unknown name {quoted(name)}{where}: declare it as {wanted}")

    # --- types

    def _counted(self, written: WrittenType, space: Namespace, owner: str) -> _Measured:
        """Resolve one declaration's type within the limits of the whole schema."""
        try:
            found = self._type(written, space)
        except SourceError as error:
            raise SourceError(error.offset, f"{error.message}, for {owner}") from None
        self._size += found.size
        if found.depth > MAX_TYPE_DEPTH:
            message = f"{owner} nests more than {MAX_TYPE_DEPTH} sets and records: flatten it"
            raise SourceError(_place(written), message)
        if self._size > MAX_SCHEMA_TYPES:
            message = f"more than {MAX_SCHEMA_TYPES} types, counted up to {owner}: common types multiply, simplify them"
            raise SourceError(_place(written), message)
        return found

    def _type(self, written: WrittenType, space: Namespace) -> _Measured:
        # The readers bound the depth of what is written, and common types were resolved one by one before.
        match written:
            case Reference():
                name, is_common = self._find(written, space)
                return self._types[name] if is_common else _Measured(EntityType(name), 0, 1)
            case WrittenSet(written_element):
                element = self._type(written_element, space)
                return _Measured(SetType(element.type), element.depth + 1, element.size + 1)
            case WrittenRecord(written_attributes):
                return self._record(written_attributes, space)
            case _:
                return _Measured(written, 0, 1)

    def _record(self, written: Mapping[str, tuple[WrittenType, bool]], space: Namespace) -> _Measured:
        members = {name: (self._type(type, space), required) for name, (type, required) in written.items()}
        attributes = {name: Attribute(member.type, required) for name, (member, required) in members.items()}
        depth = 1 + max((member.depth for member, _ in members.values()), default=0)
        size = 1 + sum(member.size for member, _ in members.values())
        return _Measured(RecordType(MappingProxyType(attributes)), depth, size)

    def _record_type(self, written: WrittenType, space: Namespace, owner: str) -> RecordType:
        found = self._counted(written, space, owner).type
        if not isinstance(found, RecordType):
            offset = written.offset if isinstance(written, Reference) else None
            raise SourceError(offset, f"expected a record, `{{…}}` or a common type that is one, for {owner}")
        return found

    # --- declarations

    def _entity(self, space: Namespace, name: str, written: WrittenEntity) -> EntityDecl:
        full = space.qualify(name)
        tags = written.tags
        return EntityDecl(
            name=full,
            member_of=self._entity_types(written.parents, space),
            attributes=self._record_type(written.shape, space, f"entity `{full}`").attributes,
            tags=None if tags is None else self._counted(tags, space, f"the tags of entity `{full}`").type,
            enum=written.enum,
        )

    def _entity_types(self, references: tuple[Reference, ...], space: Namespace) -> frozenset[str]:
        found: set[str] = set()
        for reference in references:
            name, _ = self._find(reference, space)
            if name not in self._entities:
                raise SourceError(reference.offset, f"expected an entity type, found {quoted(name)}")
            found.add(name)
        return frozenset(found)

    def _action(self, space: Namespace, id: str, written: WrittenAction) -> ActionDecl:
        return ActionDecl(
            uid_type=space.qualify("Action"),
            id=id,
            groups=tuple(dict.fromkeys(self._group(reference, group, space) for reference, group in written.groups)),
            principals=self._entity_types(written.principals, space),
            resources=self._entity_types(written.resources, space),
            context=self._record_type(written.context, space, f"the context of action {quoted(id)}"),
        )

    def _group(self, reference: Reference, id: str, space: Namespace) -> ActionUid:
        name = reference.name
        for type in (name,) if "::" in name else (space.qualify(name), name):
            if (type, id) in self._actions:
                return type, id
        raise SourceError(reference.offset, f"unknown action group {quoted(id)}: declare it as `action`")

    def _check_types(self, entities: list[EntityDecl]) -> None:
        """Types may be in one another, as often as data may be, but a long way up ends the engine."""
        deep = find_too_deep({entity.name: entity.member_of for entity in entities})
        if deep is not None:
            where = next(
                _first(written.parents)
                for space in self._namespaces
                for name, written in space.entities.items()
                if space.qualify(name) == deep
            )
            text = f"more than {MAX_LEVELS} levels of entity types, from {quoted(deep)} up: flatten them"
            raise SourceError(where, text)

    def _check_groups(self, actions: list[ActionDecl]) -> None:
        above = {(action.uid_type, action.id): action.groups for action in actions}
        circle = find_circle(above)
        if circle is not None:
            names = _listed(id for _, id in (*circle, circle[0]))
            text = f"action groups contain each other in a circle: {names}; break it up"
            raise SourceError(self._place_of_groups(circle[0]), text)
        deep = find_too_deep(above)
        if deep is not None:
            text = f"more than {MAX_LEVELS} levels of action groups, from {quoted(deep[1])} up: flatten them"
            raise SourceError(self._place_of_groups(deep), text)

    def _place_of_groups(self, action: ActionUid) -> int | None:
        return next(
            _first(reference for reference, _ in written.groups)
            for space in self._namespaces
            for id, written in space.actions.items()
            if (space.qualify("Action"), id) == action
        )


def _references(written: WrittenType) -> Iterator[Reference]:
    """Yield all names of types in a type. The readers bound how deep it nests."""
    match written:
        case Reference():
            yield written
        case WrittenSet(element):
            yield from _references(element)
        case WrittenRecord(attributes):
            for type, _ in attributes.values():
                yield from _references(type)


def _first(references: Iterable[Reference]) -> int | None:
    return next((reference.offset for reference in references), None)


def _place(written: WrittenType) -> int | None:
    """Where a type stands, as near as is known: the first name in it."""
    return _first(_references(written))


def _listed(names: Iterable[str]) -> str:
    return ", ".join(quoted(name) for name in list(names)[:8])
