"""The metrics of several processes, as one.

Each process hands over its families as plain values. Counters and histograms add up and never fall: what a process
had counted when it ended, or began again from 0, is carried on. A gauge is joined by what it means; one that
nobody has thought about here is told for each process, which is never wrong.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping, Sequence
from typing import Any, Literal, NamedTuple, TypeAlias

from prometheus_client import CollectorRegistry
from prometheus_client.metrics_core import Metric

from authz.observe.exposition import rendered

Rule: TypeAlias = Literal["sum", "max", "min", "join"]

GAUGES: Mapping[str, Rule] = {
    "authz_in_flight": "sum",
    "authz_token_cache_size": "sum",
    "authz_decision_cache_size": "sum",
    "authz_parity_alarm": "max",
    "authz_fallback_open": "max",
    "authz_policy_set_age_seconds": "max",
    "authz_key_set_age_seconds": "max",
    "authz_certificate_expiry_seconds": "min",
    "authz_policy_set": "join",
}
"""How a gauge, or an info, of several processes is one. `join`: all have the same series, or it shows that they do
not."""
WORKER = "worker"
"""The label of what is told for each process."""
_OF_A_PROCESS = ("process_", "python_")
_GROWING = frozenset({"counter", "histogram"})


class Sample(NamedTuple):
    """One line of an exposition."""

    name: str
    labels: tuple[tuple[str, str], ...]
    value: float


class Family(NamedTuple):
    """A metric with its samples."""

    name: str
    type: str
    help: str
    samples: tuple[Sample, ...]


_Key: TypeAlias = tuple[str, tuple[tuple[str, str], ...]]


def families_of(registry: CollectorRegistry) -> list[Family]:
    """What a registry's collectors tell now."""
    return [
        Family(
            metric.name,
            metric.type,
            metric.documentation,
            tuple(Sample(s.name, tuple(s.labels.items()), s.value) for s in metric.samples),
        )
        for metric in registry.collect()
    ]


def from_json(value: Any) -> list[Family]:
    """Families that went through JSON.

    Raises:
        ValueError: it is not what `families_of` makes.
    """
    try:
        return [
            Family(
                str(name),
                str(kind),
                str(text),
                tuple(
                    Sample(str(n), tuple((str(key), str(label)) for key, label in labels), float(number))
                    for n, labels, number in samples
                ),
            )
            for name, kind, text, samples in value
        ]
    except TypeError:
        raise ValueError("expected families: name, type, text and samples of each") from None


class Merged:
    """The last families of each process, and what those that are gone had counted."""

    def __init__(self) -> None:
        self._last: dict[str, list[Family]] = {}
        self._counts: dict[str, dict[_Key, float]] = {}
        self._carried: dict[_Key, float] = {}
        self._known: dict[str, Family] = {}
        """Each family that ever was, without samples."""

    def update(self, worker: str, families: Sequence[Family]) -> None:
        """Takes what a process says now."""
        told = [_told_by(worker, family) for family in families]
        counts = {_key(sample): sample.value for family in told if family.type in _GROWING for sample in family.samples}
        self._carry(self._counts.get(worker, {}), counts)
        self._counts[worker] = counts
        self._last[worker] = told
        for family in told:
            self._known.setdefault(family.name, family._replace(samples=()))

    def ended(self, worker: str) -> None:
        """A process is no more: its gauges go, its counts stay."""
        self._carry(self._counts.pop(worker, {}), {})
        self._last.pop(worker, None)

    def _carry(self, before: Mapping[_Key, float], now: Mapping[_Key, float]) -> None:
        for key, value in before.items():
            if now.get(key, -1.0) < value:
                self._carried[key] = self._carried.get(key, 0.0) + value

    def families(self) -> list[Family]:
        """All processes as one, in the order in which families came to be known."""
        return [family._replace(samples=tuple(self._samples(family))) for family in self._known.values()]

    def _samples(self, family: Family) -> Iterable[Sample]:
        growing = family.type in _GROWING
        rule: Rule = "sum" if growing else GAUGES.get(family.name, "join")
        merged: dict[_Key, float] = {}
        if growing:
            names = _sample_names(family)
            merged = {key: value for key, value in self._carried.items() if key[0] in names}
        for told in self._last.values():
            for other in told:
                if other.name == family.name:
                    _add(merged, other.samples, rule)
        return (Sample(name, labels, value) for (name, labels), value in _in_order(merged))


def render(families: Iterable[Family], accept: str = "") -> tuple[bytes, str]:
    """The families as text, and its content type: OpenMetrics 1.0 if the `Accept` value asks for it."""
    registry = CollectorRegistry()
    registry.register(_Told(families))
    return rendered(registry, accept)


class _Told:
    def __init__(self, families: Iterable[Family]) -> None:
        self._families = families

    def collect(self) -> Iterable[Metric]:
        for family in self._families:
            metric = Metric(family.name, family.help, family.type)
            for sample in family.samples:
                metric.add_sample(sample.name, dict(sample.labels), sample.value)
            yield metric


def _told_by(worker: str, family: Family) -> Family:
    """The family, with the process as a label where it is told for each."""
    if family.name in GAUGES or (family.type in _GROWING and not family.name.startswith(_OF_A_PROCESS)):
        return family
    samples = tuple(Sample(s.name, ((WORKER, worker), *s.labels), s.value) for s in family.samples)
    return family._replace(samples=samples)


def _key(sample: Sample) -> _Key:
    return sample.name, sample.labels


def _sample_names(family: Family) -> frozenset[str]:
    suffixes = ("_total", "_created") if family.type == "counter" else ("_bucket", "_count", "_sum", "_created")
    return frozenset(f"{family.name}{suffix}" for suffix in suffixes)


def _add(merged: dict[_Key, float], samples: Iterable[Sample], rule: Rule) -> None:
    for sample in samples:
        key = _key(sample)
        if key not in merged:
            merged[key] = sample.value
        elif rule == "sum":
            merged[key] += sample.value
        else:
            merged[key] = min(merged[key], sample.value) if rule == "min" else max(merged[key], sample.value)


def _in_order(merged: Mapping[_Key, float]) -> Iterable[tuple[_Key, float]]:
    """Samples of a series side by side, as OpenMetrics wants them: a new process may have brought new ones."""
    places: dict[Hashable, int] = {}
    for _, labels in merged:
        places.setdefault(_series(labels), len(places))
    return sorted(merged.items(), key=lambda item: (places[_series(item[0][1])], _bound(item[0])))


def _series(labels: tuple[tuple[str, str], ...]) -> tuple[tuple[str, str], ...]:
    return tuple(label for label in labels if label[0] != "le")


def _bound(key: _Key) -> tuple[int, float]:
    """Buckets by their bounds, then the others, as they came."""
    for name, value in key[1]:
        if name == "le":
            return (0, float(value))
    return (1, 0.0)
