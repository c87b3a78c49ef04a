"""What those who decide have counted, as the metrics tell it."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from authz.observe.decision_metrics import DecidingReading
from authz.stores.file import FileStore
from authz.wiring.deciding import Deciding
from authz.wiring.policy_store import Store

if TYPE_CHECKING:
    from authz.pdp.fallback import Circuit
    from authz.pdp.parity import ParityCheck

NOBODY = "nobody"


def deciding_reading(deciding: Deciding, store: Store, decided: int) -> DecidingReading | None:
    """The reading; None where everything is decided here, by files.

    Args:
        deciding: who decides.
        store: where the policies come from.
        decided: decisions that were made here, or given again.
    """
    calls: Counter[tuple[str, str]] = Counter()
    replicated = not isinstance(store, FileStore)
    if not isinstance(store, FileStore):
        calls.update(store.calls)
    if deciding.calls is not None:
        calls.update(deciding.calls.calls)
    elif not replicated and deciding.cached() is None:
        return None
    return DecidingReading(
        calls=calls,
        throttled=deciding.calls.throttled if deciding.calls is not None else None,
        snapshot_writes={} if isinstance(store, FileStore) else store.snapshot_writes,
        cache=deciding.cached(),
        fallback=_fallback(deciding.circuit),
        fallback_open=deciding.circuit.open if deciding.circuit is not None else None,
        parity=_parity(deciding.parity),
        parity_alarm=deciding.parity.alarmed if deciding.parity is not None else None,
        saved_calls=decided if replicated else None,
    )


def _fallback(circuit: Circuit | None) -> dict[tuple[str, str], float]:
    if circuit is None:
        return {}
    counters = circuit.counters
    found: dict[tuple[str, str], float] = {("first", ""): counters.primary}
    found |= {("second", reason.value): count for reason, count in counters.secondary.items()}
    return found | {(NOBODY, reason.value): count for reason, count in counters.failed.items()}


def _parity(parity: ParityCheck | None) -> dict[str, float]:
    if parity is None:
        return {}
    counters = parity.counters
    found: dict[str, float] = {"agreed": counters.agreed, "passing": counters.passing}
    found |= {f"differs_{kind.value}": count for kind, count in counters.divergences.items()}
    found |= {f"failed_{reason.value}": count for reason, count in counters.failed.items()}
    found |= {f"dropped_{why}": count for why, count in counters.dropped.items()}
    return found
