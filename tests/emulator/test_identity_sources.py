"""Identity sources through a real client; the ids name edge cases of Verified Permissions' fact sheet (section H)."""

import asyncio
import json
from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.authn.issuing import jwk
from tests.authn.key_server import DISCOVERY, KeyServer
from tests.emulator.running import emulator, emulator_thread

POOL = "arn:aws:cognito-idp:eu-central-1:123456789012:userpool/eu-central-1_AbC123"
COGNITO: dict[str, Any] = {"cognitoUserPoolConfiguration": {"userPoolArn": POOL}}
OIDC: dict[str, Any] = {
    "openIdConnectConfiguration": {
        "issuer": "https://login.example.com",
        "entityIdPrefix": "Example",
        "groupConfiguration": {"groupClaim": "groups", "groupEntityType": "App::Group"},
        "tokenSelection": {"accessTokenOnly": {"principalIdClaim": "sub", "audiences": ["api"]}},
    }
}
MISSING = "ISmissing1111111111111"


def created(client: Any, store: str, configuration: Any = COGNITO, **more: Any) -> str:
    answer = client.create_identity_source(policyStoreId=store, configuration=configuration, **more)
    return str(answer["identitySourceId"])


def error(call: Any, **given: Any) -> tuple[str, int, str]:
    with pytest.raises(ClientError) as caught:
        call(**given)
    response = caught.value.response
    told = json.dumps([response["Error"]["Message"], response.get("fieldList", [])])
    return response["Error"]["Code"], response["ResponseMetadata"]["HTTPStatusCode"], told


class TestCognito:
    def test_required_members_of_the_answer(self, client, store):
        """H20: clients even where there are none, and the issuer. H58: the default type."""
        id = created(client, store)
        got = client.get_identity_source(policyStoreId=store, identitySourceId=id)
        issuer = "https://cognito-idp.eu-central-1.amazonaws.com/eu-central-1_AbC123"
        assert got["configuration"] == {
            "cognitoUserPoolConfiguration": {"userPoolArn": POOL, "clientIds": [], "issuer": issuer}
        }
        assert got["principalEntityType"] == "AWS::Cognito"
        assert got["details"] == {
            "clientIds": [],
            "userPoolArn": POOL,
            "discoveryUrl": f"{issuer}/.well-known/openid-configuration",
            "openIdIssuer": "COGNITO",
        }

    def test_what_was_given(self, client, store):
        given = {
            "cognitoUserPoolConfiguration": {
                "userPoolArn": POOL,
                "clientIds": ["a", "b"],
                "groupConfiguration": {"groupEntityType": "App::Group"},
            }
        }
        id = created(client, store, given, principalEntityType="App::User")
        got = client.get_identity_source(policyStoreId=store, identitySourceId=id)
        shown = got["configuration"]["cognitoUserPoolConfiguration"]
        assert shown["clientIds"] == ["a", "b"]
        assert shown["groupConfiguration"] == {"groupEntityType": "App::Group"}
        assert got["principalEntityType"] == "App::User"

    def test_a_pool_in_china(self, client, store):
        arn = POOL.replace("arn:aws:", "arn:aws-cn:").replace("eu-central-1", "cn-north-1")
        id = created(client, store, {"cognitoUserPoolConfiguration": {"userPoolArn": arn}})
        got = client.get_identity_source(policyStoreId=store, identitySourceId=id)
        shown = got["configuration"]["cognitoUserPoolConfiguration"]
        assert shown["issuer"] == "https://cognito-idp.cn-north-1.amazonaws.com.cn/cn-north-1_AbC123"

    def test_no_pools_arn(self, client, store):
        given = {"cognitoUserPoolConfiguration": {"userPoolArn": "arn:aws:s3:::bucket"}}
        code, _, said = error(client.create_identity_source, policyStoreId=store, configuration=given)
        assert (code, "userPoolArn" in said) == ("ValidationException", True)


class TestOpenIdConnect:
    def test_answer(self, client, store):
        id = created(client, store, OIDC, principalEntityType="App::User")
        got = client.get_identity_source(policyStoreId=store, identitySourceId=id)
        assert got["configuration"] == OIDC
        assert "details" not in got

    @pytest.mark.parametrize("kind", [None, " "], ids=["H58-omitted", "H58-blank"])
    def test_the_type_is_required(self, client, store, kind):
        more = {} if kind is None else {"principalEntityType": kind}
        code, status, said = error(client.create_identity_source, policyStoreId=store, configuration=OIDC, **more)
        assert (code, status) == ("ValidationException", 400)
        assert "Invalid PrincipalEntityType, must not be empty" in said

    def test_the_type_is_one(self, client, store):
        code, _, _ = error(
            client.create_identity_source, policyStoreId=store, configuration=OIDC, principalEntityType="My User"
        )
        assert code == "ValidationException"

    def test_the_issuer_is_https(self, client, store):
        given = json.loads(json.dumps(OIDC).replace("https:", "http:"))
        code, _, said = error(
            client.create_identity_source, policyStoreId=store, configuration=given, principalEntityType="App::User"
        )
        assert (code, "https://" in said) == ("ValidationException", True)


class TestOneOfAStore:
    def test_the_second_is_too_many(self, client, store):
        created(client, store)
        with pytest.raises(ClientError) as caught:
            created(client, store)
        response: Any = caught.value.response
        assert response["Error"] == {
            "Code": "ServiceQuotaExceededException",
            "Message": "Identity Source Limit Exceeded.",
        }
        assert response["ResponseMetadata"]["HTTPStatusCode"] == 402
        assert response["resourceType"] == "IDENTITY_SOURCE"

    def test_another_after_the_first_is_gone(self, client, store):
        id = created(client, store)
        client.delete_identity_source(policyStoreId=store, identitySourceId=id)
        assert created(client, store) != id

    def test_the_same_call_again(self, client, store):
        """H12."""
        first = created(client, store, clientToken="t-1" + store[:8])
        assert created(client, store, clientToken="t-1" + store[:8]) == first
        code, status, _ = error(
            client.create_identity_source,
            policyStoreId=store,
            configuration=COGNITO,
            principalEntityType="App::User",
            clientToken="t-1" + store[:8],
        )
        assert (code, status) == ("ConflictException", 409)


class TestUpdate:
    def test_another_provider(self, client, store):
        id = created(client, store, principalEntityType="App::User")
        before = client.get_identity_source(policyStoreId=store, identitySourceId=id)
        answer = client.update_identity_source(policyStoreId=store, identitySourceId=id, updateConfiguration=OIDC)
        got = client.get_identity_source(policyStoreId=store, identitySourceId=id)
        assert got["configuration"] == OIDC
        assert got["principalEntityType"] == "App::User"
        assert got["createdDate"] == before["createdDate"] == answer["createdDate"]
        assert got["lastUpdatedDate"] == answer["lastUpdatedDate"] > before["lastUpdatedDate"]

    def test_another_type(self, client, store):
        id = created(client, store)
        client.update_identity_source(
            policyStoreId=store, identitySourceId=id, updateConfiguration=COGNITO, principalEntityType="App::Person"
        )
        got = client.get_identity_source(policyStoreId=store, identitySourceId=id)
        assert got["principalEntityType"] == "App::Person"

    def test_missing(self, client, store):
        code, status, _ = error(
            client.update_identity_source, policyStoreId=store, identitySourceId=MISSING, updateConfiguration=COGNITO
        )
        assert (code, status) == ("ResourceNotFoundException", 404)


@pytest.mark.parametrize("operation", ["get_identity_source", "delete_identity_source"])
def test_what_is_not_there(client, store, operation):
    """H11: unlike a policy's, its deletion does not pretend."""
    with pytest.raises(client.exceptions.ResourceNotFoundException) as caught:
        getattr(client, operation)(policyStoreId=store, identitySourceId=MISSING)
    assert caught.value.response["resourceId"] == MISSING
    assert caught.value.response["resourceType"] == "IDENTITY_SOURCE"


class TestList:
    def test_empty(self, client, store):
        answer = client.list_identity_sources(policyStoreId=store)
        assert answer["identitySources"] == []
        assert "nextToken" not in answer

    @pytest.mark.parametrize(
        ("filters", "found"),
        [
            pytest.param(None, 1, id="none"),
            pytest.param([{"principalEntityType": "App::User"}], 1, id="its-type"),
            pytest.param([{"principalEntityType": "App::Robot"}], 0, id="another-type"),
            pytest.param([{"principalEntityType": "App::Robot"}, {"principalEntityType": "App::User"}], 1, id="either"),
            pytest.param([{}], 1, id="no-type"),
        ],
    )
    def test_filters(self, client, store, filters, found):
        id = created(client, store, OIDC, principalEntityType="App::User")
        more = {} if filters is None else {"filters": filters}
        listed = client.list_identity_sources(policyStoreId=store, **more)["identitySources"]
        assert [one["identitySourceId"] for one in listed] == [id] * found
        got = client.get_identity_source(policyStoreId=store, identitySourceId=id)
        del got["ResponseMetadata"]
        assert all(one == got for one in listed)

    def test_pages(self):
        """Only where the limit of one is raised there is more than one page."""
        from authz.emulator.services import Limits

        with emulator_thread(limits=Limits(identity_sources=5)) as running:
            client, store = running.client(), running.store()
            made = [created(client, store) for _ in range(5)]
            pages = client.get_paginator("list_identity_sources").paginate(
                policyStoreId=store, PaginationConfig={"PageSize": 2}
            )
            sizes = [[one["identitySourceId"] for one in page["identitySources"]] for page in pages]
            assert [len(page) for page in sizes] == [2, 2, 1]
            assert [id for page in sizes for id in page] == made


class TestDiscovery:
    """H59: the real service reads the discovery document at once; the emulator where it is told to."""

    async def test_off_by_default(self, client, store):
        assert created(client, store, OIDC, principalEntityType="App::User")

    @pytest.fixture
    async def issuer(self) -> Any:
        server = KeyServer()
        await server.start()
        server.keys = [jwk("RS256")]
        yield server
        await server.stop()

    @staticmethod
    async def made(issuer: KeyServer) -> str:
        oidc = {**OIDC["openIdConnectConfiguration"], "issuer": issuer.issuer}
        async with emulator(discovery=True, http_issuers=True) as running:

            def make() -> str:
                client, store = running.client(), running.store()
                return created(client, store, {"openIdConnectConfiguration": oidc}, principalEntityType="App::User")

            return await asyncio.to_thread(make)

    async def test_found(self, issuer):
        assert await self.made(issuer)
        assert issuer.asked[DISCOVERY] == 1

    async def test_not_found(self, issuer):
        issuer.answer(DISCOVERY, "no", status=404)
        with pytest.raises(ClientError) as caught:
            await self.made(issuer)
        response: Any = caught.value.response
        told = json.dumps(response["fieldList"])
        assert f"Failed to deserialize discovery document from issuer: {issuer.issuer}{DISCOVERY}" in told
