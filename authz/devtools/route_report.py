"""`authz routes`: the table as it will match, or which route takes a request, and why no other does."""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from authz.core.connections import canonical_connection
from authz.core.errors import Misconfigured, Reason, RequestRefused
from authz.core.model import Headers, Peer, Request
from authz.core.request import STRICT, PathRules, canonical_request
from authz.core.routes import Route, RouteTable
from authz.devtools.route_explain import Explanation, explain, in_order
from authz.devtools.route_table import as_json, flags, format_table, who
from authz.devtools.urls import split_url

OK, NONE, UNUSABLE = 0, 1, 2
"""Exit codes: a table was printed, or a route takes the request; none does; what was given cannot be used."""
_CONNECTION = re.compile(r"tcp://(.+):([0-9]{1,5})")
_ADDRESS = re.compile(r"\[[0-9A-Fa-f:.]+\]|[0-9.]+")
_WEB = ("http://", "https://", "/")


class BadQuestion(Exception):
    """The arguments ask nothing that a route could answer."""


def add_routes_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of `authz routes`, but for `--config`."""
    parser.description = (
        "Prints the routes as they will match, narrowest first. With METHOD and URL: which route takes that request, "
        "with its path parameters, and for each other route why it does not. Exit code 0: a route takes it; "
        "1: none does, or the request is refused; 2: the configuration, or what was asked, cannot be used."
    )
    parser.add_argument("method", nargs="?", metavar="METHOD", help="such as GET")
    parser.add_argument(
        "url", nargs="?", metavar="URL", help="http://HOST/PATH?QUERY, or /PATH; or tcp://HOST:PORT without a METHOD"
    )
    parser.add_argument("--host", default="localhost", help="the host of a URL that is a path (default: %(default)s)")
    parser.add_argument(
        "-H", "--header", action="append", default=[], metavar="'NAME: VALUE'", help="a header of the request"
    )
    parser.add_argument("--json", action="store_true", help="print JSON")


def main_routes(arguments: argparse.Namespace) -> int:
    """`authz routes`: prints the answer, gives the exit code. Raises Misconfigured for an unusable configuration."""
    table, rules = load_table(arguments.config)
    if arguments.method is None:
        print(
            json.dumps([as_json(route) for route in in_order(table.routes)], indent=2)
            if arguments.json
            else format_table(table),
            end="\n" if arguments.json else "",
        )
        return OK
    try:
        request = asked(arguments.method, arguments.url, host=arguments.host, headers=arguments.header, rules=rules)
    except BadQuestion as error:
        print(f"authz routes: {error}", file=sys.stderr)
        return UNUSABLE
    except RequestRefused as error:
        print(_refused_json(error) if arguments.json else format_refusal(error))
        return NONE
    found = explain(table, request)
    print(json.dumps(explanation_json(found), indent=2) if arguments.json else format_explanation(found))
    return OK if found.outcome in {"taken", "preflight"} else NONE


def load_table(config: Path) -> tuple[RouteTable, PathRules]:
    """The routes of a configuration, and how it reads paths. Policies, schema and issuers are not read.

    Raises:
        Misconfigured: with every problem of the configuration and its routes.
    """
    from authz.config.load import load_config
    from authz.core.route_compiler import compile_routes

    loaded = load_config(config)
    table, problems = compile_routes(loaded.config.routes if loaded.config is not None else ())
    wrong = [problem for problem in (*loaded.problems, *problems) if problem.severity == "error"]
    if wrong or loaded.config is None:
        raise Misconfigured(tuple(dict.fromkeys(wrong)))
    return table, PathRules(**loaded.config.shape.paths.model_dump())


# --- the question -----------------------------------------------------------------------------------------


def asked(
    method: str, url: str | None, *, host: str = "localhost", headers: Sequence[str] = (), rules: PathRules = STRICT
) -> Request:
    """The request as a door would build it for a trusted proxy.

    Raises:
        BadQuestion: the arguments do not name a request or a connection.
        RequestRefused: as `canonical_request` does.
    """
    if url is None and (method.startswith((*_WEB, "tcp://"))):
        method, url = "GET", method
    elif url is not None and url.startswith("tcp://"):
        raise BadQuestion("a connection has no method; write only `authz routes tcp://HOST:PORT`")
    if url is None:
        raise BadQuestion(f"`{method[:60]}` needs a URL: `authz routes GET https://api.example/things/7`")
    if url.startswith("tcp://"):
        return _connection(url)
    if not url.startswith(_WEB):
        raise BadQuestion(f"`{url[:60]}` is no URL; expected http://HOST/PATH, https://HOST/PATH or /PATH")
    scheme, authority, target = split_url(url)
    return canonical_request(
        id="routes",
        method=method,
        scheme=scheme,
        host=host if url.startswith("/") else authority,
        target=target,
        headers=Headers(_header(line) for line in headers),
        peer=Peer(trusted=True),
        rules=rules,
    )


def _header(line: str) -> tuple[str, str]:
    name, colon, value = line.partition(":")
    if not colon or not name.strip():
        raise BadQuestion("a header is written `-H 'Name: value'`")
    return name.strip(), value.strip()


def _connection(url: str) -> Request:
    match = _CONNECTION.fullmatch(url)
    if match is None or not 0 < int(match[2]) < 65_536:
        raise BadQuestion("expected tcp://HOST:PORT, such as tcp://db.example:5432")
    # Without a server name the host is the destination's address; an address is none (RFC 6066, 3).
    address = match[1].strip("[]") if _ADDRESS.fullmatch(match[1]) is not None else ""
    name = "" if address else match[1]
    return canonical_connection(
        id="routes", address=address, port=int(match[2]), server_name=name, peer=Peer(trusted=True)
    )


# --- the answer -------------------------------------------------------------------------------------------


def explanation_json(found: Explanation) -> dict[str, Any]:
    """The answer for programs."""
    request = found.request
    told: dict[str, Any] = {
        "request": {
            "protocol": request.protocol,
            "method": request.method,
            "host": request.host,
            "path": request.path.text,
        },
        "outcome": found.outcome,
        "reason": _reason(found),
        "route": as_json(found.route) if found.route is not None else None,
        "parameters": dict(found.parameters),
        "notes": list(found.notes),
        "others": [
            {
                "name": other.route.name,
                "reasons": [
                    {"kind": step.kind, "segment": step.segment, "text": step.text} for step in other.obstacles
                ],
            }
            for other in found.others
        ],
    }
    return told


def format_explanation(found: Explanation) -> str:
    """The answer for people."""
    request = found.request
    what = f"tcp to {request.host}" if request.protocol == "tcp" else f"{request.method} {request.host}"
    lines = [f"{what}  {request.path.text}", *found.notes]
    if found.route is None:
        lines.append("no route takes it: denied (no_route)")
    else:
        lines += _taken(found, found.route)
    if found.others:
        lines += ["", "nearest first:" if found.route is None else "the others:"]
        width = max(len(other.route.name) for other in found.others)
        lines += [
            f"  {other.route.name:<{width}}  {'; '.join(step.text for step in other.obstacles)}"
            for other in found.others
        ]
    return "\n".join(lines)


def _taken(found: Explanation, route: Route) -> Iterator[str]:
    told = as_json(route)
    place = route.file + (f":{route.line}" if route.line is not None else "")
    said = {"taken": "taken by", "preflight": "passes by", "refused": "taken, and then refused, by", "none": ""}
    yield f"{said[found.outcome]} `{route.name}`  {','.join(told['methods'])} {route.host} {told['path']}  ({place})"
    if found.refusal is not None:
        yield f"  {found.refusal.reason}: {found.refusal.detail}"
    for name, value in found.parameters.items():
        yield f"  {name} = {value}"
    if found.outcome == "taken":
        yield f"  asks {told['action']} on {told['resource']}"
        yield f"  caller: {' '.join(who(told))}" + "".join(f", {flag}" for flag in flags(told))


def _reason(found: Explanation) -> str | None:
    if found.refusal is not None:
        return found.refusal.reason
    return Reason.NO_ROUTE if found.outcome == "none" else None


def format_refusal(error: RequestRefused) -> str:
    """A request that cannot be read in one way, for people."""
    return f"refused before any route is looked for: {error.reason}: {error.detail}"


def _refused_json(error: RequestRefused) -> str:
    told: dict[str, Any] = {
        "outcome": "refused",
        "reason": error.reason,
        "detail": error.detail,
        "route": None,
        "others": [],
    }
    return json.dumps(told, indent=2)
