"""The demo's issuer, read and believed by the product's own verifier over HTTP."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import cache
from types import SimpleNamespace

import jwt
import pytest
from aiohttp import ClientSession

from authz.authn.carriers import BEARER
from authz.authn.fetch import KeySource
from authz.authn.issuer import Issuer
from authz.authn.jwks import RemoteKeys
from authz.authn.jwt import TokenVerifier
from authz.authn.tokens import TokenAuthenticator
from authz.core.claims import IdentitySource
from authz.core.errors import Reason, Unauthenticated
from authz.core.model import CanonicalPath, EntityUid, Headers, Request
from authz.devtools.demo.issuer import AUDIENCE, DISCOVERY, LIFETIME, DemoIssuer, SigningKeys
from authz.devtools.demo.scenario import ALICE, DAVE
from authz.devtools.demo.service import loopback_socket, serving

NOW = 1_800_000_000.0


@cache
def keys() -> SigningKeys:
    return SigningKeys.generate()


def bearing(token: str) -> Request:
    return Request(
        id="r-1",
        method="GET",
        scheme="http",
        host="documents.example",
        path=CanonicalPath(text="/", segments=("",)),
        headers=Headers([("authorization", f"Bearer {token}")]),
    )


@asynccontextmanager
async def published() -> AsyncIterator[SimpleNamespace]:
    """A served issuer, and a verifier that knows it by its address alone."""
    bound, port = loopback_socket()
    issuer = DemoIssuer(f"http://127.0.0.1:{port}", keys(), now=lambda: NOW)
    async with (
        serving(issuer.application(), bound),
        ClientSession() as session,
        RemoteKeys(session, KeySource(issuer=issuer.address)) as remote,
    ):
        source = IdentitySource(principal_type="Documents::User", group_type="Documents::Role", group_claim="groups")
        terms = Issuer(
            name="demo",
            issuer=issuer.address,
            keys=remote,
            source=source,
            algorithms=frozenset({"RS256", "ES256"}),
            audiences=frozenset({AUDIENCE}),
        )
        verifier = TokenAuthenticator(TokenVerifier([terms], now=lambda: NOW), BEARER)
        yield SimpleNamespace(issuer=issuer, session=session, verifier=verifier)


@pytest.mark.parametrize("person", [ALICE, DAVE], ids=lambda person: person.name)
async def test_a_token_is_verified_with_the_keys_found_by_discovery(person):
    async with published() as demo:
        token = demo.issuer.token(person.name, person.claims, algorithm=person.algorithm)
        identity = await demo.verifier.authenticate(bearing(token))
    assert identity.principal == EntityUid("Documents::User", person.name)
    groups = {entity.uid.id for entity in identity.entities.entities if entity.uid.type == "Documents::Role"}
    assert groups == set(person.claims["groups"])
    assert set(identity.token["scope"]) == set(person.claims["scope"].split())
    assert identity.expires_at == NOW + LIFETIME


def test_both_algorithms_are_shown():
    assert {ALICE.algorithm, DAVE.algorithm} == {"RS256", "ES256"}


def test_a_token_lasts_for_an_hour_at_least():
    assert LIFETIME >= 3600


async def test_another_demo_s_token_is_not_believed():
    async with published() as demo:
        other = DemoIssuer(demo.issuer.address, await asyncio.to_thread(SigningKeys.generate), now=lambda: NOW)
        for algorithm in ("RS256", "ES256"):
            with pytest.raises(Unauthenticated) as refused:
                await demo.verifier.authenticate(bearing(other.token("alice", {}, algorithm=algorithm)))
            assert refused.value.reason is Reason.TOKEN_SIGNATURE


async def test_the_discovery_document_names_the_issuer_and_its_keys():
    async with published() as demo:
        async with demo.session.get(f"{demo.issuer.address}{DISCOVERY}") as response:
            document = json.loads(await response.read())
        async with demo.session.get(document["jwks_uri"]) as response:
            found = json.loads(await response.read())
    assert document["issuer"] == demo.issuer.address
    assert document["jwks_uri"].startswith(demo.issuer.address)
    assert {key["alg"] for key in found["keys"]} == {"RS256", "ES256"}


def test_only_public_keys_are_published():
    for key in DemoIssuer("http://127.0.0.1:1", keys()).jwks()["keys"]:
        assert not {"d", "p", "q", "dp", "dq", "qi", "k"} & key.keys()
        assert key["use"] == "sig"


def test_claims_cannot_replace_the_registered_ones():
    token = DemoIssuer("http://127.0.0.1:1", keys()).token("alice", {"sub": "mallory", "exp": 1, "amr": ["pwd"]})
    claims = jwt.decode(token, options={"verify_signature": False})
    assert claims["sub"] == "alice"
    assert claims["exp"] > 1
    assert claims["amr"] == ["pwd"]
    assert jwt.get_unverified_header(token)["typ"] == "at+jwt"


def test_the_keys_are_not_shown():
    assert "PrivateKey" not in repr(keys())
