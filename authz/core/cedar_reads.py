"""What the conditions of a policy read of `resource`, told from their tokens.

Two resources that answer alike to all that is read of them are one question. Often that is less than an attribute's
value: `resource.owner == principal` knows two kinds of owners, however many there are. Which entities a scope takes
is not told here: that is the index's part.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from authz.core.cedar_lex import POLICY_TOKEN, Token, tokens, unescape
from authz.core.model import EntityUid

_RESOURCE = "resource"
_FLIPPED = {"==": "==", "!=": "!=", "<": ">", "<=": ">=", ">": "<", ">=": "<=", "in": "holds"}
"""An operator → the one that says the same with its sides exchanged. These take whole sums on both sides."""
_BEFORE = frozenset({"{", "(", "[", ",", ":", "&&", "||", "if", "then", "else"})
_AFTER = frozenset({"}", ")", "]", ",", "&&", "||", "then", "else"})
"""Between one of these and one of those stands a whole comparison (Cedar reference, "Policy grammar": `Relation`)."""
_CONSTANTS = {"true": True, "false": False}
_END = Token("eof", "", 0)


@dataclass(frozen=True, slots=True)
class Variable:
    """`principal`, or an attribute of it or of `context`."""

    name: str
    attribute: str | None = None


Operand: TypeAlias = Variable | EntityUid | str | int | bool


@dataclass(frozen=True, slots=True)
class Relation:
    """`resource.attribute operator operand`. `holds` is `operand in resource.attribute`; `contains` is the method."""

    attribute: str
    operator: str
    operand: Operand


@dataclass(frozen=True, slots=True, kw_only=True)
class Reads:
    """All that is read of `resource`."""

    values: frozenset[str] = frozenset()
    """Attributes whose value is read, and what lies below it."""
    relations: tuple[Relation, ...] = ()
    """Attributes of which only this is asked. No set: `a == 1` and `a == true` are equal in Python."""
    presence: frozenset[str] = frozenset()
    """`resource has attribute`."""


def resource_reads(policy: str) -> Reads | None:
    """What a policy or template, which was scanned before (`cedar_text`), may read of `resource` in its conditions.

    Returns:
        None: the entity itself counts, its tags or what it is in, or it cannot be told. In doubt that is the answer.
    """
    body = list(_body(policy))
    if any(token.kind == "slot" for token in body):  # it may stand for the resource
        return None
    found: list[Relation] = []
    settled: set[int] = set()
    for start in range(1, len(body)):
        if _is_one(body[start - 1], _BEFORE) and (relation := _compared(body, start)) is not None:
            found.append(relation[0])
            settled.add(relation[1])
    values, presence = set[str](), set[str]()
    for place in range(len(body)):
        if place in settled or not _is_resource(body, place):
            continue
        contained = _contained(body, place)
        if contained is not None:
            found.append(contained)
        elif (name := _asked(body, place)) is not None:
            presence.add(name)
        elif (name := _below(body, place)) is not None:
            values.add(name)
        else:
            return None
    return Reads(values=frozenset(values), relations=tuple(found), presence=frozenset(presence))


def _body(policy: str) -> Iterator[Token]:
    """The tokens behind the head."""
    depth, opened, annotation = 0, False, False
    behind = False
    for token in tokens(POLICY_TOKEN, policy):
        if behind:
            yield token
            continue
        depth += (token.kind == "open") - (token.kind == "close")
        behind = opened and depth == 0
        # An annotation may be called `@permit`, and its value stands in a bracket too.
        opened = opened or (token.text in ("permit", "forbid") and token.kind == "word" and not annotation)
        annotation = token.kind == "at"


def _is_resource(body: Sequence[Token], place: int) -> bool:
    """Does the variable stand here?"""
    token = _at(body, place)
    if token.text != _RESOURCE or token.kind != "word":
        return False
    # An attribute, or an entity type of that name.
    return _at(body, place - 1).kind not in ("dot", "path") and _at(body, place + 1).kind != "path"


def _compared(body: Sequence[Token], start: int) -> tuple[Relation, int] | None:
    """The whole comparison of an attribute with a simple operand that begins here; and where `resource` is in it."""
    left = _read(body, start) if _is_resource(body, start) else None
    first = left or _operand(body, start)
    operator = _at(body, first[1]).text if first is not None else ""
    if first is None or operator not in _FLIPPED:
        return None
    begin = first[1] + 1
    if left is not None:
        second = _operand(body, begin)
        if second is None or not _is_one(_at(body, second[1]), _AFTER):
            return None
        return Relation(left[0], operator, second[0]), start
    right = _read(body, begin) if _is_resource(body, begin) else None
    if right is None or not _is_one(_at(body, right[1]), _AFTER):
        return None
    return Relation(right[0], _FLIPPED[operator], first[0]), begin


def _contained(body: Sequence[Token], place: int) -> Relation | None:
    """`resource.attribute.contains(operand)`."""
    read = _read(body, place)
    if read is None or [token.text for token in body[read[1] : read[1] + 3]] != [".", "contains", "("]:
        return None
    operand = _operand(body, read[1] + 3)
    if operand is None or _at(body, operand[1]).text != ")":
        return None
    return Relation(read[0], "contains", operand[0])


def _asked(body: Sequence[Token], place: int) -> str | None:
    """`resource has attribute`; not `resource has attribute.member`, which reads the value."""
    mark, name = _at(body, place + 1), _at(body, place + 2)
    if mark.text != "has" or name.kind not in ("word", "string") or _at(body, place + 3).kind == "dot":
        return None
    return name.text if name.kind == "word" else unescape(name)


def _below(body: Sequence[Token], place: int) -> str | None:
    """The attribute whose value is read here, or one below it."""
    if _at(body, place + 1).text == "has" and _at(body, place + 2).kind == "word":
        return body[place + 2].text
    read = _read(body, place)
    return read[0] if read is not None and _at(body, read[1]).text != "(" else None


def _read(body: Sequence[Token], place: int) -> tuple[str, int] | None:
    """The attribute that is read of the variable here, and the place behind it."""
    mark, name = _at(body, place + 1), _at(body, place + 2)
    if mark.kind == "dot" and name.kind == "word":
        return name.text, place + 3
    if mark.text == "[" and name.kind == "string" and _at(body, place + 3).text == "]":
        return unescape(name), place + 4
    return None


def _operand(body: Sequence[Token], place: int) -> tuple[Operand, int] | None:
    """The operand that begins here, if it is one that can be known beforehand, and the place behind it."""
    token = _at(body, place)
    if token.kind == "number":
        return int(token.text), place + 1
    if token.kind == "string":
        return unescape(token), place + 1
    if token.kind != "word":
        return None
    if _at(body, place + 1).kind == "path":
        return _literal(body, place)
    if token.text in _CONSTANTS:
        return _CONSTANTS[token.text], place + 1
    if token.text not in ("principal", "context"):
        return None
    if _at(body, place + 1).text not in (".", "["):
        return (Variable(token.text), place + 1) if token.text == "principal" else None
    read = _read(body, place)
    return (Variable(token.text, read[0]), read[1]) if read is not None else None


def _literal(body: Sequence[Token], place: int) -> tuple[EntityUid, int] | None:
    name: list[str] = []
    while _at(body, place).kind == "word" and _at(body, place + 1).kind == "path":
        name.append(body[place].text)
        place += 2
    last = _at(body, place)
    return (EntityUid("::".join(name), unescape(last)), place + 1) if last.kind == "string" else None


def _is_one(token: Token, marks: frozenset[str]) -> bool:
    return token.text in marks


def _at(body: Sequence[Token], place: int) -> Token:
    return body[place] if 0 <= place < len(body) else _END
