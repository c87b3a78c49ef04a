"""Metrics for Prometheus, counted in plain lists and handed to its library when it asks.

`observe` is on the way of every check, so it touches no library object: the library's counters and histograms
take a lock and several calls each, six stages of them cost more than the mapping of a request. What others
count already (caches, key sets, the policy set) is not counted again: it is read at scrape time, from
callables.

No label has a value of a client's choosing: routes and issuers come from the configuration, stages and reasons
from closed lists, policy ids from the store and bounded in number. What does not fit is counted under "".
"""

from __future__ import annotations

import threading
from bisect import bisect_left
from collections.abc import Callable, Collection, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import NamedTuple, TypeAlias, TypeVar

from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.metrics_core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
    Metric,
)
from prometheus_client.utils import floatToGoString

from authz.core.model import Decision, Record, Stage
from authz.observe.decision_metrics import DecidingReading, deciding_metrics
from authz.observe.exposition import rendered
from authz.observe.redact import outcome_word
from authz.observe.values import clean

BUCKETS = (
    1e-5, 2.5e-5, 5e-5, 1e-4, 2.5e-4, 5e-4, 1e-3, 2.5e-3, 5e-3, 1e-2, 2.5e-2, 5e-2, 0.1, 0.25, 0.5, 1.0, 2.5,
)  # fmt: skip
"""Seconds. A cached token and a local policy set take tens of microseconds, a remote decision point milliseconds."""
MAX_SERIES = 4096
"""Series of decisions; past this, checks are counted without door and route."""
HERE = "cedar"
"""The decision point in this process."""
MAX_DOORS = 64
"""Doors with a histogram of their own; they come from the code, the bound is against mistakes."""
MAX_POLICIES = 256
"""Policies and their effects told apart in the count of policies that could not be evaluated."""


class TokenCacheReading(NamedTuple):
    """What a cache of verified tokens has counted."""

    hits: int
    misses: int
    size: int


class PolicySetReading(NamedTuple):
    """The policy set in use."""

    version: str
    age: float
    """Seconds since it was known to be current."""


def _none() -> None:
    return None


def _nothing() -> Mapping[str, float]:
    return {}


@dataclass(frozen=True, slots=True, kw_only=True)
class Readings:
    """Where to read, at scrape time, what others count. A reading of None is left out. None of them may raise."""

    dropped: Callable[[], Mapping[str, float]] = _nothing
    """Records dropped, for each reason."""
    token_cache: Callable[[], TokenCacheReading | None] = _none
    policy_set: Callable[[], PolicySetReading | None] = _none
    policy_reloads: Callable[[], Mapping[str, float]] = _nothing
    """Reloads, for each result."""
    key_set_ages: Callable[[], Mapping[str, float]] = _nothing
    """Seconds since each issuer's key set was fetched."""
    in_flight: Callable[[], int | None] = _none
    """Checks under way."""
    certificate_expiries: Callable[[], Mapping[str, float]] = _nothing
    """Seconds until the certificate of each listener with TLS ends."""
    deciding: Callable[[], DecidingReading | None] = _none
    """What those who decide have counted."""


_Series: TypeAlias = tuple[str, str, str, str]
"""Door, outcome, route, reason."""


def _histogram() -> list[float]:
    """Counts by bucket, those beyond every bound, and last the sum: one list, for it is written on each check."""
    return [0] * (len(BUCKETS) + 1) + [0.0]


class Metrics:
    """A record sink that counts, and a collector that tells. Any thread may call it.

    Args:
        routes: the names that may be a label.
        readings: what is read at scrape time.
        registry: where to register; by default one of its own, with the process's metrics beside ours.
    """

    def __init__(
        self,
        *,
        routes: Collection[str] = (),
        readings: Readings | None = None,
        registry: CollectorRegistry | None = None,
    ) -> None:
        self._routes = frozenset(routes)
        self._readings = readings if readings is not None else Readings()
        self._lock = threading.Lock()
        self._decisions: dict[_Series, int] = {}
        self._stages = {stage.value: _histogram() for stage in Stage}
        self._doors: dict[str, list[float]] = {}
        self._policy_errors: dict[tuple[str, str], int] = {}
        """By policy and effect: a forbid that is skipped may be a request that should not have passed."""
        self._fail_open: dict[str, int] = {}
        self._decided_here = 0
        if registry is None:
            registry = CollectorRegistry()
            ProcessCollector(registry=registry)
        self.registry = registry
        registry.register(self)

    # --- on the way of a check

    def observe(self, record: Record) -> None:
        """Counts the record. Neither waits nor raises."""
        outcome = record.outcome
        decision = record.decision
        stages = self._stages
        series = (record.door, outcome_word(outcome), record.route, outcome.reason)
        with self._lock:
            if series in self._decisions:
                self._decisions[series] += 1
            else:
                self._admit(series)
            door = self._doors.get(record.door) or self._admit_door(record.door)
            door[bisect_left(BUCKETS, record.duration)] += 1
            door[-1] += record.duration
            for name, seconds in record.timings:
                stage = stages.get(name)
                if stage is not None:
                    stage[bisect_left(BUCKETS, seconds)] += 1
                    stage[-1] += seconds
            if series[1] == "let_through":
                _count(self._fail_open, self._known(record.route))
            if decision is not None:
                if decision.cached or decision.decision_point == HERE:
                    self._decided_here += 1
                if decision.errors:
                    self._count_policy_errors(decision)

    write = observe
    """The name of the port `RecordSink`."""

    def replace_routes(self, routes: Collection[str]) -> None:
        """The names that may be a label from now on. What was counted under others stays, as counters must."""
        self._routes = frozenset(routes)

    def _known(self, route: str) -> str:
        return route if route in self._routes else ""

    def _admit(self, series: _Series) -> None:
        door, outcome, route, reason = series
        if len(self._decisions) >= MAX_SERIES:
            door, route = "", ""
        _count(self._decisions, (door, outcome, self._known(route), reason))

    def _admit_door(self, door: str) -> list[float]:
        return self._doors.setdefault(door if len(self._doors) < MAX_DOORS else "", _histogram())

    def _count_policy_errors(self, decision: Decision) -> None:
        counts = self._policy_errors
        for error in decision.errors:
            key = (error.policy_id, error.effect.value)
            full = len(counts) >= MAX_POLICIES and key not in counts
            _count(counts, ("", error.effect.value) if full else key)

    @property
    def decided_here(self) -> int:
        """Decisions that were made in this process, or given again."""
        return self._decided_here

    # --- when asked

    def render(self, accept: str = "") -> tuple[bytes, str]:
        """The registry's metrics, and their content type: OpenMetrics 1.0 if the `Accept` value asks for it."""
        return rendered(self.registry, accept)

    def collect(self) -> Iterator[Metric]:
        """The collector of `prometheus_client`."""
        with self._lock:
            counted = self._counted()
        yield from counted
        yield from _read(self._readings)

    def _counted(self) -> list[Metric]:
        return [
            _counter(
                "authz_decisions",
                "Checks, by how they ended.",
                ("door", "outcome", "route", "reason"),
                self._decisions,
            ),
            _histograms("authz_stage_duration_seconds", "Time in each stage of a check.", "stage", self._stages),
            _histograms("authz_check_duration_seconds", "Time of a check.", "door", self._doors),
            _counter(
                "authz_policy_errors",
                "Policies skipped because they could not be evaluated.",
                ("policy", "effect"),
                self._policy_errors,
            ),
            _counter(
                "authz_fail_open",
                "Failed checks that were let through, as their route says.",
                ("route",),
                {(route,): count for route, count in self._fail_open.items()},
            ),
        ]


_Key = TypeVar("_Key", bound=Hashable)
_Labels = TypeVar("_Labels", bound=tuple[str, ...])


def _count(counts: dict[_Key, int], key: _Key) -> None:
    counts[key] = counts.get(key, 0) + 1


def _counter(name: str, text: str, labels: Sequence[str], counts: Mapping[_Labels, float]) -> CounterMetricFamily:
    family = CounterMetricFamily(name, text, labels=labels)
    for values, count in counts.items():
        family.add_metric([clean(value) for value in values], count)
    return family


def _gauge(name: str, text: str, value: float) -> GaugeMetricFamily:
    return GaugeMetricFamily(name, text, value=value)


def _histograms(name: str, text: str, label: str, series: Mapping[str, Sequence[float]]) -> HistogramMetricFamily:
    family = HistogramMetricFamily(name, text, labels=(label,))
    bounds = [*map(floatToGoString, BUCKETS), "+Inf"]
    for value, histogram in series.items():
        *counts, total = histogram
        family.add_metric([clean(value)], list(zip(bounds, accumulate(counts), strict=True)), total)
    return family


def _read(readings: Readings) -> Iterator[Metric]:
    yield _counter_of("authz_records_dropped", "Records that were not written.", "reason", readings.dropped())
    yield _counter_of("authz_policy_reloads", "Reloads of the policy set.", "result", readings.policy_reloads())
    yield from _read_cache(readings.token_cache())
    yield from _read_policy_set(readings.policy_set())
    ages = GaugeMetricFamily(
        "authz_key_set_age_seconds", "Time since an issuer's key set was fetched.", labels=("issuer",)
    )
    for issuer, age in readings.key_set_ages().items():
        ages.add_metric([clean(issuer)], age)
    yield ages
    text = "Time until the certificate of a listener ends; negative: it has."
    expiries = GaugeMetricFamily("authz_certificate_expiry_seconds", text, labels=("listener",))
    for listener, remaining in readings.certificate_expiries().items():
        expiries.add_metric([clean(listener)], remaining)
    yield expiries
    deciding = readings.deciding()
    if deciding is not None:
        yield from deciding_metrics(deciding)
    in_flight = readings.in_flight()
    if in_flight is not None:
        yield _gauge("authz_in_flight", "Checks under way.", in_flight)


def _counter_of(name: str, text: str, label: str, counts: Mapping[str, float]) -> CounterMetricFamily:
    return _counter(name, text, (label,), {(value,): count for value, count in counts.items()})


def _read_cache(cache: TokenCacheReading | None) -> Iterator[Metric]:
    if cache is None:
        return
    yield CounterMetricFamily("authz_token_cache_hits", "Tokens found verified.", value=cache.hits)
    yield CounterMetricFamily("authz_token_cache_misses", "Tokens that had to be verified.", value=cache.misses)
    yield _gauge("authz_token_cache_size", "Verified tokens kept.", cache.size)


def _read_policy_set(policy_set: PolicySetReading | None) -> Iterator[Metric]:
    if policy_set is None:
        return
    text = "Time since the policy set was known to be current."
    yield _gauge("authz_policy_set_age_seconds", text, policy_set.age)
    yield InfoMetricFamily("authz_policy_set", "The policy set in use.", value={"version": clean(policy_set.version)})
