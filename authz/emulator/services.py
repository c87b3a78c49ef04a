"""What the handlers of the operations have at hand, and the emulator's settings."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from authz.emulator.clock import Clock
from authz.emulator.engine import Engines
from authz.emulator.issuer_keys import IssuerKeys
from authz.emulator.state import State
from authz.emulator.switches import Switches


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Quotas of resources (user guide, "Quotas"). All but the identity source's can be raised on request."""

    stores: int = 30_000
    aliases: int = 10
    """Per policy store."""
    templates: int = 40
    """Per policy store."""
    identity_sources: int = 1
    """Per policy store."""
    policy_bytes: int = 10_000
    schema_bytes: int = 100_000
    namespaces: int = 100
    resource_bytes: int = 200_000
    """Of the policies that name one resource, or none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EmulatorSettings:
    """How an emulator is set up."""

    host: str = "127.0.0.1"
    port: int = 0
    """0: any free one."""
    state: Path | None = None
    """An SQLite file; None: in memory."""
    quota: Literal["off", "real"] = "off"
    """`real`: the published requests per second are enforced."""
    control: bool = True
    """Answer `/_emulator/…`."""
    require_signature: bool = True
    """Refuse calls without an Authorization header. The signature itself is never checked."""
    account: str = "123456789012"
    region: str = "us-east-1"
    keys: Mapping[str, str] = field(default_factory=dict)
    """Issuer → where its keys are: a URL or a file of a JSON Web Key Set."""
    discovery: bool = False
    """Fetch the discovery document of an OpenID Connect issuer when its identity source is made, as AVP does."""
    http_issuers: bool = False
    """Take issuers without TLS, which the real service refuses, and read their keys."""
    strict_requests: bool = False
    """Check authorization requests against the schema."""
    limits: Limits = Limits()


@dataclass(frozen=True, slots=True, kw_only=True)
class Services:
    """What a handler has at hand."""

    state: State
    clock: Clock
    settings: EmulatorSettings
    switches: Switches
    keys: IssuerKeys = field(default_factory=IssuerKeys)
    """Of the issuers whose tokens are verified; to be closed."""
    engines: Engines = field(default_factory=Engines)
    """Of the stores, for decisions."""
