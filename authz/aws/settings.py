"""How Verified Permissions is reached."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class AvpSettings:
    """Which policy store, and how it is asked. Credentials are not among it: boto3's standard chain finds them."""

    policy_store: str
    """A policy store's id, or `policy-store-alias/NAME`."""
    region: str | None = None
    """None: the environment's (`AWS_REGION`, `AWS_DEFAULT_REGION`, the profile)."""
    endpoint: str | None = None
    """URL; None: the region's. The emulator's, or a VPC endpoint's."""
    profile: str | None = None
    """Of `~/.aws/config`; None: the environment's."""
    connect_timeout: float = 0.5
    """Seconds."""
    read_timeout: float = 2.0
    """Seconds."""
    connections: int = 32
    """Connections that are kept, and calls under way at once."""
    attempts: int = 2
    """Of one call, the first included."""
    validate: bool = True
    """Let the SDK hold each input against its model first. What the service refuses it refuses in any case; that costs
    a tenth of a decision's time, where the input is made by `authz.core.avp_values`."""
