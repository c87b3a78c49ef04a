"""Do routes, schema, issuers and policies fit each other? Asked at load, so that no request finds out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from authz.core.cedar_schema import (
    ActionDecl,
    BoolType,
    CedarType,
    EntityType,
    ExtensionType,
    LongType,
    Schema,
    SetType,
    StringType,
)
from authz.core.errors import Problem
from authz.core.model import EntityUid
from authz.core.routes import Route, RouteTable
from authz.wiring.credentials import Credentials
from authz.wiring.issuers import IssuerPlan

_EXTENSIONS: Mapping[str, str] = {"ip": "ipaddr", "datetime": "datetime", "decimal": "decimal"}
_PLAIN: Mapping[str, type[object]] = {"string": StringType, "long": LongType, "bool": BoolType}


def inconsistencies(
    routes: RouteTable, schema: Schema | None, issuers: tuple[IssuerPlan, ...], credentials: Credentials
) -> Iterator[Problem]:
    """Every misfit, as an error where a request could never be decided rightly, else as a warning."""
    for route in routes.routes:
        yield from (_at(route, text) for text in credentials.route_problems(route))
        if schema is not None:
            yield from _route(route, schema, credentials)
    if schema is None:
        yield Problem(message="there is no schema: policies, routes and claims are not checked", severity="warning")
    if schema is not None:
        yield from _principals(schema, issuers)
        yield from credentials.schema_problems(schema)


def _at(route: Route, text: str, *, severity: str = "error") -> Problem:
    return Problem(message=f"route `{route.name}`: {text}", file=route.file, line=route.line, severity=severity)


def _route(route: Route, schema: Schema, credentials: Credentials) -> Iterator[Problem]:
    action = schema.actions.get((route.action.type, route.action.id))
    if action is None:
        yield _at(route, f"the schema has no action `{route.action}`")
        return
    if route.resource_type not in action.resources:
        known = ", ".join(f"`{name}`" for name in sorted(action.resources)) or "none"
        yield _at(route, f"`{route.action}` takes no resource of type `{route.resource_type}`; it takes {known}")
    yield from _parents(route, schema)
    yield from _unlisted(route, schema)
    yield from _context(route, action)
    yield from (_at(route, text) for text in credentials.type_problems(route, action))


def _parents(route: Route, schema: Schema) -> Iterator[Problem]:
    declared = schema.entities.get(route.resource_type)
    for kind, _ in route.resource_parents:
        if kind not in schema.entities:
            yield _at(route, f"the schema has no entity type `{kind}`, of which `parents` makes the resource a member")
        elif declared is not None and kind not in declared.member_of:
            yield _at(route, f"the schema does not let `{route.resource_type}` be in `{kind}`")


def _unlisted(route: Route, schema: Schema) -> Iterator[Problem]:
    """Entities that a route names, of types whose ids the schema lists. Ids that a request gives come too late."""
    named = [] if route.anonymous is None else [route.anonymous]
    for kind, template in ((route.resource_type, route.resource_id), *route.resource_parents):
        texts = [part for part in template.parts if isinstance(part, str)]
        if len(texts) == len(template.parts):
            named.append(EntityUid(kind, "".join(texts)))
    for uid in named:
        declared = schema.entities.get(uid.type)
        if declared is not None and declared.enum is not None and uid.id not in declared.enum:
            yield _at(route, f"the schema does not list `{uid}` among the entities of `{uid.type}`")


def _context(route: Route, action: ActionDecl) -> Iterator[Problem]:
    declared = action.context.attributes
    given: dict[str, tuple[str, str, bool]] = {
        attribute.name: (attribute.kind, attribute.entity_type, attribute.required) for attribute in route.attributes
    }
    for name in [*given, *route.constants]:
        if name not in declared:
            text = f"the context of `{route.action}` does not declare `{name}`; no policy can read it"
            yield _at(route, text, severity="warning")
    for name, (kind, entity_type, _) in given.items():
        if name in declared and not _fits(kind, entity_type, declared[name].type):
            yield _at(route, f"`context.{name}` is mapped as `{kind}`, the schema declares another type")
    for name, attribute in declared.items():
        known = name in route.constants or name == "token" or (name in given and given[name][2])
        if attribute.required and not known:
            text = f"the schema requires `context.{name}`; map it with `required: true`, or declare it optional"
            yield _at(route, text)


def _fits(kind: str, entity_type: str, declared: CedarType) -> bool:
    if kind == "entity":
        return isinstance(declared, EntityType) and declared.name == entity_type
    if kind == "set":
        return isinstance(declared, SetType) and isinstance(declared.element, StringType)
    if kind in _EXTENSIONS:
        return isinstance(declared, ExtensionType) and declared.name == _EXTENSIONS[kind]
    return isinstance(declared, _PLAIN[kind])


def _principals(schema: Schema, issuers: tuple[IssuerPlan, ...]) -> Iterator[Problem]:
    for plan in issuers:
        kind, group = plan.source.principal_type, plan.source.group_type
        declared = schema.entities.get(kind)
        if declared is None:
            yield Problem(message=f"issuer `{plan.shape.issuer}`: the schema has no entity type `{kind}`")
        elif group is not None and group not in declared.member_of:
            yield Problem(message=f"issuer `{plan.shape.issuer}`: the schema does not let `{kind}` be in `{group}`")


def anonymous_principals(routes: RouteTable) -> frozenset[EntityUid]:
    """The anonymous principals that routes name."""
    return frozenset(route.anonymous for route in routes.routes if route.anonymous is not None)
