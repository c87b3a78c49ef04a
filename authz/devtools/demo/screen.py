"""What the demo prints: plain ASCII, every command on a line of its own, colour on a terminal only."""

from __future__ import annotations

import os
import shlex
import shutil
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TextIO

from authz.devtools.demo import scenario
from authz.devtools.demo.folder import DemoFolder
from authz.devtools.demo.scenario import Step

_CODES = {"bold": "1", "dim": "2", "red": "31", "green": "32", "cyan": "36"}


@dataclass(frozen=True, slots=True)
class Style:
    """Colour, or none."""

    colour: bool

    def __call__(self, text: str, *names: str) -> str:
        """`text` in the named styles."""
        if not self.colour or not names:
            return text
        return f"\x1b[{';'.join(_CODES[name] for name in names)}m{text}\x1b[0m"


def style_for(stream: TextIO = sys.stdout, environment: Mapping[str, str] = os.environ) -> Style:
    """Colour for a terminal that has it, unless NO_COLOR is set (no-color.org)."""
    return Style(stream.isatty() and not environment.get("NO_COLOR") and environment.get("TERM") != "dumb")


def curl_line(step: Step, folder: DemoFolder, port: int, environment: Mapping[str, str] = os.environ) -> str:
    """The request as a command to paste. The token stays in its file, off the screen and the process list."""
    words = ["curl", "-iw", r"\n"]
    if _is_proxied(environment):
        words += ["--noproxy", "*"]
    if step.person is not None:
        words += ["-H", f"@{folder.header(step.person)}"]
    if step.method != "GET":
        words += ["-X", step.method]
    return shlex.join([*words, f"http://{scenario.HOST}:{port}{step.path}"])


def _is_proxied(environment: Mapping[str, str]) -> bool:
    """Would curl ask a proxy for what is on this very machine?"""
    values = {name.lower(): value for name, value in environment.items()}
    if not values.get("http_proxy") and not values.get("all_proxy"):
        return False
    exempt = {name.strip() for name in values.get("no_proxy", "").split(",")}
    return not exempt & {"*", scenario.HOST}


def introduction(folder: DemoFolder, port: int, style: Style, *, door: str, kept: bool = False) -> str:
    """Everything that the demo says before it waits."""
    front = style(f"http://{scenario.HOST}:{port}", "bold")
    lines = [
        "",
        f"Envoy at {front} asks authz, over {door}, before a sample service sees a request.",
        "The policies are in a policy store of Amazon Verified Permissions, emulated here; authz has a replica of it.",
        f"Paste these lines into {style('another terminal', 'bold')}. The tokens last 12 hours.",
    ]
    if shutil.which("curl") is None:
        lines.append("(curl is not installed here; on Debian: apt install curl)")
    for step in scenario.STEPS:
        lines += ["", _heading(step, style), *_request(step, folder, port, style)]
    lines += [f"   {style(folder.edit_line, 'cyan')}", *_request(scenario.AFTER, folder, port, style)]
    lines += ["", *_places(folder, style, kept=kept)]
    return "\n".join(lines)


def _heading(step: Step, style: Style) -> str:
    return f"{style(f'{step.number}  {step.title}.', 'bold')} {step.story}"


def _request(step: Step, folder: DemoFolder, port: int, style: Style) -> list[str]:
    # The answer as a comment: whoever pastes too much runs nothing else.
    return [f"   {style(curl_line(step, folder, port), 'cyan')}", f"   {style(f'# {step.note}', 'dim')}"]


def _places(folder: DemoFolder, style: Style, *, kept: bool) -> list[str]:
    places = {
        "policies": f"{folder.policies}; {folder.push} brings them to the store",
        "settings": f"{folder.settings}, {folder.envoy_config.name}",
        "logs": f"{folder.log('authz')}, {folder.log('envoy').name}, {folder.log('store').name}",
        "decisions": f"tail -f {shlex.quote(str(folder.record))}",
    }
    rows = [f"{style(f'{name:<10}', 'bold')} {place}" for name, place in places.items()]
    end = "ends all of it" if kept else "ends all of it and removes the folder"
    return [*rows, "", f"{style('Ctrl-C', 'bold')} {end}. What authz says from here on:"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One judged request."""

    asked: str
    """Who was asked."""
    request: str
    expected: str
    got: str
    ok: bool


HEADINGS = ("asked", "request", "expected", "got")


def table(rows: Sequence[Row], style: Style) -> str:
    """The rows under headings, columns aligned, the verdict last."""
    cells = [(row.asked, row.request, row.expected, row.got) for row in rows]
    widths = [max(len(column[i]) for column in (HEADINGS, *cells)) for i in range(len(HEADINGS))]

    def aligned(texts: Sequence[str]) -> str:
        return "  ".join(text.ljust(width) for text, width in zip(texts, widths, strict=True))

    lines = [style(f"{aligned(HEADINGS)}  ok", "bold")]
    for row, texts in zip(rows, cells, strict=True):
        verdict = style("ok", "green") if row.ok else style("FAILED", "bold", "red")
        lines.append(f"{aligned(texts)}  {verdict}")
    return "\n".join(lines)
