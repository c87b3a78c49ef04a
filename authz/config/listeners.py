"""The shape of `listeners` and `hosts`: where the doors stand, behind which certificate, and what carries them."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal, cast

from pydantic import BeforeValidator, WithJsonSchema, field_validator

from authz.config.base import Shape
from authz.config.fields import Listen, Names

_MODE = re.compile(r"0[0-7]{3}")


class TlsShape(Shape):
    """The certificate of a TCP listener, and whose certificates it takes. All files are watched."""

    certificate: str
    """PEM file: the server's certificate, then those between it and its CA."""
    key: str
    """PEM file: its private key, not encrypted."""
    minimum: Literal["1.2", "1.3"] = "1.2"
    """Lowest version of TLS."""
    client_ca: str | None = None
    """PEM file with CAs: each client must show a certificate of one of them. Default: none is asked for."""
    clients: Names = ()
    """With `client_ca`: the names (DNS, URI, or the subject's common name) that may speak for clients; then
    `trusted_proxies` does not count here. `*.suffix` covers one more label."""


class Listener(Shape):
    """One address to listen on, with the permissions of its socket."""

    address: Listen
    """`HOST:PORT` or `unix:/PATH`."""
    mode: str = "0660"
    """Permissions of a Unix socket, octal in quotes."""
    group: str | None = None
    """Group of a Unix socket, by name or number; the proxy's group."""
    tls: TlsShape | None = None
    """TLS on a TCP address. Default: none."""

    @field_validator("mode")
    @classmethod
    def _octal(cls, value: str) -> str:
        if _MODE.fullmatch(value) is None:
            raise ValueError('expected an octal mode in quotes, such as "0660"')
        return value


def _listeners(value: Any) -> Any:
    items = value if isinstance(value, list) else [value]
    return [{"address": item} if isinstance(item, str) else item for item in items]


def _without_references(schema: dict[str, Any]) -> dict[str, Any]:
    """With each definition at its place: this schema stands inside another, where its references lead nowhere."""
    definitions = schema.pop("$defs", {})

    def resolved(node: Any) -> Any:
        if isinstance(node, dict):
            name = str(node.get("$ref", "")).removeprefix("#/$defs/")
            return resolved(definitions[name]) if name else {key: resolved(value) for key, value in node.items()}
        return [resolved(item) for item in node] if isinstance(node, list) else node

    return cast("dict[str, Any]", resolved(schema))


_ONE_LISTENER = {"anyOf": [{"type": "string"}, _without_references(Listener.model_json_schema())]}
Listeners = Annotated[
    tuple[Listener, ...],
    BeforeValidator(_listeners),
    WithJsonSchema({"anyOf": [*_ONE_LISTENER["anyOf"], {"type": "array", "items": _ONE_LISTENER}]}),
]


class ListenersShape(Shape):
    """Where the doors stand. Each is one address, one mapping, or a list of them."""

    http: Listeners = ()
    """Envoy ext_authz HTTP at `/envoy`, `/traefik`, `/nginx`, `/caddy`, `/haproxy`."""
    grpc: Listeners = ()
    """Envoy ext_authz gRPC and gRPC health; needs `authz[grpc]`."""
    admin: Listeners = ()
    """`/livez`, `/readyz`, `/metrics`. Keep it away from clients."""


class HostsShape(Shape):
    """What carries the doors. `h2corn` needs `authz[fast]`."""

    http: Literal["aiohttp", "h2corn"] = "aiohttp"
    """`aiohttp` is the conservative choice."""
    grpc: Literal["grpcio", "h2corn"] = "grpcio"
    """`grpcio` is the conservative choice; `h2corn` does without it, and is faster."""
