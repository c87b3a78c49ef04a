"""Where records go, by the configuration."""

from __future__ import annotations

import logging
import secrets
import sys
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from authz.config.load import Config
from authz.core.errors import Misconfigured
from authz.core.ports import RecordSink
from authz.observe.audit import JsonLines
from authz.observe.log import STDERR
from authz.observe.metrics import Metrics, PolicySetReading, Readings, TokenCacheReading
from authz.observe.redact import PrincipalForm, Redaction
from authz.wiring.assembly import Assembly
from authz.wiring.readings import deciding_reading
from authz.wiring.runtime import Runtime
from authz.wiring.together import Together

_log = logging.getLogger("authz.record")


@asynccontextmanager
async def record_sinks(config: Config, together: Together | None = None) -> AsyncIterator[tuple[JsonLines, ...]]:
    """The decision record's sink, flushed at the end; none for `output: none`. `together`: with other workers.

    Raises:
        Misconfigured: the output cannot be opened.
    """
    if config.shape.record.output == "none":
        yield ()
        return
    sink = json_lines(config, together)
    await sink.astart()
    try:
        yield (sink,)
    finally:
        await sink.aclose()


def json_lines(config: Config, together: Together | None = None) -> JsonLines:
    """The sink, not yet started."""
    shape = config.shape.record
    target: int | Path
    if shape.output in {"stdout", "stderr"}:
        target = _descriptor(config, sys.stdout if shape.output == "stdout" else sys.stderr)
    else:
        target = config.path(shape.output)
    if shape.hash_key is not None:
        key = shape.hash_key.encode()
    else:
        key = together.hash_key if together is not None else secrets.token_bytes(32)
    redaction = Redaction(show=frozenset(shape.show), principal=PrincipalForm(shape.principal), principal_key=key)
    turns = None
    if together is not None:
        turns = together.turns_of_record(target if isinstance(target, int) else None, STDERR)
    return JsonLines(target, redaction=redaction, limit=shape.queue, report=_report, turns=turns)


def _descriptor(config: Config, stream: TextIO | None) -> int:
    # Not simply 1 or 2: where the stream is closed, the next file that is opened has its number.
    try:
        if stream is not None:
            return stream.fileno()
    except (OSError, ValueError):
        pass
    message = f"`{config.shape.record.output}` is closed, or no file of this process; name a file, or `none`"
    raise Misconfigured((config.problem(("record", "output"), message),))


def _report(message: str) -> None:
    _log.warning("%s", message)


@dataclass(frozen=True, slots=True, kw_only=True)
class Sinks:
    """What every check is told to, in a serving process."""

    metrics: Metrics
    lines: JsonLines | None

    @property
    def sinks(self) -> tuple[RecordSink, ...]:
        """In the order in which they are told."""
        return (self.metrics,) if self.lines is None else (self.metrics, self.lines)

    def reopen(self) -> None:
        """Opens the record's file anew, for log rotation."""
        if self.lines is not None:
            self.lines.reopen()


@asynccontextmanager
async def all_sinks(
    config: Config,
    runtime: Runtime,
    together: Together | None = None,
    *,
    certificates: Callable[[], Mapping[str, float]] = dict,
) -> AsyncIterator[Sinks]:
    """Metrics and the decision record; the record is flushed at the end.

    Args:
        config: what is configured.
        runtime: what decides.
        together: with other workers.
        certificates: address of each listener with TLS → seconds until its certificate ends.

    Raises:
        Misconfigured: the record's output cannot be opened.
    """
    async with record_sinks(config, together) as lines:
        sink = lines[0] if lines else None
        yield Sinks(metrics=runtime_metrics(runtime, sink, certificates), lines=sink)


def runtime_metrics(
    runtime: Runtime, lines: JsonLines | None, certificates: Callable[[], Mapping[str, float]] = dict
) -> Metrics:
    """Metrics that also read what the runtime counts."""
    readings = Readings(
        dropped=(lambda: lines.dropped) if lines is not None else dict,
        token_cache=lambda: TokenCacheReading(runtime.tokens.hits, runtime.tokens.misses, runtime.tokens.remembered),
        policy_set=lambda: PolicySetReading(runtime.assembly.compiled.version, runtime.freshness.age()),
        policy_reloads=lambda: runtime.freshness.reloads,
        key_set_ages=lambda: {issuer: keys.age for issuer, keys in runtime.key_sets.items()},
        in_flight=lambda: runtime.service.in_flight,
        certificate_expiries=certificates,
        deciding=lambda: deciding_reading(runtime.deciding, runtime.assembly.store, metrics.decided_here),
    )
    metrics = Metrics(routes=_route_names(runtime.assembly), readings=readings)
    runtime.on_apply.append(lambda assembly: metrics.replace_routes(_route_names(assembly)))
    return metrics


def _route_names(assembly: Assembly) -> list[str]:
    return [route.name for route in assembly.routes.routes]
