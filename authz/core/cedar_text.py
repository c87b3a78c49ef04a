"""Cuts Cedar policy text into statements, without the engine.

The engine tells neither line nor place of a fault and can be crashed by nesting, so every text from outside
passes here first: each statement comes out with its line, its annotations and its effect, and within limits
that the engine is known to bear (`cedar_depth`). What is inside a statement is the engine's to judge; here
only what makes a statement's bounds doubtful is refused.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from authz.core.cedar_depth import MAX_CHAIN, MAX_DEPTH, check_depth, too_nested
from authz.core.cedar_lex import (
    POLICY_STRETCH,
    POLICY_TOKEN,
    SourceError,
    Token,
    breaks,
    check_characters,
    line_of,
    quoted,
    token_at,
    unescape,
)

MAX_STATEMENT_BYTES = 10_000
"""Verified Permissions' quota for one policy (user guide, "Quotas")."""
MAX_STATEMENTS = 200_000
"""Statements in one text."""

_EFFECT = re.compile(r"\b(?:permit|forbid)\b")
_CLOSING = {"(": ")", "[": "]", "{": "}"}
_SLOTS = ("?principal", "?resource")
_NO_ANNOTATIONS: Mapping[str, str] = MappingProxyType({})
_BEGINNING = 'a policy begins with `permit`, `forbid` or an annotation such as `@id("name")`'


class CedarTextError(ValueError):
    """Policy text cannot be cut into statements. `line` counts from 1; `message` says what to do."""

    def __init__(self, line: int, message: str) -> None:
        super().__init__(f"line {line}: {message}")
        self.line = line
        self.message = message


@dataclass(frozen=True, slots=True, kw_only=True)
class Statement:
    """One policy or template, as it was written."""

    text: str
    """Exact source, from its first annotation to its `;`."""
    line: int
    """Line of its first token, from 1."""
    annotations: Mapping[str, str]
    """Name → value, escapes resolved; `@name` without a value gives the empty string."""
    effect: str
    """`permit` or `forbid`."""
    is_template: bool
    """Whether a slot, `?principal` or `?resource`, stands in it."""


def scan_statements(
    text: str,
    *,
    max_depth: int = MAX_DEPTH,
    max_statement_bytes: int = MAX_STATEMENT_BYTES,
    max_chain: int = MAX_CHAIN,
    max_statements: int = MAX_STATEMENTS,
) -> tuple[Statement, ...]:
    """Cut policy text into its statements, in their order.

    Args:
        text: Cedar policies and templates (Cedar reference, "Policy syntax").
        max_depth: Open brackets and `if`s at one place, and attribute accesses in a row.
        max_statement_bytes: UTF-8 bytes of one statement.
        max_chain: Levels of one expression, counted as `cedar_depth` does.
        max_statements: Statements in the text.

    Returns:
        A statement for each one that the engine would find; joined by white space they mean what `text` means.

    Raises:
        CedarTextError: with the line, for text whose statements cannot be told apart or that passes a limit.
    """
    return tuple(
        each_statement(
            text,
            max_depth=max_depth,
            max_statement_bytes=max_statement_bytes,
            max_chain=max_chain,
            max_statements=max_statements,
        )
    )


def each_statement(
    text: str,
    *,
    max_depth: int = MAX_DEPTH,
    max_statement_bytes: int = MAX_STATEMENT_BYTES,
    max_chain: int = MAX_CHAIN,
    max_statements: int = MAX_STATEMENTS,
) -> Iterator[Statement]:
    """As `scan_statements`, one after the other: what is wrong behind a statement is told after it."""
    try:
        check_characters(text)
        scanner = _Scanner(text, max_depth, max_statement_bytes, max_chain)
        count = 0
        while statement := scanner.statement():
            count += 1
            if count > max_statements:
                message = f"more than {max_statements} statements in one text: split it into several files"
                raise CedarTextError(statement.line, message)
            yield statement
    except SourceError as error:
        raise CedarTextError(line_of(text, error.offset or 0), error.message) from None


class _Scanner:
    """Reads statement after statement; keeps the place, and the line, which is never counted twice."""

    def __init__(self, text: str, max_depth: int, max_bytes: int, max_chain: int) -> None:
        self._text = text
        self._max_depth = max_depth
        self._max_bytes = max_bytes
        self._max_chain = max_chain
        self._offset = 0
        self._line = 1
        self._line_offset = 0

    def statement(self) -> Statement | None:
        """Read one statement; None at the end of the text."""
        first = self._token()
        if first.kind == "eof":
            return None
        annotations, effect = self._annotations(first)
        try:
            is_template = self._body(effect)
            source = self._text[first.start : self._offset]
            self._check(source, first.start)
        except SourceError as error:
            if not annotations.get("id"):
                raise
            raise SourceError(error.offset, f"policy {quoted(annotations['id'])}: {error.message}") from None
        return Statement(
            text=source,
            line=self._line_at(first.start),
            annotations=MappingProxyType(annotations) if annotations else _NO_ANNOTATIONS,
            effect=effect,
            is_template=is_template,
        )

    def _check(self, source: str, start: int) -> None:
        size = len(source.encode())
        if size > self._max_bytes:
            raise SourceError(start, f"policy of {size} bytes, at most {self._max_bytes} are allowed: split it")
        check_depth(source, start, self._max_depth, self._max_chain)

    def _token(self) -> Token:
        token = token_at(POLICY_TOKEN, self._text, self._offset)
        self._offset = token.end
        return token

    def _annotations(self, token: Token) -> tuple[dict[str, str], str]:
        """Read all annotations and the effect; `token` is the statement's first."""
        found: dict[str, str] = {}
        while token.kind == "at":
            name = self._token()
            if name.kind != "word":
                raise SourceError(name.start, f"expected the annotation's name after `@`, found {_shown(name)}")
            if name.text in found:
                raise SourceError(name.start, f"annotation `@{name.text}` stands twice: remove one")
            found[name.text] = ""
            token = self._token()
            if token.text == "(":
                found[name.text] = self._annotation_value(name.text)
                token = self._token()
        if token.kind != "word" or token.text not in ("permit", "forbid"):
            raise SourceError(token.start, f"unexpected {_shown(token)}: {_BEGINNING}")
        return found, token.text

    def _annotation_value(self, name: str) -> str:
        value = self._token()
        if value.kind != "string":
            raise SourceError(value.start, f'expected a string, as in `@{name}("value")`, found {_shown(value)}')
        closing = self._token()
        if closing.text != ")":
            raise SourceError(closing.start, f"expected `)` after the value of `@{name}`, found {_shown(closing)}")
        return unescape(value)

    def _body(self, effect: str) -> bool:
        """Read from the scope's `(` to the policy's `;`; return whether a slot was met."""
        scope = self._token()
        if scope.text != "(":
            raise SourceError(scope.start, f"expected `(` after `{effect}`, found {_shown(scope)}")
        is_template = False
        opened = [scope]
        while True:
            token = token_at(POLICY_STRETCH, self._text, self._offset)
            if token.kind == "open":
                opened.append(token)
                if len(opened) > self._max_depth:
                    raise too_nested(token.start, self._max_depth)
            elif token.kind == "close":
                self._close(opened, token)
            elif token.kind == "slot":
                is_template = is_template or token.text in _SLOTS
            elif token.kind in ("end", "eof") or not opened:
                self._check_end(opened, token)
            self._offset = token.end
            if token.kind == "end":
                return is_template

    def _close(self, opened: list[Token], token: Token) -> None:
        if not opened:
            raise SourceError(token.start, f"unexpected `{token.text}`: no bracket is open here")
        inner = opened.pop()
        if _CLOSING[inner.text] != token.text:
            fault = f"the `{inner.text}` of line {line_of(self._text, inner.start)}"
            raise SourceError(token.start, f"unexpected `{token.text}`: close {fault} with `{_CLOSING[inner.text]}`")

    def _check_end(self, opened: list[Token], token: Token) -> None:
        """Refuse an end inside brackets, and what begins another policy before the end of this one."""
        if opened:
            bracket = opened[-1].text
            message = f"`{bracket}` is never closed: add `{_CLOSING[bracket]}` before the policy's `;`"
            raise SourceError(opened[-1].start, message)
        begins = _EFFECT.search(token.text) if token.kind == "plain" else None
        if token.kind in ("eof", "at") or begins:
            following = {"eof": "", "at": " before the next annotation"}.get(token.kind, " before the next policy")
            raise SourceError(self._offset - 1, f"missing `;`: end the policy with one{following}")

    def _line_at(self, offset: int) -> int:
        self._line += breaks(self._text, self._line_offset, offset)
        self._line_offset = offset
        return self._line


def _shown(token: Token) -> str:
    return "the end of the text" if token.kind == "eof" else quoted(token.text)
