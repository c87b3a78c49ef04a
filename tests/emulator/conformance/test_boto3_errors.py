"""Each error that an operation is said to have, brought about through boto3, and held against botocore's model."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from types import SimpleNamespace
from typing import Any

import pytest
from botocore import xform_name

from authz.emulator.services import Limits
from tests.emulator.conformance.model import errors_of, operations
from tests.emulator.conformance.world import (
    SCHEMA,
    World,
    action,
    cognito,
    doc,
    oidc,
    refused,
    static,
    token,
    user,
    world,
)

VALID, MISSING, CONFLICT, QUOTA, STATE, TAGS = (
    "ValidationException",
    "ResourceNotFoundException",
    "ConflictException",
    "ServiceQuotaExceededException",
    "InvalidStateException",
    "TooManyTagsException",
)
PERMIT = 'permit(principal == App::User::"alice", action, resource == App::Doc::"d1");'
TEMPLATE = "permit(principal == ?principal, action, resource);"
ARN = "arn:aws:verifiedpermissions::123456789012:policy-store/"
WIDE = "permit(principal, action, resource);"
OFF = {"mode": "OFF"}

Given = Callable[[SimpleNamespace], dict[str, Any]]

MINIMAL: Mapping[str, Given] = {
    "IsAuthorized": lambda at: {"policyStoreId": at.store},
    "IsAuthorizedWithToken": lambda at: {"policyStoreId": at.store, "accessToken": at.token},
    "BatchIsAuthorized": lambda at: {"policyStoreId": at.store, "requests": [{"principal": user("a")}]},
    "BatchIsAuthorizedWithToken": lambda at: {"policyStoreId": at.store, "accessToken": at.token, "requests": [{"resource": doc("a")}]},
    "CreatePolicyStore": lambda _: {"validationSettings": OFF},
    "GetPolicyStore": lambda at: {"policyStoreId": at.store},
    "UpdatePolicyStore": lambda at: {"policyStoreId": at.store, "validationSettings": OFF},
    "DeletePolicyStore": lambda at: {"policyStoreId": at.store},
    "ListPolicyStores": lambda _: {},
    "CreatePolicyStoreAlias": lambda at: {"policyStoreId": at.store, "aliasName": "policy-store-alias/minimal"},
    "GetPolicyStoreAlias": lambda _: {"aliasName": "policy-store-alias/minimal"},
    "ListPolicyStoreAliases": lambda _: {},
    "DeletePolicyStoreAlias": lambda _: {"aliasName": "policy-store-alias/minimal"},
    "PutSchema": lambda at: {"policyStoreId": at.store, "definition": {"cedarJson": json.dumps(SCHEMA)}},
    "GetSchema": lambda at: {"policyStoreId": at.store},
    "CreatePolicy": lambda at: {"policyStoreId": at.store, "definition": static(PERMIT)},
    "GetPolicy": lambda at: {"policyStoreId": at.store, "policyId": at.policy},
    "UpdatePolicy": lambda at: {"policyStoreId": at.store, "policyId": at.policy, "definition": static(PERMIT)},
    "DeletePolicy": lambda at: {"policyStoreId": at.store, "policyId": at.policy},
    "ListPolicies": lambda at: {"policyStoreId": at.store},
    "BatchGetPolicy": lambda at: {"requests": [{"policyStoreId": at.store, "policyId": at.policy}]},
    "CreatePolicyTemplate": lambda at: {"policyStoreId": at.store, "statement": TEMPLATE},
    "GetPolicyTemplate": lambda at: {"policyStoreId": at.store, "policyTemplateId": at.template},
    "UpdatePolicyTemplate": lambda at: {"policyStoreId": at.store, "policyTemplateId": at.template, "statement": TEMPLATE},
    "DeletePolicyTemplate": lambda at: {"policyStoreId": at.store, "policyTemplateId": at.template},
    "ListPolicyTemplates": lambda at: {"policyStoreId": at.store},
    "CreateIdentitySource": lambda at: {"policyStoreId": at.store, "configuration": cognito(), "principalEntityType": "App::User"},
    "GetIdentitySource": lambda at: {"policyStoreId": at.store, "identitySourceId": at.source},
    "UpdateIdentitySource": lambda at: {"policyStoreId": at.store, "identitySourceId": at.source, "updateConfiguration": cognito()},
    "DeleteIdentitySource": lambda at: {"policyStoreId": at.store, "identitySourceId": at.source},
    "ListIdentitySources": lambda at: {"policyStoreId": at.store},
    "TagResource": lambda at: {"resourceArn": ARN + at.store, "tags": {"a": "b"}},
    "UntagResource": lambda at: {"resourceArn": ARN + at.store, "tagKeys": ["a"]},
    "ListTagsForResource": lambda at: {"resourceArn": ARN + at.store},
}  # fmt: skip
"""Input that each operation takes. `at` names what there is."""

BAD: tuple[tuple[str, str, dict[str, Any]], ...] = (
    # operation, error, what is changed in the minimal input; a function is called with `at`
    ("IsAuthorized", VALID, {"policyStoreId": "no id!"}),
    ("IsAuthorized", VALID, {"principal": {"entityType": "App::User", "entityId": "x" * 613}}),
    ("IsAuthorized", VALID, {"action": {"actionType": "App::Verb", "actionId": "read"}}),
    ("IsAuthorized", VALID, {"principal": user("a"), "action": action("read"), "resource": doc("d"), "context": {"cedarJson": "{"}}),
    ("IsAuthorizedWithToken", VALID, {"accessToken": "no token"}),
    ("IsAuthorizedWithToken", VALID, {"accessToken": "a.b.c"}),
    ("IsAuthorizedWithToken", VALID, {"accessToken": None}),
    ("BatchIsAuthorized", VALID, {"requests": [{"principal": user("a")}] * 31}),
    ("BatchIsAuthorized", VALID, {"requests": [{"principal": user("a"), "resource": doc("a")}, {"principal": user("b"), "resource": doc("b")}]}),
    ("BatchIsAuthorizedWithToken", VALID, {"requests": [{"resource": doc("a")}] * 31}),
    ("CreatePolicyStore", VALID, {"validationSettings": {"mode": "MAYBE"}}),
    ("CreatePolicyStore", VALID, {"description": "x" * 151}),
    ("CreatePolicyStore", VALID, {"clientToken": "no_token!"}),
    ("CreatePolicyStore", VALID, {"tags": {"x" * 129: ""}}),
    ("CreatePolicyStore", CONFLICT, {"clientToken": "store-token", "description": "another"}),
    ("GetPolicyStore", VALID, {"policyStoreId": "x" * 201}),
    ("UpdatePolicyStore", VALID, {"validationSettings": {"mode": "strict"}}),
    ("UpdatePolicyStore", VALID, {"deletionProtection": "yes"}),
    ("DeletePolicyStore", VALID, {"policyStoreId": "policy-store-alias/at"}),
    ("DeletePolicyStore", STATE, {"policyStoreId": lambda at: at.protected}),
    ("ListPolicyStores", VALID, {"maxResults": 51}),
    ("ListPolicyStores", VALID, {"nextToken": "no page!"}),
    ("CreatePolicyStoreAlias", VALID, {"aliasName": "no-prefix"}),
    ("CreatePolicyStoreAlias", VALID, {"policyStoreId": "policy-store-alias/at"}),
    ("CreatePolicyStoreAlias", CONFLICT, {"aliasName": "policy-store-alias/at", "policyStoreId": lambda at: at.protected}),
    ("GetPolicyStoreAlias", VALID, {"aliasName": "no-prefix"}),
    ("GetPolicyStoreAlias", MISSING, {"aliasName": "policy-store-alias/missing"}),
    ("ListPolicyStoreAliases", VALID, {"maxResults": 51}),
    ("DeletePolicyStoreAlias", VALID, {"aliasName": "no-prefix"}),
    ("DeletePolicyStoreAlias", VALID, {"aliasName": "policy-store-alias/at", "deletionMode": "Now"}),
    ("PutSchema", VALID, {"definition": {"cedarJson": "entity User;"}}),
    ("PutSchema", VALID, {"definition": {"cedarJson": '{"App": {"entityTypes": {}}}'}}),
    ("PutSchema", VALID, {"definition": {"cedarJson": '{"": {"entityTypes": {}, "actions": {}}}'}}),
    ("GetSchema", VALID, {"policyStoreId": ".."}),
    ("GetSchema", MISSING, {"policyStoreId": lambda at: at.protected}),
    ("CreatePolicy", VALID, {"definition": static("permit(principal, action, resource)")}),
    ("CreatePolicy", VALID, {"definition": static(TEMPLATE)}),
    ("CreatePolicy", VALID, {"definition": static(WIDE * 2)}),
    ("CreatePolicy", VALID, {"name": "no-prefix"}),
    ("CreatePolicy", VALID, {"definition": static(PERMIT, description="x" * 151)}),
    ("CreatePolicy", VALID, {"definition": lambda at: {"templateLinked": {"policyTemplateId": at.template}}}),
    ("CreatePolicy", VALID, {"definition": lambda at: {"templateLinked": {"policyTemplateId": at.template, "principal": user("a"), "resource": doc("a")}}}),
    ("CreatePolicy", MISSING, {"definition": {"templateLinked": {"policyTemplateId": "missing", "principal": user("a")}}}),
    ("CreatePolicy", CONFLICT, {"name": "name/taken"}),
    ("CreatePolicy", CONFLICT, {"clientToken": "policy-token", "definition": static(WIDE)}),
    ("GetPolicy", VALID, {"policyId": "no id!"}),
    ("GetPolicy", MISSING, {"policyId": "missing"}),
    ("GetPolicy", MISSING, {"policyId": "name/missing"}),
    ("UpdatePolicy", VALID, {"definition": static(PERMIT.replace("permit", "forbid"))}),
    ("UpdatePolicy", VALID, {"definition": static(PERMIT.replace("alice", "bob"))}),
    ("UpdatePolicy", VALID, {"definition": static(PERMIT.replace("d1", "d2"))}),
    ("UpdatePolicy", VALID, {"policyId": lambda at: at.linked, "definition": static(PERMIT)}),
    ("UpdatePolicy", MISSING, {"policyId": "missing"}),
    ("UpdatePolicy", CONFLICT, {"name": "name/taken"}),
    ("DeletePolicy", VALID, {"policyId": "no id!"}),
    ("ListPolicies", VALID, {"maxResults": 51}),
    ("ListPolicies", VALID, {"nextToken": "bm8gcGFnZQ=="}),
    ("ListPolicies", VALID, {"filter": {"policyType": "LINKED"}}),
    ("BatchGetPolicy", VALID, {"requests": [{"policyStoreId": "S", "policyId": "P"}] * 101}),
    ("BatchGetPolicy", VALID, {"requests": [{"policyStoreId": "S", "policyId": "no id!"}]}),
    ("CreatePolicyTemplate", VALID, {"statement": PERMIT}),
    ("CreatePolicyTemplate", VALID, {"statement": "permit(principal == ?principal"}),
    ("CreatePolicyTemplate", VALID, {"name": "no-prefix"}),
    ("CreatePolicyTemplate", CONFLICT, {"name": "name/taken-template"}),
    ("CreatePolicyTemplate", CONFLICT, {"clientToken": "template-token", "description": "another"}),
    ("GetPolicyTemplate", VALID, {"policyTemplateId": "no id!"}),
    ("GetPolicyTemplate", MISSING, {"policyTemplateId": "missing"}),
    ("UpdatePolicyTemplate", VALID, {"statement": PERMIT}),
    ("UpdatePolicyTemplate", VALID, {"statement": TEMPLATE.replace("permit", "forbid")}),
    ("UpdatePolicyTemplate", MISSING, {"policyTemplateId": "missing"}),
    ("UpdatePolicyTemplate", CONFLICT, {"name": "name/taken-template"}),
    ("DeletePolicyTemplate", VALID, {"policyTemplateId": "no id!"}),
    ("ListPolicyTemplates", VALID, {"maxResults": 51}),
    ("CreateIdentitySource", VALID, {"configuration": {"cognitoUserPoolConfiguration": {"userPoolArn": "arn:aws:s3:::pool"}}}),
    ("CreateIdentitySource", VALID, {"policyStoreId": lambda at: at.protected, "configuration": oidc(), "principalEntityType": None}),
    ("CreateIdentitySource", CONFLICT, {"clientToken": "source-token", "principalEntityType": "App::Team"}),
    ("CreateIdentitySource", QUOTA, {}),
    ("GetIdentitySource", VALID, {"identitySourceId": "no/id"}),
    ("GetIdentitySource", MISSING, {"identitySourceId": "missing"}),
    ("UpdateIdentitySource", VALID, {"updateConfiguration": {"openIdConnectConfiguration": {"issuer": "http://plain", "tokenSelection": {"accessTokenOnly": {}}}}}),
    ("UpdateIdentitySource", MISSING, {"identitySourceId": "missing"}),
    ("DeleteIdentitySource", VALID, {"identitySourceId": "no/id"}),
    ("DeleteIdentitySource", MISSING, {"identitySourceId": "missing"}),
    ("ListIdentitySources", VALID, {"maxResults": 51}),
    ("ListIdentitySources", VALID, {"filters": [{}] * 11}),
    ("TagResource", VALID, {"resourceArn": "no arn"}),
    ("TagResource", VALID, {"tags": {"k": "x" * 257}}),
    ("TagResource", TAGS, {"tags": {f"k{n}": "" for n in range(51)}}),
    ("UntagResource", VALID, {"resourceArn": "no arn"}),
    ("UntagResource", VALID, {"tagKeys": ["x"] * 201}),
    ("ListTagsForResource", VALID, {"resourceArn": "no arn"}),
)  # fmt: skip

NO_STORE = sorted(one for one in operations() if MISSING in errors_of(one) and one != "GetPolicyStoreAlias")
"""The operations that miss a policy store which is not there."""

OVER: Mapping[str, Given] = {
    "CreatePolicyStore": lambda _: {"validationSettings": OFF},
    "CreatePolicyStoreAlias": lambda at: {"policyStoreId": at.store, "aliasName": "policy-store-alias/second"},
    "PutSchema": lambda at: {"policyStoreId": at.store, "definition": {"cedarJson": json.dumps({"A": {"entityTypes": {}, "actions": {}}, "B": {"entityTypes": {}, "actions": {}}})}},
    "CreatePolicy": lambda at: {"policyStoreId": at.store, "definition": static(WIDE + " " * 600)},
    "UpdatePolicy": lambda at: {"policyStoreId": at.store, "policyId": at.policy, "definition": static(PERMIT + " " * 900)},
    "CreatePolicyTemplate": lambda at: {"policyStoreId": at.store, "statement": TEMPLATE},
    "CreateIdentitySource": lambda at: {"policyStoreId": at.store, "configuration": cognito(), "principalEntityType": "App::User"},
}  # fmt: skip

NOT_TO_BE_HAD = {
    # another change at the same moment, which one emulator never sees
    ("UpdatePolicyStore", CONFLICT), ("PutSchema", CONFLICT), ("DeletePolicy", CONFLICT), ("DeletePolicyTemplate", CONFLICT),
    ("UpdateIdentitySource", CONFLICT), ("DeleteIdentitySource", CONFLICT),
    # no document says when
    ("DeletePolicyStoreAlias", STATE), ("UpdatePolicyStore", QUOTA),
}  # fmt: skip


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with world(tmp_path_factory.mktemp("keys")) as made:
        yield made


@pytest.fixture(scope="module")
def at(here: World) -> SimpleNamespace:
    return places(here)


def places(here: World) -> SimpleNamespace:
    """One of everything."""
    client = here.client
    store = client.create_policy_store(validationSettings=OFF, clientToken="store-token")["policyStoreId"]
    client.put_schema(policyStoreId=store, definition={"cedarJson": json.dumps(SCHEMA)})
    client.create_policy_store_alias(aliasName="policy-store-alias/at", policyStoreId=store)
    protected = client.create_policy_store(validationSettings=OFF, deletionProtection="ENABLED")["policyStoreId"]
    here.policy(store, PERMIT, name="name/taken")
    here.template(store, TEMPLATE, name="name/taken-template")
    template = here.template(store, TEMPLATE, clientToken="template-token")
    given = {"policyStoreId": store, "configuration": cognito(), "principalEntityType": "App::User"}
    return SimpleNamespace(
        store=store,
        protected=protected,
        policy=here.policy(store, PERMIT, clientToken="policy-token"),
        template=template,
        linked=here.link(store, template, principal=user("alice")),
        source=client.create_identity_source(**given, clientToken="source-token")["identitySourceId"],
        token=token(token_use="access", client_id="app"),
    )


def caller(here: World, operation: str, given: Mapping[str, Any]) -> Callable[[], object]:
    return partial(getattr(here.client, xform_name(operation)), **given)


def input_of(operation: str, at: SimpleNamespace, changes: Mapping[str, Any]) -> dict[str, Any]:
    made = {name: change(at) if callable(change) else change for name, change in changes.items()}
    return {name: value for name, value in (MINIMAL[operation](at) | made).items() if value is not None}


@pytest.mark.parametrize(
    ("operation", "code", "changes"), BAD, ids=[f"{row[0]}-{row[1]}-{'-'.join(row[2])}" for row in BAD]
)
def test_an_operation_refuses(here: World, at: SimpleNamespace, operation, code, changes):
    found = refused(caller(here, operation, input_of(operation, at, changes)), code)
    assert found["Error"]["Message"]


@pytest.mark.parametrize("operation", NO_STORE)
def test_a_store_that_is_not_there_is_told_by_its_name_and_kind(here: World, at: SimpleNamespace, operation):
    given = input_of(operation, at, {})
    given |= {"resourceArn": ARN + "missing"} if "resourceArn" in given else {"policyStoreId": "missing"}
    found = refused(caller(here, operation, given), MISSING)
    assert found["resourceType"] == "POLICY_STORE"
    assert "missing" in found["resourceId"]


@pytest.mark.parametrize(
    ("operation", "given", "kind"),
    [
        ("GetPolicy", {"policyId": "missing"}, "POLICY"),
        ("GetPolicyTemplate", {"policyTemplateId": "missing"}, "POLICY_TEMPLATE"),
        ("GetIdentitySource", {"identitySourceId": "missing"}, "IDENTITY_SOURCE"),
        ("GetSchema", {"policyStoreId": lambda at: at.protected}, "SCHEMA"),
        ("GetPolicyStoreAlias", {"aliasName": "policy-store-alias/missing"}, "POLICY_STORE_ALIAS"),
        ("GetPolicyStore", {"policyStoreId": "policy-store-alias/missing"}, "POLICY_STORE_ALIAS"),
    ],
)
def test_what_is_missing_is_told_by_its_kind(here: World, at: SimpleNamespace, operation, given, kind):
    assert refused(caller(here, operation, input_of(operation, at, given)), MISSING)["resourceType"] == kind


@pytest.mark.parametrize("operation", sorted(OVER))
def test_a_quota_is_kept(tmp_path, operation):
    limits = Limits(stores=2, aliases=1, templates=2, namespaces=1, resource_bytes=600)
    with world(tmp_path, limits=limits) as small:
        found = refused(caller(small, operation, OVER[operation](places(small))), QUOTA)
        assert found["resourceType"]


@pytest.mark.parametrize("operation", sorted(operations()))
def test_what_can_befall_every_operation_has_its_error(here: World, at: SimpleNamespace, operation):
    call = caller(here, operation, MINIMAL[operation](at))
    switches = here.emulator.switches
    for switch, code in ((switches.throttle, "ThrottlingException"), (switches.deny, "AccessDeniedException"), (switches.fail, "InternalServerException")):  # fmt: skip
        switch(operation, calls=1)
        refused(call, code)


def test_each_error_of_each_operation_is_brought_about_here():
    befall = {"ThrottlingException", "AccessDeniedException", "InternalServerException"}
    said = {(operation, code) for operation in operations() for code in errors_of(operation) - befall}
    shown = {(operation, code) for operation, code, _ in BAD} | {(operation, QUOTA) for operation in OVER}
    shown |= {(operation, MISSING) for operation in NO_STORE}
    assert said - shown == NOT_TO_BE_HAD & said
    assert shown <= said
