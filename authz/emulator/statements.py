"""One statement as the service reads it: what its scope names, and the texts with which it is refused.

Texts and paths were seen on the real service (fact sheet B.4); where none is known the parser's own words are not
passed on.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import cedarpy

from authz.core.cedar_lex import POLICY_TOKEN, tokens
from authz.core.cedar_scope import Constraint, Scope, read_scope
from authz.core.cedar_text import CedarTextError, scan_statements
from authz.core.model import EntityUid
from authz.emulator.errors import ValidationError
from authz.emulator.records import PolicyRecord, TemplateRecord

STATIC = "/definition/static/statement"
TEMPLATE = "/template/statement"
DEFINITION = "/definition"
_UNREADABLE = "Failed to validate policy body."
_NO_SCHEMA = "No schema present - automatically failing all validation."
_TOLD = ("this identifier is reserved and cannot be used", "too many occurrences of", "found template slot")
"""The parser's errors that the service passes on."""
_VARIABLES = ("principal", "resource")


@dataclass(frozen=True, slots=True, kw_only=True)
class Head:
    """What is known of a statement from its head."""

    effect: str
    """`Permit` or `Forbid`."""
    scope: Scope
    slots: tuple[str, ...]
    """Of `principal` and `resource`, those that have one."""

    @property
    def principal(self) -> EntityUid | None:
        """The one entity that the scope names."""
        return _named(self.scope.principal)

    @property
    def resource(self) -> EntityUid | None:
        """The one entity that the scope names."""
        return _named(self.scope.resource)

    @property
    def actions(self) -> tuple[EntityUid, ...]:
        """That `==` or `in` names."""
        action = self.scope.action
        return (action.equals,) if action.equals is not None else action.within

    def keeps(self, other: Head) -> bool:
        """Does it leave what an update may not change: effect, principal, resource?"""
        mine, others = self.scope, other.scope
        return (self.effect, mine.principal, mine.resource) == (other.effect, others.principal, others.resource)


def static_head(text: str) -> Head:
    """The head of a static policy.

    Raises:
        ValidationError: it is none, or more than one.
    """
    head = _head(text, STATIC)
    if head.slots:
        raise _refused(STATIC, f"expected a static policy, got a template containing the slot ?{head.slots[0]}")
    return head


def template_head(text: str) -> Head:
    """The head of a template.

    Raises:
        ValidationError: it is none, or more than one.
    """
    head = _head(text, TEMPLATE)
    if not head.slots:
        raise _refused(TEMPLATE, "expected a template, got a static policy")
    return head


def _head(text: str, path: str) -> Head:
    try:
        # Bounds its nesting too, which could end the whole process in the parser. Its size is a quota.
        statements = scan_statements(text, max_statement_bytes=len(text.encode()), max_statements=2)
    except CedarTextError:
        raise _refused(path, _UNREADABLE) from None
    if len(statements) != 1:
        raise _refused(path, _UNREADABLE)
    try:
        cedarpy.PolicySet.from_str(text)
    except ValueError as error:
        words = str(error)
        raise _refused(path, words if words.startswith(_TOLD) else _UNREADABLE) from None
    scope = read_scope(statements[0].text)
    slots = tuple(name for name in _VARIABLES if getattr(scope, name).slot)
    return Head(effect=statements[0].effect.capitalize(), scope=scope, slots=slots)


def _named(constraint: Constraint) -> EntityUid | None:
    if constraint.equals is not None:
        return constraint.equals
    return constraint.within[0] if len(constraint.within) == 1 else None


def _refused(path: str, message: str) -> ValidationError:
    return ValidationError([(path, message)])


# --- STRICT


def validate(text: str, schema: str | None, path: str) -> None:
    """Validates a policy or template against a schema, as STRICT has it.

    Raises:
        ValidationError: it is not valid, or there is no schema.
    """
    if schema is None:
        raise _refused(path, _NO_SCHEMA)
    errors = cedarpy.validate_policies(text, _handle(schema)).errors
    if errors:
        raise ValidationError([(path, error.error) for error in errors])


@lru_cache(maxsize=8)
def _handle(schema: str) -> cedarpy.Schema:
    return cedarpy.Schema.from_json_str(schema)


def linked_text(template: TemplateRecord, link: PolicyRecord) -> str:
    """The policy that a link means: its template with the slots filled."""
    values = {f"?{name}": getattr(link, name) for name in template.slots}
    text, parts, at = template.statement, list[str](), 0
    for token in tokens(POLICY_TOKEN, text):
        if token.kind == "slot" and token.text in values:
            parts += [text[at : token.start], _literal(values[token.text])]
            at = token.end
    return "".join([*parts, text[at:]])


def _literal(uid: EntityUid) -> str:
    # An id may hold any character, policy text not.
    text = "".join(
        character if character.isalnum() and character.isascii() else f"\\u{{{ord(character):x}}}"
        for character in uid.id
    )
    return f'{uid.type}::"{text}"'
