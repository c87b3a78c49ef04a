"""Denials as people, programs and gRPC clients get them. Nothing of the request comes back in any form."""

from __future__ import annotations

import json
import re
from base64 import b64encode
from hashlib import sha256
from html.parser import HTMLParser

import pytest
from hypothesis import given
from hypothesis import strategies as st

from authz.core.enforce import TITLES, Disclosure, respond
from authz.core.errors import Reason
from authz.core.login import Login
from authz.core.model import Allowed, Decision, Denied, Failed, HeaderEdits, Headers, Peer, Request, Stage, Verdict
from authz.core.page import html_page
from authz.core.request import canonical_request

BROWSER = Headers([("accept", "text/html,application/xhtml+xml,*/*;q=0.8")])
PROGRAM = Headers([("accept", "application/json")])
GRPC = Headers([("content-type", "application/grpc")])
ASKERS = {"html": BROWSER, "json": PROGRAM, "grpc": GRPC, "unread": None}

FORBID = Denied(
    stage=Stage.DECIDE,
    reason=Reason.POLICY_FORBID,
    decision=Decision(verdict=Verdict.DENY, policies=("legal-hold",), messages=("on <b>hold</b>", 'by "law"')),
)
NO_CREDENTIALS = Denied(stage=Stage.AUTHENTICATE, reason=Reason.NO_CREDENTIALS, status=401, detail="c4n4ry")
ENDS = [
    Denied(stage=Stage.ROUTE, reason=Reason.BAD_PATH, status=400, detail="c4n4ry"),
    NO_CREDENTIALS,
    FORBID,
    Failed(stage=Stage.DECIDE, reason=Reason.INTERNAL, status=500, detail="c4n4ry"),
    Failed(stage=Stage.DECIDE, reason=Reason.DEADLINE, status=503, detail="c4n4ry"),
]


class Page(HTMLParser):
    """What a page is made of."""

    def __init__(self, body: bytes) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.text: dict[str, str] = {}
        self.feed(body.decode())
        self.close()
        assert self.open == [], "every element is closed"

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag != "meta":
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open:
            self.text[self.open[-1]] = self.text.get(self.open[-1], "") + data

    def attributes(self, tag: str) -> dict[str, str | None]:
        [found] = [attributes for name, attributes in self.tags if name == tag]
        return found


def answer(outcome, asker=BROWSER, **disclosed):
    return respond(outcome, "d-1", Disclosure(**disclosed), asker)


# --- the page ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("outcome", ENDS, ids=lambda outcome: str(outcome.status))
def test_a_person_gets_a_page_with_title_status_reason_and_id(outcome):
    response = answer(outcome)
    assert response.status == outcome.status
    headers = dict(response.headers)
    assert headers["content-type"] == "text/html; charset=utf-8"
    assert headers["cache-control"] == "no-store"
    assert headers["x-content-type-options"] == "nosniff"
    assert ("www-authenticate" in headers) == (outcome.status == 401)
    page = Page(response.body)
    assert page.text["h1"] == TITLES[outcome.status]
    assert page.text["title"] == f"{outcome.status} {TITLES[outcome.status]}"
    assert page.text["code"] == f"{outcome.status}{outcome.reason}d-1"
    assert b"c4n4ry" not in response.body


@pytest.mark.parametrize("outcome", ENDS, ids=lambda outcome: str(outcome.status))
def test_the_page_is_readable_for_everybody(outcome):
    page = Page(answer(outcome).body)
    names = [name for name, _ in page.tags]
    assert answer(outcome).body.startswith(b"<!doctype html>")
    assert page.attributes("html") == {"lang": "en"}
    assert [names.count(name) for name in ("title", "main", "h1")] == [1, 1, 1]
    viewport = next(attributes for _, attributes in page.tags if attributes.get("name") == "viewport")
    # neither the size nor the colours are taken out of the reader's hands
    assert viewport["content"] == "width=device-width, initial-scale=1"
    assert "color-scheme:light dark" in page.text["style"]
    assert re.search(r"#[0-9a-f]{3}|rgb|[0-9]px|[^-]color:|background", page.text["style"]) is None


@pytest.mark.parametrize("outcome", ENDS, ids=lambda outcome: str(outcome.status))
def test_the_page_runs_and_loads_nothing(outcome):
    response = answer(outcome, deny_messages=True, policies=True)
    page = Page(response.body)
    allowed = {"html", "head", "meta", "title", "style", "body", "main", "h1", "p", "dl", "dt", "dd", "code"}
    assert {name for name, _ in page.tags} <= allowed
    attributes = {name for _, found in page.tags for name in found}
    assert attributes == {"lang", "charset", "name", "content"}
    assert re.search(r"url\(|@import|https?:|//", page.text["style"]) is None
    digest = b64encode(sha256(page.text["style"].encode()).digest()).decode()
    policy = dict(response.headers)["content-security-policy"]
    assert policy == (
        f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )


def test_what_the_operator_shows_is_escaped():
    shown = answer(FORBID, deny_messages=True, policies=True).body
    assert b"<p>on &lt;b&gt;hold&lt;/b&gt; by &quot;law&quot;</p>" in shown
    assert Page(shown).text["code"].endswith("d-1legal-hold")
    hidden = answer(FORBID).body
    assert b"hold" not in hidden


@given(st.text(), st.text(), st.lists(st.text(), max_size=3))
def test_no_text_becomes_markup(detail, decision_id, policies):
    body = html_page(
        status=403, title="Access denied", reason="r", decision_id=decision_id, detail=detail, policies=policies
    )
    plain = html_page(status=403, title="Access denied", reason="r", decision_id="", detail="x", policies=["x"])
    names = [tag for tag, _ in Page(body).tags]
    assert set(names) <= {tag for tag, _ in Page(plain).tags}
    assert body.count(b"<") <= plain.count(b"<")


def test_a_lone_surrogate_does_not_break_the_page():
    assert b"?" in html_page(status=403, title="t", reason="r", decision_id="\ud800", detail="\ud800")


def test_by_setting_there_is_no_page():
    assert dict(answer(FORBID, html=False).headers)["content-type"] == "application/problem+json"
    assert answer(FORBID, GRPC, html=False).grpc_status == 7


# --- the other forms ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("asker", [PROGRAM, None, Headers(), Headers([("accept", "*/*")])])
@pytest.mark.parametrize("outcome", ENDS, ids=lambda outcome: str(outcome.status))
def test_a_program_gets_a_problem_document(outcome, asker):
    response = answer(outcome, asker)
    assert dict(response.headers)["content-type"] == "application/problem+json"
    document = json.loads(response.body)
    assert document == {
        "type": f"urn:authz:reason:{outcome.reason}",
        "title": TITLES[outcome.status],
        "status": outcome.status,
        "reason": outcome.reason,
        "decision_id": "d-1",
    }
    assert response.grpc_status is None


@pytest.mark.parametrize(("outcome", "code"), list(zip(ENDS, (3, 16, 7, 13, 14), strict=True)))
def test_a_grpc_client_gets_a_line_of_text_and_its_own_code(outcome, code):
    response = answer(outcome, GRPC, deny_messages=True, policies=True)
    assert (response.status, response.grpc_status) == (outcome.status, code)
    assert response.body == f"{TITLES[outcome.status]}: {outcome.reason}, decision d-1".encode()
    assert dict(response.headers)["content-type"] == "text/plain; charset=utf-8"


@given(st.integers(400, 599), st.sampled_from(Reason), st.booleans())
def test_no_denial_is_a_grpc_success(status, reason, failed):
    outcome = (Failed if failed else Denied)(stage=Stage.DECIDE, reason=reason, status=status)
    code = answer(outcome, GRPC).grpc_status
    assert code is not None
    assert 1 <= code <= 16


@pytest.mark.parametrize("asker", ASKERS.values(), ids=ASKERS)
def test_an_allow_is_the_same_for_everybody(asker):
    decision = Decision(verdict=Verdict.ALLOW)
    edits = HeaderEdits(set=(("x-auth-user", "a"),), remove=("x-auth-mail",))
    response = answer(Allowed(decision=decision, edits=edits), asker)
    assert (response.status, response.headers, response.remove, response.body) == (200, edits.set, edits.remove, b"")
    assert response.grpc_status is None


class Unread(Headers):
    """Fields that nobody may look at."""

    def get(self, name):
        raise AssertionError(name)

    all = count = get


def test_for_an_allow_nothing_of_the_client_is_read():
    allowed = Allowed(decision=Decision(verdict=Verdict.ALLOW))
    through = Failed(stage=Stage.DECIDE, reason=Reason.DEADLINE, let_through=True)
    assert answer(allowed, Unread()).allows
    assert answer(through, Unread()).allows
    with pytest.raises(AssertionError):
        answer(FORBID, Unread())


ATTACKS = ["," * 8192, "text/html;q=" * 700, "a/b," * 2000, "text/html" * 900, "\x00" * 8192, "*/*;" * 2000]


@pytest.mark.parametrize("value", ATTACKS)
def test_an_accept_header_as_an_attack_gets_the_plain_answer(value):
    response = answer(FORBID, Headers([("accept", value)]))
    assert response.body == answer(FORBID, None).body


def request(target="/a", **fields: str) -> Request:
    headers = {name.replace("_", "-"): value for name, value in fields.items()}
    return canonical_request(
        id="d-1",
        method="GET",
        scheme="https",
        host="app.example",
        target=target,
        headers=Headers(headers.items()),
        peer=Peer(trusted=True),
    )


@pytest.mark.parametrize("accept", ["text/html", "application/json"])
@pytest.mark.parametrize("outcome", ENDS, ids=lambda outcome: str(outcome.status))
def test_nothing_of_the_request_comes_back(outcome, accept):
    asked = request("/c4n4ry?c4n4ry=1", accept=accept, cookie="c4n4ry", authorization="Bearer c4n4ry", x_a="c4n4ry")
    response = respond(outcome, "d-1", Disclosure(deny_messages=True), asked, now=lambda: 0.0)
    assert b"c4n4ry" not in response.body
    assert "c4n4ry" not in str(response.headers)
    assert response == respond(outcome, "d-1", Disclosure(deny_messages=True), Headers([("accept", accept)]))


# --- login -------------------------------------------------------------------------------------------------

LOGIN = Login(url="https://login.example/", key=b"k" * 32, hosts=("app.example",))


def test_a_person_without_a_credential_is_sent_to_the_login_page():
    asked = request("/a?b=c", accept="text/html")
    response = respond(NO_CREDENTIALS, "d-1", Disclosure(login=LOGIN), asked, now=lambda: 1000.0)
    headers = dict(response.headers)
    assert response.status == 302
    assert headers["location"] == LOGIN.location(asked, Reason.NO_CREDENTIALS, 1000.0)
    # nginx passes it on as a 401, which needs its challenge
    assert headers["www-authenticate"] == 'Bearer realm="authz"'
    assert headers["cache-control"] == "no-store"
    assert response.body
    assert not response.allows


def never() -> float:
    raise AssertionError("the clock is read for redirects only")


@pytest.mark.parametrize(
    ("outcome", "asker", "login"),
    [
        (NO_CREDENTIALS, request(accept="text/html"), None),
        (NO_CREDENTIALS, BROWSER, LOGIN),  # what could not be read has no address
        (NO_CREDENTIALS, None, LOGIN),
        (FORBID, request(accept="text/html"), LOGIN),
        (ENDS[4], request(accept="text/html"), LOGIN),
        (Allowed(decision=Decision(verdict=Verdict.ALLOW)), request(accept="text/html"), LOGIN),
    ],
)
def test_nobody_else_is_sent_there(outcome, asker, login):
    response = respond(outcome, "d-1", Disclosure(login=login), asker, now=never)
    assert response.status == (200 if isinstance(outcome, Allowed) else outcome.status)
    assert "location" not in dict(response.headers)


@pytest.mark.parametrize("fields", [{"accept": "*/*"}, {"content_type": "application/grpc"}, {"accept": "a/b"}])
def test_a_program_gets_its_401(fields):
    response = respond(NO_CREDENTIALS, "d-1", Disclosure(login=LOGIN), request(**fields), now=lambda: 0.0)
    assert response.status == 401


def test_without_a_clock_nobody_is_sent_anywhere():
    assert respond(NO_CREDENTIALS, "d-1", Disclosure(login=LOGIN), request(accept="text/html")).status == 401
