"""docs/cli.md tells every command and argument of the command line, and no other."""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterator

import pytest

from authz import cli
from tests.docs.pages import CODE, rows, text_of

PAGE = "docs/cli.md"


def subparsers(parser: argparse.ArgumentParser) -> dict[str, argparse.ArgumentParser]:
    found: dict[str, argparse.ArgumentParser] = {}
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            found |= action.choices
    return found


COMMANDS = subparsers(cli._parser([cli.COMPLETION]))


def arguments(parser: argparse.ArgumentParser) -> Iterator[str]:
    """As the page writes them; those of a command's own commands too."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction | argparse._HelpAction):
            continue
        name = (
            "|".join(map(str, action.choices)) if action.choices is not None else action.metavar or action.dest.upper()
        )
        if not action.option_strings:
            yield str(name)
        for option in action.option_strings:
            yield option if action.nargs == 0 else f"{option} {name}"
    for inner in subparsers(parser).values():
        yield from arguments(inner)


def test_every_command_has_a_chapter_and_no_other() -> None:
    assert sorted(re.findall(r"^## authz (\S+)$", text_of(PAGE), re.MULTILINE)) == sorted(COMMANDS)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_argument_of_a_command_is_told_and_no_other(command: str) -> None:
    table = rows(PAGE, f"authz {command}", 2)
    told = [code for cells in table for code in CODE.findall(cells[0])]
    assert sorted(told) == sorted(set(arguments(COMMANDS[command])))
    assert all(cells[1] for cells in table)


def test_exit_codes_are_those_of_the_command_line() -> None:
    told = {int(cells[0]) for cells in rows(PAGE, "The command line", 1) if cells[0].isdecimal()}
    assert told == {cli.OK, cli.FAILED, cli.UNUSABLE, cli.INTERRUPTED}


def test_what_stands_in_the_examples_is_a_command() -> None:
    shown = re.findall(r"^ {4}(?:\w+ \| )?authz (\S+)", text_of(PAGE), re.MULTILINE)
    assert shown
    assert set(shown) <= set(COMMANDS)
