"""`authz init`: the start of a project, ready to be checked, tested and served.

The files are those in `start/`, as they are; nothing that exists is overwritten.
"""

from __future__ import annotations

import argparse
import shlex
import sys
from pathlib import Path

START = Path(__file__).resolve().parent / "start"
WRITTEN, REFUSED = 0, 2
"""Exit codes."""


class WouldOverwrite(Exception):
    """Files of the start exist already. Nothing was written."""

    def __init__(self, files: tuple[Path, ...]) -> None:
        super().__init__("these files exist already: " + ", ".join(f"`{file}`" for file in files))
        self.files = files


def start_files() -> tuple[Path, ...]:
    """The files of a start, relative to its folder."""
    return tuple(sorted(path.relative_to(START) for path in START.rglob("*") if path.is_file()))


def write_start(folder: Path) -> tuple[Path, ...]:
    """Writes the start into a folder, which is made if need be.

    Returns:
        The files written.

    Raises:
        WouldOverwrite: some exist; nothing was written.
        OSError: the folder or a file cannot be written.
    """
    files = {folder / name: (START / name).read_bytes() for name in start_files()}
    existing = tuple(file for file in files if file.exists() or file.is_symlink())
    if existing:
        raise WouldOverwrite(existing)
    for file, content in files.items():
        file.parent.mkdir(parents=True, exist_ok=True)
        with file.open("xb") as stream:  # never over a file that came meanwhile
            stream.write(content)
    return tuple(files)


def add_init_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of `authz init`."""
    parser.description = (
        "Writes a start: a complete, commented authz.yaml, a small application's schema, policies, entities and "
        "routes, and cases that hold. Existing files are never overwritten: then nothing is written (exit code 2)."
    )
    parser.add_argument("folder", nargs="?", type=Path, default=Path(), metavar="FOLDER", help="where (default: here)")


def main_init(arguments: argparse.Namespace) -> int:
    """`authz init`: writes the start, and says what to do next."""
    folder: Path = arguments.folder
    try:
        files = write_start(folder)
    except WouldOverwrite as refusal:
        listed = "\n".join(f"  {file}" for file in refusal.files)
        print(f"authz init: nothing was written, for these files exist already:\n{listed}", file=sys.stderr)
        return REFUSED
    except OSError as error:
        print(f"authz init: `{error.filename}` cannot be written: {error.strerror}", file=sys.stderr)
        return REFUSED
    print("written:")
    print("\n".join(f"  {file}" for file in files))
    print(_next_steps(folder))
    return WRITTEN


def _next_steps(folder: Path) -> str:
    enter = [] if folder.resolve() == Path.cwd() else [f"  cd {shlex.quote(str(folder))}"]
    steps = [
        *enter,
        "  authz check     is all of it right? Tells every problem with its file and line",
        "  authz test      do the cases in policies/app/cases hold?",
        "  authz serve     answers the proxies at 127.0.0.1:9191",
    ]
    advice = "In authz.yaml, put your issuer and audience in the place of https://login.example.com and app-api."
    return "\nnext:\n" + "\n".join(steps) + f"\n\n{advice}"
