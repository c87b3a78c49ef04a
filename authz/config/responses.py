"""The shape of `responses`: what a client learns, and where people are sent."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from authz.config.base import Shape
from authz.config.fields import Flag, Names, Seconds


class LoginShape(Shape):
    """Where people in browsers log in. Only a page that was to be shown (GET, HTML asked for) is redirected."""

    url: str
    """Absolute https address of the login page."""
    key: str = Field(repr=False)
    """Key of 32 bytes or more that signs the return address; write it as `${file:…}` or `${env:…}`."""
    hosts: Names
    """Hosts that may be returned to: a name or `*.suffix`."""
    parameter: str = "return"
    """Query parameter that carries the return address."""
    valid: Seconds = 600.0
    """How long the return address may be used."""


class ResponsesShape(Shape):
    """What a client learns."""

    realm: str = "authz"
    """Realm of the `WWW-Authenticate` challenge."""
    html: Flag = True
    """A page for clients that ask for HTML, where the proxy shows a body at all."""
    login: LoginShape | None = None
    """Send people without a credential to a login page. Default: they get 401."""
    deny_messages: Flag = False
    """Show `@deny_message` of the forbids that decided."""
    policies: Flag = False
    """Show the ids of the policies that decided."""
    grpc_failure: Literal["deny", "error"] = "deny"
    """gRPC: a failure is a 503 denial, or Envoy's `error_response`, which its `failure_mode_allow` may let through."""
