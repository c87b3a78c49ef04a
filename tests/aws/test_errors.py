"""Every way a call can fail is classified once, by boto3's own exceptions, and no answer's words get out."""

import pytest
from botocore import exceptions as boto

from authz.aws.client import avp_client
from authz.aws.errors import AvpError, Kind, classified
from authz.aws.settings import AvpSettings
from authz.core.errors import Misconfigured, Problem
from tests.aws.fake_http import CLOSE, fake_http

CANARY = "canary-of-a-value"


@pytest.fixture(scope="module")
def reached(tmp_path_factory):
    """A server, and a client of it."""
    nothing = str(tmp_path_factory.mktemp("aws") / "none")
    with fake_http(lambda _: None) as fake, pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_CONFIG_FILE", nothing)
        patch.setenv("AWS_SHARED_CREDENTIALS_FILE", nothing)
        patch.setenv("AWS_ACCESS_KEY_ID", "AKIDENV")
        patch.setenv("AWS_SECRET_ACCESS_KEY", "x")
        settings = AvpSettings(policy_store="ps", region="us-east-1", endpoint=fake.url, attempts=1, read_timeout=5)
        yield fake, avp_client(settings)


@pytest.fixture
def failing(reached):
    """An answer → what becomes of it."""
    fake, client = reached

    def ask(answer):
        fake.answer = lambda _: answer
        fake.asked.clear()
        with pytest.raises(Exception) as caught:
            client.is_authorized(policyStoreId="ps")
        assert len(fake.asked) == 1
        return classified(caught.value, "IsAuthorized")

    return ask


def error(code, **members):
    return {"__type": code, "message": CANARY, **members}


@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [
        (429, error("ThrottlingException"), Kind.THROTTLED),
        (400, error("ThrottlingException"), Kind.THROTTLED),
        (429, "<html>canary-of-a-value</html>", Kind.THROTTLED),
        (500, error("InternalServerException"), Kind.FAULT),
        (503, "<html>canary-of-a-value</html>", Kind.FAULT),
        (500, "", Kind.FAULT),
        (400, error("com.amazonaws.verifiedpermissions#ValidationException"), Kind.INVALID),
        (400, error("SerializationException"), Kind.INVALID),
        (413, error("RequestEntityTooLargeException"), Kind.INVALID),
        (413, "<html>canary-of-a-value</html>", Kind.INVALID),
        (413, "", Kind.INVALID),
        (403, error("AccessDeniedException"), Kind.DENIED),
        (400, error("AccessDeniedException"), Kind.DENIED),
        (404, error("ResourceNotFoundException", resourceId="ps", resourceType="POLICY_STORE"), Kind.MISSING),
        (409, error("ConflictException"), Kind.CONFLICT),
        (406, error("InvalidStateException"), Kind.CONFLICT),
        (402, error("ServiceQuotaExceededException"), Kind.QUOTA),
        (403, error("ExpiredTokenException"), Kind.CREDENTIALS),
        (403, error("UnrecognizedClientException"), Kind.CREDENTIALS),
        (403, error("InvalidSignatureException"), Kind.CREDENTIALS),
        (403, error("MissingAuthenticationTokenException"), Kind.CREDENTIALS),
        (418, error("NobodyKnowsThis"), Kind.FAULT),
        (400, {"__type": 5}, Kind.UNREACHABLE),
        (400, "[]", Kind.UNREACHABLE),
        (500, '"x"', Kind.UNREACHABLE),
        (200, "[]", Kind.UNREACHABLE),
        (200, '"x"', Kind.UNREACHABLE),
        (200, b"\xff\xfe canary", Kind.UNREACHABLE),
        (200, "null", Kind.UNREACHABLE),
    ],
)
def test_an_answer_that_is_an_error(failing, status, body, kind):
    found = failing((status, body))
    assert found.kind is kind
    assert CANARY not in str(found) + repr(found)


def test_a_connection_that_is_closed(failing):
    found = failing(CLOSE)
    assert (found.kind, found.code) == (Kind.UNREACHABLE, "ConnectionClosedError")


def test_the_places_of_a_validation_failure(failing):
    found = failing((400, error("ValidationException", fieldList=[{"path": "/a", "message": CANARY}, None])))
    assert ("/a", CANARY) in found.details
    assert CANARY not in str(found)


@pytest.mark.parametrize(
    ("raised", "kind"),
    [
        (boto.NoCredentialsError(), Kind.CREDENTIALS),
        (boto.PartialCredentialsError(provider="env", cred_var="x"), Kind.CREDENTIALS),
        (boto.CredentialRetrievalError(provider="x", error_msg=CANARY), Kind.CREDENTIALS),
        (boto.MetadataRetrievalError(error_msg=CANARY), Kind.CREDENTIALS),
        (boto.UnauthorizedSSOTokenError(), Kind.CREDENTIALS),
        (FileNotFoundError(CANARY), Kind.CREDENTIALS),
        (PermissionError(CANARY), Kind.CREDENTIALS),
        (boto.ReadTimeoutError(endpoint_url=CANARY), Kind.UNREACHABLE),
        (boto.ConnectTimeoutError(endpoint_url=CANARY), Kind.UNREACHABLE),
        (boto.SSLError(endpoint_url=CANARY, error=ValueError(CANARY)), Kind.UNREACHABLE),
        (boto.ParamValidationError(report=CANARY), Kind.INVALID),
        (RecursionError(), Kind.INVALID),
        (KeyError(CANARY), Kind.UNREACHABLE),
        (boto.ClientError({"Error": {"Code": "ThrottlingException"}}, "AssumeRoleWithWebIdentity"), Kind.CREDENTIALS),
    ],
)
def test_what_the_sdk_raises_by_itself(raised, kind):
    found = classified(raised, "IsAuthorized")
    assert found.kind is kind
    assert CANARY not in str(found) + repr(found)
    assert str(found).startswith("IsAuthorized: ")


def test_no_client_at_all():
    found = classified(Misconfigured((Problem(message="no region"),)), "client")
    assert (found.kind, str(found)) == (Kind.SETTINGS, "client: no region")


def test_what_was_classified_stays_so():
    first = AvpError(Kind.QUOTA, "PutSchema", "x")
    assert classified(first, "other") is first


def test_what_no_call_can_raise_is_raised_again():
    with pytest.raises(ZeroDivisionError):
        classified(ZeroDivisionError(), "IsAuthorized")
