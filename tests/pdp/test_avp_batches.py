"""Which questions go together: never one that would be answered otherwise alone."""

from authz.core.model import Credential, Entity, EntitySlice, EntityUid, Query
from authz.pdp.avp_batches import MAX_ENTITIES, chunked
from authz.pdp.avp_questions import Questions
from authz.pdp.avp_settings import BATCH_LIMIT, AvpDecisionSettings

ANN, BOB, READ = EntityUid("User", "ann"), EntityUid("User", "bob"), EntityUid("Action", "read")
PRINCIPAL = EntitySlice(entities=(Entity(uid=ANN, attributes={"level": 1}),))


def doc(number):
    return EntityUid("Doc", str(number))


def described(number, **attributes):
    return EntitySlice(entities=(Entity(uid=doc(number), attributes=attributes or {"number": number}),))


def places(*queries, forward=False):
    questions = Questions(AvpDecisionSettings(policy_store="ps", forward_token=forward), None)
    return [chunk.places for chunk in chunked([questions.of(query) for query in queries])]


def ask(number, principal=ANN, **changes):
    return Query(principal=principal, action=READ, resource=doc(number), **changes)


def test_at_most_thirty_of_one_principal():
    found = places(*[ask(n, entities=(PRINCIPAL, described(n))) for n in range(75)])
    assert [len(one) for one in found] == [BATCH_LIMIT, BATCH_LIMIT, 15]
    assert sorted(place for chunk in found for place in chunk) == list(range(75))


def test_by_resource_where_that_is_common():
    users = [EntityUid("User", str(n)) for n in range(20)]
    assert places(*[ask(1, user) for user in users]) == [list(range(20))]


def test_two_principals_are_two_calls():
    assert places(ask(1), ask(2, BOB), ask(3), ask(4, BOB)) == [[0, 2], [1, 3]]


def test_two_tokens_are_two_calls():
    first, second = Credential(kind="access", secret="a"), Credential(kind="access", secret="b")
    again = Credential(kind="access", secret="a")
    queries = [ask(n, credential=one) for n, one in enumerate([first, second, again, None])]
    assert places(*queries, forward=True) == [[0, 2], [1], [3]]
    assert places(*queries) == [[0, 1, 2, 3]]


def test_nobody_hears_more_of_what_it_names():
    told, untold = ask(1, entities=(described(1),)), ask(1)
    assert places(told, untold) == [[0], [1]]
    assert places(untold, told) == [[0], [1]]
    assert places(told, ask(2, entities=(described(1),))) == [[0, 1]]


def test_one_entity_told_in_two_ways_is_told_apart():
    for first, second in ((1, True), (1, 2), ("1", 1)):
        given = [ask(1, entities=(described(1, rank=rank),)) for rank in (first, second)]
        assert places(*given) == [[0], [1]]
    equal = [ask(1, entities=(described(1, rank=1, a=2),)), ask(1, entities=(described(1, a=2, rank=1),))]
    assert places(*equal) == [[0, 1]]


def test_values_and_parents_are_named_too():
    first = ask(1, entities=(described(1),))
    in_context = ask(2, context={"other": (doc(1),)})
    in_attribute = ask(2, entities=(described(2, other={"a": doc(1)}),))
    as_parent = ask(2, entities=(EntitySlice(entities=(Entity(uid=doc(2), parents=frozenset((doc(1),))),)),))
    in_tag = ask(2, entities=(EntitySlice(entities=(Entity(uid=doc(2), tags={"a": doc(1)}),)),))
    for other in (in_context, in_attribute, as_parent, in_tag):
        assert places(first, other) == [[0], [1]]
        assert places(other, first) == [[0], [1]]


def test_not_too_many_entities_in_one_call():
    def many(number):
        entities = tuple(Entity(uid=EntityUid("Part", f"{number}-{n}"), tags={"a": 1}) for n in range(40))
        return ask(number, entities=(EntitySlice(entities=entities),))

    assert MAX_ENTITIES == 100
    assert places(*[many(n) for n in range(5)]) == [[0, 1], [2, 3], [4]]
