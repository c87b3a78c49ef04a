"""`authz completion`: a script by which a shell completes commands, options and files."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

SHELLS = ("bash", "zsh", "tcsh", "fish")
"""fish needs a newer `shtab` than the others."""
WRITTEN, UNUSABLE = 0, 2


def add_completion_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of `authz completion`."""
    parser.description = (
        "Prints a script for a shell. bash: write it to ~/.local/share/bash-completion/completions/authz; "
        "zsh: to a file `_authz` in a folder of $fpath; fish: to ~/.config/fish/completions/authz.fish; "
        "tcsh: to a file, and source that in ~/.tcshrc."
    )
    parser.add_argument("shell", choices=SHELLS, help="for which shell")


def main_completion(arguments: argparse.Namespace, whole: argparse.ArgumentParser) -> int:
    """Prints the script for the whole command line, gives the exit code."""
    try:
        text = script(whole, arguments.shell)
    except ValueError as error:
        print(f"authz completion: {error}", file=sys.stderr)
        return UNUSABLE
    print(text)
    return WRITTEN


def script(parser: argparse.ArgumentParser, shell: str) -> str:
    """The script for a shell, over every command and option of a parser.

    Raises:
        ValueError: the installed `shtab` does not know the shell.
    """
    import shtab

    if shell not in shtab.SUPPORTED_SHELLS:
        known = ", ".join(shtab.SUPPORTED_SHELLS)
        raise ValueError(f"the installed shtab has no completion for {shell}, only for {known}; a newer one may")
    _mark(parser, file=shtab.FILE, folder=shtab.DIRECTORY)
    text: str = shtab.complete(parser, shell)
    return text


def _mark(parser: argparse.ArgumentParser, *, file: object, folder: object) -> None:
    """Says of each argument that is a path that it is one. By its type and metavar, so that none is forgotten."""
    for action in parser._actions:  # noqa: SLF001 - argparse has no public way; shtab does the same
        if isinstance(action, argparse._SubParsersAction):  # noqa: SLF001
            for command in action.choices.values():
                _mark(command, file=file, folder=folder)
        elif action.metavar == "FOLDER":
            action.complete = folder  # type: ignore[attr-defined]
        elif action.type is Path or action.metavar == "FILE":
            action.complete = file  # type: ignore[attr-defined]
