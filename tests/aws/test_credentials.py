"""boto3's own credential chain, on fake endpoints: what signs the calls of our client, and that it is renewed."""

from datetime import UTC, datetime, timedelta
from urllib.parse import parse_qs

import pytest

from authz.aws.client import avp_client
from authz.aws.errors import AvpError, Kind, classified
from authz.aws.settings import AvpSettings
from authz.core.errors import DecisionUnavailable, Misconfigured, Reason
from authz.core.model import EntityUid, Query, Verdict
from authz.pdp.avp import AvpDecisionPoint, AvpDecisionSettings
from authz.pdp.avp_calls import AvpCalls
from tests.aws.fake_http import fake_http

ALLOW = {"decision": "ALLOW", "determiningPolicies": [{"policyId": "p"}], "errors": []}
ROLE = "arn:aws:iam::111122223333:role/authz"


@pytest.fixture
def service():
    with fake_http(lambda _: (200, ALLOW)) as fake:
        yield fake


def client_of(service, **changes):
    return avp_client(AvpSettings(policy_store="ps", endpoint=service.url, attempts=1, **changes))


def call(client):
    return client.is_authorized(policyStoreId="ps")["decision"]


def failure(client):
    with pytest.raises(Exception) as caught:
        call(client)
    return classified(caught.value, "IsAuthorized")


def in_time(**passed):
    return (datetime.now(UTC) + timedelta(**passed)).strftime("%Y-%m-%dT%H:%M:%SZ")


def test_static_credentials_of_the_environment(service, monkeypatch):
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIDENV")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "x")
    monkeypatch.setenv("AWS_SESSION_TOKEN", "session")
    assert call(client_of(service)) == "ALLOW"
    (asked,) = service.asked
    assert asked.access_key == "AKIDENV"
    assert asked.headers["x-amz-security-token"] == "session"
    assert "/us-east-1/verifiedpermissions/aws4_request" in asked.headers["authorization"]


def test_a_profile(service, tmp_path):
    (tmp_path / "config").write_text("[profile shop]\nregion = eu-west-1\n")
    (tmp_path / "credentials").write_text("[shop]\naws_access_key_id = AKIDSHOP\naws_secret_access_key = x\n")
    call(client_of(service, profile="shop", region="eu-west-1"))
    (asked,) = service.asked
    assert asked.access_key == "AKIDSHOP"
    assert "/eu-west-1/" in asked.headers["authorization"]


def test_a_profile_that_does_not_exist_is_told_at_once(service):
    with pytest.raises(Misconfigured) as caught:
        client_of(service, profile="nobody")
    assert "nobody" in str(caught.value)


@pytest.mark.parametrize("name", ["AWS_REGION", "AWS_DEFAULT_REGION"])
def test_the_region_of_the_environment(service, monkeypatch, name):
    for one in ("AWS_REGION", "AWS_DEFAULT_REGION"):
        monkeypatch.delenv(one)
    monkeypatch.setenv(name, "ap-south-1")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIDENV")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "x")
    call(client_of(service))
    assert "/ap-south-1/" in service.asked[0].headers["authorization"]


def test_no_region_is_told_at_once(monkeypatch):
    monkeypatch.delenv("AWS_REGION")
    monkeypatch.delenv("AWS_DEFAULT_REGION")
    with pytest.raises(Misconfigured) as caught:
        avp_client(AvpSettings(policy_store="ps"))
    assert "region" in str(caught.value)


def test_none_at_all_is_a_fault_of_the_credentials(service):
    assert failure(client_of(service)).kind is Kind.CREDENTIALS
    assert service.asked == []


def sts_answer(key, expires):
    return f"""<AssumeRoleWithWebIdentityResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/">
<AssumeRoleWithWebIdentityResult><Credentials><AccessKeyId>{key}</AccessKeyId><SecretAccessKey>x</SecretAccessKey>
<SessionToken>session</SessionToken><Expiration>{expires}</Expiration></Credentials>
<AssumedRoleUser><Arn>arn:aws:sts::111122223333:assumed-role/authz/s</Arn><AssumedRoleId>A:s</AssumedRoleId>
</AssumedRoleUser></AssumeRoleWithWebIdentityResult>
<ResponseMetadata><RequestId>r</RequestId></ResponseMetadata></AssumeRoleWithWebIdentityResponse>"""


def web_identity(monkeypatch, tmp_path, sts):
    token = tmp_path / "token"
    token.write_text("first-token")
    monkeypatch.setenv("AWS_WEB_IDENTITY_TOKEN_FILE", str(token))
    monkeypatch.setenv("AWS_ROLE_ARN", ROLE)
    monkeypatch.setenv("AWS_ENDPOINT_URL_STS", sts.url)
    return token


def test_web_identity_is_renewed_with_the_token_of_the_day(service, monkeypatch, tmp_path):
    # Credentials are renewed in their last ten minutes, so these are with the next call.
    keys = iter(["AKIDONE", "AKIDTWO"])
    expiries = iter([in_time(seconds=30), in_time(hours=1)])
    with fake_http(lambda _: (200, sts_answer(next(keys), next(expiries)))) as sts:
        token = web_identity(monkeypatch, tmp_path, sts)
        client = client_of(service)
        call(client)
        token.write_text("second-token")
        call(client)
        call(client)
    told = [parse_qs(asked.body.decode()) for asked in sts.asked]
    assert [one["WebIdentityToken"] for one in told] == [["first-token"], ["second-token"]]
    assert [one["RoleArn"] for one in told] == [[ROLE], [ROLE]]
    assert [asked.access_key for asked in service.asked] == ["AKIDONE", "AKIDTWO", "AKIDTWO"]


def test_a_web_identity_that_is_refused_is_a_fault_of_the_credentials(service, monkeypatch, tmp_path):
    refused = """<ErrorResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><Error><Type>Sender</Type>
<Code>AccessDenied</Code><Message>canary</Message></Error><RequestId>r</RequestId></ErrorResponse>"""
    with fake_http(lambda _: (403, refused)) as sts:
        web_identity(monkeypatch, tmp_path, sts)
        error = failure(client_of(service))
    assert error.kind is Kind.CREDENTIALS
    assert "AssumeRoleWithWebIdentity" in str(error)
    assert "canary" not in str(error)
    assert service.asked == []


def test_a_token_file_that_is_gone_is_a_fault_of_the_credentials(service, monkeypatch, tmp_path):
    with fake_http(lambda _: (500, "")) as sts:
        web_identity(monkeypatch, tmp_path, sts).unlink()
        error = failure(client_of(service))
    assert error.kind is Kind.CREDENTIALS
    assert str(tmp_path) not in str(error)


def pod_identity(monkeypatch, tmp_path, agent):
    token = tmp_path / "eks-pod-identity-token"
    token.write_text("first-token")
    monkeypatch.setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", f"{agent.url}/v1/credentials")
    monkeypatch.setenv("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", str(token))
    return token


def agent_answer(key, expires):
    return {"AccessKeyId": key, "SecretAccessKey": "x", "Token": f"session-{key}", "Expiration": expires}


def test_pod_identity_is_renewed_with_the_rotated_token(service, monkeypatch, tmp_path):
    # The client has credentials at once. They are renewed in their last ten minutes, so these are with the first call.
    answers = iter([agent_answer("AKIDONE", in_time(seconds=30)), agent_answer("AKIDTWO", in_time(hours=6))])
    with fake_http(lambda _: (200, next(answers))) as agent:
        token = pod_identity(monkeypatch, tmp_path, agent)
        client = client_of(service)
        token.write_text("second-token")  # the kubelet's rotation
        call(client)
        call(client)
        call(client)
    assert [(asked.method, asked.path) for asked in agent.asked] == [("GET", "/v1/credentials")] * 2
    assert [asked.headers["authorization"] for asked in agent.asked] == ["first-token", "second-token"]
    assert {asked.access_key for asked in service.asked} == {"AKIDTWO"}
    assert {asked.headers["x-amz-security-token"] for asked in service.asked} == {"session-AKIDTWO"}


def test_pod_identity_keeps_its_credentials_over_an_agent_that_is_away_for_a_moment(service, monkeypatch, tmp_path):
    # Within the last 15 minutes new ones are wished for, within the last 10 they are needed.
    with fake_http(lambda _: (200, agent_answer("AKIDONE", in_time(minutes=12)))) as agent:
        pod_identity(monkeypatch, tmp_path, agent)
        client = client_of(service)
        call(client)
        agent.answer = lambda _: (404, {"code": "canary", "message": "canary"})
        call(client)
        agent.answer = lambda _: (200, agent_answer("AKIDTWO", in_time(hours=6)))
        call(client)
    assert [asked.access_key for asked in service.asked] == ["AKIDONE", "AKIDONE", "AKIDTWO"]


def test_an_agent_that_refuses_is_a_fault_of_the_credentials(service, monkeypatch, tmp_path):
    with fake_http(lambda _: (400, {"code": "canary", "message": "canary"})) as agent:
        pod_identity(monkeypatch, tmp_path, agent)
        with pytest.raises(AvpError) as caught:  # the SDK asks it as soon as there is a client
            client_of(service)
    assert caught.value.kind is Kind.CREDENTIALS
    assert "canary" not in str(caught.value)
    assert service.asked == []


def test_a_pod_identity_token_that_is_gone_is_a_fault_of_the_credentials(service, monkeypatch, tmp_path):
    with fake_http(lambda _: (200, agent_answer("AKIDONE", in_time(seconds=30)))) as agent:
        token = pod_identity(monkeypatch, tmp_path, agent)
        client = client_of(service)
        token.unlink()
        error = failure(client)
        with pytest.raises(AvpError) as caught:
            client_of(service)
    assert error.kind is caught.value.kind is Kind.CREDENTIALS
    assert str(tmp_path) not in str(error)


async def test_decisions_fail_without_the_agent_and_succeed_with_it_by_themselves(service, monkeypatch, tmp_path):
    with fake_http(lambda _: (500, "canary")) as agent:
        pod_identity(monkeypatch, tmp_path, agent)
        settings = AvpDecisionSettings(policy_store="ps", timeout=20.0, cool_down=0.0)
        calls = AvpCalls(lambda: client_of(service), settings)
        query = Query(principal=EntityUid("User", "a"), action=EntityUid("Action", "b"), resource=EntityUid("Doc", "c"))
        point = AvpDecisionPoint(calls)
        with pytest.raises(DecisionUnavailable) as caught:
            await point.decide(query)
        assert caught.value.reason is Reason.DECISION_MISCONFIGURED
        assert "canary" not in caught.value.detail
        agent.answer = lambda _: (200, agent_answer("AKIDONE", in_time(hours=6)))
        assert (await point.decide(query)).verdict is Verdict.ALLOW
        assert [asked.access_key for asked in service.asked] == ["AKIDONE"]
        calls.close()


def test_an_instance_role(service, monkeypatch):
    def metadata(asked):
        if asked.method == "PUT":
            return 200, "imds-token"
        if asked.headers.get("x-aws-ec2-metadata-token") != "imds-token":
            return 401, ""
        if asked.path.endswith("/authz-role"):
            return 200, {"Code": "Success", **agent_answer("AKIDROLE", in_time(hours=6))}
        return 200, "authz-role"

    with fake_http(metadata) as imds:
        monkeypatch.delenv("AWS_EC2_METADATA_DISABLED")
        monkeypatch.setenv("AWS_EC2_METADATA_SERVICE_ENDPOINT", imds.url)
        call(client_of(service))
    assert [asked.access_key for asked in service.asked] == ["AKIDROLE"]


def test_an_error_holds_no_secret(service, monkeypatch):
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIDENV")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "canary-secret")
    service.answer = lambda _: (400, {"__type": "UnrecognizedClientException", "message": "canary-secret"})
    error = failure(client_of(service))
    assert error.kind is Kind.CREDENTIALS
    assert "canary" not in str(error) + repr(error)
    assert isinstance(error, AvpError)
