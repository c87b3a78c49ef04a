"""Draws `scale.png`; run by the Python of `.peers`, which has matplotlib: `python -m bench.scale_plot DATA FILE`."""

from __future__ import annotations

import importlib
import json
import sys
from pathlib import Path


def main(data: str, file: str) -> None:
    """Reads `{contender: [[policies, microseconds], …]}`, writes a PNG."""
    matplotlib = importlib.import_module("matplotlib")
    matplotlib.use("Agg")
    pyplot = importlib.import_module("matplotlib.pyplot")
    figure, axes = pyplot.subplots(figsize=(8, 5), dpi=120, layout="constrained")
    found = json.loads(Path(data).read_text(encoding="utf-8"))
    for place, (name, points) in enumerate(found.items()):
        sizes, times = zip(*points, strict=True)
        mine = name == "authz"
        style = {"linewidth": 2.6, "zorder": 9} if mine else {"linewidth": 1.4, "alpha": 0.85}
        axes.plot(sizes, [1e6 / time for time in times], marker="os^vDP"[place % 6], label=name, **style)
    axes.set(xscale="log", yscale="log", xlabel="policies, one a document", ylabel="decisions a second, one caller")
    axes.set_title("Ten candidates in each question, whatever the number of policies", fontsize=11)
    axes.grid(visible=True, which="major", alpha=0.3)
    axes.legend(fontsize=8, loc="lower left")
    figure.savefig(file, metadata={"Software": None})


if __name__ == "__main__":
    main(*sys.argv[1:])
