"""What a person's browser gets from each proxy: a page instead of a document, and the way to the login page.

nginx takes nothing but a status from an authorizer: its pages are its own, and the example's `error_page 401` makes
the redirect of the address that comes with the 401.
"""

from __future__ import annotations

import time

import pytest
import pytest_asyncio

import authz as library
from tests.proxies.authz_serve import AuthzServe, Issuer
from tests.proxies.client import Headers, Reply
from tests.proxies.harness import Folder
from tests.proxies.sites import Site, parameters, site

pytestmark = [pytest.mark.proxy, pytest.mark.asyncio(loop_scope="module")]

PROXIES = ("envoy-http-tcp", "envoy-grpc-tcp", "traefik", "nginx", "caddy")
KEY = "a key of at least thirty-two bytes"
HOSTS = ["documents.example"]
LOGIN = {"url": "https://login.example.com/start?client=documents", "key": KEY, "hosts": HOSTS}
BROWSER: Headers = (
    ("Accept", "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"),
    ("Sec-Fetch-Mode", "navigate"),
    ("Sec-Fetch-Dest", "document"),
    ("Sec-Fetch-Site", "none"),
)
PAGE = '<!doctype html><html lang="en">'


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def authz():
    with Folder() as folder:
        async with AuthzServe(folder, Issuer(), {"responses": {"login": LOGIN}}) as process:
            yield process


@pytest_asyncio.fixture(scope="module", loop_scope="module", params=parameters(PROXIES))
async def running(request, authz: AuthzServe):
    async with site(request.param, authz.address(request.param)) as here:
        yield here


@pytest.fixture
def here(running: Site) -> Site:
    running.service.seen.clear()
    return running


def bearer(token: str) -> Headers:
    return (("Authorization", f"Bearer {token}"),)


def assert_page(here: Site, reply: Reply, status: int, reason: str) -> None:
    """authz's page, with what makes it harmless; at nginx a page of its own."""
    assert (reply.status, here.service.seen) == (status, [])
    text = reply.body.decode()
    if here.family == "nginx":
        assert reason not in text
        return
    assert text.startswith(PAGE)
    assert f"<code>{reason}</code>" in text
    assert reply.values("content-type") == ["text/html; charset=utf-8"]
    assert reply.values("cache-control") == ["no-store"]
    assert reply.values("x-content-type-options") == ["nosniff"]
    [policy] = reply.values("content-security-policy")
    assert policy.startswith("default-src 'none'; style-src 'sha256-")


def return_address(reply: Reply) -> str | None:
    [location] = reply.values("location")
    assert location.startswith("https://login.example.com/start?client=documents&return=https://documents.example/")
    return library.verified_return_address(location, key=KEY, hosts=HOSTS, now=time.time())


# --- pages -------------------------------------------------------------------------------------------------


async def test_a_denied_person_sees_a_page(here: Site, authz: AuthzServe):
    reply = await here.send("/documents/handbook", headers=(*BROWSER, *bearer(authz.issuer.token("frank", "auditor"))))
    assert_page(here, reply, 403, "policy_no_permit")


async def test_a_person_with_a_bad_token_sees_a_page_and_is_not_sent_round_in_circles(here: Site):
    reply = await here.send("/documents/handbook", headers=(*BROWSER, *bearer(Issuer().token("alice", "analyst"))))
    assert_page(here, reply, 401, "token_signature")
    assert reply.values("location") == []
    assert len(reply.values("www-authenticate")) == 1


async def test_a_request_that_is_refused_is_explained_on_a_page(here: Site):
    reply = await here.send("/documents/hand;book", headers=BROWSER)
    # nginx knows no 400 from an authorizer
    assert_page(here, reply, 403 if here.family == "nginx" else 400, "bad_path")


async def test_nothing_that_was_sent_is_on_the_page(here: Site):
    reply = await here.send("/documents/c4n4ry;%3Cb%3E?c4n4ry=%3Cscript%3E", headers=(*BROWSER, ("Cookie", "c4n4ry=1")))
    assert b"c4n4ry" not in reply.body
    assert b"script" not in reply.body


async def test_head_has_the_pages_headers_and_no_body(here: Site, authz: AuthzServe):
    token = bearer(authz.issuer.token("frank", "auditor"))
    reply = await here.send("/documents/handbook", method="HEAD", headers=(*BROWSER, *token))
    assert (reply.status, reply.body) == (403, b"")
    if here.family not in {"nginx", "envoy-http"}:  # Envoy asks with HEAD itself, and describes the body that it got
        assert reply.values("content-type") == ["text/html; charset=utf-8"]


@pytest.mark.parametrize(
    "headers",
    [
        (("Accept", "*/*"),),
        (("Accept", "application/json"),),
        (("Accept", "text/html;q=0.5, application/json"),),
        (("Accept", "," * 4000),),
        (("Accept", "text/html;q=high"),),
        (*BROWSER, ("X-Requested-With", "XMLHttpRequest")),
        (BROWSER[0], ("Sec-Fetch-Mode", "cors"), ("Sec-Fetch-Dest", "empty")),
    ],
    ids=["any", "json", "rather json", "endless", "bad weight", "xhr", "fetch"],
)
async def test_a_program_gets_no_page_and_no_redirect(here: Site, headers: Headers):
    reply = await here.send("/documents/handbook", headers=headers)
    assert (reply.status, reply.values("location")) == (401, [])
    assert reply.values("www-authenticate") == ['Bearer realm="authz"']
    if here.family != "nginx":
        assert reply.header("content-type") == "application/problem+json"
        assert reply.json()["reason"] == "no_credentials"


# --- the way to the login page -----------------------------------------------------------------------------


async def test_a_person_without_a_credential_is_sent_to_the_login_page(here: Site):
    reply = await here.send("/documents/handbook?page=2&q=a%20b", headers=BROWSER)
    assert (reply.status, here.service.seen) == (302, [])
    assert return_address(reply) == "https://documents.example/documents/handbook?page=2&q=a%20b"


async def test_a_person_whose_token_expired_logs_in_again(here: Site, authz: AuthzServe):
    long_ago = int(time.time()) - 7200
    token = authz.issuer.token("alice", "analyst", iat=long_ago, exp=long_ago + 60)
    reply = await here.send("/documents/handbook", headers=(*BROWSER, *bearer(token)))
    assert reply.status == 302
    assert return_address(reply) == "https://documents.example/documents/handbook"


async def test_a_head_is_redirected_as_its_get_would_be(here: Site):
    reply = await here.send("/documents/handbook", method="HEAD", headers=BROWSER)
    assert (reply.status, reply.body) == (302, b"")
    assert return_address(reply) == "https://documents.example/documents/handbook"


async def test_a_form_that_was_sent_is_not_redirected(here: Site):
    reply = await here.send("/documents", method="POST", headers=BROWSER, body=b"a=b")
    assert_page(here, reply, 401, "no_credentials")
    assert reply.values("location") == []


@pytest.mark.parametrize("name", ["X-Forwarded-Host", "X-Original-URL", "X-Forwarded-Uri", "X-Original-URI"])
async def test_no_header_changes_the_return_address(here: Site, name: str):
    reply = await here.send("/documents/handbook", headers=(*BROWSER, (name, "https://evil.example/")))
    assert reply.status == 302
    assert return_address(reply) == "https://documents.example/documents/handbook"


@pytest.mark.parametrize("host", ["evil.example", "documents.example.evil.example"])
async def test_another_host_is_not_returned_to(here: Site, host: str):
    # An absolute target names the host (RFC 9112, 3.2.2): the client's own Host field is always documents.example.
    reply = await here.send(f"http://{host}/documents/handbook", headers=BROWSER)
    assert reply.status in {400, 401, 403}
    assert reply.values("location") == []
