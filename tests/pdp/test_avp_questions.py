"""What Verified Permissions is told of a query: what the local point tells its engine, in typed form."""

from itertools import pairwise

import pytest

from authz.core.cedar_schema import parse_schema
from authz.core.errors import AttributesUnavailable, DecisionUnavailable, Reason
from authz.core.model import Credential, Entity, EntitySlice, EntityUid, Extension, Query
from authz.pdp.avp_questions import NOTHING_STORED, Questions, entity_list
from authz.pdp.avp_settings import AvpDecisionSettings

SCHEMA = parse_schema(
    """
    entity Group;
    entity User in [Group] { level?: Long, email?: String };
    entity Doc { owner?: User, open?: Bool };
    action read appliesTo {
        principal: [User], resource: [Doc],
        context: { token?: { scope?: Set<String> }, address?: ipaddr }
    };
    action list appliesTo { principal: [User], resource: [Doc] };
    """
)
ANN, STAFF, DOC = EntityUid("User", "p|ann"), EntityUid("Group", "p|staff"), EntityUid("Doc", "1")
READ = EntityUid("Action", "read")
TOKEN = EntitySlice(
    entities=(Entity(uid=ANN, attributes={"level": 3, "iat": 17}, parents=frozenset((STAFF,))), Entity(uid=STAFF))
)
ACCESS, IDENTITY = Credential(kind="access", secret="an.access.token"), Credential(kind="id", secret="an.id.token")


def question(*, schema=SCHEMA, settings=None, stored=NOTHING_STORED, **changes):
    query = Query(**{"principal": ANN, "action": READ, "resource": DOC, **changes})
    known = {"policy_store": "ps", **(settings or {})}
    return Questions(AvpDecisionSettings(**known), schema, stored).of(query)


def told(found):
    return entity_list(found.items.values()).get("entities", {}).get("entityList", [])


def test_a_query_in_the_services_words():
    found = question(
        context={"token": {"scope": ("a",), "jti": "x"}, "address": Extension("ip", "10.0.0.1")}, entities=(TOKEN,)
    )
    assert found.request() == {
        "principal": {"entityType": "User", "entityId": "p|ann"},
        "action": {"actionType": "Action", "actionId": "read"},
        "resource": {"entityType": "Doc", "entityId": "1"},
        "context": {
            "contextMap": {
                "address": {"ipaddr": "10.0.0.1"},
                "token": {"record": {"scope": {"set": [{"string": "a"}]}}},
            }
        },
    }
    assert told(found) == [
        {
            "identifier": {"entityType": "User", "entityId": "p|ann"},
            "attributes": {"level": {"long": 3}},
            "parents": [{"entityType": "Group", "entityId": "p|staff"}],
        }
    ]
    assert found.token() == {}


def test_without_context_and_entities_neither_is_sent():
    assert question().request().keys() == {"principal", "action", "resource"}
    assert entity_list([]) == {}


def test_a_context_that_the_action_does_not_declare_has_no_token():
    found = question(action=EntityUid("Action", "list"), context={"token": {"scope": ("a",)}})
    assert "context" not in found.request()


def test_without_a_schema_all_is_told():
    found = question(schema=None, context={"token": {"jti": "x"}}, entities=(TOKEN,))
    assert found.context == {"token": {"record": {"jti": {"string": "x"}}}}
    assert told(found)[0]["attributes"] == {"level": {"long": 3}, "iat": {"long": 17}}


def test_an_entity_of_two_sources_is_united_and_the_earlier_wins():
    other = EntityUid("Group", "legal")
    more = EntitySlice(
        entities=(Entity(uid=ANN, attributes={"level": 9, "email": "a@b"}, parents=frozenset((other,))),)
    )
    (item,) = told(question(entities=(TOKEN, more)))
    assert item["attributes"] == {"level": {"long": 3}, "email": {"string": "a@b"}}
    assert [parent["entityId"] for parent in item["parents"]] == ["legal", "p|staff"]


def test_actions_are_never_told():
    group = EntityUid("Action", "all")
    given = EntitySlice(entities=(Entity(uid=READ, parents=frozenset((group,))), Entity(uid=group)))
    assert told(question(entities=(given,))) == []


def test_what_is_no_action_cannot_be_asked_about():
    with pytest.raises(DecisionUnavailable) as caught:
        question(action=EntityUid("Deed", "read"))
    assert caught.value.reason is Reason.QUERY_REFUSED


@pytest.mark.parametrize(
    ("changes", "place"),
    [
        ({"context": {"a": {"__entity": {"type": "User", "id": "canary"}}}}, "context.a.__entity"),
        ({"context": {"a": 2**64}}, "context.a"),
        ({"context": {"__extn": {"fn": "ip", "arg": "canary"}}}, "context.__extn"),
        ({"entities": (EntitySlice(entities=(Entity(uid=DOC, tags={"a": 2**64}),)),)}, "Doc (tags).a"),
        ({"principal": EntityUid("User", "")}, "principal"),
        ({"resource": EntityUid("Doc", "canary" * 200)}, "resource"),
    ],
)
def test_what_cannot_be_said_is_refused(changes, place):
    with pytest.raises(DecisionUnavailable) as caught:
        question(**changes)
    assert (caught.value.reason, caught.value.by_query) == (Reason.QUERY_REFUSED, True)
    assert f"`{place}`" in caught.value.detail
    assert "canary" not in caught.value.detail


def test_claims_that_do_not_fit_are_refused_as_by_the_local_point():
    with pytest.raises(AttributesUnavailable) as caught:
        question(context={"token": {"scope": "canary"}})
    assert caught.value.reason is Reason.CLAIMS_MISMATCH
    wrong = EntitySlice(entities=(Entity(uid=ANN, attributes={"level": "canary"}),))
    with pytest.raises(AttributesUnavailable) as caught:
        question(entities=(wrong,))
    assert "canary" not in caught.value.detail


def test_a_value_without_end_is_refused():
    endless: dict = {}
    endless["a"] = endless
    with pytest.raises(DecisionUnavailable) as caught:
        question(context={"a": endless})
    assert caught.value.reason is Reason.QUERY_REFUSED


def test_too_many_entities_are_refused():
    many = EntitySlice(entities=tuple(Entity(uid=EntityUid("Doc", str(n)), tags={"a": 1}) for n in range(11)))
    with pytest.raises(DecisionUnavailable) as caught:
        question(entities=(many,), settings={"max_entities": 10})
    assert caught.value.reason is Reason.TOO_MANY_ENTITIES


def test_a_slice_is_put_into_words_once():
    questions = Questions(AvpDecisionSettings(policy_store="ps"), SCHEMA)
    first = questions.of(Query(principal=ANN, action=READ, resource=DOC, entities=(TOKEN,)))
    second = questions.of(Query(principal=ANN, action=READ, resource=EntityUid("Doc", "2"), entities=(TOKEN,)))
    assert first.items[ANN] is second.items[ANN]


BOB, ALL = EntityUid("User", "p|bob"), EntityUid("Group", "all")
STORED = {
    entity.uid: entity
    for entity in (
        Entity(uid=DOC, attributes={"owner": BOB, "open": True}),
        Entity(uid=BOB, attributes={"level": 1}),
        Entity(uid=STAFF, parents=frozenset((ALL,))),
        Entity(uid=ALL),
        Entity(uid=EntityUid("Doc", "2"), attributes={"owner": ANN}),
    )
}


def test_stored_entities_are_told_as_far_as_the_query_leads_to_them():
    given = EntitySlice(entities=(Entity(uid=DOC, attributes={"open": False}),))
    found = question(entities=(TOKEN, given), stored=STORED)
    assert found.items.keys() == {ANN, DOC, BOB, STAFF}
    by_id = {item["identifier"]["entityId"]: item for item in told(found)}
    assert by_id["1"]["attributes"] == {
        "open": {"boolean": False},
        "owner": {"entityIdentifier": {"entityType": "User", "entityId": "p|bob"}},
    }
    assert by_id["p|staff"]["parents"] == [{"entityType": "Group", "entityId": "all"}]
    in_context = question(stored=STORED, context={"other": (EntityUid("Doc", "2"),)}, resource=EntityUid("Doc", "3"))
    assert in_context.items.keys() == {EntityUid("Doc", "2")}


def test_too_many_stored_entities_are_refused():
    chain = [EntityUid("Folder", str(number)) for number in range(20)]
    stored = {one: Entity(uid=one, parents=frozenset((above,))) for one, above in pairwise(chain)}
    with pytest.raises(DecisionUnavailable) as caught:
        question(stored=stored, resource=chain[0], settings={"max_entities": 10})
    assert caught.value.reason is Reason.TOO_MANY_ENTITIES


def test_what_is_stored_of_the_tokens_entities_is_not_lost():
    found = question(credential=ACCESS, entities=(TOKEN,), settings={"forward_token": True}, stored=STORED)
    assert (found.token(), STAFF in found.items) == ({}, True)
    elsewhere = {uid: entity for uid, entity in STORED.items() if uid.type == "Doc"}
    assert question(credential=ACCESS, entities=(TOKEN,), settings={"forward_token": True}, stored=elsewhere).token()


# --- with the token -------------------------------------------------------------------------------------------------

FORWARD = {"forward_token": True}
OWNED = EntitySlice(entities=(Entity(uid=DOC, attributes={"owner": ANN}),))


@pytest.mark.parametrize(("credential", "member"), [(ACCESS, "accessToken"), (IDENTITY, "identityToken")])
def test_the_token_stands_for_the_principal(credential, member):
    found = question(
        credential=credential,
        context={"token": {"scope": ("a",)}, "address": Extension("ip", "10.0.0.1")},
        entities=(TOKEN, OWNED),
        settings=FORWARD,
    )
    assert found.token() == {member: credential.secret}
    assert found.request().keys() == {"action", "resource", "context"}
    assert found.context.keys() == {"address"}
    assert [item["identifier"]["entityType"] for item in told(found)] == ["Doc"]
    assert credential.secret not in repr(found.query)


@pytest.mark.parametrize(
    "credential", [None, Credential(kind="api_key", secret="canary"), Credential(kind="", secret="canary")]
)
def test_who_has_no_token_is_asked_about_without(credential):
    found = question(credential=credential, entities=(TOKEN,), settings=FORWARD)
    assert found.token() == {}
    assert "principal" in found.request()


def test_the_token_stays_here_by_default():
    found = question(credential=ACCESS, entities=(TOKEN,))
    assert found.token() == {}


@pytest.mark.parametrize(
    "entity",
    [
        Entity(uid=ANN, attributes={"level": 9}),
        Entity(uid=ANN, parents=frozenset((EntityUid("Team", "x"),))),
        Entity(uid=EntityUid("User", "bob"), attributes={"level": 1}),
        Entity(uid=STAFF, parents=frozenset((EntityUid("Group", "all"),))),
        Entity(uid=EntityUid("Group", "other"), tags={"a": 1}),
    ],
)
def test_what_cannot_be_told_beside_a_token_is_not_lost(entity):
    found = question(
        credential=ACCESS,
        context={"token": {"scope": ("a",)}},
        entities=(TOKEN, EntitySlice(entities=(entity,))),
        settings=FORWARD,
    )
    assert found.token() == {}
    assert "principal" in found.request()
    assert "token" in found.context
    assert any(entity.uid == EntityUid(*item["identifier"].values()) for item in told(found))


def test_the_groups_type_may_be_told():
    lone = EntitySlice(entities=(Entity(uid=ANN),))  # a token without groups
    group = EntitySlice(entities=(Entity(uid=EntityUid("Group", "x"), tags={"a": 1}),))
    assert question(credential=ACCESS, entities=(lone, group), settings=FORWARD).token()
    assert not question(credential=ACCESS, entities=(lone, group), settings={**FORWARD, "group_type": "Group"}).token()
