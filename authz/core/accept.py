"""What form of answer a client understands: JSON, a page for a person, or a gRPC status. Asked for denials only.

The fields read here are the client's own words. They choose how an answer looks, never what it is, and reading
them is cheap whatever they hold: what is too long, too many or not well formed counts as "JSON".
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from enum import StrEnum

from authz.core.model import Headers, Request

MAX_ACCEPT = 1024
"""Characters of all Accept fields together; browsers send up to 200."""
MAX_RANGES = 32
"""Elements of the list, empty ones too."""

_TOKEN = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
_RANGE = re.compile(rf"{_TOKEN}/{_TOKEN}")
_PARAMETER = re.compile(rf'{_TOKEN}=(?:{_TOKEN}|"[^"\\]*")')
# RFC 9110, 12.4.2: no more than three digits, nothing above 1.
_WEIGHT = re.compile(r"[qQ]=(0(?:\.[0-9]{0,3})?|1(?:\.0{0,3})?)")
_HTML = ("text/html", "text/*", "*/*")
_JSON = ("application/problem+json", "application/json", "application/*", "*/*")
_GRPC = "application/grpc"


class Form(StrEnum):
    """How a denial is told."""

    JSON = "json"
    HTML = "html"
    GRPC = "grpc"
    """A short line of text: Envoy makes it the `grpc-message`."""


def form_for(headers: Headers) -> Form:
    """The form that suits who sent these headers."""
    content_type = headers.get("content-type")
    # As Envoy tells gRPC: neither another case nor parameters, nor grpc-web, which reads the HTTP status.
    if content_type is not None and (content_type == _GRPC or content_type.startswith(_GRPC + "+")):
        return Form.GRPC
    if not _is_for_a_script(headers) and prefers_html(headers.all("accept")):
        return Form.HTML
    return Form.JSON


def _is_for_a_script(headers: Headers) -> bool:
    """Does the browser, or the script itself, say that a script reads the answer?"""
    return headers.count("x-requested-with") > 0 or any(m != "navigate" for m in headers.all("sec-fetch-mode"))


def is_navigation(request: Request) -> bool:
    """Is a person about to see a page, so that another page may take its place?

    GET or HEAD, HTML preferred; where the browser tells (Fetch Metadata), a document of its own, not a frame, an
    image or a script's request; no upgrade. A CORS preflight is an OPTIONS, and gRPC a POST.
    """
    headers = request.headers
    return (
        request.method in {"GET", "HEAD"}
        and request.protocol == "http"
        and not headers.count("upgrade")
        and all(destination == "document" for destination in headers.all("sec-fetch-dest"))
        and form_for(headers) is Form.HTML
    )


def prefers_html(values: tuple[str, ...]) -> bool:
    """Is HTML wanted more than JSON? By the weights of RFC 9110, 12.5.1, the most specific range first.

    `*/*` alone wants both alike, and so gets JSON. A range with parameters of its own (`text/html;level=1`) means
    a representation that there is not.

    Args:
        values: every value of the Accept field, in order.
    """
    if not values or sum(map(len, values)) > MAX_ACCEPT:
        return False
    elements = ",".join(values).split(",")
    if len(elements) > MAX_RANGES:
        return False
    weights: dict[str, float] = {}
    for element in elements:
        if not (text := element.strip(" \t")):
            continue  # RFC 9110, 5.6.1.2: empty elements are passed over
        read = _weighed(text)
        if read is None:
            return False
        name, weight = read
        weights.setdefault(name, weight)
    return _weight(weights, _HTML) > _weight(weights, _JSON)


def _weighed(element: str) -> tuple[str, float] | None:
    """A media range and its weight; None: not well formed. With parameters of its own it has another name."""
    name, *parameters = (part.strip(" \t") for part in element.split(";"))
    if _RANGE.fullmatch(name) is None:
        return None
    weight = 1.0
    for parameter in parameters:
        if parameter[:2] in {"q=", "Q="}:
            match = _WEIGHT.fullmatch(parameter)
            if match is None:
                return None
            weight = float(match[1])
        elif _PARAMETER.fullmatch(parameter) is None:
            return None
        else:
            name = f"{name};{parameter}"
    return name.lower(), weight


def _weight(weights: Mapping[str, float], names: tuple[str, ...]) -> float:
    return next((weights[name] for name in names if name in weights), 0.0)
