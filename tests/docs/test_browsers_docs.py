"""What browsers.md says of login pages, signatures and nginx holds."""

from __future__ import annotations

import hmac
import re
from base64 import urlsafe_b64encode
from types import SimpleNamespace
from typing import Any
from urllib.parse import parse_qsl

import pytest
from aiohttp import web

from authz.core.accept import MAX_ACCEPT, MAX_RANGES
from authz.core.login import MAX_ADDRESS, REASONS, Login
from tests.docs.pages import FENCE, ROOT, prose, text_of

PAGE = "docs/browsers.md"
KEY = "k" * 32
HOSTS = ("shop.example.com", "*.shop.example.com")


def signed(address: str) -> str:
    return Login(url="https://login.example.com/start", key=KEY.encode(), hosts=HOSTS).signed(address, 4_000_000_000)


@pytest.mark.parametrize(
    ("query", "location"),
    [
        (signed("https://shop.example.com/cart?item=1"), "https://shop.example.com/cart?item=1"),
        (signed("https://evil.example/"), "https://shop.example.com/"),
        ("return=https://evil.example/", "https://shop.example.com/"),
        ("", "https://shop.example.com/"),
    ],
)
async def test_the_example_of_a_login_page_follows_signed_addresses_only(query: str, location: str) -> None:
    [text] = [match[2] for match in FENCE.finditer(text_of(PAGE)) if match[1] == "python"]
    names: dict[str, Any] = {"__name__": "example", "key": KEY}
    exec(compile(text, "example", "exec", dont_inherit=True), names)
    with pytest.raises(web.HTTPFound) as found:
        await names["finished"](SimpleNamespace(query_string=query))
    assert found.value.location == location


def test_the_signature_is_made_as_the_page_tells() -> None:
    given = dict(parse_qsl(signed("https://shop.example.com/cart")))
    purpose = "authz return address, version 1"
    assert f"`{purpose}`" in text_of(PAGE)
    message = b"\0".join((purpose.encode(), given["return_expires"].encode(), given["return"].encode()))
    signature = urlsafe_b64encode(hmac.digest(KEY.encode(), message, "sha256")).rstrip(b"=").decode()
    assert given["return_signature"] == signature


def test_the_page_tells_reasons_and_limits() -> None:
    text = prose(ROOT / PAGE)
    [told] = re.findall(r"\*\*For which reasons\.\*\* (.*?)\. ", text)
    assert set(re.findall(r"`(\w+)`", told)) == REASONS
    for number in (MAX_ACCEPT, MAX_ADDRESS):
        assert f"{number:,} characters" in text
    assert f"over {MAX_RANGES} ranges" in text


def test_the_lines_for_nginx_are_those_of_the_example() -> None:
    example = re.sub(r"\s+", " ", text_of("envoy/nginx/nginx.conf"))
    blocks = [re.sub(r"\s+", " ", part).strip() for part in text_of(PAGE).split("\n\n") if part.startswith("    ")]
    assert len(blocks) == 2
    for block in blocks:
        assert block in example
