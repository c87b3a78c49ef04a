"""What a folder wants a policy store to hold, and what a store holds, in terms that can be compared.

Texts are compared as `cedar_text` cuts them: a comment before a policy or a new line behind it is no difference.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from authz.core.cedar_schema import CedarSchemaError, load_schema, to_json
from authz.core.cedar_scope import Scope, read_scope
from authz.core.cedar_text import CedarTextError, scan_statements
from authz.core.model import Effect, EntityUid

Json: TypeAlias = Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Statement:
    """One policy or template of either side."""

    id: str
    """In the folder: `@id`, else `path#n`; in a store: its own id."""
    name: str = ""
    """In the folder: what the store should call it; in a store: what it does, without `name/`; empty: none."""
    text: str
    template: bool = False
    key: str = ""
    """In the folder: the name or id for which a file with one statement is kept; empty: there are several."""
    fault: str = ""
    """In the folder: why its id can be no name."""
    file: str = ""
    line: int | None = None
    raw: str = field(default="", compare=False)
    """In a store: as it was written, comments included."""
    description: str = ""
    """In a store. A folder has none, and leaves it."""

    @property
    def effect(self) -> Effect:
        """Its effect; of what cannot be read, forbid: then nothing is opened by its going."""
        try:
            return Effect(scan_statements(self.text)[0].effect)
        except (CedarTextError, IndexError):
            return Effect.FORBID

    def updatable(self, other: Statement) -> bool:
        """May one become the other in place? Not if effect, principal or resource differ (`UpdatePolicy`)."""
        mine, others = self.head, other.head
        return mine is not None and mine == others and self.effect is other.effect

    @property
    def head(self) -> tuple[object, object] | None:
        """What the scope says of principal and resource; None: it cannot be read."""
        try:
            scope: Scope = read_scope(self.text)
        except ValueError:
            return None
        return scope.principal, scope.resource

    @property
    def shown(self) -> str:
        """What people call it."""
        return self.name or self.id


@dataclass(frozen=True, slots=True, kw_only=True)
class Link:
    """One template-linked policy of either side."""

    id: str
    name: str = ""
    template: str
    """Its template's id on this side."""
    values: Mapping[str, EntityUid]
    fault: str = ""
    file: str = ""
    line: int | None = None

    @property
    def shown(self) -> str:
        """What people call it."""
        return self.name or self.id


@dataclass(frozen=True, slots=True, kw_only=True)
class IdentitySource:
    """One identity source of either side."""

    configuration: Json
    """The API's `Configuration`."""
    principal_type: str = ""
    id: str = ""
    """In a store."""
    file: str = ""

    @property
    def meaning(self) -> Json:
        """The same for two that differ only in order, or in what is said and what is meant anyway."""
        kind, value = next(iter(self.configuration.items()))
        found: dict[str, Any] = {"kind": kind, "principalEntityType": self.principal_type or "AWS::Cognito"}
        if kind == "cognitoUserPoolConfiguration":
            found["userPoolArn"] = value.get("userPoolArn")
            found["clientIds"] = sorted(value.get("clientIds") or ())
        else:
            selection, tokens = next(iter(value["tokenSelection"].items()))
            listed = tokens.get("audiences") or tokens.get("clientIds") or ()
            found |= {"issuer": value.get("issuer"), "prefix": value.get("entityIdPrefix") or "", "tokens": selection}
            found |= {"idClaim": tokens.get("principalIdClaim") or "sub", "listed": sorted(listed)}
        groups = value.get("groupConfiguration") or {}
        found["groups"] = [groups.get("groupClaim"), groups.get("groupEntityType")] if groups else None
        return found


@dataclass(frozen=True, slots=True, kw_only=True)
class Content:
    """All of a folder, or all of a store."""

    policies: tuple[Statement, ...] = ()
    templates: tuple[Statement, ...] = ()
    links: tuple[Link, ...] = ()
    schema: str | None = None
    """JSON, as Verified Permissions takes it."""
    schema_file: str = ""
    identity_source: IdentitySource | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Store:
    """A policy store, as it was found."""

    id: str
    """Its own, also where it was asked for by an alias; empty: it is still to be made."""
    strict: bool = True
    """`validationSettings.mode` is `STRICT`."""
    content: Content = Content()


def cut(raw: str) -> str:
    """The statement in a text of a store; the text itself where it cannot be cut."""
    try:
        statements = scan_statements(raw)
    except CedarTextError:
        return raw.strip()
    return statements[0].text if len(statements) == 1 else raw.strip()


def same_schema(one: str | None, other: str | None) -> bool:
    """Do two schemas say the same? Order, annotations and names of common types are no difference."""
    return one == other or (one is not None and other is not None and schema_meaning(one) == schema_meaning(other))


def schema_meaning(schema: str) -> str:
    """A schema in one form, for comparing and for reading. What cannot be read stays as it is."""
    try:
        meaning: object = to_json(load_schema(schema))
    except CedarSchemaError:
        try:
            meaning = json.loads(schema)
        except ValueError:
            return schema
    return json.dumps(meaning, indent=2, sort_keys=True, ensure_ascii=False) + "\n"
