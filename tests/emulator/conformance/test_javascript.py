"""The AWS SDK for JavaScript v3 through every operation: what it makes of the responses, and the responses themselves.

One Node process goes the whole way (javascript/walk.mjs); the tests judge what it saw.
"""

from __future__ import annotations

import base64
import json
import os
import subprocess
from collections import Counter
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from tests.emulator.conformance.model import STATUSES, Response, operations, response_faults
from tests.emulator.conformance.world import (
    COGNITO,
    OIDC,
    POOL,
    SCHEMA,
    access,
    action,
    cognito,
    doc,
    oidc,
    token,
    user,
    world,
)
from tests.proxies.harness import REPOSITORY, tool

SCRIPT = Path(__file__).parent / "javascript" / "walk.mjs"
STEPS = ("stores", "aliases", "schema", "policies", "templates", "decisions", "tokens", "pages", "errors", "faults")


@pytest.fixture(scope="module")
def walk(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("javascript")
    with world(folder) as here:
        given = {
            "url": here.emulator.url,
            "schema": SCHEMA,
            "cognito": cognito("app"),
            "oidc": oidc("accessTokenOnly", audiences=["api"]),
            "accessToken": access(),
            "identityToken": token(),
        }
        done = subprocess.run(
            [tool("bin/node"), SCRIPT],
            input=json.dumps(given),
            env=environment(folder),
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def environment(folder: Path) -> dict[str, str]:
    """No machine's AWS configuration counts."""
    return {
        "AUTHZ_TOOLS": os.environ.get("AUTHZ_TOOLS") or str(REPOSITORY / ".tools"),
        "AWS_EC2_METADATA_DISABLED": "true",
        "HOME": str(folder),
        "PATH": os.defpath,
    }


def undated(value: Any) -> Any:
    """Without dates, each of which must be one."""
    if isinstance(value, list):
        return [undated(one) for one in value]
    if not isinstance(value, dict):
        return value
    dates = {name: one for name, one in value.items() if name in {"createdDate", "lastUpdatedDate", "createdAt"}}
    for one in dates.values():
        assert datetime.fromisoformat(one["date"]).tzinfo is not None
    return {name: undated(one) for name, one in value.items() if name not in dates}


def error(name: str, **members: Any) -> dict[str, Any]:
    """What `failure` shows of an error, but for its words."""
    return {"name": name, "known": True, "status": STATUSES[name], **members}


def worded(failure: dict[str, Any]) -> dict[str, Any]:
    assert failure["message"]
    return {name: value for name, value in failure.items() if name != "message"}


# --- all responses ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("step", STEPS)
def test_a_step_goes_through(walk, step):
    assert "broken" not in walk["seen"][step], walk["seen"][step].get("at")


def test_every_response_is_one_of_the_model(walk):
    found = []
    for one in walk["responses"]:
        body = base64.b64decode(one["body"])
        response = Response(operation=one["operation"], status=one["status"], headers=one["headers"], body=body)
        found += [f"{response.operation} {response.status} {fault}" for fault in response_faults(response)]
    assert found == []
    assert len(walk["responses"]) > 100


def test_the_script_goes_through_every_operation_of_the_model(walk):
    assert set(walk["commands"]) == operations()
    assert {one["operation"] for one in walk["responses"] if one["status"] == 200} == operations()


# --- what the SDK makes of them -----------------------------------------------------------------------------


def test_stores_and_tags(walk):
    seen = walk["seen"]["stores"]
    store, arn = seen["made"]["policyStoreId"], seen["made"]["arn"]
    tagged = undated(seen["tagged"])
    assert tagged.pop("encryptionState", {"default": {}}) == {"default": {}}
    assert tagged == {
        "policyStoreId": store,
        "arn": arn,
        "validationSettings": {"mode": "OFF"},
        "description": "first",
        "deletionProtection": "ENABLED",
        "cedarVersion": "CEDAR_4",
        "tags": {"team": "a"},
    }
    assert worded(seen["guarded"]) == error("InvalidStateException")
    assert seen["updated"]["lastUpdatedDate"]["date"] >= seen["made"]["lastUpdatedDate"]["date"]
    assert seen["tags"] == {"more": "b"}
    assert store in {one["policyStoreId"] for one in seen["listed"]["policyStores"]}
    assert seen["removed"] == {}
    assert worded(seen["gone"]) == error("ResourceNotFoundException", resourceId=store, resourceType="POLICY_STORE")


def test_aliases(walk):
    seen = undated(walk["seen"]["aliases"])
    name, store = "policy-store-alias/javascript", seen["policyStoreId"]
    arn = f"arn:aws:verifiedpermissions:us-east-1:123456789012:{name}"
    made = {"aliasName": name, "policyStoreId": store, "aliasArn": arn}
    assert seen["made"] == made
    assert seen["got"] == {**made, "state": "Active"}
    assert seen["listed"]["policyStoreAliases"] == [seen["got"]]
    assert seen["through"]["policyStoreId"] == store
    assert seen["pending"] == {**made, "state": "PendingDeletion"}
    assert seen["gone"]["name"] == "ResourceNotFoundException"


def test_a_schema_is_a_text_of_json(walk):
    seen = walk["seen"]["schema"]
    assert seen["put"]["namespaces"] == ["App"]
    assert json.loads(seen["got"]["schema"]) == SCHEMA


def test_policies(walk):
    seen = undated(walk["seen"]["policies"])
    made = seen["made"]
    scope = {"principal": user("alice"), "resource": doc("d1"), "actions": [action("read")], "effect": "Permit"}
    head = {"policyStoreId": made["policyStoreId"], "policyId": made["policyId"], "policyType": "STATIC"}
    assert made == {**head, **scope}
    assert seen["got"]["definition"]["static"]["description"] == "one"
    assert seen["got"]["name"] == "name/one"
    assert seen["updated"] == {**head, **scope, "actions": [action("write")]}
    assert seen["listed"]["policies"][0]["definition"] == {"static": {"description": "two"}}
    assert '"write"' in seen["batch"]["results"][0]["definition"]["static"]["statement"]
    assert [one["code"] for one in seen["batch"]["errors"]] == ["POLICY_NOT_FOUND"]
    assert seen["removed"] == {}


def test_templates_and_their_links(walk):
    seen = walk["seen"]["templates"]
    assert seen["linked"]["policyType"] == "TEMPLATE_LINKED"
    assert (seen["linked"]["principal"], seen["linked"]["resource"]) == (user("bob"), doc("d2"))
    assert (seen["got"]["name"], "?principal" in seen["got"]["statement"]) == ("name/t", True)
    assert [one["name"] for one in seen["listed"]["policyTemplates"]] == ["name/t"]
    assert seen["before"] == {
        "decision": "ALLOW",
        "determiningPolicies": [{"policyId": seen["linked"]["policyId"]}],
        "errors": [],
    }
    assert seen["after"] == {"decision": "DENY", "determiningPolicies": [], "errors": []}
    assert (seen["removed"], seen["left"]["policies"]) == ({}, [])


def test_decisions(walk):
    seen = walk["seen"]["decisions"]
    allowed = {"decision": "ALLOW", "determiningPolicies": [{"policyId": seen["policyId"]}], "errors": []}
    assert seen["allowed"] == allowed
    assert (seen["erred"]["decision"], len(seen["erred"]["errors"])) == ("DENY", 1)
    assert seen["policyId"] in seen["erred"]["errors"][0]["errorDescription"]
    requests = [{"principal": user("alice"), "action": action("read"), "resource": doc(name)} for name in ("d1", "d2")]
    assert [one["request"] for one in seen["batch"]["results"]] == requests
    assert [one["decision"] for one in seen["batch"]["results"]] == ["ALLOW", "DENY"]


def test_tokens(walk):
    seen = walk["seen"]["tokens"]
    alice = user(f"{POOL}|alice")
    assert seen["got"]["configuration"]["cognitoUserPoolConfiguration"]["issuer"] == COGNITO
    assert (seen["allowed"]["decision"], seen["allowed"]["principal"]) == ("ALLOW", alice)
    assert (seen["denied"]["decision"], seen["denied"]["principal"]) == ("DENY", alice)
    assert seen["wrong"]["name"] == "ValidationException"
    assert (seen["batch"]["principal"], seen["batch"]["results"][0]["decision"]) == (alice, "ALLOW")
    assert (seen["second"]["name"], seen["second"]["status"]) == ("ServiceQuotaExceededException", 402)
    [listed] = seen["listed"]["identitySources"]
    assert listed["configuration"]["openIdConnectConfiguration"]["issuer"] == OIDC
    assert listed["configuration"]["openIdConnectConfiguration"]["tokenSelection"] == {
        "accessTokenOnly": {"audiences": ["api"]}
    }
    assert seen["removed"] == {}


def test_each_paginator_sees_everything_once(walk):
    for name, pages in walk["seen"]["pages"].items():
        ids = [one for page in pages for one in page]
        assert all(len(page) <= 2 for page in pages), name
        assert max(Counter(ids).values()) == 1, name
        assert len(ids) >= (1 if name == "ListIdentitySources" else 5), name


def test_errors_have_their_classes_statuses_and_members(walk):
    seen = {name: worded(failure) for name, failure in walk["seen"]["errors"].items()}
    assert [field["path"] for field in seen["validation"].pop("fieldList")] == ["/maxResults"]
    assert seen["validation"] == error("ValidationException")
    assert seen["missing"] == error("ResourceNotFoundException", resourceId="missing", resourceType="POLICY")
    assert {one["resourceType"] for one in seen["conflict"].pop("resources")} == {"POLICY_TEMPLATE"}
    assert seen["conflict"] == error("ConflictException")
    assert seen["tags"] == error("TooManyTagsException")


def test_what_can_befall_any_call_has_its_class_and_is_tried_again(walk):
    seen = walk["seen"]["faults"]
    assert worded(seen["throttle"]) == error("ThrottlingException")
    assert worded(seen["denied"]) == error("AccessDeniedException")
    assert worded(seen["error"]) == error("InternalServerException")
    assert seen["attempts"] == 2
    assert seen["requestId"]


def test_the_sdk_is_locked_with_a_hash_for_each_package_and_without_an_address():
    text = (REPOSITORY / "requirements" / "javascript" / "package-lock.json").read_text()
    packages = {name: one for name, one in json.loads(text)["packages"].items() if name}
    assert "://" not in text
    assert all(one["integrity"].startswith("sha512-") for one in packages.values())


def test_make_installs_the_sdk_by_its_lock_with_the_tools_own_node_and_runs_no_script_of_it():
    environ = {name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "MFLAGS"))}
    command = ["make", "--dry-run", "--always-make", ".tools/ready"]
    told = subprocess.run(command, cwd=REPOSITORY, env=environ, capture_output=True, text=True, check=True).stdout
    [line] = [line for line in told.replace("\\\n", " ").splitlines() if "npm-cli.js" in line]
    assert " ci --prefix .tools/javascript " in line
    assert "--ignore-scripts " in line
    assert "/.tools/bin:" in line
