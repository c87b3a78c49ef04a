"""A login page that could be forged, or that leads anywhere, is refused at load, with its line."""

from __future__ import annotations

from pathlib import Path

import pytest

from authz.config.load import load_config

BASE = """\
issuers:
  - {issuer: "https://login.example.com", audience: [a]}
policies: {path: policies}
routes: []
responses:
  login:
    url: URL
    key: KEY
    hosts: HOSTS
    parameter: PARAMETER
    valid: VALID
"""
GOOD = {
    "URL": "https://login.example.com/start?client=a",
    "KEY": "k" * 32,
    "HOSTS": '[shop.example.com, "*.shop.example.com"]',
    "PARAMETER": "return",
    "VALID": "10m",
}
LINES = {"URL": 7, "KEY": 8, "HOSTS": 9, "PARAMETER": 10, "VALID": 11}


def problems(folder: Path, **changes: str) -> list[tuple[int | None, str]]:
    text = BASE
    for name, value in (GOOD | changes).items():
        text = text.replace(f": {name}\n", f": {value}\n")
    file = folder / "authz.yaml"
    file.write_text(text, encoding="utf-8")
    return [(problem.line, problem.message) for problem in load_config(file, {}).problems]


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"URL": "https://login.example.com"},
        {"URL": "https://login.example.com:8443/a/b?c=d"},
        {"URL": "http://localhost:8000/login"},
        {"URL": "http://127.0.0.1/login"},
        {"URL": '"http://[::1]/login"'},
        {"HOSTS": "shop.example.com"},
        {"HOSTS": "[localhost]"},
        {"PARAMETER": "rd"},
        {"VALID": "24h"},
    ],
)
def test_a_safe_login_is_taken(tmp_path, changes):
    assert problems(tmp_path, **changes) == []


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"URL": "http://login.example.com/"}, "must be an absolute https address"),
        ({"URL": "/login"}, "must be an absolute https address"),
        ({"URL": "login.example.com"}, "must be an absolute https address"),
        ({"URL": "//login.example.com/"}, "must be an absolute https address"),
        ({"URL": "https:/login"}, "must be an absolute https address"),
        ({"URL": "https:///login"}, "must be an absolute https address"),
        ({"URL": "javascript:alert(1)"}, "must be an absolute https address"),
        ({"URL": "https://user:pw@login.example.com/"}, "must be an absolute https address"),
        ({"URL": '"https://login.example.com/#a"'}, "must be an absolute https address"),
        ({"URL": '"https://login.example.com/a b"'}, "must be an absolute https address"),
        ({"URL": r'"https://login.example.com/\r\nx: y"'}, "must be an absolute https address"),
        ({"URL": r"'https://login.example.com\a'"}, "must be an absolute https address"),
        ({"URL": "https://login.example.com/a//b"}, "must be an absolute https address"),
        ({"URL": '"https://[::1/"'}, "must be an absolute https address"),
        ({"URL": "https://login.example.com/" + "a" * 1024}, "must be an absolute https address"),
        ({"URL": "https://login.example.com/?return=x"}, "has the parameter `return` itself"),
        ({"URL": "https://login.example.com/?return_signature="}, "has the parameter `return_signature` itself"),
        ({"KEY": "k" * 31}, "shorter than 32 bytes"),
        ({"KEY": '""'}, "shorter than 32 bytes"),
        ({"KEY": '"' + "k" * 31 + r'\n"'}, "shorter than 32 bytes"),
        ({"HOSTS": "[]"}, "`hosts` is empty"),
        ({"HOSTS": '"*"'}, "`*` is no host"),
        ({"HOSTS": '["*.com"]'}, "covers hosts of others"),
        ({"HOSTS": '["*."]'}, "`*.` is no host"),
        ({"HOSTS": "[Shop.example.com]"}, "`Shop.example.com` is no host"),
        ({"HOSTS": '["shop.example.com:443"]'}, "is no host"),
        ({"HOSTS": '["https://shop.example.com"]'}, "is no host"),
        ({"HOSTS": '["a.*.example.com"]'}, "is no host"),
        ({"PARAMETER": '""'}, "`parameter` must be a letter"),
        ({"PARAMETER": '"a&b"'}, "`parameter` must be a letter"),
        ({"PARAMETER": '"1a"'}, "`parameter` must be a letter"),
        ({"VALID": "0s"}, "`valid` must be a second to a day"),
        ({"VALID": "25h"}, "`valid` must be a second to a day"),
    ],
)
def test_an_unsafe_login_is_refused_with_its_line(tmp_path, changes, message):
    [(line, told)] = problems(tmp_path, **changes)
    assert message in told
    assert line == LINES[next(iter(changes))]
    assert "kkk" not in told
