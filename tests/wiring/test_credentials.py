"""Authenticators as configured: which is asked, what settles a check, what is refused at load, what a reload does."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import replace

import pytest

import authz
from authz.authn.api_keys import new_key
from authz.core.mapping import FORWARDED_CERTIFICATE, SOURCE_PRINCIPAL
from authz.core.model import Headers
from authz.testing import FakeRecordSink
from authz.wiring import assemble
from authz.wiring.runtime import running
from tests.authn.issuing import request_with

KEY = new_key("nightly-1")
KEY_FILE = f"""keys:
  - id: nightly-1
    sha256: "{KEY.digest}"
    principal: A::Service::"nightly"
    parents: ['A::Group::"staff"']
    attributes: {{tier: 2, tags: [a, b]}}
"""
SERVICES = """
  entity Service in [Group] = { tier?: Long, tags?: Set<String> };
  action "read" appliesTo { principal: [User, Service],"""
AUTHENTICATORS = """authenticators:
  - {name: bearer, token: {}}
  - {name: gateway, token: {header: X-Access-Token, scheme: Token}}
  - {name: session, token: {cookie: __Host-session}}
  - {name: keys, api_keys: {file: keys.yaml}}
  - {name: mesh, client_certificate: {type: "A::Service", allowed: ["spiffe://td/*"]}}
"""


@pytest.fixture
def shop(app):
    """The application with an authenticator of each kind, and services as principals."""
    app.edit("policies/schema.cedarschema", '\n  action "read" appliesTo { principal: User,', SERVICES)
    app.write("policies/all.cedar", 'permit(principal in A::Group::"staff", action, resource);\n')
    app.write("keys.yaml", KEY_FILE)
    app.edit("authz.yaml", "    groups", "    principal: {type: A::User}\n    groups")
    app.edit("authz.yaml", "policies: {path", f"{AUTHENTICATORS}policies: {{path")
    return app


def get(headers=(), **extensions):
    names = {"grpc": SOURCE_PRINCIPAL, "header": FORWARDED_CERTIFICATE}
    return (dict(headers), {names[key]: value for key, value in extensions.items()})


async def check(az, headers=(), **extensions):
    fields, told = get(headers, **extensions)
    request = az.request(authz.HttpRequest(method="GET", url="https://docs.example/d/1", headers=fields))
    return await az.check(replace(request, extensions=told))


async def reason(az, headers=(), **extensions):
    return (await check(az, headers, **extensions)).reason.value


async def assembled(app):
    return (await asyncio.to_thread(assemble, app.config)).required()


def told(app):
    assembled = assemble(app.config)
    return [str(problem).replace(f"{app.folder}/", "") for problem in assembled.problems]


class TestPlaces:
    async def test_each_place_has_its_authenticator(self, shop):
        token = shop.token(groups=["staff"])
        async with authz.connect(shop.config, watch=False) as az:
            for headers in (
                {"authorization": f"Bearer {token}"},
                {"x-access-token": f"Token {token}"},
                {"cookie": f"a=b; __Host-session={token}"},
            ):
                assert await reason(az, headers) == "allowed"
                allowed = await check(az, headers)
                assert allowed.edits.set == (("x-user", "ann"),)
            allowed = await check(az, {"x-api-key": KEY.text})
            assert (allowed.reason.value, allowed.edits.set) == ("allowed", (("x-user", "nightly"),))
            assert await reason(az, grpc="spiffe://td/a") == "policy_no_permit"
            assert await reason(az) == "no_credentials"

    async def test_a_token_is_verified_once_wherever_it_stands(self, shop):
        token = shop.token(groups=["staff"])
        async with running(await assembled(shop), watching=False) as runtime:
            az = runtime.service.authorizer.authenticators
            places = {
                "bearer": ("authorization", f"Bearer {token}"),
                "gateway": ("x-access-token", f"token {token}"),
                "session": ("cookie", f"__Host-session={token}"),
            }
            found = [await az[name].authenticate(request_with(Headers([place]))) for name, place in places.items()]
            assert found[0] is found[1] is found[2]
            assert (runtime.tokens.misses, runtime.tokens.hits, runtime.tokens.remembered) == (1, 2, 1)


class TestOrder:
    async def test_the_first_credential_settles_who_calls(self, shop):
        both = {"authorization": f"Bearer {shop.token(groups=[])}", "x-api-key": KEY.text}
        async with authz.connect(shop.config, watch=False) as az:
            assert await reason(az, both) == "policy_no_permit"  # ann's, though the key's would be allowed
        shop.edit("routes.yaml", "  action", "  authenticators: [keys, bearer]\n  action")
        async with authz.connect(shop.config, watch=False) as az:
            assert await reason(az, both) == "allowed"

    @pytest.mark.parametrize(
        ("bad", "expected"),
        [
            ({"authorization": "Bearer a.b.c"}, "token_malformed"),
            ({"x-access-token": "Token a.b.c"}, "token_malformed"),
            ({"cookie": "__Host-session=a; __Host-session=b"}, "credentials_ambiguous"),
        ],
    )
    async def test_a_bad_credential_ends_the_check_though_a_later_one_is_good(self, shop, bad, expected):
        async with authz.connect(shop.config, watch=False) as az:
            outcome = await check(az, bad | {"x-api-key": KEY.text}, grpc="spiffe://td/a")
            assert (outcome.reason.value, outcome.status) == (expected, 401)

    async def test_a_bad_credential_is_not_anonymous(self, shop):
        shop.edit("routes.yaml", "  action", '  anonymous: A::User::"anyone"\n  action')
        async with authz.connect(shop.config, watch=False) as az:
            assert await reason(az) == "policy_no_permit"
            assert await reason(az, {"x-api-key": "authz_x_y"}) == "api_key_invalid"
            assert await reason(az, grpc="spiffe://other/a") == "certificate_invalid"

    async def test_a_later_bad_credential_is_not_looked_at(self, shop):
        async with authz.connect(shop.config, watch=False) as az:
            assert await reason(az, shop.headers(groups=["staff"]) | {"x-api-key": "rubbish"}) == "allowed"

    async def test_what_the_route_does_not_list_is_not_asked(self, shop):
        shop.edit("routes.yaml", "  action", "  authenticators: [mesh]\n  action")
        async with authz.connect(shop.config, watch=False) as az:
            assert await reason(az, shop.headers(groups=["staff"]) | {"x-api-key": KEY.text}) == "no_credentials"

    async def test_issuers_are_of_tokens(self, shop):
        shop.edit("routes.yaml", "  action", "  issuers: [https://login.example.com]\n  action")
        async with authz.connect(shop.config, watch=False) as az:
            assert await reason(az, {"x-api-key": KEY.text}) == "allowed"


class TestAnswers:
    @pytest.mark.parametrize(
        ("listed", "expected"),
        [
            ("bearer, keys", 'Bearer realm="authz"'),
            ("keys, session", 'Bearer realm="authz"'),
            ("keys, mesh", 'ApiKey realm="authz"'),
            ("mesh", 'ClientCertificate realm="authz"'),
        ],
    )
    async def test_the_challenge_names_what_the_route_takes(self, shop, listed, expected):
        shop.edit("routes.yaml", "  action", f"  authenticators: [{listed}]\n  action")
        async with authz.connect(shop.config, watch=False) as az:
            answer = await az.respond(authz.HttpRequest(method="GET", url="https://docs.example/d/1"))
            assert (answer.status, dict(answer.headers)["www-authenticate"]) == (401, expected)

    async def test_a_bad_key_is_challenged_in_its_own_scheme(self, shop):
        async with authz.connect(shop.config, watch=False) as az:
            headers = {"x-api-key": "authz_a_b"}
            answer = await az.respond(authz.HttpRequest(method="GET", url="https://docs.example/d/1", headers=headers))
            assert dict(answer.headers)["www-authenticate"] == 'ApiKey realm="authz"'

    async def test_the_record_says_which_authenticator(self, shop):
        sink = FakeRecordSink()
        async with authz.connect(shop.config, watch=False, sinks=[sink]) as az:
            for headers in (shop.headers(), {"x-api-key": KEY.text}, {"x-api-key": "x"}, {}):
                await check(az, headers)
        assert [record.authenticator for record in sink.records] == ["bearer", "keys", "keys", ""]

    async def test_no_secret_is_in_log_answer_or_record(self, shop, tmp_path, caplog):
        """A canary: the secret of a good key, of a bad one, and of an expired one, at every level of the log."""
        caplog.set_level(logging.DEBUG)
        output = tmp_path / "record.jsonl"
        show = "show: [path, source_address, detail], output: "
        shop.edit("authz.yaml", "{output: none}", f"{{{show}{output}}}")
        bad, old = new_key("nightly-1"), new_key("old")
        entry = f'  - {{id: old, sha256: "{old.digest}", principal: A::Service::"x", expires: 2020-01-01}}\n'
        shop.write("keys.yaml", KEY_FILE + entry)
        texts = [text for key in (KEY, bad, old) for text in (key.text, f" {key.text},{key.text}", key.text[6:])]
        async with authz.connect(shop.config, watch=False) as az:
            asked = [
                authz.HttpRequest(method="GET", url="https://docs.example/d/1", headers={"x-api-key": text})
                for text in texts
            ]
            answers = [repr(await az.respond(request)) for request in asked]
        written = "".join(answers) + caplog.text + output.read_text()
        assert "api_key_expired" in written
        assert "nightly" in written
        for key in (KEY, bad, old):
            assert key.text.rpartition("_")[2][:12] not in written
            assert key.text[-20:] not in written


class TestReload:
    async def test_keys_count_and_end_without_a_restart(self, shop):
        async def until(headers, expected):
            async with asyncio.timeout(30):
                while await reason(az, headers) != expected:
                    await asyncio.sleep(0.01)

        second = new_key("nightly-2")
        async with authz.connect(shop.config) as az:
            assert await reason(az, {"x-api-key": second.text}) == "api_key_invalid"
            more = KEY_FILE.replace("nightly-1", "nightly-2").replace(KEY.digest, second.digest)
            shop.write("keys.yaml", more)
            await until({"x-api-key": second.text}, "allowed")
            assert await reason(az, {"x-api-key": KEY.text}) == "api_key_invalid"
            shop.write("deny.yaml", "issuers: {keys: {subjects: [nightly-2]}}")
            await until({"x-api-key": second.text}, "api_key_invalid")

    async def test_a_file_that_is_wrong_changes_nothing(self, shop):
        async with running(await assembled(shop), watching=False) as runtime:
            before = runtime.service.authorizer
            shop.write("keys.yaml", KEY_FILE + "  - id: nightly-1\n")
            assert not await runtime.reload()
            assert runtime.service.authorizer is before
            shop.write("keys.yaml", "keys: []")
            assert await runtime.reload()
            assert runtime.service.authorizer is not before

    async def test_tokens_stay_remembered_over_a_change_of_keys(self, shop):
        async with running(await assembled(shop), watching=False) as runtime:
            verifier = runtime.tokens
            shop.write("keys.yaml", "keys: []")
            assert await runtime.reload()
            assert runtime.tokens is verifier


def test_the_application_is_sound(shop):
    assert told(shop) == []


@pytest.mark.parametrize(
    ("name", "old", "new", "expected"),
    [
        ("routes.yaml", "  action", "  authenticators: [nope]\n  action", "`nope` is none of the configured authenticators"),
        ("routes.yaml", "  action", "  authenticators: [keys]\n  issuers: [https://login.example.com]\n  action", "none of the route's authenticators takes one"),
        ("routes.yaml", "x-user:", "x-api-key:", "routes.yaml:1: route `read`: the header `x-api-key` carries the credential of `keys`"),
        ("routes.yaml", "from: source.address, type: ip", "from: headers.x-api-key, type: ip", "`headers.x-api-key` is the credential of `keys`"),
        ("routes.yaml", 'id: "{path.id}"', 'id: "{headers.x-access-token}"', "`headers.x-access-token` is the credential of `gateway`"),
        ("policies/schema.cedarschema", "[User, Service]", "[User]", None),
        ("authz.yaml", 'type: "A::Service"', "type: A::Nope", "authz.yaml:14: authenticator `mesh`: the schema has no entity type `A::Nope`"),
        ("authz.yaml", "file: keys.yaml", "file: none.yaml", "none.yaml: the file cannot be read"),
        ("authz.yaml", "  - {name: gateway, token: {header: X-Access-Token, scheme: Token}}", "  - {name: gateway, token: {header: x-api-key}}", "`gateway` and `keys` read the same place"),
        ("authz.yaml", "  - {name: gateway, token: {header: X-Access-Token, scheme: Token}}", "  - {name: gateway, token: {header: authorization, scheme: bearer}}", "`bearer` and `gateway` read the same place"),
        ("keys.yaml", 'Service::"nightly"', 'Nope::"nightly"', "keys.yaml:2: the key `nightly-1`: the schema has no entity type `A::Nope`"),
        ("keys.yaml", "A::Group", "A::User", "does not let `A::Service` be in `A::User`"),
        ("keys.yaml", "tier: 2", "tier: high", "the schema declares another type for the attribute `tier`"),
        ("keys.yaml", "[a, b]", "[a, 1]", "the schema declares another type for the attribute `tags`"),
        ("keys.yaml", "tier", "tire", "the schema declares no attribute `tire`"),
    ],
)  # fmt: skip
def test_misfits_are_told(shop, name, old, new, expected):
    shop.edit(name, old, new)
    lines = told(shop)
    assert any(expected in line for line in lines) if expected is not None else lines == [], lines


class TestPrincipalTypes:
    @pytest.fixture
    def users_only(self, shop):
        shop.edit("policies/schema.cedarschema", "[User, Service]", "User")
        return shop

    def test_a_route_that_lists_nothing_may_meet_others(self, users_only):
        assert told(users_only) == []

    @pytest.mark.parametrize("listed", ["keys", "mesh", "bearer, mesh"])
    def test_what_a_route_lists_must_fit_its_action(self, users_only, listed):
        users_only.edit("routes.yaml", "  action", f"  authenticators: [{listed}]\n  action")
        assert [line.partition(": ")[2] for line in told(users_only)] == [
            'route `read`: `A::Action::"read"` takes no principal of type `A::Service`'
        ]

    def test_a_route_for_services_alone_is_not_held_against_tokens(self, shop):
        shop.edit("policies/schema.cedarschema", "[User, Service]", "Service")
        assert any("takes no principal of type `A::User`" in line for line in told(shop))
        shop.edit("routes.yaml", "  action", "  authenticators: [mesh, keys]\n  action")
        assert told(shop) == []


class TestWithoutIssuers:
    @pytest.fixture
    def keys_only(self, shop):
        text = shop.config.read_text()
        begin, end = text.index("issuers:"), text.index("authenticators:")
        shop.write("authz.yaml", text[:begin] + text[end:])
        return shop

    def test_tokens_need_one(self, keys_only):
        lines = told(keys_only)
        assert sum("there are no `issuers` whose token could be verified" in line for line in lines) == 3

    async def test_keys_do_not(self, keys_only):
        text = "".join(line for line in AUTHENTICATORS.splitlines(keepends=True) if "token:" not in line)
        keys_only.edit("authz.yaml", AUTHENTICATORS, text)
        async with authz.connect(keys_only.config, watch=False) as az:
            assert await reason(az, {"x-api-key": KEY.text}) == "allowed"
            assert await reason(az, keys_only.headers()) == "no_credentials"

    def test_a_route_that_takes_tokens_alone_passes_nobody(self, keys_only):
        keys_only.edit("authz.yaml", AUTHENTICATORS, "")
        assert any("nobody can pass" in line for line in told(keys_only))
