"""What Cedar's policy language and schema language share on the level of characters.

Both are read here without the engine, because the engine can be made to crash by its input. This module
knows tokens, string escapes and positions; it knows no grammar. Everything it refuses is refused with a
`SourceError`, which the two public readers (`cedar_text`, `cedar_schema`) turn into their own error with a
line number.

Source of the token rules: the published grammars of Cedar 4 (cedar-policy-core, `grammar.lalrpop` of the
parser and of the schema) and the Cedar reference, "Policy grammar"; string escapes are Rust's.
"""

import re
from collections.abc import Iterator
from typing import NamedTuple

# Rust's `\s` is Unicode White_Space. Python's `\s` also takes U+001C..U+001F, which Cedar refuses.
_SPACE = r"[\t\n\x0b\x0c\r \x85\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000]"
# Possessive quantifiers keep a long or unterminated string linear. `.` leaves out the line feed on purpose:
# Cedar's lexer has no token for a backslash directly before one.
_PIECES = {
    "word": r"[A-Za-z_][A-Za-z0-9_]*+",
    "string": r'"[^"\\]*+(?:\\.[^"\\]*+)*+"',
    "number": r"[0-9]++",
    "slot": r"\?[A-Za-z_][A-Za-z0-9_]*+",
}
_SKIP = rf"(?:{_SPACE}++|//[^\n\r]*+)*+"


def _pattern(kinds: dict[str, str]) -> re.Pattern[str]:
    """Compile one regular expression that always matches: white space and comments, then one token."""
    groups = "|".join(f"(?P<{kind}>{rule})" for kind, rule in kinds.items())
    return re.compile(rf"{_SKIP}(?:{groups}|(?P<eof>\Z)|(?P<bad>[\s\S]))")


POLICY_TOKEN = _pattern(
    {
        "word": _PIECES["word"],
        "dot": r"\.",
        "open": r"[(\[{]",
        "close": r"[)\]}]",
        "string": _PIECES["string"],
        "op": r"\|\||&&|[=!<>]=|[-+*/%<>=!&|]",  # `&` and `|` alone: the engine's to refuse
        "path": r"::",
        "comma": r"[,:]",
        "number": _PIECES["number"],
        "end": r";",
        "slot": _PIECES["slot"],
        "at": r"@",
    }
)
# Between two places where brackets, strings, slots or the policy's end stand, a body holds only this.
POLICY_STRETCH = _pattern(
    {
        "plain": rf"(?:[A-Za-z0-9_.,:+*%<>=!&|-]|{_SPACE})++|/(?!/)",
        "open": r"[(\[{]",
        "close": r"[)\]}]",
        "string": _PIECES["string"],
        "end": r";",
        "slot": _PIECES["slot"],
        "at": r"@",
    }
)
SCHEMA_TOKEN = _pattern(
    {
        "word": _PIECES["word"],
        "mark": r"::|[,;:{}\[\]<>=?@()]",
        "string": _PIECES["string"],
        "number": _PIECES["number"],
    }
)


_SURROGATE = re.compile("[\ud800-\udfff]")
_STRETCH = 1_000_000
"""Characters that are searched at once."""


class SourceError(ValueError):
    """A fault in Cedar source. `offset` is the index of the character at fault, None where no place is known."""

    def __init__(self, offset: int | None, message: str) -> None:
        super().__init__(message)
        self.offset = offset
        self.message = message


class Token(NamedTuple):
    """One token: its kind (a name in the pattern, or `eof`), its exact text, and where that text begins."""

    kind: str
    text: str
    start: int

    @property
    def end(self) -> int:
        """Index just behind the token."""
        return self.start + len(self.text)


def check_characters(source: str) -> None:
    """Refuse what no Cedar source may hold.

    A NUL is legal inside a Cedar string, but never meant, and it ends strings in other programs; a lone
    surrogate cannot be encoded for the engine at all.

    Raises:
        SourceError: byte order mark, NUL or lone surrogate.
    """
    if source.startswith("\ufeff"):
        raise SourceError(0, "unexpected byte order mark at the start: save the file as UTF-8 without one")
    nul = source.find("\0")
    if nul >= 0:
        raise SourceError(nul, "unexpected NUL character: write `\\0` in a string, or remove it")
    surrogate = None if source.isascii() else next(_surrogates(source), None)
    if surrogate:
        code = f"U+{ord(surrogate.group()):04X}"
        raise SourceError(surrogate.start(), f"lone surrogate `{code}`: save the file as valid UTF-8")


def _surrogates(source: str) -> Iterator[re.Match[str]]:
    """Lone surrogates; a search through all of a large file at once would let no other thread run."""
    for start in range(0, len(source), _STRETCH):
        yield from _SURROGATE.finditer(source, start, start + _STRETCH)


def tokens(pattern: re.Pattern[str], source: str) -> Iterator[Token]:
    """Yield the tokens of `source`, the last one of kind `eof`.

    Raises:
        SourceError: at the first character that begins no token.
    """
    offset, kind = 0, ""
    while kind != "eof":
        token = token_at(pattern, source, offset)
        offset, kind = token.end, token.kind
        yield token


def token_at(pattern: re.Pattern[str], source: str, offset: int) -> Token:
    """Return the first token at or behind `offset`.

    Raises:
        SourceError: at a character that begins no token.
    """
    match = pattern.match(source, offset)
    if match is None or match.lastgroup is None:
        raise AssertionError("one of `eof` and `bad` always matches")
    if match.lastgroup == "bad":
        raise bad_character(source, match.start("bad"))
    return Token(match.lastgroup, match[match.lastgroup], match.start(match.lastgroup))


def bad_character(source: str, offset: int) -> SourceError:
    """Say why no token begins at `offset`."""
    character = source[offset]
    if character == '"':
        return SourceError(
            offset,
            'unterminated string: add the closing `"` (a line may not end in a backslash inside a string)',
        )
    hints = {
        "'": ': strings are written with `"`',
        "#": ": comments begin with `//`",
    }
    return SourceError(offset, f"unexpected character {quoted(character)}{hints.get(character, '')}")


def breaks(source: str, start: int, end: int) -> int:
    """Count the line breaks (LF, CR LF, CR) in a part of `source`. Cedar, too, ends a comment at a lone CR."""
    crlf = source.count("\r\n", start, end)
    return source.count("\n", start, end) + source.count("\r", start, end) - crlf


def line_of(source: str, offset: int) -> int:
    """Tell the line, counted from 1, of the character at `offset`."""
    return 1 + breaks(source, 0, offset)


def quoted(text: str) -> str:
    """Put user input into a message: in backticks, on one line, at most 40 characters of it."""
    shown = text if len(text) <= 40 else text[:37] + "..."
    return "`" + "".join(c if c.isprintable() else ascii(c)[1:-1] for c in shown) + "`"


_ESCAPE = re.compile(r"\\(?:([nrt0'\"\\])|x([0-7][0-9A-Fa-f])|u\{([0-9A-Fa-f][0-9A-Fa-f_]*)\})|[\\\r]")
_SIMPLE = {"n": "\n", "r": "\r", "t": "\t", "0": "\0", "'": "'", '"': '"', "\\": "\\"}


def unescape(token: Token) -> str:
    r"""Return the value of a string token.

    The escapes are those of a Rust string literal (Cedar reference, "Strings"): `\n`, `\r`, `\t`, `\0`,
    `\'`, `\"`, `\\`, `\x00` to `\x7F`, and `\u{…}` with one to six hexadecimal digits.

    Raises:
        SourceError: unknown escape, or a bare carriage return, which the engine refuses as well.
    """

    def value(match: re.Match[str]) -> str:
        simple, byte, code = match.groups()
        if simple:
            return _SIMPLE[simple]
        digits = byte or (code or "").replace("_", "")
        number = int(digits or "110000", 16)
        if len(digits) > 6 or number > 0x10FFFF or 0xD800 <= number <= 0xDFFF:
            raise SourceError(token.start + 1 + match.start(), _bad_escape(token.text, match))
        return chr(number)

    return _ESCAPE.sub(value, token.text[1:-1])


def _bad_escape(text: str, match: re.Match[str]) -> str:
    if match.group() == "\r":
        return "unexpected carriage return in a string: write `\\r`, or save the file with LF line ends"
    shown = match.group() if len(match.group()) > 1 else text[match.start() + 1 : match.start() + 3]
    return f'invalid escape {quoted(shown)}: write `\\\\` for a backslash, or one of `\\n \\t \\" \\x41 \\u{{41}}`'
