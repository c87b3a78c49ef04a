"""The engine's handles of the candidates that queries have, kept for the next time.

What the engine is given of a policy is its form: effect and conditions. Whether the scope matches is settled before
(`index.matches`), so all documents whose policies differ in the document alone have one handle. A handle is kept by the
forms that are in it, so it outlives policy sets: a change of other policies leaves it. It is built
from text, for that is the one form that carries every valid policy, in a known order: the engine calls the policies
of a text `policy0`, `policy1`, …, and one that is added by the next number (pitfalls, Cedar engine).
"""

from __future__ import annotations

import asyncio
import itertools
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass

import cedarpy

from authz.core.cedar_scope import context_names
from authz.core.errors import DecisionUnavailable
from authz.pdp.index import Found
from authz.pdp.rows import united

AT_ONCE = 48
"""Policies that are parsed on the event loop, in less than a millisecond. More are parsed in a worker thread."""
MIN_BYTES = 16 * 1024 * 1024
MAX_BYTES = 256 * 1024 * 1024
BYTES_PER_POLICY = 4 * 1024
"""What handles may take: so much for each policy of the set, within the bounds above."""
ADDED = 3
"""Policies that are added to a base, each for itself (48 µs); more are parsed with all others (15 µs each)."""
Key = tuple[tuple[str, ...], tuple[str, ...]]
"""Forms of the shared policies, and of those that are the resource's own."""
_FIXED, _EACH, _CHARACTER = 5_500, 1_300, 10
"""Bytes that a handle takes: in any case, for each policy in it, and for each character that was parsed for it. Of a
policy that is shared with another handle the text is copied, what it was parsed to is not (cedarpy 4.12)."""


@dataclass(frozen=True, slots=True, eq=False)
class Candidates:
    """A handle of some forms, with what is to be known of them."""

    handle: cedarpy.PolicySet
    forms: Mapping[str, str]
    """By the engine's id, in its order: it calls the first one `policy0`."""
    names: frozenset[str] | None
    """Attributes of the context that one of them may read; None: any."""
    weight: int
    """Bytes, about."""


class PolicyHandles:
    """Makes handles and keeps them, the least used ones dropped. One for the life of a process."""

    def __init__(self) -> None:
        self._serials = itertools.count(1)
        self._kept: OrderedDict[Key, Candidates] = OrderedDict()
        self._weight = 0
        self._limit = MIN_BYTES
        self._making: dict[Key, asyncio.Future[Candidates]] = {}

    def serial(self) -> int:
        """A number that no other row of these handles has."""
        return next(self._serials)

    def expect(self, policies: int) -> None:
        """Bounds what is kept by how many policies the set in use has."""
        self._limit = min(MAX_BYTES, max(MIN_BYTES, BYTES_PER_POLICY * policies))
        self._shrink()

    def kept(self, found: Found) -> Candidates | None:
        """The handle for these policies, if it is at hand."""
        return self._at((found.shared.key, found.own.key))

    async def made(self, found: Found) -> Candidates:
        """The handle for these policies. Where many must be parsed, in a worker thread, once for all who wait.

        Raises:
            DecisionUnavailable: the engine refuses what it took when the policies were loaded.
        """
        shared, fresh = found.shared.key, _fresh(found)
        base = self._at((shared, ()))
        if base is None and len(shared) > AT_ONCE and len(fresh) <= ADDED:
            base = await self._in_thread((shared, ()))
        combined = self._combined(found, base) if base is not None or len(shared) + len(fresh) <= AT_ONCE else None
        return combined or await self._in_thread((shared, found.own.key))

    def make(self, found: Found) -> Candidates:
        """The handle for these policies, made here and now, however many. Raises as `made` does."""
        key: Key = (found.shared.key, found.own.key)
        return self._combined(found, self._at((key[0], ()))) or self._keep(key, _parsed(key))

    def _combined(self, found: Found, base: Candidates | None) -> Candidates | None:
        """What can be made quickly; None: too much must be parsed for that."""
        shared, fresh = found.shared.key, _fresh(found)
        key: Key = (shared, found.own.key)
        if shared and len(fresh) <= ADDED:
            if base is None and len(shared) <= AT_ONCE:
                base = self._keep((shared, ()), _parsed((shared, ())))
            if base is not None:
                with suppress(_Taken):
                    for form in fresh:
                        base = _added(base, form)
                    return self._keep(key, base)
        return self._keep(key, _parsed(key)) if len(shared) + len(fresh) <= AT_ONCE else None

    async def _in_thread(self, key: Key) -> Candidates:
        making = self._making.get(key)
        # A future belongs to its event loop, and one whose loop was closed is never done.
        if making is None or making.done() or making.get_loop() is not asyncio.get_running_loop():
            making = self._making[key] = asyncio.ensure_future(asyncio.to_thread(_parsed, key))
            making.add_done_callback(lambda done: self._done(key, done))
        # Shielded: one who waits no longer must not end it for the others.
        made = await asyncio.shield(making)
        return self._at(key) or self._keep(key, made)

    def _done(self, key: Key, making: asyncio.Future[Candidates]) -> None:
        if self._making.get(key) is making:
            del self._making[key]
        if not making.cancelled():
            making.exception()  # whoever waited was told; if nobody waits any more, nobody need be

    def _at(self, key: Key) -> Candidates | None:
        candidates = self._kept.get(key)
        if candidates is not None:
            self._kept.move_to_end(key)
        return candidates

    def _keep(self, key: Key, candidates: Candidates) -> Candidates:
        earlier = self._kept.pop(key, None)
        self._weight += candidates.weight - (earlier.weight if earlier is not None else 0)
        self._kept[key] = candidates
        self._shrink()
        return candidates

    def _shrink(self) -> None:
        while self._weight > self._limit and self._kept:
            _, dropped = self._kept.popitem(last=False)
            self._weight -= dropped.weight


class _Taken(Exception):
    """What was added is to the letter the first policy of the base, so the engine took it for that one."""


def _fresh(found: Found) -> list[str]:
    """The own forms that are not among the shared ones."""
    return [form for form in found.own.key if form not in found.shared.forms]


def _parsed(key: Key) -> Candidates:
    """All at once."""
    forms = tuple(dict.fromkeys((*key[0], *key[1])))
    with _refusal():
        handle = cedarpy.PolicySet.from_str("\n".join(forms), release_gil=len(forms) > AT_ONCE)
    if len(handle) != len(forms):
        raise DecisionUnavailable(detail="the engine counts other policies than were handed to it")
    return Candidates(
        handle=handle,
        forms={f"policy{place}": form for place, form in enumerate(forms)},
        names=united(context_names(form) for form in forms),
        weight=_FIXED + _EACH * len(forms) + _CHARACTER * sum(map(len, forms)),
    )


def _added(base: Candidates, form: str) -> Candidates:
    # One alone: of several the engine renames only those whose ids are taken, and not in their order.
    with _refusal():
        handle = base.handle.with_added_str(form)
    if len(handle) != len(base.forms) + 1:
        raise _Taken
    return Candidates(
        handle=handle,
        forms={**base.forms, f"policy{len(base.forms)}": form},
        names=united((base.names, context_names(form))),
        weight=_FIXED + sum(_EACH + len(other) for other in base.forms.values()) + _EACH + _CHARACTER * len(form),
    )


@contextmanager
def _refusal() -> Iterator[None]:
    try:
        yield
    except ValueError:
        text = "the engine refuses policies that it took when they were loaded; load them again"
        raise DecisionUnavailable(detail=text) from None
