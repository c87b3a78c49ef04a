"""Writes a resolved schema in Cedar's JSON form, the only form that Verified Permissions takes."""

from typing import TypeAlias

from authz.core.cedar_schema_model import (
    ActionDecl,
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

Json: TypeAlias = dict[str, object]
SchemaJson: TypeAlias = dict[str, dict[str, dict[str, Json]]]
"""Namespace → `entityTypes` or `actions` → name → declaration."""


def to_json(schema: Schema) -> SchemaJson:
    """Write a schema as a JSON document (for `json.dumps`) that means the same; sorted, so that it is stable.

    Common types and annotations are gone, as in the model. The depth of a `Schema` that was read here is
    within what the engine can read again.

    Raises:
        CedarSchemaError: an attribute is of type `Action` of the empty namespace, in a namespace with actions
            of its own: JSON has no name for that type there.
    """
    spaces: SchemaJson = {}
    for name in sorted(schema.entities):
        space, _, base = name.rpartition("::")
        _space(spaces, space)["entityTypes"][base] = _Writer(schema, space).entity(schema.entities[name])
    for type, id in sorted(schema.actions):
        space, _, _ = type.rpartition("::")
        _space(spaces, space)["actions"][id] = _Writer(schema, space).action(schema.actions[type, id])
    return {space: spaces[space] for space in sorted(spaces)}


def _space(spaces: SchemaJson, name: str) -> dict[str, dict[str, Json]]:
    return spaces.setdefault(name, {"entityTypes": {}, "actions": {}})


class _Writer:
    """Writes what is declared in one namespace."""

    def __init__(self, schema: Schema, space: str) -> None:
        self._space = space
        self._hides_action = bool(space) and any(type == f"{space}::Action" for type, _ in schema.actions)

    def entity(self, entity: EntityDecl) -> Json:
        if entity.enum is not None:
            return {"enum": sorted(entity.enum)}
        found: Json = {"memberOfTypes": sorted(entity.member_of), "shape": self._type(RecordType(entity.attributes))}
        if entity.tags is not None:
            found["tags"] = self._type(entity.tags)
        return found

    def action(self, action: ActionDecl) -> Json:
        return {
            "memberOf": [{"type": type, "id": id} for type, id in action.groups],
            "appliesTo": {
                "principalTypes": sorted(action.principals),
                "resourceTypes": sorted(action.resources),
                "context": self._type(action.context),
            },
        }

    def _type(self, type: CedarType) -> Json:
        match type:
            case StringType():
                return {"type": "String"}
            case LongType():
                return {"type": "Long"}
            case BoolType():
                return {"type": "Boolean"}
            case ExtensionType(name):
                return {"type": "Extension", "name": name}
            case EntityType(name):
                if name == "Action" and self._hides_action:
                    message = f"JSON has no name for the type `Action` of the empty namespace in `{self._space}`"
                    raise CedarSchemaError(None, f"{message}: put the actions into one namespace")
                return {"type": "Entity", "name": name}
            case SetType(element):
                return {"type": "Set", "element": self._type(element)}
            case RecordType(attributes):
                written = {name: self._attribute(attributes[name]) for name in sorted(attributes)}
                return {"type": "Record", "attributes": written}

    def _attribute(self, attribute: Attribute) -> Json:
        return {**self._type(attribute.type), "required": attribute.required}
