"""Reading an issuer's keys: what is believed, and every way in which it fails."""

import asyncio
import gzip
import json
import ssl
from collections.abc import AsyncIterator
from typing import Any

import pytest
import trustme
from aiohttp import ClientSession, web

from authz.authn.fetch import MAX_DOCUMENT, FetchFailed, KeySource, fetch_keys
from authz.core.errors import Misconfigured
from tests.authn.issuing import jwk, jwks
from tests.authn.key_server import DISCOVERY, JWKS, KeyServer


@pytest.fixture
async def server() -> AsyncIterator[KeyServer]:
    server = KeyServer()
    server.keys = [jwk("RS256")]
    await server.start()
    yield server
    await server.stop()


@pytest.fixture
async def session() -> AsyncIterator[ClientSession]:
    async with ClientSession() as session:
        yield session


def discovering(server: KeyServer, **settings: Any) -> KeySource:
    return KeySource(issuer=server.issuer, **settings)


def direct(server: KeyServer, **settings: Any) -> KeySource:
    return KeySource(issuer="any name", jwks_uri=server.issuer + JWKS, **settings)


async def failure(session: ClientSession, source: KeySource) -> str:
    with pytest.raises(FetchFailed) as caught:
        await fetch_keys(session, source)
    return str(caught.value)


class TestGood:
    async def test_discovery_leads_to_the_keys(self, server, session):
        keys, problems = await fetch_keys(session, discovering(server))
        assert [key.kid for key in keys] == ["k1"]
        assert problems == ()
        assert server.asked == {DISCOVERY: 1, JWKS: 1}

    async def test_a_known_address_needs_no_discovery(self, server, session):
        keys, _ = await fetch_keys(session, direct(server))
        assert [key.kid for key in keys] == ["k1"]
        assert server.asked == {JWKS: 1}

    async def test_an_issuer_with_a_path_and_a_slash(self, server, session):
        issuer = f"{server.issuer}/realms/main/"
        server.answer(f"/realms/main{DISCOVERY}", json.dumps({"issuer": issuer, "jwks_uri": server.issuer + JWKS}))
        keys, _ = await fetch_keys(session, KeySource(issuer=issuer))
        assert len(keys) == 1

    async def test_an_address_with_a_query(self, server, session):
        server.document["jwks_uri"] += "?p=policy"
        await fetch_keys(session, discovering(server))
        assert server.seen[-1].query_string == "p=policy"

    async def test_a_document_may_be_just_so_large(self, server, session):
        server.answer(JWKS, jwks(jwk("RS256")).ljust(MAX_DOCUMENT))
        keys, _ = await fetch_keys(session, direct(server))
        assert len(keys) == 1
        server.answer(JWKS, jwks(jwk("RS256")).ljust(MAX_DOCUMENT + 1))
        assert str(MAX_DOCUMENT) in await failure(session, direct(server))

    async def test_bad_keys_are_left_out_and_told(self, server, session):
        server.keys = [jwk("RS256"), jwk("RS256", "1024", kid="weak"), jwk("RS256", kid="e", use="enc")]
        keys, problems = await fetch_keys(session, direct(server))
        assert [key.kid for key in keys] == ["k1"]
        assert [problem.severity for problem in problems] == ["warning"]


@pytest.mark.parametrize("path", [DISCOVERY, JWKS])
class TestBadAnswers:
    @pytest.mark.parametrize(
        ("body", "words"),
        [
            (b"", "JSON"),
            (b"<html>", "JSON"),
            (b"[]", "object"),
            (b"null", "object"),
            (b"\xff\xfe", "UTF-8"),
            (b'{"keys": [], "keys": []}', "once"),
            (b'{"a": NaN}', "finite"),
            (b"[" * 100_000, "JSON"),
            (b"{}", "`jwks_uri`|another issuer|JWK set"),
        ],
    )
    async def test_garbage(self, server, session, path, body, words):
        server.answer(path, body)
        with pytest.raises(FetchFailed, match=words):
            await fetch_keys(session, discovering(server))

    @pytest.mark.parametrize("status", [201, 204, 304, 400, 401, 403, 404, 429, 500, 503])
    async def test_any_status_but_200(self, server, session, path, status):
        server.answer(path, b"", status=status)
        assert str(status) in await failure(session, discovering(server))

    @pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
    async def test_no_redirect_is_followed(self, server, session, path, status):
        server.answer("/elsewhere", jwks(jwk("RS256")))
        server.answer(path, b"", status=status, headers={"Location": f"{server.issuer}/elsewhere"})
        assert "redirect" in await failure(session, discovering(server))
        assert server.asked["/elsewhere"] == 0

    @pytest.mark.parametrize("announced", [True, False])
    async def test_a_huge_answer(self, server, session, path, announced):
        async def huge(request: web.Request) -> web.StreamResponse:
            response = web.StreamResponse()
            if announced:
                response.content_length = 100 * MAX_DOCUMENT
            await response.prepare(request)
            try:
                for _ in range(100):
                    await response.write(b" " * MAX_DOCUMENT)
            except ConnectionError:  # the client has seen enough
                pass
            return response

        server.answers[path] = huge
        assert str(MAX_DOCUMENT) in await failure(session, discovering(server))

    async def test_a_compressed_answer(self, server, session, path):
        server.answer(path, gzip.compress(b" " * 50 * MAX_DOCUMENT), headers={"Content-Encoding": "gzip"})
        assert "compressed" in await failure(session, discovering(server))
        assert server.seen[-1].headers["Accept-Encoding"] == "identity"

    @pytest.mark.parametrize("at", ["start", "middle"])
    async def test_a_slow_answer(self, server, session, path, at):
        over = asyncio.Event()

        async def slow(request: web.Request) -> web.StreamResponse:
            response = web.StreamResponse()
            if at == "middle":
                await response.prepare(request)
                await response.write(b'{"keys":')
            await over.wait()
            return response

        server.answers[path] = slow
        assert "did not answer" in await failure(session, discovering(server, timeout=0.05))
        over.set()

    async def test_a_cut_answer(self, server, session, path):
        async def cut(request: web.Request) -> web.StreamResponse:
            response = web.StreamResponse()
            response.content_length = 100
            await response.prepare(request)
            await response.write(b'{"keys":')
            assert request.transport is not None
            request.transport.close()
            return response

        server.answers[path] = cut
        assert "could not be read" in await failure(session, discovering(server))


class TestDocuments:
    @pytest.mark.parametrize("claimed", [None, "", "https://evil.example.com", 7, ["x"], "same with a slash"])
    async def test_the_document_is_the_issuers_own(self, server, session, claimed):
        server.document["issuer"] = f"{server.issuer}/" if claimed == "same with a slash" else claimed
        assert "another issuer" in await failure(session, discovering(server))
        assert server.asked[JWKS] == 0

    @pytest.mark.parametrize("address", [None, 7, ["x"]])
    async def test_it_names_an_address(self, server, session, address):
        server.document["jwks_uri"] = address
        assert "no `jwks_uri`" in await failure(session, discovering(server))

    @pytest.mark.parametrize(
        "address",
        [
            "",
            "/keys",
            "file:///etc/passwd",
            "ftp://127.0.0.1/keys",
            "http://login.example.com/keys",
            "https://user:pass@127.0.0.1/keys",
            "http://[::1",
            "http://127.0.0.1:99999/keys",
            "http://127.0.0.1/keys#x",
        ],
    )
    async def test_the_address_must_be_fit_to_be_asked(self, server, session, address):
        server.document["jwks_uri"] = address
        assert "cannot be used" in await failure(session, discovering(server))

    async def test_the_keys_are_on_the_issuers_host(self, server, session):
        server.document["jwks_uri"] = server.on("localhost")
        assert "`jwks_hosts`" in await failure(session, discovering(server))
        assert server.asked[JWKS] == 0
        await fetch_keys(session, discovering(server, jwks_hosts=frozenset({"LocalHost"})))
        assert server.asked[JWKS] == 1

    @pytest.mark.parametrize("keys", [[], [jwk("RS256", use="enc")], [jwk("RS256", "1024")], ["x"]])
    async def test_a_set_without_a_usable_key_is_a_failure(self, server, session, keys):
        server.keys = keys
        assert "no usable key" in await failure(session, direct(server))

    async def test_too_many_keys(self, server, session):
        server.keys = [{}] * 101
        assert "101" in await failure(session, direct(server))

    async def test_nobody_there(self, server, session):
        source = direct(server)
        await server.stop()
        assert "could not be read: Client" in await failure(session, source)


class TestTls:
    @pytest.fixture
    async def private(self) -> AsyncIterator[tuple[KeyServer, ssl.SSLContext]]:
        authority = trustme.CA()
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.issue_cert("127.0.0.1").configure_cert(context)
        trusting = ssl.create_default_context()
        authority.configure_trust(trusting)
        server = KeyServer()
        server.keys = [jwk("RS256")]
        await server.start(tls=context)
        yield server, trusting
        await server.stop()

    async def test_a_private_authority_is_believed_where_it_is_configured(self, private, session):
        server, trusting = private
        assert server.issuer.startswith("https://")
        keys, _ = await fetch_keys(session, discovering(server, ssl=trusting))
        assert len(keys) == 1
        assert "could not be read: ClientConnectorCertificateError" in await failure(session, discovering(server))

    async def test_an_https_issuer_has_no_http_keys(self, private, session):
        server, trusting = private
        server.document["jwks_uri"] = server.document["jwks_uri"].replace("https", "http")
        assert "although the issuer is https" in await failure(session, discovering(server, ssl=trusting))


class TestSource:
    @pytest.mark.parametrize(
        "settings",
        [
            {"issuer": "http://login.example.com"},
            {"issuer": "http://10.0.0.1"},
            {"issuer": "http://127.0.0.1.example.com"},
            {"issuer": "login.example.com"},
            {"issuer": ""},
            {"issuer": "https://"},
            {"issuer": "https://user@login.example.com"},
            {"issuer": "https://login.example.com?tenant=1"},
            {"issuer": "https://login.example.com#x"},
            {"issuer": "any", "jwks_uri": "http://login.example.com/keys"},
            {"issuer": "any", "jwks_uri": "keys.json"},
        ],
    )
    def test_an_address_that_may_not_be_asked_is_refused_at_load(self, settings):
        with pytest.raises(Misconfigured, match="expected"):
            KeySource(**settings)

    @pytest.mark.parametrize(
        "settings",
        [
            {"issuer": "https://login.example.com"},
            {"issuer": "http://127.0.0.1:8080"},
            {"issuer": "http://[::1]:8080"},
            {"issuer": "http://localhost:8080"},
            {"issuer": "http://keycloak:8080", "allow_http": True},
            {"issuer": "any", "jwks_uri": "https://login.example.com/keys?p=1"},
        ],
    )
    def test_others_are_fine(self, settings):
        assert KeySource(**settings).timeout == 5.0
