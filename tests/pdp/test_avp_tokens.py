"""Handing the token on: the emulator verifies it again, and decides as the local point does on the same claims."""

import time

import pytest

from authz.core.cedar_schema import load_schema, to_json
from authz.core.claims import IdentitySource, identity_from_claims
from authz.core.errors import DecisionUnavailable, Reason
from authz.core.model import (
    Credential,
    Effect,
    Entity,
    EntitySlice,
    EntityUid,
    Policy,
    PolicySnapshot,
    Query,
    Verdict,
)
from authz.pdp.avp import AvpDecisionPoint, AvpDecisionSettings
from authz.pdp.avp_calls import AvpCalls
from authz.pdp.cedar import CedarDecisionPoint
from authz.pdp.compiled import compile_snapshot
from tests.authn.issuing import jwk, jwks, signed
from tests.emulator.running import emulator_thread

ISSUER = "https://login.example.com"
SCHEMA = """
namespace Shop {
    entity Group;
    entity User in [Group] = { email?: String, level?: Long };
    entity Doc = { owner?: User, open?: Bool };
    action read appliesTo { principal: [User], resource: [Doc], context: { token?: { scope?: Set<String> } } };
}
"""
POLICIES = (
    'permit(principal in Shop::Group::"ex|staff", action, resource);',
    'permit(principal, action, resource) when { principal has email && principal.email == "ann@example.com" };',
    "permit(principal, action, resource) when "
    '{ context has token && context.token has scope && context.token.scope.contains("docs") };',
    "permit(principal, action, resource) when "
    "{ resource has owner && resource.owner has level && resource.owner.level > 3 };",
    "forbid(principal, action, resource) when { resource has open && !resource.open };",
)


def claims(**more):
    now = int(time.time())
    known = {"iss": ISSUER, "sub": "ann", "aud": "shop", "iat": now, "exp": now + 600}
    return {**known, **more}


@pytest.fixture(scope="module", params=["access", "id"])
def world(request, tmp_path_factory):
    """An emulator whose store has an identity source of one kind of token."""
    kind = request.param
    keys = tmp_path_factory.mktemp("keys") / "jwks.json"
    keys.write_bytes(jwks(jwk("RS256")))
    selection = {
        "access": {"accessTokenOnly": {"principalIdClaim": "sub", "audiences": ["shop"]}},
        "id": {"identityTokenOnly": {"principalIdClaim": "sub", "clientIds": ["shop"]}},
    }[kind]
    with emulator_thread(keys={ISSUER: str(keys)}) as emulator:
        client = emulator.client()
        store = emulator.store(schema=to_json(load_schema(SCHEMA)), policies=POLICIES)
        client.create_identity_source(
            policyStoreId=store,
            principalEntityType="Shop::User",
            configuration={
                "openIdConnectConfiguration": {
                    "issuer": ISSUER,
                    "entityIdPrefix": "ex",
                    "groupConfiguration": {"groupClaim": "groups", "groupEntityType": "Shop::Group"},
                    "tokenSelection": selection,
                }
            },
        )
        yield World(emulator, client, store, kind)


class World:
    def __init__(self, emulator, client, store, kind):
        self.emulator, self.client, self.store, self.kind = emulator, client, store, kind
        policies = tuple(
            Policy(id=str(n), text=text, effect=Effect.PERMIT if text.startswith("permit") else Effect.FORBID)
            for n, text in enumerate(POLICIES)
        )
        self.local = CedarDecisionPoint(compile_snapshot(PolicySnapshot(version="v", policies=policies, schema=SCHEMA)))

    def remote(self, **changes):
        known = {"policy_store": self.store, "timeout": 20.0, "forward_token": True, "rate": 1e5, **changes}
        self.emulator.switches.calls.clear()
        return AvpDecisionPoint(AvpCalls(lambda: self.client, AvpDecisionSettings(**known)), schema=load_schema(SCHEMA))

    def query(self, told, *, prefix="ex", token=None, number=1, entities=()):
        source = IdentitySource(
            principal_type="Shop::User",
            prefix=prefix,
            group_type="Shop::Group",
            group_claim="groups",
            token=self.kind,
        )
        credential = Credential(kind=self.kind, secret=token or signed(told))
        identity = identity_from_claims(told, source, issuer=ISSUER, credential=credential)
        return Query(
            principal=identity.principal,
            action=EntityUid("Shop::Action", "read"),
            resource=EntityUid("Shop::Doc", str(number)),
            context={} if identity.token is None else {"token": identity.token},
            entities=(identity.entities, *entities),
            credential=identity.credential,
        )


def doc(number=1, **attributes):
    return EntitySlice(entities=(Entity(uid=EntityUid("Shop::Doc", str(number)), attributes=attributes),))


TOLD = [
    {},
    {"groups": ["staff"]},
    {"groups": "staff guests"},
    {"groups": ["guests"]},
    {"email": "ann@example.com", "level": 7},
    {"scope": "openid docs"},
    {"scope": "docs-not"},
]


@pytest.mark.parametrize("more", TOLD, ids=str)
async def test_with_and_without_the_token_as_here(world, more):
    for closed in (False, True):
        query = world.query(claims(**more), entities=(doc(open=not closed),))
        here = (await world.local.decide(query)).verdict
        with_token = world.remote()
        assert (await with_token.decide(query)).verdict is here
        assert world.emulator.switches.calls == {"IsAuthorizedWithToken": 1}
        without = world.remote(forward_token=False)
        assert (await without.decide(query)).verdict is here
        assert world.emulator.switches.calls == {"IsAuthorized": 1}
        with_token.calls.close()
        without.calls.close()


async def test_many_with_one_token_are_one_call(world):
    told = claims(groups=["staff"])
    token = signed(told)
    queries = [world.query(told, token=token, number=n, entities=(doc(n, open=n % 2 == 0),)) for n in range(30)]
    point = world.remote()
    found = await point.decide_many(queries)
    assert [one.verdict for one in found] == [Verdict.ALLOW, Verdict.DENY] * 15
    assert world.emulator.switches.calls == {"BatchIsAuthorizedWithToken": 1}
    point.calls.close()


async def test_an_owner_of_the_principals_type_is_not_lost(world):
    bob = EntityUid("Shop::User", "ex|bob")
    owned = EntitySlice(
        entities=(
            Entity(uid=EntityUid("Shop::Doc", "1"), attributes={"owner": bob}),
            Entity(uid=bob, attributes={"level": 5}),
        )
    )
    query = world.query(claims(), entities=(owned,))
    assert (await world.local.decide(query)).verdict is Verdict.ALLOW
    point = world.remote()
    assert (await point.decide(query)).verdict is Verdict.ALLOW
    assert world.emulator.switches.calls == {"IsAuthorized": 1}
    point.calls.close()


async def test_another_principal_than_ours_is_no_answer(world):
    point = world.remote()
    with pytest.raises(DecisionUnavailable) as caught:
        await point.decide(world.query(claims(groups=["staff"]), prefix=None))
    assert caught.value.reason is Reason.DECISION_MISCONFIGURED
    point.calls.close()


@pytest.mark.parametrize("changes", [{"exp": 1}, {"aud": "another"}, {"iss": "https://elsewhere.example.com"}], ids=str)
async def test_a_token_that_the_service_does_not_take_is_refused(world, changes):
    point = world.remote()
    query = world.query(claims(groups=["staff"]), token=signed(claims(groups=["staff"], **changes)))
    with pytest.raises(DecisionUnavailable) as caught:
        await point.decide(query)
    assert (caught.value.reason, caught.value.by_query) == (Reason.QUERY_REFUSED, True)
    assert query.credential is not None
    assert query.credential.secret not in caught.value.detail
    point.calls.close()
