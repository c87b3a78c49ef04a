"""Tokens: which are good, and whom they stand for. The ids name edge cases of the fact sheet (section H)."""

import asyncio
import json
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError
from hypothesis import given
from hypothesis import strategies as st

from authz.core.claims import IdentitySource, identity_from_claims
from authz.core.errors import Unauthenticated
from authz.core.model import EntityUid
from authz.emulator.errors import ValidationError
from authz.emulator.records import IdentitySourceRecord
from authz.emulator.subjects import Subject, subject_of
from authz.emulator.tokens import Terms, terms_of
from authz.pdp.cedar_json import to_json
from tests.authn.issuing import jwk, jwks, signed
from tests.authn.key_server import JWKS, KeyServer
from tests.emulator.running import Emulator, emulator, emulator_thread

POOL = "eu-central-1_AbC123"
ARN = f"arn:aws:cognito-idp:eu-central-1:123456789012:userpool/{POOL}"
COGNITO_ISSUER = f"https://cognito-idp.eu-central-1.amazonaws.com/{POOL}"
OIDC_ISSUER = "https://login.example.com"
ACCESS: dict[str, Any] = {"accessTokenOnly": {"principalIdClaim": "sub"}}
ID: dict[str, Any] = {"identityTokenOnly": {"principalIdClaim": "sub"}}
READ = {"actionType": "App::Action", "actionId": "Read"}
DOC = {"entityType": "App::Doc", "entityId": "doc"}


def cognito(groups: str | None = "App::Group", **pool: Any) -> dict[str, Any]:
    made: dict[str, Any] = {"userPoolArn": ARN, **pool}
    return {
        "cognitoUserPoolConfiguration": made | ({"groupConfiguration": {"groupEntityType": groups}} if groups else {})
    }


def oidc(selection: Mapping[str, Any] = ACCESS, *, prefix: str | None = "ex", **more: Any) -> dict[str, Any]:
    made: dict[str, Any] = {"issuer": OIDC_ISSUER, "tokenSelection": selection, **more}
    made.setdefault("groupConfiguration", {"groupClaim": "groups", "groupEntityType": "App::Group"})
    return {"openIdConnectConfiguration": made | ({"entityIdPrefix": prefix} if prefix else {})}


def subject(configuration: dict[str, Any], **tokens: dict[str, Any]) -> Subject:
    """Whom claims stand for; `id` and `access` are the tokens."""
    record = IdentitySourceRecord(
        store_id="S", id="I", principal_type="App::User", configuration=configuration, created="", updated=""
    )
    given: Any = {kind: {"sub": "u-1", **claims} for kind, claims in tokens.items()}
    return subject_of(given, terms_of(record))


class TestPrincipals:
    @pytest.mark.parametrize(
        ("configuration", "kind", "claims", "id"),
        [
            pytest.param(cognito(), "access", {}, f"{POOL}|u-1", id="H47-cognito"),
            pytest.param(cognito(), "id", {}, f"{POOL}|u-1", id="H47-cognito-id-token"),
            pytest.param(oidc(), "access", {}, "ex|u-1", id="H47-prefix"),
            pytest.param(oidc(prefix=None), "access", {}, "u-1", id="H47-no-prefix-bare"),
            pytest.param(
                oidc({"identityTokenOnly": {"principalIdClaim": "email"}}), "id", {"email": "a@b"}, "ex|a@b", id="claim"
            ),
            pytest.param(oidc({"accessTokenOnly": {}}), "access", {}, "ex|u-1", id="no-claim-is-sub"),
        ],
    )
    def test_id(self, configuration, kind, claims, id):
        assert subject(configuration, **{kind: claims}).principal == EntityUid("App::User", id)

    @pytest.mark.parametrize("value", ["", 7, None, ["u"], "x" * 612])
    def test_no_id(self, value):
        with pytest.raises(ValidationError):
            subject(oidc(), access={"sub": value})

    def test_both_tokens_of_one_subject(self):
        """H51: attributes of the one, context of the other."""
        found = subject(cognito(), id={"email": "a@b", "a": 1}, access={"client_id": "c", "b": 2})
        assert found.attributes == {"sub": "u-1", "email": "a@b", "a": 1}
        assert found.token == {"sub": "u-1", "client_id": "c", "b": 2}

    def test_two_subjects(self):
        """H51."""
        with pytest.raises(ValidationError, match="Invalid input"):
            subject(cognito(), id={}, access={"sub": "u-2"})


class TestGroups:
    @pytest.mark.parametrize(
        ("configuration", "claims", "groups"),
        [
            pytest.param(cognito(), {"cognito:groups": ["a", "b c"]}, [f"{POOL}|a", f"{POOL}|b c"], id="H47-cognito"),
            pytest.param(cognito(None), {"cognito:groups": ["a"]}, [], id="H49-not-mapped"),
            pytest.param(cognito(), {}, [], id="none"),
            pytest.param(oidc(), {"groups": "a"}, ["ex|a"], id="H55-string"),
            pytest.param(oidc(), {"groups": "a b"}, ["ex|a", "ex|b"], id="H55-words"),
            pytest.param(oidc(), {"groups": ["a", "b c"]}, ["ex|a", "ex|b c"], id="H55-array"),
            pytest.param(oidc(), {"groups": []}, [], id="H55-empty-array"),
            pytest.param(oidc(), {"groups": ""}, [], id="H55-empty-string"),
            pytest.param(oidc(), {"groups": None}, [], id="null"),
            pytest.param(oidc(), {"groups": ["a", "a"]}, ["ex|a"], id="twice"),
            pytest.param(oidc(prefix=None), {"groups": ["a"]}, ["a"], id="no-prefix"),
            pytest.param(oidc(), {"cognito:groups": ["a"]}, [], id="another-claim"),
        ],
    )
    def test_are_parents(self, configuration, claims, groups):
        found = subject(configuration, access=claims).groups
        assert found == tuple(EntityUid("App::Group", id) for id in groups)

    @pytest.mark.parametrize("groups", [7, {"a": 1}, ["a", 7], ["a", ""], [None]])
    def test_what_cannot_be_told_is_refused(self, groups):
        with pytest.raises(ValidationError):
            subject(oidc(), access={"groups": groups})

    def test_of_both_tokens(self):
        found = subject(cognito(), id={"cognito:groups": ["a", "b"]}, access={"cognito:groups": ["b", "c"]}).groups
        assert [group.id for group in found] == [f"{POOL}|{name}" for name in "abc"]

    @pytest.mark.parametrize(("count", "taken"), [(99, True), (100, False)])
    def test_at_most(self, count, taken):
        names = [str(n) for n in range(count)]
        if taken:
            assert len(subject(oidc(), access={"groups": names}).groups) == count
        else:
            with pytest.raises(ValidationError):
                subject(oidc(), access={"groups": names})


class TestClaims:
    def test_an_id_tokens_are_attributes(self):
        """H50."""
        found = subject(cognito(), id={"cognito:username": "ann", "custom:department": "x", "scope": "a b"})
        assert found.attributes == {
            "sub": "u-1",
            "cognito:username": "ann",
            "custom:department": "x",
            "scope": "a b",
        }
        assert found.token is None

    def test_an_access_tokens_are_context(self):
        """H50: and the principal has no attributes."""
        found = subject(cognito(), access={"client_id": "c", "scope": "a/read b", "exp": 7})
        assert found.attributes == {}
        assert found.token == {"sub": "u-1", "client_id": "c", "scope": ["a/read", "b"], "exp": 7}

    @pytest.mark.parametrize(
        ("scope", "told"),
        [("", []), ("a", ["a"]), (" a  b ", ["a", "b"]), (["a", "b"], ["a", "b"])],
        ids=["empty", "one", "blanks", "array"],
    )
    def test_scope_is_a_set(self, scope, told):
        """H50."""
        token = subject(oidc(), access={"scope": scope}).token
        assert token is not None
        assert token["scope"] == told

    @pytest.mark.parametrize("groups", ["App::Group", None])
    def test_cognito_groups_are_never_an_attribute(self, groups):
        """H49."""
        found = subject(cognito(groups), id={"cognito:groups": ["a"]})
        assert "cognito:groups" not in found.attributes

    @pytest.mark.parametrize(
        ("value", "told"),
        [
            pytest.param({"a": {"b": [1, "x", True]}}, {"a": {"b": [1, "x", True]}}, id="nested"),
            pytest.param({"a": None, "b": 1.5, "c": 2**63, "d": 1}, {"d": 1}, id="what-cedar-has-no-word-for"),
            pytest.param([1, None, 1.5, "x"], [1, "x"], id="within-an-array"),
            pytest.param({"x": {"__entity": {"type": "App::User", "id": "admin"}}}, {}, id="H41-entity"),
            pytest.param([{"__extn": {"fn": "ip", "arg": "::1"}, "b": 1}], [], id="H41-extension"),
            pytest.param("\ud800", ..., id="half-a-character"),
        ],
    )
    def test_values(self, value, told):
        found = subject(oidc(ID), id={"claim": value}).attributes
        assert found.get("claim", ...) == told

    @pytest.mark.parametrize("name", ["cognito", "custom", "dev"])
    @pytest.mark.parametrize("kind", ["id", "access"])
    def test_two_claims_of_one_name(self, name, kind):
        """H56."""
        with pytest.raises(ValidationError):
            subject(cognito(), **{kind: {name: "x", f"{name}:y": "z"}})
        assert subject(cognito(), **{kind: {name: "x"}})
        assert subject(cognito(), **{kind: {f"{name}:y": "z"}})


NAMES = st.sampled_from(
    ["groups", "cognito:groups", "scope", "custom", "custom:a", "dev", "email", "__entity", "_claim_names"]
)
TEXTS = st.sampled_from(["", "a", "a b", " a  b ", "a\tb", "\ud800", "__extn", "é", "x" * 620])
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**64), 2**64) | st.floats(allow_nan=False) | TEXTS,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["a", "b", "__entity", "__extn", "__expr", "\ud800"]), inner, max_size=3)
    ),
    max_leaves=6,
)


@given(
    claims=st.dictionaries(NAMES, JSON, max_size=5),
    sub=JSON | st.just("u-1"),
    kind=st.sampled_from(["id", "access"]),
    prefix=st.none() | st.just("p"),
    group_claim=st.none() | st.sampled_from(["groups", "cognito:groups"]),
)
def test_the_product_says_the_same_or_refuses(claims, sub, kind, prefix, group_claim):
    """The product's own rules against these. It is stricter: control characters, groups that stand elsewhere."""
    claims = {**claims, "sub": sub}
    group_type = "App::Group" if group_claim else None
    source = IdentitySource(
        principal_type="App::User", prefix=prefix, group_type=group_type, group_claim=group_claim, token=kind
    )
    terms = Terms(
        issuer="i",
        cognito=False,
        kinds=frozenset({kind}),
        principal_type="App::User",
        prefix=prefix,
        id_claim="sub",
        admitted=frozenset(),
        group_type=group_type,
        group_claim=group_claim or "",
    )
    try:
        identity = identity_from_claims(claims, source, issuer="i", credential=None)
    except Unauthenticated:
        return
    found = subject_of({kind: claims}, terms)
    principal = identity.entities.entities[0]
    assert principal.uid == found.principal
    assert principal.parents == frozenset(found.groups)
    assert {name: to_json(value) for name, value in principal.attributes.items()} == found.attributes
    token = identity.token
    assert (None if token is None else {name: to_json(value) for name, value in token.items()}) == found.token


# --- through a client


def claims(issuer: str = COGNITO_ISSUER, **changes: Any) -> dict[str, Any]:
    now = int(time.time())
    base = {"iss": issuer, "sub": "u-1", "exp": now + 600, "iat": now} | changes
    return {name: value for name, value in base.items() if value is not None}


def id_token(**changes: Any) -> str:
    return signed(claims(**{"token_use": "id", "aud": "client-1"} | changes))


def access_token(**changes: Any) -> str:
    return signed(claims(**{"token_use": "access", "client_id": "client-1"} | changes))


@pytest.fixture(scope="module")
def emulated(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Emulator]:
    file = tmp_path_factory.mktemp("keys") / "jwks.json"
    file.write_bytes(jwks(jwk("RS256"), jwk("ES256", kid="e1")))
    with emulator_thread(keys={COGNITO_ISSUER: str(file), OIDC_ISSUER: str(file)}) as running:
        yield running


POLICIES = [
    f'permit(principal == App::User::"{POOL}|u-1", action == App::Action::"Read", resource);',
    f'permit(principal in App::Group::"{POOL}|staff", action, resource == App::Doc::"staff");',
    'permit(principal, action, resource) when { principal["custom:team"] == "red" };',
    'permit(principal, action, resource) when { context.token.scope.contains("docs/write") };',
]


@pytest.fixture(scope="module")
def store(emulated: Emulator, client: Any) -> str:
    made = emulated.store(policies=POLICIES)
    client.create_identity_source(
        policyStoreId=made, configuration=cognito(clientIds=["client-1"]), principalEntityType="App::User"
    )
    return made


def asked(client: Any, store: str, **given: Any) -> dict[str, Any]:
    found: dict[str, Any] = client.is_authorized_with_token(
        policyStoreId=store, **{"action": READ, "resource": DOC, **given}
    )
    return found


def refused(client: Any, store: str, **given: Any) -> str:
    with pytest.raises(ClientError) as caught:
        asked(client, store, **given)
    response = caught.value.response
    assert response["Error"]["Code"] == "ValidationException"
    assert response["ResponseMetadata"]["HTTPStatusCode"] == 400
    told = json.dumps([response["Error"]["Message"], response.get("fieldList", [])])
    for token in (given.get("identityToken"), given.get("accessToken")):
        assert not token or not any(len(part) > 20 and part in told for part in token.split("."))
    return told


class TestDecisions:
    def test_the_principal_is_told(self, client, store):
        answer = asked(client, store, accessToken=access_token())
        assert answer["decision"] == "ALLOW"
        assert answer["principal"] == {"entityType": "App::User", "entityId": f"{POOL}|u-1"}

    @pytest.mark.parametrize(
        ("tokens", "decision"),
        [
            pytest.param({"accessToken": {}}, "DENY", id="neither"),
            pytest.param({"accessToken": {"cognito:groups": ["staff"]}}, "ALLOW", id="H47-group"),
            pytest.param({"accessToken": {"scope": "docs/read docs/write"}}, "ALLOW", id="H50-scope"),
            pytest.param({"identityToken": {"scope": "docs/write"}}, "DENY", id="H50-scope-of-an-id-token"),
            pytest.param({"identityToken": {"custom:team": "red"}}, "ALLOW", id="H50-attribute"),
            pytest.param({"accessToken": {"custom:team": "red"}}, "DENY", id="H50-attribute-of-an-access-token"),
            pytest.param({"identityToken": {"custom:team": "red"}, "accessToken": {}}, "ALLOW", id="H51-both"),
        ],
    )
    def test_what_policies_see(self, client, store, tokens, decision):
        make = {"identityToken": id_token, "accessToken": access_token}
        tokens = {name: make[name](sub="u-2", **changes) for name, changes in tokens.items()}
        resource = {"entityType": "App::Doc", "entityId": "staff"}
        assert asked(client, store, resource=resource, **tokens)["decision"] == decision

    def test_keys_of_another_kind(self, client, store):
        token = signed(claims(token_use="access", client_id="client-1"), alg="ES256", header={"kid": "e1"})
        assert asked(client, store, accessToken=token)["decision"] == "ALLOW"

    def test_entities_along_a_token(self, client, store):
        """Resources, and the bare names of actions."""
        entities = {
            "entityList": [
                {"identifier": DOC, "attributes": {"a": {"long": 1}}},
                {"identifier": {"entityType": "App::Action", "entityId": "Read"}},
            ]
        }
        assert asked(client, store, accessToken=access_token(), entities=entities)["decision"] == "ALLOW"

    @pytest.mark.parametrize(
        ("item", "words"),
        [
            pytest.param(
                {"identifier": {"entityType": "App::User", "entityId": "owner"}},
                "PrincipalEntityType App::User cannot be defined in Entities",
                id="H48-principal",
            ),
            pytest.param(
                {"identifier": {"entityType": "App::Group", "entityId": "g"}},
                "GroupEntityType App::Group cannot be defined in Entities",
                id="H48-group",
            ),
            pytest.param(
                {
                    "identifier": {"entityType": "App::Action", "entityId": "Read"},
                    "parents": [{"entityType": "App::Action", "entityId": "Any"}],
                },
                "an action in Entities is an identifier only",
                id="H36-action",
            ),
        ],
    )
    def test_entities_that_the_token_or_the_schema_defines(self, client, store, item, words):
        assert words in refused(client, store, accessToken=access_token(), entities={"entityList": [item]})

    @pytest.mark.parametrize("form", ["contextMap", "cedarJson"])
    def test_token_in_the_callers_context(self, client, store, form):
        context: dict[str, Any] = {"contextMap": {"token": {"record": {}}}, "cedarJson": '{"token": {}}'}
        given = {form: context[form]}
        assert "`token`" in refused(client, store, accessToken=access_token(), context=given)
        assert asked(client, store, identityToken=id_token(), context=given)["decision"] == "ALLOW"

    def test_context_beside_an_access_token(self, client, store):
        context = {"contextMap": {"a": {"long": 1}}}
        assert asked(client, store, accessToken=access_token(), context=context)["decision"] == "ALLOW"


def forged(token: str) -> str:
    """The payload of another user, under the same signature."""
    header, _, signature = token.split(".")
    _, payload, _ = access_token(sub="admin").split(".")
    return f"{header}.{payload}.{signature}"


class TestBadTokens:
    @pytest.mark.parametrize(
        ("token", "words"),
        [
            pytest.param(lambda: access_token(exp=int(time.time()) - 1), "expired", id="expired"),
            pytest.param(lambda: access_token(exp=None), "`exp`", id="no-expiry"),
            pytest.param(lambda: access_token(exp="soon"), "`exp`", id="expiry-is-a-text"),
            pytest.param(lambda: access_token(nbf=int(time.time()) + 600), "not valid yet", id="not-yet"),
            pytest.param(lambda: access_token(iss=OIDC_ISSUER), "issuer", id="another-issuer"),
            pytest.param(lambda: access_token(iss=None), "issuer", id="no-issuer"),
            pytest.param(lambda: access_token(token_use="id"), "token_use", id="H52-id-token"),
            pytest.param(lambda: access_token(token_use=None), "token_use", id="H52-untold"),
            pytest.param(lambda: access_token(client_id="client-2"), "client_id", id="H53-another-client"),
            pytest.param(lambda: access_token(client_id=None, aud="client-1"), "client_id", id="H53-audience-instead"),
            pytest.param(lambda: access_token(sub=None), "`sub`", id="no-subject"),
            pytest.param(lambda: forged(access_token()), "signature", id="forged"),
            pytest.param(lambda: signed(claims(token_use="access"), name="other"), "signature", id="another-key"),
            pytest.param(lambda: signed(claims(), header={"kid": "k9"}), "`kid`", id="unknown-key"),
            pytest.param(lambda: signed(claims(), alg="HS256"), "algorithm", id="shared-secret"),
            pytest.param(lambda: signed(claims(), header={"alg": "none"}), "algorithm", id="unsigned"),
            pytest.param(lambda: signed(claims(), header={"crit": ["x"]}), "header", id="critical"),
            pytest.param(lambda: signed(b"[]"), "malformed", id="no-object"),
            pytest.param(lambda: access_token().replace(".", ".AAAA", 1), "malformed", id="no-json"),
            pytest.param(lambda: access_token() + "=", "malformed", id="padded"),
            pytest.param(lambda: access_token(custom="x", **{"custom:y": "z"}), "`custom`", id="H56-two-of-a-name"),
        ],
    )
    def test_each_is_refused_and_told_why(self, client, store, token, words):
        assert words in refused(client, store, accessToken=token())

    @pytest.mark.parametrize(
        ("changes", "words"),
        [
            pytest.param({"aud": "client-2"}, "`aud`", id="H53-another-client"),
            pytest.param({"token_use": "access"}, "token_use", id="H52-access-token"),
        ],
    )
    def test_id_tokens(self, client, store, changes, words):
        assert words in refused(client, store, identityToken=id_token(**changes))

    def test_a_good_one_beside_a_bad_one(self, client, store):
        bad = access_token(exp=int(time.time()) - 1)
        assert "expired" in refused(client, store, identityToken=id_token(), accessToken=bad)

    def test_of_two_subjects(self, client, store):
        """H51."""
        said = refused(client, store, identityToken=id_token(), accessToken=access_token(sub="u-2"))
        assert "different subjects" in said

    def test_no_token(self, client, store):
        assert "identityToken" in refused(client, store)

    def test_no_identity_source(self, emulated, client):
        assert "no identity source" in refused(client, emulated.store(), accessToken=access_token())


class TestClients:
    @pytest.fixture
    def made(self, emulated: Emulator, client: Any) -> Any:
        def make(configuration: dict[str, Any]) -> str:
            store = emulated.store(policies=["permit(principal, action, resource);"])
            client.create_identity_source(
                policyStoreId=store, configuration=configuration, principalEntityType="App::User"
            )
            return store

        return make

    @pytest.mark.parametrize(
        ("configuration", "field", "changes", "taken"),
        [
            pytest.param(cognito(), "accessToken", {"token_use": "access"}, True, id="H53-cognito-any-client"),
            pytest.param(cognito(clientIds=[]), "identityToken", {"token_use": "id"}, True, id="H53-empty-list"),
            pytest.param(oidc(), "accessToken", {}, True, id="H53-oidc-any-audience"),
            pytest.param(oidc(), "identityToken", {}, False, id="H52-oidc-id-token-for-access"),
            pytest.param(oidc(ID), "accessToken", {}, False, id="H52-oidc-access-token-for-id"),
            pytest.param(oidc(ID), "identityToken", {"token_use": "access"}, False, id="H52-oidc-contradiction"),
            pytest.param(
                oidc({"accessTokenOnly": {"audiences": ["api"]}}), "accessToken", {"aud": "api"}, True, id="H54-aud"
            ),
            pytest.param(
                oidc({"accessTokenOnly": {"audiences": ["api"]}}),
                "accessToken",
                {"aud": ["x", "api"]},
                True,
                id="H54-aud-array",
            ),
            pytest.param(
                oidc({"accessTokenOnly": {"audiences": ["api"]}}), "accessToken", {"cid": "api"}, True, id="H54-cid"
            ),
            pytest.param(
                oidc({"accessTokenOnly": {"audiences": ["api"]}}),
                "accessToken",
                {"client_id": "api"},
                True,
                id="H54-client_id",
            ),
            pytest.param(
                oidc({"accessTokenOnly": {"audiences": ["api"]}}),
                "accessToken",
                {"aud": "x", "cid": "api"},
                False,
                id="H54-aud-counts-where-it-is",
            ),
            pytest.param(
                oidc({"accessTokenOnly": {"audiences": ["api"]}}), "accessToken", {}, False, id="H54-none-of-them"
            ),
            pytest.param(
                oidc({"identityTokenOnly": {"clientIds": ["c"]}}), "identityToken", {"aud": ["c"]}, True, id="id-token"
            ),
            pytest.param(
                oidc({"identityTokenOnly": {"clientIds": ["c"]}}),
                "identityToken",
                {"client_id": "c"},
                False,
                id="H54-id-token-has-no-substitute",
            ),
        ],
    )
    def test_clients_and_audiences(self, client, made, configuration, field, changes, taken):
        issuer = COGNITO_ISSUER if "cognitoUserPoolConfiguration" in configuration else OIDC_ISSUER
        store, token = made(configuration), signed(claims(issuer, **changes))
        if taken:
            assert asked(client, store, **{field: token})["decision"] == "ALLOW"
        else:
            refused(client, store, **{field: token})


class TestBatch:
    def test_one_principal_for_all(self, client, store):
        requests = [
            {"action": READ, "resource": DOC},
            {"action": {"actionType": "App::Action", "actionId": "Burn"}, "resource": DOC},
        ]
        token = access_token()
        answer = client.batch_is_authorized_with_token(policyStoreId=store, accessToken=token, requests=requests)
        assert answer["principal"] == {"entityType": "App::User", "entityId": f"{POOL}|u-1"}
        assert [one["request"] for one in answer["results"]] == requests
        assert [one["decision"] for one in answer["results"]] == ["ALLOW", "DENY"]
        for result, request in zip(answer["results"], requests, strict=True):
            alone = asked(client, store, accessToken=token, **request)
            assert result["determiningPolicies"] == alone["determiningPolicies"]
            assert result["errors"] == alone["errors"]

    @pytest.mark.parametrize(
        "given",
        [
            pytest.param({"requests": [{}] * 31}, id="H38-thirty-one"),
            pytest.param(
                {"requests": [{}, {"context": {"contextMap": {"token": {"long": 1}}}}]}, id="token-in-one-context"
            ),
            pytest.param(
                {
                    "requests": [{}],
                    "entities": {
                        "entityList": [
                            {"identifier": {"entityType": "App::Doc", "entityId": str(n)}} for n in range(101)
                        ]
                    },
                },
                id="a-hundred-and-one-resources",
            ),
            pytest.param(
                {
                    "requests": [{}],
                    "entities": {"entityList": [{"identifier": {"entityType": "App::User", "entityId": "x"}}]},
                },
                id="H48-principal",
            ),
        ],
    )
    def test_the_whole_call_is_refused(self, client, store, given):
        with pytest.raises(client.exceptions.ValidationException):
            client.batch_is_authorized_with_token(policyStoreId=store, accessToken=access_token(), **given)

    def test_thirty(self, client, store):
        requests = [{"action": READ, "resource": {"entityType": "App::Doc", "entityId": str(n)}} for n in range(30)]
        answer = client.batch_is_authorized_with_token(
            policyStoreId=store, accessToken=access_token(), requests=requests
        )
        assert [one["decision"] for one in answer["results"]] == ["ALLOW"] * 30


SCHEMA: dict[str, Any] = {
    "App": {
        "entityTypes": {
            "User": {"shape": {"type": "Record", "attributes": {"email": {"type": "String", "required": False}}}},
            "Doc": {},
        },
        "actions": {
            "Read": {
                "appliesTo": {
                    "principalTypes": ["User"],
                    "resourceTypes": ["Doc"],
                    "context": {
                        "type": "Record",
                        "attributes": {
                            "token": {
                                "type": "Record",
                                "attributes": {"scope": {"type": "Set", "element": {"type": "String"}}},
                                "required": False,
                            }
                        },
                    },
                }
            },
            "Bare": {"appliesTo": {"principalTypes": ["User"], "resourceTypes": ["Doc"]}},
        },
    }
}


class TestStrictRequests:
    def test_claims_are_cut_to_what_is_declared(self, tmp_path):
        """H60: what the schema requires must be in the token; what it does not know is left out."""
        file = tmp_path / "jwks.json"
        file.write_bytes(jwks(jwk("RS256")))
        with emulator_thread(keys={COGNITO_ISSUER: str(file)}, strict_requests=True) as running:
            client, store = (
                running.client(),
                running.store(SCHEMA, policies=["permit(principal, action, resource);"]),
            )
            client.create_identity_source(
                policyStoreId=store, configuration=cognito(None), principalEntityType="App::User"
            )
            assert asked(client, store, identityToken=id_token(email="a@b"))["decision"] == "ALLOW"
            assert asked(client, store, accessToken=access_token(scope="a"))["decision"] == "ALLOW"
            bare = {"actionType": "App::Action", "actionId": "Bare"}
            assert asked(client, store, accessToken=access_token(), action=bare)["decision"] == "ALLOW"
            refused(client, store, accessToken=access_token())
            refused(client, store, identityToken=id_token(email=7))


class TestKeys:
    """Where keys come from when no file says."""

    @pytest.fixture
    async def issuer(self) -> Any:
        server = KeyServer()
        await server.start()
        server.keys = [jwk("RS256")]
        yield server
        await server.stop()

    @staticmethod
    def answer(running: Emulator, issuer: str, *tokens: str) -> list[str]:
        client, store = running.client(), running.store(policies=["permit(principal, action, resource);"])
        configuration = {**oidc()["openIdConnectConfiguration"], "issuer": issuer}
        client.create_identity_source(
            policyStoreId=store,
            configuration={"openIdConnectConfiguration": configuration},
            principalEntityType="App::User",
        )
        return [asked(client, store, accessToken=token)["decision"] for token in tokens]

    async def test_discovery(self, issuer):
        async with emulator(http_issuers=True) as running:
            token = signed(claims(issuer.issuer))
            assert await asyncio.to_thread(self.answer, running, issuer.issuer, token, token) == ["ALLOW", "ALLOW"]
        assert issuer.asked[JWKS] == 1

    async def test_an_address_in_the_settings(self, issuer):
        async with emulator(keys={OIDC_ISSUER: issuer.issuer + JWKS}) as running:
            assert await asyncio.to_thread(self.answer, running, OIDC_ISSUER, signed(claims(OIDC_ISSUER))) == ["ALLOW"]

    def test_keys_that_cannot_be_read(self, tmp_path: Path):
        keys = {OIDC_ISSUER: str(tmp_path / "no.json")}
        with emulator_thread(keys=keys) as running, pytest.raises(ClientError) as caught:
            self.answer(running, OIDC_ISSUER, signed(claims(OIDC_ISSUER)))
        assert caught.value.response["Error"]["Code"] == "ValidationException"
        assert "keys cannot be read" in caught.value.response["Error"]["Message"]

    def test_a_file_is_read_again(self, tmp_path: Path):
        file = tmp_path / "jwks.json"
        file.write_bytes(jwks(jwk("ES256")))
        with emulator_thread(keys={OIDC_ISSUER: str(file)}) as running:
            with pytest.raises(ClientError):
                self.answer(running, OIDC_ISSUER, signed(claims(OIDC_ISSUER)))
            file.write_bytes(jwks(jwk("RS256")))
            assert self.answer(running, OIDC_ISSUER, signed(claims(OIDC_ISSUER))) == ["ALLOW"]
