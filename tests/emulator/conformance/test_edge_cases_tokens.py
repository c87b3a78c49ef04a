"""What a naive emulator gets wrong with tokens. `h` and the number are those of the issue's list of edge cases."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pytest

from tests.emulator.conformance.world import (
    COGNITO,
    OIDC,
    POOL,
    SCHEMA,
    World,
    access,
    action,
    cognito,
    doc,
    oidc,
    refused,
    token,
    user,
    world,
)

PERMIT = "permit(principal, action, resource);"
INVALID = "ValidationException"
STAFF: dict[str, Any] = {"cognito:groups": ["staff"]}


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with world(tmp_path_factory.mktemp("keys")) as made:
        yield made


def store_of(
    here: World, configuration: dict[str, Any], *statements: str, principal: str | None = "App::User", **more: Any
) -> str:
    """A store with this identity source."""
    store = here.store(*(statements or (PERMIT,)), **more)
    kind = {"principalEntityType": principal} if principal is not None else {}
    here.client.create_identity_source(policyStoreId=store, configuration=configuration, **kind)
    return store


def when(condition: str) -> str:
    return f"permit(principal, action, resource) when {{ {condition} }};"


def of_oidc(**claims: Any) -> str:
    """An ID token of the OpenID Connect issuer."""
    return token(OIDC, **claims)


def test_h47_ids_of_principals_and_groups_have_the_prefix(here: World):
    pool = store_of(here, cognito(), f'permit(principal in App::Team::"{POOL}|staff", action, resource);')
    answer = here.ask_token(pool, identityToken=token(**STAFF))
    assert (answer["decision"], answer["principal"]) == ("ALLOW", user(f"{POOL}|alice"))
    bare = store_of(here, cognito(), 'permit(principal in App::Team::"staff", action, resource);')
    assert here.ask_token(bare, identityToken=token(**STAFF))["decision"] == "DENY"
    other = store_of(here, oidc(), 'permit(principal in App::Team::"corp|staff", action, resource);')
    answer = here.ask_token(other, identityToken=of_oidc(groups=["staff"]))
    assert (answer["decision"], answer["principal"]) == ("ALLOW", user("corp|alice"))
    named = store_of(here, oidc(principalIdClaim="email"))
    assert here.ask_token(named, identityToken=of_oidc(email="a@b.c"))["principal"] == user("corp|a@b.c")
    refused(lambda: here.ask_token(named, identityToken=of_oidc()), INVALID)


def test_h47_groups_are_not_mapped_unless_configured(here: World):
    store = store_of(here, cognito(groups=False), f'permit(principal in App::Team::"{POOL}|staff", action, resource);')
    assert here.ask_token(store, identityToken=token(**STAFF))["decision"] == "DENY"


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("App::User", "PrincipalEntityType App::User cannot be defined in Entities"),
        ("App::Team", "GroupEntityType App::Team cannot be defined in Entities"),
    ],
)
@pytest.mark.parametrize("batch", [False, True])
def test_h48_no_principal_or_group_is_sent_along_a_token(here: World, kind, message, batch):
    store = store_of(here, cognito())
    given: dict[str, Any] = {
        "policyStoreId": store,
        "accessToken": access(),
        "entities": {"entityList": [{"identifier": {"entityType": kind, "entityId": "x"}}]},
    }
    if batch:
        given["requests"] = [{"action": action("read"), "resource": doc("d1")}]
        error = refused(lambda: here.client.batch_is_authorized_with_token(**given), INVALID)
    else:
        error = refused(lambda: here.client.is_authorized_with_token(**given), INVALID)
    told = {error["Error"]["Message"], *(field["message"] for field in error.get("fieldList", ()))}
    assert message in told


def test_h48_resources_are_sent_along_and_an_action_as_a_bare_identifier(here: World):
    store = store_of(here, cognito(), when('resource in App::Folder::"f"'))
    folder = {"entityType": "App::Folder", "entityId": "f"}
    bare: dict[str, Any] = {"identifier": {"entityType": "App::Action", "entityId": "read"}}
    given: dict[str, Any] = {"entities": {"entityList": [{"identifier": doc("d1"), "parents": [folder]}, bare]}}
    assert here.ask_token(store, accessToken=access(), **given)["decision"] == "ALLOW"
    bare["parents"] = [{"entityType": "App::Action", "entityId": "viewer"}]
    refused(lambda: here.ask_token(store, accessToken=access(), **given), INVALID)


@pytest.mark.parametrize("groups", [True, False])
def test_h49_the_groups_claim_of_cognito_is_no_attribute(here: World, groups):
    store = store_of(here, cognito(groups=groups), when('principal has "cognito:groups"'))
    assert here.ask_token(store, identityToken=token(**STAFF))["decision"] == "DENY"


def test_h50_claims_of_an_id_token_are_attributes_and_those_of_an_access_token_context(here: World):
    attribute = store_of(here, cognito(), when('principal has email && principal.email == "a@b.c"'))
    in_context = store_of(here, cognito(), when('context has token && context.token.email == "a@b.c"'))
    claims = {"email": "a@b.c"}
    decisions = [
        here.ask_token(store, **given)["decision"]
        for store in (attribute, in_context)
        for given in ({"identityToken": token(**claims)}, {"accessToken": access(**claims)})
    ]
    assert decisions == ["ALLOW", "DENY", "DENY", "ALLOW"]
    custom = store_of(here, cognito(), when('principal["custom:department"] == "law"'))
    assert here.ask_token(custom, identityToken=token(**{"custom:department": "law"}))["decision"] == "ALLOW"


def test_h50_the_scope_of_an_access_token_is_a_set(here: World):
    store = store_of(here, cognito(), when('context.token.scope == ["docs/write", "docs/read"]'))
    assert here.ask_token(store, accessToken=access())["decision"] == "ALLOW"


def test_h51_with_both_tokens_attributes_are_of_one_and_context_of_the_other(here: World):
    store = store_of(here, cognito(), when('principal.email == "id" && context.token.email == "access"'))
    given = {"identityToken": token(email="id"), "accessToken": access(email="access")}
    answer = here.ask_token(store, **given)
    assert (answer["decision"], answer["errors"]) == ("ALLOW", [])
    refused(lambda: here.ask_token(store, **(given | {"accessToken": access(sub="bob")})), INVALID)
    refused(lambda: here.ask_token(store), INVALID)


@pytest.mark.parametrize(
    ("configuration", "given"),
    [
        (cognito(), {"identityToken": access()}),
        (cognito(), {"accessToken": token()}),
        (cognito(), {"identityToken": token(token_use=None)}),
        (oidc("identityTokenOnly"), {"accessToken": of_oidc()}),
        (oidc("accessTokenOnly"), {"identityToken": of_oidc()}),
        (oidc("accessTokenOnly"), {"identityToken": of_oidc(), "accessToken": of_oidc()}),
    ],
)
def test_h52_a_token_stands_in_the_member_of_its_kind(here: World, configuration, given):
    store = store_of(here, configuration)
    refused(lambda: here.ask_token(store, **given), INVALID)


@pytest.mark.parametrize(
    ("configuration", "given", "well"),
    [
        (cognito("web"), {"identityToken": token(aud="web")}, True),
        (cognito("web"), {"identityToken": token(aud="app")}, False),
        (cognito("web", "app"), {"accessToken": access()}, True),
        (cognito("web"), {"accessToken": access()}, False),
        (cognito("web"), {"accessToken": access(aud="web")}, False),
        (cognito(), {"accessToken": access(client_id="any")}, True),
        (cognito(), {"identityToken": token(aud="any")}, True),
        (oidc(clientIds=["web"]), {"identityToken": of_oidc(aud=["x", "web"])}, True),
        (oidc(clientIds=["web"]), {"identityToken": of_oidc(aud=["x"])}, False),
        (oidc(clientIds=["web"]), {"identityToken": of_oidc(aud=None)}, False),
        (oidc(), {"identityToken": of_oidc(aud=None)}, True),
        (oidc("accessTokenOnly", audiences=["api"]), {"accessToken": of_oidc(aud="api")}, True),
        (oidc("accessTokenOnly", audiences=["api"]), {"accessToken": of_oidc(aud="web")}, False),
        (oidc("accessTokenOnly", audiences=["api"]), {"accessToken": of_oidc(aud=None, cid="api")}, True),
        (oidc("accessTokenOnly", audiences=["api"]), {"accessToken": of_oidc(aud=None, client_id="api")}, True),
        (oidc("accessTokenOnly", audiences=["api"]), {"accessToken": of_oidc(aud="web", client_id="api")}, False),
        (oidc("accessTokenOnly"), {"accessToken": of_oidc(aud=None)}, True),
    ],
)
def test_h53_h54_clients_and_audiences_are_checked_where_there_are_any(here: World, configuration, given, well):
    store = store_of(here, configuration)
    if well:
        assert here.ask_token(store, **given)["decision"] == "ALLOW"
    else:
        refused(lambda: here.ask_token(store, **given), INVALID)


@pytest.mark.parametrize(
    ("groups", "member"),
    [("staff", True), ("dev staff", True), (["dev", "staff"], True), (["dev staff"], False), ("staffing", False), (None, False)],
)  # fmt: skip
def test_h55_groups_are_a_text_words_or_an_array(here: World, groups, member):
    store = store_of(here, oidc(group="roles"), 'permit(principal in App::Team::"corp|staff", action, resource);')
    found = here.ask_token(store, identityToken=of_oidc(roles=groups))["decision"]
    assert found == ("ALLOW" if member else "DENY")


@pytest.mark.parametrize("name", ["cognito", "custom", "dev"])
@pytest.mark.parametrize("kind", ["identityToken", "accessToken"])
def test_h56_a_claim_with_the_name_of_a_prefix_beside_prefixed_ones_is_refused(here: World, name, kind):
    store = store_of(here, cognito())
    made = token if kind == "identityToken" else access
    refused(lambda: here.ask_token(store, **{kind: made(**{name: "x", f"{name}:y": "z"})}), INVALID)


def test_h57_a_token_works_until_it_expires(here: World):
    store, held = store_of(here, cognito()), token(exp=int(time.time()) + 300)
    assert here.ask_token(store, identityToken=held)["decision"] == "ALLOW"
    here.emulator.clock.advance(200)
    assert here.ask_token(store, identityToken=held)["decision"] == "ALLOW"
    here.emulator.clock.advance(200)
    refused(lambda: here.ask_token(store, identityToken=held), INVALID)
    here.emulator.clock.advance(-400)


def changed(text: str) -> str:
    """The token with another signature of the same length."""
    head, _, signature = text.rpartition(".")
    return f"{head}.{signature[:10]}{'A' if signature[10] != 'A' else 'B'}{signature[11:]}"


@pytest.mark.parametrize(
    "held",
    [
        token(exp=1),
        token(exp=None),
        token(iss=OIDC),
        token(iss=COGNITO + "x"),
        token(name="second"),
        changed(token()),
        token().rpartition(".")[0] + ".",
        token(sub=None),
        token(sub=""),
        token(sub=7),
    ],
    ids=["expired", "no-exp", "issuer", "issuer-longer", "another-key", "signature", "no-signature", "no-sub", "empty-sub", "sub-number"],
)  # fmt: skip
@pytest.mark.parametrize("batch", [False, True])
def test_b6_a_bad_token_is_a_validation_error_that_does_not_tell_it(here: World, held, batch):
    store = store_of(here, cognito())
    given: dict[str, Any] = {"policyStoreId": store, "identityToken": held}
    if batch:
        given["requests"] = [{"action": action("read"), "resource": doc("d1")}]
    status, body = here.raw("BatchIsAuthorizedWithToken" if batch else "IsAuthorizedWithToken", given)
    assert (status, body["__type"]) == (400, INVALID)
    assert held.split(".")[1] not in str(body)


def test_b6_without_an_identity_source_no_token_is_good(here: World):
    store = here.store(PERMIT)
    refused(lambda: here.ask_token(store, identityToken=token()), INVALID)


def test_b6_the_callers_context_may_not_hold_the_token(here: World):
    store = store_of(here, cognito())
    given: dict[str, Any] = {"accessToken": access(), "context": {"contextMap": {"token": {"record": {}}}}}
    refused(lambda: here.ask_token(store, **given), INVALID)
    given["context"] = {"contextMap": {"other": {"long": 1}}}
    assert here.ask_token(store, **given)["decision"] == "ALLOW"


def test_h58_without_a_type_cognitos_principals_have_one_that_no_schema_knows(here: World):
    store = store_of(here, cognito(), principal=None)
    answer = here.ask_token(store, identityToken=token())
    assert answer["principal"] == {"entityType": "AWS::Cognito", "entityId": f"{POOL}|alice"}
    [shown] = here.client.list_identity_sources(policyStoreId=store)["identitySources"]
    assert shown["principalEntityType"] == "AWS::Cognito"
    error = refused(lambda: store_of(here, oidc(), principal=None), INVALID)
    assert [field["message"] for field in error["fieldList"]] == ["Invalid PrincipalEntityType, must not be empty"]


def test_h59_discovery_is_optional_and_when_asked_for_a_failure_has_the_services_words(here: World, tmp_path):
    store_of(here, oidc())  # offline, and well
    with world(tmp_path, discovery=True) as asking:
        nowhere = oidc()
        nowhere["openIdConnectConfiguration"]["issuer"] = "https://127.0.0.1:9"
        error = refused(lambda: store_of(asking, nowhere), INVALID)
        [field] = error["fieldList"]
        words = (
            "Failed to deserialize discovery document from issuer: https://127.0.0.1:9/.well-known/openid-configuration"
        )
        assert field["message"].startswith(words)
        store_of(asking, cognito())  # a pool has no such document to be read


def test_h60_a_required_attribute_fails_tokens_without_it_only_where_requests_are_checked(here: World, tmp_path):
    strict = {**SCHEMA["App"]["entityTypes"]["User"]["shape"]["attributes"], "email": {"type": "String"}}
    shape = {"type": "Record", "attributes": strict}
    types = {**SCHEMA["App"]["entityTypes"], "User": {"memberOfTypes": ["Team"], "shape": shape}}
    schema = {"App": {**SCHEMA["App"], "entityTypes": types}}
    lenient = store_of(here, cognito(), schema=schema)
    assert here.ask_token(lenient, identityToken=token())["decision"] == "ALLOW"
    with world(tmp_path, strict_requests=True) as checking:
        store = store_of(checking, cognito(), schema=schema)
        refused(lambda: checking.ask_token(store, identityToken=token()), INVALID)
        assert checking.ask_token(store, identityToken=token(email="a@b.c"))["decision"] == "ALLOW"


def test_the_batch_has_one_principal_and_echoes_requests_without_it(here: World):
    store = store_of(here, cognito(), 'permit(principal, action, resource == App::Doc::"1");')
    requests = [{"action": action("read"), "resource": doc(name)} for name in ("1", "2")]
    given = {"policyStoreId": store, "identityToken": token(), "requests": requests}
    answer = here.client.batch_is_authorized_with_token(**given)
    assert answer["principal"] == user(f"{POOL}|alice")
    assert [one["request"] for one in answer["results"]] == requests
    assert [one["decision"] for one in answer["results"]] == ["ALLOW", "DENY"]
    given["requests"] = requests * 16
    refused(lambda: here.client.batch_is_authorized_with_token(**given), INVALID)
