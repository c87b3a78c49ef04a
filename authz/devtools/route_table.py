"""The route table as text: each route as it was compiled, in the order in which the table prefers them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from authz.core.mapping import Template
from authz.core.routes import Route, RouteTable, Segment
from authz.devtools.route_explain import in_order


def as_json(route: Route) -> dict[str, Any]:
    """A route as it was compiled."""
    return {
        "name": route.name,
        "protocol": route.protocol,
        "methods": sorted(route.methods) if route.methods is not None else ["*"],
        "host": route.host,
        "path": path_of(route.segments),
        "action": str(route.action),
        "resource": f'{route.resource_type}::"{template_text(route.resource_id)}"',
        "authenticators": list(route.authenticators),
        "issuers": sorted(route.issuers),
        "anonymous": str(route.anonymous) if route.anonymous is not None else None,
        "fail_open": route.fail_open,
        "preflight": "pass" if route.preflight else "decide",
        "body": sorted(route.body.kinds) if route.body is not None else [],
        "file": route.file,
        "line": route.line,
    }


def format_table(table: RouteTable) -> str:
    """The table as text, with a line end at its end."""
    if not table.routes:
        return "there are no routes: every request is denied\n"
    head = ("NAME", "METHODS", "HOST", "PATH", "ACTION", "RESOURCE", "WHO", "FLAGS", "WRITTEN IN")
    rows = [head, *(_row(as_json(route)) for route in in_order(table.routes))]
    widths = [max(len(row[column]) for row in rows) for column in range(len(head))]
    lines = ("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows)
    return "\n".join(lines) + "\n"


def _row(route: Mapping[str, Any]) -> tuple[str, ...]:
    methods = "tcp" if route["protocol"] == "tcp" else ",".join(route["methods"])
    return (
        route["name"],
        methods,
        route["host"],
        route["path"],
        route["action"],
        route["resource"],
        " ".join(who(route)),
        " ".join(flags(route)) or "-",
        route["file"] + (f":{route['line']}" if route["line"] is not None else ""),
    )


def who(route: Mapping[str, Any]) -> Iterator[str]:
    """Whose credentials count, in words, of a route as `as_json` gives it."""
    yield ",".join(route["authenticators"]) or "any"
    if route["issuers"]:
        yield f"of {','.join(route['issuers'])}"
    if route["anonymous"] is not None:
        yield f"or {route['anonymous']}"


def flags(route: Mapping[str, Any]) -> Iterator[str]:
    """What is special about a route as `as_json` gives it."""
    if route["fail_open"]:
        yield "fail_open"
    if route["preflight"] == "pass":
        yield "preflight:pass"
    if route["body"]:
        yield f"body:{','.join(route['body'])}"


def path_of(segments: Iterable[Segment]) -> str:
    """A path template as it is written."""
    return "/" + "/".join(
        step.literal if step.literal is not None else f"{{{step.parameter}{'...' if step.rest else ''}}}"
        for step in segments
    )


def template_text(template: Template) -> str:
    """A template as it is written."""
    return "".join(part if isinstance(part, str) else f"{{{part.name}}}" for part in template.parts)
