"""The shape of a route."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from authz.config.base import Shape
from authz.config.fields import Flag, Names, Seconds
from authz.core.body import BodyKind


def _kinds(value: Any) -> Any:
    return (value,) if isinstance(value, str) else value


class MatchShape(Shape):
    """Which requests a route covers."""

    methods: Names = ("*",)
    """Methods, or `*`."""
    host: str = "*"
    """A host name, `*.suffix`, or `*`."""
    path: str
    """`/documents/{id}`; a last `{rest...}` takes the rest. With `protocol: tcp` the port: `/5432`, `/{port}`."""
    protocol: Literal["http", "tcp"] = "http"
    """`tcp`: connections, of which Envoy's network filter asks over gRPC; then `host` is the SNI or the address."""


class ParentShape(Shape):
    """A parent of the resource."""

    type: str
    id: str
    """Template, such as `{path.folder}`."""


class ResourceShape(ParentShape):
    """The resource: its entity type, and how its id is made."""

    parents: tuple[ParentShape, ...] = ()


class AttributeShape(Shape):
    """One attribute of the context."""

    source: str | None = Field(default=None, alias="from")
    """`path.NAME`, `query.NAME`, `headers.NAME`, `body.NAME`, `claims.NAME`, `source.…`, `request.…`,
    `principal.…`, `proxy.NAME`."""
    value: str | int | bool | None = None
    """A fixed value, instead of `from`."""
    type: str = "string"
    """string, long, bool, set, ip, datetime, decimal, entity."""
    entity_type: str | None = None
    """With the type `entity`."""
    required: Flag = False
    """Refuse the request where the value is absent. Otherwise the attribute is left out."""


class BodyShape(Shape):
    """Which bodies a route reads. The proxy must pass them on."""

    accept: Annotated[tuple[BodyKind, ...], BeforeValidator(_kinds)] = (BodyKind.JSON,)
    """`json`, `form`, `multipart` (its fields); a body of another type is refused."""
    max_bytes: Annotated[int, Field(ge=1, le=4_194_304)] = 65_536
    """Longest body; keep the proxy's own limit as high."""
    optional: Flag = False
    """Take it for no body where none came. Risk: behind a proxy that passes on no bodies, each looks like none."""


class RouteCacheShape(Shape):
    """How long a route's answers are given again to equal questions, never past the token's expiry."""

    allow: Seconds
    """For an allow."""
    deny: Seconds | None = None
    """For a deny; at most as long. Default: a tenth of `allow`."""


class RouteShape(Shape):
    """One route: which requests, and what they ask of the policies."""

    name: str
    match: MatchShape
    action: str
    """`Ns::Action::"Name"`."""
    resource: ResourceShape
    context: dict[str, AttributeShape] = {}  # noqa: RUF012 - pydantic copies it
    body: BodyShape | None = None
    """Which bodies are read for `body.NAME`. Default: none."""
    authenticators: Names = ()
    """Authenticators that are asked, in order. Default: all, in the configuration's order."""
    preflight: Literal["decide", "pass"] = "decide"
    """CORS preflights for this route: decided like any request, or passed to the service without a decision."""
    issuers: Names = ()
    """Issuers whose tokens count here. Default: all."""
    anonymous: str | None = None
    """Principal for requests without a credential. Default: they are answered with 401."""
    headers: dict[str, str] = {}  # noqa: RUF012
    """Identity headers for the upstream: name → template. A client's own are always replaced or removed."""
    cache: RouteCacheShape | None = None
    """Default: each request is decided anew."""
    fail_open: Flag = False
    """Let requests through during an outage of keys or policies. Risk: an outage opens this route. Recorded."""
