"""Which form of answer a client gets. The table is RFC 9110's own rules; whatever else is sent means JSON."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from authz.core.accept import MAX_ACCEPT, MAX_RANGES, Form, form_for, is_navigation, prefers_html
from authz.core.model import CanonicalPath, Headers, Request

CHROME = (
    "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,image/apng,*/*;q=0.8,"
    "application/signed-exchange;v=b3;q=0.7"
)
FIREFOX = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"
SAFARI = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"

HTML = [
    CHROME,
    FIREFOX,
    SAFARI,
    "text/html",
    "TEXT/HTML",
    "text/*",
    "text/html;q=0.5",
    "text/html , */* ; q=0.1",
    "text/html;Q=1.000,application/json;q=0.999",
    "application/json;q=0.2, text/html;q=0.3",
    "text/html,application/problem+json;q=0",
    "*/*;q=0.1,text/html",
    ",, text/html ,",
    "text/html;q=0.001",
]
JSON = [
    "",
    "*/*",
    "application/json",
    "application/problem+json, text/html;q=0.9",
    "text/html, application/json",
    "text/html;q=0.8, */*",
    "text/html;q=0",
    "text/html;q=0.0, text/*",
    "text/html;level=1",
    "text/html;level=1, */*;q=0.5",
    "application/xhtml+xml",
    "text/*;q=0.5, application/*;q=0.6",
    "text/plain",
    # not well formed: nobody's browser, and nobody's guess
    "text/html;q=2",
    "text/html;q=1.001",
    "text/html;q=0.1234",
    "text/html;q=-1",
    "text/html;q=",
    "text/html;q=NaN",
    "text/html;q = 1",
    "text/html;q=1;",
    "text/html, x",
    "text/html, /",
    "text/html, a/b/c",
    "text/html, image/png;q=high",
    'text/html, image/png;a="b,c"',
    "text/html\x00",
    "tëxt/html",
    "text/html;q=١",
    "html",
    "text/html;" * 400,
    "text/html," * 33,
    "text/html,*/*;q=0.8," + "a" * MAX_ACCEPT,
]


@pytest.mark.parametrize("value", HTML)
def test_html_is_preferred(value):
    assert prefers_html((value,))
    assert prefers_html(tuple(value.split(",")))


@pytest.mark.parametrize("value", JSON)
def test_json_it_is(value):
    assert not prefers_html((value,))


def test_without_the_field_it_is_json():
    assert not prefers_html(())


def test_the_bounds_are_where_they_are_said_to_be():
    assert prefers_html(("text/html," + "," * (MAX_RANGES - 2),))
    assert not prefers_html(("text/html," + "," * (MAX_RANGES - 1),))
    padding = "x" * (MAX_ACCEPT - len("text/html,a/"))
    assert prefers_html((f"text/html,a/{padding}",))
    assert not prefers_html((f"text/html,a/{padding}x",))


@given(st.lists(st.text(max_size=60), max_size=5))
@example(["text/html;" + "a" * 9000])
@example(["," * 8192])
@example(["text/html;q=" + "0" * 8192])
@example(['text/html;a="' + "\\" * 900])
def test_any_text_is_read_without_an_error(values):
    assert prefers_html(tuple(values)) in {True, False}


# --- the form ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "form"),
    [
        ({"accept": FIREFOX}, Form.HTML),
        ({"accept": FIREFOX, "sec-fetch-mode": "navigate"}, Form.HTML),
        ({"accept": FIREFOX, "sec-fetch-mode": "cors"}, Form.JSON),
        ({"accept": FIREFOX, "sec-fetch-mode": "no-cors"}, Form.JSON),
        ({"accept": FIREFOX, "sec-fetch-mode": ""}, Form.JSON),
        ({"accept": FIREFOX, "x-requested-with": "XMLHttpRequest"}, Form.JSON),
        ({"accept": FIREFOX, "content-type": "text/plain"}, Form.HTML),
        ({"accept": "*/*"}, Form.JSON),
        ({}, Form.JSON),
        ({"content-type": "application/grpc"}, Form.GRPC),
        ({"content-type": "application/grpc+proto"}, Form.GRPC),
        ({"content-type": "application/grpc", "accept": FIREFOX}, Form.GRPC),
        # Envoy takes none of these for gRPC either
        ({"content-type": "application/grpc-web"}, Form.JSON),
        ({"content-type": "application/grpc-web-text+proto"}, Form.JSON),
        ({"content-type": "application/grpc;x=1"}, Form.JSON),
        ({"content-type": "Application/gRPC"}, Form.JSON),
    ],
)
def test_the_form_of_an_answer(fields, form):
    assert form_for(Headers(fields.items())) is form


def navigation(method="GET", protocol="http", **fields: str) -> bool:
    headers = {"accept": FIREFOX} | {name.replace("_", "-"): value for name, value in fields.items()}
    path = CanonicalPath(text="/", segments=("",))
    request = Request(
        id="d",
        method=method,
        scheme="https",
        host="h",
        path=path,
        protocol=protocol,
        headers=Headers(headers.items()),
    )
    return is_navigation(request)


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"method": "HEAD"},
        {"sec_fetch_mode": "navigate", "sec_fetch_dest": "document", "sec_fetch_site": "cross-site"},
        {"sec_fetch_dest": "document"},
    ],
)
def test_a_person_about_to_see_a_page(fields):
    assert navigation(**fields)


@pytest.mark.parametrize(
    "fields",
    [
        {"method": "POST"},
        {"method": "OPTIONS"},
        {"method": "PUT"},
        {"protocol": "tcp"},
        {"accept": "*/*"},
        {"accept": "application/json"},
        {"sec_fetch_mode": "cors"},
        {"sec_fetch_mode": "websocket"},
        {"sec_fetch_mode": "same-origin", "sec_fetch_dest": "empty"},
        {"sec_fetch_mode": "navigate", "sec_fetch_dest": "iframe"},
        {"sec_fetch_dest": "image"},
        {"sec_fetch_dest": ""},
        {"x_requested_with": "XMLHttpRequest"},
        {"x_requested_with": ""},
        {"upgrade": "websocket"},
        {"content_type": "application/grpc"},
    ],
)
def test_nobody_who_would_see_a_page(fields):
    assert not navigation(**fields)
