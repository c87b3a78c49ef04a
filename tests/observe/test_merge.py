"""The metrics of several processes, as one."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

from authz.observe.decision_metrics import CacheReading, DecidingReading
from authz.observe.merge import GAUGES, Family, Merged, Sample, families_of, from_json, render
from authz.observe.metrics import Metrics, PolicySetReading, Readings, TokenCacheReading
from tests.observe.making import denied, failed, record, refused

ROUTES = ("read-document",)
RECORDS = (record, denied, failed, refused, lambda: record(duration=0.3), lambda: record(door="grpc"))
Samples = dict[tuple[str, tuple[tuple[str, str], ...]], float]


def counted(records: Sequence[int], readings: Readings | None = None) -> list[Family]:
    """What a process tells that has seen these."""
    metrics = Metrics(routes=ROUTES, readings=readings, registry=CollectorRegistry())
    for index in records:
        metrics.observe(RECORDS[index]())
    return families_of(metrics.registry)


def read(text: bytes, parse: Any = parse_text) -> Samples:
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in parse(text.decode())
        for sample in family.samples
    }


def told(merged: Merged) -> Samples:
    return read(render(merged.families())[0])


def growing(samples: Samples) -> Samples:
    return {key: value for key, value in samples.items() if key[0].endswith(("_total", "_bucket", "_count", "_sum"))}


SEEN = st.lists(st.integers(0, len(RECORDS) - 1), max_size=12)


@given(parts=st.lists(SEEN, min_size=1, max_size=4))
def test_what_several_have_counted_is_what_one_would_have(parts):
    merged = Merged()
    for number, part in enumerate(parts):
        merged.update(str(number), counted(part))
    alone = growing(read(render(counted([index for part in parts for index in part]))[0]))
    assert growing(told(merged)) == pytest.approx(alone)


# A process goes on counting, begins again from 0 by itself, or ends and is followed by another.
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("count"), st.integers(0, 2), SEEN),
        st.tuples(st.just("end"), st.integers(0, 2), st.just([])),
    ),
    max_size=25,
)


@given(steps=STEPS)
def test_what_grows_never_falls_and_nothing_that_was_told_is_lost(steps):
    merged = Merged()
    now: dict[int, list[int]] = {0: [], 1: [], 2: []}
    everything: list[int] = []
    before: Samples = {}
    for what, worker, seen in steps:
        if what == "end":
            now[worker] = []
            merged.ended(str(worker))
        else:
            now[worker] = [*now[worker], *seen]
            everything += seen
            merged.update(str(worker), counted(now[worker]))
        after = growing(told(merged))
        assert all(after.get(key, -1.0) >= value - 1e-9 for key, value in before.items())
        before = after
    expected = {key: value for key, value in growing(read(render(counted(everything))[0])).items() if value}
    assert {key: value for key, value in before.items() if value} == pytest.approx(expected)


def reading_of(reading: TokenCacheReading) -> Callable[[], TokenCacheReading]:
    return lambda: reading


@given(hits=st.lists(st.integers(0, 50), min_size=1, max_size=20))
def test_a_counter_that_begins_again_is_carried_on(hits):
    """As the token cache's do, after a reload that makes a new verifier."""
    merged = Merged()
    expected, before = 0, 0
    for value in hits:
        reading = TokenCacheReading(value, 0, 0)
        merged.update("1", counted([], Readings(token_cache=reading_of(reading))))
        expected += value - before if value >= before else value
        before = value
        assert told(merged)["authz_token_cache_hits_total", ()] == expected


def gauges(merged: Merged, name: str) -> dict[tuple[tuple[str, str], ...], float]:
    return {labels: value for (found, labels), value in told(merged).items() if found == name}


def readings(number: int, version: str = "v1") -> Readings:
    return Readings(
        token_cache=lambda: TokenCacheReading(0, 0, 10 * number),
        policy_set=lambda: PolicySetReading(version, float(number)),
        key_set_ages=lambda: {"https://a": float(number), f"https://{number}": 1.0},
        certificate_expiries=lambda: {"127.0.0.1:443": float(number)},
        in_flight=lambda: number,
        deciding=lambda: DecidingReading(
            cache=CacheReading(size=number), parity_alarm=number == 3, fallback_open=False
        ),
    )


def test_gauges_are_joined_by_what_they_mean():
    merged = Merged()
    for number in (3, 1, 2):
        merged.update(str(number), counted([], readings(number)))
    assert gauges(merged, "authz_in_flight") == {(): 6.0}
    assert gauges(merged, "authz_token_cache_size") == {(): 60.0}
    assert gauges(merged, "authz_decision_cache_size") == {(): 6.0}
    assert gauges(merged, "authz_parity_alarm") == {(): 1.0}
    assert gauges(merged, "authz_policy_set_age_seconds") == {(): 3.0}
    assert gauges(merged, "authz_certificate_expiry_seconds") == {(("listener", "127.0.0.1:443"),): 1.0}
    ages = gauges(merged, "authz_key_set_age_seconds")
    assert ages[(("issuer", "https://a"),)] == 3.0
    assert len(ages) == 4
    assert gauges(merged, "authz_policy_set_info") == {(("version", "v1"),): 1.0}


def test_workers_with_different_policy_sets_show():
    merged = Merged()
    merged.update("1", counted([], readings(1, "old")))
    merged.update("2", counted([], readings(1, "new")))
    assert set(gauges(merged, "authz_policy_set_info")) == {(("version", "old"),), (("version", "new"),)}
    merged.update("1", counted([], readings(1, "new")))
    assert set(gauges(merged, "authz_policy_set_info")) == {(("version", "new"),)}


def test_gauges_of_who_is_gone_are_gone():
    merged = Merged()
    merged.update("1", counted([0], readings(5)))
    merged.update("2", counted([0], readings(2)))
    merged.ended("1")
    assert gauges(merged, "authz_in_flight") == {(): 2.0}
    merged.ended("2")
    assert gauges(merged, "authz_in_flight") == {}
    assert sum(value for (name, _), value in told(merged).items() if name == "authz_decisions_total") == 2


def test_every_gauge_that_is_exported_has_a_meaning_for_several():
    """Who adds one decides it: in `GAUGES`."""
    exported = {family.name for family in counted([], readings(1)) if family.type in {"gauge", "info"}}
    assert exported == set(GAUGES)


def test_a_gauge_that_nobody_thought_of_and_metrics_of_the_process_are_told_for_each():
    unknown = Family("authz_unheard_of", "gauge", "?", (Sample("authz_unheard_of", (), 4.0),))
    cpu = Family("process_cpu_seconds", "counter", "?", (Sample("process_cpu_seconds_total", (), 9.0),))
    merged = Merged()
    for name in ("1", "2"):
        merged.update(name, [unknown, cpu])
    assert gauges(merged, "authz_unheard_of") == {(("worker", "1"),): 4.0, (("worker", "2"),): 4.0}
    assert gauges(merged, "process_cpu_seconds_total") == {(("worker", "1"),): 9.0, (("worker", "2"),): 9.0}


def test_both_forms_can_be_read_though_a_later_worker_brings_new_series():
    merged = Merged()
    merged.update("1", counted([0, 1], readings(1)))
    merged.update("2", counted([5, 4], readings(2)))
    merged.ended("1")
    merged.update("1", counted([3], readings(1)))
    text, kind = render(merged.families(), "application/openmetrics-text")
    assert kind.startswith("application/openmetrics-text")
    assert growing(read(text, parse_openmetrics)) == growing(told(merged))


def test_families_survive_the_wire_with_infinite_ages():
    families = counted([0, 2], Readings(key_set_ages=lambda: {"a": float("inf")}))
    assert from_json(json.loads(json.dumps(families))) == families


@pytest.mark.parametrize("value", [None, 1, [1], [["a", "counter"]], [["a", "b", "c", [[1, 2]]]], [["a", "b", "c", 5]]])
def test_what_is_no_family_is_refused(value):
    with pytest.raises(ValueError, match=r"famil|unpack"):
        from_json(value)
