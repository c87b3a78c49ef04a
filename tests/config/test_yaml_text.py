"""YAML without its traps, with lines, and with secrets from elsewhere."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from authz.config.yaml_text import Document, parse_document, read_document


def read(text, tmp_path, **environment):
    document = Document(file="f.yaml")
    parse_document(text, document, tmp_path, environment)
    return document


def test_values_and_their_lines(tmp_path):
    document = read("a: 1\nb:\n  - x\n  - {c: true}\nd: null\ne: '5'\nf: 2026-01-01\ng: 1.5\n", tmp_path)
    assert document.problems == []
    assert document.data == {"a": 1, "b": ["x", {"c": True}], "d": None, "e": "5", "f": "2026-01-01", "g": 1.5}
    assert document.line(("b", 1, "c")) == 4
    assert document.line(("b", 1, "c", "deeper")) == 4
    assert document.line(()) == 1


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        ("a: 1\nb: 2\na: 3\n", 3, "the key `a` stands twice; the first is in line 1"),
        ("x:\n  a: 1\n  a: 1\n", 3, "stands twice"),
        ("a: 1\nb: yes\n", 2, "`yes` is ambiguous; write `true` or `false`"),
        ("a: no\n", 1, "ambiguous"),
        ("a: on\n", 1, "ambiguous"),
        ("a: Off\n", 1, "ambiguous"),
        ("a: True\n", 1, "ambiguous"),
        ("on: 1\n", 1, "the key `on` is not text"),
        ("null: 1\n", 1, "the key `null` is not text"),
        ("? [a]\n: 1\n", 1, "is not text"),
        ("a: 010\n", 1, "ambiguous in YAML"),
        ("a: 1:30\n", 1, "ambiguous in YAML"),
        ("a: 0x1F\n", 1, "ambiguous in YAML"),
        ("a: .inf\n", 1, "ambiguous in YAML"),
        ("a: 1e3\n", None, None),
        ("a: [1, 2\n", 2, "not valid YAML"),
        ("a: {path: /d/{id}}\n", 1, "needs quotes"),
        ("a: 1\n\tb: 2\n", 2, "not valid YAML"),
        ("", 1, "the file is empty"),
        ("a: ${env:NONE}\n", 1, "the environment variable `NONE` is not set"),
        ("a: ${env:1X}\n", 1, "is no name of an environment variable"),
        ("a: ${file:none}\n", 1, "the file `none` cannot be read"),
        ("a: ${HOME}\n", 1, "expected `${env:NAME}` or `${file:PATH}`"),
        ("a: &x 1\nb: *x\n", None, None),
        ("a: 1\n---\nb: 2\n", 2, "not valid YAML"),
    ],
)
def test_what_is_wrong_is_told_with_its_line(text, line, message, tmp_path):
    document = read(text, tmp_path)
    if message is None:
        assert document.problems == []
        return
    assert any(message in p.message and p.line == line for p in document.problems), document.problems


def test_environment_and_files_are_filled_in(tmp_path):
    (tmp_path / "secret").write_text("s3cret\n")
    document = read("a: ${env:NAME}\nb: 'x-${env:NAME}-${file:secret}'\nc: $${env:NAME}\n", tmp_path, NAME="yes")
    assert document.problems == []
    assert document.data == {"a": "yes", "b": "x-yes-s3cret", "c": "${env:NAME}"}
    assert document.secrets == {str(tmp_path / "secret")}


def test_what_is_filled_in_is_not_filled_in_again(tmp_path):
    document = read("a: ${env:NAME}\n", tmp_path, NAME="${env:OTHER}", OTHER="x")
    assert document.data == {"a": "${env:OTHER}"}


def test_bombs_are_refused(tmp_path):
    bomb = "a: &a [x,x,x,x,x,x,x,x,x,x]\n" + "\n".join(
        f"{name}: &{name} [{','.join(['*' + before] * 10)}]"
        for before, name in zip("abcdefgh", "bcdefghi", strict=True)
    )
    document = read(bomb, tmp_path)
    assert any("more than" in problem.message for problem in document.problems)
    deep = read("a: " + "[" * 200 + "]" * 200, tmp_path)
    assert any("nested deeper" in problem.message for problem in deep.problems)
    assert read("[" * 100_000, tmp_path).problems


@pytest.mark.parametrize("content", [b"\xff\xfe", b"a: \x00"])
def test_files_that_are_no_text(tmp_path, content):
    path = tmp_path / "f.yaml"
    path.write_bytes(content)
    assert read_document(path).problems


def test_missing_files(tmp_path):
    (problem,) = read_document(tmp_path / "none.yaml").problems
    assert "cannot be read" in problem.message


@given(st.text(max_size=60))
def test_any_text_is_data_or_problems(text):
    from pathlib import Path

    document = Document(file="f")
    parse_document(text, document, Path(), {})
    assert document.problems or document.data is None or document.data is not None
