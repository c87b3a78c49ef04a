"""What the head of a policy says of the requests it can match, read without the engine.

A policy whose scope does not match is not evaluated at all: it can neither permit nor forbid nor err (Cedar
documentation, "How Cedar authorization works", policy satisfaction). So neither it nor what it reads is told to the
engine.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass

from authz.core.cedar_lex import POLICY_TOKEN, Token, tokens, unescape
from authz.core.model import EntityUid

_NAME = r"[A-Za-z_][A-Za-z0-9_]*+(?:::[A-Za-z_][A-Za-z0-9_]*+)*+"
_UID = rf'{_NAME}::"[^"\\]*+"'
_PART = rf"(?:\x20is\x20{_NAME})?+(?:\x20(?:==|in)\x20(?:{_UID}|\?[a-z]++))?+"
_LIST = rf"\[\s*+(?:{_UID}(?:\s*+,\s*+{_UID})*+)?+\s*+\]"
_USUAL = re.compile(
    r'(?:@[A-Za-z_][A-Za-z0-9_]*+(?:\("[^"\\]*+"\))?+\s++)*+(?:permit|forbid)\x20?+\(\s*+'
    rf"principal(?P<principal>{_PART})\s*+,\s*+"
    rf"action(?P<action>(?:\x20(?:==|in)\x20(?:{_UID}|{_LIST}))?+)\s*+,\s*+"
    rf"resource(?P<resource>{_PART})\s*+,?+\s*+\)",
    re.ASCII,
)
"""A head as nearly everybody writes it. What it does not match, or what has an escape, is read token by token."""
_PIECE = re.compile(rf"is\x20(?P<kind>{_NAME})|(?P<type>{_NAME})::\"(?P<id>[^\"]*+)\"|\?[a-z]++")

_READ = re.compile(r"\bcontext(?:\.|\s+has\s+)([A-Za-z_][A-Za-z0-9_]*+)(?=\W|\Z)", re.ASCII)
_AFTER_DOT = re.compile(r"\.\s*([A-Za-z_][A-Za-z0-9_]*)")
_AFTER_HAS = re.compile(r"\bhas\s+([A-Za-z_][A-Za-z0-9_.\s]*)")
_STRING = re.compile(r'(::)?"([^"]*)"')
_WORD = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")

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


_ANY = Constraint()


@dataclass(frozen=True, slots=True, kw_only=True)
class Scope:
    """The head of one policy."""

    principal: Constraint
    action: Constraint
    resource: Constraint


def read_scope(policy: str) -> Scope:
    """The scope of one policy or template, which was scanned before (`cedar_text`) and which the engine took."""
    usual = _USUAL.match(policy)
    # Token by token takes ten times as long, and a policy set may have a hundred thousand heads.
    if usual is not None and "\\" not in usual["principal"] + usual["action"] + usual["resource"]:
        return Scope(**{name: _usual_constraint(usual[name]) for name in _VARIABLES})
    return _scope(policy)


def conditions(policy: str) -> str:
    """What stands behind the head: `when` and `unless` clauses and the `;`."""
    usual = _USUAL.match(policy)
    return policy[usual.end() :] if usual is not None else policy[_head_end(policy) :]


def _head_end(policy: str) -> int:
    depth = 0
    effect = annotation = opened = False
    for token in tokens(POLICY_TOKEN, policy):
        opened = opened or (effect and token.text == "(")
        effect = token.kind == "word" and token.text in _EFFECTS and not annotation
        annotation = token.kind == "at"
        if opened:
            depth += (token.kind == "open") - (token.kind == "close")
            if depth == 0:
                return token.end
    return len(policy)


def _scope(policy: str) -> Scope:
    found: dict[str, Constraint] = {}
    for part in _parts(policy):
        if part and part[0].text in _VARIABLES:
            found[part[0].text] = _constraint(part[1:])
    return Scope(**{name: found.get(name, Constraint()) for name in _VARIABLES})


def _usual_constraint(part: str) -> Constraint:
    if not part:
        return _ANY
    kind, slot, uids = None, False, []
    for piece in _PIECE.finditer(part):
        if piece["kind"] is not None:
            kind = sys.intern(piece["kind"])
        elif piece["type"] is not None:
            uids.append(EntityUid(sys.intern(piece["type"]), piece["id"]))
        else:
            slot = True
    found = tuple(uids)
    if "==" in part[:4]:
        return Constraint(equals=found[0] if found else None, slot=slot)
    if kind is None or found or slot:
        return Constraint(within=found, is_in=True, type=kind, slot=slot)
    return Constraint(type=kind)


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
    usual = _usual_names(policy)
    if usual is not None:
        return usual
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


def _usual_names(policy: str) -> frozenset[str] | None:
    """The names, where each `context` plainly reads one. What stands in a string or a comment only adds to them."""
    count = policy.count(_CONTEXT)
    if not count:
        return frozenset()
    found = _READ.findall(policy)
    return frozenset(found) if len(found) == count else None


def attribute_names(policy: str) -> frozenset[str]:
    """Names that a policy may read as an attribute or a tag, of whatever.

    Cedar has no computed attribute names, so what is not here is not read at all ("Policy syntax", attribute access).
    """
    text = conditions(policy)
    # Comments could stand between a dot and a name, and escapes make another name of what is written.
    if "//" in text or "\\" in text:
        return frozenset(_attribute_tokens(text))
    found = set(_AFTER_DOT.findall(text))
    for names in _AFTER_HAS.findall(text):
        found.update(_WORD.findall(names))
    # Every string but an entity's id, and string by string: one that ends in `[` must not hide the next.
    found.update(name for entity, name in _STRING.findall(text) if not entity)
    return frozenset(found)


def _attribute_tokens(text: str) -> Iterator[str]:
    last = ""
    for token in tokens(POLICY_TOKEN, text):
        if token.kind == "word" and last in (".", "has"):
            yield token.text
        elif token.kind == "string" and last != "::":
            yield unescape(token)
        last = token.text if token.kind != "string" else ""


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
