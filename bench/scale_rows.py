"""What the figures of `scale` amount to: rows, a table of decisions a second, and the plot."""

from __future__ import annotations

import asyncio
import json
import statistics
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from bench.rows import Row, at_most, figure, row
from bench.scale import ENGINE, LIMIT, OURS, PEERS, Point, Say, module, output

BENCH = "scale"

RATE = "decisions a second"
_UNFINISHED = "not finished"
_ONCE = {"anywhere": "any user and document, drawn anew", "cold": "a document that nobody has asked for"}
_BARS = ((10_000, 1.5), (100_000, 2.0))
COLD_LIMIT = 1_000.0
"""Microseconds."""


def rows(points: Sequence[Point]) -> list[Row]:
    """The bars first, then every contender at every size."""
    found = _judged({one.size: one for one in points if one.name == OURS})
    engine = {one.size: one for one in points if one.name == ENGINE}
    for one in points:
        found += _figures(one, engine.get(one.size))
    return found


def _judged(ours: Mapping[int, Point]) -> list[Row]:
    found = []
    smallest = ours.get(10)
    for size, limit in _BARS:
        one = ours.get(size)
        if one is not None and smallest is not None and one.rounds and len(one.rounds) == len(smallest.rounds):
            name = f"authz: a decision, {size:,} policies"
            mine, least = _of(one, "median"), _of(smallest, "median")
            found.append(row(BENCH, name, "µs", mine, against=least, name="10 policies", bar=at_most(limit)))
    for size, one in ours.items():
        for kind, words in _ONCE.items():
            for what in ("median", "p99"):
                if kind in one.once:
                    judged = kind == "cold" and what == "median" and size in dict(_BARS)
                    name = f"authz: {words}, {size:,} policies: {what}"
                    bar = at_most(COLD_LIMIT) if judged else None
                    found.append(row(BENCH, name, "µs", [one.once[kind][what]], bar=bar))
    return found


def _figures(one: Point, engine: Point | None) -> list[Row]:
    where = f"{one.name}, {one.size:,} policies"
    if not one.rounds:
        what = "loading" if one.ready is None else "deciding"
        return [row(BENCH, f"{where}: ended while {what}, {_UNFINISHED}", "s", [one.stopped or 0.0])]
    found = [row(BENCH, f"{where}: {RATE}", "1/s", _of(one, "rate"))]
    mine = _of(one, "median")
    if engine is None or one.name == ENGINE or len(engine.rounds) != len(one.rounds):
        found.append(row(BENCH, f"{where}: a decision", "µs", mine))
    else:
        against = _of(engine, "median")
        found.append(row(BENCH, f"{where}: a decision", "µs", mine, against=against, name=ENGINE))
    for what, words in (("engine", "in its engine, as its metrics say"), ("cpu", "processor time of its process")):
        if what in one.rounds[0]:
            found.append(row(BENCH, f"{where}: {words}", "µs", _of(one, what)))
    if one.ready is not None:
        found.append(row(BENCH, f"{where}: loaded", "s", [one.ready]))
    return found


def _of(one: Point, what: str) -> list[float]:
    return [each[what] for each in one.rounds]


# --- for people --------------------------------------------------------------------------------------------


def table(found: Sequence[Row]) -> str:
    """Decisions a second, contenders by sizes, from the rows of this bench; empty where there are none."""
    cells: dict[str, dict[str, str]] = {}
    for one in found:
        where, _, what = one.metric.partition(" policies: ")
        name, _, size = where.rpartition(", ")
        if one.bench == BENCH and what == RATE:
            cells.setdefault(name, {})[size] = figure(one.ours)
        elif one.bench == BENCH and what.endswith(_UNFINISHED):
            cells.setdefault(name, {})[size] = f"{_UNFINISHED} in {one.ours:.0f} s"
    if not cells:
        return ""
    sizes = sorted({size for sizes in cells.values() for size in sizes}, key=lambda size: int(size.replace(",", "")))
    lines = [["decisions a second, by policies", *sizes]]
    lines += [[name, *(found.get(size, "") for size in sizes)] for name, found in cells.items()]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    lines.insert(1, ["-" * width for width in widths])
    texts = (" | ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) for line in lines)
    return "\n".join(f"| {text} |" for text in texts) + "\n"


def told(found: Sequence[Row], *, plot: str = "") -> str:
    """The table under its heading, with the plot beside it where its file is named; empty without rows."""
    text = table(found)
    image = f"\n![decisions a second by the number of policies]({plot})\n" if plot else ""
    return f"\n## {BENCH}: by the number of policies\n\n{text}{image}" if text else ""


def plotted(points: Sequence[Point]) -> dict[str, list[tuple[int, float]]]:
    """Microseconds of a decision by size, for the plot."""
    found: dict[str, list[tuple[int, float]]] = {}
    for one in points:
        if one.rounds:
            found.setdefault(one.name, []).append((one.size, statistics.median(_of(one, "median"))))
    return found


def can_plot(peers: Path = PEERS) -> bool:
    """Is matplotlib in the environment of the peers?"""
    return any(peers.glob("lib/python3*/site-packages/matplotlib"))


async def plot(points: Sequence[Point], file: Path, *, peers: Path = PEERS, say: Say) -> None:
    """Draws the figures where it can."""
    if not can_plot(peers):
        say("  no plot: `make peers` installs matplotlib beside the peers")
        return
    with tempfile.TemporaryDirectory(prefix="authz-plot-") as name:
        data = Path(name) / "points.json"
        await asyncio.to_thread(data.write_text, json.dumps(plotted(points)), encoding="utf-8")
        await output(module("scale_plot", data, file, python=peers / "bin" / "python"), LIMIT)
