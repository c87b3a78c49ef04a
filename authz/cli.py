"""The command line.

Exit codes: 0 all well; 1 the thing asked for did not hold (a case failed, the demo's check failed); 2 what was
given cannot be used, and every problem is listed; 130 interrupted.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from authz.core.errors import Misconfigured, Problem

OK, FAILED, UNUSABLE, INTERRUPTED = 0, 1, 2, 130
DEFAULT_CONFIG = "authz.yaml"
COMPLETION = "completion"
"""The one command that needs the arguments of all."""
Command = Callable[[argparse.Namespace], int]
"""Runs a command; gives its exit code."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs a command and returns its exit code."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    parsed = _parser(given).parse_args(given)
    command: Command = parsed.run
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
    serve.add_argument("--workers", type=_workers, default=1, metavar="N", help="processes, at most 256; default: 1")
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
    parser.add_argument(
        "-c", "--config", type=Path, default=Path(DEFAULT_CONFIG), metavar="FILE", help="default: %(default)s"
    )


def _add_devtools(commands: argparse._SubParsersAction[argparse.ArgumentParser], wanted: str) -> None:
    """Developer tools are imported only when asked for: a server needs neither their memory nor their time."""
    for name, (text, add) in _DEVTOOLS.items():
        parser = commands.add_parser(name, help=text)
        if wanted in {name, COMPLETION}:
            parser.set_defaults(run=add(parser))


def _init(parser: argparse.ArgumentParser) -> Command:
    from authz.devtools.scaffold import add_init_arguments, main_init

    add_init_arguments(parser)
    return main_init


def _test(parser: argparse.ArgumentParser) -> Command:
    from authz.devtools.cases import add_test_arguments, main_test

    add_test_arguments(parser)
    return main_test


def _routes(parser: argparse.ArgumentParser) -> Command:
    from authz.devtools.route_report import add_routes_arguments, main_routes

    _add_config(parser)
    add_routes_arguments(parser)
    return main_routes


def _token(parser: argparse.ArgumentParser) -> Command:
    from authz.devtools.token_report import add_token_arguments, main_token

    _add_config(parser)
    add_token_arguments(parser)
    return main_token


def _key(parser: argparse.ArgumentParser) -> Command:
    from authz.devtools.api_key import add_key_arguments, main_key

    add_key_arguments(parser)
    return main_key


def _avp(parser: argparse.ArgumentParser) -> Command:
    from authz.devtools.avp.arguments import add_avp_arguments
    from authz.devtools.avp.command import main_avp

    add_avp_arguments(parser)
    return main_avp


def _demo(parser: argparse.ArgumentParser) -> Command:
    from authz.devtools.demo import add_demo_arguments, main_demo

    add_demo_arguments(parser)
    return main_demo


def _avp_local(parser: argparse.ArgumentParser) -> Command:
    from authz.devtools.avp_local import add_avp_local_arguments, main_avp_local

    add_avp_local_arguments(parser)
    return main_avp_local


def _completion(parser: argparse.ArgumentParser) -> Command:
    from authz.devtools.completion import add_completion_arguments, main_completion

    add_completion_arguments(parser)
    return lambda arguments: main_completion(arguments, _parser([COMPLETION]))


_DEVTOOLS: Mapping[str, tuple[str, Callable[[argparse.ArgumentParser], Command]]] = {
    "init": ("write a start: configuration, routes, policies and a case", _init),
    "test": ("run policy cases: request and claims, and what must come of them", _test),
    "routes": ("print the routes as they match, or which of them takes a request, and why", _routes),
    "token": ("verify one token, check by check", _token),
    "key": ("make an API key: shown once, and an entry with its hash for the file", _key),
    "avp": ("bring a folder of policies and a policy store of Verified Permissions to the same content", _avp),
    "demo": ("try it: a real Envoy, a sample service, an issuer, four requests", _demo),
    "avp-local": ("emulate Verified Permissions: a local endpoint for development and tests", _avp_local),
    COMPLETION: ("print a script for the shell's completion", _completion),
}


def _workers(text: str) -> int:
    if text.isascii() and text.isdecimal() and 1 <= int(text) <= 256:
        return int(text)
    raise argparse.ArgumentTypeError("expected a number from 1 to 256")


def _serve(arguments: argparse.Namespace) -> int:
    if arguments.workers > 1:
        from authz.wiring.supervisor import supervise

        return supervise(arguments.config, arguments.workers)
    from authz.wiring.serve import serve

    return serve(arguments.config)


def _check(arguments: argparse.Namespace) -> int:
    from authz.pdp.analysis import analyse
    from authz.wiring import assemble

    assembled = assemble(arguments.config, certificates=True)
    # Only here: what is doubtful stops nothing, so neither a start nor a reload waits for it.
    analysis = analyse(assembled.assembly.compiled) if assembled.assembly is not None else None
    problems = (*assembled.problems, *(analysis.problems if analysis is not None else ()))
    if arguments.json:
        print(json.dumps([_as_json(problem) for problem in problems], indent=2))
    else:
        _print_problems(problems)
    if assembled.assembly is None:
        return UNUSABLE
    if not arguments.json:
        compiled = assembled.assembly.compiled
        counts = f"{len(compiled.rows)} policies, {len(assembled.assembly.routes.routes)} routes"
        print(f"ok: {arguments.config}: {counts}, {len(compiled.entities)} entities, version {compiled.version}")
        if analysis is not None:
            print(analysis.unscoped)
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
