"""Snapshots of a few short policies, for tests of how they are compiled."""

from __future__ import annotations

from collections.abc import Mapping

from authz.core.cedar_text import scan_statements
from authz.core.model import Effect, EntityUid, Policy, PolicySnapshot, TemplateLink

SCHEMA = """
entity Group;
entity User in [Group] { level?: Long };
entity Doc { public?: Bool };
action "view", "edit" appliesTo { principal: User, resource: Doc, context: { mfa?: Bool } };
"""
STAFF = 'permit(principal in Group::"staff", action, resource);'
PUBLIC = 'permit(principal, action == Action::"view", resource) when { resource has public && resource.public };'
LOCKED = '@deny_message("not now") forbid(principal, action, resource == Doc::"1");'
SHARED = "permit(principal == ?principal, action, resource == ?resource);"
OPEN = 'permit(principal == ?principal, action == Action::"view", resource == ?resource);'
ANN, BOB, ONE, TWO = EntityUid("User", "ann"), EntityUid("User", "bob"), EntityUid("Doc", "1"), EntityUid("Doc", "2")


def policy(id: str, text: str, line: int = 1) -> Policy:
    """As a store gives it."""
    [statement] = scan_statements(text)
    return Policy(
        id=id,
        text=statement.text,
        effect=Effect(statement.effect),
        annotations=statement.annotations,
        file="all.cedar",
        line=line,
    )


def link(id: str, principal: EntityUid = ANN, resource: EntityUid = ONE, template: str = "t") -> TemplateLink:
    """A link of a template with both slots."""
    values = {"?principal": principal, "?resource": resource}
    return TemplateLink(id=id, template_id=template, values=values, file="links.json", line=7)


def snapshot(
    policies: Mapping[str, str],
    *links: TemplateLink,
    templates: Mapping[str, str] | None = None,
    schema: str | None = SCHEMA,
    entities: str = "[]",
    version: str = "1",
) -> PolicySnapshot:
    """A snapshot of texts by id; each policy on a line of its own."""
    shared = {"t": SHARED} if templates is None else templates
    return PolicySnapshot(
        version=version,
        policies=tuple(policy(id, text, line) for line, (id, text) in enumerate(policies.items(), 1)),
        templates=tuple(policy(id, text, 100 + line) for line, (id, text) in enumerate(shared.items(), 1)),
        links=links,
        schema=schema,
        schema_file="schema.cedarschema",
        entities=entities,
        entities_file="entities.json",
    )
