"""What tests switch: faults, lag and quotas of the emulator. By default it has none of them."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from enum import StrEnum
from threading import Lock
from typing import Any, Literal


class FaultKind(StrEnum):
    """How a call goes wrong."""

    THROTTLE = "throttle"
    """429 ThrottlingException."""
    LATENCY = "latency"
    """Answered late, by `seconds`."""
    ERROR = "error"
    """`status` (5xx) InternalServerException, before anything is done."""
    GARBAGE = "garbage"
    """Done, and answered with status 200 and a body that is no JSON."""
    TRUNCATE = "truncate"
    """Done, but the connection ends in the middle of the answer's body."""
    DROP = "drop"
    """The connection ends without an answer, before anything is done."""
    EXPIRED = "expired"
    """403 ExpiredTokenException."""
    DENIED = "denied"
    """403 AccessDeniedException."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """One way in which calls go wrong, and which calls."""

    kind: FaultKind
    operation: str | None = None
    """None: every operation."""
    calls: int | None = None
    """How many calls; None: all from now on."""
    after: int = 0
    """How many calls go well before it begins."""
    seconds: float = 0.0
    status: int = 500


class Switches:
    """Mutable. The control path writes it (`update`), and tests do directly, from any thread."""

    def __init__(self, quota: Literal["off", "real"] = "off") -> None:
        self.quota: Literal["off", "real"] = quota
        self.consistency_delay = 0.0
        """Seconds by which reads and decisions lag behind writes."""
        self.short_pages = False
        """Pages of lists hold half of what was asked for, though there is more: legal, and easily forgotten."""
        self.faults: tuple[Fault, ...] = ()
        # A test adds a fault while the emulator's thread takes one away.
        self._lock = Lock()
        self.calls: Counter[str] = Counter()
        """Calls of each operation so far, refused ones too."""

    # --- set by tests

    def throttle(self, operation: str | None = None, *, calls: int | None = None, after: int = 0) -> None:
        """Refuses calls with ThrottlingException."""
        self.add(Fault(kind=FaultKind.THROTTLE, operation=operation, calls=calls, after=after))

    def slow(self, seconds: float, operation: str | None = None, *, calls: int | None = None, after: int = 0) -> None:
        """Answers late."""
        self.add(Fault(kind=FaultKind.LATENCY, operation=operation, calls=calls, after=after, seconds=seconds))

    def fail(
        self, operation: str | None = None, *, calls: int | None = None, after: int = 0, status: int = 500
    ) -> None:
        """Refuses calls with a 5xx."""
        self.add(Fault(kind=FaultKind.ERROR, operation=operation, calls=calls, after=after, status=status))

    def garbage(self, operation: str | None = None, *, calls: int | None = None, after: int = 0) -> None:
        """Answers 200 with a body that is no JSON."""
        self.add(Fault(kind=FaultKind.GARBAGE, operation=operation, calls=calls, after=after))

    def truncate(self, operation: str | None = None, *, calls: int | None = None, after: int = 0) -> None:
        """Ends the connection in the middle of the body."""
        self.add(Fault(kind=FaultKind.TRUNCATE, operation=operation, calls=calls, after=after))

    def drop(self, operation: str | None = None, *, calls: int | None = None, after: int = 0) -> None:
        """Ends the connection without an answer."""
        self.add(Fault(kind=FaultKind.DROP, operation=operation, calls=calls, after=after))

    def expire(self, operation: str | None = None, *, calls: int | None = None, after: int = 0) -> None:
        """Refuses the caller's credentials as expired."""
        self.add(Fault(kind=FaultKind.EXPIRED, operation=operation, calls=calls, after=after))

    def deny(self, operation: str | None = None, *, calls: int | None = None, after: int = 0) -> None:
        """Refuses calls with AccessDeniedException."""
        self.add(Fault(kind=FaultKind.DENIED, operation=operation, calls=calls, after=after))

    def half_a_list(self, operation: str = "ListPolicies") -> None:
        """The next page comes, those after it fail."""
        self.fail(operation, after=1)

    def add(self, fault: Fault) -> None:
        """Adds a fault to those there are."""
        with self._lock:
            self.faults = (*self.faults, fault)

    def clear(self) -> None:
        """No faults, no lag, whole pages. Quota and counters stay."""
        with self._lock:
            self.faults = ()
        self.consistency_delay, self.short_pages = 0.0, False

    # --- asked by the emulator

    def due(self, operation: str) -> tuple[Fault, ...]:
        """The faults that this call meets. Counts the call in each that is for it."""
        if not self.faults:
            return ()
        met, left = [], []
        with self._lock:
            for fault in self.faults:
                if fault.operation not in {None, operation}:
                    left.append(fault)
                elif fault.after:
                    left.append(replace(fault, after=fault.after - 1))
                else:
                    met.append(fault)
                    left += _with_one_less(fault)
            self.faults = tuple(left)
        return tuple(met)

    # --- over HTTP

    def update(self, given: dict[str, Any]) -> None:
        """Sets what is named; `faults` replaces all of them.

        Raises:
            ValueError: with what is wrong. Nothing is set then.
        """
        unknown = given.keys() - {"consistencyDelay", "quota", "faults", "shortPages", "calls"}
        if unknown:
            raise ValueError(f"unknown: {', '.join(sorted(unknown))}")
        delay = given.get("consistencyDelay", self.consistency_delay)
        quota, short = given.get("quota", self.quota), given.get("shortPages", self.short_pages)
        if isinstance(delay, bool) or not isinstance(delay, (int, float)) or not 0 <= delay <= 3600:
            raise ValueError("consistencyDelay: expected seconds, from 0 to 3600")
        if quota not in ("off", "real"):
            raise ValueError("quota: expected off or real")
        if short is not True and short is not False:
            raise ValueError("shortPages: expected true or false")
        if given.get("calls", {}) != {}:
            raise ValueError("calls: can only be set to {}, which counts anew")
        faults = tuple(map(_fault, _list(given["faults"]))) if "faults" in given else self.faults
        self.consistency_delay, self.quota, self.short_pages = float(delay), quota, short
        with self._lock:
            self.faults = faults
        if "calls" in given:
            self.calls.clear()

    def shown(self) -> dict[str, Any]:
        """All of it, in the form that `update` takes."""
        return {
            "consistencyDelay": self.consistency_delay,
            "quota": self.quota,
            "shortPages": self.short_pages,
            "faults": [
                {name: getattr(fault, name) for name in ("kind", "operation", "calls", "after", "seconds", "status")}
                for fault in self.faults
            ],
            "calls": dict(self.calls),
        }


def _with_one_less(fault: Fault) -> list[Fault]:
    if fault.calls is None:
        return [fault]
    return [replace(fault, calls=fault.calls - 1)] if fault.calls > 1 else []


def _list(value: object) -> list[object]:
    if not isinstance(value, list) or len(value) > 100:
        raise ValueError("faults: expected a list, of at most 100")
    return value


def _fault(value: object) -> Fault:
    if not isinstance(value, dict) or value.keys() - {"kind", "operation", "calls", "after", "seconds", "status"}:
        raise ValueError("faults: expected objects of kind, operation, calls, after, seconds and status")
    kind, operation = value.get("kind"), value.get("operation")
    if kind not in list(FaultKind):
        raise ValueError(f"kind: expected one of {', '.join(FaultKind)}")
    if operation is not None and not isinstance(operation, str):
        raise ValueError("operation: expected a name, or null for all")
    calls = value.get("calls")
    return Fault(
        kind=FaultKind(kind),
        operation=operation,
        calls=None if calls is None else _whole(calls, "calls", 1, 1_000_000),
        after=_whole(value.get("after", 0), "after", 0, 1_000_000),
        seconds=_number(value.get("seconds", 0.0), "seconds", 0, 3600),
        status=_whole(value.get("status", 500), "status", 500, 599),
    )


def _whole(value: object, name: str, least: int, most: int) -> int:
    number = _number(value, name, least, most)
    if number != int(number):
        raise ValueError(f"{name}: expected a whole number")
    return int(number)


def _number(value: object, name: str, least: float, most: float) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not least <= value <= most:
        raise ValueError(f"{name}: expected a number from {least} to {most}")
    return float(value)
