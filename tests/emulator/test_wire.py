"""The wire: envelope, headers, and whatever is no call of the service. Raw bytes, without an SDK."""

import http.client
import json
import re
from urllib.parse import urlsplit

import pytest

from authz.emulator.operations.table import HANDLERS
from tests.emulator.running import emulator_thread

SIGNED = "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20260101/us-east-1/verifiedpermissions/aws4_request, Signature=0"
HEADERS = {"Content-Type": "application/x-amz-json-1.0", "Authorization": SIGNED}


def call(url, body=b"{}", *, operation="ListPolicyStores", method="POST", path="/", **headers):
    sent = {**HEADERS, "X-Amz-Target": f"VerifiedPermissions.{operation}"}
    for name, value in headers.items():
        sent[name.replace("_", "-")] = value
    connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=10)
    try:
        connection.request(method, path, body, {name: value for name, value in sent.items() if value is not None})
        answer = connection.getresponse()
        data = answer.read()
        return answer.status, json.loads(data) if data else {}, answer.headers
    finally:
        connection.close()


def test_an_answer_has_the_envelope(emulated):
    status, body, headers = call(emulated.url)
    assert (status, sorted(body)) == (200, ["policyStores"])
    assert headers["content-type"] == "application/x-amz-json-1.0"
    assert re.fullmatch(r"[0-9a-f-]{36}", headers["x-amzn-requestid"])
    assert headers["vary"] == "origin, access-control-request-method, access-control-request-headers"


def test_times_are_iso_text_with_microseconds(emulated):
    emulated.store()
    _, body, _ = call(emulated.url)
    for name in ("createdDate", "lastUpdatedDate"):
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", body["policyStores"][0][name])


def test_empty_outputs_are_empty_objects(emulated):
    status, body, _ = call(emulated.url, b'{"policyStoreId": "PSEXAMPLE"}', operation="DeletePolicyStore")
    assert (status, body) == (200, {})


def test_errors_are_named_in_the_body(emulated):
    status, body, headers = call(emulated.url, b'{"policyStoreId": "PSEXAMPLE"}', operation="GetPolicyStore")
    assert status == 404
    assert body == {
        "__type": "ResourceNotFoundException",
        "message": "Policy store with id 'PSEXAMPLE' not found",
        "resourceId": "PSEXAMPLE",
        "resourceType": "POLICY_STORE",
    }
    assert headers["content-type"] == "application/x-amz-json-1.0"


DEEP = b'{"a": ' + b"[" * 5000 + b"]" * 5000 + b"}"
BAD_BODIES = [b"", b"{", b"[]", b"null", b'"x"', b'{"a": 1, "a": 2}', b'{"a": NaN}', b"\xff{}", DEEP, b'{"a": "\\ud800"}', "{}".encode("utf-16"), b"{} {}"]  # fmt: skip


@pytest.mark.parametrize("body", BAD_BODIES)
def test_a_body_that_can_not_be_read_in_one_way_is_refused(emulated, body):
    status, answer, _ = call(emulated.url, body)
    assert (status, answer["__type"]) == (400, "SerializationException")
    assert "Traceback" not in answer["message"]


@pytest.mark.parametrize("operation", HANDLERS)
@pytest.mark.parametrize("value", [1, "x", [], None, {"a": {}}])
def test_no_input_of_any_operation_is_a_fault(emulated, operation, value):
    names = (
        "policyStoreId",
        "requests",
        "definition",
        "configuration",
        "resourceArn",
        "aliasName",
        "filter",
        "entities",
        "context",
    )
    status, answer, _ = call(emulated.url, json.dumps(dict.fromkeys(names, value)).encode(), operation=operation)
    assert status < 500, answer


@pytest.mark.parametrize(
    ("changed", "status", "code"),
    [
        ({"operation": "Nonsense"}, 404, "UnknownOperationException"),
        ({"operation": "isauthorized"}, 404, "UnknownOperationException"),
        ({"X_Amz_Target": None}, 404, "UnknownOperationException"),
        ({"X_Amz_Target": "DynamoDB_20120810.ListTables"}, 404, "UnknownOperationException"),
        ({"X_Amz_Target": "ListPolicyStores"}, 404, "UnknownOperationException"),
        ({"method": "GET"}, 404, "UnknownOperationException"),
        ({"method": "PUT"}, 404, "UnknownOperationException"),
        ({"path": "/policy-stores"}, 404, "UnknownOperationException"),
        ({"path": "//"}, 404, "UnknownOperationException"),
        ({"Content_Type": "application/json"}, 400, "SerializationException"),
        ({"Content_Type": None}, 400, "SerializationException"),
        ({"Authorization": None}, 403, "MissingAuthenticationTokenException"),
    ],
)
def test_what_is_no_call_is_told_so(emulated, changed, status, code):
    answered, body, _ = call(emulated.url, **changed)
    assert (answered, body["__type"]) == (status, code)
    assert body["message"]


def test_unsigned_calls_by_a_setting():
    with emulator_thread(require_signature=False) as running:
        assert call(running.url, Authorization=None)[0] == 200


def test_a_body_of_more_than_one_megabyte_is_refused(emulated):
    def padded(size):
        return b'{"a": "' + b"x" * (size - 9) + b'"}'

    assert call(emulated.url, padded(1_048_576))[0] == 200
    status, answer, _ = call(emulated.url, padded(1_048_577))
    assert (status, answer["__type"]) == (400, "ValidationException")


def test_a_fault_of_ours_is_told_as_the_services_own():
    """A closed database is what a fault may be."""
    with emulator_thread() as running:
        running.state.latest.connection.close()
        status, answer, _ = call(running.url)
        assert (status, answer) == (500, {"__type": "InternalServerException", "message": "Internal server error"})


def test_a_panic_of_the_engine_is_told_so_too(emulated, monkeypatch):
    panic = type("PanicException", (BaseException,), {"__module__": "pyo3_runtime"})

    def panicking(*_):
        raise panic("policy text")

    store = emulated.store()
    body = {"policyStoreId": store, "definition": {"static": {"statement": "permit(principal, action, resource);"}}}
    with monkeypatch.context() as patch:
        patch.setattr("authz.emulator.operations.policy_writes.static_head", panicking)
        status, answer, _ = call(emulated.url, json.dumps(body).encode(), operation="CreatePolicy")
    assert (status, answer["message"]) == (500, "Internal server error")
    assert call(emulated.url, json.dumps(body).encode(), operation="CreatePolicy")[0] == 200
