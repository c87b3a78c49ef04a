"""YAML read strictly, with the line of every value, and `${env:NAME}` and `${file:PATH}` filled in.

YAML 1.1 has traps that have no place where security is configured: a repeated key silently wins, `no` is false,
`010` is eight and `1:30` is ninety. All of these are refused with the line and with what to write instead.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from authz.core.errors import Problem

Place = tuple[str | int, ...]
"""The way to a value: keys and positions."""

MAX_TEXT = 4 * 1024 * 1024
MAX_NODES = 200_000
MAX_DEPTH = 50
MAX_SECRET = 65_536
_INTEGER = re.compile(r"-?(?:0|[1-9][0-9]*)")
_FLOAT = re.compile(r"-?(?:0|[1-9][0-9]*)\.[0-9]+")
_VARIABLE = re.compile(r"\$\$\{|\$\{(env|file):([^}]*)\}|\$\{")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_UNFIT = re.compile("[\0\ud800-\udfff]")


@dataclass(slots=True)
class Document:
    """A parsed file: plain data, and where each value stands."""

    file: str
    data: Any = None
    lines: dict[Place, int] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)
    secrets: set[str] = field(default_factory=set)
    """Files that were read for `${file:…}`; a change of one is a change of the configuration."""

    def line(self, place: Place) -> int | None:
        """The line of a value, or of the nearest thing around it."""
        known = [step for step in place if isinstance(step, str | int)]
        while known:
            if tuple(known) in self.lines:
                return self.lines[tuple(known)]
            known.pop()
        return self.lines.get(())

    def problem(self, place: Place, message: str) -> None:
        """Notes a problem at a value's place."""
        self.problems.append(Problem(message=message, file=self.file, line=self.line(place)))


def read_document(path: Path, environment: Mapping[str, str] | None = None) -> Document:
    """A file's content. What is wrong with it is in `problems`; nothing is raised."""
    document = Document(file=str(path))
    try:
        with path.open("rb") as stream:
            data = stream.read(MAX_TEXT + 1)
        if len(data) > MAX_TEXT:
            document.problem((), f"the file is larger than {MAX_TEXT} bytes")
            return document
        text = data.decode("utf-8-sig")
    except OSError as error:
        document.problem((), f"the file cannot be read: {error.strerror}")
        return document
    except UnicodeDecodeError as error:
        document.problem((), f"the file is not UTF-8 at byte {error.start}")
        return document
    parse_document(text, document, path.parent, os.environ if environment is None else environment)
    return document


def parse_document(text: str, document: Document, folder: Path, environment: Mapping[str, str]) -> None:
    """Fills `document` from text; `folder` is what `${file:…}` is relative to."""
    try:
        # Not CSafeLoader, though ten times faster: deep nesting overflows its stack and ends the process.
        node = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.MarkedYAMLError as error:
        _syntax_problem(document, error)
        return
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        document.problems.append(Problem(message=f"not valid YAML: {str(error)[:200]}", file=document.file))
        return
    if node is None:
        document.problems.append(Problem(message="the file is empty", file=document.file, line=1))
        return
    reader = _Reader(document, folder, environment)
    document.data = reader.value(node, ())


def _syntax_problem(document: Document, error: yaml.MarkedYAMLError) -> None:
    line = error.problem_mark.line + 1 if error.problem_mark is not None else None
    hint = ""
    if error.problem and ("'{'" in error.problem or "flow mapping" in f"{error.context}{error.problem}"):
        hint = '; a value with braces inside `{…}` needs quotes, such as `path: "/documents/{id}"`'
    # `*…` where text was meant is an alias to YAML, and its words would quote what may be a password.
    told = "found an alias without its anchor; put text in quotes" if "alias" in str(error.problem) else error.problem
    document.problems.append(
        Problem(message=f"not valid YAML: {told or error.context}{hint}", file=document.file, line=line)
    )


class _Reader:
    def __init__(self, document: Document, folder: Path, environment: Mapping[str, str]) -> None:
        self.document = document
        self.folder = folder
        self.environment = environment
        self.nodes = 0

    def value(self, node: yaml.Node, place: Place) -> Any:
        """Plain data for a node. Aliases are followed; the count of nodes bounds what they may grow to."""
        self.document.lines[place] = node.start_mark.line + 1
        self.nodes += 1
        if self.nodes > MAX_NODES or len(place) > MAX_DEPTH:
            if self.nodes <= MAX_NODES + 1:
                self.document.problem(place, f"more than {MAX_NODES} values, or nested deeper than {MAX_DEPTH}")
            return None
        if isinstance(node, yaml.MappingNode):
            return self._mapping(node, place)
        if isinstance(node, yaml.SequenceNode):
            return [self.value(item, (*place, index)) for index, item in enumerate(node.value)]
        return self._scalar(node, place) if isinstance(node, yaml.ScalarNode) else None

    def _mapping(self, node: yaml.MappingNode, place: Place) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for key_node, value_node in node.value:
            key = key_node.value
            line = key_node.start_mark.line + 1
            if not isinstance(key_node, yaml.ScalarNode) or (
                key_node.style is None and key_node.tag not in {"tag:yaml.org,2002:str", "tag:yaml.org,2002:int"}
            ):
                shown = key if isinstance(key, str) else "…"
                self._problem(line, f"the key `{shown[:40]}` is not text; put it in quotes")
                continue
            if key in found:
                first = self.document.lines.get((*place, key))
                self._problem(line, f"the key `{key[:60]}` stands twice; the first is in line {first}")
                continue
            found[key] = self.value(value_node, (*place, key))
            self.document.lines[(*place, key)] = line
        return found

    def _problem(self, line: int, message: str) -> None:
        self.document.problems.append(Problem(message=message, file=self.document.file, line=line))

    def _scalar(self, node: yaml.ScalarNode, place: Place) -> Any:
        text: str = node.value
        if _UNFIT.search(text):
            self.document.problem(place, "the text has a NUL or a lone surrogate, which no name or value may have")
            return None
        if node.style or node.tag == "tag:yaml.org,2002:str":
            return self._filled(text, place)
        kind = node.tag.rsplit(":", 1)[-1]
        if kind == "null":
            return None
        if kind == "bool":
            if text in {"true", "false"}:
                return text == "true"
            self.document.problem(place, f"`{text}` is ambiguous; write `true` or `false`, or put text in quotes")
            return None
        if kind == "int" and _INTEGER.fullmatch(text):
            return int(text) if len(text) < 20 else text
        if kind == "float" and _FLOAT.fullmatch(text):
            return float(text)
        if kind == "timestamp":
            return text
        self.document.problem(place, f"`{text[:40]}` is ambiguous in YAML; put it in quotes, or write a plain number")
        return None

    def _filled(self, text: str, place: Place) -> str:
        if "${" not in text:
            return text
        return _VARIABLE.sub(lambda match: self._variable(match, place), text)

    def _variable(self, match: re.Match[str], place: Place) -> str:
        if match[0] == "$${":
            return "${"
        kind, name = match[1], match[2]
        if kind == "env":
            return self._environment(name, place)
        if kind == "file":
            return self._file(name, place)
        self.document.problem(place, "expected `${env:NAME}` or `${file:PATH}`; write `$${` for a plain `${`")
        return ""

    def _environment(self, name: str, place: Place) -> str:
        if _NAME.fullmatch(name) is None:
            self.document.problem(place, f"`{name[:60]}` is no name of an environment variable")
            return ""
        value = self.environment.get(name)
        if value is None:
            self.document.problem(place, f"the environment variable `{name}` is not set")
            return ""
        return value

    def _file(self, name: str, place: Place) -> str:
        path = self.folder / name
        try:
            self.document.secrets.add(str(path))
            with path.open("rb") as stream:  # never more than counts: `/dev/zero` has no end
                data = stream.read(MAX_SECRET + 1)
            if len(data) > MAX_SECRET:
                self.document.problem(place, f"the file `{name[:200]}` is larger than {MAX_SECRET} bytes")
                return ""
            return data.decode("utf-8").rstrip("\r\n")
        except OSError as error:
            self.document.problem(place, f"the file `{name[:200]}` cannot be read: {error.strerror}")
        except (UnicodeDecodeError, ValueError):
            self.document.problem(place, f"the file `{name[:200]}` is not UTF-8 text")
        return ""
