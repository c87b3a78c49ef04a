"""What the documents say of workers: metrics, defaults, and the settings of Envoy that spread a connection."""

from __future__ import annotations

import re

from authz.observe.merge import GAUGES
from authz.wiring.backoff import Backoff
from authz.wiring.worker import Timings
from authz.wiring.worker_metrics import families
from tests.docs.pages import CODE, rows, text_of
from tests.wiring.test_workers_envoy import BY_REQUESTS


def test_metrics_of_workers_are_those_that_are_exported() -> None:
    table = [cells for cells in rows("docs/operate.md", "Workers", 4) if len(cells) == 4]
    told = {cells[0].strip("`"): (cells[1], set(CODE.findall(cells[2]))) for cells in table}
    suffixes = {"counter": ("_total", "counter"), "info": ("_info", "gauge"), "gauge": ("", "gauge")}
    exported = {f"{one.name}{suffixes[one.type][0]}": suffixes[one.type][1] for one in families((), {})}
    assert {name: kind for name, (kind, _) in told.items()} == exported
    assert all("worker" in labels for _, labels in told.values())


def chapter() -> str:
    text = text_of("docs/operate.md")
    return " ".join(text[text.index("## Workers") : text.index('## "Why was')].split())


def test_defaults_are_those_of_the_code() -> None:
    backoff, timings = Backoff(), Timings()
    assert f"after {backoff.first * (1 - backoff.spread):g} to {backoff.first:g} s" in chapter()
    assert f"up to {backoff.most:g} s; who served for {backoff.good:g} s" in chapter()
    assert f"no sign of life for {timings.hang:g} s" in chapter()
    assert f"`drain_delay`, `drain` and {timings.margin:g} s" in chapter()
    assert f"a scrape within {timings.scrape:g} s" in chapter()


def test_gauges_are_joined_as_it_is_told() -> None:
    told = re.search(
        r"`(\w+)`, `(\w+)` and `(\w+)` add up, ages are the highest, as are `(\w+)` and `(\w+)`, `(\w+)` the lowest",
        chapter(),
    )
    assert told is not None
    assert {name for name, rule in GAUGES.items() if rule == "sum"} == {told[1], told[2], told[3]}
    assert {name for name, rule in GAUGES.items() if rule == "min"} == {told[6]}
    highest = {name for name, rule in GAUGES.items() if rule == "max" and "_age_" not in name}
    assert highest == {told[4], told[5]}


def test_the_setting_of_envoy_is_the_tested_one_but_for_its_number() -> None:
    [setting] = BY_REQUESTS.values()
    first = setting.strip().splitlines()[0]
    assert first.replace("10}", "1000}") in chapter()
