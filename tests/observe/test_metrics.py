"""Metrics: what is counted, and what Prometheus reads of it."""

import threading
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, Counter
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

from authz.core.errors import Reason
from authz.core.model import Effect, Failed, PolicyError, Stage
from authz.observe.metrics import (
    BUCKETS,
    MAX_DOORS,
    MAX_POLICIES,
    MAX_SERIES,
    Metrics,
    PolicySetReading,
    Readings,
    TokenCacheReading,
)
from tests.observe.making import decision, denied, failed, record, refused, stuffed

ROUTES = ("read-document", "list-documents")
OPENMETRICS = "application/openmetrics-text"


def samples(metrics: Metrics, accept: str = "") -> dict[tuple[str, tuple[str, ...]], float]:
    """(name, label values by label name) → value."""
    text, kind = metrics.render(accept)
    parse = parse_openmetrics if kind.startswith(OPENMETRICS) else parse_text
    return {
        (sample.name, tuple(sample.labels[name] for name in sorted(sample.labels))): sample.value
        for family in parse(text.decode())
        for sample in family.samples
    }


def decisions(metrics: Metrics) -> dict[tuple[str, ...], float]:
    """(door, outcome, reason, route) → count."""
    return {labels: value for (name, labels), value in samples(metrics).items() if name == "authz_decisions_total"}


# --- checks


def test_each_check_is_counted_by_how_it_ended():
    metrics = Metrics(routes=ROUTES)
    for each in (record(), record(), denied(), failed(), failed(let_through=True), refused()):
        metrics.observe(each)
    assert decisions(metrics) == {
        ("envoy_http", "allowed", "allowed", "read-document"): 2,
        ("envoy_http", "denied", "policy_forbid", "read-document"): 1,
        ("envoy_http", "failed", "policies_unavailable", "read-document"): 1,
        ("envoy_http", "let_through", "policies_unavailable", "read-document"): 1,
        ("nginx", "denied", "bad_path", ""): 1,
    }


def test_a_check_that_was_let_through_is_counted_a_second_time_by_route():
    metrics = Metrics(routes=ROUTES)
    for each in (failed(let_through=True), failed(), failed(let_through=True, route="unheard-of")):
        metrics.observe(each)
    told = samples(metrics)
    assert told["authz_fail_open_total", ("read-document",)] == 1
    assert told["authz_fail_open_total", ("",)] == 1


def test_policies_that_could_not_be_evaluated_are_counted_by_id_and_effect():
    metrics = Metrics()
    effects = {"p-1": Effect.FORBID, "p-2": Effect.PERMIT}
    errors = tuple(PolicyError(policy_id=id, effect=effect, message="") for id, effect in effects.items())
    for each in (record(decision=decision(errors=errors)), record(decision=decision(errors=errors[:1]))):
        metrics.observe(each)
    told = samples(metrics)
    assert told["authz_policy_errors_total", ("forbid", "p-1")] == 2
    assert told["authz_policy_errors_total", ("permit", "p-2")] == 1


@pytest.mark.parametrize(
    "reason",
    ["too_many_candidates", "too_many_entities", "too_many_ancestors", "entities_mismatch", "forbid_error"],
)
def test_a_failure_of_the_decision_point_is_counted_by_its_reason(reason: str):
    metrics = Metrics(routes=ROUTES)
    metrics.observe(failed(outcome=Failed(stage=Stage.DECIDE, reason=Reason(reason))))
    assert decisions(metrics) == {("envoy_http", "failed", reason, "read-document"): 1}


# --- time


@pytest.mark.parametrize(
    ("seconds", "le"),
    [(0.0, "1e-05"), (1e-5, "1e-05"), (1.01e-5, "2.5e-05"), (0.1, "0.1"), (2.5, "2.5"), (9.0, "+Inf")],
)
def test_a_duration_counts_in_every_bucket_that_holds_it(seconds: float, le: str):
    metrics = Metrics()
    metrics.observe(record(duration=seconds, timings=(("decide", seconds),)))
    told = samples(metrics)
    for name, label in (("authz_check_duration_seconds", "envoy_http"), ("authz_stage_duration_seconds", "decide")):
        buckets = {
            float(labels[-1] if labels[0] == label else labels[0]): value
            for (sample, labels), value in told.items()
            if sample == f"{name}_bucket" and label in labels
        }
        assert len(buckets) == len(BUCKETS) + 1
        assert {bound for bound, count in buckets.items() if count == 1} == {b for b in buckets if b >= float(le)}
        assert told[f"{name}_sum", (label,)] == pytest.approx(seconds)
        assert told[f"{name}_count", (label,)] == 1


def test_stages_are_timed_each_for_itself_and_no_other_is_made():
    metrics = Metrics()
    metrics.observe(record())
    metrics.observe(record(timings=(("route", 1e-6), ("made-up", 1.0))))
    counts = {
        labels: value
        for (name, labels), value in samples(metrics).items()
        if name == "authz_stage_duration_seconds_count"
    }
    assert counts == {
        ("route",): 2,
        ("authenticate",): 1,
        ("map",): 1,
        ("enrich",): 1,
        ("decide",): 1,
        ("enforce",): 1,
    }


# --- bounds


def test_a_route_that_is_not_configured_is_no_label():
    metrics = Metrics(routes=ROUTES)
    for n in range(100):
        metrics.observe(record(route=f"made-up-{n}"))
    assert decisions(metrics) == {("envoy_http", "allowed", "allowed", ""): 100}


def test_routes_may_be_replaced_and_what_was_counted_stays():
    metrics = Metrics(routes=ROUTES)
    metrics.observe(record())
    metrics.replace_routes(["new"])
    for route in ("new", "list-documents"):
        metrics.observe(record(route=route))
    assert {labels[-1]: count for labels, count in decisions(metrics).items()} == {"read-document": 1, "new": 1, "": 1}


def test_policies_are_told_apart_up_to_a_number():
    metrics = Metrics()
    for n in range(MAX_POLICIES + 10):
        error = PolicyError(policy_id=f"p-{n}", effect=Effect.PERMIT, message="")
        metrics.observe(record(decision=decision(errors=(error, error))))
    counts = {
        labels: value for (name, labels), value in samples(metrics).items() if name == "authz_policy_errors_total"
    }
    assert len(counts) == MAX_POLICIES + 1
    assert counts["permit", ""] == 20
    assert sum(counts.values()) == 2 * (MAX_POLICIES + 10)


def test_series_are_bounded_whatever_the_doors_and_routes():
    routes = [f"r-{n}" for n in range(MAX_SERIES + 10)]
    metrics = Metrics(routes=routes)
    for route in routes:
        metrics.observe(record(route=route, door=f"d-{route}"))
    told = samples(metrics)
    counts = decisions(metrics)
    assert len(counts) == MAX_SERIES + 1
    assert counts["", "allowed", "allowed", ""] == 10
    assert sum(counts.values()) == len(routes)
    assert sum(1 for name, _ in told if name == "authz_check_duration_seconds_count") == MAX_DOORS + 1


def test_nothing_secret_is_a_label():
    metrics = Metrics(routes=ROUTES)
    for each in stuffed("canary-7f3a", {"canary-7f3a": ["canary-7f3a"]}):
        metrics.observe(each)
    for accept in ("", OPENMETRICS):
        assert b"canary" not in metrics.render(accept)[0]


# --- what others count


def everything() -> Readings:
    return Readings(
        dropped=lambda: {"queue_full": 3, "write_error": 0},
        token_cache=lambda: TokenCacheReading(hits=90, misses=10, size=8),
        policy_set=lambda: PolicySetReading(version="sha256:0f1e", age=12.5),
        policy_reloads=lambda: {"accepted": 2, "rejected": 1},
        key_set_ages=lambda: {"https://login.example.com": 60.0},
        in_flight=lambda: 4,
    )


@pytest.mark.parametrize("accept", ["", OPENMETRICS])
def test_readings_are_taken_when_asked(accept: str):
    told = samples(Metrics(readings=everything()), accept)
    expected = {
        ("authz_records_dropped_total", ("queue_full",)): 3,
        ("authz_records_dropped_total", ("write_error",)): 0,
        ("authz_token_cache_hits_total", ()): 90,
        ("authz_token_cache_misses_total", ()): 10,
        ("authz_token_cache_size", ()): 8,
        ("authz_policy_set_age_seconds", ()): 12.5,
        ("authz_policy_set_info", ("sha256:0f1e",)): 1,
        ("authz_policy_reloads_total", ("accepted",)): 2,
        ("authz_policy_reloads_total", ("rejected",)): 1,
        ("authz_key_set_age_seconds", ("https://login.example.com",)): 60,
        ("authz_in_flight", ()): 4,
    }
    assert {key: told[key] for key in expected} == expected


def test_what_is_not_there_is_left_out():
    names = {name for name, _ in samples(Metrics(registry=CollectorRegistry()))}
    assert {name.rsplit("_", 1)[0] for name in names} == {"authz_stage_duration_seconds"}


@pytest.mark.parametrize("value", ['a"b', "a\nb", "a\\b", "a\ud800b", "x" * 5000, "ü\u2028"])
def test_any_value_can_be_told(value: str):
    readings = Readings(key_set_ages=lambda: {value: 1.0}, policy_set=lambda: PolicySetReading(value, 1.0))
    metrics = Metrics(routes=[value], readings=readings)
    metrics.observe(record(route=value))
    for accept in ("", OPENMETRICS):
        assert sum(1 for name, _ in samples(metrics, accept) if name == "authz_key_set_age_seconds") == 1


# --- how it is asked

TEXT = "text/plain; version=0.0.4; charset=utf-8"
OPEN = "application/openmetrics-text; version=1.0.0; charset=utf-8"
PROMETHEUS = (
    "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,text/plain;version=0.0.4;q=0.4,*/*;q=0.2"
)


@pytest.mark.parametrize(
    ("accept", "kind"),
    [
        ("", TEXT),
        ("*/*", TEXT),
        ("text/plain", TEXT),
        ("text/html, application/json", TEXT),
        (OPENMETRICS, OPEN),
        (PROMETHEUS, OPEN),
        ("Application/OpenMetrics-Text ; version=0.0.1", OPEN),
        ("application/openmetrics-text;q=0", TEXT),
        ("application/openmetrics-text; q=0.000, text/plain", TEXT),
        ('application/openmetrics-text; version="1\x00"', OPEN),
        (";;,,=;q", TEXT),
    ],
)
def test_the_format_is_the_one_asked_for(accept: str, kind: str):
    text, told = Metrics().render(accept)
    assert told == kind
    assert text.endswith(b"# EOF\n") == (kind == OPEN)


@given(st.text(max_size=80) | st.from_regex(r"application/openmetrics-text;.{0,20}"))
def test_any_accept_value_is_answered(accept: str):
    text, kind = Metrics(registry=CollectorRegistry()).render(accept)
    assert kind in {TEXT, OPEN}
    assert text


# --- where it is registered


def test_a_registry_of_its_own_also_tells_of_the_process():
    assert ("process_resident_memory_bytes", ()) in samples(Metrics())


def test_a_registry_may_be_shared():
    registry = CollectorRegistry()
    Counter("shop_orders", "Orders.", registry=registry).inc()
    told = samples(Metrics(registry=registry))
    assert told["shop_orders_total", ()] == 1
    assert any(name.startswith("authz_") for name, _ in told)


def test_two_sets_of_metrics_know_nothing_of_each_other():
    first, second = Metrics(), Metrics()
    first.observe(record())
    assert decisions(second) == {}


def test_no_check_is_lost_among_threads():
    metrics = Metrics(routes=ROUTES)
    each: list[Any] = [record(), denied(), failed(let_through=True)]

    def work() -> None:
        for _ in range(1000):
            for one in each:
                metrics.observe(one)

    workers = [threading.Thread(target=work) for _ in range(6)]
    for worker in workers:
        worker.start()
    while any(worker.is_alive() for worker in workers):
        metrics.render()
    for worker in workers:
        worker.join()
    told = samples(metrics)
    assert sum(decisions(metrics).values()) == 18000
    assert told["authz_stage_duration_seconds_count", ("decide",)] == 18000
    assert told["authz_check_duration_seconds_count", ("envoy_http",)] == 18000
    assert told["authz_fail_open_total", ("read-document",)] == 6000


@pytest.mark.parametrize("reason", list(Reason))
def test_every_reason_is_a_label_by_its_code(reason: Reason):
    metrics = Metrics()
    metrics.observe(refused(reason=reason))
    assert decisions(metrics) == {("nginx", "denied", reason.value, ""): 1}
