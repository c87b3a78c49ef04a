"""The shape of `policies`: where they are kept, and who decides by them."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from authz.config.base import Shape
from authz.config.fields import Flag, Seconds

Decide = Literal["local", "remote", "local_or_remote", "remote_or_local"]


class ReplicaShape(Shape):
    """How the local replica of a policy store is kept up to date."""

    interval: Seconds = 15.0
    """Time between two looks at the policies, give or take a tenth."""
    slow_interval: Seconds = 120.0
    """Time between two looks at schema and identity source."""
    requests: Annotated[float, Field(gt=0, le=1000)] = 2.0
    """Calls a second, at most; the store's quota is 10, for all that ask. `--workers` share it."""
    snapshot: str | None = None
    """File that keeps the last good content, for a start while the store cannot be reached. Default: none."""


class RemoteShape(Shape):
    """How Verified Permissions itself is asked for decisions."""

    timeout: Seconds = 0.8
    """Longest time for one decision; the request's deadline counts too."""
    connections: Annotated[int, Field(ge=1, le=1000)] = 32
    """Calls under way at once."""
    requests: Annotated[float, Field(gt=0, le=100_000)] = 150.0
    """Decisions a second, at most; the store's quota is 200, for all that ask."""
    batches: Annotated[float, Field(gt=0, le=100_000)] = 25.0
    """Batch calls a second, at most; the quota is 30."""
    forward_token: Flag = False
    """Hand on the verified token (`IsAuthorizedWithToken`): Verified Permissions verifies it again."""


class ParityShape(Shape):
    """A share of local decisions is asked again of Verified Permissions, in the background."""

    share: Annotated[float, Field(gt=0, le=1)] = 0.01
    """Of all local decisions."""
    requests: Annotated[float, Field(gt=0, le=1000)] = 1.0
    """Calls a second, at most."""


class VerifiedPermissionsShape(Shape):
    """A policy store of Amazon Verified Permissions. Credentials come by boto3's standard chain."""

    policy_store: Annotated[str, Field(pattern=r"^[a-zA-Z0-9/_-]{1,200}$")]
    """The policy store's id, or `policy-store-alias/NAME`."""
    region: str | None = None
    """Default: the environment's."""
    endpoint: str | None = None
    """Address, such as the emulator's or a VPC endpoint's. Default: the region's."""
    profile: str | None = None
    """A profile of `~/.aws/config`. Default: the environment's."""
    replica: ReplicaShape = ReplicaShape()
    remote: RemoteShape = RemoteShape()
    parity: ParityShape | None = None
    """Default: nothing is asked twice."""


class CacheShape(Shape):
    """Answers kept for equal questions, for the routes that have `cache`."""

    entries: Annotated[int, Field(ge=1, le=10_000_000)] = 10_000
    """Answers kept at once."""


class PoliciesShape(Shape):
    """Where policies are kept, and how they are decided."""

    store: Literal["files", "verified_permissions"] = "files"
    path: str | None = None
    """`files`: the folder with `*.cedar`, the schema, `entities.json` and `links.json`."""
    entities: str | None = None
    """`verified_permissions`: a file with entities (Cedar JSON), for the store keeps none. Default: none."""
    verified_permissions: VerifiedPermissionsShape | None = None
    """The policy store that is replicated, or asked."""
    decide: Decide = "local"
    """Who decides: the policy set in this process, Verified Permissions, or the second where the first fails."""
    identity_source: Literal["use", "ignore"] = "use"
    """Whether the store's own identity source says whose tokens count and what they mean."""
    cache: CacheShape = CacheShape()
    on_forbid_error: Literal["skip", "fail"] = "skip"
    """What happens where a forbid cannot be evaluated: `skip` is Cedar's rule, `fail` gives no decision (503)."""
    validate_requests: Flag = False
    """Check each request against the schema in the engine; what does not fit is a failure."""
    validate_entities: Flag = False
    """Check each entity of a request against the schema in the engine; what does not fit is a failure."""
    max_age: Seconds | None = None
    """How long a policy set may decide after it was last known to be the store's.
    Default: for ever (`files`), `1h` (`verified_permissions`)."""
    trial: Flag = True
    """Let the engine read what is new of a policy set in a child process first, which may crash in its place."""

    @property
    def oldest(self) -> float | None:
        """`max_age` with its default, in seconds; None: no limit."""
        if self.max_age is None and self.store == "verified_permissions":
            return 3600.0
        return self.max_age
