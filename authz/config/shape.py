"""The shape of `authz.yaml` and of a routes file. Field descriptions are the reference documentation."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from authz.config.base import Shape as Shape  # noqa: PLC0414 - for those who look at all shapes
from authz.config.credentials import BEARER, AuthenticatorShape
from authz.config.fields import Flag, Names, Network, Seconds
from authz.config.listeners import HostsShape, ListenersShape
from authz.config.policies import PoliciesShape
from authz.config.responses import ResponsesShape
from authz.config.routes import RouteShape

ASYMMETRIC = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA")
SYMMETRIC = ("HS256", "HS384", "HS512")
Algorithm = Literal[
    "RS256",
    "RS384",
    "RS512",
    "PS256",
    "PS384",
    "PS512",
    "ES256",
    "ES384",
    "ES512",
    "EdDSA",
    "HS256",
    "HS384",
    "HS512",
]


class Principal(Shape):
    """How a token names its principal."""

    type: str | None = None
    """Entity type. Default: the only type that the schema's actions take as principal."""
    claim: str = "sub"
    """The claim that holds the id."""
    prefix: str | None = None
    """Put before the id with a `|`, as Verified Permissions does. Default: none; Cognito: the user pool's id."""


class Groups(Shape):
    """How a token names the principal's groups, which become its parents."""

    type: str
    """Entity type of a group."""
    claim: str | None = None
    """The claim that holds the groups. Default: `groups`; Cognito: `cognito:groups`."""


class IssuerShape(Shape):
    """Whose tokens count, and what they say."""

    issuer: str
    """The exact `iss`. Keys come by OIDC discovery unless one of the four key settings stands below."""
    audience: Names = ()
    """Accepted `aud` (Cognito access tokens: `client_id`). Required, unless the store's identity source names some."""
    any_audience: Flag = False
    """Take tokens whoever they are meant for, where the store's identity source names nobody. Risk: all of them."""
    algorithms: tuple[Algorithm, ...] = ("RS256",)
    """Accepted signature algorithms. HS… only together with `secret`."""
    token: Literal["access", "id", "either"] = "access"
    """`access`: claims are `context.token`. `id`: claims are the principal's attributes. `either`: Cognito only."""
    leeway: Seconds = 30.0
    """Tolerance for `exp`, `nbf`, `iat`."""
    jwks_uri: str | None = None
    """Address of the key set, instead of discovery."""
    jwks_file: str | None = None
    """File with a key set (JWKS), or a PEM public key."""
    keys: dict[str, Any] | None = None
    """The key set itself (JWKS)."""
    secret: str | None = Field(default=None, repr=False)
    """Shared secret for HS…; write it as `${file:…}` or `${env:…}`."""
    jwks_hosts: Names = ()
    """Other hosts that the discovered `jwks_uri` may name. Default: the issuer's host only."""
    ca_file: str | None = None
    """PEM file with the private CA of the issuer's server."""
    allow_http: Flag = False
    """Fetch keys over plain HTTP from other hosts than loopback. Risk: whoever is between can forge tokens."""
    refresh: Seconds = 900.0
    """How often the key set is fetched anew."""
    cool_down: Seconds = 30.0
    """Least time between fetches for unknown keys."""
    max_age: Seconds = 86400.0
    """How long the last good key set is used while the issuer cannot be reached."""
    types: Names | None = None
    """Accepted `typ` headers. Default: `JWT`, `at+jwt` (access) or none."""
    clients: Names = ()
    """Accepted `azp` (authorized party); empty: not checked."""
    principal: Principal = Principal()
    groups: Groups | None = None
    """Default: tokens name no groups."""


class PathsShape(Shape):
    """What is done with paths that upstreams read in different ways. Each setting but the default has a risk."""

    empty_segments: Literal["refuse", "merge"] = "refuse"
    """`//`. `merge` suits an upstream that merges; another one sees a different resource."""
    dot_segments: Literal["refuse", "resolve"] = "refuse"
    """`.` and `..`. `resolve` suits a proxy and an upstream that resolve them."""
    encoded_slash: Literal["refuse", "keep"] = "refuse"
    """`%2F`. `keep` makes it part of one segment; an upstream that decodes first sees two."""
    semicolon: Literal["refuse", "keep"] = "refuse"
    """`;`. `keep` makes it part of the segment; servlet containers cut it off."""
    double_encoding: Literal["refuse", "keep"] = "refuse"
    """`%2541`. `keep` decodes once; an upstream that decodes twice sees another path."""


class LimitsShape(Shape):
    """What bounds a check."""

    deadline: Seconds = 1.0
    """Longest time for one check; keep it below the proxy's timeout."""
    in_flight: Annotated[int, Field(ge=1, le=100_000)] = 1024
    """Checks under way at once."""
    token_bytes: Annotated[int, Field(ge=512, le=65_536)] = 16_384
    """Longest accepted token."""
    token_cache: Annotated[int, Field(ge=0, le=1_000_000)] = 10_000
    """Verified tokens kept until they expire."""
    candidates: Annotated[int, Field(ge=1, le=1_000_000)] = 10_000
    """Policies that one decision may evaluate: those whose scope matches."""
    entities: Annotated[int, Field(ge=1, le=1_000_000)] = 10_000
    """Entities that one decision may reach."""
    ancestors: Annotated[int, Field(ge=1, le=1_000_000)] = 20_000
    """Entities that those of one request may be in, at any distance, counted for each."""
    connections: Annotated[int, Field(ge=1, le=1_000_000)] = 1024
    """Connections of one HTTP listener."""
    connection_age: Seconds | None = None
    """gRPC: after about this long a connection is asked to end, so that a proxy's calls spread over new processes.
    Default: never."""
    drain: Seconds = 10.0
    """How long a stop waits for checks under way."""
    drain_delay: Seconds = 0.0
    """How long a stop goes on answering after readiness fell, so that whoever sends requests notices."""


class RecordShape(Shape):
    """The decision record: one JSON line a decision."""

    output: str = "stdout"
    """`stdout`, `stderr`, `none`, or a file's path."""
    queue: Annotated[int, Field(ge=16, le=1_000_000)] = 8192
    """Records kept while the reader is slow; more are dropped and counted."""
    principal: Literal["shown", "hashed", "hidden"] = "shown"
    """How the principal's id is written."""
    hash_key: str | None = Field(default=None, repr=False)
    """Key for `hashed`; write it as `${file:…}`. Without it each process has its own."""
    show: Names = ()
    """More fields: `path`, `source_address`, `detail`, `context.NAME`, `claims.NAME`."""


class LogShape(Shape):
    """The operational log, on standard error."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    format: Literal["json", "text"] = "json"


class ConfigShape(Shape):
    """`authz.yaml`."""

    listeners: ListenersShape = ListenersShape()
    hosts: HostsShape = HostsShape()
    issuers: tuple[IssuerShape, ...] = ()
    authenticators: tuple[AuthenticatorShape, ...] = (BEARER,)
    """Ways to say who calls, in the order in which they are asked."""
    policies: PoliciesShape
    routes: str | tuple[RouteShape, ...]
    """A routes file, or the routes themselves."""
    deny_list: str | None = None
    """File with revoked token ids and subjects; watched."""
    trusted_proxies: tuple[Network, ...] = ("127.0.0.0/8", "::1/128")
    """Who may speak for clients over TCP. Whoever reaches a Unix socket may, by its permissions."""
    trusted_hops: Annotated[int, Field(ge=0, le=16)] = 0
    """How many proxies before the one that asks also add to X-Forwarded-For and are trusted."""
    responses: ResponsesShape = ResponsesShape()
    paths: PathsShape = PathsShape()
    limits: LimitsShape = LimitsShape()
    record: RecordShape = RecordShape()
    log: LogShape = LogShape()


def json_schemas() -> dict[str, dict[str, Any]]:
    """JSON Schemas for editors, by file name."""
    routes = RouteShape.model_json_schema(by_alias=True)
    definitions = routes.pop("$defs", {})
    return {
        "authz.schema.json": {
            "$schema": "https://json-schema.org/draft/2020-12/schema",
            **ConfigShape.model_json_schema(by_alias=True),
        },
        "routes.schema.json": {
            "$schema": "https://json-schema.org/draft/2020-12/schema",
            "title": "routes",
            "type": "array",
            "items": routes,
            "$defs": definitions,
        },
    }
