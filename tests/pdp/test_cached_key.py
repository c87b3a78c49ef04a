"""A query's digest: equal for equal questions, whichever objects they are made of, and for no others."""

from __future__ import annotations

import gc
import sys
import weakref
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from authz.core.model import Credential, Entity, EntitySlice, EntityUid, Extension, Query, Value
from authz.pdp.cached_key import SHORT, QueryDigests, Unwritable

ANN, READ, DOC = EntityUid("User", "ann"), EntityUid("Action", "read"), EntityUid("Doc", "1")


def ask(**changes: Any) -> Query:
    return Query(**{"principal": ANN, "action": READ, "resource": DOC, **changes})


def digest(query: Query, version: str = "v1", *, by_credential: bool = False) -> bytes:
    return QueryDigests(by_credential=by_credential).digest(query, version)


# --- equal if and only if equal


TEXTS = st.sampled_from(["", "a", "ab", "b", "1", "t", "i1;", "s1:a", "1:a", "User", "\ud800", "\U00010000", "\0"])
UIDS = st.builds(EntityUid, TEXTS, TEXTS)
VALUES: st.SearchStrategy[Value] = st.recursive(
    st.one_of(TEXTS, st.booleans(), st.integers(-2, 2), UIDS, st.builds(Extension, TEXTS, TEXTS)),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3).map(tuple),
        st.dictionaries(TEXTS, inner, max_size=3),
        st.dictionaries(TEXTS, inner, max_size=3).map(MappingProxyType),
    ),
    max_leaves=6,
)
RECORDS = st.dictionaries(TEXTS, VALUES, max_size=2)
ENTITIES = st.builds(Entity, uid=UIDS, attributes=RECORDS, parents=st.frozensets(UIDS, max_size=2), tags=RECORDS)
SLICES = st.lists(ENTITIES, max_size=2).map(lambda entities: EntitySlice(entities=tuple(entities)))
QUERIES = st.builds(
    Query,
    principal=UIDS,
    action=UIDS,
    resource=UIDS,
    context=st.dictionaries(st.sampled_from(["a", "ab", "token", ""]), VALUES, max_size=2),
    entities=st.lists(SLICES, max_size=2).map(tuple),
)


def canonical(value: Value) -> object:
    """What a value means, comparable: kinds told apart, sets without order."""
    if isinstance(value, EntityUid | Extension):
        return (type(value).__name__, *value)
    if isinstance(value, tuple):
        return ("set", frozenset(canonical(member) for member in value))
    if isinstance(value, Mapping):
        return ("record", frozenset((name, canonical(member)) for name, member in value.items()))
    return (type(value).__name__, value)


def meaning(query: Query) -> object:
    slices = [
        [
            (entity.uid, canonical(entity.attributes), frozenset(entity.parents), canonical(entity.tags))
            for entity in source.entities
        ]
        for source in query.entities
    ]
    return query.principal, query.action, query.resource, canonical(query.context), slices


@given(one=QUERIES, other=QUERIES)
def test_two_queries_have_one_digest_if_and_only_if_they_mean_the_same(one: Query, other: Query) -> None:
    assert (digest(one) == digest(other)) == (meaning(one) == meaning(other))


@given(query=QUERIES, value=VALUES, other=VALUES)
def test_one_value_makes_the_difference_wherever_it_stands(query: Query, value: Value, other: Value) -> None:
    def placed(value: Value) -> list[Query]:
        uid, record = query.resource, {"a": value}
        described = EntitySlice(entities=(Entity(uid=uid, attributes=record),))
        tagged = EntitySlice(entities=(Entity(uid=uid, tags=record),))
        contexts: list[dict[str, Value]] = [record, {"token": record}, {"token": value}, {"b": ("x", value)}]
        return [ask(context=context) for context in contexts] + [ask(entities=(s,)) for s in (described, tagged)]

    mine, theirs = [digest(q) for q in placed(value)], [digest(q) for q in placed(other)]
    assert len(set(mine)) == len(mine)
    assert [a == b for a, b in zip(mine, theirs, strict=True)] == [canonical(value) == canonical(other)] * len(mine)


def turned(value: Value) -> Value:
    """The same, made of other objects and in another order."""
    if isinstance(value, EntityUid | Extension):
        return type(value)(*value)
    if isinstance(value, tuple):
        return tuple(turned(member) for member in reversed(value)) + value[:1]
    if isinstance(value, Mapping):
        return {name: turned(value[name]) for name in reversed(list(value))}
    return value


@given(query=QUERIES)
def test_neither_the_objects_nor_the_order_of_sets_and_records_count(query: Query) -> None:
    def again(record: Mapping[str, Value]) -> Mapping[str, Value]:
        return {name: turned(record[name]) for name in reversed(list(record))}

    slices = tuple(
        EntitySlice(
            entities=tuple(
                Entity(
                    uid=entity.uid,
                    attributes=again(entity.attributes),
                    parents=frozenset(sorted(entity.parents, reverse=True)),
                    tags=again(entity.tags),
                )
                for entity in source.entities
            )
        )
        for source in query.entities
    )
    same = Query(
        principal=EntityUid(*query.principal),
        action=query.action,
        resource=query.resource,
        context=again(query.context),
        entities=slices,
    )
    digests = QueryDigests()
    assert digests.digest(query, "v") == digests.digest(same, "v") == digests.digest(query, "v")


DIFFERENT = [
    ask(),
    ask(principal=EntityUid("Use", "rann")),
    ask(principal=EntityUid("Userann", "")),
    ask(principal=DOC, resource=ANN),
    ask(context={"a": True}),
    ask(context={"a": 1}),
    ask(context={"a": "1"}),
    ask(context={"a": "True"}),
    ask(context={"a": EntityUid("ip", "1.2.3.4")}),
    ask(context={"a": Extension("ip", "1.2.3.4")}),
    ask(context={"a": ("ip", "1.2.3.4")}),
    ask(context={"a": {"ip": "1.2.3.4"}}),
    ask(context={"a": ()}),
    ask(context={"a": {}}),
    ask(context={"a": ""}),
    ask(context={"a": 10**5000}),
    ask(context={"a": 10**5000 + 1}),
    ask(context={"token": {"a": 1}}),
    ask(context={"a": {"token": 1}}),
    ask(entities=(EntitySlice(),)),
    ask(entities=(EntitySlice(), EntitySlice())),
    ask(entities=(EntitySlice(entities=(Entity(uid=ANN), Entity(uid=DOC))),)),
    ask(entities=(EntitySlice(entities=(Entity(uid=ANN),)), EntitySlice(entities=(Entity(uid=DOC),)))),
    # The earlier source wins on attributes, so their order is part of the question.
    ask(entities=(EntitySlice(entities=(Entity(uid=DOC),)), EntitySlice(entities=(Entity(uid=ANN),)))),
    ask(entities=(EntitySlice(entities=(Entity(uid=ANN, attributes={"a": 1}),)),)),
    ask(entities=(EntitySlice(entities=(Entity(uid=ANN, tags={"a": 1}),)),)),
    ask(entities=(EntitySlice(entities=(Entity(uid=ANN, parents=frozenset({DOC})),)),)),
]


def test_what_looks_alike_and_is_not_has_digests_of_its_own() -> None:
    assert len({digest(query) for query in DIFFERENT}) == len(DIFFERENT)


def test_the_version_of_the_policy_set_is_part_of_it() -> None:
    query = ask(principal=EntityUid("1User", "ann"))
    assert len({digest(query, version) for version in ("", "1", "v1", "v2", "v11")}) == 5


# --- the credential


def test_the_credential_counts_only_where_it_is_forwarded() -> None:
    queries = [
        ask(),
        ask(credential=Credential(kind="access", secret="one")),
        ask(credential=Credential(kind="access", secret="two")),
        ask(credential=Credential(kind="id", secret="one")),
        ask(context={"-": True}),
    ]
    assert len({digest(query) for query in queries}) == 2
    assert len({digest(query, by_credential=True) for query in queries}) == len(queries)
    again = ask(credential=Credential(kind="access", secret="one"))
    assert digest(again, by_credential=True) == digest(queries[1], by_credential=True)


def test_of_a_credential_only_a_digest_is_kept() -> None:
    digests = QueryDigests(by_credential=True)
    credential = Credential(kind="access", secret="canary-in-the-mine")
    digests.digest(ask(credential=credential), "v")
    texts = [text for _, text in digests._credentials._kept.values()]
    assert texts
    assert "canary" not in "".join(texts)


# --- what is remembered


def long_slice(number: int = 0) -> EntitySlice:
    return EntitySlice(entities=(Entity(uid=ANN, attributes={"name": "x" * SHORT, "number": number}),))


def test_a_slice_is_forgotten_when_it_is_gone() -> None:
    digests = QueryDigests()
    source = long_slice()
    digests.digest(ask(entities=(source,)), "v")
    assert len(digests._slices._kept) == 1
    gone = weakref.ref(source)
    del source
    gc.collect()
    assert gone() is None
    assert not digests._slices._kept


def test_a_slice_in_the_place_of_one_that_is_gone_is_not_taken_for_it() -> None:
    digests, seen = QueryDigests(), set()
    for number in range(2000):  # objects that die at once: the allocator hands their places out again
        seen.add(digests.digest(ask(entities=(long_slice(number),)), "v"))
    assert len(seen) == 2000


def test_a_token_in_the_place_of_one_that_is_gone_is_not_taken_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("authz.pdp.cached_key.TOKENS", 3)
    digests, seen = QueryDigests(), set()
    for number in range(2000):
        seen.add(digests.digest(ask(context={"token": {"number": number}}), "v"))
    assert len(seen) == 2000
    assert len(digests._tokens) == 3


def test_digests_are_freed_when_what_they_remember_is_gone() -> None:
    gc.disable()
    try:
        digests = QueryDigests()
        source, credential = long_slice(), Credential(kind="access", secret="s")
        digests.digest(ask(entities=(source,), credential=credential), "v")
        kept = weakref.ref(digests)
        del digests
        assert kept() is None
        del source
    finally:
        gc.enable()


# --- what has none


class Odd:
    def __len__(self) -> int:
        return 1


def nested(levels: int) -> Value:
    value: Value = "x"
    for _ in range(levels):
        value = (value,)
    return value


@pytest.mark.parametrize(
    "context",
    [
        {"a": 1.5},
        {"a": None},
        {"a": ["list"]},
        {"a": {1: "name"}},
        {"a": Odd()},
        {"a": {"b": {"c": object()}}},
        {"token": {"a": 1.5}},
        {"token": nested(sys.getrecursionlimit())},
        {"a": nested(sys.getrecursionlimit())},
    ],
    ids=["float", "none", "list", "name", "object", "inside", "token", "deep-token", "deep"],
)
def test_what_is_no_cedar_value_has_no_digest(context: dict[str, Any]) -> None:
    with pytest.raises(Unwritable):
        digest(ask(context=context))
