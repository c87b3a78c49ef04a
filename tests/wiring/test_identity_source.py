"""The policy store's identity source decides whose tokens count, from the start on and when it changes."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

import authz
from authz.core.errors import Misconfigured
from tests.emulator.running import Emulator, emulator
from tests.wiring.conftest import App

SCHEMA = {
    "A": {
        "entityTypes": {
            "User": {"memberOfTypes": ["Group"]},
            "Group": {},
            "Doc": {},
        },
        "actions": {
            "read": {
                "appliesTo": {
                    "principalTypes": ["User"],
                    "resourceTypes": ["Doc"],
                    "context": {"type": "Record", "attributes": {"ip": {"type": "Extension", "name": "ipaddr", "required": False}}},
                }
            }
        },
    }
}  # fmt: skip
STAFF = 'permit(principal in A::Group::"login|staff", action, resource);'
CONFIG = """issuers:
  - issuer: https://login.example.com
    algorithms: [ES256]
    jwks_file: jwks.json
policies:
  store: verified_permissions
  verified_permissions:
    policy_store: {store}
    region: us-east-1
    endpoint: {url}
    replica: {{interval: 1s, slow_interval: 1s, requests: 1000}}
routes: routes.yaml
record: {{output: none}}
"""


def described(claim: str = "roles", audience: str = "api", prefix: str = "login") -> dict[str, Any]:
    return {
        "openIdConnectConfiguration": {
            "issuer": "https://login.example.com",
            "entityIdPrefix": prefix,
            "groupConfiguration": {"groupClaim": claim, "groupEntityType": "A::Group"},
            "tokenSelection": {"accessTokenOnly": {"audiences": [audience]}},
        }
    }


class Stored:
    """An application whose policies are in a store with an identity source."""

    def __init__(self, running: Emulator, app: App) -> None:
        self.app = app
        self.client = running.client()
        self.store = running.store(json.dumps(SCHEMA), policies=[STAFF])
        made = self.client.create_identity_source(
            policyStoreId=self.store, principalEntityType="A::User", configuration=described()
        )
        self._source = made["identitySourceId"]
        app.write("authz.yaml", CONFIG.format(store=self.store, url=running.url))

    def change(self, **changes: str) -> None:
        self.client.update_identity_source(
            policyStoreId=self.store, identitySourceId=self._source, updateConfiguration=described(**changes)
        )

    async def reason(self, az: Any, **claims: Any) -> str:
        headers = self.app.headers(**{"roles": ["staff"]} | claims)
        outcome = await az.check(authz.HttpRequest(method="GET", url="https://h/d/1", headers=headers))
        return str(outcome.reason.value)


@pytest.fixture
async def stored(app: App, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Stored]:
    alone = {"AWS_EC2_METADATA_DISABLED": "true", "AWS_CONFIG_FILE": "/dev/null", "AWS_ACCESS_KEY_ID": "AKIDEXAMPLE"}
    alone |= {"AWS_SHARED_CREDENTIALS_FILE": "/dev/null", "AWS_SECRET_ACCESS_KEY": "no-secret"}
    for name, value in alone.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("AWS_PROFILE", raising=False)
    async with emulator() as running:
        yield await asyncio.to_thread(Stored, running, app)


async def looked(az: Any, until: Any) -> None:
    """Looks at the store until what it found there counts."""
    runtime = az._runtime
    keeper = runtime.keeper(runtime.assembly.store)
    for _ in range(500):
        await keeper.look()
        if until():
            return
        await asyncio.sleep(0.02)
    raise AssertionError("it never counted")


async def test_it_says_what_tokens_become(stored: Stored):
    async with authz.connect(stored.app.config, watch=False, sinks=()) as az:
        assert await stored.reason(az) == "allowed"
        assert await stored.reason(az, roles=["else"]) == "policy_no_permit"
        assert await stored.reason(az, aud="other") == "token_audience"
        assert await stored.reason(az, token_use="id") == "token_type"


async def test_a_change_of_it_counts(stored: Stored):
    async with authz.connect(stored.app.config, watch=False, sinks=()) as az:
        verifier = az._runtime.tokens
        assert await stored.reason(az) == "allowed"
        # Another policy is no reason to forget verified tokens.
        stored.client.create_policy(policyStoreId=stored.store, definition={"static": {"statement": STAFF}})
        await looked(az, lambda: len(az._runtime.assembly.compiled.rows) == 2)
        assert az._runtime.tokens is verifier
        stored.change(claim="teams", audience="batch")
        await looked(az, lambda: az._runtime.tokens is not verifier)
        assert await stored.reason(az) == "token_audience"
        assert await stored.reason(az, aud="batch") == "policy_no_permit"
        assert await stored.reason(az, aud="batch", teams="staff") == "allowed"


async def test_one_that_contradicts_the_configuration_changes_nothing(stored: Stored, caplog: pytest.LogCaptureFixture):
    stored.app.edit("authz.yaml", "    jwks_file", "    principal: {prefix: login}\n    jwks_file")
    async with authz.connect(stored.app.config, watch=False, sinks=()) as az:
        stored.change(prefix="other")
        await looked(az, lambda: "reload rejected" in caplog.text)
        assert "`principal.prefix` is `login`, and the policy store's identity source has `other`" in caplog.text
        assert await stored.reason(az) == "allowed"
        stored.change(claim="teams")
        await looked(az, lambda: az._runtime.assembly.issuers[0].source.group_claim == "teams")
        assert await stored.reason(az) == "policy_no_permit"


async def test_at_the_start_one_that_contradicts_is_told(stored: Stored):
    stored.app.edit("authz.yaml", "    jwks_file", "    token: id\n    jwks_file")
    with pytest.raises(Misconfigured, match=r"authz\.yaml:4: `token` is `id`"):
        async with authz.connect(stored.app.config, watch=False, sinks=()):
            pass


async def test_it_can_be_ignored(stored: Stored):
    stored.app.edit("authz.yaml", "  store: verified", "  identity_source: ignore\n  store: verified")
    stored.app.edit("authz.yaml", "    jwks_file", "    audience: api\n    jwks_file")
    async with authz.connect(stored.app.config, watch=False, sinks=()) as az:
        assert await stored.reason(az) == "policy_no_permit"
        assert await stored.reason(az, aud="batch") == "token_audience"
