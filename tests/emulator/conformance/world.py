"""What the conformance tests have in common: clients, a schema, policies, issuers and their tokens."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import boto3.session
import botocore.session
from botocore.config import Config
from botocore.exceptions import ClientError

from tests.authn.issuing import jwk, jwks, signed
from tests.emulator.conformance.model import STATUSES, TYPE, Checker, Response
from tests.emulator.running import Emulator, emulator_thread

POOL = "us-east-1_Conformed"
POOL_ARN = f"arn:aws:cognito-idp:us-east-1:123456789012:userpool/{POOL}"
COGNITO = f"https://cognito-idp.us-east-1.amazonaws.com/{POOL}"
OIDC = "https://login.example.com"

SCHEMA: dict[str, Any] = {
    "App": {
        "entityTypes": {
            "User": {
                "memberOfTypes": ["Team"],
                "shape": {
                    "type": "Record",
                    "attributes": {
                        "level": {"type": "Long", "required": False},
                        "email": {"type": "String", "required": False},
                        "custom:department": {"type": "String", "required": False},
                        "cognito:username": {"type": "String", "required": False},
                    },
                },
            },
            "Team": {"shape": {"type": "Record", "attributes": {}}},
            "Doc": {
                "memberOfTypes": ["Folder"],
                "shape": {"type": "Record", "attributes": {"owner": {"type": "Entity", "name": "User", "required": False}}},
                "tags": {"type": "String"},
            },
            "Folder": {"shape": {"type": "Record", "attributes": {}}},
        },
        "actions": {
            "viewer": {},
            "read": {"memberOf": [{"id": "viewer"}], "appliesTo": {"principalTypes": ["User"], "resourceTypes": ["Doc"]}},
            "write": {"appliesTo": {"principalTypes": ["User"], "resourceTypes": ["Doc"]}},
        },
    }
}  # fmt: skip


def user(name: str) -> dict[str, str]:
    return {"entityType": "App::User", "entityId": name}


def team(name: str) -> dict[str, str]:
    return {"entityType": "App::Team", "entityId": name}


def doc(name: str) -> dict[str, str]:
    return {"entityType": "App::Doc", "entityId": name}


def action(name: str) -> dict[str, str]:
    return {"actionType": "App::Action", "actionId": name}


def static(statement: str, **more: str) -> dict[str, Any]:
    return {"static": {"statement": statement, **more}}


def cognito(*clients: str, groups: bool = True) -> dict[str, Any]:
    """The configuration of an identity source: the user pool, with groups as teams."""
    more = {"groupConfiguration": {"groupEntityType": "App::Team"}} if groups else {}
    return {"cognitoUserPoolConfiguration": {"userPoolArn": POOL_ARN, "clientIds": list(clients), **more}}


def oidc(kind: str = "identityTokenOnly", *, group: str | None = "groups", prefix: str | None = "corp", **selection: Any) -> dict[str, Any]:  # fmt: skip
    """The configuration of an identity source: an OpenID Connect issuer."""
    given: dict[str, Any] = {"issuer": OIDC, "tokenSelection": {kind: selection}}
    if prefix is not None:
        given["entityIdPrefix"] = prefix
    if group is not None:
        given["groupConfiguration"] = {"groupClaim": group, "groupEntityType": "App::Team"}
    return {"openIdConnectConfiguration": given}


def token(issuer: str = COGNITO, *, name: str = "first", **claims: Any) -> str:
    """A signed token of that issuer. A claim given as None is left out.

    It lasts for a month: tables of tests make theirs long before those run, and some tests set the time forward.
    """
    now = int(time.time())
    base = {"iss": issuer, "sub": "alice", "aud": "app", "iat": now - 10, "exp": now + 30 * 86_400}
    if issuer == COGNITO:
        base |= {"token_use": "id"}
    return signed({key: value for key, value in (base | claims).items() if value is not None}, name=name)


def access(**claims: Any) -> str:
    """An access token of the user pool."""
    return token(**{"token_use": "access", "aud": None, "client_id": "app", "scope": "docs/read docs/write"} | claims)


def unconnected_client() -> Any:
    """A boto3 client that reads no configuration of this machine, for an address where nobody listens."""
    nothing = (None, None, os.devnull, None)
    alone = botocore.session.Session(session_vars={"profile": (None, None, None, None), "config_file": nothing, "credentials_file": nothing})  # fmt: skip
    session = boto3.session.Session(
        botocore_session=alone, aws_access_key_id="AKIDEXAMPLE", aws_secret_access_key="none", region_name="us-east-1"
    )
    config = Config(retries={"total_max_attempts": 1}, proxies={})
    return session.client("verifiedpermissions", endpoint_url="http://127.0.0.1:9", config=config)


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """An emulator, and a client of it each of whose responses is checked."""

    emulator: Emulator
    client: Any
    checker: Checker

    def store(self, *statements: str, schema: Mapping[str, Any] | None = SCHEMA, mode: str = "OFF", **more: Any) -> str:
        """A new policy store; its id."""
        made = self.client.create_policy_store(validationSettings={"mode": mode}, **more)
        store = str(made["policyStoreId"])
        if schema is not None:
            self.client.put_schema(policyStoreId=store, definition={"cedarJson": json.dumps(schema)})
        for statement in statements:
            self.policy(store, statement)
        return store

    def policy(self, store: str, statement: str, **more: Any) -> str:
        """A new static policy; its id."""
        return str(self.client.create_policy(policyStoreId=store, definition=static(statement), **more)["policyId"])

    def template(self, store: str, statement: str, **more: Any) -> str:
        """A new template; its id."""
        made = self.client.create_policy_template(policyStoreId=store, statement=statement, **more)
        return str(made["policyTemplateId"])

    def link(self, store: str, template: str, **slots: Mapping[str, str]) -> str:
        """A new policy of a template; its id."""
        definition = {"templateLinked": {"policyTemplateId": template, **slots}}
        return str(self.client.create_policy(policyStoreId=store, definition=definition)["policyId"])

    def ask(self, store: str, principal: str = "alice", verb: str = "read", resource: str = "d1", **more: Any) -> Any:
        """IsAuthorized."""
        asked = {"principal": user(principal), "action": action(verb), "resource": doc(resource)} | more
        return self.client.is_authorized(policyStoreId=store, **{key: part for key, part in asked.items() if part})

    def ask_token(self, store: str, *, verb: str = "read", resource: str = "d1", **more: Any) -> Any:
        """IsAuthorizedWithToken."""
        return self.client.is_authorized_with_token(policyStoreId=store, action=action(verb), resource=doc(resource), **more)  # fmt: skip

    def raw(self, operation: str, given: Mapping[str, Any] | bytes, **headers: str) -> tuple[int, dict[str, Any]]:
        """Status and body of a call that no SDK makes; its response is checked as any other."""
        body = given if isinstance(given, bytes) else json.dumps(given).encode()
        sent = {"Content-Type": TYPE, "X-Amz-Target": f"VerifiedPermissions.{operation}", "Authorization": "none"}
        sent |= {name.replace("_", "-"): value for name, value in headers.items()}
        connection = HTTPConnection(self.emulator.url.removeprefix("http://"), timeout=30)
        with closing(connection):
            connection.request("POST", "/", body, sent)
            answer = connection.getresponse()
            response = Response(
                operation=operation, status=answer.status, headers=dict(answer.headers), body=answer.read()
            )
        self.checker.check(response)
        found: dict[str, Any] = json.loads(response.body)
        return response.status, found

    def raw_refusal(self, operation: str, given: Mapping[str, Any] | bytes) -> tuple[int, str]:
        """Status and name of the error that such a call meets."""
        status, body = self.raw(operation, given)
        return status, str(body.get("__type"))


@contextmanager
def world(folder: Path, **settings: Any) -> Iterator[World]:
    """The emulator, which knows the keys of both issuers."""
    path = folder / "keys.json"
    path.write_bytes(jwks(jwk("RS256")))
    with emulator_thread(keys={COGNITO: str(path), OIDC: str(path)}, **settings) as emulator:
        client, checker = emulator.client(), Checker()
        checker.watch(client)
        try:
            yield World(emulator=emulator, client=client, checker=checker)
        finally:
            client.close()


def refused(call: Callable[[], object], code: str) -> dict[str, Any]:
    """The error that the call meets: its name and its status are what they should be."""
    try:
        answer = call()
    except ClientError as error:
        found: dict[str, Any] = dict(error.response)  # the error's members, too, which its type does not name
        status = found["ResponseMetadata"]["HTTPStatusCode"]
        assert (found["Error"]["Code"], status) == (code, STATUSES[code]), found["Error"]["Message"]
        return found
    raise AssertionError(f"{code} was expected, not {answer}")
