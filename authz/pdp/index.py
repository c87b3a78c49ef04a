"""Which policies can matter to a query, told from their scopes without looking at the others.

A policy whose scope does not match is not evaluated: it can neither permit nor forbid nor err (Cedar documentation,
"How Cedar authorization works", policy satisfaction). So the answer of those whose scope matches is the answer of the
whole set. What a scope compares is known beforehand: the principal and the resource themselves, their types or one of
their ancestors, and the action or one of its groups. Policies stand in posting lists by these. The lists may yield more
than matches; `matches` is asked of each that they yield.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from operator import attrgetter
from types import MappingProxyType
from typing import Any

from authz.core.cedar_scope import Constraint, Scope
from authz.core.model import EntityUid
from authz.pdp.kept import kept
from authz.pdp.rows import Row

Rows = tuple[Row, ...]
Key = Hashable
Postings = Mapping[Any, Rows]
KEPT = 1024
"""Combinations of action and types whose unscoped policies are remembered; an application has few."""
TYPES = 64
"""Types of resources whose policies are remembered for one principal and action."""
_SERIAL = attrgetter("serial")
_NONE: Postings = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Place:
    """An entity of a query with all that it is in."""

    uid: EntityUid
    ancestors: frozenset[EntityUid]
    """Itself and every ancestor, also those that are only named as a parent and not given as entities."""


@dataclass(frozen=True, slots=True, eq=False)
class Group:
    """Policies, and what they are to the engine."""

    rows: Rows
    forms: Mapping[str, Rows]
    """Each form once, with the policies that have it."""
    key: tuple[str, ...]
    """The forms."""
    reads: frozenset[str]
    """Attributes of entities that one of them may read."""


@dataclass(frozen=True, slots=True, eq=False)
class Found:
    """The policies whose scope matches a query, each once."""

    shared: Group
    """Those that name neither principal nor resource."""
    own: Group
    """Those that name one of them, or one of its ancestors."""
    reads: frozenset[str]
    """Attributes of entities that one of them may read."""

    def __len__(self) -> int:
        """How many policies they are."""
        return len(self.shared.rows) + len(self.own.rows)

    def rows(self, form: str) -> Rows:
        """The policies that are this to the engine."""
        shared, own = self.shared.forms.get(form), self.own.forms.get(form)
        return shared + own if shared and own else shared or own or ()


def group(found: Iterable[Row]) -> Group:
    """The rows in one order, and their forms in one: what is kept for these is found by whoever has the same."""
    ordered = tuple(sorted(found, key=_SERIAL))
    forms: dict[str, list[Row]] = {}
    for row in ordered:
        forms.setdefault(row.form, []).append(row)
    # Sorted: the serials differ from set to set, the forms do not.
    by_form = {form: tuple(rows) for form, rows in forms.items()}
    return Group(ordered, by_form, tuple(sorted(forms)), frozenset().union(*{row.reads for row in ordered}))


_NOTHING = group(())


class PolicyIndex:
    """Immutable; `changed` gives another one, which shares the lists that did not change."""

    def __init__(
        self,
        lists: Mapping[str, Postings] = MappingProxyType({}),
        size: int = 0,
        counts: Mapping[frozenset[str], int] = MappingProxyType({}),
    ) -> None:
        self._lists = lists
        self._size = size
        self._counts = counts
        """How many policies read just these attributes."""
        self.reads = frozenset[str]().union(*counts)
        """Attributes of entities that any policy may read."""
        self._unscoped = kept(KEPT, self._find_unscoped)

    def __len__(self) -> int:
        """How many policies are indexed."""
        return self._size

    def changed(self, *, added: Sequence[Row] = (), removed: Sequence[Row] = ()) -> PolicyIndex:
        """The index with some rows more and some less. Costs by what changes, but for a copy of each list's keys."""
        gone = {row.serial for row in removed}
        lists = dict(self._lists)
        open_lists: dict[str, dict[Key, Rows | list[Row]]] = {}
        thinned: set[tuple[str, Key]] = set()
        for row in removed:
            for name, key in _postings(row):
                if (name, key) not in thinned:
                    thinned.add((name, key))
                    found = _opened(name, lists, open_lists)
                    found[key] = [other for other in found.get(key, ()) if other.serial not in gone]
        for row in added:
            for name, key in _postings(row):
                found = _opened(name, lists, open_lists)
                present = found.get(key)
                if isinstance(present, list):
                    present.append(row)
                else:
                    found[key] = [*present, row] if present else (row,)
        for name, found in open_lists.items():
            lists[name] = {key: tuple(rows) for key, rows in found.items() if rows}
        counts = Counter(self._counts)
        counts.update(row.reads for row in added)
        counts.subtract(row.reads for row in removed)
        return PolicyIndex(lists, self._size + len(added) - len(removed), +counts)

    def unscoped(self) -> Rows:
        """Policies that name neither principal nor resource: candidates of each query with their action and types."""
        return tuple(_once(row for rows in self._lists.get("open", _NONE).values() for row in rows))

    def narrowed(self, principal: Place, action: Place) -> Narrowed:
        """What the index says for one principal and action, whatever the resource."""
        lists = self._lists
        named = (
            *lists.get("principal equals", _NONE).get(principal.uid, ()),
            *_posted(lists.get("principal within", _NONE), principal.ancestors),
        )
        fitting = (row for row in named if _fits(row.scope.principal, principal) and _fits(row.scope.action, action))
        return Narrowed(self, principal, action, tuple(fitting))

    def literals(self) -> Collection[EntityUid]:
        """Entities that conditions name."""
        return self._lists.get(_LITERALS, _NONE).keys()

    def _find_unscoped(self, principal: str, action: Place, resource: str) -> Found:
        """What all principals and resources of these types have in common: one object for all, for it may be large."""
        rows = _posted(self._lists.get("open", _NONE), frozenset((*action.ancestors, _ANY_ACTION)))
        shared = group(
            _once(
                row
                for row in rows
                if row.scope.principal.type in (None, principal)
                and row.scope.resource.type in (None, resource)
                and _fits(row.scope.action, action)
            )
        )
        return Found(shared, _NOTHING, shared.reads)


class Narrowed:
    """The part of an index that one principal and one action leave. Immutable but for its cache."""

    def __init__(self, index: PolicyIndex, principal: Place, action: Place, named: Rows) -> None:
        self._index = index
        self._principal = principal
        self._action = action
        self._named = named
        self._found: dict[str, Found] = {}
        lists = index._lists  # noqa: SLF001
        self._equal = lists.get("resource equals", _NONE)
        self._both_equal = lists.get("both equal", _NONE)
        self._within = lists.get("resource within", _NONE)
        self._pairs = tuple(pair for pair in _PAIRS if f"{pair} principal" in lists)

    def found(self, resource: Place) -> Found:
        """The policies whose scope matches for one resource."""
        kind = resource.uid.type
        found = self._found.get(kind)
        if found is None:
            found = self._index._unscoped(self._principal.uid.type, self._action, kind)  # noqa: SLF001
            found = _with(found, [row for row in self._named if self._matches(row, resource)])
            if len(self._found) < TYPES:
                self._found[kind] = found
        named = self._naming(resource)
        return _with(found, [row for row in named if self._matches(row, resource)]) if named else found

    def _matches(self, row: Row, resource: Place) -> bool:
        return matches(row.scope, self._principal, self._action, resource)

    def _naming(self, resource: Place) -> list[Row]:
        """Policies that name the resource or what it is in, and the principal if they name one too."""
        rows: list[Row] = []
        if self._equal:
            rows += self._equal.get(resource.uid, ())
        if self._both_equal:
            rows += self._both_equal.get((self._principal.uid, resource.uid), ())
        if self._within:
            rows += _posted(self._within, resource.ancestors)
        for pair in self._pairs:
            rows += self._both(pair, resource)
        return rows

    def _both(self, pair: str, resource: Place) -> Iterator[Row]:
        """Of policies that name both: the shorter of the two unions, less what the other side does not match."""
        by_resource = self._union(pair, "resource", resource)
        if not by_resource:  # of most resources no policy speaks
            return
        by_principal = self._union(pair, "principal", self._principal)
        if sum(map(len, by_principal)) <= sum(map(len, by_resource)):
            rows, place, other = by_principal, resource, "resource"
        else:
            rows, place, other = by_resource, self._principal, "principal"
        for found in rows:
            for row in found:
                if _fits(getattr(row.scope, other), place):
                    yield row

    def _union(self, pair: str, side: str, place: Place) -> list[Rows]:
        postings = self._index._lists.get(f"{pair} {side}", _NONE)  # noqa: SLF001
        if pair.startswith("equals") if side == "principal" else pair.endswith("equals"):
            found = postings.get(place.uid)
            return [found] if found else []
        return list(_lists_of(postings, place.ancestors))


_ANY_ACTION = EntityUid("", "")
"""Key of policies that take every action; no entity is called so."""
_PAIRS = ("equals within", "within equals", "within within")
"""What policies that name both principal and resource compare them by. Two `==` have a list of their own."""
_LITERALS = "literals"


def _kind(constraint: Constraint) -> str:
    if constraint.equals is not None:
        return "equals"
    return "within" if constraint.is_in else "open"


def _named(constraint: Constraint) -> EntityUid | None:
    return constraint.equals or (constraint.within[0] if constraint.within else None)


def _postings(row: Row) -> Iterator[tuple[str, Key]]:
    """In which lists a row stands, and under what. The one place that says so, for adding and for taking out."""
    for literal in row.literals:
        yield _LITERALS, literal
    principal, resource = row.scope.principal, row.scope.resource
    pair = f"{_kind(principal)} {_kind(resource)}"
    if pair == "open open":
        action = row.scope.action
        keys = (action.equals,) if action.equals is not None else action.within
        for key in dict.fromkeys(keys) if action.equals is not None or action.is_in else (_ANY_ACTION,):
            yield "open", key
    elif pair == "equals equals":
        yield "both equal", (principal.equals, resource.equals)
    elif pair in _PAIRS:
        yield f"{pair} principal", _named(principal)
        yield f"{pair} resource", _named(resource)
    elif pair.endswith("open"):
        yield f"principal {_kind(principal)}", _named(principal)
    else:
        yield f"resource {_kind(resource)}", _named(resource)


def _opened(
    name: str, lists: Mapping[str, Postings], opened: dict[str, dict[Key, Rows | list[Row]]]
) -> dict[Key, Rows | list[Row]]:
    if name not in opened:
        opened[name] = dict(lists.get(name, _NONE))
    return opened[name]


def _posted(postings: Postings, uids: frozenset[EntityUid]) -> Iterator[Row]:
    for rows in _lists_of(postings, uids):
        yield from rows


def _lists_of(postings: Postings, uids: frozenset[EntityUid]) -> Iterator[Rows]:
    """The lists under any of the uids; looks at the shorter of the two."""
    if len(postings) < len(uids):
        return (rows for uid, rows in postings.items() if uid in uids)
    return (postings[uid] for uid in uids if uid in postings)


def _with(found: Found, rows: Sequence[Row]) -> Found:
    if not rows:
        return found
    own = group((*found.own.rows, *rows))
    return Found(found.shared, own, found.shared.reads | own.reads)


def matches(scope: Scope, principal: Place, action: Place, resource: Place) -> bool:
    """Does a scope match? All of it, told from nothing but the scope and the places.

    The engine is not asked again, so this must be Cedar's rule to the letter (Cedar documentation, "How Cedar
    authorization works", policy satisfaction; "Basic policy construction in Cedar", scope): `==` is the entity itself;
    `in` the entity itself or one of its ancestors, of a list any; `is` its type; nothing matches everything; all three
    must match.
    """
    return _fits(scope.principal, principal) and _fits(scope.action, action) and _fits(scope.resource, resource)


def _fits(constraint: Constraint, place: Place) -> bool:
    if constraint.type is not None and constraint.type != place.uid.type:
        return False
    if constraint.equals is not None:
        return constraint.equals == place.uid
    if constraint.slot:  # of a template that is not linked; it stands in no index
        return False
    return not constraint.is_in or not place.ancestors.isdisjoint(constraint.within)


def _once(rows: Iterable[Row]) -> Iterator[Row]:
    """Each row once: an action may be in two of the groups that a policy names."""
    seen: set[int] = set()
    for row in rows:
        if row.serial not in seen:
            seen.add(row.serial)
            yield row
