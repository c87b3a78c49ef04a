"""`authz test`: golden cases, each through the whole pipeline, as a request that came through a door.

Nothing is stubbed but the issuers' keys: a token is signed for each case by a key of the run, verified, mapped
and decided on the terms of the configuration. The runner itself (`case_run`) is imported when it is used, for
every command reads this module.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from authz.core.errors import Problem
from authz.devtools.case_report import UNREADABLE, Report, format_report

__all__ = ["Report", "add_test_arguments", "format_report", "main_test", "run_cases"]

CONFIG_FILE = "authz.yaml"


async def run_cases(paths: Sequence[Path], *, config: Path | None = None) -> Report:
    """Runs case files, or the cases of folders.

    Args:
        paths: case files or folders; a folder stands for the files in its `cases`. None, with a `config`:
            the cases of its policies' folder.
        config: the `authz.yaml` to run them against; None: each path is, or is in, a folder with `routes.yaml`,
            policies and schema, and is run against these.

    Returns:
        The results; or, where anything could not be read, every problem, and no results.
    """
    from authz.devtools.case_run import run

    return await run(paths, config)


def add_test_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of `authz test`."""
    parser.description = (
        "Runs cases: each is a request with a token, sent through the whole pipeline, and the outcome that must "
        "follow. Exit code 0: all passed; 1: a case failed; 2: something could not be read, and nothing was run."
    )
    parser.add_argument(
        "paths",
        nargs="*",
        type=Path,
        metavar="PATH",
        help="a case file, or a folder: its `cases/*.yaml` (default: those of the configuration's policies)",
    )
    parser.add_argument(
        "-c",
        "--config",
        type=Path,
        metavar="FILE",
        help=f"run against this configuration (default: {CONFIG_FILE} here, unless PATH is another application)",
    )
    parser.add_argument(
        "--require-coverage",
        action="store_true",
        help="fail where a policy decided no case, or a route covered none",
    )
    parser.add_argument(
        "--junit",
        metavar="FILE",
        help="also write the report as JUnit XML; `-`: to standard output, and the text to standard error",
    )


def main_test(arguments: argparse.Namespace) -> int:
    """`authz test`: prints the report, gives the exit code."""
    from authz.devtools.case_target import default_config

    config = arguments.config or default_config(arguments.paths, Path(CONFIG_FILE))
    required, xml = arguments.require_coverage, arguments.junit
    if config is None and not arguments.paths:
        text = f"there is no {CONFIG_FILE} here; name one with --config, or a folder"
        print(f"authz test: {text}", file=sys.stderr)
        _write_junit(xml, Report(problems=(Problem(message=text),)), required=required)
        return UNREADABLE
    report = asyncio.run(run_cases(arguments.paths, config=config))
    stream = sys.stderr if report.unreadable or xml == "-" else sys.stdout
    color = stream.isatty() and "NO_COLOR" not in os.environ
    print(format_report(report, color=color, require_coverage=required), end="", file=stream)
    written = _write_junit(xml, report, required=required)
    return report.exit_code(require_coverage=required) if written else UNREADABLE


def _write_junit(file: str | None, report: Report, *, required: bool) -> bool:
    """Was it written, where it was asked for? A report that a build waits for must not be missing quietly."""
    if file is None:
        return True
    from authz.devtools.case_junit import junit, write_whole

    content = junit(report, require_coverage=required)
    try:
        if file == "-":
            sys.stdout.buffer.write(content)
            sys.stdout.buffer.flush()
        else:
            write_whole(Path(file), content)
    except BrokenPipeError:
        raise
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else "no file has such a name"
        print(f"authz test: --junit: `{file}` cannot be written: {why}", file=sys.stderr)
        return False
    return True
