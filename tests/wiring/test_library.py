"""The library: the whole of it in the process, and reloads as a whole."""

from __future__ import annotations

import asyncio
import subprocess
import sys

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

import authz
from authz.core.model import HeaderEdits


def get(path="/d/1", **changes):
    return authz.HttpRequest(**{"method": "GET", "url": f"https://docs.example{path}", **changes})


async def reason(az, app, **claims):
    outcome = await az.check(get(headers=app.headers(**claims)))
    return outcome.reason.value


async def until(condition):
    """Waits for an awaitable condition; the file system's events have no handle to wait for."""
    async with asyncio.timeout(30):
        while not await condition():
            await asyncio.sleep(0.01)


async def test_outcomes_in_process(app):
    async with authz.connect(app.config) as az:
        allowed = await az.check(get(headers=app.headers(groups=["staff"])))
        assert isinstance(allowed, authz.Allowed)
        assert allowed.decision.policies == ("staff",)
        assert allowed.edits == HeaderEdits(set=(("x-user", "ann"),))
        assert await reason(az, app, groups=[]) == "policy_no_permit"
        assert await reason(az, app, aud="other") == "token_audience"
        assert (await az.check(get())).reason.value == "no_credentials"
        assert (await az.check(get("/none", headers=app.headers()))).reason.value == "no_route"
        assert (await az.check(get("/d/%2e%2e/x"))).reason.value == "bad_path"
        assert (await az.check(get("//d/1"))).reason.value == "bad_path"
        assert (await az.check(get(method="get"))).reason.value == "bad_method"
        assert (await az.check(authz.HttpRequest(method="GET", url="nonsense"))).reason.value == "bad_path"
        assert (await az.check(authz.HttpRequest(method="GET", url="/d/1"))).reason.value == "bad_host"
        assert (await az.respond(get())).status == 401
        assert (await az.respond(get("/d/../1"))).status == 400


async def test_a_canonical_request_can_be_checked_several_times(app):
    async with authz.connect(app.config, watch=False) as az:
        request = az.request(get(headers=app.headers(groups=["staff"])))
        assert await az.check(request) == await az.check(request)
        with pytest.raises(authz.AuthzError):
            az.request(get("/d/%00"))


async def test_a_wrong_configuration_starts_nothing_and_tells_everything(app):
    app.edit("routes.yaml", "A::Doc,", "A::User,")
    app.edit("policies/all.cedar", "A::Group", "A::Nope")
    with pytest.raises(authz.Misconfigured) as caught:
        async with authz.connect(app.config):
            pytest.fail("it started")
    assert {problem.file.rpartition("/")[2] for problem in caught.value.problems} == {"routes.yaml", "all.cedar"}


@pytest.mark.parametrize(
    ("name", "old", "new", "after"),
    [
        ("policies/all.cedar", 'A::Group::"staff"', 'A::Group::"none"', "policy_no_permit"),
        ("routes.yaml", "/d/{id}", "/e/{id}", "no_route"),
        ("deny.yaml", "{}", "subjects: [ann]", "token_revoked"),
        ("authz.yaml", "[api]", "[other]", "token_audience"),
        ("authz.yaml", "A::Group", "A::Group, claim: roles", "policy_no_permit"),
    ],
)
async def test_changes_count_without_a_restart(app, name, old, new, after):
    async with authz.connect(app.config) as az:
        assert await reason(az, app, groups=["staff"]) == "allowed"
        app.edit(name, old, new)

        async def counts():
            return await reason(az, app, groups=["staff"]) == after

        await until(counts)


async def test_a_verified_token_stops_counting_when_its_key_leaves_the_file(app):
    async with authz.connect(app.config, watch=False) as az:
        headers = app.headers(groups=["staff"])
        assert isinstance(await az.check(get(headers=headers)), authz.Allowed)
        app.publish(ec.generate_private_key(ec.SECP256R1()), "k2")
        assert await az.reload()
        assert (await az.check(get(headers=headers))).reason.value == "token_key_unknown"


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        ("policies/all.cedar", "permit(", "permit(("),
        ("policies/all.cedar", "A::Group", "A::Nope"),
        ("routes.yaml", "A::Doc,", "A::Nope,"),
        ("deny.yaml", "{}", "nonsense: ["),
        ("authz.yaml", "issuers:", "isuers:"),
        ("jwks.json", "{", ""),
    ],
)  # fmt: skip
async def test_a_bad_edit_is_rejected_and_the_last_good_state_goes_on(app, name, old, new):
    async with authz.connect(app.config, watch=False) as az:
        good = (app.folder / name).read_text()
        app.edit(name, old, new)
        assert not await az.reload()
        assert await reason(az, app, groups=["staff"]) == "allowed"
        outcome = await az.check(get(headers=app.headers(groups=["staff"])))
        assert isinstance(outcome, authz.Allowed)
        assert outcome.decision.age > 0
        app.write(name, good)
        assert await az.reload()
        outcome = await az.check(get(headers=app.headers(groups=["staff"])))
        assert isinstance(outcome, authz.Allowed)
        assert outcome.decision.age == 0


async def test_a_rejected_policy_set_fails_closed_at_its_age_limit(app):
    app.edit("authz.yaml", "path: policies", "path: policies, max_age: 1ms")
    async with authz.connect(app.config, watch=False) as az:
        assert await reason(az, app, groups=["staff"]) == "allowed"
        app.edit("policies/all.cedar", "permit(", "permit((")
        assert not await az.reload()

        async def closed():
            return await reason(az, app, groups=["staff"]) == "policies_unavailable"

        await until(closed)


async def test_policies_and_routes_are_swapped_together(app):
    """No check sees a new route with old policies: the routes name an action that the old schema lacks."""
    async with authz.connect(app.config, watch=False) as az:
        app.edit("policies/schema.cedarschema", 'action "read"', 'action "look"')
        assert not await az.reload()
        app.edit("routes.yaml", 'Action::"read"', 'Action::"look"')
        assert await az.reload()
        assert await reason(az, app, groups=["staff"]) == "allowed"


async def test_checks_go_on_while_everything_reloads(app):
    async with authz.connect(app.config, watch=False) as az:
        done = asyncio.Event()
        seen = set()

        async def ask():
            while not done.is_set():
                seen.add(await reason(az, app, groups=["staff"]))
                await asyncio.sleep(0)

        asking = asyncio.create_task(ask())
        for number in range(5):
            app.write(
                "policies/all.cedar", f'@id("p{number}") permit(principal in A::Group::"staff", action, resource);'
            )
            assert await az.reload()
        done.set()
        await asking
        assert seen == {"allowed"}


async def test_a_connection_ends_while_files_change(app):
    """Ending must not be lost in a change: cancelling raced with an event once."""
    for _ in range(10):
        async with asyncio.timeout(30), authz.connect(app.config) as az:
            app.write("deny.yaml", "{}\n")
            await az.check(get())


def test_importing_the_package_loads_no_server_and_no_engine():
    code = (
        "import sys, authz\n"
        "heavy = {'aiohttp', 'grpc', 'google', 'boto3', 'botocore', 'cedarpy', 'jwt', 'yaml', 'pydantic', 'structlog'}\n"
        "print(sorted(heavy & sys.modules.keys()))\n"
    )
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert shown.stdout.strip() == "[]"
