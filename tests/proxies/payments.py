"""A sample whose policies look at bodies: payments of at most 100. And the proxies, told to pass bodies on, or not."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from tests.proxies.authz_serve import AuthzServe, Issuer
from tests.proxies.harness import Folder
from tests.proxies.sites import Site, site

SCHEMA = """
namespace Pay {
  entity User;
  entity Account;
  action Pay appliesTo { principal: User, resource: Account, context: { amount: decimal, to?: Set<String> } };
  action Look appliesTo { principal: User, resource: Account };
}
"""
POLICY = """
@id("small-payments")
permit (principal, action == Pay::Action::"Pay", resource)
when { context.amount.lessThanOrEqual(decimal("100.0")) }
unless { context has to && context.to.contains("mallory") };

@id("look")
permit (principal, action == Pay::Action::"Look", resource);
"""
ROUTES: list[dict[str, Any]] = [
    {
        "name": "pay",
        "match": {"methods": ["POST"], "path": "/accounts/{id}/payments"},
        "body": {"accept": ["json", "form", "multipart"], "max_bytes": 200},
        "preflight": "pass",
        "action": 'Pay::Action::"Pay"',
        "resource": {"type": "Pay::Account", "id": "{path.id}"},
        "anonymous": 'Pay::User::"anonymous"',
        "headers": {"x-auth-user": "{principal.id}"},
        "context": {
            "amount": {"from": "body.amount", "type": "decimal", "required": True},
            "to": {"from": "body.to", "type": "set"},
        },
    },
    {
        "name": "look",
        "match": {"methods": ["GET", "OPTIONS"], "path": "/accounts/{id}"},
        "action": 'Pay::Action::"Look"',
        "resource": {"type": "Pay::Account", "id": "{path.id}"},
        "anonymous": 'Pay::User::"anonymous"',
    },
]

# Envoy over HTTP and Traefik send only the headers that they list.
_HTTP_HEADERS = "- exact: x-request-id # ties authz's decision log to Envoy's access log"
_HTTP_LISTED = _HTTP_HEADERS + "".join(
    f"\n                - exact: {name}"
    for name in (
        "content-type",
        "content-encoding",
        "origin",
        "access-control-request-method",
        "x-envoy-auth-partial-body",  # listed by mistake: a client's own must not count even so
    )
)
_TRAEFIK_HEADERS = "- X-Request-Id # the client's own, if it sent one: Traefik makes none"
_TRAEFIK_LISTED = _TRAEFIK_HEADERS + "".join(
    f"\n          - {name}" for name in ("Content-Type", "Content-Encoding", "Origin", "Access-Control-Request-Method")
)
LISTED: Mapping[str, Mapping[str, str]] = {
    "envoy-http": {_HTTP_HEADERS: _HTTP_LISTED},
    "traefik": {_TRAEFIK_HEADERS: _TRAEFIK_LISTED},
}


def envoy_with(settings: str) -> Mapping[str, str]:
    """Envoy's filter with `with_request_body`."""
    return {"validate_mutations: true": f"validate_mutations: true\n              with_request_body: {settings}"}


def traefik_with(settings: str) -> Mapping[str, str]:
    """Traefik's middleware with further settings."""
    return {"trustForwardHeader: false": f"trustForwardHeader: false\n        {settings}"}


class Payments(AuthzServe):
    """`authz serve` with this sample."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, Issuer())

    def configuration(self) -> dict[str, Any]:
        policies = self.folder / "policies"
        policies.mkdir(exist_ok=True)
        (policies / "schema.cedarschema").write_text(SCHEMA, encoding="utf-8")
        (policies / "pay.cedar").write_text(POLICY, encoding="utf-8")
        (self.folder / "routes.yaml").write_text(yaml.safe_dump(ROUTES), encoding="utf-8")
        return super().configuration() | {
            "issuers": [],
            "record": {"show": ["detail", "path"]},
            "policies": {"store": "files", "path": str(policies)},
            "routes": str(self.folder / "routes.yaml"),
        }


@contextlib.asynccontextmanager
async def payments() -> AsyncIterator[Payments]:
    """The sample, running."""
    with Folder() as folder:
        async with Payments(folder) as process:
            yield process


@contextlib.asynccontextmanager
async def payments_site(authz: Payments, example: str, changes: Mapping[str, str]) -> AsyncIterator[Site]:
    """A proxy in front of it, with the headers listed that its routes need."""
    listed = next((texts for name, texts in LISTED.items() if example.startswith(name)), {})
    async with site(example, authz.address(example), {**listed, **changes}) as here:
        yield here
