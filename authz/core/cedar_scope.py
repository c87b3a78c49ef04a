"""What the head of a policy says of the requests it can match, read without the engine.

A policy whose scope cannot match is not evaluated at all: it can neither permit nor forbid nor err (Cedar
documentation, "Policy syntax", scope). So what only such policies read need not be told to the engine.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from authz.core.cedar_lex import POLICY_TOKEN, Token, tokens, unescape
from authz.core.model import EntityUid

_VARIABLES = ("principal", "action", "resource")
_EFFECTS = frozenset({"permit", "forbid"})
_CONTEXT = "context"


@dataclass(frozen=True, slots=True, kw_only=True)
class Constraint:
    """What a scope says of one variable. With nothing set it takes every entity."""

    equals: EntityUid | None = None
    within: tuple[EntityUid, ...] = ()
    """`in` one of these: the entity itself, or one below it."""
    is_in: bool = False
    """There is an `in`, also one whose list is empty."""
    type: str | None = None
    """`is`."""
    slot: bool = False
    """A template's slot stands for the entity of `==` or `in`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scope:
    """The head of one policy."""

    principal: Constraint
    action: Constraint
    resource: Constraint


def read_scope(policy: str) -> Scope:
    """The scope of one policy or template, which was scanned before (`cedar_text`) and which the engine took."""
    found: dict[str, Constraint] = {}
    for part in _parts(policy):
        if part and part[0].text in _VARIABLES:
            found[part[0].text] = _constraint(part[1:])
    return Scope(**{name: found.get(name, Constraint()) for name in _VARIABLES})


def _parts(policy: str) -> Iterator[list[Token]]:
    """The tokens between the commas of the head."""
    depth, part = 0, list[Token]()
    opened = effect = annotation = False
    for token in tokens(POLICY_TOKEN, policy):
        depth += (token.kind == "open") - (token.kind == "close")
        if opened:
            if depth == 0 or (depth == 1 and token.text == ","):
                yield part
                part = []
            else:
                part.append(token)
            if depth == 0:
                return
        # An annotation may be called `@permit`, and its value stands in a bracket too.
        opened = opened or (effect and token.text == "(")
        effect = token.kind == "word" and token.text in _EFFECTS and not annotation
        annotation = token.kind == "at"


def _constraint(part: list[Token]) -> Constraint:
    words = [token.text for token in part]
    uids = tuple(_uids(part))
    kind = None
    if words[:1] == ["is"]:
        end = words.index("in") if "in" in words else len(words)
        kind = "".join(words[1:end])
    return Constraint(
        equals=uids[0] if words[:1] == ["=="] and uids else None,
        within=uids if "in" in words else (),
        is_in="in" in words,
        type=kind,
        slot=any(token.kind == "slot" for token in part),
    )


def _uids(part: list[Token]) -> Iterator[EntityUid]:
    name: list[str] = []
    joined = False
    for token in part:
        if token.kind == "string" and joined:
            yield EntityUid("::".join(name), unescape(token))
        elif token.kind == "word":
            name = [*name, token.text] if joined else [token.text]
        joined = token.kind == "path"
        if token.kind not in ("word", "path"):
            name = []


def context_names(policy: str) -> frozenset[str] | None:
    """The attributes of the context that a policy may read; None: they cannot be told, so it may read any.

    `context.name`, `context["name"]` and `context has name` read one; the context as a whole, as in
    `context == {…}`, may read any. In doubt the answer is None.
    """
    found: set[str] = set()
    last: Token | None = None
    waiting: list[Token] = []
    for token in tokens(POLICY_TOKEN, policy):
        if waiting:
            waiting.append(token)
            name = _name_read(waiting)
            if name is None and len(waiting) < 3:
                last = token
                continue
            if name is None:
                return None
            found.add(name)
            waiting = []
        elif token.text == _CONTEXT and token.kind == "word" and (last is None or last.kind not in ("dot", "at")):
            waiting = [token]
        last = token
    return None if waiting else frozenset(found)


def _name_read(read: list[Token]) -> str | None:
    """The attribute that `context` and the two tokens after it read."""
    if len(read) != 3:
        return None
    _, mark, name = read
    if mark.kind == "dot" and name.kind == "word":
        return name.text
    if mark.text == "has" and name.kind == "word":
        return name.text
    if mark.text in ("has", "[") and name.kind == "string":
        return unescape(name)
    return None


def may_match(scope: Scope, action: EntityUid, groups: frozenset[EntityUid], types: Mapping[str, str]) -> bool:
    """May a policy with this scope match a query?

    Args:
        scope: of the policy.
        action: of the query.
        groups: the action's ancestors.
        types: entity type of `principal` and of `resource`.
    """
    if scope.action.equals is not None and scope.action.equals != action:
        return False
    if scope.action.is_in and not scope.action.slot and not ({action} | groups).intersection(scope.action.within):
        return False
    return _type_fits(scope.principal, types["principal"]) and _type_fits(scope.resource, types["resource"])


def _type_fits(constraint: Constraint, kind: str) -> bool:
    # `in` says nothing of the type: an entity may be below one of another type.
    if constraint.type is not None and constraint.type != kind:
        return False
    return constraint.equals is None or constraint.equals.type == kind
