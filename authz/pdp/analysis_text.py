"""What a policy's text says without the engine: whether its conditions are literally true, and what makes it equal.

The engine's validator tells of conditions that can never hold by a warning that `cedarpy` does not pass on, so only
what is written as `true` or `false` is known here.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from authz.core.cedar_lex import POLICY_TOKEN, SCHEMA_TOKEN, SourceError, Token, breaks, tokens, unescape
from authz.core.model import EntityUid, Policy

_CONDITION = re.compile("when|unless")
_LITERAL = re.compile("true|false")
_LITERALS: Mapping[tuple[str, ...], bool] = {("true",): True, ("false",): False}
_BEGINS = frozenset({"", ";", "{", "}", ")"})
"""What stands before a declaration of a schema: nothing, another one, the namespace's brace, an annotation."""


def holds(policy: str) -> bool | None:
    """Are the conditions of a policy literally true (also: there are none), or literally false? None: it depends.

    `when { true }` and `unless { false }` are true. One that is false makes the policy false: all must hold.
    """
    if _CONDITION.search(policy) is None:
        return True
    if _LITERAL.search(policy) is None and _has_condition(policy):
        return None
    found: bool | None = True
    for word, body in _conditions(policy):
        value = _literal(body)
        if value is None:
            found = None
        elif value != (word == "when"):
            return False
    return found


def _has_condition(policy: str) -> bool:
    return next(_conditions(policy), None) is not None


def _literal(body: list[str]) -> bool | None:
    while len(body) > 2 and body[0] == "(" and body[-1] == ")":
        body = body[1:-1]
    return _LITERALS.get(tuple(body))


def _conditions(policy: str) -> Iterator[tuple[str, list[str]]]:
    """Each `when` or `unless` with the tokens between its braces."""
    word, body, depth = "", list[str](), 0
    for token in _statement(policy):
        if depth == 0 and token.kind == "word":
            word = token.text
        depth -= token.kind == "close"
        if depth > 0:
            body.append(token.text)
        elif token.kind == "close":
            if word in ("when", "unless"):  # the head's bracket comes first
                yield word, body
            body = []
        depth += token.kind == "open"


def _statement(policy: str) -> Iterator[Token]:
    """The tokens from `permit` or `forbid` on. An annotation may be called so too, and its value be in brackets."""
    begun = annotation = False
    for token in tokens(POLICY_TOKEN, policy):
        if token.kind == "eof":
            return
        begun = begun or (token.kind == "word" and token.text in ("permit", "forbid") and not annotation)
        annotation = token.kind == "at"
        if begun:
            yield token


def sameness(policy: Policy) -> tuple[str, frozenset[tuple[str, str]]]:
    """Equal for two policies that differ in white space, comments, the order of annotations and `@id` at most."""
    annotations = frozenset((name, value) for name, value in policy.annotations.items() if name != "id")
    return " ".join([token.text for token in _statement(policy.text)]), annotations


def action_lines(schema: str) -> Mapping[EntityUid, int]:
    """The line of each action that a schema in Cedar's syntax declares, as far as it is found; of JSON, none."""
    found: dict[EntityUid, int] = {}
    if schema.lstrip().startswith("{"):
        return found
    try:
        given = list(tokens(SCHEMA_TOKEN, schema))
    except SourceError:
        return found  # told by who compiled it
    namespace, depth, line, counted = "", 0, 1, 0
    for place, token in enumerate(given):
        depth += (token.text == "{") - (token.text == "}")
        begins = token.kind == "word" and (place == 0 or given[place - 1].text in _BEGINS)
        if begins and token.text == "namespace" and depth == 0:
            namespace = _path(given, place + 1)
        elif depth == 0 and token.text == "}":
            namespace = ""
        elif begins and token.text == "action":
            for name in _names(given, place + 1):
                line, counted = line + breaks(schema, counted, name.start), name.start
                kind = f"{namespace}::Action" if namespace else "Action"
                found[EntityUid(kind, unescape(name) if name.kind == "string" else name.text)] = line
    return found


def _path(given: list[Token], place: int) -> str:
    """The name that begins at `place`, up to the brace behind it."""
    name = ""
    while given[place].text != "{" and given[place].kind != "eof":
        name += given[place].text
        place += 1
    return name


def _names(given: list[Token], place: int) -> Iterator[Token]:
    """The names after `action`, up to what is no name or has no comma before it."""
    while given[place].kind in ("word", "string"):
        yield given[place]
        if given[place + 1].text != ",":
            return
        place += 2
