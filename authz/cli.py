"""The command line.

Exit codes: 0 all well; 1 the thing asked for did not hold (a case failed, the demo's check failed); 2 what was
given cannot be used, and every problem is listed; 130 interrupted.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from authz.core.errors import Misconfigured, Problem

OK, FAILED, UNUSABLE, INTERRUPTED = 0, 1, 2, 130
DEFAULT_CONFIG = "authz.yaml"


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs a command and returns its exit code."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    parsed = _parser(given).parse_args(given)
    command: Callable[[argparse.Namespace], int] = parsed.run
    try:
        return command(parsed)
    except Misconfigured as error:
        _print_problems(error.problems)
        return UNUSABLE
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        # Whoever read our output has gone (`authz check | head`); there is nobody left to tell.
        sys.stderr.close()
        return FAILED


class _Version(argparse.Action):
    """Prints the version and ends; looked up only when asked for."""

    def __init__(self, option_strings: Sequence[str], dest: str) -> None:
        super().__init__(option_strings, dest, nargs=0, help="print the version and end")

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        try:
            version = importlib.metadata.version("authz")
        except importlib.metadata.PackageNotFoundError:
            version = "(not installed: run from its source)"
        parser.exit(message=f"authz {version}\n")


def _parser(given: Sequence[str]) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="authz",
        description="Authorization sidecar and library: Cedar policies, enforced at the proxy or in the process.",
        epilog="Exit codes: 0 all well, 1 something did not hold, 2 what was given cannot be used.",
    )
    parser.add_argument("--version", action=_Version)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    serve = commands.add_parser("serve", help="answer proxies on the configured listeners")
    _add_config(serve)
    serve.set_defaults(run=_serve)
    check = commands.add_parser("check", help="check configuration, routes, schema, policies and entities together")
    _add_config(check)
    check.add_argument("--json", action="store_true", help="print the problems as JSON")
    check.set_defaults(run=_check)
    schema = commands.add_parser("schema", help="print the JSON Schema of authz.yaml, or of a routes file")
    schema.add_argument("which", nargs="?", choices=("authz", "routes"), default="authz")
    schema.set_defaults(run=_schema)
    _add_devtools(commands, next((word for word in given if not word.startswith("-")), ""))
    return parser


def _add_config(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("-c", "--config", type=Path, default=Path(DEFAULT_CONFIG), help="default: %(default)s")


def _add_devtools(commands: argparse._SubParsersAction[argparse.ArgumentParser], wanted: str) -> None:
    """Developer tools are imported only when asked for: a server needs neither their memory nor their time."""
    init = commands.add_parser("init", help="write a start: configuration, routes, policies and a case")
    test = commands.add_parser("test", help="run policy cases: request and claims, and what must come of them")
    demo = commands.add_parser("demo", help="try it: a real Envoy, a sample service, an issuer, four requests")
    if wanted == "init":
        from authz.devtools.scaffold import add_init_arguments, main_init

        add_init_arguments(init)
        init.set_defaults(run=main_init)
    elif wanted == "test":
        from authz.devtools.cases import add_test_arguments, main_test

        add_test_arguments(test)
        test.set_defaults(run=main_test)
    elif wanted == "demo":
        from authz.devtools.demo import add_demo_arguments, main_demo

        add_demo_arguments(demo)
        demo.set_defaults(run=main_demo)


def _serve(arguments: argparse.Namespace) -> int:
    from authz.wiring.serve import serve

    return serve(arguments.config)


def _check(arguments: argparse.Namespace) -> int:
    from authz.wiring import assemble

    assembled = assemble(arguments.config)
    if arguments.json:
        print(json.dumps([_as_json(problem) for problem in assembled.problems], indent=2))
    else:
        _print_problems(assembled.problems)
    if assembled.assembly is None:
        return UNUSABLE
    if not arguments.json:
        compiled = assembled.assembly.compiled
        counts = f"{len(compiled.snapshot.policies)} policies, {len(assembled.assembly.routes.routes)} routes"
        print(f"ok: {arguments.config}: {counts}, {len(compiled.entities)} entities, version {compiled.version}")
    return OK


def _schema(arguments: argparse.Namespace) -> int:
    from authz.config import json_schemas

    print(json.dumps(json_schemas()[f"{arguments.which}.schema.json"], indent=2))
    return OK


def _as_json(problem: Problem) -> dict[str, object]:
    return {
        "file": problem.file,
        "line": problem.line,
        "severity": problem.severity,
        "message": problem.message,
    }


def _print_problems(problems: Sequence[Problem]) -> None:
    for problem in problems:
        print(problem, file=sys.stderr)
    errors = sum(problem.severity == "error" for problem in problems)
    if errors:
        print(f"{errors} problem{'s' if errors > 1 else ''} found", file=sys.stderr)
