"""The scalar forms of the configuration: durations, addresses, networks, flags."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import BeforeValidator, WithJsonSchema

_DURATION = re.compile(r"([0-9]+(?:\.[0-9]+)?)(ms|s|m|h|d)")
_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_HOST_PORT = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9_.-]+):([0-9]{1,5})")
MAX_UNIX_PATH = 100
"""Bytes; the kernel's limit for a socket's path is 108 with its end."""


def parse_duration(value: Any) -> float:
    """Seconds from `30s`, `200ms`, `5m`, `1h`, `2d`."""
    match = _DURATION.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        raise ValueError("expected a duration with its unit, such as `30s`, `200ms`, `5m`, `1h`")
    return float(match[1]) * _UNITS[match[2]]


def parse_flag(value: Any) -> bool:
    """True or false; the words too, since `${env:NAME}` gives text."""
    if isinstance(value, bool):
        return value
    if value in {"true", "false"}:
        return bool(value == "true")
    raise ValueError("expected `true` or `false`")


@dataclass(frozen=True, slots=True, kw_only=True)
class Address:
    """Where to listen: a TCP host and port, or a Unix socket's path."""

    host: str = ""
    port: int = 0
    path: str = ""

    def __str__(self) -> str:
        return f"unix:{self.path}" if self.path else f"{self.host}:{self.port}"


def parse_address(value: Any) -> Address:
    """`HOST:PORT`, `[IPV6]:PORT` or `unix:/PATH`."""
    if isinstance(value, str) and value.startswith("unix:"):
        path = value.removeprefix("unix:")
        if not path.startswith("/") or len(path.encode()) > MAX_UNIX_PATH:
            raise ValueError(f"expected `unix:` and an absolute path of at most {MAX_UNIX_PATH} bytes")
        return Address(path=path)
    match = _HOST_PORT.fullmatch(value) if isinstance(value, str) else None
    if match is None or int(match[2]) > 65535:
        raise ValueError("expected `HOST:PORT`, such as `127.0.0.1:9191`, or `unix:/PATH`")
    return Address(host=match[1].strip("[]"), port=int(match[2]))


def parse_network(value: Any) -> str:
    """A network in canonical text; a single address is a network of one."""
    try:
        return str(ipaddress.ip_network(value))
    except (ValueError, TypeError):
        raise ValueError("expected an IP address or network such as `10.1.0.0/16` (no host bits set)") from None


def _listed(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


Seconds = Annotated[
    float,
    BeforeValidator(parse_duration),
    WithJsonSchema({"type": "string", "pattern": "^[0-9]+(\\.[0-9]+)?(ms|s|m|h|d)$", "examples": ["30s"]}),
]
Flag = Annotated[bool, BeforeValidator(parse_flag), WithJsonSchema({"type": "boolean"})]
Listen = Annotated[
    Address,
    BeforeValidator(parse_address),
    WithJsonSchema({"type": "string", "examples": ["127.0.0.1:9191", "unix:/run/authz/http.sock"]}),
]
Network = Annotated[
    str,
    BeforeValidator(parse_network),
    WithJsonSchema({"type": "string", "examples": ["10.1.0.0/16", "::1"]}),
]
Names = Annotated[
    tuple[str, ...],
    BeforeValidator(_listed),
    WithJsonSchema({"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}]}),
]
