"""What is said of a strict request or entity that does not fit: what is wrong, and no value."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from authz.core.cedar_schema import load_schema
from authz.core.errors import Unavailable
from authz.core.model import Entity, EntitySlice, EntityUid, Query
from authz.pdp.cedar import CedarDecisionPoint
from authz.pdp.misfits import LONGEST, entity_misfit, request_misfit
from tests.pdp.test_strictness import (
    ANN,
    ANYBODY,
    CANARY,
    CEDAR,
    DOC,
    JSON,
    MATRIX,
    MISFIT,
    MODES,
    NO_DECISION,
    READ,
    ann,
    compiled,
    query,
)

SCHEMA = load_schema(CEDAR)
NOPE = EntityUid("N::Nope", CANARY)


@pytest.mark.parametrize("case", MATRIX)
def test_something_is_found_exactly_where_the_engine_refuses(case):
    asked, _, requests, entities = MATRIX[case]
    assert bool(request_misfit(asked, SCHEMA)) == (requests == NO_DECISION)
    assert bool(entity_misfit(asked.entities[0].entities, SCHEMA)) == (entities == MISFIT)


@pytest.mark.parametrize(
    ("asked", "text"),
    [
        (query(action=EntityUid("N::Action", CANARY)), "the schema has no such action"),
        (query(principal=NOPE), "the schema has no entity type `N::Nope`, which is the principal's"),
        (query(resource=NOPE), "the schema has no entity type `N::Nope`, which is the resource's"),
        (query(resource=ANN), "the action takes no resource of type `N::User`; it takes `N::Doc`"),
        (query(action=EntityUid("N::Action", "reading")), "the action takes no principal of type `N::User`; it takes none"),
        (query(context={CANARY[:3]: CANARY}), "the schema does not declare `context.can`"),
        (query(context={"mfa": CANARY}), "`context.mfa` is of another type than the schema declares"),
        (query(context={"token": {"iat": 1, "act": {"sub": 1}}}), ""),
        (query(), ""),
    ],
)  # fmt: skip
def test_what_is_said_of_a_request(asked, text):
    for schema in (SCHEMA, load_schema(JSON)):
        assert request_misfit(asked, schema) == text


@pytest.mark.parametrize(
    ("entity", "text"),
    [
        (ann(), ""),
        (Entity(uid=READ), ""),
        (Entity(uid=NOPE), "the schema has no entity type `N::Nope`"),
        (Entity(uid=EntityUid("N::Colour", "red")), ""),
        (Entity(uid=EntityUid("N::Colour", CANARY)), "an id is none of those that the schema lists for `N::Colour`"),
        (Entity(uid=ANN), "the schema requires `N::User.level`, and it is missing"),
        (ann(iat=5), "the schema does not declare `N::User.iat`"),
        (ann(level=CANARY), "`N::User.level` is of another type than the schema declares"),
        (ann(home={"zip": CANARY}), "the schema requires `N::User.home.city`, and it is missing"),
        (
            Entity(uid=DOC, attributes={"labels": ("a", 1)}),
            "`N::Doc.labels[]` is of another type than the schema declares",
        ),
        (Entity(uid=DOC, attributes={"labels": ("a", "b"), "owner": ANN}), ""),
        (Entity(uid=DOC, attributes={"owner": DOC}), "`N::Doc.owner` is of another type than the schema declares"),
        (ann((EntityUid("N::Folder", CANARY),)), "the schema does not let `N::User` be in `N::Folder`"),
        (ann((ANN,)), "the schema does not let `N::User` be in `N::User`"),
        (Entity(uid=ANN, attributes={"level": 1}, tags={"k": CANARY}), "the schema declares no tags for `N::User`"),
        (Entity(uid=DOC, tags={CANARY: 5}), "`a tag of N::Doc` is of another type than the schema declares"),
        (Entity(uid=DOC, tags={CANARY: CANARY}), ""),
    ],
)
def test_what_is_said_of_an_entity(entity, text):
    assert entity_misfit((ann(), entity), SCHEMA) == text
    assert CANARY not in entity_misfit((entity,), load_schema(JSON))


def test_a_name_of_any_length_is_told_within_bounds():
    assert len(entity_misfit([Entity(uid=ANN, attributes={"level": 3, "n" * 10_000: 1})], SCHEMA)) < LONGEST + 60


values = st.recursive(
    st.just(3) | st.booleans() | st.just("x") | st.just(ANN),
    lambda inner: (
        st.lists(inner, max_size=2).map(tuple) | st.dictionaries(st.sampled_from(["city", "zip", "x"]), inner)
    ),
    max_leaves=4,
)
attributes = st.dictionaries(st.sampled_from(["level", "mail", "home", "other"]), values)
POINTS = {mode: CedarDecisionPoint(compiled(ANYBODY), MODES[mode]) for mode in ("requests", "entities")}


@given(attributes)
async def test_an_entity_is_refused_exactly_where_there_is_something_to_say(given_attributes):
    entity = Entity(uid=ANN, attributes=given_attributes)
    asked = Query(principal=ANN, action=READ, resource=DOC, entities=(EntitySlice(entities=(entity,)),))
    try:
        await POINTS["entities"].decide(asked)
    except Unavailable:
        assert entity_misfit((entity,), SCHEMA)
    else:
        assert entity_misfit((entity,), SCHEMA) == ""


@given(st.dictionaries(st.sampled_from(["mfa", "other"]), values))
async def test_a_request_is_refused_exactly_where_there_is_something_to_say(context):
    asked = query(context=context)
    try:
        await POINTS["requests"].decide(asked)
    except Unavailable:
        assert request_misfit(asked, SCHEMA)
    else:
        assert request_misfit(asked, SCHEMA) == ""
