"""Metrics of who decides: calls of Verified Permissions, what they cost and what was spared, caches, fallback, parity.

Everything is counted where it happens, and only read here, at scrape time.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, Metric

from authz.observe.values import clean

SINGLE_PRICE = 0.000005
"""Dollars for one authorization request (https://aws.amazon.com/verified-permissions/pricing); a full batch costs the
same for each of its decisions."""

_Labels = TypeVar("_Labels", bound=tuple[str, ...])


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheReading:
    """What a decision cache has counted."""

    hits: int = 0
    misses: int = 0
    shared: int = 0
    """Answered by what another check was waiting for already."""
    evictions: int = 0
    size: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class DecidingReading:
    """What those who decide have counted."""

    calls: Mapping[tuple[str, str], float] = field(default_factory=dict)
    """(operation of Verified Permissions, result) → calls."""
    throttled: float | None = None
    """Decisions and calls that were too many; None: Verified Permissions is not asked for decisions."""
    snapshot_writes: Mapping[str, float] = field(default_factory=dict)
    cache: CacheReading | None = None
    fallback: Mapping[tuple[str, str], float] = field(default_factory=dict)
    """(who decided, why the first did not) → decisions."""
    fallback_open: bool | None = None
    """Is the first left alone, for it failed too often? None: there is no second."""
    parity: Mapping[str, float] = field(default_factory=dict)
    """Result of a parity check → checks."""
    parity_alarm: bool | None = None
    """Was there a divergence of late? None: nothing is checked."""
    saved_calls: float | None = None
    """Calls of Verified Permissions that decisions made here have spared; None: it holds no policies of ours."""


def deciding_metrics(reading: DecidingReading) -> Iterator[Metric]:
    """The families; those of parts that are not in use are left out."""
    if reading.calls:
        text = "Calls of Verified Permissions, each attempt by itself."
        yield _counter("authz_avp_calls", text, ("operation", "result"), reading.calls)
    if reading.throttled is not None:
        text = "Calls for decisions that Verified Permissions refused as too many, or that were not made for that."
        yield CounterMetricFamily("authz_avp_throttled", text, value=reading.throttled)
    if reading.snapshot_writes:
        text = "Writes of the replica's snapshot to disk."
        yield _counter("authz_snapshot_writes", text, ("result",), _one(reading.snapshot_writes))
    if reading.saved_calls is not None:
        text = "Calls for decisions that were not made, because they were decided here."
        yield CounterMetricFamily("authz_avp_calls_saved", text, value=reading.saved_calls)
        text = "What those calls would have cost, in dollars."
        yield CounterMetricFamily("authz_avp_dollars_saved", text, value=reading.saved_calls * SINGLE_PRICE)
    yield from _cache(reading.cache)
    if reading.fallback:
        text = "Decisions by the second decision point, or by none, and why the first had none."
        yield _counter("authz_fallback", text, ("by", "reason"), reading.fallback)
    if reading.fallback_open is not None:
        text = "1 while the first decision point is not asked, for it failed too often."
        yield GaugeMetricFamily("authz_fallback_open", text, value=float(reading.fallback_open))
    if reading.parity_alarm is not None:
        text = "Local decisions that were asked again of Verified Permissions, by what came of it."
        yield _counter("authz_parity_checks", text, ("result",), _one(reading.parity))
        text = "1 while a local decision differed from that of Verified Permissions of late."
        yield GaugeMetricFamily("authz_parity_alarm", text, value=float(reading.parity_alarm))


def _cache(cache: CacheReading | None) -> Iterator[Metric]:
    if cache is None:
        return
    yield CounterMetricFamily("authz_decision_cache_hits", "Decisions given again.", value=cache.hits)
    text = "Decisions that were not kept and had to be made."
    yield CounterMetricFamily("authz_decision_cache_misses", text, value=cache.misses)
    text = "Decisions that another check was waiting for already."
    yield CounterMetricFamily("authz_decision_cache_shared", text, value=cache.shared)
    text = "Kept decisions that went for want of room."
    yield CounterMetricFamily("authz_decision_cache_evictions", text, value=cache.evictions)
    yield GaugeMetricFamily("authz_decision_cache_size", "Decisions kept.", value=cache.size)


def _one(counts: Mapping[str, float]) -> Mapping[tuple[str, ...], float]:
    return {(name,): count for name, count in counts.items()}


def _counter(name: str, text: str, labels: Sequence[str], counts: Mapping[_Labels, float]) -> CounterMetricFamily:
    family = CounterMetricFamily(name, text, labels=labels)
    for values, count in counts.items():
        family.add_metric([clean(value) for value in values], count)
    return family
