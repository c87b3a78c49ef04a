"""What may be wrong with `responses`: a login page that could be forged, or that leads anywhere."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator
from urllib.parse import parse_qsl, urlsplit

from authz.config.responses import LoginShape
from authz.config.shape import ConfigShape
from authz.config.yaml_text import Place
from authz.core.errors import RequestRefused
from authz.core.login import MIN_KEY, signing_key
from authz.core.request import canonical_host, canonical_path

MAX_VALID = 24 * 3600
"""Seconds. Longer than anybody takes to log in."""
MAX_URL = 1024
"""Characters; beside it the return address must have room in a header."""
_PARAMETER = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,63}")
_SAFE = re.compile(r"[!-~]+")


def response_problems(shape: ConfigShape) -> Iterator[tuple[Place, str, str]]:
    """(place, message, severity) of every problem."""
    login = shape.responses.login
    if login is None:
        return
    for key, message in (*_url(login), *_key(login), *_hosts(login), *_rest(login)):
        yield ("responses", "login", *key), message, "error"


_Found = Iterator[tuple[tuple[str | int, ...], str]]


def _url(login: LoginShape) -> _Found:
    if not _is_page(login.url):
        yield ("url",), "`url` must be an absolute https address without user, fragment and spaces (http: on loopback)"
        return
    names = {name for name, _ in parse_qsl(urlsplit(login.url).query, keep_blank_values=True)}
    ours = {login.parameter, f"{login.parameter}_expires", f"{login.parameter}_signature"}
    for name in sorted(names & ours):
        yield ("url",), f"`url` has the parameter `{name[:60]}` itself; choose another `parameter`"


def _is_page(url: str) -> bool:
    if len(url) > MAX_URL or _SAFE.fullmatch(url) is None or "#" in url or "\\" in url:
        return False
    try:
        parts = urlsplit(url)
        host = canonical_host(parts.netloc)
        canonical_path(parts.path or "/")
    except (ValueError, RequestRefused):
        return False
    return parts.scheme == "https" or (parts.scheme == "http" and _is_loopback(host))


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def _key(login: LoginShape) -> _Found:
    if len(signing_key(login.key)) < MIN_KEY:
        yield ("key",), f"`key` is shorter than {MIN_KEY} bytes; a key that can be guessed signs any return address"


def _hosts(login: LoginShape) -> _Found:
    if not login.hosts:
        yield ("hosts",), "`hosts` is empty; list the hosts that may be returned to"
    for index, pattern in enumerate(login.hosts):
        name = pattern.removeprefix("*.")
        if not _is_canonical(name):
            message = f"`{pattern[:60]}` is no host; expected a name in lower case without port, or `*.suffix`"
            yield ("hosts", index), message
        elif name != pattern and "." not in name:
            yield ("hosts", index), f"`{pattern[:60]}` covers hosts of others; name the domain that is yours"


def _is_canonical(name: str) -> bool:
    try:
        return canonical_host(name) == name
    except RequestRefused:
        return False


def _rest(login: LoginShape) -> _Found:
    if _PARAMETER.fullmatch(login.parameter) is None:
        yield ("parameter",), "`parameter` must be a letter, then up to 63 letters, digits, `_` or `-`"
    if not 1 <= login.valid <= MAX_VALID:
        yield ("valid",), "`valid` must be a second to a day: as long as a login may take"
