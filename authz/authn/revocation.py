"""The deny list: tokens and subjects that no longer count, although their signature and dates are good.

One YAML (or JSON) file, read whole and swapped whole:

    jti: ["5f0c…"]                        # of any issuer
    subjects: ["auth0|1234"]              # claim `sub`
    issuers:
      https://login.example.com:          # of this issuer only
        jti: []
        subjects: ["u-17"]

An entry is a string in quotes, or unmistakable without: `0123` and `no` are refused, for YAML reads them as
something else. An empty file is refused too: it is what a write that was cut short leaves. The empty list is
written `{}`. Replace the file by renaming a new one over it: half a list reads like a short list.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Self, TypeAlias

import yaml

from authz.core.errors import Misconfigured, Problem

MAX_ENTRIES = 100_000
MAX_DEPTH = 8
"""Levels of nesting; a list needs four."""
_LISTS = frozenset({"jti", "subjects"})
_ANY = ""
_STRING = "tag:yaml.org,2002:str"
_NULL = "tag:yaml.org,2002:null"
# C where PyYAML was built with it: a hundred thousand entries take 0.2 s instead of 2.
_LOADER: type[yaml.SafeLoader | yaml.CSafeLoader] = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

_Entry: TypeAlias = tuple[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class DenyList:
    """What no longer counts. Entries are (issuer, value); the issuer is empty for any."""

    tokens: frozenset[_Entry] = field(default=frozenset(), repr=False)
    """Values of `jti`."""
    subjects: frozenset[_Entry] = field(default=frozenset(), repr=False)
    """Values of `sub`, or of the id claim where tokens have no `sub`."""

    def __len__(self) -> int:
        return len(self.tokens) + len(self.subjects)

    def denies(self, issuer: str, jti: str | None, subject: str) -> bool:
        """Is the token with this `jti`, or every token of this subject, denied?"""
        if (_ANY, subject) in self.subjects or (issuer, subject) in self.subjects:
            return True
        return jti is not None and ((_ANY, jti) in self.tokens or (issuer, jti) in self.tokens)

    @classmethod
    def parse(cls, text: str, *, file: str = "") -> Self:
        """The list that a file's text holds.

        Raises:
            Misconfigured: every problem found, with its line; unknown or repeated keys, what is no string.
        """
        reader = _Reader(file)
        try:
            _check_depth(text)
            root = yaml.compose(text, _LOADER)
        except (yaml.YAMLError, RecursionError) as error:
            raise Misconfigured((_unreadable(error, file),)) from None
        if root is None or root.tag == _NULL:
            empty = Problem(message="the deny list is empty; write `{}` for no entries", file=file)
            raise Misconfigured((empty,))
        reader.read(root)
        if len(reader.tokens) + len(reader.subjects) > MAX_ENTRIES:
            reader.complain(root, f"expected at most {MAX_ENTRIES} entries")
        if reader.problems:
            raise Misconfigured(tuple(reader.problems))
        return cls(tokens=frozenset(reader.tokens), subjects=frozenset(reader.subjects))


def _check_depth(text: str) -> None:
    """Looks at the events first: composing deep nesting overflows libyaml's stack and ends the process."""
    depth = 0
    for event in yaml.parse(text, _LOADER):
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
            if depth > MAX_DEPTH:
                raise yaml.YAMLError("nested too deeply")
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1


class _Reader:
    """Walks the document once and gathers entries and problems."""

    def __init__(self, file: str) -> None:
        self.file = file
        self.tokens: list[_Entry] = []
        self.subjects: list[_Entry] = []
        self.problems: list[Problem] = []

    def complain(self, node: yaml.Node, message: str) -> None:
        self.problems.append(Problem(message=message, file=self.file, line=node.start_mark.line + 1))

    def read(self, root: yaml.Node) -> None:
        for name, value in self._members(root):
            if name.value != "issuers":
                self._lists(name, value, _ANY)
                continue
            for issuer, lists in self._members(value):
                for inner, entries in self._members(lists):
                    self._lists(inner, entries, issuer.value)

    def _members(self, node: yaml.Node) -> Iterator[tuple[yaml.ScalarNode, yaml.Node]]:
        if not isinstance(node, yaml.MappingNode):
            self.complain(node, "expected names with values, like `jti: []`")
            return
        seen: set[str] = set()
        for key, value in node.value:
            if not _is_string(key) or not key.value:
                self.complain(key, "expected a name: a string that is not empty")
            elif key.value in seen:
                self.complain(key, f"`{key.value[:64]}` is there twice")
            else:
                seen.add(key.value)
                yield key, value

    def _lists(self, name: yaml.ScalarNode, node: yaml.Node, issuer: str) -> None:
        if name.value not in _LISTS:
            known = "`jti`, `subjects` or `issuers`" if issuer == _ANY else "`jti` or `subjects`"
            self.complain(name, f"`{name.value[:64]}` is not known here; expected {known}")
        elif not isinstance(node, yaml.SequenceNode):
            self.complain(node, f"expected `{name.value}` to be a list")
        else:
            entries = self.tokens if name.value == "jti" else self.subjects
            entries.extend((issuer, text) for text in self._strings(node))

    def _strings(self, node: yaml.SequenceNode) -> Iterator[str]:
        for item in node.value:
            if _is_string(item) and item.value:
                yield item.value
            else:
                self.complain(item, "expected a string that is not empty; write it in quotes")


def _is_string(node: yaml.Node) -> bool:
    return isinstance(node, yaml.ScalarNode) and node.tag == _STRING


def _unreadable(error: Exception, file: str) -> Problem:
    # PyYAML's own words quote the line, which holds who was denied.
    mark = getattr(error, "problem_mark", None)
    return Problem(message="expected YAML", file=file, line=mark.line + 1 if mark is not None else None)
