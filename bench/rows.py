"""The results: rows, how figures of several runs become one, and the two files they are kept in."""

from __future__ import annotations

import json
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Bar:
    """What must hold: of the ratio where there is a reference, else of our figure itself."""

    at: str
    """`<=`, `<` or `>=`."""
    limit: float

    def holds(self, value: float) -> bool:
        match self.at:
            case "<=":
                return value <= self.limit
            case "<":
                return value < self.limit
            case ">=":
                return value >= self.limit
            case _:
                raise ValueError(f"`{self.at}` is no relation; expected `<=`, `<` or `>=`")

    def __str__(self) -> str:
        return f"{self.at} {self.limit:g}"


def at_most(limit: float) -> Bar:
    return Bar(at="<=", limit=limit)


def less_than(limit: float) -> Bar:
    return Bar(at="<", limit=limit)


def at_least(limit: float) -> Bar:
    return Bar(at=">=", limit=limit)


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One line of results.json. A row without a bar is there to be read beside the others."""

    bench: str
    metric: str
    unit: str
    ours: float
    reference: float | None
    reference_name: str | None
    ratio: float | None
    """Median of the ratios within each run; not the ratio of the two medians beside it."""
    bar: str | None
    met: bool | None


def row(
    bench: str,
    metric: str,
    unit: str,
    ours: Sequence[float],
    *,
    against: Sequence[float] | None = None,
    name: str | None = None,
    bar: Bar | None = None,
) -> Row:
    """A row of figures that were measured run by run: medians, and the median of the ratios within a run.

    Args:
        bench: which benchmark.
        metric: what was measured.
        unit: of `ours` and `against`.
        ours: our figure of each run.
        against: the reference's figure of each run, in the same order.
        name: the reference's name.
        bar: what must hold.
    """
    ratio = None
    if against is not None:
        ratio = statistics.median(one / other for one, other in zip(ours, against, strict=True))
    middle = statistics.median(ours)
    judged = middle if ratio is None else ratio
    return Row(
        bench=bench,
        metric=metric,
        unit=unit,
        ours=_rounded(middle),
        reference=_rounded(statistics.median(against)) if against is not None else None,
        reference_name=name,
        ratio=_rounded(ratio) if ratio is not None else None,
        bar=str(bar) if bar is not None else None,
        met=bar.holds(judged) if bar is not None else None,
    )


def _rounded(value: float) -> float:
    """Four significant digits: no run is more exact than that."""
    return float(f"{value:.4g}")


# --- files -------------------------------------------------------------------------------------------------


def merged(old: Iterable[Row], new: Iterable[Row]) -> list[Row]:
    """The new rows in the place of old ones of the same benches; rows of other benches stay."""
    fresh = list(new)
    benches = {row.bench for row in fresh}
    return [row for row in old if row.bench not in benches] + fresh


def read(file: Path) -> list[Row]:
    """The rows of a results file; none where there is no such file."""
    if not file.exists():
        return []
    return [Row(**item) for item in json.loads(file.read_text(encoding="utf-8"))]


def dump(rows: Iterable[Row]) -> str:
    """A JSON list, one row a line: a change of one row is a change of one line."""
    lines = ",\n".join(json.dumps(asdict(row), ensure_ascii=False) for row in rows)
    return f"[\n{lines}\n]\n"


# --- for people --------------------------------------------------------------------------------------------

_HEAD = ("metric", "unit", "ours", "reference", "", "ratio", "bar", "met")


def tables(rows: Iterable[Row]) -> str:
    """One Markdown table a bench, readable as plain text too."""
    by_bench: dict[str, list[Row]] = {}
    for each in rows:
        by_bench.setdefault(each.bench, []).append(each)
    return "\n\n".join(f"## {bench}\n\n{_table(found)}" for bench, found in by_bench.items()) + "\n"


def _table(rows: Iterable[Row]) -> str:
    lines = [_HEAD, *(_cells(each) for each in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(_HEAD))]
    texts = [_line(line, widths) for line in lines]
    return "\n".join([texts[0], _line(["-" * width for width in widths], widths), *texts[1:]])


def _line(cells: Iterable[str], widths: Iterable[int]) -> str:
    return "| " + " | ".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True)) + " |"


def _cells(each: Row) -> tuple[str, ...]:
    return (
        each.metric,
        each.unit,
        figure(each.ours),
        figure(each.reference),
        each.reference_name or "",
        figure(each.ratio),
        each.bar or "",
        {True: "yes", False: "**no**", None: ""}[each.met],
    )


def figure(value: Any) -> str:
    """A number as people read it; nothing for None."""
    if value is None:
        return ""
    if value >= 1000:
        return f"{value:,.0f}"
    return f"{value:.3g}" if value < 100 else f"{value:.0f}"
