"""The check of the other tests here, checked itself: each way in which a response can be wrong is found, and told."""

import json
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from botocore.awsrequest import AWSResponse
from botocore.compat import HTTPHeaders

from tests.emulator.conformance.model import (
    PROTOCOL,
    STATUSES,
    TYPE,
    Checker,
    NotInTheModel,
    Response,
    errors_of,
    faults,
    operations,
    response_faults,
    service,
)
from tests.emulator.conformance.world import unconnected_client

DATE = "2026-01-02T03:04:05.000006Z"
DECIDED: dict[str, Any] = {"decision": "ALLOW", "determiningPolicies": [{"policyId": "P1"}], "errors": []}
POLICY: dict[str, Any] = {
    "policyStoreId": "S1",
    "policyId": "P1",
    "policyType": "STATIC",
    "effect": "Permit",
    "principal": {"entityType": "App::User", "entityId": "alice"},
    "actions": [{"actionType": "App::Action", "actionId": "read"}],
    "definition": {"static": {"statement": "permit(principal, action, resource);"}},
    "createdDate": DATE,
    "lastUpdatedDate": "2026-01-02T03:04:05+01:00",
}
MISSING: dict[str, Any] = {
    "__type": "ResourceNotFoundException",
    "message": "no",
    "resourceId": "S1",
    "resourceType": "POLICY_STORE",
}


def found(operation: str, body: object, *, status: int = 200, **headers: str) -> str:
    """All faults in one line; empty, if there are none."""
    sent = body if isinstance(body, bytes) else json.dumps(body).encode()
    given = {"Content-Type": TYPE, "x-amzn-RequestId": "r-1"} | {
        name.replace("_", "-"): v for name, v in headers.items()
    }
    return "; ".join(response_faults(Response(operation=operation, status=status, headers=given, body=sent)))


def changed(body: dict[str, Any], change: Callable[[dict[str, Any]], object]) -> dict[str, Any]:
    """A deep copy, changed."""
    copy: dict[str, Any] = json.loads(json.dumps(body))
    change(copy)
    return copy


@pytest.mark.parametrize(
    ("operation", "body", "status"),
    [
        ("IsAuthorized", DECIDED, 200),
        ("GetPolicy", POLICY, 200),
        ("DeletePolicy", {}, 200),
        ("GetPolicy", MISSING, 404),
        ("GetPolicy", MISSING | {"__type": "com.amazonaws.verifiedpermissions#ResourceNotFoundException"}, 404),
        (
            "GetPolicy",
            {"__type": "ValidationException", "message": "no", "fieldList": [{"path": "/a", "message": "b"}]},
            400,
        ),
        ("GetPolicy", {"__type": "UnknownOperationException", "message": "no"}, 404),
    ],
)
def test_what_conforms_has_no_fault(operation, body, status):
    assert found(operation, body, status=status) == ""


def named(body: dict[str, Any], old: str, new: str) -> dict[str, Any]:
    return {new if name == old else name: value for name, value in body.items()}


@pytest.mark.parametrize(
    ("operation", "body", "fault"),
    [
        pytest.param("IsAuthorized", named(DECIDED, "errors", "error"), "/errors: required", id="misspelt-required"),
        pytest.param("IsAuthorized", named(DECIDED, "errors", "error"), "/error: not a member", id="misspelt-is-unknown"),
        pytest.param("IsAuthorized", DECIDED | {"policyId": "P1"}, "/policyId: not a member", id="one-too-many"),
        pytest.param("IsAuthorized", DECIDED | {"determiningPolicies": ["P1"]}, "/determiningPolicies/0: DeterminingPolicyItem is an object", id="bare-policy-ids"),
        pytest.param("IsAuthorized", DECIDED | {"determiningPolicies": [{"determiningPolicyId": "P1"}]}, "/determiningPolicies/0/policyId: required", id="the-documents-misspelling"),
        pytest.param("IsAuthorized", DECIDED | {"errors": ["boom"]}, "/errors/0", id="bare-errors"),
        pytest.param("IsAuthorized", DECIDED | {"errors": None}, "/errors: null", id="null"),
        pytest.param("IsAuthorized", DECIDED | {"errors": {}}, "/errors: a list", id="object-for-list"),
        pytest.param("IsAuthorized", DECIDED | {"decision": "Allow"}, "'Allow' is none of ['ALLOW', 'DENY']", id="enum"),
        pytest.param("IsAuthorized", [], "/: IsAuthorizedOutput is an object", id="list-for-object"),
        pytest.param("GetPolicy", POLICY | {"createdDate": 1767323045.0}, "/createdDate: a timestamp is text", id="epoch"),
        pytest.param("GetPolicy", POLICY | {"createdDate": "1767323045"}, "not a date", id="epoch-as-text"),
        pytest.param("GetPolicy", POLICY | {"createdDate": "2026-01-02T03:04:05"}, "not a date", id="no-offset"),
        pytest.param("GetPolicy", POLICY | {"createdDate": "2026-01-02 03:04:05Z"}, "not a date", id="no-T"),
        pytest.param("GetPolicy", POLICY | {"policyId": "a b"}, "'a b' does not match", id="pattern"),
        pytest.param("GetPolicy", POLICY | {"policyId": ""}, "length 0", id="too-short"),
        pytest.param("GetPolicy", POLICY | {"policyId": "x" * 201}, "length 201", id="too-long"),
        pytest.param("GetPolicy", POLICY | {"policyId": 7}, "/policyId: a string is text", id="number-for-text"),
        pytest.param("GetPolicy", POLICY | {"definition": {}}, "PolicyDefinitionDetail is a union", id="no-arm"),
        pytest.param("GetPolicy", changed(POLICY, lambda it: it["definition"].update(templateLinked={"policyTemplateId": "T"})), "exactly one member", id="two-arms"),
        pytest.param("GetPolicy", changed(POLICY, lambda it: it["principal"].update(entityID="x")), "/principal/entityID: not a member", id="deep-unknown"),
        pytest.param("GetPolicy", changed(POLICY, lambda it: it["actions"][0].pop("actionId")), "/actions/0/actionId: required", id="deep-missing"),
        pytest.param("ListPolicies", {"policies": [POLICY]}, "/policies/0/definition/static/statement: not a member", id="a-statement-in-a-list"),
        pytest.param("ListTagsForResource", {"tags": {"": "x"}}, "/tags/: length 0", id="a-maps-key"),
        pytest.param("ListTagsForResource", {"tags": {"k": 1}}, "/tags/k: a string is text", id="a-maps-value"),
        pytest.param("ListTagsForResource", {"tags": []}, "/tags: an object", id="list-for-map"),
        pytest.param("DeletePolicy", {"ok": True}, "/ok: not a member", id="empty-output"),
        pytest.param("IsAuthorized", b"<html>", "not JSON", id="no-json"),
        pytest.param("DeletePolicy", b"", "not JSON", id="no-body"),
        pytest.param("IsAuthorized", json.dumps(DECIDED).encode().replace(b"{", b'{"decision":"DENY",', 1), "there twice", id="a-member-twice"),
    ],
)  # fmt: skip
def test_a_wrong_response_is_a_fault(operation, body, fault):
    assert fault in found(operation, body)


@pytest.mark.parametrize(
    ("value", "fault"),
    [
        ({"long": 2**63}, "out of the range of a long"),
        ({"long": True}, "a whole number"),
        ({"long": 1.0}, "a whole number"),
        ({"boolean": 1}, "a boolean"),
        ({"ip": "10.0.0.1"}, "not a member of AttributeValue"),
        ({"decimal": "1"}, "length 1"),
        ({"string": "a", "long": 1}, "exactly one member"),
        ({"set": [{"record": {"a": {"strin": "x"}}}]}, "/record/a/strin: not a member"),
    ],
)
def test_a_wrong_attribute_value_is_a_fault_however_deep(value, fault):
    request = {"context": {"contextMap": {"a": value}}}
    assert fault in found("BatchIsAuthorized", {"results": [{"request": request} | DECIDED]})


@pytest.mark.parametrize(
    ("operation", "status", "body", "fault"),
    [
        pytest.param("GetPolicy", 404, {"message": "no"}, "/__type: missing", id="nameless"),
        pytest.param("GetPolicy", 404, {"__type": "ResourceNotFoundException", "message": "no"}, "/resourceId: required", id="a-member-missing"),
        pytest.param("GetPolicy", 404, MISSING | {"resourceType": "STORE"}, "'STORE' is none of", id="enum"),
        pytest.param("GetPolicy", 404, MISSING | {"Message": "no"}, "/Message: not a member", id="one-too-many"),
        pytest.param("GetPolicy", 400, MISSING, "status: 400 for ResourceNotFoundException, which has 404", id="the-references-status"),
        pytest.param("ListPolicyStores", 404, MISSING, "no error of ListPolicyStores", id="an-error-it-has-not"),
        pytest.param("GetPolicy", 400, {"__type": "ValidationError", "message": "no"}, "no error of GetPolicy", id="misspelt"),
        pytest.param("GetPolicy", 400, {"__type": "ValidationException", "message": "no", "fieldList": ["/a"]}, "/fieldList/0", id="bare-fields"),
        pytest.param("GetPolicy", 500, {"__type": "UnknownOperationException", "message": "no"}, "status: 500", id="protocol-status"),
        pytest.param("GetPolicy", 404, {"__type": "UnknownOperationException"}, "has a message", id="protocol-silent"),
        pytest.param("GetPolicy", 404, "no", "/__type: missing", id="text"),
    ],
)  # fmt: skip
def test_a_wrong_error_is_a_fault(operation, status, body, fault):
    assert fault in found(operation, body, status=status)


def test_the_headers_are_read_whatever_their_case():
    assert found("DeletePolicy", {}) == ""
    assert "Content-Type" in found("DeletePolicy", {}, Content_Type="application/json")
    assert "x-amzn-RequestId" in found("DeletePolicy", {}, x_amzn_RequestId="")


def test_every_error_of_the_model_has_a_status_and_no_other():
    assert set().union(*map(errors_of, operations())) == STATUSES.keys()
    assert not STATUSES.keys() & PROTOCOL.keys()
    assert len(operations()) == 34


def test_a_line_break_is_in_some_texts_and_in_no_identifier():
    assert found_text("EntityId", "a\nb\n") == ""
    assert found_text("PolicyId", "a\n") != ""


def test_every_pattern_of_the_model_is_understood():
    for name, shape in service()["shapes"].items():
        if "enum" in shape:
            assert found_text(name, shape["enum"][0]) == ""
            assert found_text(name, "no such word") != ""
        elif "pattern" in shape and shape["pattern"] != ".*":
            assert found_text(name, "\x00" * (shape.get("min") or 1)) != "", name


def found_text(name: str, text: str) -> str:
    return "; ".join(faults(name, text))


class Answers:
    """Stands for the network: botocore takes what `before-send` gives for the response."""

    def __init__(self, status: int, body: object) -> None:
        self.status, self.body = status, json.dumps(body).encode()

    def __call__(self, request: Any, **_: object) -> AWSResponse:
        headers = {"Content-Type": TYPE, "x-amzn-RequestId": "r-1"}
        network: Any = SimpleNamespace(stream=lambda *_, **__: iter([self.body]))
        return AWSResponse(request.url, self.status, HTTPHeaders.from_dict(headers), network)


@pytest.mark.parametrize(
    ("status", "body", "fault"),
    [
        (200, DECIDED | {"determiningPolicies": ["P1"]}, "IsAuthorized: 200: /determiningPolicies/0"),
        (400, MISSING, "IsAuthorized: 400: status"),
    ],
)
def test_a_call_of_boto3_fails_where_its_response_is_wrong(status, body, fault):
    client, checker = unconnected_client(), Checker()
    client.meta.events.register("before-send.verifiedpermissions", Answers(status, body))
    checker.watch(client)
    with pytest.raises(NotInTheModel, match=fault):
        client.is_authorized(policyStoreId="S1")
    assert checker.seen == [("IsAuthorized", status)]


def test_a_call_of_boto3_passes_where_its_response_is_right():
    client, checker = unconnected_client(), Checker()
    client.meta.events.register("before-send.verifiedpermissions", Answers(200, DECIDED))
    checker.watch(client)
    assert client.is_authorized(policyStoreId="S1")["decision"] == "ALLOW"
    assert checker.seen == [("IsAuthorized", 200)]
